"""A run as one JSON document (docs/results.md describes it), and a run made again from its journal."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.analysis.summary import summarise
from lab.checker.latency import quantile
from lab.checker.trial import measure_trial
from lab.checker.verdict import decide
from lab.model.history import TrialRecord
from lab.model.measures import Check
from lab.model.result import Gap, Operation, Outage, RunResult, SampleMedian, Summary, TrialResult
from lab.store import runs

SCHEMA_VERSION = 2
LOST_KEYS_MAX = 100


def as_document(result: RunResult) -> dict[str, Any]:
    """The result as JSON-ready data; seconds, ratios from 0 to 1, counts."""
    info = result.info
    return {
        "schema_version": SCHEMA_VERSION,
        "stage": info.stage or None,
        "stage_folder": info.stage_folder,
        "failover": info.failover,
        "durability": info.durability or None,
        "url": info.url or None,
        "contains": info.contains or None,
        "experiment": info.experiment,
        "question": info.question,
        "verdict": result.verdict.value,
        "repair": info.repair,
        "repair_delay_s": info.repair_delay_s,
        "fault_duration_s": info.fault_duration_s,
        "expected_verdict": info.expected_verdict or None,
        "overload": asdict(info.overload) if info.overload else None,
        "conditions": asdict(info.conditions) if info.conditions else None,
        "seed": info.seed,
        "rate_per_s": info.plan.rate_per_s,
        "deadline_s": info.plan.deadline_s,
        "started_at": info.started_at,
        "expectations": [asdict(expectation) for expectation in info.expectations],
        "trials": [_trial(trial) for trial in result.trials],
        "summary": _measured(_summary(result.summary), info.plan.has_writes),
        "folder": str(result.folder) if result.folder else None,
    }


def rebuild(folder: Path) -> tuple[RunResult, tuple[TrialRecord, ...]]:
    """A run from its journal, every figure computed again. Raises UsageError for what is no run."""
    info, records = runs.read_run(folder)
    trials = tuple(measure_trial(record, info.expectations, info.has_fault) for record in records)
    return RunResult(info, decide(trials), trials, summarise(trials), folder), records


NEEDS_WRITES = (
    *("writes", "write_outages", "writes_latency_ms", "undisturbed_writes_latency_ms", "writes_audit"),
    *("writable_databases", "vip_owners"),
    *("writes_failed_total", "writes_lost_total", "trials_audited"),
)


def _measured(content: dict[str, Any], has_writes: bool) -> dict[str, Any]:
    """What was measured; null for what was not observed, where only a page was read."""
    return content if has_writes else {key: None if key in NEEDS_WRITES else value for key, value in content.items()}


def _trial(trial: TrialResult) -> dict[str, Any]:
    found = {**_course(trial), **_served(trial), **_safety(trial), **_expectations(trial)}
    return _measured(found, trial.has_writes)


def _course(trial: TrialResult) -> dict[str, Any]:
    """What was broken, and what users saw of it."""
    gap = trial.total.gap
    return {
        "number": trial.number,
        "seed": trial.seed,
        "valid": trial.valid,
        "reasons": list(trial.reasons),
        "target": trial.targets[0] if trial.targets else None,
        "targets": list(trial.targets),
        "intended": trial.total.intended,
        "good": trial.total.good,
        "availability_ratio": _ratio(trial.total),
        "service": _operation(trial.total),
        "reads": _operation(trial.reads),
        "writes": _operation(trial.writes),
        "outages": _outages(trial.outages),
        "read_outages": _outages(trial.read_outages),
        "write_outages": _outages(trial.write_outages),
        "downtime_longest_s": _rounded(trial.downtime_longest_s),
        "downtime_total_s": _rounded(trial.downtime_total_s),
        "downtime_censored": trial.censored,
        "gap_s": _rounded(gap.length_s) if gap else None,
        "gap_censored": bool(gap and gap.censored),
        "phases": _rounded(trial.phases),
        "faults": [_rounded(asdict(impact)) for impact in trial.fault_impacts],
    }


def _served(trial: TrialResult) -> dict[str, Any]:
    """How and by which boxes requests were answered, and how well the load kept time."""
    return {
        "errors": trial.errors,
        "served_by": trial.served_by,
        "latency_ms": _rounded(trial.latency_ms),
        "reads_latency_ms": _rounded(trial.reads_latency_ms),
        "writes_latency_ms": _rounded(trial.writes_latency_ms),
        "undisturbed_writes_latency_ms": _undisturbed(trial),
        "served": _rounded(trial.served) if trial.served else None,
        "generator": _rounded(asdict(trial.generator)),
    }


def _safety(trial: TrialResult) -> dict[str, Any]:
    """What databases, balancers and tiers did, and what was reported of it."""
    audit = asdict(trial.audit)
    audit["lost_keys"] = audit["lost_keys"][:LOST_KEYS_MAX]
    return {
        "writes_audit": audit,
        "writable_databases": _rounded(trial.writable),
        "vip_owners": _rounded(trial.vip_owners),
        "time_without_redundancy_s": _rounded(trial.time_without_redundancy_s),
        "time_to_redundancy_s": _rounded(trial.time_to_redundancy_s),
        "without_redundancy_s": {each.tier: _rounded(each.without_redundancy_s) for each in trial.exposure},
        "exposure": [_rounded(asdict(each)) for each in trial.exposure],
        "exposure_period_s": trial.exposure_period_s,
        "alert_delay_s": _rounded(trial.alert_delay_s),
        "alerts": [_rounded(asdict(alert)) for alert in trial.alerts],
        "notified": trial.notified.value,
        "notes": list(trial.notes),
    }


def _expectations(trial: TrialResult) -> dict[str, Any]:
    return {
        "failed_expectations": [str(check) for check in trial.failures],
        "undecided_expectations": [str(check) for check in trial.undecided],
        "checks": [_check(check) for check in trial.checks],
    }


def _undisturbed(trial: TrialResult) -> dict[str, Any]:
    took_ms = trial.undisturbed_writes_ms
    return {"writes": len(took_ms), **{name: _rounded(quantile(took_ms, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}}


def _operation(found: Operation) -> dict[str, Any]:
    return {
        "intended": found.intended,
        "good": found.good,
        "failed": found.failed,
        "unserved_s": _rounded(found.unserved_s),
        "availability_ratio": _ratio(found),
        "fault_availability_ratio": _rounded(found.during_fault.ratio) if found.during_fault else None,
        "gap": _gap(found.gap),
    }


def _ratio(found: Operation) -> float | None:
    """Null where nothing was intended: of that nothing is known."""
    return round(found.ratio, 6) if found.intended else None


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    return _rounded(asdict(gap) | {"length_s": gap.length_s}) if gap else None


def _check(check: Check) -> dict[str, Any]:
    """An expectation and what is known of its measure: null for both bounds where that is nothing, for one that nothing bounds."""
    low, high = (check.measured.low, check.measured.high) if check.measured else (None, None)
    return {**asdict(check.expectation), "low": _rounded(low), "high": _rounded(high), "outcome": check.outcome.value}


def _summary(found: Summary) -> dict[str, Any]:
    """Of the service by short names, and of each operation apart."""
    outage, of_all = found.outage, found.outage_all
    return {
        "trials": found.trials,
        "trials_valid": found.trials_valid,
        "downtime_median_s": _rounded(outage.low) if outage else None,
        "downtime_ci_s": _rounded([outage.ci_low, outage.ci_high]) if outage else None,
        "downtime_ci_coverage_ratio": _rounded(outage.coverage_ratio) if outage else None,
        "downtime_censored": bool(outage and outage.is_bound),
        "downtime_worst_s": _rounded(outage.worst) if outage else None,
        "downtime_worst_censored": bool(outage and outage.worst_is_bound),
        "downtime_median_all_s": _rounded(of_all.low) if of_all else None,
        "operations": {
            name: {"outage": _median(each.outage), "gap": _median(each.gap)} if each else None
            for name, each in (("service", found.service), ("reads", found.reads), ("writes", found.writes))
        },
        "availability_ratio_median": _rounded(found.availability_ratio_median),
        "availability_censored": found.availability_censored,
        "reads_failed_total": found.reads_failed_total,
        "writes_failed_total": found.writes_failed_total,
        "writes_lost_total": found.writes_lost_total,
        "trials_audited": found.trials_audited,
    }


def _median(found: SampleMedian | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "median_s": _rounded(found.low),
        "median_is_bound": found.is_bound,
        "ci_s": _rounded([found.ci_low, found.ci_high]),
        "ci_coverage_ratio": _rounded(found.coverage_ratio),
        "worst_s": _rounded(found.worst),
        "worst_is_bound": found.worst_is_bound,
        "trials": found.count,
    }


def _outages(outages: tuple[Outage, ...]) -> list[dict[str, Any]]:
    return [_rounded(asdict(outage)) for outage in outages]


def _rounded(value: Any) -> Any:
    """Microseconds are as fine as the clock; more digits would only look exact. Nothing for what nothing bounds."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return value
