"""disconnect: the box loses every network. It runs on, and no other box hears of it."""

from __future__ import annotations

from lab.errors import UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, Undo, UndoAction, Verification


class Disconnect(BoxFault):
    """A machine whose cables are pulled; brought back with the same addresses and names."""

    kind = FaultKind.DISCONNECT

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Note how it is connected. Only what runs and is connected can be disconnected."""
        target = super().prepare(control, target)
        links = control.links(target.box)
        if not links:
            raise UsageError(f"{target.box.service} is on no network", "'lab heal' brings it back")
        return target.with_links(links)

    def undo(self, target: InjectionTarget) -> Undo:
        """Connect it to the same networks, as it was."""
        return Undo(UndoAction.RECONNECT, target.box.id, target.box.service, target.box.stage, target.links)

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Pull every cable."""
        control.disconnect(target.box)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It runs, and is on no network."""
        now = control.box(target.box)
        if now is None:
            return Verification(False, f"{target.box.service} has been removed")
        left = control.links(target.box)
        names = ", ".join(link.network for link in left)
        return Verification(now.status == "running" and not left, f"{now.service} is {now.status}, on {names or 'no network'}")

    def release(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Put every cable in again."""
        control.reconnect(target.box, target.links)
        missing = {link.network for link in target.links} - {link.network for link in control.links(target.box)}
        return Verification(not missing, f"{target.box.service} is off {', '.join(sorted(missing)) or 'no network'}")
