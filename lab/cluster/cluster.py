"""A stage of the lab that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.cluster import conditions, database, loss, readiness
from lab.cluster.system import Say
from lab.engine.engine import Engine, ExecResult
from lab.errors import HealError
from lab.host_clock import HOST_CLOCK, HostClock
from lab.model.fault import Undo
from lab.model.history import Conditions, LogLine
from lab.model.observation import ClusterStatus, ClusterView
from lab.model.topology import Box, Stage
from lab.probe import observer, roles, status
from lab.probe.observer import Observer, ViewSource
from lab.store.undo_log import UndoLog


@dataclass(frozen=True)
class Cluster:
    """A stage that was started, complete or not."""

    engine: Engine
    stage: Stage
    undo_log: UndoLog
    host_clock: HostClock = HOST_CLOCK

    measures_redundancy = True

    @property
    def internet(self) -> Box:
        """The box where users stand. Raises UsageError when the stage is not up."""
        return self.engine.internet_box(self.stage)

    def boxes(self) -> list[Box]:
        """Its boxes as they are now, in order of their names."""
        return self.engine.boxes(self.stage.number)

    def box(self, service: str) -> Box | None:
        """The box of a service as it is now; None where it was removed."""
        return next((box for box in self.boxes() if box.service == service), None)

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        """Run a command in a box and wait for it; one that overruns has exit code 124."""
        return self.engine.run_in(box, command, timeout_s, user)

    def observer(self, redundancy: bool = False) -> Observer:
        """An observer of it, a context; with `redundancy` it also asks what the failures tolerated rest on."""
        return Observer(self, redundancy)

    def observe(self) -> ClusterView:
        """What an observer sees now. Raises InconclusiveError when the boxes cannot be asked."""
        return observer.observe(self)

    def status(self) -> ClusterStatus:
        """What all parts report now, within 2 s. Raises InconclusiveError when they cannot be asked."""
        return status.cluster_status(self, self.boxes())

    def live_boxes(self, view: ClusterView | None = None) -> list[Box]:
        """Its boxes with the roles that they play now, or in what was observed. Raises InconclusiveError."""
        return roles.live_boxes(self, view)

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since an instant (wall-clock seconds). Raises LabError."""
        return self.engine.log_lines(box, since_s)

    def conditions(self) -> Conditions:
        """What its figures rest on: the machine, timers, distances, data. Raises LabError."""
        return conditions.of_stage(self)

    def serves(self) -> bool:
        """Whether a user gets an answer from the database through the entry now."""
        return readiness.service_answers(self)

    def struck(self, undo: Undo) -> Box | None:
        """The box that a fault hit, also where it was created again since; None where it was removed."""
        return self.box(undo.service)

    def undo_of(self, undo: Undo, box: Box) -> Undo:
        """An undo as it is noted for a box of this stage: as it is."""
        return undo

    def start(self, box: Box) -> None:
        """Start a box that is down; a database in such a way that there are never two primaries. Raises LabError."""
        if database.needs_an_operator(self.stage, box.service):
            database.rejoin(self, box)
        else:
            self.engine.start(box)

    def recreate(self, service: str, alone: bool = False) -> None:
        """Create a box again that was removed with its disk; unless `alone`, start also what else is down.

        An empty database joins the one that still has the data. Raises LabError.
        """
        is_special = database.needs_an_operator(self.stage, service)
        if is_special:
            database.recreate(self, service)
        self.engine.up(self.stage, service if alone and not is_special else "")

    def promote(self, fence: bool, say: Say) -> str:
        """Make the standby the primary; returns its service. Raises UsageError, InconclusiveError."""
        return database.promote(self, fence, say)

    def switchover(self, observer: ViewSource, say: Say, to: str = "") -> str:
        """Have the monitor change the primary (to this database); returns the new one. Raises UsageError, InconclusiveError."""
        return database.switchover(self, observer, say, to)

    def accept_loss(self, observer: ViewSource, say: Say) -> str:
        """Go on without what is lost, as an operator decides; returns the new primary. Raises UsageError, InconclusiveError."""
        return loss.accept(self, observer, say)

    def without_answer(self, detail: str) -> HealError:
        """The error of a stage that does not serve."""
        number = self.stage.number
        return HealError(
            f"stage {number} does not answer ({detail})",
            f"'lab heal' restarts boxes; 'lab down {number}' and 'lab up {number}' start it from scratch",
        )

    def without_boxes(self, services: str) -> HealError:
        """The error of a stage in which these services have no box."""
        return HealError(f"{services} of stage {self.stage.number} is missing", "'lab heal' creates it again")
