"""A Compose project that is not the lab's: found as it runs, the internet box put into its network and taken out again."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lab import signals
from lab.cluster import images, readiness
from lab.cluster.bare_stage import bare_stage
from lab.cluster.conditions import machine
from lab.engine.engine import Engine, ExecResult
from lab.engine.scope import FILES_LABEL
from lab.errors import HealError, LabError, PreflightError, UsageError
from lab.host_clock import HOST_CLOCK, HostClock
from lab.load.load import page_config
from lab.model.fault import Undo
from lab.model.history import Conditions, LogLine
from lab.model.observation import ClusterStatus, ClusterView
from lab.model.topology import FOREIGN, FOREIGN_FOLDER, Box, Page, Stage
from lab.probe import roles
from lab.probe.observer import Observer, ViewSource
from lab.spec import conditions
from lab.spec.own_stack import Project
from lab.store.undo_log import UndoLog

IMAGES = ("base", "internet")
HINT = "'docker compose ps' and 'docker compose logs' say more; 'docker compose up -d' creates what is missing"
Say = Callable[[str], None]


@dataclass(frozen=True)
class ForeignProject:
    """A Compose project that is not the lab's. Its boxes are broken and brought back, and nothing else is done to it."""

    engine: Engine
    """Sees this project and nothing else (`Engine.visiting`)."""
    stage: Stage
    """What was found of it."""
    undo_log: UndoLog
    host_clock: HostClock = HOST_CLOCK

    measures_redundancy = False

    @classmethod
    def by_name(cls, engine: Engine, project: str, undo_log: UndoLog) -> ForeignProject:
        """A project of which only the name is known: to take back what was broken in it. `engine` is any engine."""
        view = engine.visiting(project)
        return cls(view, bare_stage(FOREIGN, FOREIGN_FOLDER + project, project, view.boxes()), undo_log)

    @property
    def internet(self) -> Box:
        """The lab's box in its network. Raises UsageError where the lab is not attached."""
        return self.engine.internet_box(self.stage)

    def boxes(self) -> list[Box]:
        """Its boxes as they are now, in order of their names."""
        return self.engine.boxes(FOREIGN)

    def box(self, service: str) -> Box | None:
        """The box of a service as it is now; None where there is none."""
        return next((box for box in self.boxes() if box.service == service), None)

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        """Run a command in a box and wait for it; one that overruns has exit code 124."""
        return self.engine.run_in(box, command, timeout_s, user)

    def observer(self, redundancy: bool = False) -> Observer:
        """An observer that only tells the time: what these boxes are is not known."""
        return Observer(self)

    def observe(self) -> ClusterView:
        """Nothing is observed but users."""
        return roles.standing_alone(self.stage)

    def status(self) -> ClusterStatus:
        """Nothing is asked of boxes that are not the lab's."""
        return ClusterStatus(self.observe())

    def live_boxes(self, view: ClusterView | None = None) -> list[Box]:
        """Its boxes as they are now: no role moves that the lab knows."""
        return self.boxes()

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since an instant (wall-clock seconds); nothing where it keeps no log that can be read."""
        try:
            return self.engine.log_lines(box, since_s)
        except LabError:
            return []

    def conditions(self) -> Conditions:
        """The machine; nothing is known of the rest. Raises LabError where no engine answers."""
        return conditions.of(None, machine(self.engine))

    def serves(self) -> bool:
        """Whether the page is answered as it should be now."""
        return _read_page(self).exit_code == 0

    def struck(self, undo: Undo) -> Box | None:
        """The box that a fault hit; None where it is gone: one that its owner created since is not touched."""
        return next((box for box in self.boxes() if (box.service, box.id) == (undo.service, undo.box_id)), None)

    def undo_of(self, undo: Undo, box: Box) -> Undo:
        """An undo with the project whose box it is."""
        return replace(undo, project=box.project)

    def start(self, box: Box) -> None:
        """Start a box that is down. Raises LabError."""
        self.engine.start(box)

    def recreate(self, service: str, alone: bool = False) -> None:
        """Refuse: what was not removed by the lab is not created by it. Raises UsageError."""
        raise UsageError(f"{service} of {self.stage.place} is not the lab's to create", HINT)

    def promote(self, fence: bool, say: Say) -> str:
        """Refuse: nothing is known of its databases. Raises UsageError."""
        raise UsageError(f"the databases of {self.stage.place} are not the lab's to promote")

    def switchover(self, observer: ViewSource, say: Say, to: str = "") -> str:
        """Refuse: nothing is known of its databases. Raises UsageError."""
        raise UsageError(f"the databases of {self.stage.place} are not the lab's to change over")

    def accept_loss(self, observer: ViewSource, say: Say) -> str:
        """Refuse: nothing is known of its databases. Raises UsageError."""
        raise UsageError(f"the databases of {self.stage.place} are not the lab's to promote")

    def without_answer(self, detail: str) -> HealError:
        """The error of a project that does not serve."""
        return HealError(f"{self.stage.place} does not answer ({detail})", HINT)

    def without_boxes(self, services: str) -> HealError:
        """The error of a project in which these services have no box any more."""
        return HealError(f"{services} has been removed, not by the lab", HINT)


def boxes_of(engine: Engine, project: Project, is_named: bool) -> list[Box]:
    """The project's boxes, whatever their state; `engine` is visiting it.

    Raises UsageError where none runs, or where (unless the project was named on the command line) they were started from
    another file: two projects in folders of the same name have the same name.
    """
    boxes = [box for box in engine.boxes() if box.is_system]
    if not any(box.status == "running" for box in boxes):
        raise UsageError(f"no container of the project {project.name} is running", project.start_hint)
    for box in boxes:
        files = [each for each in box.labels.get(FILES_LABEL, "").split(",") if each]
        if files and not is_named and project.file.resolve() not in [Path(each).resolve() for each in files]:
            raise UsageError(
                f"{box.service} of the project {project.name} was started from {files[0]}, not from {project.file}",
                f"if it is the one you mean, name it: --project {project.name}",
            )
    return boxes


def network_of(engine: Engine, project: Project, page: Page, boxes: Sequence[Box], wanted: str) -> str:
    """The network (as Docker calls it) from which users read the page: the one of the box that they reach.

    Raises UsageError for a host that is not in the project, or on several networks of which none is `wanted`.
    """
    networks = project.networks
    if wanted and wanted not in networks:
        raise UsageError(f"there is no network '{wanted}' in the project", f"its networks: {', '.join(networks) or 'none'}")
    found = _reached_from(engine, page.host, boxes)
    if not found:
        raise UsageError(
            f"no service or alias '{page.host}' in this project",
            f"boxes that can be reached: {', '.join(_reachable(boxes)) or 'none'}",
        )
    if wanted:
        if networks[wanted] not in found:
            raise UsageError(f"'{page.host}' is not on the network '{wanted}'", f"it is on {', '.join(found)}")
        return networks[wanted]
    if len(found) > 1:
        names = [name for name, full in networks.items() if full in found]
        raise UsageError(
            f"'{page.host}' is on {len(found)} networks; which one do its users come from?",
            f"say so in lab.yaml, with one of {', '.join(names or found)}: 'network: {(names or found)[0]}'",
        )
    return found[0]


def _reachable(boxes: Sequence[Box]) -> list[str]:
    return [box.service for box in boxes if box.status == "running" and box.addresses]


def _reached_from(engine: Engine, host: str, boxes: Sequence[Box]) -> list[str]:
    """The networks on which a box has the name, or that have the address."""
    running = [box for box in boxes if box.status == "running"]
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        present = sorted({network for box in running for network in box.addresses})
        return [each for each in present if any(address in ipaddress.ip_network(subnet) for subnet in engine.subnets(each))]
    links = [(box, link) for box in running for link in engine.links(box) if link.network in box.addresses]
    return sorted({link.network for box, link in links if host in (box.service, *link.aliases)})


@contextmanager
def attached(project: ForeignProject, network: str, say: Say) -> Iterator[ForeignProject]:
    """The internet box in the project's network, for as long as the context lasts; the page answers when it begins.

    Raises PreflightError where the page does not answer. The box is removed whatever happens, an interrupt waits for that.
    """
    engine, name = project.engine, project.stage.project
    images.build(engine, say, IMAGES)
    engine.end_visits(name)  # one that a killed controller has left
    try:
        with signals.Deferred(lambda: say("one moment, please")):
            engine.visit(name, network)
        check_answers(project)
        yield project
    finally:
        with signals.Deferred(lambda: say("removing the internet box, please wait")):
            engine.end_visits(name)


def _read_page(project: ForeignProject) -> ExecResult:
    """What comes of it when a user reads the page; exit code 0 for a good answer."""
    page = project.stage.page
    assert page is not None
    question = {"address": project.stage.entry, "page": page_config(page)}
    command = ["python", "-m", "client.page", json.dumps(question)]
    return project.run_in(project.internet, command, timeout_s=readiness.ANSWER_TIMEOUT_S)


def check_answers(project: ForeignProject) -> None:
    """Raise PreflightError, with what became of it, where the page is not answered as it should be."""
    done, page = _read_page(project), project.stage.page
    if done.exit_code and page:
        reason = (done.output.strip().splitlines() or ["no answer"])[-1]
        text = f" with '{page.contains}' in it" if page.contains else ""
        raise PreflightError(
            f"{page.url} does not answer as it should: {reason}",
            f"a good answer is 2xx{text}, from inside the project's network, at the port that the service itself has there",
        )
