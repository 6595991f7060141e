"""What an event says, as data: the reports and every figure are made from these, and never from its words."""

from __future__ import annotations

from dataclasses import dataclass

from lab.model.observation import DatabaseState
from lab.model.topology import Tier


@dataclass(frozen=True)
class DatabasesSeen:
    """`databases`: what the observer saw of the databases from that instant on."""

    states: dict[str, DatabaseState]
    promotable_standbys: int

    @property
    def primaries(self) -> list[str]:
        """The databases that accept writes."""
        return [name for name, state in self.states.items() if state is DatabaseState.PRIMARY]


@dataclass(frozen=True)
class VipSeen:
    """`vip`: which balancers claimed the VIP from that instant on, and which one answered there."""

    claimants: tuple[str, ...]
    owner: str
    """Empty where none did."""


@dataclass(frozen=True)
class RedundancySeen:
    """`redundancy`: what each tier tolerated from that instant on."""

    failures_tolerated: dict[Tier, int]
    working: dict[Tier, int]
    """How many boxes (zones, regions) of each do their work."""
    idle: tuple[str, ...] = ()
    """The boxes that are not seen to do any."""
    period_s: float = 0.0
    """How often it was observed; 0 where nothing that fails could change it."""


@dataclass(frozen=True)
class RedundancyCheck:
    """`redundant-before`: whether redundancy was restored just before a later fault."""

    restored: bool


@dataclass(frozen=True)
class Capacity:
    """`capacity`: what one web box carries."""

    requests_per_s: float


@dataclass(frozen=True)
class ObserverGap:
    """`observer-gap`: for how long the observer said nothing, from that instant on."""

    length_s: float
    arrived_s: float | None = None
    """The longest time between two arrivals of what it said; of the longest gap only."""


@dataclass(frozen=True)
class ClockError:
    """`clock`: by how much the instants that this host noted may be off."""

    error_ms: float
    drift_ms: float | None = None
    """How far this host's clock went ahead of the load's; known only at the end."""


@dataclass(frozen=True)
class AlertNotice:
    """`alert`, `resolved`: which alert was delivered, or that it is over."""

    alert: str
    words: str
    """Severity, labels and text."""

    @property
    def severity(self) -> str:
        """page, ticket or info: its first word."""
        return self.words.partition(" ")[0]

    @property
    def tier(self) -> str:
        """What it is about, as its label says; empty where it has none."""
        labels = (each.partition("=") for each in self.words.partition(":")[0].split())
        return next((value for name, _, value in labels if name == "tier"), "")


@dataclass(frozen=True)
class AlertRecord:
    """`alert-record`: whether the journal has every alert that was delivered while the load ran, and until when."""

    is_monitored: bool
    """Whether the stage has a monitoring box: where not, no alert is ever delivered."""
    is_complete: bool
    until_s: float
    """When the log of the monitoring box was read."""
    why_incomplete: str = ""
    firing: tuple[AlertNotice, ...] = ()
    """The alerts that were not over when the load began: what fires already is not delivered a second time."""


Payload = (
    DatabasesSeen | VipSeen | RedundancySeen | RedundancyCheck | Capacity | ObserverGap | ClockError | AlertNotice | AlertRecord
)

PAYLOADS: dict[str, type[Payload]] = {
    "databases": DatabasesSeen,
    "vip": VipSeen,
    "redundancy": RedundancySeen,
    "redundant-before": RedundancyCheck,
    "capacity": Capacity,
    "observer-gap": ObserverGap,
    "clock": ClockError,
    "alert": AlertNotice,
    "resolved": AlertNotice,
    "alert-record": AlertRecord,
}
"""What `data` of an event holds, by the name of the event; the others have none."""
