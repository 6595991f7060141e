"""The faults. A fault injects itself, verifies from outside that it took effect, and names its undo beforehand."""

from __future__ import annotations

from lab.errors import UsageError
from lab.faults.bad_deploy import BadDeploy
from lab.faults.bandwidth import Bandwidth
from lab.faults.base import BoxControl, Fault, InjectionTarget, verification
from lab.faults.clock import Clock
from lab.faults.cpu import Cpu
from lab.faults.crash import Crash
from lab.faults.delay import Delay
from lab.faults.disconnect import Disconnect
from lab.faults.disk import DiskFull, DiskSlow, DiskStall
from lab.faults.hang import Hang
from lab.faults.isolate import Isolate
from lab.faults.loss import Loss
from lab.faults.memory import Memory
from lab.faults.partition import Partition
from lab.faults.poison import Poison
from lab.faults.power import Power
from lab.faults.process import OF_PROCESSES
from lab.faults.readonly import ReadOnly
from lab.faults.wan import LongLine, LossyLine
from lab.faults.wipe import Wipe
from lab.model.fault import LINE_FORM, FaultKind, Step

OF_A_BOX: tuple[Fault, ...] = (
    *(*OF_PROCESSES, Crash(), Hang(), Disconnect(), Wipe()),
    *(ReadOnly(), Cpu(), Memory(), Clock(), BadDeploy(), Poison()),
)
OF_THE_NETWORK: tuple[Fault, ...] = (Isolate(), Partition(), Delay(), Loss(), Bandwidth(), Power())
OF_A_DISK: tuple[Fault, ...] = (DiskFull(), DiskStall(), DiskSlow())
FAULTS: dict[FaultKind, Fault] = {fault.kind: fault for fault in (*OF_A_BOX, *OF_THE_NETWORK, *OF_A_DISK)}
# What can happen to the line to a region.
OF_A_LINE: dict[FaultKind, Fault] = {fault.kind: fault for fault in (LongLine(), LossyLine())}


def fault_of(step: Step) -> Fault:
    """The fault of a step. Raises UsageError where a line cannot fail in that way."""
    if not step.target.startswith(LINE_FORM):
        return FAULTS[step.fault]
    if step.fault not in OF_A_LINE:
        raise UsageError(f"{step.fault} is nothing that happens to a line", f"a line takes {' or '.join(OF_A_LINE)}")
    return OF_A_LINE[step.fault]


__all__ = ["FAULTS", "BoxControl", "Fault", "InjectionTarget", "fault_of", "verification"]
