"""partition: two groups of boxes lose each other, or one of them stops hearing the other. Everybody else reaches both."""

from __future__ import annotations

from lab import packets
from lab.faults.base import Victim
from lab.faults.network import Severed, addresses, other_side
from lab.model import Direction, FaultKind

OPPOSITE = {Direction.OUT: Direction.IN, Direction.IN: Direction.OUT, Direction.BOTH: Direction.BOTH}


class Partition(Severed):
    """A dead line between two data centres that both still have their users."""

    kind = FaultKind.PARTITION

    def rules(self, victim: Victim) -> str:
        """Each side loses what it sends to the other and what it gets from there, so that one that starts anew is cut off too."""
        wanted = victim.aim.how.direction
        direction = wanted if victim.box in victim.aim.members else OPPOSITE[wanted]
        return packets.partition(victim.aim.table, addresses(other_side(victim)), direction)
