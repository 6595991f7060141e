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
    """libpq connection string. It may name several hosts: the finder says which of them is the primary."""
    box: str
    """Name of this box; every answer carries it."""
    read_deadline_s: float = 0.4
    """A read is answered within this time, with an error if need be."""
    read_patience_s: float = 0.15
    """How long a read waits for one database before it asks another, where another answers."""
    write_deadline_s: float = 0.8
    """Placing an order is answered within this time, with an error if need be."""
    pool_size: int = 6
    """Connections to a database, at most, for reads and for writes each."""
    pool_waiting: int = 6
    """Requests that may wait for a connection (reads and writes each); one more is turned away at once, so
    that a database that hangs can never hold every thread of this box."""
    connect_timeout_s: float = 0.3
    """How long a new connection may take."""
    reconnect_s: float = 0.1
    """A connection that could not be made is tried again so long after that try began, at the earliest."""
    find_period_s: float = 0.1
    """How often each database is asked what it is, where there are several."""
    search_period_s: float = 0.03
    """The same while none of them is the primary."""
    find_deadline_s: float = 0.3
    """A database that does not say what it is within this time does not answer."""
    metrics_password: str = ""
    """Whoever comes with it is shown the figures; where it is empty, they are shown to nobody."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """Raises KeyError when DATABASE is not set, ValueError for a malformed number."""
        return cls(
            database=environment["DATABASE"],
            box=environment.get("BOX") or socket.gethostname(),
            read_deadline_s=float(environment.get("READ_DEADLINE_S", cls.read_deadline_s)),
            read_patience_s=float(environment.get("READ_PATIENCE_S", cls.read_patience_s)),
            write_deadline_s=float(environment.get("WRITE_DEADLINE_S", cls.write_deadline_s)),
            pool_size=int(environment.get("POOL_SIZE", cls.pool_size)),
            pool_waiting=int(environment.get("POOL_WAITING", cls.pool_waiting)),
            connect_timeout_s=float(environment.get("CONNECT_TIMEOUT_S", cls.connect_timeout_s)),
            reconnect_s=float(environment.get("POOL_RECONNECT_S", cls.reconnect_s)),
            find_period_s=float(environment.get("FIND_PERIOD_S", cls.find_period_s)),
            search_period_s=float(environment.get("SEARCH_PERIOD_S", cls.search_period_s)),
            find_deadline_s=float(environment.get("FIND_DEADLINE_S", cls.find_deadline_s)),
            metrics_password=environment.get("METRICS_PASSWORD", cls.metrics_password),
        )
