"""A search for single points of failure as a table: a row a part, a column a way to fail. Pure.

The file of such a search has one row, the stage, and a column for each part and fault. Reports show it by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

from lab.analysis.matrix import Cell, Column, Matrix, Row


class PartKind(IntEnum):
    """What a part is, in the order in which reports have them."""

    BOX = 0
    ZONE = 1
    REGION = 2
    LINE = 3
    """Two places that lose each other."""
    PAIR = 4
    """Two boxes at once."""


HEADINGS = {
    PartKind.BOX: "boxes",
    PartKind.ZONE: "zones",
    PartKind.REGION: "regions",
    PartKind.LINE: "lines between two places",
    PartKind.PAIR: "two boxes at once",
}


def kind_of(members: Sequence[str]) -> PartKind:
    """What the members of a column are, taken together."""
    form = members[0].partition(":")[0] if ":" in members[0] else ""
    if len(members) > 1:
        return PartKind.LINE if form else PartKind.PAIR
    return {"zone": PartKind.ZONE, "region": PartKind.REGION}.get(form, PartKind.BOX)


def part_name(members: Sequence[str]) -> str:
    """web1; zone:a; zone:a and zone:b."""
    return " and ".join(members)


def parts_of(matrix: Matrix) -> list[tuple[str, ...]]:
    """The parts of a search: boxes, then zones, regions, lines and pairs."""
    return sorted(dict.fromkeys(column.members for column in matrix.columns), key=kind_of)


def by_part(matrix: Matrix) -> Matrix:
    """The same matrix with a row for each part and a column for each fault; a comparison as it is."""
    if not matrix.is_sweep:
        return matrix
    [stage] = matrix.rows
    rows = tuple(_row(stage, members, matrix.columns) for members in parts_of(matrix))
    faults = dict.fromkeys(column.fault for column in matrix.columns)
    return replace(matrix, columns=tuple(Column(fault, fault) for fault in faults), rows=rows)


def headings(matrix: Matrix) -> list[str]:
    """For each row of such a table what stands over it: the kind of parts that begins there, where there are several kinds."""
    if not matrix.is_sweep:
        return [""] * len(matrix.rows)
    kinds = [kind_of(members) for members in parts_of(matrix)]
    begins = [not at or kinds[at - 1] is not kind for at, kind in enumerate(kinds)]
    return [HEADINGS[kind] if begin and len(set(kinds)) > 1 else "" for kind, begin in zip(kinds, begins, strict=True)]


def _row(stage: Row, members: tuple[str, ...], columns: Sequence[Column]) -> Row:
    cells = [_cell(stage, column) for column in columns if column.members == members]
    return replace(stage, name=part_name(members), cells=tuple(each for each in cells if each), title="", conditions=None)


def _cell(stage: Row, column: Column) -> Cell | None:
    """The cell of a part and a fault, under the name of the fault."""
    found = stage.cell(column.name)
    return replace(found, column=column.fault) if found else None
