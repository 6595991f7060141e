"""`python3 -m durability`, in the monitor's box: DURABILITY=region|local, REGIONS='eu=db1,db2 us=db3,db4'.

Looks five times a second, and writes a line for each change. The file /run/durability is as old as its last look.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from durability.policy import Durability, Node, changes, is_given_up, lost_region, quorum, read_regions

PERIOD_S = 0.2
LOOKED = Path("/run/durability")
# A region is given up (durability local) when all of it has been silent for so long: what only it has is lost.
LOST_AFTER_S = 0.5
LINGER_S = 3.0
# The monitor's database has no encoding of its own.
MONITOR = "host=/run/postgresql dbname=pg_auto_failover connect_timeout=2 client_encoding=utf8"
# Well is also who has just reported, whatever the last check says: so does pg_auto_failover see it.
NODES = """
SELECT nodename, reportedstate, goalstate,
  health = 1 OR reporttime > now() - current_setting('pgautofailover.node_considered_unhealthy_timeout')::interval,
  replicationquorum, nodeid, nodehost
FROM pgautofailover.node
"""
# Who follows the primary, and whether one whom a commit waits for has what had been committed at an earlier look.
FOLLOWERS = """
SELECT pg_current_wal_flush_lsn(), current_setting('synchronous_standby_names'),
  coalesce(array_agg(application_name::text) FILTER (WHERE state = 'streaming'), '{}'),
  coalesce(bool_or(flush_lsn >= %s::pg_lsn) FILTER (WHERE sync_state IN ('sync', 'quorum')), false)
FROM pg_stat_replication
"""
# The neighbour dies a moment before the primary does: the monitor has told it to go on without, and it never said that it
# does. pg_auto_failover elects nobody while a primary is on its way from one setting to another.
UNFINISHED = """
UPDATE pgautofailover.node SET goalstate = reportedstate
WHERE nodename = ANY(%s) AND reportedstate = 'primary' AND goalstate = 'wait_primary'
"""
# The primary has been notified of a change. (Where an election has just begun there is none, and set_node_replication_quorum goes on.)
NOTIFIED = "SELECT count(*) > 0 FROM pgautofailover.node WHERE goalstate = 'apply_settings'"
STANDBY_NAME = re.compile(r"pgautofailover_standby_(\d+)")


@dataclass(frozen=True)
class Followers:
    """What the primary says of those who follow it; they are known by the numbers that the monitor gave them."""

    position: str
    """Its own, in the log."""
    awaited: frozenset[int]
    """A commit waits for one of them."""
    streaming: frozenset[int]
    caught_up: bool
    """Whether one who is awaited has the log up to where the question said."""


def say(text: str) -> None:
    """A line for the box's log."""
    print(f"durability: {text}", flush=True)


class Primary:
    """A connection to the primary, as the auditor: he may see who follows it."""

    def __init__(self) -> None:
        self._host = ""
        self._connection: psycopg.Connection[Any] | None = None
        self._complaint = ""

    def ask(self, host: str, since: str) -> Followers | None:
        """Who follows it, and whether one who is awaited has the log up to `since`; None for no answer."""
        try:
            if self._connection is None or self._host != host:
                self._leave()
                self._connection, self._host = self._connect(host), host
            row = self._connection.execute(FOLLOWERS, (since,)).fetchone()
        except (psycopg.Error, OSError) as error:
            self._leave()
            self._complain(f"{host} does not say who follows it: {' '.join(str(error).split())}")
            return None
        self._complaint = ""
        assert row is not None  # an aggregate
        awaited = frozenset(map(int, STANDBY_NAME.findall(row[1])))
        streaming = frozenset(int(found[1]) for name in row[2] if (found := STANDBY_NAME.fullmatch(name)))
        return Followers(str(row[0]), awaited, streaming, bool(row[3]))

    def _connect(self, host: str) -> psycopg.Connection[Any]:
        password = os.environ["AUDITOR_PASSWORD"]
        address = f"host={host} dbname=postgres user=auditor password={password} connect_timeout=2 tcp_user_timeout=1000"
        return psycopg.connect(address, autocommit=True, options="-c statement_timeout=1000")

    def _complain(self, complaint: str) -> None:
        """Once for each reason."""
        if complaint != self._complaint:
            say(complaint)
        self._complaint = complaint

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Keeper:
    """Keeps the flags as the policy wants them."""

    def __init__(self, durability: Durability, regions: dict[str, str], monitor: psycopg.Connection[Any], home: str = "") -> None:
        self._durability = durability
        self._regions = regions
        self._monitor = monitor
        self._primary = Primary()
        self._settling_from = ""
        self._was_in_force = False
        self._in_reach_at: dict[str, float] = {}
        self._silent_since = 0.0
        self.home = home
        """The region of the last primary; it outlives the connection to the monitor, for a change may fail as the primary dies."""

    def look(self) -> None:
        """Look once, and do what there is to be done."""
        rows = self._monitor.execute(NODES).fetchall()
        nodes = [Node(row[0], self._regions.get(row[0], ""), row[1], row[2], row[3], row[4]) for row in rows]
        if len(nodes) < len(self._regions):
            return  # not all have joined
        self._never_block()
        primary = next((node for node in nodes if node.is_serving), None)
        if primary is not None:
            self.home = primary.region
        if primary is not None and primary.healthy:
            self._silent_since = 0.0
            names = {row[5]: row[0] for row in rows}
            self._follow(primary, [node for node in nodes if node is not primary], names, {row[0]: row[6] for row in rows})
        elif self._durability is Durability.LOCAL and self.home and lost_region(self.home, nodes):
            self._give_up(nodes)

    def _never_block(self) -> None:
        """With one too few standbys, pg_auto_failover shall go on; it chooses for itself to block, with several."""
        self._monitor.execute("UPDATE pgautofailover.formation SET number_sync_standbys = 0 WHERE number_sync_standbys <> 0")

    def _follow(self, primary: Node, standbys: list[Node], names: dict[int, str], hosts: dict[str, str]) -> None:
        followers = self._primary.ask(hosts[primary.name], self._settling_from or "0/0")
        if followers is None:
            return
        in_force = {names.get(number) for number in followers.awaited} == {node.name for node in standbys if node.in_quorum}
        self._settle(followers, in_force)
        if not primary.is_primary:
            return
        streaming = frozenset(names.get(number, "") for number in followers.streaming)
        wanted = quorum(self._durability, primary, standbys, streaming, self._lingering(standbys, streaming))
        if wanted is not None and (changed := changes([primary, *standbys], wanted)):
            self._change(primary, changed, wanted)

    def _lingering(self, standbys: list[Node], streaming: frozenset[str]) -> frozenset[str]:
        """Who was in reach until a moment ago: a busy machine is not to have the settings changed again and again."""
        now = time.monotonic()
        for node in standbys:
            if node.is_secondary and node.name in streaming:
                self._in_reach_at[node.name] = now
        return frozenset(name for name, at in self._in_reach_at.items() if now - at < LINGER_S)

    def _settle(self, followers: Followers, in_force: bool) -> None:
        """A change is through when one of the new ones has everything that was committed until it was in force."""
        # From the second look on: a process of the primary may take a moment to read what is in force.
        was_in_force, self._was_in_force = self._was_in_force, in_force
        if self._is_settled() or not (in_force and was_in_force):
            self._settling_from = ""
        elif not self._settling_from:
            self._settling_from = followers.position
        elif followers.caught_up:
            self._monitor.execute("UPDATE public.durability SET settled = true")
            say(f"settled: one of them has all until {self._settling_from}")
            self._settling_from = ""

    def _change(self, primary: Node, changed: Any, wanted: frozenset[str]) -> None:
        self._settling_from, self._was_in_force = "", False
        with self._monitor.transaction():
            self._monitor.execute("UPDATE public.durability SET settled = false")
            for name, value in changed.items():
                self._monitor.execute("SELECT pgautofailover.set_node_replication_quorum('default', %s, %s)", (name, value))
            # Where there is no primary any more, the change would never be settled, and no election would be allowed.
            is_notified = self._is_true(NOTIFIED)
            if not is_notified:
                raise psycopg.Rollback
        if is_notified:
            say(f"a commit on {primary.name} waits for one of {', '.join(sorted(wanted))}")

    def _give_up(self, nodes: list[Node]) -> None:
        """Durability local: the election must not wait for the region that is lost."""
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since < LOST_AFTER_S or is_given_up(self.home, nodes, self._is_settled()):
            return
        lost = [node.name for node in nodes if node.region == self.home]
        with self._monitor.transaction():
            self._monitor.execute("UPDATE pgautofailover.node SET replicationquorum = (nodename <> ALL(%s))", (lost,))
            self._monitor.execute(UNFINISHED, (lost,))
            self._monitor.execute("UPDATE public.durability SET settled = true")
        say(f"region {self.home} is lost: nobody waits for {', '.join(lost)}, and what only they have is lost")

    def _is_settled(self) -> bool:
        """Whether the last change of the flags has gone all the way."""
        return self._is_true("SELECT settled FROM public.durability")

    def _is_true(self, question: str) -> bool:
        row = self._monitor.execute(question).fetchone()
        return row is not None and bool(row[0])


def main() -> None:
    """Look for ever; begin anew whenever the monitor has gone."""
    durability, regions = Durability(os.environ["DURABILITY"]), read_regions(os.environ["REGIONS"])
    say(f"{durability}; {os.environ['REGIONS']}")
    home = ""
    while True:
        try:
            with psycopg.connect(MONITOR, autocommit=True) as monitor:
                keeper = Keeper(durability, regions, monitor, home)
                while True:
                    keeper.look()
                    LOOKED.touch()
                    home = keeper.home
                    time.sleep(PERIOD_S)
        except psycopg.Error as error:
            print(f"durability: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            time.sleep(PERIOD_S)


if __name__ == "__main__":
    main()
