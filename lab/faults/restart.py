"""restart: the box is shut down in order and started again."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim, was_started_again
from lab.model.fault import Bite, FaultKind


class Restart(BoxFault):
    """A reboot."""

    kind = FaultKind.RESTART

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Restart it."""
        hands.restart(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It runs since a later instant."""
        return was_started_again(hands, victim)
