"""A model of each stage's availability: parts in series and in parallel, with assumed rates. Pure but for the file.

A model, not a measurement. What it takes for granted, beside the figures in assumptions.yaml: parts fail
independently of each other but for what stands in one zone or region; of several places a majority must be there; of
three or more databases two, one that writes and one that acknowledges; a switch works whenever its target is there. The
last is what the lab measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean

from lab.analysis import design
from lab.analysis.matrix import Cell, CellFigures, Row
from lab.checker import exposure
from lab.model.result import MONTH_S
from lab.model.topology import Stage, Tier
from lab.spec import base, located_yaml
from lab.spec.assumptions_keys import AssumptionsFile

FILE = Path(__file__).resolve().parents[1] / "assumptions.yaml"
HOURS_PER_YEAR = 8766.0
HOURS_PER_MONTH = MONTH_S / 3600
KINDS = ("box", "web", "lb", "db", "monitor", "other")
PLACES = ("zone", "region")
FAILOVERS = ("web", "lb", "primary", "standby", "zone", "region", "other")
ROLES = {Tier.BALANCER: "lb", Tier.WEB: "web", Tier.DATABASE: "db", Tier.MONITOR: "monitor"}
DISAGREE_RATIO = 2.0
DISAGREE_MIN_S = 0.3


# What is in series works while all of it does; what is in parallel, while one of it does, or as many as are needed.


def series(parts: Sequence[float]) -> float:
    """All are needed."""
    return math.prod(parts)


def at_least(needed: int, parts: Sequence[float]) -> float:
    """In parallel, so many are enough: the probability that no fewer of them work, each independently of the others."""
    working = [1.0]
    for part in parts:
        shifted = [0.0, *working]
        working = [(1 - part) * fewer + part * one for fewer, one in zip([*working, 0.0], shifted, strict=True)]
    return min(sum(working[max(needed, 0) :]), 1.0)


@dataclass(frozen=True)
class Rate:
    """How often something fails, and for how long."""

    failures_per_year: float
    repair_h: float

    @property
    def availability(self) -> float:
        """The share of time in which it works: 1 / (1 + failures times repair), the steady state of fail and repair."""
        return 1 / (1 + self.failures_per_year * self.repair_h / HOURS_PER_YEAR)


@dataclass(frozen=True)
class Assumptions:
    """All that is assumed."""

    boxes: dict[str, Rate]
    places: dict[str, Rate]
    operator_min: float
    failover_s: dict[str, float]

    def rate(self, kind: str) -> Rate:
        """That of a role, or of any other."""
        return self.boxes.get(kind, self.boxes["other"])


def read(file: Path = FILE) -> Assumptions:
    """The assumptions in a file. Raises UsageError naming file and line."""
    found = base.read(AssumptionsFile, located_yaml.load(file))
    return Assumptions(
        boxes={name: Rate(**each) for name, each in found.boxes.model_dump().items()},
        places={name: Rate(**each) for name, each in found.places.model_dump().items()},
        operator_min=found.operator_min,
        failover_s=found.failover_s.model_dump(),
    )


# The parts of a stage


@dataclass(frozen=True)
class Part:
    """Boxes of one role, or the places that a stage stands in."""

    name: str
    count: int
    needed: int
    """How many of them must work."""
    rate: Rate
    switches: tuple[tuple[str, int, float], ...] = ()
    """What the failure of one costs: the column that shows it, how many of them it is like that for, the seconds."""

    @property
    def is_redundant(self) -> bool:
        """Whether one may fail."""
        return self.count > self.needed

    @property
    def availability(self) -> float:
        """The share of time in which enough of them work and no switch is under way."""
        enough = at_least(self.needed, [self.rate.availability] * self.count)
        if not self.is_redundant:  # nothing to switch to: users wait for the repair, which is in it already
            return enough
        switching_h = sum(self.rate.failures_per_year * count * seconds / 3600 for _, count, seconds in self.switches)
        return max(enough - switching_h / HOURS_PER_YEAR, 0.0)

    @property
    def predicted_s(self) -> dict[str, float]:
        """By column, for how long users are without the service when one fails."""
        return {column: seconds for column, _, seconds in self.switches}


def parts_of(stage: Stage, assumed: Assumptions, measured: Mapping[str, float] | None = None) -> tuple[Part, ...]:
    """The parts of a stage, in series. `measured`: seconds by column, in place of what is assumed."""
    seconds = {**assumed.failover_s, **{column.removeprefix("kill-"): each for column, each in (measured or {}).items()}}
    kinds: dict[str, list[str]] = {}
    for spec in stage.services:
        if spec.is_system and spec.roles:
            kinds.setdefault(spec.roles[0], []).append(spec.name)
    boxes = [_of_boxes(kind, names, stage, assumed, seconds) for kind, names in kinds.items()]
    return tuple([part for part in boxes if part.needed] + _of_places(stage, assumed, seconds))


def _of_boxes(kind: str, names: Sequence[str], stage: Stage, assumed: Assumptions, seconds: Mapping[str, float]) -> Part:
    rate, count = assumed.rate(kind), len(names)
    if count == 1:
        # One of its kind: either everything hangs on it, or it is only there to watch (a monitor).
        alone = names[0] in stage.spof
        return Part(
            kind, 1, int(alone), rate, tuple((f"kill-{column}", 1, rate.repair_h * 3600) for column in _columns(kind) if alone)
        )
    if kind == "db":
        return _of_databases(count, stage, assumed, seconds)
    active = 1 if kind == "lb" else count
    column = kind if kind in FAILOVERS else "other"
    return Part(kind, count, 1, rate, ((f"kill-{kind}", active, seconds[column]),))


def _columns(kind: str) -> tuple[str, ...]:
    """The columns of a matrix that show what the loss of the only box of a kind costs."""
    return {"box": ("web", "primary"), "db": ("primary",)}.get(kind, (kind,))


def _of_databases(count: int, stage: Stage, assumed: Assumptions, seconds: Mapping[str, float]) -> Part:
    rate = assumed.rate("db")
    switches = [("kill-primary", 1, seconds["primary"]), ("kill-standby", count - 1, seconds["standby"])]
    if stage.failover == "none":
        switches[0] = ("kill-primary", 1, assumed.operator_min * 60)
    elif any("monitor" in spec.roles for spec in stage.services):
        switches.append(("primary without monitor", 1, _without_monitor_s(assumed)))
    return Part("db", count, 2 if count > 2 else 1, rate, tuple(switches))


def _without_monitor_s(assumed: Assumptions) -> float:
    """What a primary's failure costs on average because there may be no standby to promote just then: one repair or the other."""
    monitor, database = assumed.rate("monitor"), assumed.rate("db")
    return (1 - monitor.availability) * min(monitor.repair_h, database.repair_h) * 3600


def _of_places(stage: Stage, assumed: Assumptions, seconds: Mapping[str, float]) -> list[Part]:
    """The zones and the regions. A stage that names none stands in one of each; regions bring their zones with them."""
    zones, regions = (max(len(design.places(stage, kind)), 1) for kind in PLACES)
    zones = max(zones, regions)
    return [_of_place("zone", zones, assumed, seconds), _of_place("region", regions, assumed, seconds)]


def _of_place(kind: str, count: int, assumed: Assumptions, seconds: Mapping[str, float]) -> Part:
    rate = assumed.places[kind]
    if count == 1:
        return Part(kind, 1, 1, rate)
    return Part(kind, count, count // 2 + 1, rate, ((f"kill-{kind}", count, seconds[kind]),))


# Predicted, and beside it observed


class Disagreement(StrEnum):
    """In what a measurement is not what the model takes for granted."""

    LENGTH = "length"
    """By a factor of two and more: shorter, or longer."""
    NOT_BY_ITSELF = "not by itself"
    """The median: the service did not come back by itself in the time that it is given."""
    SOMETIMES_NOT = "sometimes not"
    """The same of some trials, which no median shows."""


@dataclass(frozen=True)
class Observation:
    """One failure: what the model takes it to cost, and what it cost."""

    column: str
    part: str
    predicted_s: float
    observed_s: float
    censored: bool
    disagreement: Disagreement | None
    """None where they agree."""
    healed: int = 0
    """In how many of the trials it took the lab's healing for longer than predicted."""
    trials: int = 0


@dataclass(frozen=True)
class Prediction:
    """The model of one stage. Nothing of it was observed but what `observations` says."""

    row: str
    assumed_ratio: float
    """Availability, with the failovers as assumed."""
    measured_ratio: float | None
    """The same with those that were measured; None where none was."""
    worst: str
    """The part that most of the downtime is due to."""
    observations: tuple[Observation, ...]

    @property
    def month_min(self) -> float:
        """Minutes a month without the service, with the best that is known."""
        return (1 - (self.assumed_ratio if self.measured_ratio is None else self.measured_ratio)) * HOURS_PER_MONTH * 60


def predict(stage: Stage, row: Row, assumed: Assumptions) -> Prediction:
    """The model of a stage, alone and with what its row of a matrix measured."""
    parts = parts_of(stage, assumed)
    cells = {
        cell.column: cell for cell in row.cells if cell.applicable and cell.downtime_median_s is not None and not cell.unmeasured
    }
    measured = {name: _cost_s(name, cell, parts) for name, cell in cells.items()}
    updated = parts_of(stage, assumed, measured) if measured else parts
    worst = min(updated, key=lambda part: part.availability)
    return Prediction(
        row=row.name,
        assumed_ratio=series([part.availability for part in parts]),
        measured_ratio=series([part.availability for part in updated]) if measured else None,
        worst=worst.name,
        observations=tuple(
            _observe(part, name, each, cells[name]) for part in parts for name, each in part.predicted_s.items() if name in cells
        ),
    )


def _cost_s(column: str, cell: Cell, parts: Sequence[Part]) -> float:
    """What a failure costs on average: each target (each zone) fails as often as any other."""
    return fmean(_sample_cost_s(column, each, parts) for each in _samples(cell))


def _samples(cell: Cell) -> list[CellFigures]:
    """What was measured of each target, or of the only one."""
    return [each for each in cell.members if each.downtime_median_s is not None] or [cell]


def _sample_cost_s(column: str, sample: CellFigures, parts: Sequence[Part]) -> float:
    """The mean over its trials. One that only the lab's healing ended would have lasted until a repair; the others cost what they
    did."""
    repair_s = max((part.rate.repair_h * 3600 for part in parts if column in part.predicted_s), default=0.0)
    return fmean(each.low if each.is_exact else max(each.low, repair_s) for each in sample.outages)


def _observe(part: Part, column: str, predicted_s: float, cell: Cell) -> Observation:
    samples = _samples(cell)
    every = [each for sample in samples for each in sample.outages]
    seen = Observation(
        column,
        part.name,
        predicted_s,
        observed_s=fmean(each.downtime_median_s or 0.0 for each in samples),
        censored=any(each.downtime_censored for each in samples),
        disagreement=None,
        healed=sum(not each.is_exact and each.low > predicted_s for each in every),
        trials=len(every),
    )
    sometimes = Disagreement.SOMETIMES_NOT if seen.healed and part.is_redundant else None
    return replace(seen, disagreement=_disagreement(seen, part.is_redundant) or sometimes)


def _disagreement(seen: Observation, is_redundant: bool) -> Disagreement | None:
    """Of the medians."""
    if seen.censored and seen.predicted_s > seen.observed_s:  # it was healed before the model says it would have ended
        return None
    if seen.censored and is_redundant:
        return Disagreement.NOT_BY_ITSELF
    is_far = abs(seen.observed_s - seen.predicted_s) > DISAGREE_MIN_S
    is_near = seen.predicted_s / DISAGREE_RATIO <= seen.observed_s <= seen.predicted_s * DISAGREE_RATIO
    return Disagreement.LENGTH if is_far and not is_near else None


# What a time without redundancy costs


@dataclass(frozen=True)
class ExposureCost:
    """What it costs in a month that a tier has no redundancy after each failure. A model: no second failure was seen."""

    tier: str
    failures_per_month: float
    """Of what failed in the run, and all of its kind."""
    exposed_s: float
    """With nothing left in this tier, a month: each failure as long as in the run."""
    outage_s: float
    """Without the service, a month: a second failure meanwhile lasts until it is repaired."""
    unrepaired_outage_s: float
    """The same, were each first failure repaired only when the assumptions say, and not when the lab did."""


def exposure_costs(found: Sequence[exposure.ExposureSummary], assumed: Assumptions) -> tuple[ExposureCost, ...]:
    """The cost for each tier that lost its reserve; none where nothing is known to have failed.

    Any box left in the tier is taken to end the service when it fails: of a primary and a standby without votes that is too
    many, so this is an upper bound. Failures are independent of each other; those that are not make it worse.
    """
    failed = exposure.causes(found)
    per_month = sum(_rate_of(each.tier, assumed).failures_per_year * each.boxes for each in failed)
    per_month *= HOURS_PER_MONTH / HOURS_PER_YEAR
    repair_s = max((_rate_of(each.tier, assumed).repair_h * 3600 for each in failed), default=0.0)
    return tuple(
        _exposure_cost(each, each.without_redundancy_s, per_month, repair_s, assumed)
        for each in found
        if each.without_redundancy_s and per_month
    )


def _exposure_cost(
    found: exposure.ExposureSummary, exposed_s: float, per_month: float, repair_s: float, assumed: Assumptions
) -> ExposureCost:
    rate = _rate_of(found.tier, assumed)
    second_per_s = rate.failures_per_year * found.working / (HOURS_PER_YEAR * 3600)

    def outage_s(each_s: float) -> float:
        # Within a time that is long beside the rate it fails more than once; once is enough to be gone.
        return per_month * -math.expm1(-second_per_s * each_s) * rate.repair_h * 3600

    return ExposureCost(found.tier, per_month, per_month * exposed_s, outage_s(exposed_s), outage_s(max(repair_s, exposed_s)))


def _rate_of(tier: str, assumed: Assumptions) -> Rate:
    role = ROLES.get(Tier(tier))
    return assumed.rate(role) if role else assumed.places[tier]
