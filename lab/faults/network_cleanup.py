"""Taking network faults out of boxes, whatever put them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.cluster.system import RunningSystem
from lab.engine.engine import HELPER_IMAGE, Engine
from lab.engine.sidecar import Beside
from lab.errors import HealError, LabError
from lab.faults import packets
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box

OF_THE_NETWORK = (UndoAction.UNFILTER, UndoAction.UNSHAPE, UndoAction.POWER_ON)
# A box in another state has no network: there is nothing to take out of it, and it will start with a new one.
HAS_A_NETWORK = ("running", "paused")
SWEPT_AT_ONCE = 4


@dataclass
class _Job:
    """A command for the network of a box."""

    engine: Engine
    box: Box
    command: str
    undo: Undo | None = None
    helper: Beside | None = None
    said: str = ""
    error: LabError | None = None

    def get_ready(self) -> None:
        """Start the helper and wait until it listens."""
        try:
            self.helper = self.engine.beside(self.box)
            self.helper.ask("true")
        except LabError as error:
            self._fail(error)

    def do(self) -> None:
        """Tell it."""
        if self.helper is None or self.error:
            return
        try:
            reply = self.helper.ask(self.command)
            self.said = reply.output
            self.error = LabError(reply.output.strip() or "something is left of it") if reply.exit_code else None
        except LabError as error:
            self._fail(error)

    def close(self) -> None:
        """Let the helper end."""
        if self.helper:
            self.helper.close()

    def _fail(self, error: LabError) -> None:
        """A failure, unless the box has lost its network meanwhile, and the fault with it."""
        try:
            now = self.engine.box(self.box)
        except LabError:
            now = self.box
        if now and now.status in HAS_A_NETWORK and now.started_at == self.box.started_at:
            self.error = error


def clear(engine: Engine, undos: Sequence[Undo]) -> dict[Undo, LabError]:
    """Take these out of their boxes, all at one instant; other kinds are left alone. Returns what could not be done, and why."""
    ours = [undo for undo in undos if undo.action in OF_THE_NETWORK]
    try:
        present = {(box.stage, box.service): box for number in {undo.stage for undo in ours} for box in engine.boxes(number)}
    except LabError as error:
        return dict.fromkeys(ours, error)
    found = [(undo, present.get((undo.stage, undo.service))) for undo in ours]
    jobs = [_Job(engine, box, removal(undo), undo) for undo, box in found if box and box.status in HAS_A_NETWORK]
    _together(_Job.get_ready, jobs, len(jobs))
    _together(_Job.do, jobs, len(jobs))
    for job in jobs:
        job.close()
    return {job.undo: job.error for job in jobs if job.undo and job.error}


def sweep(cluster: RunningSystem) -> list[str]:
    """Take every network fault of the lab out of a stage's boxes, also what was never noted; returns what was found.

    Raises HealError where that could not be done.
    """
    engine = cluster.engine
    if engine.image_source(HELPER_IMAGE) is None:
        return []  # without it, nothing can have been put there
    boxes = [box for box in cluster.boxes() if box.is_system and box.status in HAS_A_NETWORK]
    jobs = [_Job(engine, box, packets.SWEEP) for box in boxes]
    _together(_sweep_one, jobs, SWEPT_AT_ONCE)
    for job in jobs:
        if job.error:
            raise HealError(
                f"the network of {job.box.service} could not be cleared: {job.error.message}", "'lab heal' tries again"
            )
    return [f"{line} in the network of {job.box.service}" for job in jobs for line in job.said.splitlines() if line.strip()]


def _sweep_one(job: _Job) -> None:
    job.get_ready()
    job.do()
    job.close()


def removal(undo: Undo) -> str:
    """What a helper does to take a network fault away."""
    return packets.delete_queues() if undo.action is UndoAction.UNSHAPE else packets.delete_table(undo.table)


def _together(work: Callable[[_Job], None], jobs: Sequence[_Job], at_once: int) -> None:
    with ThreadPoolExecutor(max(at_once, 1), thread_name_prefix="clear") as pool:
        list(pool.map(work, jobs))
