"""What a run or a trial says in a sentence: the same in every report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lab.analysis.stats import loss_upper_bound
from lab.model.history import RunInfo
from lab.model.measures import Check, Expectation, Verdict
from lab.model.result import OperationSummary, RunResult, SampleMedian, Summary, TrialResult
from lab.report import words

NO_USER_NOTICED = "no user noticed"


def valid(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """Those whose figures count."""
    return [trial for trial in trials if trial.valid]


def stage_name(info: RunInfo) -> str:
    """Which stage, and which file of it."""
    return info.place + ("" if info.failover == "none" else f" ({info.failover} failover)")


def broken(trial: TrialResult) -> str:
    """The boxes that were broken, each once; empty for none."""
    return ", ".join(dict.fromkeys(trial.targets))


def headline(result: RunResult) -> str:
    """The whole run in one sentence."""
    good = valid(result.trials)
    if not good:
        return f"{result.info.title}: nothing can be said{_because(result.trials)}."
    parts = [_outage_part(result), *_split(result.trials), *([lost(result.trials)] if result.info.plan.has_writes else [])]
    return f"{result.info.title}: {words.listed(parts)}."


def _because(trials: Sequence[TrialResult]) -> str:
    if not trials:
        return ", no trial was completed"
    reasons = [reason for trial in trials for reason in trial.reasons]
    return f", {reasons[0]}" if reasons else ""


def _outage_part(result: RunResult) -> str:
    """For how long there was an outage, and of what."""
    summary = result.summary
    assert summary.service is not None  # there is a valid trial
    whole, gap = summary.service.outage, _without(summary.service)
    if whole.worst == 0:
        return f"{NO_USER_NOTICED}{gap}"
    of, other = _only_one(summary)
    if whole.low == 0 and not whole.is_bound:
        return f"{_most(whole.count)} saw no outage, the worst one was {words.worst_text(whole)}{f' of {of}' if of else ''}{gap}"
    about = f" (median of {words.count(whole.count, 'trial')})" if whole.count > 1 else ""
    if not of:
        return f"the longest outage was {_long(whole)}{about}{gap}"
    gap = _without(summary.writes if of == "writes" else summary.reads, of)
    return f"the longest outage of {of} was {_long(whole)}{about} while no {other} failed{gap}"


def _only_one(summary: Summary) -> tuple[str, str]:
    """Where only one operation failed: which, and one request of the other; empty where both did, or only one was made."""
    if not summary.reads or not summary.writes:
        return "", ""
    if not summary.reads_failed_total:
        return "writes", "read"
    return ("reads", "write") if not summary.writes_failed_total else ("", "")


def _without(found: OperationSummary | None, of: str = "") -> str:
    """The gap beside an outage: what others publish as the time that a failover takes."""
    between = f"two successful {of}" if of else "two successes"
    return f", the longest gap between {between} {words.median_text(found.gap)}" if found and found.gap else ""


def _most(trials: int) -> str:
    return "users" if trials == 1 else f"most of {trials} trials"


def _long(found: SampleMedian) -> str:
    return f"{'at least ' if found.is_bound else ''}{words.seconds(found.low)}"


def _split(trials: Sequence[TrialResult]) -> list[str]:
    longest_s = max((multiple_writers_s(trial) or 0.0 for trial in trials), default=0.0)
    return [f"two databases accepted writes for {words.seconds(longest_s)}"] if longest_s else []


def multiple_writers_s(trial: TrialResult) -> float | None:
    """For how long several databases accepted writes; None where that was not observed."""
    return trial.writable.get("multiple_writers_s")


def multiple_owners_s(trial: TrialResult) -> float | None:
    """For how long several balancers owned the VIP; None where that was not observed."""
    return trial.vip_owners.get("multiple_owners_s")


def lost(trials: Sequence[TrialResult]) -> str:
    """Whether acknowledged writes were lost, as far as that is known."""
    losses, acknowledged = lost_writes(trials)
    if losses:
        return f"{losses:,} of {acknowledged:,} acknowledged writes {'was' if losses == 1 else 'were'} lost"
    if not all(trial.audit.complete for trial in trials):
        return "whether a write was lost is not known"
    return "no acknowledged write was lost" if acknowledged else "no write was acknowledged"


def lost_trials(trials: Sequence[TrialResult]) -> str:
    """In how many trials a write was lost, and how many may where none was; empty where no trial was audited.

    The trial is the unit: however many orders it took, it was one disaster. A trial that is not valid counts only if it lost something.
    """
    losing = sum(trial.audit.lost > 0 for trial in trials)
    counting = [trial for trial in trials if trial.audit.lost or (trial.valid and trial.audit.complete and trial.has_writes)]
    if not counting:
        return ""
    bound = "" if losing else f" (95 %: at most {math.ceil(round(loss_upper_bound(len(counting)) * 100, 6))} % of such trials)"
    return f"{losing} of {words.count(len(counting), 'trial')} lost a write{bound}"


NOT_MEASURED = "not measured"


def lost_of(trial: TrialResult) -> str:
    """Lost of acknowledged writes, as far as is known."""
    if not trial.has_writes:
        return NOT_MEASURED
    audit = trial.audit
    return f"{audit.lost:,} of {audit.acknowledged:,}" if audit.complete else "unknown"


def lost_writes(trials: Iterable[TrialResult]) -> tuple[int, int]:
    """Lost and acknowledged, all trials together."""
    audits = [trial.audit for trial in trials]
    return sum(audit.lost for audit in audits), sum(audit.acknowledged for audit in audits)


def verdict_line(result: RunResult) -> str:
    """The verdict, and what it is about."""
    expected = f"Expected: {expectations_text(result.info)}."
    if result.verdict is Verdict.HELD:
        return f"{expected} That is what happened{f' ({_decided(result.trials)})' if undecided(result.trials) else ''}."
    if result.verdict is Verdict.REFUTED:
        return f"{expected} Refuted: {'; '.join(grouped_checks(_missed(result.trials)))}."
    return f"{expected} Inconclusive: {_decided(result.trials)}."


def expectations_text(info: RunInfo) -> str:
    """All expectations of a run, in words."""
    return "; ".join(map(expectation_text, info.expectations)) or "nothing in particular"


def _decided(trials: Sequence[TrialResult]) -> str:
    """How many trials count, and how many of these say nothing of an expectation."""
    found = undecided(trials)
    return f"{len(valid(trials))} of {words.count(len(trials), 'trial')} valid" + (f", {found} undecided" if found else "")


def undecided(trials: Iterable[TrialResult]) -> int:
    """How many valid trials leave an expectation undecided."""
    return sum(not trial.is_decided for trial in valid(trials))


def _missed(trials: Iterable[TrialResult]) -> list[Check]:
    return [check for trial in trials for check in trial.failures]


# Expectations and measures


def grouped_checks(checks: Iterable[Check]) -> list[str]:
    """Each expectation once, with the value or the range of values that were measured."""
    found: dict[Expectation, list[Check]] = {}
    for check in checks:
        found.setdefault(check.expectation, []).append(check)
    return [f"{expectation_text(what)}: was {_range(some)}" for what, some in found.items()]


def _range(checks: Sequence[Check]) -> str:
    """From the smallest to the largest value."""
    ordered = sorted(checks, key=lambda check: check.measured.low if check.measured else 0.0)
    first, last = ordered[0].was, ordered[-1].was
    return _with_unit(first if first == last else f"{first} to {last}", ordered[0].expectation.measure)


def check_text(check: Check) -> str:
    """An expectation and what was measured: "longest outage at most 1 s: was 1.2 s"."""
    return f"{expectation_text(check.expectation)}: was {_with_unit(check.was, check.expectation.measure)}"


def expectation_text(found: Expectation) -> str:
    """An expectation in words: "longest outage at most 1 s"."""
    bounds = [f"at most {found.at_most:g}"] if found.at_most is not None else []
    bounds += [f"at least {found.at_least:g}"] if found.at_least is not None else []
    name, _ = MEASURES.get(found.measure, (found.measure, ""))
    return f"{name} {_with_unit(' and '.join(bounds), found.measure)}"


def _with_unit(value: str, measure: str) -> str:
    unit = MEASURES.get(measure, ("", ""))[1]
    return f"{value} {unit}" if unit and value != "unknown" else value


MEASURES = {
    "downtime_longest_s": ("longest outage", "s"),
    "downtime_median_s": ("median of the longest outage", "s"),
    "downtime_total_s": ("all outages", "s"),
    "gap_s": ("longest gap", "s"),
    "unserved_s": ("unserved time", "s"),
    "requests_failed": ("failed requests", ""),
    "fault_availability_ratio": ("availability during the fault", ""),
    "reads_fault_availability_ratio": ("availability of reads during the fault", ""),
    "writes_fault_availability_ratio": ("availability of writes during the fault", ""),
    "reads_gap_s": ("longest gap between reads", "s"),
    "writes_gap_s": ("longest gap between writes", "s"),
    "reads_unserved_s": ("unserved time of reads", "s"),
    "writes_unserved_s": ("unserved time of writes", "s"),
    "availability_ratio": ("availability", ""),
    "reads_availability_ratio": ("availability of reads", ""),
    "writes_availability_ratio": ("availability of writes", ""),
    "reads_failed": ("failed reads", ""),
    "writes_failed": ("failed writes", ""),
    "writes_lost": ("lost writes", ""),
    "writes_differing": ("orders that differ on a standby", ""),
    "writes_unexpected": ("unexpected writes", ""),
    "writes_duplicate": ("writes executed twice", ""),
    "reads_downtime_longest_s": ("longest outage of reads", "s"),
    "writes_downtime_longest_s": ("longest outage of writes", "s"),
    "outages": ("outages", ""),
    "split_brain_s": ("split brain", "s"),
    "multiple_vip_owners_s": ("several VIP owners", "s"),
    "time_without_redundancy_s": ("time without redundancy", "s"),
    "time_to_redundancy_s": ("time to redundancy", "s"),
    "served_of_capacity_ratio": ("served in time, of one web box's capacity", ""),
}
"""Each measure in words, and its unit."""
