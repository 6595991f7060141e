"""A run as CSV, a line a trial; a comparison as CSV, a line a cell. Names end in their units, as in the JSON document."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from io import StringIO

from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.matrix import Column as MatrixColumn
from lab.analysis.parts import part_name
from lab.model.history import RunInfo
from lab.model.measures import Check
from lab.model.result import Operation, RunResult, TrialResult, WritesAudit, longest_s
from lab.model.topology import Tier
from lab.report import matrix_words, run_words, words

Value = str | float | bool | None
Column = Callable[[RunInfo, TrialResult], Value]


def run(result: RunResult) -> str:
    """A line for each trial, valid or not."""
    rows = [{name: read(result.info, trial) for name, read in TRIAL_COLUMNS.items()} for trial in result.trials]
    return _csv(rows, list(TRIAL_COLUMNS))


def comparison(matrix: Matrix) -> str:
    """A line for each stage and fault that was tried or does not apply."""
    found = [(row, column, row.cell(column.name)) for row in matrix.rows for column in matrix.columns]
    return _csv([_cell(matrix, row, column, cell) for row, column, cell in found if cell], list(CELL_COLUMNS))


# The columns of a trial


def _of_info(read: Callable[[RunInfo], Value]) -> Column:
    return lambda info, _: read(info)


def _of_trial(read: Callable[[TrialResult], Value]) -> Column:
    return lambda _, trial: read(trial)


def _of_writes(read: Callable[[TrialResult], Value]) -> Column:
    """Empty where nothing was to be written."""
    return lambda _, trial: read(trial) if trial.has_writes else None


def _of_audit(read: Callable[[WritesAudit], Value]) -> Column:
    """Empty where a database could not be read."""
    return lambda _, trial: read(trial.audit) if trial.audit.complete else None


def _checks(choose: Callable[[TrialResult], Sequence[Check]]) -> Column:
    return lambda _, trial: "; ".join(map(run_words.check_text, choose(trial)))


def _gap(choose: Callable[[TrialResult], Operation]) -> Column:
    return lambda _, trial: gap.length_s if (gap := choose(trial).gap) else None


def _during(choose: Callable[[TrialResult], Operation]) -> Column:
    return lambda _, trial: share.ratio if (share := choose(trial).during_fault) else None


def _phase(name: str) -> Column:
    return lambda _, trial: trial.phases.get(name)


def _latency(name: str) -> Column:
    return lambda _, trial: trial.latency_ms[name]


def _without_redundancy(tier: Tier) -> Column:
    return lambda _, trial: next((each.without_redundancy_s for each in trial.exposure if each.tier == tier.value), None)


TRIAL_COLUMNS: dict[str, Column] = {
    "stage": _of_info(lambda info: info.stage or None),
    "stage_folder": _of_info(lambda info: info.stage_folder),
    "failover": _of_info(lambda info: info.failover),
    "experiment": _of_info(lambda info: info.experiment),
    "started_at": _of_info(lambda info: info.started_at),
    "rate_per_s": _of_info(lambda info: info.plan.rate_per_s),
    "deadline_s": _of_info(lambda info: info.plan.deadline_s),
    "trial": _of_trial(lambda trial: trial.number),
    "seed": _of_trial(lambda trial: trial.seed),
    "valid": _of_trial(lambda trial: trial.valid),
    "reasons": _of_trial(lambda trial: "; ".join(trial.reasons)),
    "failed_expectations": _checks(lambda trial: trial.failures),
    "undecided_expectations": _checks(lambda trial: trial.undecided),
    "targets": _of_trial(lambda trial: " ".join(trial.targets)),
    "intended": _of_trial(lambda trial: trial.total.intended),
    "good": _of_trial(lambda trial: trial.total.good),
    "availability_ratio": _of_trial(lambda trial: trial.total.ratio if trial.total.intended else None),
    "reads_intended": _of_trial(lambda trial: trial.reads.intended),
    "reads_good": _of_trial(lambda trial: trial.reads.good),
    "writes_intended": _of_writes(lambda trial: trial.writes.intended),
    "writes_good": _of_writes(lambda trial: trial.writes.good),
    "outages": _of_trial(lambda trial: len(trial.outages)),
    "downtime_longest_s": _of_trial(lambda trial: trial.downtime_longest_s),
    "downtime_total_s": _of_trial(lambda trial: trial.downtime_total_s),
    "downtime_censored": _of_trial(lambda trial: trial.censored),
    "gap_s": _gap(lambda trial: trial.total),
    "gap_censored": _of_trial(lambda trial: bool(trial.total.gap and trial.total.gap.censored)),
    "reads_gap_s": _gap(lambda trial: trial.reads),
    "writes_gap_s": _gap(lambda trial: trial.writes),
    "unserved_s": _of_trial(lambda trial: trial.total.unserved_s),
    "reads_unserved_s": _of_trial(lambda trial: trial.reads.unserved_s),
    "writes_unserved_s": _of_writes(lambda trial: trial.writes.unserved_s),
    "fault_availability_ratio": _during(lambda trial: trial.total),
    "reads_fault_availability_ratio": _during(lambda trial: trial.reads),
    "writes_fault_availability_ratio": _during(lambda trial: trial.writes),
    "reads_downtime_longest_s": _of_trial(lambda trial: longest_s(trial.read_outages) if trial.reads.intended else None),
    "reads_downtime_censored": _of_trial(lambda trial: trial.reads.censored if trial.reads.intended else None),
    "writes_downtime_longest_s": _of_writes(lambda trial: longest_s(trial.write_outages)),
    "writes_downtime_censored": _of_writes(lambda trial: trial.writes.censored),
    "writes_acknowledged": _of_writes(lambda trial: trial.audit.acknowledged),
    "writes_lost": _of_audit(lambda audit: audit.lost),
    "writes_differing": _of_writes(lambda trial: trial.audit.writes_differing),
    "writes_unexpected": _of_audit(lambda audit: audit.unexpected),
    "writes_duplicate": _of_audit(lambda audit: audit.duplicate),
    "split_brain_s": _of_trial(run_words.multiple_writers_s),
    "multiple_vip_owners_s": _of_trial(run_words.multiple_owners_s),
    "time_without_redundancy_s": _of_trial(lambda trial: trial.time_without_redundancy_s),
    "time_to_redundancy_s": _of_trial(lambda trial: trial.time_to_redundancy_s),
    "served_of_capacity_ratio": _of_trial(lambda trial: trial.served_ratio),
    **{name: _phase(name) for name in words.PHASE_WORDS},
    **{f"latency_{name}_ms": _latency(name) for name in ("p50", "p99", "max", "longest")},
    "generator_lag_p99_ms": _of_trial(lambda trial: trial.generator.lag_p99_ms),
    "generator_lag_max_ms": _of_trial(lambda trial: trial.generator.lag_max_ms),
    "generator_cpu_ratio": _of_trial(lambda trial: trial.generator.cpu_ratio),
    **{f"without_redundancy_{tier.value}_s": _without_redundancy(tier) for tier in Tier},
}


# Those of a cell

CELL_COLUMNS = (
    *("stage", "name", "failover", "boxes", "memory_mib", "column", "column_title", "experiment", "applicable", "verdict"),
    *("trials", "trials_valid", "downtime_median_s", "downtime_low_s", "downtime_high_s", "downtime_coverage_ratio"),
    *(
        "downtime_censored",
        "availability_ratio",
        "availability_censored",
        "writes_lost",
        "split_brain_s",
        "time_without_redundancy_s",
        "why",
        "seed",
        "started_at",
    ),
    *("worst", "audits_incomplete", "downtime_worst_s", "downtime_worst_censored"),
    *("downtime_median_all_s", "downtime_median_all_censored", "reads_downtime_median_s", "reads_downtime_median_censored"),
    *(
        "writes_downtime_median_s",
        "writes_downtime_median_censored",
        "gap_median_s",
        "gap_median_censored",
        "time_without_redundancy_unknown",
    ),
    *("part", "fault", "notified", "trials_notified", "trials_not_notified", "trials_no_alert_needed"),
)
OF_COLUMN_AND_WORDS = ("part", "fault", "notified", "why", "verdict")


def _cell(matrix: Matrix, row: Row, column: MatrixColumn, cell: Cell) -> dict[str, Value]:
    """The fields of both by their own names; of a cell that does not apply, no figures."""
    whole: dict[str, Value] = {"column_title": column.title, "seed": matrix.seed, "started_at": matrix.started_at}
    whole |= {name: getattr(row, name) for name in ("stage", "name", "failover", "boxes", "memory_mib")}
    mine = set(CELL_COLUMNS) - set(whole) - set(OF_COLUMN_AND_WORDS)
    whole |= {name: getattr(cell, name) for name in mine if cell.applicable or name in ("column", "experiment", "applicable")}
    whole |= {"part": part_name(column.members), "fault": column.fault}
    whole |= {"notified": cell.notified.value if cell.applicable else None}
    return whole | {"why": "; ".join(matrix_words.cell_why(cell)), "verdict": cell.verdict.value if cell.verdict else None}


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
