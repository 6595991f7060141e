"""From arrivals to outages, gaps and shares, of each operation apart and of the service. Pure.

Three things, which docs/results.md defines with a picture: *failed requests* (a count, and the seconds of load that they
amount to), *outages* (from the first failed request until the operation is answered again) and the *gap* (the longest time
without a success, also where no request failed).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from lab.model.experiment import LoadPlan
from lab.model.history import Arrival
from lab.model.measures import Measured
from lab.model.result import Gap, Operation, Outage, RequestCount, longest_s

QUIET_S = 1.0
QUIET_ARRIVALS = 10
QUIET_MARGIN_S = 0.3
"""Beyond the quiet second: the first good request after a failure is intended a little later, and the last one is still under way."""


def find_outages(
    arrivals: Sequence[Arrival], deadline_s: float, cuts_s: Sequence[float] = (), stopped_at_s: float | None = None
) -> tuple[Outage, ...]:
    """The outages of one operation, from its arrivals ordered by intended time.

    An outage lasts from the intended time of its first bad arrival to the completion of the first good one
    that is followed by no bad arrival for QUIET_S and for QUIET_ARRIVALS (both: at low rates a second may
    hold too few arrivals to say anything). One that was still open at one of `cuts_s` (the lab began to heal, or another
    process did) is censored at that instant; one after which too few good arrivals came before the load
    ended is censored at its first good answer, or at the end (`stopped_at_s`) where there was none.
    """
    bad = [index for index, arrival in enumerate(arrivals) if not arrival.is_good(deadline_s)]
    starts = [at for at, index in enumerate(bad) if at == 0 or _is_quiet(arrivals, bad[at - 1], index)]
    spans = pairwise([*starts, len(bad)])
    following = [*bad, len(arrivals)]
    return tuple(_window(arrivals, bad[start:end], following[end], cuts_s, stopped_at_s) for start, end in spans)


def _is_quiet(arrivals: Sequence[Arrival], last_bad: int, end: int) -> bool:
    """Whether the good arrivals between the two indices are enough to end an outage."""
    enough = end - last_bad > QUIET_ARRIVALS
    return enough and arrivals[min(end, len(arrivals) - 1)].at_s - arrivals[last_bad + 1].at_s >= QUIET_S


def _window(
    arrivals: Sequence[Arrival], bad: Sequence[int], next_bad: int, cuts_s: Sequence[float], stopped_at_s: float | None
) -> Outage:
    """The outage of these failures; the next outage begins with `next_bad`."""
    first, last = bad[0], bad[-1]
    start_s = arrivals[first].at_s
    # The earliest completion of all counts. What piled up is answered at once, and then the load takes the answers in any
    # order: of 500 a second, it was the sixtieth that was done first, 2 to 8 ms before the earliest of the first ten.
    after = [arrival.done_s for arrival in arrivals[last + 1 : next_bad]]
    end_s = max(start_s, min(after, default=max(stopped_at_s or 0.0, arrivals[last].at_s)))
    answered = last - first + 1 - len(bad)
    cut_s = min((at_s for at_s in cuts_s if start_s < at_s < end_s), default=None)
    if cut_s is not None:
        return Outage(start_s, cut_s, censored=True, answered=answered)
    return Outage(start_s, end_s, censored=not _is_quiet(arrivals, last, next_bad), answered=answered)


def quiet_in_s(arrivals: Sequence[Arrival], plan: LoadPlan, now_s: float) -> float:
    """How much longer the load has to go on until the last failure is long enough ago; 0 where it is, or nothing failed.

    Whatever is asked now has its answer after a deadline; what was asked before has it by then.
    """
    last_bad_s = max((arrival.at_s for arrival in arrivals if not arrival.is_good(plan.deadline_s)), default=-math.inf)
    shares = [share for share in (plan.write_share, 1 - plan.write_share) if share > 0]
    enough_s = QUIET_ARRIVALS / (plan.rate_per_s * min(shares))
    return max(last_bad_s + max(QUIET_S, enough_s) + QUIET_MARGIN_S - now_s, 0.0)


def union(*operations: Sequence[Outage]) -> tuple[Outage, ...]:
    """The outages of a service, which is down while any of its operations is.

    Windows that overlap are one outage; it is censored if one of its parts is, since that part may have lasted longer.
    """
    found: list[Outage] = []
    for part in sorted((each for outages in operations for each in outages), key=lambda each: (each.start_s, each.end_s)):
        if found and part.start_s < found[-1].end_s:
            whole = found[-1]
            found[-1] = Outage(
                whole.start_s, max(whole.end_s, part.end_s), whole.censored or part.censored, whole.answered + part.answered
            )
        else:
            found.append(part)
    return tuple(found)


def longest(outages: Sequence[Outage]) -> Measured:
    """What is known of the length of the longest outage, in seconds: a censored one may have become the longest."""
    return at_least(longest_s(outages), any(outage.censored for outage in outages))


def total(outages: Sequence[Outage]) -> Measured:
    """What is known of the length of all outages together, in seconds."""
    return at_least(sum(outage.length_s for outage in outages), any(outage.censored for outage in outages))


def at_least(value: float, is_bound: bool) -> Measured:
    """Exactly that value, or that value and any larger one."""
    return Measured(value, math.inf if is_bound else value)


def longest_gap(
    arrivals: Sequence[Arrival], deadline_s: float, cuts_s: Sequence[float] = (), stopped_at_s: float | None = None
) -> Gap | None:
    """The longest time of an operation without a success, from the first intended arrival to the end of the load.

    None where nothing was intended. A success is the completion of a good arrival. A gap that spans one of `cuts_s` is cut
    there, and one that the end of the load cuts ends there: how long it would have become is unknown. That matters only
    where it could have been the longest: where, with all the time that did pass until the next success, it is longer than
    every other one, or where the load ended while requests failed.
    """
    if not arrivals:
        return None
    end_s = max(stopped_at_s or 0.0, arrivals[-1].at_s)
    successes = sorted(arrival.done_s for arrival in arrivals if arrival.is_good(deadline_s))
    instants = [arrivals[0].at_s, *successes, *([end_s] if not successes or end_s > successes[-1] else [])]
    gaps = [_cut(Gap(start_s, until_s), cuts_s) for start_s, until_s in pairwise(instants)]
    if gaps and (not successes or end_s > successes[-1]):
        is_open = not arrivals[-1].is_good(deadline_s)
        gaps[-1] = (replace(gaps[-1][0], censored=True), math.inf if is_open else gaps[-1][1])
    found = max((gap for gap, _ in gaps), key=lambda gap: gap.length_s, default=Gap(end_s, end_s))
    is_bound = any(gap.censored and uncut_s > found.length_s for gap, uncut_s in gaps) or found.censored
    return replace(found, censored=is_bound)


def _cut(gap: Gap, cuts_s: Sequence[float]) -> tuple[Gap, float]:
    """A gap, cut at the first of these instants that lies in it, and the length that it had without the cut."""
    cut_s = min((at_s for at_s in cuts_s if gap.start_s < at_s < gap.end_s), default=None)
    return (gap if cut_s is None else Gap(gap.start_s, cut_s, censored=True)), gap.length_s


def longest_of(gaps: Iterable[Gap | None]) -> Gap | None:
    """The gap of a service: the longest of its operations; may be longer where one of them may."""
    known = [gap for gap in gaps if gap is not None]
    if not known:
        return None
    return replace(max(known, key=lambda gap: gap.length_s), censored=any(gap.censored for gap in known))


def share(arrivals: Iterable[Arrival], deadline_s: float) -> RequestCount:
    """How many of the arrivals were good."""
    verdicts = [arrival.is_good(deadline_s) for arrival in arrivals]
    return RequestCount(intended=len(verdicts), good=sum(verdicts))


def operation(
    arrivals: Sequence[Arrival],
    deadline_s: float,
    rate_per_s: float,
    cuts_s: Sequence[float] = (),
    stopped_at_s: float | None = None,
    fault_s: tuple[float, float] | None = None,
) -> Operation:
    """The figures of the requests of one kind, from its arrivals ordered by intended time.

    `rate_per_s`: how many were intended a second; `fault_s`: from when to when the fault lasted.
    """
    found = share(arrivals, deadline_s)
    return Operation(
        intended=found.intended,
        good=found.good,
        unserved_s=found.failed / rate_per_s if rate_per_s else 0.0,
        during_fault=share_within(arrivals, deadline_s, fault_s),
        outages=find_outages(arrivals, deadline_s, cuts_s, stopped_at_s),
        gap=longest_gap(arrivals, deadline_s, cuts_s, stopped_at_s),
    )


def service(operations: Sequence[Operation], rate_per_s: float) -> Operation:
    """The figures of a service from those of its operations: all their requests, the union of their outages, their longest gap."""
    during = [each.during_fault for each in operations if each.during_fault]
    failed = sum(each.failed for each in operations)
    return Operation(
        intended=sum(each.intended for each in operations),
        good=sum(each.good for each in operations),
        unserved_s=failed / rate_per_s if rate_per_s else 0.0,
        during_fault=RequestCount(sum(each.intended for each in during), sum(each.good for each in during)) if during else None,
        outages=union(*(each.outages for each in operations)),
        gap=longest_of(each.gap for each in operations),
    )


def share_within(arrivals: Iterable[Arrival], deadline_s: float, span_s: tuple[float, float] | None) -> RequestCount | None:
    """How many of those intended within a span were good; None without a span, and where none was intended in it."""
    if span_s is None:
        return None
    found = share((each for each in arrivals if span_s[0] <= each.at_s < span_s[1]), deadline_s)
    return found if found.intended else None
