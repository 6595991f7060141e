"""Another process at work: what brought a box back in mid-trial, from what Docker said of it. Pure.

An outage that another process ended did not end by itself. A restart policy is the system's own doing, and Docker says `start` of
both. Two things tell them apart. A policy acts only after a box has ended by itself: one that was killed, stopped or removed
through the engine (which says `kill` of it before it says `die`) stays down. And a `restart` is only ever asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.model.history import Event

EVENT = "foreign"
RETURNS = ("start", "unpause", "connect")
ACT_S = 0.05
"""Docker says so only when it is done: users may be served a moment before. An act is dated so much earlier."""
EARLY_S, LATE_S = 0.25, 0.5
"""What Docker says so long before or after an act of the lab's own may be of that act: two clocks, and a stream."""
SAME_S = 1.0
"""What is said of a box within so long is one act: a restart is a start, a connection is one for each network."""


@dataclass(frozen=True)
class Said:
    """Something that Docker said of a box; seconds on the clock of the load."""

    at_s: float
    service: str
    action: str


@dataclass(frozen=True)
class Struck:
    """A box that was broken, and since when."""

    service: str
    since_s: float
    restarts_itself: bool = False
    """It has a restart policy."""
    was_ended: bool = False
    """It had been killed or stopped through the engine before anything was heard."""


@dataclass(frozen=True)
class Act:
    """The lab did something to a box itself; from when to when, on the clock of the load."""

    service: str
    since_s: float
    until_s: float

    def may_be(self, said: Said) -> bool:
        """Whether this may be what Docker speaks of."""
        return self.service == said.service and self.since_s - EARLY_S <= said.at_s <= self.until_s + LATE_S


def returns(said: Iterable[Said], struck: Iterable[Struck], own: Sequence[Act], until_s: float) -> list[Event]:
    """Each return of a broken box before `until_s` (when the lab began to heal) that was neither the lab's doing nor the system's.

    In order of time. What is said of the same box within a second is one act.
    """
    first: dict[str, Struck] = {}
    for box in sorted(struck, key=lambda one: one.since_s):
        first.setdefault(box.service, box)
    ordered = sorted(said, key=lambda each: each.at_s)
    asked_for = [each for name, box in first.items() for each in _asked_for([one for one in ordered if one.service == name], box)]
    found: list[Said] = []
    for each in sorted(asked_for, key=lambda one: one.at_s):
        within = first[each.service].since_s < each.at_s < until_s
        again = any(one.service == each.service and each.at_s - one.at_s < SAME_S for one in found)
        if within and not again and not any(act.may_be(each) for act in own):
            found.append(each)
    return [_event(each, first) for each in found]


def _event(said: Said, struck: Mapping[str, Struck]) -> Event:
    at_s = max(said.at_s - ACT_S, struck[said.service].since_s, 0.0)
    return Event(round(at_s, 6), EVENT, f"{said.service}: {said.action}, not by this run")


def _asked_for(said: Sequence[Said], box: Struck) -> list[Said]:
    """The returns of one box that the engine was asked for, by the lab or by another process."""
    found: list[Said] = []
    is_down = ended = box.was_ended
    by_policy: Said | None = None
    for each in said:
        if each.action == "kill":
            ended = True
        elif each.action == "die":
            is_down = True
        elif each.action == "start":
            by_policy = each if box.restarts_itself and not ended else None
            found += [] if by_policy else [each]
            is_down = ended = False
        elif each.action == "restart" and by_policy:
            found.append(by_policy)
        elif each.action == "unpause" or (each.action == "connect" and not is_down):  # a box that starts is connected, too
            found.append(each)
    return found
