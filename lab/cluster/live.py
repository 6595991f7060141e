"""A line that moves while something long is under way, for whoever can show one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

Line = Callable[[], str]
"""What the line reads now; asked for several times a second."""


@runtime_checkable
class LiveSay(Protocol):
    """Prints a message, and can also show a line that moves."""

    def __call__(self, text: str) -> None:
        """Print a message."""

    def live(self, line: Line) -> AbstractContextManager[object]:
        """Show this line for as long as the context lasts."""


def live_line(say: Callable[[str], None], line: Line) -> AbstractContextManager[object]:
    """Show a line that moves, where `say` can."""
    return say.live(line) if isinstance(say, LiveSay) else nullcontext()
