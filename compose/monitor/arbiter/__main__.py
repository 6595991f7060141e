"""`python3 -m arbiter`, in the monitor's box: BALANCERS='lb1=ADDRESS,DATABASE lb2=ADDRESS,DATABASE'.

GET /NAME, asked by the balancer NAME that does not hear its partner: 'leave' or 'stay'. A line for each holder who is told to
leave. GET /health: 'here'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import ProxyHandler, build_opener

import psycopg

from arbiter.policy import Balancer, must_leave, read_balancers

PORT = 8406
# Where a balancer says whom it reaches under the users' address: itself, where it holds it.
HOLDER_PORT = 8405
# Between neighbours an answer takes a millisecond; the balancer that asks waits for 0.4 s.
ANSWER_S = 0.15
# The monitor's database has no encoding of its own.
MONITOR = "host=/run/postgresql dbname=pg_auto_failover connect_timeout=2 client_encoding=utf8"
# Also one that is changing its settings: standbys come and go all the time where lines are cut.
PRIMARY = """
SELECT nodename FROM pgautofailover.node
WHERE reportedstate IN ('primary', 'wait_primary', 'apply_settings', 'join_primary')
  AND goalstate IN ('primary', 'wait_primary', 'apply_settings', 'join_primary')
"""
PRIMARY_PERIOD_S = 0.5
DIRECT = build_opener(ProxyHandler({}))


def holds(balancer: Balancer) -> bool:
    """Whether it reaches itself under the users' address. One that does not answer counts as none: it is dead, frozen, or out
    of reach from here.
    """
    try:
        with DIRECT.open(f"http://{balancer.address}:{HOLDER_PORT}/", timeout=ANSWER_S) as answer:
            return bool(answer.headers["X-Balancer"] == balancer.name)
    except (OSError, HTTPException):
        return False


class Arbiter:
    """Says who has to be without the address."""

    def __init__(self, balancers: dict[str, Balancer]) -> None:
        self._balancers = balancers
        self._askers = ThreadPoolExecutor(4 * len(balancers))
        self.primary = ""
        """The last one that was seen; that of before while a new one is elected."""

    def watch_primary(self, connect: Callable[[], psycopg.Connection[tuple[str]]]) -> None:
        """Look for the primary, until the connection to the monitor ends."""
        try:
            with connect() as monitor:
                while True:
                    row = monitor.execute(PRIMARY).fetchone()
                    self.primary = row[0] if row else self.primary
                    time.sleep(PRIMARY_PERIOD_S)
        except psycopg.Error:
            pass  # the monitor's own log says why

    def answer(self, asker: str) -> str | None:
        """'leave' or 'stay'; None for a name that is no balancer's."""
        if asker not in self._balancers:
            return None
        every = list(self._balancers.values())
        holders = [balancer for balancer, holding in zip(every, self._askers.map(holds, every), strict=True) if holding]
        if not must_leave(asker, holders, self.primary):
            return "stay"
        names = [balancer.name for balancer in holders]
        if asker in names:
            print(f"arbiter: {asker} is to leave the address, which {' and '.join(names)} hold", flush=True)
        return "leave"


def handler_for(arbiter: Arbiter) -> type[BaseHTTPRequestHandler]:
    """What answers over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 2

        def do_GET(self) -> None:
            asker = self.path.strip("/")
            said = "here" if asker == "health" else arbiter.answer(asker)
            body = (said or "who is that?").encode()
            try:
                self.send_response(200 if said else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                pass  # who asked has not waited

        def log_message(self, format: str, *args: object) -> None:
            """Not each question: only who is told to leave is worth a line."""

    return Handler


def main() -> None:
    """Answer for ever."""
    arbiter = Arbiter(read_balancers(os.environ["BALANCERS"]))

    def watch() -> None:
        while True:
            arbiter.watch_primary(lambda: psycopg.connect(MONITOR, autocommit=True))
            time.sleep(PRIMARY_PERIOD_S)

    Thread(target=watch, daemon=True).start()
    ThreadingHTTPServer(("", PORT), handler_for(arbiter)).serve_forever()


if __name__ == "__main__":
    main()
