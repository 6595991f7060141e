"""Letting disks take writes again, whatever keeps them from it. Before all else: no signal reaches a process that waits for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.cluster.system import RunningSystem
from lab.engine.engine import Engine
from lab.errors import HealError, LabError
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box


def release(engine: Engine, undos: Sequence[Undo]) -> dict[Undo, LabError]:
    """Release the disks of these faults, all at once; other kinds are left alone. Returns what could not be done, and why."""
    ours = [undo for undo in undos if undo.action is UndoAction.RELEASE and undo.disk]
    try:
        if ours:
            engine.release_disks(sorted({undo.disk for undo in ours}))
    except LabError as error:
        return dict.fromkeys(ours, error)
    return {}


def sweep(engine: Engine, say: Callable[[str], None]) -> int:
    """Release every disk of the lab, also where no fault was noted; returns how many were not as they should be.

    Raises HealError: a box whose disk stands still can be neither ended nor removed, and so cannot be healed.
    """
    try:
        found = engine.release_disks([disk.name for disk in engine.disks()])
    except LabError as error:
        raise HealError(f"the disks could not be released: {error.message}", error.hint) from error
    for line in found:
        say(f"the disk {line}: it takes writes again")
    return len(found)


def revive(system: RunningSystem, box: Box) -> None:
    """Start a box at once that Docker would start by and by. Raises LabError.

    What failed on its full disk again and again is started later and later, in the end once a minute.
    """
    if box.status == "restarting":
        system.engine.restart(box)


def revive_all(system: RunningSystem) -> None:
    """The same of every box of a system. Raises LabError."""
    for box in system.boxes():
        revive(system, box)
