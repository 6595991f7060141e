"""The status: everything once, for the map of a stage. What the observer sees, and what only a map needs.

`python -m client.status '{"databases": {"db1": "198.18.3.35", ...}, "balancers": {"lb1": "198.18.0.33", ...},
"entry": "198.18.0.10", "statistics": {"lb1": "198.18.0.33", ...}, "monitor": "198.18.3.196", "alone": {}}'` prints one JSON document:

    {"view": {...}, "databases": {"db1": {...}, "db2": null}, "backends": {"lb1": {"web1": true, ...}, "lb2": null},
     "monitor": {"needed": 0, "nodes": {"db1": {...}, "db2": {...}}}, "alone": {"db": "primary"}}

`view` is the observer's. What does not answer has null; no answer is waited for longer than 0.5 s, twice at most. Of a
database that has no other beside it (`alone`) its state is said, in the observer's words.

A database says its `position` in the log in bytes (of a standby: what it has received), of that what it does not show
yet (`unreplayed_bytes`), how long ago the last order that it shows was placed (`replayed_age_s`), and its `followers`:
their addresses, whether each streams and is synchronous, and by how much it lags. A balancer says of each web box that it
knows whether it sends requests to it. The monitor says of each database whether it is healthy, whether it could be promoted
and whether an election waits for it, and how many standbys a commit needs for good.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg

from client.observer import ANSWER_TIMEOUT_S, HEALTH_PORT, Connection, DatabaseWatch, Observer, Watch

POSITION_QUERY = """
    SELECT position::bigint AS position,
           greatest(position - pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::bigint AS unreplayed_bytes,
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS replayed_age_s,
           (SELECT coalesce(json_agg(json_build_object(
                     'address', host(client_addr), 'streams', state = 'streaming',
                     'synchronous', sync_state IN ('sync', 'quorum'),
                     'lag_bytes', greatest(position - pg_wal_lsn_diff(flush_lsn, '0/0'), 0)::bigint)), '[]')
            FROM pg_stat_replication
            WHERE client_addr IS NOT NULL AND application_name <> 'pg_basebackup') AS followers
    FROM (SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
                                   THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                                   ELSE pg_current_wal_lsn() END, '0/0') AS position) AS here
"""
# Where a balancer sends users. What else it has in its table only counts or only answers.
ROUTES = ("reads", "writes")
# A standby that could be promoted: it has what was acknowledged (secondary) or is just saying what it has, is healthy,
# and may become the primary at all. An election waits for the vote of every database for which a commit may have waited, also
# of one that is down; a former primary has none.
MONITOR_QUERY = """
    SELECT coalesce(max(number_sync_standbys), 0) AS needed,
           coalesce(json_object_agg(nodename, json_build_object(
             'state', reportedstate::text, 'healthy', health = 1,
             'promotable', candidatepriority > 0 AND health = 1
               AND reportedstate IN ('secondary', 'report_lsn', 'fast_forward'),
             'votes', replicationquorum AND reportedstate NOT IN (
               'primary', 'wait_primary', 'apply_settings', 'draining', 'demote_timeout', 'demoted',
               'prepare_maintenance', 'maintenance'))), '{}') AS nodes
    FROM pgautofailover.node JOIN pgautofailover.formation USING (formationid)
"""


async def ask(host: str, database: str, query: str, password: str) -> dict[str, Any] | None:
    """The one row that answers a query, by column; None where no answer comes in time."""
    address = f"host={host} dbname={database} user=auditor password={password} application_name=status"
    connection = None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            connection = await Connection.connect(address, autocommit=True)
            cursor = await connection.execute(query)
            row = await cursor.fetchone()
            assert row is not None  # an aggregate
            return dict(zip([column.name for column in cursor.description or ()], row, strict=True))
    except (TimeoutError, psycopg.Error, OSError):
        return None
    finally:
        if connection:
            await connection.close()


async def backends(host: str) -> dict[str, bool] | None:
    """The web boxes that a balancer knows, and whether it sends requests to each; None where it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return read_backends(await _get(host, HEALTH_PORT, "/;csv"))
    except (TimeoutError, OSError, ValueError, IndexError):  # the last two: a table that was cut short
        return None


async def _get(host: str, port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # HTTP/1.0: the answer ends with the connection, and comes in one piece.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: {credentials()}\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode("latin-1").partition("\r\n\r\n")
    finally:
        writer.close()
    if head.split(" ")[1:2] != ["200"]:
        raise ValueError(f"{host} answers {head[:40]!r}")
    return body


def credentials(environment: Mapping[str, str] = os.environ) -> str:
    """By what a balancer knows who may read its statistics. Who has no password asks in vain."""
    return "Basic " + b64encode(f"metrics:{environment.get('METRICS_PASSWORD', '')}".encode()).decode()


def read_backends(table: str) -> dict[str, bool]:
    """The web boxes in HAProxy's table of statistics: up wherever users are sent to them, or not."""
    heading, *rows = table.removeprefix("# ").splitlines()
    # Only what comes long after the status may be quoted. A reader of CSV takes six times as long, and this is asked often.
    status = heading.split(",").index("status")
    found: dict[str, bool] = {}
    for row in filter(None, rows):
        route, server, *rest = row.split(",", status + 1)
        if route in ROUTES and server != "BACKEND":
            found[server] = rest[status - 2].startswith("UP") and found.get(server, True)
    return found


async def view(observer: Observer) -> dict[str, Any] | None:
    """What the observer sees. Looked at a second time is only who claims something: one look can't tell two claims apart."""

    async def again(watch: Watch) -> None:
        if watch.claim.since:
            await watch.look()
        else:
            watch.claim.say(False)

    await asyncio.gather(*(watch.look() for watch in observer.watches))
    await asyncio.gather(*(again(watch) for watch in observer.watches))
    seen = observer.view()
    return {"clock_ns": time.monotonic_ns(), **seen} if seen else None


async def state(host: str, password: str) -> str:
    """What a database is: primary, read-only, unreachable, ..."""
    watch = DatabaseWatch(host, password)
    await watch.look()
    return watch.state


async def each(hosts: dict[str, str], question: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    """The answers of all, asked at once."""
    answers = await asyncio.gather(*(question(host) for host in hosts.values()))
    return dict(zip(hosts, answers, strict=True))


async def status(order: dict[str, Any], password: str) -> dict[str, Any]:
    """Ask every part that the configuration names, at once."""
    monitor = order.get("monitor", "")
    seen, databases, balancers, judged, alone = await asyncio.gather(
        view(Observer(order, password)),
        each(order.get("databases", {}), lambda host: ask(host, "postgres", POSITION_QUERY, password)),
        each(order.get("statistics", {}), backends),
        each({"monitor": monitor} if monitor else {}, lambda host: ask(host, "pg_auto_failover", MONITOR_QUERY, password)),
        each(order.get("alone", {}), lambda host: state(host, password)),
    )
    return {"view": seen, "databases": databases, "backends": balancers, "monitor": judged.get("monitor"), "alone": alone}


if __name__ == "__main__":
    json.dump(asyncio.run(status(json.loads(sys.argv[-1]), os.environ["AUDITOR_PASSWORD"])), sys.stdout)
