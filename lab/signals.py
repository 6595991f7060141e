"""Ctrl-C and SIGTERM: both interrupt, but only where it is safe while something is broken."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

# The last: the terminal or the connection to it is gone.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = "an interrupt came before this"


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """SIGTERM and SIGINT raise KeyboardInterrupt, so that both clean up.

    SIGINT too, since a shell starts background jobs with it ignored, and who sends one means it.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: list[Any] = [signal.signal(number, interrupt) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt came before this error, or during what it came out of: nothing more is to be begun then."""
    chain, seen = [error], set[int]()
    while chain:
        each = chain.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, KeyboardInterrupt) or INTERRUPTED in getattr(each, "__notes__", ()):
            return True
        seen.add(id(each))
        chain += [each.__cause__, each.__context__]
    return False


class Deferred:
    """Inside this context an interrupt waits for the next `open()` window, or for the end of the context.

    An error that leaves the context is not hidden by an interrupt, nor hides it: `was_interrupted` knows.

    So there is no instant between "noted on disk", "broken" and "healed" at which an interrupt could skip
    the healing.
    """

    def __init__(self, notice: Callable[[], None]) -> None:
        self._notice = notice
        self._pending = False
        self._is_open = False

    def __enter__(self) -> Deferred:
        self._before: list[Any] = [signal.signal(number, self._handle) for number in SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)
        if self._pending and error is None:
            raise KeyboardInterrupt
        if self._pending and error is not None:
            error.add_note(INTERRUPTED)

    @contextmanager
    def open(self) -> Iterator[None]:
        """A stretch in which an interrupt raises KeyboardInterrupt at once; so does one that came before."""
        self._is_open = True  # first: what comes from here on is raised by the handler itself
        try:
            if self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._is_open = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_open:
            self._is_open = False
            raise KeyboardInterrupt
        self._pending = True
        with suppress(Exception):  # a notice that cannot be given must not stop the healing
            self._notice()
