"""The observer: asks every database ten times a second whether it accepts writes.

`python -m client.observer '{"db1": "198.18.3.31", ...}'` prints, for each change and at least once a second,
{"event": "databases", "clock_ns": ..., "states": {"db1": "primary", "db2": "standby"}}; with --once, only the
first states. primary: it accepts writes; standby: it answers and follows another; silent: no answer
within 0.5 s. The end of standard input ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import psycopg

PERIOD_S = 0.1
ANSWER_TIMEOUT_S = 0.5
REPEAT_S = 1.0
ONCE_TIMEOUT_S = 3.0
STATE_QUERY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"


class Watch:
    """One database, watched."""

    def __init__(self, host: str, password: str) -> None:
        self._address = f"host={host} dbname=postgres user=auditor password={password} application_name=observer"
        self._connection: psycopg.AsyncConnection | None = None
        self.state = ""

    async def look(self) -> None:
        """Ask once; sets `state`."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                self.state = "standby" if await self._ask() else "primary"
        except (TimeoutError, psycopg.Error, OSError):
            self.state = "silent"
            if self._connection:
                # What hangs is not worth a farewell: close() only closes the socket.
                await self._connection.close()
                self._connection = None

    async def _ask(self) -> bool:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._address, autocommit=True)
        cursor = await self._connection.execute(STATE_QUERY)
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def watch(self) -> None:
        """Ask for ever."""
        while True:
            started = time.monotonic()
            await self.look()
            await asyncio.sleep(max(started + PERIOD_S - time.monotonic(), 0))


def say(states: dict[str, str]) -> None:
    """Print the states."""
    print(json.dumps({"event": "databases", "clock_ns": time.monotonic_ns(), "states": states}), flush=True)


async def once(watches: dict[str, Watch]) -> None:
    """Print the states as they are now."""
    await asyncio.gather(*(watch.look() for watch in watches.values()))
    say({name: watch.state for name, watch in watches.items()})


async def for_ever(watches: dict[str, Watch]) -> None:
    """Print each change, until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    tasks = [asyncio.create_task(watch.watch()) for watch in watches.values()]
    said: dict[str, str] = {}
    said_at = 0.0
    while not ended.done():
        states = {name: watch.state for name, watch in watches.items()}
        if all(states.values()) and (states != said or time.monotonic() - said_at >= REPEAT_S):
            say(states)
            said, said_at = states, time.monotonic()
        await asyncio.wait([ended], timeout=PERIOD_S / 4)
    for task in tasks:
        task.cancel()


async def main() -> None:
    """Watch every database named on the command line."""
    password = os.environ["AUDITOR_PASSWORD"]
    hosts: dict[str, str] = json.loads(sys.argv[-1])
    watches = {name: Watch(host, password) for name, host in hosts.items()}
    await (once(watches) if "--once" in sys.argv else for_ever(watches))


if __name__ == "__main__":
    asyncio.run(main())
