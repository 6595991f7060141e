"""Several faults in a row: what each did by itself, and what that says about redundancy. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lab.model.history import Event, payloads
from lab.model.payloads import RedundancyCheck
from lab.model.result import FaultImpact, Outage, longest_s


def fault_impacts(events: Sequence[Event], outages: Sequence[Outage]) -> tuple[FaultImpact, ...]:
    """The faults of a trial one by one; nothing where there was only one.

    An outage belongs to the last fault that was asked for before it ended and at or before which it began; one that was
    still open when the next fault came belongs to both, cut at that instant.
    """
    ordered = sorted(events, key=lambda event: event.at_s)
    struck = [event for event in ordered if event.name == "inject"]
    if len(struck) < 2:
        return ()
    looks = payloads(ordered, RedundancyCheck)
    ends = [*(event.at_s for event in struck[1:]), float("inf")]
    return tuple(
        _fault_impact(event, until_s, before, looks, outages)
        for event, until_s, before in zip(struck, ends, [None, *struck[:-1]], strict=True)
    )


def _fault_impact(
    event: Event, until_s: float, before: Event | None, looks: Sequence[tuple[float, RedundancyCheck]], outages: Sequence[Outage]
) -> FaultImpact:
    own = [_within(each, event.at_s, until_s, before is None) for each in outages]
    found = [each for each in own if each]
    seen = [look.restored for at_s, look in looks if before and before.at_s < at_s <= event.at_s]
    return FaultImpact(
        at_s=event.at_s,
        what=event.detail,
        redundant_before=seen[-1] if seen else None,
        downtime_s=longest_s(found),
        # One that the next fault cut may have become the longest.
        censored=any(each.censored for each in found),
    )


def _within(outage: Outage, since_s: float, until_s: float, first: bool) -> Outage | None:
    """The part of an outage in a stretch. What was broken off by the first fault had been intended a moment before it."""
    start_s = outage.start_s if first else max(outage.start_s, since_s)
    end_s = min(outage.end_s, until_s)
    if end_s <= max(start_s, since_s):
        return None
    return Outage(start_s, end_s, outage.censored or end_s < outage.end_s)


def explain(found: Sequence[FaultImpact], tolerance_s: float) -> list[str]:
    """A line for each fault: what it cost, and whether redundancy had been restored before it."""
    return [_line(number, impact, tolerance_s) for number, impact in enumerate(found, 1)]


def _line(number: int, impact: FaultImpact, tolerance_s: float) -> str:
    redundancy = {None: "", True: ", after redundancy was restored", False: ", before redundancy was restored"}[
        impact.redundant_before
    ]
    outage = (
        f"longest outage {'≥ ' if impact.censored else ''}{impact.downtime_s:.2f} s" if impact.downtime_s else "no user noticed"
    )
    fate = "survived" if impact.downtime_s <= tolerance_s else "an outage"
    if impact.censored and impact.downtime_s <= tolerance_s:
        fate = "not known: the next fault came"
    return f"fault {number} ({impact.what}{redundancy}): {outage}: {fate}"
