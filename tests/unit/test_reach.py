"""lab-reach of a balancer box: when it is without the address, and what it hears from others."""

from __future__ import annotations

import socket
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripts import load
from tests.unit.servers import serving

reach = load(Path(__file__).parents[2] / "compose/balancer/lab-reach")
# Whether it holds the address, hears its partner; what it is told.
LOOKS = st.tuples(st.booleans(), st.booleans(), st.sampled_from(["stay", "leave", "hand over", None]))
Look = tuple[bool, bool, str | None]


def looked(looks: list[Look]) -> list[bool]:
    """Whether it was without the address after each look."""
    judgement, found = reach.Apartness(), []
    for holds, hears, told in looks:
        judgement.look(lambda holds=holds: holds, lambda hears=hears: hears, lambda told=told: told)
        found.append(judgement.apart)
    return found


@given(st.lists(LOOKS), LOOKS)
def test_who_hears_its_partner_leaves_it_to_the_two_of_them(before: list[Look], last: Look) -> None:
    assert not looked([*before, (last[0], True, last[2])])[-1]


@given(st.lists(LOOKS))
def test_only_a_balancer_that_has_the_vip_and_is_sent_away_leaves(looks: list[Look]) -> None:
    for before, after, (holds, hears, told) in zip([False, *looked(looks)], looked(looks), looks, strict=False):
        if after and not before:
            assert holds
            assert not hears
            assert told in ("leave", "hand over")


@pytest.mark.parametrize(
    ("told", "apart"),
    [
        (["leave"], [True]),
        (["leave", "stay"], [True, True]),
        (["leave", None, "stay"], [True, True, False]),
        (["leave", None, "leave", None], [True, True, True, True]),
        (["leave", "hand over", "hand over"], [True, True, True]),
        (["hand over"], [False]),
        (["hand over", "hand over"], [False, True]),
        (["hand over", "stay", "hand over"], [False, False, False]),
        (["hand over", "leave"], [False, True]),
        (["stay", None], [False, False]),
    ],
)
def test_one_answer_that_is_late_moves_nothing(told: list[str | None], apart: list[bool]) -> None:
    """Nor does one look at a partner who is late. (Who has left no longer holds the address, and asks on.)"""
    assert looked([(True, False, each) for each in told]) == apart


def test_no_question_is_asked_without_need() -> None:
    asked: list[str] = []

    def saying(name: str, value: bool) -> bool:
        asked.append(name)
        return value

    judgement = reach.Apartness()
    for holds, hears in ((False, False), (True, True), (True, False)):
        judgement.look(
            lambda holds=holds: saying("holds", holds),
            lambda hears=hears: saying("hears", hears),
            lambda: asked.append("arbiter"),
        )
    assert asked == ["holds", "holds", "hears", "holds", "hears", "arbiter"]


class Handler(BaseHTTPRequestHandler):
    """Says 'leave' to lb2 and nothing to others."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/lb2" else 503)
        self.end_headers()
        self.wfile.write(b"leave\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_only_a_good_answer_counts() -> None:
    with serving(Handler) as port:
        assert reach.ask("127.0.0.1", port, "/lb2", 5.0) == "leave"
        assert reach.ask("127.0.0.1", port, "/lb1", 5.0) is None
    assert reach.ask("127.0.0.1", port, "/lb2", 5.0) is None


def test_who_accepts_and_says_nothing_is_not_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as frozen:
        since = monotonic()
        assert reach.ask("127.0.0.1", frozen.getsockname()[1], "/health", 0.1) is None
        assert monotonic() - since < 2.0


def test_an_address_is_held_or_not() -> None:
    assert reach.holds("127.0.0.1")
    # TEST-NET-1: of no machine (RFC 5737).
    assert not reach.holds("192.0.2.1")


def test_file_is_written_where_it_changes_only(tmp_path: Path) -> None:
    file = tmp_path / "apart"
    tracked = reach.Tracked(file)
    tracked.write(False)
    assert file.read_text() == "0\n"
    file.unlink()
    tracked.write(False)
    assert not file.exists()
    tracked.write(True)
    assert file.read_text() == "1\n"
