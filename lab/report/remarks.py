"""What needs saying about a trial or a run beside its figures: the same in every report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.checker.latency import quantile
from lab.model.experiment import RepairPolicy
from lab.model.history import RunInfo
from lab.model.measures import Verdict
from lab.model.result import MONTH_S, FaultImpact, RunResult, TrialResult, WritesAudit
from lab.report import run_words, words

MINUTES_A_MONTH = MONTH_S / 60
AFTER_FAULT = ("detect_s", "elect_s", "reroute_s")


def remarks(info: RunInfo, trial: TrialResult) -> list[str]:
    """All that is said about a trial beside its figures: of several faults in a row, each for itself."""
    return [
        *(f"not valid: {reason}" for reason in trial.reasons),
        *_failures(trial),
        *_audit(trial),
        *_twice(trial),
        *([overload(trial)] if trial.served else []),
        *failover(trial),
        *alerts(trial),
        *redundancy(trial),
        *_operator(trial),
        *checks(trial),
        *trial.notes,
        *each_fault(info, trial),
    ]


def warnings(info: RunInfo, trial: TrialResult) -> list[str]:
    """Those that a short report may not leave out, worst first: what must never be, what was missed, why a trial says nothing."""
    return [
        *_twice(trial),
        *_unknown_losses(trial),
        *_wrong_writes(trial),
        *differences(trial.audit),
        *map(run_words.check_text, trial.failures),
        *(f"not valid: {reason}" for reason in trial.reasons),
        *checks(trial)[len(trial.failures) :],
        *trial.notes,
    ]


def details(info: RunInfo, trial: TrialResult) -> list[str]:
    """What a short report says beside these, where there is room: an overload in figures, each of several faults."""
    return [*([overload(trial)] if trial.served else []), *each_fault(info, trial)]


def _wrong_writes(trial: TrialResult) -> Iterator[str]:
    """Writes that were executed twice, or although the client got an error."""
    for count, what in (
        (trial.audit.duplicate, "executed twice"),
        (trial.audit.unexpected, "committed although the client got an error"),
    ):
        if count:
            yield f"{words.count(count, 'write')} {what}"


def checks(trial: TrialResult) -> list[str]:
    """The expectations that a trial missed, and those of which it says nothing."""
    undecided = (f"undecided: {run_words.check_text(each)}" for each in trial.undecided)
    return [*map(run_words.check_text, trial.failures), *undecided]


def _failures(trial: TrialResult) -> Iterator[str]:
    if trial.errors:
        yield "failures: " + ", ".join(f"{count} {name}" for name, count in sorted(trial.errors.items()))


def _unknown_losses(trial: TrialResult) -> list[str]:
    unknown = not trial.audit.complete and trial.has_writes
    return ["lost writes are unknown: not every database could be read"] if unknown else []


def _audit(trial: TrialResult) -> Iterator[str]:
    """What the databases showed, and how an outage ended that only the lab's healing ended."""
    audit, phases = trial.audit, trial.phases
    yield from _unknown_losses(trial)
    if trial.censored and {"recover_s", "heal_s"} <= phases.keys():
        after_s = phases["recover_s"] - phases["heal_s"]
        yield f"the outage lasted until the lab healed the fault; service restored {after_s:.2f} s after that"
    yield from _wrong_writes(trial)
    if audit.indeterminate_committed:
        yield f"{words.count(audit.indeterminate_committed, 'write')} committed although no answer came"
    yield from differences(audit)


def _twice(trial: TrialResult) -> Iterator[str]:
    """Two boxes that did at once what only one may do."""
    writers_s, owners_s = run_words.multiple_writers_s(trial), run_words.multiple_owners_s(trial)
    if writers_s:
        yield f"split brain: two databases accepted writes for {writers_s:.1f} s"
    if owners_s:
        yield f"two balancers owned the VIP for {owners_s:.1f} s"


def differences(audit: WritesAudit) -> list[str]:
    """Where a standby holds something else than the database that users are served from, and where that is not known."""
    found = [f"{name} differs from {audit.served_by} in {count:,} orders" for name, count in audit.differing.items() if count]
    if audit.complete and audit.not_compared:
        names = ", ".join(audit.not_compared)
        found.append(f"{names} had not caught up when it was read: whether its orders differ is not known")
    return found


def overload(trial: TrialResult) -> str:
    """What was requested, what was served, and what could have been."""
    offered, served, capacity = (trial.served[key] for key in ("offered_per_s", "served_per_s", "capacity_per_s"))
    return (
        f"capacity of one web box {capacity:.0f} requests a second; after the fault {offered:.0f} requested and {served:.0f} "
        f"served in time: {words.percent(trial.served_ratio, 0)} of the capacity"
    )


def failover(trial: TrialResult) -> list[str]:
    """When the system detected the failure, elected and failed over, counted from the fault."""
    found = [f"{words.PHASE_WORDS[name]} after {words.after_fault(trial, name)}" for name in AFTER_FAULT if name in trial.phases]
    return [", ".join(found)] if found else []


def alerts(trial: TrialResult) -> list[str]:
    """Each alert that was delivered, and how long after the fault; as many as came, for that is what it costs who is on call."""
    since_s = trial.phases.get("inject_s", 0.0)
    found = [f"{alert.name} after {alert.fired_s - since_s:.2f} s" for alert in trial.alerts]
    return [f"alerts: {', '.join(found)}"] if found else []


def redundancy(trial: TrialResult) -> list[str]:
    """For how long one more failure would have been an outage."""
    if not trial.time_without_redundancy_s:
        return []
    restored_s = trial.time_to_redundancy_s
    again = "" if restored_s is None else f", restored {restored_s:.1f} s after healing began"
    return [f"time without redundancy {trial.time_without_redundancy_s:.1f} s{again}"]


def _operator(trial: TrialResult) -> Iterator[str]:
    """How much of an outage was waiting for a human, and what that makes of a month; a planned change is waited for by no user."""
    phases = trial.phases
    if "impact_s" not in phases or phases.get("operator_s", 0.0) <= phases["impact_s"]:
        return
    waited_s = phases["operator_s"] - phases["impact_s"]
    machine = f", {phases['recover_s'] - phases['operator_s']:.2f} s for the machines" if "recover_s" in phases else ""
    yield (
        f"{waited_s:.1f} s of the outage was waiting for the operator{machine}. With 30 minutes instead: "
        f"availability {1 - 30 / MINUTES_A_MONTH:.3%} this month, where 99.99% allows {MINUTES_A_MONTH / 10_000:.2f} minutes"
    )


# Several faults in a row


def each_fault(info: RunInfo, trial: TrialResult) -> list[str]:
    """What each of several faults in a row did; nothing where there was one."""
    return fault_lines(trial.fault_impacts, tolerance_s(info))


def fault_lines(impacts: Sequence[FaultImpact], tolerated_s: float) -> list[str]:
    """A line for each fault: what it cost, and whether redundancy had been restored before it."""
    return [_fault_line(number, impact, tolerated_s) for number, impact in enumerate(impacts, 1)]


def tolerance_s(info: RunInfo) -> float:
    """For how long users may be without the service, as the experiment says; 0 where it does not."""
    bounds = [each.at_most for each in info.expectations if each.measure == "downtime_longest_s" and each.at_most is not None]
    return min(bounds, default=0.0)


REDUNDANT_BEFORE = {None: "", True: ", after redundancy was restored", False: ", before redundancy was restored"}


def _fault_line(number: int, impact: FaultImpact, tolerated_s: float) -> str:
    outage = f"longest outage {words.seconds(impact.downtime_s, impact.censored)}" if impact.downtime_s else "no user noticed"
    fate = "survived" if impact.downtime_s <= tolerated_s else "an outage"
    if impact.censored and impact.downtime_s <= tolerated_s:
        fate = "unknown: the next fault came"
    return f"fault {number} ({impact.what}{REDUNDANT_BEFORE[impact.redundant_before]}): {outage}: {fate}"


# A run


def conditions(result: RunResult) -> list[str]:
    """What the run was made under, and what came of it: the durability, the repair policy, losses by trial."""
    lost = run_words.lost_trials(result.trials) if result.info.plan.has_writes else ""
    return [*durability(result), *under_repair(result), *([lost] if lost else [])]


def under_repair(result: RunResult) -> list[str]:
    """The repair policy of a run, and whether the verdict is the one that the experiment's author expects under it."""
    info, found = result.info, []
    if info.repair != RepairPolicy.NONE:
        found.append(f"repair: {info.repair} after {info.repair_delay_s:g} s, by the lab in place of an orchestrator")
    if info.expected_verdict and result.verdict is not Verdict.INCONCLUSIVE:
        fits = "as expected" if result.verdict.value == info.expected_verdict else f"{info.expected_verdict} was expected"
        found.append(f"under repair '{info.repair}': {result.verdict.value}, {fits}")
    return found


def durability(result: RunResult) -> list[str]:
    """Where a commit waits for another database, what that costs each write, and what was lost; nothing where there is no choice."""
    if not result.info.durability:
        return []
    return [f"durability '{result.info.durability}': {_cost_of_writes(result)}{run_words.lost(result.trials)}"]


def _cost_of_writes(result: RunResult) -> str:
    took_ms: Sequence[float] = [each for trial in result.trials if trial.valid for each in trial.undisturbed_writes_ms]
    if not took_ms:
        return ""
    when = " before the fault" if result.info.has_fault else ""
    return f"{len(took_ms):,} writes{when}: p50 {quantile(took_ms, 0.5):.1f} ms, p99 {quantile(took_ms, 0.99):.1f} ms; "
