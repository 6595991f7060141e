"""Files that outlive a kill: JSON lines, and documents written whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from lab.errors import DiskError, UsageError
from lab.spec import kept
from lab.spec.located_yaml import place

T = TypeVar("T")


@contextmanager
def writing(path: Path) -> Iterator[None]:
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
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.file.exists()
            with self.file.open("a", encoding="utf-8") as file:
                # A line of its own, even after one that a kill cut short.
                file.write("\n" * (file.tell() > 0) + as_line(content))
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                _sync_folder(self.file.parent)
                _sync_folder(self.file.parent.parent)


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON document, all of it or nothing; on return it is on the disk. Raises DiskError."""
    fresh = path.with_name(path.name + ".new")
    with writing(path):
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


def as_line(content: dict[str, Any]) -> str:
    """A line of such a file."""
    return json.dumps(content, separators=(",", ":")) + "\n"
