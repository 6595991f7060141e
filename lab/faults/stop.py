"""stop: the box is shut down in order, as for maintenance."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget, is_down
from lab.model.fault import FaultKind, Verification


class Stop(BoxFault):
    """An operator's shutdown."""

    kind = FaultKind.STOP

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Ask it to end; Docker kills it after its grace period."""
        control.stop(victim.box)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """It is down."""
        return is_down(control, victim)
