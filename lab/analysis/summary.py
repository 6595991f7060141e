"""From trials to the summary of a run: medians with intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from lab.checker.outages import at_least, longest
from lab.checker.verdict import availability
from lab.model.measures import Measured
from lab.model.result import Operation, OperationSummary, SampleMedian, Summary, TrialResult

CONFIDENCE = 0.95


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """A distribution-free interval for the median: (low, high, coverage).

    The narrowest symmetric pair of order statistics that covers the median with at least `confidence`; the
    coverage of the pair (k, n+1-k) is 1 - 2 * P[Binomial(n, 1/2) < k] (David and Nagaraja, Order
    Statistics, section 7.1). With fewer than six values none reaches 95 %: the extremes, and their coverage.
    """
    ordered = sorted(values)
    count = len(ordered)
    best = (ordered[0], ordered[-1], 1 - 2 * 0.5**count)
    below = 0.0
    for k in range(1, count // 2 + 1):
        below += math.comb(count, k - 1) * 0.5**count
        coverage = 1 - 2 * below
        if coverage < confidence:
            break
        best = (ordered[k - 1], ordered[count - k], coverage)
    return best


def sample_median(values: Sequence[Measured]) -> SampleMedian:
    """The median of at least one value, each known to within bounds.

    It lies between the median of the lower and that of the upper bounds: a value that is only a lower bound changes
    it only where its place in the order could. (The product-limit estimate supposes that what is cut short would have
    gone on like the others. The lab cuts the longest ones short, so it would say too little.)
    """
    lows, highs = [value.low for value in values], [value.high for value in values]
    ci_low, _, coverage = median_interval(lows)
    worst = max(lows)
    return SampleMedian(
        low=median(lows),
        high=median(highs),
        ci_low=ci_low,
        ci_high=median_interval(highs)[1],
        coverage_ratio=coverage,
        worst=worst,
        worst_is_bound=max(highs) > worst,
        count=len(values),
    )


def _of_operation(operations: Sequence[Operation]) -> OperationSummary | None:
    if not operations:
        return None
    gaps = [at_least(each.gap.length_s, each.gap.censored) for each in operations if each.gap]
    return OperationSummary(
        outage=sample_median([longest(each.outages) for each in operations]), gap=sample_median(gaps) if gaps else None
    )


def _median_ratio(ratios: Sequence[Measured]) -> Measured | None:
    """The median of shares, some of which may be upper bounds."""
    return Measured(median(each.low for each in ratios), median(each.high for each in ratios)) if ratios else None


def summarise(trials: Sequence[TrialResult]) -> Summary:
    """A run over its valid trials; the trial is the unit."""
    valid = [trial for trial in trials if trial.valid]
    return Summary(
        trials=len(trials),
        trials_valid=len(valid),
        service=_of_operation([trial.total for trial in valid]),
        reads=_of_operation([trial.reads for trial in valid if trial.reads.intended]),
        writes=_of_operation([trial.writes for trial in valid if trial.writes.intended]),
        outage_all=sample_median([longest(trial.outages) for trial in trials]) if trials else None,
        availability=_median_ratio([availability(trial.total) for trial in valid]),
        reads_failed_total=sum(trial.reads.failed for trial in valid),
        writes_failed_total=sum(trial.writes.failed for trial in valid),
        writes_lost_total=sum(trial.audit.lost for trial in trials),
        trials_audited=sum(trial.audit.complete and trial.has_writes for trial in trials),
    )
