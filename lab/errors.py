"""Errors that a user is meant to see: one line of what and why, a hint, an exit code."""

from __future__ import annotations

EXIT_HELD = 0
EXIT_REFUTED = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_PREFLIGHT = 4
EXIT_HEAL_FAILED = 5
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


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


class HealError(LabError):
    """Something that the lab broke could not be mended."""

    exit_code = EXIT_HEAL_FAILED
