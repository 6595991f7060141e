"""What brought a broken box back: the lab, the system itself, or another process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.foreign_actions import ACT_S, Act, Said, Struck, returns

NEVER_HEALED_S = 100.0
DB = Struck("db", 2.0)
KEPT_UP = Struck("db", 2.0, restarts_itself=True)


def said(*words: str, service: str = "db") -> list[Said]:
    """What Docker said: "2.1 kill" and so on."""
    return [Said(float(at_s), service, action) for at_s, action in (each.split() for each in words)]


def found(
    words: list[Said], *struck: Struck, own: tuple[Act, ...] = (), until_s: float = NEVER_HEALED_S
) -> list[tuple[float, str]]:
    return [(event.at_s, event.detail) for event in returns(words, struck or (DB,), own, until_s)]


KILLED = ("2.1 kill", "2.2 die")
# Docker connects a box that starts to its networks, and says so of each.
STARTED = ("6.0 connect", "6.1 start")


def test_a_start_of_a_killed_box_is_foreign() -> None:
    [event] = returns(said(*KILLED, *STARTED), [DB], [], NEVER_HEALED_S)
    assert (event.name, event.detail) == ("foreign", "db: start, not by this run")
    assert event.at_s == pytest.approx(6.1 - ACT_S)


@pytest.mark.parametrize("killed", [KILLED, ("2.1 kill", "2.2 die", "2.2 stop")])
def test_a_restart_policy_does_not_start_what_was_killed_or_stopped(killed: tuple[str, ...]) -> None:
    assert found(said(*killed, *STARTED), KEPT_UP) == [(6.05, "db: start, not by this run")]


def test_a_restart_policy_that_starts_what_has_crashed_is_the_systems_own_doing() -> None:
    crashed = said("2.2 die", *STARTED)
    assert found(crashed, KEPT_UP) == []
    # Without a policy only another process can have done it.
    assert found(crashed, DB) == [(6.05, "db: start, not by this run")]


def test_a_restart_is_only_ever_asked_for() -> None:
    assert found(said("2.2 die", *STARTED, "6.2 restart"), KEPT_UP) == [(6.05, "db: start, not by this run")]
    autoheal = said("3.0 kill", "3.1 die", "3.2 connect", "3.3 start", "3.4 restart")
    assert found(autoheal, KEPT_UP) == [(3.25, "db: start, not by this run")]


def test_a_policy_that_starts_it_again_and_again_is_never_a_stranger() -> None:
    again = [f"{at_s} {action}" for at_s in (3, 4, 6, 10) for action in ("die", "connect", "start")]
    assert found(said("2.2 die", *again), KEPT_UP) == []


def test_a_frozen_box_that_is_thawed_and_a_cut_off_one_that_is_connected() -> None:
    assert found(said("2.1 pause", "4.0 unpause")) == [(3.95, "db: unpause, not by this run")]
    assert found(said("4.0 connect", "4.1 connect")) == [(3.95, "db: connect, not by this run")]


def test_what_the_lab_does_itself_is_not_foreign() -> None:
    """Its repair policy, or a fault that restarts the box."""
    words = said(*KILLED, *STARTED)
    assert found(words, own=(Act("db", 5.5, 6.0),)) == []
    assert found(words, own=(Act("web1", 5.5, 6.0),)) != []
    assert found(words, own=(Act("db", 3.0, 4.0),)) != []


def test_only_between_the_fault_and_the_healing() -> None:
    words = said("1.0 start", *KILLED, *STARTED)
    assert found(words, until_s=6.0) == []
    assert [at_s for at_s, _ in found(words)] == [6.05]


def test_other_boxes_are_none_of_its_business() -> None:
    assert found(said(*KILLED, *STARTED, service="web2")) == []


def test_a_box_that_was_down_before_anything_was_heard() -> None:
    assert found(said(*STARTED), Struck("db", 0.0, restarts_itself=True, was_ended=True)) == [
        (6.05, "db: start, not by this run")
    ]
    assert found(said(*STARTED), Struck("db", 0.0, restarts_itself=True)) == [(5.95, "db: connect, not by this run")]


def test_it_is_never_dated_before_the_fault() -> None:
    assert found(said("2.01 kill", "2.02 die", "2.03 start")) == [(2.0, "db: start, not by this run")]


ACTIONS = st.sampled_from(["kill", "die", "start", "restart", "pause", "unpause", "connect"])
WORDS = st.lists(st.builds(Said, st.floats(0, 20), st.sampled_from(["db", "web1", "web2"]), ACTIONS), max_size=25)


@given(WORDS, st.floats(3, 20))
def test_in_order_of_time_whatever_the_order_of_words(words: list[Said], until_s: float) -> None:
    struck = [DB, Struck("web1", 5.0, restarts_itself=True)]
    events = returns(words, struck, [], until_s)
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    assert all(2.0 <= event.at_s < until_s for event in events)
    assert {event.detail.split(":")[0] for event in events} <= {"db", "web1"}
    everything = [Act(service, 0, 20) for service in ("db", "web1")]
    assert returns(words, struck, everything, until_s) == []
