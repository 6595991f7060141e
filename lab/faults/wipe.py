"""wipe: the box is lost with its disk. What comes back is a new machine with nothing on it."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, UndoAction, Verification


class Wipe(BoxFault):
    """A machine that burns down: killed, and its volumes removed."""

    kind = FaultKind.WIPE
    action = UndoAction.CREATE

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Kill it first, so that it fails at one instant; then remove what is left of it."""
        control.kill(victim.box)
        control.remove(victim.box)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """It is not there any more."""
        now = control.box(victim.box)
        return Verification(now is None, f"{victim.box.service} is {now.status if now else 'gone, and so is its disk'}")
