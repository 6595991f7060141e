"""What must be so before a trial: the stage has settled, roles are where every trial expects them, what users do not see
fail is broken already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from lab import signals
from lab.cluster import readiness
from lab.cluster.readiness import await_view
from lab.cluster.system import RunningSystem
from lab.errors import HealError, InconclusiveError, UsageError
from lab.faults import limits
from lab.faults.redundancy_watch import is_served
from lab.model.fault import Step
from lab.model.observation import DatabaseState
from lab.model.topology import Box
from lab.probe.observer import ViewSource
from lab.process import wait_until
from lab.spec import targets
from lab.spec.targets import ACTIVE, PRIMARY
from lab.trial.context import TrialContext

SETTLE_TIMEOUT_S = 60.0
MOVE_TIMEOUT_S = 20.0
Say = Callable[[str], None]


def settle(context: TrialContext) -> None:
    """Wait until every box is healthy and redundancy complete. Raises InconclusiveError."""
    context.progress.phase("settle", "waiting until every box is healthy")
    try:
        readiness.await_recovered(context.system, SETTLE_TIMEOUT_S)
    except HealError as error:
        raise InconclusiveError(f"{context.stage.place} does not settle: {error.message}", error.hint) from error


def limit_boxes(context: TrialContext) -> None:
    """Make the web boxes small where the experiment is an overload. Raises UsageError, LabError."""
    overload = context.experiment.overload
    if not overload:
        return
    if not context.config.capacity_per_s:
        raise UsageError(f"{context.experiment.name} needs to know what a web box carries", "'lab run' measures that first")
    limits.impose(context.system, overload)


def inject_initial_faults(context: TrialContext) -> None:
    """Break what is broken before the load begins: users do not see it fail, only that it is missing, and how it returns.

    Raises InconclusiveError where users are not served without it.
    """
    if not context.experiment.initial_faults:
        return
    with context.system.observer() as observer, signals.Deferred(lambda: context.progress.notice("interrupted")):
        for step in context.experiment.initial_faults:
            _inject(context, step, observer)
        if not wait_until(lambda: is_served(context.system, observer), SETTLE_TIMEOUT_S):
            raise InconclusiveError(f"{context.stage.place} does not serve without {', '.join(context.injected.services)}")


def _inject(context: TrialContext, step: Step, observer: ViewSource) -> None:
    with context.prepare(step, observer) as injection:
        words = f"{step.fault} {injection.names}"
        context.progress.phase("initial-faults", f"{words}, and waiting until users are served without")
        injection.note()
        context.injected.add(step, injection.targets, 0.0, words)
        injection.inject()
        injection.verify()


def bring_about(cluster: RunningSystem, roles: Mapping[str, str], say: Say) -> None:
    """Move each role to one of the boxes that its target names, unless it is there, and wait until nothing is missing.

    Raises UsageError for a target that matches nothing, InconclusiveError when a role does not move, HealError when the
    stage is not whole afterwards.
    """
    if not roles:
        return
    with cluster.observer() as observer:
        if PRIMARY in roles:
            move_primary(cluster, observer, roles[PRIMARY], say)
        if ACTIVE in roles:
            _move_address(cluster, observer, roles[ACTIVE], say)
        await_view(cluster, observer)


def _places(boxes: Sequence[Box], target: str) -> set[str]:
    return {box.service for box in targets.resolve(target, boxes, Random(0))}


def move_primary(cluster: RunningSystem, observer: ViewSource, target: str, say: Say) -> None:
    """Make one of the boxes that a target names the primary, unless one is. Raises UsageError, InconclusiveError."""
    places = _places(cluster.boxes(), target)
    view = observer.latest()
    if places & set(view.named(DatabaseState.PRIMARY)):
        return
    candidates = sorted(places & set(view.named(DatabaseState.STANDBY)))
    if not candidates:
        raise InconclusiveError(
            f"none of {', '.join(sorted(places))} is a standby that could become the primary", "see 'lab status'"
        )
    cluster.switchover(observer, say, to=candidates[0])


def _move_address(cluster: RunningSystem, observer: ViewSource, target: str, say: Say) -> None:
    """The balancer that holds the address and should not is restarted: it gives the address up first."""
    boxes, stage = cluster.boxes(), cluster.stage
    places = _places(boxes, target)
    if observer.latest().vip_owner in places:
        return
    for box in boxes:
        if box.service in stage.balancers and box.service not in places:
            cluster.engine.restart(box)
            if wait_until(lambda: observer.latest().vip_owner in places, MOVE_TIMEOUT_S / len(stage.balancers)):
                say(f"{observer.latest().vip_owner} has the VIP now")
                return
    raise InconclusiveError(f"the VIP did not move to {', '.join(sorted(places))}", "see 'lab status'")
