"""partition: two groups of boxes lose each other, or one of them stops hearing the other. Everybody else reaches both."""

from __future__ import annotations

from dataclasses import replace

from lab.faults import packets
from lab.faults.base import Hands, Victim
from lab.faults.network import Severed, addresses, other_side
from lab.model.fault import Bite, Direction, FaultKind

OPPOSITE = {Direction.OUT: Direction.IN, Direction.IN: Direction.OUT, Direction.BOTH: Direction.BOTH}


class Partition(Severed):
    """A dead line between two data centres that both still have their users."""

    kind = FaultKind.PARTITION

    def rules(self, victim: Victim) -> str:
        """Each side loses what it sends to the other and what it gets from there, so that one that starts anew is cut off too."""
        wanted = victim.aim.how.direction
        direction = wanted if victim.box in victim.aim.members else OPPOSITE[wanted]
        return packets.partition(victim.aim.table, addresses(other_side(victim)), direction)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """As for all of them. A box that the other side never had a way to has nothing to lose by it."""
        bite = super().prove(hands, victim)
        return replace(bite, moot=victim.witness is None and not bite.proved)
