"""The helper beside a box: a shell in the network of the box, for a moment, that runs one line after the other.

It ends with its input: when the lab ends, however it ends, so does the helper.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from lab.errors import LabError

LOOPBACK = "lo"
DEVICES = (
    f'devices=$(ip -o -4 address show up | while read -r _ name _; do [ "$name" = {LOOPBACK} ] || echo "$name"; done'
    " | sort -u | paste -sd,)"
)

ANSWER_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0
IDLE_S = 120
SEPARATOR = "\x1f"
# Each line of input is a command; each line of output its exit code, when it ended, and what it said.
SHELL = f"""{DEVICES}
while IFS= read -r -t {IDLE_S} line; do
  said=$(eval "$line" 2>&1)
  printf '%s %s %s\\n' "$?" "$EPOCHREALTIME" "${{said//$'\\n'/$'\\x1f'}}"
done
"""


@dataclass(frozen=True)
class Reply:
    """What a command of the helper left."""

    exit_code: int
    at_s: float
    """When it had ended, on the wall clock of the boxes."""
    output: str


class Beside(Protocol):
    """A shell in the network of a box."""

    def ask(self, command: str) -> Reply:
        """Run a line of bash and wait for it. Raises LabError when the helper does not answer."""

    def close(self) -> None:
        """Let it end."""


class Helper:
    """A helper that was started, ready or not."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        self._name = name
        self._lock = threading.Lock()
        self._read = b""

    def ask(self, command: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Reply:
        """Run a line of bash and wait for it. Raises LabError when the helper does not answer (any more)."""
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(command.encode() + b"\n")
                self._process.stdin.flush()
            except OSError:
                pass  # it has ended; its last words are asked for below
            code, at_s, said = self._line(monotonic() + timeout_s).rstrip("\n").split(" ", 2)
        return Reply(int(code), float(at_s), said.replace(SEPARATOR, "\n"))

    def close(self) -> None:
        """Let it end. Only the end of the lab itself waits for that: nothing is to be left behind."""
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        threading.Thread(target=self._await_end, name=f"end of the {self._name}").start()

    def _await_end(self) -> None:
        try:
            self._process.communicate(timeout=END_TIMEOUT_S)
        except (subprocess.TimeoutExpired, ValueError):
            self._process.kill()
            self._process.wait()

    def _line(self, deadline_s: float) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], max(deadline_s - monotonic(), 0))
            if not ready:
                raise LabError(
                    f"the {self._name} does not answer", "is the machine very busy? try again; 'lab heal' undoes what was done"
                )
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise LabError(
                    f"the {self._name} could not be started: {self._last_words()}", "see 'lab status' and 'lab doctor'"
                )
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace")

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        lines = [line for line in self._process.stderr.read().decode(errors="replace").splitlines() if line.strip()]
        useful = [line for line in lines if "--help" not in line]
        return useful[-1].removeprefix("docker: ").strip() if useful else "no output"
