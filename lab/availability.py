"""From a trial's record to its figures, and from trials to a summary. Pure: no clock, no files, no Docker."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    Measured,
    Operation,
    OperationSummary,
    Outage,
    SampleMedian,
    Summary,
    TrialRecord,
    TrialResult,
)
from lab.outages import at_least, find_outages, longest, operation, service, share, union
from lab.verdict import availability, check

LAG_P99_LIMIT_MS = 25.0
LAG_MAX_LIMIT_MS = 100.0
CPU_LIMIT_RATIO = 0.70
SLOW_S = 0.25
CONFIDENCE = 0.95
CUTS = ("heal", "foreign")
"""What ends an outage that did not end by itself: the lab, or a hand that is not the lab's."""


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


def last_event_at(events: Iterable[Event], name: str) -> float | None:
    """When the last event of that name happened."""
    return max((event.at_s for event in events if event.name == name), default=None)


@dataclass(frozen=True)
class _Seen:
    """What users saw of a trial, and when."""

    arrivals: list[Arrival]
    reads: list[Arrival]
    writes: list[Arrival]
    deadline_s: float
    stopped_at_s: float | None
    of_reads: Operation
    of_writes: Operation
    of_service: Operation

    @property
    def uncut(self) -> tuple[Outage, ...]:
        """The outages of the service until users were served again, whoever brought that about."""
        return union(*(find_outages(each, self.deadline_s, (), self.stopped_at_s) for each in (self.reads, self.writes)))


def _see(record: TrialRecord) -> _Seen:
    plan, deadline_s = record.plan, record.plan.deadline_s
    arrivals = sorted(record.arrivals, key=lambda arrival: arrival.at_s)
    reads, writes = ([each for each in arrivals if each.kind == kind] for kind in ("read", "write"))
    cuts_s, stopped_at_s = cuts(record.events), event_at(record.events, "stop")
    fault_s = fault_span(record.events)
    of_reads = operation(reads, deadline_s, plan.rate_per_s * (1 - plan.write_share), cuts_s, stopped_at_s, fault_s)
    of_writes = operation(writes, deadline_s, plan.rate_per_s * plan.write_share, cuts_s, stopped_at_s, fault_s)
    of_service = service((of_reads, of_writes), plan.rate_per_s)
    return _Seen(arrivals, reads, writes, deadline_s, stopped_at_s, of_reads, of_writes, of_service)


def cuts(events: Iterable[Event]) -> tuple[float, ...]:
    """The instants at which an outage that is still open is ended from outside: how long it would have lasted is unknown."""
    return tuple(sorted(event.at_s for event in events if event.name in CUTS))


def fault_span(events: Sequence[Event]) -> tuple[float, float] | None:
    """From the (first) fault until the lab began to heal, or until the load ended; None where there was no fault."""
    since_s = event_at(events, "inject")
    until_s = event_at(events, "heal")
    until_s = event_at(events, "stop") if until_s is None else until_s
    return (since_s, until_s) if since_s is not None and until_s is not None else None


def measure_trial(record: TrialRecord, expectations: Sequence[Expectation], has_fault: bool) -> TrialResult:
    """Every figure of a trial from what was recorded in it."""
    seen, events = _see(record), record.events
    instants = phases(events, seen.uncut)
    audit = ledger.audit_writes(seen.writes, record.final_orders, record.databases)
    bitten = not has_fault or (event_at(events, "bite") is not None and event_at(events, "no-bite") is None)
    reasons = _reasons(record, seen, audit.why_incomplete if record.plan.has_writes else "", has_fault)
    result = TrialResult(
        number=record.number,
        seed=record.seed,
        valid=not reasons and bitten,
        reasons=tuple(reasons if bitten else [*reasons, "the fault did not bite"]),
        bitten=bitten,
        targets=record.targets,
        total=seen.of_service,
        reads=seen.of_reads,
        writes=seen.of_writes,
        phases=instants,
        degraded_redundancy_s=degraded_s(instants, seen.uncut),
        databases=len(record.final_orders),
        errors=dict(Counter(_class(each, seen.deadline_s) for each in seen.arrivals if not each.is_good(seen.deadline_s))),
        served_by=dict(sorted(Counter(arrival.by for arrival in seen.arrivals if arrival.by).items())),
        latency_ms=latencies(seen.arrivals, seen.deadline_s),
        reads_latency_ms=latencies(seen.reads, seen.deadline_s),
        writes_latency_ms=latencies(seen.writes, seen.deadline_s),
        undisturbed_writes_ms=_good_ms(_answered_before(seen.writes, event_at(events, "inject")), seen.deadline_s),
        audit=audit,
        generator=record.generator,
        writable=counted_seconds(events, "databases", writable_databases, seen.stopped_at_s),
        address=counted_seconds(events, "address", holders, seen.stopped_at_s),
        unseen_s=sum(spot.length_s for spot in observation.blind_spots(events)),
        notes=_notes(events),
        alerts=alerts(events),
        exposure=exposure.measure(events, event_at(events, "inject"), seen.stopped_at_s),
        exposure_period_s=exposure.period_s(events),
        has_writes=record.plan.has_writes,
        blows=cascade.blows(events, seen.of_service.outages),
        served=served(events, seen.arrivals, seen.deadline_s),
    )
    return replace(result, checks=check(result, expectations))


def _notes(events: Sequence[Event]) -> tuple[str, ...]:
    """What the run did not do, and what somebody was told before it did anything."""
    since_s = event_at(events, "inject")
    early = [event for event in events if event.name == "alert" and since_s is not None and event.at_s < since_s]
    noted = [(event.at_s, event.detail) for event in events if event.name == "note"]
    noted += [(event.at_s, f"before the fault: {event.detail}") for event in early]
    return tuple(f"{at_s:.2f} s: {what}" for at_s, what in sorted(noted))


def _reasons(record: TrialRecord, seen: _Seen, unaudited: str, has_fault: bool) -> list[str]:
    reasons = validity(record.generator, len(seen.arrivals))
    injected_at_s = event_at(record.events, "inject")
    if has_fault and injected_at_s is None:
        reasons.append("the trial ended before the fault")
    elif injected_at_s is not None and _failed_before(injected_at_s, seen.arrivals, seen.deadline_s):
        reasons.append("requests failed before the fault")
    if any(event.name == "blind" for event in record.events):
        reasons.append("the databases and the address were not watched until the end")
    reasons += [f"the stage did not come back: {event.detail}" for event in record.events if event.name == "heal-failed"]
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
}
# In what the monitoring box says: "watch: alert firing (message 3): ServiceDown page kind=read: no read has been served ...".
ALERT_WORDS = re.compile(r"(?<=\): )(\w+) (.*)")
EVIDENCE = ("detect", "elect", "reroute", "alert")


def phases(events: Sequence[Event], outages: Sequence[Outage]) -> dict[str, float]:
    """The instants of a trial, seconds on the clock of the load. `outages` are those of the service, not cut by any healing.

    inject_s: the fault was asked for; bite_s: proof that it bit; impact_s: the first bad arrival that the
    fault can have caused was intended; detect_s: a part of the system noticed; elect_s: it chose who takes
    over; reroute_s: the observer saw another take over (or a balancer left a box out); recover_s: users were
    served again, reads and writes (also where the lab had to heal for that); alert_s: the first alert was delivered;
    repair_s: a policy began to bring back a lost box; heal_s: the lab began to heal; redundant_s: every
    box was well again and nothing missing to survive the next fault (the last time, where that was so more than
    once). Phases that did not happen are left out.
    """
    found = {phase: at_s for name, phase in PHASE_OF_EVENT.items() if (at_s := event_at(events, name)) is not None}
    whole_s = last_event_at(events, "well")
    found |= {"redundant_s": whole_s} if whole_s is not None else {}
    if "inject_s" in found:
        found |= _impact(outages, found["inject_s"])
        found |= _evidence(events, found["inject_s"], found.get("heal_s", math.inf))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def degraded_s(instants: Mapping[str, float], outages: Sequence[Outage]) -> float | None:
    """How long users were served while something was missing; a failure late in the trial makes it no shorter than that took."""
    since_s, until_s = instants.get("inject_s"), instants.get("redundant_s")
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
    found = [(event, ALERT_WORDS.search(event.detail)) for event in ordered if event.name == "alert" and event.at_s >= since_s]
    return tuple(Alert(match[1], match[2], event.at_s, _resolved_at(ordered, event, match[0])) for event, match in found if match)


def _resolved_at(events: Iterable[Event], fired: Event, words: str) -> float | None:
    """When an alert was said to be over, in the same words as it was told."""
    return next(
        (each.at_s for each in events if each.name == "resolved" and each.at_s >= fired.at_s and words in each.detail), None
    )


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


def sample_median(values: Sequence[Measured]) -> SampleMedian:
    """The median of at least one value, each known to within bounds.

    It lies between the median of the lower and that of the upper bounds: a value that is only a lower bound changes
    it only where its place in the order could. (The product-limit estimate supposes that what is cut short would have
    gone on like the others. The lab cuts the longest ones short, so it would say too little.)
    """
    lows, highs = [value.low for value in values], [value.high for value in values]
    ci_low, _, coverage = median_interval(lows)
    worst = max(lows)
    return SampleMedian(
        low=median(lows),
        high=median(highs),
        ci_low=ci_low,
        ci_high=median_interval(highs)[1],
        coverage_ratio=coverage,
        worst=worst,
        worst_is_bound=max(highs) > worst,
        count=len(values),
    )


def _of_operation(operations: Sequence[Operation]) -> OperationSummary | None:
    if not operations:
        return None
    gaps = [at_least(each.gap.length_s, each.gap.censored) for each in operations if each.gap]
    return OperationSummary(
        outage=sample_median([longest(each.outages) for each in operations]), gap=sample_median(gaps) if gaps else None
    )


def _median_ratio(ratios: Sequence[Measured]) -> Measured | None:
    """The median of shares, some of which may be upper bounds."""
    return Measured(median(each.low for each in ratios), median(each.high for each in ratios)) if ratios else None


def summarise(trials: Sequence[TrialResult]) -> Summary:
    """A run over its valid trials; the trial is the unit."""
    valid = [trial for trial in trials if trial.valid]
    return Summary(
        trials=len(trials),
        trials_valid=len(valid),
        service=_of_operation([trial.total for trial in valid]),
        reads=_of_operation([trial.reads for trial in valid if trial.reads.intended]),
        writes=_of_operation([trial.writes for trial in valid if trial.writes.intended]),
        outage_all=sample_median([longest(trial.outages) for trial in trials]) if trials else None,
        availability=_median_ratio([availability(trial.total) for trial in valid]),
        reads_failed_total=sum(trial.reads.failed for trial in valid),
        writes_failed_total=sum(trial.writes.failed for trial in valid),
        writes_lost_total=sum(trial.audit.lost for trial in trials),
        trials_audited=sum(trial.audit.complete and trial.has_writes for trial in trials),
    )


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
