"""The roles that boxes play only for now: primary and standby, active and passive balancer. Found out when a fault is injected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage
from lab.probe.observer import observe
from lab.probe.system import ObservableSystem
from lab.spec.targets import ACTIVE, PASSIVE, PRIMARY, STANDBY

OF_STATE = {
    DatabaseState.PRIMARY: PRIMARY,
    DatabaseState.SYNC_BLOCKED: PRIMARY,
    DatabaseState.READ_ONLY: PRIMARY,
    DatabaseState.STANDBY: STANDBY,
}


def with_live_roles(boxes: Sequence[Box], stage: Stage, view: ClusterView) -> list[Box]:
    """The boxes, each with the roles that it plays in what was seen; one that is down plays none of the moment."""
    return [
        replace(box, roles=(*box.roles, *_roles(box.service, stage, view))) if box.status == "running" else box for box in boxes
    ]


def _roles(service: str, stage: Stage, view: ClusterView) -> list[str]:
    state = view.databases.get(service)
    found = [OF_STATE[state]] if state in OF_STATE else []
    if service in stage.balancers:
        found.append(ACTIVE if service in view.vip_holders else PASSIVE)
    return found


def live_boxes(system: ObservableSystem, view: ClusterView | None = None) -> list[Box]:
    """The boxes of a system with the roles that they play now, or in what was observed.

    Raises InconclusiveError when the boxes cannot be asked.
    """
    if not system.stage.is_watched:
        view = standing_alone(system.stage)
    return with_live_roles(system.boxes(), system.stage, view or observe(system))


def standing_alone(stage: Stage) -> ClusterView:
    """What there is to see where nothing can move: a database that stands alone is the primary; no box need be asked."""
    return ClusterView(0, dict.fromkeys(stage.databases, DatabaseState.PRIMARY), 0, 0, (), "")
