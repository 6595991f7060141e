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

import errno
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from pydantic_core import from_json, to_json

from lab import conditions
from lab.errors import DISK_ERRORS, DiskError, HealError, PreflightError, UsageError, shown
from lab.model import (
    Arrival,
    Conditions,
    DatabaseAudit,
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

RESULTS_FOLDER = Path(os.environ.get("LAB_RESULTS") or ROOT / "results")
# Of the user and the machine, as the containers are, not of one checkout of the lab.
STATE_FOLDER = Path(
    os.environ.get("LAB_STATE") or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "redundancy-lab"
)
ENGINE_LOCKS = Path("/tmp")
"""Of the machine, whoever the user: TMPDIR is a user's own. decision 0028."""


def utc_now() -> str:
    """Now as in 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a DiskError that names the file."""
    try:
        yield
    except OSError as error:
        raise DiskError.of(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Have a folder's list of files on the disk: without that, a new file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such thing
            raise
    finally:
        os.close(descriptor)


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
        """Append a line; on return it is on the disk. Raises DiskError."""
        with _writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.file.exists()
            with self.file.open("a", encoding="utf-8") as file:
                # A line of its own, even after one that a kill cut short.
                file.write("\n" * (file.tell() > 0) + _line(content))
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                _sync_folder(self.file.parent)
                _sync_folder(self.file.parent.parent)


class TrialJournal:
    """Writes one trial as it happens.

    A disk that takes no more is no reason to leave anything broken: what cannot be written is passed over, and raised by
    `close`, when everything is healed.
    """

    def __init__(self, folder: Path) -> None:
        """Raises DiskError."""
        self.folder = folder
        self._refused: DiskError | None = None
        with _writing(folder):
            folder.mkdir(parents=True)
            # Open for as long as the trial: what arrives is on disk at once, whatever becomes of the lab.
            self._arrivals = gzip.open(folder / "arrivals.jsonl.gz", "wt", compresslevel=1, encoding="utf-8")  # noqa: SIM115
            self._events = (folder / "events.jsonl").open("w", encoding="utf-8")

    def arrivals(self, arrivals: Iterable[Arrival]) -> None:
        """Append arrivals."""
        self._attempt(
            self.folder / "arrivals.jsonl.gz", lambda: self._arrivals.writelines(_line(vars(each)) for each in arrivals)
        )

    def event(self, event: Event) -> None:
        """Append an event."""

        def append() -> None:
            self._events.write(_line(asdict(event)))
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
        with _writing(self.folder / "audit.json.gz"), gzip.open(self.folder / "audit.json.gz", "wt", encoding="utf-8") as file:
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
            with _writing(file):
                write()
        except DiskError as error:
            self._refused = self._refused or error


class RunJournal:
    """The folder of one run."""

    def __init__(self, info: RunInfo, root: Path | None = None) -> None:
        """Raises DiskError."""
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
            with _writing(folder):
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


def _event(line: bytes) -> Event:
    event = kept.parse(Event, line)
    if abs(event.at_s) > INSTANT_MAX_S:
        raise ValueError(f"'{shown(event.name)}' is at no instant of a trial")
    return event


def stamp(started_at: str) -> str:
    """An instant as a folder's name."""
    return started_at.replace(":", "").replace("-", "")


def new_folder(base: Path, name: str) -> Path:
    """Make a folder below `base` that was not there. Raises PreflightError, of which DiskError is one."""
    for number in range(1, 1000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        try:
            with _writing(base):
                folder.mkdir(parents=True)
        except DiskError as error:
            if isinstance(error.__cause__, FileExistsError):
                continue
            raise
        return folder
    raise PreflightError(f"{base} has too many runs of this second")


def point(link: Path, folder: Path) -> None:
    """Let a link name a folder, in one step. Raises DiskError."""
    fresh = link.with_name(".latest.new")
    with _writing(link):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(folder, link.parent))
        fresh.replace(link)


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON document, all of it or nothing; on return it is on the disk. Raises DiskError."""
    fresh = path.with_name(path.name + ".new")
    with _writing(path):
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


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
    """Faults that are not yet undone, each on disk before it happens. Append-only until none is open.

    Where the disk takes no more, no fault may begin, and none stays for that: `close` passes over what it cannot note, and
    `check_noted` says it in the end. The entry stays open on the disk then; to undo it once more does no harm.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lines = Lines(file or STATE_FOLDER / "undo.jsonl")
        self._undone: set[str] = set()
        self._refused: DiskError | None = None
        self._is_said = False

    def open(self, undo: Undo, fault: str) -> OpenFault:
        """Note a fault that is about to happen; on return the note is on the disk. Raises DiskError: it must not happen then."""
        entry = OpenFault(id=os.urandom(6).hex(), undo=undo, fault=fault, since=utc_now())
        try:
            self._lines.append({"id": entry.id, "fault": fault, "since": entry.since, "undo": asdict(undo)})
        except DiskError:
            self._is_said = True
            raise
        return entry

    def close(self, entry: OpenFault) -> None:
        """Note that a fault is undone, if the disk lets us. Raises nothing."""
        self._undone.add(entry.id)
        try:
            self._lines.append({"id": entry.id, "closed": True})
        except DiskError as error:
            self._refused = error
        if self.notes().is_empty:
            self.clear()

    def clear(self) -> None:
        """Forget every fault, if the disk lets us: what they were in is gone."""
        try:
            with _writing(self._lines.file):
                _remove(self._lines.file)
        except DiskError as error:
            self._refused = error

    def check_noted(self) -> None:
        """Raise HealError where something was undone and could not be noted, unless that was raised already."""
        if self._refused and not self._is_said:
            self._is_said = True
            raise HealError(
                f"what was broken is taken back, but that could not be noted: {self._refused.message}",
                "free some space there, then 'lab heal' makes sure",
            ) from self._refused

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
        return self._without_undone(_noted(lines, file))

    def _without_undone(self, notes: Notes) -> Notes:
        """What was undone here and could not be noted is not open."""
        return replace(notes, open=tuple(entry for entry in notes.open if entry.id not in self._undone))


def _remove(file: Path) -> None:
    if file.is_dir():  # not written by the lab, and in the way
        file.rename(file.with_name(f"{file.name}.{os.urandom(3).hex()}"))
    else:
        file.unlink(missing_ok=True)


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
    """Remember which files a stage was started from. Raises DiskError."""
    file = STATE_FOLDER / stage.project
    with _writing(file):
        STATE_FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(fingerprint, encoding="utf-8")


def started_from(stage: Stage) -> str:
    """The fingerprint of the files that a stage was last started from; empty where it never was, or nothing can be read."""
    file = STATE_FOLDER / stage.project
    try:
        return kept.content(file).decode("utf-8", "replace")
    except (OSError, kept.MalformedError):
        return ""


@contextmanager
def exclusive(purpose: str) -> Iterator[None]:
    """One controller of a state folder at a time. Raises PreflightError naming the other; its end, however it came, frees the lock.

    A folder that takes no more files is locked itself: healing must not need space.
    """
    with _writing_unless_full(STATE_FOLDER):
        STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    with _held((STATE_FOLDER / "lock", STATE_FOLDER), purpose, "the lab is busy"):
        yield


@contextmanager
def alone_on(engine_id: str, purpose: str) -> Iterator[None]:
    """One controller of an engine at a time, of all users of this machine and whatever their state folders: decision 0028.

    Raises PreflightError naming the other; its end, however it came, frees the lock.
    """
    file = ENGINE_LOCKS / f"redundancy-lab-{hashlib.sha256(engine_id.encode()).hexdigest()[:16]}.lock"
    with _held((file,), purpose, "the lab is busy on this engine, with another state folder", is_everybodys=True):
        yield


@contextmanager
def _writing_unless_full(path: Path) -> Iterator[None]:
    """As `_writing`, but a full or read-only disk is passed over."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise DiskError.of(path, error) from error


@contextmanager
def _held(candidates: Sequence[Path], purpose: str, busy: str, is_everybodys: bool = False) -> Iterator[None]:
    """Hold the lock of the first of these that can be opened; where none can for want of space, no lock.

    Its content says who holds it, where that can be written.
    """
    descriptor = next((found for each in candidates if (found := _opened(each, is_everybodys)) is not None), None)
    if descriptor is None:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PreflightError(f"{busy}: {_holder(descriptor)}", "wait for it, or end it with Ctrl-C") from error
        _note_holder(descriptor, f"{purpose} (process {os.getpid()})")
        yield
        _note_holder(descriptor, "")
    finally:
        os.close(descriptor)


def _opened(path: Path, is_everybodys: bool) -> int | None:
    """A descriptor of a file, made if need be, or of a folder; None where a full or read-only disk does not let us. Raises DiskError.

    A file that is there is opened without O_CREAT: of another user's, in a folder that is everybody's, Linux would refuse that.
    """
    create = os.O_RDWR | os.O_CREAT | os.O_EXCL
    refused: OSError | None = None
    for flags in (os.O_RDWR, create, os.O_RDWR, os.O_RDONLY):
        try:
            # Where everybody may write, somebody may have put a link to a file of ours.
            descriptor = os.open(path, flags | (os.O_NOFOLLOW if is_everybodys else 0), 0o666)
        except OSError as error:
            refused = error
            continue
        if flags == create and is_everybodys:
            os.fchmod(descriptor, 0o666)  # whatever the umask of who came first
        return descriptor
    assert refused is not None
    if refused.errno in (*DISK_ERRORS, errno.ENOENT):
        return None
    raise DiskError.of(path, refused) from refused


def _holder(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another command"
    except OSError:  # a folder
        return "another command"


def _note_holder(descriptor: int, words: str) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, words.encode(), 0)
