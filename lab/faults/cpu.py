"""cpu: a box gets only a share of a processor. It does all that it did, much later."""

from __future__ import annotations

import re
from dataclasses import replace

from lab.cluster.system import RunningSystem
from lab.errors import UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, Undo, UndoAction, Verification
from lab.model.topology import Box
from lab.process import last_line

ROUNDS_OF_ONE_CPU = 300_000
"""Of an empty loop: some tenths of a second of a processor of its own, and so more than one period (0.1 s) of the limit."""
# How long it took, and how much of a processor that was: what a limit leaves is seen from the two.
WORK = "TIMEFORMAT='%R %U %S'; {{ time for ((each = 0; each < {rounds}; each++)); do :; done; }} 2>&1"
TIMES = re.compile(r"\d+\.\d+ \d+\.\d+ \d+\.\d+")
OVER_RATIO = 2.0
"""A limit holds for a period of 0.1 s: a short piece of work gets up to one period's share more."""
WORK_TIMEOUT_S = 20.0


class Cpu(BoxFault):
    """A noisy neighbour, an endless loop next door, a machine that is too small."""

    kind = FaultKind.CPU
    action = UndoAction.RESIZE

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Note what it has. Less than that is a fault."""
        target, cpus = super().prepare(control, target), target.blast_radius.how.cpus
        before = control.cpus(target.box)
        if before and cpus >= before:
            raise UsageError(f"{target.box.service} may use no more than {before:g} of a processor", f"cpus: {before / 10:g}")
        return replace(target, before=f"{before:g}")

    def undo(self, target: InjectionTarget) -> Undo:
        """Give it what it had."""
        return replace(super().undo(target), setting=target.before)

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Take the rest away. The limit outlives a restart of the box."""
        control.resize(target.box, target.blast_radius.how.cpus)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A little work in the box gets no more of a processor than that."""
        cpus, box = target.blast_radius.how.cpus, target.box.service
        work = WORK.format(rounds=int(ROUNDS_OF_ONE_CPU * cpus))
        done = control.run_in(target.box, ["bash", "-c", work], timeout_s=WORK_TIMEOUT_S)
        if done.exit_code or not TIMES.fullmatch(done.output.strip()):
            return Verification(False, f"{box} could not be asked how fast it is: {last_line(done.output)}")
        got = share(done.output)
        is_limited = control.cpus(target.box) == cpus
        return Verification(is_limited and got <= cpus * OVER_RATIO, f"{box} got {got:.2f} of a processor (it may have {cpus:g})")


def sweep(system: RunningSystem, box: Box) -> list[str]:
    """Let a box use as many processors as its stage file says, whoever took them away; what was done. Raises LabError."""
    wanted = next((spec.cpus for spec in system.stage.services if spec.name == box.service), 0.0)
    now = system.engine.cpus(box)
    if not wanted or now in (0.0, wanted):
        return []
    system.engine.resize(box, wanted)
    return [f"{box.service} could use {now:g} of a processor: {wanted:g} again, as its stage file says"]


def share(times: str) -> float:
    """How much of a processor a piece of work got, from the seconds that it took and used, as bash's `time` says them."""
    took_s, user_s, system_s = (float(word) for word in times.split())
    return (user_s + system_s) / took_s if took_s else 0.0
