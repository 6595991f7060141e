"""Time that is only played: it goes on when everything waits for it, and so fast that a test waits for nothing.

`PlayedClock` is the clock of a host; `PlayedProcess` stands for a program in a box, which acts when the clock says so.
"""

from __future__ import annotations

import heapq
import json
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import IO, Any, cast

WORKERS = ("repair", "flap")
"""The threads of a trial that wait for the clock, by name: while one of them works, no time passes."""
STUCK_S = 5.0
"""Real seconds after which something that should go on at once has failed."""
YIELD_S = 0.0005
SHORTEST_S = 1e-6
LOOK_PERIOD_S = 0.005


class PlayedClock:
    """A host's monotonic clock. What is due at an instant happens in the thread that goes on to it, one thing at a time."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s
        self._owner = threading.current_thread()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._turn = threading.RLock()
        self._waiting: dict[threading.Thread, tuple[float, threading.Event]] = {}

    def monotonic(self) -> float:
        """Now."""
        return self._now_s

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something happen so much later."""
        with self._turn:
            heapq.heappush(self._due, (self._now_s + seconds, next(self._numbers), act))

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Let time pass until the event is set, so long at most; returns whether it is."""
        me = threading.current_thread()
        # No wait is so short that the sum is what it was: who asks again and again would never get on.
        until_s = self._now_s + (max(timeout_s, SHORTEST_S) if timeout_s > 0 else 0.0)
        with self._turn:
            self._waiting[me] = (until_s, event)
        try:
            while not event.is_set() and self._now_s < until_s:
                if not self._go_on(me):
                    event.wait(YIELD_S)
            return event.is_set()
        finally:
            with self._turn:
                del self._waiting[me]

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        self.wait(threading.Event(), seconds)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Let time pass until the condition holds, so long at most; returns whether it does."""
        until_s = self._now_s + timeout_s
        while not condition() and self._now_s < until_s:
            self.sleep(LOOK_PERIOD_S)
        return condition()

    def _go_on(self, me: threading.Thread) -> bool:
        """Go on to what is next, unless a thread has something to do before; returns whether it did."""
        with self._turn:
            if not all(self._is_idle(thread) for thread in self._others(me)):
                return False
            nearest_s = min(until_s for until_s, _ in self._waiting.values())
            if self._due and self._due[0][0] <= nearest_s:
                due_s, _, act = heapq.heappop(self._due)
                self._now_s = max(self._now_s, due_s)
                act()
            else:
                self._now_s = max(self._now_s, nearest_s)
            return True

    def _others(self, me: threading.Thread) -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each is not me and (each is self._owner or each.name in WORKERS)]

    def _is_idle(self, thread: threading.Thread) -> bool:
        until_s, event = self._waiting.get(thread, (0.0, None))
        return event is not None and self._now_s < until_s and not event.is_set()


class Lines:
    """What a program prints. It goes on only when its reader has dealt with the line, and asks for the next."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._is_asked = self._is_closed = False

    def write(self, *lines: bytes) -> None:
        """Print lines, and go on when they were read."""
        self.leave(*lines)
        with self._changed:
            is_read = self._changed.wait_for(lambda: self._is_closed or (self._is_asked and not self._lines), STUCK_S)
        assert is_read, "what a played program printed was not read: its reader is stuck, or has died"

    def leave(self, *lines: bytes) -> None:
        """Print lines, whoever reads them later."""
        with self._changed:
            self._lines.extend(lines)
            self._changed.notify_all()

    def close(self) -> None:
        """Print nothing any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._is_asked = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                if not self._lines:
                    return
                self._is_asked = False
                line = self._lines.popleft()
            yield line


class Orders:
    """The standard input of a program: each line is obeyed at once, and its end ends the program."""

    def __init__(self, obey: Callable[[dict[str, Any]], None], end: Callable[[], None]) -> None:
        self._obey, self._end = obey, end

    def write(self, line: bytes) -> None:
        """Give an order."""
        self._obey(json.loads(line))

    def flush(self) -> None:
        """Nothing: it has been obeyed."""

    def close(self) -> None:
        """No order comes any more."""
        self._end()


def as_line(message: dict[str, Any]) -> bytes:
    """A message as it is printed."""
    return json.dumps(message).encode() + b"\n"


class PlayedProcess(subprocess.Popen[bytes]):
    """A program in a box, as `Engine.talk_to` starts one."""

    def __init__(self, *first: dict[str, Any], obey: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        """It has printed its first messages already."""
        self._lines = Lines()
        self._lines.leave(*map(as_line, first))
        self.returncode: int | Any = None
        self.stdin = cast(IO[bytes], Orders(obey, self.end))
        self.stdout = cast(IO[bytes], self._lines)
        self.stderr = None

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.returncode is None

    def say(self, **message: Any) -> None:
        """Print a message, unless it has ended."""
        if self.runs:
            self._lines.write(as_line(message))

    def end(self, code: int = 0, *last: dict[str, Any]) -> None:
        """End, with last messages or none."""
        if self.runs:
            self.returncode = code
            self._lines.leave(*map(as_line, last))
            self._lines.close()

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return cast("int | None", self.returncode)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. A played program that has not ended by now never will."""
        if self.runs:
            raise subprocess.TimeoutExpired("played", timeout or 0.0)
        return cast(int, self.returncode)

    def kill(self) -> None:
        """End it at once."""
        self.end(-9)
