"""In which ways a fault can hit a part of a stage: once, once for each network of a box, or not at all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lab.model.fault import OF_A_DISK, OF_WEB_BOXES, BadAnswer, FaultKind, FaultParameters
from lab.model.topology import ServiceSpec, Stage, network_name
from lab.spec.targets import PRIMARY

EVERY = (
    *(FaultKind.KILL, FaultKind.CRASH, FaultKind.STOP, FaultKind.PAUSE, FaultKind.HANG, FaultKind.RESTART, FaultKind.DISCONNECT),
    *(FaultKind.WIPE, FaultKind.POWER, FaultKind.READONLY, FaultKind.CPU, FaultKind.MEMORY, FaultKind.BAD_DEPLOY),
    *(FaultKind.POISON, FaultKind.ISOLATE, FaultKind.PARTITION, FaultKind.DISK_FULL, FaultKind.DISK_STALL),
)
QUICK = (FaultKind.KILL, FaultKind.HANG, FaultKind.POWER, FaultKind.READONLY, FaultKind.ISOLATE)
"""One of each family, for a class."""
OF_A_DATABASE = (FaultKind.READONLY,)
OF_TWO_PLACES = (FaultKind.PARTITION,)
CPUS = 0.05
"""A twentieth of a processor: a box that stutters, and is not quite dead."""
MEMORY_PERCENT = 105.0
"""A twentieth more than a box uses: it has to live on its page cache, and dies where it needs more than that."""
POISON_PER_S = 1.0
"""So often that a worker that died is hardly up again before the next."""
WEB_ROLE = "web"
OBSERVERS_NETWORK = "observe"
"""It is the lab's own: the system is not built on it."""


@dataclass(frozen=True)
class Variant:
    """A fault as it is injected."""

    name: str
    """Of its column: isolate-edge."""
    happens: str
    """What happens to a part: loses its network edge."""
    how: FaultParameters = field(default_factory=FaultParameters)
    preconditions: Mapping[str, str] = field(default_factory=dict)


def of(fault: FaultKind, happens: str, members: Sequence[str], stage: Stage) -> Iterator[Variant]:
    """The variants of a fault of one part (web1, zone:a) or of two at once; none where it makes no sense for them."""
    spec = next((spec for spec in stage.services if spec.name == members[0]), None) if len(members) == 1 else None
    if (fault in OF_TWO_PLACES) != _are_two_places(members):
        return
    if fault in OF_WEB_BOXES and not _are_web_boxes(members, stage):
        return
    if fault in OF_A_DATABASE:
        if spec and spec.name == next(iter(stage.databases), ""):
            yield Variant(fault, happens, preconditions=_as_primary(stage, spec))
        return
    if fault in OF_A_DISK and not (stage.own_disks and spec and spec.volumes):
        return
    yield Variant(fault, happens, _how(fault, members))
    if fault is FaultKind.ISOLATE and spec:
        for network in _networks(spec):
            yield Variant(f"{fault}-{network}", f"loses its network {network}", FaultParameters(network=network))


def _are_two_places(members: Sequence[str]) -> bool:
    return len(members) == 2 and all(":" in member for member in members)


def _are_web_boxes(members: Sequence[str], stage: Stage) -> bool:
    roles = {spec.name: spec.roles for spec in stage.services}
    return all(WEB_ROLE in roles.get(member, ()) for member in members)


def _as_primary(stage: Stage, spec: ServiceSpec) -> dict[str, str]:
    """Who takes writes can cease to: where there are several databases, the first one is made the primary."""
    several = len(stage.databases) > 1 and stage.failover == "automatic"
    return {PRIMARY: f"service:{spec.name}"} if several else {}


def _how(fault: FaultKind, members: Sequence[str]) -> FaultParameters:
    if fault is FaultKind.CPU:
        return FaultParameters(cpus=CPUS)
    if fault is FaultKind.MEMORY:
        return FaultParameters(memory_percent=MEMORY_PERCENT)
    if fault is FaultKind.BAD_DEPLOY:
        return FaultParameters(answer=BadAnswer.ERROR)
    if fault is FaultKind.POISON:
        return FaultParameters(per_s=POISON_PER_S)
    return FaultParameters(source=members[1]) if fault in OF_TWO_PLACES else FaultParameters()


def _networks(spec: ServiceSpec) -> list[str]:
    """The networks of the system that a box is on, where it is on several of any kind."""
    names = [network_name(link.network) for link in spec.links]
    return [name for name in names if not name.startswith(OBSERVERS_NETWORK)] if len(names) > 1 else []
