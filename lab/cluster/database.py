"""Which database is the primary, and the operations that change that: promotion, switchover, rejoin."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from lab.cluster.system import RunningSystem, Say
from lab.errors import InconclusiveError, LabError, UsageError
from lab.model.fault import Undo, UndoAction
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage
from lab.probe.observer import ViewSource
from lab.process import wait_until

PROMOTE_TIMEOUT_S = 20
REFUSAL_TIMEOUT_S = 10.0
SIZE_TIMEOUT_S = 3.0
MONITOR_ROLE = "monitor"
FENCE = "fence"
REJOIN_FILE = "/var/lib/lab/rejoin"
PSQL = ("psql", "-U", "postgres", "-h", "/run/postgresql", "-X", "-At")


def switchover(cluster: RunningSystem, observer: ViewSource, say: Say, to: str = "") -> str:
    """Have the monitor make a standby (or this one) the primary, gracefully; returns the service that is primary then.

    Raises UsageError where there is no monitor, InconclusiveError when it refuses or nothing changes.
    """
    monitors = [box for box in cluster.boxes() if MONITOR_ROLE in box.roles]
    if not monitors:
        raise UsageError(
            f"stage {cluster.stage.number} has no monitor that could switch over", "'lab promote --fence' does it by force"
        )
    before = observer.latest().named(DatabaseState.PRIMARY)
    started = monotonic()
    command = [*PSQL, "-d", "pg_auto_failover", "-c", f"SELECT public.change_over('{to}')"]
    refusal = ""

    def agreed() -> bool:
        nonlocal refusal
        done = cluster.run_in(monitors[0], command, timeout_s=PROMOTE_TIMEOUT_S)
        refusal = done.output.strip()[-200:]
        return done.exit_code == 0

    # It refuses for a moment while a primary takes up new settings, as it does when standbys come back.
    if not wait_until(agreed, REFUSAL_TIMEOUT_S):
        raise InconclusiveError(
            f"the monitor refused: {refusal}",
            "see 'lab status'; is the standby there? Where there is no primary: 'lab promote --accept-loss'",
        )
    now: list[str] = []

    def changed() -> bool:
        now[:] = [name for name in observer.latest().named(DatabaseState.PRIMARY) if name not in before]
        return bool(now)

    if not wait_until(changed, PROMOTE_TIMEOUT_S):
        raise InconclusiveError(f"no other database became the primary in {PROMOTE_TIMEOUT_S} s", "see 'lab status'")
    say(f"{now[0]} is the primary now instead of {', '.join(before)}, {monotonic() - started:.2f} s after the request")
    return now[0]


def promote(cluster: RunningSystem, fence: bool, say: Say) -> str:
    """Make the standby the primary, as an operator does; returns the service that is primary now.

    Refuses while another database accepts writes, unless that one may be fenced: then it is killed first.
    Raises UsageError or InconclusiveError.
    """
    view = cluster.observe()
    standbys, primaries = view.named(DatabaseState.STANDBY), view.named(DatabaseState.PRIMARY)
    if not standbys:
        states = ", ".join(f"{name} is {state}" for name, state in view.databases.items())
        raise UsageError("there is no standby to promote", f"databases: {states}")
    if primaries and not fence:
        raise UsageError(
            f"{primaries[0]} still accepts writes; promoting {standbys[0]} would make two primaries",
            "'lab promote --fence' kills it first",
        )
    boxes = {box.service: box for box in cluster.boxes()}
    for name in primaries:
        cluster.undo_log.open(Undo(UndoAction.START, boxes[name].id, name, cluster.stage.number), FENCE)
        cluster.engine.kill(boxes[name])
        say(f"fenced {name}: killed, so that it cannot accept a write any more")
    started = monotonic()
    _promote(cluster, boxes[standbys[0]])
    say(f"promoted {standbys[0]} in {monotonic() - started:.2f} s; it accepts writes now, and has no standby")
    return standbys[0]


def promote_survivor(cluster: RunningSystem) -> None:
    """Where no database accepts writes and one still has the data, make it the primary: an empty one must not be."""
    view = cluster.observe()
    standbys = view.named(DatabaseState.STANDBY)
    if standbys and not view.named(DatabaseState.PRIMARY):
        _promote(cluster, next(box for box in cluster.boxes() if box.service == standbys[0]))


def _promote(cluster: RunningSystem, box: Box) -> None:
    command = [*PSQL, "-c", f"SELECT pg_promote(true, {PROMOTE_TIMEOUT_S})"]
    done = cluster.run_in(box, command, timeout_s=PROMOTE_TIMEOUT_S + 5)
    if done.output.strip() != "t":
        raise InconclusiveError(f"{box.service} could not be promoted: {done.output.strip()[-200:]}", "see 'lab status'")


def size_bytes(cluster: RunningSystem) -> int | None:
    """How large the users' database is, as the first one says that answers; None where none does."""
    for box in cluster.boxes():
        if box.service in cluster.stage.databases:
            done = cluster.run_in(box, [*PSQL, "-c", "SELECT pg_database_size('postgres')"], timeout_s=SIZE_TIMEOUT_S)
            if done.exit_code == 0 and done.output.strip().isdigit():
                return int(done.output)
    return None


def needs_an_operator(stage: Stage, service: str) -> bool:
    """Whether a lost database is not to be started just as it was: it could be a second primary."""
    return stage.is_replicated and stage.failover == "none" and service in stage.databases


def rejoin(cluster: RunningSystem, box: Box) -> None:
    """Start a lost database; where another one accepts writes, as its standby. There are never two primaries by that."""
    try:
        primaries = [name for name in cluster.observe().named(DatabaseState.PRIMARY) if name != box.service]
    except LabError:  # no database can be asked; should there be two primaries then, end_split_brain ends that
        primaries = []
    if primaries:
        cluster.engine.put_file(box, REJOIN_FILE, primaries[0])
    cluster.engine.start(box)


def recreate(cluster: RunningSystem, service: str) -> None:
    """Create a database again that was removed with its disk: empty, so that the one that has the data must lead."""
    cluster.engine.create(cluster.stage)
    promote_survivor(cluster)
    box = cluster.box(service)
    if box and box.status == "paused":
        cluster.engine.unpause(box)
    elif box and box.is_down:
        rejoin(cluster, box)


def is_split(stage: Stage, view: ClusterView) -> bool:
    """Whether two databases accept writes, and nothing in the stage would end that."""
    return stage.failover == "none" and len(view.named(DatabaseState.PRIMARY)) > 1


def end_split_brain(cluster: RunningSystem, primaries: Sequence[str], say: Say) -> None:
    """Of two databases that accept writes, keep the one promoted last and make the other its standby.

    The one promoted last has the higher timeline. What only the other one has is lost with this.
    """
    boxes = {box.service: box for box in cluster.boxes()}
    keep = max(primaries, key=lambda name: _timeline(cluster, boxes[name]))
    for name in primaries:
        if name != keep:
            say(f"{name} and {keep} both accept writes: {keep} was promoted last and stays, {name} becomes its standby")
            cluster.engine.kill(boxes[name])
            cluster.engine.put_file(boxes[name], REJOIN_FILE, keep)
            cluster.engine.start(boxes[name])


def _timeline(cluster: RunningSystem, box: Box) -> int:
    query = "SELECT timeline_id FROM pg_control_checkpoint()"
    done = cluster.run_in(box, [*PSQL, "-c", "CHECKPOINT", "-c", query])
    number = done.output.strip().splitlines()[-1] if done.exit_code == 0 and done.output.strip() else ""
    return int(number) if number.isdigit() else 0
