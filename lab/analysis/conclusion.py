"""What a campaign came to, whole, as data: for the terminal, for result.json, for the exit code. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.analysis import budget, compare, matrix_file, reliability, spof
from lab.analysis.compare import AllowedIncidents, Difference, RegressionCheck
from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Matrix
from lab.analysis.reliability import Assumptions, Prediction
from lab.analysis.stats import SHIFT_MIN_S
from lab.errors import UsageError
from lab.model.measures import Verdict
from lab.model.topology import Stage
from lab.spec import kept
from lab.spec.located_yaml import place


@dataclass(frozen=True)
class Conclusion:
    """All that a comparison, or a search for single points of failure, came to."""

    kind: str
    """compare or spof."""
    verdict: Verdict
    matrix: Matrix
    spent_s: dict[str, float]
    differences: tuple[Difference, ...] = ()
    allowed_incidents: tuple[AllowedIncidents, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    budget: tuple[budget.Finding, ...] | None = None
    """None where no budget was given; so below."""
    regressions: tuple[RegressionCheck, ...] | None = None
    """Against the baseline; empty where no cell is in both."""
    sweep: spof.Sweep | None = None
    """None for a comparison."""
    unmeasured: tuple[tuple[str, Cell], ...] = ()
    """Cells without a valid trial, with their rows; only where there is no gate, which would say so itself."""

    @property
    def is_gated(self) -> bool:
        """Whether there is a budget or a baseline to hold it against."""
        return self.budget is not None or self.regressions is not None


@dataclass(frozen=True)
class Gate:
    """What a comparison is held against; without any of it nothing was claimed, so nothing can be refuted."""

    limits: budget.Budget | None = None
    baseline: Matrix | None = None
    shift_min_s: float = SHIFT_MIN_S
    """The smallest shift against the baseline that counts."""


def of_comparison(
    matrix: Matrix, stages: Sequence[Stage], assumed: Assumptions, gate: Gate, spent_s: dict[str, float]
) -> Conclusion:
    """What a comparison came to."""
    findings = budget.check(gate.limits, matrix) if gate.limits else None
    changes = compare.regressions(matrix, gate.baseline, gate.shift_min_s) if gate.baseline else None
    verdicts = [each.verdict for each in findings or ()] + [each.verdict for each in changes or ()]
    unmeasured = () if verdicts else compare.unmeasured(matrix)
    if unmeasured or changes == ():
        verdicts.append(Verdict.INCONCLUSIVE)
    rows = {row.name: row for row in matrix.rows}
    return Conclusion(
        kind="compare",
        verdict=compare.verdict_of(verdicts),
        matrix=matrix,
        spent_s=spent_s,
        differences=compare.differences(matrix),
        allowed_incidents=compare.allowed_incidents(matrix),
        predictions=tuple(reliability.predict(stage, rows[stage.name], assumed) for stage in stages),
        budget=findings,
        regressions=changes,
        unmeasured=unmeasured,
    )


@dataclass(frozen=True)
class Sought:
    """What a search for single points of failure holds a stage to."""

    tolerance_s: float
    """The longest outage that counts as survived."""
    alerts_required: bool = False
    """Whether a fault that did harm must be reported by a page or a ticket."""


def of_spof(
    matrix: Matrix, stage: Stage, cell_plans: Sequence[CellPlan], sought: Sought, spent_s: dict[str, float]
) -> Conclusion:
    """What a search for single points of failure came to."""
    found = spof.judge(stage, cell_plans, matrix.rows[0], sought.tolerance_s, sought.alerts_required)
    whole = replace(matrix, tolerance_s=sought.tolerance_s, alerts_required=sought.alerts_required)
    return Conclusion("spof", found.verdict, whole, spent_s, sweep=found)


def read_old(path: Path, new_rate_per_s: float, new_deadline_s: float) -> Matrix:
    """The matrix of an older comparison: a result.json, a matrix.json, or the folder of either.

    Raises UsageError for what is none, or was measured under another load.
    """
    candidates = (path / name for name in ("result.json", matrix_file.FILE_NAME))
    file = next((each for each in candidates if kept.is_there(each)), path)
    old = matrix_file.read(file)
    if (old.rate_per_s, old.deadline_s) != (new_rate_per_s, new_deadline_s):
        raise UsageError(
            f"{place(file)} was measured with {old.rate_per_s:g} requests a second and a deadline of {old.deadline_s:g} s",
            f"--rate {old.rate_per_s:g}: only what was measured alike can be compared",
        )
    return old
