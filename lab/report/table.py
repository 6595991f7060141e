"""A run as CSV, a line a trial; a comparison as CSV, a line a cell. Names end in their units, as in the JSON document."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.model.result import Operation, RunResult, TrialResult, longest_s
from lab.model.topology import Tier
from lab.report import words

Value = str | float | bool | None


def run(result: RunResult) -> str:
    """A line for each trial, valid or not."""
    return _csv([_trial(result, trial) for trial in result.trials], list(TRIAL_COLUMNS))


def comparison(matrix: Matrix) -> str:
    """A line for each stage and fault that was tried or does not apply."""
    found = [(row, column, row.cell(column.name)) for row in matrix.rows for column in matrix.columns]
    return _csv([_cell(matrix, row, column, cell) for row, column, cell in found if cell], list(CELL_COLUMNS))


def _trial(result: RunResult, trial: TrialResult) -> dict[str, Value]:
    info, audit, writes = result.info, trial.audit, trial.has_writes
    return {
        "stage": info.stage or None,
        "stage_folder": info.stage_folder,
        "failover": info.failover,
        "experiment": info.experiment,
        "started_at": info.started_at,
        "rate_per_s": info.plan.rate_per_s,
        "deadline_s": info.plan.deadline_s,
        "trial": trial.number,
        "seed": trial.seed,
        "valid": trial.valid,
        "undecided_expectations": "; ".join(str(check) for check in trial.undecided),
        "reasons": "; ".join(trial.reasons),
        "failed_expectations": "; ".join(str(check) for check in trial.failures),
        "targets": " ".join(trial.targets),
        "intended": trial.total.intended,
        "good": trial.total.good,
        "availability_ratio": trial.total.ratio if trial.total.intended else None,
        "reads_intended": trial.reads.intended,
        "reads_good": trial.reads.good,
        "writes_intended": trial.writes.intended if writes else None,
        "writes_good": trial.writes.good if writes else None,
        "outages": len(trial.outages),
        "downtime_longest_s": trial.downtime_longest_s,
        "downtime_total_s": trial.downtime_total_s,
        "downtime_censored": trial.censored,
        "gap_s": trial.total.gap.length_s if trial.total.gap else None,
        "gap_censored": bool(trial.total.gap and trial.total.gap.censored),
        "reads_gap_s": trial.reads.gap.length_s if trial.reads.gap else None,
        "writes_gap_s": trial.writes.gap.length_s if trial.writes.gap else None,
        "unserved_s": trial.total.unserved_s,
        "reads_unserved_s": trial.reads.unserved_s,
        "writes_unserved_s": trial.writes.unserved_s if writes else None,
        "fault_availability_ratio": _during(trial.total),
        "reads_fault_availability_ratio": _during(trial.reads),
        "writes_fault_availability_ratio": _during(trial.writes),
        **_outage("reads", trial.reads, trial.reads.intended > 0),
        **_outage("writes", trial.writes, writes),
        "writes_acknowledged": audit.acknowledged if writes else None,
        "writes_lost": audit.lost if audit.complete else None,
        "writes_differing": audit.writes_differing if writes else None,
        "writes_unexpected": audit.unexpected if audit.complete else None,
        "writes_duplicate": audit.duplicate if audit.complete else None,
        "split_brain_s": trial.writable.get("multiple_writers_s"),
        "multiple_vip_owners_s": trial.vip_owners.get("multiple_owners_s"),
        "time_without_redundancy_s": trial.time_without_redundancy_s,
        "time_to_redundancy_s": trial.time_to_redundancy_s,
        "served_of_capacity_ratio": trial.served_ratio,
        **{name: trial.phases.get(name) for name in words.PHASE_WORDS},
        **{f"latency_{name}_ms": trial.latency_ms[name] for name in ("p50", "p99", "max", "longest")},
        "generator_lag_p99_ms": trial.generator.lag_p99_ms,
        "generator_lag_max_ms": trial.generator.lag_max_ms,
        "generator_cpu_ratio": trial.generator.cpu_ratio,
        **{_exposure(each.tier): each.without_redundancy_s for each in trial.exposure},
    }


def _during(of: Operation) -> float | None:
    return of.during_fault.ratio if of.during_fault else None


def _outage(name: str, of: Operation, is_known: bool) -> dict[str, Value]:
    found: dict[str, Value] = {f"{name}_downtime_longest_s": longest_s(of.outages), f"{name}_downtime_censored": of.censored}
    return found if is_known else dict.fromkeys(found)


def _exposure(tier: str) -> str:
    return f"exposure_{tier}_s"


# Of no trial there is a first line too.
TRIAL_COLUMNS = (
    *("stage", "stage_folder", "failover", "experiment", "started_at", "rate_per_s", "deadline_s", "trial", "seed", "valid"),
    *(
        "reasons",
        "failed_expectations",
        "undecided_expectations",
        "targets",
        "intended",
        "good",
        "availability_ratio",
        "reads_intended",
        "reads_good",
    ),
    *("writes_intended", "writes_good", "outages", "downtime_longest_s", "downtime_total_s", "downtime_censored"),
    *("gap_s", "gap_censored", "reads_gap_s", "writes_gap_s", "unserved_s", "reads_unserved_s", "writes_unserved_s"),
    *("fault_availability_ratio", "reads_fault_availability_ratio", "writes_fault_availability_ratio"),
    *("reads_downtime_longest_s", "reads_downtime_censored", "writes_downtime_longest_s", "writes_downtime_censored"),
    *("writes_acknowledged", "writes_lost", "writes_differing", "writes_unexpected"),
    *(
        "writes_duplicate",
        "split_brain_s",
        "multiple_vip_owners_s",
        "time_without_redundancy_s",
        "time_to_redundancy_s",
        "served_of_capacity_ratio",
    ),
    *words.PHASE_WORDS,
    *("latency_p50_ms", "latency_p99_ms", "latency_max_ms", "latency_longest_ms"),
    *("generator_lag_p99_ms", "generator_lag_max_ms", "generator_cpu_ratio"),
    *(_exposure(tier.value) for tier in Tier),
)
CELL_COLUMNS = (
    *("stage", "name", "failover", "boxes", "memory_mib", "column", "column_title", "experiment", "applicable", "verdict"),
    *("trials", "trials_valid", "downtime_median_s", "downtime_low_s", "downtime_high_s", "downtime_coverage_ratio"),
    *(
        "downtime_censored",
        "availability_ratio",
        "availability_censored",
        "writes_lost",
        "split_brain_s",
        "without_redundancy_s",
        "why",
        "seed",
        "started_at",
    ),
    *("worst", "audits_incomplete", "downtime_worst_s", "downtime_worst_censored"),
    *("downtime_median_all_s", "downtime_median_all_censored", "reads_downtime_median_s", "reads_downtime_median_censored"),
    *("writes_downtime_median_s", "writes_downtime_median_censored", "gap_median_s", "gap_median_censored", "degraded_unknown"),
)


def _cell(matrix: Matrix, row: Row, column: Column, cell: Cell) -> dict[str, Value]:
    """The fields of both by their own names; of a cell that does not apply, no figures."""
    whole: dict[str, Value] = {"column_title": column.title, "seed": matrix.seed, "started_at": matrix.started_at}
    whole |= {name: getattr(row, name) for name in ("stage", "name", "failover", "boxes", "memory_mib")}
    mine = set(CELL_COLUMNS) - set(whole) - {"why", "verdict"}
    whole |= {name: getattr(cell, name) for name in mine if cell.applicable or name in ("column", "experiment", "applicable")}
    return whole | {"why": "; ".join(cell.why), "verdict": cell.verdict.value if cell.verdict else None}


def _csv(rows: Iterable[dict[str, Value]], columns: Sequence[str]) -> str:
    out = StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _value(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _value(value: Value) -> str:
    """As text: true and false, microseconds, nothing for what is not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{round(value, 6):g}" if value == round(value) else repr(round(value, 6))
    return _harmless(value) if isinstance(value, str) else str(value)


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
