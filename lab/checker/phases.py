"""From the events of a trial to its instants and phases. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from lab.model.history import Alert, Event, payloads
from lab.model.payloads import AlertNotice, DatabasesSeen, VipSeen
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


def seconds_without_and_with_several(
    counts: Sequence[tuple[float, int]], stopped_at_s: float | None
) -> tuple[float, float] | None:
    """Seconds with none, and with two or more, of what was counted from each instant on; None where nothing was.

    From the first count (or the start of the load) to the end of the load; a count holds until the next.
    """
    if not counts or stopped_at_s is None:
        return None
    spans = pairwise([*counts, (stopped_at_s, 0)])
    lasting = [(max(min(end, stopped_at_s) - max(start, 0.0), 0.0), count) for (start, count), (end, _) in spans]
    return sum(length for length, count in lasting if count == 0), sum(length for length, count in lasting if count > 1)


def writable_seconds(events: Sequence[Event], stopped_at_s: float | None) -> dict[str, float]:
    """Seconds with no database that accepts writes (no_writer_s), and with several (multiple_writers_s); empty if not observed."""
    counts = [(at_s, len(seen.primaries)) for at_s, seen in payloads(events, DatabasesSeen)]
    found = seconds_without_and_with_several(counts, stopped_at_s)
    return {"no_writer_s": found[0], "multiple_writers_s": found[1]} if found else {}


def owner_seconds(events: Sequence[Event], stopped_at_s: float | None) -> dict[str, float]:
    """Seconds with no balancer that claims the VIP (no_owner_s), and with several (multiple_owners_s); empty if not observed."""
    counts = [(at_s, len(seen.claimants)) for at_s, seen in payloads(events, VipSeen)]
    found = seconds_without_and_with_several(counts, stopped_at_s)
    return {"no_owner_s": found[0], "multiple_owners_s": found[1]} if found else {}


def taken_over_at(events: Sequence[Event], since_s: float) -> float | None:
    """When the observer first saw another database accept writes, or another balancer answer, than before `since_s`."""
    primaries = [(at_s, next(iter(seen.primaries), "")) for at_s, seen in payloads(events, DatabasesSeen)]
    owners = [(at_s, seen.owner) for at_s, seen in payloads(events, VipSeen)]
    found = [_changed_at(views, since_s) for views in (primaries, owners)]
    return min((at_s for at_s in found if at_s is not None), default=None)


def _changed_at(views: Sequence[tuple[float, str]], since_s: float) -> float | None:
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
EVIDENCE = ("detect", "elect", "reroute", "alert")


def phases(events: Sequence[Event], outages: Sequence[Outage]) -> dict[str, float]:
    """The instants of a trial, seconds on the clock of the load. `outages` are those of the service, not cut by any healing.

    inject_s: the fault was asked for; verified_s: proof of that; impact_s: the first bad arrival that the
    fault can have caused was intended; detect_s: a part of the system noticed; elect_s: it chose who takes
    over; reroute_s: the observer saw another take over (or a balancer left a box out); recover_s: users were
    served again, reads and writes (also where the lab had to heal for that); alert_s: the first alert was delivered;
    repair_s: a policy began to bring back a lost box; heal_s: the lab began to heal; redundancy_restored_s: every
    box was healthy again and nothing missing to survive the next fault (the last time, where that was so more than
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
    seen = [(event.at_s, event.name, event.data) for event in ordered if isinstance(event.data, AlertNotice)]
    over = [(at_s, notice) for at_s, name, notice in seen if name == "resolved"]
    return tuple(
        Alert(notice.alert, notice.words, at_s, next((end_s for end_s, each in over if end_s >= at_s and each == notice), None))
        for at_s, name, notice in seen
        if name == "alert" and at_s >= since_s
    )
