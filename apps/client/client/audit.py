"""The audit: what each database really holds, read directly, past web boxes and balancers.

`python -m client.audit PREFIX '{"db1": "198.18.3.35", ...}'` prints one JSON document:

    {"db1": {"orders": {KEY: COUNT, ...}, "role": "primary", "timeline": 3, "position": "0/5000060", "caught_up": true},
     "db2": {"orders": {KEY: COUNT, ...}, "role": "standby", "timeline": 3, "position": "0/5000060", "caught_up": true}}

or {"db2": {"error": "..."}} for a database that does not answer. A database is `primary`: it accepts writes, and users are served
from it; `standby`: it is in recovery; `read-only`: neither. A standby is read when it has replayed what the primary had written
when its orders were counted, for which it has 10 s; `caught_up` is false where it has not, is on another timeline than the
primary, or is sent nothing. So it is where there is no one primary to be held against (two of them, or none).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

STATEMENT_TIMEOUT_MS = 20_000
CATCH_UP_TIMEOUT_S = 10.0
POLL_S = 0.05
PRIMARY, STANDBY, READ_ONLY = "primary", "standby", "read-only"
ORDERS_QUERY = "SELECT key, count(*) FROM orders WHERE key LIKE %s GROUP BY key"
# Of a standby the timeline is that of what it is being sent: one that is sent nothing may have a log of its own.
STATE_QUERY = """
    SELECT CASE WHEN pg_is_in_recovery() THEN 'standby'
                WHEN current_setting('transaction_read_only')::bool THEN 'read-only'
                ELSE 'primary' END,
           CASE WHEN pg_is_in_recovery()
                THEN (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming')
                ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text
"""

Orders = dict[str, int]


@dataclass(frozen=True)
class State:
    """What a database says of itself."""

    role: str
    timeline: int | None
    """The history that its log belongs to; None where a standby is sent nothing."""
    position: str
    """Up to where it has written its log; of a standby, replayed it."""

    def has(self, other: State) -> bool:
        """Whether a standby shows all that a primary had written."""
        return self.timeline is not None and self.timeline == other.timeline and lsn(self.position) >= lsn(other.position)


class Database(Protocol):
    """One that answers."""

    def state(self) -> State:
        """What it is now. Raises psycopg.Error."""

    def orders(self) -> Orders:
        """How often each key of the trial stands in it. Raises psycopg.Error."""


class Connected:
    """A database that was connected to."""

    def __init__(self, host: str, prefix: str, password: str) -> None:
        """Raises psycopg.Error."""
        self._prefix = prefix
        self._connection = psycopg.connect(
            host=host,
            dbname="postgres",
            user="auditor",
            password=password,
            connect_timeout=3,
            tcp_user_timeout=3000,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            autocommit=True,
        )

    def state(self) -> State:
        """What it is now."""
        row = self._connection.execute(STATE_QUERY).fetchone()
        assert row is not None  # it has no FROM
        return State(str(row[0]), row[1], str(row[2] or "0/0"))

    def orders(self) -> Orders:
        """How often each key with the prefix stands in it."""
        return dict(self._connection.execute(ORDERS_QUERY, (f"{self._prefix}-%",)).fetchall())


def lsn(position: str) -> int:
    """A position in the log in bytes."""
    high, low = position.split("/")
    return (int(high, 16) << 32) + int(low, 16)


@dataclass
class Finding:
    """What is known of a database so far."""

    database: Database | None = None
    error: str = ""
    found: State = State("", None, "0/0")
    orders: Orders | None = None
    caught_up: bool = False

    def ask(self, question: Callable[[Database], None]) -> bool:
        """Ask it something; returns whether it has answered. One that has failed is asked nothing more."""
        if self.database is None or self.error:
            return False
        try:
            question(self.database)
        except psycopg.Error as error:
            self.error = first_line(error)
        return not self.error

    def look(self, database: Database) -> None:
        """Ask what it is."""
        self.found = database.state()

    def count(self, database: Database) -> None:
        """Ask what it holds."""
        self.orders = database.orders()

    def document(self) -> dict[str, Any]:
        """As it is printed."""
        if self.error or self.orders is None:
            return {"error": self.error or "it was not read"}
        return {"orders": self.orders, **vars(self.found), "caught_up": self.caught_up}


def first_line(error: psycopg.Error) -> str:
    """What went wrong."""
    return (str(error).strip().splitlines() or ["it does not answer"])[0]


def audit(databases: Mapping[str, Finding], timeout_s: float = CATCH_UP_TIMEOUT_S) -> None:
    """Read every database; each standby when it has caught up with the one primary, within so many seconds for all."""
    for each in databases.values():
        each.ask(each.look)
    primaries = [each for each in databases.values() if each.found.role == PRIMARY and not each.error]
    standbys = [each for each in databases.values() if each.found.role == STANDBY and not each.error]
    if len(primaries) == 1:
        _compare(primaries[0], standbys, time.monotonic() + timeout_s)
    for each in databases.values():
        if each.orders is None:
            each.ask(each.count)


def _compare(primary: Finding, standbys: Sequence[Finding], deadline: float) -> None:
    """Read the primary, then each standby once it shows as much, until the primary has not changed meanwhile."""
    is_settled = False
    while not is_settled and primary.ask(primary.count) and primary.ask(primary.look):
        before, written = primary.orders, primary.found
        for standby in standbys:
            standby.caught_up = _catches_up(standby, written, deadline)
            standby.ask(standby.count)
        primary.ask(primary.count)
        is_settled = primary.orders == before
        if not is_settled and time.monotonic() >= deadline:
            for standby in standbys:  # orders still come in: nothing can be said of a difference
                standby.caught_up = False
            break
    primary.caught_up = not primary.error


def _catches_up(standby: Finding, written: State, deadline: float) -> bool:
    """Wait until a standby has replayed what the primary had written; whether it has."""
    while standby.ask(standby.look):
        if standby.found.has(written):
            return standby.found.role == STANDBY
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return False


def connect(host: str, prefix: str, password: str) -> Finding:
    """A database, or why it does not answer."""
    try:
        return Finding(Connected(host, prefix, password))
    except psycopg.Error as error:
        return Finding(error=first_line(error))


def main() -> None:
    """Read every database named on the command line."""
    prefix, hosts = sys.argv[1], json.loads(sys.argv[2])
    databases = {name: connect(host, prefix, os.environ["AUDITOR_PASSWORD"]) for name, host in hosts.items()}
    audit(databases)
    json.dump({name: each.document() for name, each in databases.items()}, sys.stdout)


if __name__ == "__main__":
    main()
