"""What was observed of a running stage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class DatabaseState(StrEnum):
    """What a database says of itself."""

    PRIMARY = "primary"
    """It accepts writes."""
    SYNC_BLOCKED = "sync_blocked"
    """It takes writes and acknowledges none: it waits for a standby that is not there."""
    STANDBY = "standby"
    """It follows another."""
    READ_ONLY = "read-only"
    """It follows no other and refuses writes: to a monitor that asks whether it answers it is a healthy primary."""
    UNREACHABLE = "unreachable"
    """It does not answer."""


@dataclass(frozen=True)
class ClusterView:
    """What the observer saw from one instant on."""

    clock_ns: int
    """On the monotonic clock of the internet box, which is that of the load."""
    databases: dict[str, DatabaseState]
    standbys: int
    """How many databases stream from the primary."""
    synchronous: int
    """How many of them a commit waits for."""
    vip_claimants: tuple[str, ...]
    """The balancers that say that they hold the entry's address."""
    vip_owner: str
    """The balancer that answers at the entry's address; empty where none does."""
    serving: tuple[str, ...] = ()
    """The balancers that serve, whether they hold the address or not."""
    vip_leads_to: str = ""
    """The balancer that gets the packets to the entry's address, whether it answers or not; empty where that is unknown."""

    def is_like(self, other: ClusterView) -> bool:
        """Whether it shows the same."""
        return replace(self, clock_ns=0) == replace(other, clock_ns=0)

    @property
    def vip_holders(self) -> tuple[str, ...]:
        """The balancers that have the address: those that say so, or else the one that gets its packets and says nothing."""
        return self.vip_claimants or ((self.vip_leads_to,) if self.vip_leads_to else ())

    def named(self, wanted: DatabaseState) -> list[str]:
        """The databases in a state."""
        return [name for name, state in self.databases.items() if state is wanted]


@dataclass(frozen=True)
class ReplicaStatus:
    """How well a standby follows its primary."""

    streams: bool
    """Whether the primary says that it sends to it."""
    synchronous: bool
    """Whether the primary says that a commit waits for it, or for one of several of which it is one."""
    lag_bytes: int | None
    """What of the primary's log it does not have; None where that is unknown, or its log is another one."""
    replay_lag_s: float | None
    """How long ago the last order that it shows was placed; 0 where it has and shows all, None where that is unknown."""


@dataclass(frozen=True)
class NodeState:
    """What the monitor says of a database."""

    state: str
    """Its own word for what the database is: primary, wait_primary, secondary, catchingup, report_lsn, ..."""
    is_healthy: bool
    is_promotable: bool
    """Whether it could be made the primary now."""
    votes: bool
    """Whether an election waits for it to say what it has, should it be gone or not."""


@dataclass(frozen=True)
class ClusterStatus:
    """One look at a stage: what the observer sees, and what is asked only for a map. Who did not answer is missing."""

    view: ClusterView
    replicas: dict[str, ReplicaStatus] = field(default_factory=dict)
    """For each database that is not the primary."""
    backends: dict[str, dict[str, bool]] = field(default_factory=dict)
    """For each balancer the web boxes that it knows, and whether it sends requests to each."""
    node_states: dict[str, NodeState] | None = None
    """What the monitor says of each database; None where it says nothing."""
    acknowledgers: int = 0
    """How many standbys the monitor has a commit wait for, whatever becomes of them; 0: for those that are there."""


@dataclass(frozen=True)
class Finding:
    """What a part of a stage reports from an instant on: beside what an observer sees, what the failures tolerated rest on."""

    at_ns: int
    """On the monotonic clock of the internet box. Where it is silence: when the question was put that found it."""
    kind: str
    """database, balancer, route, statistics or monitor: apps/client/client/redundancy.py says what each says."""
    name: str
    said: dict[str, Any] | None
