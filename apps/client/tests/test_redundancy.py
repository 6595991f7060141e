"""Whom each part of a system can count on, of servers that answer, hang and die."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client import neighbours, observer, redundancy, status
from client.observer import AnswerWatch, RowWatch
from client.redundancy import MonitorWatch, RedundancyObserver, StatisticsWatch

from . import postgres
from .loopback import say_and_hang_up, serving
from .postgres import INT8, JSON, TEXT, Postgres
from .test_status import TABLE

ENTRY = "198.18.0.10"
ORDER: dict[str, Any] = {
    "databases": {"db1": "198.18.3.31", "db2": "198.18.3.32"},
    "balancers": {"lb1": "198.18.0.11", "lb2": "198.18.0.12"},
    "entry": ENTRY,
    "statistics": {"lb1": "198.18.0.11", "lb2": "198.18.0.12"},
    "monitor": "198.18.3.40",
}
FOLLOWER = {"address": "198.18.2.32", "streams": True, "synchronous": True}
NODES = {"db1": {"state": "primary", "healthy": True, "promotable": False, "votes": False}}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What each address answers; it can be changed. Of neighbours nothing is known."""
    monkeypatch.setattr(neighbours, "TABLE", tmp_path / "arp")
    all_is_well: dict[str, Any] = {
        "198.18.3.31": ("primary", 1, 1, [FOLLOWER]),
        "198.18.3.32": ("standby", 0, 0, []),
        "198.18.3.40": (0, NODES),
        "198.18.0.11": "lb1",
        "198.18.0.12": "lb1",
        ENTRY: "lb1",
        "table": {"web1": True, "web2": False},
    }

    async def ask(watch: RowWatch | AnswerWatch) -> Any:
        if all_is_well[watch.host] is None:
            raise TimeoutError
        return all_is_well[watch.host]

    async def table(host: str) -> dict[str, bool] | None:
        return all_is_well["table"] if all_is_well[host] else None

    monkeypatch.setattr(RowWatch, "_ask", ask)
    monkeypatch.setattr(AnswerWatch, "_ask", ask)
    monkeypatch.setattr(redundancy, "backends", table)
    return all_is_well


def look(watching: RedundancyObserver, at_s: float = 0.0) -> dict[tuple[str, str], dict[str, Any]]:
    """Have everything looked at, asked at an instant and answered 5 ms later; what is found by that."""

    async def all_look() -> None:
        for watch in (*watching.watches, *watching.more):
            await watch.look()
            watch.claim.asked_ns, watch.claim.answered_ns = round(at_s * 1e9), round(at_s * 1e9) + 5_000_000

    asyncio.run(all_look())
    return {(each["kind"], each["name"]): each for each in watching.findings()}


def test_everybody_is_asked_what_is_his_to_say(answers: dict[str, Any]) -> None:
    found = look(RedundancyObserver(ORDER, ""))
    assert {key: each["said"] for key, each in found.items()} == {
        ("database", "db1"): {"state": "primary", "followers": [FOLLOWER]},
        ("database", "db2"): {"state": "standby", "followers": []},
        ("balancer", "lb1"): {"answers": True, "holds": True},
        ("balancer", "lb2"): {"answers": True, "holds": False},
        ("statistics", "lb1"): {"web1": True, "web2": False},
        ("statistics", "lb2"): {"web1": True, "web2": False},
        ("monitor", "monitor"): {"needed": 0, "nodes": NODES},
    }


def test_view_beside_it_is_the_observers(answers: dict[str, Any]) -> None:
    watching = RedundancyObserver(ORDER, "")
    look(watching)
    look(watching)
    assert watching.view() == {
        "databases": {"db1": "primary", "db2": "standby"},
        "standbys": 1,
        "synchronous": 1,
        "vip_claimants": ["lb1"],
        "serving": ["lb1", "lb2"],
        "vip_owner": "lb1",
        "vip_leads_to": "",
    }


def test_nothing_is_said_of_whom_no_question_was_settled(answers: dict[str, Any]) -> None:
    assert RedundancyObserver(ORDER, "").findings() == []


def test_only_what_changes_is_said_and_an_answer_is_dated_when_it_came(answers: dict[str, Any]) -> None:
    watching = RedundancyObserver(ORDER, "")
    look(watching, at_s=1)
    assert look(watching, at_s=2) == {}
    answers["198.18.3.31"] = ("primary", 0, 0, [])
    changed = look(watching, at_s=3)
    assert list(changed) == [("database", "db1")]
    assert changed["database", "db1"]["at_ns"] == 3_005_000_000


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("198.18.3.31", ("database", "db1"), {"state": "unreachable", "followers": []}),
        ("198.18.3.40", ("monitor", "monitor"), None),
        ("198.18.0.12", ("balancer", "lb2"), {"answers": False, "holds": False}),
        ("198.18.0.12", ("statistics", "lb2"), None),
    ],
)
def test_silence_is_dated_when_the_question_was_put(answers: dict[str, Any], host: str, key: tuple[str, str], said: Any) -> None:
    watching = RedundancyObserver(ORDER, "")
    look(watching, at_s=1)
    before, answers[host] = answers[host], None
    silent = look(watching, at_s=2)[key]
    assert (silent["said"], silent["at_ns"]) == (said, 2_000_000_000)
    assert key not in look(watching, at_s=3)
    answers[host] = before
    assert look(watching, at_s=4)[key]["at_ns"] == 4_005_000_000


def test_route_leads_to_who_has_the_address_where_all_announce_it(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = RedundancyObserver({**ORDER, "announced": True}, "")
    for hop, name in (("198.18.0.12", "lb2"), (None, "")):
        monkeypatch.setattr(observer, "next_hop", lambda _address, hop=hop: hop)
        assert look(watching)["route", "route"]["said"] == {"name": name}


def test_database_that_stands_alone_is_asked_and_is_no_part_of_a_sight(answers: dict[str, Any]) -> None:
    order = {"databases": {}, "balancers": {}, "entry": ENTRY, "statistics": {"lb": ENTRY}, "alone": {"db": "198.18.3.31"}}
    watching = RedundancyObserver(order, "")
    found = look(watching)
    assert set(found) == {("database", "db"), ("statistics", "lb")}
    view = watching.view()
    assert view is not None
    assert view["databases"] == {}


# Real sockets


def test_monitor_is_asked_on_one_connection_until_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    async def looks(*between: Callable[[], object]) -> None:
        watch = MonitorWatch("127.0.0.1", "secret")
        for happens in between:
            happens()
            await watch.look()
            said.append(watch.said)

    with postgres.serving((1, json.dumps(NODES))) as server:
        server.columns = (("needed", INT8), ("nodes", JSON))
        monkeypatch.setenv("PGPORT", str(server.port))
        asyncio.run(looks(lambda: None, lambda: None, server.awake.clear, server.awake.set))
        assert server.connections == 2
    assert said == [{"needed": 1, "nodes": NODES}] * 2 + [None] + [{"needed": 1, "nodes": NODES}]


def test_balancer_is_asked_for_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(say_and_hang_up(b"HTTP/1.0 200 OK\r\n\r\n" + TABLE.encode())) as loopback:
        monkeypatch.setattr(status, "HEALTH_PORT", loopback.address[1])
        watch = StatisticsWatch(loopback.address[0])
        asyncio.run(watch.look())
    assert watch.said == {"web1": True, "web2": True, "web3": False, "web4": False}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    with postgres.serving(("primary", 1, 1, json.dumps([FOLLOWER]))) as server:
        server.columns = (("state", TEXT), ("standbys", INT8), ("synchronous", INT8), ("followers", JSON))
        monkeypatch.setenv("PGPORT", str(server.port))
        yield server


def test_as_the_lab_starts_it_it_prints_findings_beside_sights(database: Postgres) -> None:
    order = json.dumps({"databases": {"db1": "127.0.0.1"}, "balancers": {}, "entry": ENTRY, "statistics": {}, "monitor": ""})
    process = subprocess.Popen(
        [sys.executable, "-m", "client.redundancy", order],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AUDITOR_PASSWORD": "secret"},
        cwd=Path(observer.__file__).parent.parent,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        clocks, finding, view = (json.loads(process.stdout.readline()) for _ in range(3))
        process.stdin.close()
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.stdout.close()
    assert (clocks["event"], clocks["period_s"]) == ("clocks", observer.PERIOD_S)
    assert {key: finding[key] for key in ("event", "kind", "name", "said")} == {
        "event": "finding",
        "kind": "database",
        "name": "db1",
        "said": {"state": "primary", "followers": [FOLLOWER]},
    }
    assert clocks["monotonic_ns"] < finding["at_ns"] <= finding["clock_ns"] < view["clock_ns"]
    assert (view["event"], view["databases"], view["standbys"]) == ("view", {"db1": "primary"}, 1)
