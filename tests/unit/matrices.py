"""Factories for matrices."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from lab.analysis.matrix import Cell, Column, Matrix, Row, not_applicable
from lab.analysis.summary import median_interval
from lab.model.measures import Verdict

__all__ = ["cell", "matrix", "not_applicable", "row"]


def cell(column: str = "kill-web", *downtimes_s: float, censored: bool = False, **changes: Any) -> Cell:
    """A cell whose trials were all valid and measured these downtimes."""
    low, high, coverage = median_interval(downtimes_s) if downtimes_s else (None, None, None)
    measured = Cell(
        column=column,
        experiment=column,
        applicable=True,
        verdict=Verdict.HELD if downtimes_s else Verdict.INCONCLUSIVE,
        trials=len(downtimes_s),
        trials_valid=len(downtimes_s),
        downtimes_s=downtimes_s,
        downtimes_censored=(censored,) * len(downtimes_s),
        downtime_median_s=median(downtimes_s) if downtimes_s else None,
        downtime_low_s=low,
        downtime_high_s=high,
        downtime_coverage_ratio=coverage,
        downtime_censored=censored,
        availability_ratio=0.99 if downtimes_s else None,
        without_redundancy_s=2.0 if downtimes_s else None,
    )
    return replace(measured, **changes)


def row(name: str = "3-load-balancer", *cells: Cell, **changes: Any) -> Row:
    """A stage with these cells."""
    number = int(name.partition("-")[0])
    failover = "automatic" if name.endswith("(automatic)") or number > 4 else "none"
    return replace(Row(number, name, failover, boxes=4, memory_mib=400, cells=cells), **changes)


def matrix(*rows: Row, **changes: Any) -> Matrix:
    """A matrix of these rows, with the columns that they have."""
    names = dict.fromkeys(cell.column for row in rows for cell in row.cells)
    columns = tuple(Column(name, f"{name} happens") for name in names)
    return replace(Matrix("Stages", "2026-01-31T12:00:00Z", 7, 100.0, 1.0, columns, rows), **changes)
