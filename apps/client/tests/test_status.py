"""One look at everything, of servers on loopback that answer, hang and die."""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from client import neighbours, observer, status
from client.observer import ANSWER_TIMEOUT_S, AnswerWatch, DatabaseWatch
from client.status import ask, backends, read_backends

from . import postgres
from .loopback import Behaviour, reset, say, say_and_hang_up, say_nothing, serving
from .postgres import FLOAT8, INT8, JSON, Postgres

AT_ONCE_S = 1.0
COLUMNS = (("position", INT8), ("unreplayed_bytes", INT8), ("replayed_age_s", FLOAT8), ("followers", JSON))
FOLLOWER = {"address": "198.18.2.32", "streams": True, "synchronous": True, "lag_bytes": 120}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A database at the port where one is looked for."""
    with postgres.serving((1000, 20, None, json.dumps([FOLLOWER]))) as server:
        server.columns = COLUMNS
        monkeypatch.setenv("PGPORT", str(server.port))
        yield server


def asked() -> dict[str, Any] | None:
    return asyncio.run(ask("127.0.0.1", "postgres", status.POSITION_QUERY, "secret"))


def test_answer_comes_by_column(database: Postgres) -> None:
    assert asked() == {"position": 1000, "unreplayed_bytes": 20, "replayed_age_s": None, "followers": [FOLLOWER]}
    assert database.connections == 1


@pytest.mark.parametrize("from_the_start", [True, False])
def test_database_that_is_frozen_is_given_up_after_half_a_second(database: Postgres, from_the_start: bool) -> None:
    database.mute_from_the_start = from_the_start
    database.awake.clear()
    since = monotonic()
    assert asked() is None
    assert ANSWER_TIMEOUT_S <= monotonic() - since < ANSWER_TIMEOUT_S + AT_ONCE_S


def test_database_that_is_gone_has_no_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.serving() as server:
        monkeypatch.setenv("PGPORT", str(server.port))
    since = monotonic()
    assert asked() is None
    assert monotonic() - since < AT_ONCE_S


# Balancers

TABLE = """# pxname,svname,qcur,status,weight
entry,FRONTEND,,OPEN,
reads,web1,0,UP,1
reads,web2,0,UP 1/2,1
reads,web3,0,DOWN,1
reads,web4,0,UP,1
reads,BACKEND,0,UP,3
writes,web1,0,UP,1
writes,web2,0,UP,1
writes,web3,0,DOWN (via reads/web3),1
writes,web4,0,MAINT,1
writes,BACKEND,0,UP,2
ready,web1,0,DOWN,1
ready,web5,0,UP,1
holder,holder,0,no check,1
"""


def table(behave: Behaviour, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bool] | None, float]:
    with serving(behave) as loopback:
        monkeypatch.setattr(status, "HEALTH_PORT", loopback.address[1])
        since = monotonic()
        return asyncio.run(backends(loopback.address[0])), monotonic() - since


def test_balancer_uses_the_web_boxes_that_are_up_wherever_it_lists_them() -> None:
    assert read_backends(TABLE) == {"web1": True, "web2": True, "web3": False, "web4": False}


def test_balancer_is_asked_for_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = say_and_hang_up(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + TABLE.encode())
    assert table(answer, monkeypatch)[0] == read_backends(TABLE)


def test_balancer_is_asked_with_the_password_of_those_who_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_PASSWORD", "counts-are-kept")
    heard: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        heard.append(request)
        say_and_hang_up(b"HTTP/1.0 200 OK\r\n\r\n" + TABLE.encode())(connection, request)

    assert table(answer, monkeypatch)[0] == read_backends(TABLE)
    assert f"Authorization: Basic {b64encode(b'metrics:counts-are-kept').decode()}\r\n".encode() in heard[0]


@pytest.mark.parametrize(
    "behave",
    [
        reset,
        say_and_hang_up(b""),
        say_and_hang_up(b"HTTP/1.0 503 Service Unavailable\r\n\r\nno"),
        say_and_hang_up(b"not HTTP"),
        *(say_and_hang_up(b"HTTP/1.0 200 OK\r\n\r\n" + TABLE.encode()[:length]) for length in (0, 20, 60, 66)),
    ],
)
def test_balancer_without_a_table_has_no_answer_at_once(monkeypatch: pytest.MonkeyPatch, behave: Behaviour) -> None:
    found, took_s = table(behave, monkeypatch)
    assert found is None
    assert took_s < ANSWER_TIMEOUT_S


@pytest.mark.parametrize("behave", [say_nothing, say(b"HTTP/1.0 200 OK\r\n\r\n# pxname,svname,status\n")])
def test_balancer_that_hangs_is_given_up_after_half_a_second(monkeypatch: pytest.MonkeyPatch, behave: Behaviour) -> None:
    found, took_s = table(behave, monkeypatch)
    assert found is None
    assert ANSWER_TIMEOUT_S <= took_s < ANSWER_TIMEOUT_S + AT_ONCE_S


# All together

ORDER: dict[str, Any] = {
    "databases": {"db1": "198.18.3.31", "db2": "198.18.3.32"},
    "balancers": {"lb1": "198.18.0.11", "lb2": "198.18.0.12"},
    "entry": "198.18.0.10",
    "statistics": {"lb1": "198.18.0.11", "lb2": "198.18.0.12"},
    "monitor": "198.18.3.40",
}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What each address answers, and how often each was looked at (`times`). Of neighbours nothing is known."""
    monkeypatch.setattr(neighbours, "TABLE", tmp_path / "arp")
    answers: dict[str, Any] = {
        "198.18.3.31": ("primary", 1, 1),
        "198.18.3.32": ("standby", 0, 0),
        "198.18.0.11": "lb1",
        "198.18.0.12": "lb1",
        "198.18.0.10": "lb1",
        "198.18.3.40": {"needed": 0, "nodes": {}},
        "times": {},
    }

    async def look(watch: DatabaseWatch | AnswerWatch) -> Any:
        answers["times"][watch.host] = answers["times"].get(watch.host, 0) + 1
        if answers[watch.host] is None:
            await asyncio.sleep(60)
        return answers[watch.host]

    async def answer(host: str, name: str, _query: str, _password: str) -> dict[str, Any] | None:
        return {"of": name} if answers[host] else None

    async def servers(host: str) -> dict[str, bool] | None:
        return {"web1": True} if answers[host] else None

    monkeypatch.setattr(DatabaseWatch, "_ask", look)
    monkeypatch.setattr(AnswerWatch, "_ask", look)
    monkeypatch.setattr(status, "ask", answer)
    monkeypatch.setattr(status, "backends", servers)
    return answers


def test_everybody_is_asked_what_is_his_to_say(looks: dict[str, Any]) -> None:
    found = asyncio.run(status.status(ORDER, ""))
    assert found["view"].pop("clock_ns") > 0
    assert found == {
        "view": {
            "databases": {"db1": "primary", "db2": "standby"},
            "standbys": 1,
            "synchronous": 1,
            "vip_claimants": ["lb1"],
            "serving": ["lb1", "lb2"],
            "vip_owner": "lb1",
            "vip_leads_to": "",
        },
        "databases": {"db1": {"of": "postgres"}, "db2": {"of": "postgres"}},
        "backends": {"lb1": {"web1": True}, "lb2": {"web1": True}},
        "monitor": {"of": "pg_auto_failover"},
        "alone": {},
    }


def test_two_primaries_and_two_holders_are_seen_in_the_one_look(looks: dict[str, Any]) -> None:
    looks |= {"198.18.3.32": ("primary", 0, 0), "198.18.0.12": "lb2"}
    seen = asyncio.run(status.status(ORDER, ""))["view"]
    assert seen["databases"] == {"db1": "primary", "db2": "primary"}
    assert seen["vip_claimants"] == ["lb1", "lb2"]


def test_a_box_that_does_not_answer_is_asked_once_and_delays_no_other(looks: dict[str, Any]) -> None:
    frozen = ("198.18.3.31", "198.18.3.32", "198.18.0.11", "198.18.3.40")
    looks |= dict.fromkeys(frozen)
    since = monotonic()
    found = asyncio.run(status.status(ORDER, ""))
    assert monotonic() - since < observer.ANSWER_TIMEOUT_S + AT_ONCE_S
    assert [looks["times"][host] for host in frozen[:3]] == [1, 1, 1]
    assert found["view"]["databases"] == {"db1": "unreachable", "db2": "unreachable"}
    assert found["view"]["serving"] == ["lb2"]
    assert (found["databases"]["db1"], found["backends"]["lb1"], found["monitor"]) == (None, None, None)


@pytest.mark.parametrize(("answer", "state"), [(("read-only", 0, 0), "read-only"), (None, "unreachable")])
def test_stage_with_one_balancer_and_one_database_is_asked_for_its_web_boxes_and_that(
    looks: dict[str, Any], answer: tuple[str, int, int] | None, state: str
) -> None:
    looks["198.18.3.31"] = answer
    found = asyncio.run(status.status({"statistics": {"lb": "198.18.0.10"}, "alone": {"db": "198.18.3.31"}}, ""))
    assert (found["backends"], found["databases"], found["monitor"]) == ({"lb": {"web1": True}}, {}, None)
    assert found["alone"] == {"db": state}
    assert looks["times"] == {"198.18.3.31": 1}
