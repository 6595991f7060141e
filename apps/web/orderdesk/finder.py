"""Which database is the primary, and which ones can be read.

After a failover two databases may believe that they are the primary: the promoted one, and the old one when it
comes back from a freeze. Each promotion begins a new timeline, so the higher timeline is right. It serves as a
fencing token (M. Kleppmann, "How to do distributed locking", 2016): here it is called the epoch.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from orderdesk.config import Config
from orderdesk.connection import BoundedConnection, ConnectionLost, Host

logger = logging.getLogger(__name__)

# A process that has just started gives the databases that it has not heard yet so long to contradict the first.
GRACE_S = 0.05
# Who answers in hundredths of a second is in the same place; a busy machine makes no difference.
NEARNESS_DIGITS = 2
# A standby that lacks what the primary had so long before it was last heard shows the past: it follows nobody, or an old primary.
LAG_MAX_S = 1.0

# A primary that is still being promoted is read-only. The name of its present WAL file begins with its timeline;
# pg_control_checkpoint would show the new one only after the next checkpoint.
STATE = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
  coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0', 0)::bigint
"""


@dataclass(frozen=True)
class State:
    """What a database says of itself."""

    in_recovery: bool
    read_only: bool
    timeline: int
    """0 for a standby: it follows."""
    position: int = 0
    """How much of the log a primary has written, a standby replayed, in bytes."""

    def superseded(self, epoch: int) -> bool:
        """Whether it is an old primary."""
        return not self.in_recovery and self.timeline < epoch

    def __str__(self) -> str:
        if self.in_recovery:
            return "standby"
        return f"{'read-only' if self.read_only else 'primary'} on timeline {self.timeline}"


@dataclass(frozen=True)
class Primary:
    """The database that accepts writes, and the epoch in which it does: a higher one supersedes it."""

    host: Host
    epoch: int


class Finder(Protocol):
    """Says which database to use."""

    epoch: int
    """The highest timeline on which a database has accepted writes; 0 where there is only one database."""

    def await_primary(self, deadline: float) -> Primary:
        """The primary. Raises ConnectionLost when there is none by `deadline` (seconds on the monotonic clock)."""

    def await_readable(self, deadline: float) -> list[Host]:
        """The databases that answer, the best to read first, at least one.

        Raises ConnectionLost when there is none by `deadline` (seconds on the monotonic clock).
        """

    def doubt(self, host: Host) -> None:
        """Take it that this database does not answer, until it does."""

    def close(self) -> None:
        """Stop looking."""


class OnlyHost:
    """The finder of a single database: there is nothing to find."""

    def __init__(self, host: Host) -> None:
        self.epoch = 0
        self._host = host

    def await_primary(self, deadline: float) -> Primary:
        """The database, whatever it is."""
        return Primary(self._host, self.epoch)

    def await_readable(self, deadline: float) -> list[Host]:
        """The database, whether it answers or not."""
        return [self._host]

    def doubt(self, host: Host) -> None:
        """Nothing: there is no other."""

    def close(self) -> None:
        """Nothing."""


class View:
    """What is known of one database."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.asked = False
        """Whether it has ever answered, or failed to."""
        self.answers = False
        self.state: State | None = None
        """As last heard."""
        self.nearest_s = math.inf
        """The quickest of its answers: how far away it is."""
        self._said = ""

    def readable(self, epoch: int) -> bool:
        """Whether it answers, and is no old primary."""
        return self.answers and self.state is not None and not self.state.superseded(epoch)

    def writable(self, epoch: int) -> bool:
        """Whether it answers, and is the primary of this epoch."""
        return self.readable(epoch) and self.state is not None and not self.state.read_only

    def note(self, state: State | None, epoch: int) -> None:
        """Take down its answer: None for no answer."""
        self.asked, self.answers, self.state = True, state is not None, state or self.state
        said = str(state or "no answer") + (", superseded" if state and state.superseded(epoch) else "")
        if said != self._said:
            logger.warning("database %s: %s", self.host.name, said)
        self._said = said


class Progress:
    """How far the primary of the highest epoch had come."""

    def __init__(self) -> None:
        self._epoch = 0
        self._followed_another = False
        """Whether there was a primary before this one, whom a standby may still follow."""
        self._heard: deque[tuple[float, int]] = deque()

    def note(self, epoch: int, position: int, now: float) -> None:
        """Take down what the primary of this epoch says; `now` in seconds on the monotonic clock."""
        if epoch > self._epoch:
            self._heard.clear()
            self._followed_another = self._epoch > 0
        self._epoch = epoch
        self._heard.append((now, position))
        while len(self._heard) > 1 and self._heard[1][0] <= now - LAG_MAX_S:
            self._heard.popleft()

    def shows_past(self, state: State) -> bool:
        """Whether a standby lacks what the primary had `LAG_MAX_S` before it was last heard, or when it was first heard after
        another one: who follows that one still does not know what is ordered now. (A dead primary's last moments may have
        come to nobody.)
        """
        if not (state.in_recovery and self._heard):
            return False
        (at, position), (last_at, _) = self._heard[0], self._heard[-1]
        return (self._followed_another or at <= last_at - LAG_MAX_S) and state.position < position

    def is_old(self, now: float) -> bool:
        """Whether the primary has been silent for so long that the past is better than nothing."""
        return not self._heard or self._heard[-1][0] < now - LAG_MAX_S


class PrimaryFinder:
    """Asks each database, in a thread each, what it is: every `find_period_s`, or `search_period_s` while none is
    the primary.

    One that did not answer, or was doubted, is not used until it answers again. A standby that shows the past is read only
    where nothing else can be, and the primary is not just slow.
    """

    def __init__(self, hosts: list[Host], connection: type[BoundedConnection], config: Config) -> None:
        self._connection = connection
        self._config = config
        self._changed = Condition()
        self._views = {host: View(host) for host in hosts}
        self.epoch = 0
        self._progress = Progress()
        self._first_answer_at: float | None = None
        self._primary: Primary | None = None
        self._readable: list[Host] = []
        self._closed = False
        self._watchers = [
            Thread(target=self._watch, args=(view,), name=f"watch {host.name}", daemon=True) for host, view in self._views.items()
        ]
        for watcher in self._watchers:
            watcher.start()

    def close(self) -> None:
        """Stop asking."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher.join()  # it waits for nothing longer than the connect timeout or `find_deadline_s`

    def await_primary(self, deadline: float) -> Primary:
        """The primary. Raises ConnectionLost when there is none by `deadline` (seconds on the monotonic clock)."""
        with self._changed:
            self._changed.wait_for(lambda: self._primary, deadline - monotonic())
            if self._primary is None:
                raise ConnectionLost("no database accepts writes")
            return self._primary

    def await_readable(self, deadline: float) -> list[Host]:
        """The databases that answer, the primary first.

        Raises ConnectionLost when there is none by `deadline` (seconds on the monotonic clock).
        """
        with self._changed:
            self._changed.wait_for(lambda: self._readable, deadline - monotonic())
            if not self._readable:
                raise ConnectionLost("no database answers")
            return self._readable

    def doubt(self, host: Host) -> None:
        """Take it that this database does not answer, until it does."""
        with self._changed:
            self._views[host].answers = False
            self._conclude()

    def _watch(self, view: View) -> None:
        while not self._closed:
            try:
                self._converse(view)
            except Exception as error:
                # Whatever it was: the database must be asked again.
                logger.debug("database %s: %s", view.host.name, error)
                self._note(view, None)
                self._rest()

    def _converse(self, view: View) -> None:
        with closing(self._connection.connect(view.host.conninfo, autocommit=True)) as conn:
            while not self._closed:
                self._note(view, self._ask(view, conn))
                self._rest()

    def _ask(self, view: View, conn: BoundedConnection) -> State:
        asked_at = monotonic()
        conn.deadline = asked_at + self._config.find_deadline_s
        row = conn.execute(STATE).fetchone()
        assert row is not None
        view.nearest_s = min(view.nearest_s, monotonic() - asked_at)
        return State(*row)

    def _note(self, view: View, state: State | None) -> None:
        with self._changed:
            if state is not None:
                self._first_answer_at = self._first_answer_at or monotonic()
                self.epoch = self.epoch if state.read_only else max(self.epoch, state.timeline)
            view.note(state, self.epoch)
            if state is not None and view.writable(self.epoch):
                self._progress.note(self.epoch, state.position, monotonic())
            self._conclude()

    def _rest(self) -> None:
        asked_at = monotonic()
        with self._changed:
            # The period changes when the primary is lost or doubted: then it is time sooner.
            while not self._closed and (left_s := asked_at + self._period_s() - monotonic()) > 0:
                self._changed.wait(left_s)

    def _period_s(self) -> float:
        return self._config.find_period_s if self._primary else self._config.search_period_s

    def _conclude(self) -> None:
        views = self._useful([view for view in self._views.values() if view.readable(self.epoch)]) if self._settled() else []
        views.sort(key=self._rank)
        primary = Primary(views[0].host, self.epoch) if views and views[0].writable(self.epoch) else None
        readable = [view.host for view in views]
        if (primary, readable) != (self._primary, self._readable):
            self._primary, self._readable = primary, readable
            self._changed.notify_all()

    def _useful(self, views: list[View]) -> list[View]:
        fresh = [view for view in views if view.state and not self._progress.shows_past(view.state)]
        return fresh if fresh or not self._progress.is_old(monotonic()) else views

    def _rank(self, view: View) -> tuple[bool, bool, int, float]:
        """The primary first, then one that is about to be it, then standbys: who has most, and of equals who is near.

        Only one standby may have what was ordered last, and where nobody writes, none gets ahead by being asked later.
        """
        state = view.state or State(in_recovery=True, read_only=True, timeline=0)
        position = state.position if state.in_recovery else 0
        return not view.writable(self.epoch), state.in_recovery, -position, round(view.nearest_s, NEARNESS_DIGITS)

    def _settled(self) -> bool:
        if all(view.asked for view in self._views.values()):
            return True
        return self._first_answer_at is not None and monotonic() >= self._first_answer_at + GRACE_S


def finder_for(hosts: list[Host], connection: type[BoundedConnection], config: Config) -> Finder:
    """What finds the database to use: nothing needs to where there is one."""
    return PrimaryFinder(hosts, connection, config) if len(hosts) > 1 else OnlyHost(hosts[0])
