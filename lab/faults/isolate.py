"""isolate: a group of boxes loses everybody outside, users too. Among themselves they go on as if nothing were."""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import InjectionTarget
from lab.faults.network import Severed, addresses
from lab.model.fault import FaultKind


class Isolate(Severed):
    """A data centre whose lines are cut."""

    kind = FaultKind.ISOLATE

    def rules(self, victim: InjectionTarget) -> str:
        """Only what comes from a member or goes to one passes."""
        shared = [victim.blast_radius.shared] if victim.blast_radius.shared else []
        return packets.isolation(victim.blast_radius.table, [*addresses(victim.blast_radius.members), *shared])
