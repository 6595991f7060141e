"""A comparison of stages as one table: a row a stage, a column a fault, a cell a run. What a sweep is, too: one row.

Whoever compares fills it; every report of a comparison is made from it, and from its JSON, without Docker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lab.errors import DiskError, UsageError
from lab.journal import RESULTS_FOLDER
from lab.model import RunResult, TrialResult, Verdict

SCHEMA_VERSION = 1
FILE_NAME = "matrix.json"
CELLS_MAX = 2000


@dataclass(frozen=True)
class Column:
    """A fault that is done to every stage that has what it needs."""

    name: str
    """Short, and different from every other of the matrix: `kill-web`."""
    title: str
    """In words, for people: "a web box is lost"."""


@dataclass(frozen=True)
class Cell:
    """One fault at one stage, over its trials. Seconds, and ratios from 0 to 1."""

    column: str
    """The name of its column."""
    experiment: str
    """What was run; stages may need different experiments for the same fault. Empty where nothing was."""
    applicable: bool
    """Whether the stage has what the fault needs; where not, `why` says what is missing and all else is empty."""
    verdict: Verdict | None
    """None where it is not applicable."""
    trials: int = 0
    trials_valid: int = 0
    downtimes_s: tuple[float, ...] = ()
    """The longest outage of each valid trial, in order of trials."""
    downtimes_censored: tuple[bool, ...] = ()
    """For each of these whether it is a lower bound; empty where that is not known."""
    downtime_median_s: float | None = None
    """None without a valid trial."""
    downtime_low_s: float | None = None
    downtime_high_s: float | None = None
    """The interval for the median, and the probability with which such an interval covers it."""
    downtime_coverage_ratio: float | None = None
    downtime_censored: bool = False
    """The downtime of some valid trial is a lower bound."""
    availability_ratio: float | None = None
    """Median over the valid trials."""
    writes_lost: int = 0
    """Acknowledged and in no database, all trials together, also those that are not valid."""
    split_brain_s: float = 0.0
    """The longest of any trial, valid or not."""
    degraded_s: float | None = None
    """Median over the valid trials in which it is known of how long users were served with nothing in reserve."""
    why: tuple[str, ...] = ()
    """Why it is not applicable, inconclusive or refuted."""
    folder: str = ""
    """Where the run is kept; empty where it is not."""


@dataclass(frozen=True)
class Row:
    """One stage, and what became of every fault that was tried on it."""

    stage: int
    name: str
    """For people, and different from every other of the matrix: "4-database-replication (automatic)"."""
    failover: str
    """Which file of the stage: none or automatic."""
    boxes: int
    """How many the stage needs, without the internet: what its redundancy costs."""
    memory_mib: int
    cells: tuple[Cell, ...]
    """At most one of each column; a column that is missing was not tried."""

    def cell(self, column: str) -> Cell | None:
        """What became of a fault; None where it was not tried."""
        return next((cell for cell in self.cells if cell.column == column), None)


@dataclass(frozen=True)
class Matrix:
    """Stages against faults."""

    title: str
    started_at: str
    """UTC, as in 2026-01-31T12:00:00Z."""
    seed: int
    rate_per_s: float
    deadline_s: float
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def to_document(self) -> dict[str, Any]:
        """The matrix as JSON-ready data."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def cell_of(column: str, result: RunResult) -> Cell:
    """The cell that a run fills."""
    summary = result.summary
    valid = [trial for trial in result.trials if trial.valid]
    degraded_s = [trial.degraded_redundancy_s for trial in valid if trial.degraded_redundancy_s is not None]
    low_s, high_s = summary.downtime_ci_s or (None, None)
    return Cell(
        column=column,
        experiment=result.info.experiment,
        applicable=True,
        verdict=result.verdict,
        trials=summary.trials,
        trials_valid=summary.trials_valid,
        downtimes_s=tuple(trial.downtime_longest_s for trial in valid),
        downtimes_censored=tuple(trial.censored for trial in valid),
        downtime_median_s=summary.downtime_median_s,
        downtime_low_s=low_s,
        downtime_high_s=high_s,
        downtime_coverage_ratio=summary.downtime_ci_coverage_ratio,
        downtime_censored=summary.downtime_censored,
        availability_ratio=summary.availability_ratio_median,
        writes_lost=summary.writes_lost_total,
        split_brain_s=max((trial.writable.get("several_s", 0.0) for trial in result.trials), default=0.0),
        degraded_s=median(degraded_s) if degraded_s else None,
        why=_why(result.trials, result.verdict),
        folder=str(result.folder) if result.folder else "",
    )


def _why(trials: Sequence[TrialResult], verdict: Verdict) -> tuple[str, ...]:
    """What was not as expected, each once, in order of trials."""
    if verdict is Verdict.HELD:
        return ()
    said = [why for trial in trials for why in (*trial.failed_expectations, *trial.reasons)]
    return tuple(dict.fromkeys(said))


def not_applicable(column: str, why: str) -> Cell:
    """The cell of a fault for which the stage has nothing to break."""
    return Cell(column=column, experiment="", applicable=False, verdict=None, why=(why,))


def from_document(raw: Any) -> Matrix:
    """A matrix from its JSON; fields that are not known are passed over. Raises UsageError for what is none."""
    try:
        if raw["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {raw['schema_version']}, not {SCHEMA_VERSION}")
        matrix = Matrix(
            title=str(raw["title"]),
            started_at=str(raw["started_at"]),
            seed=int(raw["seed"]),
            rate_per_s=_number(raw["rate_per_s"]),
            deadline_s=_number(raw["deadline_s"]),
            columns=tuple(Column(str(each["name"]), str(each["title"])) for each in raw["columns"]),
            rows=tuple(_row(each) for each in raw["rows"]),
        )
        _check(matrix)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"this is no comparison: {what}", "lab/report/matrix.py says what one holds") from error
    return matrix


def find(name: str) -> Path | None:
    """The file of the comparison that a name means: itself, a folder that has one, or one below results/; None for no such."""
    candidates = [base / end for base in (Path(name), RESULTS_FOLDER / name) for end in ("", FILE_NAME)]
    return next((each.resolve() for each in candidates if each.name.endswith(".json") and each.is_file()), None)


def read(path: Path) -> Matrix:
    """A matrix from a file. Raises UsageError for what is none."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no comparison: {error}") from error
    return from_document(raw)


def write(matrix: Matrix, path: Path) -> None:
    """Write it as JSON. Raises DiskError."""
    text = json.dumps(matrix.to_document(), indent=2, allow_nan=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError.of(path, error) from error


def _row(raw: Any) -> Row:
    return Row(
        stage=int(raw["stage"]),
        name=str(raw["name"]),
        failover=str(raw["failover"]),
        boxes=int(raw["boxes"]),
        memory_mib=int(raw["memory_mib"]),
        cells=tuple(_cell(each) for each in raw["cells"]),
    )


def _cell(raw: Any) -> Cell:
    return Cell(
        column=str(raw["column"]),
        experiment=str(raw["experiment"]),
        applicable=bool(raw["applicable"]),
        verdict=Verdict(raw["verdict"]) if raw["verdict"] is not None else None,
        trials=int(raw["trials"]),
        trials_valid=int(raw["trials_valid"]),
        downtimes_s=tuple(_number(each) for each in raw["downtimes_s"]),
        downtimes_censored=tuple(bool(each) for each in raw.get("downtimes_censored", ())),
        downtime_median_s=_optional(raw["downtime_median_s"]),
        downtime_low_s=_optional(raw["downtime_low_s"]),
        downtime_high_s=_optional(raw["downtime_high_s"]),
        downtime_coverage_ratio=_optional(raw["downtime_coverage_ratio"]),
        downtime_censored=bool(raw["downtime_censored"]),
        availability_ratio=_optional(raw["availability_ratio"]),
        writes_lost=int(raw["writes_lost"]),
        split_brain_s=_number(raw["split_brain_s"]),
        degraded_s=_optional(raw["degraded_s"]),
        why=tuple(str(each) for each in raw["why"]),
        folder=str(raw["folder"]),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value} is no measured value")
    return number


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _check(matrix: Matrix) -> None:
    """Raises ValueError where names are not what makes a table of it."""
    names = [column.name for column in matrix.columns]
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    if len(names) * len(matrix.rows) > CELLS_MAX:
        raise ValueError(f"more than {CELLS_MAX} cells")
    for row in matrix.rows:
        columns = [cell.column for cell in row.cells]
        if len(set(columns)) < len(columns) or not set(columns) <= set(names):
            raise ValueError(f"row '{row.name}' has cells of no column, or two of one")
