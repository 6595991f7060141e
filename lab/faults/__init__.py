"""The faults: one file each. A fault injects itself, proves that it bit, and names its undo beforehand."""

from __future__ import annotations

from lab.faults.base import Fault, Hands, Victim, proof
from lab.faults.crash import Crash
from lab.faults.cutoff import Cutoff
from lab.faults.kill import Kill
from lab.faults.pause import Pause
from lab.faults.restart import Restart
from lab.faults.stop import Stop
from lab.faults.wipe import Wipe
from lab.model import FaultKind

FAULTS: dict[FaultKind, Fault] = {fault.kind: fault for fault in (Kill(), Crash(), Stop(), Pause(), Restart(), Cutoff(), Wipe())}

__all__ = ["FAULTS", "Fault", "Hands", "Victim", "proof"]
