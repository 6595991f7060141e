"""Which balancer keeps the users' address where two hold it: decided without a network, and asked over HTTP on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from arbiter import __main__ as program
from arbiter.policy import must_leave, preference, read_balancers
from hypothesis import given
from hypothesis import strategies as st

TOLD = "lb1=198.18.1.33,db1 lb2=198.18.1.65,db2"
NAMES = ("lb1", "lb2", "lb3")
HOLDERS = st.frozensets(st.sampled_from(NAMES))


@given(HOLDERS, st.sampled_from(NAMES))
def test_of_several_holders_one_remains(holders: frozenset[str], preferred: str) -> None:
    remaining = [name for name in holders if not must_leave(name, holders, preferred)]
    if len(holders) == 1 or preferred in holders:
        assert len(remaining) == 1


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_nobody_leaves_an_address_that_no_other_holds(asker: str, preferred: str) -> None:
    assert not must_leave(asker, {asker}, preferred)
    assert not must_leave(asker, set(), preferred)


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_who_has_left_stays_away_while_another_one_holds_it(asker: str, preferred: str) -> None:
    """Also when the primary has moved to its side meanwhile."""
    holders = set(NAMES) - {asker}
    assert must_leave(asker, holders, preferred)


@pytest.mark.parametrize(("primary", "kept_by"), [("db1", "lb1"), ("db2", "lb2"), ("db3", "lb1"), ("", "lb1")])
def test_the_one_beside_the_primary_keeps_it(primary: str, kept_by: str) -> None:
    assert preference(read_balancers(TOLD), primary) == kept_by


@pytest.mark.parametrize(
    "told", ["", "lb1=198.18.1.33,db1", "lb1=198.18.1.33 lb2=198.18.1.65,db2", "lb1=a,b lb1=c,d", "lb1=a,b,c lb2=d,e"]
)
def test_balancers_that_cannot_be_told_apart_are_refused(told: str) -> None:
    with pytest.raises(ValueError, match=r"is not NAME=ADDRESS,DATABASE|fewer than two"):
        read_balancers(told)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], address: str, port: int) -> Iterator[int]:
    """An HTTP server on loopback, by its port."""
    server = ThreadingHTTPServer((address, port), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def balancer_reaching(name: str) -> type[BaseHTTPRequestHandler]:
    """What a balancer answers that reaches `name` under the users' address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Balancer", name)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler


def asked(arbiter: program.Arbiter, path: str) -> tuple[int, str]:
    with serving(program.handler_for(arbiter), "127.0.0.1", 0) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def arbiter(monkeypatch: pytest.MonkeyPatch) -> program.Arbiter:
    """One whose monitor says that db2 is the primary."""
    monkeypatch.setattr(program.Arbiter, "_find_primary", lambda _: "db2")
    return program.Arbiter(read_balancers("lb1=127.0.0.33,db1 lb2=127.0.0.65,db2"))


@pytest.fixture
def holder_port(monkeypatch: pytest.MonkeyPatch) -> int:
    with serving(balancer_reaching(""), "127.0.0.1", 0) as port:
        monkeypatch.setattr(program, "HOLDER_PORT", port)
    return port


def test_both_hold_it_and_the_one_far_from_the_primary_is_told_to_leave(
    arbiter: program.Arbiter, holder_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(balancer_reaching("lb1"), "127.0.0.33", holder_port),
        serving(balancer_reaching("lb2"), "127.0.0.65", holder_port),
    ):
        assert asked(arbiter, "/lb2") == (200, "stay")
        assert [asked(arbiter, "/lb1") for _ in range(2)] == [(200, "leave")] * 2
    assert asked(arbiter, "/lb1") == (200, "stay")
    assert capsys.readouterr().out.splitlines() == ["arbiter: lb1 is to leave the address, which lb1 and lb2 hold"] * 2


def test_one_who_reaches_another_under_the_address_does_not_hold_it(arbiter: program.Arbiter, holder_port: int) -> None:
    with (
        serving(balancer_reaching("lb2"), "127.0.0.33", holder_port),
        serving(balancer_reaching("lb2"), "127.0.0.65", holder_port),
    ):
        assert asked(arbiter, "/lb2") == (200, "stay")
        assert asked(arbiter, "/lb1") == (200, "leave")


def test_who_is_no_balancer_is_told_so(arbiter: program.Arbiter) -> None:
    assert asked(arbiter, "/db1")[0] == 404
