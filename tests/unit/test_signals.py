from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import pytest

from lab.errors import HealError, LabError
from lab.signals import SIGNALS, Deferred, termination_interrupts, was_interrupted

PATIENCE_S = 5.0


def send(number: int, arrived: Callable[[], bool] = lambda: False) -> None:
    """Send this process a signal; returns when it has arrived (the handler may raise at any line of this)."""
    os.kill(os.getpid(), number)
    deadline = monotonic() + PATIENCE_S
    while not arrived() and monotonic() < deadline:
        pass


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_waits_for_the_end(number: int) -> None:
    notices: list[str] = []
    done: list[str] = []

    def work() -> None:
        with Deferred(lambda: notices.append("healing first")):
            send(number, lambda: bool(notices))
            done.append("healed")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert notices == ["healing first"]
    assert done == ["healed"]


def test_interrupt_waits_for_the_next_window() -> None:
    notices: list[str] = []
    done: list[str] = []

    def work() -> None:
        with Deferred(lambda: notices.append("healing first")) as interrupts:
            try:
                send(signal.SIGINT, lambda: bool(notices))
                done.append("noted and broken")
                with interrupts.open():
                    done.append("watched")
            finally:
                done.append("healed")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["noted and broken", "healed"]


def test_interrupt_in_a_window_comes_at_once_and_the_next_one_waits() -> None:
    notices: list[str] = []
    done: list[str] = []

    def work() -> None:
        with Deferred(lambda: notices.append("healing first")) as interrupts:
            try:
                with interrupts.open():
                    send(signal.SIGINT)
                    done.append("watched to the end")
            finally:
                send(signal.SIGINT, lambda: bool(notices))
                done.append("healed")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["healed"]
    assert len(notices) == 1


def test_window_that_has_closed_defers_again() -> None:
    notices: list[str] = []

    def work() -> None:
        with Deferred(lambda: notices.append("healing first")) as interrupts:
            with interrupts.open():
                pass
            send(signal.SIGINT, lambda: bool(notices))
            notices.append("went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert notices == ["healing first", "went on"]


def test_failure_and_interrupt_do_not_hide_each_other() -> None:
    """A failure to heal is reported; and the caller learns that nothing more is to be begun."""
    notices: list[str] = []

    def work(interrupted: bool) -> None:
        with Deferred(lambda: notices.append("healing first")):
            if interrupted:
                send(signal.SIGINT, lambda: bool(notices))
            raise HealError("web1 could not be started")

    with pytest.raises(HealError) as caught:
        work(interrupted=True)
    assert was_interrupted(caught.value)
    with pytest.raises(HealError) as caught:
        work(interrupted=False)
    assert not was_interrupted(caught.value)


def test_interrupt_in_a_window_is_known_by_the_failure_that_came_of_it() -> None:
    def heal() -> None:
        try:
            raise LabError("Docker could not start it")
        except LabError as error:
            failures.append(HealError("web1 could not be started"))
            failures[0].__cause__ = error

    failures: list[HealError] = []

    def work() -> None:
        with Deferred(lambda: None) as interrupts:
            try:
                with interrupts.open():
                    send(signal.SIGINT)
            finally:
                heal()
                raise failures[0]

    with pytest.raises(HealError) as caught:
        work()
    assert was_interrupted(caught.value)


def test_interrupt_that_was_dealt_with_is_over() -> None:
    def work() -> None:
        with suppress(KeyboardInterrupt):
            raise KeyboardInterrupt
        raise HealError("later")

    with pytest.raises(HealError) as caught:
        work()
    assert not was_interrupted(caught.value)
    assert not was_interrupted(None)


def test_nothing_happens_without_an_interrupt_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Deferred(lambda: None) as interrupts, interrupts.open():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_termination_is_an_interrupt(number: int) -> None:
    before = signal.getsignal(number)

    def work() -> None:
        with termination_interrupts():
            send(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(number) == before
