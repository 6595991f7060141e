from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.load import COLUMNS, Clock, best_clock
from lab.model import Arrival


def test_shortest_round_trip_decides() -> None:
    start_ns = 5_000_000_000
    samples = [
        (100.0, 100.9, 6_000_000_000),
        (101.0, 101.002, 6_001_000_000),
        (102.0, 102.5, 9_000_000_000),
    ]
    clock = best_clock(samples, start_ns)
    assert clock.zero == pytest.approx(100.0)
    assert clock.error_s == pytest.approx(0.001)
    assert clock.at(103.5) == pytest.approx(3.5)


def test_now_is_on_the_clock_of_the_load() -> None:
    assert Clock(zero=0.0, error_s=0.0).now_s() <= Clock(zero=0.0, error_s=0.0).now_s()
    assert Clock(zero=1e6, error_s=0.0).now_s() < Clock(zero=0.0, error_s=0.0).now_s()


TRIPS = st.lists(st.tuples(st.floats(0, 1000), st.floats(1e-6, 1.0), st.floats(0, 1)), min_size=1, max_size=15)


@given(TRIPS, st.floats(-1e4, 1e4))
def test_clock_is_wrong_by_no_more_than_it_says(trips: list[tuple[float, float, float]], offset_s: float) -> None:
    """Wherever within its round trip each sample was taken over there."""
    start_s = 20_000.0
    samples = [(asked, asked + trip, int((asked + trip * part + offset_s) * 1e9)) for asked, trip, part in trips]
    clock = best_clock(samples, int(start_s * 1e9))
    assert clock.error_s == pytest.approx(min(heard - asked for asked, heard, _ in samples) / 2)
    assert abs(clock.zero - (start_s - offset_s)) <= clock.error_s + 1e-6


def test_columns_are_the_fields_of_an_arrival() -> None:
    assert tuple(Arrival.__dataclass_fields__) == COLUMNS
