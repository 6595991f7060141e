"""The load: started in the internet box, heard from while it runs, collected when it ends."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from lab.checker.validity import generator_report
from lab.engine.engine import Engine
from lab.errors import InconclusiveError
from lab.host_clock import HOST_CLOCK, HostClock
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, GeneratorReport
from lab.model.topology import Box, Page
from lab.process import LastWords, end_process

START_TIMEOUT_S = 20.0
FINISH_TIMEOUT_S = 20.0
CLOCK_SAMPLES = 15
CLOCK_TIMEOUT_S = 5.0
LAST_WORDS_TIMEOUT_S = 1.0
LOCUST_PORT = 8089

# The columns that the generator sends, in its order, as fields of an Arrival.
COLUMNS = ("number", "kind", "at_s", "lag_s", "done_s", "error_class", "effect", "status", "by", "via", "key", "new_connection")


@dataclass(frozen=True)
class Clock:
    """Turns this host's monotonic seconds into seconds on the clock of the load.

    The load may run in another kernel (Docker Desktop), whose monotonic clock has nothing to do with ours.
    """

    zero: float
    """What this host's clock showed when the load's clock showed 0."""
    error_s: float
    """Half the shortest round trip with which that was found out: the most it can be wrong."""

    def at(self, host_s: float) -> float:
        """Seconds on the clock of the load."""
        return host_s - self.zero


def best_clock(samples: Sequence[tuple[float, float, int]], start_ns: int) -> Clock:
    """The clock from samples (asked, heard, there): host seconds before and after, nanoseconds over there.

    The sample with the shortest round trip bounds the offset best (Cristian's algorithm).
    """
    asked, heard, there_ns = min(samples, key=lambda sample: sample[1] - sample[0])
    return Clock(zero=(asked + heard) / 2 - (there_ns - start_ns) / 1e9, error_s=(heard - asked) / 2)


@dataclass(frozen=True)
class Drift:
    """What the two clocks did to each other between two looks, and what that makes of instants noted by the first."""

    drift_s: float
    """By how much this host's clock went ahead of the load's; as well as both looks know it."""
    error_s: float
    """The most that an instant noted by the first look can be wrong, at any time between the two: two quartz clocks go apart evenly."""


def drift(first: Clock, last: Clock) -> Drift:
    """From a look at the start and one at the end."""
    apart_s = last.zero - first.zero
    return Drift(apart_s, max(first.error_s, abs(apart_s) + last.error_s))


def page_config(page: Page) -> dict[str, str]:
    """What to read, as the client gets it."""
    return {"path": page.path, "host": page.authority, "contains": page.contains}


@dataclass(frozen=True)
class LoadConfig:
    """What the generator is asked for."""

    address: tuple[str, int]
    """Where users come to."""
    prefix: str
    """What every key of an order begins with: no two loads have the same."""
    plan: LoadPlan
    seed: int
    web_ui: bool = False
    page: Page | None = None
    """What is read where there is no order desk."""

    def document(self) -> dict[str, Any]:
        """As the generator reads it."""
        return {
            "address": self.address,
            "prefix": self.prefix,
            "seed": self.seed,
            **asdict(self.plan),
            "web_port": LOCUST_PORT if self.web_ui else None,
            "page": page_config(self.page) if self.page else None,
        }


class Load:
    """A running load. Use as a context: it never outlives it."""

    def __init__(
        self,
        engine: Engine,
        box: Box,
        config: LoadConfig,
        heard: Callable[[Sequence[Arrival]], None] = lambda _: None,
        host_clock: HostClock = HOST_CLOCK,
    ) -> None:
        self._config = config
        self._engine = engine
        self._box = box
        self._heard = heard
        self._host_clock = host_clock
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._ended = threading.Event()
        self._finished: dict[str, Any] | None = None
        self.arrivals: list[Arrival] = []
        self.clock = Clock(0.0, 0.0)
        """As it was found out at the start: what is noted meanwhile goes by it."""
        self.clock_at_end = Clock(0.0, 0.0)
        """The same again, just before it was asked to stop."""
        self.start_ns = 0
        """When the load started, on the monotonic clock of its box."""

    def __enter__(self) -> Load:
        """Start, and find out how its clock stands. Raises InconclusiveError when it does not start."""
        self._process = self._engine.talk_to(self._box, ["python", "-m", "client.generator", json.dumps(self._config.document())])
        self._words = LastWords(self._process)
        threading.Thread(target=self._listen, daemon=True, name="load").start()
        try:
            self.start_ns = start_ns = int(self._await("started", START_TIMEOUT_S)["clock_ns"])
            self.clock = self._look_at_clock(start_ns)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def now_s(self) -> float:
        """Now, on the clock of the load."""
        return self.clock.at(self._host_clock.monotonic())

    def run_for(self, seconds: float) -> None:
        """Let the load run for so long. Raises InconclusiveError when it ends by itself."""
        if self._host_clock.wait(self._ended, seconds):
            raise InconclusiveError(f"the load broke off: {self._last_words()}", "was the internet box stopped? see 'lab status'")

    def show_fault(self, what: str) -> None:
        """Have what is broken shown beside the load's own figures; empty for nothing any more. Raises nothing."""
        self._tell({"do": "fault", "active": what})

    def stop(self) -> GeneratorReport:
        """Stop, wait for what is under way, and say how well the load was made. Raises InconclusiveError.

        First its clock is looked at again: in another kernel it may have gone another way.
        """
        self.clock_at_end = self._look_at_clock(self.start_ns)
        self._tell({"do": "stop"})
        self._ended.wait(FINISH_TIMEOUT_S)
        if self._finished is None:
            raise InconclusiveError(
                f"the load did not finish: {self._last_words()}", "was the internet box stopped? see 'lab status'"
            )
        return generator_report(
            self.arrivals, self._finished["intended"], self._finished["recorded"], self._finished["cpu_ratio"]
        )

    def _look_at_clock(self, start_ns: int) -> Clock:
        return best_clock([self._ask_clock(number) for number in range(CLOCK_SAMPLES)], start_ns)

    def _ask_clock(self, number: int) -> tuple[float, float, int]:
        asked = self._host_clock.monotonic()
        self._tell({"do": "clock", "id": number})
        answer = self._await("clock", CLOCK_TIMEOUT_S)
        return asked, answer["heard"], int(answer["clock_ns"])

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._ended.wait(1.0)  # it is gone; who waits for its answer finds out and says why

    def _await(self, event: str, timeout_s: float) -> dict[str, Any]:
        deadline = monotonic() + timeout_s
        while not (self._ended.is_set() and self._messages.empty()):
            try:
                message = self._messages.get(timeout=max(min(deadline - monotonic(), 0.5), 0.001))
            except Empty:
                if monotonic() > deadline:
                    break
                continue
            if message["event"] == event:
                return message
        raise InconclusiveError(
            f"the load did not {'answer' if self.start_ns else 'start'}: {self._last_words()}",
            "was the internet box stopped? see 'lab status'"
            if self.start_ns
            else "'lab build' makes its image again; see 'lab status'",
        )

    def _listen(self) -> None:
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                message = json.loads(line)
                if message["event"] == "finished":
                    self._finished = message
                    return
                self._take(message)
        except ValueError:
            return  # a line cut short: the generator was killed
        finally:
            self._ended.set()

    def _take(self, message: dict[str, Any]) -> None:
        if message["event"] != "arrivals":
            self._messages.put({**message, "heard": self._host_clock.monotonic()})
            return
        fresh = [Arrival(**dict(zip(COLUMNS, row, strict=True))) for row in message["rows"]]
        self.arrivals += fresh
        self._heard(fresh)

    def _last_words(self) -> str:
        if self._ended.is_set():
            # Its output ends a moment before it does.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LAST_WORDS_TIMEOUT_S)
        if self._process.poll() is None:
            return "it does not answer"
        return self._words.last() or f"it ended with exit code {self._process.returncode}"

    def _end(self) -> None:
        end_process(self._process)
