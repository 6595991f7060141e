"""The two consoles: nothing that comes from outside commands the terminal, and an output that is gone ends no work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lab.errors import DiskError
from lab.model.measures import Verdict
from lab.plaintext import clean

PLAIN_WIDTH = 120
VERDICT_STYLES = {Verdict.HELD: "bold green", Verdict.REFUTED: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


class SafeConsole(Console):
    """A console for text of any origin. Its reader may go away (head, less), its disk may be full: the work goes on.

    A result that cannot be printed raises DiskError. Messages are just lost.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with every text cleaned: the one place that all that is printed comes through."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(clean(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Say nothing more; what is printed as the result then has no reader, and the exit code still counts."""
        self.quiet = True
        close_output(is_error=self.stderr)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            del self._buffer[:]
            self.on_broken_pipe()
            if not self.stderr:
                raise DiskError.of("standard output", error) from error


def consoles() -> tuple[Console, Console]:
    """The console for data and the one for messages."""
    return _console(), _console(stderr=True)


def _console(stderr: bool = False) -> Console:
    console = SafeConsole(stderr=stderr, markup=False)  # what is printed may hold brackets of its own
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


def close_output(is_error: bool = False) -> None:
    """Let all that is still printed on standard output (or error) go nowhere: also what Python flushes at its end."""
    stream = sys.stderr if is_error else sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
