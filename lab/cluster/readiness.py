"""Waiting until a stage is whole: boxes healthy, users served, redundancy complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from lab.cluster import database
from lab.engine.engine import Engine
from lab.errors import HealError
from lab.load.load import page_config
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import FOREIGN, Box, Stage
from lab.probe.observer import Observer
from lab.process import POLL_S, wait_until
from lab.spec import stages

WELL_TIMEOUT_S = 60.0
BOX_POLL_S = 0.02
READY_PATH = "/readyz"
ANSWER_TIMEOUT_S = 5.0
_HINT_OF_A_GUEST = "'docker compose ps' and 'docker compose logs' say more; 'docker compose up -d' makes what is missing"


def stages_up(engine: Engine) -> list[Stage]:
    """The stages of which there are boxes, whatever their state."""
    found = {box.project: stages.of(box) for box in engine.boxes() if box.stage}
    return sorted(found.values(), key=lambda stage: stage.number)


def await_whole(
    engine: Engine, stage: Stage, timeout_s: float = WELL_TIMEOUT_S, say: Callable[[str], None] = lambda _: None
) -> None:
    """Wait until every box that is needed is well, the service answers from its database, and nothing is missing to be redundant.

    Who only watches is not waited for: a trial is as good without. Raises HealError saying what is not.
    """
    await_well(engine, stage.number, stage.needed, timeout_s)
    await_service(engine, stage, timeout_s)
    await_redundant(engine, stage, timeout_s, say)


def await_service(engine: Engine, stage: Stage, timeout_s: float = WELL_TIMEOUT_S) -> None:
    """Wait until a user gets an answer from the database. Raises HealError."""
    if not wait_until(lambda: service_answers(engine, stage), timeout_s):
        broken = [f"{box.service} is {box.status}" for box in engine.boxes(stage.number) if not engine.is_healthy(box)]
        raise HealError(
            f"{stage.place} does not answer ({', '.join(broken) or 'though every box runs'})",
            _HINT_OF_A_GUEST
            if stage.is_foreign
            else f"'lab heal' mends boxes; 'lab down {stage.number}' and 'lab up {stage.number}' make it anew",
        )


def await_well(engine: Engine, number: int, services: Sequence[str], timeout_s: float = WELL_TIMEOUT_S) -> None:
    """Wait until these boxes of a stage run and are healthy. Raises HealError with their state and last words."""
    ill: list[Box] = []
    missing: set[str] = set()

    def all_well() -> bool:
        boxes = [box for box in engine.boxes(number) if box.service in services]
        missing.clear()
        missing.update(set(services) - {box.service for box in boxes})
        ill[:] = [box for box in boxes if not engine.is_healthy(box)]
        return not ill and not missing

    # The engine is asked about each box, and it has other work to do while many of them start.
    if wait_until(all_well, timeout_s, POLL_S + BOX_POLL_S * len(services)):
        return
    if missing:
        gone = ", ".join(sorted(missing))
        if number == FOREIGN:
            raise HealError(f"{gone} has been removed, not by the lab", _HINT_OF_A_GUEST)
        raise HealError(f"{gone} of stage {number} is not there", "'lab heal' makes it again")
    state = f"{ill[0].status}{', ' + ill[0].health if ill[0].health else ''}"
    raise HealError(f"{ill[0].service} is {state} after {timeout_s:g} s", f"its last words: {engine.logs(ill[0], 3) or '(none)'}")


def await_redundant(
    engine: Engine, stage: Stage, timeout_s: float = WELL_TIMEOUT_S, say: Callable[[str], None] = lambda _: None
) -> None:
    """Wait until every standby follows the one primary, and one balancer has the address. Raises HealError."""
    if stage.is_watched:
        with Observer(engine, stage) as observer:
            await_view(engine, stage, observer, timeout_s, say)


def await_view(
    engine: Engine,
    stage: Stage,
    observer: Observer,
    timeout_s: float = WELL_TIMEOUT_S,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Wait until an observer sees nothing missing; where it sees two primaries that nobody else would part, part them.

    Raises HealError.
    """
    if not stage.is_watched:
        return
    view = _await_either(stage, observer, timeout_s)
    if database.is_split(stage, view):
        database.end_split_brain(engine, stage, view.named(DatabaseState.PRIMARY), say)
        wait_until(lambda: not database.is_split(stage, observer.latest()), timeout_s)
        view = _await_either(stage, observer, timeout_s)
    if not stage.is_redundant(view):
        raise HealError(
            f"stage {stage.number} is not redundant after {timeout_s:g} s: {describe(view)}", "'lab heal' tries again"
        )


def _await_either(stage: Stage, observer: Observer, timeout_s: float) -> ClusterView:
    """The first sight of nothing missing, or of two primaries to be parted; the last one where neither came."""
    seen: list[ClusterView] = []

    def settled() -> bool:
        seen[:] = [observer.latest()]
        return stage.is_redundant(seen[0]) or database.is_split(stage, seen[0])

    wait_until(settled, timeout_s)
    return seen[0]


def describe(view: ClusterView) -> str:
    """What was seen, in words."""
    words = [f"{name} is {state}" for name, state in view.databases.items()]
    words += [f"{view.standbys} follow, {view.synchronous} of them synchronously"] if view.databases else []
    words += (
        [f"the address is held by {' and '.join(view.vip_claimants) or 'no balancer'}"]
        if view.vip_owner or view.vip_claimants
        else []
    )
    words += [f"only {view.serving[0]} serves"] if len(view.serving) == 1 else []
    return ", ".join(words)


def service_answers(engine: Engine, stage: Stage) -> bool:
    """Whether a user gets an answer from the database through the entry; of somebody else's system, the page."""
    return engine.run_in(engine.internet_box(stage), question(stage), timeout_s=ANSWER_TIMEOUT_S).exit_code == 0


def question(stage: Stage) -> list[str]:
    """What is run in the internet box to find out; its exit code is 0 for a good answer."""
    host, port = stage.entry
    if stage.page:
        return ["python", "-m", "client.page", json.dumps({"address": stage.entry, "page": page_config(stage.page)})]
    return ["curl", "-fsS", "-m", "1", "-o", "/dev/null", f"http://{host}:{port}{READY_PATH}"]
