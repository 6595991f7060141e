"""What is to be done: faults, operator, repair, load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lab.model.fault import FaultKind, Step
from lab.model.measures import Expectation


class RepairPolicy(StrEnum):
    """What brings back a lost box without an operator."""

    NONE = "none"
    """Nothing: a human would have to."""
    RESTART = "restart"
    """The same box is started again, with its disk."""
    REPLACE = "replace"
    """A new box with an empty disk takes its place."""


@dataclass(frozen=True)
class Operator:
    """An operator who is paged and acts."""

    delay_s: float
    """From the last fault until the operator acts."""
    action: str
    """promote: makes the standby the primary, fencing the old one; switchover: has the monitor change them over;
    failback: heals what was broken before, waits until nothing is missing, and changes back; accept-loss: brings all boxes back,
    and decides that the stage goes on without what is lost."""
    target: str = ""
    """Whom to make the primary: one of the boxes of a target."""


@dataclass(frozen=True)
class Repair:
    """What an orchestrator would do about lost boxes; the lab stands in for it."""

    policy: RepairPolicy = RepairPolicy.NONE
    delay_s: float = 2.0
    """From the proof that a box is lost until its repair begins: what it takes to get the order through."""

    @property
    def acts(self) -> bool:
        """Whether lost boxes are brought back."""
        return self.policy is not RepairPolicy.NONE

    def __str__(self) -> str:
        return f"{self.policy} after {self.delay_s:g} s" if self.acts else str(self.policy)


@dataclass(frozen=True)
class Overload:
    """More than the boxes that are left can carry."""

    cpus: float
    """The share of a processor that each web box gets, so that it is small enough to be overloaded from here."""
    rate_ratio: float
    """The rate of the load, of what one such box carries."""
    maxconn: int = 0
    """How many requests a balancer lets a web box have at once, reads and writes apart; 0: any number."""


@dataclass(frozen=True)
class Experiment:
    """What to break, for how long to watch, and what to expect."""

    name: str
    title: str
    question: str
    steps: tuple[Step, ...]
    baseline_s: float
    fault_duration_s: float
    """From the last fault until the lab heals it."""
    cooldown_s: float
    """Load that goes on after the stage has recovered."""
    expectations: tuple[Expectation, ...]
    operator: Operator | None = None
    preconditions: Mapping[str, str] = field(default_factory=dict)
    """Roles that change (db.primary, lb.active), and the boxes one of which shall play them when a trial begins."""
    initial_faults: tuple[Step, ...] = ()
    """What is broken already when the load begins; healed by the operator's failback, or as every fault is."""
    repair: Repair = Repair()
    expected_verdicts: Mapping[str, str] = field(default_factory=dict)
    """The verdict that its author expects under each repair policy; nothing is said of those left out."""
    overload: Overload | None = None

    @property
    def breaks(self) -> bool:
        """Whether anything is done to the stage."""
        return bool(self.faults or self.operator)

    @property
    def faults(self) -> tuple[Step, ...]:
        """The steps that break something."""
        return tuple(step for step in self.steps if step.fault is not FaultKind.NONE)


RATE_MIN_PER_S, RATE_MAX_PER_S = 1, 1000.0
"""What this is built for; more is a load test."""
CAMPAIGN_RATE_MIN_PER_S = 20.0
"""Of many trials in a row: slower, the load after the healing would be too sparse to see the end of an outage."""
TRIALS_MAX = 1000


@dataclass(frozen=True)
class LoadPlan:
    """The load of a trial."""

    rate_per_s: float = 100.0
    deadline_s: float = 1.0
    write_share: float = 0.3
    new_connection_share: float = 0.1

    @property
    def has_writes(self) -> bool:
        """Whether anything is written: of a foreign system a page is only read."""
        return self.write_share > 0
