"""The observer: which databases accept writes and which balancer owns the VIP, on the clock of the load."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import suppress
from typing import Any, Protocol

from lab.checker.blind_spots import Word
from lab.errors import InconclusiveError
from lab.model.observation import ClusterView, DatabaseState, Finding
from lab.model.topology import Stage
from lab.probe.system import ObservableSystem
from lab.process import LastWords, end_process

FIRST_TIMEOUT_S = 10.0
# It says something at least four times a second.
STALE_S = 5.0
SILENT_S = 3.0
BALANCER_ROLE = "lb"


def observe(system: ObservableSystem) -> ClusterView:
    """What an observer sees now. Raises InconclusiveError when the boxes cannot be asked."""
    with Observer(system) as observer:
        return observer.latest()


def probe_config(stage: Stage) -> dict[str, Any]:
    """What is observed in a stage, as the client reads it."""
    databases = stage.databases if stage.is_replicated else {}
    return {"databases": databases, "balancers": stage.balancers, "entry": stage.entry[0], "announced": stage.announced}


def statistics(stage: Stage) -> dict[str, str]:
    """The addresses at which the balancers report their backends: the entry, where there is only one balancer."""
    alone = {spec.name: stage.entry[0] for spec in stage.services if BALANCER_ROLE in spec.roles}
    return stage.balancers or alone


def redundancy_probe_config(stage: Stage) -> dict[str, Any]:
    """The same, and what is asked for the failures tolerated. Without a balancer no failure is, and nothing is asked."""
    found = statistics(stage)
    alone = stage.databases if found and not stage.is_replicated else {}
    return {**probe_config(stage), "statistics": found, "monitor": stage.monitor, "alone": alone}


def read_view(message: dict[str, Any]) -> ClusterView:
    """A view as the client reports it. Raises KeyError or ValueError for what is none."""
    return ClusterView(
        clock_ns=int(message["clock_ns"]),
        databases={name: DatabaseState(state) for name, state in message["databases"].items()},
        standbys=int(message["standbys"]),
        synchronous=int(message["synchronous"]),
        vip_claimants=tuple(message["vip_claimants"]),
        serving=tuple(message["serving"]),
        vip_owner=str(message["vip_owner"]),
        vip_leads_to=str(message["vip_leads_to"]),
    )


class ViewSource(Protocol):
    """Something that knows the latest view of a system."""

    def latest(self) -> ClusterView:
        """What was seen last. Raises InconclusiveError when nothing is."""


class Observer:
    """Watches a system for as long as the context lasts; where there is nothing to watch, it only tells the time.

    With `redundancy` it also asks for what the failures tolerated rest on.
    """

    def __init__(self, system: ObservableSystem, redundancy: bool = False) -> None:
        self._system = system
        self._redundancy = redundancy
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = threading.Event()
        self.words: list[Word] = []
        """When it said something, and when that arrived."""
        self.views: list[ClusterView] = []
        """Each change of what was seen."""
        self.findings: list[Finding] = []
        """Each change of an answer on which the failures tolerated rest, in the order in which it was known."""
        self.period_s = 0.0
        """How often it looks, as it says itself."""
        self.realtime_offset_ns = 0
        """What to take from the wall clock of the boxes to get their monotonic clock, which is that of the load."""

    def __enter__(self) -> Observer:
        stage = self._system.stage
        config = redundancy_probe_config(stage) if self._redundancy else probe_config(stage)
        command = ["python", "-m", "client.redundancy" if self._redundancy else "client.observer", json.dumps(config)]
        self._process = self._system.engine.talk_to(self._system.internet, command)
        self._last_words = LastWords(self._process)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True, name="observer").start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            end_process(self._process)

    def latest(self) -> ClusterView:
        """What was seen last, at most 0.1 s ago. Raises InconclusiveError when nothing is."""
        if not self._seen.wait(FIRST_TIMEOUT_S):
            assert self._process is not None
            end_process(self._process)
            raise InconclusiveError(f"the boxes could not be asked: {self._last_words.last() or 'no answer'}", "see 'lab status'")
        if self._silent_s() > STALE_S:
            raise InconclusiveError("the observer has stopped reporting", "is the internet box running? see 'lab status'")
        return self.views[-1]

    @property
    def is_watching(self) -> bool:
        """Whether it still looks: it has not ended, and not fallen silent."""
        return self._process is not None and self._process.poll() is None and self._silent_s() <= SILENT_S

    def _silent_s(self) -> float:
        return self._system.host_clock.monotonic() - (self.words[-1].heard_at if self.words else 0.0)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with suppress(ValueError, KeyError):  # a line cut short: it was killed
            for line in process.stdout:
                message = json.loads(line)
                if message["event"] == "clocks":
                    self.realtime_offset_ns = int(message["realtime_ns"]) - int(message["monotonic_ns"])
                    self.period_s = float(message.get("period_s", 0.0))
                    continue
                self.words.append(
                    Word(int(message.get("clock_ns") or message.get("at_ns", 0)), self._system.host_clock.monotonic())
                )
                if message["event"] == "finding":
                    self.findings.append(Finding(int(message["at_ns"]), message["kind"], message["name"], message["said"]))
                    continue
                view = read_view(message)
                if not self.views or not view.is_like(self.views[-1]):
                    self.views.append(view)
                self._seen.set()
