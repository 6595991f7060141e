"""What random faults, one after another, make of an error budget, and when to stop. Pure: outcomes in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.model.result import MONTH_S
from lab.model.round import RoundOutcome

ON_CALL_REPAIR_S = 30 * 60.0
"""What an engineer takes who is woken, logs in, understands and acts."""
OBJECTIVES = (0.999, 0.9999)


@dataclass(frozen=True)
class ErrorBudget:
    """What users missed, over the rounds that are valid."""

    rounds: int
    intended: int
    good: int
    downtime_s: float
    censored: bool = False
    """An outage of some round was cut short: it would have cost more."""

    @property
    def availability_ratio(self) -> float:
        """good / intended; 1 of nothing."""
        return self.good / self.intended if self.intended else 1.0

    def cost_s(self, rate_per_s: float) -> float:
        """The average cost of a round: the seconds of load that its failed requests amount to."""
        return (self.intended - self.good) / rate_per_s / self.rounds if self.rounds else 0.0


def error_budget(outcomes: Sequence[RoundOutcome]) -> ErrorBudget:
    """The sum of the rounds. Those that are not valid are left out: what they show may be this machine's doing."""
    valid = [each for each in outcomes if each.fault.valid]
    return ErrorBudget(
        len(valid),
        sum(each.intended for each in valid),
        sum(each.good for each in valid),
        sum(each.downtime_s for each in valid),
        any(each.fault.downtime_censored for each in valid),
    )


def allowed_incidents(cost_s: float, objective: float) -> float:
    """How many faults of this cost a month of an objective allows; infinite where a fault costs nothing."""
    return (1 - objective) * MONTH_S / cost_s if cost_s > 0 else float("inf")


# When to stop


@dataclass(frozen=True)
class AbortRule:
    """What a series of rounds is held to."""

    rounds: int
    """How many are planned."""
    requests_per_round: float
    """At most, as scheduled."""
    abort_below: float
    """The availability over all rounds that must still be possible."""


@dataclass(frozen=True)
class StopReason:
    """Why a series must not go on: a loss, a split brain, or an availability that cannot be reached any more."""

    lost: int
    """Acknowledged writes that are known to be lost."""
    split_brain_s: float
    availability_ratio: float
    best_ratio: float
    """The availability if all rounds that are left were perfect."""
    rounds_left: int
    abort_below: float


def stop_reason(outcomes: Sequence[RoundOutcome], rule: AbortRule) -> StopReason | None:
    """Why it must not go on; None where it may. A loss stops it, valid or not.

    Availability is judged over all planned rounds, so that their order decides nothing: it ends before the last only
    where even perfect rounds from here on would not reach `abort_below`.
    """
    lost, split_s = harm(outcomes)
    best = best_ratio(outcomes, rule)
    if not lost and not split_s and best >= rule.abort_below:
        return None
    seen = error_budget(outcomes).availability_ratio
    return StopReason(lost, split_s, seen, best, rule.rounds - len(outcomes), rule.abort_below)


def best_ratio(outcomes: Sequence[RoundOutcome], rule: AbortRule) -> float:
    """The availability if all rounds that are left were perfect, each with as many requests as a round may have."""
    seen, left = error_budget(outcomes), rule.rounds - len(outcomes)
    most = max([rule.requests_per_round, *(each.intended for each in outcomes)])
    every = seen.intended + left * most
    return (seen.good + left * most) / every if every else 1.0


def harm(outcomes: Sequence[RoundOutcome]) -> tuple[int, float]:
    """Acknowledged writes that are known to be lost, and seconds in which two databases are known to have taken writes."""
    return sum(each.fault.lost for each in outcomes), sum(each.fault.split_brain_s or 0.0 for each in outcomes)
