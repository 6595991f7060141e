"""`python3 -m arbiter`, in the monitor's box: BALANCERS='lb1=ADDRESS,DATABASE lb2=ADDRESS,DATABASE'.

GET /NAME, asked by the balancer NAME that does not hear its partner: 'leave' or 'stay'. A line for each holder who is told to
leave.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

import psycopg

from arbiter.policy import Balancer, must_leave, preference, read_balancers

PORT = 8406
# Where a balancer says whom it reaches under the users' address: itself, where it holds it.
HOLDER_PORT = 8405
# Between neighbours an answer takes a millisecond; the balancer that asks waits for 0.4 s.
ANSWER_S = 0.15
# The monitor's database has no encoding of its own.
MONITOR = "host=/run/postgresql dbname=pg_auto_failover connect_timeout=2 client_encoding=utf8"
PRIMARY = (
    "SELECT nodename FROM pgautofailover.node WHERE reportedstate IN ('primary', 'wait_primary') AND goalstate = reportedstate"
)


def holds(balancer: Balancer) -> bool:
    """Whether it reaches itself under the users' address. One that does not answer holds it for nobody."""
    try:
        with urlopen(f"http://{balancer.address}:{HOLDER_PORT}/", timeout=ANSWER_S) as answer:
            return bool(answer.headers["X-Balancer"] == balancer.name)
    except (OSError, HTTPException):
        return False


class Arbiter:
    """Says who has to be without the address, and remembers the last primary."""

    def __init__(self, balancers: dict[str, Balancer]) -> None:
        self._balancers = balancers
        self._primary = ""

    def answer(self, asker: str) -> str | None:
        """'leave' or 'stay'; None for a name that is no balancer's."""
        if asker not in self._balancers:
            return None
        holders = [name for name, balancer in self._balancers.items() if holds(balancer)]
        # Who is alone need not be weighed against anybody.
        preferred = preference(self._balancers, self._find_primary()) if len(holders) > 1 else asker
        if not must_leave(asker, holders, preferred):
            return "stay"
        if asker in holders:
            print(f"arbiter: {asker} is to leave the address, which {' and '.join(holders)} hold", flush=True)
        return "leave"

    def _find_primary(self) -> str:
        """The primary, or while there is none the last one that was asked for."""
        try:
            with psycopg.connect(MONITOR, autocommit=True) as monitor:
                row = monitor.execute(PRIMARY).fetchone()
        except psycopg.Error as error:
            print(f"arbiter: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            row = None
        self._primary = row[0] if row else self._primary
        return self._primary


def handler_for(arbiter: Arbiter) -> type[BaseHTTPRequestHandler]:
    """What answers over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 2

        def do_GET(self) -> None:
            said = arbiter.answer(self.path.strip("/"))
            body = (said or "who is that?").encode()
            self.send_response(200 if said else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not each question: only who is told to leave is worth a line."""

    return Handler


def main() -> None:
    """Answer for ever."""
    arbiter = Arbiter(read_balancers(os.environ["BALANCERS"]))
    ThreadingHTTPServer(("", PORT), handler_for(arbiter)).serve_forever()


if __name__ == "__main__":
    main()
