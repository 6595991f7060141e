from __future__ import annotations

import json
import socket
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from client.desk import LIST_PATH, Desk, Seen, judge_read, judge_write
from client.http import Response
from client.schedule import Intent

from .loopback import Behaviour, reply, reset, say, say_and_hang_up, say_nothing, serving

DEADLINE_S = 1.0
READ = Intent(number=1, at_s=0.0, write=False, new_connection=False, pick=0.0)
WRITE = replace(READ, write=True)
WHO = {"x-served-by": "web1", "x-balancer": "lb"}


def response(status: int, body: Any = None) -> Response:
    return Response(status, WHO, body if isinstance(body, bytes) else json.dumps(body).encode())


def like_the_order_desk(connection: socket.socket, request: bytes) -> None:
    """Every order is taken; every order asked for is found."""
    head, _, body = request.partition(b"\r\n\r\n")
    method, path = head.decode().split(" ")[:2]
    if method == "POST":
        connection.sendall(reply(201, {"order": {"key": json.loads(body)["key"]}}))
    else:
        connection.sendall(reply(200, {"orders": [{"key": path.rpartition("/")[2]}]}))


def judged_write(status: int, body: Any = None) -> tuple[str, str]:
    seen = judge_write("p-1", response(status, body))
    assert (seen.status, seen.by, seen.via) == (status, "web1", "lb")
    return seen.kind, seen.outcome


def judged_read(status: int, body: Any = None, wanted: str | None = "p-1") -> tuple[str, str]:
    seen = judge_read(wanted, response(status, body))
    assert (seen.status, seen.by, seen.via) == (status, "web1", "lb")
    return seen.kind, seen.outcome


# What an answer means


def test_order_is_acknowledged_by_201_with_its_key() -> None:
    assert judged_write(201, {"order": {"key": "p-1"}}) == ("ok", "ok")


@pytest.mark.parametrize("body", [{"order": {"key": "p-2"}}, {"order": None}, {}, [], b"\xff", b""])
def test_201_with_a_wrong_body_is_a_failure_and_an_acknowledgement(body: Any) -> None:
    assert judged_write(201, body) == ("wrong-body", "ok")


@pytest.mark.parametrize("status", [400, 503])
def test_order_that_was_surely_not_placed(status: int) -> None:
    assert judged_write(status, {"outcome": "not-placed"}) == (f"http-{status}", "fail")


@pytest.mark.parametrize(
    ("status", "body"), [(504, {"outcome": "unknown"}), (503, b"<html>no server</html>"), (500, {}), (200, {}), (404, None)]
)
def test_any_other_answer_leaves_the_order_unknown(status: int, body: Any) -> None:
    assert judged_write(status, body) == (f"http-{status}", "info")


def test_read_finds_the_order() -> None:
    assert judged_read(200, {"orders": [{"key": "p-0"}, {"key": "p-1"}]}) == ("ok", "ok")
    assert judged_read(200, {"orders": []}, wanted=None) == ("ok", "ok")


@pytest.mark.parametrize("body", [{"orders": [{"key": "p-2"}]}, {"orders": []}, {"orders": {}}, {}, b"{", b""])
def test_200_without_the_order_is_a_wrong_body(body: Any) -> None:
    assert judged_read(200, body) == ("wrong-body", "fail")


def test_orders_that_are_none_are_a_wrong_body() -> None:
    assert judged_read(200, {"orders": [1]}) == ("wrong-body", "fail")


def test_acknowledged_order_that_is_not_found_is_stale() -> None:
    assert judged_read(404) == ("stale", "fail")
    assert judged_read(404, wanted=None) == ("http-404", "fail")


def test_read_that_fails() -> None:
    assert judged_read(503, {"error": "the database does not answer"}) == ("http-503", "fail")


# What a user does


def test_acknowledged_orders_are_read_back() -> None:
    with serving(like_the_order_desk) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        assert desk.choose(READ) is None
        assert desk.perform(READ, monotonic()).kind == "ok"
        for number in (4, 5):
            assert desk.perform(replace(WRITE, number=number), monotonic()) == Seen("ok", "ok", 201, "web1")
        assert [desk.choose(replace(READ, pick=pick)) for pick in (0.0, 0.49, 0.5, 0.999)] == ["p-4", "p-4", "p-5", "p-5"]
        assert desk.choose(WRITE) is None
        assert desk.perform(replace(READ, pick=0.9), monotonic()).kind == "ok"
        paths = [request.split(b" ")[1].decode() for request in loopback.requests]
        assert paths == [LIST_PATH, "/orders", "/orders", "/orders/p-5"]
        # The connection was kept.
        assert loopback.connections == 1


def test_acknowledged_order_that_answers_404_is_stale() -> None:
    with serving(like_the_order_desk) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        desk.perform(WRITE, monotonic())
        loopback.behave = say(reply(404, {"error": "no such order"}))
        assert desk.perform(READ, monotonic()).kind == "stale"


def test_order_that_was_not_acknowledged_is_not_asked_for() -> None:
    with serving(say(reply(504, {"outcome": "unknown"}))) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        assert desk.perform(WRITE, monotonic()).outcome == "info"
        assert desk.choose(READ) is None


def test_good_answer_after_the_deadline_is_late_and_the_order_acknowledged() -> None:
    """The client gives up at the deadline; what it had in hand just then is judged a moment later."""

    class Slow(Desk):
        def _exchange(self, intent: Intent, wanted: str | None, deadline: float) -> Response:
            return super()._exchange(intent, wanted, deadline + 60)

    with serving(like_the_order_desk) as loopback:
        desk = Slow(loopback.address, "p", DEADLINE_S)
        intended = monotonic() - DEADLINE_S - 0.001
        assert desk.perform(WRITE, intended) == Seen("late", "ok", 201, "web1")
        assert desk.perform(READ, intended).kind == "late"


def test_arrival_that_is_due_no_more_is_not_sent() -> None:
    with serving(like_the_order_desk) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        assert desk.perform(WRITE, monotonic() - DEADLINE_S - 0.001) == Seen("connect-timeout", "fail")
        assert loopback.requests == []


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (reset, "reset"),
        (say_and_hang_up(b""), "closed"),
        (say(b"nonsense\r\n\r\n"), "malformed"),
        (say_nothing, "timeout"),
        (say(reply(503)), "http-503"),
    ],
)
@pytest.mark.parametrize("intent", [READ, WRITE], ids=["read", "write"])
def test_request_that_fails_is_sent_exactly_once(behave: Behaviour, kind: str, intent: Intent) -> None:
    with serving(behave) as loopback:
        desk = Desk(loopback.address, "p", deadline_s=0.2)
        seen = desk.perform(intent, monotonic())
        assert (seen.kind, seen.outcome) == (kind, "info" if intent.write else "fail")
        assert len(loopback.requests) == loopback.connections == 1


def test_request_that_fails_on_a_kept_connection_is_not_sent_again() -> None:
    with serving(like_the_order_desk) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        desk.perform(READ, monotonic())
        loopback.behave = reset
        assert desk.perform(WRITE, monotonic()) == Seen("reset", "info")
        assert len(loopback.requests) == 2
        assert loopback.connections == 1
        loopback.behave = like_the_order_desk
        assert desk.perform(READ, monotonic()).kind == "ok"
        assert loopback.connections == 2


def test_connection_that_went_stale_is_not_used() -> None:
    with serving(say_and_hang_up(reply(200, {"orders": []}))) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        assert desk.perform(READ, monotonic()).kind == "ok"
        (kept,) = desk._idle
        deadline = monotonic() + DEADLINE_S
        while not kept.is_stale() and monotonic() < deadline:
            pass
        assert desk.perform(READ, monotonic()).kind == "ok"
        assert loopback.connections == len(loopback.requests) == 2


def test_new_connection_when_that_is_intended_and_it_is_not_kept() -> None:
    with serving(like_the_order_desk) as loopback:
        desk = Desk(loopback.address, "p", DEADLINE_S)
        for intent in (READ, replace(READ, new_connection=True), READ):
            assert desk.perform(intent, monotonic()).kind == "ok"
        assert loopback.connections == 2
        assert [b"Connection: close" in request for request in loopback.requests] == [False, True, False]


def test_connection_that_could_not_be_made_is_a_failure_and_surely_not_executed() -> None:
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        desk = Desk(not_listening.getsockname(), "p", DEADLINE_S)
        assert desk.perform(WRITE, monotonic()) == Seen("connect-refused", "fail")
