"""wipe: the box is lost with its disk. What comes back is a new machine with nothing on it."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim
from lab.model.fault import Bite, FaultKind, UndoAction


class Wipe(BoxFault):
    """A machine that burns down: killed, and its volumes removed."""

    kind = FaultKind.WIPE
    action = UndoAction.CREATE

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Kill it first, so that it fails at one instant; then remove what is left of it."""
        hands.kill(victim.box)
        hands.remove(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It is not there any more."""
        now = hands.box(victim.box)
        return Bite(now is None, f"{victim.box.service} is {now.status if now else 'gone, and so is its disk'}")
