"""What a repair policy does about a lost box. Pure.

One rule stands over every policy: a disk whose content is nowhere else is never thrown away. An orchestrator that replaced
the last copy would finish what the fault began.
"""

from __future__ import annotations

from enum import StrEnum

from lab.model.experiment import RepairPolicy
from lab.model.fault import FaultKind, Step
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage

CUTTING = (FaultKind.DISCONNECT, FaultKind.ISOLATE)
LOSING = (FaultKind.KILL, FaultKind.CRASH, FaultKind.STOP, FaultKind.PAUSE, FaultKind.RESTART)


class Remedy(StrEnum):
    """What to do about a box."""

    NOTHING = "nothing"
    START = "start"
    POWER_CYCLE = "power-cycle"
    """It is frozen: switched off and on again."""
    REPLACE = "replace"
    WAIT = "wait"
    """There is no primary now: whether its disk is the last copy shows only when there is one."""


def remedy(policy: RepairPolicy, stage: Stage, service: str, box: Box | None, view: ClusterView, severed: bool = False) -> Remedy:
    """What a policy does about a box as it is now (None: it was removed with its disk).

    `severed`: it runs, and its own network is what it lost: a restart is of no use, a new box has new cables.
    """
    if policy is RepairPolicy.NONE or (box and box.status == "running" and not (severed and policy is RepairPolicy.REPLACE)):
        return Remedy.NOTHING
    if box is None:
        # A restart needs something to restart.
        return _new(stage, service, view) if policy is RepairPolicy.REPLACE else Remedy.NOTHING
    as_it_is = Remedy.NOTHING if box.status == "running" else Remedy.POWER_CYCLE if box.status == "paused" else Remedy.START
    if policy is RepairPolicy.RESTART or only_copy(stage, service):
        return as_it_is
    found = _new(stage, service, view)
    return found if found is not Remedy.NOTHING else as_it_is


def _new(stage: Stage, service: str, view: ClusterView) -> Remedy:
    """Whether an empty disk can take the place of this box's now."""
    if service not in stage.databases or only_copy(stage, service):
        return Remedy.REPLACE
    if _leaders(view) - {service}:
        return Remedy.REPLACE
    return Remedy.WAIT if stage.failover == "automatic" and view.named(DatabaseState.STANDBY) else Remedy.NOTHING


def only_copy(stage: Stage, service: str) -> bool:
    """Whether no other box ever has what is on this box's disk: a database that stands alone, or the monitor.

    A monitor with an empty disk would know no database, and no keeper would know it.
    """
    roles = {role for spec in stage.services if spec.name == service for role in spec.roles}
    return "monitor" in roles or (service in stage.databases and not stage.is_replicated)


def _leaders(view: ClusterView) -> set[str]:
    return {*view.named(DatabaseState.PRIMARY), *view.named(DatabaseState.SYNC_BLOCKED)}


def is_severed(step: Step, hit: int) -> bool:
    """Whether a step takes the network from a single box: where a whole zone or region loses it, no box is at fault."""
    return step.fault in CUTTING and hit == 1


def can_repair(policy: RepairPolicy, step: Step, hit: int) -> bool:
    """Whether a policy brings back what a step takes. Lines, and whole zones or regions without a network, are no box; what
    flaps comes back by itself, and goes again."""
    if step.how.flaps:
        return False
    if step.fault is FaultKind.WIPE or is_severed(step, hit):
        return policy is RepairPolicy.REPLACE
    return policy is not RepairPolicy.NONE and step.fault in LOSING
