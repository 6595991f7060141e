"""readonly: a database takes no writes any more. It accepts connections, answers reads, and its health check stays green."""

from __future__ import annotations

from lab.cluster.database import PSQL
from lab.cluster.system import RunningSystem
from lab.errors import LabError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, must_run
from lab.model.fault import FaultKind, UndoAction, Verification
from lab.model.topology import DB_ROLE, Box
from lab.process import last_line, wait_until

SETTING = "default_transaction_read_only"
ASK_TIMEOUT_S = 5.0
BACK_TIMEOUT_S = 30.0
"""For a database that was started again: it may first have to fetch what it lacks."""
RELOAD = ("-c", "SELECT pg_reload_conf()")


class ReadOnly(BoxFault):
    """What a hasty operator, or software that found its disk full, does to a database: it is up, and refuses each write."""

    kind = FaultKind.READONLY
    action = UndoAction.READWRITE

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Only a database that takes writes can cease to."""
        target = must_run(target)
        if DB_ROLE not in target.box.roles:
            raise UsageError(f"{target.box.service} is no database", "target: db.primary")
        if (now := _is_read_only(control, target.box)) != "off":
            why = "takes no writes already" if now == "on" else f"does not answer: {now}"
            raise UsageError(f"{target.box.service} {why}", "target: db.primary, or 'lab status' shows how the databases are")
        return target

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Set it for all sessions, also those that are open. Raises LabError where the database refuses."""
        done = control.run_in(target.box, [*PSQL, "-c", f"ALTER SYSTEM SET {SETTING} = on", *RELOAD], timeout_s=ASK_TIMEOUT_S)
        if done.exit_code:
            raise LabError(f"{target.box.service} could not be made read-only: {last_line(done.output)}")

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A session that begins now may not write."""
        now = _is_read_only(control, target.box)
        return Verification(now == "on", f"{target.box.service} says transaction_read_only = {now}")


def _is_read_only(control: BoxControl, box: Box) -> str:
    """on or off, as a session that begins now has it; else what the database says instead."""
    return last_line(control.run_in(box, [*PSQL, "-c", "SHOW transaction_read_only"], timeout_s=ASK_TIMEOUT_S).output)


def undo(system: RunningSystem, box: Box) -> None:
    """Let the database take writes again, and those that were copied from it meanwhile: the setting is in a file that is copied.

    Raises LabError.
    """
    if not wait_until(lambda: _reset(system, box), BACK_TIMEOUT_S):
        raise LabError(f"{box.service} does not take the setting back", "see its log: docker logs")
    for other in system.boxes():
        if other.id != box.id:
            sweep(system, other)


def _reset(system: RunningSystem, box: Box) -> bool:
    """Take the setting out of the file. One that is a standby by now may do that, too."""
    return system.run_in(box, [*PSQL, "-c", f"ALTER SYSTEM RESET {SETTING}", *RELOAD], timeout_s=ASK_TIMEOUT_S).exit_code == 0


def sweep(system: RunningSystem, box: Box) -> list[str]:
    """Take the setting out of a database that has it, whoever put it there; what was done."""
    if DB_ROLE not in box.roles or box.status != "running":
        return []
    done = system.run_in(box, [*PSQL, "-c", f"SHOW {SETTING}"], timeout_s=ASK_TIMEOUT_S)
    if done.exit_code or done.output.strip() != "on" or not _reset(system, box):
        return []
    return [f"{box.service} took no writes: it takes them again"]
