"""What happens in a trial goes through here: kept for its record, and on disk at once."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from lab.host_clock import HostClock
from lab.load.load import Clock
from lab.model.history import Arrival, Event, TrialRecord
from lab.model.payloads import Payload
from lab.store.runs import TrialJournal
from lab.trial.config import Progress


class Recorder:
    """The events of a trial, on the clock of its load. Repairs note things too, from threads of their own."""

    def __init__(self, journal: TrialJournal, progress: Progress, host_clock: HostClock) -> None:
        self.journal, self.progress, self._host_clock = journal, progress, host_clock
        self.clock = Clock(0.0, 0.0)
        """That of the load, from its start on: nothing is noted before."""
        self._events: list[Event] = []
        self._noting = Lock()

    @property
    def events(self) -> tuple[Event, ...]:
        """All that was noted, in order of time."""
        with self._noting:
            return tuple(sorted(self._events, key=lambda event: event.at_s))

    def note(self, name: str, detail: str = "", data: Payload | None = None, at: float | None = None) -> None:
        """Note an event: now, or at an instant of this host's monotonic clock."""
        instant = self._host_clock.monotonic() if at is None else at
        self.add(Event(self.instant_s(instant), name, detail, data))

    def add(self, event: Event) -> None:
        """Note an event whose instant is known already."""
        with self._noting:
            self._events.append(event)
            self.journal.event(event)

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Note requests that have ended."""
        self.journal.arrivals(arrivals)
        self.progress.arrivals(arrivals)

    def instant_s(self, host_s: float) -> float:
        """An instant of this host's monotonic clock on the clock of the load."""
        return round(self.clock.at(host_s), 6)

    def abandon(self) -> None:
        """Close the files of a trial that was broken off. Raises nothing."""
        self.journal.abandon()

    def close(self, record: TrialRecord) -> None:
        """Complete the trial on disk. Raises DiskError."""
        self.journal.close(record)
