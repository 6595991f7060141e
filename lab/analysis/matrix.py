"""A comparison of stages as one table: a row a stage, a column a fault, a cell a run. A search for single points of failure is
one row.

`cell` fills the cells, `matrix_file` reads and writes the table; every report of a comparison is made from it, without Docker.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lab.analysis.summary import sample_median
from lab.checker.outages import at_least
from lab.model.history import Conditions
from lab.model.measures import Check, Expectation, Measured, Outcome, Verdict
from lab.model.result import Notified, SampleMedian

SCHEMA_VERSION = 2
ADDED = ("trials_notified", "trials_not_notified", "trials_no_alert_needed")
"""Fields of a cell that files from before do not have. Without them nothing is known of what they say."""


@dataclass(frozen=True)
class Column:
    """A fault that is done to every stage that has what it needs."""

    name: str
    """Short, and different from every other of the matrix: `kill-web`."""
    title: str
    """In words, for people: "a web box is lost"."""
    members: tuple[str, ...] = ()
    """Of a search for single points of failure: the part that fails (web1, zone:a); two for a line or a pair. Empty elsewhere."""
    fault: str = ""
    """Of such a search: how it fails, "isolate edge"."""


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """What trials of one fault on one target measured. Seconds, and ratios from 0 to 1.

    A field that ends in `_censored` says whether the figure that it is named after is only a lower bound (an availability: an
    upper bound).
    """

    trials: int = 0
    trials_valid: int = 0
    downtimes_s: tuple[float, ...] = ()
    """The longest outage of each valid trial, in order of trials."""
    downtimes_censored: tuple[bool, ...] = ()
    """For each of these whether it is a lower bound."""
    downtime_median_s: float | None = None
    """None without a valid trial; so below."""
    downtime_low_s: float | None = None
    downtime_high_s: float | None = None
    """The interval for the median, and the probability with which such an interval covers it."""
    downtime_coverage_ratio: float | None = None
    downtime_censored: bool = False
    """The median itself is only a lower bound. One trial of many that is a bound need not change it: is_cut says whether any is."""
    downtime_worst_s: float | None = None
    """The longest outage of any valid trial."""
    downtime_worst_censored: bool = False
    downtime_median_all_s: float | None = None
    """The median over all trials, also those that are not valid: leaving these out favours the system."""
    downtime_median_all_censored: bool = False
    reads_downtime_median_s: float | None = None
    """Of the longest outage of reads alone in each valid trial; the service is down while reads or writes are."""
    reads_downtime_median_censored: bool = False
    writes_downtime_median_s: float | None = None
    """The same of writes; None where nothing was written."""
    writes_downtime_median_censored: bool = False
    gap_median_s: float | None = None
    """Of the longest time without a success of reads, or of writes, in each valid trial, whether or not a request failed."""
    gap_median_censored: bool = False
    availability_ratio: float | None = None
    """Median over the valid trials."""
    availability_censored: bool = True
    time_without_redundancy_s: float | None = None
    """Median over the valid trials in which it is known."""
    time_without_redundancy_unknown: int = 0
    """In how many valid trials it is not known when redundancy was restored."""

    @property
    def outages(self) -> tuple[Measured, ...]:
        """What is known of the longest outage of each valid trial."""
        return tuple(at_least(seconds, bound) for seconds, bound in zip(self.downtimes_s, self.downtimes_censored, strict=True))

    @property
    def median(self) -> SampleMedian | None:
        """The median of the longest outages, with its bounds; None without a valid trial."""
        found = self.outages
        return sample_median(found) if found else None

    @property
    def median_at_least_s(self) -> float:
        """The median, were each trial that is a lower bound just that; 0 without a valid trial."""
        found = self.median
        return found.low if found else 0.0

    @property
    def median_at_most_s(self) -> float:
        """The median, were each trial that is a lower bound endless; endless without a valid trial."""
        found = self.median
        return found.high if found else math.inf


@dataclass(frozen=True, kw_only=True)
class Member(CellFigures):
    """One of the targets that a fault falls on (each zone, each region), over its own trials."""

    target: str
    """As an experiment names it: zone:a, region:eu."""

    @property
    def name(self) -> str:
        """Without the kind of place: a, eu."""
        return self.target.partition(":")[2] or self.target


@dataclass(frozen=True)
class CellCheck:
    """An expectation that a trial missed, or of which it says nothing: fields as those of a run's `checks[]`."""

    measure: str
    at_most: float | None
    at_least: float | None
    low: float | None
    """What is known of the measure; None where that is nothing."""
    high: float | None
    """None also where nothing bounds it."""
    outcome: Outcome

    @classmethod
    def of(cls, check: Check) -> CellCheck:
        """A check, as a file can hold it."""
        expected, found = check.expectation, check.measured
        low, high = (found.low, found.high if math.isfinite(found.high) else None) if found else (None, None)
        return cls(expected.measure, expected.at_most, expected.at_least, low, high, check.outcome)

    @property
    def check(self) -> Check:
        """As a trial has it."""
        known = None if self.low is None else Measured(self.low, math.inf if self.high is None else self.high)
        return Check(Expectation(self.measure, self.at_most, self.at_least), known, self.outcome)


@dataclass(frozen=True, kw_only=True)
class Cell(CellFigures):
    """One fault at one stage, over its trials.

    Where the fault falls on several targets (each zone), trials of different targets are no one sample: the figures are those of
    the target with the longest median, which `worst` names; downtime_worst_s, availability_ratio and time_without_redundancy_s
    are each that of its own worst target.
    """

    column: str
    """The name of its column."""
    experiment: str
    """What was run; stages may need different experiments for the same fault. Empty where nothing was."""
    applicable: bool
    """Whether the stage has what the fault needs; where not, `why` says what is missing and all else is empty."""
    verdict: Verdict | None
    """None where it is not applicable."""
    writes_lost: int = 0
    """Acknowledged, and not in the database that users are served from; all trials together, also those that are not valid."""
    split_brain_s: float | None = 0.0
    """The longest of any trial, valid or not: 0 where the stage has a single database, None where in some trial the databases
    were not observed (and none was seen in the others)."""
    audits_incomplete: int = 0
    """After how many trials not every database could be read, so that a lost write would not show."""
    checks: tuple[CellCheck, ...] = ()
    """What trials missed, or leave undecided; none where the verdict is held."""
    why: tuple[str, ...] = ()
    """Why it is not applicable, or why trials are not valid, each reason once; none where the verdict is held."""
    folder: str = ""
    """Where the run is kept; empty where it is not."""
    members: tuple[Member, ...] = ()
    """The targets, each with its own figures; empty where the fault has one target (or boxes that are alike)."""
    worst: str = ""
    """The target that the downtimes are of; empty where there is one only, or none has a valid trial."""
    trials_notified: int = 0
    """In how many valid trials a page or a ticket reported the fault."""
    trials_not_notified: int = 0
    """In how many it did harm, and none did. Of those that are in none of the three, it is not known."""
    trials_no_alert_needed: int = 0
    """In how many it did no harm."""

    @property
    def trials_counted(self) -> int:
        """Valid trials of every target."""
        return sum(each.trials_valid for each in self.samples)

    @property
    def trials_notified_unknown(self) -> int:
        """In how many valid trials it is not known whether a page or a ticket reported the fault."""
        return self.trials_counted - self.trials_notified - self.trials_not_notified - self.trials_no_alert_needed

    @property
    def notified(self) -> Notified:
        """Whether a page or a ticket reported the fault: not, where that is known of any trial; else only what is known of all."""
        if self.trials_not_notified:
            return Notified.NO
        if not self.trials_counted or self.trials_notified_unknown:
            return Notified.UNKNOWN
        return Notified.YES if self.trials_notified else Notified.NOT_NEEDED

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The targets without a valid trial."""
        return tuple(each.target for each in self.members if not each.trials_valid)

    @property
    def trials_fewest(self) -> int:
        """Valid trials of the target that has the fewest."""
        return min((each.trials_valid for each in self.members), default=self.trials_valid)

    @property
    def samples(self) -> tuple[CellFigures, ...]:
        """What was measured of each target, or of the only one."""
        return self.members or (self,)

    @property
    def median_at_least_s(self) -> float:
        """What the longest median of any target is at least; 0 without a valid trial."""
        return max([0.0, *(each.low for sample in self.samples if (each := sample.median))])

    @property
    def median_at_most_s(self) -> float:
        """What the longest median of any target is at most; endless where one of them has no valid trial."""
        return max(each.high if (each := sample.median) else math.inf for sample in self.samples)

    @property
    def every_outage(self) -> tuple[Measured, ...]:
        """What is known of the longest outage of each valid trial, of every target."""
        return tuple(each for sample in self.samples for each in sample.outages)

    @property
    def longest(self) -> Measured | None:
        """What is known of the longest outage of any valid trial, of any target; None without one."""
        found = self.every_outage
        return at_least(max(each.low for each in found), not all(each.is_exact for each in found)) if found else None

    @property
    def is_cut(self) -> bool:
        """Whether the outage of any valid trial, of any target, may have been longer than what was seen of it."""
        return self.longest is not None and not self.longest.is_exact

    @property
    def losses_known(self) -> bool:
        """Whether a lost write would have shown in every trial."""
        return self.audits_incomplete == 0


@dataclass(frozen=True)
class Row:
    """One stage, and what became of every fault that was tried on it."""

    stage: int
    name: str
    """For people, and different from every other of the matrix: "4-database-replication (automatic)"."""
    failover: str
    """Which file of the stage: none or automatic."""
    boxes: int
    """How many the stage needs, without the internet: what its redundancy costs."""
    memory_mib: int
    cells: tuple[Cell, ...]
    """At most one of each column; a column that is missing was not tried."""
    title: str = ""
    """Of the stage, as its file has it: "Redundant load balancers"."""
    conditions: Conditions | None = None
    """What the stage's figures stand on; None where that is not known."""

    @property
    def called(self) -> str:
        """For sentences: its title, and which of its files where it has two; without a title its name."""
        file = f" ({self.failover})" if self.name.endswith(f"({self.failover})") else ""
        return self.title + file if self.title else self.name

    def cell(self, column: str) -> Cell | None:
        """What became of a fault; None where it was not tried."""
        return next((cell for cell in self.cells if cell.column == column), None)


@dataclass(frozen=True)
class Matrix:
    """Stages against faults."""

    title: str
    started_at: str
    """UTC, as in 2026-01-31T12:00:00Z."""
    seed: int
    rate_per_s: float
    deadline_s: float
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    tolerance_s: float | None = None
    """Of a search for single points of failure: the longest outage that counts as survived. None for a comparison."""
    alerts_required: bool = False
    """Whether a fault that did harm must be reported by a page or a ticket."""

    @property
    def is_sweep(self) -> bool:
        """Whether it is a search for single points of failure: one stage, and every column a part of it that fails."""
        is_one_stage = self.tolerance_s is not None and len(self.rows) == 1
        return is_one_stage and bool(self.columns) and all(column.members for column in self.columns)

    def to_document(self) -> dict[str, Any]:
        """The matrix as JSON-ready data."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}
