"""`python3 -m write_probe`, in a database box: WRITE_FAILURES=3, PGDATA, MONITOR_ADDRESS.

Twice a second it writes to the database of its own box, as long as that is a primary whom somebody follows. After so many failures in
a row it asks the monitor to put another one in its place (stand_down in change_over.sql), and sees to it that this one ends. A
standby whose disk hangs, while its primary sends more, ends at once: else each commit would wait for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import psycopg.waiting

from write_probe.policy import Act, Judge, Look, look_of_error

PERIOD_S = 0.5
DEADLINE_S = 1.0
"""Of one look. A write takes a millisecond."""
LATE_S = 0.25
"""A look that took so much longer than its deadline says that this box had no processor, and nothing of the disk."""
ASK_S = 5.0
END_S = 3.0
"""The keeper hears of it within a second, and stops PostgreSQL in 0.3 s; after this it is not stopped in order any more."""
NAME = "lab-write-probe"
HUNG_MAX = 3
"""Sessions of this program that hang. Each takes a connection, so there are no more."""
# A commit waits for the disk of this box only: that a standby is lost is no reason to leave.
DATABASE = (
    f"host=/run/postgresql dbname=postgres user=postgres application_name={NAME} options='-c synchronous_commit=local "
    "-c statement_timeout=5s'"
)
OF_EARLIER_LOOKS = f"(SELECT count(*) FROM pg_stat_activity WHERE application_name = '{NAME}' AND pid <> pg_backend_pid())"
# A standby is stuck only while its primary has sent what it cannot write: where one disk that hangs is the disk of both, the primary
# sends nothing more, and a standby that left would make it worse.
STATE = f"""
SELECT CASE
  WHEN pg_is_in_recovery() AND {OF_EARLIER_LOOKS} > 0
    AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE latest_end_lsn > flushed_lsn) THEN '{Look.STUCK}'
  WHEN pg_is_in_recovery() AND {OF_EARLIER_LOOKS} >= {HUNG_MAX} THEN '{Look.UNKNOWN}'
  WHEN pg_is_in_recovery() THEN '{Look.STANDBY}'
  WHEN NOT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND application_name <> 'pg_basebackup') THEN '{Look.ALONE}'
  WHEN current_setting('transaction_read_only')::bool THEN '{Look.REFUSED}'
  WHEN {OF_EARLIER_LOOKS} >= {HUNG_MAX} THEN '{Look.REFUSED}'
  ELSE '{Look.WRITTEN}' END
"""
SPACE = "/var/lib/lab/write-probe"
# A transaction of its own in the log, which belongs to no table; and a file beside the data, which is empty again at once: a disk that is
# full refuses users' orders long before the log needs another file.
TO_LOG = f"SELECT pg_logical_emit_message(true, '{NAME}', '')"
TO_DISK = (f"COPY (SELECT repeat('x', 8192)) TO '{SPACE}'", f"COPY (SELECT WHERE false) TO '{SPACE}'")
WRITES = {Look.WRITTEN: (TO_LOG, *TO_DISK), Look.STANDBY: TO_DISK}
"""What it is asked to write, by what it is."""
STAND_DOWN = "SELECT public.stand_down(%s)"


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that can be given up at once: psycopg's own wait would first ask a server that hangs to cancel."""

    async def wait(self, gen: Any, interval: float = 0.1) -> Any:
        """Wait for the server; a cancellation ends that, and leaves the connection unusable."""
        return await psycopg.waiting.wait_async(gen, self.pgconn.socket, interval=interval)


class Database:
    """The database of this box, on a connection that is kept while it answers."""

    def __init__(self, address: str = DATABASE) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._is_asked_to_write = False
        """As a primary."""

    async def look(self) -> Look:
        """Have it write, where it is to. Raises nothing."""
        began, self._is_asked_to_write = monotonic(), False
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._look()
        except TimeoutError:
            await self._leave()
            is_late = monotonic() - began > DEADLINE_S + LATE_S
            return Look.HUNG if self._is_asked_to_write and not is_late else Look.UNKNOWN
        except psycopg.Error as error:
            if self._connection is None or self._connection.closed:
                await self._leave()
            return look_of_error(error.sqlstate, self._is_asked_to_write)
        except OSError:
            await self._leave()
            return Look.GONE

    async def _look(self) -> Look:
        if self._connection is None:
            # Nothing is prepared: what is asked has to work on a server in whatever state.
            self._connection = await Connection.connect(self._address, autocommit=True, prepare_threshold=None)
        row = await (await self._connection.execute(STATE)).fetchone()
        assert row is not None  # without a table, one row
        look = Look(row[0])
        self._is_asked_to_write = look is Look.WRITTEN
        for statement in WRITES.get(look, ()):
            await self._connection.execute(statement)
        return look

    async def _leave(self) -> None:
        if self._connection is not None:
            await self._connection.close()  # only closes the socket
        self._connection = None


def say(text: str) -> None:
    """A line for the box's log."""
    print(f"write-probe: {text}", file=sys.stderr, flush=True)


class Exit:
    """How this database asks to be replaced, and ends."""

    def __init__(self, address: str, data: Path) -> None:
        self._address = address
        self._pid_file = data / "postmaster.pid"
        self._complaint = ""

    async def stand_down(self, name: str) -> bool:
        """Ask the monitor to put another one in its place; whether it does. PostgreSQL has ended then, or been told to end at once."""
        pid = self._postmaster()
        monitor = None
        try:
            async with asyncio.timeout(ASK_S):
                monitor = await Connection.connect(self._address, autocommit=True, client_encoding="utf8")
                await monitor.execute(STAND_DOWN, (name,))
        except (TimeoutError, psycopg.Error, OSError) as error:
            self._complain(" ".join(str(error).split()) or "no answer")
            return False
        finally:
            if monitor is not None:
                await monitor.close()
        self._complaint = ""
        say("the monitor puts another database in its place")
        await self._end(pid)
        return True

    def leave(self) -> None:
        """End at once: the file system lets no process of PostgreSQL that writes go on, so only one that does not write can be ended."""
        pid = self._postmaster()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _end(self, pid: int | None) -> None:
        """Wait for the keeper to stop it; where it does not (the disk hangs), PostgreSQL ends without order."""
        until = monotonic() + END_S
        while pid is not None and self._postmaster() == pid:
            if monotonic() >= until:
                say("PostgreSQL does not stop in order: it is ended at once")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
                return
            await asyncio.sleep(0.1)

    def _postmaster(self) -> int | None:
        """The process that this database is now; None where it does not run."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii").split("\n", 1)[0])
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def _complain(self, reason: str) -> None:
        """Once for each reason."""
        if reason != self._complaint:
            say(f"no other database takes over: {reason}")
        self._complaint = reason


async def watch(database: Database, judge: Judge, way_out: Exit, name: str) -> None:
    """Look for ever."""
    while True:
        began = monotonic()
        match judge.note(await database.look()):
            case Act.STAND_DOWN:
                say(f"{name} is the primary and takes no writes")
                judge.asked(await way_out.stand_down(name))
            case Act.LEAVE:
                say(f"the disk of {name} does not end a write, and commits wait for it: it ends")
                way_out.leave()
            case Act.STAY:
                pass
        await asyncio.sleep(max(began + PERIOD_S - monotonic(), 0.0))


def main() -> None:
    """Look for ever, with what the environment says."""
    way_out = Exit(os.environ["MONITOR_ADDRESS"], Path(os.environ["PGDATA"]))
    asyncio.run(watch(Database(), Judge(int(os.environ["WRITE_FAILURES"])), way_out, socket.gethostname()))


if __name__ == "__main__":
    main()
