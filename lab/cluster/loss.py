"""Where a database that may have acknowledged writes alone is lost with its disk: what an operator has to decide, and the decision."""

from __future__ import annotations

from time import monotonic

from lab.cluster.database import MONITOR_ROLE, PSQL
from lab.cluster.system import RunningSystem, Say
from lab.engine.engine import ExecResult
from lab.errors import HealError, InconclusiveError, UsageError
from lab.model.observation import DatabaseState
from lab.model.topology import Box
from lab.probe.observer import ViewSource
from lab.process import last_line, wait_until

ASK_EVERY_S = 2.0
ASK_TIMEOUT_S = 5.0
ACCEPT_TIMEOUT_S = 30.0
"""How long the monitor may refuse: databases that were just started have to report first."""
ELECTION_TIMEOUT_S = 60.0
RETRY_S = 0.5
WEB_ROLE = "web"
NOTHING = "there is nothing to decide"
"""How the monitor's refusal begins where a database is the primary (compose/monitor/loss.sql)."""
HINT = "'lab promote --accept-loss' goes on without what is lost"
# A web box refuses a primary on an older timeline than it has seen. A gunicorn that has just started has seen none, and is not ready for
# the signal.
FORGET_TIMELINES = 'gunicorn=$(pgrep -o -x gunicorn) && [ "$(ps -o etimes= -p "$gunicorn")" -lt 10 ] || kill -HUP "$gunicorn"'


def question(cluster: RunningSystem, at_last: bool = False) -> str:
    """What an operator has to decide, as the monitor says; empty where that is nothing, or the monitor does not answer.

    `at_last`: also what often passes by itself, and is a question only where it has not.
    """
    done = _ask(cluster, f"SELECT public.question({str(at_last).lower()})", ASK_TIMEOUT_S)
    return done.output.strip() if done and done.exit_code == 0 else ""


def undecided(cluster: RunningSystem, text: str) -> HealError:
    """The error of a stage that waits for an operator."""
    return HealError(f"stage {cluster.stage.number} waits for an operator's decision: {text}", HINT)


class Question:
    """Looks for a question now and then, while something is waited for that may never come."""

    def __init__(self, cluster: RunningSystem) -> None:
        self._cluster = cluster
        self._asked_at = monotonic()
        self.text = ""
        """What it is; empty while there is none."""

    def is_put(self) -> bool:
        """Whether an operator has to decide first."""
        if not self.text and monotonic() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = monotonic()
            self.text = question(self._cluster)
        return bool(self.text)


def accept(cluster: RunningSystem, observer: ViewSource, say: Say) -> str:
    """Go on without what is lost, as an operator decides; returns the service that is the primary then.

    Raises UsageError where there is nothing to decide, InconclusiveError where no database becomes the primary.
    """
    if cluster.stage.failover != "automatic":
        raise UsageError(
            f"stage {cluster.stage.number} has no monitor that waits for a decision",
            "'lab promote' makes its standby the primary",
        )
    if primaries := observer.latest().named(DatabaseState.PRIMARY):
        raise UsageError(f"{NOTHING}: {primaries[0]} is the primary", "without --accept-loss: a planned switchover")
    started = monotonic()
    say(f"the loss is accepted: {_order(cluster)}")
    now: list[str] = []

    def is_there() -> bool:
        now[:] = observer.latest().named(DatabaseState.PRIMARY)
        return bool(now)

    if not wait_until(is_there, ELECTION_TIMEOUT_S):
        raise InconclusiveError(f"no database became the primary in {ELECTION_TIMEOUT_S:g} s", "see 'lab status'; is a box down?")
    for box in cluster.boxes():
        if WEB_ROLE in box.roles and box.status == "running":
            cluster.run_in(box, ["sh", "-c", FORGET_TIMELINES])
    say(f"{now[0]} is the primary, {monotonic() - started:.2f} s after the decision; web boxes forget older timelines")
    return now[0]


def _order(cluster: RunningSystem) -> str:
    """Have the monitor go on; what it says of the loss."""
    done: list[ExecResult] = []

    def is_done() -> bool:
        done[:] = [_ask(cluster, "SELECT public.accept_loss()", ACCEPT_TIMEOUT_S) or ExecResult(1, "it has no box that runs")]
        return done[0].exit_code == 0 or NOTHING in done[0].output

    if not wait_until(is_done, ACCEPT_TIMEOUT_S, RETRY_S):
        raise InconclusiveError(f"the monitor refused: {_refusal(done[0])}", "'lab heal' starts what is down")
    if done[0].exit_code:
        raise UsageError(_refusal(done[0]), "see 'lab status'")
    return done[0].output.strip()


def _refusal(done: ExecResult) -> str:
    """What PostgreSQL says is wrong, without where in which function."""
    errors = [line.partition("ERROR:")[2].strip() for line in done.output.splitlines() if "ERROR:" in line]
    return errors[0] if errors else last_line(done.output)


def _ask(cluster: RunningSystem, statement: str, timeout_s: float) -> ExecResult | None:
    """What the monitor answers; None where there is none that runs."""
    monitor = _monitor(cluster) if cluster.stage.failover == "automatic" else None
    return cluster.run_in(monitor, [*PSQL, "-d", "pg_auto_failover", "-c", statement], timeout_s=timeout_s) if monitor else None


def _monitor(cluster: RunningSystem) -> Box | None:
    return next((box for box in cluster.boxes() if MONITOR_ROLE in box.roles and box.status == "running"), None)
