"""Since when nothing was missing: not when the lab looked, but the earliest instant that all that was seen allows. Pure.

When the lab looks, every box that was broken is healthy, users are served and the observer sees nothing missing. That was so earlier:
since the latest of the instants at which each part of it came true for good. A part that is not known to have been so
earlier counts from the look. How many failures each tier survives the lab does not ask when it looks: that may come back only after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.checker.exposure import RedundancySample
from lab.checker.foreign_actions import RETURNS, Said
from lab.model.fault import OF_A_DISK, OF_WEB_BOXES, FaultKind
from lab.model.history import Arrival

HEALTHY = "health_status: healthy"
TAKEN_BACK = (
    *(FaultKind.ISOLATE, FaultKind.PARTITION, FaultKind.DELAY, FaultKind.LOSS, FaultKind.BANDWIDTH),
    *(FaultKind.HANG, FaultKind.READONLY, FaultKind.CPU, FaultKind.MEMORY, FaultKind.CLOCK),
    *OF_WEB_BOXES,
    *OF_A_DISK,
)
"""Docker says nothing of their end. The lab takes them back, or a new box is without."""


@dataclass(frozen=True)
class Broken:
    """A box that was broken."""

    service: str
    fault: FaultKind
    since_s: float
    is_checked: bool = False
    """Whether it is healthy only when Docker's health check says so: a foreign box, of which nothing better is known."""


@dataclass(frozen=True)
class Seen:
    """All that was seen of a trial; seconds on the clock of the load."""

    looked_s: float
    """When the lab looked and found nothing missing."""
    broken: Sequence[Broken]
    said: Sequence[Said]
    healed_s: float | None
    """When the lab, or its operator, began to take the faults back."""
    arrivals: Sequence[Arrival]
    deadline_s: float
    views: Sequence[tuple[float, bool]] | None
    """From when on the observer saw nothing missing (or something); None where there is nothing to be seen."""
    samples: Sequence[RedundancySample] | None
    """How many failures each tier survived; None where that was not observed."""
    calm_s: float | None
    """An instant of calm times: the redundancy of then is full redundancy. None: that at the look is."""


def restored_s(seen: Seen) -> float:
    """When redundancy was restored; when the lab looked, where a part of it is not known to have been so earlier."""
    parts = [served_s(seen.arrivals, seen.deadline_s, seen.looked_s), *(_back_s(box, seen) for box in seen.broken)]
    if seen.views is not None:
        parts.append(_lasting_since(seen.views, seen.looked_s))
    known = [part for part in parts if part is not None]
    found = seen.looked_s if len(known) < len(parts) else min(max(known, default=seen.looked_s), seen.looked_s)
    if seen.samples is None:
        return found
    back = _complete_since(seen)
    return seen.looked_s if back is None else max(found, back)


def is_short(seen: Seen) -> bool:
    """Whether some tier is known to have survived fewer failures than in calm times, from the look to the end of the observation."""
    return bool(_complete(seen.samples or (), seen)) and _complete_since(seen) is None


def _complete_since(seen: Seen) -> float | None:
    """Since when every tier has had full redundancy: as of the look; where it had not then, as of the end."""
    states = _complete(seen.samples or (), seen)
    since = _lasting_since(states, seen.looked_s)
    return _lasting_since(states, math.inf) if since is None else since


def _lasting_since(states: Iterable[tuple[float, bool]], until_s: float) -> float | None:
    """Since when it has been so without a break; None where it is not so at `until_s`, or nothing is known by then."""
    since: float | None = None
    for at_s, holds in sorted(state for state in states if state[0] <= until_s):
        since = (at_s if since is None else since) if holds else None
    return since


def served_s(arrivals: Iterable[Arrival], deadline_s: float, until_s: float) -> float | None:
    """Since when users have been served: each kind of request by itself. None where a kind has not been answered since it failed."""
    every = [arrival for arrival in arrivals if arrival.at_s <= until_s]
    since = 0.0
    for kind in {arrival.kind for arrival in every}:
        own = [arrival for arrival in every if arrival.kind == kind]
        last_bad_s = max((arrival.at_s for arrival in own if not arrival.is_good(deadline_s)), default=None)
        if last_bad_s is None:
            continue
        again_s = min((arrival.done_s for arrival in own if arrival.at_s > last_bad_s), default=None)
        if again_s is None:
            return None
        since = max(since, again_s)
    return since


def _complete(samples: Sequence[RedundancySample], seen: Seen) -> list[tuple[float, bool]]:
    """At each change, whether every tier had full redundancy, and no box was idle that worked in calm times."""
    known = [sample for sample in samples if sample.at_s <= (seen.looked_s if seen.calm_s is None else seen.calm_s)]
    if not known:
        return []
    calm = known[-1]
    return [(each.at_s, _has_all(each, calm)) for each in samples]


def _has_all(now: RedundancySample, calm: RedundancySample) -> bool:
    return all(now.failures_tolerated.get(tier, 0) >= margin for tier, margin in calm.failures_tolerated.items()) and set(
        now.idle
    ) <= set(calm.idle)


def _back_s(box: Broken, seen: Seen) -> float | None:
    """When a box was brought back, by whomever; None where that is not known."""
    own = [each for each in seen.said if each.service == box.service and box.since_s < each.at_s <= seen.looked_s]
    back = [each.at_s for each in own if each.action in RETURNS]
    if box.fault in TAKEN_BACK and seen.healed_s is not None:
        return seen.healed_s
    if not back:
        # Under a supervisor a crash ends a process and no box: requests and redundancy show when it was back.
        is_up = box.fault is FaultKind.CRASH and not any(each.action == "die" for each in own)
        return box.since_s if is_up else None
    if not box.is_checked:
        return max(back)
    return min((each.at_s for each in own if each.action == HEALTHY and each.at_s >= max(back)), default=None)
