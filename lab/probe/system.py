"""What an observer needs of a running system: its description, its boxes, and a box from which it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab.engine.engine import Engine, ExecResult
from lab.host_clock import HostClock
from lab.model.topology import Box, Stage


class ObservableSystem(Protocol):
    """A system that runs in Docker and can be looked at. Nothing in it is changed by that."""

    @property
    def engine(self) -> Engine:
        """The engine on which it runs, as far as this system may be seen."""

    @property
    def stage(self) -> Stage:
        """What it is, as its file says or as it was found."""

    @property
    def host_clock(self) -> HostClock:
        """The clock by which what is seen of it is dated."""

    @property
    def internet(self) -> Box:
        """The box where users stand. Raises UsageError where there is none."""

    def boxes(self) -> list[Box]:
        """Its boxes as they are now, in order of their names."""

    def box(self, service: str) -> Box | None:
        """The box of a service as it is now; None where there is none."""

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        """Run a command in a box and wait for it; one that overruns has exit code 124."""
