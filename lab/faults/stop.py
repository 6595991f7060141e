"""stop: the box is shut down in order, as for maintenance."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim, is_down
from lab.model.fault import Bite, FaultKind


class Stop(BoxFault):
    """An operator's shutdown."""

    kind = FaultKind.STOP

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Ask it to end; Docker kills it after its grace period."""
        hands.stop(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It is down."""
        return is_down(hands, victim)
