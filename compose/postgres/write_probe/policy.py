"""When a primary that takes no writes asks to be replaced. Pure."""

from __future__ import annotations

from enum import StrEnum

WRITTEN_BEFORE = 20
"""So many writes must have succeeded first, since it became the primary: at two a second, ten seconds.

A database that was just promoted takes none for a moment. And where the next primary would take none either (the setting came with
the data, the disk is one and the same), replacing it again and again would help nobody.
"""
# Errors of PostgreSQL that say that it cannot write: read-only, no space, input or output failed, no transaction numbers left,
# and what has no number of its own (a file that must not grow).
REFUSALS = ("25006", "53100", "58030", "54000", "XX000")


class Look(StrEnum):
    """What came of one look at the database."""

    WRITTEN = "written"
    REFUSED = "refused"
    """It is a primary with somebody who follows it, and did not take a write, or not in time."""
    ALONE = "alone"
    """Nobody follows it, so nobody could take over: it is asked for nothing."""
    STANDBY = "standby"
    GONE = "gone"
    """It does not run, or is ending or starting: its keeper and the monitor see that themselves."""
    UNKNOWN = "unknown"
    """It gave no answer at all, or too late by this program's own fault."""


class Judge:
    """Counts what came of the looks."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        """So many refused writes in a row are too many."""
        self._written = self._refused = 0

    @property
    def refused(self) -> int:
        """How many writes were refused in a row."""
        return self._refused

    def note(self, look: Look) -> bool:
        """Take it down; whether the database is to ask to be replaced now."""
        match look:
            case Look.WRITTEN:
                self._written, self._refused = self._written + 1, 0
            case Look.REFUSED:
                self._refused += 1
            case Look.ALONE:
                self._refused = 0
            case Look.STANDBY | Look.GONE:
                self._written = self._refused = 0
            case Look.UNKNOWN:
                pass
        return self._refused >= self._failures and self._written >= WRITTEN_BEFORE

    def asked(self, agreed: bool) -> None:
        """It has asked. Once is enough; where the monitor did not agree, it asks again after two more."""
        self._refused = 0 if agreed else self._failures - 2
        self._written = 0 if agreed else self._written


def look_of_error(sqlstate: str | None, was_asked_to_write: bool) -> Look:
    """What an error of PostgreSQL means; None: the connection broke, or there was none."""
    if was_asked_to_write and sqlstate in REFUSALS:
        return Look.REFUSED
    ends = sqlstate is None or sqlstate.startswith("57P")
    return Look.GONE if ends else Look.UNKNOWN
