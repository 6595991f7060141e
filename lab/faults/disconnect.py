"""cutoff: the box loses every network. It runs on, and nobody hears of it."""

from __future__ import annotations

from lab.errors import UsageError
from lab.faults.base import BoxFault, Hands, Victim
from lab.model.fault import Bite, FaultKind, Undo, UndoAction


class Cutoff(BoxFault):
    """A machine whose cables are pulled; brought back with the same addresses and names."""

    kind = FaultKind.CUTOFF

    def prepare(self, hands: Hands, victim: Victim) -> Victim:
        """Note how it is connected. Only what runs and is connected can be cut off."""
        victim = super().prepare(hands, victim)
        links = hands.links(victim.box)
        if not links:
            raise UsageError(f"{victim.box.service} is on no network", "'lab heal' brings it back")
        return victim.with_links(links)

    def undo(self, victim: Victim) -> Undo:
        """Connect it to the same networks, as it was."""
        return Undo(UndoAction.RECONNECT, victim.box.id, victim.box.service, victim.box.stage, victim.links)

    def inject(self, hands: Hands, victim: Victim) -> None:
        """Pull every cable."""
        hands.disconnect(victim.box)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """It runs, and is on no network."""
        now = hands.box(victim.box)
        if now is None:
            return Bite(False, f"{victim.box.service} has been removed")
        left = hands.links(victim.box)
        names = ", ".join(link.network for link in left)
        return Bite(now.status == "running" and not left, f"{now.service} is {now.status}, on {names or 'no network'}")
