"""kill, stop, pause, restart: what happens to all processes of a box at once."""

from __future__ import annotations

from lab.faults.base import BoxControl, BoxFault, InjectionTarget, is_down, was_started_again
from lab.model.fault import FaultKind, UndoAction, Verification


class Kill(BoxFault):
    """SIGKILL to all processes of the box at once; no policy brings it back.

    The kernel lives on: it closes their sockets, so that peers see a FIN or a RST at once, and keeps page cache and disk. That
    is kinder than a power cut, which sends nothing and loses what was not flushed.
    """

    kind = FaultKind.KILL

    def inject(self, control: BoxControl, target: InjectionTarget) -> float | None:
        """Kill it. Docker says when it saw the end."""
        control.kill(target.box)
        now = control.box(target.box)
        return now.ended_at_s if now and now.ended_at_s > target.box.ended_at_s else None

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It is down."""
        return is_down(control, target)


class Stop(BoxFault):
    """An operator's graceful shutdown, as for maintenance."""

    kind = FaultKind.STOP

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """SIGTERM; Docker kills it after its grace period."""
        control.stop(target.box)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It is down."""
        return is_down(control, target)


class Pause(BoxFault):
    """A machine that hangs: its processes stand still, its kernel goes on acknowledging, and nothing is refused."""

    kind = FaultKind.PAUSE
    action = UndoAction.UNPAUSE

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Freeze it."""
        control.pause(target.box)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Docker says that it is frozen."""
        now = control.box(target.box)
        status = now.status if now else "removed"
        return Verification(status == "paused", f"{target.box.service} is {status}")


class Restart(BoxFault):
    """A reboot: a graceful shutdown and a start."""

    kind = FaultKind.RESTART

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Restart it."""
        control.restart(target.box)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """It runs since a later instant."""
        return was_started_again(control, target)


OF_PROCESSES = (Kill(), Stop(), Pause(), Restart())
