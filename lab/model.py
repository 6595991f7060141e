"""The words of the lab as types. Imports nothing of ours; every layer speaks in these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

INTERNET_ROLE = "internet"
WAN_ROLE = "wan"
WATCH_ROLE = "watch"
HTTP_PORT = 80
LINE_FORM = "line:"
GUEST = 0
"""The number of what is no stage of the lab's: a project of somebody else, which is only visited."""
GUEST_FOLDER = "own-"
"""What the folder of such a project's results begins with."""
MONTH_S = 30 * 24 * 3600.0
"""A month is 30 days everywhere: 99.99 % of it allows 4.32 minutes."""


class Verdict(StrEnum):
    """What a run says about its expectations."""

    HELD = "held"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    """The fault did not bite, or no trial was valid: nothing can be said."""


class FaultKind(StrEnum):
    """How a box fails."""

    NONE = "none"
    KILL = "kill"
    CRASH = "crash"
    STOP = "stop"
    PAUSE = "pause"
    RESTART = "restart"
    CUTOFF = "cutoff"
    WIPE = "wipe"
    ISOLATE = "isolate"
    PARTITION = "partition"
    DELAY = "delay"
    LOSS = "loss"
    BANDWIDTH = "bandwidth"


class Direction(StrEnum):
    """Which packets between the two sides of a partition are lost, as the target sees it."""

    BOTH = "both"
    OUT = "out"
    """What the target sends to the other side."""
    IN = "in"
    """What the other side sends to the target."""


class DatabaseState(StrEnum):
    """What a database says of itself."""

    PRIMARY = "primary"
    """It accepts writes."""
    WAITING = "waiting"
    """It takes writes and acknowledges none: it waits for a standby that is not there."""
    STANDBY = "standby"
    """It follows another."""
    READ_ONLY = "read-only"
    """It follows no other and refuses writes: to a monitor that asks whether it answers it is a healthy primary."""
    SILENT = "silent"
    """It does not answer."""


class RepairPolicy(StrEnum):
    """What brings back a box that was lost, while nobody looks."""

    NONE = "none"
    """Nothing: a human would have to."""
    RESTART = "restart"
    """The same box is started again, with its disk."""
    REPLACE = "replace"
    """A new box with an empty disk takes its place."""


class UndoAction(StrEnum):
    """What brings a box back."""

    START = "start"
    UNPAUSE = "unpause"
    RECONNECT = "reconnect"
    CREATE = "create"
    UNFILTER = "unfilter"
    UNSHAPE = "unshape"
    RETUNE = "retune"
    RESIZE = "resize"
    READMIT = "readmit"


def is_system(roles: Iterable[str]) -> bool:
    """Whether who plays these roles is part of the system."""
    return not {INTERNET_ROLE, WAN_ROLE, WATCH_ROLE} & set(roles)


def place(number: int, folder: str) -> str:
    """What messages call a stage, or a project of somebody else."""
    return folder if number == GUEST else f"stage {number}"


@dataclass(frozen=True)
class ServiceSpec:
    """A service of a stage file: a box before it is started."""

    name: str
    roles: tuple[str, ...]
    labels: dict[str, str]
    links: tuple[Link, ...] = ()
    """To every network that its file puts it on."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """On the networks where its file gives it one."""
        return tuple(link.address for link in self.links if link.address)

    @property
    def is_system(self) -> bool:
        """Whether it is part of the system: users, their internet, the distance between regions and who only watches are not."""
        return is_system(self.roles)


@dataclass(frozen=True)
class Page:
    """What users read of a system that has no order desk."""

    host: str
    """A name of one of its boxes, or an address, as seen from its network."""
    port: int
    path: str
    """With the query, where there is one."""
    contains: str = ""
    """A text that a good answer has; empty: any answer that says that it is one (2xx)."""

    @property
    def url(self) -> str:
        """As users would write it."""
        return f"http://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Whom a request names as its host."""
        return self.host if self.port == HTTP_PORT else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Stage:
    """A stage as its file describes it; or a project of somebody else, as it was found."""

    number: int
    folder: str
    project: str
    file: Path
    title: str
    new: str
    spof: tuple[str, ...]
    memory_mib: int
    entry: tuple[str, int]
    """Address and port that users reach, as seen from the internet box."""
    databases: dict[str, str]
    """Database boxes and the addresses at which the audit reads them."""
    services: tuple[ServiceSpec, ...]
    failover: str = "none"
    """automatic: a monitor promotes and brings back databases; none: an operator does."""
    balancers: dict[str, str] = field(default_factory=dict)
    """Balancer boxes that share the entry's address, and the addresses at which each is asked."""
    announced: bool = False
    """Whether every balancer announces the entry's address, and a router chooses; else one of them holds it."""
    durability: str = ""
    """In several regions, whom a commit waits for: region (one in another region) or local (the neighbour)."""
    monitor: str = ""
    """The address at which the monitor is asked; empty where there is none."""
    left_out: tuple[str, ...] = ()
    """Services of its file that are not to be started: the monitoring box, where it is not wanted."""
    page: Page | None = None
    """What is read where there is no order desk."""

    @property
    def is_guest(self) -> bool:
        """Whether it is somebody else's: never started, stopped or changed but by a fault that was asked for."""
        return self.number == GUEST

    @property
    def place(self) -> str:
        """What messages call it."""
        return place(self.number, self.folder)

    def links_of(self, service: str) -> tuple[Link, ...]:
        """To every network that the stage file puts the service on; nothing for one that it does not start."""
        return next((spec.links for spec in self.services if spec.name == service), ())

    @property
    def needed(self) -> list[str]:
        """The services without which it is not whole: all of them but who only watches, whom nothing depends on."""
        return [spec.name for spec in self.services if WATCH_ROLE not in spec.roles]

    @property
    def name(self) -> str:
        """For people, and different for each file: its folder, and its failover where it has a second file."""
        return self.folder + ("" if self.file.name == "compose.yaml" else f" ({self.failover})")

    @property
    def is_replicated(self) -> bool:
        """Whether it has more than one database."""
        return len(self.databases) > 1

    @property
    def is_watched(self) -> bool:
        """Whether there is anything for an observer to see: several databases, or an address that moves."""
        return self.is_replicated or bool(self.balancers)

    @property
    def regions(self) -> dict[str, list[str]]:
        """The databases of each region; empty where a stage has none."""
        found: dict[str, list[str]] = {}
        for spec in self.services:
            if spec.name in self.databases and "lab.region" in spec.labels:
                found.setdefault(spec.labels["lab.region"], []).append(spec.name)
        return found

    @property
    def acknowledgers(self) -> int:
        """For how many databases a commit waits (for one of them) when nothing is missing. Regions are alike."""
        others = len(self.databases) - 1
        if not self.durability:
            return others
        neighbours = max(map(len, self.regions.values())) - 1
        return neighbours if self.durability == "local" else others - neighbours

    def spare(self, sight: Sight) -> int:
        """How many databases could take over now without losing what was acknowledged.

        Where nobody waits for a standby (an operator's stage), one that follows is as good as it gets.
        """
        if len(sight.named(DatabaseState.PRIMARY)) != 1:
            return 0
        following = sight.synchronous if self.failover == "automatic" else sight.standbys
        # A primary goes on counting a standby that has frozen, until it is disconnected.
        return min(following, len(sight.named(DatabaseState.STANDBY)))

    def is_redundant(self, sight: Sight) -> bool:
        """Whether nothing is missing that an observer can see: every standby follows, one balancer holds the address,
        and all of them serve."""
        follow = self.failover != "automatic" or sight.standbys == len(self.databases) - 1
        databases = not self.is_replicated or (follow and self.spare(sight) == self.acknowledgers)
        one_holds = len(sight.holders) == 1 and sight.holders[0] == sight.wire
        return databases and (not self.balancers or (one_holds and len(sight.answering) == len(self.balancers)))


@dataclass(frozen=True)
class Box:
    """A running (or broken) box of a stage."""

    id: str
    service: str
    stage: int
    roles: tuple[str, ...]
    labels: dict[str, str]
    status: str
    """Docker's word: running, exited, paused, restarting, created, dead."""
    health: str
    """Docker's word: healthy, unhealthy, starting; empty where the box has no check."""
    project: str = ""
    """Docker Compose's name for what it was started from."""
    started_at: str = ""
    ended_at_s: float = 0.0
    """When it last ended, on the wall clock of the engine; 0 where it never did."""
    exit_code: int | None = None
    restarts: int = 0
    restarts_itself: bool = False
    """It has a restart policy: Docker starts it again when it ends by itself."""
    addresses: dict[str, str] = field(default_factory=dict)
    """The networks that it is on, and its address on each."""

    @property
    def is_guest(self) -> bool:
        """Whether it is of no stage of the lab's."""
        return self.stage == GUEST

    @property
    def zone(self) -> str:
        """The data centre that it stands in; empty where a stage has only one."""
        return self.labels.get("lab.zone", "")

    @property
    def region(self) -> str:
        """The part of the world that it stands in; empty where a stage has only one."""
        return self.labels.get("lab.region", "")

    @property
    def is_system(self) -> bool:
        """Whether it is part of the system: users, their internet, the distance between regions and who only watches are not."""
        return is_system(self.roles)

    @property
    def is_well(self) -> bool:
        """Running, and healthy where it has a check."""
        return self.status == "running" and self.health in ("", "healthy")

    @property
    def condition(self) -> str:
        """How it is, in a word: running, starting, unhealthy, paused, dead, or Docker's own word for what is rare."""
        if self.status == "running" and not self.is_well:
            return self.health
        return "dead" if self.status in ("exited", "created") else self.status


@dataclass(frozen=True)
class Sight:
    """What the observer saw from one instant on."""

    clock_ns: int
    """On the monotonic clock of the internet box, which is that of the load."""
    databases: dict[str, DatabaseState]
    standbys: int
    """How many databases stream from the primary."""
    synchronous: int
    """How many of them a commit waits for."""
    holders: tuple[str, ...]
    """The balancers that say that they hold the entry's address."""
    wire: str
    """The balancer that answers at the entry's address; empty where none does."""
    answering: tuple[str, ...] = ()
    """The balancers that serve, whether they hold the address or not."""

    def is_like(self, other: Sight) -> bool:
        """Whether it shows the same."""
        return replace(self, clock_ns=0) == replace(other, clock_ns=0)

    def named(self, wanted: DatabaseState) -> list[str]:
        """The databases in a state."""
        return [name for name, state in self.databases.items() if state is wanted]


@dataclass(frozen=True)
class Copy:
    """How well a standby follows its primary."""

    streams: bool
    """Whether the primary says that it sends to it."""
    awaited: bool
    """Whether the primary says that a commit waits for it, or for one of several of which it is one."""
    behind_bytes: int | None
    """What of the primary's log it does not have; None where that is unknown, or its log is another one."""
    behind_s: float | None
    """How long ago the last order that it shows was placed; 0 where it has and shows all, None where that is unknown."""


@dataclass(frozen=True)
class Judgement:
    """What the monitor says of a database."""

    state: str
    """Its own word for what the database is: primary, wait_primary, secondary, catchingup, report_lsn, ..."""
    is_well: bool
    is_candidate: bool
    """Whether it could be made the primary now."""
    has_voice: bool
    """Whether an election waits for it to say what it has, should it be gone or not."""


@dataclass(frozen=True)
class Survey:
    """One look at a stage: what the observer sees, and what is asked only for a map. Who did not answer is missing."""

    sight: Sight
    copies: dict[str, Copy] = field(default_factory=dict)
    """For each database that is not the primary."""
    backends: dict[str, dict[str, bool]] = field(default_factory=dict)
    """For each balancer the web boxes that it knows, and whether it sends requests to each."""
    judgements: dict[str, Judgement] | None = None
    """What the monitor says of each database; None where it says nothing."""
    acknowledgers: int = 0
    """How many standbys the monitor has a commit wait for, whatever becomes of them; 0: for those that are there."""


@dataclass(frozen=True)
class Finding:
    """What somebody in a stage says from an instant on: beside what an observer sees, what margins rest on."""

    at_ns: int
    """On the monotonic clock of the internet box. Where it is silence: when the question was put that found it."""
    kind: str
    """database, balancer, route, statistics or monitor: apps/client/client/reserve.py says what each says."""
    name: str
    said: dict[str, Any] | None


@dataclass(frozen=True)
class Link:
    """A box's connection to a network, as it was made."""

    network: str
    address: str
    mac: str
    """Empty where Docker chooses one."""
    aliases: tuple[str, ...]
    address6: str = ""
    """The IPv6 address that its file fixes, if it does."""


@dataclass(frozen=True)
class Undo:
    """How to take a fault back; written to disk before the fault."""

    action: UndoAction
    box_id: str
    service: str
    stage: int
    links: tuple[Link, ...] = ()
    """What to connect the box to again."""
    table: str = ""
    """The table of packet rules to delete in the box's network."""
    setting: str = ""
    """What to tell the router between regions: a line, and what it was set to."""
    project: str = ""
    """Whose box it is, where it is none of the lab's: the name of the Compose project."""


@dataclass(frozen=True)
class Bite:
    """Proof that a fault bit, as seen from outside the box."""

    proved: bool
    evidence: str
    moot: bool = False
    """Nothing was there to be broken at this box; it counts as hit where another box of the same fault was."""


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
    result: str
    """ok, or the class of the failure."""
    outcome: str
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
        return self.result == "ok" and self.done_s - self.at_s <= deadline_s


@dataclass(frozen=True)
class Outage:
    """A downtime window, in seconds on the clock of the load.

    `censored`: it had not ended by itself at `end_s` (the lab healed the fault, or the load stopped), so
    its length is a lower bound.
    """

    start_s: float
    end_s: float
    censored: bool
    answered: int = 0
    """Good requests that were intended between its first and its last failed one: more than none, and it was a partial outage."""

    @property
    def length_s(self) -> float:
        """Seconds from start to end; a lower bound where censored."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Gap:
    """The longest time without a success, in seconds on the clock of the load.

    `censored`: the lab healed, or the load ended, before a gap that could have been the longest was over.
    """

    start_s: float
    end_s: float
    censored: bool = False

    @property
    def length_s(self) -> float:
        """Seconds from start to end; a lower bound where censored."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Measured:
    """What is known of a measure: it lies between `low` and `high`, both inclusive; one value where the two are equal."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.low} to {self.high} is no range")

    @classmethod
    def exactly(cls, value: float) -> Measured:
        """A measure that is known."""
        return cls(value, value)

    @property
    def is_exact(self) -> bool:
        """Whether it is known."""
        return self.low == self.high


class Outcome(StrEnum):
    """What a measure says about a bound on it."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    """The measure is unknown, or known to within a range that reaches over the bound."""


def longest_s(outages: Iterable[Outage]) -> float:
    """The length of the longest outage in seconds; 0 where there is none."""
    return max((outage.length_s for outage in outages), default=0.0)


@dataclass(frozen=True)
class Share:
    """How many of the intended were good."""

    intended: int
    good: int

    @property
    def ratio(self) -> float:
        """good / intended; 1.0 where nothing was intended."""
        return self.good / self.intended if self.intended else 1.0

    @property
    def failed(self) -> int:
        """Those that were not good."""
        return self.intended - self.good


@dataclass(frozen=True)
class Operation:
    """What users saw of one kind of request in a trial, or of the whole service."""

    intended: int
    good: int
    unserved_s: float
    """The seconds of load that the failed requests amount to: failed / rate."""
    during_fault: Share | None
    """Of those intended while the fault lasted; None where there was no fault, or nothing was intended in it."""
    outages: tuple[Outage, ...]
    gap: Gap | None
    """None where nothing was intended."""

    @property
    def ratio(self) -> float:
        """good / intended; 1.0 where nothing was intended."""
        return Share(self.intended, self.good).ratio

    @property
    def failed(self) -> int:
        """Those that were not good."""
        return self.intended - self.good

    @property
    def censored(self) -> bool:
        """Whether one of its outages had not ended by itself: what it would have become is unknown."""
        return any(outage.censored for outage in self.outages)


@dataclass(frozen=True)
class WritesAudit:
    """The verdict on the writes of a trial, from what the databases held in the end."""

    attempted: int
    acknowledged: int
    lost: int
    """Acknowledged, and not in the database that users are served from."""
    unexpected: int
    """In that database though never attempted, or though the client was told it was not placed."""
    duplicate: int
    """Executed more than once."""
    recovered: int
    """Outcome unknown to the client, and found."""
    lost_keys: tuple[str, ...] = ()
    complete: bool = True
    """Whether every database could be read, and one of them is known to be the one that users are served from."""
    why_incomplete: str = ""
    served_by: str = ""
    """The database that users are served from; empty where that is not known, as in journals from before it was noted."""
    differing: dict[str, int] = field(default_factory=dict)
    """For each standby that had caught up, how many keys it has more often or less often than the database that users are served from."""
    not_compared: tuple[str, ...] = ()
    """The other databases that were read, of which it is not known whether they differ."""

    @property
    def writes_differing(self) -> int | None:
        """Keys that differ, all standbys together; None where a standby could not be compared, and none that was differs."""
        found = sum(self.differing.values())
        return None if not found and (self.not_compared or not self.complete or not self.served_by) else found


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
class Expectation:
    """A bound on one measured value of a trial."""

    measure: str
    at_most: float | None
    at_least: float | None

    def judge(self, measured: Measured | None) -> Outcome:
        """Whether what is known of the measure keeps within the bounds, both inclusive; of nothing known nothing is said."""
        if measured is None:
            return Outcome.UNDECIDED
        at_most = math.inf if self.at_most is None else self.at_most
        at_least = -math.inf if self.at_least is None else self.at_least
        if measured.low > at_most or measured.high < at_least:
            return Outcome.FAILS
        return Outcome.HOLDS if measured.high <= at_most and measured.low >= at_least else Outcome.UNDECIDED

    def __str__(self) -> str:
        bounds = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.measure} {' and '.join(bounds)}"


@dataclass(frozen=True)
class Check:
    """An expectation, held against a trial."""

    expectation: Expectation
    measured: Measured | None
    """None where the measure is unknown."""
    outcome: Outcome

    @property
    def was(self) -> str:
        """The measured value in words."""
        if self.measured is None:
            return "unknown"
        if self.measured.is_exact:
            return self._number(self.measured.low)
        if math.isinf(self.measured.high):
            return f"at least {self._number(self.measured.low)}"
        return f"{self._number(self.measured.low)} to {self._number(self.measured.high)}"

    def _number(self, value: float) -> str:
        """With as many digits as it takes to be on the same side of the bounds as the value itself."""
        exact = self.expectation.judge(Measured.exactly(value))
        shown = (f"{value:.{digits}f}" for digits in range(0 if value == int(value) else 2, 9))
        fits = (text for text in shown if self.expectation.judge(Measured.exactly(float(text))) is exact)
        return next(fits, repr(value))

    def __str__(self) -> str:
        return f"{self.expectation}: was {self.was}"


@dataclass(frozen=True)
class How:
    """What a fault needs to be told besides its target; nothing, for most."""

    source: str = ""
    """The other side of a partition (`from` in YAML, `--from`)."""
    direction: Direction = Direction.BOTH
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    rate_kbit: float = 0.0

    def __str__(self) -> str:
        words = [f"from {self.source}"] if self.source else []
        words += [f"({self.direction} only)"] if self.direction is not Direction.BOTH else []
        words += [f"by {self.delay_ms:g} ms"] if self.delay_ms else []
        words += [f"give or take {self.jitter_ms:g} ms"] if self.jitter_ms else []
        words += [f"of {self.loss_percent:g} %"] if self.loss_percent else []
        words += [f"of {self.rate_kbit:g} kbit/s"] if self.rate_kbit else []
        return " ".join(words)


@dataclass(frozen=True)
class Step:
    """One fault of an experiment."""

    fault: FaultKind
    target: str
    after_s: float = 0.0
    """Seconds after the step before it (after the jitter, for the first)."""
    how: How = How()
    once: str = ""
    """What is waited for before that: redundant (all is in reserve again that was when the trial began) or served (one
    database accepts writes and users get an answer); nothing where it is empty."""
    within_s: float = 0.0
    """For how long at most; the step is done then all the same."""

    def __str__(self) -> str:
        once = f" once {self.once}" if self.once else ""
        return f"{self.fault} {self.target} {self.how}".rstrip() + once


@dataclass(frozen=True)
class Operator:
    """A human who is called and acts: what an experiment puts in place of a night shift."""

    delay_s: float
    """From the last fault until the operator acts."""
    does: str
    """promote: makes the standby the primary, fencing the old one; switchover: has the monitor change them over;
    failback: heals what was broken before, waits until nothing is missing, and changes back."""
    to: str = ""
    """Whom to make the primary: one of the boxes of a target."""


@dataclass(frozen=True)
class Repair:
    """What an orchestrator would do about lost boxes; the lab stands in for it."""

    policy: RepairPolicy = RepairPolicy.NONE
    after_s: float = 2.0
    """From the proof that a box is lost until its repair begins: what it takes to get the order through."""

    @property
    def acts(self) -> bool:
        """Whether anybody comes."""
        return self.policy is not RepairPolicy.NONE

    def __str__(self) -> str:
        return f"{self.policy} after {self.after_s:g} s" if self.acts else str(self.policy)


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
    observe_s: float
    """From the last fault until the lab heals it."""
    after_s: float
    """Load that goes on after everything is well again."""
    expectations: tuple[Expectation, ...]
    operator: Operator | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    """Roles that change (db.primary, lb.active), and the boxes one of which shall play them when a trial begins."""
    before: tuple[Step, ...] = ()
    """What is broken already when the load begins; healed by the operator's failback, or as every fault is."""
    repair: Repair = Repair()
    foreseen: Mapping[str, str] = field(default_factory=dict)
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


RATE_MAX_PER_S = 1000.0
"""What this is built for; more is a load test."""


@dataclass(frozen=True)
class LoadPlan:
    """The load of a trial."""

    rate_per_s: float = 100.0
    deadline_s: float = 1.0
    write_share: float = 0.3
    new_connection_share: float = 0.1

    @property
    def has_writes(self) -> bool:
        """Whether anything is written: of somebody else's system a page is only read."""
        return self.write_share > 0


@dataclass(frozen=True)
class Event:
    """Something that happened during a trial; seconds on the clock of the load."""

    at_s: float
    name: str
    detail: str = ""


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
class TierExposure:
    """For how long a tier had nothing in reserve in a trial."""

    tier: str
    boxes: int
    """How many of its boxes (zones, regions) worked at most."""
    left: int
    """How many of them worked for most of the time in which any tier had nothing in reserve; all, where none ever had."""
    margin: int
    """How many more failures it survived at best."""
    exposed_s: float | None
    """Seconds with none left, from the fault on; None where it never had any, so that none was lost."""
    spans: tuple[tuple[float, float], ...] = ()
    """From when to when that was; seconds on the clock of the load."""
    censored: bool = False
    """It was still so when the load ended: a lower bound."""


@dataclass(frozen=True)
class Blow:
    """One of several faults of a trial, and what users noticed of it before the next."""

    at_s: float
    what: str
    reserve: bool | None
    """Whether all was in reserve again just before; None where nobody looked (the first)."""
    downtime_s: float
    """The longest outage that began with it or after it, and before the next; a lower bound where censored."""
    censored: bool


@dataclass(frozen=True)
class TrialResult:
    """The figures of a trial."""

    number: int
    seed: int
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""
    bitten: bool
    targets: tuple[str, ...]
    total: Operation
    """The service: all requests, the union of the outages of reads and of writes, the longer of their gaps."""
    reads: Operation
    writes: Operation
    phases: dict[str, float]
    errors: dict[str, int]
    served_by: dict[str, int]
    latency_ms: dict[str, float]
    reads_latency_ms: dict[str, float]
    writes_latency_ms: dict[str, float]
    undisturbed_writes_ms: tuple[float, ...]
    """How long each write took that was good and had its answer before the fault; all good ones where there was no fault."""
    audit: WritesAudit
    generator: GeneratorReport
    checks: tuple[Check, ...] = ()
    """Each expectation, held against the figures."""
    writable: dict[str, float] = field(default_factory=dict)
    """Seconds with no database that accepts writes (none_s) and with two or more (several_s)."""
    address: dict[str, float] = field(default_factory=dict)
    """Seconds with no balancer that says that it holds the entry's address (none_s), and with two or more (several_s)."""
    degraded_redundancy_s: float | None = None
    """For how long users were served while something was missing: from the fault until redundancy was restored, without the
    outages meanwhile. None where one of these is not known, as in an outage whose end was not seen."""
    unseen_s: float = 0.0
    """For how long the observer said nothing: what it would have seen of databases and address then is unknown."""
    notes: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """Those that were delivered from the fault on (or at all, where there was none), in order."""
    exposure: tuple[TierExposure, ...] = ()
    """The tiers that the stage has; empty where nobody looked, as in journals from before anybody did."""
    exposure_period_s: float | None = None
    """How often it was looked; None where nobody did."""
    databases: int = 0
    """How many the stage has, as far as they were audited: one by itself cannot split."""
    has_writes: bool = True
    """Whether anything was to be written; where not, all that is said of writes is not measured, which is not 0."""
    served: dict[str, float] = field(default_factory=dict)
    """Of an overload: what one box carries (capacity_per_s), what was asked for (offered_per_s) and served in time
    (served_per_s) from a second after the fault until it was healed."""
    blows: tuple[Blow, ...] = ()
    """Each fault by itself, where there were several."""

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Those of the service: it is down while reads or writes are."""
        return self.total.outages

    @property
    def read_outages(self) -> tuple[Outage, ...]:
        """Those of reads alone."""
        return self.reads.outages

    @property
    def write_outages(self) -> tuple[Outage, ...]:
        """Those of writes alone."""
        return self.writes.outages

    @property
    def failures(self) -> tuple[Check, ...]:
        """The expectations that it missed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILS)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The expectations of which it says nothing."""
        return tuple(check for check in self.checks if check.outcome is Outcome.UNDECIDED)

    @property
    def is_decided(self) -> bool:
        """Whether it is valid and says of every expectation whether it holds."""
        return self.valid and not self.undecided

    @property
    def alert_delay_s(self) -> float | None:
        """From the fault until somebody was told; None where nobody was before the fault was healed."""
        injected, told = self.phases.get("inject_s"), self.phases.get("alert_s")
        return told - injected if injected is not None and told is not None else None

    @property
    def served_ratio(self) -> float | None:
        """Of what one box carries, how much was served in time in an overload; None where that was not measured."""
        return self.served["served_per_s"] / self.served["capacity_per_s"] if self.served else None

    @property
    def rejoin_s(self) -> float | None:
        """From the healing of the fault until nothing was missing again; 0 where that was so before."""
        healed, until = self.phases.get("heal_s"), self.phases.get("redundant_s")
        return max(until - healed, 0.0) if healed is not None and until is not None else None

    @property
    def downtime_longest_s(self) -> float:
        """The longest outage; 0 where there was none."""
        return longest_s(self.outages)

    @property
    def downtime_total_s(self) -> float:
        """All outages together."""
        return sum(outage.length_s for outage in self.outages)

    @property
    def censored(self) -> bool:
        """Whether the downtime is a lower bound."""
        return self.total.censored


@dataclass(frozen=True)
class SampleMedian:
    """The median of a measure over some trials, as far as their values are known."""

    low: float
    """The median if every value that is a bound were just that."""
    high: float
    """The median if every such value were as large as it may be; infinite where nothing bounds it."""
    ci_low: float
    ci_high: float
    """An interval for the median of the population; infinite where nothing bounds it."""
    coverage_ratio: float
    """The probability with which the interval covers that median."""
    worst: float
    """The largest value; a lower bound where `worst_is_bound`."""
    worst_is_bound: bool
    count: int

    @property
    def is_bound(self) -> bool:
        """Whether the median itself is only known to be at least `low`."""
        return self.high > self.low


@dataclass(frozen=True)
class OperationSummary:
    """What users saw of one kind of request, or of the service, over the trials of a run; seconds."""

    outage: SampleMedian
    """Of the longest outage of each trial."""
    gap: SampleMedian | None
    """Of the gap of each trial; None where nothing was intended."""


@dataclass(frozen=True)
class Summary:
    """A run over its valid trials."""

    trials: int
    trials_valid: int
    service: OperationSummary | None
    """None without a valid trial, like the two below."""
    reads: OperationSummary | None
    writes: OperationSummary | None
    outage_all: SampleMedian | None
    """Of the service's longest outage over all trials, also those that are not valid: leaving these out favours the system."""
    availability: Measured | None
    """The median share of good answers; a range where outages that were cut short would have made it smaller."""
    reads_failed_total: int
    writes_failed_total: int
    writes_lost_total: int
    trials_audited: int = 0
    """Those in which every database could be read afterwards."""

    @property
    def availability_ratio_median(self) -> float | None:
        """As measured; an upper bound where `availability` is a range. None without a valid trial."""
        return self.availability.high if self.availability else None

    @property
    def availability_censored(self) -> bool:
        """Whether that is only an upper bound."""
        return self.availability is not None and not self.availability.is_exact

    @property
    def outage(self) -> SampleMedian | None:
        """Of the service's longest outage; None without a valid trial."""
        return self.service.outage if self.service else None


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
    """What was read, where the system is somebody else's."""
    contains: str = ""
    """The text that a good answer had to have, where one was asked for."""
    repair: str = RepairPolicy.NONE.value
    """The policy under which it ran."""
    repair_after_s: float = 0.0
    foreseen: str = ""
    """The verdict that the experiment's author expects under that policy; empty where nothing is said."""
    durability: str = ""
    """Where a commit waits for another database: `region` or `local`; empty where the stage has no choice."""
    overload: Overload | None = None
    """How small the web boxes were, and what was asked of them; None where they were as their file says."""
    conditions: Conditions | None = None
    """What its figures stand on; None in runs from before it was noted."""

    @property
    def place(self) -> str:
        """What messages call the stage."""
        return place(self.stage, self.stage_folder)


@dataclass(frozen=True)
class RunResult:
    """A run: its trials, its summary, its verdict."""

    info: RunInfo
    verdict: Verdict
    trials: tuple[TrialResult, ...]
    summary: Summary
    folder: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SoakOutcome:
    """What became of a fault of a soak."""

    number: int
    experiment: str
    targets: tuple[str, ...]
    verdict: str
    valid: bool
    lost: int
    split_brain_s: float | None
    """For how long two databases took writes at once: 0 where the stage has one database, None where nothing watched them."""
    writes_downtime_s: float
    reads_downtime_s: float
    rejoin_s: float | None
    why: tuple[str, ...]
    folder: str
    audit_complete: bool = False
    """Whether every database could be read afterwards: without that, `lost` is only what is known to be lost."""
    downtime_s: float | None = None
    """The longest outage of the service, which is down while reads or writes are; None in a line of an older version."""
    downtime_censored: bool = True
    """Whether it may have been longer."""

    @property
    def outage(self) -> Measured:
        """What is known of the longest outage of the service: no shorter than that of reads, or of writes."""
        low = max(self.reads_downtime_s, self.writes_downtime_s, self.downtime_s or 0.0)
        return Measured(low, math.inf if self.downtime_s is None or self.downtime_censored else low)

    @property
    def is_loss(self) -> bool:
        """Whether it shows what must never be: an acknowledged write lost, or two writable databases."""
        return self.lost > 0 or bool(self.split_brain_s)

    @property
    def tells(self) -> bool:
        """Whether it can say that nothing was lost: a valid trial, every database read, and watched where there are two."""
        return self.valid and self.audit_complete and self.split_brain_s is not None


@dataclass(frozen=True)
class MonkeyOutcome:
    """What became of a round of a monkey."""

    fault: SoakOutcome
    intended: int
    good: int
    downtime_s: float
    """All outages of the round together."""
    healed: bool
    """Whether the lab had to heal what the repair policy could not."""
    reserve_back_s: float | None = None
    """From the (first) fault until all was in reserve again; None where that is not known."""
