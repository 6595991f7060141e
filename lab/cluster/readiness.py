"""Waiting until a system has recovered: boxes healthy, users served, redundancy complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lab.checker.redundancy import is_redundant
from lab.cluster import database, loss
from lab.cluster.system import RunningSystem, Say
from lab.engine.engine import Engine
from lab.errors import HealError
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage
from lab.probe.observer import ViewSource
from lab.process import POLL_S, wait_until
from lab.spec import stages

RECOVERY_TIMEOUT_S = 60.0
BOX_POLL_S = 0.02
READY_PATH = "/readyz"
ANSWER_TIMEOUT_S = 5.0


def by_project(boxes: Iterable[Box]) -> dict[str, list[Box]]:
    """The boxes of stages, by the Compose project of each; projects and boxes stand as they come."""
    of_projects: dict[str, list[Box]] = {}
    for box in boxes:
        if box.stage:
            of_projects.setdefault(box.project, []).append(box)
    return of_projects


def stages_up(engine: Engine) -> list[Stage]:
    """The stages of which there are boxes, whatever their state."""
    return sorted(map(stages.of_boxes, by_project(engine.boxes()).values()), key=lambda stage: stage.number)


def await_recovered(cluster: RunningSystem, timeout_s: float = RECOVERY_TIMEOUT_S, say: Say = lambda _: None) -> None:
    """Wait until every box that is needed is healthy, the service answers from its database, and redundancy is restored.

    The monitoring is not waited for: a trial is as good without. Raises HealError saying what is not.
    """
    await_healthy(cluster, cluster.stage.needed, timeout_s)
    await_service(cluster, timeout_s)
    await_redundant(cluster, timeout_s, say)


def await_service(cluster: RunningSystem, timeout_s: float = RECOVERY_TIMEOUT_S) -> None:
    """Wait until a user gets an answer from the database. Raises HealError."""
    if not _await(cluster, cluster.serves, timeout_s):
        broken = [f"{box.service} is {box.status}" for box in cluster.boxes() if not cluster.engine.is_healthy(box)]
        raise _why(cluster, cluster.without_answer(", ".join(broken) or "though every box runs"))


def _await(cluster: RunningSystem, condition: Callable[[], bool], timeout_s: float, period_s: float = POLL_S) -> bool:
    """Wait for what does not come before an operator has decided, where there is something to decide. Raises HealError then."""
    question = loss.Question(cluster)
    is_reached = wait_until(lambda: condition() or question.is_put(), timeout_s, period_s)
    if question.text:
        raise loss.undecided(cluster, question.text)
    return is_reached


def _why(cluster: RunningSystem, error: HealError) -> HealError:
    """The error of a stage that has not recovered in time; another one where an operator has to decide something."""
    text = loss.question(cluster, at_last=True)
    return loss.undecided(cluster, text) if text else error


def await_healthy(cluster: RunningSystem, services: Sequence[str], timeout_s: float = RECOVERY_TIMEOUT_S) -> None:
    """Wait until these boxes run and pass their health checks. Raises HealError with their state and last log lines."""
    unhealthy: list[Box] = []
    missing: set[str] = set()

    def are_healthy() -> bool:
        boxes = [box for box in cluster.boxes() if box.service in services]
        missing.clear()
        missing.update(set(services) - {box.service for box in boxes})
        unhealthy[:] = [box for box in boxes if not cluster.engine.is_healthy(box)]
        return not unhealthy and not missing

    # The engine is asked about each box, and it has other work to do while many of them start.
    if _await(cluster, are_healthy, timeout_s, POLL_S + BOX_POLL_S * len(services)):
        return
    if missing:
        raise cluster.without_boxes(", ".join(sorted(missing)))
    first = unhealthy[0]
    state = f"{first.status}{', ' + first.health if first.health else ''}"
    lines = cluster.engine.logs(first, 3) or "(none)"
    raise _why(cluster, HealError(f"{first.service} is {state} after {timeout_s:g} s", f"its last log lines: {lines}"))


def await_redundant(cluster: RunningSystem, timeout_s: float = RECOVERY_TIMEOUT_S, say: Say = lambda _: None) -> None:
    """Wait until every standby follows the one primary, and one balancer has the VIP. Raises HealError."""
    if cluster.stage.is_watched:
        with cluster.observer() as observer:
            await_view(cluster, observer, timeout_s, say)


def await_view(
    cluster: RunningSystem, observer: ViewSource, timeout_s: float = RECOVERY_TIMEOUT_S, say: Say = lambda _: None
) -> None:
    """Wait until an observer sees full redundancy; end a split brain that nothing in the stage would end.

    Raises HealError.
    """
    stage = cluster.stage
    if not stage.is_watched:
        return
    view = _await_either(cluster, observer, timeout_s)
    if database.is_split(stage, view):
        database.end_split_brain(cluster, view.named(DatabaseState.PRIMARY), say)
        wait_until(lambda: not database.is_split(stage, observer.latest()), timeout_s)
        view = _await_either(cluster, observer, timeout_s)
    if not is_redundant(stage, view):
        error = HealError(
            f"stage {stage.number} is not redundant after {timeout_s:g} s: {describe(view)}", "'lab heal' tries again"
        )
        raise _why(cluster, error)


def _await_either(cluster: RunningSystem, observer: ViewSource, timeout_s: float) -> ClusterView:
    """The first view of full redundancy, or of a split brain to be ended; the last view where neither came."""
    stage, seen = cluster.stage, list[ClusterView]()

    def settled() -> bool:
        seen[:] = [observer.latest()]
        return is_redundant(stage, seen[0]) or database.is_split(stage, seen[0])

    _await(cluster, settled, timeout_s)
    return seen[0]


def describe(view: ClusterView) -> str:
    """What was seen, in words."""
    words = [f"{name} is {state}" for name, state in view.databases.items()]
    words += [f"{view.standbys} replicas streaming, {view.synchronous} synchronous"] if view.databases else []
    words += (
        [f"VIP claimed by {' and '.join(view.vip_claimants) or 'no balancer'}"] if view.vip_owner or view.vip_claimants else []
    )
    words += [f"only {view.serving[0]} serves"] if len(view.serving) == 1 else []
    return ", ".join(words)


def service_answers(cluster: RunningSystem) -> bool:
    """Whether a user gets an answer from the database through the entry."""
    host, port = cluster.stage.entry
    return cluster.run_in(cluster.internet, ready_command(host, port), timeout_s=ANSWER_TIMEOUT_S).exit_code == 0


def ready_command(host: str, port: int) -> list[str]:
    """What is run in the internet box to find out; its exit code is 0 for a good answer."""
    return ["curl", "-fsS", "-m", "1", "-o", "/dev/null", f"http://{host}:{port}{READY_PATH}"]
