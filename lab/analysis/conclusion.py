"""What a campaign says in the end, whole: for the terminal, for result.json, for the exit code. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.analysis import budget, compare, reliability, spof
from lab.analysis import matrix as matrices
from lab.analysis.compare import AllowedIncidents, Difference, RegressionCheck
from lab.analysis.design import CellPlan
from lab.analysis.matrix import Matrix
from lab.analysis.reliability import Assumptions, Prediction
from lab.analysis.stats import SHIFT_MIN_S
from lab.errors import UsageError
from lab.model.measures import Verdict
from lab.model.result import MONTH_S
from lab.model.topology import Stage
from lab.spec import kept
from lab.spec.located_yaml import place

SCHEMA_VERSION = 1
MODEL_NOTE = "a model with assumed rates (lab/assumptions.yaml), not a measurement"


@dataclass(frozen=True)
class Conclusion:
    """All that a comparison, or a sweep, came to."""

    kind: str
    verdict: Verdict
    why: tuple[str, ...]
    matrix: Matrix
    differences: tuple[Difference, ...]
    allowed_incidents: tuple[AllowedIncidents, ...]
    predictions: tuple[Prediction, ...]
    budget: tuple[budget.Finding, ...] | None
    """None where no budget was given; so below."""
    regressions: tuple[RegressionCheck, ...] | None
    sweep: spof.Sweep | None
    spent_s: dict[str, float]

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready data: docs/comparing.md describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "verdict": self.verdict.value,
            "why": list(self.why),
            "matrix": self.matrix.to_document(),
            "differences": [asdict(each) for each in self.differences],
            "affordable": {
                "objectives": list(compare.OBJECTIVES),
                "month_s": MONTH_S,
                "cells": [asdict(each) for each in self.allowed_incidents],
            },
            "model": {
                "note": MODEL_NOTE,
                "stages": [{**asdict(each), "month_min": each.month_min} for each in self.predictions],
            },
            "budget": None if self.budget is None else [asdict(each) for each in self.budget],
            "against": None if self.regressions is None else [asdict(each) for each in self.regressions],
            "sweep": None if self.sweep is None else _sweep_document(self.sweep),
            "spent_s": self.spent_s,
        }


def _sweep_document(sweep: spof.Sweep) -> dict[str, Any]:
    failings = [
        {"members": each.members, "fault": each.fault, "fate": each.fate, "hidden": each.hidden, "column": each.cell.column}
        for each in sweep.failings
    ]
    return {"found": sweep.found, "declared": sweep.declared, "failings": failings}


def of_comparison(
    matrix: Matrix,
    stages: Sequence[Stage],
    assumed: Assumptions,
    limits: budget.Budget | None,
    old: Matrix | None,
    spent_s: dict[str, float],
    shift_min_s: float = SHIFT_MIN_S,
) -> Conclusion:
    """What a comparison says. Without a budget and an older one nothing was claimed, so nothing can be refuted.

    shift_min_s is the smallest shift against the older one that counts, in seconds.
    """
    findings = budget.check(limits, matrix) if limits else None
    changes = compare.regressions(matrix, old, shift_min_s) if old else None
    found: list[budget.Finding | RegressionCheck] = [*(findings or ()), *(changes or ())]
    gates = [(each.verdict, _line(each)) for each in found]
    unmeasured = () if gates else compare.unmeasured(matrix)
    gates += [(Verdict.INCONCLUSIVE, line) for line in unmeasured]
    if changes == ():
        gates.append((Verdict.INCONCLUSIVE, "no cell in common with the older comparison"))
    verdict = compare.verdict_of([each for each, _ in gates])
    rows = {row.name: row for row in matrix.rows}
    return Conclusion(
        kind="compare",
        verdict=verdict,
        why=tuple(line for each, line in gates if each is not Verdict.HELD),
        matrix=matrix,
        differences=compare.differences(matrix),
        allowed_incidents=compare.allowed_incidents(matrix),
        predictions=tuple(reliability.predict(stage, rows[stage.name], assumed) for stage in stages),
        budget=findings,
        regressions=changes,
        sweep=None,
        spent_s=spent_s,
    )


def _line(found: budget.Finding | RegressionCheck) -> str:
    why = found.why if isinstance(found.why, str) else "; ".join(found.why)
    return f"{found.row}, {found.column}: {why}"


def of_sweep(
    matrix: Matrix, stage: Stage, cell_plans: Sequence[CellPlan], tolerance_s: float, spent_s: dict[str, float]
) -> Conclusion:
    """What a sweep says."""
    found = spof.judge(stage, cell_plans, matrix.rows[0], tolerance_s)
    return Conclusion("sweep", found.verdict, found.why, matrix, (), (), (), None, None, found, spent_s)


def read_old(path: Path, new_rate_per_s: float, new_deadline_s: float) -> Matrix:
    """The matrix of an older comparison: a result.json, a matrix.json, or the folder of either.

    Raises UsageError for what is none, or was measured under another load.
    """
    candidates = (path / name for name in ("result.json", matrices.FILE_NAME))
    file = next((each for each in candidates if kept.is_there(each)), path)
    old = matrices.read(file)
    if (old.rate_per_s, old.deadline_s) != (new_rate_per_s, new_deadline_s):
        raise UsageError(
            f"{place(file)} was measured with {old.rate_per_s:g} requests a second and a deadline of {old.deadline_s:g} s",
            f"--rate {old.rate_per_s:g}: only what was measured alike can be compared",
        )
    return old
