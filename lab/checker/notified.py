"""Whether a page or a ticket reported a fault: notified, not notified, not needed, or unknown. Pure.

docs/results.md defines it. What is not known is neither: a journal that may lack an alert says nothing of one that is missing,
and nothing of one that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.checker.phases import fault_span
from lab.model.history import Event, payloads
from lab.model.payloads import AlertNotice, AlertRecord
from lab.model.result import Notified, RequestCount, TierExposure

COUNTED = ("page", "ticket")
"""An `info` asks for nothing, so it reports no fault."""
WAITS_S = {("RedundancyLost", "database"): 2.0, ("RedundancyLost", "monitor"): 2.0}
"""The rules that have a `for:` (compose/watch/alerts.yaml), by alert and tier; the others fire as soon as their condition holds."""
LONGEST_WAIT_S = max(WAITS_S.values())
MISSING_MIN_S = 0.1
"""Redundancy is observed as often as this: what was missing for a shorter time is not known to have been missing."""


def needs_alert(during_fault: RequestCount | None, missing_s: float | None, exposure: Iterable[TierExposure]) -> bool | None:
    """Whether a fault did harm: a request failed while it lasted, or redundancy was missing. None where that is not known.

    missing_s: the time without redundancy of the trial, in seconds.
    """
    longest_s = max([missing_s or 0.0, *(each.without_redundancy_s or 0.0 for each in exposure)])
    if (during_fault and during_fault.failed) or longest_s > MISSING_MIN_S:
        return True
    return None if during_fault is None or missing_s is None else False


def notified(events: Iterable[Event], needed: bool | None) -> Notified:
    """Whether one of the alerts in the events of a trial reported its fault; needed: whether it did harm."""
    ordered = sorted(events, key=lambda event: event.at_s)
    if needed is False:
        return Notified.NOT_NEEDED
    record, span = record_of(ordered), fault_span(ordered)
    if record is None or not record.is_complete or span is None:
        return Notified.UNKNOWN
    if record.is_monitored and any(_reports(each, span) for each in ordered):
        return Notified.YES
    is_sure = needed and (not record.is_monitored or _would_show(ordered, record, span))
    return Notified.NO if is_sure else Notified.UNKNOWN


def record_of(events: Iterable[Event]) -> AlertRecord | None:
    """What is known of the alerts of a trial; None in journals from before that was noted, and of a foreign stack."""
    found = payloads(events, AlertRecord)
    return found[-1][1] if found else None


def wait_s(notice: AlertNotice) -> float:
    """For how long its condition must hold before it fires, in seconds."""
    return WAITS_S.get((notice.alert, notice.tier), 0.0)


def _reports(event: Event, span: tuple[float, float]) -> bool:
    """Whether it is a page or a ticket that began while the fault lasted; one that had to wait then may be delivered later."""
    if event.name != "alert" or not isinstance(event.data, AlertNotice) or event.data.severity not in COUNTED:
        return False
    return span[0] <= event.at_s <= span[1] + wait_s(event.data)


def _would_show(events: Sequence[Event], record: AlertRecord, span: tuple[float, float]) -> bool:
    """Whether an alert that reports the fault would be in the journal.

    Not where the log was read too early, an alert is in words that are not understood, or one was firing before the fault:
    that would not be delivered again.
    """
    is_understood = all(event.data is not None for event in events if event.name == "alert")
    return record.until_s >= span[1] + LONGEST_WAIT_S and is_understood and not _firing(events, record, span[0])


def _firing(events: Sequence[Event], record: AlertRecord, at_s: float) -> bool:
    """Whether a page or a ticket was firing just before an instant."""
    firing = set(record.firing)
    for event in events:
        if event.at_s < at_s and isinstance(event.data, AlertNotice):
            firing = firing | {event.data} if event.name == "alert" else firing - {event.data}
    return any(each.severity in COUNTED for each in firing)
