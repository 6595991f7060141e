"""The open-loop load: `python -m client.generator '{"address": ["198.18.0.10", 8080], ...}'`.

With a "page" in it ({"path": ..., "host": ..., "contains": ...}) it reads that, and no order desk is needed.

One Locust user is the dispatcher; each arrival is a greenlet of its own that starts at its intended
instant whatever became of the earlier ones. Locust gets every request too (its page and statistics
work), but the lines on standard output are the truth:

    {"event": "started", "clock_ns": ...}       first line; every later time is in seconds after it
    {"event": "arrivals", "rows": [[...], ...]} about ten a second; columns as in FIELDS
    {"event": "clock", "clock_ns": ...}         the answer to {"do": "clock"}
    {"event": "finished", ...}                  last line: counts, processor share

Standard input takes {"do": "clock"}, {"do": "stop"} and {"do": "fault", "active": "kill web1"}; its end means stop at once
(the lab is gone). What it does can be seen on port 9100 while it runs (client.figures), but not where a page is read.
"""

from __future__ import annotations

# locust first: it patches the standard library before anything else uses it
from locust import User, task  # isort: skip
from locust.env import Environment  # isort: skip

import gc
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event
from gevent.os import make_nonblocking, nb_read, nb_write
from gevent.pool import Group
from gevent.server import StreamServer

from client.desk import Desk, Seen
from client.figures import PORT, Figures
from client.page import Name, Page, Wanted
from client.same_site import SameSite
from client.schedule import Intent, arrivals

FIELDS = ("number", "kind", "at_s", "lag_s", "done_s", "class", "outcome", "status", "by", "via", "key", "new")
FLUSH_S = 0.1
NAME_PERIOD_S = 0.2


@dataclass(frozen=True)
class Plan:
    """What is asked of the generator; times in seconds."""

    address: tuple[str, int]
    prefix: str
    rate_per_s: float
    seed: int
    deadline_s: float
    write_share: float
    new_connection_share: float
    web_port: int | None = None
    page: Wanted | None = None
    """What is read of a system that has no order desk."""

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises TypeError or ValueError for what is no plan."""
        fields = json.loads(text)
        host, port = fields.pop("address")
        page = fields.pop("page", None)
        return cls(address=(host, port), page=Wanted(**page) if page else None, **fields)


class Line:
    """Standard input and output as lines of JSON, never blocking the load."""

    def __init__(self) -> None:
        for descriptor in (0, 1):
            make_nonblocking(descriptor)
        self._buffer = b""

    def say(self, **message: Any) -> None:
        """Send the controller a message: a line of JSON."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[nb_write(1, data) :]

    def hear(self) -> dict[str, Any] | None:
        """The next message; None at the end of input."""
        while b"\n" not in self._buffer:
            data = nb_read(0, 65536)
            if not data:
                return None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message


class Load:
    """One run of the load."""

    def __init__(self, plan: Plan, line: Line, environment: Environment) -> None:
        self._plan = plan
        self._line = line
        self._environment = environment
        self._name = Name(*plan.address)
        self._user: Desk | Page = (
            Page(self._name, plan.page, plan.deadline_s) if plan.page else Desk(plan.address, plan.prefix, plan.deadline_s)
        )
        self._stop = Event()
        self._finished = Event()
        self.figures = Figures()
        self._rows: list[list[Any]] = []
        self._in_flight = Group()
        self._intended = 0
        self._recorded = 0

    def dispatch(self) -> None:
        """Start every arrival at its instant until told to stop, then wait for those under way."""
        if self._plan.page:
            self._name.look()
            gevent.spawn(self._look_for_ever)
        self._start = time.monotonic()
        processor_start = time.process_time()
        self._line.say(event="started", clock_ns=int(self._start * 1e9))
        flusher = gevent.spawn(self._flush_for_ever)
        plan = self._plan
        for intent in arrivals(plan.rate_per_s, plan.seed, plan.write_share, plan.new_connection_share):
            if self._stop.wait(timeout=max(self._start + intent.at_s - time.monotonic(), 0)):
                break
            self._intended += 1
            self._in_flight.start(self._in_flight.greenlet_class(self._arrive, intent))
        stopped_s = time.monotonic() - self._start
        processor_ratio = (time.process_time() - processor_start) / max(stopped_s, 1e-9)
        self._in_flight.join()
        flusher.kill()
        self._flush()
        self._line.say(
            event="finished", intended=self._intended, recorded=self._recorded, stopped_s=stopped_s, cpu_ratio=processor_ratio
        )
        self._finished.set()

    def obey(self) -> None:
        """Follow the messages on standard input until the load has finished."""
        while (message := self._line.hear()) is not None:
            if message["do"] == "clock":
                self._line.say(event="clock", clock_ns=time.monotonic_ns(), id=message.get("id"))
            elif message["do"] == "fault":
                self.figures.fault = message["active"]
            elif message["do"] == "stop":
                self._stop.set()
                self._finished.wait()
                return
        os._exit(0)

    def _arrive(self, intent: Intent) -> None:
        start = self._start
        lag_s = time.monotonic() - start - intent.at_s
        seen = self._user.perform(intent, start + intent.at_s)
        done_s = time.monotonic() - start
        self._recorded += 1
        self._rows.append(row(intent, self._user.key(intent), lag_s, done_s, seen))
        good = seen.kind == "ok" and done_s - intent.at_s <= self._plan.deadline_s
        self.figures.count("write" if intent.write else "read", good)
        self._environment.events.request.fire(
            request_type="POST" if intent.write else "GET",
            name=self._plan.page.path if self._plan.page else "place an order" if intent.write else "read an order",
            response_time=(done_s - intent.at_s) * 1000,
            response_length=0,
            exception=None if seen.kind == "ok" else RuntimeError(seen.kind),
            context={},
        )

    def _look_for_ever(self) -> None:
        while True:
            gevent.sleep(NAME_PERIOD_S)
            self._name.look()

    def _flush_for_ever(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._line.say(event="arrivals", rows=rows)


def row(intent: Intent, key: str, lag_s: float, done_s: float, seen: Seen) -> list[Any]:
    """An arrival in the order of FIELDS."""
    kind = "write" if intent.write else "read"
    times = [round(intent.at_s, 6), round(lag_s, 6), round(done_s, 6)]
    return [
        intent.number,
        kind,
        *times,
        seen.kind,
        seen.outcome,
        seen.status,
        seen.by,
        seen.via,
        key if intent.write else "",
        intent.new_connection,
    ]


def show(figures: Figures) -> None:
    """Answer whoever asks for figures, from now on. Where the port is taken nobody is answered: a graph is not worth a run."""

    def answer(connection: Any, _: Any) -> None:
        with suppress(OSError):
            connection.settimeout(1)
            connection.recv(4096)
            connection.sendall(figures.answer())

    with suppress(OSError):
        StreamServer(("0.0.0.0", PORT), answer).start()


def main() -> None:
    """Run until told to stop."""
    plan = Plan.from_json(sys.argv[1])
    environment = Environment(user_classes=[])
    load = Load(plan, Line(), environment)

    class Dispatcher(User):
        @task
        def dispatch(self) -> None:
            load.dispatch()
            gevent.sleep(float("inf"))

    environment.user_classes = [Dispatcher]
    runner = environment.create_local_runner()
    if not plan.page:  # in the network of somebody else nothing listens that he did not ask for
        show(load.figures)
    if plan.web_port:
        page = environment.create_web_ui("0.0.0.0", plan.web_port).app
        page.wsgi_app = SameSite(page.wsgi_app)
    # What is imported stays: nothing of it need be looked at again while a measurement runs.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    runner.start(1, spawn_rate=1)
    load.obey()
    os._exit(0)


if __name__ == "__main__":
    main()
