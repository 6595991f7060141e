"""Whether all alerts of a trial are known: only then does it say anything that none reported the fault."""

from __future__ import annotations

from collections.abc import Sequence

from lab.checker.foreign_actions import Said
from lab.engine.inspect import nanoseconds
from lab.model.history import Event, LogLine
from lab.model.payloads import AlertRecord
from lab.model.topology import Box
from lab.probe import logs

EVENT = "alert-record"
HISTORY_S = 3600.0
"""So far back its log is read for what was firing when the load began: Prometheus remembers no more, either."""
BREAKS = ("die", "start", "pause", "unpause", "kill", "restart", "health_status: unhealthy")
"""What Docker says of a box that may have missed something."""
NOT_MONITORED = "the stage has no monitoring box"
COMPLETE = "every alert of the trial is known"


def log_since_s(box: Box, start_realtime_ns: int) -> float:
    """From when on the log of the monitoring box is read (wall-clock seconds): its last start, what was before that it has forgotten."""
    start_s = start_realtime_ns / 1e9
    return min(max(start_s - HISTORY_S, nanoseconds(box.started_at) / 1e9), start_s)


def without_monitoring(until_s: float) -> AlertRecord:
    """That of a stage whose file has no monitoring box: it is known that no alert was delivered."""
    return AlertRecord(is_monitored=False, is_complete=True, until_s=until_s)


def alert_record(
    box: Box | None, lines: Sequence[LogLine], reported: Sequence[Said], start_realtime_ns: int, until_s: float
) -> AlertRecord:
    """What the log of the monitoring box is worth; box: as it is now, None where there is none.

    start_realtime_ns: when the load began, on the wall clock; 0 where that is not known. until_s: when the log was read.
    """
    why = _why_incomplete(box, reported, start_realtime_ns)
    firing = () if why else logs.firing_before(lines, start_realtime_ns)
    return AlertRecord(True, not why, until_s, why, firing)


def _why_incomplete(box: Box | None, reported: Sequence[Said], start_realtime_ns: int) -> str:
    if not start_realtime_ns:
        return "the clock of the observer is not known"
    if box is None:
        return "the monitoring box is not there"
    if not box.is_healthy:
        return f"the monitoring box is {box.condition}"
    if nanoseconds(box.started_at) > start_realtime_ns:
        return "the monitoring box was started during the trial"
    broken = [each.action for each in reported if each.service == box.service and each.action in BREAKS]
    return f"the monitoring box: {broken[0]} during the trial" if broken else ""


def as_event(record: AlertRecord, at_s: float) -> Event:
    """As it stands in the journal, at the end of the load."""
    words = (
        (COMPLETE if record.is_monitored else NOT_MONITORED) if record.is_complete else f"alerts unknown: {record.why_incomplete}"
    )
    return Event(at_s, EVENT, words, record)
