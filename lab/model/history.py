"""What was seen in a trial, as it is kept on disk; seconds on the clock of the load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from lab.model.experiment import LoadPlan, Overload, RepairPolicy
from lab.model.measures import Expectation
from lab.model.payloads import Payload
from lab.model.topology import place


@dataclass(frozen=True)
class Arrival:
    """One intended request and what became of it; seconds on the clock of the load."""

    number: int
    kind: str
    """read or write."""
    at_s: float
    """When it was intended."""
    lag_s: float
    """How late the generator started it."""
    done_s: float
    error_class: str
    """ok, or the class of the failure."""
    effect: str
    """ok, fail (surely not executed) or info (unknown)."""
    status: int
    by: str
    """The box that served it."""
    via: str
    """The balancer that passed it on."""
    key: str
    new_connection: bool

    def is_good(self, deadline_s: float) -> bool:
        """A correct answer within the deadline, which counts from the intended instant."""
        return self.error_class == "ok" and self.done_s - self.at_s <= deadline_s


@dataclass(frozen=True)
class DatabaseAudit:
    """What a database was when the audit read it."""

    role: str
    """primary (users are served from it), standby or read-only; empty for one that did not answer."""
    timeline: int | None = None
    """The history that its log belongs to; None where that is not known."""
    position: str = ""
    """Up to where it had written its log; of a standby, replayed it."""
    caught_up: bool = False
    """Of a standby: it had replayed what the primary had written when that was read."""
    error: str = ""
    """Why it could not be read."""


@dataclass(frozen=True)
class GeneratorReport:
    """How well the load was made."""

    intended: int
    recorded: int
    lag_p99_ms: float
    lag_max_ms: float
    cpu_ratio: float


@dataclass(frozen=True)
class Event:
    """Something that happened during a trial; seconds on the clock of the load."""

    at_s: float
    name: str
    detail: str = ""
    """Words for people: nothing reads them."""
    data: Payload | None = None
    """What figures and reports are made from."""


Kind = TypeVar("Kind", bound=Payload)


def payloads(events: Iterable[Event], kind: type[Kind]) -> list[tuple[float, Kind]]:
    """The payloads of one kind, and since when each holds; in the order of the events."""
    return [(event.at_s, event.data) for event in events if isinstance(event.data, kind)]


@dataclass(frozen=True)
class Alert:
    """An alert that was delivered during a trial; seconds on the clock of the load."""

    name: str
    """ServiceDown, ErrorBudgetBurn, RedundancyLost, FailoverHappened, ReplicationLag, SplitBrain."""
    words: str
    """What it is about, and what it says."""
    fired_s: float
    resolved_s: float | None
    """When it was said to be over; None where that was not during the load."""


@dataclass(frozen=True)
class TrialRecord:
    """All that was seen in a trial: the input of every figure. A report needs nothing else."""

    number: int
    seed: int
    plan: LoadPlan
    targets: tuple[str, ...]
    arrivals: tuple[Arrival, ...]
    events: tuple[Event, ...]
    generator: GeneratorReport
    final_orders: dict[str, dict[str, int] | None]
    """For each database the count of each key; None for one that could not be read."""
    databases: dict[str, DatabaseAudit] = field(default_factory=dict)
    """What each of them was then; empty in journals from before that was noted."""


@dataclass(frozen=True)
class Timer:
    """A setting that decides how soon a failure is detected, as the stage file has it."""

    product: str
    """haproxy, keepalived, pg_auto_failover, bird or postgresql."""
    where: str
    """The backend or instance that it belongs to; empty where it is of the whole program."""
    setting: str
    value: float
    default: float | None
    """What the product does where nothing is set; None where that depends on other settings."""
    unit: str
    """`s`, or empty for a count."""


@dataclass(frozen=True)
class Machine:
    """What everything ran on."""

    cores: int
    memory_mib: int
    """Of the engine."""
    engine: str
    """Docker's version."""
    kernel: str
    system: str
    loop_ms: float | None = None
    """How long one core took for a million additions in Python on average, just before the load; None where not measured.

    The same machine is not equally fast every hour: other work shares its cores. A figure of a slow hour is another figure.
    """


@dataclass(frozen=True)
class Conditions:
    """What a figure stands on: it would be another one elsewhere."""

    machine: Machine | None = None
    fsync: bool | None = None
    """Whether the databases wait for the disk; None where no file says so."""
    timers: tuple[Timer, ...] = ()
    round_trips_ms: dict[str, float] | None = None
    """What the lines between two regions add to a round trip, by `eu-us`; empty where there is no distance, None where unknown."""
    database_bytes: int | None = None
    """The size of the database just before the load; None where no database said it."""
    kill: str = ""
    """What the fault `kill` ends and what it keeps."""
    disks: str = ""
    """What the disks of databases are; empty where they are folders of the engine's disk."""
    clock: str = ""
    """What the programs of some boxes ask for the time, at a price with each question; empty where that is the kernel."""


@dataclass(frozen=True)
class RunInfo:
    """What was asked for: the frame of a run's results."""

    stage: int
    stage_folder: str
    failover: str
    experiment: str
    title: str
    question: str
    seed: int
    plan: LoadPlan
    expectations: tuple[Expectation, ...]
    has_fault: bool
    started_at: str
    url: str = ""
    """What was read, where the system is foreign."""
    contains: str = ""
    """The text that a good answer had to have, where one was asked for."""
    repair: str = RepairPolicy.NONE.value
    """The policy under which it ran."""
    repair_delay_s: float = 0.0
    expected_verdict: str = ""
    """The verdict that the experiment's author expects under that policy; empty where nothing is said."""
    durability: str = ""
    """Where a commit waits for another database: `region` or `local`; empty where the stage has no choice."""
    overload: Overload | None = None
    """How small the web boxes were, and what was asked of them; None where they were as their file says."""
    conditions: Conditions | None = None
    """What its figures stand on; None in runs from before it was noted."""
    fault_duration_s: float | None = None
    """From the last fault until the lab heals it; None in runs from before it was noted."""

    @property
    def place(self) -> str:
        """What messages call the stage."""
        return place(self.stage, self.stage_folder)


@dataclass(frozen=True)
class LogLine:
    """A line that a box printed."""

    service: str
    realtime_ns: int
    """When the engine read it, on the wall clock."""
    text: str
