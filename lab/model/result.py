"""The figures of trials and runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lab.model.history import Alert, GeneratorReport, RunInfo
from lab.model.measures import Check, Measured, Outcome, Verdict

MONTH_S = 30 * 24 * 3600.0
"""A month is 30 days everywhere: 99.99 % of it allows 4.32 minutes."""


@dataclass(frozen=True)
class Outage:
    """A downtime window, in seconds on the clock of the load.

    `censored`: it had not ended by itself at `end_s` (the lab healed the fault, or the load stopped), so
    its length is a lower bound.
    """

    start_s: float
    end_s: float
    censored: bool
    answered: int = 0
    """Good requests that were intended between its first and its last failed one: more than none, and it was a partial outage."""

    @property
    def length_s(self) -> float:
        """Seconds from start to end; a lower bound where censored."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Gap:
    """The longest time without a success, in seconds on the clock of the load.

    `censored`: the lab healed, or the load ended, before a gap that could have been the longest was over.
    """

    start_s: float
    end_s: float
    censored: bool = False

    @property
    def length_s(self) -> float:
        """Seconds from start to end; a lower bound where censored."""
        return self.end_s - self.start_s


def longest_s(outages: Iterable[Outage]) -> float:
    """The length of the longest outage in seconds; 0 where there is none."""
    return max((outage.length_s for outage in outages), default=0.0)


@dataclass(frozen=True)
class RequestCount:
    """How many of the intended were good."""

    intended: int
    good: int

    @property
    def ratio(self) -> float:
        """good / intended; 1.0 where nothing was intended."""
        return self.good / self.intended if self.intended else 1.0

    @property
    def failed(self) -> int:
        """Those that were not good."""
        return self.intended - self.good


@dataclass(frozen=True)
class Operation:
    """What users saw of one kind of request in a trial, or of the whole service."""

    intended: int
    good: int
    unserved_s: float
    """The seconds of load that the failed requests amount to: failed / rate."""
    during_fault: RequestCount | None
    """Of those intended while the fault lasted; None where there was no fault, or nothing was intended in it."""
    outages: tuple[Outage, ...]
    gap: Gap | None
    """None where nothing was intended."""

    @property
    def ratio(self) -> float:
        """good / intended; 1.0 where nothing was intended."""
        return RequestCount(self.intended, self.good).ratio

    @property
    def failed(self) -> int:
        """Those that were not good."""
        return self.intended - self.good

    @property
    def censored(self) -> bool:
        """Whether one of its outages had not ended by itself: what it would have become is unknown."""
        return any(outage.censored for outage in self.outages)


@dataclass(frozen=True)
class WritesAudit:
    """The verdict on the writes of a trial, from what the databases held in the end."""

    attempted: int
    acknowledged: int
    lost: int
    """Acknowledged, and not in the database that users are served from."""
    unexpected: int
    """In that database though never attempted, or refused."""
    duplicate: int
    """Executed more than once."""
    indeterminate_committed: int
    """Outcome unknown to the client, and found."""
    lost_keys: tuple[str, ...] = ()
    complete: bool = True
    """Whether every database could be read, and one of them is known to be the one that users are served from."""
    why_incomplete: str = ""
    served_by: str = ""
    """The database that users are served from; empty where that is not known."""
    differing: dict[str, int] = field(default_factory=dict)
    """For each standby that had caught up, how many keys it has more often or less often than the database that users are served from."""
    not_compared: tuple[str, ...] = ()
    """The other databases that were read, of which it is not known whether they differ."""

    @property
    def writes_differing(self) -> int | None:
        """Keys that differ, all standbys together; None where a standby could not be compared, and none that was differs."""
        found = sum(self.differing.values())
        return None if not found and (self.not_compared or not self.complete or not self.served_by) else found


@dataclass(frozen=True)
class TierExposure:
    """For how long a tier tolerated no failure in a trial."""

    tier: str
    boxes: int
    """How many of its boxes (zones, regions) worked at most."""
    working: int
    """How many of them worked for most of the time in which any tier tolerated no failure; all, if there was no such time."""
    failures_tolerated: int
    """How many more failures it survived at best."""
    without_redundancy_s: float | None
    """Seconds with none left, from the fault on; None where it never had any, so that none was lost."""
    spans: tuple[tuple[float, float], ...] = ()
    """From when to when that was; seconds on the clock of the load."""
    censored: bool = False
    """It was still so when the load ended: a lower bound."""


class Notified(StrEnum):
    """Whether a page or a ticket reported a fault."""

    YES = "notified"
    NO = "not notified"
    """It did harm, and every alert is known."""
    NOT_NEEDED = "not needed"
    """No request failed while it lasted, and no redundancy was missing."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class FaultImpact:
    """One of several faults of a trial, and what users noticed of it before the next."""

    at_s: float
    what: str
    redundant_before: bool | None
    """Whether redundancy was restored just before; None where that was not observed (the first)."""
    downtime_s: float
    """The longest outage that began with it or after it, and before the next; a lower bound where censored."""
    censored: bool


@dataclass(frozen=True)
class TrialResult:
    """The figures of a trial."""

    number: int
    seed: int
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""
    verified: bool
    targets: tuple[str, ...]
    total: Operation
    """The service: all requests, the union of the outages of reads and of writes, the longer of their gaps."""
    reads: Operation
    writes: Operation
    phases: dict[str, float]
    errors: dict[str, int]
    served_by: dict[str, int]
    latency_ms: dict[str, float]
    reads_latency_ms: dict[str, float]
    writes_latency_ms: dict[str, float]
    undisturbed_writes_ms: tuple[float, ...]
    """How long each write took that was good and had its answer before the fault; all good ones where there was no fault."""
    audit: WritesAudit
    generator: GeneratorReport
    checks: tuple[Check, ...] = ()
    """Each expectation, held against the figures."""
    writable: dict[str, float] = field(default_factory=dict)
    """Seconds with no database that accepts writes (no_writer_s) and with several (multiple_writers_s)."""
    vip_owners: dict[str, float] = field(default_factory=dict)
    """Seconds with no balancer that claims the VIP (no_owner_s), and with several (multiple_owners_s)."""
    time_without_redundancy_s: float | None = None
    """For how long users were served while something was missing: from the fault until redundancy was restored, without the
    outages meanwhile. None where one of these is not known, as in an outage whose end was not seen."""
    unseen_s: float = 0.0
    """For how long the observer said nothing: what it would have seen of databases and address then is unknown."""
    notes: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """Those that were delivered from the fault on (or at all, where there was none), in order."""
    notified: Notified = Notified.UNKNOWN
    """Whether one of them was a page or a ticket, in time to report the fault."""
    exposure: tuple[TierExposure, ...] = ()
    """The tiers that the stage has; empty where that was not observed."""
    exposure_period_s: float | None = None
    """How often it was observed; None where it was not."""
    databases: int = 0
    """How many the stage has, as far as they were audited: one by itself cannot split."""
    has_writes: bool = True
    """Whether anything was to be written; where not, all that is said of writes is not measured, which is not 0."""
    served: dict[str, float] = field(default_factory=dict)
    """Of an overload: what one box carries (capacity_per_s), what was asked for (offered_per_s) and served in time
    (served_per_s) from a second after the fault until it was healed."""
    fault_impacts: tuple[FaultImpact, ...] = ()
    """Each fault by itself, where there were several."""

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Those of the service: it is down while reads or writes are."""
        return self.total.outages

    @property
    def read_outages(self) -> tuple[Outage, ...]:
        """Those of reads alone."""
        return self.reads.outages

    @property
    def write_outages(self) -> tuple[Outage, ...]:
        """Those of writes alone."""
        return self.writes.outages

    @property
    def failures(self) -> tuple[Check, ...]:
        """The expectations that it missed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILS)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The expectations of which it says nothing."""
        return tuple(check for check in self.checks if check.outcome is Outcome.UNDECIDED)

    @property
    def is_decided(self) -> bool:
        """Whether it is valid and says of every expectation whether it holds."""
        return self.valid and not self.undecided

    @property
    def alert_delay_s(self) -> float | None:
        """Time to alert: from the fault to the first alert; None where none came before the fault was healed."""
        injected, alerted = self.phases.get("inject_s"), self.phases.get("alert_s")
        return alerted - injected if injected is not None and alerted is not None else None

    @property
    def served_ratio(self) -> float | None:
        """Of what one box carries, how much was served in time in an overload; None where that was not measured."""
        return self.served["served_per_s"] / self.served["capacity_per_s"] if self.served else None

    @property
    def time_to_redundancy_s(self) -> float | None:
        """From the healing of the fault until nothing was missing again; 0 where that was so before."""
        healed, until = self.phases.get("heal_s"), self.phases.get("redundancy_restored_s")
        return max(until - healed, 0.0) if healed is not None and until is not None else None

    @property
    def downtime_longest_s(self) -> float:
        """The longest outage; 0 where there was none."""
        return longest_s(self.outages)

    @property
    def downtime_total_s(self) -> float:
        """All outages together."""
        return sum(outage.length_s for outage in self.outages)

    @property
    def censored(self) -> bool:
        """Whether the downtime is a lower bound."""
        return self.total.censored


@dataclass(frozen=True)
class SampleMedian:
    """The median of a measure over some trials, as far as their values are known."""

    low: float
    """The median if every value that is a bound were just that."""
    high: float
    """The median if every such value were as large as it may be; infinite where nothing bounds it."""
    ci_low: float
    ci_high: float
    """An interval for the median of the population; infinite where nothing bounds it."""
    coverage_ratio: float
    """The probability with which the interval covers that median."""
    worst: float
    """The largest value; a lower bound where `worst_is_bound`."""
    worst_is_bound: bool
    count: int

    @property
    def is_bound(self) -> bool:
        """Whether the median itself is only known to be at least `low`."""
        return self.high > self.low


@dataclass(frozen=True)
class OperationSummary:
    """What users saw of one kind of request, or of the service, over the trials of a run; seconds."""

    outage: SampleMedian
    """Of the longest outage of each trial."""
    gap: SampleMedian | None
    """Of the gap of each trial; None where nothing was intended."""


@dataclass(frozen=True)
class Summary:
    """A run over its valid trials."""

    trials: int
    trials_valid: int
    service: OperationSummary | None
    """None without a valid trial, like the two below."""
    reads: OperationSummary | None
    writes: OperationSummary | None
    outage_all: SampleMedian | None
    """Of the service's longest outage over all trials, also those that are not valid: leaving these out favours the system."""
    availability: Measured | None
    """The median share of good answers; a range where outages that were cut short would have made it smaller."""
    reads_failed_total: int
    writes_failed_total: int
    writes_lost_total: int
    trials_audited: int = 0
    """Those in which every database could be read afterwards."""

    @property
    def availability_ratio_median(self) -> float | None:
        """As measured; an upper bound where `availability` is a range. None without a valid trial."""
        return self.availability.high if self.availability else None

    @property
    def availability_censored(self) -> bool:
        """Whether that is only an upper bound."""
        return self.availability is not None and not self.availability.is_exact

    @property
    def outage(self) -> SampleMedian | None:
        """Of the service's longest outage; None without a valid trial."""
        return self.service.outage if self.service else None


@dataclass(frozen=True)
class RunResult:
    """A run: its trials, its summary, its verdict."""

    info: RunInfo
    verdict: Verdict
    trials: tuple[TrialResult, ...]
    summary: Summary
    folder: Path | None = field(default=None, compare=False)
