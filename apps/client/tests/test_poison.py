from __future__ import annotations

import socket

import pytest
from client import poison
from client.poison import next_s, send

from .loopback import reply, reset, say, say_nothing, serving


def test_it_is_sent_once_on_a_connection_of_its_own() -> None:
    with serving(say(reply())) as loopback:
        send(loopback.address)
        send(loopback.address)
        assert loopback.connections == 2
        assert loopback.requests[0].decode().startswith(f"GET /orders?limit={'(' * 64} HTTP/1.1\r\n")
        assert b"Connection: close" in loopback.requests[0]


def test_whatever_becomes_of_it_the_next_one_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "DEADLINE_S", 0.1)
    for behave in (reset, say_nothing):
        with serving(behave) as loopback:
            send(loopback.address)
            assert len(loopback.requests) == 1
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        send(unused.getsockname())


def test_there_are_never_more_in_a_second_than_are_wanted() -> None:
    assert next_s(10.0, 10.1, per_s=2) == 10.5
    assert next_s(10.5, 10.5, per_s=2) == 11.0
    # The machine stood still for a minute.
    assert next_s(11.0, 71.0, per_s=2) == 71.0
    assert next_s(71.0, 71.0, per_s=2) == 71.5
