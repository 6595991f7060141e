"""When a primary that takes no writes asks to be replaced, and when a standby whose disk hangs leaves. Pure."""

from __future__ import annotations

from enum import StrEnum

WRITTEN_BEFORE = 4
"""So many writes must have succeeded first, since it became the primary (or the standby): at two a second, two seconds.

A database that was just promoted takes none for a moment. And where the next primary would take none either (the setting came with
the data, the disk is one and the same), replacing it again and again would help nobody. That the monitor agrees only once in a while
keeps those from taking turns that write now and then.
"""
# Errors of PostgreSQL that say that it cannot write: read-only, no space, input or output failed, no transaction numbers left,
# and what has no number of its own (a file that must not grow).
REFUSALS = ("25006", "53100", "58030", "54000", "XX000")


class Look(StrEnum):
    """What came of one look at the database."""

    WRITTEN = "written"
    REFUSED = "refused"
    """It is a primary with somebody who follows it, and did not take a write."""
    HUNG = "hung"
    """The same, and the write did not end in time."""
    ALONE = "alone"
    """Nobody follows it, so nobody could take over: it is asked for nothing."""
    STANDBY = "standby"
    """Its disk took a write."""
    STUCK = "stuck"
    """It is a standby, a write of an earlier look has not ended yet, and its primary has sent more than it has written: commits wait for it."""
    GONE = "gone"
    """It does not run, or is ending or starting: its keeper and the monitor see that themselves."""
    UNKNOWN = "unknown"
    """It gave no answer at all, or too late by this program's own fault."""


class Act(StrEnum):
    """What a database does after a look."""

    STAY = "stay"
    STAND_DOWN = "stand down"
    """A primary: ask the monitor to put another one in its place."""
    LEAVE = "leave"
    """A standby: end at once, so that no commit waits for it any longer."""


HUNG_COUNTS = 2
"""A write that hung took as long as two looks, so it counts as two."""


class Judge:
    """Counts what came of the looks."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        """So many refused writes in a row are too many."""
        self._written = self._refused = 0
        self._followed = self._stuck = 0

    @property
    def refused(self) -> int:
        """How many writes were refused in a row."""
        return self._refused

    def note(self, look: Look) -> Act:
        """Take it down; what the database is to do now."""
        if look in (Look.STANDBY, Look.GONE):
            self._written = self._refused = 0
        if look not in (Look.STANDBY, Look.STUCK, Look.UNKNOWN):
            self._followed = self._stuck = 0
        match look:
            case Look.WRITTEN:
                self._written, self._refused = self._written + 1, 0
            case Look.REFUSED:
                self._refused += 1
            case Look.HUNG:
                self._refused += HUNG_COUNTS
            case Look.ALONE:
                self._refused = 0
            case Look.STANDBY:
                self._followed, self._stuck = self._followed + 1, 0
            case Look.STUCK:
                self._stuck += 1
            case Look.GONE | Look.UNKNOWN:
                pass
        return self._act()

    def _act(self) -> Act:
        if self._refused >= self._failures and self._written >= WRITTEN_BEFORE:
            return Act.STAND_DOWN
        if self._stuck >= self._failures and self._followed >= WRITTEN_BEFORE:
            return Act.LEAVE
        return Act.STAY

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
