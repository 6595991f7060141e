"""One controller at a time: of a state folder, and of an engine."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.errors import DISK_ERRORS, DiskError, PreflightError
from lab.store import paths

ENGINE_LOCKS = Path("/tmp")
"""Of the machine, whoever the user: TMPDIR is a user's own. decision 0028."""


@contextmanager
def exclusive(purpose: str) -> Iterator[None]:
    """One controller of a state folder at a time. Raises PreflightError naming the other; its end, however it came, frees the lock.

    A folder that takes no more files is locked itself: healing must not need space.
    """
    with _writing_unless_full(paths.STATE_FOLDER):
        paths.STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    with _held((paths.STATE_FOLDER / "lock", paths.STATE_FOLDER), purpose, "the lab is busy"):
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
    """As `writing`, but a full or read-only disk is passed over."""
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
            # Where everybody may write, another user may have put a link to a file of ours.
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
