"""Which balancer keeps the users' address where two hold it: decided without a network, and asked over HTTP on loopback."""

from __future__ import annotations

import socket
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import cast

import psycopg
import pytest
from arbiter import __main__ as program
from arbiter.policy import Balancer, Word, can_serve, read_balancers, word
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripts import load
from tests.unit.servers import serving

reach = load(Path(__file__).parents[2] / "compose/balancer/lab-reach")
TOLD = "lb1=198.18.1.33,db1 lb2=198.18.1.65,db2"
BALANCERS = [Balancer(f"lb{number}", f"198.18.1.{number}", f"db{number}") for number in (1, 2, 3)]
ALIVE = st.lists(st.sampled_from(BALANCERS), unique=True)
PRIMARIES = st.sampled_from(["db1", "db2", "db3", ""])


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[Balancer], list[str], str]:
    """Who is of use, who of them holds the address, and which database is the primary."""
    alive = draw(ALIVE)
    return alive, [balancer.name for balancer in alive if draw(st.booleans())], draw(PRIMARIES)


@given(cuts())
def test_of_those_who_hold_it_at_most_one_is_told_to_stay(cut: tuple[list[Balancer], list[str], str]) -> None:
    alive, holders, primary = cut
    staying = [name for name in holders if word(name, alive, holders, primary) == Word.STAY]
    beside = [balancer.name for balancer in alive if balancer.database == primary]
    assert staying == (beside or holders[:1] if set(beside) <= set(holders) else [])


@given(cuts())
def test_one_of_those_that_answer_may_always_keep_the_vip(cut: tuple[list[Balancer], list[str], str]) -> None:
    alive, holders, primary = cut
    assert not alive or Word.STAY in {word(balancer.name, alive, holders, primary) for balancer in alive}


@given(cuts(), st.sampled_from(BALANCERS))
def test_the_vip_is_not_handed_to_a_balancer_that_does_not_answer(
    cut: tuple[list[Balancer], list[str], str], asker: Balancer
) -> None:
    alive, holders, primary = cut
    if word(asker.name, alive, holders, primary) == Word.HAND_OVER:
        assert primary in {balancer.database for balancer in alive if balancer != asker}


@pytest.mark.parametrize(
    ("holders", "primary", "lb1", "lb2"),
    [
        (["lb1", "lb2"], "db1", "stay", "leave"),
        (["lb1", "lb2"], "db2", "leave", "stay"),
        (["lb1", "lb2"], "", "stay", "leave"),
        # One holder, on the wrong side of the cut; and who has left may come back when the primary has.
        (["lb2"], "db1", "stay", "hand over"),
        (["lb1"], "db2", "hand over", "stay"),
        (["lb1"], "db1", "stay", "leave"),
        (["lb1"], "", "stay", "leave"),
        ([], "db1", "stay", "hand over"),
        ([], "", "stay", "stay"),
    ],
)
def test_the_one_beside_the_primary_keeps_it(holders: list[str], primary: str, lb1: str, lb2: str) -> None:
    alive = BALANCERS[:2]
    assert [word(name, alive, holders, primary) for name in ("lb1", "lb2")] == [lb1, lb2]


@given(cuts(), st.lists(st.sampled_from([balancer.name for balancer in BALANCERS]), unique=True))
def test_no_balancer_is_sent_away_for_one_of_no_use(cut: tuple[list[Balancer], list[str], str], others: list[str]) -> None:
    """Whoever else holds it: no user reaches them, or they reach no web box."""
    of_use, holders, primary = cut
    holders = sorted({*holders, *others})
    useful = {balancer.name for balancer in of_use}
    for name in holders:
        if word(name, of_use, holders, primary) != Word.STAY:
            assert useful - {name}


def test_of_two_holders_the_one_whom_users_reach_keeps_it_wherever_the_primary_is() -> None:
    lb1, lb2 = BALANCERS[:2]
    for primary in ("db1", "db2", ""):
        told = [word(name, [lb2], ["lb1", "lb2"], primary) for name in ("lb1", "lb2")]
        assert told == [Word.LEAVE, Word.STAY]
        assert [word(name, [], ["lb1", "lb2"], primary) for name in (lb1.name, lb2.name)] == [Word.STAY] * 2


@pytest.mark.parametrize(
    ("beat", "serves"),
    [
        ("1 2 0 1", True),
        ("1 1 1 0", True),
        ("0 3 1 1", False),
        ("1 0 1 1", False),
        ("1", False),
        ("", False),
        ("1 x 0 1", False),
        ("1 -1 0 1", False),
    ],
)
def test_who_reaches_users_and_a_web_box_is_of_use(beat: str, serves: bool) -> None:
    assert can_serve(beat) == serves


@given(st.booleans(), st.integers(0, 9), st.booleans(), st.booleans())
def test_what_a_balancer_says_of_itself_is_understood(users: bool, web: int, holds: bool, ready: bool) -> None:
    assert can_serve(str(reach.Beat(users, web, holds, ready))) == (users and web > 0)


@pytest.mark.parametrize(
    "told", ["", "lb1=198.18.1.33,db1", "lb1=198.18.1.33 lb2=198.18.1.65,db2", "lb1=a,b lb1=c,d", "lb1=a,b,c lb2=d,e"]
)
def test_balancers_that_cannot_be_told_apart_are_refused(told: str) -> None:
    with pytest.raises(ValueError, match=r"is not NAME=ADDRESS,DATABASE|fewer than two"):
        read_balancers(told)


def balancer_reaching(name: str, status: int = 200) -> type[BaseHTTPRequestHandler]:
    """What a balancer answers that reaches `name` under the users' address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
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
    """One that has seen db2 as the primary."""
    # No balancer here is out of reach; a busy machine takes its time.
    monkeypatch.setattr(program, "ANSWER_S", 5.0)
    monkeypatch.setattr(program, "BEAT_FRESH_S", 60.0)
    arbiter = program.Arbiter(read_balancers("lb1=127.0.0.33,db1 lb2=127.0.0.65,db2"))
    arbiter.primary = "db2"
    for address in ("127.0.0.33", "127.0.0.65"):
        arbiter.hear(address, "1 2 0 1")
    return arbiter


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


def test_a_balancer_that_reaches_no_owner_of_the_vip_is_alive(arbiter: program.Arbiter, holder_port: int) -> None:
    with (
        serving(balancer_reaching("lb1"), "127.0.0.33", holder_port),
        serving(balancer_reaching("", 503), "127.0.0.65", holder_port),
    ):
        assert asked(arbiter, "/lb1") == (200, "hand over")
    assert asked(arbiter, "/lb1") == (200, "stay")


def test_one_whom_no_user_reaches_is_no_reason_to_leave(arbiter: program.Arbiter, holder_port: int) -> None:
    """It stands beside the primary, holds the address, and answers here."""
    with (
        serving(balancer_reaching("lb1"), "127.0.0.33", holder_port),
        serving(balancer_reaching("lb2"), "127.0.0.65", holder_port),
    ):
        assert asked(arbiter, "/lb1") == (200, "leave")
        arbiter.hear("127.0.0.65", "0 3 1 1")
        assert asked(arbiter, "/lb1") == (200, "stay")
        assert asked(arbiter, "/lb2") == (200, "leave")


def test_old_word_counts_no_longer(arbiter: program.Arbiter, holder_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "BEAT_FRESH_S", 0.0)
    with (
        serving(balancer_reaching("lb1"), "127.0.0.33", holder_port),
        serving(balancer_reaching("lb2"), "127.0.0.65", holder_port),
    ):
        arbiter.hear("127.0.0.65", "1 2 1 1")
        assert [asked(arbiter, f"/{name}") for name in ("lb1", "lb2")] == [(200, "stay"), (200, "leave")]
        arbiter.hear("127.0.0.33", "1 2 1 1")
        assert [asked(arbiter, f"/{name}") for name in ("lb1", "lb2")] == [(200, "stay")] * 2


def test_one_that_says_nothing_is_silent_here_before_its_partner_asks() -> None:
    assert 2 * reach.PERIOD_S < program.BEAT_FRESH_S < reach.SILENT_S
    # A look that waits for both of its questions is no silence.
    assert reach.HAPROXY_DEADLINE_S + reach.USERS_DEADLINE_S < program.BEAT_FRESH_S


def test_balancers_are_heard_and_others_are_not(arbiter: program.Arbiter, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(arbiter, "hear", lambda address, beat: heard.append((address, beat)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        ears.bind(("127.0.0.196", 0))
        ears.settimeout(5.0)
        sender.bind(("127.0.0.65", 0))

        def listen() -> None:
            with suppress(OSError):
                arbiter.listen(ears)

        Thread(target=listen, daemon=True).start()
        for text in (b"1 2 0 1", b"\xff"):
            sender.sendto(text, ears.getsockname())
        until = monotonic() + 5
        while len(heard) < 2 and monotonic() < until:
            sleep(0.01)
    assert heard == [("127.0.0.65", "1 2 0 1"), ("127.0.0.65", "\ufffd")]


def test_beat_of_no_balancer_is_not_taken_down(arbiter: program.Arbiter) -> None:
    arbiter.hear("127.0.0.99", "1 2 0 1")
    assert "127.0.0.99" not in arbiter._can_serve_until


def test_a_name_that_is_no_balancer_is_not_found(arbiter: program.Arbiter) -> None:
    assert asked(arbiter, "/db1")[0] == 404
    assert asked(arbiter, "/health") == (200, "here")


class PlayedMonitor:
    """A connection that says these, and then ends."""

    def __init__(self, *rows: tuple[str] | None) -> None:
        self._rows = iter(rows)

    def __enter__(self) -> PlayedMonitor:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def execute(self, _: str) -> PlayedMonitor:
        return self

    def fetchone(self) -> tuple[str] | None:
        for row in self._rows:
            return row
        raise psycopg.OperationalError("the monitor has ended")


@pytest.mark.parametrize(
    ("said", "remembered"),
    [([("db1",)], "db1"), ([("db1",), None], "db1"), ([("db1",), ("db2",), None], "db2"), ([None], ""), ([], "")],
)
def test_while_there_is_no_primary_the_last_one_counts(
    said: list[tuple[str] | None], remembered: str, arbiter: program.Arbiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PRIMARY_PERIOD_S", 0.0)
    arbiter.primary = ""
    arbiter.watch_primary(lambda: cast("psycopg.Connection[tuple[str]]", PlayedMonitor(*said)))
    assert arbiter.primary == remembered
