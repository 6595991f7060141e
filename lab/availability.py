"""From arrivals to figures: outages, availability, validity, summaries. Pure: no clock, no files, no Docker."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from lab import cascade, exposure, ledger, observation
from lab.model import (
    Alert,
    Arrival,
    Event,
    Expectation,
    GeneratorReport,
    Outage,
    Share,
    Summary,
    TrialRecord,
    TrialResult,
    Verdict,
    longest_s,
)

QUIET_S = 1.0
QUIET_ARRIVALS = 10
LAG_P99_LIMIT_MS = 25.0
LAG_MAX_LIMIT_MS = 100.0
CPU_LIMIT_RATIO = 0.70
SLOW_S = 0.25
CONFIDENCE = 0.95

SERVED_RATIO = "served_of_capacity_ratio"
MEASURES = (
    "downtime_longest_s",
    "downtime_total_s",
    "availability_ratio",
    "reads_availability_ratio",
    "writes_availability_ratio",
    "reads_failed",
    "writes_failed",
    "writes_lost",
    "writes_unexpected",
    "writes_duplicate",
    "reads_downtime_longest_s",
    "writes_downtime_longest_s",
    "outages",
    "split_brain_s",
    "address_several_s",
    "degraded_redundancy_s",
    "rejoin_s",
    SERVED_RATIO,
)
MEASURES_OF_READS = tuple(
    name for name in MEASURES if not name.startswith("writes_") and name not in ("split_brain_s", "address_several_s")
)
"""Those that somebody else's system has too, of which only a page is read."""


def find_outages(
    arrivals: Sequence[Arrival], deadline_s: float, healed_at_s: float | None = None, stopped_at_s: float | None = None
) -> tuple[Outage, ...]:
    """The downtime windows in arrivals ordered by intended time.

    An outage lasts from the intended time of its first bad arrival to the completion of the first good one
    that is followed by no bad arrival for QUIET_S and for QUIET_ARRIVALS (both: at low rates a second may
    hold too few arrivals to say anything). One that was still open when the lab began to heal
    (`healed_at_s`) is censored at that instant; one after which too few good arrivals came before the load
    ended is censored at its first good answer, or at the end (`stopped_at_s`) where there was none.
    """
    bad = [index for index, arrival in enumerate(arrivals) if not arrival.is_good(deadline_s)]
    starts = [at for at, index in enumerate(bad) if at == 0 or _is_quiet(arrivals, bad[at - 1], index)]
    groups = [bad[start:end] for start, end in pairwise([*starts, len(bad)])]
    return tuple(_window(arrivals, group[0], group[-1], healed_at_s, stopped_at_s) for group in groups)


def _is_quiet(arrivals: Sequence[Arrival], last_bad: int, end: int) -> bool:
    """Whether the good arrivals between the two indices are enough to end an outage."""
    enough = end - last_bad > QUIET_ARRIVALS
    return enough and arrivals[min(end, len(arrivals) - 1)].at_s - arrivals[last_bad + 1].at_s >= QUIET_S


def _window(arrivals: Sequence[Arrival], first: int, last: int, healed_at_s: float | None, stopped_at_s: float | None) -> Outage:
    start_s = arrivals[first].at_s
    # The earliest completion counts: answers to later arrivals may overtake those to earlier ones.
    after = [arrival.done_s for arrival in arrivals[last + 1 : last + 1 + QUIET_ARRIVALS]]
    end_s = max(start_s, min(after, default=max(stopped_at_s or 0.0, arrivals[last].at_s)))
    if healed_at_s is not None and start_s < healed_at_s < end_s:
        return Outage(start_s, healed_at_s, censored=True)
    return Outage(start_s, end_s, censored=not _is_quiet(arrivals, last, len(arrivals)))


def share(arrivals: Iterable[Arrival], deadline_s: float) -> Share:
    """How many of the arrivals were good."""
    verdicts = [arrival.is_good(deadline_s) for arrival in arrivals]
    return Share(intended=len(verdicts), good=sum(verdicts))


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value with at least q of all values at or below it (nearest rank); 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(max(math.ceil(q * len(ordered)) - 1, 0), len(ordered) - 1)]


def generator_report(arrivals: Sequence[Arrival], intended: int, recorded: int, cpu_ratio: float) -> GeneratorReport:
    """How well the load was made, from what it left."""
    lags_ms = [arrival.lag_s * 1000 for arrival in arrivals]
    return GeneratorReport(intended, recorded, quantile(lags_ms, 0.99), max(lags_ms, default=0.0), cpu_ratio)


def validity(generator: GeneratorReport, kept: int) -> list[str]:
    """Why a measurement is not to be trusted; empty where it is. `kept` is the number of arrivals at hand."""
    reasons = []
    if not generator.intended == generator.recorded == kept:
        reasons.append(f"{generator.intended} requests intended, {generator.recorded} recorded, {kept} kept")
    if generator.intended == 0:
        reasons.append("no request was made")
    if generator.lag_p99_ms > LAG_P99_LIMIT_MS:
        reasons.append(f"the generator was late: p99 {generator.lag_p99_ms:.0f} ms, limit {LAG_P99_LIMIT_MS:.0f} ms")
    if generator.lag_max_ms > LAG_MAX_LIMIT_MS:
        reasons.append(f"the generator was late: at most {generator.lag_max_ms:.0f} ms, limit {LAG_MAX_LIMIT_MS:.0f} ms")
    if generator.cpu_ratio > CPU_LIMIT_RATIO:
        reasons.append(f"the generator used {generator.cpu_ratio:.0%} of a processor, limit {CPU_LIMIT_RATIO:.0%}")
    return reasons


def event_at(events: Iterable[Event], name: str) -> float | None:
    """When the first event of that name happened."""
    return next((event.at_s for event in events if event.name == name), None)


@dataclass(frozen=True)
class _Windows:
    all: tuple[Outage, ...]
    reads: tuple[Outage, ...]
    writes: tuple[Outage, ...]


def measure_trial(record: TrialRecord, expectations: Sequence[Expectation], has_fault: bool) -> TrialResult:
    """Every figure of a trial from what was recorded in it."""
    deadline_s = record.plan.deadline_s
    arrivals = sorted(record.arrivals, key=lambda arrival: arrival.at_s)
    reads = [arrival for arrival in arrivals if arrival.kind == "read"]
    writes = [arrival for arrival in arrivals if arrival.kind == "write"]
    healed_at_s, stopped_at_s = event_at(record.events, "heal"), event_at(record.events, "stop")
    windows = _Windows(*(find_outages(some, deadline_s, healed_at_s, stopped_at_s) for some in (arrivals, reads, writes)))
    audit = ledger.audit_writes(writes, record.final_orders, record.databases)
    bitten = not has_fault or (event_at(record.events, "bite") is not None and event_at(record.events, "no-bite") is None)
    reasons = _reasons(record, arrivals, audit.why_incomplete if record.plan.has_writes else "", has_fault)
    result = TrialResult(
        number=record.number,
        seed=record.seed,
        valid=not reasons and bitten,
        reasons=tuple(reasons if bitten else [*reasons, "the fault did not bite"]),
        bitten=bitten,
        targets=record.targets,
        total=share(arrivals, deadline_s),
        reads=share(reads, deadline_s),
        writes=share(writes, deadline_s),
        outages=windows.all,
        write_outages=windows.writes,
        read_outages=windows.reads,
        phases=phases(record.events, arrivals, deadline_s, stopped_at_s),
        errors=dict(Counter(_class(arrival, deadline_s) for arrival in arrivals if not arrival.is_good(deadline_s))),
        served_by=dict(sorted(Counter(arrival.by for arrival in arrivals if arrival.by).items())),
        latency_ms=latencies(arrivals, deadline_s),
        reads_latency_ms=latencies(reads, deadline_s),
        writes_latency_ms=latencies(writes, deadline_s),
        undisturbed_writes_ms=_good_ms(_answered_before(writes, event_at(record.events, "inject")), deadline_s),
        audit=audit,
        generator=record.generator,
        failed_expectations=(),
        writable=counted_seconds(record.events, "databases", writable_databases, stopped_at_s),
        address=counted_seconds(record.events, "address", holders, stopped_at_s),
        notes=_notes(record.events),
        alerts=alerts(record.events),
        exposure=exposure.measure(record.events, event_at(record.events, "inject"), stopped_at_s),
        exposure_period_s=exposure.period_s(record.events),
        has_writes=record.plan.has_writes,
        blows=cascade.blows(record.events, windows.all),
        served=served(record.events, arrivals, deadline_s),
    )
    failed = tuple(failure for expectation in expectations if (failure := _failure(result, expectation)))
    undecided = [expectation for expectation in expectations if _is_undecided(result, expectation)]
    why = [f"healed too soon to say whether {expectation} (watch for longer)" for expectation in undecided]
    if any(expectation.measure == SERVED_RATIO for expectation in expectations) and not result.served:
        why.append("too short to say what was served of what a box carries (watch for longer)")
    valid = result.valid and not why
    return replace(result, valid=valid, reasons=(*result.reasons, *why), failed_expectations=failed)


def _notes(events: Sequence[Event]) -> tuple[str, ...]:
    """What the run did not do, and what somebody was told before it did anything."""
    since_s = event_at(events, "inject")
    early = [event for event in events if event.name == "alert" and since_s is not None and event.at_s < since_s]
    noted = [(event.at_s, event.detail) for event in events if event.name == "note"]
    noted += [(event.at_s, f"before the fault: {event.detail}") for event in early]
    return tuple(f"{at_s:.2f} s: {what}" for at_s, what in sorted(noted))


def _reasons(record: TrialRecord, arrivals: Sequence[Arrival], unaudited: str, has_fault: bool) -> list[str]:
    reasons = validity(record.generator, len(arrivals))
    injected_at_s = event_at(record.events, "inject")
    if has_fault and injected_at_s is None:
        reasons.append("the trial ended before the fault")
    elif injected_at_s is not None and _failed_before(injected_at_s, arrivals, record.plan.deadline_s):
        reasons.append("requests failed before the fault")
    if any(event.name == "blind" for event in record.events):
        reasons.append("nobody watched the databases and the address until the end")
    reasons += observation.reasons(record.events)
    if unaudited:
        reasons.append(f"it cannot be said what was lost: {unaudited}")
    return reasons


def _failed_before(injected_at_s: float, arrivals: Sequence[Arrival], deadline_s: float) -> bool:
    """Whether a request was answered badly, or its deadline had passed, before the fault: one still open the fault may have broken."""
    lost = (min(arrival.done_s, arrival.at_s + deadline_s) for arrival in arrivals if not arrival.is_good(deadline_s))
    return any(at_s < injected_at_s for at_s in lost)


def _class(arrival: Arrival, deadline_s: float) -> str:
    late = arrival.result == "ok" and not arrival.is_good(deadline_s)
    return "late" if late else arrival.result


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


def writable_databases(sight: str) -> int:
    """How many databases accept writes in what the observer saw ("db1=primary db2=standby spare=1")."""
    return sight.count("=primary")


def holders(sight: str) -> int:
    """How many balancers say that they hold the address in what the observer saw ("holders=lb1 wire=lb1")."""
    return len(_field(sight, "holders").split(",")) if _field(sight, "holders") else 0


def _field(sight: str, name: str) -> str:
    fields = dict(each.split("=", 1) for each in sight.split())
    return fields.get(name, "")


def counted_seconds(
    events: Sequence[Event], name: str, count: Callable[[str], int], stopped_at_s: float | None
) -> dict[str, float]:
    """Seconds with none and with two or more of what `count` finds in the observer's sights of that name; empty without any.

    From the observer's first word (or the start of the load) to the end of the load; a sight holds until the next.
    """
    sights = [(event.at_s, count(event.detail)) for event in events if event.name == name]
    if not sights or stopped_at_s is None:
        return {}
    spans = pairwise([*sights, (stopped_at_s, 0)])
    lasting = [(max(min(end, stopped_at_s) - max(start, 0.0), 0.0), found) for (start, found), (end, _) in spans]
    return {
        "none_s": sum(length for length, found in lasting if found == 0),
        "several_s": sum(length for length, found in lasting if found > 1),
    }


def taken_over_at(events: Sequence[Event], since_s: float) -> float | None:
    """When the observer first saw another database accept writes, or another balancer answer, than before `since_s`."""
    found = [_changed_at(events, name, what, since_s) for name, what in (("databases", _primary), ("address", _wire))]
    return min((at_s for at_s in found if at_s is not None), default=None)


def _primary(sight: str) -> str:
    return next((each.removesuffix("=primary") for each in sight.split() if each.endswith("=primary")), "")


def _wire(sight: str) -> str:
    return _field(sight, "wire")


def _changed_at(events: Sequence[Event], name: str, what: Callable[[str], str], since_s: float) -> float | None:
    sights = [(event.at_s, what(event.detail)) for event in events if event.name == name]
    before = [found for at_s, found in sights if at_s <= since_s and found]
    if not before:
        return None
    return next((at_s for at_s, found in sights if at_s > since_s and found and found != before[-1]), None)


SETTLED_S = 1.0
"""From a fault until it is clear who serves."""


def served(events: Sequence[Event], arrivals: Sequence[Arrival], deadline_s: float) -> dict[str, float]:
    """What was served in an overload, beside what one box carries; empty where no capacity was measured."""
    capacity = next((event.detail for event in events if event.name == "capacity"), "")
    since_s, until_s = event_at(events, "bite"), event_at(events, "heal")
    if not capacity or since_s is None or until_s is None or until_s - deadline_s <= since_s + SETTLED_S:
        return {}
    # What was intended within a deadline of the healing may owe its answer to that.
    low_s, high_s = since_s + SETTLED_S, until_s - deadline_s
    found = share((each for each in arrivals if low_s <= each.at_s < high_s), deadline_s)
    length_s = high_s - low_s
    return {
        "capacity_per_s": float(capacity.split()[0]),
        "offered_per_s": found.intended / length_s,
        "served_per_s": found.good / length_s,
    }


PHASE_OF_EVENT = {
    "inject": "inject_s",
    "bite": "bite_s",
    "operator": "operator_s",
    "promoted": "promoted_s",
    "repair": "repair_s",
    "heal": "heal_s",
    "well": "redundant_s",
}
# In what the monitoring box says: "watch: alert firing (message 3): ServiceDown page kind=read: no read has been served ...".
ALERT_WORDS = re.compile(r"(?<=\): )(\w+) (.*)")
EVIDENCE = ("detect", "elect", "reroute", "alert")


def phases(
    events: Sequence[Event], arrivals: Sequence[Arrival], deadline_s: float, stopped_at_s: float | None
) -> dict[str, float]:
    """The instants of a trial, seconds on the clock of the load.

    inject_s: the fault was asked for; bite_s: proof that it bit; impact_s: the first bad arrival that the
    fault can have caused was intended; detect_s: a part of the system noticed; elect_s: it chose who takes
    over; reroute_s: the observer saw another take over (or a balancer left a box out); recover_s: users were
    served again (also where the lab had to heal for that); alert_s: the first alert was delivered; repair_s: a
    policy began to bring back a lost box; heal_s: the lab began to heal; redundant_s: every
    box was well again and nothing missing to survive the next fault. Phases that did not happen are left out.
    """
    found = {phase: at_s for name, phase in PHASE_OF_EVENT.items() if (at_s := event_at(events, name)) is not None}
    if "inject_s" in found:
        found |= _impact(find_outages(arrivals, deadline_s, None, stopped_at_s), found["inject_s"])
        found |= _evidence(events, found["inject_s"], found.get("heal_s", math.inf))
    return dict(sorted(found.items(), key=lambda item: item[1]))


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


def measured(result: TrialResult, measure: str) -> float:
    """The value of one of MEASURES in a trial."""
    values: dict[str, float] = {
        "downtime_longest_s": result.downtime_longest_s,
        "downtime_total_s": result.downtime_total_s,
        "availability_ratio": result.total.ratio,
        "reads_availability_ratio": result.reads.ratio,
        "writes_availability_ratio": result.writes.ratio,
        "reads_failed": result.reads.intended - result.reads.good,
        "writes_failed": result.writes.intended - result.writes.good,
        "writes_lost": result.audit.lost,
        "writes_unexpected": result.audit.unexpected,
        "writes_duplicate": result.audit.duplicate,
        "reads_downtime_longest_s": longest_s(result.read_outages),
        "writes_downtime_longest_s": longest_s(result.write_outages),
        "outages": len(result.outages),
        "split_brain_s": result.writable.get("several_s", 0.0),
        "address_several_s": result.address.get("several_s", 0.0),
        "degraded_redundancy_s": result.degraded_redundancy_s or 0.0,
        "rejoin_s": result.rejoin_s or 0.0,
        SERVED_RATIO: result.served_ratio,
    }
    return values[measure]


def _failure(result: TrialResult, expectation: Expectation) -> str:
    value = measured(result, expectation.measure)
    return "" if expectation.holds(value) else f"{expectation}: was {value:.4g}"


def _is_undecided(result: TrialResult, expectation: Expectation) -> bool:
    """Whether a downtime that is only a lower bound keeps within what it may be at most."""
    is_bound = expectation.at_most is not None and any(each.censored for each in _outages_of(result, expectation.measure))
    return is_bound and expectation.holds(measured(result, expectation.measure))


def _outages_of(result: TrialResult, measure: str) -> tuple[Outage, ...]:
    """The outages that a downtime is the length of; none for other measures."""
    if measure == "reads_downtime_longest_s":
        return result.read_outages
    if measure == "writes_downtime_longest_s":
        return result.write_outages
    return result.outages if measure in ("downtime_longest_s", "downtime_total_s") else ()


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """A distribution-free interval for the median: (low, high, coverage).

    The narrowest symmetric pair of order statistics that covers the median with at least `confidence`; the
    coverage of the pair (k, n+1-k) is 1 - 2 * P[Binomial(n, 1/2) < k] (David and Nagaraja, Order
    Statistics, section 7.1). With fewer than six values none reaches 95 %: the extremes, and their coverage.
    """
    ordered = sorted(values)
    count = len(ordered)
    best = (ordered[0], ordered[-1], 1 - 2 * 0.5**count)
    below = 0.0
    for k in range(1, count // 2 + 1):
        below += math.comb(count, k - 1) * 0.5**count
        coverage = 1 - 2 * below
        if coverage < confidence:
            break
        best = (ordered[k - 1], ordered[count - k], coverage)
    return best


def summarise(trials: Sequence[TrialResult]) -> Summary:
    """A run over its valid trials; the trial is the unit."""
    valid = [trial for trial in trials if trial.valid]
    downtimes = [trial.downtime_longest_s for trial in valid]
    low, high, coverage = median_interval(downtimes) if valid else (0.0, 0.0, 0.0)
    return Summary(
        trials=len(trials),
        trials_valid=len(valid),
        downtime_median_s=median(downtimes) if valid else None,
        downtime_ci_s=(low, high) if valid else None,
        downtime_ci_coverage_ratio=coverage if valid else None,
        downtime_censored=any(trial.censored for trial in valid),
        availability_ratio_median=median(trial.total.ratio for trial in valid) if valid else None,
        reads_failed_total=sum(trial.reads.intended - trial.reads.good for trial in valid),
        writes_failed_total=sum(trial.writes.intended - trial.writes.good for trial in valid),
        writes_lost_total=sum(trial.audit.lost for trial in trials),
    )


def decide(trials: Sequence[TrialResult]) -> Verdict:
    """Held when every valid trial met every expectation; inconclusive unless at least half of the trials are valid.

    A lost write refutes in an invalid trial too: that it was lost does not depend on how well time was kept.
    """
    failures = [
        failure for trial in trials for failure in trial.failed_expectations if trial.valid or failure.startswith("writes_lost ")
    ]
    if failures:
        return Verdict.REFUTED
    valid = sum(trial.valid for trial in trials)
    return Verdict.HELD if valid and valid * 2 >= len(trials) else Verdict.INCONCLUSIVE


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
