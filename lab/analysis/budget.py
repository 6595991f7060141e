"""Budgets: what each fault may cost at each stage, from a file; held against a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.analysis import design
from lab.analysis.design import FaultSpec
from lab.analysis.matrix import Cell, Matrix
from lab.checker.outages import at_least
from lab.errors import UsageError, shown
from lab.model.measures import Check, Expectation, Measured, Outcome, Verdict
from lab.model.topology import Stage
from lab.spec import base, located_yaml, stages
from lab.spec.budget_keys import EXAMPLE, BudgetFile, LimitKeys

# What may be bounded, and what is known of it in a cell. All are at most; trials is at least.
TRIALS = "trials"
BOUNDS: dict[str, Callable[[Cell], Measured | None]] = {
    "downtime_longest_s": lambda cell: cell.longest,
    "downtime_median_s": lambda cell: Measured(cell.median_at_least_s, cell.median_at_most_s) if cell.trials_valid else None,
    "writes_lost": lambda cell: at_least(cell.writes_lost, not cell.losses_known),
    "split_brain_s": lambda cell: _known(cell.split_brain_s),
    "without_redundancy_s": lambda cell: (
        _known(cell.without_redundancy_s) if cell.trials_valid and cell.degraded_unknown == 0 else None
    ),
}
UNKNOWN = {
    "writes_lost": "whether a write was lost is not known: not every database could be read after each trial",
    "split_brain_s": "whether two databases took writes at once is not known: not every trial was watched",
    "without_redundancy_s": "degraded_s is not known of every trial",
}
HEALED = "healed too soon to say whether the downtime keeps within its bound (--observe for longer)"


KEYS = (*BOUNDS, TRIALS)


@dataclass(frozen=True)
class Limit:
    """What one fault may cost at one stage."""

    stage: Stage
    fault_spec: FaultSpec
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
    def fault_specs(self) -> tuple[FaultSpec, ...]:
        """The columns that it names."""
        return tuple({limit.fault_spec.name: limit.fault_spec for limit in self.limits}.values())

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
    document = located_yaml.load(file)
    found = base.read(BudgetFile, document)
    body: located_yaml.Mapping = document["stages"]
    limits = tuple(limit for name, faults in found.stages.items() for limit in _of_stage(body, name, faults))
    if not limits:
        raise document.error("stages", "no budget is given", EXAMPLE)
    return Budget(limits)


def _of_stage(body: located_yaml.Mapping, name: str, faults: Mapping[str, LimitKeys]) -> Iterator[Limit]:
    try:
        stage = stages.parse(name)
    except UsageError as error:
        raise body.error(name, error.message, error.hint) from error
    for fault, keys in faults.items():
        yield _limit(stage, body[name], fault, keys)


def _limit(stage: Stage, faults: located_yaml.Mapping, fault: str, keys: LimitKeys) -> Limit:
    try:
        wished = design.fault_specs(fault)
    except UsageError as error:
        raise faults.error(fault, error.message, error.hint) from error
    if len(wished) != 1:
        raise faults.error(fault, f"'{shown(fault)}' is several faults", f"one each: {wished[0].name}, ...")
    cell_plan = design.comparison(stage, wished, design.TestTerms(0.0, 0.0))[0]
    if cell_plan.missing:
        raise faults.error(fault, cell_plan.missing, "leave it out")
    return Limit(stage, wished[0], keys.at_most, keys.trials)


def check(budget: Budget, matrix: Matrix) -> tuple[Finding, ...]:
    """Each limit against its cell."""
    return tuple(_check(limit, matrix) for limit in budget.limits)


def _check(limit: Limit, matrix: Matrix) -> Finding:
    row = next((row for row in matrix.rows if row.name == limit.stage.name), None)
    cell = row.cell(limit.fault_spec.name) if row else None
    if cell is None:
        return Finding(limit.stage.name, limit.fault_spec.name, Verdict.INCONCLUSIVE, ("it was not measured",))
    judged = {key: _expected(key, most).judge(BOUNDS[key](cell)) for key, most in limit.at_most.items()}
    over = tuple(_over(key, limit.at_most[key], cell) for key, found in judged.items() if found is Outcome.FAILS)
    if over:
        return Finding(limit.stage.name, cell.column, Verdict.REFUTED, over)
    open_questions = tuple(_open(limit, cell, [key for key, found in judged.items() if found is Outcome.UNDECIDED]))
    return Finding(limit.stage.name, cell.column, Verdict.INCONCLUSIVE if open_questions else Verdict.HELD, open_questions)


def _known(value: float | None) -> Measured | None:
    return None if value is None else Measured.exactly(value)


def _expected(key: str, most: float) -> Expectation:
    return Expectation(key, at_most=most, at_least=None)


def _over(key: str, most: float, cell: Cell) -> str:
    return str(Check(_expected(key, most), BOUNDS[key](cell), Outcome.FAILS))


def _open(limit: Limit, cell: Cell, undecided: Sequence[str]) -> Iterator[str]:
    """Why a limit that is not broken is not kept either."""
    if cell.trials_fewest < limit.trials:
        yield f"{cell.trials_fewest} valid trials of {limit.trials}" + (f": {'; '.join(cell.why)}" if cell.why else "")
    if cell.trials_fewest and any(key.startswith("downtime") for key in undecided):
        yield HEALED
    yield from (UNKNOWN[key] for key in undecided if key in UNKNOWN)
