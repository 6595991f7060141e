"""An engine that is only played: its boxes are said to be there, and what is done to them is noted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

from lab.engine.engine import Engine, ExecResult
from lab.model.observation import ClusterView
from lab.model.topology import INTERNET_ROLE, Box, Link, Stage
from lab.probe.observer import Observer
from lab.spec import stages

Answer = Callable[[Box, Sequence[str]], ExecResult]


def saying(*lines: str) -> subprocess.Popen[bytes]:
    """A process that prints these lines and stays until its input ends, as the observer in the internet box does."""
    command = ["sh", "-c", 'printf "%s\\n" "$@"; cat >/dev/null', "sh", *lines]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def line(view: ClusterView) -> str:
    """A sight as the observer prints it."""
    return json.dumps({"event": "sight", **asdict(view)})


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

    @property
    def as_engine(self) -> Engine:
        return cast(Engine, self)

    @property
    def identity(self) -> str:
        return f"played by {os.getpid()}"

    def visiting(self, project: str, roles: object = None) -> PlayedEngine:
        self.done.append(f"visiting {project}")
        return self

    def image_source(self, _name: str) -> str | None:
        return None

    def end_visits(self, project: str = "") -> int:
        return self.visits

    def stop(self, box: Box) -> None:
        self.done.append(f"stop {box.service}")

    def boxes(self, stage: int | None = None) -> list[Box]:
        return [each for each in self.present if stage in (None, each.stage)]

    def is_healthy(self, box: Box, timeout_s: float = 5.0) -> bool:
        return box.is_healthy

    def internet_box(self, stage: Stage) -> Box:
        return next(each for each in self.boxes(stage.number) if INTERNET_ROLE in each.roles)

    def talk_to(self, _box: Box, _command: Sequence[str]) -> subprocess.Popen[bytes]:
        return saying(line(self.sees)) if self.sees else saying()

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        self.done.append(f"in {box.service}: {command[-1]}")
        return self.answer(box, command)

    def logs(self, _box: Box, lines: int = 5) -> str:
        return f"the last {lines} lines"

    def kill(self, box: Box) -> None:
        self.done.append(f"kill {box.service}")

    def start(self, box: Box) -> None:
        self.done.append(f"start {box.service}")

    def unpause(self, box: Box) -> None:
        self.done.append(f"unpause {box.service}")

    def links(self, box: Box) -> tuple[Link, ...]:
        given = stages.of(box).links_of(box.service)
        return tuple(link for link in given if link.network not in self.off.get(box.service, ()))

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        self.done.extend(f"connect {box.service} to {link.network}" for link in links)

    def put_file(self, box: Box, path: str, content: str) -> None:
        self.done.append(f"{path.rpartition('/')[2]} {content} in {box.service}")

    def up(self, stage: Stage, only: str = "") -> None:
        self.done.append(f"up {stage.project} {only}".rstrip())
        self.present += self.made

    def create(self, stage: Stage) -> None:
        self.done.append(f"create {stage.project}")
        self.present += self.made

    def leftovers(self) -> list[str]:
        return [each.service for each in self.present]

    def remove_leftovers(self) -> None:
        self.done.append("remove leftovers")
        self.present = []

    def down(self, stage: Stage) -> None:
        self.done.append(f"down {stage.project}")
        self.present = [each for each in self.present if each.project != stage.project]


@dataclass
class PlayedObserver:
    """Sees one thing after the other, the last one for ever."""

    views: list[ClusterView]

    @property
    def as_observer(self) -> Observer:
        return cast(Observer, self)

    def latest(self) -> ClusterView:
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]
