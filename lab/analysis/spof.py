"""Single points of failure: every part fails in turn, held against those that the stage file declares. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Row
from lab.analysis.parts import PartKind, kind_of, part_name
from lab.model.fault import FaultKind
from lab.model.measures import Measured, Verdict
from lab.model.result import Notified
from lab.model.topology import Stage


class Fate(StrEnum):
    """What became of the service when a part failed."""

    SURVIVED = "survived"
    """Its outage was no longer than is tolerated, if there was any."""
    FAILED = "failed"
    """It was longer."""
    UNKNOWN = "unknown"
    """No valid trial, none that was observed for long enough to say, or survived in some trials only."""


@dataclass(frozen=True)
class TrialFates:
    """How many valid trials, of any target, ended how."""

    survived: int
    failed: int
    undecided: int
    """Healed too soon to say for how long the outage would have lasted."""


@dataclass(frozen=True)
class SweepResult:
    """One part, or two at once, that failed."""

    members: tuple[str, ...]
    fault: str
    fate: Fate
    trials: TrialFates
    cell: Cell
    hidden: bool = False
    """Two that take the service down together, play different roles, and neither of which does alone."""

    @property
    def name(self) -> str:
        """kill db1; kill db1 and lb1."""
        return f"{self.fault} {part_name(self.members)}"

    @property
    def notified(self) -> Notified:
        """Whether a page or a ticket reported it."""
        return self.cell.notified


@dataclass(frozen=True)
class Sweep:
    """What became of every part that was made to fail."""

    results: tuple[SweepResult, ...]
    found: tuple[str, ...]
    """The single points of failure, in the order of the stage file."""
    declared: tuple[str, ...]
    """Those that the stage file declares (x-lab.spof)."""
    refuted: tuple[str, ...]
    """Declared, and survived. What a gentler fault than a kill does not show is not missed."""
    verdict: Verdict
    alerts_required: bool = False
    """Whether a fault that did harm, and that no page and no ticket reported, refutes."""

    @property
    def not_notified(self) -> tuple[SweepResult, ...]:
        """What did harm, and was reported by no page and no ticket: a finding beside the outages."""
        return tuple(each for each in self.results if each.notified is Notified.NO)

    @property
    def notified_unknown(self) -> tuple[SweepResult, ...]:
        """That of which this is not known."""
        return tuple(each for each in self.results if each.notified is Notified.UNKNOWN)

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Found, and not declared."""
        return tuple(name for name in self.found if name not in self.declared)

    @property
    def unknown(self) -> tuple[SweepResult, ...]:
        """The parts of which nothing is known."""
        return tuple(each for each in self.results if each.fate is Fate.UNKNOWN)


def judge(stage: Stage, cell_plans: Sequence[CellPlan], row: Row, tolerance_s: float, alerts_required: bool = False) -> Sweep:
    """Which parts are single points of failure, and whether these are the ones that are declared."""
    cells = [(cell_plan, row.cell(cell_plan.column)) for cell_plan in cell_plans]
    results = [_result(cell_plan, cell, tolerance_s) for cell_plan, cell in cells if cell]
    found = tuple(dict.fromkeys(part_name(each.members) for each in _single(results) if each.fate is Fate.FAILED))
    results = [_with_hidden(each, found, stage) for each in results]
    faults = {str(cell_plan.experiments[0].faults[0].fault) for cell_plan in cell_plans if cell_plan.experiments}
    refuted = _refuted(results, found, stage.spof) if FaultKind.KILL in faults else ()
    notified = {each.notified for each in results} if alerts_required else set()
    is_refuted = bool(refuted or set(found) - set(stage.spof) or Notified.NO in notified)
    is_open = len(results) < len(cell_plans) or any(each.fate is Fate.UNKNOWN for each in results)
    is_open = is_open or Notified.UNKNOWN in notified
    verdict = Verdict.REFUTED if is_refuted else Verdict.INCONCLUSIVE if is_open else Verdict.HELD
    return Sweep(tuple(results), found, stage.spof, refuted, verdict, alerts_required)


def _single(results: Sequence[SweepResult]) -> list[SweepResult]:
    """Of one failure each: also a line between two places is one."""
    return [each for each in results if kind_of(each.members) is not PartKind.PAIR]


def _result(cell_plan: CellPlan, cell: Cell, tolerance_s: float) -> SweepResult:
    return SweepResult(cell_plan.members, cell_plan.way, fate(cell, tolerance_s), trial_fates(cell, tolerance_s), cell)


def fate(cell: Cell, tolerance_s: float) -> Fate:
    """What became of the service: down where that is known of the median, survived where it is of every trial.

    Between the two it is unknown: the median may lie on either side of the tolerance, or some trials do. A part whose loss takes
    the service down once in three times has not been survived.
    """
    if cell.median_at_least_s > tolerance_s:
        return Fate.FAILED
    return Fate.SURVIVED if cell.longest is not None and cell.longest.high <= tolerance_s else Fate.UNKNOWN


def trial_fates(cell: Cell, tolerance_s: float) -> TrialFates:
    """How many trials survived, and how many did not."""
    found = [_fate_of(each, tolerance_s) for each in cell.every_outage]
    return TrialFates(*(found.count(each) for each in (Fate.SURVIVED, Fate.FAILED, Fate.UNKNOWN)))


def _fate_of(outage: Measured, tolerance_s: float) -> Fate:
    if outage.low > tolerance_s:
        return Fate.FAILED
    return Fate.SURVIVED if outage.high <= tolerance_s else Fate.UNKNOWN


def _with_hidden(each: SweepResult, found: Sequence[str], stage: Stage) -> SweepResult:
    roles = [set(spec.roles) for spec in stage.services if spec.name in each.members]
    hidden = len(roles) == 2 and each.fate is Fate.FAILED and not set(each.members) & set(found) and not roles[0] & roles[1]
    return replace(each, hidden=hidden)


def _refuted(results: Sequence[SweepResult], found: Sequence[str], declared: Sequence[str]) -> tuple[str, ...]:
    """Declared parts that are known to be none."""
    known = {each.members[0] for each in _single(results) if each.fate is not Fate.UNKNOWN}
    return tuple(name for name in declared if name in known - set(found))
