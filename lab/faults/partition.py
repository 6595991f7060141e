"""partition: two groups of boxes lose each other, or one of them stops hearing the other. All other boxes reach both."""

from __future__ import annotations

from dataclasses import replace

from lab.faults import packets
from lab.faults.base import BoxControl, InjectionTarget
from lab.faults.network import Severed, addresses, other_side
from lab.model.fault import Direction, FaultKind, Verification

OPPOSITE = {Direction.OUT: Direction.IN, Direction.IN: Direction.OUT, Direction.BOTH: Direction.BOTH}


class Partition(Severed):
    """A dead line between two data centres that both still have their users."""

    kind = FaultKind.PARTITION

    def rules(self, target: InjectionTarget) -> str:
        """Each side loses what it sends to the other and what it gets from there, so that one that is started again is cut off too."""
        wanted = target.blast_radius.how.direction
        direction = wanted if target.box in target.blast_radius.members else OPPOSITE[wanted]
        return packets.partition(target.blast_radius.table, addresses(other_side(target)), direction)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """As for all of them. A box that the other side never had a way to has nothing to lose by it."""
        verification = super().verify(control, target)
        return replace(verification, moot=target.witness is None and not verification.proved)
