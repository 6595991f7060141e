"""kill: all processes of the box end at once, by SIGKILL; no policy brings it back.

The kernel lives on: it closes their sockets, so that peers see a FIN or a RST at once, and keeps page cache and disk. That
is kinder than a power cut, which sends nothing and loses what was not flushed.
"""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget, is_down
from lab.model.fault import FaultKind, Verification


class Kill(BoxFault):
    """A box in which everything dies at once."""

    kind = FaultKind.KILL

    def inject(self, control: BoxControl, victim: InjectionTarget) -> float | None:
        """Kill it. Docker says when it saw the end."""
        control.kill(victim.box)
        now = control.box(victim.box)
        return now.ended_at_s if now and now.ended_at_s > victim.box.ended_at_s else None

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """It is down."""
        return is_down(control, victim)
