"""A fault of the network that comes and goes: what is noted of it at each edge, and what is left when it is ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lab.engine.engine import ExecResult
from lab.engine.sidecar import Reply
from lab.errors import DiskError, LabError
from lab.faults.flap import OFF, ON, UNVERIFIED, VERIFIED, Flap
from lab.faults.repair_policy import can_repair
from lab.model.experiment import RepairPolicy
from lab.model.fault import FaultKind, FaultParameters, Step, Undo, UndoAction
from lab.model.topology import Box, Link
from lab.spec import stages
from lab.spec.stages import find
from lab.store.undo_log import UndoLog
from tests.unit.helpers import started
from tests.unit.played_time import PlayedClock
from tests.unit.test_network_faults import ANSWERED, LOST, UNREACHABLE, prepare
from tests.unit.test_network_faults import FakeControl as FakeNetwork
from tests.unit.test_runner import KILL_WEB, World, of, only, trial

FLAPS = FaultParameters(on_s=0.4, off_s=0.7)
EDGES_TIMEOUT_S = 10.0


@dataclass
class Switching(FakeNetwork):
    """A network whose rules work: the box is not answered while they are there. Both can be broken."""

    is_on: bool = False
    lets_through: bool = False
    keeps: bool = False
    replies: dict[str, Reply] = field(default_factory=lambda: dict(LOST))

    def note(self, text: str) -> None:
        super().note(text)
        if ': nft "' in text:
            self.is_on = "delete table" not in text
            if self.keeps and not self.is_on:
                raise LabError("the helper beside web1 does not answer")

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        super().run_in(box, command, timeout_s)
        return UNREACHABLE if self.is_on and not self.lets_through else ANSWERED


@dataclass
class Seen:
    """A fault that flaps, and what it noted: each event with how many faults were open then."""

    flap: Flap
    control: Switching
    ledger: UndoLog
    clock: PlayedClock
    noted: list[tuple[str, int]]
    noted_at: list[tuple[str, float]]
    """The same, with how long after the injection."""

    def named(self, *names: str) -> list[tuple[str, int]]:
        return [each for each in self.noted if each[0] in names]

    def await_noted(self, name: str, number: int) -> None:
        assert self.clock.wait_until(lambda: len(self.named(name)) >= number, EDGES_TIMEOUT_S), self.noted

    def await_edges(self, number: int) -> None:
        self.await_noted(VERIFIED, number)


Begin = Callable[[], AbstractContextManager[Seen]]


@pytest.fixture
def flapping(tmp_path: Path, impatient: None) -> Begin:

    @contextmanager
    def begin() -> Iterator[Seen]:
        ledger, control, clock = UndoLog(tmp_path / "undo.jsonl"), Switching(), PlayedClock()
        noted, noted_at = list[tuple[str, int]](), list[tuple[str, float]]()

        def note(name: str, _: str, at: float) -> None:
            noted.append((name, len(ledger.entries())))
            noted_at.append((name, at - since))

        parts: dict[str, Any] = {"undo_log": ledger, "host_clock": clock, "on_s": FLAPS.on_s, "off_s": FLAPS.off_s}
        with prepare(control, FaultKind.ISOLATE, **parts) as strike:
            entries = strike.note()
            since = clock.monotonic()
            strike.inject()
            assert [each.proved for each in strike.verify()] == [True]
            flap = Flap(strike, entries, since, note)
        # What keeps it closes it: the helper lives on after the context.
        assert not [text for text in control.done if "closed" in text]
        with flap:
            yield Seen(flap, control, ledger, clock, noted, noted_at)
        assert control.done[-1] == "web1: closed"

    return begin


def test_each_time_it_is_noted_before_it_comes_and_closed_when_it_has_gone(flapping: Begin) -> None:
    with flapping() as seen:
        seen.await_edges(4)
    assert seen.named(ON, OFF)[:4] == [(OFF, 1), (ON, 1), (OFF, 1), (ON, 1)]
    assert seen.named(VERIFIED)[:4] == [(VERIFIED, 0), (VERIFIED, 1), (VERIFIED, 0), (VERIFIED, 1)]
    assert seen.flap.problem == ""
    assert seen.named(UNVERIFIED) == []


def test_what_is_on_when_it_ends_stays_noted_and_in_effect(flapping: Begin) -> None:
    with flapping() as seen:
        seen.await_edges(2)
    [entry] = seen.ledger.entries()
    assert entry.undo.action is UndoAction.UNFILTER
    assert seen.control.is_on
    before = len(seen.noted)
    seen.clock.sleep(0.5)
    assert len(seen.noted) == before


def test_what_is_off_when_it_ends_has_left_nothing(flapping: Begin) -> None:
    with flapping() as seen:
        seen.await_edges(1)
    assert seen.ledger.entries() == []
    assert not seen.control.is_on


def test_each_phase_lasts_as_long_as_asked(flapping: Begin) -> None:
    with flapping() as seen:
        seen.await_edges(4)
    at = [(name, round(at_s, 6)) for name, at_s in seen.noted_at if name in (ON, OFF)]
    assert at == [(OFF, 0.4), (ON, 1.1), (OFF, 1.5), (ON, 2.2)]


def test_a_later_edge_that_is_not_proved_ends_it(flapping: Begin) -> None:
    with flapping() as seen:
        seen.await_edges(1)
        seen.control.lets_through = True
        seen.await_noted(UNVERIFIED, 1)
        seen.clock.sleep(0.5)
    assert "still reaches web1" in seen.flap.problem
    assert seen.noted[-1] == (UNVERIFIED, 1)
    assert len(seen.ledger.entries()) == 1


def test_what_could_not_be_taken_back_stays_noted_for_healing(flapping: Begin) -> None:
    with flapping() as seen:
        seen.control.keeps = True
        seen.await_noted(UNVERIFIED, 1)
    assert seen.flap.problem == "the helper beside web1 does not answer"
    assert len(seen.ledger.entries()) == 1


def test_an_edge_that_cannot_be_noted_ends_it_in_one_line(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, a terminal that is gone: what is in effect stays in the undo log, for healing."""
    escaped = list[object]()
    monkeypatch.setattr(threading, "excepthook", escaped.append)

    def refuse(*_: object) -> None:
        raise DiskError("events.jsonl cannot be written: no space left on device")

    ledger, control, clock = UndoLog(tmp_path / "undo.jsonl"), Switching(), PlayedClock()
    parts: dict[str, Any] = {"undo_log": ledger, "host_clock": clock, "on_s": FLAPS.on_s, "off_s": FLAPS.off_s}
    with prepare(control, FaultKind.ISOLATE, **parts) as strike:
        entries, since = strike.note(), clock.monotonic()
        strike.inject()
        flap = Flap(strike, entries, since, refuse)
    with flap:
        assert clock.wait_until(lambda: bool(flap.problem), EDGES_TIMEOUT_S)
    assert flap.problem == "events.jsonl cannot be written: no space left on device"
    assert escaped == []
    assert len(ledger.entries()) == 1
    assert control.is_on


def test_no_policy_repairs_what_comes_back_by_itself() -> None:
    step = Step(FaultKind.DISCONNECT, "web")
    assert can_repair(RepairPolicy.REPLACE, step, 1)
    assert not can_repair(RepairPolicy.REPLACE, replace(step, how=FLAPS), 1)


# In a trial


@dataclass
class Cables(World):
    """Boxes whose cables are pulled and put in again; Docker says so."""

    pulled: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def links(self, box: Box) -> tuple[Link, ...]:
        given = stages.of(box).links_of(box.service)
        return tuple(link for link in given if link.network not in self.pulled.get(box.service, ()))

    def disconnect(self, box: Box) -> None:
        self.pulled[box.service] = tuple(link.network for link in self.links(box))

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        for _ in self.pulled.pop(box.service, ()):
            self.says(box, "connect")


CUT_OFF = replace(
    KILL_WEB, name="flap-web", steps=(Step(FaultKind.DISCONNECT, "web1", how=FLAPS),), baseline_s=0.5, fault_duration_s=1.8
)


def test_a_trial_has_one_fault_from_its_first_edge_to_the_healing(tmp_path: Path) -> None:
    world = Cables(present=started(find("3")))
    record, result = trial(world, tmp_path, find("3"), CUT_OFF)
    inject, heal = only(record, "inject").at_s, only(record, "heal").at_s
    edges = [event.name for event in sorted(record.events, key=lambda each: each.at_s) if event.name in (ON, OFF)]
    assert edges[:3] == [OFF, ON, OFF]
    assert heal - inject == pytest.approx(1.8, abs=1e-5)
    assert all(inject < event.at_s < heal for event in (*of(record, ON), *of(record, OFF)))
    assert result.verified
    assert result.fault_impacts == ()
    # What put the cables in again was the lab, each time.
    assert of(record, "foreign") == []
    assert world.pulled == {}


def test_a_trial_whose_flapping_is_not_proved_is_not_valid(tmp_path: Path, impatient: None) -> None:
    class Stiff(Cables):
        """Its cables can be pulled once."""

        was_cut = False

        def disconnect(self, box: Box) -> None:
            if not self.was_cut:
                super().disconnect(box)
            self.was_cut = True

    world = Stiff(present=started(find("3")))
    experiment = replace(CUT_OFF, fault_duration_s=4.5)
    record, result = trial(world, tmp_path, find("3"), experiment)
    assert len(of(record, UNVERIFIED)) == 1
    assert not result.valid
    assert "the fault was not verified" in result.reasons


# The undo log


def test_no_note_is_lost_with_the_file_that_another_thread_removes(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    undo = Undo(UndoAction.START, "id-of-web1", "web1", 3)
    ended = threading.Event()

    def flaps() -> None:
        while not ended.is_set():
            ledger.close(ledger.open(undo, "isolate"))

    thread = threading.Thread(target=flaps)
    thread.start()
    try:
        for _ in range(30):
            entry = ledger.open(undo, "kill")
            assert entry.id in {each.id for each in UndoLog(tmp_path / "undo.jsonl").entries()}
            ledger.close(entry)
    finally:
        ended.set()
        thread.join()
    assert ledger.entries() == []
