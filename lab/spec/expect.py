"""What a file expects: bounds on measures, each possible and within what can be seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from lab.errors import UsageError
from lab.model.measures import MEASURES, SERVED_RATIO, Expectation
from lab.spec import located_yaml
from lab.spec.base import Must, Strict, broken, unknown

BOUND_MAX = 1e9
Bound = Annotated[float, Field(ge=0, le=BOUND_MAX), Must(f"a number from 0 to {BOUND_MAX:g}")]
EXAMPLE = "expect: {downtime_longest_s: {at_most: 1.0}}"


class Bounds(Strict):
    """At most, at least, or both; both inclusive."""

    at_most: Bound | None = None
    at_least: Bound | None = None

    @model_validator(mode="after")
    def _possible(self) -> Bounds:
        if self.at_most is None and self.at_least is None:
            raise broken("", "a measure needs at_most or at_least", "downtime_longest_s: {at_most: 1.0}")
        if self.at_most is not None and self.at_least is not None and self.at_most < self.at_least:
            raise broken("at_most", f"nothing is at least {self.at_least:g} and at most {self.at_most:g}", "at_least <= at_most")
        return self

    @property
    def largest(self) -> float:
        """The larger of the two."""
        return max(each for each in (self.at_most, self.at_least) if each is not None)


def expectations(
    mapping: located_yaml.Mapping, found: Mapping[str, Bounds], watched_s: float, measures: Collection[str] = MEASURES
) -> tuple[Expectation, ...]:
    """The expectations of the entry `expect` of a file, whose experiment is watched for so long.

    Raises UsageError naming file and line for a measure that is not known, a ratio over 1, and a duration that is longer than
    what is watched: nothing of the kind could ever be seen.
    """
    expect = mapping.get("expect")
    if not isinstance(expect, located_yaml.Mapping) or not expect:
        raise mapping.error("expect", "expect must name at least one measure with at_most or at_least", EXAMPLE)
    for measure, bounds in found.items():
        _check(expect, measure, bounds, watched_s, measures)
    return tuple(Expectation(measure, bounds.at_most, bounds.at_least) for measure, bounds in found.items())


def _check(expect: located_yaml.Mapping, measure: str, bounds: Bounds, watched_s: float, measures: Collection[str]) -> None:
    if measure not in measures:
        raise unknown(expect, measure, measures, "is not measured")
    if is_ratio(measure) and bounds.largest > 1:
        raise _error(
            expect, measure, f"{measure} is a ratio from 0 to 1, not {bounds.largest:g}", f"{measure}: {{at_least: 0.999}}"
        )
    if is_watched(measure) and bounds.largest > watched_s:
        raise _error(
            expect,
            measure,
            f"{measure} of {bounds.largest:g} s cannot be seen within the {watched_s:g} s that are watched",
            f"fault_duration_s: {bounds.largest + 1:g}, or a lower bound",
        )


def _error(expect: located_yaml.Mapping, measure: str, message: str, hint: str) -> UsageError:
    bounds = expect[measure]
    return bounds.error("", message, hint) if isinstance(bounds, located_yaml.Mapping) else expect.error(measure, message, hint)


def unseen(found: Iterable[Expectation], watched_s: float) -> list[str]:
    """What cannot be seen of these expectations where only so much is watched, a line each."""
    bounds = ((each, max(each.at_most or 0.0, each.at_least or 0.0)) for each in found if is_watched(each.measure))
    return [f"'{each}' cannot be seen within the {watched_s:g} s that are watched" for each, most in bounds if most > watched_s]


def is_ratio(measure: str) -> bool:
    """Whether it is from 0 to 1; what one box carries may be exceeded."""
    return measure.endswith("_ratio") and measure != SERVED_RATIO


def is_watched(measure: str) -> bool:
    """Whether it is a time without the service, of which no more is seen than is watched before the healing."""
    return measure.endswith("_s") and any(word in measure for word in ("downtime", "outage", "gap"))
