"""A comparison's matrix as a file: read, checked, written. Only this version is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from lab.analysis.matrix import ADDED, SCHEMA_VERSION, Cell, CellCheck, CellFigures, Matrix, Member
from lab.errors import DiskError, UsageError, shown
from lab.spec import kept
from lab.spec.located_yaml import place
from lab.store import paths

FILE_NAME = "matrix.json"
CELLS_MAX = 2000


def from_document(raw: Any) -> Matrix:
    """A matrix from its JSON; fields that are not known are passed over. Raises UsageError for what is none."""
    try:
        return _matrix(to_json(raw))
    except (kept.MalformedError, PydanticSerializationError) as error:
        raise _no_comparison("this", error) from error


def find(name: str) -> Path | None:
    """The file of the comparison that a name means: itself, a folder that has one, or one below results/; None for no such."""
    candidates = [base / end for base in (Path(name), paths.RESULTS_FOLDER / name) for end in ("", FILE_NAME)]
    there = (each for each in candidates if each.name.endswith(".json") and kept.is_there(each) and each.is_file())
    return next((each.resolve() for each in there), None)


def read(path: Path) -> Matrix:
    """A matrix from a file: a matrix.json, or a result.json that holds one. Raises UsageError, naming the file, for what is none."""
    try:
        raw = kept.document(kept.content(path))
        return _matrix(to_json(raw.get("matrix", raw) if isinstance(raw, dict) else raw))
    except (OSError, kept.MalformedError) as error:
        raise _no_comparison(place(path), error) from error


def write(matrix: Matrix, path: Path) -> None:
    """Write it as JSON. Raises DiskError."""
    text = json.dumps(matrix.to_document(), indent=2, allow_nan=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError.of(path, error) from error


def _no_comparison(name: str, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or str(error)
    return UsageError(f"{name} is no comparison: {why}", "lab/analysis/matrix.py says what one holds")


def _matrix(text: bytes) -> Matrix:
    """A matrix from JSON. Raises kept.MalformedError."""
    raw = kept.document(text)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise kept.MalformedError(f"schema_version is {shown(version)}, not {SCHEMA_VERSION}")
    if any(each < 0 for each in _numbers(raw)):
        raise kept.MalformedError(f"{shown(min(_numbers(raw)))} is no measured value")
    for row in _dicts(raw.get("rows")):
        for cell in _dicts(row.get("cells")):
            _check_whole(cell)
    matrix = kept.parse(Matrix, to_json(raw))
    _check(matrix)
    return matrix


def _check_whole(cell: dict[str, Any]) -> None:
    """Raise kept.MalformedError where a figure is missing: what a file does not say is not 0."""
    parts = [(cell, Cell), *((each, Member) for each in _dicts(cell.get("members")))]
    for raw, kind in [*parts, *((each, CellCheck) for each in _dicts(cell.get("checks")))]:
        if missing := [each.name for each in fields(kind) if each.name not in raw and each.name not in ADDED]:
            raise kept.MalformedError(f"{missing[0]} is missing")


def _dicts(raw: Any) -> list[dict[str, Any]]:
    return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _numbers(raw: Any) -> Iterator[float]:
    if isinstance(raw, (dict, list)):
        for each in raw.values() if isinstance(raw, dict) else raw:
            yield from _numbers(each)
    elif isinstance(raw, (int, float)):
        yield raw


def _check(matrix: Matrix) -> None:
    """Raise kept.MalformedError where names do not make a table of it, or figures do not go together."""
    names = [column.name for column in matrix.columns]
    if len(set(names)) < len(names):
        raise kept.MalformedError("two columns have the same name")
    if len(names) * len(matrix.rows) > CELLS_MAX:
        raise kept.MalformedError(f"more than {CELLS_MAX} cells")
    ways = [(column.members, column.fault) for column in matrix.columns if column.members]
    if len(set(ways)) < len(ways):
        raise kept.MalformedError("two columns are of one part that fails in one way")
    for row in matrix.rows:
        columns = [cell.column for cell in row.cells]
        if len(set(columns)) < len(columns) or not set(columns) <= set(names):
            raise kept.MalformedError(f"row '{shown(row.name)}' has cells of no column, or two of one")
        for cell in row.cells:
            _check_cell(cell)


def _check_cell(cell: Cell) -> None:
    name = f"'{shown(cell.column)}'"
    for each in (cell, *cell.members) if cell.applicable else ():
        _check_figures(name, each)
    if cell.applicable and cell.verdict is None:
        raise kept.MalformedError(f"{name} has no verdict")
    targets = [each.target for each in cell.members]
    if len(set(targets)) < len(targets) or cell.worst not in ("", *targets):
        raise kept.MalformedError(f"{name} has two members of one target, or a worst one that is none of them")
    if cell.trials_notified_unknown < 0:
        raise kept.MalformedError(f"{name} says of more trials than are valid whether they were notified")
    for check in cell.checks:
        if check.low is not None and check.high is not None and check.low > check.high:
            raise kept.MalformedError(f"{name} has a measure from {check.low:g} to {check.high:g}")


def _check_figures(name: str, found: CellFigures) -> None:
    count = len(found.downtimes_s)
    if count != found.trials_valid:
        raise kept.MalformedError(f"{name} has {count} downtimes of {found.trials_valid} valid trials")
    if len(found.downtimes_censored) != count:
        raise kept.MalformedError(
            f"{name} says of {len(found.downtimes_censored)} downtimes whether they are lower bounds, not of {count}"
        )
    if found.trials_valid > found.trials:
        raise kept.MalformedError(f"{name} has more valid trials than trials")
    if max(found.availability_ratio or 0.0, found.downtime_coverage_ratio or 0.0) > 1:
        raise kept.MalformedError(f"{name} has a ratio over 1")
