from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

import pytest
from client import http
from client.http import Connection, RequestFailed, Response, parse_head
from hypothesis import given
from hypothesis import strategies as st

from .loopback import Behaviour, Loopback, reply, reset, say, say_and_hang_up, say_nothing, serving

SOON_S = 0.15
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENCE_S = 5.0


def get(connection: Connection, deadline: float | None = None, close: bool = False) -> Response:
    return connection.request("GET", "/orders/k", b"", deadline or monotonic() + PATIENCE_S, close)


def connect(loopback: Loopback) -> Connection:
    return Connection(loopback.address, monotonic() + PATIENCE_S)


def failure(work: Callable[[], object]) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        work()
    return caught.value


def test_whole_answer() -> None:
    with serving(say(reply(201, {"a": 1}, "X-Balancer: lb"))) as loopback:
        response = get(connect(loopback))
        assert response.status == 201
        assert response.body == b'{"a": 1}'
        assert response.headers["x-served-by"] == "web1"
        assert response.headers["x-balancer"] == "lb"
        assert response.keeps_alive


def test_request_as_it_is_sent() -> None:
    with serving(say(reply())) as loopback:
        host = f"Host: 127.0.0.1:{loopback.address[1]}"
        connection = connect(loopback)
        get(connection)
        connection.request("POST", "/orders", b'{"key": 1}', monotonic() + PATIENCE_S, close=True)
        get_sent, post_sent = loopback.requests
        assert get_sent.decode() == f"GET /orders/k HTTP/1.1\r\n{host}\r\n\r\n"
        assert post_sent.decode() == (
            f"POST /orders HTTP/1.1\r\n{host}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
            'Connection: close\r\n\r\n{"key": 1}'
        )
        assert loopback.connections == 1


@pytest.mark.parametrize("size", [1, 7])
def test_answer_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(http, "RECEIVE_BYTES", size)
    with serving(say(reply(200, {"orders": list(range(50))}))) as loopback:
        connection = connect(loopback)
        for _ in range(2):
            assert get(connection).body.endswith(b"48, 49]}")


def test_answer_without_a_body() -> None:
    with serving(say(b"HTTP/1.1 204 No Content\r\n\r\n")) as loopback:
        assert get(connect(loopback)) == Response(204, {}, b"")


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_answer_in_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(http, "RECEIVE_BYTES", size)
    with serving(say(CHUNKED + b"5\r\nhello\r\nB; a=b\r\n, you there\r\n0\r\nTrailer: t\r\n\r\n")) as loopback:
        connection = connect(loopback)
        for _ in range(2):  # nothing of the first is left over
            assert get(connection).body == b"hello, you there"
        assert loopback.connections == 1


def test_old_server_answers_until_it_hangs_up() -> None:
    with serving(say_and_hang_up(b"HTTP/1.0 200 OK\r\n\r\nhello\r\n\r\nthere")) as loopback:
        response = get(connect(loopback))
        assert response.body == b"hello\r\n\r\nthere"
        assert not response.keeps_alive


def test_old_server_that_says_how_long_is_not_waited_for() -> None:
    with serving(say(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")) as loopback:
        response = get(connect(loopback))
        assert response.body == b"hello"
        assert not response.keeps_alive


def test_name_of_the_host_is_sent_as_it_was_given() -> None:
    with serving(say(reply())) as loopback:
        get(Connection(loopback.address, monotonic() + PATIENCE_S, "web:8080"))
        assert b"\r\nHost: web:8080\r\n" in loopback.requests[0]


def test_side_that_says_close_does_not_keep_the_connection() -> None:
    with serving(say(reply(200, {}, "Connection: Close"))) as loopback:
        assert not get(connect(loopback)).keeps_alive


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (reset, "reset"),
        (say_and_hang_up(b""), "closed"),
        (say_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Le"), "closed"),
        (say_and_hang_up(reply(200, {"a": 1})[:-3]), "closed"),
        (say(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "malformed"),
        (say(b"\r\n\r\n"), "malformed"),
        (say(b"HTTP/1.1 OK 200\r\n\r\n"), "malformed"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "malformed"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), "malformed"),
        (say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"), "malformed"),
        (say(CHUNKED + b"-1\r\n\r\n"), "malformed"),
        (say(CHUNKED + b"\r\n\r\n"), "malformed"),
        (say(CHUNKED + b"FFFFFFFF\r\n"), "malformed"),
        (say_and_hang_up(CHUNKED + b"5\r\nhel"), "closed"),
        (say_and_hang_up(CHUNKED + b"5\r\nhello\r\n"), "closed"),
        (say(b"x" * (http.ANSWER_MAX_BYTES + 2 * http.RECEIVE_BYTES)), "malformed"),
    ],
)
def test_class_of_a_failure_after_sending(behave: Behaviour, kind: str) -> None:
    with serving(behave) as loopback:
        failed = failure(lambda: get(connect(loopback)))
        assert failed.kind == kind
        assert failed.sent
        assert len(loopback.requests) == 1


@pytest.mark.parametrize("behave", [say_nothing, say(b"HTTP/1.1 200 OK\r\n"), say(reply(200, {"a": 1})[:-3])])
def test_silence_ends_at_the_deadline(behave: Behaviour) -> None:
    with serving(behave) as loopback:
        connection = connect(loopback)
        start = monotonic()
        failed = failure(lambda: get(connection, start + SOON_S))
        assert failed.kind == "timeout"
        assert failed.sent
        assert SOON_S <= monotonic() - start < SOON_S + 0.5


def test_trickle_of_bytes_does_not_move_the_deadline() -> None:
    """The deadline is for the whole answer, not for each piece."""

    def trickle(connection: socket.socket, _: bytes) -> None:
        for _ in range(100):
            if select.select([connection], [], [], 0.02)[0]:
                return
            connection.sendall(b"x")
        connection.shutdown(socket.SHUT_RDWR)

    with serving(trickle) as loopback:
        connection = connect(loopback)
        start = monotonic()
        assert failure(lambda: get(connection, start + SOON_S)).kind == "timeout"
        assert monotonic() - start < SOON_S + 0.5
        connection.close()


def test_refused() -> None:
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        failed = failure(lambda: Connection(not_listening.getsockname(), monotonic() + PATIENCE_S))
    assert failed.kind == "connect-refused"
    assert not failed.sent


def test_handshake_that_is_not_answered() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # fill its queue: further handshakes are dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        start = monotonic()
        failed = failure(lambda: Connection(full.getsockname(), start + SOON_S))
        assert failed.kind == "connect-timeout"
        assert not failed.sent
        assert SOON_S <= monotonic() - start < SOON_S + 0.5


def test_deadline_that_has_passed_sends_nothing() -> None:
    with serving(say(reply())) as loopback:
        failed = failure(lambda: Connection(loopback.address, monotonic() - 0.001))
        assert failed.kind == "connect-timeout"
        connection = connect(loopback)
        assert failure(lambda: get(connection, monotonic() - 0.001)).kind == "timeout"
        assert loopback.requests == []


def test_connection_that_the_other_side_has_closed_is_stale() -> None:
    with serving(say(reply())) as loopback:
        connection = connect(loopback)
        get(connection)
        assert not connection.is_stale()
        loopback.behave = say_and_hang_up(reply())
        get(connection)
        deadline = monotonic() + PATIENCE_S
        while not connection.is_stale() and monotonic() < deadline:
            pass
        assert connection.is_stale()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK", (200, {})),
        (b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\nC-D:  e:f ", (503, {"a": "b", "c-d": "e:f"})),
        (b"HTTP/1.1 404", (404, {})),
    ],
)
def test_head_of_an_answer(head: bytes, expected: tuple[int, dict[str, str]]) -> None:
    assert parse_head(head) == expected


@given(st.binary(max_size=40).map(lambda head: bytes(byte & 0x7F for byte in head)), st.booleans())
def test_any_head_is_understood_or_malformed(head: bytes, like_http: bool) -> None:
    kind, status = "", 0
    try:
        status, _ = parse_head(b"HTTP/1.1 " + head if like_http else head)
    except RequestFailed as failed:
        kind = failed.kind
    assert kind in ("", "malformed")
    assert status >= 0


@pytest.mark.parametrize("answer", [b"HTTP/1.1 \xb2\xb3 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n"])
def test_superscript_is_no_digit(answer: bytes) -> None:
    with serving(say(answer)) as loopback:
        assert failure(lambda: get(connect(loopback))).kind == "malformed"
