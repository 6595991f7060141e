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

import fcntl
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from pydantic_core import from_json, to_json

from lab.errors import HealError, PreflightError, UsageError, shown
from lab.model import (
    Arrival,
    Event,
    GeneratorReport,
    LoadPlan,
    RunInfo,
    Stage,
    TrialRecord,
    Undo,
)
from lab.spec import kept
from lab.stages import ROOT
from lab.verdict import MEASURES
from lab.yamlfile import place

T = TypeVar("T")
# More than any trial has, and little enough to be held.
INSTANT_MAX_S = 100_000.0
ARRIVALS_MAX = 4_000_000
LINE_MAX_BYTES = 10_000
NUMBER_MAX = 1e9

RESULTS_FOLDER = Path(os.environ.get("LAB_RESULTS", ROOT / "results"))
# Of the user and the machine, as the containers are, not of one checkout of the lab.
STATE_FOLDER = Path(
    os.environ.get("LAB_STATE") or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "redundancy-lab"
)
ARRIVAL_FIELDS = tuple(Arrival.__dataclass_fields__)


def utc_now() -> str:
    """Now as in 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Lines:
    """A file of JSON lines that outlives a kill: what was appended is on the disk, a half-written line is passed over."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> Iterator[dict[str, Any]]:
        """The lines that are whole, in order; none where there is no file. Raises UsageError for a file that cannot be read."""
        return (content for _, content in self._whole())

    def of(self, kind: type[T], key: str = "") -> list[T]:
        """The whole lines as what they hold (of those that have it: under a key). Raises UsageError naming file and line."""
        found = []
        for number, line in self._whole():
            if key and key not in line:
                continue
            try:
                found.append(kept.whole(kind, to_json(line[key] if key else line)))
            except kept.MalformedError as error:
                raise UsageError(
                    f"{place(self.file, number)}: {error}", "was it written by another version of the lab?"
                ) from error
        return found

    def _whole(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            lines = kept.content(self.file).split(b"\n") if kept.is_there(self.file) else []
        except (OSError, kept.MalformedError) as error:
            raise UsageError(f"{place(self.file)} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        for number, line in enumerate(lines, 1):
            try:
                content = from_json(line)
            except ValueError:
                continue
            if isinstance(content, dict):
                yield number, content

    def append(self, content: dict[str, Any]) -> None:
        """Append a line; on return it is on the disk."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            # A line of its own, even after one that a kill cut short.
            file.write("\n" * (file.tell() > 0) + _line(content))
            file.flush()
            os.fsync(file.fileno())


class TrialJournal:
    """Writes one trial as it happens."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        # Open for as long as the trial: what arrives is on disk at once, whatever becomes of the lab.
        self._arrivals = gzip.open(folder / "arrivals.jsonl.gz", "wt", compresslevel=1, encoding="utf-8")  # noqa: SIM115
        self._events = (folder / "events.jsonl").open("w", encoding="utf-8")

    def arrivals(self, arrivals: Iterable[Arrival]) -> None:
        """Append arrivals."""
        self._arrivals.writelines(_line(vars(arrival)) for arrival in arrivals)

    def event(self, event: Event) -> None:
        """Append an event."""
        self._events.write(_line(asdict(event)))
        self._events.flush()

    def close(self, record: TrialRecord | None = None) -> None:
        """Close the files; with a record, the trial is complete."""
        self._arrivals.close()
        self._events.close()
        if record is None:
            return
        with gzip.open(self._folder / "audit.json.gz", "wt", encoding="utf-8") as file:
            json.dump(record.final_orders, file)
        trial = {"number": record.number, "seed": record.seed, "targets": record.targets, "generator": asdict(record.generator)}
        write_whole(self._folder / "trial.json", trial)


class RunJournal:
    """The folder of one run."""

    def __init__(self, info: RunInfo, root: Path | None = None) -> None:
        base = (root or RESULTS_FOLDER) / info.stage_folder / info.experiment
        self.folder = new_folder(base, stamp(info.started_at))
        write_whole(self.folder / "run.json", asdict(info))
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
            shutil.rmtree(folder)
        return TrialJournal(folder)

    def result(self, document: dict[str, Any]) -> None:
        """Write result.json."""
        write_whole(self.folder / "result.json", document)


def read_run(folder: Path) -> tuple[RunInfo, tuple[TrialRecord, ...]]:
    """A run from its folder; trials that were broken off are left out. Raises UsageError for what is no run."""
    info = _read_info(folder / "run.json")
    found = [each for each in sorted(folder.glob("trial-*")) if (each / "trial.json").exists()]
    return info, tuple(_read_trial(each, info.plan) for each in found)


def find_run(name: str) -> Path:
    """The folder that a name means: a path, `latest`, or one below results/. Raises UsageError."""
    for candidate in (Path(name), RESULTS_FOLDER / name):
        if kept.is_there(candidate / "run.json"):
            return candidate.resolve()
    raise UsageError(
        f"there is no run '{place(name)}'",
        f"a run is 'latest' or a folder below {RESULTS_FOLDER}, such as 3-load-balancer/kill-web/latest",
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
        info = kept.whole(RunInfo, kept.content(file))
        plan = info.plan
        if not (0 < plan.rate_per_s <= NUMBER_MAX and 0 < plan.deadline_s <= INSTANT_MAX_S):
            raise ValueError(f"no load has {plan.rate_per_s:g} requests a second and a deadline of {plan.deadline_s:g} s")
        if not (0 <= plan.write_share <= 1 and 0 <= plan.new_connection_share <= 1):
            raise ValueError("a share is from 0 to 1")
        if unknown := [each.measure for each in info.expectations if each.measure not in MEASURES]:
            raise ValueError(f"'{shown(unknown[0])}' is nothing that this version of the lab measures")
    return info


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
        events = tuple(_event(line) for line in kept.content(folder / "events.jsonl").splitlines())
    return TrialRecord(
        number=trial.number,
        seed=trial.seed,
        plan=plan,
        targets=trial.targets,
        arrivals=arrivals,
        events=events,
        generator=trial.generator,
        final_orders=final_orders,
    )


_Orders = dict[str, dict[str, int] | None]


@dataclass(frozen=True)
class _Trial:
    """What trial.json holds."""

    number: int
    seed: int
    targets: tuple[str, ...]
    generator: GeneratorReport


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


def _event(line: bytes) -> Event:
    event = kept.parse(Event, line)
    if abs(event.at_s) > INSTANT_MAX_S:
        raise ValueError(f"'{shown(event.name)}' is at no instant of a trial")
    return event


def stamp(started_at: str) -> str:
    """An instant as a folder's name."""
    return started_at.replace(":", "").replace("-", "")


def new_folder(base: Path, name: str) -> Path:
    """Make a folder below `base` that was not there. Raises PreflightError."""
    for number in range(1, 1000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise PreflightError(f"{base} has too many runs of this second")


def point(link: Path, folder: Path) -> None:
    """Let a link name a folder, in one step."""
    fresh = link.with_name(".latest.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    fresh.replace(link)


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON document, all of it or nothing."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


@dataclass(frozen=True)
class OpenFault:
    """A fault that was about to be injected and is not yet undone."""

    id: str
    undo: Undo
    fault: str
    since: str


class UndoLedger:
    """Faults that are not yet undone, each on disk before it happens. Append-only until none is open."""

    def __init__(self, file: Path | None = None) -> None:
        self._lines = Lines(file or STATE_FOLDER / "undo.jsonl")

    def open(self, undo: Undo, fault: str) -> OpenFault:
        """Note a fault that is about to happen; on return the note is on the disk."""
        entry = OpenFault(id=os.urandom(6).hex(), undo=undo, fault=fault, since=utc_now())
        self._lines.append({"id": entry.id, "fault": fault, "since": entry.since, "undo": asdict(undo)})
        return entry

    def close(self, entry: OpenFault) -> None:
        """Note that a fault is undone."""
        self._lines.append({"id": entry.id, "closed": True})
        if self.notes().is_empty:
            self.clear()

    def clear(self) -> None:
        """Forget every fault: what they were in is gone."""
        file = self._lines.file
        if file.is_dir():  # not written by the lab, and in the way
            file.rename(file.with_name(f"{file.name}.{os.urandom(3).hex()}"))
        else:
            file.unlink(missing_ok=True)

    def entries(self) -> list[OpenFault]:
        """The faults that are open, oldest first. What is half-written (a kill) or not understood does not hide the rest."""
        return list(self.notes().open)

    def check_understood(self) -> None:
        """Raise PreflightError naming file and line where a note is not understood: what it is about may be in effect."""
        if strange := self.notes().strange:
            raise PreflightError(
                f"{strange[0]}: a fault may still be in effect",
                "'lab heal' heals what can be read; 'lab down --all' removes every stage, and the notes",
            )

    def settle(self) -> None:
        """The end of a healing: nothing noted is left, or HealError says which note was not understood, and stays."""
        notes = self.notes()
        if notes.strange:
            raise HealError(
                f"{notes.strange[0]}; all else is healed",
                "undo that fault by hand and remove the line, or 'lab down --all' removes every stage, and the notes",
            )
        if notes.is_empty:
            self.clear()

    def notes(self) -> Notes:
        """All that the file says. Raises nothing for what it holds, or because it cannot be read: that is strange."""
        file = self._lines.file
        try:
            lines = kept.content(file).split(b"\n") if kept.is_there(file) else []
        except (OSError, ValueError) as error:
            return Notes((), (f"{place(file)} cannot be read ({getattr(error, 'strerror', None) or error})",), ())
        return _noted(lines, file)


@dataclass(frozen=True)
class Notes:
    """What a file of notes says: the faults that are open, and in words, with file and line, what is not understood."""

    open: tuple[OpenFault, ...]
    strange: tuple[str, ...]
    cut: tuple[str, ...]
    """Lines that were cut short while they were written: a fault comes after its note, so there was none."""

    @property
    def is_empty(self) -> bool:
        """Whether no fault is noted that is still to be undone."""
        return not self.open and not self.strange


def _noted(lines: Iterable[bytes], file: Path) -> Notes:
    found: dict[str, OpenFault] = {}
    strange: dict[str, str] = {}
    cut = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = from_json(line)
        except ValueError:
            cut.append(place(file, number))
            continue
        name, is_closed = _what_of(content, number)
        found.pop(name, None)
        strange.pop(name, None)
        if is_closed:
            continue
        try:
            found[name] = _open_fault(line, content)
        except ValueError as error:
            why = shown(str(error), 120)
            strange[name] = f"{place(file, number)} is no note that this version of the lab understands ({why})"
    return Notes(tuple(found.values()), tuple(strange.values()), tuple(cut))


def _what_of(content: Any, number: int) -> tuple[str, bool]:
    """Which fault a line is about, and whether it says that it is undone; a fault of its own, where it names none."""
    key = content.get("id") if isinstance(content, dict) else None
    if not isinstance(key, str):
        return f"line {number}", False
    return key, content.get("closed") is True


def _open_fault(line: bytes, content: Any) -> OpenFault:
    """The fault of a line. Raises ValueError also for a field that is not known: it may say how to undo it."""
    fault = kept.whole(OpenFault, line)
    if more := sorted(set(content["undo"]) - set(Undo.__dataclass_fields__)):
        raise ValueError(f"'{shown(more[0])}' is not known")
    return fault


def note_started(stage: Stage, fingerprint: str) -> None:
    """Remember which files a stage was started from."""
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    (STATE_FOLDER / stage.project).write_text(fingerprint, encoding="utf-8")


def started_from(stage: Stage) -> str:
    """The fingerprint of the files that a stage was last started from; empty where it never was, or nothing can be read."""
    file = STATE_FOLDER / stage.project
    try:
        return kept.content(file).decode("utf-8", "replace")
    except (OSError, kept.MalformedError):
        return ""


@contextmanager
def exclusive(purpose: str) -> Iterator[None]:
    """One controller at a time. Raises PreflightError naming the other; its end, however it came, frees the lock."""
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    with (STATE_FOLDER / "lock").open("a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise PreflightError(
                f"the lab is busy: {shown(file.read().strip(), 100) or 'another command'}", "wait for it, or end it with Ctrl-C"
            ) from error
        file.truncate(0)
        file.write(f"{purpose} (process {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
