"""What a matrix says: which stage is better at what, how many faults a month allows, what has changed since. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, count

from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Matrix, Row, outages_of
from lab.analysis.stats import CHANCE_MAX, SHIFT_MIN_S, TRIALS_MIN, Change, Downtime, Shift, attainable_p, decide, holm, shift
from lab.model.measures import Verdict
from lab.model.result import MONTH_S
from lab.model.topology import Stage

OBJECTIVES = (0.999, 0.9999, 0.99999)


def downtimes(cell: Cell) -> list[Downtime]:
    """What the valid trials of a cell measured."""
    return [Downtime(each.low, not each.is_exact) for each in outages_of(cell)]


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
    """Every two stages of each column, each by itself: of twenty that do not differ, one may seem to by chance."""
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


@dataclass(frozen=True)
class RegressionCheck:
    """A cell, now and in an older comparison."""

    column: str
    row: str
    verdict: Verdict
    """Refuted: worse than it was. Inconclusive: too few trials to say."""
    change: Change
    shift: Shift | None
    p_adjusted: float | None
    """The shift's p-value for being asked of so many cells at once (Holm)."""
    why: str


def regressions(new: Matrix, old: Matrix, shift_min_s: float = SHIFT_MIN_S) -> tuple[RegressionCheck, ...]:
    """Every cell that both have, measured or not. What only one of them has is passed over.

    A shift under shift_min_s (seconds) is not called a change, however little it looks like chance.
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
        told = at in p_values and could_tell(len(before.downtimes_s), len(cell.downtimes_s), others)
        judged = JudgedCells(shifts[at], adjusted[at] if told else None, trials_needed(others), shift_min_s)
        found.append(_regression(row, cell, before, judged))
    return tuple(found)


def are_alike(cell: Cell, before: Cell) -> bool:
    """Whether both are about the same targets. Files of an older version have the trials of several targets in one sample."""
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

    def why(self, trials: str) -> str:
        """In words, with how many trials there were."""
        found, p, change = self.shift, self.p_adjusted, self.change
        if found is None or p is None:
            return f"{change}: {trials}, {self.trials_needed} of each are needed"
        bound = f"{found.bound} " if found.bound else ""
        small = f", under the {self.shift_min_s:g} s that count" if p < CHANCE_MAX and change is Change.NONE else ""
        return (
            f"{change}: by {bound}{found.estimate_s:+.2f} s ({found.coverage_ratio:.0%} interval {found.low_s:+.2f} to "
            f"{found.high_s:+.2f} s), p = {p:.2g}, {trials}{small}"
        )


def _regression(row: str, cell: Cell, before: Cell, judged: JudgedCells) -> RegressionCheck:
    verdict, why = _judge(cell, before, judged)
    return RegressionCheck(cell.column, row, verdict, judged.change, judged.shift, judged.p_adjusted, why)


def _judge(cell: Cell, before: Cell, judged: JudgedCells) -> tuple[Verdict, str]:
    worse = _broken_promise(cell, before)
    if worse:
        return Verdict.REFUTED, worse
    if not are_alike(cell, before):
        return Verdict.INCONCLUSIVE, f"not the same targets: {_targets(before)} before, {_targets(cell)} now"
    why = judged.why(f"{before.trials_valid} and {cell.trials_valid} valid trials") + _of_which(cell, before)
    verdict = {Change.LONGER: Verdict.REFUTED, Change.TOO_FEW: Verdict.INCONCLUSIVE}.get(judged.change, Verdict.HELD)
    unknown = _unknown(cell, before, verdict)
    return (Verdict.INCONCLUSIVE, unknown) if unknown else (verdict, why)


def _targets(cell: Cell) -> str:
    return ", ".join(each.target for each in cell.members) or "all in one sample"


def _of_which(cell: Cell, before: Cell) -> str:
    """Which targets the samples are of."""
    if not cell.worst:
        return ""
    return f" ({cell.worst})" if cell.worst == before.worst else f" ({before.worst} before, {cell.worst} now)"


def _unknown(cell: Cell, before: Cell, verdict: Verdict) -> str:
    """Why the verdict may be another one all the same; empty where nothing that is missing could change it.

    A target without a valid trial may be the worst: then the cell's downtime is at least what it seems.
    """
    if verdict is Verdict.HELD and cell.unmeasured:
        return f"no valid trial of {', '.join(cell.unmeasured)}"
    if verdict is Verdict.REFUTED and before.unmeasured:
        return f"no valid trial of {', '.join(before.unmeasured)} before"
    if verdict is Verdict.HELD and not cell.losses_known:
        return "whether a write was lost is not known: not every database could be read after each trial"
    if verdict is Verdict.HELD and cell.split_brain_s is None:
        return "whether two databases took writes at once is not known: not every trial was watched"
    return ""


def _broken_promise(cell: Cell, before: Cell) -> str:
    """What no number of trials excuses: a loss where there was none."""
    if cell.writes_lost > 0 and before.writes_lost == 0:
        return f"{cell.writes_lost} acknowledged writes lost, and none before"
    if cell.split_brain_s and not before.split_brain_s:
        never = "never before" if before.split_brain_s == 0 else "none is known of before"
        return f"two writable databases for {cell.split_brain_s:.1f} s, and {never}"
    return ""


def verdict_of(found: Sequence[Verdict]) -> Verdict:
    """One refuted refutes; without one, one of which nothing can be said leaves it open."""
    for worst in (Verdict.REFUTED, Verdict.INCONCLUSIVE):
        if worst in found:
            return worst
    return Verdict.HELD


def unmeasured(matrix: Matrix) -> tuple[str, ...]:
    """The cells of which nothing can be said: no valid trial, of the fault or of one of its targets."""
    return tuple(
        f"{row.name}, {cell.column}: {'; '.join(cell.why) or 'no valid trial'}"
        for row in matrix.rows
        for cell in row.cells
        if cell.applicable and (not cell.trials_valid or cell.unmeasured)
    )
