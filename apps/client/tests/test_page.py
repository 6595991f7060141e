from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from client.http import RequestFailed, Response
from client.page import Name, Page, Wanted, judge
from client.schedule import Intent

from .loopback import Behaviour, Loopback, reply, reset, say, say_and_hang_up, say_nothing, serving

DEADLINE_S = 1.0
READ = Intent(number=1, at_s=0.0, write=False, new_connection=False, pick=0.0)
WANTED = Wanted("/page?a=b", "web:8080", "hello")
GOOD = reply(200, "hello", "X-Balancer: lb")


def page(loopback: Loopback, deadline_s: float = DEADLINE_S) -> Page:
    name = Name(*loopback.address)
    name.look()
    return Page(name, WANTED, deadline_s)


def seen(behave: Behaviour, deadline_s: float = DEADLINE_S) -> tuple[str, str]:
    with serving(behave) as loopback:
        found = page(loopback, deadline_s).perform(READ, monotonic())
        return found.kind, found.outcome


@pytest.mark.parametrize(
    ("status", "body", "contains", "kind"),
    [
        (200, b"say hello there", "hello", "ok"),
        (206, b"hello", "", "ok"),
        (204, b"", "", "ok"),
        (200, b"bye", "hello", "wrong-body"),
        (200, "grüße".encode(), "grüß", "ok"),
        (301, b"hello", "hello", "http-301"),
        (404, b"hello", "hello", "http-404"),
        (503, b"hello", "", "http-503"),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, contains: str, kind: str) -> None:
    found = judge(contains, Response(status, {"x-served-by": "web2"}, body))
    assert (found.kind, found.outcome) == (kind, "ok" if kind == "ok" else "fail")
    assert (found.status, found.by, found.via) == (status, "web2", "")


def test_read_asks_for_the_page_and_keeps_the_connection() -> None:
    with serving(say(GOOD)) as loopback:
        user = page(loopback)
        for _ in range(3):
            found = user.perform(READ, monotonic())
            assert (found.kind, found.by, found.via) == ("ok", "web1", "lb")
        assert loopback.connections == 1
        assert loopback.requests[0].startswith(b"GET /page?a=b HTTP/1.1\r\nHost: web:8080\r\n")
        user.perform(replace(READ, new_connection=True), monotonic())
        assert loopback.connections == 2
        assert user.key(READ) == ""


@pytest.mark.parametrize(
    ("behave", "kind"),
    [(reset, "reset"), (say_and_hang_up(b""), "closed"), (say_nothing, "timeout"), (say(reply(500)), "http-500")],
)
def test_what_goes_wrong_has_its_class(behave: Behaviour, kind: str) -> None:
    assert seen(behave, 0.1) == (kind, "fail")


def test_server_of_the_old_kind_is_never_asked_twice_on_a_connection() -> None:
    old = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    with serving(say_and_hang_up(old)) as loopback:
        user = page(loopback)
        assert [user.perform(READ, monotonic()).kind for _ in range(5)] == ["ok"] * 5
        assert loopback.connections == 5


def test_a_name_that_does_not_resolve_is_a_failure_of_its_own() -> None:
    name = Name("nobody.invalid", 80)
    with pytest.raises(RequestFailed, match="connect-unresolved"):
        name.choose()
    assert Page(name, WANTED, DEADLINE_S).perform(READ, monotonic()).kind == "connect-unresolved"


def test_addresses_of_a_name_have_their_turns_and_outlive_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [["10.0.0.2", "10.0.0.1", "10.0.0.2"], OSError("gone"), ["10.0.0.3"]]

    def answer(*_: object) -> list[Any]:
        now = answers.pop(0)
        if isinstance(now, OSError):
            raise now
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in now]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    name = Name("web", 80)
    for _ in range(2):  # the second time nobody knows it
        name.look()
        assert {name.choose() for _ in range(4)} == {("10.0.0.1", 80), ("10.0.0.2", 80)}
    name.look()
    assert name.choose() == ("10.0.0.3", 80)


def test_command_reads_once_and_says_what_became_of_it() -> None:
    with serving(say(GOOD)) as loopback:
        order: dict[str, Any] = {"address": loopback.address, "page": {"path": "/", "host": "web", "contains": "hello"}}
        assert asked(order) == (0, "ok")
        order["page"]["contains"] = "bye"
        assert asked(order) == (1, "wrong-body")
    assert asked(order) == (1, "connect-refused")


def asked(order: dict[str, Any]) -> tuple[int, str]:
    folder = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "client.page", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=30)
    return done.returncode, done.stdout.strip()
