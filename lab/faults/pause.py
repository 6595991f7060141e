"""pause: the box freezes. Its processes stand still, its kernel goes on acknowledging: nothing is refused."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim
from lab.model.fault import Bite, FaultKind, UndoAction


class Pause(BoxFault):
    """A machine that hangs."""

    kind = FaultKind.PAUSE
    action = UndoAction.UNPAUSE

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Freeze it."""
        hands.pause(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """Docker says that it is frozen."""
        now = hands.box(victim.box)
        status = now.status if now else "removed"
        return Bite(status == "paused", f"{victim.box.service} is {status}")
