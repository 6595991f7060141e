"""What a matrix says: which stage is better at what, how many faults a month allows, what has changed since. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, count

from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.stats import CHANCE_MAX, SHIFT_MIN_S, TRIALS_MIN, Change, Downtime, Shift, attainable_p, decide, holm, shift
from lab.model.measures import Verdict
from lab.model.result import MONTH_S
from lab.model.topology import Stage

OBJECTIVES = (0.999, 0.9999, 0.99999)


def downtimes(cell: Cell) -> list[Downtime]:
    """What the valid trials of a cell measured."""
    return [Downtime(each.low, not each.is_exact) for each in cell.outages]


# Stages against each other


@dataclass(frozen=True)
class Difference:
    """Two stages under the same fault."""

    column: str
    first: str
    second: str
    """The names of the rows."""
    shift: Shift | None
    """None where there are too few trials to say."""
    change: Change
    """What the second is, as seen from the first."""


def differences(matrix: Matrix) -> tuple[Difference, ...]:
    """Every two stages of each column, each by itself: of twenty that do not differ, one may seem to."""
    return tuple(
        _difference(column.name, first, second)
        for column in matrix.columns
        for first, second in combinations([row for row in matrix.rows if _is_measured(row.cell(column.name))], 2)
    )


def _difference(column: str, first: Row, second: Row) -> Difference:
    found = _shift(first.cell(column), second.cell(column))
    return Difference(column, first.name, second.name, found, decide(found, found.p_value if found else 1.0))


def _is_measured(cell: Cell | None) -> bool:
    return cell is not None and cell.applicable and cell.trials_valid > 0


def _shift(first: Cell | None, second: Cell | None) -> Shift | None:
    return shift(downtimes(first), downtimes(second)) if first and second else None


# What a month allows


@dataclass(frozen=True)
class AllowedIncidents:
    """How many such faults a month allows at each of OBJECTIVES; None: any number, no user notices one (where censored: not known)."""

    column: str
    row: str
    faults: tuple[int | None, ...]
    censored: bool
    """The median is a lower bound (or of some target there is none), so these are upper bounds."""


def allowed_incidents(matrix: Matrix) -> tuple[AllowedIncidents, ...]:
    """For each measured cell how many of its faults, each as long as the median, keep a month within an objective.

    Of several targets the longest median counts, as far as it is known.
    """
    found = []
    for row in matrix.rows:
        for cell in row.cells:
            if cell.downtime_median_s is not None:
                low_s, high_s = cell.median_at_least_s, cell.median_at_most_s
                faults = tuple(_allowed_incidents(low_s, objective) for objective in OBJECTIVES)
                found.append(AllowedIncidents(cell.column, row.name, faults, censored=high_s > low_s))
    return tuple(found)


def _allowed_incidents(downtime_s: float, objective: float) -> int | None:
    allowed_s = round(MONTH_S * (1 - objective), 6)
    return math.floor(allowed_s / downtime_s) if downtime_s > 0 else None


# Now and then


class Reason(StrEnum):
    """What a verdict on a regression rests on."""

    SHIFT = "shift"
    """The shift of the outage, or that there are too few trials for one."""
    LOSS = "loss"
    """Acknowledged writes lost, and none before: what no number of trials excuses."""
    SPLIT_BRAIN = "split brain"
    """Two writable databases, and none known of before."""
    OTHER_TARGETS = "other targets"
    """The two cells are not about the same targets."""
    TARGET_UNMEASURED = "target unmeasured"
    """A target without a valid trial may be the worst."""
    TARGET_UNMEASURED_BEFORE = "target unmeasured before"
    LOSSES_UNKNOWN = "losses unknown"
    SPLIT_BRAIN_UNKNOWN = "split brain unknown"


@dataclass(frozen=True)
class RegressionCheck:
    """A cell, now and in an older comparison."""

    row: str
    cell: Cell
    before: Cell
    judged: JudgedCells
    verdict: Verdict
    """Refuted: worse than it was. Inconclusive: too few trials to say."""
    reason: Reason

    @property
    def column(self) -> str:
        """The fault."""
        return self.cell.column

    @property
    def change(self) -> Change:
        """What the difference is called."""
        return self.judged.change

    @property
    def shift(self) -> Shift | None:
        """By how much the outages are longer than before; None where there are too few trials to say."""
        return self.judged.shift


def regressions(new: Matrix, old: Matrix, shift_min_s: float = SHIFT_MIN_S) -> tuple[RegressionCheck, ...]:
    """Every cell that both have, measured or not. What only one of them has is passed over.

    A shift under shift_min_s (seconds) is not called a change, however significant it is.
    """
    pairs = [
        (row.name, cell, before)
        for row in new.rows
        for older in old.rows
        if older.name == row.name
        for cell in row.cells
        if (before := older.cell(cell.column)) is not None and cell.applicable and before.applicable
    ]
    shifts = [_shift(before, cell) if are_alike(cell, before) else None for _, cell, before in pairs]
    p_values = {at: found.p_value for at, found in enumerate(shifts) if found}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    found = []
    for at, (row, cell, before) in enumerate(pairs):
        others = [p for other, p in p_values.items() if other != at]
        is_enough = at in p_values and could_tell(len(before.downtimes_s), len(cell.downtimes_s), others)
        judged = JudgedCells(shifts[at], adjusted[at] if is_enough else None, trials_needed(others), shift_min_s)
        found.append(_regression(row, cell, before, judged))
    return tuple(found)


def are_alike(cell: Cell, before: Cell) -> bool:
    """Whether both are about the same targets."""
    return {each.target for each in cell.members} == {each.target for each in before.members}


def could_tell(first: int, second: int, others: Sequence[float]) -> bool:
    """Whether some outcome of samples of these sizes would be called a change, beside these p-values of other cells (Holm)."""
    return holm([attainable_p(first, second), *others])[0] < CHANCE_MAX


def trials_needed(others: Sequence[float]) -> int:
    """How many valid trials of each are the fewest that can tell a difference beside these p-values of other cells."""
    return next(trials for trials in count(TRIALS_MIN) if could_tell(trials, trials, others))


def in_common(planned: Sequence[tuple[Stage, Sequence[CellPlan]]], old: Matrix) -> list[tuple[str, str]]:
    """The cells, by row and column, that are to be measured and can be held against an older comparison."""
    rows = {row.name: row for row in old.rows}
    return [
        (stage.name, cell_plan.column)
        for stage, cell_plans in planned
        for cell_plan in cell_plans
        if stage.name in rows
        and (before := rows[stage.name].cell(cell_plan.column))
        and before.applicable
        and not cell_plan.missing
        if set(cell_plan.targets) == {each.target for each in before.members}
    ]


@dataclass(frozen=True)
class JudgedCells:
    """A cell's shift, and what it takes to be called a change."""

    shift: Shift | None
    p_adjusted: float | None
    trials_needed: int
    shift_min_s: float

    @property
    def change(self) -> Change:
        """What it is called."""
        return Change.TOO_FEW if self.p_adjusted is None else decide(self.shift, self.p_adjusted, self.shift_min_s)


def _regression(row: str, cell: Cell, before: Cell, judged: JudgedCells) -> RegressionCheck:
    verdict, reason = _judge(cell, before, judged)
    return RegressionCheck(row, cell, before, judged, verdict, reason)


def _judge(cell: Cell, before: Cell, judged: JudgedCells) -> tuple[Verdict, Reason]:
    if worse := _broken_promise(cell, before):
        return Verdict.REFUTED, worse
    if not are_alike(cell, before):
        return Verdict.INCONCLUSIVE, Reason.OTHER_TARGETS
    verdict = {Change.LONGER: Verdict.REFUTED, Change.TOO_FEW: Verdict.INCONCLUSIVE}.get(judged.change, Verdict.HELD)
    unknown = _unknown(cell, before, verdict)
    return (Verdict.INCONCLUSIVE, unknown) if unknown else (verdict, Reason.SHIFT)


def _unknown(cell: Cell, before: Cell, verdict: Verdict) -> Reason | None:
    """Why the verdict may be another one all the same; None where nothing that is missing could change it.

    A target without a valid trial may be the worst: then the cell's downtime is at least what it seems.
    """
    if verdict is Verdict.REFUTED and before.unmeasured:
        return Reason.TARGET_UNMEASURED_BEFORE
    if verdict is not Verdict.HELD:
        return None
    if cell.unmeasured:
        return Reason.TARGET_UNMEASURED
    if not cell.losses_known:
        return Reason.LOSSES_UNKNOWN
    return Reason.SPLIT_BRAIN_UNKNOWN if cell.split_brain_s is None else None


def _broken_promise(cell: Cell, before: Cell) -> Reason | None:
    """A loss where there was none."""
    if cell.writes_lost > 0 and before.writes_lost == 0:
        return Reason.LOSS
    return Reason.SPLIT_BRAIN if cell.split_brain_s and not before.split_brain_s else None


def verdict_of(found: Sequence[Verdict]) -> Verdict:
    """One refuted refutes; without one, one of which nothing can be said leaves it open."""
    for worst in (Verdict.REFUTED, Verdict.INCONCLUSIVE):
        if worst in found:
            return worst
    return Verdict.HELD


def unmeasured(matrix: Matrix) -> tuple[tuple[str, Cell], ...]:
    """The cells of which nothing can be said, with their rows: no valid trial, of the fault or of one of its targets."""
    return tuple(
        (row.name, cell)
        for row in matrix.rows
        for cell in row.cells
        if cell.applicable and (not cell.trials_valid or cell.unmeasured)
    )
