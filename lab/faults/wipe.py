"""wipe: the box is lost with its disk. What comes back is a new machine with nothing on it."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, UndoAction, Verification


class Wipe(BoxFault):
    """A machine that burns down: killed, and its volumes removed."""

    kind = FaultKind.WIPE
    action = UndoAction.CREATE

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Kill it first, so that it fails at one instant; then remove what is left of it."""
        control.kill(target.box)
        control.remove(target.box)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It is not there any more."""
        now = control.box(target.box)
        return Verification(now is None, f"{target.box.service} is {now.status if now else 'removed, and so is its disk'}")
