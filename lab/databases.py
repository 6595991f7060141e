"""Which database accepts writes now, and the operator who changes that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from lab.engine import Engine, wait_until
from lab.errors import InconclusiveError, LabError, UsageError
from lab.journal import UndoLedger
from lab.model import Box, DatabaseState, Stage, Undo, UndoAction

PRIMARY_ROLE, STANDBY_ROLE = "db.primary", "db.standby"
ROLE_OF_STATE = {DatabaseState.PRIMARY: PRIMARY_ROLE, DatabaseState.STANDBY: STANDBY_ROLE}
PROMOTE_TIMEOUT_S = 20
FENCE = "fence"
REJOIN_FILE = "/var/lib/lab/rejoin"
PSQL = ("psql", "-U", "postgres", "-h", "/run/postgresql", "-X", "-At")


def states(engine: Engine, stage: Stage) -> dict[str, DatabaseState]:
    """What each database says of itself now. Raises InconclusiveError when nobody can be asked."""
    box = engine.internet_box(stage)
    done = engine.run_in(box, ["python", "-m", "client.observer", "--once", json.dumps(stage.databases)], timeout_s=15)
    try:
        found: dict[str, str] = json.loads(done.output)["states"]
    except (ValueError, KeyError) as error:
        raise InconclusiveError(f"the databases could not be asked: {done.output.strip()[-200:]}", "see 'lab status'") from error
    return {name: DatabaseState(state) for name, state in found.items()}


def _named(found: Mapping[str, DatabaseState], wanted: DatabaseState) -> list[str]:
    return [name for name, state in found.items() if state is wanted]


def with_live_roles(boxes: Sequence[Box], found: Mapping[str, DatabaseState]) -> list[Box]:
    """The boxes, each database with the role that it plays now (db.primary, db.standby)."""
    return [
        replace(box, roles=(*box.roles, ROLE_OF_STATE[state])) if (state := found.get(box.service)) in ROLE_OF_STATE else box
        for box in boxes
    ]


def boxes_in_roles(engine: Engine, stage: Stage) -> list[Box]:
    """The boxes of a stage with the roles that they play now."""
    # A database that stands alone is the primary; nobody need be asked.
    found = states(engine, stage) if stage.is_replicated else dict.fromkeys(stage.databases, DatabaseState.PRIMARY)
    return with_live_roles(engine.boxes(stage.number), found)


def promote(engine: Engine, ledger: UndoLedger, stage: Stage, fence: bool, say: Callable[[str], None]) -> str:
    """Make the standby the primary, as an operator does; returns the service that is primary now.

    Refuses while another database accepts writes, unless that one may be fenced: then it is killed first.
    Raises UsageError or InconclusiveError.
    """
    found = states(engine, stage)
    standbys, primaries = _named(found, DatabaseState.STANDBY), _named(found, DatabaseState.PRIMARY)
    if not standbys:
        raise UsageError(
            "there is no standby to promote", f"databases: {', '.join(f'{name} is {state}' for name, state in found.items())}"
        )
    if primaries and not fence:
        raise UsageError(
            f"{primaries[0]} still accepts writes; promoting {standbys[0]} would make two primaries",
            "'lab promote --fence' kills it first",
        )
    boxes = {box.service: box for box in engine.boxes(stage.number)}
    for name in primaries:
        ledger.open(Undo(UndoAction.START, boxes[name].id, name, stage.number), FENCE)
        engine.kill(boxes[name])
        say(f"fenced {name}: killed, so that it cannot accept a write any more")
    started = monotonic()
    command = [*PSQL, "-c", f"SELECT pg_promote(true, {PROMOTE_TIMEOUT_S})"]
    done = engine.run_in(boxes[standbys[0]], command, timeout_s=PROMOTE_TIMEOUT_S + 5)
    if done.output.strip() != "t":
        raise InconclusiveError(f"{standbys[0]} could not be promoted: {done.output.strip()[-200:]}", "see 'lab status'")
    say(f"promoted {standbys[0]} in {monotonic() - started:.2f} s; it accepts writes now, and has no standby")
    return standbys[0]


def bring_back(engine: Engine, stage: Stage, box: Box) -> None:
    """Start a lost database; where another one accepts writes, as its standby. Two primaries are never made."""
    try:
        found = states(engine, stage)
    except LabError:  # nobody can be asked; should this make two primaries, end_split_brain sees them
        found = {}
    primaries = [name for name in _named(found, DatabaseState.PRIMARY) if name != box.service]
    if primaries:
        engine.put_file(box, REJOIN_FILE, primaries[0])
    engine.start(box)


def end_split_brain(engine: Engine, stage: Stage, say: Callable[[str], None]) -> None:
    """Where two databases accept writes, keep the one promoted last and make the other its standby.

    The one promoted last has the higher timeline. What only the other one has is lost with this.
    """
    primaries = _named(states(engine, stage), DatabaseState.PRIMARY) if stage.is_replicated else []
    if len(primaries) < 2:
        return
    boxes = {box.service: box for box in engine.boxes(stage.number)}
    keep = max(primaries, key=lambda name: _timeline(engine, boxes[name]))
    for name in primaries:
        if name != keep:
            say(f"{name} and {keep} both accept writes: {keep} was promoted last and stays, {name} becomes its standby")
            engine.kill(boxes[name])
            engine.put_file(boxes[name], REJOIN_FILE, keep)
            engine.start(boxes[name])


def _timeline(engine: Engine, box: Box) -> int:
    query = "SELECT timeline_id FROM pg_control_checkpoint()"
    done = engine.run_in(box, [*PSQL, "-c", "CHECKPOINT", "-c", query])
    number = done.output.strip().splitlines()[-1] if done.exit_code == 0 and done.output.strip() else ""
    return int(number) if number.isdigit() else 0


def await_redundant(engine: Engine, stage: Stage, timeout_s: float) -> bool:
    """Wait until one database accepts writes and every other one follows it; returns whether that came."""
    wanted = [DatabaseState.PRIMARY] + [DatabaseState.STANDBY] * (len(stage.databases) - 1)
    return wait_until(lambda: sorted(states(engine, stage).values()) == sorted(wanted), timeout_s)
