"""Orders in PostgreSQL, and what became of them when the database fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Lock, Semaphore
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from orderdesk.config import Config
from orderdesk.connection import BoundedConnection, ConnectionLost, Host, hosts_of
from orderdesk.finder import Finder, Primary, finder_for
from orderdesk.pool import Pool

T = TypeVar("T")

GOING_AWAY = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.ReadOnlySqlTransaction,
)

COLUMNS = "id, key, item, quantity, placed_by, placed_at"


class DatabaseUnavailable(Exception):
    """Nothing was read or written; trying again is safe."""


class OutcomeUnknown(Exception):
    """The commit was sent and not confirmed: the order may be placed or not."""


@dataclass(frozen=True)
class Order:
    """An order as it stands in the database."""

    id: int
    key: str
    item: str
    quantity: int
    placed_by: str
    placed_at: datetime


class Lane(ABC):
    """Connections for one kind of work, and the requests that may use or await them.

    Reads and writes have a lane each: commits that hang must not leave reads without a connection.
    """

    def __init__(self, config: Config, finder: Finder, deadline_s: float, connection: type[BoundedConnection]) -> None:
        self._config = config
        self._finder = finder
        self._deadline_s = deadline_s
        self._connection = connection
        self._closed = False
        # One request too many is turned away at once: a database that hangs cannot hold every thread of this box.
        self._places = Semaphore(config.pool_size + config.pool_waiting)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True

    def run(self, work: Callable[[BoundedConnection], T]) -> T:
        """Do the work, again on another connection when one turns out to be dead, until the deadline.

        Work that failed before its commit changed nothing, so repeating it is safe. Raises DatabaseUnavailable.
        """
        if not self._places.acquire(blocking=False):
            raise DatabaseUnavailable("too many requests are waiting for the database")
        try:
            return self._until(monotonic() + self._deadline_s, work)
        finally:
            self._places.release()

    def _until(self, deadline: float, work: Callable[[BoundedConnection], T]) -> T:
        while True:
            try:
                pool, try_until = self._choose(deadline)
                with self._lent(pool, try_until) as conn:
                    return work(conn)
            except ConnectionLost as error:
                if self._closed or monotonic() >= deadline:
                    raise DatabaseUnavailable(str(error)) from error
            except psycopg.OperationalError as error:
                raise DatabaseUnavailable(str(error)) from error

    @abstractmethod
    def _choose(self, deadline: float) -> tuple[Pool, float]:
        """Whom to ask, and until when. Raises ConnectionLost when there is nobody by `deadline`."""

    def _new_pool(self, host: Host, connect: Callable[[], BoundedConnection]) -> Pool:
        return Pool(host, connect, self._config.pool_size, self._config.reconnect_s)

    @contextmanager
    def _lent(self, pool: Pool, deadline: float) -> Iterator[BoundedConnection]:
        try:
            with pool.connection(deadline) as conn, losses(conn):
                yield conn
        except (ConnectionLost, OutcomeUnknown):
            self._finder.doubt(pool.host)
            raise


@contextmanager
def losses(conn: BoundedConnection) -> Iterator[None]:
    """Tells a lost connection (ConnectionLost) from what a database answers on a living one (a full disk, say):
    that, it would answer again.
    """
    try:
        yield
    except GOING_AWAY as error:
        # A database that ends, or accepts writes no more.
        conn.close()
        raise ConnectionLost(str(error)) from error
    except psycopg.OperationalError as error:
        if conn.closed:
            raise ConnectionLost(str(error)) from error
        raise


class ReadLane(Lane):
    """Asks the primary; where it does not answer in time, another database that does."""

    def __init__(self, config: Config, finder: Finder, hosts: list[Host], connection: type[BoundedConnection]) -> None:
        super().__init__(config, finder, config.read_deadline_s, connection)
        self._pools = {host: self._new_pool(host, partial(connection.connect, host.conninfo, autocommit=True)) for host in hosts}

    def close(self) -> None:
        """Close the connections."""
        super().close()
        for pool in self._pools.values():
            pool.close()

    def _choose(self, deadline: float) -> tuple[Pool, float]:
        host, *others = self._finder.await_readable(deadline)
        return self._pools[host], min(deadline, monotonic() + self._config.read_patience_s) if others else deadline


class WriteLane(Lane):
    """Asks the primary alone. Each epoch has its own pool: no connection is used beyond its primary's time."""

    def __init__(self, config: Config, finder: Finder, connection: type[BoundedConnection]) -> None:
        super().__init__(config, finder, config.write_deadline_s, connection)
        self._lock = Lock()
        self._current: tuple[Primary, Pool] | None = None

    def close(self) -> None:
        """Close the connections."""
        super().close()
        with self._lock:
            if self._current:
                self._current[1].close()

    def _choose(self, deadline: float) -> tuple[Pool, float]:
        return self._pool(self._finder.await_primary(deadline)), deadline

    def _pool(self, primary: Primary) -> Pool:
        with self._lock:
            if self._current is None or (primary != self._current[0] and primary.epoch >= self._current[0].epoch):
                if self._current:
                    self._current[1].close()
                self._current = primary, self._new_pool(primary.host, partial(self._connect, primary))
            return self._current[1]

    def _connect(self, primary: Primary) -> BoundedConnection:
        conn = self._connection.connect(primary.host.conninfo)
        conn.superseded = lambda: self._finder.epoch > primary.epoch
        return conn


class OrderBook:
    """The orders table. Thread-safe; survives its databases going and coming."""

    def __init__(self, config: Config) -> None:
        hosts = hosts_of(config.database)
        connection = type("Connection", (BoundedConnection,), {"connect_timeout_s": config.connect_timeout_s})
        self._box = config.box
        self._finder = finder_for(hosts, connection, config)
        self._reads = ReadLane(config, self._finder, hosts, connection)
        self._writes = WriteLane(config, self._finder, connection)

    def close(self) -> None:
        """Close the connections."""
        self._reads.close()
        self._writes.close()
        self._finder.close()

    def place(self, key: str, item: str, quantity: int) -> Order:
        """Place an order and return it once it is committed.

        Raises DatabaseUnavailable (not placed) or OutcomeUnknown.
        """
        return self._writes.run(lambda conn: self._insert(conn, key, item, quantity))

    def find(self, key: str) -> list[Order]:
        """All orders with this key, oldest first: none, one, or more where a write was executed twice.

        Raises DatabaseUnavailable.
        """
        return self._select(f"SELECT {COLUMNS} FROM orders WHERE key = %s ORDER BY id", (key,))

    def latest(self, limit: int) -> list[Order]:
        """The newest orders first. Raises DatabaseUnavailable."""
        return self._select(f"SELECT {COLUMNS} FROM orders ORDER BY id DESC LIMIT %s", (limit,))

    def ping(self) -> None:
        """Ask a database for anything at all. Raises DatabaseUnavailable."""
        self._reads.run(lambda conn: conn.execute("SELECT 1"))

    def _select(self, query: str, parameters: tuple[Any, ...]) -> list[Order]:
        def run(conn: BoundedConnection) -> list[Order]:
            with conn.cursor(row_factory=class_row(Order)) as cursor:
                return cursor.execute(query, parameters).fetchall()

        return self._reads.run(run)

    def _insert(self, conn: BoundedConnection, key: str, item: str, quantity: int) -> Order:
        with conn.cursor(row_factory=class_row(Order)) as cursor:
            cursor.execute(
                f"INSERT INTO orders (key, item, quantity, placed_by) VALUES (%s, %s, %s, %s) RETURNING {COLUMNS}",
                (key, item, quantity, self._box),
            )
            order = cursor.fetchone()
        assert order is not None  # RETURNING
        commit(conn)
        return order


def commit(conn: BoundedConnection) -> None:
    """Raises OutcomeUnknown where the commit was sent and not acknowledged, ConnectionLost where it was not sent."""
    if conn.superseded():
        conn.close()
        raise ConnectionLost("another database has become the primary")
    conn.warnings.clear()
    try:
        conn.commit()
    except psycopg.Error as error:
        raise OutcomeUnknown(str(error)) from error
    # Success is no acknowledgement where it came from an old primary, or with a warning: PostgreSQL says "canceling
    # wait for synchronous replication", and success, when it stops waiting for the standby (in words that depend on
    # its locale).
    if conn.superseded() or conn.warnings:
        raise OutcomeUnknown("; ".join(conn.warnings) or "another database has become the primary")
