"""The time that tests play, and the real one that it stands for."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from lab.host_clock import HOST_CLOCK
from tests.unit import played_time
from tests.unit.played_time import PlayedClock, PlayedProcess


def test_what_is_due_happens_in_order_and_at_its_instant() -> None:
    clock, seen = PlayedClock(0.0), list[tuple[str, float]]()
    for seconds, name in ((2.0, "b"), (1.0, "a"), (9.0, "too late")):
        clock.after(seconds, lambda name=name: seen.append((name, clock.monotonic())))  # type: ignore[misc]
    clock.sleep(3.0)
    assert (seen, clock.monotonic()) == ([("a", 1.0), ("b", 2.0)], 3.0)


def test_a_wait_ends_with_its_event() -> None:
    clock, event = PlayedClock(0.0), threading.Event()
    clock.after(1.5, event.set)
    assert clock.wait(event, 60.0)
    assert clock.monotonic() == 1.5
    assert not clock.wait(threading.Event(), 1.0)
    assert clock.monotonic() == 2.5


def test_no_time_passes_while_a_thread_of_a_trial_works() -> None:
    clock, may_end, worked_at = PlayedClock(0.0), threading.Event(), list[float]()

    def work() -> None:
        may_end.wait(5.0)
        clock.sleep(0.3)
        worked_at.append(clock.monotonic())

    thread = threading.Thread(target=work, name="repair")
    thread.start()
    threading.Timer(0.02, may_end.set).start()
    clock.sleep(10.0)
    thread.join()
    assert worked_at == [0.3]


def test_a_program_that_is_not_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(played_time, "STUCK_S", 0.01)
    with pytest.raises(AssertionError, match="was not read"):
        PlayedProcess().say(event="view")


def test_the_real_clock_waits_in_real_time() -> None:
    since, event = monotonic(), threading.Event()
    assert not HOST_CLOCK.wait(event, 0.02)
    assert not HOST_CLOCK.wait(event, -1.0)
    assert 0.02 <= HOST_CLOCK.monotonic() - since < 5.0
    event.set()
    assert HOST_CLOCK.wait(event, 60.0)
    assert HOST_CLOCK.monotonic() - since < 5.0
