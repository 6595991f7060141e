"""What Prometheus is told of a web box: its answers, counted.

By hand: one number for each status is all that is asked for, and Prometheus' own library would be 3 MB in every box. It
holds for one process (gunicorn --workers=1); with several, whoever is asked would tell his own part only.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEAD = "# HELP orderdesk_answers_total Answers of this box to users.\n# TYPE orderdesk_answers_total counter\n"


class Answers:
    """Counts answers. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, int]] = Counter()

    def count(self, kind: str, status: int) -> None:
        """Note one answer to a read or a write."""
        with self._lock:
            self._counts[kind, status] += 1

    def text(self) -> str:
        """All so far, as Prometheus reads it."""
        with self._lock:
            counts = sorted(self._counts.items())
        return HEAD + "".join(
            f'orderdesk_answers_total{{kind="{kind}",status="{status}"}} {count}\n' for (kind, status), count in counts
        )
