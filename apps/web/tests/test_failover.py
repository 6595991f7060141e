"""Two databases, one of which takes over: what a request sees, and who is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import monotonic, sleep
from typing import Any

import pytest
from orderdesk.config import Config
from orderdesk.connection import BoundedConnection, ConnectionLost
from orderdesk.database import DatabaseUnavailable, OrderBook, OutcomeUnknown, commit
from orderdesk.finder import LAG_MAX_S, Progress, State

from .fake_postgres import ANSWER, SILENCE, FakePostgres, conninfo, serving

READ_DEADLINE_S, WRITE_DEADLINE_S = 0.4, 0.8
GRACE_S = 0.3
# What the application may add to a failover. (The busiest machine that runs these tests must manage it.)
FOUND_WITHIN_S = 0.15
FAR_S = 0.06
WHAT_ARE_YOU = "SELECT pg_is_in_recovery()"


@contextmanager
def a_book(*servers: FakePostgres, **settings: Any) -> Iterator[OrderBook]:
    book = OrderBook(
        Config(conninfo(*servers), "web1", read_deadline_s=READ_DEADLINE_S, write_deadline_s=WRITE_DEADLINE_S, **settings)
    )
    try:
        yield book
    finally:
        book.close()


@pytest.fixture
def db1() -> Iterator[FakePostgres]:
    with serving(name="db1") as postgres:
        yield postgres


@pytest.fixture
def db2() -> Iterator[FakePostgres]:
    with serving(name="db2", in_recovery=True) as postgres:
        yield postgres


@pytest.fixture
def book(db1: FakePostgres, db2: FakePostgres) -> Iterator[OrderBook]:
    """Has placed an order, and read it."""
    with a_book(db1, db2) as book:
        assert placed_by(book) == read_from(book) == "db1"
        yield book


def placed_by(book: OrderBook) -> str:
    return book.place("k-1", "coffee", 2).placed_by


def read_from(book: OrderBook) -> str:
    return book.find("k-1")[0].placed_by


def eventually(holds: Callable[[], bool], within_s: float = 2.0) -> float:
    """How long it took, in seconds."""
    start = monotonic()
    while not holds():
        assert monotonic() < start + within_s
        sleep(0.001)
    return monotonic() - start


def succeeds(work: Callable[[], object]) -> bool:
    try:
        work()
    except DatabaseUnavailable:
        return False
    return True


class Background(threading.Thread):
    """Does the work once; `result` is what it returned or raised, at `ended_at`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.ended_at = 0.0
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            self.result = error
        self.ended_at = monotonic()


def all_at_once(requests: int, work: Callable[[], object]) -> list[Background]:
    threads = [Background(work) for _ in range(requests)]
    for thread in threads:
        thread.join()
    return threads


def asked(postgres: FakePostgres) -> int:
    """How many orders it was asked to place or to read."""
    return postgres.statements("INSERT") + postgres.statements("SELECT id")


def heard_by_finder(postgres: FakePostgres) -> None:
    """Returns when the finder has its answer to a question that it asks from now on."""
    before = postgres.statements(WHAT_ARE_YOU)
    # The second question is asked after the answer to the first is known.
    eventually(lambda: postgres.statements(WHAT_ARE_YOU) >= before + 2)


def freeze(postgres: FakePostgres) -> None:
    postgres.freeze()


def kill(postgres: FakePostgres) -> None:
    postgres.kill()


def revive(postgres: FakePostgres) -> None:
    postgres.resume()
    if not postgres.serves:
        postgres.start()


Die = Callable[[FakePostgres], None]
however_it_dies = pytest.mark.parametrize("die", [freeze, kill])


# The primary is lost


@however_it_dies
def test_order_that_waits_is_placed_as_soon_as_there_is_a_new_primary(
    book: OrderBook, db1: FakePostgres, db2: FakePostgres, die: Die
) -> None:
    die(db1)
    assert read_from(book) == "db2"  # by now db1 is doubted
    waiting = Background(lambda: placed_by(book))
    waiting.join(0.1)
    assert waiting.is_alive()
    db2.promote(timeline=2)
    promoted_at = monotonic()
    waiting.join()
    assert waiting.result == "db2"
    assert waiting.ended_at - promoted_at < FOUND_WITHIN_S


@however_it_dies
def test_reads_go_on_while_there_is_no_primary(book: OrderBook, db1: FakePostgres, die: Die) -> None:
    die(db1)
    start = monotonic()
    assert read_from(book) == "db2"
    assert monotonic() - start < READ_DEADLINE_S
    # Only the first read has waited for db1.
    start = monotonic()
    assert [read_from(book) for _ in range(20)] == ["db2"] * 20
    assert monotonic() - start < READ_DEADLINE_S


@however_it_dies
def test_box_is_ready_while_some_database_can_be_read(book: OrderBook, db1: FakePostgres, db2: FakePostgres, die: Die) -> None:
    """What a balancer asks for its whole region: a lost primary must not take the region out."""
    die(db1)
    start = monotonic()
    book.ping()
    assert monotonic() - start < READ_DEADLINE_S
    die(db2)
    start = monotonic()
    with pytest.raises(DatabaseUnavailable):
        book.ping()
    assert monotonic() - start < READ_DEADLINE_S + GRACE_S
    revive(db2)
    eventually(lambda: succeeds(book.ping))


def test_order_under_way_on_a_frozen_primary_is_placed_on_the_new_one(
    book: OrderBook, db1: FakePostgres, db2: FakePostgres
) -> None:
    db1.freeze()
    waiting = Background(lambda: placed_by(book))
    waiting.join(0.1)
    db2.promote(timeline=2)
    waiting.join()
    assert waiting.result == "db2"
    assert db2.statements("INSERT") == db2.statements("COMMIT") == 1


def test_commit_under_way_when_there_is_a_new_primary_is_unknown_and_not_tried_again(
    book: OrderBook, db1: FakePostgres, db2: FakePostgres
) -> None:
    db1.behave = lambda statement: SILENCE if statement == "COMMIT" else ANSWER
    before = db1.statements("COMMIT")
    waiting = Background(lambda: placed_by(book))
    eventually(lambda: db1.statements("COMMIT") > before)
    db2.promote(timeline=2)
    promoted_at = monotonic()
    waiting.join()
    assert isinstance(waiting.result, OutcomeUnknown)
    assert waiting.ended_at - promoted_at < FOUND_WITHIN_S
    assert db2.statements("INSERT") == 0


def test_primary_that_is_read_only_yet_is_read_and_not_written(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    db1.kill()
    db2.timeline, db2.read_only, db2.in_recovery = 2, True, False
    assert not succeeds(lambda: placed_by(book))
    assert read_from(book) == "db2"
    assert db2.statements("INSERT") == 0
    db2.promote(timeline=2)
    assert placed_by(book) == "db2"


def test_primary_that_restarts_is_used_again(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    db1.kill()
    assert read_from(book) == "db2"
    db1.start()
    assert placed_by(book) == "db1"
    assert read_from(book) == "db1"


def test_failover_and_back(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    for timeline, old, new in [(2, db1, db2), (3, db2, db1), (4, db1, db2)]:
        old.kill()
        new.promote(timeline)
        assert placed_by(book) == read_from(book) == new.name
        old.in_recovery = True
        old.start()


def test_connections_for_orders_to_the_old_primary_are_closed(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    eventually(lambda: len(db1.connections) == 3)  # for orders, reads, the finder
    db2.promote(timeline=2)
    heard_by_finder(db2)
    assert placed_by(book) == "db2"
    eventually(lambda: len(db1.connections) == 2)


def test_promotion_that_was_never_finished_supersedes_no_primary(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    db1.kill()
    db2.timeline, db2.read_only, db2.in_recovery = 2, True, False
    heard_by_finder(db2)
    db2.kill()
    db1.start()
    assert placed_by(book) == read_from(book) == "db1"


# The old primary comes back


def test_old_primary_is_not_used_when_it_comes_back(book: OrderBook, db1: FakePostgres, db2: FakePostgres) -> None:
    db1.freeze()
    db2.promote(timeline=2)
    assert placed_by(book) == "db2"
    before = asked(db1)
    db1.resume()
    assert [placed_by(book) for _ in range(5)] + [read_from(book) for _ in range(5)] == ["db2"] * 10
    heard_by_finder(db1)
    assert [placed_by(book) for _ in range(5)] + [read_from(book) for _ in range(5)] == ["db2"] * 10
    db2.kill()
    assert not succeeds(lambda: placed_by(book))
    assert not succeeds(lambda: read_from(book))
    assert asked(db1) == before
    db1.in_recovery = True
    assert read_from(book) == "db1"


@pytest.mark.parametrize("turn", [1, -1])
def test_fresh_process_takes_the_primary_of_the_higher_timeline(db1: FakePostgres, db2: FakePostgres, turn: int) -> None:
    db2.promote(timeline=2)
    with a_book(*[db1, db2][::turn]) as book:
        assert placed_by(book) == read_from(book) == "db2"
    assert asked(db1) == 0


def test_fresh_process_gives_the_other_database_time_to_say_that_it_is_the_primary(db1: FakePostgres, db2: FakePostgres) -> None:
    db2.promote(timeline=2)
    db2.freeze()
    with a_book(db1, db2) as book:
        waiting = Background(lambda: placed_by(book))
        eventually(lambda: db1.statements(WHAT_ARE_YOU) > 0)
        db2.resume()
        waiting.join()
    assert waiting.result == "db2"
    assert asked(db1) == 0


def test_fresh_process_does_not_wait_for_a_database_that_is_frozen(db1: FakePostgres, db2: FakePostgres) -> None:
    db2.freeze()
    start = monotonic()
    with a_book(db1, db2) as book:
        assert placed_by(book) == read_from(book) == "db1"
        assert monotonic() - start < Config.connect_timeout_s


# What is no acknowledgement


def test_commit_that_stopped_waiting_for_the_standby_is_unknown(book: OrderBook, db1: FakePostgres) -> None:
    db1.commit_warning = "canceling wait for synchronous replication due to user request"
    with pytest.raises(OutcomeUnknown, match="synchronous replication"):
        placed_by(book)
    db1.commit_warning = ""
    assert placed_by(book) == "db1"


def test_commit_that_an_old_primary_acknowledges_is_unknown(db1: FakePostgres) -> None:
    with closing(BoundedConnection.connect(db1.conninfo)) as conn:
        conn.superseded = lambda: db1.statements("COMMIT") > 0
        conn.execute("INSERT")
        with pytest.raises(OutcomeUnknown):
            commit(conn)


def test_commit_is_not_sent_to_an_old_primary(db1: FakePostgres) -> None:
    with closing(BoundedConnection.connect(db1.conninfo)) as conn:
        conn.execute("INSERT")
        conn.superseded = lambda: True
        with pytest.raises(ConnectionLost):
            commit(conn)
    assert db1.statements("COMMIT") == 0


# Nothing answers


@however_it_dies
def test_every_request_ends_by_its_deadline_and_later_ones_succeed(
    book: OrderBook, db1: FakePostgres, db2: FakePostgres, die: Die
) -> None:
    die(db1)
    die(db2)
    start = monotonic()
    # More than there are places: some are turned away at once.
    writes = Background(lambda: all_at_once(40, lambda: placed_by(book)))
    reads = all_at_once(40, lambda: read_from(book))
    writes.join()
    assert isinstance(writes.result, list)
    for requests, deadline_s in [(reads, READ_DEADLINE_S), (writes.result, WRITE_DEADLINE_S)]:
        assert {type(request.result) for request in requests} == {DatabaseUnavailable}
        assert max(request.ended_at for request in requests) - start < deadline_s + GRACE_S
    revive(db1)
    assert placed_by(book) == read_from(book) == "db1"
    # Every place is free again.
    places = Config.pool_size + Config.pool_waiting
    assert {request.result for request in all_at_once(places, lambda: placed_by(book))} == {"db1"}
    assert {request.result for request in all_at_once(places, lambda: read_from(book))} == {"db1"}


# What it costs


def test_closing_leaves_no_thread_and_no_connection(db1: FakePostgres, db2: FakePostgres) -> None:
    with a_book(db1, db2) as book:
        assert placed_by(book) == read_from(book) == "db1"
        db1.freeze()
        assert read_from(book) == "db2"
    eventually(lambda: own_threads() == [])
    db1.resume()
    eventually(lambda: not db1.connections and not db2.connections)


def test_single_database_is_not_watched(db1: FakePostgres) -> None:
    with a_book(db1) as book:
        assert placed_by(book) == read_from(book) == "db1"
        eventually(lambda: own_threads() == [])
    assert db1.statements(WHAT_ARE_YOU) == 0
    assert db1.statements("connect") == 2


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("watch", "connect"))]


def test_reads_go_to_a_standby_nearby_before_one_far_away(db1: FakePostgres) -> None:
    def far_away(_: str) -> str:
        sleep(FAR_S)
        return ANSWER

    with (
        serving(far_away, name="far", in_recovery=True) as far,
        serving(name="near", in_recovery=True) as near,
        a_book(db1, far, near, read_patience_s=0.1) as book,
    ):
        placed_by(book)
        eventually(lambda: far.statements(WHAT_ARE_YOU) > 1 and near.statements(WHAT_ARE_YOU) > 1)
        db1.kill()
        # The far one stands before it in the list, and would have answered as well.
        eventually(lambda: succeeds(lambda: read_from(book)))
        assert read_from(book) == "near"


def test_reads_go_to_the_standby_that_has_most(db1: FakePostgres) -> None:
    def far_away(_: str) -> str:
        sleep(FAR_S)
        return ANSWER

    with (
        serving(far_away, name="ahead", in_recovery=True, position=200) as ahead,
        serving(name="behind", in_recovery=True, position=100) as behind,
        a_book(db1, ahead, behind, read_patience_s=0.3) as book,
    ):
        placed_by(book)
        eventually(lambda: ahead.statements(WHAT_ARE_YOU) > 1 and behind.statements(WHAT_ARE_YOU) > 1)
        db1.kill()
        eventually(lambda: succeeds(lambda: read_from(book)))
        assert read_from(book) == "ahead"
        # An old answer is better than none.
        ahead.kill()
        eventually(lambda: succeeds(lambda: read_from(book)))
        assert read_from(book) == "behind"


def test_standby_that_shows_the_past_is_not_read_while_the_primary_is_only_slow(
    book: OrderBook, db1: FakePostgres, db2: FakePostgres
) -> None:
    db1.position, db2.position = 200, 100
    fall_behind(db1)
    db1.freeze()
    with pytest.raises(DatabaseUnavailable):
        read_from(book)
    db1.resume()
    assert eventually(lambda: succeeds(lambda: read_from(book))) < LAG_MAX_S
    assert read_from(book) == "db1"
    # An old answer is better than none.
    db1.kill()
    eventually(lambda: succeeds(lambda: read_from(book)), LAG_MAX_S + 1)
    assert read_from(book) == "db2"


def fall_behind(primary: FakePostgres) -> None:
    """Returns when the primary has said for long enough where it is."""
    before = primary.statements(WHAT_ARE_YOU)
    eventually(lambda: primary.statements(WHAT_ARE_YOU) >= before + 2 + LAG_MAX_S / Config.find_period_s, LAG_MAX_S + 4)


def test_no_standby_has_to_show_the_last_moments_of_a_primary() -> None:
    progress = Progress()
    for at_s, position in ((0.0, 100), (0.5, 150), (1.0, 200), (1.4, 240), (2.0, 300)):
        progress.note(1, position, at_s)
    assert not progress.shows_past(standby_at(200))
    assert progress.shows_past(standby_at(199))
    assert not progress.is_old(3.0)
    assert progress.is_old(3.1)


def test_new_primary_begins_a_new_count() -> None:
    progress = Progress()
    progress.note(1, 100, 0.0)
    progress.note(1, 200, 2.0)
    assert progress.shows_past(standby_at(50))
    # Who has less than the new one began with follows the old one still, and does not know what is ordered now.
    progress.note(2, 210, 2.5)
    assert progress.shows_past(standby_at(209))
    assert not progress.shows_past(standby_at(210))
    progress.note(2, 240, 2.75)
    assert not progress.shows_past(standby_at(210))
    progress.note(2, 260, 3.5)
    assert progress.shows_past(standby_at(209))
    assert not progress.shows_past(State(in_recovery=False, read_only=True, timeline=2))


def standby_at(position: int) -> State:
    return State(in_recovery=True, read_only=True, timeline=0, position=position)
