"""A pool under requests that come at once, and when connections cannot be made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import orderdesk.pool
import pytest
from orderdesk.connection import BoundedConnection, ConnectionLost, Host, hosts_of
from orderdesk.pool import Pool
from psycopg.conninfo import conninfo_to_dict

from .fake_postgres import FakePostgres, serving

SIZE = 3
RETRY_S = 0.02
GRACE_S = 0.3


@pytest.fixture
def postgres() -> Iterator[FakePostgres]:
    with serving() as postgres:
        yield postgres


@contextmanager
def a_pool(postgres: FakePostgres, connect: Callable[[], BoundedConnection] | None = None) -> Iterator[Pool]:
    pool = Pool(Host("db", ""), connect or (lambda: connected(postgres)), SIZE, RETRY_S)
    try:
        yield pool
    finally:
        pool.close()


def connected(postgres: FakePostgres) -> BoundedConnection:
    return BoundedConnection.connect(postgres.conninfo, autocommit=True)


def use(pool: Pool, within_s: float = 1.0) -> None:
    with pool.connection(monotonic() + within_s) as conn:
        conn.execute("SELECT 1")


def test_requests_share_few_connections(postgres: FakePostgres) -> None:
    with a_pool(postgres) as pool:
        threads = [threading.Thread(target=lambda: [use(pool, 5.0) for _ in range(10)]) for _ in range(4 * SIZE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert postgres.statements("SELECT 1") == 40 * SIZE
    assert 1 <= postgres.statements("connect") <= SIZE


def test_one_request_more_waits_until_its_deadline_or_until_a_connection_is_free(postgres: FakePostgres) -> None:
    with a_pool(postgres) as pool, pool.connection(monotonic() + 5), pool.connection(monotonic() + 5):
        with pool.connection(monotonic() + 5):
            start = monotonic()
            with pytest.raises(ConnectionLost):
                use(pool, 0.1)
            assert 0.1 <= monotonic() - start < 0.1 + GRACE_S
        use(pool)


def test_connection_that_the_database_has_closed_is_not_lent(postgres: FakePostgres) -> None:
    with a_pool(postgres) as pool:
        use(pool)
        postgres.kill()
        postgres.start()
        use(pool)
    assert postgres.statements("connect") == 2


def test_connection_with_an_open_transaction_is_lent_without_it(postgres: FakePostgres) -> None:
    with a_pool(postgres, lambda: BoundedConnection.connect(postgres.conninfo)) as pool:
        use(pool)
        use(pool)
    assert postgres.statements("ROLLBACK") == 2
    assert postgres.statements("connect") == 1


def test_connection_that_is_not_needed_is_closed(postgres: FakePostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_pool(postgres) as pool:
        with pool.connection(monotonic() + 1), pool.connection(monotonic() + 1):
            pass
        assert len(pool._idle) == 2
        monkeypatch.setattr(orderdesk.pool, "IDLE_MAX_S", 0.0)
        use(pool)
        assert len(pool._idle) == 0


def test_connection_that_takes_for_ever_holds_no_request(postgres: FakePostgres) -> None:
    """As where the name service does not answer."""
    answered = threading.Event()

    def connect() -> BoundedConnection:
        answered.wait()
        return connected(postgres)

    with a_pool(postgres, connect) as pool:
        start = monotonic()
        for _ in range(3):
            with pytest.raises(ConnectionLost):
                use(pool, 0.05)
        assert monotonic() - start < 3 * 0.05 + GRACE_S
        answered.set()
        use(pool)
        assert postgres.statements("connect") == 1


@pytest.mark.parametrize("error", [ConnectionRefusedError(), RuntimeError(), MemoryError()])
def test_connection_that_cannot_be_made_is_tried_again(postgres: FakePostgres, error: Exception) -> None:
    fails = iter([True] * 3)

    def connect() -> BoundedConnection:
        if next(fails, False):
            raise error
        return connected(postgres)

    with a_pool(postgres, connect) as pool:
        start = monotonic()
        for _ in range(3):
            with pytest.raises(ConnectionLost):
                use(pool)
        use(pool)
        assert 2 * RETRY_S < monotonic() - start < 1.0
        assert pool._waiting == 0


def test_pool_that_is_closed_lends_nothing(postgres: FakePostgres) -> None:
    with a_pool(postgres) as pool:
        with pool.connection(monotonic() + 1) as conn:
            pool.close()
        assert conn.closed
        with pytest.raises(ConnectionLost):
            use(pool)


# Which databases there are


@pytest.mark.parametrize(
    ("conninfo", "names"),
    [
        ("host=db1,db2 user=u target_session_attrs=read-write", ["db1:5432", "db2:5432"]),
        ("host=db1,db2 port=5433", ["db1:5433", "db2:5433"]),
        ("host=db1,db2 port=5433,5434", ["db1:5433", "db2:5434"]),
        ("hostaddr=198.18.2.31,198.18.2.32", ["198.18.2.31:5432", "198.18.2.32:5432"]),
        ("host=db1,db2 hostaddr=198.18.2.31,198.18.2.32", ["db1:5432", "db2:5432"]),
        ("postgresql://u:p@db1:5432,db2:5433/d", ["db1:5432", "db2:5433"]),
    ],
)
def test_each_host_has_a_connection_string_of_its_own(conninfo: str, names: list[str]) -> None:
    hosts = hosts_of(conninfo)
    assert [host.name for host in hosts] == names
    assert all("," not in host.conninfo and "target_session_attrs" not in host.conninfo for host in hosts)


def test_settings_of_one_host_are_those_of_all() -> None:
    assert [conninfo_to_dict(host.conninfo) for host in hosts_of("host=db1,db2 port=1,2 user=u password='a b'")] == [
        {"host": "db1", "port": "1", "user": "u", "password": "a b"},
        {"host": "db2", "port": "2", "user": "u", "password": "a b"},
    ]


@pytest.mark.parametrize("conninfo", ["", "host=db user=u", "host=db target_session_attrs=read-write"])
def test_single_host_keeps_its_connection_string(conninfo: str) -> None:
    assert [host.conninfo for host in hosts_of(conninfo)] == [conninfo]


def test_hosts_and_ports_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        hosts_of("host=db1,db2,db3 port=1,2")
