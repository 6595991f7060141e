"""Everything that the monitoring box looks at itself, and what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from watch.claims import Claim, holders
from watch.databases import STATE_QUERY, Cluster, Database, Server, look
from watch.door import HEAD_MAX_BYTES, Door, read_head
from watch.exposition import Sample, metric
from watch.targets import Target

PERIOD_S = 0.5
HOLDER_TIMEOUT_S = 0.2
HOLDER_QUESTION = b"GET /health HTTP/1.0\r\n\r\n"
# A monitor whose disk is full or hangs answers, and takes no report of a database any more: it could not have one replaced. Databases
# that are down report nothing, so only those count that it finds healthy.
MONITOR_QUERY = (
    "SELECT count(*) FROM pgautofailover.node "
    "HAVING coalesce(max(reporttime) FILTER (WHERE health = 1) > now() - interval '5 s', true)"
)


@dataclass
class Holder:
    """A balancer that is asked whether it has the users' address."""

    target: Target
    claim: Claim = field(default_factory=Claim)

    async def look(self) -> None:
        """Ask once: the balancer asks the address, and who holds it is answered by itself. Raises nothing."""
        try:
            async with asyncio.timeout(HOLDER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self.target.host, self.target.port, limit=HEAD_MAX_BYTES)
                try:
                    writer.write(HOLDER_QUESTION)
                    _, name = read_head((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                finally:
                    writer.transport.abort()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            name = ""
        self.claim.say(name == self.target.name, monotonic())


@dataclass
class Monitor:
    """Who decides about failovers, watched."""

    target: Target
    server: Server
    answers: bool = False
    was_ready: bool = False

    async def look(self) -> None:
        """Ask once."""
        self.answers = await self.server.ask() is not None
        self.was_ready |= self.answers


class Eyes:
    """What there is to look at in a stage."""

    def __init__(self, targets: Sequence[Target], password: str) -> None:
        def server(target: Target, database: str, query: str) -> Server:
            address = f"host={target.host} port={target.port} dbname={database} user=auditor password={password}"
            return Server(f"{address} application_name=watch", query)

        def of(role: str) -> list[Target]:
            return [target for target in targets if target.role == role]

        balancers = [each.name for each in of("balancer")]
        self.doors = [Door(each.host, each.port, changes=dict.fromkeys(balancers, 0)) for each in of("door")]
        self.holders = [Holder(each) for each in of("holder")]
        self.monitors = [Monitor(each, server(each, "pg_auto_failover", MONITOR_QUERY)) for each in of("monitor")]
        self.cluster = Cluster([Database(each.name, {"box": each.name, **each.labels}) for each in of("database")])
        self._servers = [server(each, "postgres", STATE_QUERY) for each in of("database")]

    async def watch(self) -> None:
        """Look for ever."""
        looks: list[Callable[[], Awaitable[None]]] = [self._look_at_databases]
        looks += [each.look for each in self.holders]
        looks += [each.look for each in self.monitors]
        knocks = [self._knock_forever(door, kind) for door in self.doors for kind in door.tallies]
        await asyncio.gather(*(forever(each) for each in looks), *knocks)

    async def _look_at_databases(self) -> None:
        await asyncio.gather(*map(look, self.cluster.databases, self._servers))
        self.cluster.judge(monotonic())

    async def _knock_forever(self, door: Door, kind: str) -> None:
        """Knock twice a second, whatever has become of the knock before: one that hangs must not hide the next."""
        async with asyncio.TaskGroup() as knocks:
            while True:
                knocks.create_task(_knock(door, kind))
                await asyncio.sleep(PERIOD_S)

    def metrics(self) -> str:
        """What is seen now."""
        return "".join([*self._door(), *self._databases(), *self._address()])

    def _door(self) -> list[str]:
        now = monotonic()
        tallies = [({"kind": kind}, tally) for door in self.doors for kind, tally in door.tallies.items()]
        since = [(labels, now - tally.last_good) for labels, tally in tallies if tally.last_good is not None]
        changes = [({"to": name}, count) for door in self.doors for name, count in door.changes.items()]
        return [
            metric(
                "door_requests_total", [(labels, each.good + each.bad) for labels, each in tallies], "Our own at the front door."
            ),
            metric("door_failures_total", [(labels, each.bad) for labels, each in tallies], "Not served correctly within 1 s."),
            metric("door_seconds_since_good", since, "Since the last one that was."),
            metric("door_changes_total", changes, "How often it answered where another balancer had before."),
        ]

    def _databases(self) -> list[str]:
        cluster, now = self.cluster, monotonic()
        known = [each for each in cluster.databases if each.was_ready]
        # Where there is only one, no redundancy is lost with it.
        several = known if len(cluster.databases) > 1 else []
        behind = [(each.labels, seconds) for each in several if (seconds := cluster.behind_s(each, now)) is not None]
        changes = [({"to": name}, count) for name, count in cluster.changes.items()]
        monitors = [
            ({"box": each.target.name, **each.target.labels}, float(each.answers)) for each in self.monitors if each.was_ready
        ]
        return [
            metric("database_ready", [(each.labels, cluster.is_ready(each)) for each in several], "Whether it leads or follows."),
            metric("database_primary", [(each.labels, bool(each.claim.since)) for each in known], "Whether it accepts writes."),
            metric("database_behind_seconds", behind, "How old what a standby shows is."),
            metric("databases_writable", [({}, cluster.writable)], "How many accept writes."),
            metric("primary_changes_total", changes, "How often it led where another database had before."),
            metric("monitor_ready", monitors, "Whether the monitor answers, and takes reports of databases."),
        ]

    def _address(self) -> list[str]:
        held: list[Sample] = [({}, holders(each.claim for each in self.holders))] if self.holders else []
        return [metric("address_holders", held, "How many balancers say that they have the users' address.")]


async def _knock(door: Door, kind: str) -> None:
    """Knock once; who looks for the cause of an alert reads in the log what a user would have read."""
    counts = door.tallies[kind].last_good is not None
    if (why := await door.knock(kind)) and counts:
        print(f"front door: {kind} failed: {why}", flush=True)


async def forever(look_once: Callable[[], Awaitable[None]]) -> None:
    """Do it twice a second."""
    while True:
        started = monotonic()
        await look_once()
        await asyncio.sleep(max(started + PERIOD_S - monotonic(), 0.01))
