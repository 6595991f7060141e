"""Faults of the distance between regions: a line that takes longer, or loses packets. Told to the router, the box `wan`."""

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
        """What to tell the router, to have it so."""
        return f"delay={self.delay_ms:g}ms loss={self.loss_percent:g}%"


def setting(control: BoxControl, wan: Box, line: str) -> Setting:
    """A line as it is now. Raises UsageError where the router has no such line, LabError where it does not answer."""
    lines = _told(control, wan, "show")["lines"]
    if line not in lines:
        raise UsageError(f"there is no line to '{line}'", f"lines go to {', '.join(lines)}")
    now = lines[line]
    return Setting(float(now["delay_ms"]), float(now["loss_percent"]), int(now["dropped"]))


def _told(control: BoxControl, wan: Box, *words: str) -> dict[str, Any]:
    done = control.run_in(wan, ["lab-wan", *words])
    if done.exit_code:
        raise LabError(f"{wan.service} refuses: {first_line(done.output)}", "see 'lab status'")
    answer: dict[str, Any] = json.loads(done.output)
    return answer


class OnLine(BoxFault):
    """A fault of the line to a region; both ends of the line notice it."""

    kind: FaultKind

    def prepare(self, control: BoxControl, victim: InjectionTarget) -> InjectionTarget:
        """See how the line is, and find two boxes that hear each other over it."""
        victim = super().prepare(control, victim)
        now = setting(control, victim.box, victim.line)
        victim = replace(victim, before=now.words, lost_before=now.dropped)
        for near, far, address in _pairs(victim):
            took_ms = ask(control, near, address)
            if took_ms is not None and took_ms < SILENCE:
                return replace(victim, witness=near, far=far, reached_at=address, reached_in_ms=took_ms)
        return victim

    def undo(self, victim: InjectionTarget) -> Undo:
        """Tell the router what it was told before."""
        before = Undo(UndoAction.RETUNE, victim.box.id, victim.box.service, victim.box.stage)
        return replace(before, setting=f"{victim.line} {victim.before}")

    def inject(self, control: BoxControl, victim: InjectionTarget) -> None:
        """Tell the router."""
        before = setting(control, victim.box, victim.line)
        _told(control, victim.box, "set", victim.line, *self.changed(before, victim).words.split())

    @abstractmethod
    def changed(self, before: Setting, victim: InjectionTarget) -> Setting:
        """The line as the fault makes it."""


class LongLine(OnLine):
    """More distance: what goes to the region takes longer, and what comes from it does not."""

    kind = FaultKind.DELAY

    def changed(self, before: Setting, victim: InjectionTarget) -> Setting:
        """On top of what there is."""
        return replace(before, delay_ms=before.delay_ms + victim.blast_radius.how.delay_ms)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """A box in another region hears later than before."""
        if victim.witness is None or victim.far is None:
            return Verification(False, f"no two boxes could hear each other over the line to {victim.line} before")
        asked_ms = victim.blast_radius.how.delay_ms
        now_ms = ask(control, victim.witness, victim.reached_at, ANSWER_S + 2 * asked_ms / 1000)
        if now_ms is None or now_ms == math.inf:
            return Verification(False, f"{victim.witness.service} gets no answer from {victim.far.service}")
        seen = f"{victim.witness.service} hears from {victim.far.service} after {now_ms:.1f} ms, before: {victim.reached_in_ms:.1f} ms"
        return Verification(now_ms - victim.reached_in_ms >= asked_ms * SEEN_RATIO, seen)


class LossyLine(OnLine):
    """Some of what goes to the region never arrives."""

    kind = FaultKind.LOSS

    def changed(self, before: Setting, victim: InjectionTarget) -> Setting:
        """Not less than there is."""
        return replace(before, loss_percent=max(before.loss_percent, victim.blast_radius.how.loss_percent))

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """The router counts what it loses; should the boxes have little to say, one of them asks some questions."""
        if victim.witness:
            ask_often(control, victim.witness, victim.reached_at)
        now = setting(control, victim.box, victim.line)
        lost = now.dropped - victim.lost_before
        verified = lost > 0 and now.loss_percent >= victim.blast_radius.how.loss_percent
        return Verification(verified, f"{lost} packets to {victim.line} were lost, {now.loss_percent:g} % are asked for")


def _pairs(victim: InjectionTarget) -> list[tuple[Box, Box, str]]:
    """Who can ask whom at which address over the line: from another region, a box of this one that the router reaches."""
    running = [box for box in victim.blast_radius.outside if box.status == "running" and box.region]
    routed = victim.box.addresses
    far = [
        (box, address) for box in running if box.region == victim.line for net, address in box.addresses.items() if net in routed
    ]
    near = [box for box in running if box.region != victim.line and routed.keys() & box.addresses.keys()]
    return [(asker, box, address) for box, address in far[:2] for asker in near[:2]]
