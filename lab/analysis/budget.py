"""Budgets: what each fault may cost at each stage, from a file; held against a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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
    "time_without_redundancy_s": lambda cell: (
        _known(cell.time_without_redundancy_s) if cell.trials_valid and not cell.time_without_redundancy_unknown else None
    ),
}
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
    broken: tuple[Check, ...] = ()
    """The bounds that are exceeded."""
    undecided: tuple[str, ...] = ()
    """Where none is: the measures of which it is not known whether they keep within their bounds."""
    trials_needed: int = 0
    """Valid trials; fewer were measured where this is more than those of the cell."""
    cell: Cell | None = None
    """None where it was not measured."""

    @property
    def is_short(self) -> bool:
        """Whether there are too few valid trials."""
        return self.cell is not None and self.cell.trials_fewest < self.trials_needed


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
    cell_plan = design.comparison(stage, wished, design.CellTerms(0.0, 0.0))[0]
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
        return Finding(limit.stage.name, limit.fault_spec.name, Verdict.INCONCLUSIVE)
    checks = [_checked(key, most, cell) for key, most in limit.at_most.items()]
    broken = tuple(check for check in checks if check.outcome is Outcome.FAILS)
    undecided = tuple(check.expectation.measure for check in checks if check.outcome is Outcome.UNDECIDED)
    found = Finding(limit.stage.name, cell.column, Verdict.HELD, broken, undecided, limit.trials, cell)
    if broken:
        return replace(found, verdict=Verdict.REFUTED)
    return replace(found, verdict=Verdict.INCONCLUSIVE) if undecided or found.is_short else found


def _checked(key: str, most: float, cell: Cell) -> Check:
    expected, measured = Expectation(key, at_most=most, at_least=None), BOUNDS[key](cell)
    return Check(expected, measured, expected.judge(measured))


def _known(value: float | None) -> Measured | None:
    return None if value is None else Measured.exactly(value)
