"""power: a box loses its power. Its packets stop first and all its processes end then, so no peer gets a last word.

What was not flushed is lost with a real power cut. Here the kernel and its page cache live on, as with kill: the disk keeps it.
"""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import BoxControl, InjectionTarget, is_down
from lab.faults.network import SILENCE, NetworkFault, addresses, ask
from lab.model.fault import FaultKind, UndoAction, Verification


class Power(NetworkFault):
    """A machine whose plug is pulled: no FIN and no RST, only silence."""

    kind = FaultKind.POWER
    action = UndoAction.POWER_ON

    def rules(self, target: InjectionTarget) -> str:
        """Nothing comes in or goes out."""
        return packets.isolation(target.blast_radius.table, addresses([target.box]))

    def inject(self, control: BoxControl, target: InjectionTarget) -> float:
        """Silence first: the kernel would close the sockets of the dead processes, and their peers would know at once."""
        at_s = super().inject(control, target)
        control.kill(target.box)
        return at_s

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It is down, and a box that could reach it gets no answer, not even a refusal."""
        down = is_down(control, target)
        if not down.proved or target.witness is None:
            return down
        heard = ask(control, target.witness, target.reached_at)
        words = "could not ask" if heard is None else "gets no answer from" if heard == SILENCE else "still reaches"
        return Verification(heard == SILENCE, f"{down.evidence}; {target.witness.service} {words} it")
