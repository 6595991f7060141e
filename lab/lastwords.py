"""The last lines that a process writes on its standard error, read as they come: a full pipe stops its writer."""

from __future__ import annotations

import subprocess
import threading
from collections import deque

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
