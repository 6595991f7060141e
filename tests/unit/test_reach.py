"""lab-reach of a balancer box: what a balancer is worth, when it is without the address, and what it hears from others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripts import load
from tests.unit.servers import serving

SCRIPT = Path(__file__).parents[2] / "compose/balancer/lab-reach"
reach = load(SCRIPT)
Beat, Seen, Word = reach.Beat, reach.Seen, reach.Word
AFTER = 4

BEATS = st.builds(Beat, users=st.booleans(), web=st.integers(0, 3), holds=st.booleans(), ready=st.booleans())
SEEN = st.builds(Seen, own=BEATS, partner=st.none() | BEATS, near=st.booleans()).filter(
    lambda seen: seen.partner or not seen.near
)
TOLD = st.sampled_from(["stay", "leave", "hand over", None])
ENOUGH = st.integers(1, 3)

WELL = Beat(users=True, web=3, holds=True, ready=True)
SPARE = replace(WELL, holds=False)
NO_WEB = replace(WELL, web=0)
NO_USERS = replace(WELL, users=False)


def judged(own: Any, partner: Any, near: bool = True, enough: int = 2) -> str:
    return str(reach.judge(Seen(own, partner, near), enough))


# What a balancer is worth


@pytest.mark.parametrize(
    ("own", "partner", "near", "word"),
    [
        (WELL, SPARE, True, "stay"),
        (NO_WEB, SPARE, True, "give away"),
        (NO_WEB, SPARE, False, "give away"),
        # Both reach no web box, and both not the users' side: it stays where it is.
        (NO_WEB, replace(SPARE, web=0), True, "stay"),
        (NO_USERS, replace(SPARE, users=False), True, "stay"),
        # The edge of one is cut: heard on the other network, it leaves it to the one whom users reach.
        (NO_USERS, WELL, False, "give away"),
        (WELL, NO_USERS, False, "stay"),
        # Whom users reach is worth more than what it reaches for them.
        (NO_WEB, replace(SPARE, users=False), False, "stay"),
        # A minority is worth less than enough, and more than enough no more than that.
        (replace(WELL, web=1), SPARE, True, "give away"),
        (replace(WELL, web=2), SPARE, True, "stay"),
        # It would not take it.
        (NO_WEB, replace(SPARE, ready=False), True, "stay"),
        # Dead, or the lines are cut; heard, but not where keepalived hears it: both may have it.
        (WELL, None, False, "ask"),
        (NO_WEB, None, False, "ask"),
        (WELL, WELL, False, "ask"),
    ],
)
def test_the_address_is_given_to_a_partner_that_is_worth_more(own: Any, partner: Any, near: bool, word: str) -> None:
    assert judged(own, partner, near) == word


@given(BEATS, BEATS, st.booleans(), st.booleans(), ENOUGH)
def test_of_two_that_know_the_same_at_most_one_gives_away(one: Any, other: Any, near: bool, hears: bool, enough: int) -> None:
    assert [judged(one, other, near, enough), judged(other, one, hears, enough)].count("give away") <= 1


@given(SEEN, ENOUGH)
def test_nothing_is_given_away_to_a_partner_that_is_not_better(seen: Any, enough: int) -> None:
    if reach.judge(seen, enough) == "give away":
        partner, own = seen.partner, seen.own
        assert partner.ready
        assert partner.users >= own.users
        assert partner.users > own.users or min(partner.web, enough) > min(own.web, enough)


@given(BEATS, st.booleans(), ENOUGH)
def test_two_that_are_equally_bad_stay(beat: Any, holds: bool, enough: int) -> None:
    assert judged(beat, replace(beat, holds=holds), True, enough) == "stay"


# When it is without the address


def looked(looks: list[tuple[Any, str | None, bool]], apart: bool = False, enough: int = 2) -> list[bool]:
    """Whether it was without the address after each look: what is seen, what the arbiter says, whether the partner serves."""
    judgement, found = reach.Apartness(AFTER, apart), []
    for shown, told, serves in looks:
        # What it says of itself.
        seen = replace(shown, own=replace(shown.own, ready=not judgement.apart))
        judgement.look(seen, reach.judge(seen, enough), lambda told=told: told, lambda serves=serves: serves)
        found.append(judgement.apart)
    return found


def seen_for(looks: int, own: Any, partner: Any, near: bool = True, told: str | None = None, serves: bool = True) -> list[Any]:
    return [(Seen(own, partner, near), told, serves)] * looks


LOOKS = st.lists(st.tuples(SEEN, TOLD, st.booleans()), max_size=40)


@given(LOOKS)
def test_only_a_balancer_that_has_the_vip_and_a_reason_leaves(looks: list[Any]) -> None:
    found = looked(looks)
    for number, (before, after) in enumerate(pairwise([False, *found])):
        seen, told, serves = looks[number]
        if after and not before:
            assert seen.own.holds
            word = reach.judge(replace(seen, own=replace(seen.own, ready=True)), 2)
            assert told in ("leave", "hand over") if word == "ask" else word == "give away" and serves


@given(LOOKS)
def test_it_takes_several_looks_in_a_row_to_give_it_away(looks: list[Any]) -> None:
    """Without an arbiter each of them has to say so."""
    found = looked([(seen, None, serves) for seen, _, serves in looks])
    for number, (before, after) in enumerate(pairwise([False, *found])):
        if after and not before:
            row = [reach.judge(seen, 2) for seen, _, _ in looks[number - AFTER + 1 : number + 1]]
            assert row == ["give away"] * AFTER


@given(LOOKS)
def test_who_is_left_alone_may_have_it_again(looks: list[Any]) -> None:
    """Whatever was before: a partner that is not heard any more holds nothing, unless an arbiter says so."""
    assert looked([*looks, *seen_for(2, SPARE, None, False)])[-1] is False


@given(LOOKS, LOOKS)
def test_two_are_never_both_without_it_for_longer_than_they_need_to_see_it(before: list[Any], after: list[Any]) -> None:
    """Whatever each believed before: as soon as both are heard, one of them may have it."""
    one, other = (reach.Apartness(AFTER, looked(looks)[-1] if looks else False) for looks in (before, after))
    for _ in range(2):
        words = [replace(SPARE, ready=not each.apart) for each in (one, other)]
        for each, own, partner in ((one, *words), (other, *reversed(words))):
            seen = Seen(own, partner, True)
            each.look(seen, reach.judge(seen, 2), lambda: None, lambda: True)
    assert not (one.apart and other.apart)


FACTS = st.tuples(st.booleans(), st.integers(0, 3))


def holders_of(facts: list[tuple[bool, int]], holder: int, near: bool, looks: int = 3 * AFTER) -> list[int]:
    """Who has the address after each look of both, where they stay as they are: one that leaves it is followed by its partner."""
    judgements, found = [reach.Apartness(AFTER), reach.Apartness(AFTER)], []
    for _ in range(looks):
        said = [
            Beat(users, web, holds=number == holder, ready=not judgement.apart)
            for number, ((users, web), judgement) in enumerate(zip(facts, judgements, strict=True))
        ]
        for number, judgement in enumerate(judgements):
            seen = Seen(said[number], said[1 - number], near)
            serves = facts[1 - number][1] > 0
            judgement.look(seen, reach.judge(seen, 2), lambda: None, lambda serves=serves: serves)
        if judgements[holder].apart and not judgements[1 - holder].apart:
            holder = 1 - holder
        found.append(holder)
    return found


@given(FACTS, FACTS, st.integers(0, 1), st.booleans())
def test_the_address_moves_once_at_most_and_only_to_who_is_better(
    one: tuple[bool, int], other: tuple[bool, int], holder: int, near: bool
) -> None:
    facts = [one, other]
    found = holders_of(facts, holder, near)
    assert sum(before != after for before, after in pairwise([holder, *found])) <= 1
    own, partner = ((users, min(web, 2)) for users, web in (facts[holder], facts[1 - holder]))
    # Better, and it serves.
    moves = partner > own and facts[1 - holder][1] > 0
    assert found[-1] == (1 - holder if moves else holder)


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
    assert looked([(Seen(WELL, None, False), each, True) for each in told]) == apart


def test_it_is_given_away_after_several_looks_and_comes_back_when_calm() -> None:
    found = looked([*seen_for(AFTER, NO_WEB, SPARE), *seen_for(reach.CALM_LOOKS, SPARE, WELL)])
    assert found == [False] * (AFTER - 1) + [True] * reach.CALM_LOOKS + [False]


@pytest.mark.parametrize("partner", [None, SPARE])
def test_a_partner_that_lost_it_is_not_waited_for(partner: Any) -> None:
    """It has died, or has left it too."""
    found = looked([*seen_for(AFTER, NO_WEB, SPARE), *seen_for(2, SPARE, partner, near=partner is not None)])
    assert found[AFTER - 1] is True
    assert found[-1] is False


def test_one_look_at_a_partner_that_is_worth_no_more_begins_the_count_again() -> None:
    worse, same = seen_for(AFTER - 1, NO_WEB, SPARE), seen_for(1, NO_WEB, replace(SPARE, web=0))
    assert not any(looked([*worse, *same, *worse]))


def test_a_partner_that_has_not_just_served_a_read_gets_nothing() -> None:
    """What it says of its web boxes may be of a moment ago: they die at the same time for both."""
    refused = seen_for(3 * AFTER, NO_WEB, SPARE, serves=False)
    assert not any(looked(refused))
    assert looked([*refused, *seen_for(1, NO_WEB, SPARE)])[-1] is True


def test_without_an_arbiter_one_that_left_stays_so_while_the_partner_says_that_it_has_it() -> None:
    """Not heard where keepalived hears it: both would have it."""
    cut = [*seen_for(AFTER, NO_USERS, WELL, near=False), *seen_for(2 * reach.CALM_LOOKS, SPARE, WELL, near=False)]
    assert looked(cut)[AFTER:] == [True] * 2 * reach.CALM_LOOKS


def test_the_next_one_begins_with_the_last_word() -> None:
    """And with a partner that has the address it is as calm as the one before."""
    assert looked(seen_for(2, SPARE, WELL), apart=True) == [True, True]
    assert looked(seen_for(2, SPARE, None, near=False), apart=True) == [True, False]


def test_no_question_is_asked_without_need() -> None:
    asked: list[str] = []

    def saying(name: str) -> bool:
        asked.append(name)
        return False

    def look(own: Any, partner: Any, near: bool, times: int = 1) -> list[str]:
        asked.clear()
        judgement = reach.Apartness(AFTER)
        for _ in range(times):
            seen = Seen(own, partner, near)
            judgement.look(seen, reach.judge(seen, 2), lambda: saying("arbiter"), lambda: saying("partner"))
        return asked

    assert look(WELL, SPARE, True, 9) == look(SPARE, None, False, 9) == look(NO_WEB, SPARE, True, AFTER - 1) == []
    assert look(WELL, None, False) == ["arbiter"]
    assert look(NO_WEB, SPARE, True, AFTER + 1) == ["partner"] * 2


# What is heard


@given(BEATS)
def test_a_beat_is_read_as_it_was_sent(beat: Any) -> None:
    assert reach.read_beat(str(beat).encode()) == beat


@pytest.mark.parametrize("text", [b"", b"1 2 0", b"1 2 0 1 1", b"1 -2 0 1", b"1 2 0 yes", b"\xff\xfe 1 2 3"])
def test_what_is_no_beat_is_not_read(text: bytes) -> None:
    assert reach.read_beat(text) is None


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.33", 0))
        found: int = free.getsockname()[1]
    return found


@pytest.fixture
def beats(port: int) -> Iterator[Any]:
    """Of a balancer whose partner is .65 on the edge and .66 beside it."""
    of_one = reach.Beats(("127.0.0.65", "127.0.0.66"), at=("127.0.0.33", port))
    yield of_one
    of_one._socket.close()


def say(address: str, port: int, text: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        sender.sendto(text.encode(), ("127.0.0.33", port))


def heard(beats: Any) -> Any:
    """After what was sent on loopback has arrived."""
    sleep(0.01)
    return beats.listen(WELL)


def test_partner_is_heard_on_either_network(beats: Any, port: int) -> None:
    assert heard(beats) == Seen(WELL, None, False)
    say("127.0.0.66", port, "1 3 0 1")
    assert heard(beats) == Seen(WELL, SPARE, False)
    say("127.0.0.65", port, "1 0 0 1")
    assert heard(beats) == Seen(WELL, replace(SPARE, web=0), True)


def test_last_word_of_the_partner_counts_and_no_other_sender_does(beats: Any, port: int) -> None:
    for address, text in (("127.0.0.65", "1 3 0 1"), ("127.0.0.65", "1 1 0 1"), ("127.0.0.67", "0 0 0 0"), ("127.0.0.65", "x")):
        say(address, port, text)
    assert heard(beats).partner == replace(SPARE, web=1)


def test_partner_that_falls_silent_is_soon_unknown(beats: Any, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    say("127.0.0.65", port, "1 3 0 1")
    assert heard(beats).near
    monkeypatch.setattr(reach, "SILENT_S", 0.005)
    assert heard(beats) == Seen(WELL, None, False)


def test_beats_go_to_all_who_are_to_hear_them(port: int) -> None:
    with closing(socket.create_server(("127.0.0.66", 0))), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as arbiter:
        arbiter.bind(("127.0.0.196", 0))
        arbiter.settimeout(5.0)
        # The first of its networks is gone.
        sender = reach.Beats(("255.255.255.255", "127.0.0.66"), [arbiter.getsockname()], at=("127.0.0.33", port))
        sender.send(NO_WEB)
        assert arbiter.recvfrom(64) == (b"1 0 1 1", ("127.0.0.33", port))
        sender._socket.close()


# What is asked


class Handler(BaseHTTPRequestHandler):
    """Says 'leave' to lb2, that two web boxes are reached, and nothing to others."""

    def do_GET(self) -> None:
        said = {"/lb2": b"leave\n", "/web": b"2"}.get(self.path)
        self.send_response(200 if said else 503)
        self.end_headers()
        self.wfile.write(said or b"leave\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_only_a_good_answer_counts() -> None:
    with serving(Handler) as port:
        assert reach.ask("127.0.0.1", port, "/lb2", 5.0) == "leave"
        assert reach.ask("127.0.0.1", port, "/lb1", 5.0) is None
        assert reach.web_boxes(port) == 2
    assert reach.ask("127.0.0.1", port, "/lb2", 5.0) is None
    assert reach.web_boxes(port) == 0


def test_who_accepts_and_says_nothing_is_not_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as frozen:
        since = monotonic()
        assert reach.ask("127.0.0.1", frozen.getsockname()[1], "/health", 0.1) is None
        assert reach.web_boxes(frozen.getsockname()[1]) == 0
        assert monotonic() - since < 2.0


def test_a_refusal_shows_that_a_box_is_reached() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as open_one:
        port = open_one.getsockname()[1]
        assert reach.reaches("127.0.0.1", port)
    assert reach.reaches("127.0.0.1", port)


def test_a_box_that_does_not_even_refuse_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way(address: tuple[str, int], timeout_s: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(reach.socket, "create_connection", no_way)
    assert not reach.reaches("192.0.2.1")


def test_an_address_is_held_or_not() -> None:
    assert reach.holds("127.0.0.1")
    # TEST-NET-1: of no machine (RFC 5737).
    assert not reach.holds("192.0.2.1")


# What is written, and the whole


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


@pytest.mark.parametrize(("text", "word"), [("1\n", True), ("0\n", False), ("", False), (None, False)])
def test_last_word_is_read_where_there_is_one(tmp_path: Path, text: str | None, word: bool) -> None:
    if text is not None:
        (tmp_path / "apart").write_text(text)
    assert reach.Tracked(tmp_path / "apart").last() is word


ENVIRONMENT = {
    "HOSTNAME": "lb1",
    "ENTRY": "127.0.0.33",
    "USERS": "127.0.0.1",
    "PARTNER": "127.0.0.65 127.0.0.66 02:42:c6:12:00:41",
    "WEB_ENOUGH": "2",
    "GIVE_AWAY_AFTER": "4",
}


def test_settings_are_those_of_the_stage_file() -> None:
    settings = reach.read_settings(ENVIRONMENT)
    assert (settings.name, settings.partner, settings.enough, settings.give_away_after) == (
        "lb1",
        ("127.0.0.65", "127.0.0.66"),
        2,
        AFTER,
    )
    assert settings.arbiter is None
    assert reach.read_settings({**ENVIRONMENT, "ARBITER": "198.18.1.196:8406"}).arbiter == ("198.18.1.196", 8406)
    with pytest.raises(KeyError):
        reach.read_settings({})


def test_one_look_gives_the_address_away_when_it_is_time(monkeypatch: pytest.MonkeyPatch, port: int, beats: Any) -> None:
    """Its HAProxy says nothing, and the partner has served the read that was asked for."""
    asked: list[tuple[str, int, str]] = []

    def ask(address: str, port: int, path: str, deadline_s: float) -> str | None:
        asked.append((address, port, path))
        return None if path == "/web" else "ok"

    monkeypatch.setattr(reach, "ask", ask)
    monkeypatch.setattr(reach, "SILENT_S", 5.0)
    judgement = reach.Apartness(AFTER)
    settings = reach.read_settings({**ENVIRONMENT, "PARTNER": "127.0.0.65 127.0.0.66"})
    say("127.0.0.65", port, "1 3 0 1")
    sleep(0.01)
    seen = [reach.look(settings, beats, judgement) for _ in range(AFTER)]
    assert seen[-1].own == NO_WEB
    assert judgement.apart
    assert asked == [("127.0.0.1", 8404, "/web")] * AFTER + [("127.0.0.65", 8080, "/healthz")]


def test_one_that_is_stuck_ends(tmp_path: Path, port: int) -> None:
    """So that another one is started; it cannot end by itself what keeps it."""
    program = tmp_path / "stuck.py"
    program.write_text(
        SCRIPT.read_text(encoding="utf-8")
        .replace("STUCK_S = 5", "STUCK_S = 1")
        .replace("/run/", f"{tmp_path}/")
        .replace("8407", str(port))
        .replace("def holds(address: str) -> bool:", "def holds(address: str) -> bool:\n    sleep(60)\n"),
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(program)], env={**os.environ, **ENVIRONMENT}, timeout=30, check=False)
    assert done.returncode == -signal.SIGALRM
