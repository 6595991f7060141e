"""Where the changing roles are before a trial: brought there, so that every trial breaks the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from lab.cluster import database
from lab.cluster.readiness import await_view
from lab.engine.engine import Engine
from lab.errors import InconclusiveError
from lab.model.observation import DatabaseState
from lab.model.topology import Box, Stage
from lab.probe.observer import Observer
from lab.process import wait_until
from lab.spec import targets
from lab.spec.targets import ACTIVE, PRIMARY

MOVE_TIMEOUT_S = 20.0
Say = Callable[[str], None]


def bring_about(engine: Engine, stage: Stage, given: Mapping[str, str], say: Say) -> None:
    """Move each role to one of the boxes that its target names, unless it is there, and wait until nothing is missing.

    Raises UsageError for a target that matches nothing, InconclusiveError when a role does not move, HealError when the
    stage is not whole afterwards.
    """
    if not given:
        return
    with Observer(engine, stage) as observer:
        if PRIMARY in given:
            move_primary(engine, stage, observer, given[PRIMARY], say)
        if ACTIVE in given:
            _move_address(engine, stage, observer, given[ACTIVE], say)
        await_view(engine, stage, observer)


def _places(boxes: Sequence[Box], target: str) -> set[str]:
    return {box.service for box in targets.resolve(target, boxes, Random(0))}


def move_primary(engine: Engine, stage: Stage, observer: Observer, target: str, say: Say) -> None:
    """Make one of the boxes that a target names the primary, unless one is. Raises UsageError, InconclusiveError."""
    places = _places(engine.boxes(stage.number), target)
    view = observer.latest()
    if places & set(view.named(DatabaseState.PRIMARY)):
        return
    candidates = sorted(places & set(view.named(DatabaseState.STANDBY)))
    if not candidates:
        raise InconclusiveError(
            f"none of {', '.join(sorted(places))} is a standby that could become the primary", "see 'lab status'"
        )
    database.switchover(engine, stage, say, observer, to=candidates[0])


def _move_address(engine: Engine, stage: Stage, observer: Observer, target: str, say: Say) -> None:
    """The balancer that holds the address and should not is restarted: it gives the address up first."""
    boxes = engine.boxes(stage.number)
    places = _places(boxes, target)
    if observer.latest().vip_owner in places:
        return
    for box in boxes:
        if box.service in stage.balancers and box.service not in places:
            engine.restart(box)
            if wait_until(lambda: observer.latest().vip_owner in places, MOVE_TIMEOUT_S / len(stage.balancers)):
                say(f"{observer.latest().vip_owner} has the address now")
                return
    raise InconclusiveError(f"the address did not move to {', '.join(sorted(places))}", "see 'lab status'")
