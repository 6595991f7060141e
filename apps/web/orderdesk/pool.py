"""Connections to one database.

psycopg_pool is not used: its queue keeps the requests that have given up for as long as no connection can be
made, 4 KiB each, and it pauses 1, 2, 4, 8 s between tries (docs/decisions/0003-web-box.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from time import monotonic

from orderdesk.connection import BoundedConnection, ConnectionLost, Host

# A connection that nobody has needed for so long is closed.
IDLE_MAX_S = 60.0


class Pool:
    """At most `size` connections to a database, made when a request needs one. Thread-safe.

    They are made in a thread of the pool's own, one at a time, which ends when no request waits: neither the
    name service nor a slow handshake can hold a request beyond its deadline. After a try that failed, the next one
    begins `retry_s` seconds after it had begun.
    """

    def __init__(self, host: Host, connect: Callable[[], BoundedConnection], size: int, retry_s: float) -> None:
        self.host = host
        self._connect = connect
        self._size = size
        self._retry_s = retry_s
        self._changed = Condition()
        self._idle: deque[tuple[float, BoundedConnection]] = deque()
        self._used = 0
        self._waiting = 0
        self._failures = 0
        self._growing = False
        self._closed = False

    def close(self) -> None:
        """Close the connections: those in use when they come back."""
        with self._changed:
            self._closed = True
            while self._idle:
                self._idle.pop()[1].close()
            self._changed.notify_all()

    @contextmanager
    def connection(self, deadline: float) -> Iterator[BoundedConnection]:
        """A connection that gives up at `deadline` (seconds on the monotonic clock).

        Raises ConnectionLost when there is none by then, and at once when a try to make one has failed.
        """
        conn = self._take(deadline)
        try:
            yield conn
        finally:
            self._give_back(conn)

    def _take(self, deadline: float) -> BoundedConnection:
        with self._changed:
            self._waiting += 1
            try:
                conn = self._await_idle(deadline)
            finally:
                self._waiting -= 1
            self._used += 1
        conn.deadline = deadline
        return conn

    def _await_idle(self, deadline: float) -> BoundedConnection:
        failures = self._failures
        while (conn := self._pop_idle()) is None:
            if self._closed or self._failures > failures:
                raise ConnectionLost(f"no connection to {self.host.name}")
            self._grow()
            if not self._changed.wait(deadline - monotonic()):
                raise ConnectionLost(f"no connection to {self.host.name} in time")
        return conn

    def _pop_idle(self) -> BoundedConnection | None:
        # The last one used comes first, so that those of a busy moment grow old.
        while self._idle:
            _, conn = self._idle.pop()
            if not conn.hung_up():
                return conn
            conn.close()
        return None

    def _give_back(self, conn: BoundedConnection) -> None:
        try:
            conn.end_transaction()
        finally:
            with self._changed:
                self._used -= 1
                self._keep(conn)

    def _keep(self, conn: BoundedConnection) -> None:
        if self._closed:
            conn.close()
        elif not conn.closed:
            self._idle.append((monotonic(), conn))
        while self._idle and self._idle[0][0] < monotonic() - IDLE_MAX_S:
            self._idle.popleft()[1].close()
        # Also when the connection is gone: who waits may now make another.
        self._changed.notify_all()

    def _grow(self) -> None:
        if not self._growing and self._has_room():
            Thread(target=self._make_connections, name=f"connect to {self.host.name}", daemon=True).start()
            self._growing = True

    def _has_room(self) -> bool:
        return not self._closed and len(self._idle) + self._used < self._size

    def _make_connections(self) -> None:
        while self._more_wanted():
            next_try_at = monotonic() + self._retry_s
            try:
                conn = self._connect()
            except Exception:
                # Whatever it was: the pool must not stop trying while requests come.
                self._fail(next_try_at)
            else:
                with self._changed:
                    self._keep(conn)

    def _more_wanted(self) -> bool:
        with self._changed:
            self._growing = self._waiting > len(self._idle) and self._has_room()
            return self._growing

    def _fail(self, next_try_at: float) -> None:
        with self._changed:
            self._failures += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed, next_try_at - monotonic())
