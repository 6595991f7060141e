"""Measures, what is known of one, and the bounds that an expectation sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a run says about its expectations."""

    HELD = "held"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    """The fault was not verified, or no trial was valid: nothing can be said."""


@dataclass(frozen=True)
class Measured:
    """What is known of a measure: it lies between `low` and `high`, both inclusive; one value where the two are equal."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.low} to {self.high} is no range")

    @classmethod
    def exactly(cls, value: float) -> Measured:
        """A measure that is known."""
        return cls(value, value)

    @property
    def is_exact(self) -> bool:
        """Whether it is known."""
        return self.low == self.high


class Outcome(StrEnum):
    """What a measure says about a bound on it."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    """The measure is unknown, or known to within a range that reaches over the bound."""


@dataclass(frozen=True)
class Expectation:
    """A bound on one measured value of a trial."""

    measure: str
    at_most: float | None
    at_least: float | None

    def judge(self, measured: Measured | None) -> Outcome:
        """Whether what is known of the measure keeps within the bounds, both inclusive; of nothing known nothing is said."""
        if measured is None:
            return Outcome.UNDECIDED
        at_most = math.inf if self.at_most is None else self.at_most
        at_least = -math.inf if self.at_least is None else self.at_least
        if measured.low > at_most or measured.high < at_least:
            return Outcome.FAILS
        return Outcome.HOLDS if measured.high <= at_most and measured.low >= at_least else Outcome.UNDECIDED

    def __str__(self) -> str:
        bounds = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.measure} {' and '.join(bounds)}"


@dataclass(frozen=True)
class Check:
    """An expectation, held against a trial."""

    expectation: Expectation
    measured: Measured | None
    """None where the measure is unknown."""
    outcome: Outcome

    @property
    def was(self) -> str:
        """The measured value in words."""
        if self.measured is None:
            return "unknown"
        if self.measured.is_exact:
            return self._number(self.measured.low)
        if math.isinf(self.measured.high):
            return f"at least {self._number(self.measured.low)}"
        return f"{self._number(self.measured.low)} to {self._number(self.measured.high)}"

    def _number(self, value: float) -> str:
        """With as many digits as it takes to be on the same side of the bounds as the value itself."""
        exact = self.expectation.judge(Measured.exactly(value))
        shown = (f"{value:.{digits}f}" for digits in range(0 if value == int(value) else 2, 9))
        fits = (text for text in shown if self.expectation.judge(Measured.exactly(float(text))) is exact)
        return next(fits, repr(value))

    def __str__(self) -> str:
        return f"{self.expectation}: was {self.was}"


SERVED_RATIO = "served_of_capacity_ratio"
LOST, DIFFERING = "writes_lost", "writes_differing"
SURE_WHEN_INVALID = (LOST, DIFFERING)
"""What was found in the databases does not depend on how well time was kept."""
MEASURES = (
    "downtime_longest_s",
    "downtime_total_s",
    "gap_s",
    "unserved_s",
    "requests_failed",
    "availability_ratio",
    "fault_availability_ratio",
    "reads_downtime_longest_s",
    "reads_gap_s",
    "reads_unserved_s",
    "reads_failed",
    "reads_availability_ratio",
    "reads_fault_availability_ratio",
    "writes_downtime_longest_s",
    "writes_gap_s",
    "writes_unserved_s",
    "writes_failed",
    "writes_availability_ratio",
    "writes_fault_availability_ratio",
    LOST,
    DIFFERING,
    "writes_unexpected",
    "writes_duplicate",
    "outages",
    "split_brain_s",
    "multiple_vip_owners_s",
    "time_without_redundancy_s",
    "time_to_redundancy_s",
    SERVED_RATIO,
)
"""What an expectation can bound; `checker.verdict` computes each."""
MEASURES_OF_READS = tuple(
    name for name in MEASURES if not name.startswith("writes_") and name not in ("split_brain_s", "multiple_vip_owners_s")
)
"""Those that a foreign system has too, of which only a page is read."""
