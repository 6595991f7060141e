"""The order of a trial, whatever interrupts it or fails: undo on disk, inject, verify, heal, recovered. Nothing stays broken.

The engine, the load and the observer are played. Everything that matters for the order goes into one list, and at each of its
entries a signal can come or an error can be raised.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import database, loss
from lab.errors import EXIT_HEAL_FAILED, DiskError, HealError, InconclusiveError, LabError
from lab.faults import injection
from lab.model.experiment import Experiment, LoadPlan, Operator, Repair, RepairPolicy
from lab.model.fault import FaultKind, Step, Undo
from lab.model.history import Arrival, Event, TrialRecord
from lab.model.result import TrialResult
from lab.model.topology import Box
from lab.signals import termination_interrupts, was_interrupted
from lab.store.runs import RunJournal, TrialJournal, read_run
from lab.store.undo_log import OpenFault, UndoLog
from lab.trial import under_load
from lab.trial.runner import RunConfig, run_trial
from tests.unit.helpers import run_info, stage
from tests.unit.test_runner_failures import Played, Stage3, play

KILL = Experiment("kill-web", "A web box is killed", "?", (Step(FaultKind.KILL, "web1"),), 1.0, 2.0, 0.5, ())
TWICE = replace(KILL, steps=(Step(FaultKind.KILL, "web1"), Step(FaultKind.KILL, "web2")))
PROMOTE = replace(KILL, operator=Operator(0.5, "promote"))
FAILBACK = replace(KILL, steps=(), initial_faults=(Step(FaultKind.KILL, "web1"),), operator=Operator(0.5, "failback"))
GIVE_UP = replace(KILL, operator=Operator(0.5, "accept-loss"))
REPAIR = replace(KILL, repair=Repair(RepairPolicy.RESTART, 0.0))
EXPERIMENTS = {"repair": REPAIR, "kill": KILL, "twice": TWICE, "promote": PROMOTE, "failback": FAILBACK, "give-up": GIVE_UP}
ORDER = [
    "noted web1",
    "event inject",
    "killed web1",
    "verified",
    "event fault-verified",
    "started web1",
    "event heal",
    "event stop",
]


@dataclass
class Trace:
    """All that happened, in order; `at`: what else happens at an entry, once."""

    entries: list[str] = field(default_factory=list)
    at: dict[str, Callable[[], None]] = field(default_factory=dict)

    def add(self, entry: str) -> None:
        """Something happens."""
        self.entries.append(entry)
        self.at.pop(entry, lambda: None)()

    def only(self, wanted: Sequence[str]) -> list[str]:
        """These entries, in the order in which they came."""
        return [entry for entry in self.entries if entry in wanted]


class TracedLog(UndoLog):
    """An undo log of which the trace knows when a fault is on the disk."""

    def __init__(self, file: Path, trace: Trace) -> None:
        super().__init__(file)
        self.trace = trace

    def open(self, undo: Undo, fault: str) -> OpenFault:
        self.trace.add(f"noting {undo.service}")
        entry = super().open(undo, fault)
        assert undo.service in (self._lines.file).read_text()
        self.trace.add(f"noted {undo.service}")
        return entry


class TracedStage(Stage3):
    """Stage 3, of which the trace knows what is killed and started."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def kill(self, box: Box) -> None:
        super().kill(box)
        self.trace.add(f"killed {box.service}")

    def start(self, box: Box) -> None:
        self.trace.add(f"starting {box.service}")
        super().start(box)
        self.trace.add(f"started {box.service}")


class TracedProgress:
    """The phases of a trial."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def trial(self, number: int, seed: int) -> None:
        """Nothing."""

    def phase(self, name: str, detail: str = "") -> None:
        self.trace.add(f"phase {name}")

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Nothing."""

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""


class AlwaysRedundant:
    """Redundancy is always restored: what that takes is tested elsewhere."""

    def __init__(self, cluster: Any, observer: Any) -> None:
        self.cluster, self.observer = cluster, observer

    def is_restored(self) -> bool:
        return True

    def missing(self) -> str:
        return ""


@dataclass
class Bench:
    """One trial on stage 3, in a folder of its own."""

    trace: Trace
    folder: Path
    undo_log: TracedLog
    engine: TracedStage

    def run(self, experiment: Experiment = KILL) -> None:
        journal = RunJournal(run_info(), self.folder / "results")
        config = RunConfig(stage(), experiment, LoadPlan(), seed=1)
        cluster = self.engine.cluster(config.stage, self.undo_log)
        with termination_interrupts():
            run_trial(cluster, config, 1, journal, TracedProgress(self.trace))

    @property
    def is_whole(self) -> bool:
        """Whether every box runs, and no fault is noted."""
        return not self.undo_log.entries() and all(box.is_healthy for box in self.engine.present)

    def check(self) -> None:
        """What must hold however the trial ended: a fault is on the disk before it happens, and undone after it."""
        for service in ("web1", "web2"):
            told = self.trace.only([f"noted {service}", f"killed {service}", f"started {service}"])
            assert told in (
                [],
                [f"noted {service}"],
                [f"noted {service}", f"killed {service}", f"started {service}"],
            )
        assert self.is_whole


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    trace = Trace()
    play(monkeypatch, Played())
    note = TrialJournal.event

    def event(self: TrialJournal, event: Event) -> None:
        note(self, event)
        trace.add(f"event {event.name}")

    monkeypatch.setattr(TrialJournal, "event", event)
    verify = injection.Injection.verify

    def verified(self: injection.Injection) -> Any:
        found = verify(self)
        trace.add("verified")
        return found

    monkeypatch.setattr(injection.Injection, "verify", verified)
    monkeypatch.setattr(under_load, "JITTER_S", 0.0)
    monkeypatch.setattr(under_load, "RedundancyWatch", AlwaysRedundant)

    def change_over(*_: object, **__: object) -> str:
        trace.add("changing over")
        return "db"

    monkeypatch.setattr(database, "promote", change_over)
    monkeypatch.setattr(database, "switchover", change_over)
    monkeypatch.setattr(loss, "accept", change_over)
    return Bench(trace, tmp_path, TracedLog(tmp_path / "undo.jsonl", trace), TracedStage(trace))


def test_undo_is_on_the_disk_before_the_fault_and_the_proof_comes_before_the_healing(bench: Bench) -> None:
    bench.run()
    assert bench.trace.only(ORDER) == ORDER
    # Since when redundancy was restored is worked out after the load.
    assert bench.trace.entries.index("event recovered") > bench.trace.entries.index("event stop")
    [trial] = read_run(next((bench.folder / "results").glob("*/*/2*")))[1]
    [inject, verified, heal, recovered, stop] = [
        next(event.at_s for event in trial.events if event.name == name)
        for name in ("inject", "fault-verified", "heal", "recovered", "stop")
    ]
    assert inject <= verified <= heal <= recovered <= stop
    bench.check()


def test_phases_come_in_their_order(bench: Bench) -> None:
    bench.run()
    phases = [entry for entry in bench.trace.entries if entry.startswith("phase")]
    assert phases == [f"phase {name}" for name in ("settle", "start", "baseline", "inject", "observe", "heal", "after", "audit")]


def test_every_fault_is_noted_before_it_happens_and_the_last_one_is_undone_first(bench: Bench) -> None:
    bench.run(TWICE)
    wanted = ["noted web1", "killed web1", "noted web2", "killed web2", "started web2", "started web1"]
    assert bench.trace.only(wanted) == wanted
    bench.check()


def test_what_is_broken_before_the_load_is_healed_by_the_operator_who_then_changes_over(bench: Bench) -> None:
    bench.run(FAILBACK)
    wanted = ["noted web1", "killed web1", "phase baseline", "started web1", "event operator-heal", "changing over"]
    assert bench.trace.only(wanted) == wanted
    assert "event heal" not in bench.trace.entries
    bench.check()


def test_operator_acts_before_the_lab_heals(bench: Bench) -> None:
    bench.run(PROMOTE)
    wanted = ["killed web1", "event operator", "changing over", "phase observe", "started web1", "event heal"]
    assert bench.trace.only(wanted) == wanted
    bench.check()


def test_what_is_lost_is_given_up_when_the_operator_has_brought_all_boxes_back(bench: Bench) -> None:
    bench.run(GIVE_UP)
    wanted = ["killed web1", "event operator", "started web1", "event operator-heal", "changing over", "phase observe"]
    assert bench.trace.only(wanted) == wanted
    # Who acts is part of the trial: the lab did not have to heal, and what ends with the decision was not cut short.
    assert "event heal" not in bench.trace.entries
    assert "event recovered" in bench.trace.entries
    bench.check()


def test_what_a_policy_repairs_the_lab_does_not_heal(bench: Bench) -> None:
    bench.run(REPAIR)
    wanted = ["noted web1", "killed web1", "event fault-verified", "event repair", "started web1", "event repaired", "event heal"]
    assert bench.trace.only(wanted) == wanted[:-1]
    assert "event recovered" in bench.trace.entries
    bench.check()


# Interrupts

POINTS = {
    "kill": (
        *("phase settle", "phase start", "phase baseline", "phase inject", "noting web1", "noted web1", "event inject"),
        *("killed web1", "verified", "event fault-verified", "phase observe", "starting web1", "started web1", "event heal"),
        *("phase heal", "phase after", "event stop", "event recovered", "phase audit"),
    ),
    "twice": ("noted web2", "killed web2", "starting web2", "started web2", "starting web1"),
    "repair": ("killed web1", "phase observe", "phase repair", "event repair", "starting web1", "started web1", "event repaired"),
    "promote": ("phase operator", "event operator", "changing over"),
    "give-up": ("phase operator", "starting web1", "event operator-heal", "changing over"),
    "failback": ("phase initial-faults", "noted web1", "killed web1", "phase baseline", "event operator-heal", "changing over"),
}
EVERY_POINT = [(name, point) for name, points in POINTS.items() for point in points]


@pytest.mark.parametrize(("experiment", "point"), EVERY_POINT)
def test_interrupt_at_any_instant_leaves_nothing_broken(bench: Bench, experiment: str, point: str) -> None:
    bench.trace.at[point] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        bench.run(EXPERIMENTS[experiment])
    assert point not in bench.trace.at
    bench.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("point", ["noted web1", "killed web1", "phase observe", "starting web1"])
def test_other_signals_are_as_good_as_an_interrupt(bench: Bench, point: str, number: signal.Signals) -> None:
    bench.trace.at[point] = lambda: signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.check()


@pytest.mark.parametrize("point", ["noting web1", "noted web1", "event inject", "killed web1"])
def test_interrupt_between_noted_and_verified_waits(bench: Bench, point: str) -> None:
    """There is no instant between them at which an interrupt could skip the healing."""
    bench.trace.at[point] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.trace.only(ORDER)[:7] == ORDER[:7]
    bench.check()


def test_interrupt_before_the_fault_prevents_it(bench: Bench) -> None:
    bench.trace.at["phase baseline"] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.trace.only(["noted web1", "killed web1"]) == []


# Failures


def fails(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


HANDLED = ("phase settle", "event repair", "event repaired", "starting web1", "starting web2", "started web1", "started web2")
"""A failure there comes before anything is broken, is healed instead, or is one of the healing: see below."""


@pytest.mark.parametrize(("experiment", "point"), [each for each in EVERY_POINT if each[1] not in HANDLED])
def test_failure_at_any_step_heals_and_is_said(bench: Bench, experiment: str, point: str) -> None:
    bench.trace.at[point] = fails(InconclusiveError("this went wrong"))
    with pytest.raises(LabError, match="this went wrong"):
        bench.run(EXPERIMENTS[experiment])
    bench.check()


def test_fault_that_cannot_be_noted_does_not_happen(bench: Bench) -> None:
    bench.trace.at["noting web1"] = fails(DiskError("undo.jsonl cannot be written: no space"))
    with pytest.raises(DiskError, match="no space"):
        bench.run()
    assert bench.trace.only(["killed web1"]) == []
    bench.check()


def test_second_fault_that_cannot_be_noted_does_not_happen_and_the_first_is_healed(bench: Bench) -> None:
    bench.trace.at["noting web2"] = fails(DiskError("undo.jsonl cannot be written: no space"))
    with pytest.raises(DiskError, match="no space"):
        bench.run(TWICE)
    assert bench.trace.only(["killed web1", "killed web2", "started web1"]) == ["killed web1", "started web1"]
    assert bench.is_whole


@pytest.mark.parametrize("point", ["event repair", "starting web1"])
def test_repair_that_fails_is_noted_and_the_lab_heals_instead(bench: Bench, point: str) -> None:
    bench.trace.at[point] = fails(LabError("the engine was busy"))
    bench.run(REPAIR)
    wanted = ["killed web1", "event note", "started web1", "event heal"]
    assert bench.trace.only(wanted)[0] == "killed web1"
    assert bench.trace.only(wanted)[-2:] == ["started web1", "event heal"]
    bench.check()


def test_healing_that_fails_once_is_tried_again_before_the_trial_ends(bench: Bench) -> None:
    bench.trace.at["starting web1"] = fails(LabError("the engine was busy"))
    with pytest.raises(HealError, match="the engine was busy") as caught:
        bench.run()
    assert caught.value.exit_code == EXIT_HEAL_FAILED
    assert bench.is_whole
    assert "event heal-failed" in bench.trace.entries


def test_healing_that_fails_leaves_the_fault_in_the_undo_log(bench: Bench) -> None:
    bench.engine.stuck = True
    with pytest.raises(HealError, match="its network is gone"):
        bench.run()
    assert [entry.undo.service for entry in bench.undo_log.entries()] == ["web1"]


def test_healing_of_one_box_that_fails_does_not_keep_the_other_from_it(bench: Bench) -> None:
    bench.trace.at["starting web2"] = fails(LabError("the engine was busy"))
    with pytest.raises(HealError, match="the engine was busy"):
        bench.run(TWICE)
    started = bench.trace.only(["started web1", "started web2"])
    assert started == ["started web1", "started web2"]
    assert bench.is_whole


def test_interrupt_while_a_healing_fails_says_both(bench: Bench) -> None:
    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        raise LabError("the engine was busy")

    bench.trace.at["starting web1"] = interrupted
    with pytest.raises(HealError) as caught:
        bench.run()
    assert was_interrupted(caught.value)
    assert bench.is_whole


def test_stage_that_does_not_settle_is_not_broken(bench: Bench) -> None:
    bench.trace.at["phase settle"] = fails(InconclusiveError("stage 3 does not settle"))
    with suppress(InconclusiveError):
        bench.run()
    assert bench.trace.entries == ["phase settle"]
