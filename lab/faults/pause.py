"""pause: the box freezes. Its processes stand still, its kernel goes on acknowledging: nothing is refused."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.model.fault import FaultKind, UndoAction, Verification


class Pause(BoxFault):
    """A machine that hangs."""

    kind = FaultKind.PAUSE
    action = UndoAction.UNPAUSE

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Freeze it."""
        control.pause(victim.box)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """Docker says that it is frozen."""
        now = control.box(victim.box)
        status = now.status if now else "removed"
        return Verification(status == "paused", f"{victim.box.service} is {status}")
