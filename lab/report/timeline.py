"""A trial along its time, as data: who failed how in each interval, who served, what the observer saw. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.checker import exposure
from lab.checker.latency import SLOW_S
from lab.model.history import Arrival, Event, TrialRecord, payloads
from lab.model.payloads import DatabasesSeen, VipSeen

BIN_S = 0.1
CLASSES_SHOWN = 3
OTHER = "other"


@dataclass(frozen=True)
class Cell:
    """The arrivals that were intended in one interval."""

    start_s: float
    good: int
    slow: int
    """Good, but later than SLOW_S."""
    failed: dict[str, int]
    """By class of failure."""

    @property
    def intended(self) -> int:
        """All of them."""
        return self.good + self.slow + sum(self.failed.values())


def failure(arrival: Arrival, deadline_s: float) -> str:
    """The class of an arrival's failure; empty for a good one. The right answer too late is `late`."""
    if arrival.is_good(deadline_s):
        return ""
    return "late" if arrival.error_class == "ok" else arrival.error_class


def cells(arrivals: Iterable[Arrival], deadline_s: float, width_s: float = BIN_S) -> tuple[Cell, ...]:
    """Every arrival in the one interval of `width_s` in which it was intended, from 0 to the last of them."""
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for arrival in arrivals:
        found[index_of(arrival.at_s, width_s)][_kind(arrival, deadline_s)] += 1
    return tuple(_cell(index * width_s, found[index]) for index in range(max(found, default=-1) + 1))


def index_of(at_s: float, width_s: float) -> int:
    """The interval that an instant is in; what was before the start counts to the first."""
    # Rounded first: 4.3 / 0.1 is a little less than 43.
    return max(int(round(at_s / width_s, 6)), 0)


GOOD, SLOW = "=good", "=slow"  # no class of failure has such a name


def _kind(arrival: Arrival, deadline_s: float) -> str:
    failed = failure(arrival, deadline_s)
    return failed or (SLOW if arrival.done_s - arrival.at_s > SLOW_S else GOOD)


def _cell(start_s: float, kinds: Counter[str]) -> Cell:
    failed = {name: number for name, number in sorted(kinds.items()) if name not in (GOOD, SLOW)}
    return Cell(round(start_s, 6), kinds[GOOD], kinds[SLOW], failed)


def totals(found: Iterable[Cell]) -> Cell:
    """All intervals as one."""
    every = list(found)
    failed: Counter[str] = Counter()
    for cell in every:
        failed.update(cell.failed)
    return Cell(0.0, sum(cell.good for cell in every), sum(cell.slow for cell in every), dict(failed.most_common()))


def shown_classes(errors: Iterable[dict[str, int]]) -> tuple[str, ...]:
    """The classes of failure that get a colour of their own, the most frequent first; the rest is `other`."""
    all_of: Counter[str] = Counter()
    for each in errors:
        all_of.update(each)
    return tuple(name for name, _ in sorted(all_of.items(), key=lambda item: (-item[1], item[0]))[:CLASSES_SHOWN])


def of_kind(arrivals: Iterable[Arrival], kind: str) -> list[Arrival]:
    """The reads, or the writes."""
    return [arrival for arrival in arrivals if arrival.kind == kind]


def length_s(record: TrialRecord) -> float:
    """From the start of the load until the last thing that was seen."""
    done = [arrival.done_s for arrival in record.arrivals]
    events = [event.at_s for event in record.events]
    return max([0.0, *done, *events])


@dataclass(frozen=True)
class Lane:
    """How many answers a box gave in each interval."""

    name: str
    counts: dict[int, int]
    """By number of the interval."""
    total: int


def lanes(arrivals: Iterable[Arrival], box_of: Callable[[Arrival], str], width_s: float) -> tuple[Lane, ...]:
    """A lane for each box that answered; none where the arrivals do not say."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for arrival in arrivals:
        name = box_of(arrival)
        if name:
            counts[name][index_of(arrival.at_s, width_s)] += 1
    return tuple(Lane(name, dict(found), found.total()) for name, found in sorted(counts.items()))


@dataclass(frozen=True)
class Span:
    """Something that was so from one instant to another; seconds on the clock of the load."""

    start_s: float
    end_s: float
    name: str
    """The box."""
    state: str


def database_spans(events: Sequence[Event], end_s: float) -> tuple[Span, ...]:
    """What each database was, as the observer saw it."""
    return _spans([(at_s, dict(seen.states)) for at_s, seen in payloads(events, DatabasesSeen)], end_s)


def address_spans(events: Sequence[Event], end_s: float) -> tuple[Span, ...]:
    """Which balancer claimed the VIP, and which one owned it."""
    return _spans([(at_s, _address_states(seen)) for at_s, seen in payloads(events, VipSeen)], end_s)


def redundancy_spans(events: Sequence[Event], end_s: float) -> tuple[Span, ...]:
    """How many failures each tier tolerated that is ever redundant."""
    found = exposure.levels(events, end_s)
    return tuple(Span(start_s, until_s, tier, tolerated(level)) for tier, start_s, until_s, level in found)


def tolerated(level: int) -> str:
    """How many more failures a tier tolerates, in words."""
    return str(level) if level else "none"


def _spans(seen: Sequence[tuple[float, Mapping[str, str]]], end_s: float) -> tuple[Span, ...]:
    views = [(max(at_s, 0.0), states) for at_s, states in sorted(seen, key=lambda view: view[0])]
    found: dict[str, list[Span]] = {}
    for (start_s, states), (until_s, _) in pairwise([*views, (end_s, {})]):
        for box, state in states.items():
            _extend(found.setdefault(box, []), Span(start_s, max(until_s, start_s), box, state))
    return tuple(span for box in sorted(found) for span in found[box] if span.end_s > span.start_s)


def _extend(before: list[Span], span: Span) -> None:
    """Add a span; one that goes on as the last did makes that longer."""
    if before and before[-1].state == span.state and before[-1].end_s >= span.start_s:
        before[-1] = Span(before[-1].start_s, span.end_s, span.name, span.state)
    else:
        before.append(span)


def _address_states(seen: VipSeen) -> dict[str, str]:
    """Balancers that claim the VIP; the one that answers there as `owner`."""
    claimants = {name: "owner" if name == seen.owner else "claims" for name in seen.claimants}
    return claimants | ({seen.owner: "owner"} if seen.owner and seen.owner not in claimants else {})
