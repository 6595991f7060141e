"""What a trial says of each expectation, and a run of all of them: held, failed, or open. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.checker.outages import at_least, longest, total
from lab.model.measures import DIFFERING, LOST, SERVED_RATIO, SURE_WHEN_INVALID, Check, Expectation, Measured, Verdict
from lab.model.result import Gap, Operation, RequestCount, TrialResult

Figure = Callable[[TrialResult], Measured | None]
OfOperation = Callable[[Operation], Measured | None]


def _failed(of: Operation) -> Measured:
    """An outage that was cut short had failed more requests."""
    return at_least(of.failed, of.censored)


def _unserved(of: Operation) -> Measured:
    return at_least(of.unserved_s, of.censored)


def availability(of: Operation) -> Measured:
    """The share of good answers, as far as it is known."""
    return _ratio(RequestCount(of.intended, of.good), of)


def _availability_during_fault(of: Operation) -> Measured | None:
    """How long the fault lasted is up to the lab where the lab ended it: what a longer one would have come to is unknown."""
    if of.during_fault is None:
        return None
    return Measured(0.0, 1.0) if of.censored else Measured.exactly(of.during_fault.ratio)


def _ratio(found: RequestCount, of: Operation) -> Measured:
    """A share of good answers: an outage that was cut short would have made it smaller."""
    return Measured(0.0, found.ratio) if of.censored else Measured.exactly(found.ratio)


def _gap(of: Operation) -> Measured | None:
    return _of_gap(of.gap)


def _of_gap(gap: Gap | None) -> Measured | None:
    return at_least(gap.length_s, gap.censored) if gap else None


def _longest(of: Operation) -> Measured:
    return longest(of.outages)


def _total(of: Operation) -> Measured:
    return total(of.outages)


def _outages(of: Operation) -> Measured:
    """A service that was healed may have failed again and again."""
    return at_least(len(of.outages), of.censored)


def _service(figure: OfOperation) -> Figure:
    return lambda trial: _tried(figure, trial.total)


def _reads(figure: OfOperation) -> Figure:
    return lambda trial: _tried(figure, trial.reads)


def _writes(figure: OfOperation) -> Figure:
    return lambda trial: _tried(figure, trial.writes) if trial.has_writes else None


def _tried(figure: OfOperation, of: Operation) -> Measured | None:
    """What nothing was asked of is unknown: without a request there is no failure, and no success either."""
    return figure(of) if of.intended else None


def _known(value: float | None) -> Measured | None:
    return None if value is None else Measured.exactly(value)


def _observed(trial: TrialResult, multiple_s: float | None) -> Measured | None:
    """Seconds with several of what the observer counted: while it saw nothing there may have been several, too."""
    return None if multiple_s is None else Measured(multiple_s, multiple_s + trial.unseen_s)


def _lost(trial: TrialResult) -> Measured | None:
    return Measured.exactly(trial.audit.lost) if trial.audit.complete and trial.has_writes else None


def _of_audit(count: Callable[[TrialResult], int]) -> Figure:
    """What a database that could not be read may hold is not known."""
    return lambda trial: at_least(count(trial), not trial.audit.complete) if trial.has_writes else None


def _rejoin(trial: TrialResult) -> Measured | None:
    """0 where the lab healed nothing; not known where it did and did not see the end."""
    return Measured.exactly(0.0) if "heal_s" not in trial.phases else _known(trial.time_to_redundancy_s)


FIGURES: dict[str, Figure] = {
    "downtime_longest_s": _service(_longest),
    "downtime_total_s": _service(_total),
    "gap_s": _service(_gap),
    "unserved_s": _service(_unserved),
    "requests_failed": _service(_failed),
    "availability_ratio": _service(availability),
    "fault_availability_ratio": _service(_availability_during_fault),
    "reads_downtime_longest_s": _reads(_longest),
    "reads_gap_s": _reads(_gap),
    "reads_unserved_s": _reads(_unserved),
    "reads_failed": _reads(_failed),
    "reads_availability_ratio": _reads(availability),
    "reads_fault_availability_ratio": _reads(_availability_during_fault),
    "writes_downtime_longest_s": _writes(_longest),
    "writes_gap_s": _writes(_gap),
    "writes_unserved_s": _writes(_unserved),
    "writes_failed": _writes(_failed),
    "writes_availability_ratio": _writes(availability),
    "writes_fault_availability_ratio": _writes(_availability_during_fault),
    LOST: _lost,
    DIFFERING: lambda trial: _known(trial.audit.writes_differing if trial.has_writes else None),
    "writes_unexpected": _of_audit(lambda trial: trial.audit.unexpected),
    "writes_duplicate": _of_audit(lambda trial: trial.audit.duplicate),
    "outages": _service(_outages),
    "split_brain_s": lambda trial: (
        _observed(trial, trial.writable.get("multiple_writers_s")) or _known(0.0 if trial.databases == 1 else None)
    ),
    "multiple_vip_owners_s": lambda trial: _observed(trial, trial.vip_owners.get("multiple_owners_s")),
    "time_without_redundancy_s": lambda trial: _known(trial.time_without_redundancy_s),
    "time_to_redundancy_s": _rejoin,
    SERVED_RATIO: lambda trial: _known(trial.served_ratio),
}


def measured(trial: TrialResult, measure: str) -> Measured | None:
    """What is known of one of MEASURES in a trial; None where it is unknown."""
    return FIGURES[measure](trial)


def check(trial: TrialResult, expectations: Sequence[Expectation]) -> tuple[Check, ...]:
    """Each expectation, held against a trial."""
    values = [measured(trial, expectation.measure) for expectation in expectations]
    return tuple(
        Check(expectation, value, expectation.judge(value)) for expectation, value in zip(expectations, values, strict=True)
    )


def decide(trials: Sequence[TrialResult]) -> Verdict:
    """Refuted when a valid trial missed an expectation; held when at least half of the trials are valid and held every one.

    A lost write refutes in an invalid trial too, and so does a difference between databases: neither depends on how well
    time was kept. A valid trial
    that says nothing of an expectation is none that held it.
    """
    if any(trial.valid or check.expectation.measure in SURE_WHEN_INVALID for trial in trials for check in trial.failures):
        return Verdict.REFUTED
    decided = sum(trial.is_decided for trial in trials)
    return Verdict.HELD if decided and decided * 2 >= len(trials) else Verdict.INCONCLUSIVE
