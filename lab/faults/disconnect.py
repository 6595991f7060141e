"""disconnect: the box loses every network. It runs on, and nobody hears of it."""

from __future__ import annotations

from lab.errors import UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, Undo, UndoAction, Verification


class Disconnect(BoxFault):
    """A machine whose cables are pulled; brought back with the same addresses and names."""

    kind = FaultKind.DISCONNECT

    def prepare(self, control: BoxControl, victim: InjectionTarget) -> InjectionTarget:
        """Note how it is connected. Only what runs and is connected can be cut off."""
        victim = super().prepare(control, victim)
        links = control.links(victim.box)
        if not links:
            raise UsageError(f"{victim.box.service} is on no network", "'lab heal' brings it back")
        return victim.with_links(links)

    def undo(self, victim: InjectionTarget) -> Undo:
        """Connect it to the same networks, as it was."""
        return Undo(UndoAction.RECONNECT, victim.box.id, victim.box.service, victim.box.stage, victim.links)

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Pull every cable."""
        control.disconnect(victim.box)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """It runs, and is on no network."""
        now = control.box(victim.box)
        if now is None:
            return Verification(False, f"{victim.box.service} has been removed")
        left = control.links(victim.box)
        names = ", ".join(link.network for link in left)
        return Verification(now.status == "running" and not left, f"{now.service} is {now.status}, on {names or 'no network'}")
