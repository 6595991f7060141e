"""What can be done with a system that runs, whoever started it: a stage of the lab, or a Compose project that it is attached to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lab.errors import HealError
from lab.model.fault import Undo
from lab.model.history import Conditions, LogLine
from lab.model.observation import ClusterStatus, ClusterView
from lab.model.topology import Box
from lab.probe.observer import Observer, ViewSource
from lab.probe.system import ObservableSystem
from lab.store.undo_log import UndoLog

Say = Callable[[str], None]


class RunningSystem(ObservableSystem, Protocol):
    """A running system. `cluster.Cluster` is a stage of the lab, `attach.ForeignProject` one that is not the lab's."""

    @property
    def undo_log(self) -> UndoLog:
        """Where a fault is noted before it happens."""

    @property
    def measures_redundancy(self) -> bool:
        """Whether its parts can be asked how many more failures it survives."""

    def observer(self, redundancy: bool = False) -> Observer:
        """An observer of it, a context; with `redundancy` it also asks what the failures tolerated rest on."""

    def observe(self) -> ClusterView:
        """What an observer sees now. Raises InconclusiveError when the boxes cannot be asked."""

    def status(self) -> ClusterStatus:
        """What all parts report now, within 2 s. Raises InconclusiveError when they cannot be asked."""

    def live_boxes(self, view: ClusterView | None = None) -> list[Box]:
        """Its boxes with the roles that they play now, or in what was observed. Raises InconclusiveError."""

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since an instant (wall-clock seconds). Raises LabError where its log must be readable and is not."""

    def conditions(self) -> Conditions:
        """What its figures rest on: the machine, and of a stage its timers, distances and data. Raises LabError."""

    def serves(self) -> bool:
        """Whether a user gets a good answer now."""

    def struck(self, undo: Undo) -> Box | None:
        """The box that a fault hit; None where it is gone, or where another box has its name that must not be touched."""

    def undo_of(self, undo: Undo, box: Box) -> Undo:
        """An undo as it is noted for a box of this system."""

    def start(self, box: Box) -> None:
        """Start a box that is down; a database in such a way that there are never two primaries. Raises LabError."""

    def recreate(self, service: str, alone: bool = False) -> None:
        """Create a box again that was removed with its disk; unless `alone`, start also what else is down.

        Raises LabError; UsageError where that is not for the lab to do.
        """

    def promote(self, fence: bool, say: Say) -> str:
        """Make the standby the primary; returns its service. Raises UsageError, InconclusiveError."""

    def switchover(self, observer: ViewSource, say: Say, to: str = "") -> str:
        """Have the monitor change the primary (to this database); returns the new one. Raises UsageError, InconclusiveError."""

    def accept_loss(self, observer: ViewSource, say: Say) -> str:
        """Go on without what is lost, as an operator decides; returns the new primary. Raises UsageError, InconclusiveError."""

    def without_answer(self, detail: str) -> HealError:
        """The error of a system that does not serve, with what helps."""

    def without_boxes(self, services: str) -> HealError:
        """The error of a system in which these services have no box, with what helps."""
