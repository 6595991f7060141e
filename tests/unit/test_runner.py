"""A trial from its start to its record, against an engine that is only played: what happens to boxes shows in what is noted.

The load and the observer are programs that say what the real ones say; both look at which boxes run. No time passes but played.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
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
from tests.unit.played_time import PlayedClock, PlayedProcess

RATE_PER_S = 100
VIEW_PERIOD_S = 0.05
AUDIT_S = 0.2
WALL_CLOCK_AHEAD_NS = 1_800_000_000 * 10**9
"""By how much the wall clock of this world is ahead of its monotonic clock: its boxes were started long before."""


class Users:
    """The load: requests at a steady rate, every third a write, answered at once where the world is served."""

    def __init__(self, world: World) -> None:
        self._world, self._start_s, self._sent = world, world.clock.monotonic(), 0
        self.process = PlayedProcess({"event": "started", "clock_ns": world.now_ns}, obey=self._obey)
        world.clock.after(0.0, self._ask)

    def _obey(self, message: dict[str, Any]) -> None:
        if message["do"] == "clock":
            self.process.say(event="clock", clock_ns=self._world.now_ns, id=message["id"])
        elif message["do"] == "stop":
            self.process.end(0, {"event": "finished", "intended": self._sent, "recorded": self._sent, "cpu_ratio": 0.1})

    def _ask(self) -> None:
        at_s, is_write = self._sent / RATE_PER_S, self._sent % 3 == 0
        outcome = ("ok", "ok", 200, "web1") if self._world.is_served else ("reset", "fail", 0, "")
        asked = ("write", f"k-{self._sent}") if is_write else ("read", "")
        self.process.say(event="arrivals", rows=[[self._sent, asked[0], at_s, 0.0, at_s, *outcome, "", asked[1], False]])
        self._sent += 1
        if self.process.runs:
            self._world.clock.after(self._start_s + self._sent / RATE_PER_S - self._world.clock.monotonic(), self._ask)


class Watchman:
    """The observer: what it sees many times a second, and each finding that is new."""

    VIEW = Client({}, "").view()
    """What the real one says where it watches neither databases nor balancers."""

    def __init__(self, world: World) -> None:
        self._world, self.is_frozen = world, False
        self._known: dict[tuple[str, str], Any] = {}
        clocks = {"monotonic_ns": world.now_ns, "realtime_ns": world.now_ns + WALL_CLOCK_AHEAD_NS, "period_s": 0.1}
        self.process = PlayedProcess({"event": "clocks", **clocks}, *self._seen())
        world.clock.after(VIEW_PERIOD_S, self._look)

    def freeze(self, seconds: float) -> None:
        """See nothing and say nothing for so long."""
        self.is_frozen = True
        self._world.clock.after(seconds, lambda: setattr(self, "is_frozen", False))

    def _look(self) -> None:
        if not self.is_frozen:
            for message in self._seen():
                self.process.say(**message)
        if self.process.runs:
            self._world.clock.after(VIEW_PERIOD_S, self._look)

    def _seen(self) -> list[dict[str, Any]]:
        now = {"clock_ns": self._world.now_ns}
        fresh = [(kind, name, said) for kind, name, said in self._world.findings if self._known.get((kind, name), 0) != said]
        self._known |= {(kind, name): said for kind, name, said in fresh}
        found = [
            {"event": "finding", **now, "at_ns": now["clock_ns"], "kind": each[0], "name": each[1], "said": each[2]}
            for each in fresh
        ]
        return [*found, {"event": "view", **now, **(self.VIEW or {})}]


@dataclass
class World(PlayedEngine):
    """Boxes that can be killed and started; Docker says so, and users and the observer notice. Its time is only played."""

    clock: PlayedClock = field(default_factory=PlayedClock)
    hearers: list[Callable[[EngineEvent], None]] = field(default_factory=list)
    watchmen: list[Watchman] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.host_clock = self.clock

    @property
    def now_ns(self) -> int:
        return round(self.clock.monotonic() * 1e9)

    @property
    def running(self) -> set[str]:
        return {each.service for each in self.present if each.status == "running"}

    @property
    def webs(self) -> list[str]:
        return [each.service for each in self.present if "web" in each.roles]

    @property
    def is_served(self) -> bool:
        return "db" in self.running and bool(set(self.webs) & self.running) and (len(self.webs) == 1 or "lb" in self.running)

    @property
    def findings(self) -> list[tuple[str, str, Any]]:
        database: dict[str, Any] = {"state": "primary" if "db" in self.running else "unreachable", "followers": []}
        servers = {web: web in self.running for web in self.webs} if "lb" in self.running else None
        return [("database", "db", database), ("statistics", "lb", servers)]

    def happens(self, box: Box, status: str, *actions: str) -> None:
        """A box changes, and Docker says these of it."""
        with self.lock:
            self.present = [replace(each, status=status) if each.service == box.service else each for each in self.present]
            for action in actions:
                self.says(box, action)

    def says(self, box: Box, action: str) -> None:
        """Docker says this of a box."""
        for hear in self.hearers:
            hear(EngineEvent(box.service, action, self.clock.monotonic(), box.id, self.now_ns + WALL_CLOCK_AHEAD_NS))

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
            self.clock.sleep(AUDIT_S)
            hosts = json.loads(command[-1])
            audited = {"orders": {}, "role": "primary", "timeline": 1, "position": "0/60", "caught_up": True}
            return ExecResult(0, json.dumps(dict.fromkeys(hosts, audited)))
        return ExecResult(0 if self.is_served else 1, "")

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        if "client.generator" in command:
            return Users(self).process
        self.watchmen.append(Watchman(self))
        return self.watchmen[-1].process


class Watcher:
    """Calls back when a phase of the trial begins."""

    def __init__(self, on: dict[str, Callable[[], None]]) -> None:
        self._on = on
        self.records: list[TrialRecord] = []

    def trial(self, number: int, seed: int) -> None:
        pass

    def phase(self, name: str, detail: str = "") -> None:
        if name in self._on:
            self._on.pop(name)()

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
def world() -> World:
    return world_of(find("3"))


def world_of(stage: Stage) -> World:
    return World(present=started(stage))


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

    return lambda: world.clock.after(0.3, lambda: world.start(world.named(service)))


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
    world = world_of(stage)
    experiment = replace(WATCHED_FOR_LONGER, steps=(Step(FaultKind.KILL, "db"),))
    record, _ = trial(world, tmp_path, stage, experiment, observe=starts(world, "db"))
    well, heal = only(record, "recovered"), only(record, "heal")
    assert only(record, "foreign").at_s < well.at_s < heal.at_s
    last_bad_s = max(each.at_s for each in record.arrivals if each.error_class != "ok")
    again = {kind: min(each.done_s for each in record.arrivals if each.kind == kind and each.at_s > last_bad_s) for kind in KINDS}
    assert max(again.values()) - 0.2 < well.at_s < max(again.values()) + 0.2


def test_the_load_goes_on_until_the_end_of_the_last_outage_is_seen(world: World, tmp_path: Path) -> None:
    database = world.named("db")

    def goes_for_a_moment() -> None:
        world.clock.after(0.2, lambda: world.happens(database, "exited"))
        world.clock.after(0.4, lambda: world.happens(database, "running"))

    record, result = trial(world, tmp_path, find("3"), replace(KILL_WEB, cooldown_s=0.3), after=goes_for_a_moment)
    assert [outage.censored for outage in result.outages] == [False]
    [outage] = result.outages
    assert outage.end_s - outage.start_s == pytest.approx(0.2, abs=0.05)
    assert 1.0 < only(record, "stop").at_s - outage.end_s < 2.0


def test_an_observer_that_freezes_in_the_middle_makes_the_trial_invalid(world: World, tmp_path: Path) -> None:
    experiment = replace(KILL_WEB, fault_duration_s=2.5)
    record, result = trial(world, tmp_path, find("3"), experiment, observe=lambda: world.watchmen[-1].freeze(2.0))
    assert of(record, "blind") == []
    [gap] = blind_spots(record.events)
    assert 1.8 < gap.length_s < 10
    assert not result.valid
    assert any(
        reason == f"the observer saw nothing for {gap.length_s:.1f} s (at {gap.start_s:.1f} s)" for reason in result.reasons
    )


def test_the_operators_heal_of_a_failback_is_no_rescue(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was broken before; the operator heals it, waits until nothing is missing, and only then changes over."""
    done: list[str] = []

    def switchover(*_: object, **__: object) -> str:
        done.append("changed over")
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
    assert done == ["changed over"]
    assert of(record, "foreign") == []
