"""Quantiles of how long answers took. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lab.model.history import Arrival

SLOW_S = 0.25


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value with at least q of all values at or below it (nearest rank); 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(max(math.ceil(q * len(ordered)) - 1, 0), len(ordered) - 1)]


def latencies(arrivals: Iterable[Arrival], deadline_s: float) -> dict[str, float]:
    """Median, 99th percentile and maximum over the good arrivals, and the longest of all, in milliseconds."""
    every = list(arrivals)
    good_ms = _good_ms(every, deadline_s)
    longest_ms = max(((arrival.done_s - arrival.at_s) * 1000 for arrival in every), default=0.0)
    return {
        "p50": quantile(good_ms, 0.5),
        "p99": quantile(good_ms, 0.99),
        "max": max(good_ms, default=0.0),
        "longest": longest_ms,
    }


def _good_ms(arrivals: Iterable[Arrival], deadline_s: float) -> tuple[float, ...]:
    return tuple((arrival.done_s - arrival.at_s) * 1000 for arrival in arrivals if arrival.is_good(deadline_s))


def _answered_before(arrivals: Iterable[Arrival], at_s: float | None) -> list[Arrival]:
    """Those that had their answer by then; all where that is no instant."""
    return [arrival for arrival in arrivals if at_s is None or arrival.done_s <= at_s]
