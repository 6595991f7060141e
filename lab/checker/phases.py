"""From the events of a trial to its instants and phases. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from lab.model.history import Alert, Event
from lab.model.result import Outage

CUTS = ("heal", "foreign")
"""What ends an outage that did not end by itself: the lab, or a hand that is not the lab's."""


def event_at(events: Iterable[Event], name: str) -> float | None:
    """When the first event of that name happened."""
    return next((event.at_s for event in events if event.name == name), None)


def last_event_at(events: Iterable[Event], name: str) -> float | None:
    """When the last event of that name happened."""
    return max((event.at_s for event in events if event.name == name), default=None)


def cuts(events: Iterable[Event]) -> tuple[float, ...]:
    """The instants at which an outage that is still open is ended from outside: how long it would have lasted is unknown."""
    return tuple(sorted(event.at_s for event in events if event.name in CUTS))


def fault_span(events: Sequence[Event]) -> tuple[float, float] | None:
    """From the (first) fault until the lab began to heal, or until the load ended; None where there was no fault."""
    since_s = event_at(events, "inject")
    until_s = event_at(events, "heal")
    until_s = event_at(events, "stop") if until_s is None else until_s
    return (since_s, until_s) if since_s is not None and until_s is not None else None


def writable_databases(view: str) -> int:
    """How many databases accept writes in what the observer saw ("db1=primary db2=standby spare=1")."""
    return view.count("=primary")


def holders(view: str) -> int:
    """How many balancers say that they hold the address in what the observer saw ("holders=lb1 wire=lb1")."""
    return len(_field(view, "claimants").split(",")) if _field(view, "claimants") else 0


def _field(view: str, name: str) -> str:
    fields = dict(each.split("=", 1) for each in view.split())
    return fields.get(name, "")


def counted_seconds(
    events: Sequence[Event], name: str, count: Callable[[str], int], stopped_at_s: float | None
) -> dict[str, float]:
    """Seconds with none and with two or more of what `count` finds in the observer's sights of that name; empty without any.

    From the observer's first word (or the start of the load) to the end of the load; a sight holds until the next.
    """
    views = [(event.at_s, count(event.detail)) for event in events if event.name == name]
    if not views or stopped_at_s is None:
        return {}
    spans = pairwise([*views, (stopped_at_s, 0)])
    lasting = [(max(min(end, stopped_at_s) - max(start, 0.0), 0.0), found) for (start, found), (end, _) in spans]
    return {
        "none_s": sum(length for length, found in lasting if found == 0),
        "multiple_s": sum(length for length, found in lasting if found > 1),
    }


def taken_over_at(events: Sequence[Event], since_s: float) -> float | None:
    """When the observer first saw another database accept writes, or another balancer answer, than before `since_s`."""
    found = [_changed_at(events, name, what, since_s) for name, what in (("databases", _primary), ("vip", _vip_owner))]
    return min((at_s for at_s in found if at_s is not None), default=None)


def _primary(view: str) -> str:
    return next((each.removesuffix("=primary") for each in view.split() if each.endswith("=primary")), "")


def _vip_owner(view: str) -> str:
    return _field(view, "owner")


def _changed_at(events: Sequence[Event], name: str, what: Callable[[str], str], since_s: float) -> float | None:
    views = [(event.at_s, what(event.detail)) for event in events if event.name == name]
    before = [found for at_s, found in views if at_s <= since_s and found]
    if not before:
        return None
    return next((at_s for at_s, found in views if at_s > since_s and found and found != before[-1]), None)


PHASE_OF_EVENT = {
    "inject": "inject_s",
    "fault-verified": "verified_s",
    "operator": "operator_s",
    "promoted": "promoted_s",
    "repair": "repair_s",
    "heal": "heal_s",
}
# In what the monitoring box says: "watch: alert firing (message 3): ServiceDown page kind=read: no read has been served ...".
ALERT_WORDS = re.compile(r"(?<=\): )(\w+) (.*)")
EVIDENCE = ("detect", "elect", "reroute", "alert")


def phases(events: Sequence[Event], outages: Sequence[Outage]) -> dict[str, float]:
    """The instants of a trial, seconds on the clock of the load. `outages` are those of the service, not cut by any healing.

    inject_s: the fault was asked for; bite_s: proof that it bit; impact_s: the first bad arrival that the
    fault can have caused was intended; detect_s: a part of the system noticed; elect_s: it chose who takes
    over; reroute_s: the observer saw another take over (or a balancer left a box out); recover_s: users were
    served again, reads and writes (also where the lab had to heal for that); alert_s: the first alert was delivered;
    repair_s: a policy began to bring back a lost box; heal_s: the lab began to heal; redundant_s: every
    box was well again and nothing missing to survive the next fault (the last time, where that was so more than
    once). Phases that did not happen are left out.
    """
    found = {phase: at_s for name, phase in PHASE_OF_EVENT.items() if (at_s := event_at(events, name)) is not None}
    whole_s = last_event_at(events, "recovered")
    found |= {"redundancy_restored_s": whole_s} if whole_s is not None else {}
    if "inject_s" in found:
        found |= _impact(outages, found["inject_s"])
        found |= _evidence(events, found["inject_s"], found.get("heal_s", math.inf))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def without_redundancy_s(instants: Mapping[str, float], outages: Sequence[Outage]) -> float | None:
    """How long users were served while something was missing; a failure late in the trial makes it no shorter than that took."""
    since_s, until_s = instants.get("inject_s"), instants.get("redundancy_restored_s")
    if since_s is None or until_s is None or any(each.censored and each.start_s < until_s for each in outages):
        return None
    down = (max(min(each.end_s, until_s) - max(each.start_s, since_s), 0.0) for each in outages)
    return max(until_s - since_s - sum(down), 0.0)


def _impact(outages: Sequence[Outage], injected_at_s: float) -> dict[str, float]:
    after = [outage for outage in outages if outage.end_s >= injected_at_s]
    if not after:
        return {}
    return {"impact_s": after[0].start_s} | ({} if after[-1].censored else {"recover_s": after[-1].end_s})


def _evidence(events: Sequence[Event], since_s: float, until_s: float) -> dict[str, float]:
    """What the system did by itself: what came only after the lab had healed is no evidence of that."""
    during = [event for event in events if since_s <= event.at_s < until_s]
    found = {f"{name}_s": at_s for name in EVIDENCE if (at_s := event_at(during, name)) is not None}
    taken_over_s = taken_over_at(events, since_s)
    if taken_over_s is not None and taken_over_s < until_s:
        found["reroute_s"] = taken_over_s
    return found


def alerts(events: Sequence[Event]) -> tuple[Alert, ...]:
    """The alerts that were delivered since the fault (since the load began, where there was none), in order."""
    ordered = sorted(events, key=lambda event: event.at_s)
    since_s = event_at(ordered, "inject") or 0.0
    found = [(event, ALERT_WORDS.search(event.detail)) for event in ordered if event.name == "alert" and event.at_s >= since_s]
    return tuple(Alert(match[1], match[2], event.at_s, _resolved_at(ordered, event, match[0])) for event, match in found if match)


def _resolved_at(events: Iterable[Event], fired: Event, words: str) -> float | None:
    """When an alert was said to be over, in the same words as it was told."""
    return next(
        (each.at_s for each in events if each.name == "resolved" and each.at_s >= fired.at_s and words in each.detail), None
    )
