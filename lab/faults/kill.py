"""kill: the box is lost. SIGKILL to all of it; no policy brings it back."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim, is_down
from lab.model import Bite, FaultKind


class Kill(BoxFault):
    """A machine that loses its power."""

    kind = FaultKind.KILL

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Kill it."""
        hands.kill(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It is down."""
        return is_down(hands, victim)
