"""Arrivals in bins of time, for drawing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.checker.latency import SLOW_S
from lab.model.history import Arrival


@dataclass(frozen=True)
class Bin:
    """The arrivals that were intended in one interval."""

    start_s: float
    good: int
    slow: int
    """Good, but later than SLOW_S."""
    bad: int


def bins(arrivals: Sequence[Arrival], deadline_s: float, width_s: float = 0.1) -> tuple[Bin, ...]:
    """The run in intervals of `width_s` by intended time, from 0 to the last arrival."""
    cells: dict[int, list[Arrival]] = {}
    for arrival in arrivals:
        # Rounded first: 4.3 / 0.1 is a little less than 43.
        cells.setdefault(int(round(arrival.at_s / width_s, 6)), []).append(arrival)
    return tuple(_bin(index * width_s, cells.get(index, []), deadline_s) for index in range(max(cells, default=-1) + 1))


def _bin(start_s: float, arrivals: Sequence[Arrival], deadline_s: float) -> Bin:
    good = [arrival for arrival in arrivals if arrival.is_good(deadline_s)]
    slow = sum(arrival.done_s - arrival.at_s > SLOW_S for arrival in good)
    return Bin(round(start_s, 6), len(good) - slow, slow, len(arrivals) - len(good))
