"""The words of the lab as types. Imports nothing of ours; every layer speaks in these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

INTERNET_ROLE = "internet"
WAN_ROLE = "wan"
DB_ROLE = "db"
WATCH_ROLE = "watch"
HTTP_PORT = 80
CLOCK_LABEL = "lab.clock"
"""Has a box whose wall clock can be set: its image is of that flavour."""
CLOCK_TAG = ":clock"
"""What the name of such an image ends in."""
FOREIGN = 0
"""The number of what is no stage of the lab's: a foreign project, to which the lab only attaches."""
FOREIGN_FOLDER = "own-"
"""What the folder of such a project's results begins with."""


class Tier(StrEnum):
    """What may fail."""

    BALANCER = "balancer"
    WEB = "web"
    DATABASE = "database"
    MONITOR = "monitor"
    """It decides about failovers. Without it the service goes on, and the databases tolerate no failure any more."""
    ZONE = "zone"
    REGION = "region"


def is_system(roles: Iterable[str]) -> bool:
    """Whether who plays these roles is part of the system."""
    return not {INTERNET_ROLE, WAN_ROLE, WATCH_ROLE} & set(roles)


def place(number: int, folder: str) -> str:
    """What messages call a stage, or a foreign project."""
    return folder if number == FOREIGN else f"stage {number}"


@dataclass(frozen=True)
class MemoryLimit:
    """How much memory a box may use, in bytes; 0 is no limit."""

    memory_bytes: int = 0
    with_swap_bytes: int = 0
    """Memory and swap together; -1: any amount of swap."""

    def __str__(self) -> str:
        return f"{self.memory_bytes} {self.with_swap_bytes}"

    @classmethod
    def of(cls, words: str) -> MemoryLimit:
        """From its two numbers, as it is written."""
        return cls(*map(int, words.split()))


@dataclass(frozen=True)
class ServiceSpec:
    """A service of a stage file: a box before it is started."""

    name: str
    roles: tuple[str, ...]
    labels: dict[str, str]
    links: tuple[Link, ...] = ()
    """To every network that its file puts it on."""
    image: str = ""
    """The name of the image that its box is made from."""
    volumes: tuple[str, ...] = ()
    """The named volumes that its file gives it."""
    cpus: float = 0.0
    """How many processors its box may use; 0 where its file sets no limit."""
    memory: MemoryLimit = MemoryLimit()
    """How much memory its box may use."""

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
    """A stage as its file describes it; or a foreign project, as it was found."""

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
    own_disks: bool = False
    """Whether each of its volumes is to be a small disk of its own; else all are folders of the engine's disk."""
    page: Page | None = None
    """What is read where there is no order desk."""

    @property
    def has_clocks(self) -> bool:
        """Whether it has boxes whose wall clock can be set: images of that flavour."""
        return any(spec.image.endswith(CLOCK_TAG) for spec in self.services)

    @property
    def is_foreign(self) -> bool:
        """Whether it is a foreign project: never started, stopped or changed but by a fault that was asked for."""
        return self.number == FOREIGN

    @property
    def place(self) -> str:
        """What messages call it."""
        return place(self.number, self.folder)

    @property
    def volumes(self) -> list[str]:
        """Every named volume of its services, in order of their names."""
        return sorted({volume for spec in self.services for volume in spec.volumes})

    def links_of(self, service: str) -> tuple[Link, ...]:
        """To every network that the stage file puts the service on; nothing for one that it does not start."""
        return next((spec.links for spec in self.services if spec.name == service), ())

    @property
    def needed(self) -> list[str]:
        """The services without which it is not whole: all of them but who only watches, whom nothing depends on."""
        return [spec.name for spec in self.services if WATCH_ROLE not in spec.roles]

    @property
    def is_monitored(self) -> bool:
        """Whether its file has a monitoring box, also where that is not to be started."""
        return bool(self.left_out) or any(WATCH_ROLE in spec.roles for spec in self.services)

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
    def is_foreign(self) -> bool:
        """Whether it is of no stage of the lab's."""
        return self.stage == FOREIGN

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
    def has_clock(self) -> bool:
        """Whether its wall clock can be set."""
        return CLOCK_LABEL in self.labels

    @property
    def is_healthy(self) -> bool:
        """Running, and healthy where it has a check."""
        return self.status == "running" and self.health in ("", "healthy")

    @property
    def is_down(self) -> bool:
        """Whether it has ended, or was never started."""
        return self.status in ("exited", "created", "dead")

    @property
    def condition(self) -> str:
        """How it is, in a word: running, starting, unhealthy, paused, dead, or Docker's own word for what is rare."""
        if self.status == "running" and not self.is_healthy:
            return self.health
        return "dead" if self.is_down else self.status


def network_name(network: str) -> str:
    """What a stage file calls a network that Compose calls PROJECT_NAME; the same where it is of no project."""
    return network.partition("_")[2] or network


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
