"""How well a trial was observed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.blind_spots import (
    CLOCK_LIMIT_MS,
    GAP_LIMIT_S,
    BlindSpot,
    Word,
    arrival_gap_s,
    as_events,
    blind_spots,
    clock_error_ms,
    gaps,
    reasons,
)
from lab.model.history import Event
from lab.model.payloads import ClockError, ObserverGap

START_NS = 7_000_000_000


def words(*at_s: float) -> list[Word]:
    """What was said at these seconds on the clock of the load, each heard at once."""
    return [Word(START_NS + round(each * 1e9), 100.0 + each) for each in at_s]


def steps(since: float, until: float, period: float = 0.25) -> list[float]:
    return [since + number * period for number in range(int((until - since) / period) + 1)]


def noted(*at_s: float, stop_s: float = 10.0) -> list[Event]:
    return as_events(gaps(words(*at_s), START_NS, stop_s), arrival_gap_s(words(*at_s)))


def test_an_observer_that_says_something_all_the_time_leaves_no_blind_spot() -> None:
    [event] = noted(*steps(-1, 10.5))
    assert (event.name, event.at_s, event.data) == ("observer-gap", 0.0, ObserverGap(0.25, 0.25))
    assert blind_spots([event]) == ()
    assert reasons([event]) == []


def test_an_observer_that_was_frozen_in_the_middle_makes_the_trial_invalid() -> None:
    events = noted(*steps(-1, 3), *steps(7.2, 10.5))
    assert events[0].at_s == 3.0
    assert blind_spots(events) == (BlindSpot(3.0, 4.2),)
    assert reasons(events) == ["the observer saw nothing for 4.2 s (at 3.0 s)"]


def test_every_gap_that_is_too_long_is_noted_and_the_largest_is_the_reason() -> None:
    events = noted(*steps(-1, 2), *steps(4, 5), *steps(8, 10))
    assert blind_spots(events) == (BlindSpot(2.0, 2.0), BlindSpot(5.0, 3.0))
    assert reasons(events) == ["the observer saw nothing for 3.0 s (at 5.0 s)"]


@pytest.mark.parametrize(
    ("said", "blind"), [((), BlindSpot(0.0, 10.0)), ((-2.0,), BlindSpot(-2.0, 12.0)), (steps(0, 4), BlindSpot(4.0, 6.0))]
)
def test_a_silence_at_the_start_or_at_the_end_is_one_too(said: tuple[float, ...], blind: BlindSpot) -> None:
    assert blind_spots(noted(*said)) == (blind,)


def test_what_only_arrived_late_is_no_blind_spot() -> None:
    late = [Word(word.clock_ns, 100.0 if word.clock_ns < START_NS + 5e9 else 109.0) for word in words(*steps(-1, 10.5))]
    [event] = as_events(gaps(late, START_NS, 10.0), arrival_gap_s(late))
    assert isinstance(event.data, ObserverGap)
    assert event.data.arrived_s == 9.0
    assert reasons([event]) == []


def test_words_alone_are_no_gap() -> None:
    assert blind_spots([Event(1.0, "observer-gap", "the observer said nothing for 9 s")]) == ()
    assert reasons([Event(0.1, "clock", data=ClockError(0.2))]) == []


@given(st.lists(st.floats(-5, 15), max_size=40), st.floats(0.1, 10))
def test_gaps_cover_the_load_without_a_hole_and_none_is_missed(at_s: list[float], stop_s: float) -> None:
    found = gaps(words(*at_s), START_NS, stop_s)
    assert found[0].start_s <= 0
    assert found[-1].start_s + found[-1].length_s == pytest.approx(stop_s, abs=1e-5)
    assert sum(gap.length_s for gap in found) == pytest.approx(stop_s - found[0].start_s, abs=1e-4)
    events = as_events(found, 0.0)
    assert len(blind_spots(events)) == sum(gap.length_s > GAP_LIMIT_S for gap in found)
    assert bool(reasons(events)) == (max(gap.length_s for gap in found) > GAP_LIMIT_S)


def test_a_clock_that_drifted_too_far_is_a_reason_and_the_last_word_on_it_counts() -> None:
    start = Event(0.1, "clock", data=ClockError(0.2))
    end = Event(9.0, "clock", data=ClockError(CLOCK_LIMIT_MS + 30, 12.5))
    assert clock_error_ms([]) is None
    assert (clock_error_ms([start]), clock_error_ms([start, end])) == (0.2, 80.0)
    assert reasons([start, end]) == ["this host's clock is known only to 80 ms on the load's, limit 50 ms"]
