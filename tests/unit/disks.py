"""Disks that take no more: one that only plays it, and real ones of a few kB."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

PAGE_BYTES = 4096
SIZE_KB = 64


def refuse(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    """From now on nothing gets onto the disk for good."""

    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fsync)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A real file system of a few kB; skips where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KB}k,mode=0755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *files: Path) -> Path:
    """Fill a small disk; returns the file whose removal frees it.

    These files too get no further byte: each has the rest of its last page, which is its own already, filled with empty lines.
    """
    for file in files:
        with file.open("ab") as end:
            end.write(b"\n" * (-file.stat().st_size % PAGE_BYTES))
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as end, pytest.raises(OSError, match="No space left on device"):
        _write_for_ever(end)
    return ballast


def _write_for_ever(end: FileIO) -> None:
    while True:
        end.write(b"\0" * PAGE_BYTES)
