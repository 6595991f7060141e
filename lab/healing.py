"""Taking faults back, and waiting until a stage is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from lab import clearing, databases, limits, stages
from lab.engine import POLL_S, Engine, wait_until
from lab.errors import HealError, LabError
from lab.journal import OpenFault, UndoLedger
from lab.load import page_order
from lab.model import GUEST, INTERNET_ROLE, Box, DatabaseState, FaultKind, Sight, Stage, UndoAction
from lab.observer import Observer

WELL_TIMEOUT_S = 60.0
BOX_POLL_S = 0.02
READY_PATH = "/readyz"
ANSWER_TIMEOUT_S = 5.0
_HINT_OF_A_GUEST = "'docker compose ps' and 'docker compose logs' say more; 'docker compose up -d' makes what is missing"


def mend(engine: Engine, box: Box) -> bool:
    """Bring a box back, whatever was done to it; returns whether there was anything to do."""
    if box.status == "paused":
        engine.unpause(box)
    elif (
        box.status in ("exited", "created", "dead")
        and not box.is_guest
        and databases.needs_an_operator(stages.of(box), box.service)
    ):
        databases.bring_back(engine, stages.of(box), box)
    elif box.status in ("exited", "created", "dead"):
        engine.start(box)
    else:
        return False
    return True


def undo(engine: Engine, ledger: UndoLedger, entry: OpenFault) -> None:
    """Take one fault back and close its entry. Raises HealError when the engine refuses."""
    try:
        engine = where(engine, entry)
        boxes = engine.boxes(entry.undo.stage)
        if entry.undo.action is UndoAction.CREATE:
            if boxes:
                make_again(engine, stages.of(boxes[0]), entry.undo.service)
        else:
            for box in struck(boxes, entry):
                if entry.undo.action in limits.OF_AN_OVERLOAD:
                    limits.undo(engine, box, entry.undo)
                else:
                    engine.reconnect(box, entry.undo.links)
                    mend(engine, box)
                    retune(engine, box, entry.undo.setting)
    except LabError as error:
        raise could_not(entry, error) from error
    ledger.close(entry)


def struck(boxes: Sequence[Box], entry: OpenFault) -> list[Box]:
    """The box that a fault hit, if it is there. One of somebody else's that was made anew meanwhile is not that."""
    undo = entry.undo
    return [box for box in boxes if box.service == undo.service and (not box.is_guest or box.id == undo.box_id)]


def where(engine: Engine, entry: OpenFault) -> Engine:
    """The engine as it sees the box of a fault, which may be in somebody else's project."""
    return engine.visiting(entry.undo.project) if entry.undo.project else engine


def retune(engine: Engine, router: Box, setting: str) -> None:
    """Tell the router between regions what a line was set to (nothing for an empty setting). Raises LabError."""
    if setting and (done := engine.run_in(router, ["lab-wan", "set", *setting.split()])).exit_code:
        raise LabError(f"the router says: {done.output.strip()[-200:]}")


def could_not(entry: OpenFault, why: LabError) -> HealError:
    """What to say of a fault that is still in effect."""
    return HealError(f"{entry.fault} of {entry.undo.service} could not be undone: {why.message}", "'lab heal' tries again")


def make_again(engine: Engine, stage: Stage, service: str) -> None:
    """Make a box again that was lost with its disk; an empty database joins the one that still has the data."""
    if databases.needs_an_operator(stage, service):
        engine.create(stage)
        databases.promote_survivor(engine, stage)
        for box in engine.boxes(stage.number):
            if box.service == service:
                mend(engine, box)
    engine.up(stage)


def undo_all(engine: Engine, ledger: UndoLedger, entries: Sequence[OpenFault] | None = None) -> int:
    """Take every open fault (or these) back, the last one first; returns how many. What fails does not keep the rest from it.

    Those of the network come before, all at one instant. Raises HealError for the first that failed. That something could
    not be noted is no failure of that: `ledger.check_noted` says it when all that is to be waited for has come.
    """
    failures: list[HealError] = []
    entries = ledger.entries() if entries is None else entries
    stuck = clearing.clear(engine, [entry.undo for entry in entries])
    for entry in reversed(entries):
        try:
            if entry.undo in stuck:
                raise could_not(entry, stuck[entry.undo])
            undo(engine, ledger, entry)
        except HealError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return len(entries)


def heal(engine: Engine, ledger: UndoLedger, say: Callable[[str], None]) -> int:
    """Undo every open fault, connect and bring back every box, wait until all answers.

    Returns how many things were mended. Raises HealError.
    """
    for entry in ledger.entries():
        say(f"undoing {entry.fault} of {entry.undo.service} ({entry.since})")
        end_what_is_under_way(engine, entry)
    visited = [entry for entry in ledger.entries() if entry.undo.project]
    try:
        mended = undo_all(engine, ledger)
        for entry in visited:
            await_visited(engine, entry)
    finally:
        # Whatever could not be undone: the lab's own box stays in nobody else's network.
        ended = engine.end_visits()
        if ended:
            say("the internet box was still in a network that is not the lab's: removed")
    mended += bool(ended)
    # First: without its networks, a box may not start, or end at once.
    mended += reconnect(engine, say)
    for box in engine.boxes():
        if box.stage and _mend_or_fail(engine, box):
            say(f"{box.service} of stage {box.stage} was {box.status}: brought back")
            mended += 1
    for found in clearing.sweep(engine, [box for box in engine.boxes() if box.stage and box.is_system]):
        say(f"{found}: taken away")
        mended += 1
    for stage in stages_up(engine):
        restore_missing(engine, stage, say)
        end_stray_loads(engine, stage.number)
        await_whole(engine, stage, say=say)
    ledger.check_noted()
    return mended


def await_visited(engine: Engine, entry: OpenFault) -> None:
    """Wait until a box of somebody else's project is well again, if it is still there. Raises HealError."""
    view = where(engine, entry)
    if any(box.service == entry.undo.service for box in view.boxes(GUEST)):
        await_well(view, GUEST, [entry.undo.service])


def end_what_is_under_way(engine: Engine, entry: OpenFault) -> None:
    """Wait for the end of a shutdown whose controller was killed: undone before its end, it would still come."""
    if entry.fault not in (FaultKind.STOP, FaultKind.RESTART):
        return
    view = where(engine, entry)
    for box in struck(view.boxes(entry.undo.stage), entry):
        if box.status == "running":
            view.stop(box)


def _mend_or_fail(engine: Engine, box: Box) -> bool:
    try:
        return mend(engine, box)
    except LabError as error:
        raise HealError(f"{box.service} is {box.status} and could not be brought back: {error.message}", error.hint) from error


def reconnect(engine: Engine, say: Callable[[str], None]) -> int:
    """Connect every box to the networks of its stage file, whoever took it off them; returns how many were off one.

    What could not be done is said, and keeps nothing else from being mended: whether all answers is found out at the end.
    """
    found = 0
    for box in (each for each in engine.boxes() if each.stage):
        try:
            missing = _reconnected(engine, box)
        except LabError as error:
            say(f"{box.service} of stage {box.stage} could not be connected again: {error.message}")
            continue
        if missing:
            say(f"{box.service} of stage {box.stage} was off {' and '.join(missing)}: connected again")
            found += 1
    return found


def _reconnected(engine: Engine, box: Box) -> list[str]:
    links = stages.of(box).links_of(box.service)
    present = {link.network for link in engine.links(box)}
    missing = [link.network for link in links if link.network not in present]
    if missing:
        engine.reconnect(box, links)
    return missing


def stages_up(engine: Engine) -> list[Stage]:
    """The stages of which there are boxes, whatever their state."""
    found = {box.project: stages.of(box) for box in engine.boxes() if box.stage}
    return sorted(found.values(), key=lambda stage: stage.number)


def restore_missing(engine: Engine, stage: Stage, say: Callable[[str], None]) -> None:
    """Make boxes again that were removed from a stage that is up."""
    missing = {spec.name for spec in stage.services} - {box.service for box in engine.boxes(stage.number)}
    if missing:
        say(f"{', '.join(sorted(missing))} of stage {stage.number} had been removed: made again")
        engine.up(stage)


def end_stray_loads(engine: Engine, number: int) -> None:
    """End loads that outlived their controller (they end by themselves when their input does; this makes sure)."""
    for box in engine.boxes(number):
        if INTERNET_ROLE in box.roles and box.status == "running":
            engine.run_in(box, ["pkill", "-9", "-f", "client[.]generator"])


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
        broken = [f"{box.service} is {box.status}" for box in engine.boxes(stage.number) if not engine.is_well(box)]
        raise HealError(
            f"{stage.place} does not answer ({', '.join(broken) or 'though every box runs'})",
            _HINT_OF_A_GUEST
            if stage.is_guest
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
        ill[:] = [box for box in boxes if not engine.is_well(box)]
        return not ill and not missing

    # The engine is asked about each box, and it has other work to do while many of them start.
    if wait_until(all_well, timeout_s, POLL_S + BOX_POLL_S * len(services)):
        return
    if missing:
        gone = ", ".join(sorted(missing))
        if number == GUEST:
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
            await_sight(engine, stage, observer, timeout_s, say)


def await_sight(
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
    sight = _await_either(stage, observer, timeout_s)
    if databases.is_split(stage, sight):
        databases.end_split_brain(engine, stage, sight.named(DatabaseState.PRIMARY), say)
        wait_until(lambda: not databases.is_split(stage, observer.latest()), timeout_s)
        sight = _await_either(stage, observer, timeout_s)
    if not stage.is_redundant(sight):
        raise HealError(
            f"stage {stage.number} is not redundant after {timeout_s:g} s: {describe(sight)}", "'lab heal' tries again"
        )


def _await_either(stage: Stage, observer: Observer, timeout_s: float) -> Sight:
    """The first sight of nothing missing, or of two primaries to be parted; the last one where neither came."""
    seen: list[Sight] = []

    def settled() -> bool:
        seen[:] = [observer.latest()]
        return stage.is_redundant(seen[0]) or databases.is_split(stage, seen[0])

    wait_until(settled, timeout_s)
    return seen[0]


def describe(sight: Sight) -> str:
    """What was seen, in words."""
    words = [f"{name} is {state}" for name, state in sight.databases.items()]
    words += [f"{sight.standbys} follow, {sight.synchronous} of them synchronously"] if sight.databases else []
    words += [f"the address is held by {' and '.join(sight.holders) or 'no balancer'}"] if sight.wire or sight.holders else []
    words += [f"only {sight.answering[0]} serves"] if len(sight.answering) == 1 else []
    return ", ".join(words)


def service_answers(engine: Engine, stage: Stage) -> bool:
    """Whether a user gets an answer from the database through the entry; of somebody else's system, the page."""
    return engine.run_in(engine.internet_box(stage), question(stage), timeout_s=ANSWER_TIMEOUT_S).exit_code == 0


def question(stage: Stage) -> list[str]:
    """What is run in the internet box to find out; its exit code is 0 for a good answer."""
    host, port = stage.entry
    if stage.page:
        return ["python", "-m", "client.page", json.dumps({"address": stage.entry, "page": page_order(stage.page)})]
    return ["curl", "-fsS", "-m", "1", "-o", "/dev/null", f"http://{host}:{port}{READY_PATH}"]
