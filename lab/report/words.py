"""What a run, a trial or a comparison says in a sentence: the same in every report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from lab.availability import median_interval
from lab.model import Outage, RunInfo, RunResult, TrialResult, Verdict, longest_s
from lab.report.matrix import Cell, Matrix, Row
from lab.statistics import loss_upper_bound

MISSED = re.compile(r"(.*): was (\d[\d.]*(?:e[+-]?\d+)?)", re.DOTALL)
NOBODY_NOTICED = "no user noticed"
PHASE_WORDS = {
    "inject_s": "broken",
    "bite_s": "seen to be broken",
    "impact_s": "first request failed",
    "detect_s": "noticed",
    "elect_s": "decided who takes over",
    "reroute_s": "taken over",
    "recover_s": "served again",
    "alert_s": "somebody told",
    "repair_s": "repair begins",
    "heal_s": "healed by the lab",
    "operator_s": "operator acts",
    "promoted_s": "operator is done",
    "redundant_s": "nothing missing",
}


@dataclass(frozen=True)
class Downtimes:
    """The longest outages of some trials, and the interval for their median; seconds."""

    median_s: float
    low_s: float
    high_s: float
    coverage_ratio: float
    longest_s: float
    censored: bool
    """One of them is a lower bound."""

    @property
    def text(self) -> str:
        """The median, as a bound where it may be one."""
        return seconds(self.median_s, self.censored and self.median_s > 0)


def downtimes(outages: Sequence[tuple[Outage, ...]]) -> Downtimes:
    """The downtimes of at least one trial, each from its outages."""
    lengths_s = [longest_s(each) for each in outages]
    low_s, high_s, coverage_ratio = median_interval(lengths_s)
    censored = any(outage.censored for each in outages for outage in each)
    return Downtimes(median(lengths_s), low_s, high_s, coverage_ratio, max(lengths_s), censored)


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


def percent(ratio: float | None) -> str:
    """A share for people; never rounded up to 100 %."""
    if ratio is None:
        return "unknown"
    shown = f"{ratio:.2%}"
    return "99.99%" if shown == "100.00%" and ratio < 1 else "100%" if ratio >= 1 else shown


def count(number: int, thing: str) -> str:
    """1 trial, 2 trials."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


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
    said = [_gone(result, good), *_split(result.trials), *([lost(result.trials)] if result.info.plan.has_writes else [])]
    return f"{result.info.title}: {listed(said)}."


def _because(trials: Sequence[TrialResult]) -> str:
    if not trials:
        return ", no trial was completed"
    reasons = [reason for trial in trials for reason in trial.reasons]
    return f", {reasons[0]}" if reasons else ""


def _gone(result: RunResult, good: Sequence[TrialResult]) -> str:
    """For how long, and to whom."""
    reads = downtimes([trial.read_outages for trial in good])
    writes = downtimes([trial.write_outages for trial in good])
    whole = downtimes([trial.outages for trial in good])
    if whole.longest_s == 0:
        return NOBODY_NOTICED
    if whole.median_s == 0:
        return f"{_most(len(good))} saw no outage, the worst one of {seconds(whole.longest_s, whole.censored)}"
    about = f" (median of {count(len(good), 'trial')})" if len(good) > 1 else ""
    if result.info.plan.has_writes and reads.longest_s == 0:
        return f"nothing could be ordered for {_long(writes)}{about} while reading went on"
    if result.info.plan.has_writes and writes.longest_s == 0:
        return f"nothing could be read for {_long(reads)}{about} while ordering went on"
    return f"the service was gone for {_long(whole)}{about}"


def _most(trials: int) -> str:
    return "users" if trials == 1 else f"most of {trials} trials"


def _long(found: Downtimes) -> str:
    if found.median_s == 0:
        return f"up to {seconds(found.longest_s)}"
    return f"{'at least ' if found.censored else ''}{seconds(found.median_s)}"


def _split(trials: Sequence[TrialResult]) -> list[str]:
    longest = max((trial.writable.get("several_s", 0.0) for trial in trials), default=0.0)
    return [f"two databases accepted writes for {seconds(longest)}"] if longest else []


def lost(trials: Sequence[TrialResult]) -> str:
    """Whether acknowledged writes were lost, as far as anybody knows."""
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


def verdict_line(result: RunResult) -> str:
    """The verdict, and what it is about."""
    expected = listed([measure_text(str(each)) for each in result.info.expectations]) or "nothing in particular"
    if result.verdict is Verdict.HELD:
        return f"Expected: {expected}. That is what happened."
    if result.verdict is Verdict.REFUTED:
        return f"Expected: {expected}. It was not so: {'; '.join(grouped(_missed(result.trials)))}."
    return (
        f"Expected: {expected}. Nothing can be said: {count(len(valid(result.trials)), 'valid trial')} of {len(result.trials)}."
    )


def _missed(trials: Iterable[TrialResult]) -> list[str]:
    return [failure for trial in trials for failure in trial.failed_expectations]


def grouped(whys: Iterable[str]) -> list[str]:
    """What was not as expected, each expectation once with the value or the range of values that were measured."""
    found: dict[str, list[str]] = {}
    for why in whys:
        match = MISSED.fullmatch(why)
        values = found.setdefault(match[1] if match else why, [])
        values += [match[2]] if match else []
    return [measure_text(what) + (f": was {_range(values)}" if values else "") for what, values in found.items()]


def _range(values: Sequence[str]) -> str:
    ordered = sorted(values, key=_number)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0  # from somebody else's file: "1.2.3"


def measure_text(expectation: str) -> str:
    """An expectation in words: `downtime_longest_s at most 1` is "longest downtime (s) at most 1"."""
    for name, words in MEASURE_WORDS.items():
        if expectation.startswith(f"{name} "):
            return words + expectation.removeprefix(name)
    return expectation


MEASURE_WORDS = {
    "downtime_longest_s": "longest outage in seconds",
    "downtime_total_s": "all outages in seconds",
    "availability_ratio": "share of good answers",
    "reads_availability_ratio": "share of good reads",
    "writes_availability_ratio": "share of good writes",
    "reads_failed": "failed reads",
    "writes_failed": "failed writes",
    "writes_lost": "lost writes",
    "writes_unexpected": "unexpected writes",
    "writes_duplicate": "writes executed twice",
    "reads_downtime_longest_s": "longest outage of reads in seconds",
    "writes_downtime_longest_s": "longest outage of writes in seconds",
    "outages": "outages",
    "split_brain_s": "seconds of split brain",
    "address_several_s": "seconds with two holders of the address",
    "degraded_redundancy_s": "seconds with nothing in reserve",
    "rejoin_s": "seconds until it was of full use again",
    "served_of_capacity_ratio": "share served in time of what one web box carries",
}


def matrix_headline(matrix: Matrix) -> str:
    """The comparison in one sentence: from what the first row survives to what the best does, and what that costs."""
    scored = [(row, *_survived(row)) for row in matrix.rows]
    scored = [each for each in scored if each[2]]
    if not scored:
        return "Nothing was tried that can be compared."
    best = max(scored, key=lambda each: (each[1] / each[2], each[2], -each[0].boxes))
    first = scored[0]
    said = f"{first[0].name} survives {first[1]} of {count(first[2], 'fault')} with {cost(first[0])}"
    if best[0] is not first[0]:
        said += f", {best[0].name} {best[1]} of {best[2]} with {cost(best[0])}"
    lost = sum(cell.writes_lost for row in matrix.rows for cell in row.cells)
    return said + (f"; {count(lost, 'acknowledged write')} lost in all." if lost else "; no acknowledged write was lost.")


def _survived(row: Row) -> tuple[int, int]:
    """Faults survived, and faults that were tried and tell something."""
    tried = [cell for cell in row.cells if cell.applicable and cell.verdict is not Verdict.INCONCLUSIVE]
    return sum(survived(cell) for cell in tried), len(tried)


def survived(cell: Cell) -> bool:
    """Whether the stage did what was expected of it, ended its outage by itself and lost nothing."""
    return cell.verdict is Verdict.HELD and not cell.downtime_censored and not cell.writes_lost and not cell.split_brain_s


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


def cell_interval(cell: Cell) -> str:
    """The interval for its median; empty for fewer than two trials."""
    if cell.trials_valid < 2 or cell.downtime_low_s is None or cell.downtime_high_s is None:
        return ""
    return f"{cell.downtime_low_s:.2f} to {cell.downtime_high_s:.2f} s"


def cell_sentence(cell: Cell) -> str:
    """All of a cell in words."""
    if not cell.applicable:
        return f"does not apply: {'; '.join(cell.why)}"
    parts = [f"gone for {cell_downtime(cell)}"]
    interval = cell_interval(cell)
    if interval and cell.downtime_coverage_ratio is not None:
        parts.append(f"{cell.downtime_coverage_ratio:.0%} interval {interval}")
    parts.append(f"{cell.trials_valid} of {count(cell.trials, 'trial')} valid")
    if cell.availability_ratio is not None:
        parts.append(f"availability {percent(cell.availability_ratio)}")
    parts.append(f"{cell.writes_lost} writes lost")
    if cell.split_brain_s:
        parts.append(f"split brain {seconds(cell.split_brain_s)}")
    if cell.degraded_s is not None:
        parts.append(f"nothing in reserve for {seconds(cell.degraded_s)}")
    return "; ".join([*parts, *grouped(cell.why)])
