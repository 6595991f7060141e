"""The numbers of a run that everybody asks for first, each with what it is of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lab.availability import median_interval
from lab.model import RunResult, TrialResult
from lab.report import words
from lab.report.words import Downtimes


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    name: str
    value: str
    detail: str
    alarm: bool = False
    """It must never be other than 0, and is."""


def figures(result: RunResult) -> tuple[Figure, ...]:
    """The numbers of a run: medians over its valid trials, sums and maxima over all where one is too many."""
    good = words.valid(result.trials)
    whole = words.downtimes([trial.outages for trial in good]) if good else None
    writes = result.info.plan.has_writes
    return (
        _share_figure("reads answered in time", [(trial.reads.good, trial.reads.intended) for trial in good]),
        *([_share_figure("writes answered in time", [(trial.writes.good, trial.writes.intended) for trial in good])] * writes),
        Figure("longest outage", whole.text if whole else "unknown", _spread(whole, len(good))),
        _total_figure(good),
        *([_lost_figure(result.trials), _split_figure(result.trials)] if writes else [UNMEASURED]),
        _degraded_figure(good, result.info.has_fault),
        *_told_figure(good),
    )


UNMEASURED = Figure("writes, losses, split brain", words.NOT_MEASURED, "a page was read, and nothing written")


def _lost_figure(trials: Sequence[TrialResult]) -> Figure:
    lost, acknowledged = words.lost_writes(trials)
    audited = all(trial.audit.complete for trial in trials)
    return Figure(
        "acknowledged writes lost", f"{lost:,}" if audited or lost else "unknown", f"of {acknowledged:,}", alarm=lost > 0
    )


def _spread(found: Downtimes | None, trials: int) -> str:
    if found is None:
        return "no valid trial"
    if trials == 1:
        return "one trial"
    return f"median; {found.coverage_ratio:.0%} interval {found.low_s:.2f} to {found.high_s:.2f} s"


def _share_figure(name: str, shares: Sequence[tuple[int, int]]) -> Figure:
    """Good of intended, all valid trials together."""
    good, intended = sum(each[0] for each in shares), sum(each[1] for each in shares)
    if not intended:
        return Figure(name, "none", "none was made" if shares else "no valid trial")
    return Figure(name, words.percent(good / intended), f"{intended - good:,} of {intended:,} were not")


def _total_figure(good: Sequence[TrialResult]) -> Figure:
    if not good:
        return Figure("all outages of a trial", "unknown", "no valid trial")
    totals_s = [trial.downtime_total_s for trial in good]
    low_s, high_s, _ = median_interval(totals_s)
    median_s = median(totals_s)
    outages = sum(len(trial.outages) for trial in good)
    censored = any(trial.censored for trial in good) and median_s > 0
    between = f", {low_s:.2f} to {high_s:.2f} s" if len(good) > 1 else ""
    return Figure(
        "all outages of a trial", words.seconds(median_s, censored), f"{words.count(outages, 'outage')} in all{between}"
    )


def _split_figure(trials: Sequence[TrialResult]) -> Figure:
    watched = [trial.writable["several_s"] for trial in trials if "several_s" in trial.writable]
    if not watched:
        return Figure("split brain", "none", "a single database cannot")
    detail = "two databases took writes at once" if max(watched) else "never two databases took writes"
    return Figure("split brain", words.seconds(max(watched)), detail, alarm=max(watched) > 0)


def _degraded_figure(good: Sequence[TrialResult], has_fault: bool) -> Figure:
    if not has_fault:
        return Figure("nothing in reserve", "none", "nothing was broken")
    known = [trial.degraded_redundancy_s for trial in good if trial.degraded_redundancy_s is not None]
    if not known:
        return Figure("nothing in reserve", "unknown", "it was not seen to end" if good else "no valid trial")
    median_s = median(known)
    return Figure("nothing in reserve", words.seconds(median_s), "served, but the next fault would have been an outage")


def _told_figure(good: Sequence[TrialResult]) -> list[Figure]:
    """How long it took until somebody was told; nothing where nobody ever was (nobody watches stage 1)."""
    delays_s = [trial.alert_delay_s for trial in good if trial.alert_delay_s is not None]
    if not delays_s:
        return []
    alerts = median(len(trial.alerts) for trial in good)
    silent = f"; in {words.count(len(good) - len(delays_s), 'trial')} nobody was" if len(delays_s) < len(good) else ""
    return [
        Figure(
            "somebody told after",
            words.seconds(median(delays_s)),
            f"{alerts:g} alert{'' if alerts == 1 else 's'} a trial, in the median{silent}",
        )
    ]
