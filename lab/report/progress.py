"""Phases live: one line each; on a terminal the strip of the run grows beneath."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lab.model.history import Arrival, TrialRecord
from lab.model.result import TrialResult
from lab.report import words
from lab.report.bins import bins
from lab.report.terminal import BIN_S, strip

TAIL_CHARACTERS = 60


class ConsoleProgress:
    """Prints what happens. Plain lines where the console is no terminal."""

    def __init__(self, console: Console, trials: int, deadline_s: float) -> None:
        self._console = console
        self._trials = trials
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._live: Live | None = None

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def trial(self, number: int, seed: int) -> None:
        """A trial begins."""
        with self._lock:
            self._arrivals = []
        self._console.print(f"trial {number} of {self._trials} (seed {seed})", style="bold", highlight=False)

    def phase(self, name: str, detail: str = "") -> None:
        """A phase of it begins."""
        style = {"inject": "bold red", "heal": "bold green"}.get(name, "")
        self._console.print(Text.assemble("  ", (f"{name:<9}", style), detail))

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Show the tail of the strip; called from the load's thread."""
        with self._lock:
            self._arrivals = [*self._arrivals[-2000:], *arrivals]
            if self._live:
                cells = bins(self._arrivals, self._deadline_s, BIN_S)[-TAIL_CHARACTERS:]
                self._live.update(Text("            ") + strip(cells), refresh=True)

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        """A trial has its figures."""
        valid = "" if result.valid else "  not valid: " + "; ".join(result.reasons)
        lost = f", lost writes {words.lost_of(result)}" if result.has_writes else ""
        self._console.print(
            f"  {'outage':<9}{words.outage_text(result.total)}, longest gap {words.gap_text(result.total.gap)}{lost}{valid}",
            highlight=False,
        )

    def notice(self, text: str) -> None:
        """Something worth a line."""
        self._console.print(f"  {text}", style="yellow")


class NoProgress:
    """Says nothing."""

    def trial(self, number: int, seed: int) -> None:
        """Nothing."""

    def phase(self, name: str, detail: str = "") -> None:
        """Nothing."""

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Nothing."""

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""
