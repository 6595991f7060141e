"""The last lines that a process writes on its standard error, read as they come: a full pipe stops its writer."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep

POLL_S = 0.05


def wait_until(condition: Callable[[], bool], timeout_s: float, period_s: float = POLL_S) -> bool:
    """Ask until the condition holds or the time is over; returns whether it holds."""
    deadline = monotonic() + timeout_s
    while not condition():
        if monotonic() >= deadline:
            return False
        sleep(period_s)
    return True


def end_process(process: subprocess.Popen[bytes], timeout_s: float = 3.0) -> None:
    """End a process that runs until its input ends; kill it where that does not do."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(text: str) -> str:
    """The last line of what a command said that says something: of a Python traceback, what went wrong."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"])[-1][:300]


LINES_MAX = 20
LINE_MAX_CHARACTERS = 1000
END_TIMEOUT_S = 2.0


class LastWords:
    """Reads the standard error of a process to its end, in a thread of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._thread = threading.Thread(target=self._listen, daemon=True, name="last words")
        self._thread.start()

    def last(self) -> str:
        """The last line that says something; empty where there is none. Of a process that has ended, all of it was read."""
        if self._process.poll() is not None:
            self._thread.join(END_TIMEOUT_S)
        return next((line for line in reversed(list(self._lines)) if line), "")

    def _listen(self) -> None:
        if self._process.stderr is None:
            return
        while line := self._process.stderr.readline(LINE_MAX_CHARACTERS):
            self._lines.append(line.decode(errors="replace").strip())
