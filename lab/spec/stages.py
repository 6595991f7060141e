"""The stage files: stages/N-name/compose.yaml, with what the lab needs to know under `x-lab`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import UsageError, shown
from lab.model.topology import CLOCK_TAG, WATCH_ROLE, Box, Link, MemoryLimit, ServiceSpec, Stage
from lab.spec import base, located_yaml
from lab.spec.stage_keys import StageKeys

ROOT = Path(__file__).resolve().parents[2]
STAGES_FOLDER = ROOT / "stages"
DURABILITIES = ("region", "local")
PROJECT_PREFIX = "redundancy-lab-"
CLOCKED = ("redundancy-lab/web", "redundancy-lab/postgres", "redundancy-lab/monitor")
"""The images of which there is a flavour whose wall clock can be set."""
SIZE = re.compile(r"(\d+)([bkmg]?)b?", re.IGNORECASE)
UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


@cache
def all_stages() -> tuple[Stage, ...]:
    """Every stage file that is there, in order; a stage may have several. Raises UsageError for one that is malformed."""
    files = (*STAGES_FOLDER.glob("*/compose.yaml"), *STAGES_FOLDER.glob("*/compose.*.yaml"))
    return tuple(sorted(map(read, files), key=lambda stage: (stage.number, stage.file.name != "compose.yaml", stage.file.name)))


def find(name: str, failover: str | None = None) -> Stage:
    """The stage with this number or folder name; its first file unless the failover asked for is that of another.

    Raises UsageError.
    """
    found = [stage for stage in all_stages() if name in (str(stage.number), stage.folder)]
    if not found:
        known = ", ".join(f"{stage.number} ({stage.folder})" for stage in all_stages() if stage.file.name == "compose.yaml")
        raise UsageError(f"there is no stage '{shown(name)}'", f"stages are {known}")
    for stage in found:
        if failover in (None, stage.failover):
            return stage
    choices = ", ".join(f"'{stage.failover}' ({stage.folder}/{stage.file.name})" for stage in found)
    raise UsageError(f"stage {found[0].number} has no failover '{failover}'", f"it has {choices}")


def parse(text: str) -> Stage:
    """The stage that STAGE or STAGE:FAILOVER names, such as 3, 4:automatic or 6-multi-az. Raises UsageError."""
    name, _, failover = text.partition(":")
    return find(name, failover or None)


def of(box: Box) -> Stage:
    """The stage, and which file of it, that a box was started from. Raises UsageError when that file is gone."""
    for stage in all_stages():
        if stage.project == box.project:
            return stage
    raise UsageError(f"the file that {box.service} was started from is gone ({box.project})", "'lab down --all' removes it")


def of_boxes(boxes: Sequence[Box]) -> Stage:
    """The stage that these boxes (at least one) were started from, of the flavour that they have. Raises UsageError."""
    return with_clocks(of(boxes[0]), any(box.has_clock for box in boxes))


def with_clocks(stage: Stage, wanted: bool) -> Stage:
    """The stage with images whose wall clock can be set, or with the ordinary ones."""
    return replace(stage, services=tuple(replace(spec, image=_flavour(spec.image, wanted)) for spec in stage.services))


def _flavour(image: str, with_clock: bool) -> str:
    plain = image.removesuffix(CLOCK_TAG)
    return plain + CLOCK_TAG if with_clock and plain in CLOCKED else plain


def read(file: Path) -> Stage:
    """The stage in a compose file. Raises UsageError naming file and line for what is missing or wrong."""
    document = located_yaml.load(file)
    about = _section(document, "x-lab")
    keys = base.read(StageKeys, about)
    services = _section(document, "services")
    project = str(_need(document, "name"))
    named = document.get("volumes")
    volumes = frozenset(named if isinstance(named, Mapping) else ())
    specs = [_service(project, name, _section(services, name), volumes) for name in services]
    left_out = [] if watch_is_wanted() else [spec for spec in specs if WATCH_ROLE in spec.roles]
    stage = Stage(
        number=int(keys.stage),
        folder=file.parent.name,
        project=project,
        file=file,
        title=keys.title,
        new=keys.new,
        spof=tuple(keys.spof),
        memory_mib=keys.memory_mib,
        entry=keys.address,
        databases=keys.databases,
        services=tuple(spec for spec in specs if spec not in left_out),
        failover=keys.failover,
        balancers=keys.balancers,
        announced=keys.announced,
        durability=_durability(about, keys.durability),
        monitor=keys.monitor,
        left_out=tuple(spec.name for spec in left_out),
        own_disks=own_disks_are_wanted(),
    )
    return with_clocks(stage, clock_is_wanted())


def watch_is_wanted() -> bool:
    """Whether stages are started with their monitoring box: LAB_WATCH=no leaves it out. Raises UsageError."""
    return _is_yes("LAB_WATCH", "yes", "unset it to have the monitoring box")


def clock_is_wanted() -> bool:
    """Whether stages are started with boxes whose wall clock can be set: LAB_CLOCK=yes. Raises UsageError."""
    return _is_yes("LAB_CLOCK", "no", "unset it to have the ordinary images")


def _is_yes(variable: str, default: str, hint: str) -> bool:
    value = os.environ.get(variable) or default
    if value not in ("yes", "no"):
        raise UsageError(f"{variable} must be yes or no, not '{shown(value)}'", hint)
    return value == "yes"


def own_disks_are_wanted() -> bool:
    """Whether stages are started with a disk of its own for each volume: LAB_DISKS=own. Raises UsageError."""
    value = os.environ.get("LAB_DISKS") or "shared"
    if value not in ("shared", "own"):
        raise UsageError(
            f"LAB_DISKS must be own or shared, not '{shown(value)}'", "unset it: volumes are on the engine's disk then"
        )
    return value == "own"


def _service(project: str, name: str, body: located_yaml.Mapping, named: frozenset[str]) -> ServiceSpec:
    labels = {key: str(value) for key, value in _section(body, "labels").items()}
    networks = body.get("networks")
    joined = networks.items() if isinstance(networks, located_yaml.Mapping) else ()
    links = tuple(_link(project, name, network, about) for network, about in joined)
    return ServiceSpec(
        name=name,
        roles=tuple(labels.get("lab.role", "").split()),
        labels=labels,
        links=links,
        image=str(body.get("image", "")),
        volumes=_volumes(body, named),
        cpus=_cpus(body.get("cpus")),
        memory=_memory(body),
    )


def _cpus(value: object) -> float:
    """A number of processors; 0 for what is none."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def _memory(body: located_yaml.Mapping) -> MemoryLimit:
    """As Docker takes it: where nothing is said of swap, as much of that again."""
    memory_bytes = _size_bytes(body.get("mem_limit"))
    return MemoryLimit(memory_bytes, _size_bytes(body.get("memswap_limit")) or 2 * memory_bytes)


def _size_bytes(value: object) -> int:
    """A size as Docker Compose writes it (128m); 0 for what is none."""
    found = SIZE.fullmatch(str(value or "").strip())
    return int(found[1]) * UNITS[found[2].lower()] if found else 0


def _volumes(body: located_yaml.Mapping, named: frozenset[str]) -> tuple[str, ...]:
    """The named volumes of a service, written as NAME:PATH or as a mapping; a folder of the machine is none."""
    mounts = body.get("volumes")
    sources = [
        str(each.get("source", "")) if isinstance(each, Mapping) else str(each).partition(":")[0]
        for each in (mounts if isinstance(mounts, list) else ())
    ]
    return tuple(source for source in sources if source in named)


def _link(project: str, service: str, network: str, about: Any) -> Link:
    """As Docker Compose connects the service's only box to the network."""
    said = about if isinstance(about, located_yaml.Mapping) else {}
    address, mac = str(said.get("ipv4_address", "")), str(said.get("mac_address", ""))
    return Link(f"{project}_{network}", address, mac, (f"{project}-{service}-1", service))


def _durability(about: located_yaml.Mapping, value: str) -> str:
    """A word, or as Docker Compose reads it: ${VARIABLE:-the word without it}."""
    if choice := re.fullmatch(r"\$\{(\w+):-(\w+)\}", value):
        value = os.environ.get(choice[1]) or choice[2]
    if value not in ("", *DURABILITIES):
        raise about.error(
            "durability", f"durability must be {' or '.join(DURABILITIES)}, not '{shown(value)}'", "see LAB_DURABILITY"
        )
    return value


def _need(mapping: located_yaml.Mapping, key: str) -> Any:
    if key not in mapping:
        raise mapping.error(key, f"'{key}' is missing")
    return mapping[key]


def _section(mapping: located_yaml.Mapping, key: str) -> located_yaml.Mapping:
    value = _need(mapping, key)
    if not isinstance(value, located_yaml.Mapping):
        raise mapping.error(key, f"'{key}' must be a mapping")
    return value
