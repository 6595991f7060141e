"""Errors that a user is meant to see: one line of what and why, a hint, an exit code."""

from __future__ import annotations

import errno

EXIT_HELD = 0
EXIT_REFUTED = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_PREFLIGHT = 4
EXIT_HEAL_FAILED = 5
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What an operating system says of a disk that takes no more, whatever the file."""


class LabError(Exception):
    """Anything that the lab refuses or could not do. Shown without a traceback."""

    exit_code = EXIT_PREFLIGHT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LabError):
    """What was asked for does not exist or does not make sense."""

    exit_code = EXIT_USAGE


class InconclusiveError(LabError):
    """Nothing can be said: the fault did not bite, or the measurement is not to be trusted."""

    exit_code = EXIT_INCONCLUSIVE


class PreflightError(LabError):
    """The machine is not ready for what was asked; nothing was started or broken."""

    exit_code = EXIT_PREFLIGHT


class DiskError(PreflightError):
    """A file or an output cannot be written."""

    @classmethod
    def of(cls, what: object, error: OSError) -> DiskError:
        """What cannot be written, why, and what helps."""
        if isinstance(error, PermissionError):
            return cls(f"{what} is not writable for this user", "was it made with sudo? change its owner")
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space there" if full else "LAB_RESULTS and LAB_STATE name folders that can be written"
        return cls(f"{what} cannot be written: {error.strerror or error}", hint)


class HealError(LabError):
    """Something that the lab broke could not be mended."""

    exit_code = EXIT_HEAL_FAILED
