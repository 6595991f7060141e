"""The observer: which databases accept writes, ten times a second, on the clock of the load."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

from lab.engine import Engine
from lab.model import Stage

END_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Sighting:
    """What the databases said from one instant on."""

    clock_ns: int
    """On the monotonic clock of the internet box, which is that of the load."""
    states: dict[str, str]


class Observer:
    """Watches the databases of a replicated stage for as long as the context lasts; does nothing in others."""

    def __init__(self, engine: Engine, stage: Stage) -> None:
        self._engine = engine
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None
        self.sightings: list[Sighting] = []

    def __enter__(self) -> Observer:
        if self._stage.is_replicated:
            command = ["python", "-m", "client.observer", json.dumps(self._stage.databases)]
            self._process = self._engine.talk_to(self._engine.internet_box(self._stage), command)
            threading.Thread(target=self._listen, args=(self._process,), daemon=True, name="observer").start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()  # the end of its input ends it
        try:
            self._process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with suppress(ValueError):  # a line cut short: it was killed
            for line in process.stdout:
                message = json.loads(line)
                if not self.sightings or message["states"] != self.sightings[-1].states:
                    self.sightings.append(Sighting(int(message["clock_ns"]), message["states"]))
