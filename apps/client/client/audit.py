"""The audit: what each database really holds, read directly, past web boxes and balancers.

`python -m client.audit PREFIX '{"db": "198.18.3.31"}'` prints one JSON document:
{"db": {"orders": {KEY: COUNT, ...}}} or {"db": {"error": "..."}} for a database that does not answer.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import psycopg

STATEMENT_TIMEOUT_MS = 20_000


def read(host: str, prefix: str, password: str) -> dict[str, int]:
    """How often each key with the prefix stands in the database at `host`. Raises psycopg.Error."""
    with psycopg.connect(
        host=host,
        dbname="postgres",
        user="auditor",
        password=password,
        connect_timeout=3,
        tcp_user_timeout=3000,
        options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
    ) as conn:
        rows = conn.execute("SELECT key, count(*) FROM orders WHERE key LIKE %s GROUP BY key", (f"{prefix}-%",))
        return dict(rows.fetchall())


def main() -> None:
    """Read every database named on the command line."""
    prefix, hosts = sys.argv[1], json.loads(sys.argv[2])
    found: dict[str, Any] = {}
    for name, host in hosts.items():
        try:
            found[name] = {"orders": read(host, prefix, os.environ["AUDITOR_PASSWORD"])}
        except psycopg.Error as error:
            found[name] = {"error": str(error).strip().splitlines()[0]}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
