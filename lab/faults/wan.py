"""Faults of the distance between regions: a line that takes longer, or loses packets. Set at the router, the box `wan`."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from lab.errors import LabError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget
from lab.faults.delay import SEEN_RATIO
from lab.faults.network import ANSWER_S, SILENCE, ask, ask_often, first_line
from lab.model.fault import FaultKind, Undo, UndoAction, Verification
from lab.model.topology import Box


@dataclass(frozen=True)
class Setting:
    """What a line is set to, as the router says."""

    delay_ms: float
    loss_percent: float
    dropped: int

    @property
    def words(self) -> str:
        """The arguments of `lab-wan set` that make it so."""
        return f"delay={self.delay_ms:g}ms loss={self.loss_percent:g}%"


def setting(control: BoxControl, wan: Box, line: str) -> Setting:
    """A line as it is now. Raises UsageError where the router has no such line, LabError where it does not answer."""
    lines = _ask_router(control, wan, "show")["lines"]
    if line not in lines:
        raise UsageError(f"there is no line to '{line}'", f"lines go to {', '.join(lines)}")
    now = lines[line]
    return Setting(float(now["delay_ms"]), float(now["loss_percent"]), int(now["dropped"]))


def _ask_router(control: BoxControl, wan: Box, *words: str) -> dict[str, Any]:
    done = control.run_in(wan, ["lab-wan", *words])
    if done.exit_code:
        raise LabError(f"{wan.service} refuses: {first_line(done.output)}", "see 'lab status'")
    answer: dict[str, Any] = json.loads(done.output)
    return answer


class OnLine(BoxFault):
    """A fault of the line to a region; both ends of the line notice it."""

    kind: FaultKind

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """See how the line is, and find two boxes that hear each other over it."""
        target = super().prepare(control, target)
        now = setting(control, target.box, target.line)
        target = replace(target, before=now.words, lost_before=now.dropped)
        for near, far, address in _pairs(target):
            took_ms = ask(control, near, address)
            if took_ms is not None and took_ms < SILENCE:
                return replace(target, witness=near, far=far, reached_at=address, reached_in_ms=took_ms)
        return target

    def undo(self, target: InjectionTarget) -> Undo:
        """Set the line to what it was."""
        before = Undo(UndoAction.RETUNE, target.box.id, target.box.service, target.box.stage)
        return replace(before, setting=f"{target.line} {target.before}")

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Have the router set the line."""
        before = setting(control, target.box, target.line)
        _ask_router(control, target.box, "set", target.line, *self.changed(before, target).words.split())

    @abstractmethod
    def changed(self, before: Setting, target: InjectionTarget) -> Setting:
        """The line as the fault makes it."""


class LongLine(OnLine):
    """More distance: what goes to the region takes longer, and what comes from it does not."""

    kind = FaultKind.DELAY

    def changed(self, before: Setting, target: InjectionTarget) -> Setting:
        """On top of what there is."""
        return replace(before, delay_ms=before.delay_ms + target.blast_radius.how.delay_ms)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A box in another region hears later than before."""
        if target.witness is None or target.far is None:
            return Verification(False, f"no two boxes could hear each other over the line to {target.line} before")
        asked_ms = target.blast_radius.how.delay_ms
        now_ms = ask(control, target.witness, target.reached_at, ANSWER_S + 2 * asked_ms / 1000)
        if now_ms is None or now_ms == math.inf:
            return Verification(False, f"{target.witness.service} gets no answer from {target.far.service}")
        seen = f"{target.witness.service} hears from {target.far.service} after {now_ms:.1f} ms, before: {target.reached_in_ms:.1f} ms"
        return Verification(now_ms - target.reached_in_ms >= asked_ms * SEEN_RATIO, seen)


class LossyLine(OnLine):
    """Some of what goes to the region never arrives."""

    kind = FaultKind.LOSS

    def changed(self, before: Setting, target: InjectionTarget) -> Setting:
        """Not less than there is."""
        return replace(before, loss_percent=max(before.loss_percent, target.blast_radius.how.loss_percent))

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The router counts what it loses; should the boxes have little to say, one of them asks some questions."""
        if target.witness:
            ask_often(control, target.witness, target.reached_at)
        now = setting(control, target.box, target.line)
        lost = now.dropped - target.lost_before
        verified = lost > 0 and now.loss_percent >= target.blast_radius.how.loss_percent
        return Verification(verified, f"{lost} packets to {target.line} were lost, {now.loss_percent:g} % are asked for")


def _pairs(target: InjectionTarget) -> list[tuple[Box, Box, str]]:
    """Who can ask whom at which address over the line: from another region, a box of this one that the router reaches."""
    running = [box for box in target.blast_radius.outside if box.status == "running" and box.region]
    routed = target.box.addresses
    far = [
        (box, address) for box in running if box.region == target.line for net, address in box.addresses.items() if net in routed
    ]
    near = [box for box in running if box.region != target.line and routed.keys() & box.addresses.keys()]
    return [(asker, box, address) for box, address in far[:2] for asker in near[:2]]
