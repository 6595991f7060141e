"""The observer: which databases accept writes and who holds the entry's address, on the clock of the load."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import suppress
from time import monotonic
from typing import Any

from lab.checker.blind_spots import Word
from lab.engine.engine import Engine
from lab.errors import InconclusiveError
from lab.model.observation import ClusterView, DatabaseState, Finding
from lab.model.topology import Stage
from lab.process import LastWords, end_process

FIRST_TIMEOUT_S = 10.0
# It says something at least four times a second.
STALE_S = 5.0
SILENT_S = 3.0
BALANCER_ROLE = "lb"


def look(engine: Engine, stage: Stage) -> ClusterView:
    """What there is to be seen now. Raises InconclusiveError when nobody can be asked."""
    with Observer(engine, stage) as observer:
        return observer.latest()


def order(stage: Stage) -> dict[str, Any]:
    """What there is to look at in a stage, as the client is told."""
    databases = stage.databases if stage.is_replicated else {}
    return {"databases": databases, "balancers": stage.balancers, "entry": stage.entry[0], "announced": stage.announced}


def statistics(stage: Stage) -> dict[str, str]:
    """The addresses at which the balancers say whom they send requests to: the entry, where there is only one."""
    alone = {spec.name: stage.entry[0] for spec in stage.services if BALANCER_ROLE in spec.roles}
    return stage.balancers or alone


def redundancy_probe_config(stage: Stage) -> dict[str, Any]:
    """The same, and beside it whom to ask for what margins rest on. Without a balancer nothing has a margin: nobody is asked."""
    found = statistics(stage)
    alone = stage.databases if found and not stage.is_replicated else {}
    return {**order(stage), "statistics": found, "monitor": stage.monitor, "alone": alone}


def read_view(message: dict[str, Any]) -> ClusterView:
    """A sight as the client says it. Raises KeyError or ValueError for what is none."""
    return ClusterView(
        clock_ns=int(message["clock_ns"]),
        databases={name: DatabaseState(state) for name, state in message["databases"].items()},
        standbys=int(message["standbys"]),
        synchronous=int(message["synchronous"]),
        vip_claimants=tuple(message["vip_claimants"]),
        serving=tuple(message["serving"]),
        vip_owner=str(message["vip_owner"]),
    )


class Observer:
    """Watches a stage for as long as the context lasts; where there is nothing to watch, it only tells the time.

    With `reserve` it also asks for what margins rest on.
    """

    def __init__(self, engine: Engine, stage: Stage, reserve: bool = False) -> None:
        self._engine = engine
        self._stage = stage
        self._reserve = reserve
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = threading.Event()
        self.words: list[Word] = []
        """When it said something, and when that arrived."""
        self.views: list[ClusterView] = []
        """Each change of what was seen."""
        self.findings: list[Finding] = []
        """Each change of what somebody said of what margins rest on, in the order in which it was known."""
        self.period_s = 0.0
        """How often it looks, as it says itself."""
        self.realtime_offset_ns = 0
        """What to take from the wall clock of the boxes to get their monotonic clock, which is that of the load."""

    def __enter__(self) -> Observer:
        asked = redundancy_probe_config(self._stage) if self._reserve else order(self._stage)
        command = ["python", "-m", "client.reserve" if self._reserve else "client.observer", json.dumps(asked)]
        self._process = self._engine.talk_to(self._engine.internet_box(self._stage), command)
        self._last_words = LastWords(self._process)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True, name="observer").start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            end_process(self._process)

    def latest(self) -> ClusterView:
        """What was seen last, at most a tenth of a second ago. Raises InconclusiveError when nothing is."""
        if not self._seen.wait(FIRST_TIMEOUT_S):
            assert self._process is not None
            end_process(self._process)
            raise InconclusiveError(f"the boxes could not be asked: {self._last_words.last() or 'no answer'}", "see 'lab status'")
        if self._silent_s() > STALE_S:
            raise InconclusiveError("the observer has gone silent", "was the internet box stopped? see 'lab status'")
        return self.views[-1]

    @property
    def is_watching(self) -> bool:
        """Whether it still looks: it has not ended, and not fallen silent."""
        return self._process is not None and self._process.poll() is None and self._silent_s() <= SILENT_S

    def _silent_s(self) -> float:
        return monotonic() - (self.words[-1].heard_at if self.words else 0.0)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with suppress(ValueError, KeyError):  # a line cut short: it was killed
            for line in process.stdout:
                message = json.loads(line)
                if message["event"] == "clocks":
                    self.realtime_offset_ns = int(message["realtime_ns"]) - int(message["monotonic_ns"])
                    self.period_s = float(message.get("period_s", 0.0))
                    continue
                self.words.append(Word(int(message.get("clock_ns") or message.get("at_ns", 0)), monotonic()))
                if message["event"] == "finding":
                    self.findings.append(Finding(int(message["at_ns"]), message["kind"], message["name"], message["said"]))
                    continue
                view = read_view(message)
                if not self.views or not view.is_like(self.views[-1]):
                    self.views.append(view)
                self._seen.set()
