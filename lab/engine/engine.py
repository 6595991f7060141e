"""The engine as the rest of the lab knows it: Protocols, by what is done. `docker_engine.DockerEngine` satisfies all of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lab.engine.disk import Disk
from lab.engine.inspect import EngineEvent, MemoryUse
from lab.engine.sidecar import Beside
from lab.model.history import LogLine
from lab.model.topology import Box, Link, MemoryLimit, Stage

SOURCE_LABEL = "lab.source"
"""On an image: the digest of the files that it was built from."""
IMAGE_PREFIX = "redundancy-lab/"
HELPER_IMAGE = "network"


@dataclass(frozen=True)
class EngineInfo:
    """Versions and size of the engine and its tools."""

    version: str
    compose_version: str
    buildx: bool
    memory_mib: int
    processors: int
    system: str
    kernel: str = ""


@dataclass(frozen=True)
class ExecResult:
    """What a command in a box left."""

    exit_code: int
    output: str


class Boxes(Protocol):
    """Boxes: listed, broken, brought back, removed. Every method raises LabError where the engine fails."""

    def boxes(self, stage: int | None = None) -> list[Box]:
        """The boxes of a stage, or of all, in order of their names; whatever their state."""

    def box(self, box: Box) -> Box | None:
        """The box as it is now; None when it is gone."""

    def internet_box(self, stage: Stage) -> Box:
        """The box where users stand. Raises UsageError when the stage is not up."""

    def kill(self, box: Box) -> None:
        """SIGKILL to everything in the box."""

    def start(self, box: Box) -> None:
        """Start the box again."""

    def stop(self, box: Box) -> None:
        """Shut the box down gracefully; returns when it is down."""

    def restart(self, box: Box) -> None:
        """Shut the box down gracefully, and start it again."""

    def pause(self, box: Box) -> None:
        """Freeze every process of the box."""

    def unpause(self, box: Box) -> None:
        """Let a frozen box go on."""

    def resize(self, box: Box, cpus: float) -> None:
        """Give the box so many processors, from now on."""

    def cpus(self, box: Box) -> float:
        """How many processors the box may use; 0: all of them."""

    def memory_limit(self, box: Box) -> MemoryLimit:
        """How much memory the engine has the box use at most, also when it starts again."""

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        """Let the box use so much memory, from now on. Raises LabError where the kernel cannot take back what is more."""

    def memory_use(self, box: Box) -> MemoryUse | None:
        """How much memory the box uses now; None where the engine does not say, as of one that does not run."""

    def remove(self, box: Box) -> None:
        """Remove the box and its disks. Raises UsageError for a box that is not the lab's."""

    def put_file(self, box: Box, path: str, content: str) -> None:
        """Put a small text file into a box, which need not run."""

    def logs(self, box: Box, lines: int = 5) -> str:
        """The last lines that a box printed."""

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since an instant (wall-clock seconds), each line with when the engine read it."""


class Shells(Protocol):
    """Commands in boxes and beside them."""

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        """Run a command in a box and wait for it. A command that overruns has exit code 124."""

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run a command in a box with its standard input and output as pipes."""

    def beside(self, box: Box | None) -> Beside:
        """Start a helper that shares a box's network and nothing else of it (None: it has a network of its own)."""

    def is_healthy(self, box: Box, timeout_s: float = 5.0) -> bool:
        """Whether the box runs and passes its health check, now."""


class Networks(Protocol):
    """The networks of boxes."""

    def links(self, box: Box) -> tuple[Link, ...]:
        """The networks that the box is connected to, with what is needed to connect it in the same way again."""

    def disconnect(self, box: Box) -> None:
        """Take the box off every network."""

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        """Connect the box again to those of the networks that it is not on."""

    def subnets(self, network: str) -> tuple[str, ...]:
        """The ranges of addresses that a network has."""


class Events(Protocol):
    """What the engine reports while a trial runs."""

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        """Call `heard`, in another thread, for each event of our boxes; returns how to stop that."""

    def last_oom_ns(self, box: Box) -> int:
        """When the kernel last killed a process of the box for want of memory, on the engine's wall clock; 0: not known of any."""


class Stages(Protocol):
    """Whole stages. Every method raises LabError where Compose fails."""

    def up(self, stage: Stage, only: str = "") -> None:
        """Create and start what of a stage (or only this service) is not there or not running."""

    def create(self, stage: Stage) -> None:
        """Create what of a stage is not there, without starting it."""

    def down(self, stage: Stage) -> None:
        """Remove a stage's containers, networks and volumes."""

    def leftovers(self) -> list[str]:
        """Names of containers, networks and volumes with our labels, whatever created them."""

    def remove_leftovers(self) -> None:
        """Remove every container, network and volume with our labels, also of stages whose file is gone."""


class Disks(Protocol):
    """Disks of a box's own. Every method raises LabError where the engine fails."""

    def disks(self, project: str = "") -> tuple[Disk, ...]:
        """The disks that a project of the lab has (all of them have)."""

    def own_disk(self, box: Box) -> Disk | None:
        """The disk of a box; None where its volumes are folders of the engine's disk."""

    def make_disks(self, stage: Stage) -> None:
        """Say that every volume of a stage is to be such a disk: they are made when it is started."""

    def remove_disks(self, project: str = "") -> None:
        """Leave nothing of a project's disks (of all), which no box uses any more."""

    def at_disk(self, disk: Disk) -> Beside:
        """Start a helper that has this disk, and may fill and freeze it."""

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        """Hold every write back for up to so long, until the disk is released."""

    def release_disks(self, names: Sequence[str]) -> list[str]:
        """Let these disks take writes again, and give them space; returns what was wrong."""


class Images(Protocol):
    """The images of the lab."""

    def image_source(self, name: str) -> str | None:
        """The digest of the files that an image of ours was built from; None where there is no such image."""

    def architecture(self) -> str:
        """The processor architecture of the engine, in the words of images (amd64, arm64). Raises LabError."""

    def ensure_base_image(self) -> None:
        """Pull or build the base image. Raises LabError."""


class Visits(Protocol):
    """Foreign projects, and containers that come and go with a command."""

    def visiting(self, project: str, roles: Mapping[str, tuple[str, ...]] | None = None) -> Engine:
        """The same engine, which sees and may touch this Compose project and the internet box in it, and nothing else."""

    def visit(self, project: str, network: str) -> Box:
        """Put an internet box into a network of a foreign project. Raises LabError, and leaves none then."""

    def end_visits(self, project: str = "") -> int:
        """Remove the internet box from the networks of a project (of all that are foreign); returns how many there were."""

    def container(self, image: str, command: Sequence[str]) -> AbstractContextManager[Box]:
        """A container of its own, without a network, for as long as the context lasts (the self-test)."""


class Engine(Boxes, Shells, Networks, Events, Stages, Disks, Images, Visits, Protocol):
    """All of it."""

    @property
    def identity(self) -> str:
        """What tells this engine from every other one, whoever asks and from where. Raises PreflightError."""

    def info(self) -> EngineInfo:
        """Versions and size of the engine and its tools. Raises LabError."""
