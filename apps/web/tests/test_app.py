from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st
from orderdesk.app import BODY_MAX_BYTES, ITEM_MAX_CHARS, KEY_MAX_CHARS, LIST_MAX, QUANTITY_MAX, create_app, parse_order
from orderdesk.config import Config
from orderdesk.database import DatabaseUnavailable, Order, OrderBook, OutcomeUnknown
from werkzeug.test import create_environ, run_wsgi_app

COFFEE = {"key": "k-1", "item": "coffee", "quantity": 2}
METRICS = ("metrics", "counts-are-kept")


class FakeBook(OrderBook):
    """Orders in memory; fails as told."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.failure: Exception | None = None
        self.limit = 0

    def _fail(self) -> None:
        if self.failure:
            raise self.failure

    def place(self, key: str, item: str, quantity: int) -> Order:
        self._fail()
        self.orders.append(Order(len(self.orders) + 1, key, item, quantity, "web1", datetime(2026, 1, 31, tzinfo=UTC)))
        return self.orders[-1]

    def find(self, key: str) -> list[Order]:
        self._fail()
        return [order for order in self.orders if order.key == key]

    def latest(self, limit: int) -> list[Order]:
        self._fail()
        self.limit = limit
        return self.orders[::-1][:limit]

    def ping(self) -> None:
        self._fail()


@pytest.fixture
def book() -> FakeBook:
    return FakeBook()


@pytest.fixture
def client(book: FakeBook) -> FlaskClient:
    return create_app(Config(database="", box="web1", metrics_password=METRICS[1]), book).test_client()


def test_order_is_placed_and_read_back(client: FlaskClient) -> None:
    placed = client.post("/orders", json=COFFEE)
    assert placed.status_code == 201
    order = placed.get_json()["order"]
    assert order == {**COFFEE, "id": 1, "placed_by": "web1", "placed_at": "2026-01-31T00:00:00+00:00"}
    read = client.get("/orders/k-1")
    assert read.status_code == 200
    assert read.get_json() == {"served_by": "web1", "orders": [order]}


def test_order_that_was_executed_twice_is_shown_twice(client: FlaskClient) -> None:
    client.post("/orders", json=COFFEE)
    client.post("/orders", json=COFFEE)
    assert [order["id"] for order in client.get("/orders/k-1").get_json()["orders"]] == [1, 2]


def test_unknown_order_is_404(client: FlaskClient) -> None:
    assert client.get("/orders/nosuch").status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"key": "k"}', b'{"key": "", "item": "coffee"}', b"\xff"])
def test_malformed_order_is_400_and_not_placed(client: FlaskClient, book: FakeBook, body: bytes) -> None:
    answer = client.post("/orders", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.get_json()["outcome"] == "not-placed"
    assert answer.get_json()["error"]
    assert book.orders == []


class Endless:
    """A body without an end, and without a length that was said before; `read` counts what was taken of it."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        size = size if size >= 0 else 8192
        self.read_bytes += size
        assert self.read_bytes <= BODY_MAX_BYTES, "it is read without an end"
        return b"x" * size

    readline = read


def padded(size: int) -> bytes:
    """An order of so many bytes: JSON may be followed by spaces."""
    return b'{"key": "k-1", "item": "coffee"}'.ljust(size)


def test_order_as_large_as_allowed_is_placed(client: FlaskClient, book: FakeBook) -> None:
    assert client.post("/orders", data=padded(BODY_MAX_BYTES), content_type="application/json").status_code == 201
    assert len(book.orders) == 1


def test_body_that_is_too_large_is_413_and_not_placed(client: FlaskClient, book: FakeBook) -> None:
    answer = client.post("/orders", data=padded(BODY_MAX_BYTES + 1), content_type="application/json")
    assert (answer.status_code, answer.get_json()["outcome"]) == (413, "not-placed")
    assert str(BODY_MAX_BYTES) in answer.get_json()["error"]
    # One line, as every error.
    assert answer.get_data(as_text=True).count("\n") == 1
    assert book.orders == []
    assert 'orderdesk_answers_total{kind="write",status="413"} 1' in client.get("/metrics", auth=METRICS).get_data(as_text=True)


def test_body_without_a_length_is_not_read_beyond_the_limit(client: FlaskClient, book: FakeBook) -> None:
    body = Endless()
    environment = create_environ("/orders", method="POST", content_type="application/json")
    environment |= {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    _, status, _ = run_wsgi_app(client.application, environment)
    # What was read of it is no order.
    assert (status, book.orders) == ("400 BAD REQUEST", [])
    assert 0 < body.read_bytes <= BODY_MAX_BYTES


@pytest.mark.parametrize(("method", "path"), [("POST", "/orders"), ("GET", "/orders/k"), ("GET", "/orders"), ("GET", "/readyz")])
def test_database_that_does_not_answer_is_503_and_nothing_placed(
    client: FlaskClient, book: FakeBook, method: str, path: str
) -> None:
    book.failure = DatabaseUnavailable("gone")
    answer = client.open(path, method=method, json=COFFEE)
    assert answer.status_code == 503
    assert answer.get_json()["outcome"] == "not-placed"


def test_commit_that_was_not_confirmed_is_504_and_unknown(client: FlaskClient, book: FakeBook) -> None:
    book.failure = OutcomeUnknown("gone")
    answer = client.post("/orders", json=COFFEE)
    assert answer.status_code == 504
    assert answer.get_json()["outcome"] == "unknown"


def test_process_is_alive_while_its_database_is_not(client: FlaskClient, book: FakeBook) -> None:
    assert client.get("/readyz").status_code == 200
    book.failure = DatabaseUnavailable("gone")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("query", "limit"),
    [("", 20), ("?limit=7", 7), ("?limit=0", 1), ("?limit=-5", 1), ("?limit=5000", LIST_MAX), ("?limit=x", 20)],
)
def test_list_has_bounds(client: FlaskClient, book: FakeBook, query: str, limit: int) -> None:
    assert client.get(f"/orders{query}").status_code == 200
    assert book.limit == limit


@pytest.mark.parametrize(
    ("method", "path", "failure", "status"),
    [
        ("GET", "/", None, 200),
        ("GET", "/healthz", None, 200),
        ("GET", "/orders", None, 200),
        ("POST", "/orders", None, 201),
        ("GET", "/orders/nosuch", None, 404),
        ("GET", "/nosuch", None, 404),
        ("DELETE", "/orders", None, 405),
        ("GET", "/orders", ZeroDivisionError(), 500),
        ("GET", "/orders", DatabaseUnavailable(), 503),
        ("POST", "/orders", OutcomeUnknown(), 504),
    ],
)
def test_every_answer_says_who_gave_it_and_is_not_kept(
    client: FlaskClient, book: FakeBook, method: str, path: str, failure: Exception | None, status: int
) -> None:
    book.failure = failure
    answer = client.open(path, method=method, json=COFFEE)
    assert answer.status_code == status
    assert answer.headers["X-Served-By"] == "web1"
    assert answer.headers["Cache-Control"] == "no-store"


# What an order is

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=100)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(TEXT, TEXT, st.integers(1, QUANTITY_MAX))
def test_order_is_taken_as_it_is(key: str, item: str, quantity: int) -> None:
    assert parse_order({"key": key, "item": item, "quantity": quantity, "more": 1}) == (key, item, quantity)
    assert parse_order({"key": key, "item": item}) == (key, item, 1)


@given(JSON | st.fixed_dictionaries({"key": TEXT | JSON, "item": TEXT | JSON, "quantity": st.integers(-5, 2000) | JSON}))
@example({"key": "k", "item": "coffee", "quantity": True})
@example({"key": "k", "item": "coffee", "quantity": 1.0})
@example({"key": "k" * 101, "item": "coffee"})
@example({"key": "a/b", "item": "coffee"})
def test_anything_else_is_refused(body: Any) -> None:
    try:
        key, item, quantity = parse_order(body)
    except ValueError:
        return
    assert isinstance(key, str)
    assert 1 <= len(key) <= KEY_MAX_CHARS
    assert not {"/", "\0"} & set(key)
    assert isinstance(item, str)
    assert 1 <= len(item) <= ITEM_MAX_CHARS
    assert type(quantity) is int
    assert 1 <= quantity <= QUANTITY_MAX


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "k" * (KEY_MAX_CHARS + 1)}, "key"),
        ({"key": "a/b"}, "key"),
        ({"key": "a\0"}, "key"),
        ({"key": 7}, "key"),
        ({"item": ""}, "item"),
        ({"item": "i" * (ITEM_MAX_CHARS + 1)}, "item"),
        ({"item": None}, "item"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": QUANTITY_MAX + 1}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": 1.0}, "quantity"),
        ({"quantity": "1"}, "quantity"),
    ],
)
def test_refusal_says_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said} must be"):
        parse_order({**COFFEE, **changes})


@pytest.mark.parametrize("field", ["key", "item"])
def test_text_that_no_database_can_hold_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        parse_order({**COFFEE, field: "\ud800"})


# Settings


def test_settings_come_from_the_environment() -> None:
    config = Config.from_environment({"DATABASE": "host=db", "BOX": "web7", "READ_DEADLINE_S": "0.25", "POOL_SIZE": "3"})
    assert (config.database, config.box, config.read_deadline_s, config.pool_size) == ("host=db", "web7", 0.25, 3)
    assert config.write_deadline_s == Config.write_deadline_s
    assert Config.from_environment({"DATABASE": "host=db", "READ_PATIENCE_S": "0.2"}).read_patience_s == 0.2
    assert Config.from_environment({"DATABASE": "host=db"}).box


def test_settings_that_are_missing_or_malformed() -> None:
    with pytest.raises(KeyError):
        Config.from_environment({})
    with pytest.raises(ValueError, match="soon"):
        Config.from_environment({"DATABASE": "host=db", "READ_DEADLINE_S": "soon"})


def test_answers_to_users_are_counted_and_questions_about_health_are_not(client: FlaskClient, book: FakeBook) -> None:
    client.post("/orders", json=COFFEE)
    client.post("/orders", json={})
    client.get("/orders/nobody-s")
    client.get("/orders")
    client.get("/healthz")
    client.get("/nowhere")
    book.failure = OutcomeUnknown("gone")
    client.post("/orders", json=COFFEE)
    told = client.get("/metrics", auth=METRICS)
    assert told.content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = told.get_data(as_text=True).splitlines()
    assert lines[1] == "# TYPE orderdesk_answers_total counter"
    assert lines[2:] == [
        'orderdesk_answers_total{kind="read",status="200"} 1',
        'orderdesk_answers_total{kind="read",status="404"} 1',
        'orderdesk_answers_total{kind="write",status="201"} 1',
        'orderdesk_answers_total{kind="write",status="400"} 1',
        'orderdesk_answers_total{kind="write",status="504"} 1',
    ]


@pytest.mark.parametrize("auth", [None, ("metrics", ""), ("metrics", "guessed"), ("metrics", f"{METRICS[1]} "), ("metrics", "é")])
@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics?all"])
def test_figures_are_not_there_for_who_has_no_password(client: FlaskClient, path: str, auth: tuple[str, str] | None) -> None:
    told, nowhere = client.get(path, auth=auth), client.get("/nowhere")
    assert (told.status_code, told.data) == (nowhere.status_code, nowhere.data) == (404, nowhere.data)
    assert client.get(path, headers={"Authorization": f"Bearer {METRICS[1]}"}).status_code == 404


def test_figures_are_shown_to_nobody_where_no_password_is_set(book: FakeBook) -> None:
    config = Config.from_environment({"DATABASE": "host=db"})
    client = create_app(config, book).test_client()
    assert [client.get("/metrics", auth=auth).status_code for auth in (None, ("metrics", ""))] == [404, 404]
    assert Config.from_environment({"DATABASE": "host=db", "METRICS_PASSWORD": "p"}).metrics_password == "p"
