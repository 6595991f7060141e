"""The databases and their monitor, each on a connection that is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psycopg
import psycopg.waiting

from watch.claims import Claim, holders

ANSWER_TIMEOUT_S = 0.5
POSITIONS_KEPT = 600
# Whether it leads; whether it acknowledges (it waits for nobody who is not there); whether it is sent what a primary writes;
# and how far its log goes: what it has written, or what of another's it shows.
STATE_QUERY = """
    SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool),
           current_setting('synchronous_standby_names') = '' OR EXISTS (
             SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
           EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')::bigint
"""


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that can be given up at once: psycopg's own wait would first ask a frozen server to cancel."""

    async def wait(self, gen: Any, interval: float = 0.1) -> Any:
        """Wait for the server; a cancellation ends that, and leaves the connection unusable."""
        return await psycopg.waiting.wait_async(gen, self.pgconn.socket, interval=interval)


@dataclass(frozen=True)
class State:
    """What a database says of itself."""

    leads: bool = False
    acknowledges: bool = False
    streams: bool = False
    position: int = 0


@dataclass
class Server:
    """A PostgreSQL that is asked again and again: one question, one row."""

    conninfo: str
    query: str
    _connection: Connection | None = None

    async def ask(self) -> tuple[Any, ...] | None:
        """The row; None where no answer comes in time. Raises nothing."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._connection is None:
                    self._connection = await Connection.connect(self.conninfo, autocommit=True)
                row: tuple[Any, ...] | None = await (await self._connection.execute(self.query)).fetchone()
                return row
        except (TimeoutError, psycopg.Error, OSError):
            if self._connection:
                await self._connection.close()  # only closes the socket
                self._connection = None
            return None


@dataclass
class Database:
    """A database, watched."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    state: State | None = None
    """None where it does not answer."""
    claim: Claim = field(default_factory=Claim)
    """That it accepts writes."""
    was_ready: bool = False

    def hear(self, state: State | None, at: float) -> None:
        """It has answered, or failed to."""
        self.state = state
        self.claim.say(bool(state and state.leads and state.acknowledges), at)


@dataclass
class Cluster:
    """What the databases say, taken together."""

    databases: Sequence[Database]
    primary: str = ""
    """Who leads, or did so last."""
    changes: dict[str, int] = field(init=False)
    """For each database, how often it led where another one had before; 0 from the start."""
    _has_started: bool = False
    """Whether anybody has led and acknowledged. Until then they are being started, and may take turns as they please."""
    _positions: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=POSITIONS_KEPT))
    """How far the primary's log went, and when."""

    def __post_init__(self) -> None:
        self.changes = {each.name: 0 for each in self.databases}

    def judge(self, at: float) -> None:
        """Everybody has been asked once more."""
        leaders = [each for each in self.databases if each.state and each.state.leads]
        if len(leaders) == 1 and leaders[0].state:
            if leaders[0].name != self.primary:
                self.changes[leaders[0].name] += self._has_started
                self.primary = leaders[0].name
                self._positions.clear()
            self._has_started |= leaders[0].state.acknowledges
            self._positions.append((at, leaders[0].state.position))
        for each in self.databases:
            each.was_ready |= self.is_ready(each)

    def is_ready(self, database: Database) -> bool:
        """Whether it leads or follows. Where nobody leads there is nobody to follow: then who answers is ready."""
        state = database.state
        if state is None:
            return False
        return state.leads or state.streams or not any(each.state and each.state.leads for each in self.databases)

    def behind_s(self, database: Database, now: float) -> float | None:
        """How old what a standby shows is: when the primary's log went beyond it. None where that cannot be said."""
        if database.state is None or database.state.leads or not database.state.streams:
            return None
        position = database.state.position
        return next((now - at for at, written in self._positions if written > position), 0.0)

    @property
    def writable(self) -> int:
        """How many accept writes."""
        return holders(each.claim for each in self.databases)


async def look(database: Database, server: Server) -> None:
    """Ask one database."""
    row = await server.ask()
    database.hear(State(*row) if row else None, monotonic())
