"""A user of a system that is not the lab's: reads one page, over and over, and judges each answer.

`python -m client.page '{"address": ["web", 8080], "page": {"path": "/", "host": "web:8080", "contains": ""}}'` reads it once
and prints what became of that ("ok", or the class of the failure); the exit code is 0 for ok.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from client.connections import Connections
from client.desk import Seen, who
from client.http import Connection, RequestFailed, Response
from client.schedule import Intent

DEADLINE_S = 1.0


@dataclass(frozen=True)
class Wanted:
    """What is asked for, and how a good answer is known."""

    path: str
    host: str
    """Whom the request names as its host."""
    contains: str
    """A text that the answer has; empty: any answer that says that it is one (2xx)."""


class Name:
    """A host, by name or address, and the addresses last known for it.

    Asked again and again, apart from the requests: a box that is started again may have another address, and while
    it is gone nobody knows its name, which no request is to wait for.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._known: list[tuple[str, int]] = []
        self._turn = 0

    def look(self) -> None:
        """Ask once; what was known stays where nobody knows better."""
        try:
            found = socket.getaddrinfo(self._host, self._port, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return
        self._known = sorted({(str(address[0]), int(address[1])) for *_, address in found})

    def choose(self) -> tuple[str, int]:
        """One of its addresses, each in its turn. Raises RequestFailed where none is known."""
        if not self._known:
            raise RequestFailed("connect-unresolved")
        self._turn += 1
        return self._known[self._turn % len(self._known)]


class Page(Connections):
    """Sends a GET for each intent; keeps idle connections."""

    def __init__(
        self,
        name: Name,
        wanted: Wanted,
        deadline_s: float,
        connect: Callable[[tuple[str, int], float, str], Connection] = Connection,
    ) -> None:
        super().__init__(lambda deadline: connect(name.choose(), deadline, wanted.host))
        self._wanted = wanted
        self._deadline_s = deadline_s

    def key(self, _intent: Intent) -> str:
        """A read has none."""
        return ""

    def perform(self, intent: Intent, intended: float) -> Seen:
        """Read once, within the deadline that counts from `intended` (monotonic seconds)."""
        deadline = intended + self._deadline_s
        try:
            response = self.exchange("GET", self._wanted.path, b"", deadline, intent.new_connection)
        except RequestFailed as failed:
            return Seen(failed.kind, "fail")
        seen = judge(self._wanted.contains, response)
        if seen.kind == "ok" and monotonic() > deadline:
            return Seen("late", seen.outcome, seen.status, seen.by, seen.via)
        return seen


def judge(contains: str, response: Response) -> Seen:
    """What an answer means: good where it is 2xx and has the text."""
    boxes = who(response)
    if not 200 <= response.status < 300:
        return Seen(f"http-{response.status}", "fail", response.status, *boxes)
    good = contains.encode() in response.body
    return Seen("ok" if good else "wrong-body", "ok" if good else "fail", response.status, *boxes)


def main() -> None:
    """Read the page that the command line names, once."""
    order = json.loads(sys.argv[-1])
    name = Name(*order["address"])
    name.look()
    page = Page(name, Wanted(**order["page"]), DEADLINE_S)
    seen = page.perform(Intent(number=0, at_s=0.0, write=False, new_connection=True, pick=0.0), monotonic())
    print(seen.kind)
    sys.exit(seen.kind != "ok")


if __name__ == "__main__":
    main()
