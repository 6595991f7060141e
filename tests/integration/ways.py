"""How each fault is done to a box of stage 3 by a test: as an experiment would say it, and so as a command, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.model.fault import OF_A_DISK, FaultKind
from lab.spec import parameters, stages

LASTS_S = 60
OPTIONS = {"on_s": "--on", "off_s": "--off"}
"""Other options are spelt as the keys of an experiment are."""
EXPERIMENT = """\
title: The lab is killed
question: What does 'lab heal' find when the lab was killed?
baseline_s: 0.5
fault_duration_s: {lasts_s}
expect: {{writes_lost: {{at_most: 0}}}}
"""


@dataclass(frozen=True)
class Way:
    """A fault, what it is done to, and what else it needs, under its names in an experiment."""

    fault: FaultKind
    target: str
    given: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.fault, self.target, *(f"{name}={value}" for name, value in self.given.items())])

    @property
    def arguments(self) -> list[str]:
        """For `lab chaos`."""
        options = ((OPTIONS.get(name, f"--{name.replace('_', '-')}"), str(value)) for name, value in self.given.items())
        return [self.fault.value, self.target, *(word for option in options for word in option)]

    @property
    def experiment(self) -> str:
        """The text of an experiment that does it."""
        lines = [f"{name}: {value}\n" for name, value in {"fault": self.fault, "target": self.target, **self.given}.items()]
        return EXPERIMENT.format(lasts_s=LASTS_S) + "".join(lines)


TURNS: dict[str, object] = {"on_s": 1, "off_s": 1}
WAYS = (
    Way(FaultKind.KILL, "service:web1"),
    Way(FaultKind.KILL, "service:db"),
    Way(FaultKind.CRASH, "service:db"),
    Way(FaultKind.CRASH, "service:lb"),
    Way(FaultKind.STOP, "service:web1"),
    Way(FaultKind.STOP, "service:db"),
    Way(FaultKind.PAUSE, "service:lb"),
    Way(FaultKind.PAUSE, "service:db"),
    Way(FaultKind.HANG, "service:lb"),
    Way(FaultKind.HANG, "service:db"),
    Way(FaultKind.RESTART, "service:web1"),
    Way(FaultKind.DISCONNECT, "service:web1"),
    Way(FaultKind.DISCONNECT, "service:db", TURNS),
    Way(FaultKind.WIPE, "service:web2"),
    Way(FaultKind.POWER, "service:web2"),
    Way(FaultKind.READONLY, "service:db"),
    Way(FaultKind.CPU, "service:web1", {"cpus": 0.05}),
    Way(FaultKind.DISK_FULL, "service:db"),
    Way(FaultKind.DISK_STALL, "service:db"),
    Way(FaultKind.DISK_SLOW, "service:db", {"delay_ms": 200}),
    Way(FaultKind.CLOCK, "service:web1", {"step_s": -60}),
    Way(FaultKind.CLOCK, "service:db", {"drift_percent": 20}),
    Way(FaultKind.MEMORY, "service:web1", {"memory_percent": 105}),
    Way(FaultKind.MEMORY, "service:web1", {"memory_percent": 130, "leak_mib_s": 20}),
    Way(FaultKind.MEMORY, "service:db", {"memory_percent": 115, "leak_mib_s": 20}),
    Way(FaultKind.BAD_DEPLOY, "service:web1", {"answer": "error"}),
    Way(FaultKind.BAD_DEPLOY, "all:web", {"answer": "slow", "slow_ms": 700}),
    Way(FaultKind.POISON, "all:web", {"per_s": 2}),
    Way(FaultKind.ISOLATE, "service:lb", {"network": "edge"}),
    Way(FaultKind.ISOLATE, "service:web1", TURNS),
    Way(FaultKind.PARTITION, "all:web", {"from": "service:db"}),
    Way(FaultKind.PARTITION, "all:web", {"from": "service:db", **TURNS}),
    Way(FaultKind.DELAY, "service:web1", {"delay_ms": 100}),
    Way(FaultKind.DELAY, "service:web1", {"delay_ms": 100, **TURNS}),
    Way(FaultKind.LOSS, "service:web1", {"loss_percent": 60}),
    Way(FaultKind.LOSS, "service:web1", {"loss_percent": 60, **TURNS}),
    Way(FaultKind.BANDWIDTH, "service:web1", {"rate_kbit": 1000}),
    Way(FaultKind.BANDWIDTH, "service:web1", {"rate_kbit": 1000, **TURNS}),
)
"""Every fault has one at least; what can flap has one that does."""


def of(fault: FaultKind) -> list[Way]:
    """The ways of a fault."""
    return [way for way in WAYS if way.fault is fault]


def in_turn(fault: FaultKind) -> Iterator[tuple[Way, str]]:
    """A way and a command (chaos or run) after the other, without end: each way by each command in so many times as there are."""
    ways, number = of(fault), 0
    while True:
        at, later = number % len(ways), number // len(ways)
        yield ways[at], ("chaos", "run")[(at + later) % 2]
        number += 1


def not_possible(fault: FaultKind) -> str:
    """Why a fault cannot be done to the stages that these tests start; empty where it can."""
    if fault in OF_A_DISK and not stages.own_disks_are_wanted():
        return f"{fault} needs boxes with disks of their own: LAB_DISKS=own"
    if fault is FaultKind.CLOCK and not stages.clock_is_wanted():
        return f"{fault} needs images whose wall clock can be set: LAB_CLOCK=yes"
    return ""


def flaps(way: Way) -> bool:
    """Whether it comes and goes."""
    return parameters.read(way.fault, way.given).flaps
