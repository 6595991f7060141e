"""What happened, on disk: the journal of each run, and the ledger of faults that are not yet undone.

results/<stage>/<experiment>/<time>/
    run.json                     what was asked for
    trial-01/arrivals.jsonl.gz   every intended request and what became of it
    trial-01/events.jsonl        what the lab did and saw, on the clock of the load
    trial-01/trial.json          seed, targets, how well the load was made
    trial-01/audit.json.gz       what each database held in the end
    result.json                  the figures (can be made again from the rest)
"""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import to_json

from lab.errors import DiskError, UsageError, shown
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, Conditions, DatabaseAudit, Event, GeneratorReport, RunInfo, TrialRecord
from lab.model.measures import MEASURES
from lab.model.payloads import PAYLOADS, Payload
from lab.spec import conditions, kept
from lab.spec.located_yaml import place
from lab.store import jsonl, paths
from lab.store.jsonl import write_whole, writing
from lab.store.paths import new_folder, point, stamp

SCHEMA_VERSION = 2
"""Of the files of a run. There is no reader for another one."""
# More than any trial has, and little enough to be held.
INSTANT_MAX_S = 100_000.0
ARRIVALS_MAX = 4_000_000
LINE_MAX_BYTES = 10_000
NUMBER_MAX = 1e9
WORDS_SUFFICE = ("alert", "resolved")
"""An alert whose words are not understood is an event all the same."""


class TrialJournal:
    """Writes one trial as it happens.

    A disk that takes no more is no reason to leave anything broken: what cannot be written is passed over, and raised by
    `close`, when everything is healed.
    """

    def __init__(self, folder: Path) -> None:
        """Raises DiskError."""
        self.folder = folder
        self._refused: DiskError | None = None
        with writing(folder):
            folder.mkdir(parents=True)
            # Open for as long as the trial: what arrives is on disk at once, whatever becomes of the lab.
            self._arrivals = gzip.open(folder / "arrivals.jsonl.gz", "wt", compresslevel=1, encoding="utf-8")  # noqa: SIM115
            self._events = (folder / "events.jsonl").open("w", encoding="utf-8")

    def arrivals(self, arrivals: Iterable[Arrival]) -> None:
        """Append arrivals."""
        self._attempt(
            self.folder / "arrivals.jsonl.gz", lambda: self._arrivals.writelines(jsonl.as_line(vars(each)) for each in arrivals)
        )

    def event(self, event: Event) -> None:
        """Append an event."""

        def append() -> None:
            self._events.write(jsonl.as_line(_document(event)))
            self._events.flush()

        self._attempt(self.folder / "events.jsonl", append)

    def abandon(self) -> None:
        """Close the files of a trial that was broken off. Raises nothing: there is a reason on its way already."""
        self._attempt(self.folder / "arrivals.jsonl.gz", self._arrivals.close)
        self._attempt(self.folder / "events.jsonl", self._events.close)

    def close(self, record: TrialRecord) -> None:
        """Close the files; the trial is complete with trial.json. Raises DiskError where anything of it is not on the disk."""
        self.abandon()
        if self._refused:
            raise self._refused
        with writing(self.folder / "audit.json.gz"), gzip.open(self.folder / "audit.json.gz", "wt", encoding="utf-8") as file:
            json.dump(record.final_orders, file)
        trial = {
            "number": record.number,
            "seed": record.seed,
            "targets": record.targets,
            "generator": asdict(record.generator),
            "databases": {name: asdict(each) for name, each in record.databases.items()},
        }
        write_whole(self.folder / "trial.json", trial)

    def _attempt(self, file: Path, write: Callable[[], None]) -> None:
        try:
            with writing(file):
                write()
        except DiskError as error:
            self._refused = self._refused or error


class RunJournal:
    """The folder of one run."""

    def __init__(self, info: RunInfo, root: Path | None = None) -> None:
        """Raises DiskError."""
        base = (root or paths.RESULTS_FOLDER) / info.stage_folder / info.experiment
        self.folder = new_folder(base, stamp(info.started_at))
        write_whole(self.folder / "run.json", {"schema_version": SCHEMA_VERSION, **asdict(info)})
        for link in (base / "latest", base.parent.parent / "latest"):
            point(link, self.folder)

    @classmethod
    def reopen(cls, folder: Path) -> RunJournal:
        """The journal of a run that goes on."""
        journal = cls.__new__(cls)
        journal.folder = folder
        return journal

    def trial(self, number: int) -> TrialJournal:
        """The journal of a trial that is about to begin; what is left of one that was broken off makes way."""
        folder = self.folder / f"trial-{number:02d}"
        if folder.exists():
            with writing(folder):
                shutil.rmtree(folder)
        return TrialJournal(folder)

    def result(self, document: dict[str, Any]) -> None:
        """Write result.json."""
        write_whole(self.folder / "result.json", document)


def read_run(folder: Path) -> tuple[RunInfo, tuple[TrialRecord, ...]]:
    """A run from its folder; trials that were broken off are left out. Raises UsageError for what is no run."""
    info = _read_info(folder / "run.json")
    found = [_read_trial(each, info.plan) for each in folder.glob("trial-*") if (each / "trial.json").exists()]
    return info, tuple(sorted(found, key=lambda trial: trial.number))  # by name, trial-100 would come before trial-99


def read_conditions(folder: Path) -> Conditions | None:
    """What the figures of a run stand on; None where that was not noted or cannot be read."""
    try:
        return conditions.from_document(kept.document(kept.content(folder / "run.json"))["conditions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_run(name: str) -> Path:
    """The folder that a name means: a path, `latest`, or one below results/. Raises UsageError."""
    for candidate in (Path(name), paths.RESULTS_FOLDER / name):
        if kept.is_there(candidate / "run.json"):
            return candidate.resolve()
    raise UsageError(
        f"there is no run '{place(name)}'",
        f"a run is 'latest' or a folder below {paths.RESULTS_FOLDER}, such as 3-load-balancer/kill-web/latest",
    )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What is wrong with a file of a run is said with its name."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        why = getattr(error, "strerror", None) or shown(str(error), 200)
        raise UsageError(
            f"{place(file)} is no file of a run: {why}", "results/latest is the latest; 'lab report latest' shows it"
        ) from error


def _read_info(file: Path) -> RunInfo:
    with _reading(file):
        content = kept.content(file)
        _check_version(file, content)
        info = kept.whole(RunInfo, content)
        plan = info.plan
        if not (0 < plan.rate_per_s <= NUMBER_MAX and 0 < plan.deadline_s <= INSTANT_MAX_S):
            raise ValueError(f"no load has {plan.rate_per_s:g} requests a second and a deadline of {plan.deadline_s:g} s")
        if not (0 <= plan.write_share <= 1 and 0 <= plan.new_connection_share <= 1):
            raise ValueError("a share is from 0 to 1")
        if unknown := [each.measure for each in info.expectations if each.measure not in MEASURES]:
            raise ValueError(f"'{shown(unknown[0])}' is nothing that this version of the lab measures")
    return info


def _check_version(file: Path, content: bytes) -> None:
    """Raises UsageError for a journal of another version, MalformedError for what is no JSON."""
    found = kept.document(content)
    version = found.get("schema_version", 1) if isinstance(found, dict) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{place(file)} has schema_version {shown(version, 20)}; this version of the lab reads {SCHEMA_VERSION} only",
            "make the run again, or read it with the version of the lab that wrote it",
        )


def _read_trial(folder: Path, plan: LoadPlan) -> TrialRecord:
    with _reading(folder / "trial.json"):
        trial = kept.whole(_Trial, kept.content(folder / "trial.json"))
    with _reading(folder / "arrivals.jsonl.gz"), gzip.open(folder / "arrivals.jsonl.gz", "rb") as lines:
        arrivals = tuple(_arrivals(cast(BinaryIO, lines)))
        if not arrivals and not (folder / "arrivals.jsonl.gz").stat().st_size:
            raise ValueError("it is empty")
    with _reading(folder / "audit.json.gz"), gzip.open(folder / "audit.json.gz", "rb") as file:
        final_orders = kept.whole(_Orders, file.read(kept.DOCUMENT_MAX_BYTES))
    with _reading(folder / "events.jsonl"):
        # As they were written, what was only learned afterwards comes last.
        noted = [_event(line) for line in kept.content(folder / "events.jsonl").splitlines()]
        events = tuple(sorted(noted, key=lambda event: event.at_s))
    return TrialRecord(
        number=trial.number,
        seed=trial.seed,
        plan=plan,
        targets=trial.targets,
        arrivals=arrivals,
        events=events,
        generator=trial.generator,
        final_orders=final_orders,
        databases=trial.databases,
    )


_Orders = dict[str, dict[str, int] | None]


@dataclass(frozen=True)
class _Trial:
    """What trial.json holds."""

    number: int
    seed: int
    targets: tuple[str, ...]
    generator: GeneratorReport
    databases: dict[str, DatabaseAudit] = field(default_factory=dict)
    """What each database was when it was read; nothing in journals from before that was noted."""


def _arrivals(lines: BinaryIO) -> Iterator[Arrival]:
    """The arrivals of a file, of which no more is held at once than a line."""
    for number in range(1, ARRIVALS_MAX + 2):
        line = lines.readline(LINE_MAX_BYTES + 1)
        if not line:
            return
        if number > ARRIVALS_MAX or len(line) > LINE_MAX_BYTES:
            raise ValueError(f"line {number} is longer than any that the lab writes, or one too many")
        arrival = kept.parse(Arrival, line)
        if max(abs(arrival.at_s), abs(arrival.done_s), abs(arrival.lag_s)) > INSTANT_MAX_S or abs(arrival.number) > NUMBER_MAX:
            raise ValueError(f"line {number} is at no instant of a trial")
        yield arrival


@dataclass(frozen=True)
class _Line:
    """A line of events.jsonl."""

    at_s: float
    name: str
    detail: str = ""
    data: dict[str, Any] | None = None


def _document(event: Event) -> dict[str, Any]:
    """An event as a line of events.jsonl; without `data` where it has none."""
    return {"at_s": event.at_s, "name": event.name, "detail": event.detail} | ({"data": asdict(event.data)} if event.data else {})


def _event(line: bytes) -> Event:
    """An event with its payload. Raises ValueError."""
    found = kept.parse(_Line, line)
    if abs(found.at_s) > INSTANT_MAX_S:
        raise ValueError(f"'{shown(found.name)}' is at no instant of a trial")
    return Event(found.at_s, found.name, found.detail, _payload(found))


def _payload(line: _Line) -> Payload | None:
    """What `data` of an event holds; None for an event that has none. Raises ValueError where figures need what is missing."""
    kind = PAYLOADS.get(line.name)
    if kind is None or (line.data is None and line.name in WORDS_SUFFICE):
        return None
    if line.data is None:
        raise ValueError(f"'{shown(line.name)}' has no data")
    return kept.whole(kind, to_json(line.data))
