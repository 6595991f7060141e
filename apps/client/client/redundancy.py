"""What the failures tolerated rest on: the observer, and beside what it sees, which others each part of the system can count on.

`python -m client.redundancy CONFIG` prints what `python -m client.observer` prints and, for each change of what a part reports,

    {"event": "finding", "clock_ns": ..., "at_ns": ..., "kind": "database", "name": "db1", "said": {"state": "primary", "followers": [...]}}

The configuration is the observer's with three more: `statistics`, the addresses at which balancers say where they send requests;
`monitor`, the address of the monitor; `alone`, databases that have no other beside them. The kinds are

    database    its state and followers: their addresses, and whether each streams and is synchronous
    balancer    whether it answers, and whether it claims the VIP
    route       the balancer that this box's route to the VIP leads to, where all of them announce it
    statistics  for each web box that a balancer knows, whether it sends requests to it; null: no answer
    monitor     what the monitor says of each database, and how many standbys a commit needs for good; null: no answer

`clock_ns` is when the line was written, on the clock of `at_ns`. Each is asked as often as the observer asks. An answer is
dated when it came. A silence is dated when the question was put that found it: it takes half a second to be sure of, and it
has been one since then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

from client.observer import FOLLOWERS_QUERY, AnswerWatch, Claim, DatabaseWatch, Observer, RowWatch, Watch, main
from client.status import MONITOR_QUERY, backends

SILENT = "unreachable"
Said = dict[str, Any] | None


@dataclass
class StatisticsWatch:
    """The web boxes that a balancer knows, and whether it sends requests to each; None while it does not answer."""

    host: str
    said: dict[str, bool] | None = None
    claim: Claim = field(default_factory=Claim)

    async def look(self) -> None:
        """Ask once."""
        self.said = await backends(self.host)
        self.claim.say(self.said is not None)


@dataclass
class MonitorWatch(RowWatch):
    """What the monitor says of the databases; None while it does not answer."""

    query: str = MONITOR_QUERY
    said: Said = None
    database: ClassVar[str] = "pg_auto_failover"

    async def look(self) -> None:
        """Ask once."""
        row = await self.answer()
        self.said = {"needed": row[0], "nodes": row[1]} if row else None
        self.claim.say(row is not None)


class RedundancyObserver(Observer):
    """The observer, and which others each part of the system can count on."""

    def __init__(self, order: dict[str, Any], password: str) -> None:
        super().__init__(order, password)
        for watch in self._databases.values():
            watch.query = FOLLOWERS_QUERY
        self._alone = {name: DatabaseWatch(host, password) for name, host in order.get("alone", {}).items()}
        self._statistics = {name: StatisticsWatch(host) for name, host in order.get("statistics", {}).items()}
        self._monitors = {"monitor": MonitorWatch(order["monitor"], password)} if order.get("monitor") else {}
        self._known: dict[tuple[str, str], Said] = {}

    @property
    def more(self) -> list[Watch]:
        """What is looked at beside what the observer looks at."""
        return [*self._alone.values(), *self._statistics.values(), *self._monitors.values()]

    def findings(self) -> list[dict[str, Any]]:
        """What has changed since this was last asked: what each part reports, and since when."""
        found = []
        for kind, name, said, silent, claim in self._said():
            if claim.answered_ns and ((kind, name) not in self._known or self._known[kind, name] != said):
                self._known[kind, name] = said
                found.append({"at_ns": claim.asked_ns if silent else claim.answered_ns, "kind": kind, "name": name, "said": said})
        return found

    def _said(self) -> list[tuple[str, str, Said, bool, Claim]]:
        """What each says, and whether that is nothing at all."""
        databases = (self._databases | self._alone).items()
        routes = [self._route] if self._route else []
        return [
            *(("database", name, _of_database(each), each.state == SILENT, each.claim) for name, each in databases),
            *(("balancer", name, _of_balancer(each), not each.name, each.claim) for name, each in self._balancers.items()),
            *(("route", "route", {"name": each.name}, not each.name, each.claim) for each in routes),
            *(("statistics", name, each.said, each.said is None, each.claim) for name, each in self._statistics.items()),
            *(("monitor", name, each.said, each.said is None, each.claim) for name, each in self._monitors.items()),
        ]


def _of_database(watch: DatabaseWatch) -> Said:
    return {"state": watch.state, "followers": watch.followers}


def _of_balancer(watch: AnswerWatch) -> Said:
    return {"answers": bool(watch.name), "holds": bool(watch.name) and watch.name == watch.own_name}


if __name__ == "__main__":
    asyncio.run(main(RedundancyObserver))
