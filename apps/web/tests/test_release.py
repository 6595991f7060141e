from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic

import pytest
from flask import Flask
from flask.testing import FlaskClient
from orderdesk import release
from orderdesk.app import create_app
from orderdesk.config import Config
from orderdesk.defects import bad, poisonous

from .test_app import COFFEE, METRICS, FakeBook

LATE_S = 0.1


def desk(named: str, book: FakeBook | None = None) -> Flask:
    app = create_app(Config(database="", box="web1", metrics_password=METRICS[1]), book or FakeBook(), named)
    release.put_into(app, named)
    return app


def client_of(named: str, book: FakeBook | None = None) -> FlaskClient:
    return desk(named, book).test_client()


def statuses(client: FlaskClient) -> list[int]:
    """Of what users ask for: an order, one of them, all of them."""
    placed = client.post("/orders", json=COFFEE)
    return [placed.status_code, client.get("/orders/k-1").status_code, client.get("/orders").status_code]


# Which it is


def test_the_good_release_is_the_one_that_no_file_names(tmp_path: Path) -> None:
    file = tmp_path / "release"
    assert release.named(file) == release.GOOD
    file.write_text("bad answer=error\n", encoding="utf-8")
    assert release.named(file) == "bad answer=error"
    file.write_text("", encoding="utf-8")
    assert release.named(file) == release.GOOD


def test_no_defect_is_loaded_with_the_good_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in release.WITH_A_DEFECT:
        monkeypatch.delitem(sys.modules, f"orderdesk.defects.{name}", raising=False)
    assert statuses(client_of(release.GOOD)) == [201, 200, 200]
    assert not [name for name in release.WITH_A_DEFECT if f"orderdesk.defects.{name}" in sys.modules]


@pytest.mark.parametrize("named", ["good", "bad answer=error", "poisonous"])
def test_each_says_which_it_is_where_it_is_asked_for_its_health(named: str) -> None:
    assert client_of(named).get("/healthz").get_json()["release"] == named


def test_there_is_no_other_release() -> None:
    for named in ("newest", "app", "../bad", "bad answer=slow slow_ms=soon"):
        with pytest.raises(ValueError, match=r"there is no release|could not convert"):
            desk(named)


# bad


def test_bad_release_answers_users_with_500_and_is_healthy() -> None:
    book = FakeBook()
    client = client_of("bad answer=error", book)
    assert statuses(client) == [500, 500, 500]
    assert book.orders == []
    assert [client.get(path, auth=METRICS).status_code for path in ("/healthz", "/readyz", "/metrics", "/")] == [
        200,
        200,
        200,
        200,
    ]


def test_bad_answers_are_counted_and_say_which_box_gave_them() -> None:
    client = client_of("bad answer=error percent=100")
    assert client.get("/orders").headers["X-Served-By"] == "web1"
    assert 'orderdesk_answers_total{kind="read",status="500"} 1' in client.get("/metrics", auth=METRICS).get_data(as_text=True)


def test_slow_release_answers_as_the_good_one_does_and_late() -> None:
    client = client_of(f"bad answer=slow slow_ms={LATE_S * 1000:g}")
    since = monotonic()
    assert statuses(client) == [201, 200, 200]
    assert monotonic() - since >= 3 * LATE_S
    since = monotonic()
    assert client.get("/healthz").status_code == 200
    assert monotonic() - since < LATE_S


def test_some_answers_are_bad_where_not_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    chances = iter([0.29, 0.3, 0.31])
    monkeypatch.setattr(bad, "random", lambda: next(chances))
    assert statuses(client_of("bad answer=error percent=30")) == [500, 404, 200]


# poisonous


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def test_poisonous_release_dies_of_one_request_and_serves_every_other(died: list[int]) -> None:
    client = client_of("poisonous")
    assert statuses(client) == [201, 200, 200]
    for limit in ("20", "(20)", "(" * poisonous.DEPTH_MAX, "20" + "(" * 64):
        assert client.get("/orders", query_string={"limit": limit}).status_code == 200
    assert died == []
    client.get(f"/orders?limit={'(' * (poisonous.DEPTH_MAX + 1)}")
    assert died == [poisonous.EXIT_CODE]


def test_what_kills_the_poisonous_release_is_nothing_to_the_good_one(died: list[int]) -> None:
    assert client_of("good").get(f"/orders?limit={'(' * 64}").status_code == 200
    assert died == []
