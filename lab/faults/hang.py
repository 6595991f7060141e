"""hang: the service stands still (SIGSTOP). The box, its kernel and all else in it live on, and nothing is refused."""

from __future__ import annotations

from dataclasses import replace

from lab.cluster.system import RunningSystem
from lab.errors import LabError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, with_processes
from lab.model.fault import FaultKind, Undo, UndoAction, Verification
from lab.model.topology import Box
from lab.process import last_line

NONE_MATCHED = 1
STOPPED, ENDED = "T", "ZX"
PROCESS_LABEL = "lab.process"


class Hang(BoxFault):
    """A deadlock, an endless loop: the process is there, its supervisor sees it live, and it answers nothing."""

    kind = FaultKind.HANG
    action = UndoAction.CONTINUE

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Find the process and its children."""
        return with_processes(control, target, "hang")

    def undo(self, target: InjectionTarget) -> Undo:
        """Let it go on."""
        return replace(super().undo(target), process=target.process)

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Stop them. Raises LabError where the box does not let us."""
        done = control.run_in(target.box, ["pkill", "-STOP", "-x", target.process])
        if done.exit_code:
            raise LabError(f"'{target.process}' in {target.box.service} could not be stopped: {last_line(done.output)}")

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The kernel says that every process stands still, and Docker that the box runs."""
        now = control.box(target.box)
        if now is None or now.status != "running":
            return Verification(False, f"{target.box.service} is {now.status if now else 'removed'}")
        files = [f"/proc/{pid}/stat" for pid in sorted(target.pids, key=int)]
        states = states_of(control.run_in(target.box, ["cat", *files]).output)
        alive = [state for state in states if state not in ENDED]
        still = alive.count(STOPPED)
        evidence = f"{still} of {len(alive)} processes '{target.process}' in {now.service} stand still, and the box is running"
        return Verification(0 < still == len(alive), evidence)


def states_of(listing: str) -> list[str]:
    """The state of each process, a letter of proc(5), from the lines of /proc/PID/stat."""
    return [line.rpartition(")")[2].split()[0] for line in listing.splitlines() if line.rpartition(")")[2].split()]


def undo(system: RunningSystem, box: Box, process: str) -> None:
    """Let the processes go on; where they have ended, there is nothing to do. Raises LabError."""
    done = system.run_in(box, ["pkill", "-CONT", "-x", process])
    if done.exit_code not in (0, NONE_MATCHED):
        raise LabError(f"'{process}' in {box.service} could not be continued: {last_line(done.output)}")


def sweep(system: RunningSystem, box: Box) -> list[str]:
    """Let the named processes of a box go on where they stand still, whoever stopped them; what was done."""
    names = sorted({name for label, name in box.labels.items() if label.startswith(PROCESS_LABEL) and name})
    if not names:
        return []
    done = system.run_in(box, ["pkill", "-CONT", "-e", "--runstates", STOPPED, "-x", "|".join(names)])
    lines = done.output.splitlines() if done.exit_code == 0 else []
    return [f"{line.partition(' killed')[0]} in {box.service} stood still: continued" for line in lines if line.strip()]
