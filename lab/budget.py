"""Budgets: what each fault may cost at each stage, from a file; held against a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import plan, stages, yamlfile
from lab.errors import UsageError, shown
from lab.model import Stage, Verdict
from lab.plan import Wish
from lab.report.matrix import Cell, Matrix
from lab.spec import base
from lab.spec.budget import EXAMPLE, BudgetFile, LimitKeys

# What may be bounded, and how it is found in a cell. All are at most; trials is at least.
TRIALS = "trials"
BOUNDS: dict[str, Callable[[Cell], float]] = {
    "downtime_longest_s": lambda cell: max(
        (seconds for each in cell.members or (cell,) for seconds in each.downtimes_s), default=0.0
    ),
    "downtime_median_s": lambda cell: cell.downtime_median_s or 0.0,
    "writes_lost": lambda cell: float(cell.writes_lost),
    "split_brain_s": lambda cell: cell.split_brain_s,
    "degraded_s": lambda cell: cell.degraded_s or 0.0,
}
KEYS = (*BOUNDS, TRIALS)
NEEDS_VALID = ("downtime_longest_s", "downtime_median_s", "degraded_s")


@dataclass(frozen=True)
class Limit:
    """What one fault may cost at one stage."""

    stage: Stage
    wish: Wish
    at_most: dict[str, float]
    trials: int
    """Valid trials that are needed to say so."""


@dataclass(frozen=True)
class Budget:
    """The limits of a file."""

    limits: tuple[Limit, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that it names, in order."""
        return tuple({limit.stage.project: limit.stage for limit in self.limits}.values())

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """The columns that it names."""
        return tuple({limit.wish.name: limit.wish for limit in self.limits}.values())

    @property
    def trials(self) -> int:
        """The most that any limit needs."""
        return max(limit.trials for limit in self.limits)


@dataclass(frozen=True)
class Finding:
    """A limit, and what was measured."""

    row: str
    column: str
    verdict: Verdict
    why: tuple[str, ...]


def read(file: Path) -> Budget:
    """The budget in a file. Raises UsageError naming file and line."""
    document = yamlfile.load(file)
    found = base.read(BudgetFile, document)
    body: yamlfile.Mapping = document["stages"]
    limits = tuple(limit for name, faults in found.stages.items() for limit in _of_stage(body, name, faults))
    if not limits:
        raise document.error("stages", "no budget is given", EXAMPLE)
    return Budget(limits)


def _of_stage(body: yamlfile.Mapping, name: str, faults: Mapping[str, LimitKeys]) -> Iterator[Limit]:
    try:
        stage = stages.parse(name)
    except UsageError as error:
        raise body.error(name, error.message, error.hint) from error
    for fault, keys in faults.items():
        yield _limit(stage, body[name], fault, keys)


def _limit(stage: Stage, faults: yamlfile.Mapping, fault: str, keys: LimitKeys) -> Limit:
    try:
        wished = plan.wishes(fault)
    except UsageError as error:
        raise faults.error(fault, error.message, error.hint) from error
    if len(wished) != 1:
        raise faults.error(fault, f"'{shown(fault)}' is several faults", f"one each: {wished[0].name}, ...")
    job = plan.comparison(stage, wished, plan.Terms(0.0, 0.0))[0]
    if job.missing:
        raise faults.error(fault, job.missing, "leave it out")
    return Limit(stage, wished[0], keys.at_most, keys.trials)


def check(budget: Budget, matrix: Matrix) -> tuple[Finding, ...]:
    """Each limit against its cell."""
    return tuple(_check(limit, matrix) for limit in budget.limits)


def _check(limit: Limit, matrix: Matrix) -> Finding:
    row = next((row for row in matrix.rows if row.name == limit.stage.name), None)
    cell = row.cell(limit.wish.name) if row else None
    if cell is None:
        return Finding(limit.stage.name, limit.wish.name, Verdict.INCONCLUSIVE, ("it was not measured",))
    over = tuple(_over(key, most, cell) for key, most in limit.at_most.items() if _is_over(key, most, cell))
    if over:
        return Finding(limit.stage.name, cell.column, Verdict.REFUTED, over)
    open_questions = tuple(_open(limit, cell))
    return Finding(limit.stage.name, cell.column, Verdict.INCONCLUSIVE if open_questions else Verdict.HELD, open_questions)


def _is_over(key: str, most: float, cell: Cell) -> bool:
    return (cell.trials_valid > 0 or key not in NEEDS_VALID) and BOUNDS[key](cell) > most


def _over(key: str, most: float, cell: Cell) -> str:
    bound = "at least " if cell.downtime_censored and key.startswith("downtime") else ""
    return f"{key} at most {most:g}: was {bound}{BOUNDS[key](cell):.4g}"


def _open(limit: Limit, cell: Cell) -> Iterator[str]:
    """Why a limit that is not broken is not kept either."""
    if cell.trials_fewest < limit.trials:
        yield f"{cell.trials_fewest} valid trials of {limit.trials}" + (f": {'; '.join(cell.why)}" if cell.why else "")
    if not cell.losses_known and "writes_lost" in limit.at_most:
        yield "whether a write was lost is not known: not every database could be read after each trial"
    if cell.downtime_censored and any(key.startswith("downtime") for key in limit.at_most):
        yield "healed too soon to say whether the downtime keeps within its bound (--observe for longer)"
    if cell.degraded_s is None and "degraded_s" in limit.at_most:
        yield "degraded_s is not known"
