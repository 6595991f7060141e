"""The observer: asks every database ten times a second whether it accepts writes, and which balancer owns the VIP.

What else the failures tolerated rest on is asked beside it by `client.redundancy`.

`python -m client.observer '{"databases": {"db1": "198.18.3.35", ...}, "balancers": {"lb1": "198.18.0.33", ...},
"entry": "198.18.0.10", "announced": false}'` first prints how its clocks stand and how often it looks,
{"event": "clocks", "monotonic_ns": ..., "realtime_ns": ..., "period_s": 0.1}, and then, for each change and at least once a second
(four times a second, so that a silent second shows that nothing was observed),

    {"event": "view", "clock_ns": ..., "databases": {"db1": "primary", "db2": "standby"}, "standbys": 1,
     "synchronous": 1, "vip_claimants": ["lb1"], "serving": ["lb1", "lb2"], "vip_owner": "lb1", "vip_leads_to": "lb1"}

The end of standard input ends it.

A database is primary: it accepts writes; sync_blocked: it would, but a commit waits for a standby that is not there,
so that no client gets an acknowledgement; standby: it answers and follows another; read-only: it follows none and refuses
writes; unreachable: no answer within 0.5 s. `standbys` stream from the one primary; commits wait for `synchronous` of them.
`vip_claimants` are the balancers that claim the VIP, `serving` those that reach whichever owns it; `vip_owner` is the one that
answers there; `vip_leads_to` is the one that gets the packets, whether it answers or not. Where all of them announce the VIP,
the claimant is the one that this box's route leads to, and those serve whose region can.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import psycopg
import psycopg.waiting

from client.neighbours import leads_to
from client.route import next_hop

PERIOD_S = 0.1
ANSWER_TIMEOUT_S = 0.5
BALANCER_TIMEOUT_S = 0.2
REPEAT_S = 0.25
LOOKS_MIN = 2
HOLDER_PORT = 8405
HEALTH_PORT = 8404
REGION_PATH = "/region"
_STATE = """
    SELECT CASE
             WHEN pg_is_in_recovery() THEN 'standby'
             WHEN current_setting('transaction_read_only')::bool THEN 'read-only'
             WHEN current_setting('synchronous_standby_names') <> '' AND synchronous = 0 THEN 'sync_blocked'
             ELSE 'primary' END, standbys, synchronous{followers}
    FROM (SELECT count(*) AS standbys, count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) AS synchronous
          FROM pg_stat_replication WHERE state = 'streaming' AND application_name <> 'pg_basebackup')
"""
STATE_QUERY = _STATE.format(followers="")
# In the same breath, who they are. It is the primary that knows whether it sends to somebody and waits for him.
FOLLOWERS_QUERY = _STATE.format(
    followers=""",
           (SELECT coalesce(json_agg(json_build_object(
                     'address', host(client_addr), 'streams', state = 'streaming',
                     'synchronous', sync_state IN ('sync', 'quorum')) ORDER BY client_addr), '[]')
            FROM pg_stat_replication
            WHERE client_addr IS NOT NULL AND application_name <> 'pg_basebackup') AS followers"""
)


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that can be given up at once.

    psycopg's own wait, when it is cancelled, first asks the server to cancel the query, and waits up to 5 s for
    that: of a frozen server that would be seen 5 s late.
    """

    async def wait(self, gen: Any, interval: float = 0.1) -> Any:
        """Wait for the server; a cancellation ends that, and leaves the connection unusable."""
        return await psycopg.waiting.wait_async(gen, self.pgconn.socket, interval=interval)


class Claim:
    """That something is the only one of its kind, as it says itself, and for how long it is known to have said so.

    Two claims conflict only where one was repeated after the other began: a box that has just frozen or died
    said so until then, and another one may have said so since.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.since = 0.0
        self.confirmed = 0.0
        self.asked_ns = self.answered_ns = 0
        """When the last question that is settled was put, and when it was: answered, or given up."""

    def say(self, claimed: bool) -> None:
        """It has answered, or failed to."""
        now = time.monotonic()
        self.looks += 1
        if not claimed:
            self.since = self.confirmed = 0.0
            return
        self.since = self.since or now
        self.confirmed = now

    def outlives(self, others: Iterable[Claim]) -> bool:
        """Whether it was repeated since the others began (those that are in effect)."""
        return bool(self.since) and all(self.confirmed >= other.since for other in others if other.since)


class Watch(Protocol):
    """One thing that is looked at again and again."""

    claim: Claim

    async def look(self) -> None:
        """Look once."""


@dataclass
class RowWatch:
    """What one row of a server says; its connection is kept from one look to the next."""

    host: str
    password: str
    claim: Claim = field(default_factory=Claim)
    query: str = STATE_QUERY
    _connection: Connection | None = None
    database: ClassVar[str] = "postgres"

    async def answer(self) -> tuple[Any, ...] | None:
        """Ask once; None where no answer comes in time."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._ask()
        except (TimeoutError, psycopg.Error, OSError):
            if self._connection:
                # What hangs is not worth a farewell: close() only closes the socket.
                await self._connection.close()
                self._connection = None
            return None

    async def _ask(self) -> tuple[Any, ...]:
        if self._connection is None:
            address = f"host={self.host} dbname={self.database} user=auditor password={self.password} application_name=observer"
            self._connection = await Connection.connect(address, autocommit=True)
        row = await (await self._connection.execute(self.query)).fetchone()
        assert row is not None  # an aggregate
        return tuple(row)


@dataclass
class DatabaseWatch(RowWatch):
    """One database, watched. Its claim: that it accepts writes."""

    state: str = ""
    standbys: int = 0
    synchronous: int = 0
    followers: list[dict[str, Any]] = field(default_factory=list)
    """Where they are asked for: their addresses, and whether each is sent to and waited for."""

    async def look(self) -> None:
        """Ask once; sets the state, the counts and the followers."""
        self.state, self.standbys, self.synchronous, *more = await self.answer() or ("unreachable", 0, 0)
        self.followers = more[0] if more else []
        self.claim.say(self.state == "primary")


@dataclass
class RouteWatch:
    """Which balancer new connections to an address are led to; empty where none."""

    entry: str
    names: dict[str, str]
    """The balancers' names by their addresses."""
    name: str = ""
    claim: Claim = field(default_factory=Claim)

    async def look(self) -> None:
        """Ask the kernel."""
        hop = next_hop(self.entry)
        self.name = self.names.get(hop or "", "")
        self.claim.say(bool(self.name))


@dataclass
class AnswerWatch:
    """Which balancer's name the answer at an address and port carries; empty where none comes."""

    host: str
    port: int
    own_name: str = ""
    path: str = "/health"
    only_if_well: bool = False
    """Whether an answer counts only where it says 200."""
    name: str = ""
    claim: Claim = field(default_factory=Claim)
    """That the name in the answer is its own."""

    async def look(self) -> None:
        """Ask once, on a connection of its own: a kept one would go on to who answered before."""
        try:
            async with asyncio.timeout(BALANCER_TIMEOUT_S):
                self.name = await self._ask()
        except (TimeoutError, OSError):
            self.name = ""
        self.claim.say(bool(self.name) and self.name == self.own_name)

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return ""
        finally:
            writer.close()
        if self.only_if_well and not head.startswith("HTTP/1.1 200"):
            return ""
        fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        return fields.get("x-balancer", "").strip()


class Observer:
    """Everything that is watched, and what it shows together."""

    def __init__(self, order: dict[str, Any], password: str) -> None:
        self._databases = {name: DatabaseWatch(host, password) for name, host in order.get("databases", {}).items()}
        balancers: dict[str, str] = order.get("balancers", {})
        entry = order.get("entry", "")
        self._entry, self._addresses = entry, balancers
        self._route = RouteWatch(entry, {host: name for name, host in balancers.items()}) if order.get("announced") else None
        if self._route:
            self._balancers = {name: AnswerWatch(host, HEALTH_PORT, name, REGION_PATH, True) for name, host in balancers.items()}
        else:
            # Each balancer is asked to ask the entry: who holds the address is answered by itself.
            self._balancers = {name: AnswerWatch(host, HOLDER_PORT, name) for name, host in balancers.items()}
        self._wire = AnswerWatch(entry, HEALTH_PORT)

    @property
    def watches(self) -> list[Watch]:
        """All that is looked at."""
        address = [*self._balancers.values(), self._wire] if self._balancers else []
        return [*self._databases.values(), *address, *([self._route] if self._route else [])]

    @property
    def more(self) -> list[Watch]:
        """What is looked at beside that and is no part of a view: nothing here."""
        return []

    def findings(self) -> list[dict[str, Any]]:
        """What has been found since this was last asked, beside views: nothing here."""
        return []

    def view(self) -> dict[str, Any] | None:
        """What is seen now; None until everything has been looked at twice: one look cannot tell two claims apart."""
        if any(watch.claim.looks < LOOKS_MIN for watch in self.watches):
            return None
        primaries = [watch.claim for watch in self._databases.values()]
        leaders = [watch for watch in self._databases.values() if watch.state in ("primary", "sync_blocked")]
        return {
            "databases": {
                name: watch.state if watch.state != "primary" or watch.claim.outlives(primaries) else "unreachable"
                for name, watch in self._databases.items()
            },
            "standbys": max((watch.standbys for watch in leaders), default=0),
            "synchronous": max((watch.synchronous for watch in leaders), default=0),
            "vip_claimants": self._holders(),
            "serving": [name for name, watch in self._balancers.items() if watch.name],
            "vip_owner": self._wire.name,
            "vip_leads_to": self._route.name if self._route else leads_to(self._entry, self._addresses),
        }

    def _holders(self) -> list[str]:
        if self._route:
            return [self._route.name] if self._route.name else []
        claims = [watch.claim for watch in self._balancers.values()]
        return [name for name, watch in self._balancers.items() if watch.claim.outlives(claims)]


def say(event: str, **content: Any) -> None:
    """Print one line."""
    print(json.dumps({"event": event, **content}), flush=True)


async def watch(what: Watch) -> None:
    """Look for ever."""
    while True:
        asked_ns = time.monotonic_ns()
        await what.look()
        what.claim.asked_ns, what.claim.answered_ns = asked_ns, time.monotonic_ns()
        await asyncio.sleep(max(asked_ns / 1e9 + PERIOD_S - time.monotonic(), 0))


async def for_ever(observer: Observer) -> None:
    """Print each change, until standard input ends. Raises what any of the watches died of: half a view would look whole."""
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    tasks = [asyncio.create_task(watch(each)) for each in (*observer.watches, *observer.more)]
    said, said_at = None, 0.0
    while not ended.done():
        for dead in (task for task in tasks if task.done()):
            dead.result()
        for finding in observer.findings():
            say("finding", clock_ns=time.monotonic_ns(), **finding)
        seen = observer.view()
        if seen and (seen != said or time.monotonic() - said_at >= REPEAT_S):
            say("view", clock_ns=time.monotonic_ns(), **seen)
            said, said_at = seen, time.monotonic()
        await asyncio.wait([ended], timeout=PERIOD_S / 4)
    for task in tasks:
        task.cancel()


async def main(kind: type[Observer] = Observer) -> None:
    """Watch what the command line names."""
    observer = kind(json.loads(sys.argv[-1]), os.environ["AUDITOR_PASSWORD"])
    say("clocks", monotonic_ns=time.monotonic_ns(), realtime_ns=time.time_ns(), period_s=PERIOD_S)
    try:
        await for_ever(observer)
    except Exception:
        # At once: asyncio would first wait for the thread that reads standard input.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    asyncio.run(main())
