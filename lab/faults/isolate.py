"""isolate: a group of boxes loses all boxes outside, users too. Among themselves they go on as before."""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import InjectionTarget
from lab.faults.network import Severed, addresses
from lab.model.fault import FaultKind


class Isolate(Severed):
    """A data centre whose lines are cut."""

    kind = FaultKind.ISOLATE

    def rules(self, target: InjectionTarget) -> str:
        """Only what comes from a member or goes to one passes."""
        shared = [target.blast_radius.shared] if target.blast_radius.shared else []
        return packets.isolation(target.blast_radius.table, [*addresses(target.blast_radius.members), *shared])
