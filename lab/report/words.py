"""The small words of every report: a time, a share, a count, a list."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.checker.outages import longest
from lab.model.measures import Measured
from lab.model.result import Gap, Operation, Outage, SampleMedian, TrialResult

PHASE_WORDS = {
    "inject_s": "fault injected",
    "verified_s": "fault confirmed",
    "impact_s": "first request failed",
    "detect_s": "failure detected",
    "elect_s": "new primary elected",
    "reroute_s": "failover complete",
    "recover_s": "service restored",
    "alert_s": "alert delivered",
    "repair_s": "repair begins",
    "heal_s": "healed by the lab",
    "operator_s": "operator acts",
    "promoted_s": "operator is done",
    "redundancy_restored_s": "redundancy restored",
}


def some(names: Sequence[str], most: int) -> str:
    """a, b, 3 more: `most` words at most, the last of which may be how many are left out."""
    return ", ".join(names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"])


def median_text(found: SampleMedian | None) -> str:
    """The median, as a bound where it is one."""
    return seconds(found.low, found.is_bound) if found else "unknown"


def interval_text(found: SampleMedian) -> str:
    """The interval for the median; open where nothing bounds it."""
    if math.isinf(found.ci_high):
        return f"{found.ci_low:.2f} s or longer"
    return f"{found.ci_low:.2f} to {found.ci_high:.2f} s"


def worst_text(found: SampleMedian) -> str:
    """The largest value."""
    return seconds(found.worst, found.worst_is_bound)


def spread_text(found: SampleMedian) -> str:
    """How sure a median is, and the worst of its values; of one trial there is nothing to say."""
    if found.count == 1:
        return "one trial"
    return f"median; {found.coverage_ratio:.0%} interval {interval_text(found)}; worst of {found.count}: {worst_text(found)}"


def outage_text(of: Operation) -> str:
    """The longest outage of one kind of request or of the service; unknown where nothing was asked."""
    return longest_text(of.outages) if of.intended else "unknown"


def failed_text(of: Operation) -> str:
    """How many requests failed; a bound where an outage was cut short."""
    if not of.intended:
        return "none made"
    return f"{'≥ ' if of.censored else ''}{of.failed:,} of {of.intended:,}"


def longest_text(outages: Sequence[Outage]) -> str:
    """The longest outage of a trial, as a bound where a longer one may have been cut short, and how many more there were."""
    found = longest(outages)
    more = f" (+{len(outages) - 1})" if len(outages) > 1 else ""
    return f"{seconds(found.low, not found.is_exact)}{more}"


def measured_text(found: Measured) -> str:
    """What is known of a length, as a bound where it may have been longer."""
    return seconds(found.low, not found.is_exact)


def gap_text(gap: Gap | None) -> str:
    """The longest time without a success."""
    return seconds(gap.length_s, gap.censored) if gap else "unknown"


def seconds(value_s: float | None, censored: bool = False) -> str:
    """A time for people: to the hundredth, coarser where it is long; a bound where it did not end by itself."""
    if value_s is None:
        return "unknown"
    bound = "≥ " if censored else ""
    if value_s >= 100:
        return f"{bound}{value_s:.0f} s"
    if value_s >= 10:
        return f"{bound}{value_s:.1f} s"
    return f"{bound}{value_s:.2f} s" if value_s > 0 else f"{bound}0 s"


def percent(ratio: float | None, digits: int = 2) -> str:
    """A share for people; never rounded up to 100 %."""
    if ratio is None:
        return "unknown"
    return "100%" if ratio >= 1 else f"{min(ratio, 1 - 10 ** -(digits + 2)):.{digits}%}"


def share_text(ratio: float | None, is_bound: bool) -> str:
    """A share; an upper bound where outages that were cut short would have made it smaller."""
    return f"{'≤ ' if is_bound and ratio is not None else ''}{percent(ratio)}"


def lost_text(lost: int, is_known: bool) -> str:
    """How many writes were lost, as far as every database could be read."""
    return str(lost) if is_known else f"≥ {lost}" if lost else "unknown"


def count(number: int, thing: str, things: str = "") -> str:
    """1 trial, 2 trials."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def after_fault(trial: TrialResult, phase: str) -> str:
    """How long after the fault something happened."""
    return seconds(trial.phases[phase] - trial.phases.get("inject_s", 0.0))
