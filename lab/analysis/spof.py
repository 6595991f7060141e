"""Single points of failure: found by a sweep, held against those that the stage file declares. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Row
from lab.model.fault import FaultKind
from lab.model.measures import Verdict
from lab.model.topology import Stage


class Fate(StrEnum):
    """What became of the service when a part failed."""

    SURVIVED = "stayed"
    """Its outage was no longer than is tolerated, if there was any."""
    FAILED = "went"
    """It was longer."""
    UNKNOWN = "unknown"
    """No valid trial, or none that was watched for long enough to say."""


@dataclass(frozen=True)
class SweepResult:
    """One part, or two at once, that failed."""

    members: tuple[str, ...]
    fault: str
    fate: Fate
    cell: Cell
    hidden: bool = False
    """Two that take the service down together, play different roles, and neither of which does alone."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found."""

    failings: tuple[SweepResult, ...]
    found: tuple[str, ...]
    """The single points of failure, in the order of the stage file."""
    declared: tuple[str, ...]
    """Those that the stage file declares (x-lab.spof)."""
    verdict: Verdict
    why: tuple[str, ...]


def judge(stage: Stage, cell_plans: Sequence[CellPlan], row: Row, tolerance_s: float) -> Sweep:
    """Which parts are single points of failure, and whether these are the ones that are declared."""
    cells = {cell_plan.column: row.cell(cell_plan.column) for cell_plan in cell_plans}
    failings = [_failing(cell_plan, cell, tolerance_s) for cell_plan in cell_plans if (cell := cells[cell_plan.column])]
    found = tuple(dict.fromkeys(each.members[0] for each in failings if len(each.members) == 1 and each.fate is Fate.FAILED))
    failings = [_with_hidden(each, found, stage) for each in failings]
    why = _why(
        failings,
        found,
        stage.spof,
        {str(cell_plan.experiments[0].faults[0].fault) for cell_plan in cell_plans if cell_plan.experiments},
    )
    unknown = [
        f"{_name(each)}: {'; '.join(each.cell.why) or _unknown(each.cell)}" for each in failings if each.fate is Fate.UNKNOWN
    ]
    verdict = Verdict.REFUTED if why else Verdict.INCONCLUSIVE if unknown or len(failings) < len(cell_plans) else Verdict.HELD
    return Sweep(tuple(failings), found, stage.spof, verdict, (*why, *unknown))


def _failing(cell_plan: CellPlan, cell: Cell, tolerance_s: float) -> SweepResult:
    return SweepResult(cell_plan.members, str(cell_plan.experiments[0].faults[0].fault), fate(cell, tolerance_s), cell)


def fate(cell: Cell, tolerance_s: float) -> Fate:
    """What became of the service: down where that is known of the median, survived where it is of every trial.

    Between the two it is unknown: the median may lie on either side of the tolerance, or some trials do. A part whose loss takes
    the service down once in three times has not been survived.
    """
    if cell.median_at_least_s > tolerance_s:
        return Fate.FAILED
    return Fate.SURVIVED if cell.longest is not None and cell.longest.high <= tolerance_s else Fate.UNKNOWN


def _with_hidden(each: SweepResult, found: Sequence[str], stage: Stage) -> SweepResult:
    roles = [set(spec.roles) for spec in stage.services if spec.name in each.members]
    hidden = len(roles) == 2 and each.fate is Fate.FAILED and not set(each.members) & set(found) and not roles[0] & roles[1]
    return SweepResult(each.members, each.fault, each.fate, each.cell, hidden)


def _why(failings: Sequence[SweepResult], found: Sequence[str], declared: Sequence[str], faults: set[str]) -> list[str]:
    """Where found and declared differ. What a gentler fault than a kill does not show is not missed."""
    why = [f"{name} is a single point of failure, and not declared" for name in found if name not in declared]
    if FaultKind.KILL in faults:
        known = {each.members[0] for each in failings if len(each.members) == 1 and each.fate is not Fate.UNKNOWN}
        why += [f"{name} is declared, and the service did without it" for name in declared if name in known - set(found)]
    return why


def _unknown(cell: Cell) -> str:
    if not cell.trials_fewest:
        return "no valid trial"
    return (
        "healed too soon to say for how long it would have lasted" if cell.is_cut else "survived in some trials, and in some not"
    )


def _name(each: SweepResult) -> str:
    return f"{each.fault} {' and '.join(each.members)}"
