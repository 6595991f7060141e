"""restart: the box is shut down in order and started again."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget, was_started_again
from lab.model.fault import FaultKind, Verification


class Restart(BoxFault):
    """A reboot."""

    kind = FaultKind.RESTART

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Restart it."""
        control.restart(victim.box)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """It runs since a later instant."""
        return was_started_again(control, victim)
