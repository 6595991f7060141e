"""crash: the process inside dies. The box stays; its supervisor or its restart policy may bring the process back."""

from __future__ import annotations

from dataclasses import replace

from lab.errors import UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, must_run, was_started_again
from lab.model.fault import FaultKind, Verification


class Crash(BoxFault):
    """A segmentation fault, an out-of-memory kill: SIGKILL from inside, so that restart policies apply."""

    kind = FaultKind.CRASH

    def prepare(self, control: BoxControl, victim: InjectionTarget) -> InjectionTarget:
        """Find the process and its children, by name: an orphan left alive could go on serving."""
        must_run(victim)
        if not victim.process:
            raise UsageError(f"{victim.box.service} names no process that could crash", "its label lab.process is missing")
        found = self._pids(control, victim)
        if not found:
            raise UsageError(
                f"no process '{victim.process}' runs in {victim.box.service}", "'lab status' shows how the boxes are"
            )
        return replace(victim, pids=found)

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Kill them. When the box ends with them, so does this command: its exit code says nothing."""
        control.run_in(victim.box, ["pkill", "-9", "-x", victim.process])

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """The box ended or was started again; or, under a supervisor, none of the processes is left."""
        ended = was_started_again(control, victim)
        if ended.proved:
            return ended
        now = self._pids(control, victim)
        if now is None:
            return Verification(False, f"{victim.box.service} does not say which processes run in it")
        left = victim.pids & now
        state = f"{len(left)} of {len(victim.pids)} processes '{victim.process}' in {victim.box.service} still run"
        return Verification(not left, state if left else f"no process '{victim.process}' of before runs in {victim.box.service}")

    def _pids(self, control: BoxControl, victim: InjectionTarget) -> frozenset[str] | None:
        """The numbers of the processes of that name; None when the box does not say."""
        found = control.run_in(victim.box, ["pgrep", "-x", victim.process])
        if found.exit_code == 1:  # pgrep's word for "none"
            return frozenset()
        return frozenset(found.output.split()) if found.exit_code == 0 else None
