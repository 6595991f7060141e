"""From a trial's record to its figures, and from trials to a summary. Pure: no clock, no files, no Docker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.checker import audit as audit_
from lab.checker import blind_spots, exposure, per_fault
from lab.checker.latency import _answered_before, _good_ms, latencies
from lab.checker.notified import needs_alert, notified
from lab.checker.outages import find_outages, operation, service, share, union
from lab.checker.phases import (
    alerts,
    cuts,
    event_at,
    fault_span,
    owner_seconds,
    phases,
    without_redundancy_s,
    writable_seconds,
)
from lab.checker.validity import validity
from lab.checker.verdict import check
from lab.model.history import Arrival, Event, TrialRecord, payloads
from lab.model.measures import Expectation
from lab.model.payloads import Capacity
from lab.model.result import Operation, Outage, TrialResult


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


def measure_trial(record: TrialRecord, expectations: Sequence[Expectation], has_fault: bool) -> TrialResult:
    """Every figure of a trial from what was recorded in it."""
    seen, events = _see(record), record.events
    instants = phases(events, seen.uncut)
    audit = audit_.audit_writes(seen.writes, record.final_orders, record.databases)
    verified = not has_fault or (event_at(events, "fault-verified") is not None and event_at(events, "fault-unverified") is None)
    reasons = _reasons(record, seen, audit.why_incomplete if record.plan.has_writes else "", has_fault)
    result = TrialResult(
        number=record.number,
        seed=record.seed,
        valid=not reasons and verified,
        reasons=tuple(reasons if verified else [*reasons, "the fault was not verified"]),
        verified=verified,
        targets=record.targets,
        total=seen.of_service,
        reads=seen.of_reads,
        writes=seen.of_writes,
        phases=instants,
        time_without_redundancy_s=without_redundancy_s(instants, seen.uncut),
        databases=len(record.final_orders),
        errors=dict(Counter(_class(each, seen.deadline_s) for each in seen.arrivals if not each.is_good(seen.deadline_s))),
        served_by=dict(sorted(Counter(arrival.by for arrival in seen.arrivals if arrival.by).items())),
        latency_ms=latencies(seen.arrivals, seen.deadline_s),
        reads_latency_ms=latencies(seen.reads, seen.deadline_s),
        writes_latency_ms=latencies(seen.writes, seen.deadline_s),
        undisturbed_writes_ms=_good_ms(_answered_before(seen.writes, event_at(events, "inject")), seen.deadline_s),
        audit=audit,
        generator=record.generator,
        writable=writable_seconds(events, seen.stopped_at_s),
        vip_owners=owner_seconds(events, seen.stopped_at_s),
        unseen_s=sum(spot.length_s for spot in blind_spots.blind_spots(events)),
        notes=_notes(events),
        alerts=alerts(events),
        exposure=exposure.measure(events, event_at(events, "inject"), seen.stopped_at_s),
        exposure_period_s=exposure.period_s(events),
        has_writes=record.plan.has_writes,
        fault_impacts=per_fault.fault_impacts(events, seen.of_service.outages),
        served=served(events, seen.arrivals, seen.deadline_s),
    )
    needed = needs_alert(result.total.during_fault, result.time_without_redundancy_s, result.exposure) if has_fault else False
    return replace(result, checks=check(result, expectations), notified=notified(events, needed))


def _notes(events: Sequence[Event]) -> tuple[str, ...]:
    """What the run did not do, and the alerts that were delivered before it did anything."""
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
    reasons += blind_spots.reasons(record.events)
    if unaudited:
        reasons.append(f"it cannot be said what was lost: {unaudited}")
    return reasons


def _failed_before(injected_at_s: float, arrivals: Sequence[Arrival], deadline_s: float) -> bool:
    """Whether a request was answered badly, or its deadline had passed, before the fault: one still open the fault may have broken."""
    lost = (min(arrival.done_s, arrival.at_s + deadline_s) for arrival in arrivals if not arrival.is_good(deadline_s))
    return any(at_s < injected_at_s for at_s in lost)


def _class(arrival: Arrival, deadline_s: float) -> str:
    late = arrival.error_class == "ok" and not arrival.is_good(deadline_s)
    return "late" if late else arrival.error_class


SETTLED_S = 1.0
"""From a fault until it is clear who serves."""


def served(events: Sequence[Event], arrivals: Sequence[Arrival], deadline_s: float) -> dict[str, float]:
    """What was served in an overload, beside what one box carries; empty where no capacity was measured."""
    capacity = payloads(events, Capacity)
    since_s, until_s = event_at(events, "fault-verified"), event_at(events, "heal")
    if not capacity or since_s is None or until_s is None or until_s - deadline_s <= since_s + SETTLED_S:
        return {}
    # What was intended within a deadline of the healing may owe its answer to that.
    low_s, high_s = since_s + SETTLED_S, until_s - deadline_s
    found = share((each for each in arrivals if low_s <= each.at_s < high_s), deadline_s)
    length_s = high_s - low_s
    return {
        "capacity_per_s": capacity[0][1].requests_per_s,
        "offered_per_s": found.intended / length_s,
        "served_per_s": found.good / length_s,
    }
