"""What a run, a trial or a comparison says in a sentence: the same in every report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from lab.analysis.matrix import Cell, Matrix, Member, Row
from lab.analysis.stats import loss_upper_bound
from lab.checker.outages import longest
from lab.model.history import RunInfo
from lab.model.measures import Check, Measured, Verdict
from lab.model.result import FaultOutcome, Gap, Operation, OperationSummary, Outage, RunResult, SampleMedian, Summary, TrialResult

NOBODY_NOTICED = "no user noticed"
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


def valid(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """Those whose figures count."""
    return [trial for trial in trials if trial.valid]


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


def count(number: int, thing: str, things: str = "") -> str:
    """1 trial, 2 trials."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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
    said = [_gone(result), *_split(result.trials), *([lost(result.trials)] if result.info.plan.has_writes else [])]
    return f"{result.info.title}: {listed(said)}."


def _because(trials: Sequence[TrialResult]) -> str:
    if not trials:
        return ", no trial was completed"
    reasons = [reason for trial in trials for reason in trial.reasons]
    return f", {reasons[0]}" if reasons else ""


def _gone(result: RunResult) -> str:
    """For how long there was an outage, and of what."""
    summary = result.summary
    assert summary.service is not None  # there is a valid trial
    whole, gap = summary.service.outage, _without(summary.service)
    if whole.worst == 0:
        return f"{NOBODY_NOTICED}{gap}"
    of, other = _only_one(summary)
    if whole.low == 0 and not whole.is_bound:
        return f"{_most(whole.count)} saw no outage, the worst one was {worst_text(whole)}{f' of {of}' if of else ''}{gap}"
    about = f" (median of {count(whole.count, 'trial')})" if whole.count > 1 else ""
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
    return f", the longest gap between {between} {median_text(found.gap)}" if found and found.gap else ""


def _most(trials: int) -> str:
    return "users" if trials == 1 else f"most of {trials} trials"


def _long(found: SampleMedian) -> str:
    return f"{'at least ' if found.is_bound else ''}{seconds(found.low)}"


def _split(trials: Sequence[TrialResult]) -> list[str]:
    longest = max((trial.writable.get("multiple_writers_s", 0.0) for trial in trials), default=0.0)
    return [f"two databases accepted writes for {seconds(longest)}"] if longest else []


def lost(trials: Sequence[TrialResult]) -> str:
    """Whether acknowledged writes were lost, as far as that is known."""
    gone, acknowledged = lost_writes(trials)
    if gone:
        return f"{gone:,} of {acknowledged:,} acknowledged writes {'was' if gone == 1 else 'were'} lost"
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
    return f"{losing} of {count(len(counting), 'trial')} lost a write{bound}"


NOT_MEASURED = "not measured"


def lost_of(trial: TrialResult) -> str:
    """Lost of acknowledged writes, as far as anybody knows."""
    if not trial.has_writes:
        return NOT_MEASURED
    audit = trial.audit
    return f"{audit.lost:,} of {audit.acknowledged:,}" if audit.complete else "unknown"


def lost_writes(trials: Iterable[TrialResult]) -> tuple[int, int]:
    """Lost and acknowledged, all trials together."""
    audits = [trial.audit for trial in trials]
    return sum(audit.lost for audit in audits), sum(audit.acknowledged for audit in audits)


def outcome_lost(outcome: FaultOutcome) -> str:
    """Lost writes of one fault of a soak, as far as is known."""
    return total_lost([outcome])


def total_lost(outcomes: Sequence[FaultOutcome]) -> str:
    """Lost writes of several, as far as is known."""
    lost = sum(outcome.lost for outcome in outcomes)
    if all(outcome.audit_complete for outcome in outcomes):
        return str(lost)
    return f"at least {lost}" if lost else "unknown"


def outcomes_lost(outcomes: Sequence[FaultOutcome], of_what: str) -> str:
    """Lost writes in a sentence, over so many faults (rounds), and in how many of them that is not known."""
    unknown = sum(not outcome.audit_complete for outcome in outcomes)
    lost = sum(outcome.lost for outcome in outcomes)
    if not unknown:
        return f"acknowledged writes lost: {lost} in {len(outcomes)} {of_what}"
    known = f"{lost} in {len(outcomes)} {of_what}" if unknown < len(outcomes) or lost else f"unknown in all {unknown} {of_what}"
    return f"acknowledged writes lost: {known}" + (f"; unknown in {unknown} of them" if "unknown" not in known else "")


def outcomes_split(outcomes: Sequence[FaultOutcome], of_what: str) -> str:
    """Split brain over so many faults (rounds): for how long in all, and in how many of them that is not known."""
    split_s = sum(outcome.split_brain_s or 0.0 for outcome in outcomes)
    unknown = sum(outcome.split_brain_s is None for outcome in outcomes)
    if unknown and unknown == len(outcomes):
        return f"two writable databases: not watched in any of {unknown} {of_what}"
    seen = f"two writable databases for {split_s:.1f} s" if split_s else "never two writable databases"
    return seen + (f"; not watched in {unknown} of {len(outcomes)} {of_what}" if unknown else "")


def verdict_line(result: RunResult) -> str:
    """The verdict, and what it is about."""
    expected = listed([measure_text(str(each)) for each in result.info.expectations]) or "nothing in particular"
    if result.verdict is Verdict.HELD:
        return (
            f"Expected: {expected}. That is what happened{f' ({_decided(result.trials)})' if undecided(result.trials) else ''}."
        )
    if result.verdict is Verdict.REFUTED:
        return f"Expected: {expected}. It was not so: {'; '.join(grouped_checks(_missed(result.trials)))}."
    return f"Expected: {expected}. Inconclusive: {_decided(result.trials)}."


def _decided(trials: Sequence[TrialResult]) -> str:
    """How many trials count, and how many of these say nothing of an expectation."""
    found = undecided(trials)
    return f"{len(valid(trials))} of {count(len(trials), 'trial')} valid" + (f", {found} undecided" if found else "")


def undecided(trials: Iterable[TrialResult]) -> int:
    """How many valid trials leave an expectation undecided."""
    return sum(not trial.is_decided for trial in valid(trials))


def _missed(trials: Iterable[TrialResult]) -> list[Check]:
    return [check for trial in trials for check in trial.failures]


def grouped_checks(checks: Iterable[Check]) -> list[str]:
    """What was not as expected, each expectation once with the value or the range of values that were measured."""
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(str(check.expectation), []).append(check)
    return [measure_text(f"{what}: was {_range(some)}") for what, some in found.items()]


def _range(checks: Sequence[Check]) -> str:
    """From the smallest to the largest value."""
    ordered = sorted(checks, key=lambda check: check.measured.low if check.measured else 0.0)
    first, last = ordered[0].was, ordered[-1].was
    return first if first == last else f"{first} to {last}"


def check_text(check: Check) -> str:
    """An expectation and what was measured, in words."""
    return measure_text(str(check))


MISSED = re.compile(r"(.*): was (\d[\d.]*(?:e[+-]?\d+)?)", re.DOTALL)


def grouped(whys: Iterable[str]) -> list[str]:
    """The same of sentences, as a comparison keeps them."""
    found: dict[str, list[str]] = {}
    for why in whys:
        match = MISSED.fullmatch(why)
        values = found.setdefault(match[1] if match else why, [])
        values += [match[2]] if match else []
    return [measure_text(what) + (f": was {_between(values)}" if values else "") for what, values in found.items()]


def _between(values: Sequence[str]) -> str:
    ordered = sorted(values, key=_number)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0  # from somebody else's file: "1.2.3"


def measure_text(expectation: str) -> str:
    """An expectation in words: `downtime_longest_s at most 1` is "longest outage in seconds at most 1"."""
    for name, words in MEASURE_WORDS.items():
        if expectation.startswith(f"{name} "):
            return words + expectation.removeprefix(name)
    return expectation


MEASURE_WORDS = {
    "downtime_longest_s": "longest outage in seconds",
    "downtime_total_s": "all outages in seconds",
    "gap_s": "longest gap between two successes in seconds",
    "unserved_s": "seconds of load that failed",
    "requests_failed": "failed requests",
    "fault_availability_ratio": "share of good answers while the fault lasted",
    "reads_fault_availability_ratio": "share of good reads while the fault lasted",
    "writes_fault_availability_ratio": "share of good writes while the fault lasted",
    "reads_gap_s": "longest gap between two successful reads in seconds",
    "writes_gap_s": "longest gap between two successful writes in seconds",
    "reads_unserved_s": "seconds of reads that failed",
    "writes_unserved_s": "seconds of writes that failed",
    "availability_ratio": "share of good answers",
    "reads_availability_ratio": "share of good reads",
    "writes_availability_ratio": "share of good writes",
    "reads_failed": "failed reads",
    "writes_failed": "failed writes",
    "writes_lost": "lost writes",
    "writes_differing": "orders that a standby holds differently",
    "writes_unexpected": "unexpected writes",
    "writes_duplicate": "writes executed twice",
    "reads_downtime_longest_s": "longest outage of reads in seconds",
    "writes_downtime_longest_s": "longest outage of writes in seconds",
    "outages": "outages",
    "split_brain_s": "seconds of split brain",
    "multiple_vip_owners_s": "seconds with two holders of the address",
    "time_without_redundancy_s": "seconds without redundancy",
    "time_to_redundancy_s": "seconds from the healing until redundancy was restored",
    "served_of_capacity_ratio": "share served in time of what one web box carries",
}


def matrix_headline(matrix: Matrix) -> str:
    """The comparison in one sentence: what the first, the best and the last row survive, what that costs, and what was lost."""
    scored = [(row, *_survived(row)) for row in matrix.rows]
    scored = [each for each in scored if each[2]]
    if not scored:
        return "Nothing was tried that can be compared."
    best = max(scored, key=lambda each: (each[1] / each[2], each[2], -each[0].boxes))
    named = {each[0].name for each in (scored[0], best, scored[-1])}
    ordered = [each for each in scored if each[0].name in named]
    said = [_survives(*each, first=not at) for at, each in enumerate(ordered)]
    return f"{', '.join(said)}; {matrix_losses(matrix)}."


def _survives(row: Row, survived: int, tried: int, first: bool) -> str:
    of = f"survives {survived} of {count(tried, 'fault')}" if first else f"{survived} of {tried}"
    return f"{row.called} {of} with {cost(row)}"


def matrix_losses(matrix: Matrix) -> str:
    """Acknowledged writes that were lost in all, and where that is not known."""
    cells = [(row, cell) for row in matrix.rows for cell in row.cells if cell.applicable]
    gone = sum(cell.writes_lost for _, cell in cells)
    unknown = [f"{cell.column} of {row.called}" for row, cell in cells if not cell.losses_known]
    if not unknown:
        return f"{count(gone, 'acknowledged write')} lost in all" if gone else "no acknowledged write was lost"
    few = unknown if len(unknown) <= UNKNOWN_NAMED_MAX else [*unknown[:2], f"{len(unknown) - 2} other cells"]
    known = f"{count(gone, 'acknowledged write')} lost, and" if gone else "whether an acknowledged write was lost is"
    return f"{known} not known for {listed(few)}"


UNKNOWN_NAMED_MAX = 3
"""More cells of which a loss is not known than this are counted, not named."""


def _survived(row: Row) -> tuple[int, int]:
    """Faults survived, and faults that were tried and tell something."""
    tried = [cell for cell in row.cells if cell.applicable and cell.verdict is not Verdict.INCONCLUSIVE]
    return sum(survived(cell) for cell in tried), len(tried)


def survived(cell: Cell) -> bool:
    """Whether the stage did what was expected of it, ended the outage of every trial by itself, and lost nothing.

    Two databases that may have taken writes at once, with nothing watching them, are not survived.
    """
    return cell.verdict is Verdict.HELD and not cell.is_cut and not cell.writes_lost and cell.split_brain_s == 0


def cost(row: Row) -> str:
    """What a stage takes."""
    return f"{row.boxes} box{'' if row.boxes == 1 else 'es'} and {memory(row.memory_mib)}"


def memory(mib: int) -> str:
    """Memory for people."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"


def cell_downtime(cell: Cell) -> str:
    """What stands in a cell of the heat map."""
    if not cell.applicable:
        return "n/a"
    if cell.downtime_median_s is None:
        return "?"
    return seconds(cell.downtime_median_s, cell.downtime_censored)


def cell_members(cell: Cell) -> str:
    """Each target of a cell with its own median, the worst first: "eu 2.90 s (us 0 s, witness 0 s)"; empty for one target."""
    if not cell.members:
        return ""
    ordered = sorted(cell.members, key=lambda each: each.target != cell.worst)
    said = [f"{each.name} {member_downtime(each)}" for each in ordered]
    return f"{said[0]} ({', '.join(said[1:])})" if len(said) > 1 else said[0]


def member_downtime(member: Member) -> str:
    """The median of one target of a cell."""
    return "no valid trial" if member.downtime_median_s is None else seconds(member.downtime_median_s, member.downtime_censored)


AGREE_S = 0.05
"""Reads and writes that are as near as this to the service are not shown apart."""


def cell_apart(cell: Cell) -> str:
    """The medians of reads and of writes: "reads 0 · writes 1.44"; empty where both are that of the service, or not known."""
    whole_s, reads_s, writes_s = cell.downtime_median_s, cell.reads_downtime_median_s, cell.writes_downtime_median_s
    if whole_s is None or reads_s is None or writes_s is None:
        return ""
    bounds = {cell.downtime_censored, cell.reads_downtime_median_censored, cell.writes_downtime_median_censored}
    if len(bounds) == 1 and max(abs(reads_s - whole_s), abs(writes_s - whole_s)) <= AGREE_S:
        return ""
    reads = _bare(reads_s, cell.reads_downtime_median_censored)
    return f"reads {reads} · writes {_bare(writes_s, cell.writes_downtime_median_censored)}"


def cell_gap(cell: Cell) -> str:
    """The median of the longest time without a success: "gap 0.82"; empty where it is not known."""
    return "" if cell.gap_median_s is None else f"gap {_bare(cell.gap_median_s, cell.gap_median_censored)}"


def cell_beside(cell: Cell) -> list[str]:
    """What stands beneath the median in a narrow column: reads, writes and the gap, a line each."""
    return [line for line in (*cell_apart(cell).split(" · "), cell_gap(cell)) if line]


def cell_worst(cell: Cell) -> str:
    """The longest outage of any trial: "worst of 20: ≥ 3.00 s"; empty where it is the median, or not known."""
    counted = sum(each.trials_valid for each in cell.samples)
    if cell.downtime_worst_s is None or counted < 2:
        return ""
    return f"worst of {counted}: {seconds(cell.downtime_worst_s, cell.downtime_worst_censored)}"


def cell_alarms(cell: Cell) -> list[str]:
    """What must never be: lost writes, and two databases that took writes at once."""
    lost = [f"{cell.writes_lost:,} lost"] if cell.writes_lost else []
    return lost + ([f"split brain {seconds(cell.split_brain_s)}"] if cell.split_brain_s else [])


def split_text(split_brain_s: float | None) -> str:
    """For how long two databases took writes at once."""
    return "not watched" if split_brain_s is None else seconds(split_brain_s)


def _bare(value_s: float, censored: bool) -> str:
    """A time without its unit, beside others that have it."""
    return seconds(value_s, censored).removesuffix(" s")


def cell_interval(cell: Cell) -> str:
    """The interval for its median; empty for fewer than two trials."""
    if cell.trials_valid < 2 or cell.downtime_low_s is None:
        return ""
    if cell.downtime_high_s is None:
        return f"{cell.downtime_low_s:.2f} s or longer"
    return f"{cell.downtime_low_s:.2f} to {cell.downtime_high_s:.2f} s"


def degraded_unknown(cell: Cell) -> str:
    """In how many trials it is not known when redundancy was restored; empty for none."""
    return f" ({cell.degraded_unknown} unknown)" if cell.degraded_unknown else ""


def cell_sentence(cell: Cell) -> str:
    """All of a cell in words."""
    if not cell.applicable:
        return f"does not apply: {'; '.join(cell.why)}"
    parts = [f"longest outage {cell_members(cell) or cell_downtime(cell)}"]
    interval = cell_interval(cell)
    if interval and cell.downtime_coverage_ratio is not None:
        parts.append(f"{cell.downtime_coverage_ratio:.0%} interval {interval}")
    parts += [each for each in (cell_worst(cell), _apart_sentence(cell)) if each]
    parts.append(f"{cell.trials_valid} of {count(cell.trials, 'trial')} valid" + (f" of {cell.worst}" if cell.worst else ""))
    parts += _all_trials(cell)
    if cell.availability_ratio is not None:
        parts.append(f"availability {share_text(cell.availability_ratio, cell.availability_censored)}")
    parts.append(f"{cell.writes_lost} writes lost" + ("" if cell.losses_known else ", as far as is known"))
    if cell.split_brain_s != 0:
        parts.append(f"split brain {split_text(cell.split_brain_s)}")
    if cell.without_redundancy_s is not None:
        parts.append(f"without redundancy for {seconds(cell.without_redundancy_s)}{degraded_unknown(cell)}")
    return "; ".join([*parts, *grouped(cell.why)])


def _apart_sentence(cell: Cell) -> str:
    """Reads, writes and the gap, each with its unit."""
    known = (
        ("of reads", cell.reads_downtime_median_s, cell.reads_downtime_median_censored),
        ("of writes", cell.writes_downtime_median_s, cell.writes_downtime_median_censored),
        ("longest gap", cell.gap_median_s, cell.gap_median_censored),
    )
    return ", ".join(f"{name} {seconds(value_s, censored)}" for name, value_s, censored in known if value_s is not None)


def _all_trials(cell: Cell) -> list[str]:
    """The median with the trials that are not valid, where there are any: leaving them out favours the system."""
    if cell.downtime_median_all_s is None or cell.trials_valid == cell.trials:
        return []
    return [f"with those that are not valid {seconds(cell.downtime_median_all_s, cell.downtime_median_all_censored)}"]
