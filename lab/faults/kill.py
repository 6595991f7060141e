"""kill: the box is lost. SIGKILL to all of it; no policy brings it back."""

from __future__ import annotations

from lab.faults.base import BoxFault, Hands, Victim, is_down
from lab.model import Bite, FaultKind


class Kill(BoxFault):
    """A machine that loses its power."""

    kind = FaultKind.KILL

    def inject(self, hands: Hands, victim: Victim) -> float | None:
        """Kill it. Docker says when it saw the end."""
        hands.kill(victim.box)
        now = hands.box(victim.box)
        return now.ended_at_s if now and now.ended_at_s > victim.box.ended_at_s else None

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It is down."""
        return is_down(hands, victim)
