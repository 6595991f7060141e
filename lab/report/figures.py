"""The numbers of a run that everybody asks for first, each with what it is of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lab.analysis.summary import sample_median
from lab.checker.outages import total
from lab.model.result import OperationSummary, RunResult, SampleMedian, TrialResult
from lab.report import words


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
    summary = result.summary
    writes = result.info.plan.has_writes
    return (
        _share_figure("reads answered in time", [(trial.reads.good, trial.reads.intended) for trial in good]),
        *([_share_figure("writes answered in time", [(trial.writes.good, trial.writes.intended) for trial in good])] * writes),
        Figure("longest outage", words.median_text(summary.outage), _spread(summary.outage)),
        _gap_figure(summary.service),
        *([_apart_figure("reads", summary.reads), _apart_figure("writes", summary.writes)] if writes else []),
        _total_figure(good),
        *_all_trials_figure(result),
        *([_lost_figure(result.trials), _split_figure(result.trials)] if writes else [UNMEASURED]),
        _degraded_figure(good, result.info.has_fault),
        *_alert_figure(good),
    )


UNMEASURED = Figure("writes, losses, split brain", words.NOT_MEASURED, "a page was read, and nothing written")


def _lost_figure(trials: Sequence[TrialResult]) -> Figure:
    lost, acknowledged = words.lost_writes(trials)
    audited = all(trial.audit.complete for trial in trials)
    return Figure(
        "acknowledged writes lost", f"{lost:,}" if audited or lost else "unknown", f"of {acknowledged:,}", alarm=lost > 0
    )


def _spread(found: SampleMedian | None) -> str:
    if found is None:
        return "no valid trial"
    return words.spread_text(found)


def _gap_figure(service: OperationSummary | None) -> Figure:
    """What others publish as the time that a failover takes."""
    gap = service.gap if service else None
    return Figure("longest gap between successes", words.median_text(gap), _spread(gap))


def _apart_figure(name: str, found: OperationSummary | None) -> Figure:
    """One of the headline's two halves: the service is down while either is."""
    detail = _spread(found.outage) if found else f"no valid trial with {name}"
    return Figure(f"longest outage of {name}", words.median_text(found.outage if found else None), detail)


def _all_trials_figure(result: RunResult) -> list[Figure]:
    """With the trials that are not valid: they tend to be those of a busy machine, so leaving them out favours the system."""
    invalid, found = result.summary.trials - result.summary.trials_valid, result.summary.outage_all
    if not invalid or found is None:
        return []
    detail = f"median of all {found.count} trials, also the {invalid} that {'is' if invalid == 1 else 'are'} not valid"
    return [Figure("longest outage, all trials", words.median_text(found), detail)]


def _share_figure(name: str, shares: Sequence[tuple[int, int]]) -> Figure:
    """Good of intended, all valid trials together."""
    good, intended = sum(each[0] for each in shares), sum(each[1] for each in shares)
    if not intended:
        return Figure(name, "none", "none was made" if shares else "no valid trial")
    return Figure(name, words.percent(good / intended), f"{intended - good:,} of {intended:,} were not")


def _total_figure(good: Sequence[TrialResult]) -> Figure:
    if not good:
        return Figure("all outages of a trial", "unknown", "no valid trial")
    found = sample_median([total(trial.outages) for trial in good])
    outages = sum(len(trial.outages) for trial in good)
    between = f", {words.interval_text(found)}" if len(good) > 1 else ""
    return Figure("all outages of a trial", words.median_text(found), f"{words.count(outages, 'outage')} in all{between}")


def _split_figure(trials: Sequence[TrialResult]) -> Figure:
    watched = [trial.writable["multiple_writers_s"] for trial in trials if "multiple_writers_s" in trial.writable]
    if not watched:
        return Figure("split brain", words.NOT_MEASURED, "it is observed where there are two databases")
    detail = "two databases took writes at once" if max(watched) else "never two databases took writes"
    return Figure("split brain", words.seconds(max(watched)), detail, alarm=max(watched) > 0)


def _degraded_figure(good: Sequence[TrialResult], has_fault: bool) -> Figure:
    if not has_fault:
        return Figure("time without redundancy", "none", "no fault was injected")
    known = [trial.time_without_redundancy_s for trial in good if trial.time_without_redundancy_s is not None]
    if not known:
        return Figure("time without redundancy", "unknown", "it was not seen to end" if good else "no valid trial")
    median_s = median(known)
    return Figure("time without redundancy", words.seconds(median_s), "served, but one more fault would have been an outage")


def _alert_figure(good: Sequence[TrialResult]) -> list[Figure]:
    """How long it took until an alert was delivered; nothing where none ever was (stage 1 has no monitoring)."""
    delays_s = [trial.alert_delay_s for trial in good if trial.alert_delay_s is not None]
    if not delays_s:
        return []
    alerts = median(len(trial.alerts) for trial in good)
    silent = f"; none in {words.count(len(good) - len(delays_s), 'trial')}" if len(delays_s) < len(good) else ""
    return [
        Figure(
            "time to alert",
            words.seconds(median(delays_s)),
            f"{alerts:g} alert{'' if alerts == 1 else 's'} a trial, in the median{silent}",
        )
    ]
