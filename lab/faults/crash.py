"""crash: the process inside dies. The box stays; its supervisor or its restart policy may bring the process back."""

from __future__ import annotations

from dataclasses import replace

from lab.errors import UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, must_run, was_started_again
from lab.model.fault import FaultKind, Verification


class Crash(BoxFault):
    """A segmentation fault, an out-of-memory kill: SIGKILL from inside, so that restart policies apply."""

    kind = FaultKind.CRASH

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Find the process and its children, by name: an orphan left alive could go on serving."""
        must_run(target)
        if not target.process:
            raise UsageError(f"{target.box.service} names no process that could crash", "its label lab.process is missing")
        found = self._pids(control, target)
        if not found:
            raise UsageError(
                f"no process '{target.process}' runs in {target.box.service}", "'lab status' shows how the boxes are"
            )
        return replace(target, pids=found)

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Kill them. When the box ends with them, so does this command: its exit code says nothing."""
        control.run_in(target.box, ["pkill", "-9", "-x", target.process])

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The box ended or was started again; or, under a supervisor, none of the processes is left."""
        ended = was_started_again(control, target)
        if ended.proved:
            return ended
        now = self._pids(control, target)
        if now is None:
            return Verification(False, f"{target.box.service} does not say which processes run in it")
        left = target.pids & now
        state = f"{len(left)} of {len(target.pids)} processes '{target.process}' in {target.box.service} still run"
        return Verification(not left, state if left else f"no process '{target.process}' of before runs in {target.box.service}")

    def _pids(self, control: BoxControl, target: InjectionTarget) -> frozenset[str] | None:
        """The numbers of the processes of that name; None when the box does not say."""
        found = control.run_in(target.box, ["pgrep", "-x", target.process])
        if found.exit_code == 1:  # pgrep's word for "none"
            return frozenset()
        return frozenset(found.output.split()) if found.exit_code == 0 else None
