"""Errors that a user is meant to see: one line of what and why, a hint, an exit code."""

from __future__ import annotations

import errno
import unicodedata
from datetime import date

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


VALUE_MAX_CHARACTERS = 60
MESSAGE_MAX_CHARACTERS = 360
HINT_MAX_CHARACTERS = 600


def shown(value: object, most: int = VALUE_MAX_CHARACTERS) -> str:
    """A value on one line, cut to so many characters, and nothing in it that a terminal would obey or cannot show."""
    text = "null" if value is None else str(value) if isinstance(value, (str, int, float, date)) else type(value).__name__
    # Cut before the text is looked at: of a very long one only the beginning is of interest.
    whole = text[: most + 1]
    line = "".join(" " if each.isspace() else each if is_harmless(each) else "\N{REPLACEMENT CHARACTER}" for each in whole)
    return line if len(whole) <= most else f"{line[: most - 1]}…"


def is_harmless(text: str) -> bool:
    """Whether a text has no control characters, half characters (surrogates), or marks that turn the direction of others."""
    return not any(unicodedata.category(each) in ("Cc", "Cs") or each in _DIRECTIONS for each in text)


_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


class LabError(Exception):
    """Anything that the lab refuses or could not do. Shown without a traceback."""

    exit_code = EXIT_PREFLIGHT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LabError):
    """What was asked for does not exist or does not make sense. Always one line: what is quoted in it comes from outside."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(shown(message, MESSAGE_MAX_CHARACTERS), shown(hint, HINT_MAX_CHARACTERS))


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
