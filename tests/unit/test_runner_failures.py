"""A trial from settling to its end, where the stage does not come back: engine, load and observer are only played."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.analysis import run_document
from lab.checker import exposure
from lab.checker.validity import generator_report
from lab.cluster import readiness
from lab.cluster.system import RunningSystem
from lab.engine.engine import ExecResult
from lab.engine.inspect import EngineEvent
from lab.errors import EXIT_HEAL_FAILED, DiskError, HealError, InconclusiveError, LabError
from lab.host_clock import HostClock
from lab.load.load import Clock
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, GeneratorReport, LogLine, RunInfo
from lab.model.measures import Verdict
from lab.model.observation import ClusterView
from lab.model.topology import Box
from lab.report.progress import NoProgress
from lab.signals import was_interrupted
from lab.spec import experiments
from lab.spec.experiment_keys import BASELINE_S
from lab.store.runs import read_run
from lab.store.undo_log import UndoLog
from lab.trial import runner
from lab.trial.runner import RunConfig, info_of
from lab.trial.under_load import JITTER_S
from tests.unit.disks import refuse
from tests.unit.helpers import stage, started, traffic
from tests.unit.played_time import PlayedClock
from tests.unit.test_disk import Living
from tests.unit.test_signals import send

GONE_S = BASELINE_S + JITTER_S
"""The fault comes before that, and healing after."""
ARRIVALS = traffic(GONE_S + 2.0, (GONE_S, GONE_S + 1.0))
KEPT = {each.key: 1 for each in ARRIVALS if each.kind == "write" and each.effect == "ok"}
WATCHED_S = 3.25
AUDIT_S = 0.2


class Stage3(Living):
    """Stage 3 under test; its time is only played. `stuck`: what does not start again."""

    def __init__(self, stuck: bool = False) -> None:
        super().__init__(started(stage()), answer=self._answers, host_clock=PlayedClock())
        self.stuck = stuck
        self.log_is_gone = False

    def start(self, box: Box) -> None:
        if self.stuck:
            raise LabError("Docker could not start it: its network is gone")
        super().start(box)

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        return lambda: self.done.append("stop watching")

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        if self.log_is_gone:
            raise LabError(f"Docker could not read the log of {box.service}")
        return []

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        if "client.audit" in command:
            self.host_clock.wait(threading.Event(), AUDIT_S)
        return super().run_in(box, command, timeout_s, user)

    def _answers(self, _box: Box, command: Sequence[str]) -> ExecResult:
        if "client.audit" in command:
            return ExecResult(0, json.dumps({"db": {"orders": KEPT}}))
        return ExecResult(1 if command[0] == "pgrep" else 0, "")


@dataclass
class Played:
    """What the load and the observer of a trial were told, in order; `during` is called while the fault is in effect."""

    told: list[str] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    finishes: bool = True
    arrivals: Sequence[Arrival] = tuple(ARRIVALS)


def play(monkeypatch: pytest.MonkeyPatch, played: Played) -> None:
    """Put a load and an observer in place that do nothing."""

    class Load:
        start_ns = 0
        clock = Clock(0.0, 0.0)

        def __init__(self, *given: object) -> None:
            self.heard: Callable[[Sequence[Arrival]], None] = given[3]  # type: ignore[assignment]
            self.host_clock: HostClock = given[4]  # type: ignore[assignment]
            self.arrivals: list[Arrival] = []

        def __enter__(self) -> Load:
            self.clock = self.clock_at_end = Clock(self.host_clock.monotonic(), 0.0001)
            self.arrivals += played.arrivals
            self.heard(played.arrivals)
            return self

        def __exit__(self, *_: object) -> None:
            played.told.append("the load has ended")

        def now_s(self) -> float:
            return self.clock.at(self.host_clock.monotonic())

        def run_for(self, seconds: float) -> None:
            if seconds == WATCHED_S:
                played.during()
            self.host_clock.wait(threading.Event(), seconds)

        def show_fault(self, what: str) -> None:
            """Nothing."""

        def stop(self) -> GeneratorReport:
            played.told.append("stop the load")
            if not played.finishes:
                raise InconclusiveError("the load did not finish: its box is gone")
            return generator_report(self.arrivals, len(self.arrivals), len(self.arrivals), 0.1)

    class Observer:
        is_watching, period_s, realtime_offset_ns = True, 0.1, 1

        def __init__(self, *_: object, **__: object) -> None:
            self.views: list[object] = []
            self.findings: list[object] = []
            self.words: list[object] = []

        def __enter__(self) -> Observer:
            return self

        def latest(self) -> ClusterView:
            return ClusterView(0, {}, 0, 0, (), "")

        def __exit__(self, *_: object) -> None:
            played.told.append("the observer has ended")

    monkeypatch.setattr(runner, "Load", Load)
    monkeypatch.setattr("lab.cluster.cluster.Observer", Observer)
    monkeypatch.setattr(exposure, "replay", lambda *_: ())
    monkeypatch.setattr("lab.cluster.conditions.of_stage", lambda *_: None)
    # This observer says nothing at all: what that means is tested in test_runner.
    monkeypatch.setattr("lab.checker.blind_spots.as_events", lambda *_: [])


@dataclass
class Executor:
    """A run of kill-web on stage 3, in a folder of its own."""

    folder: Path
    ledger: UndoLog

    def run(self, engine: Stage3, trials: int = 1) -> RunInfo:
        experiment = experiments.lasting(experiments.find("kill-web"), WATCHED_S)
        order = RunConfig(stage(), experiment, LoadPlan(), 7, trials)
        info = info_of(order)
        runner.run(engine.cluster(order.stage, self.ledger), order, info, NoProgress())
        return info

    @property
    def kept(self) -> Path:
        return (self.folder / "results" / "latest").resolve()

    def events(self) -> list[str]:
        [trial] = read_run(self.kept)[1]
        return [event.name for event in trial.events if event.name not in ("clock", "observer-gap", "alert-record")]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Executor:
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path / "results")
    return Executor(tmp_path, UndoLog(tmp_path / "undo.jsonl"))


def test_trial_of_a_stage_that_comes_back(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played()
    play(monkeypatch, played)
    bench.run(Stage3())
    assert sorted(bench.events()) == sorted(["inject", "fault-verified", "heal", "recovered", "stop"])
    assert bench.events()[:3] == ["inject", "fault-verified", "heal"]
    assert played.told == ["stop the load", "the load has ended", "the observer has ended"]
    assert (bench.kept / "result.json").exists()
    assert bench.ledger.entries() == []


def test_trial_whose_stage_does_not_come_back_keeps_its_figures(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played()
    play(monkeypatch, played)
    why = "kill of web1 could not be undone: Docker could not start it: its network is gone"
    with pytest.raises(HealError) as caught:
        bench.run(Stage3(stuck=True))
    assert (caught.value.exit_code, caught.value.message) == (EXIT_HEAL_FAILED, why)
    # Load and observer end as they do in every trial, and what they know is kept.
    assert played.told == ["stop the load", "the load has ended", "the observer has ended"]
    assert bench.events() == ["inject", "fault-verified", "heal", "heal-failed", "stop"]
    result, [trial] = run_document.rebuild(bench.kept)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.trials[0].reasons == (f"the stage did not come back: {why}",)
    assert len(trial.arrivals) == len(played.arrivals)
    assert result.trials[0].total.intended == len(played.arrivals)
    assert [outage.start_s for outage in result.trials[0].outages] == [GONE_S]
    assert [entry.undo.service for entry in bench.ledger.entries()] == ["web1"]


def test_box_that_starts_and_is_not_well_is_no_stage_that_came_back(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Played())
    await_healthy = readiness.await_healthy

    def fails_after_the_kill(cluster: RunningSystem, services: Sequence[str], timeout_s: float = 60.0) -> None:
        assert isinstance(cluster.engine, Stage3)
        if cluster.engine.done.count("kill web1"):
            raise HealError("web1 is running, unhealthy after 60 s")
        await_healthy(cluster, services, timeout_s)

    monkeypatch.setattr(readiness, "await_healthy", fails_after_the_kill)
    with pytest.raises(HealError, match="unhealthy after 60 s"):
        bench.run(Stage3())
    assert "heal-failed" in bench.events()
    assert bench.ledger.entries() == []


def test_stage_of_unknown_health_did_not_come_back(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Played())

    def await_view(*_: object, **__: object) -> None:
        raise InconclusiveError("the observer has gone silent")

    monkeypatch.setattr(readiness, "await_view", await_view)
    with pytest.raises(HealError, match="it is not known whether the stage has recovered: the observer has gone silent"):
        bench.run(Stage3())
    assert "heal-failed" in bench.events()


def test_what_cannot_be_known_any_more_is_said_and_hides_nothing(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The internet box is gone too: no report of the load, no audit, no logs."""
    play(monkeypatch, Played(finishes=False))
    engine = Stage3(stuck=True)
    engine.log_is_gone = True
    answers = engine.answer
    engine.answer = lambda box, command: ExecResult(1, "no such box") if "client.audit" in command else answers(box, command)
    with pytest.raises(HealError, match="its network is gone"):
        bench.run(engine)
    [trial] = run_document.rebuild(bench.kept)[0].trials
    assert trial.reasons[-1] == "it cannot be said what was lost: db could not be read"
    assert [note.partition(": ")[2] for note in trial.notes] == [
        "the load did not finish: its box is gone",
        "the audit failed: no such box",
        "the logs could not be read: Docker could not read the log of lb",
    ]


def test_same_in_a_trial_whose_stage_comes_back_is_what_it_was(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Played(finishes=False))
    with pytest.raises(InconclusiveError, match="the load did not finish"):
        bench.run(Stage3())
    assert read_run(bench.kept)[1] == ()


@pytest.mark.parametrize("stuck", [False, True])
def test_interrupt_heals_and_a_healing_that_fails_says_both(
    bench: Executor, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    play(monkeypatch, Played(during=lambda: send(signal.SIGINT)))
    with pytest.raises(HealError if stuck else KeyboardInterrupt) as caught:
        bench.run(Stage3(stuck), trials=2)
    assert was_interrupted(caught.value)
    assert len(list(bench.kept.glob("trial-*"))) == 1
    assert len(read_run(bench.kept)[1]) == stuck


def test_full_disk_of_results_is_said_when_all_is_healed(bench: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Stage3()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def during() -> None:
        monkeypatch.setattr("lab.store.jsonl.as_line", full)
        monkeypatch.setattr(bench.ledger, "close", lambda entry: bench.ledger._undone.add(entry.id))

    play(monkeypatch, Played(during=during))
    with pytest.raises(DiskError, match=r"trial-01/events.jsonl cannot be written: No space left on device"):
        bench.run(engine)
    assert "start web1" in engine.done
    assert bench.ledger.entries() == []


def test_full_disk_of_the_state_folder_keeps_the_figures_and_is_no_success(
    bench: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is well again, so the trial is as good as any; that the notes could not be written is the error."""
    engine = Stage3()
    with monkeypatch.context() as disk:
        close = bench.ledger.close

        def close_on_a_full_disk(entry: object) -> None:
            with monkeypatch.context() as full:
                refuse(full)
                close(entry)  # type: ignore[arg-type]

        disk.setattr(bench.ledger, "close", close_on_a_full_disk)
        play(disk, Played())
        with pytest.raises(HealError, match=r"undo.jsonl cannot be written: No space left on device"):
            bench.run(engine)
    assert sorted(bench.events()[-2:]) == ["recovered", "stop"]
    assert run_document.rebuild(bench.kept)[0].trials[0].valid
