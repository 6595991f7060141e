"""What the audit reads of databases that answer, lag, turn round and die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import psycopg
import pytest
from client.audit import PRIMARY, READ_ONLY, STANDBY, Finding, Orders, State, audit, connect, lsn
from hypothesis import given
from hypothesis import strategies as st

from . import postgres
from .postgres import TEXT

AT = "0/5000060"
Answer = TypeVar("Answer")


@dataclass
class Played:
    """A database that says these things one after the other, the last one for ever; an error is raised."""

    states: Sequence[State | psycopg.Error]
    contents: Sequence[Orders | psycopg.Error]
    asked: list[str] = field(default_factory=list)

    def state(self) -> State:
        self.asked.append("state")
        return said(self.states, self.asked.count("state"))

    def orders(self) -> Orders:
        self.asked.append("orders")
        return said(self.contents, self.asked.count("orders"))


def said(answers: Sequence[Answer | psycopg.Error], number: int) -> Answer:
    answer = answers[min(number, len(answers)) - 1]
    if isinstance(answer, psycopg.Error):
        raise answer
    return answer


def primary(*contents: Orders | psycopg.Error, timeline: int = 3) -> Played:
    return Played([State(PRIMARY, timeline, AT)], contents or [{"k-1": 1}])


def standby(*states: State | psycopg.Error, holds: Orders | None = None) -> Played:
    return Played(states or [State(STANDBY, 3, AT)], [{"k-1": 1} if holds is None else holds])


def audited(timeout_s: float = 5.0, **databases: Played) -> dict[str, dict[str, object]]:
    found = {name: Finding(each) for name, each in databases.items()}
    audit(found, timeout_s)
    return {name: each.document() for name, each in found.items()}


def test_a_standby_that_has_all_is_compared_at_once() -> None:
    since = monotonic()
    found = audited(db1=primary(), db2=standby())
    assert monotonic() - since < 1
    assert found == {
        "db1": {"orders": {"k-1": 1}, "role": "primary", "timeline": 3, "position": AT, "caught_up": True},
        "db2": {"orders": {"k-1": 1}, "role": "standby", "timeline": 3, "position": AT, "caught_up": True},
    }


def test_a_standby_is_read_only_when_it_has_replayed_what_the_primary_had_written() -> None:
    behind = State(STANDBY, 3, "0/5000000")
    db2 = standby(behind, behind, behind, State(STANDBY, 3, "0/6000000"))
    assert audited(db1=primary(), db2=db2)["db2"]["caught_up"] is True
    assert db2.asked == ["state", "state", "state", "state", "orders"]


@pytest.mark.parametrize(
    "state",
    [
        State(STANDBY, 3, "0/5000000"),  # too late
        State(STANDBY, 2, "0/6000000"),  # ahead, on another history
        State(STANDBY, None, "0/6000000"),  # it is sent nothing: its log may be another one
    ],
)
def test_a_standby_that_does_not_catch_up_is_read_all_the_same_and_that_is_said(state: State) -> None:
    since = monotonic()
    found = audited(0.3, db1=primary(), db2=standby(state, holds={}))
    assert 0.3 <= monotonic() - since < 2
    assert (found["db2"]["caught_up"], found["db2"]["orders"]) == (False, {})
    assert found["db1"]["caught_up"] is True


@pytest.mark.parametrize("roles", [(PRIMARY, PRIMARY), (STANDBY, STANDBY), (READ_ONLY, STANDBY)])
def test_without_the_one_primary_all_are_read_and_none_is_compared(roles: tuple[str, str]) -> None:
    one, two = (Played([State(role, 3, AT)], [{"k-1": 1}]) for role in roles)
    found = audited(db1=one, db2=two)
    assert [each["role"] for each in found.values()] == list(roles)
    assert [each["caught_up"] for each in found.values()] == [False, False]
    assert [each["orders"] for each in found.values()] == [{"k-1": 1}, {"k-1": 1}]


def test_an_order_that_comes_in_between_is_no_difference() -> None:
    """The first reading of the primary lacks what the standby shows already."""
    db1, db2 = primary({}, {"k-1": 1}), standby()
    found = audited(db1=db1, db2=db2)
    assert found["db1"]["orders"] == found["db2"]["orders"] == {"k-1": 1}
    assert db2.asked.count("orders") == 2


def test_while_orders_still_come_in_nothing_is_said_of_a_difference() -> None:
    growing: list[Orders | psycopg.Error] = [{"k-1": number} for number in range(10_000)]
    found = audited(0.2, db1=Played([State(PRIMARY, 3, AT)], growing), db2=standby())
    assert found["db2"]["caught_up"] is False


def died(words: str = "server closed the connection\nunexpectedly") -> psycopg.Error:
    return psycopg.OperationalError(words)


@pytest.mark.parametrize(
    ("db1", "db2", "broken"),
    [
        (primary, lambda: standby(died()), {"db2"}),
        (primary, lambda: Played([State(STANDBY, 3, AT)], [died()]), {"db2"}),
        (lambda: primary(died()), standby, {"db1"}),
        (lambda: primary({"k-1": 1}, died()), standby, {"db1"}),
    ],
)
def test_a_database_that_dies_is_named_and_keeps_no_other_from_being_read(
    db1: Callable[[], Played], db2: Callable[[], Played], broken: set[str]
) -> None:
    found = audited(0.3, db1=db1(), db2=db2())
    assert {name for name, each in found.items() if "error" in each} == broken
    assert {str(each["error"]) for each in found.values() if "error" in each} == {"server closed the connection"}
    assert all("orders" in each for name, each in found.items() if name not in broken)


def test_a_database_that_does_not_answer_at_all() -> None:
    found = connect("127.0.0.1", "k", "secret")
    audit({"db1": found})
    assert set(found.document()) == {"error"}


def test_what_is_asked_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.serving() as server:
        monkeypatch.setenv("PGPORT", str(server.port))
        found = connect("127.0.0.1", "k", "secret")
        server.row, server.columns = ("standby", None, None), (("role", TEXT), ("timeline", TEXT), ("position", TEXT))
        assert found.ask(found.look)
    assert found.found == State("standby", None, "0/0")


@given(st.integers(0, 2**64 - 1))
def test_positions_are_read_as_the_database_writes_them(position: int) -> None:
    assert lsn(f"{position >> 32:X}/{position & 0xFFFFFFFF:X}") == position
