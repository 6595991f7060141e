"""The schedule of a monkey: which fault in which round, decided by a seed before it begins."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from lab.campaign.eligible import eligible, eligible_for_repair, hits_a_place, tier
from lab.errors import UsageError, shown
from lab.model.experiment import RATE_MAX_PER_S, Experiment, Repair, RepairPolicy
from lab.model.topology import Stage
from lab.spec import experiments, kept
from lab.spec.located_yaml import place
from lab.trial.runner import trial_seed

BASELINE_S, COOLDOWN_S = 2.0, 1.5
OVERHEAD_S = 9.0
ROUND_MAX_S = 300.0
"""Longer than any round under load: where the lab heals, rounds last as long as recovery takes."""
"""What a round takes beside its load and its fault: to settle, to repair, to read every database."""
FAULT_MIN_S = 6.0
INTERVAL_MIN_S = BASELINE_S + COOLDOWN_S + OVERHEAD_S + FAULT_MIN_S
GAP_MAX_S = 3.0
ROUNDS_MAX = 1000
PLACES_SHARE = 1 / 3
"""How many of the rounds hit whole places, where a stage has them: they are few among the experiments, and hit the most."""
VERSION = 2


class Repairer(StrEnum):
    """What brings lost boxes back."""

    HEAL = "heal"
    """The lab heals everything when the duration of the fault is over."""
    RESTART = "restart"
    """An orchestrator (the lab stands in for it) starts the same box again."""
    REPLACE = "replace"
    """The same, with a new box and an empty disk."""


@dataclass(frozen=True)
class RepairPlan:
    """Who repairs, and how long after the loss of a box is proved (s); healing follows the duration of the fault instead."""

    policy: Repairer = Repairer.RESTART
    delay_s: float = Repair().delay_s

    @property
    def heals(self) -> bool:
        """Whether the lab heals, and no orchestrator repairs."""
        return self.policy is Repairer.HEAL

    @property
    def of_experiment(self) -> Repair:
        """The repair of each run."""
        return Repair() if self.heals else Repair(RepairPolicy(self.policy.value), self.delay_s)

    def __str__(self) -> str:
        return "heal" if self.heals else str(self.of_experiment)


@dataclass(frozen=True)
class Round:
    """What is done in one round: one experiment's fault, or those of two, so many seconds apart."""

    number: int
    experiments: tuple[str, ...]
    gap_s: float
    seed: int


@dataclass(frozen=True)
class ScheduleSpec:
    """What a schedule is made from, beside its stage."""

    seed: int
    rounds: int
    interval_s: float
    """From the beginning of a round to that of the next, at least; 0: as soon as redundancy is restored."""
    repair: RepairPlan = RepairPlan()
    rate_per_s: float = 100.0
    reckless: bool = False
    """Two tiers in each round, the second before the first is repaired."""
    fault_duration_s: float | None = None
    """Where the lab heals: how long each fault lasts; None: as its experiment says."""

    def check(self) -> None:
        """Raise UsageError for what cannot be scheduled."""
        if not 1 <= self.rounds <= ROUNDS_MAX:
            raise UsageError(f"that makes {self.rounds} rounds of {self.interval_s:g} s", f"from 1 to {ROUNDS_MAX} rounds")
        least_s = INTERVAL_MIN_S + max((self.fault_duration_s or 0.0) - FAULT_MIN_S, 0.0)
        if self.interval_s < least_s and not (self.repair.heals and self.interval_s == 0):
            raise UsageError(
                f"an interval of {self.interval_s:g} s leaves no time to see what a fault does",
                f"--interval {least_s:g}s or more",
            )


@dataclass(frozen=True)
class Schedule:
    """All that is done, decided before it begins."""

    stage: str
    """The stage's folder, and its failover where it has a second file."""
    seed: int
    interval_s: float
    rate_per_s: float
    repair: RepairPlan
    reckless: bool
    fault_duration_s: float | None
    rounds: tuple[Round, ...]

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready data: what --print-schedule prints and --schedule reads."""
        return {"schema_version": VERSION, **json.loads(json.dumps(asdict(self)))}

    @property
    def digest(self) -> str:
        """The same for the same schedule, and for no other."""
        return hashlib.sha256(json.dumps(self.to_document(), sort_keys=True).encode()).hexdigest()[:12]


def schedule(stage: Stage, spec: ScheduleSpec) -> Schedule:
    """The schedule of a seed: the same for the same seed, and a longer one begins as the shorter. Raises UsageError."""
    spec.check()
    names = within_reach(stage, spec.repair, spec.reckless)
    draws = Draws(names, Random(f"monkey/{spec.seed}"), spec.reckless)
    rounds = tuple(_round(number, draws, spec) for number in range(1, spec.rounds + 1))
    return Schedule(
        stage=stage.name,
        seed=spec.seed,
        interval_s=spec.interval_s,
        rate_per_s=spec.rate_per_s,
        repair=spec.repair,
        reckless=spec.reckless,
        fault_duration_s=spec.fault_duration_s,
        rounds=rounds,
    )


def within_reach(stage: Stage, repair: RepairPlan, reckless: bool) -> list[str]:
    """The experiments that it draws from. Raises UsageError where there are too few."""
    return eligible(stage) if repair.heals and not reckless else eligible_for_repair(stage, reckless)


class Draws:
    """Draws experiments at random; each file is read once."""

    def __init__(self, names: list[str], random: Random, reckless: bool) -> None:
        self._names = names
        self._random = random
        self._tiers = {name: tier(name) for name in names} if reckless else {}
        self._places = [name for name in names if hits_a_place(name)]
        self._boxes = [name for name in names if name not in self._places]

    def one(self) -> str:
        """One of them; a third of all draws are of whole places, where there are any."""
        if self._places and self._boxes:
            return self._random.choice(self._places if self._random.random() < PLACES_SHARE else self._boxes)
        return self._random.choice(self._names)

    def two(self) -> tuple[tuple[str, str], float]:
        """Two of different tiers, and the seconds between them."""
        first = self._random.choice(self._names)
        second = self._random.choice([name for name in self._names if self._tiers[name] != self._tiers[first]])
        return (first, second), round(self._random.uniform(0.0, GAP_MAX_S), 1)


def _round(number: int, draws: Draws, spec: ScheduleSpec) -> Round:
    names, gap_s = draws.two() if spec.reckless else ((draws.one(),), 0.0)
    return Round(number, names, gap_s, trial_seed(spec.seed, number + 1))


def experiment_of(each: Round, planned: Schedule) -> Experiment:
    """What a round runs: where the lab heals, the experiment as it is; else as long as the interval allows."""
    first, *more = map(experiments.find, each.experiments)
    steps = (*first.faults, *(replace(step, delay_s=each.gap_s) for other in more for step in other.faults))
    whole = replace(first, name="-and-".join(each.experiments), steps=steps) if more else first
    if planned.repair.heals:
        return whole if planned.fault_duration_s is None else replace(whole, fault_duration_s=planned.fault_duration_s)
    return replace(
        whole,
        steps=steps,
        preconditions={},
        baseline_s=BASELINE_S,
        fault_duration_s=max(planned.interval_s - BASELINE_S - COOLDOWN_S - OVERHEAD_S, FAULT_MIN_S),
        cooldown_s=COOLDOWN_S,
        repair=planned.repair.of_experiment,
        expected_verdicts={},
    )


# Reading one


def read_schedule(file: Path, stage: Stage) -> Schedule:
    """A schedule as --print-schedule printed it. Raises UsageError for what is none, or was made for another stage."""
    try:
        text = kept.content(file)
        version = raw.get("schema_version") if isinstance(raw := kept.document(text), dict) else None
        if version != VERSION:
            raise ValueError("it is of another version of the lab")
        found = kept.parse(Schedule, text)
        _check(found)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{place(file)} is no schedule: {getattr(error, 'strerror', None) or error}",
            "'lab monkey 5 --for 30m --print-schedule --json' prints one",
        ) from error
    if found.stage != stage.name:
        raise UsageError(f"{place(file)} is a schedule for {shown(found.stage)}, not for {stage.name}", "name that stage")
    reach = set(within_reach(stage, found.repair, found.reckless))
    if unknown := {name for each in found.rounds for name in each.experiments} - reach:
        raise UsageError(f"{', '.join(sorted(unknown))}: out of a monkey's reach on stage {stage.number}", "'lab list' shows all")
    return found


def _check(found: Schedule) -> None:
    """Raise ValueError for what no schedule says."""
    numbers = [each.number for each in found.rounds]
    if not 1 <= len(numbers) <= ROUNDS_MAX or numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("its rounds are not numbered from 1")
    if not all(1 <= len(each.experiments) <= 2 and 0 <= each.gap_s <= 60 for each in found.rounds):
        raise ValueError("a round has one or two experiments, up to 60 s apart")
    if not all(0 <= each <= experiments.DURATION_MAX_S for each in _times(found)) or _is_too_short(found):
        raise ValueError("its times are out of bounds")
    if not 1 <= found.rate_per_s <= RATE_MAX_PER_S:
        raise ValueError("its rate is out of bounds")


def _times(found: Schedule) -> tuple[float, ...]:
    return found.interval_s, found.repair.delay_s, found.fault_duration_s or 0.0


def _is_too_short(found: Schedule) -> bool:
    return found.interval_s < INTERVAL_MIN_S and not (found.repair.heals and found.interval_s == 0)
