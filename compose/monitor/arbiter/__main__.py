"""`python3 -m arbiter`, in the monitor's box: BALANCERS='lb1=ADDRESS,DATABASE lb2=ADDRESS,DATABASE'.

GET /NAME, asked by the balancer NAME that does not hear its partner: 'stay', 'leave' or 'hand over'. A line for each holder who
is not to stay. GET /health: 'here'. Each balancer says by itself, by UDP at the same port, whom it reaches (lab-reach): one
whom no user reaches answers here all the same.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import psycopg

from arbiter.policy import Balancer, Word, can_serve, read_balancers, word

PORT = 8406
# Where a balancer says whom it reaches under the users' address: itself, where it holds it.
HOLDER_PORT = 8405
# A balancer that reaches nobody under the address says so after 0.08 s; one that asks waits for 0.4 s.
ANSWER_S = 0.2
# Balancers say ten times a second whom they reach. Less than a balancer waits for its partner (lab-reach, SILENT_S): one that
# is silent here too is no reason to hand the address over.
BEAT_FRESH_S = 0.3
BEAT_MAX_BYTES = 64
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


def reached(balancer: Balancer) -> str | None:
    """Whom it reaches under the users' address, '' for nobody. None where it does not answer: it is dead, frozen, or out of
    reach from here.
    """
    try:
        with DIRECT.open(f"http://{balancer.address}:{HOLDER_PORT}/", timeout=ANSWER_S) as answer:
            return answer.headers["X-Balancer"] or ""
    except HTTPError:
        return ""
    except (OSError, HTTPException):
        return None


class Arbiter:
    """Says who has to be without the address."""

    def __init__(self, balancers: dict[str, Balancer]) -> None:
        self._balancers = balancers
        self._askers = ThreadPoolExecutor(4 * len(balancers))
        self._can_serve_until = dict.fromkeys(balancers, 0.0)
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

    def hear(self, address: str, beat: str) -> None:
        """Take down what a balancer says of itself; of others nothing."""
        for balancer in self._balancers.values():
            if balancer.address == address:
                self._can_serve_until[balancer.name] = time.monotonic() + BEAT_FRESH_S if can_serve(beat) else 0.0

    def listen(self, beats: socket.socket) -> None:
        """Take down every beat, for ever. Raises OSError."""
        while True:
            beat, (address, _) = beats.recvfrom(BEAT_MAX_BYTES)
            self.hear(address, beat.decode("ascii", "replace"))

    def _is_of_use(self, balancer: Balancer, holder: str | None) -> bool:
        return holder is not None and time.monotonic() < self._can_serve_until[balancer.name]

    def answer(self, asker: str) -> str | None:
        """A word of the policy; None for a name that is no balancer's."""
        if asker not in self._balancers:
            return None
        every = list(self._balancers.values())
        found = list(zip(every, self._askers.map(reached, every), strict=True))
        holders = [balancer.name for balancer, holder in found if holder == balancer.name]
        said = word(asker, [balancer for balancer, holder in found if self._is_of_use(balancer, holder)], holders, self.primary)
        if said != Word.STAY and asker in holders:
            print(
                f"arbiter: {asker} is to {said} the address, which {' and '.join(holders)} hold{'s' * (len(holders) == 1)}",
                flush=True,
            )
        return said


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
            """Not each question: only who is not to stay is worth a line."""

    return Handler


def main() -> None:
    """Answer for ever."""
    arbiter = Arbiter(read_balancers(os.environ["BALANCERS"]))

    def watch() -> None:
        while True:
            arbiter.watch_primary(lambda: psycopg.connect(MONITOR, autocommit=True))
            time.sleep(PRIMARY_PERIOD_S)

    beats = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    beats.bind(("", PORT))
    Thread(target=watch, daemon=True).start()
    Thread(target=arbiter.listen, args=(beats,), daemon=True).start()
    ThreadingHTTPServer(("", PORT), handler_for(arbiter)).serve_forever()


if __name__ == "__main__":
    main()
