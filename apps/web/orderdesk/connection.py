"""A connection to one database, with a deadline on everything.

A database can refuse, break off, or say nothing at all (its box frozen, its cable cut). The last is the
worst: the kernel of a frozen box goes on acknowledging, so no TCP timeout fires, and a worker that waits
without a deadline waits for good. Here every wait has one.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

# How exactly a deadline is kept: a wait looks at the clock this often. (Waiting for all that is left in one go
# would, when it wakes a moment early, wait as long again.)
DEADLINE_GRAIN_S = 0.02


class ConnectionLost(Exception):
    """There is no connection, or it turned out to be dead, before anything was committed."""


class Overdue(psycopg.OperationalError):
    """The database did not answer within the deadline; the connection was closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up at `deadline` (seconds on the monotonic clock) and is closed by that."""

    deadline: float | None = None
    connect_timeout_s: float = 2.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.superseded: Callable[[], bool] = lambda: False
        """Whether another database is the primary now: this one's answers are no longer worth waiting for."""
        self.warnings: list[str] = []
        """What the database warned of."""
        self.add_notice_handler(_collect(self.warnings))

    @classmethod
    def _connect_gen(cls, conninfo: str = "", *, timeout: float = 0.0) -> Any:
        # libpq's convention is at least 2 s a host; a first packet lost to a box that is just starting would
        # be repeated after 1 s only. Trying again sooner is better.
        return super()._connect_gen(conninfo, timeout=min(timeout, cls.connect_timeout_s))

    def wait(self, gen: Any, interval: float = 0.1) -> Any:
        """Wait for the database as psycopg does, but no longer than until the deadline or until it is superseded.

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
                if not ready and self._in_vain():
                    # Closing is all one can do: there is no way to take back what was sent.
                    self.pgconn.finish()
                    raise Overdue("the database did not answer in time")
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def _in_vain(self) -> bool:
        return self.superseded() or (self.deadline is not None and monotonic() >= self.deadline)

    def end_transaction(self) -> None:
        """Undo what was not committed, still under the deadline; close the connection where that fails."""
        try:
            self.rollback()
        except psycopg.Error:
            self.close()
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.close()

    def hung_up(self) -> bool:
        """Whether the database has closed this idle connection: it has nothing else to say to one."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))


def _collect(warnings: list[str]) -> Callable[[psycopg.errors.Diagnostic], None]:
    # A function of the list, not of the connection: no cycle that keeps a dropped connection alive.
    def collect(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    return collect


@dataclass(frozen=True)
class Host:
    """One of the databases."""

    name: str
    """host:port."""
    conninfo: str = field(repr=False)
    """libpq connection string for it alone. It may hold a password."""


def hosts_of(conninfo: str) -> list[Host]:
    """The databases that a libpq connection string names (host, hostaddr and port may be lists).

    One host keeps its string as it is. Several lose target_session_attrs: who accepts writes is for the finder
    to say. Raises ValueError where the lists do not match, psycopg.ProgrammingError for a malformed string.
    """
    parameters = conninfo_to_dict(conninfo)
    lists = {name: str(parameters[name]).split(",") for name in ("host", "hostaddr", "port") if parameters.get(name)}
    count = max((len(values) for values in lists.values()), default=1)
    if count == 1:
        return [Host(str(parameters.get("host", "")), conninfo)]
    if any(len(values) not in ({1, count} if name == "port" else {count}) for name, values in lists.items()):
        raise ValueError(f"host, hostaddr and port do not match: {lists}")
    parameters.pop("target_session_attrs", None)
    return [_host({**parameters, **{name: values[i % len(values)] for name, values in lists.items()}}) for i in range(count)]


def _host(parameters: dict[str, Any]) -> Host:
    name = f"{parameters.get('host') or parameters.get('hostaddr')}:{parameters.get('port', 5432)}"
    return Host(name, make_conninfo(**parameters))
