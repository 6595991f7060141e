from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from client.same_site import SameSite, is_own
from werkzeug.test import Client
from werkzeug.wrappers import Response

HERE = "127.0.0.1:8089"


def asked(*headers: tuple[str, str], host: str = HERE) -> dict[str, str]:
    return {"HTTP_HOST": host, **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers}}


@pytest.mark.parametrize("host", [HERE, "127.0.0.1", "localhost:1234", "[::1]:8089"])
def test_a_program_and_whoever_types_the_address_are_answered(host: str) -> None:
    assert is_own(asked(host=host))
    assert is_own(asked(("Sec-Fetch-Site", "none"), host=host))
    assert is_own(asked(("Sec-Fetch-Site", "same-origin"), ("Origin", f"http://{host}"), host=host))


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "http://elsewhere.example")],
        [("Origin", "null")],
        [("Origin", "https://127.0.0.1:8089")],
        # The order desk, and whatever else is on loopback, is another site.
        [("Origin", "http://127.0.0.1:8080"), ("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
    ],
)
def test_another_site_is_not(headers: list[tuple[str, str]]) -> None:
    assert not is_own(asked(*headers))


@pytest.mark.parametrize(
    "host", ["", "elsewhere.example", "elsewhere.example:8089", "127.0.0.1.example:8089", "127.0.0.1@example"]
)
def test_another_name_that_leads_here_is_not(host: str) -> None:
    assert not is_own(asked(host=host))
    assert not is_own({})


def open_to_all(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("access-control-allow-methods", "*"), ("X-Own", "yes")])
    return [environ["PATH_INFO"].encode()]


def test_answer_allows_no_other_site_and_is_otherwise_the_same() -> None:
    client = Client(SameSite(open_to_all), Response)
    answer = client.get("/stop", base_url=f"http://{HERE}")
    assert (answer.status_code, answer.get_data(as_text=True), answer.headers["X-Own"]) == (200, "/stop", "yes")
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


def test_another_site_stops_nothing() -> None:
    asked_for: list[str] = []

    def noting(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        asked_for.append(environ["PATH_INFO"])
        return open_to_all(environ, start_response)

    client = Client(SameSite(noting), Response)
    answer = client.get("/stop", base_url=f"http://{HERE}", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert asked_for == []
    assert "Access-Control-Allow-Origin" not in answer.headers
