"""The front door, as a user of our own finds it: a read and a write twice a second, each on a connection of its own."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from time import monotonic

DEADLINE_S = 1.0
"""What a user waits."""
STARTED_AFTER = 6
"""So many served in a row, and the stage has started."""
HEAD_MAX_BYTES = 16384
ITEM = "a question of the monitoring"


@dataclass
class Tally:
    """What became of the requests of a kind. Nothing counts before some in a row were served: the stage is being started."""

    good: int = 0
    bad: int = 0
    last_good: float | None = None
    """Monotonic seconds; None while the stage is being started."""
    _in_a_row: int = 0

    def count(self, good: bool, at: float) -> None:
        """One has ended."""
        self._in_a_row = self._in_a_row + 1 if good else 0
        if self.last_good is None and self._in_a_row < STARTED_AFTER:
            return
        if good:
            self.good += 1
            self.last_good = at
        else:
            self.bad += 1


@dataclass
class Door:
    """The front door, watched."""

    host: str
    port: int
    tallies: dict[str, Tally] = field(default_factory=lambda: {"read": Tally(), "write": Tally()})
    changes: dict[str, int] = field(default_factory=dict)
    """For each balancer, how often it answered where another one had before. Who is known from the start begins at 0."""
    balancer: str = ""
    """Which one answered last; empty where they do not say."""
    _number: int = 0

    async def knock(self, kind: str) -> str:
        """Make one request and count what became of it; why it was not served, empty where it was. Raises nothing."""
        why = await self._try(kind)
        self.tallies[kind].count(not why, monotonic())
        return why

    async def _try(self, kind: str) -> str:
        try:
            async with asyncio.timeout(DEADLINE_S):
                status, balancer = await self._ask(kind)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return str(error) or type(error).__name__
        if balancer and balancer != self.balancer:
            if self.balancer and self._has_started:
                self.changes[balancer] = self.changes.get(balancer, 0) + 1
            self.balancer = balancer
        return "" if status == (200 if kind == "read" else 201) else f"http-{status}"

    @property
    def _has_started(self) -> bool:
        """Until the stage has, balancers may take turns as they please."""
        return any(each.last_good is not None for each in self.tallies.values())

    async def _ask(self, kind: str) -> tuple[int, str]:
        """The status of the answer, and the balancer that it came through."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=HEAD_MAX_BYTES)
        try:
            writer.write(self._request(kind))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        finally:
            # Not to be asked to wait for the rest of an answer that will not come.
            writer.transport.abort()
        return read_head(head)

    def _request(self, kind: str) -> bytes:
        if kind == "read":
            return f"GET /orders?limit=1 HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode()
        self._number += 1
        body = json.dumps({"key": f"watch-{os.getpid()}-{self._number}", "item": ITEM, "quantity": 1})
        head = f"POST /orders HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\nContent-Type: application/json"
        return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def read_head(head: str) -> tuple[int, str]:
    """Status and balancer in the head of an answer. Raises ValueError for what is none."""
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise ValueError(f"no answer: {first[:40]!r}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(words[1]), fields.get("x-balancer", "")
