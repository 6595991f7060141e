"""The faults that are not yet undone, on disk before each happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lab.errors import DiskError, HealError, PreflightError, shown
from lab.model.fault import Undo
from lab.spec import kept
from lab.spec.located_yaml import place
from lab.store import paths
from lab.store.jsonl import Lines, writing
from lab.store.paths import utc_now


@dataclass(frozen=True)
class OpenFault:
    """A fault that was about to be injected and is not yet undone."""

    id: str
    undo: Undo
    fault: str
    since: str


class UndoLog:
    """Faults that are not yet undone, each on disk before it happens. Append-only until none is open.

    Where the disk takes no more, no fault may begin, and none stays for that: `close` passes over what it cannot note, and
    `check_noted` says it in the end. The entry stays open on the disk then; to undo it once more does no harm.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lines = Lines(file or paths.STATE_FOLDER / "undo.jsonl")
        self._undone: set[str] = set()
        self._refused: DiskError | None = None
        self._is_said = False
        self._changing = threading.RLock()
        """A fault that flaps is noted in a thread of its own: no line may get into a file that is just about to be removed."""

    def open(self, undo: Undo, fault: str) -> OpenFault:
        """Note a fault that is about to happen; on return the note is on the disk. Raises DiskError: it must not happen then."""
        entry = OpenFault(id=os.urandom(6).hex(), undo=undo, fault=fault, since=utc_now())
        try:
            with self._changing:
                self._lines.append({"id": entry.id, "fault": fault, "since": entry.since, "undo": asdict(undo)})
        except DiskError:
            self._is_said = True
            raise
        return entry

    def close(self, entry: OpenFault) -> None:
        """Note that a fault is undone, if the disk lets us. Raises nothing."""
        with self._changing:
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
            with writing(self._lines.file):
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
