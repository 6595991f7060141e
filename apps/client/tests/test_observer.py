"""What the observer sees, of servers on loopback that answer, hang and die."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, time_ns
from types import SimpleNamespace
from typing import Any

import pytest
from client import neighbours, observer
from client.observer import ANSWER_TIMEOUT_S, BALANCER_TIMEOUT_S, AnswerWatch, Claim, DatabaseWatch, Observer, RouteWatch
from hypothesis import given
from hypothesis import strategies as st

from . import postgres
from .loopback import Behaviour, reply, reset, say, say_and_hang_up, say_nothing, serving
from .postgres import Postgres

# psycopg's own way to give a query up would take 5 s.
AT_ONCE_S = 1.0
PATIENCE_S = 4.0


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A database at the port where one is looked for."""
    with postgres.serving() as server:
        monkeypatch.setenv("PGPORT", str(server.port))
        yield server


def seen(*between: Callable[[], object]) -> list[tuple[str, int, int]]:
    """What is seen of the database at first, and after each of these."""

    async def look() -> list[tuple[str, int, int]]:
        watch, found = DatabaseWatch("127.0.0.1", "secret"), []
        for happens in (lambda: None, *between):
            happens()
            async with asyncio.timeout(PATIENCE_S):
                await watch.look()
            found.append((watch.state, watch.standbys, watch.synchronous))
        if watch._connection:
            await watch._connection.close()
        return found

    return asyncio.run(look())


SILENT = ("unreachable", 0, 0)


@pytest.mark.parametrize("row", [("primary", 2, 1), ("sync_blocked", 0, 0), ("standby", 0, 0)])
def test_state_and_standbys_are_what_the_database_says(database: Postgres, row: tuple[str, int, int]) -> None:
    database.row = row
    assert seen() == [row]


def test_one_connection_is_kept_and_shows_every_change(database: Postgres) -> None:
    rows = [("primary", 1, 1), ("sync_blocked", 0, 0), ("primary", 0, 0)] * 4  # often enough to be prepared
    changes = [lambda row=row: setattr(database, "row", row) for row in rows]
    assert seen(*changes) == [("primary", 1, 1), *rows]
    assert database.connections == 1


def test_database_that_hangs_is_silent_after_half_a_second(database: Postgres) -> None:
    database.awake.clear()
    since = monotonic()
    assert seen() == [SILENT]
    assert ANSWER_TIMEOUT_S <= monotonic() - since < ANSWER_TIMEOUT_S + AT_ONCE_S
    assert database.cancels == 0


def test_database_that_freezes_between_two_questions_is_silent_until_it_thaws(database: Postgres) -> None:
    since = monotonic()
    assert seen(database.awake.clear, lambda: None, database.awake.set) == [("primary", 1, 1), SILENT, SILENT, ("primary", 1, 1)]
    assert monotonic() - since < 2 * (ANSWER_TIMEOUT_S + AT_ONCE_S)


def test_database_that_accepts_and_says_nothing_is_silent_after_half_a_second(database: Postgres) -> None:
    database.mute_from_the_start = True
    database.awake.clear()
    since = monotonic()
    assert seen() == [SILENT]
    assert monotonic() - since < ANSWER_TIMEOUT_S + AT_ONCE_S


def test_database_that_is_gone_is_silent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.serving() as server:
        monkeypatch.setenv("PGPORT", str(server.port))
    since = monotonic()
    assert seen() == [SILENT]
    assert monotonic() - since < AT_ONCE_S


# Balancers


def named(behave: Behaviour, own_name: str = "lb1") -> tuple[str | None, float]:
    """The name in the answer, and how long it took."""
    with serving(behave) as loopback:
        watch, since = AnswerWatch(*loopback.address, own_name), monotonic()
        asyncio.run(watch.look())
        return watch.name, monotonic() - since


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (reply(200, {}, "X-Balancer: lb1"), "lb1"),
        (reply(200, {}, "x-balancer:  lb2 "), "lb2"),
        # Whoever answers is there, whatever he thinks of the question.
        (reply(503, {}, "X-Balancer: lb1"), "lb1"),
        (reply(), ""),
        (b"not HTTP at all\r\n\r\n", ""),
        (b"\r\n\r\n", ""),
    ],
)
def test_balancer_is_known_by_the_name_in_its_answer(answer: bytes, name: str) -> None:
    assert named(say(answer))[0] == name


def test_balancer_that_is_asked_whether_it_can_serve_may_say_no() -> None:
    for status, name in ((200, "lb1"), (503, "")):
        with serving(say(reply(status, {}, "X-Balancer: lb1"))) as loopback:
            watch = AnswerWatch(*loopback.address, "lb1", "/region", only_if_well=True)
            asyncio.run(watch.look())
            assert watch.name == name


def test_each_question_has_a_connection_of_its_own() -> None:
    """A kept one would lead to who held the address before."""
    with serving(say(reply(200, {}, "X-Balancer: lb1"))) as loopback:
        watch = AnswerWatch(*loopback.address)
        for _ in range(3):
            asyncio.run(watch.look())
        assert loopback.connections == 3
        assert b"Connection: close" in loopback.requests[0]


@pytest.mark.parametrize("behave", [say_and_hang_up(b"HTTP/1.1 200 OK\r\nX-Balancer: lb1\r\n"), say_and_hang_up(b""), reset])
def test_broken_answer_is_none_at_once(monkeypatch: pytest.MonkeyPatch, behave: Behaviour) -> None:
    monkeypatch.setattr(observer, "BALANCER_TIMEOUT_S", 10.0)
    name, took_s = named(behave)
    assert name == ""
    assert took_s < AT_ONCE_S


def test_balancer_that_hangs_is_given_up_soon() -> None:
    name, took_s = named(say_nothing)
    assert name == ""
    assert BALANCER_TIMEOUT_S <= took_s < BALANCER_TIMEOUT_S + AT_ONCE_S


def test_a_silent_address_has_no_name_and_counts_no_look() -> None:
    with serving(say_nothing) as loopback:
        address = loopback.address
    watch = AnswerWatch(*address)
    assert watch.claim.looks == 0
    asyncio.run(watch.look())
    assert watch.name == ""


# Where packets go

MAC_1, MAC_2 = "02:42:c6:12:00:21", "02:42:c6:12:00:41"


def arp(*rows: tuple[str, int, str]) -> str:
    """As the kernel prints it."""
    head = "IP address       HW type     Flags       HW address            Mask     Device\n"
    return head + "".join(
        f"{address:<16} 0x1         0x{flags:x}         {mac}     *        eth0\n" for address, flags, mac in rows
    )


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([("198.18.0.10", 2, MAC_2), ("198.18.0.11", 2, MAC_1), ("198.18.0.12", 2, MAC_2)], "lb2"),
        ([("198.18.0.10", 6, MAC_1), ("198.18.0.11", 2, MAC_1)], "lb1"),
        # The kernel looks for it, or has never asked for the balancer itself.
        ([("198.18.0.10", 0, MAC_2), ("198.18.0.12", 2, MAC_2)], ""),
        ([("198.18.0.10", 2, MAC_2), ("198.18.0.12", 0, MAC_2)], ""),
        ([("198.18.0.11", 2, MAC_1), ("198.18.0.12", 2, MAC_2)], ""),
        ([], ""),
    ],
)
def test_packets_to_an_address_go_to_the_box_with_its_mac_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[tuple[str, int, str]], name: str
) -> None:
    monkeypatch.setattr(neighbours, "TABLE", tmp_path / "arp")
    assert neighbours.leads_to("198.18.0.10", ORDER["balancers"]) == ""
    (tmp_path / "arp").write_text(arp(*rows))
    assert neighbours.leads_to("198.18.0.10", ORDER["balancers"]) == name
    (tmp_path / "arp").write_text("head\nno table\n")
    assert neighbours.leads_to("198.18.0.10", ORDER["balancers"]) == ""


# All together

ENTRY = "198.18.0.10"
ORDER: dict[str, Any] = {
    "databases": {"db1": "198.18.3.31", "db2": "198.18.3.32"},
    "balancers": {"lb1": "198.18.0.11", "lb2": "198.18.0.12"},
    "entry": ENTRY,
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What each address answers; it can be changed. Of neighbours nothing is known."""
    monkeypatch.setattr(neighbours, "TABLE", tmp_path / "arp")
    all_is_well: dict[str, Any] = {
        "198.18.3.31": ("primary", 1, 1),
        "198.18.3.32": ("standby", 0, 0),
        "198.18.0.11": "lb1",
        "198.18.0.12": "lb1",
        ENTRY: "lb1",
    }

    async def ask(watch: DatabaseWatch | AnswerWatch) -> Any:
        answer = all_is_well[watch.host]
        if answer is None:
            raise TimeoutError
        return answer

    monkeypatch.setattr(DatabaseWatch, "_ask", ask)
    monkeypatch.setattr(AnswerWatch, "_ask", ask)
    return all_is_well


def look(watching: Observer, only: str = "", times: int = 2) -> dict[str, Any] | None:
    """Have everything looked at, or only what is at an address; and what is seen then."""

    async def all_look() -> None:
        for watch in watching.watches * times:
            assert isinstance(watch, (DatabaseWatch, AnswerWatch, RouteWatch))
            if only in ("", getattr(watch, "host", ENTRY)):
                await watch.look()

    asyncio.run(all_look())
    return watching.view()


def test_view_when_all_is_well(answers: dict[str, Any]) -> None:
    assert look(Observer(ORDER, "")) == {
        "databases": {"db1": "primary", "db2": "standby"},
        "standbys": 1,
        "synchronous": 1,
        # Each is asked who answers at the entry. Only who names itself holds the address.
        "vip_claimants": ["lb1"],
        "serving": ["lb1", "lb2"],
        "vip_owner": "lb1",
        "vip_leads_to": "",
    }


def test_two_primaries_are_seen_as_two_from_the_first_view_on(answers: dict[str, Any]) -> None:
    answers["198.18.3.32"] = ("primary", 0, 0)
    watching = Observer(ORDER, "")
    assert look(watching, times=1) is None
    found = look(watching, times=1)
    assert found is not None
    assert found["databases"] == {"db1": "primary", "db2": "primary"}


def test_nothing_is_seen_until_all_has_been_looked_at_twice(answers: dict[str, Any]) -> None:
    watching = Observer(ORDER, "")
    assert look(watching, times=1) is None
    addresses = [*ORDER["databases"].values(), *ORDER["balancers"].values(), ENTRY]
    for address in addresses[:-1]:
        assert look(watching, address, times=1) is None
    assert look(watching, addresses[-1], times=1) is not None


def test_balancers_that_both_answer_themselves_both_hold_the_address(answers: dict[str, Any]) -> None:
    answers["198.18.0.12"] = "lb2"
    watching = Observer(ORDER, "")
    look(watching)
    found = look(watching)
    assert found is not None
    assert (found["vip_claimants"], found["vip_owner"]) == (["lb1", "lb2"], "lb1")


def test_no_balancer_claims_the_vip(answers: dict[str, Any]) -> None:
    answers |= {"198.18.0.11": None, "198.18.0.12": "", ENTRY: None}
    found = look(Observer(ORDER, ""))
    assert found is not None
    assert (found["vip_claimants"], found["vip_owner"]) == ([], "")


def test_balancer_that_has_the_address_and_answers_nothing_is_known_by_its_packets(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    """Its HAProxy has stopped: it claims nothing, and its partner finds no owner either."""
    answers |= {"198.18.0.11": None, "198.18.0.12": "", ENTRY: None}
    (tmp_path / "arp").write_text(arp((ENTRY, 2, MAC_1), ("198.18.0.11", 2, MAC_1), ("198.18.0.12", 2, MAC_2)))
    found = look(Observer(ORDER, ""))
    assert found is not None
    assert (found["vip_claimants"], found["vip_owner"], found["vip_leads_to"]) == ([], "", "lb1")


@pytest.mark.parametrize(("hop", "holders"), [("198.18.0.12", ["lb2"]), (None, []), ("198.18.0.99", [])])
def test_where_all_announce_the_address_the_route_says_who_has_it(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, hop: str | None, holders: list[str]
) -> None:
    answers |= {"198.18.0.11": "lb1", "198.18.0.12": "", ENTRY: "lb2"}
    monkeypatch.setattr(observer, "next_hop", lambda address: hop if address == ENTRY else "198.18.0.1")
    found = look(Observer({**ORDER, "announced": True}, ""))
    assert found is not None
    assert found["vip_leads_to"] == "".join(holders)
    # Who can serve says so itself, whether users come to it or not.
    assert (found["vip_claimants"], found["serving"], found["vip_owner"]) == (holders, ["lb1"], "lb2")


def test_standbys_are_those_of_who_takes_writes(answers: dict[str, Any]) -> None:
    answers |= {"198.18.3.31": ("sync_blocked", 2, 0), "198.18.3.32": ("standby", 7, 7)}
    found = look(Observer(ORDER, ""))
    assert found is not None
    assert (found["databases"]["db1"], found["standbys"], found["synchronous"]) == ("sync_blocked", 2, 0)
    answers["198.18.3.31"] = None
    found = look(Observer(ORDER, ""))
    assert found is not None
    assert (found["databases"]["db1"], found["standbys"], found["synchronous"]) == ("unreachable", 0, 0)


def test_old_primary_that_has_just_died_and_the_new_one_are_never_two(answers: dict[str, Any]) -> None:
    """The one that died said 'primary' a moment ago, and has half a second to say it again."""
    watching = Observer(ORDER, "")
    look(watching)
    answers |= {"198.18.3.31": None, "198.18.3.32": ("primary", 0, 0)}
    found = look(watching, "198.18.3.32")
    assert found is not None
    assert found["databases"] == {"db1": "unreachable", "db2": "primary"}
    look(watching, "198.18.3.31")
    answers["198.18.3.31"] = ("primary", 0, 0)
    # It is back and says so, while the other one stays what it is.
    found = look(watching)
    assert found is not None
    assert watching.view() == {**found, "databases": {"db1": "primary", "db2": "primary"}}


def test_stage_without_balancers_has_no_holder_to_wait_for(answers: dict[str, Any]) -> None:
    assert look(Observer({**ORDER, "balancers": {}}, "")) == {
        "databases": {"db1": "primary", "db2": "standby"},
        "standbys": 1,
        "synchronous": 1,
        "vip_claimants": [],
        "serving": [],
        "vip_owner": "",
        "vip_leads_to": "",
    }


# Two that say of themselves that they are the only one


def claims(*said: tuple[int, str, bool]) -> list[set[str]]:
    """Whose claims are in effect after each of these (when, who, whether he claims it)."""
    of, found = {"a": Claim(), "b": Claim()}, []
    with pytest.MonkeyPatch.context() as patch:
        for at, who, claimed in said:
            patch.setattr(observer, "time", SimpleNamespace(monotonic=lambda at=at: float(at)))
            of[who].say(claimed)
            found.append({name for name, claim in of.items() if claim.outlives(of.values())})
    return found


def test_claim_that_was_not_repeated_since_another_began_is_not_in_effect() -> None:
    assert claims((1, "a", True), (2, "b", True)) == [{"a"}, {"b"}]


def test_claims_that_are_both_repeated_are_both_in_effect() -> None:
    said = ((1, "a", True), (2, "b", True), (3, "a", True), (4, "b", True))
    assert claims(*said)[-2:] == [{"a", "b"}, {"a", "b"}]


def test_claim_that_is_given_up_leaves_the_other_one() -> None:
    said = ((1, "a", True), (2, "b", True), (3, "a", True), (4, "a", False))
    assert claims(*said)[-1] == {"b"}


TICKS = st.integers(1, 100)


@given(st.lists(TICKS, min_size=4, max_size=4, unique=True).map(sorted), st.lists(st.tuples(TICKS, st.sampled_from("ab"))))
def test_two_that_follow_each_other_are_never_both_seen(bounds: list[int], asked: list[tuple[int, str]]) -> None:
    """However seldom each is asked: one answers from the first tick to the second, the other from the third to the fourth."""
    begin = {"a": bounds[0], "b": bounds[2]}
    end = {"a": bounds[1], "b": bounds[3]}
    said = [(at, who, begin[who] <= at < end[who]) for at, who in sorted(asked)]
    assert {len(found) for found in claims(*said)} <= {0, 1}


@given(st.lists(st.sampled_from("ab"), max_size=10))
def test_two_at_the_same_time_are_both_seen_once_each_has_said_so_twice(asked: list[str]) -> None:
    said = [(at, who, True) for at, who in enumerate([*asked, "a", "b", "a", "b"], 1)]
    assert claims(*said)[-1] == {"a", "b"}


# As the lab starts it


def test_it_prints_its_clocks_then_each_change_and_something_four_times_a_second(database: Postgres) -> None:
    order = json.dumps({"databases": {"db1": "127.0.0.1"}, "balancers": {}, "entry": ENTRY})
    process = subprocess.Popen(
        [sys.executable, "-m", "client.observer", order],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AUDITOR_PASSWORD": "secret"},
        cwd=Path(observer.__file__).parent.parent,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        clocks, first = (json.loads(process.stdout.readline()) for _ in range(2))
        since = monotonic()
        database.row = ("sync_blocked", 0, 0)
        changed = next(said for line in process.stdout if (said := json.loads(line))["databases"] != first["databases"])
        again = json.loads(process.stdout.readline())
        took_s = monotonic() - since
        process.stdin.close()
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.stdout.close()
    assert clocks["event"] == "clocks"
    assert abs(clocks["realtime_ns"] - time_ns()) < 60e9
    assert {key: first[key] for key in ("event", "databases", "standbys", "synchronous")} == {
        "event": "view",
        "databases": {"db1": "primary"},
        "standbys": 1,
        "synchronous": 1,
    }
    assert changed["databases"] == again["databases"] == {"db1": "sync_blocked"}
    assert clocks["monotonic_ns"] < first["clock_ns"] < changed["clock_ns"]
    # As well as a busy machine can: a longer silence than a second is a blind spot.
    assert 0.2 < (again["clock_ns"] - changed["clock_ns"]) / 1e9 < 1
    assert took_s < 3


def test_watch_that_dies_ends_the_observer_at_once() -> None:
    dying = """
import asyncio
from client import observer

async def look(self):
    raise LookupError("an answer that nobody foresaw")

observer.DatabaseWatch.look = look
asyncio.run(observer.main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", dying, json.dumps({"databases": {"db1": "127.0.0.1"}})],
        stdin=subprocess.PIPE,  # and it stays open
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AUDITOR_PASSWORD": "secret"},
        cwd=Path(observer.__file__).parent.parent,
    )
    try:
        assert process.wait(timeout=PATIENCE_S) == 1
        assert process.stderr is not None
        assert "an answer that nobody foresaw" in process.stderr.read()
    finally:
        process.kill()
