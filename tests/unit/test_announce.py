"""lab-announce of a balancer box: when it takes its region for able, and what it hears from HAProxy."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripts import load

SCRIPT = Path(__file__).parents[2] / "compose/balancer/lab-announce"
AT_ONCE_S = 1.0


announce = load(SCRIPT)


def heard(answers: list[bool], able_after: int = 3, unable_after: int = 2) -> list[bool]:
    """What the judgement was after each answer; `hear` must say when it changed."""
    judgement, found = announce.Judgement(able_after, unable_after), []
    for answer in answers:
        before = judgement.able
        assert judgement.hear(answer) == (judgement.able != before)
        found.append(judgement.able)
    return found


def test_region_is_not_able_until_it_has_said_so_often_enough() -> None:
    assert heard([True, True, True, True]) == [False, False, True, True]


def test_one_answer_to_the_contrary_begins_the_count_anew() -> None:
    assert heard([True, True, False, True, True, True]) == [False, False, False, False, False, True]


def test_able_region_is_given_up_after_fewer_answers_than_it_takes_to_come_back() -> None:
    assert heard([True] * 3 + [False, True, False, False, True, True, True])[3:] == [True, True, True, False, False, False, True]


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_judgement_is_what_was_last_said_often_enough_in_a_row(answers: list[bool], able_after: int, unable_after: int) -> None:
    judged, expected, run = False, [], 0
    for i, answer in enumerate(answers):
        run = run + 1 if i and answer == answers[i - 1] else 1
        judged = answer if run >= (able_after if answer else unable_after) else judged
        expected.append(judged)
    assert heard(answers, able_after, unable_after) == expected


# What HAProxy says


@contextmanager
def answering(behave: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """One connection is accepted, and closed after that."""

    def serve() -> None:
        with closing(server.accept()[0]) as connection:
            connection.recv(4096)
            behave(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        yield server.getsockname()
        thread.join()


def say(*parts: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        with suppress(ConnectionError):  # the other side may give up
            for part in parts:
                connection.sendall(part)
                sleep(0.01)

    return behave


@pytest.mark.parametrize(
    ("parts", "able", "said"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b"\r\n2 web boxes", b" are ready\n"], True, "200 OK: 2 web boxes are ready"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n0 web boxes"], False, "503 Service Unavailable: 0 web boxes"),
        ([b"HTTP/1.1 500 2 200\r\n\r\n"], False, "500 2 200: "),
        ([b"\xff\r\n\r\n"], False, ": "),
        ([], False, ": "),
    ],
)
def test_region_is_able_when_haproxy_says_200(parts: list[bytes], able: bool, said: str) -> None:
    with answering(say(*parts)) as address:
        assert announce.ask(AT_ONCE_S, address) == (able, said)


def test_haproxy_that_does_not_answer_in_time_is_no_yes() -> None:
    asked_at = monotonic()
    with answering(lambda connection: sleep(0.3)) as address:
        able, said = announce.ask(0.1, address)
        assert monotonic() - asked_at < 0.3
    assert not able
    assert said.startswith("no answer (")


def test_answer_that_drips_is_given_up_at_the_deadline_too() -> None:
    asked_at = monotonic()
    with answering(say(*[b"HTTP/1.1 200 OK\r\nX: %d\r\n" % i for i in range(40)])) as address:
        able, _ = announce.ask(0.1, address)
        assert monotonic() - asked_at < 0.3
    assert not able


def test_haproxy_that_is_gone_is_no_yes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    able, said = announce.ask(AT_ONCE_S, address)
    assert not able
    assert "refused" in said
