"""An engine that is only played: its boxes are said to be there, and what is done to them is noted. mypy holds it to `Engine`."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.cluster.cluster import Cluster
from lab.engine.disk import Disk
from lab.engine.engine import Engine, EngineInfo, ExecResult
from lab.engine.inspect import EngineEvent, MemoryUse
from lab.engine.sidecar import Beside
from lab.errors import LabError
from lab.host_clock import HOST_CLOCK, HostClock
from lab.model.history import LogLine
from lab.model.observation import ClusterView
from lab.model.topology import INTERNET_ROLE, Box, Link, MemoryLimit, Stage
from lab.spec import stages
from lab.store.undo_log import UndoLog

Answer = Callable[[Box, Sequence[str]], ExecResult]


def saying(*lines: str) -> subprocess.Popen[bytes]:
    """A process that prints these lines and stays until its input ends, as the observer in the internet box does."""
    command = ["sh", "-c", 'printf "%s\\n" "$@"; cat >/dev/null', "sh", *lines]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def line(view: ClusterView) -> str:
    """A view as the observer prints it."""
    return json.dumps({"event": "view", **asdict(view)})


@dataclass
class PlayedEngine:
    """`present` are its boxes, `sees` is what an observer would see, `answer` what a command in a box leaves."""

    present: list[Box] = field(default_factory=list)
    sees: ClusterView | None = None
    answer: Answer = lambda _box, _command: ExecResult(0, "")
    made: list[Box] = field(default_factory=list)
    """The boxes that Compose would create where they are missing."""
    done: list[str] = field(default_factory=list)
    visits: int = 0
    """How many internet boxes were left in networks that are not the lab's."""
    off: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The networks of its stage file that a box is not on."""
    own: tuple[Disk, ...] = ()
    """The disks of their own that boxes have."""
    wrong: tuple[str, ...] = ()
    """What is wrong with these disks."""
    host_clock: HostClock = HOST_CLOCK
    """The clock of the host on which its stages are watched."""

    def cluster(self, stage: Stage, undo_log: UndoLog | None = None) -> Cluster:
        """A stage on this engine, with an undo log; without one, nothing is expected to be noted."""
        nowhere = Path(tempfile.gettempdir()) / f"lab-played-{os.getpid()}.jsonl"
        return Cluster(self, stage, undo_log or UndoLog(nowhere), self.host_clock)

    # The engine itself

    @property
    def identity(self) -> str:
        return f"played by {os.getpid()}"

    def info(self) -> EngineInfo:
        return EngineInfo("28.0", "2.40.0", True, 8192, 2, "played")

    # Boxes

    def boxes(self, stage: int | None = None) -> list[Box]:
        return [each for each in self.present if stage in (None, each.stage)]

    def box(self, box: Box) -> Box | None:
        return next((each for each in self.present if each.id == box.id), None)

    def internet_box(self, stage: Stage) -> Box:
        return next(each for each in self.boxes(stage.number) if INTERNET_ROLE in each.roles)

    def kill(self, box: Box) -> None:
        self.done.append(f"kill {box.service}")

    def start(self, box: Box) -> None:
        self.done.append(f"start {box.service}")

    def stop(self, box: Box) -> None:
        self.done.append(f"stop {box.service}")

    def restart(self, box: Box) -> None:
        self.done.append(f"restart {box.service}")

    def pause(self, box: Box) -> None:
        self.done.append(f"pause {box.service}")

    def unpause(self, box: Box) -> None:
        self.done.append(f"unpause {box.service}")

    def resize(self, box: Box, cpus: float) -> None:
        self.done.append(f"resize {box.service} {cpus:g}")

    def cpus(self, box: Box) -> float:
        return 0.0

    def memory_limit(self, box: Box) -> MemoryLimit:
        return MemoryLimit()

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        self.done.append(f"limit {box.service} {limit}")

    def memory_use(self, box: Box) -> MemoryUse | None:
        return None

    def remove(self, box: Box) -> None:
        self.done.append(f"remove {box.service}")

    def put_file(self, box: Box, path: str, content: str) -> None:
        self.done.append(f"{path.rpartition('/')[2]} {content} in {box.service}")

    def logs(self, box: Box, lines: int = 5) -> str:
        return f"the last {lines} lines"

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        return []

    # Shells

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        self.done.append(f"in {box.service}: {command[-1]}")
        return self.answer(box, command)

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return saying(line(self.sees)) if self.sees else saying()

    def beside(self, box: Box | None) -> Beside:
        raise LabError("no helper is played")

    def is_healthy(self, box: Box, timeout_s: float = 5.0) -> bool:
        return box.is_healthy

    # Networks and events

    def links(self, box: Box) -> tuple[Link, ...]:
        given = stages.of(box).links_of(box.service)
        return tuple(link for link in given if link.network not in self.off.get(box.service, ()))

    def disconnect(self, box: Box) -> None:
        self.done.append(f"disconnect {box.service}")

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        self.done.extend(f"connect {box.service} to {link.network}" for link in links)

    def subnets(self, network: str) -> tuple[str, ...]:
        return ()

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        return lambda: None

    def last_oom_ns(self, box: Box) -> int:
        return 0

    # Stages

    def up(self, stage: Stage, only: str = "") -> None:
        self.done.append(f"up {stage.project} {only}".rstrip())
        self.present += self.made

    def create(self, stage: Stage) -> None:
        self.done.append(f"create {stage.project}")
        self.present += self.made

    def down(self, stage: Stage) -> None:
        self.done.append(f"down {stage.project}")
        self.present = [each for each in self.present if each.project != stage.project]

    def leftovers(self) -> list[str]:
        return [each.service for each in self.present]

    def remove_leftovers(self) -> None:
        self.done.append("remove leftovers")
        self.present = []

    # Disks

    def disks(self, project: str = "") -> tuple[Disk, ...]:
        return tuple(each for each in self.own if project in ("", each.project))

    def own_disk(self, box: Box) -> Disk | None:
        return next((each for each in self.own if each.name == f"{box.project}_{box.service}"), None)

    def make_disks(self, stage: Stage) -> None:
        self.done.append(f"make disks {stage.project}")

    def remove_disks(self, project: str = "") -> None:
        self.done.extend(f"remove disk {each.name}" for each in self.disks(project))

    def at_disk(self, disk: Disk) -> Beside:
        raise LabError("no helper is played")

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        self.done.append(f"slow {disk.name} by {held_s:g} s")

    def release_disks(self, names: Sequence[str]) -> list[str]:
        self.done.extend(f"release {name}" for name in names)
        return [each for each in self.wrong if each.split()[0] in names]

    # Images

    def image_source(self, name: str) -> str | None:
        return None

    def architecture(self) -> str:
        return "amd64"

    def ensure_base_image(self) -> None:
        self.done.append("ensure base image")

    # Visits

    def visiting(self, project: str, roles: Mapping[str, tuple[str, ...]] | None = None) -> Engine:
        self.done.append(f"visiting {project}")
        return self

    def visit(self, project: str, network: str) -> Box:
        raise LabError("no visit is played")

    def end_visits(self, project: str = "") -> int:
        return self.visits

    @contextmanager
    def container(self, image: str, command: Sequence[str]) -> Iterator[Box]:
        raise LabError("no container is played")
        yield


@dataclass
class PlayedObserver:
    """Sees one thing after the other, the last one for ever."""

    views: list[ClusterView]

    def latest(self) -> ClusterView:
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]
