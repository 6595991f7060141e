"""Orders in PostgreSQL, with a deadline on everything.

A database can refuse, break off, or say nothing at all (its box frozen, its cable cut). The last is the
worst: the kernel of a frozen box goes on acknowledging, so no TCP timeout fires, and a worker that waits
without a deadline waits for good. Here every wait has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Semaphore
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool, PoolTimeout

from orderdesk.config import Config

T = TypeVar("T")

# How exactly a deadline is kept: a wait looks at the clock this often. (Waiting for all that is left in one go
# would, when it wakes a moment early, wait as long again.)
DEADLINE_GRAIN_S = 0.02

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


class ConnectionLost(Exception):
    """The connection turned out to be dead before anything was committed."""


class Overdue(psycopg.OperationalError):
    """The database did not answer within the deadline; the connection was closed."""


@dataclass(frozen=True)
class Order:
    """An order as it stands in the database."""

    id: int
    key: str
    item: str
    quantity: int
    placed_by: str
    placed_at: datetime


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up at `deadline` (seconds on the monotonic clock) and is closed by that."""

    deadline: float | None = None
    connect_timeout_s: float = 2.0

    @classmethod
    def _connect_gen(cls, conninfo: str = "", *, timeout: float = 0.0) -> Any:
        # libpq's convention is at least 2 s a host; a first packet lost to a box that is just starting would
        # be repeated after 1 s only. Trying again sooner is better.
        return super()._connect_gen(conninfo, timeout=min(timeout, cls.connect_timeout_s))

    def wait(self, gen: Any, interval: float = 0.1) -> Any:
        """Wait for the database as psycopg does, but no longer than until the deadline.

        Raises Overdue. The wait of psycopg wakes the generator each `interval` seconds, ready or not.
        """
        if self.deadline is None:
            return super().wait(gen, interval=interval)
        return super().wait(self._bounded(gen), interval=DEADLINE_GRAIN_S)

    def _bounded(self, gen: Any) -> Any:
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and self.deadline is not None and monotonic() >= self.deadline:
                    # Closing is all one can do: there is no way to take back what was sent.
                    self.pgconn.finish()
                    raise Overdue("the database did not answer in time")
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value


class Lane:
    """Connections for one kind of work, and the requests that may use or await them.

    Reads and writes have a lane each: commits that hang must not leave reads without a connection.
    """

    def __init__(self, config: Config, connection: type[BoundedConnection], deadline_s: float, autocommit: bool) -> None:
        self._deadline_s = deadline_s
        self._pool = ConnectionPool(
            config.database,
            connection_class=connection,
            min_size=1,
            max_size=config.pool_size,
            reconnect_timeout=config.reconnect_s,
            max_idle=60.0,
            kwargs={"autocommit": autocommit},
            open=True,
        )
        # Not the pool's own max_waiting: it counts requests that have long given up, and once it is reached
        # with every connection lost, nobody may ask for a new one any more (docs/decisions/0003-web-box.md).
        self._places = Semaphore(config.pool_size + config.pool_waiting)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

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
                with self._connection(deadline) as conn:
                    return work(conn)
            except ConnectionLost as error:
                # The next one may be good, and there is at most a pool full of dead ones.
                if monotonic() >= deadline:
                    raise DatabaseUnavailable(str(error)) from error
            except (PoolTimeout, psycopg.OperationalError) as error:
                raise DatabaseUnavailable(str(error)) from error

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[BoundedConnection]:
        conn = self._pool.getconn(timeout=max(deadline - monotonic(), 0.001))
        try:
            conn.deadline = deadline
            yield conn
        except Overdue:
            raise
        except GOING_AWAY as error:
            # A database that ends, or accepts writes no more: a new connection finds who does.
            conn.close()
            raise ConnectionLost(str(error)) from error
        except psycopg.OperationalError as error:
            # What the server answers on a living connection (a full disk, say) it would answer again.
            raise (ConnectionLost(str(error)) if conn.closed else error) from error
        finally:
            # The pool ends an open transaction, still under the deadline, and replaces a closed connection.
            self._pool.putconn(conn)


class OrderBook:
    """The orders table. Thread-safe; survives its database going and coming."""

    def __init__(self, config: Config) -> None:
        connection = type("Connection", (BoundedConnection,), {"connect_timeout_s": config.connect_timeout_s})
        self._box = config.box
        self._reads = Lane(config, connection, config.read_deadline_s, autocommit=True)
        self._writes = Lane(config, connection, config.write_deadline_s, autocommit=False)

    def close(self) -> None:
        """Close the connections."""
        self._reads.close()
        self._writes.close()

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
        """Ask the database for anything at all. Raises DatabaseUnavailable."""
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
        try:
            conn.commit()
        except psycopg.OperationalError as error:
            raise OutcomeUnknown(str(error)) from error
        return order
