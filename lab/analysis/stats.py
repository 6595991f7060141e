"""Two samples of downtimes: is one longer, by how much, and can that be said at all? Pure.

The trial is the unit. Nothing is assumed of how downtimes are distributed: many are exactly 0, some are lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import median

from lab.analysis.summary import CONFIDENCE

TRIALS_MIN = 5
EXACT_MAX = 60
"""Trials of both samples together up to which probabilities are counted; beyond, the normal approximation is as good."""
CHANCE_MAX = 0.05
"""How likely chance may be as a reason for what is still called a change."""
SHIFT_MIN_S = 0.1
"""A smaller shift is not called a change: an observer looks ten times a second, and a busy neighbour does as much."""


@dataclass(frozen=True)
class Downtime:
    """What one trial measured."""

    seconds: float
    censored: bool = False
    """It was healed before it ended: a lower bound."""


@dataclass(frozen=True)
class Shift:
    """By how much the second of two samples is longer than the first (negative: shorter). Seconds."""

    estimate_s: float
    """Hodges and Lehmann's: the median of all differences between a trial of one and a trial of the other."""
    low_s: float
    high_s: float
    coverage_ratio: float
    """The probability with which such an interval covers the shift."""
    p_value: float
    """Two-sided; the probability of a difference at least this large where there is none."""
    censored: bool
    """Some downtimes are lower bounds, so the interval is of what was seen; the p-value takes account of it."""
    bound: str = ""
    """How the size of the true shift stands to that of the estimate: "at least", "at most", "about" (either), "" for equal."""


class Change(StrEnum):
    """What can be said of a second sample against a first."""

    LONGER = "longer"
    SHORTER = "shorter"
    NONE = "no change"
    TOO_FEW = "too few trials to say"


def shift(first: Sequence[Downtime], second: Sequence[Downtime]) -> Shift | None:
    """The shift from the first sample to the second; None where there are too few trials to say."""
    if min(len(first), len(second)) < TRIALS_MIN:
        return None
    differences = sorted(b.seconds - a.seconds for a in first for b in second)
    interval = _interval(differences, len(first), len(second))
    if interval is None:
        return None
    low, high, coverage = interval
    censored = any(each.censored for each in (*first, *second))
    estimate_s = median(differences)
    bound = _bound(first, second, estimate_s) if censored else ""
    return Shift(estimate_s, low, high, coverage, p_value(first, second), censored, bound)


def _bound(first: Sequence[Downtime], second: Sequence[Downtime], estimate_s: float) -> str:
    """A lower bound in the second sample may make the shift larger, one in the first smaller, if it is large enough to matter."""
    at_least_s = median(b.seconds - _at_most_s(a) for a in first for b in second)
    at_most_s = median(_at_most_s(b) - a.seconds for a in first for b in second)
    # Half of infinity and a number is infinite; half of two infinities of unlike sign, not a number, and so not equal.
    smaller, larger = at_least_s != estimate_s, at_most_s != estimate_s
    if estimate_s < 0:
        smaller, larger = larger, smaller
    return {(False, False): "", (False, True): "at least", (True, False): "at most"}.get((smaller, larger), "about")


def _at_most_s(one: Downtime) -> float:
    return math.inf if one.censored else one.seconds


def decide(found: Shift | None, p_adjusted: float, shift_min_s: float = SHIFT_MIN_S) -> Change:
    """What a shift is called: a change only where chance is an unlikely reason and users would notice."""
    if found is None:
        return Change.TOO_FEW
    if p_adjusted >= CHANCE_MAX or abs(found.estimate_s) < shift_min_s:
        return Change.NONE
    return Change.LONGER if found.estimate_s > 0 else Change.SHORTER


def p_value(first: Sequence[Downtime], second: Sequence[Downtime]) -> float:
    """Mann and Whitney's test, two-sided, ties and lower bounds included.

    Each trial scores how many of the others it surely outlasted, less how many surely outlasted it (Gehan 1965; without
    lower bounds these are the ranks, doubled and centred). The first sample's sum is held against that of every way in
    which the same scores could have fallen to it, counted, not approximated, up to EXACT_MAX trials.
    """
    every = [*first, *second]
    scores = [sum(_outlasts(one, other) - _outlasts(other, one) for other in every) for one in every]
    observed = abs(sum(scores[: len(first)]))
    if not any(scores):
        return 1.0
    if len(every) > EXACT_MAX:
        return _approximate(scores, len(first), observed)
    ways = _ways(tuple(sorted(scores)), len(first))
    extreme = sum(count for total, count in ways.items() if abs(total) >= observed)
    return extreme / math.comb(len(every), len(first))


def attainable_p(first: int, second: int) -> float:
    """The least p-value that samples of these sizes can have."""
    return min(2 / math.comb(first + second, first), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values for a question asked many times at once: so that one false alarm in all is unlikely (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(p_values[index] * (len(p_values) - place), 1.0))
        adjusted[index] = largest
    return adjusted


def loss_upper_bound(trials: int) -> float:
    """How large, at most, the share of trials that lose something may be, where none of so many did (95 %, one-sided).

    Exact: with a share p, none of n trials loses anything with the probability (1 - p) ** n; the bound is the p for which that is
    5 %. No trial bounds nothing: 1. Raises ValueError for a negative number.
    """
    if trials < 0:
        raise ValueError(f"{trials} trials are none")
    return 1 - (1 - CONFIDENCE) ** (1 / trials) if trials else 1.0


def _outlasts(one: Downtime, other: Downtime) -> bool:
    """Whether one was surely longer. Of one that was healed at 4 s and one that ended after 5 s that is unknown."""
    if other.censored:
        return False
    return one.seconds >= other.seconds if one.censored else one.seconds > other.seconds


@cache
def _ways(scores: tuple[int, ...], chosen: int) -> dict[int, int]:
    """For each sum, in how many ways so many of the scores have it.

    The counts for each number of chosen scores are the coefficients of a polynomial, held in one long integer with a
    field of `width` bits a coefficient: to choose a score is a shift, to have either is a sum.
    """
    lowest, width = min(scores), len(scores) + 1
    tables = [1] + [0] * chosen
    for score in scores:
        for taken in range(chosen, 0, -1):
            tables[taken] += tables[taken - 1] << (width * (score - lowest))
    packed, mask, found, total = tables[chosen], (1 << width) - 1, {}, chosen * lowest
    while packed:
        if packed & mask:
            found[total] = packed & mask
        packed >>= width
        total += 1
    return found


def _approximate(scores: Sequence[int], chosen: int, observed: int) -> float:
    """The normal approximation, with the variance that these scores have (so ties need no correction)."""
    count = len(scores)
    variance = chosen * (count - chosen) / (count * (count - 1)) * sum(score * score for score in scores)
    # Ranks that are doubled go in steps of 2; half a step for continuity.
    return math.erfc(max(observed - 1, 0) / math.sqrt(2 * variance))


def _interval(differences: Sequence[float], first: int, second: int) -> tuple[float, float, float] | None:
    """The narrowest symmetric pair of ordered differences that covers the shift with at least CONFIDENCE, and its coverage.

    None where not even the widest pair does: the samples are too small.

    From the distribution of Mann and Whitney's U (Lehmann, Nonparametrics, section 2.7); with ties it covers more. Five
    trials each reach 96.8 % at the third difference from either end.
    """
    below, cut, coverage = 0.0, 0, 0.0
    for u, probability in enumerate(_distribution_of_u(first, second)):
        if 2 * (below + probability) > 1 - CONFIDENCE:
            break
        below += probability
        cut, coverage = u, 1 - 2 * below
    if not coverage:
        return None
    return differences[cut], differences[len(differences) - 1 - cut], coverage


@cache
def _distribution_of_u(first: int, second: int) -> tuple[float, ...]:
    """The probability of each U from 0 to half of the most there can be, without ties."""
    if first + second > EXACT_MAX:
        mean, spread = first * second / 2, math.sqrt(first * second * (first + second + 1) / 12)
        bounds = [0.5 * math.erfc((mean - u - 0.5) / (spread * math.sqrt(2))) for u in range(first * second // 2)]
        return tuple(after - before for before, after in zip([0.0, *bounds], bounds, strict=False))
    ways, least = _ways(tuple(range(1, first + second + 1)), first), first * (first + 1) // 2
    every = math.comb(first + second, first)
    return tuple(ways.get(least + u, 0) / every for u in range(first * second // 2))
