"""A trial from its start to its record, against an engine that is only played: what happens to boxes shows in what is noted.

The load and the observer are processes that say what the real ones say; both look at a file that says which boxes run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

import pytest
from client.observer import Observer as Client

from lab.checker.blind_spots import blind_spots
from lab.checker.notified import LONGEST_WAIT_S
from lab.cluster import database
from lab.engine.engine import ExecResult
from lab.engine.inspect import EngineEvent
from lab.model.experiment import Experiment, LoadPlan, Operator
from lab.model.fault import FaultKind, Step
from lab.model.history import Arrival, Event, TrialRecord, payloads
from lab.model.payloads import AlertRecord, ClockError, ObserverGap
from lab.model.result import Notified, TrialResult
from lab.model.topology import Box, Stage
from lab.spec.stages import find
from lab.store.runs import RunJournal, read_run
from lab.store.undo_log import UndoLog
from lab.trial import preconditions
from lab.trial.operator import HEALED_BY_OPERATOR, WHOLE_BEFORE
from lab.trial.runner import RunConfig, run_trial
from tests.unit.helpers import run_info, started
from tests.unit.played import PlayedEngine

GENERATOR = """
import json, sys, threading, time
world, rate = sys.argv[1], 100
start = time.monotonic()
lock = threading.Lock()
def say(**message):
    with lock:
        print(json.dumps(message), flush=True)
say(event="started", clock_ns=int(start * 1e9))
ended, sent = threading.Event(), 0
def serve():
    global sent
    while not ended.is_set():
        at = sent / rate
        ended.wait(max(start + at - time.monotonic(), 0))
        good = json.load(open(world))["served"]
        kind, key = ("write", f"k-{sent}") if sent % 3 == 0 else ("read", "")
        words = ("ok", "ok", 200, "web1") if good else ("reset", "fail", 0, "")
        row = [sent, kind, at, 0.0, max(at, time.monotonic() - start), words[0], words[1], words[2], words[3], "", key, False]
        sent += 1
        say(event="arrivals", rows=[row])
thread = threading.Thread(target=serve)
thread.start()
for line in sys.stdin:
    message = json.loads(line)
    if message["do"] == "clock":
        say(event="clock", clock_ns=time.monotonic_ns(), id=message["id"])
    elif message["do"] == "stop":
        break
ended.set()
thread.join()
say(event="finished", intended=sent, recorded=sent, stopped_s=1.0, cpu_ratio=0.1)
"""
OBSERVER = """
import json, os, sys, threading, time
world = sys.argv[1]
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
say = lambda **message: print(json.dumps(message), flush=True)
say(event="clocks", monotonic_ns=time.monotonic_ns(), realtime_ns=time.time_ns(), period_s=0.1)
known = {}
while True:
    seen = json.load(open(world))["findings"]
    for kind, name, said in seen:
        if known.get((kind, name), 0) != said:
            known[kind, name] = said
            at_ns = time.monotonic_ns()
            say(event="finding", clock_ns=at_ns, at_ns=at_ns, kind=kind, name=name, said=said)
    say(event="view", clock_ns=time.monotonic_ns(), **json.loads(sys.argv[2]))
    time.sleep(0.05)
"""
NOTHING_WATCHED = json.dumps(Client({}, "").view())
"""What the real observer says where it watches neither databases nor balancers."""


@dataclass
class World(PlayedEngine):
    """Boxes that can be killed and started; Docker says so, and users and the observer notice."""

    file: Path = Path("world.json")
    hearers: list[Callable[[EngineEvent], None]] = field(default_factory=list)
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def show(self) -> None:
        """Write down how everything is."""
        with self.lock:
            up = {each.service for each in self.present if each.status == "running"}
            webs = [each.service for each in self.present if "web" in each.roles]
            served = "db" in up and bool(set(webs) & up) and (len(webs) == 1 or "lb" in up)
            findings: list[Any] = [["database", "db", {"state": "primary" if "db" in up else "unreachable", "followers": []}]]
            findings += [["statistics", "lb", {web: web in up for web in webs} if "lb" in up else None]]
            fresh = self.file.with_suffix(".new")
            fresh.write_text(json.dumps({"served": served, "findings": findings}))
            fresh.replace(self.file)

    def happens(self, box: Box, status: str, *actions: str) -> None:
        """A box changes, and Docker says these of it."""
        with self.lock:
            self.present = [replace(each, status=status) if each.service == box.service else each for each in self.present]
            self.show()
            for action in actions:
                for hear in self.hearers:
                    hear(EngineEvent(box.service, action, monotonic(), box.id, time_ns()))

    def named(self, service: str) -> Box:
        return next(each for each in self.present if each.service == service)

    def kill(self, box: Box) -> None:
        self.happens(box, "exited", "kill", "die")

    def start(self, box: Box) -> None:
        self.happens(box, "running", "start")

    def restart(self, box: Box) -> None:
        self.happens(box, "exited", "kill", "die")
        self.happens(box, "running", "connect", "start", "restart")
        with self.lock:
            again = replace(self.named(box.service), started_at="2026-01-31T12:00:09Z")
            self.present = [again if each.service == box.service else each for each in self.present]

    def box(self, box: Box) -> Box | None:
        return self.named(box.service)

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        self.hearers.append(heard)
        return self.hearers.clear

    def log_lines(self, box: Box, since_s: float) -> list[Any]:
        return []

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        if "client.audit" in command:
            hosts = json.loads(command[-1])
            audited = {"orders": {}, "role": "primary", "timeline": 1, "position": "0/60", "caught_up": True}
            return ExecResult(0, json.dumps(dict.fromkeys(hosts, audited)))
        return ExecResult(0 if json.loads(self.file.read_text())["served"] else 1, "")

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        script = GENERATOR if "client.generator" in command else OBSERVER
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.file), NOTHING_WATCHED], stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.processes.setdefault("load" if script is GENERATOR else "observer", []).append(process)
        return process


class Watcher:
    """Calls back when a phase of the trial begins."""

    def __init__(self, on: dict[str, Callable[[], None]]) -> None:
        self._on = on
        self.records: list[TrialRecord] = []

    def trial(self, number: int, seed: int) -> None:
        pass

    def phase(self, name: str, detail: str = "") -> None:
        if name in self._on:
            threading.Thread(target=self._on.pop(name), daemon=True).start()

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        pass

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        self.records.append(record)

    def notice(self, text: str) -> None:
        raise AssertionError(text)


KINDS = ("read", "write")
KILL_WEB = Experiment(
    name="kill-web",
    title="A web box is killed",
    question="What happens?",
    steps=(Step(FaultKind.KILL, "web1"),),
    baseline_s=1.2,
    fault_duration_s=1.0,
    cooldown_s=0.3,
    expectations=(),
)
WATCHED_FOR_LONGER = replace(KILL_WEB, fault_duration_s=2.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_of(find("3"), tmp_path)


def world_of(stage: Stage, tmp_path: Path) -> World:
    world = World(present=started(stage), file=tmp_path / "world.json")
    world.show()
    return world


def trial(
    world: World, tmp_path: Path, stage: Stage, experiment: Experiment = KILL_WEB, **on: Callable[[], None]
) -> tuple[TrialRecord, TrialResult]:
    """Run a trial; its record as its journal has it, and its figures."""
    ledger, watcher = UndoLog(tmp_path / "undo.jsonl"), Watcher(on)
    journal = RunJournal(run_info(), tmp_path / "results")
    result = run_trial(world.cluster(stage, ledger), RunConfig(stage, experiment, LoadPlan(), seed=1), 1, journal, watcher)
    [kept] = read_run(journal.folder)[1]
    assert sorted(kept.events, key=lambda event: event.at_s) == list(watcher.records[0].events)
    assert ledger.entries() == []
    return kept, result


def starts(world: World, service: str) -> Callable[[], None]:
    """Another process, which starts a box a while after it was killed."""

    def start() -> None:
        sleep(0.3)
        world.start(world.named(service))

    return start


def of(record: TrialRecord, name: str) -> list[Event]:
    return sorted((event for event in record.events if event.name == name), key=lambda event: event.at_s)


def only(record: TrialRecord, name: str) -> Event:
    [event] = of(record, name)
    return event


def test_a_trial_without_foreign_actions(world: World, tmp_path: Path) -> None:
    record, result = trial(world, tmp_path, find("3"))
    assert of(record, "foreign") == []
    inject, heal, well = (only(record, name) for name in ("inject", "heal", "recovered"))
    assert inject.at_s < heal.at_s <= well.at_s < only(record, "stop").at_s
    assert [event.detail for event in of(record, "docker")] == ["web1: die", "web1: start"]
    # The balancer's own word is later than Docker's: the box is started, and then used.
    assert well.at_s >= of(record, "docker")[1].at_s
    assert [clock.drift_ms is None for _, clock in payloads(record.events, ClockError)] == [True, False]
    assert [gap.length_s < 1 for _, gap in payloads(record.events, ObserverGap)] == [True]
    assert not [reason for reason in result.reasons if "observer" in reason or "clock" in reason]
    assert record.databases["db"].role == "primary"
    assert result.audit.served_by == "db"


def test_whether_every_alert_is_known_is_noted_and_a_fault_that_none_reports_is_found(world: World, tmp_path: Path) -> None:
    record, result = trial(world, tmp_path, find("3"), replace(KILL_WEB, cooldown_s=LONGEST_WAIT_S + 0.2))
    kept = only(record, "alert-record")
    assert isinstance(kept.data, AlertRecord)
    assert (kept.data.is_monitored, kept.data.is_complete, kept.data.firing) == (True, True, ())
    assert kept.at_s == only(record, "stop").at_s < kept.data.until_s
    # The monitoring box of this world writes no log: no alert was delivered.
    assert result.notified is Notified.NO


def test_what_a_monitoring_box_that_ended_may_have_missed_is_not_known(world: World, tmp_path: Path) -> None:
    watch = world.named("watch")

    def restart() -> None:
        world.happens(watch, "exited", "die")
        world.happens(watch, "running", "start")

    record, result = trial(world, tmp_path, find("3"), observe=restart)
    kept = only(record, "alert-record")
    assert isinstance(kept.data, AlertRecord)
    assert (kept.data.is_complete, kept.data.why_incomplete) == (False, "the monitoring box: die during the trial")
    assert result.notified is Notified.UNKNOWN


def test_a_stranger_who_starts_the_victim_is_noted_and_redundancy_is_dated_when_it_was_back(world: World, tmp_path: Path) -> None:
    record, result = trial(world, tmp_path, find("3"), WATCHED_FOR_LONGER, observe=starts(world, "web1"))
    foreign = only(record, "foreign")
    inject, heal, well = (only(record, name).at_s for name in ("inject", "heal", "recovered"))
    assert foreign.detail == "web1: start, not by this run"
    assert inject < foreign.at_s < well < heal
    assert well - foreign.at_s < 1.0
    # Two figures of the same report: from the fault on the tier had nothing left until redundancy was back.
    [web] = [tier for tier in result.exposure if tier.tier == "web"]
    assert web.without_redundancy_s == pytest.approx(well - inject, abs=0.3)
    assert any(note.endswith("web1: start, not by this run: what this ended did not end by itself") for note in result.notes)


def test_a_fault_that_starts_a_box_itself_is_no_stranger(world: World, tmp_path: Path) -> None:
    record, _ = trial(world, tmp_path, find("3"), replace(KILL_WEB, steps=(Step(FaultKind.RESTART, "web1"),)))
    assert only(record, "fault-verified").at_s > 0
    assert of(record, "foreign") == []
    assert only(record, "recovered").at_s < only(record, "heal").at_s


def test_the_start_of_another_box_is_a_note_and_nothing_more(world: World, tmp_path: Path) -> None:
    web2 = world.named("web2")
    record, _ = trial(world, tmp_path, find("3"), observe=lambda: world.happens(web2, "running", "start"))
    assert of(record, "foreign") == []
    assert [event.detail for event in of(record, "note")] == ["web2: start, not by this run"]


def test_where_nothing_has_a_margin_users_and_docker_date_it(tmp_path: Path) -> None:
    stage = find("2")
    world = world_of(stage, tmp_path)
    experiment = replace(WATCHED_FOR_LONGER, steps=(Step(FaultKind.KILL, "db"),))
    record, _ = trial(world, tmp_path, stage, experiment, observe=starts(world, "db"))
    well, heal = only(record, "recovered"), only(record, "heal")
    assert only(record, "foreign").at_s < well.at_s < heal.at_s
    last_bad_s = max(each.at_s for each in record.arrivals if each.error_class != "ok")
    again = {kind: min(each.done_s for each in record.arrivals if each.kind == kind and each.at_s > last_bad_s) for kind in KINDS}
    assert max(again.values()) - 0.2 < well.at_s < max(again.values()) + 0.2


def test_an_observer_that_freezes_in_the_middle_makes_the_trial_invalid(world: World, tmp_path: Path) -> None:
    def freeze() -> None:
        process = world.processes["observer"][-1]
        os.kill(process.pid, signal.SIGSTOP)
        sleep(2.0)
        os.kill(process.pid, signal.SIGCONT)

    record, result = trial(world, tmp_path, find("3"), replace(KILL_WEB, fault_duration_s=2.5), observe=freeze)
    assert of(record, "blind") == []
    [gap] = blind_spots(record.events)
    assert 1.8 < gap.length_s < 10
    assert not result.valid
    assert any(
        reason == f"the observer saw nothing for {gap.length_s:.1f} s (at {gap.start_s:.1f} s)" for reason in result.reasons
    )


def test_the_operators_heal_of_a_failback_is_no_rescue(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was broken before; the operator heals it, waits until nothing is missing, and only then changes over."""
    done: list[float] = []

    def switchover(*_: object, **__: object) -> str:
        done.append(monotonic())
        return "db"

    monkeypatch.setattr(database, "switchover", switchover)
    monkeypatch.setattr(preconditions, "SETTLE_TIMEOUT_S", 5.0)
    failback = replace(KILL_WEB, steps=(), initial_faults=(Step(FaultKind.KILL, "web1"),), operator=Operator(0.3, "failback"))
    record, _ = trial(world, tmp_path, find("3"), failback)
    assert of(record, "heal") == []
    operator, healed, before, well = (
        only(record, name).at_s for name in ("operator", HEALED_BY_OPERATOR, WHOLE_BEFORE, "recovered")
    )
    assert operator <= healed <= before
    assert before <= well
    assert len(done) == 1
    assert of(record, "foreign") == []
