"""Taking faults back, and waiting until a stage is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.cluster import database
from lab.cluster.readiness import await_well, await_whole, stages_up
from lab.engine.engine import Engine
from lab.errors import HealError, LabError
from lab.faults import limits, network_cleanup
from lab.model.fault import FaultKind, UndoAction
from lab.model.topology import FOREIGN, INTERNET_ROLE, Box, Stage
from lab.spec import stages
from lab.store.undo_log import OpenFault, UndoLedger


def mend(engine: Engine, box: Box) -> bool:
    """Bring a box back, whatever was done to it; returns whether there was anything to do."""
    if box.status == "paused":
        engine.unpause(box)
    elif (
        box.status in ("exited", "created", "dead")
        and not box.is_foreign
        and database.needs_an_operator(stages.of(box), box.service)
    ):
        database.bring_back(engine, stages.of(box), box)
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
    return [box for box in boxes if box.service == undo.service and (not box.is_foreign or box.id == undo.box_id)]


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
    if database.needs_an_operator(stage, service):
        engine.create(stage)
        database.promote_survivor(engine, stage)
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
    stuck = network_cleanup.clear(engine, [entry.undo for entry in entries])
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
    for found in network_cleanup.sweep(engine, [box for box in engine.boxes() if box.stage and box.is_system]):
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
    if any(box.service == entry.undo.service for box in view.boxes(FOREIGN)):
        await_well(view, FOREIGN, [entry.undo.service])


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
