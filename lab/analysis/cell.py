"""From a run to the cell of a comparison that it fills. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from lab.analysis.matrix import Cell, CellCheck, CellFigures, Member
from lab.analysis.summary import summarise
from lab.checker.verdict import decide
from lab.model.measures import Verdict
from lab.model.result import Notified, RunResult, SampleMedian, Summary, TrialResult

FIGURES = tuple(each.name for each in fields(CellFigures))


@dataclass(frozen=True)
class Targets:
    """What the trials of a run hit, where that is several things that are not alike (each zone)."""

    names: tuple[str, ...] = ()
    of_trial: Mapping[int, str] | None = None
    """Which of them each trial that was begun was about, by its number, also those that were broken off and have no result."""

    def tried(self, result: RunResult) -> Mapping[int, str]:
        """The target of each trial; empty names where all hit the same."""
        return dict.fromkeys((trial.number for trial in result.trials), "") if self.of_trial is None else self.of_trial


ALIKE = Targets()


def cell_of(column: str, result: RunResult, targets: Targets = ALIKE, is_replicated: bool = True) -> Cell:
    """The cell that a run fills; is_replicated: whether the stage has a second database."""
    tried = targets.tried(result)
    members = tuple(Member(target=name, **_figures(name, result.trials, tried)) for name in targets.names)
    worst = worst_of(members)
    whole = worst or CellFigures(**_figures("", result.trials, dict.fromkeys(tried, "")))
    verdict = _verdict(result, members, tried)
    return Cell(
        column=column,
        experiment=result.info.experiment,
        applicable=True,
        verdict=verdict,
        writes_lost=result.summary.writes_lost_total,
        split_brain_s=split_brain(result.trials, is_replicated),
        folder=str(result.folder) if result.folder else "",
        members=members,
        worst=worst.target if worst else "",
        audits_incomplete=sum(trial.has_writes and not trial.audit.complete for trial in result.trials),
        checks=() if verdict is Verdict.HELD else _checks(result.trials),
        why=() if verdict is Verdict.HELD else _reasons(result.trials),
        **_notified(result.trials),
        **{name: getattr(whole, name) for name in FIGURES} | _of_worst_targets(members or (whole,)),
    )


def _notified(trials: Sequence[TrialResult]) -> dict[str, Any]:
    """In how many valid trials the fault was reported, was not, and need not be."""
    found = [trial.notified for trial in trials if trial.valid]
    return {
        "trials_notified": found.count(Notified.YES),
        "trials_not_notified": found.count(Notified.NO),
        "trials_no_alert_needed": found.count(Notified.NOT_NEEDED),
    }


def _of_worst_targets(samples: Sequence[CellFigures]) -> dict[str, Any]:
    """The figures of a cell that are each that of its own worst target."""
    outages = [each for sample in samples for each in sample.outages]
    return {
        "downtime_worst_s": max((each.low for each in outages), default=None),
        "downtime_worst_censored": not all(each.is_exact for each in outages),
        "availability_ratio": _worst(min, [each.availability_ratio for each in samples]),
        "availability_censored": any(each.availability_censored for each in samples),
        "time_without_redundancy_s": _worst(max, [each.time_without_redundancy_s for each in samples]),
        "time_without_redundancy_unknown": sum(each.time_without_redundancy_unknown for each in samples),
    }


def split_brain(trials: Sequence[TrialResult], is_replicated: bool = True) -> float | None:
    """For how long two databases took writes at once, the longest of any trial.

    A single database cannot: 0. None where they were not observed in some trial, and none was seen in the others.
    """
    if not is_replicated:
        return 0.0
    seen = [trial.writable.get("multiple_writers_s") for trial in trials]
    longest_s = max((each for each in seen if each is not None), default=0.0)
    return longest_s if longest_s or (seen and None not in seen) else None


def worst_of(members: Sequence[Member]) -> Member | None:
    """The one with the longest median; of bounds, one that may be longer. None where none has a valid trial."""
    measured = [each for each in members if each.downtime_median_s is not None]
    return max(measured, key=lambda each: (each.median_at_most_s, each.median_at_least_s), default=None)


def _worst(choose: Callable[[list[float]], float], found: Sequence[float | None]) -> float | None:
    known = [each for each in found if each is not None]
    return choose(known) if known else None


def _figures(target: str, trials: Sequence[TrialResult], tried: Mapping[int, str]) -> dict[str, Any]:
    """The figures of those trials that hit a target, by the names of their fields."""
    mine = [trial for trial in trials if tried.get(trial.number) == target]
    valid = [trial for trial in mine if trial.valid]
    summary = summarise(mine)
    known_s = [trial.time_without_redundancy_s for trial in valid if trial.time_without_redundancy_s is not None]
    return {
        "trials": sum(each == target for each in tried.values()),
        "trials_valid": len(valid),
        "downtimes_s": tuple(trial.downtime_longest_s for trial in valid),
        "downtimes_censored": tuple(trial.censored for trial in valid),
        "availability_ratio": summary.availability_ratio_median,
        "availability_censored": summary.availability_censored,
        "time_without_redundancy_s": median(known_s) if known_s else None,
        "time_without_redundancy_unknown": len(valid) - len(known_s),
        **_interval(summary.outage),
        **_medians(summary),
    }


def _interval(outage: SampleMedian | None) -> dict[str, Any]:
    """The interval for the median of the longest outage, and the longest of all."""
    if outage is None:
        return {}
    return {
        "downtime_low_s": outage.ci_low,
        "downtime_high_s": outage.ci_high if math.isfinite(outage.ci_high) else None,
        "downtime_coverage_ratio": outage.coverage_ratio,
        "downtime_worst_s": outage.worst,
        "downtime_worst_censored": outage.worst_is_bound,
    }


def _medians(summary: Summary) -> dict[str, Any]:
    """Each median, and whether it is only a lower bound, by the names of their fields."""
    service, reads, writes = summary.service, summary.reads, summary.writes
    found: dict[str, tuple[str, SampleMedian | None]] = {
        "downtime_median": ("downtime", summary.outage),
        "downtime_median_all": ("downtime_median_all", summary.outage_all),
        "reads_downtime_median": ("reads_downtime_median", reads.outage if reads else None),
        "writes_downtime_median": ("writes_downtime_median", writes.outage if writes else None),
        "gap_median": ("gap_median", service.gap if service else None),
    }
    values = {f"{name}_s": each.low if each else None for name, (_, each) in found.items()}
    return values | {f"{name}_censored": bool(each and each.is_bound) for name, each in found.values()}


def _verdict(result: RunResult, members: Sequence[Member], tried: Mapping[int, str]) -> Verdict:
    """That of the run; and of each target enough must be known."""
    each_one = [decide([trial for trial in result.trials if tried.get(trial.number) == each.target]) for each in members]
    if result.verdict is Verdict.HELD and Verdict.INCONCLUSIVE in each_one:
        return Verdict.INCONCLUSIVE
    return Verdict.REFUTED if Verdict.REFUTED in each_one else result.verdict


def _checks(trials: Sequence[TrialResult]) -> tuple[CellCheck, ...]:
    """What was missed or is undecided, in order of trials."""
    return tuple(CellCheck.of(each) for trial in trials for each in (*trial.failures, *trial.undecided))


def _reasons(trials: Sequence[TrialResult]) -> tuple[str, ...]:
    """Why trials are not valid, each reason once, in order of trials."""
    return tuple(dict.fromkeys(reason for trial in trials for reason in trial.reasons))


def not_applicable(column: str, why: str) -> Cell:
    """The cell of a fault for which the stage has nothing to break."""
    return Cell(column=column, experiment="", applicable=False, verdict=None, why=(why,))
