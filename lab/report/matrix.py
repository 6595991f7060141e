"""A comparison of stages as one table: a row a stage, a column a fault, a cell a run. What a sweep is, too: one row.

Whoever compares fills it; every report of a comparison is made from it, and from its JSON, without Docker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from lab.errors import UsageError, shown
from lab.journal import RESULTS_FOLDER
from lab.model import RunResult, TrialResult, Verdict
from lab.spec import kept
from lab.yamlfile import place

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
        return _matrix(to_json(raw))
    except (kept.MalformedError, PydanticSerializationError) as error:
        raise _no_comparison("this", error) from error


def find(name: str) -> Path | None:
    """The file of the comparison that a name means: itself, a folder that has one, or one below results/; None for no such."""
    candidates = [base / end for base in (Path(name), RESULTS_FOLDER / name) for end in ("", FILE_NAME)]
    there = (each for each in candidates if each.name.endswith(".json") and kept.is_there(each) and each.is_file())
    return next((each.resolve() for each in there), None)


def read(path: Path) -> Matrix:
    """A matrix from a file: a matrix.json, or a result.json that holds one. Raises UsageError, naming the file, for what is none."""
    try:
        raw = kept.document(kept.content(path))
        return _matrix(to_json(raw.get("matrix", raw) if isinstance(raw, dict) else raw))
    except (OSError, kept.MalformedError) as error:
        raise _no_comparison(place(path), error) from error


def _no_comparison(name: str, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or str(error)
    return UsageError(f"{name} is no comparison: {why}", "lab/report/matrix.py says what one holds")


def _matrix(text: bytes) -> Matrix:
    """A matrix from JSON. Raises kept.MalformedError."""
    raw = kept.document(text)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise kept.MalformedError(f"schema_version is {shown(version)}, not {SCHEMA_VERSION}")
    if any(each < 0 for each in _numbers(raw)):
        raise kept.MalformedError(f"{shown(min(_numbers(raw)))} is no measured value")
    matrix = kept.parse(Matrix, text)
    _check(matrix)
    return matrix


def _numbers(raw: Any) -> Iterator[float]:
    if isinstance(raw, (dict, list)):
        for each in raw.values() if isinstance(raw, dict) else raw:
            yield from _numbers(each)
    elif isinstance(raw, (int, float)):
        yield raw


def write(matrix: Matrix, path: Path) -> None:
    """Write it as JSON."""
    path.write_text(json.dumps(matrix.to_document(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _check(matrix: Matrix) -> None:
    """Raise kept.MalformedError where names do not make a table of it, or figures do not go together."""
    names = [column.name for column in matrix.columns]
    if len(set(names)) < len(names):
        raise kept.MalformedError("two columns have the same name")
    if len(names) * len(matrix.rows) > CELLS_MAX:
        raise kept.MalformedError(f"more than {CELLS_MAX} cells")
    for row in matrix.rows:
        columns = [cell.column for cell in row.cells]
        if len(set(columns)) < len(columns) or not set(columns) <= set(names):
            raise kept.MalformedError(f"row '{shown(row.name)}' has cells of no column, or two of one")
        for cell in row.cells:
            _check_cell(cell)


def _check_cell(cell: Cell) -> None:
    if cell.applicable and len(cell.downtimes_s) != cell.trials_valid:
        raise kept.MalformedError(
            f"'{shown(cell.column)}' has {len(cell.downtimes_s)} downtimes of {cell.trials_valid} valid trials"
        )
    if cell.downtimes_censored and len(cell.downtimes_censored) != len(cell.downtimes_s):
        raise kept.MalformedError(
            f"'{shown(cell.column)}' says of {len(cell.downtimes_censored)} downtimes whether they are lower bounds, and has {len(cell.downtimes_s)}"
        )
    if cell.trials_valid > cell.trials or (cell.applicable and cell.verdict is None):
        raise kept.MalformedError(f"'{shown(cell.column)}' has more valid trials than trials, or no verdict")
    if max(cell.availability_ratio or 0.0, cell.downtime_coverage_ratio or 0.0) > 1:
        raise kept.MalformedError(f"'{shown(cell.column)}' has a ratio over 1")
