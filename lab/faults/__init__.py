"""The faults: one file each. A fault injects itself, proves that it bit, and names its undo beforehand."""

from __future__ import annotations

from lab.faults.bandwidth import Bandwidth
from lab.faults.base import Fault, Hands, Victim, proof
from lab.faults.crash import Crash
from lab.faults.cutoff import Cutoff
from lab.faults.delay import Delay
from lab.faults.isolate import Isolate
from lab.faults.kill import Kill
from lab.faults.loss import Loss
from lab.faults.partition import Partition
from lab.faults.pause import Pause
from lab.faults.restart import Restart
from lab.faults.stop import Stop
from lab.faults.wipe import Wipe
from lab.model import FaultKind

OF_A_BOX: tuple[Fault, ...] = (Kill(), Crash(), Stop(), Pause(), Restart(), Cutoff(), Wipe())
OF_THE_NETWORK: tuple[Fault, ...] = (Isolate(), Partition(), Delay(), Loss(), Bandwidth())
FAULTS: dict[FaultKind, Fault] = {fault.kind: fault for fault in (*OF_A_BOX, *OF_THE_NETWORK)}

__all__ = ["FAULTS", "Fault", "Hands", "Victim", "proof"]
