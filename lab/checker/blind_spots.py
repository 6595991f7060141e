"""How well a trial was observed: for how long the observer said nothing, and how well this host's clock was known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.model.history import Event, payloads
from lab.model.payloads import ClockError, ObserverGap

GAP_EVENT, CLOCK_EVENT = "observer-gap", "clock"
GAP_LIMIT_S = 1.5
"""It says something four times a second. What happened in a longer silence is not known."""
CLOCK_LIMIT_MS = 50.0
"""By how much the instants that this host noted (the fault, the healing) may be off."""


@dataclass(frozen=True)
class Word:
    """That the observer said something."""

    clock_ns: int
    """When, on its own clock, which is that of the load."""
    heard_at: float
    """When it arrived: monotonic seconds of this host."""


@dataclass(frozen=True)
class BlindSpot:
    """A stretch in which the observer said nothing; seconds on the clock of the load."""

    start_s: float
    length_s: float


def gaps(words: Sequence[Word], start_ns: int, stop_s: float) -> list[BlindSpot]:
    """The stretches between the observer's words while a load ran, which started at `start_ns` and was stopped `stop_s` later."""
    said_s = sorted((word.clock_ns - start_ns) / 1e9 for word in words)
    first_s = max((at_s for at_s in said_s if at_s <= 0), default=0.0)
    points = [first_s, *(at_s for at_s in said_s if 0 < at_s < stop_s), stop_s]
    return [BlindSpot(round(start, 6), round(end - start, 6)) for start, end in pairwise(points)]


def arrival_gap_s(words: Sequence[Word]) -> float:
    """The longest time between the arrivals of two words, in seconds; 0 where there were no two."""
    return max((after.heard_at - before.heard_at for before, after in pairwise(words)), default=0.0)


def as_events(found: Sequence[BlindSpot], arrived_s: float) -> list[Event]:
    """The largest gap as it stands in the journal, and beside it every other that is too long."""
    if not found:
        return []
    largest = max(found, key=lambda gap: gap.length_s)
    others = [gap for gap in found if gap is not largest and gap.length_s > GAP_LIMIT_S]
    return [_event(largest, round(arrived_s, 6)), *(_event(gap) for gap in others)]


def _event(gap: BlindSpot, arrived_s: float | None = None) -> Event:
    words = f"the observer said nothing for {gap.length_s:.3f} s"
    return Event(gap.start_s, GAP_EVENT, words, ObserverGap(gap.length_s, arrived_s))


def blind_spots(events: Iterable[Event]) -> tuple[BlindSpot, ...]:
    """The gaps in which the observer could have missed something, in order of time."""
    found = (BlindSpot(at_s, gap.length_s) for at_s, gap in payloads(events, ObserverGap))
    return tuple(sorted((gap for gap in found if gap.length_s > GAP_LIMIT_S), key=lambda gap: gap.start_s))


def clock_error_ms(events: Iterable[Event]) -> float | None:
    """By how much the instants of a trial that this host noted may be off, as it says itself last; None where it does not."""
    found = payloads(events, ClockError)
    return found[-1][1].error_ms if found else None


def reasons(events: Sequence[Event]) -> list[str]:
    """Why what was observed is not enough to say what happened; nothing where it is."""
    found = []
    if blind := blind_spots(events):
        longest = max(blind, key=lambda gap: gap.length_s)
        found.append(f"the observer saw nothing for {longest.length_s:.1f} s (at {longest.start_s:.1f} s)")
    error_ms = clock_error_ms(events)
    if error_ms is not None and error_ms > CLOCK_LIMIT_MS:
        found.append(f"this host's clock is known only to {error_ms:.0f} ms on the load's, limit {CLOCK_LIMIT_MS:.0f} ms")
    return found
