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
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.errors import PreflightError, UsageError
from lab.model import (
    Arrival,
    DatabaseAudit,
    Event,
    Expectation,
    GeneratorReport,
    Link,
    LoadPlan,
    Overload,
    RunInfo,
    Stage,
    TrialRecord,
    Undo,
    UndoAction,
)
from lab.stages import ROOT

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
        """The lines that are whole, in order; none where there is no file."""
        if not self.file.exists():
            return
        for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict):
                yield content

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
        trial = {
            "number": record.number,
            "seed": record.seed,
            "targets": record.targets,
            "generator": asdict(record.generator),
            "databases": {name: asdict(each) for name, each in record.databases.items()},
        }
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
    try:
        raw = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        expectations = tuple(Expectation(**each) for each in raw.pop("expectations"))
        overload = Overload(**raw["overload"]) if raw.get("overload") else None
        info = RunInfo(**{**raw, "plan": LoadPlan(**raw["plan"]), "expectations": expectations, "overload": overload})
        trials = tuple(_read_trial(each, info.plan) for each in sorted(folder.glob("trial-*")) if (each / "trial.json").exists())
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UsageError(
            f"{folder} is not the folder of a run: {error}", "results/latest is the latest; 'lab report latest' shows it"
        ) from error
    return info, trials


def find_run(name: str) -> Path:
    """The folder that a name means: a path, `latest`, or one below results/. Raises UsageError."""
    for candidate in (Path(name), RESULTS_FOLDER / name):
        if (candidate / "run.json").exists():
            return candidate.resolve()
    raise UsageError(
        f"there is no run '{name}'",
        f"a run is 'latest' or a folder below {RESULTS_FOLDER}, such as 3-load-balancer/kill-web/latest",
    )


def _read_trial(folder: Path, plan: LoadPlan) -> TrialRecord:
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    with gzip.open(folder / "arrivals.jsonl.gz", "rt", encoding="utf-8") as lines:
        arrivals = tuple(Arrival(**json.loads(line)) for line in lines)
    with gzip.open(folder / "audit.json.gz", "rt", encoding="utf-8") as file:
        final_orders = json.load(file)
    events = tuple(Event(**json.loads(line)) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return TrialRecord(
        number=trial["number"],
        seed=trial["seed"],
        plan=plan,
        targets=tuple(trial["targets"]),
        arrivals=arrivals,
        events=events,
        generator=GeneratorReport(**trial["generator"]),
        final_orders=final_orders,
        databases={name: _read_database(each) for name, each in trial.get("databases", {}).items()},
    )


def _read_database(said: dict[str, Any]) -> DatabaseAudit:
    """What a database was; what another version says beside that is left out."""
    known = {each.name for each in fields(DatabaseAudit)}
    return DatabaseAudit(**{name: value for name, value in said.items() if name in known})


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
        if not self.entries():
            self.clear()

    def clear(self) -> None:
        """Forget every fault: what they were in is gone."""
        self._lines.file.unlink(missing_ok=True)

    def entries(self) -> list[OpenFault]:
        """The faults that are open, oldest first. A half-written last line (a kill) is passed over."""
        found: dict[str, OpenFault] = {}
        for raw in self._lines.read():
            if raw.get("closed"):
                found.pop(raw["id"], None)
            else:
                found[raw["id"]] = OpenFault(raw["id"], _undo(raw["undo"]), raw["fault"], raw["since"])
        return list(found.values())


def _undo(raw: dict[str, Any]) -> Undo:
    links = tuple(Link(**{**link, "aliases": tuple(link["aliases"])}) for link in raw.get("links", ()))
    return Undo(**{**raw, "action": UndoAction(raw["action"]), "links": links})


def note_started(stage: Stage, fingerprint: str) -> None:
    """Remember which files a stage was started from."""
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    (STATE_FOLDER / stage.project).write_text(fingerprint, encoding="utf-8")


def started_from(stage: Stage) -> str:
    """The fingerprint of the files that a stage was last started from; empty where it never was."""
    file = STATE_FOLDER / stage.project
    return file.read_text(encoding="utf-8") if file.exists() else ""


@contextmanager
def exclusive(purpose: str) -> Iterator[None]:
    """One controller at a time. Raises PreflightError naming the other; its end, however it came, frees the lock."""
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    with (STATE_FOLDER / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise PreflightError(
                f"the lab is busy: {file.read().strip() or 'another command'}", "wait for it, or end it with Ctrl-C"
            ) from error
        file.truncate(0)
        file.write(f"{purpose} (process {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
