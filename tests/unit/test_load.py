from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import InconclusiveError
from lab.host_clock import HOST_CLOCK, HostClock
from lab.load.load import COLUMNS, Clock, Load, LoadConfig, best_clock, drift
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival
from tests.unit.helpers import box
from tests.unit.played import PlayedEngine
from tests.unit.played_time import PlayedClock


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
    host_clock = PlayedClock(1000.0)
    load = loading(host_clock)
    load.clock = Clock(zero=990.0, error_s=0.0)
    host_clock.sleep(2.5)
    assert load.now_s() == 12.5


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


OFFSETS_S, LENGTHS_S = st.floats(-1e4, 1e4), st.floats(1, 7200)
PER_MILLION = st.floats(-500, 500)


@given(TRIPS, TRIPS, OFFSETS_S, LENGTHS_S, PER_MILLION, st.floats(0, 1))
def test_an_instant_noted_by_the_first_clock_is_wrong_by_no_more_than_the_drift_says(
    early: list[tuple[float, float, float]],
    late: list[tuple[float, float, float]],
    offset_s: float,
    length_s: float,
    per_million: float,
    part: float,
) -> None:
    """Two clocks that go apart evenly, looked at in two instants; the third is anywhere between."""

    def there_s(host_s: float) -> float:
        return host_s + offset_s + per_million * 1e-6 * (host_s - 1000.0)

    def look(trips: list[tuple[float, float, float]], at_s: float) -> Clock:
        samples = [(at_s, at_s + trip, int(there_s(at_s + trip * where) * 1e9)) for _, trip, where in trips]
        return best_clock(samples, start_ns=0)

    first, last = look(early, 1000.0), look(late, 1000.0 + length_s)
    found = drift(first, last)
    at_s = 1000.0 + part * length_s
    wrong_s = abs(first.at(at_s) - there_s(at_s))
    # What it drifts within one round trip is no part of either look.
    assert wrong_s <= found.error_s + 1.0 * 500e-6 + 1e-5
    assert found.error_s >= max(first.error_s, last.error_s)
    assert found.drift_s == pytest.approx(last.zero - first.zero)


# A load that is only played: a process that answers as a generator does, and says far more on stderr than a pipe holds

PLAYED = """
import json, sys, time
sys.stderr.write("a warning that is never read\\n" * 20_000)
sys.stderr.write("the last warning\\n")
sys.stderr.flush()
say = lambda **message: print(json.dumps(message), flush=True)
offset_ns = 0
say(event="started", clock_ns=time.monotonic_ns())
for line in sys.stdin:
    message = json.loads(line)
    if message["do"] == "clock":
        say(event="clock", clock_ns=time.monotonic_ns() + offset_ns, id=message["id"])
    elif message["do"] == "fault":
        offset_ns = 250_000_000
        if message["active"] == "die":
            sys.exit(3)
    elif message["do"] == "stop":
        say(event="finished", intended=0, recorded=0, stopped_s=1.0, cpu_ratio=0.1)
        break
"""


@dataclass
class Starting(PlayedEngine):
    """Starts the played load instead of a command in a box."""

    def talk_to(self, _box: object, _command: Sequence[str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", PLAYED], stdin=pipe, stdout=pipe, stderr=pipe)


def loading(host_clock: HostClock = HOST_CLOCK) -> Load:
    config = LoadConfig(("198.18.0.10", 80), "k", LoadPlan(), seed=1)
    return Load(Starting(), box("internet", ("internet",)), config, host_clock=host_clock)


def test_load_that_says_a_lot_on_stderr_is_not_blocked_by_it() -> None:
    with loading() as load:
        report = load.stop()
    assert (report.intended, report.cpu_ratio) == (0, 0.1)
    assert load._words.last() == "the last warning"


def test_clock_is_looked_at_again_at_the_end() -> None:
    with loading() as load:
        load.show_fault("")
        load.stop()
    found = drift(load.clock, load.clock_at_end)
    # The clock over there was set forward by 0.25 s: this host's fell behind.
    assert found.drift_s == pytest.approx(-0.25, abs=load.clock.error_s + load.clock_at_end.error_s + 0.001)
    assert found.error_s >= 0.25


def test_load_that_ends_by_itself_is_named_with_its_last_words() -> None:
    with loading() as load:
        load.show_fault("die")
        with pytest.raises(InconclusiveError, match="the load broke off: the last warning"):
            load.run_for(20)
        with pytest.raises(InconclusiveError, match="the load did not answer: the last warning"):
            load.stop()
