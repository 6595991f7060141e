"""crash: the process inside dies. The box stays; its supervisor or its restart policy may bring the process back."""

from __future__ import annotations

from dataclasses import replace

from lab.errors import UsageError
from lab.faults.base import BoxFault, Hands, Victim, must_run, was_started_again
from lab.model import Bite, FaultKind


class Crash(BoxFault):
    """A segmentation fault, an out-of-memory kill: SIGKILL from inside, so that restart policies apply."""

    kind = FaultKind.CRASH

    def prepare(self, hands: Hands, victim: Victim) -> Victim:
        """Find the process: the oldest of its name, which is the parent of the others."""
        must_run(victim)
        if not victim.process:
            raise UsageError(f"{victim.box.service} names no process that could crash", "its label lab.process is missing")
        found = hands.run_in(victim.box, ["pgrep", "-o", "-x", victim.process])
        if found.exit_code:
            raise UsageError(
                f"no process '{victim.process}' runs in {victim.box.service}", "'lab status' shows how the boxes are"
            )
        return replace(victim, pid=found.output.strip())

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Kill the process. When the box ends with it, so does this command: its exit code says nothing."""
        hands.run_in(victim.box, ["kill", "-9", victim.pid])

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """The box ended or was started again; or, under a supervisor, the process is another one."""
        ended = was_started_again(hands, victim)
        if ended.proved:
            return ended
        now = hands.run_in(victim.box, ["pgrep", "-o", "-x", victim.process])
        gone = now.exit_code == 1 or (now.exit_code == 0 and now.output.strip() != victim.pid)
        is_now = now.output.strip() if now.exit_code == 0 else "gone"
        return Bite(gone, f"{victim.process} in {victim.box.service} was process {victim.pid}, is {is_now}")
