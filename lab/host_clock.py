"""The clock of this host by which a trial is dated and goes on, and which a test can play.

What a process or Docker takes to answer is waited for in real time (`process.wait_until`).
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Protocol


class HostClock(Protocol):
    """Says what time it is, and lets it pass."""

    def monotonic(self) -> float:
        """Now, in seconds since an instant that never changes."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until the event is set, so long at most; returns whether it is."""


class RealClock:
    """The kernel's monotonic clock."""

    def monotonic(self) -> float:
        """Now, in seconds since an instant that never changes."""
        return monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until the event is set, so long at most; returns whether it is."""
        return event.wait(max(timeout_s, 0.0))


HOST_CLOCK = RealClock()
