"""Settings of a web box, all from its environment (they stand in the stage file)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Where the database is, and how long anything may take."""

    database: str
    """libpq connection string."""
    box: str
    """Name of this box; every answer carries it."""
    read_deadline_s: float = 0.4
    """A read is answered within this time, with an error if need be."""
    write_deadline_s: float = 0.8
    """Placing an order is answered within this time, with an error if need be."""
    pool_size: int = 6
    """Connections to the database, at most, for reads and for writes each."""
    pool_waiting: int = 6
    """Requests that may wait for a connection (reads and writes each); one more is turned away at once, so
    that a database that hangs can never hold every thread of this box."""
    connect_timeout_s: float = 0.3
    """How long a new connection may take."""
    reconnect_s: float = 0.1
    """How long the pool itself goes on trying to replace a lost connection before it waits for a
    request to ask for one (its own pauses between tries grow 1, 2, 4, 8 s otherwise)."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """Raises KeyError when DATABASE is not set, ValueError for a malformed number."""
        return cls(
            database=environment["DATABASE"],
            box=environment.get("BOX") or socket.gethostname(),
            read_deadline_s=float(environment.get("READ_DEADLINE_S", cls.read_deadline_s)),
            write_deadline_s=float(environment.get("WRITE_DEADLINE_S", cls.write_deadline_s)),
            pool_size=int(environment.get("POOL_SIZE", cls.pool_size)),
            pool_waiting=int(environment.get("POOL_WAITING", cls.pool_waiting)),
            connect_timeout_s=float(environment.get("CONNECT_TIMEOUT_S", cls.connect_timeout_s)),
            reconnect_s=float(environment.get("POOL_RECONNECT_S", cls.reconnect_s)),
        )
