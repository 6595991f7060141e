"""A comparison of stages as one table: a row a stage, a column a fault, a cell a run. What a sweep is, too: one row.

Whoever compares fills it; every report of a comparison is made from it, and from its JSON, without Docker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from lab.analysis.summary import sample_median, summarise
from lab.checker.outages import at_least
from lab.checker.verdict import decide
from lab.errors import DiskError, UsageError, shown
from lab.model.history import Conditions
from lab.model.measures import Check, Measured, Verdict
from lab.model.result import RunResult, SampleMedian, Summary, TrialResult
from lab.spec import kept
from lab.spec.located_yaml import place
from lab.store import paths

SCHEMA_VERSION = 1
FILE_NAME = "matrix.json"
CELLS_MAX = 2000


@dataclass(frozen=True)
class Column:
    """A fault that is done to every stage that has what it needs."""

    name: str
    """Short, and different from every other of the matrix: `kill-web`."""
    title: str
    """In words, for people: "a web box is lost"."""


@dataclass(frozen=True)
class Member:
    """One of the targets that a fault falls on (each zone, each region), over its own trials. Fields as those of a Cell."""

    target: str
    """As an experiment names it: zone:a, region:eu."""
    trials: int = 0
    trials_valid: int = 0
    downtimes_s: tuple[float, ...] = ()
    downtimes_censored: tuple[bool, ...] = ()
    downtime_median_s: float | None = None
    downtime_low_s: float | None = None
    downtime_high_s: float | None = None
    downtime_coverage_ratio: float | None = None
    downtime_censored: bool = False
    availability_ratio: float | None = None
    availability_censored: bool = True
    """It is an upper bound, or not known to be none (a file of an older version)."""
    without_redundancy_s: float | None = None
    downtime_worst_s: float | None = None
    downtime_worst_censored: bool = False
    downtime_median_all_s: float | None = None
    downtime_median_all_censored: bool = False
    reads_downtime_median_s: float | None = None
    reads_downtime_median_censored: bool = False
    writes_downtime_median_s: float | None = None
    writes_downtime_median_censored: bool = False
    gap_median_s: float | None = None
    gap_median_censored: bool = False
    degraded_unknown: int | None = 0

    @property
    def name(self) -> str:
        """Without the kind of place: a, eu."""
        return self.target.partition(":")[2] or self.target

    @property
    def median(self) -> SampleMedian | None:
        """The median of the longest outages, with its bounds; None without a valid trial."""
        return _median(self)

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


@dataclass(frozen=True)
class Cell:
    """One fault at one stage, over its trials. Seconds, and ratios from 0 to 1.

    Where the fault falls on several targets (each zone), trials of different targets are no one sample: the downtimes, their
    median, those of reads, of writes and of the gap, and the numbers of trials are those of the target with the longest median,
    which `worst` names; downtime_worst_s, availability_ratio and degraded_s are each that of its own worst target.

    A field that ends in `_censored` says whether the figure that it is named after is only a lower bound.
    """

    column: str
    """The name of its column."""
    experiment: str
    """What was run; stages may need different experiments for the same fault. Empty where nothing was."""
    applicable: bool
    """Whether the stage has what the fault needs; where not, `why` says what is missing and all else is empty."""
    verdict: Verdict | None
    """None where it is not applicable."""
    trials: int = 0
    trials_valid: int = 0
    downtimes_s: tuple[float, ...] = ()
    """The longest outage of each valid trial, in order of trials."""
    downtimes_censored: tuple[bool, ...] = ()
    """For each of these whether it is a lower bound; empty where that is not known."""
    downtime_median_s: float | None = None
    """None without a valid trial."""
    downtime_low_s: float | None = None
    downtime_high_s: float | None = None
    """The interval for the median, and the probability with which such an interval covers it."""
    downtime_coverage_ratio: float | None = None
    downtime_censored: bool = False
    """The median itself is only a lower bound. One trial of many that is a bound need not change it: is_cut says whether any is."""
    availability_ratio: float | None = None
    """Median over the valid trials."""
    availability_censored: bool = True
    writes_lost: int = 0
    """Acknowledged, and not in the database that users are served from; all trials together, also those that are not valid."""
    split_brain_s: float | None = 0.0
    """The longest of any trial, valid or not: 0 where the stage has a single database, None where in some trial nothing
    watched the databases (and none was seen in the others)."""
    without_redundancy_s: float | None = None
    """The time without redundancy: median over the valid trials in which it is known."""
    why: tuple[str, ...] = ()
    """Why it is not applicable, inconclusive or refuted."""
    folder: str = ""
    """Where the run is kept; empty where it is not."""
    members: tuple[Member, ...] = ()
    """The targets, each with its own figures; empty where the fault has one target (or boxes that are alike)."""
    worst: str = ""
    """The target that the downtimes are of; empty where there is one only, or none has a valid trial."""
    audits_incomplete: int | None = 0
    """After how many trials not every database could be read, so that a lost write would not show; None where that was not
    kept (a file of an older version)."""
    downtime_worst_s: float | None = None
    """The longest outage of any valid trial. None without a valid trial, and in a file of an older version; so below."""
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
    degraded_unknown: int | None = 0
    """In how many valid trials, of any target, it is not known when redundancy was restored; None where that was not kept."""

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The targets without a valid trial."""
        return tuple(each.target for each in self.members if not each.trials_valid)

    @property
    def trials_fewest(self) -> int:
        """Valid trials of the target that has the fewest."""
        return min((each.trials_valid for each in self.members), default=self.trials_valid)

    @property
    def samples(self) -> tuple[Member, ...] | tuple[Cell]:
        """What was measured of each target, or of the only one."""
        return self.members or (self,)

    @property
    def median(self) -> SampleMedian | None:
        """The median of the longest outages, with its bounds; None without a valid trial."""
        return _median(self)

    @property
    def median_at_least_s(self) -> float:
        """What the longest median of any target is at least; 0 without a valid trial."""
        return max([0.0, *(each.low for sample in self.samples if (each := sample.median))])

    @property
    def median_at_most_s(self) -> float:
        """What the longest median of any target is at most; endless where one of them has no valid trial."""
        return max(each.high if (each := sample.median) else math.inf for sample in self.samples)

    @property
    def longest(self) -> Measured | None:
        """What is known of the longest outage of any valid trial, of any target; None without one."""
        found = [each for sample in self.samples for each in outages_of(sample)]
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
    """Of the stage, as its file has it: "Redundant load balancers"; empty in files of an older version."""
    conditions: Conditions | None = None
    """What the stage's figures stand on; None where that is not known."""

    @property
    def called(self) -> str:
        """For sentences: its title, and which of its files where it has two; without a title its name."""
        return (
            self.title + (f" ({self.failover})" if self.name.endswith(f"({self.failover})") else "") if self.title else self.name
        )

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

    def to_document(self) -> dict[str, Any]:
        """The matrix as JSON-ready data."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def outages_of(sample: Cell | Member) -> tuple[Measured, ...]:
    """The longest outage of each valid trial. Where one is known to be a bound but not which, all count as such."""
    bounds = sample.downtimes_censored or (sample.downtime_censored,) * len(sample.downtimes_s)
    return tuple(at_least(seconds, bound) for seconds, bound in zip(sample.downtimes_s, bounds, strict=True))


def _median(sample: Cell | Member) -> SampleMedian | None:
    found = outages_of(sample)
    return sample_median(found) if found else None


SHARED = tuple(each.name for each in fields(Member) if each.name != "target")
"""The figures of a member that are those of a cell, where it has one target only."""


def cell_of(
    column: str,
    result: RunResult,
    hit: Mapping[int, str] | None = None,
    targets: Sequence[str] = (),
    is_replicated: bool = True,
) -> Cell:
    """The cell that a run fills.

    targets: what its trials hit, where that is several things; hit: which of these each trial that was begun was about, by its
    number (also those that were broken off, and have no result); is_replicated: whether the stage has a second database.
    """
    tried = dict.fromkeys((trial.number for trial in result.trials), "") if hit is None else hit
    members = tuple(_member(target, result.trials, tried) for target in targets)
    worst = worst_of(members)
    whole = worst or _member("", result.trials, dict.fromkeys(tried, ""))
    cell = Cell(
        column=column,
        experiment=result.info.experiment,
        applicable=True,
        verdict=_verdict(result, members, tried),
        writes_lost=result.summary.writes_lost_total,
        split_brain_s=split_brain(result.trials, is_replicated),
        folder=str(result.folder) if result.folder else "",
        members=members,
        worst=worst.target if worst else "",
        audits_incomplete=sum(trial.has_writes and not trial.audit.complete for trial in result.trials),
        **{name: getattr(whole, name) for name in SHARED},
    )
    worst_s = cell.longest
    return replace(
        cell,
        downtime_worst_s=worst_s.low if worst_s else None,
        downtime_worst_censored=cell.is_cut,
        availability_ratio=_worst(min, [each.availability_ratio for each in members] or [whole.availability_ratio]),
        availability_censored=any(each.availability_censored for each in members) or whole.availability_censored,
        without_redundancy_s=_worst(max, [each.without_redundancy_s for each in members] or [whole.without_redundancy_s]),
        degraded_unknown=sum(each.degraded_unknown or 0 for each in members or (whole,)),
        why=_why(result.trials, cell),
    )


def split_brain(trials: Sequence[TrialResult], is_replicated: bool = True) -> float | None:
    """For how long two databases took writes at once, the longest of any trial.

    A single database cannot: 0. None where nothing watched them in some trial, and none was seen in the others.
    """
    if not is_replicated:
        return 0.0
    seen = [trial.writable.get("multiple_writers_s") for trial in trials]
    longest_s = max((each for each in seen if each is not None), default=0.0)
    return longest_s if longest_s or (seen and None not in seen) else None


def worst_of(members: Sequence[Member]) -> Member | None:
    """The one with the longest median; of bounds, one that may be longer. None where none has a valid trial."""
    measured = [each for each in members if each.downtime_median_s is not None]
    return max(measured, key=lambda each: (each.median_at_most_s, each.median_at_least_s), default=None)


def _worst(choose: Callable[[list[float]], float], found: Sequence[float | None]) -> float | None:
    known = [each for each in found if each is not None]
    return choose(known) if known else None


def _member(target: str, trials: Sequence[TrialResult], hit: Mapping[int, str]) -> Member:
    """The figures of those trials that hit it."""
    mine = [trial for trial in trials if hit.get(trial.number) == target]
    valid = [trial for trial in mine if trial.valid]
    summary = summarise(mine)
    without_redundancy_s = [trial.time_without_redundancy_s for trial in valid if trial.time_without_redundancy_s is not None]
    outage = summary.outage
    return Member(
        target=target,
        trials=sum(each == target for each in hit.values()),
        trials_valid=len(valid),
        downtimes_s=tuple(trial.downtime_longest_s for trial in valid),
        downtimes_censored=tuple(trial.censored for trial in valid),
        downtime_low_s=outage.ci_low if outage else None,
        downtime_high_s=outage.ci_high if outage and math.isfinite(outage.ci_high) else None,
        downtime_coverage_ratio=outage.coverage_ratio if outage else None,
        downtime_worst_s=outage.worst if outage else None,
        downtime_worst_censored=bool(outage and outage.worst_is_bound),
        availability_ratio=summary.availability_ratio_median,
        availability_censored=summary.availability_censored,
        without_redundancy_s=median(without_redundancy_s) if without_redundancy_s else None,
        degraded_unknown=len(valid) - len(without_redundancy_s),
        **_medians(summary),
    )


def _medians(summary: Summary) -> dict[str, Any]:
    """Each median, and whether it is only a lower bound, by the names of their fields."""
    service, reads, writes = summary.service, summary.reads, summary.writes
    found: dict[str, tuple[str, SampleMedian | None]] = {
        "downtime_median": ("downtime", summary.outage),
        "downtime_median_all": ("downtime_median_all", summary.outage_all),
        "reads_downtime_median": ("reads_downtime_median", reads.outage if reads else None),
        "writes_downtime_median": ("writes_downtime_median", writes.outage if writes else None),
        "gap_median": ("gap_median", service.gap if service else None),
    }
    values = {f"{name}_s": each.low if each else None for name, (_, each) in found.items()}
    return values | {f"{name}_censored": bool(each and each.is_bound) for name, each in found.values()}


def _verdict(result: RunResult, members: Sequence[Member], hit: Mapping[int, str]) -> Verdict:
    """That of the run; and of each target enough must be known."""
    each_one = [decide([trial for trial in result.trials if hit.get(trial.number) == each.target]) for each in members]
    if result.verdict is Verdict.HELD and Verdict.INCONCLUSIVE in each_one:
        return Verdict.INCONCLUSIVE
    return Verdict.REFUTED if Verdict.REFUTED in each_one else result.verdict


def _why(trials: Sequence[TrialResult], cell: Cell) -> tuple[str, ...]:
    """What was not as expected, each once, in order of trials; and the targets of which nothing is known."""
    if cell.verdict is Verdict.HELD:
        return ()
    said = [why for trial in trials for why in (*map(str, trial.failures), *trial.reasons, *map(_undecided, trial.undecided))]
    return tuple(dict.fromkeys([*said, *(f"{target}: no valid trial" for target in cell.unmeasured)]))


def _undecided(check: Check) -> str:
    return f"undecided: {check}"


def not_applicable(column: str, why: str) -> Cell:
    """The cell of a fault for which the stage has nothing to break."""
    return Cell(column=column, experiment="", applicable=False, verdict=None, why=(why,))


def from_document(raw: Any) -> Matrix:
    """A matrix from its JSON; fields that are not known are passed over. Raises UsageError for what is none."""
    try:
        return _matrix(to_json(raw))
    except (kept.MalformedError, PydanticSerializationError) as error:
        raise _no_comparison("this", error) from error


def find(name: str) -> Path | None:
    """The file of the comparison that a name means: itself, a folder that has one, or one below results/; None for no such."""
    candidates = [base / end for base in (Path(name), paths.RESULTS_FOLDER / name) for end in ("", FILE_NAME)]
    there = (each for each in candidates if each.name.endswith(".json") and kept.is_there(each) and each.is_file())
    return next((each.resolve() for each in there), None)


def read(path: Path) -> Matrix:
    """A matrix from a file: a matrix.json, or a result.json that holds one. Raises UsageError, naming the file, for what is none."""
    try:
        raw = kept.document(kept.content(path))
        return _matrix(to_json(raw.get("matrix", raw) if isinstance(raw, dict) else raw))
    except (OSError, kept.MalformedError) as error:
        raise _no_comparison(place(path), error) from error


def _no_comparison(name: str, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or str(error)
    return UsageError(f"{name} is no comparison: {why}", "lab/report/matrix.py says what one holds")


def _matrix(text: bytes) -> Matrix:
    """A matrix from JSON. Raises kept.MalformedError."""
    raw = kept.document(text)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise kept.MalformedError(f"schema_version is {shown(version)}, not {SCHEMA_VERSION}")
    if any(each < 0 for each in _numbers(raw)):
        raise kept.MalformedError(f"{shown(min(_numbers(raw)))} is no measured value")
    matrix = kept.parse(Matrix, to_json(_as_of_now(raw)))
    _check(matrix)
    return _with_bounds(matrix)


def _with_bounds(matrix: Matrix) -> Matrix:
    """Whether each median is a lower bound. An older version said so of it as soon as any trial was one."""
    rows = [replace(row, cells=tuple(_cell_with_bounds(cell) for cell in row.cells)) for row in matrix.rows]
    return replace(matrix, rows=tuple(rows))


def _cell_with_bounds(cell: Cell) -> Cell:
    members = tuple(replace(each, downtime_censored=_is_bound(each)) for each in cell.members)
    return replace(cell, downtime_censored=_is_bound(cell), members=members)


def _is_bound(sample: Cell | Member) -> bool:
    found = sample.median
    return found.is_bound if found else sample.downtime_censored


def _as_of_now(raw: Any) -> Any:
    """A document of an older version says nothing of its audits, and less of its figures: that is not known, not none."""
    for row in _dicts(raw.get("rows")):
        for cell in _dicts(row.get("cells")):
            for name in ("audits_incomplete", "split_brain_s", "degraded_unknown"):
                cell.setdefault(name, None)
            _check_said(cell, Cell, ADDED_LATER)
            for member in _dicts(cell.get("members")):
                member.setdefault("degraded_unknown", None)
                _check_said(member, Member, ADDED_LATER)
    return raw


SINCE_OUTAGES_APART = ("downtime_worst", "downtime_median_all", "reads_downtime_median", "writes_downtime_median", "gap_median")
"""Figures that a file of an older version has not: not known."""
ADDED_LATER = (
    *("downtimes_censored", "members", "worst", "audits_incomplete", "degraded_unknown", "availability_censored"),
    *(f"{name}_{end}" for name in SINCE_OUTAGES_APART for end in ("s", "censored")),
)
"""What files of the first version do not have."""


def _check_said(raw: dict[str, Any], kind: type, added: Sequence[str]) -> None:
    """Raise kept.MalformedError where a figure is missing: what is not said is not 0."""
    if missing := [each.name for each in fields(kind) if each.name not in (*raw, *added)]:
        raise kept.MalformedError(f"{missing[0]} is missing")


def _dicts(raw: Any) -> list[dict[str, Any]]:
    return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _numbers(raw: Any) -> Iterator[float]:
    if isinstance(raw, (dict, list)):
        for each in raw.values() if isinstance(raw, dict) else raw:
            yield from _numbers(each)
    elif isinstance(raw, (int, float)):
        yield raw


def write(matrix: Matrix, path: Path) -> None:
    """Write it as JSON. Raises DiskError."""
    text = json.dumps(matrix.to_document(), indent=2, allow_nan=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError.of(path, error) from error


def _check(matrix: Matrix) -> None:
    """Raise kept.MalformedError where names do not make a table of it, or figures do not go together."""
    names = [column.name for column in matrix.columns]
    if len(set(names)) < len(names):
        raise kept.MalformedError("two columns have the same name")
    if len(names) * len(matrix.rows) > CELLS_MAX:
        raise kept.MalformedError(f"more than {CELLS_MAX} cells")
    for row in matrix.rows:
        columns = [cell.column for cell in row.cells]
        if len(set(columns)) < len(columns) or not set(columns) <= set(names):
            raise kept.MalformedError(f"row '{shown(row.name)}' has cells of no column, or two of one")
        for cell in row.cells:
            _check_cell(cell)
            _check_members(cell)


def _check_cell(cell: Cell) -> None:
    if cell.applicable and len(cell.downtimes_s) != cell.trials_valid:
        raise kept.MalformedError(
            f"'{shown(cell.column)}' has {len(cell.downtimes_s)} downtimes of {cell.trials_valid} valid trials"
        )
    if cell.downtimes_censored and len(cell.downtimes_censored) != len(cell.downtimes_s):
        raise kept.MalformedError(
            f"'{shown(cell.column)}' says of {len(cell.downtimes_censored)} downtimes whether they are lower bounds, and has {len(cell.downtimes_s)}"
        )
    if cell.trials_valid > cell.trials or (cell.applicable and cell.verdict is None):
        raise kept.MalformedError(f"'{shown(cell.column)}' has more valid trials than trials, or no verdict")
    if max(cell.availability_ratio or 0.0, cell.downtime_coverage_ratio or 0.0) > 1:
        raise kept.MalformedError(f"'{shown(cell.column)}' has a ratio over 1")


def _check_members(cell: Cell) -> None:
    targets = [each.target for each in cell.members]
    if len(set(targets)) < len(targets) or cell.worst not in ("", *targets):
        raise kept.MalformedError(f"cell '{cell.column}' has two members of one target, or a worst one that is none of them")
    if any(len(each.downtimes_s) != len(each.downtimes_censored) for each in cell.members):
        raise kept.MalformedError(f"cell '{cell.column}' does not say of each downtime whether it is a bound")
