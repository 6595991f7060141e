"""Deadlines and outcomes, against a database that hangs or breaks off at a chosen statement."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from orderdesk.config import Config
from orderdesk.database import DatabaseUnavailable, OrderBook, OutcomeUnknown

from .fake_postgres import ANSWER, HANG_UP, SILENCE, FakePostgres, serving

GRACE_S = 0.3
READ_DEADLINE_S, WRITE_DEADLINE_S = 0.4, 0.6


@contextmanager
def a_book(behave: Callable[[str], str], **settings: Any) -> Iterator[tuple[OrderBook, FakePostgres]]:
    with serving(behave) as postgres:
        config = Config(
            postgres.conninfo, box="web1", read_deadline_s=READ_DEADLINE_S, write_deadline_s=WRITE_DEADLINE_S, **settings
        )
        book = OrderBook(config)
        try:
            yield book, postgres
        finally:
            book.close()


def only(word: str, behaviour: str) -> Callable[[str], str]:
    """Behave in this way at statements that begin with the word, answer the others."""
    return lambda statement: behaviour if statement.startswith(word) else ANSWER


def seconds(work: Callable[[], object], error: type[Exception]) -> float:
    """How long the work took to fail in this way."""
    start = monotonic()
    with pytest.raises(error):
        work()
    return monotonic() - start


@pytest.mark.parametrize("word", ["connect", "SELECT"])
def test_database_that_says_nothing_is_unavailable_at_the_deadline(word: str) -> None:
    with a_book(only(word, SILENCE)) as (book, _):
        assert READ_DEADLINE_S - 0.05 <= seconds(book.ping, DatabaseUnavailable) <= READ_DEADLINE_S + GRACE_S


def test_every_read_has_the_deadline() -> None:
    with a_book(only("SELECT", SILENCE)) as (book, _):
        assert seconds(lambda: book.find("k-1"), DatabaseUnavailable) <= READ_DEADLINE_S + GRACE_S
        assert seconds(lambda: book.latest(1), DatabaseUnavailable) <= READ_DEADLINE_S + GRACE_S


def test_database_that_refuses_is_unavailable_at_the_deadline() -> None:
    with serving(lambda _: ANSWER) as postgres:
        conninfo = postgres.conninfo
    book = OrderBook(Config(conninfo, box="web1", read_deadline_s=READ_DEADLINE_S))
    try:
        assert seconds(book.ping, DatabaseUnavailable) <= READ_DEADLINE_S + GRACE_S
    finally:
        book.close()


def test_order_is_placed() -> None:
    with a_book(lambda _: ANSWER) as (book, postgres):
        order = book.place("k-1", "coffee", 2)
        assert (order.id, order.key, order.item, order.quantity) == (1, "k-1", "coffee", 2)
        assert postgres.statements("INSERT") == postgres.statements("COMMIT") == 1


def test_insert_that_is_not_answered_is_not_placed() -> None:
    with a_book(only("INSERT", SILENCE)) as (book, postgres):
        took_s = seconds(lambda: book.place("k-1", "coffee", 2), DatabaseUnavailable)
        assert WRITE_DEADLINE_S - 0.05 <= took_s <= WRITE_DEADLINE_S + GRACE_S
        assert postgres.statements("COMMIT") == 0


def test_commit_that_is_not_answered_is_unknown_at_the_deadline_and_not_tried_again() -> None:
    with a_book(only("COMMIT", SILENCE)) as (book, postgres):
        took_s = seconds(lambda: book.place("k-1", "coffee", 2), OutcomeUnknown)
        assert WRITE_DEADLINE_S - 0.05 <= took_s <= WRITE_DEADLINE_S + GRACE_S
        assert postgres.statements("INSERT") == postgres.statements("COMMIT") == 1


def test_commit_that_is_broken_off_is_unknown_at_once_and_not_tried_again() -> None:
    with a_book(only("COMMIT", HANG_UP)) as (book, postgres):
        assert seconds(lambda: book.place("k-1", "coffee", 2), OutcomeUnknown) < WRITE_DEADLINE_S
        assert postgres.statements("INSERT") == postgres.statements("COMMIT") == 1


def test_order_that_was_broken_off_before_its_commit_is_placed_on_another_connection() -> None:
    behaviours = iter([HANG_UP])

    def first_insert_breaks_off(statement: str) -> str:
        return next(behaviours, ANSWER) if statement.startswith("INSERT") else ANSWER

    with a_book(first_insert_breaks_off) as (book, postgres):
        assert book.place("k-1", "coffee", 2).id == 1
        assert postgres.statements("INSERT") == 2
        assert postgres.statements("COMMIT") == 1


def test_database_that_comes_back_is_used_again() -> None:
    gone = threading.Event()
    gone.set()
    with a_book(lambda _: HANG_UP if gone.is_set() else ANSWER) as (book, _):
        assert seconds(book.ping, DatabaseUnavailable) <= READ_DEADLINE_S + GRACE_S
        gone.clear()
        book.ping()


def test_request_too_many_is_turned_away_at_once() -> None:
    """The others wait for the silent database until their deadline; no thread more than they is held."""
    pool_size, pool_waiting, requests = 2, 1, 8
    together = threading.Barrier(requests)
    took: list[float] = []

    with a_book(only("connect", SILENCE), pool_size=pool_size, pool_waiting=pool_waiting) as (book, _):

        def ask() -> None:
            together.wait()
            took.append(seconds(book.ping, DatabaseUnavailable))

        threads = [threading.Thread(target=ask) for _ in range(requests)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    held = pool_size + pool_waiting
    assert len(took) == requests
    assert max(sorted(took)[: requests - held]) < READ_DEADLINE_S / 2
    assert min(sorted(took)[requests - held :]) >= READ_DEADLINE_S - 0.05


def test_writes_that_hang_hold_no_read() -> None:
    with a_book(only("COMMIT", SILENCE), pool_size=1, pool_waiting=0) as (book, postgres):
        placing = threading.Thread(target=lambda: seconds(lambda: book.place("k-1", "coffee", 2), OutcomeUnknown))
        placing.start()
        deadline = monotonic() + WRITE_DEADLINE_S
        while not postgres.statements("COMMIT") and monotonic() < deadline:
            pass
        assert placing.is_alive()
        book.ping()
        assert placing.is_alive()
        placing.join()
