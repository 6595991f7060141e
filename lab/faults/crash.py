"""crash: the process inside dies. The box stays; its supervisor or its restart policy may bring the process back."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget, pids, was_started_again, with_processes
from lab.model.fault import FaultKind, Verification


class Crash(BoxFault):
    """A segmentation fault, an out-of-memory kill: SIGKILL from inside, so that restart policies apply."""

    kind = FaultKind.CRASH

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Find the process and its children."""
        return with_processes(control, target, "crash")

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Kill them. When the box ends with them, so does this command: its exit code says nothing."""
        control.run_in(target.box, ["pkill", "-9", "-x", target.process])

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The box ended or was started again; or, under a supervisor, none of the processes is left."""
        ended = was_started_again(control, target)
        if ended.proved:
            return ended
        now = pids(control, target)
        if now is None:
            return Verification(False, f"{target.box.service} does not say which processes run in it")
        left = target.pids & now
        state = f"{len(left)} of {len(target.pids)} processes '{target.process}' in {target.box.service} still run"
        return Verification(not left, state if left else f"no process '{target.process}' of before runs in {target.box.service}")
