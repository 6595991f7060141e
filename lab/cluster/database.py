"""Which database accepts writes now, and the operator who changes that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from lab.engine.engine import Engine
from lab.errors import InconclusiveError, LabError, UsageError
from lab.model.fault import Undo, UndoAction
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage
from lab.probe.observer import Observer, look
from lab.process import wait_until
from lab.store.undo_log import UndoLedger

PROMOTE_TIMEOUT_S = 20
REFUSAL_TIMEOUT_S = 10.0
SIZE_TIMEOUT_S = 3.0
MONITOR_ROLE = "monitor"
FENCE = "fence"
REJOIN_FILE = "/var/lib/lab/rejoin"
PSQL = ("psql", "-U", "postgres", "-h", "/run/postgresql", "-X", "-At")


def switchover(engine: Engine, stage: Stage, say: Callable[[str], None], observer: Observer, to: str = "") -> str:
    """Have the monitor make a standby (or this one) the primary, in order; returns the service that is primary then.

    Raises UsageError where there is no monitor, InconclusiveError when it refuses or nothing changes.
    """
    monitors = [box for box in engine.boxes(stage.number) if MONITOR_ROLE in box.roles]
    if not monitors:
        raise UsageError(f"stage {stage.number} has no monitor that could switch over", "'lab promote --fence' does it by force")
    before = observer.latest().named(DatabaseState.PRIMARY)
    started = monotonic()
    command = [*PSQL, "-d", "pg_auto_failover", "-c", f"SELECT public.change_over('{to}')"]
    said = ""

    def agreed() -> bool:
        nonlocal said
        done = engine.run_in(monitors[0], command, timeout_s=PROMOTE_TIMEOUT_S)
        said = done.output.strip()[-200:]
        return done.exit_code == 0

    # It refuses for a moment while a primary takes up new settings, as it does when standbys come back.
    if not wait_until(agreed, REFUSAL_TIMEOUT_S):
        raise InconclusiveError(f"the monitor refused: {said}", "see 'lab status'; is the standby there?")
    now: list[str] = []

    def changed() -> bool:
        now[:] = [name for name in observer.latest().named(DatabaseState.PRIMARY) if name not in before]
        return bool(now)

    if not wait_until(changed, PROMOTE_TIMEOUT_S):
        raise InconclusiveError(f"no other database became the primary in {PROMOTE_TIMEOUT_S} s", "see 'lab status'")
    say(f"{now[0]} is the primary now instead of {', '.join(before)}, {monotonic() - started:.2f} s after it was asked for")
    return now[0]


def promote(engine: Engine, ledger: UndoLedger, stage: Stage, fence: bool, say: Callable[[str], None]) -> str:
    """Make the standby the primary, as an operator does; returns the service that is primary now.

    Refuses while another database accepts writes, unless that one may be fenced: then it is killed first.
    Raises UsageError or InconclusiveError.
    """
    found = look(engine, stage)
    standbys, primaries = found.named(DatabaseState.STANDBY), found.named(DatabaseState.PRIMARY)
    if not standbys:
        said = ", ".join(f"{name} is {state}" for name, state in found.databases.items())
        raise UsageError("there is no standby to promote", f"databases: {said}")
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
    _promote(engine, boxes[standbys[0]])
    say(f"promoted {standbys[0]} in {monotonic() - started:.2f} s; it accepts writes now, and has no standby")
    return standbys[0]


def promote_survivor(engine: Engine, stage: Stage) -> None:
    """Where no database accepts writes and one still has the data, make it the primary: an empty one must not be."""
    found = look(engine, stage)
    standbys = found.named(DatabaseState.STANDBY)
    if standbys and not found.named(DatabaseState.PRIMARY):
        box = next(box for box in engine.boxes(stage.number) if box.service == standbys[0])
        _promote(engine, box)


def _promote(engine: Engine, box: Box) -> None:
    command = [*PSQL, "-c", f"SELECT pg_promote(true, {PROMOTE_TIMEOUT_S})"]
    done = engine.run_in(box, command, timeout_s=PROMOTE_TIMEOUT_S + 5)
    if done.output.strip() != "t":
        raise InconclusiveError(f"{box.service} could not be promoted: {done.output.strip()[-200:]}", "see 'lab status'")


def size_bytes(engine: Engine, stage: Stage) -> int | None:
    """How large the users' database is, as the first one says that answers; None where none does."""
    for box in engine.boxes(stage.number):
        if box.service in stage.databases:
            done = engine.run_in(box, [*PSQL, "-c", "SELECT pg_database_size('postgres')"], timeout_s=SIZE_TIMEOUT_S)
            if done.exit_code == 0 and done.output.strip().isdigit():
                return int(done.output)
    return None


def needs_an_operator(stage: Stage, service: str) -> bool:
    """Whether a lost database is not to be started just as it was: it could be a second primary."""
    return stage.is_replicated and stage.failover == "none" and service in stage.databases


def bring_back(engine: Engine, stage: Stage, box: Box) -> None:
    """Start a lost database; where another one accepts writes, as its standby. Two primaries are never made."""
    try:
        primaries = [name for name in look(engine, stage).named(DatabaseState.PRIMARY) if name != box.service]
    except LabError:  # nobody can be asked; should this make two primaries, end_split_brain ends that
        primaries = []
    if primaries:
        engine.put_file(box, REJOIN_FILE, primaries[0])
    engine.start(box)


def is_split(stage: Stage, view: ClusterView) -> bool:
    """Whether two databases accept writes, and nobody but the lab would end that."""
    return stage.failover == "none" and len(view.named(DatabaseState.PRIMARY)) > 1


def end_split_brain(engine: Engine, stage: Stage, primaries: Sequence[str], say: Callable[[str], None]) -> None:
    """Of two databases that accept writes, keep the one promoted last and make the other its standby.

    The one promoted last has the higher timeline. What only the other one has is lost with this.
    """
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
