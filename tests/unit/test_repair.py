"""What is done about lost boxes, against an engine that is only played."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster import readiness
from lab.cluster.cluster import Cluster
from lab.errors import UsageError
from lab.faults import redundancy_watch, repair, repair_policy
from lab.faults.redundancy_watch import RedundancyWatch
from lab.faults.repair import Repairs
from lab.faults.repair_policy import Remedy, remedy
from lab.model.experiment import Repair, RepairPolicy
from lab.model.fault import FaultKind, Step, Undo, UndoAction
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage, Tier
from lab.probe import status as status_
from lab.spec import stages
from lab.spec.experiments import find, repairing
from lab.spec.targets import matches_a_box
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, cluster_status_of, db, replicated, stage, started, view
from tests.unit.played import PlayedEngine, PlayedObserver
from tests.unit.played_time import PlayedClock

RESTART, REPLACE, NONE = RepairPolicy.RESTART, RepairPolicy.REPLACE, RepairPolicy.NONE
NOTHING_SEEN = ClusterView(0, {}, 0, 0, (), "")
WATCH = box("watch", ("watch",))


@pytest.mark.parametrize(
    ("policy", "status", "wanted"),
    [
        (NONE, "exited", Remedy.NOTHING),
        (RESTART, "exited", Remedy.START),
        (RESTART, "paused", Remedy.POWER_CYCLE),
        (RESTART, "running", Remedy.NOTHING),
        (REPLACE, "exited", Remedy.REPLACE),
        (REPLACE, "paused", Remedy.REPLACE),
        (REPLACE, "running", Remedy.NOTHING),
    ],
)
def test_what_is_done_about_a_web_box(policy: RepairPolicy, status: str, wanted: Remedy) -> None:
    assert remedy(policy, stage(), "web1", box(status=status), NOTHING_SEEN) is wanted


def test_only_a_new_box_has_new_cables() -> None:
    assert remedy(RESTART, stage(), "web1", box(), NOTHING_SEEN, severed=True) is Remedy.NOTHING
    assert remedy(REPLACE, stage(), "web1", box(), NOTHING_SEEN, severed=True) is Remedy.REPLACE


def test_a_box_that_is_gone_cannot_be_started() -> None:
    assert remedy(RESTART, stage(), "web1", None, NOTHING_SEEN) is Remedy.NOTHING
    assert remedy(REPLACE, stage(), "web1", None, NOTHING_SEEN) is Remedy.REPLACE


@pytest.mark.parametrize(
    ("db2", "wanted"),
    [("primary", Remedy.REPLACE), ("sync_blocked", Remedy.REPLACE), ("standby", Remedy.WAIT), ("unreachable", Remedy.START)],
)
def test_a_database_is_replaced_only_while_another_one_leads(db2: str, wanted: Remedy) -> None:
    assert remedy(REPLACE, automatic(), "db1", db("db1", status="exited"), view("unreachable", db2)) is wanted


def test_where_an_operator_promotes_no_election_is_waited_for() -> None:
    assert remedy(REPLACE, replicated(), "db1", db("db1", status="exited"), view("unreachable", "standby")) is Remedy.START


@pytest.mark.parametrize(("number", "service"), [("3", "db"), ("5", "monitor"), ("2", "db")])
def test_what_only_one_box_has_is_not_thrown_away(number: str, service: str) -> None:
    of = stages.find(number)
    assert repair_policy.only_copy(of, service)
    lost = box(service, ("monitor",) if service == "monitor" else ("db",), status="exited")
    assert remedy(REPLACE, of, service, lost, NOTHING_SEEN) is Remedy.START


EVERY_STAGE = st.sampled_from([each for each in stages.all_stages() if each.databases])
STATES = st.sampled_from(list(DatabaseState))


@given(st.data(), EVERY_STAGE, st.sampled_from(list(RepairPolicy)), st.booleans())
def test_no_policy_ever_throws_away_the_last_copy(data: st.DataObject, of: Stage, policy: RepairPolicy, severed: bool) -> None:
    seen = ClusterView(0, {name: data.draw(STATES) for name in of.databases}, 0, 0, (), "")
    service = data.draw(st.sampled_from(sorted(of.databases)))
    status = data.draw(st.sampled_from(["running", "exited", "paused", "created", "dead"]))
    found = remedy(policy, of, service, db(service, status=status), seen, severed)
    others = [name for name, state in seen.databases.items() if name != service and state in ("primary", "sync_blocked")]
    if found is Remedy.REPLACE:
        assert others
        assert policy is REPLACE
    if policy is NONE:
        assert found is Remedy.NOTHING


def test_a_place_that_is_cut_off_is_no_box_to_be_replaced() -> None:
    cut = Step(FaultKind.DISCONNECT, "db.primary")
    assert repair_policy.is_severed(cut, 1)
    assert not repair_policy.is_severed(cut, 3)
    assert not repair_policy.is_severed(replace(cut, fault=FaultKind.PARTITION), 1)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({Tier.WEB: 1, Tier.DATABASE: 1}, ""),
        ({Tier.WEB: 2, Tier.DATABASE: 1}, ""),
        ({Tier.WEB: 1}, "database tolerates 0 failures, not 1"),
        ({Tier.WEB: 0, Tier.DATABASE: 1}, "web tolerates 0 failures, not 1"),
    ],
)
def test_all_is_in_reserve_when_no_tier_has_less_than_in_calm_times(now: dict[Tier, int], said: str) -> None:
    assert redundancy_watch.shortage(now, {Tier.WEB: 1, Tier.DATABASE: 1}) == said


def test_an_operator_and_a_policy_are_two_who_repair() -> None:
    with pytest.raises(UsageError, match="has an operator already"):
        repairing(find("kill-primary-operator"), "restart", None)
    assert repairing(find("kill-web"), "replace", 0.5).repair == Repair(REPLACE, 0.5)
    assert repairing(find("kill-web"), None, None) == find("kill-web")


# Carried out


@dataclass
class Played(PlayedEngine):
    """An engine whose boxes change with what is done to them. Its time is only played."""

    def __post_init__(self) -> None:
        self.clock = self.host_clock = PlayedClock()

    def kill(self, box: Box) -> None:
        super().kill(box)
        self._now(box.service, "exited")

    def start(self, box: Box) -> None:
        super().start(box)
        self._now(box.service, "running")

    def remove(self, box: Box) -> None:
        self.done.append(f"remove {box.service}")
        self.present = [each for each in self.present if each.service != box.service]

    def _now(self, service: str, status: str) -> None:
        self.present = [replace(each, status=status) if each.service == service else each for each in self.present]


def lost(service: str, status: str = "exited") -> Box:
    return db(service, status=status, project=automatic().project)


class PlayedWatch(RedundancyWatch):
    """Says that redundancy is restored as soon as `back` does."""

    def __init__(self, cluster: Cluster, observer: PlayedObserver, back: Callable[[], bool]) -> None:
        self.cluster, self.observer, self._back = cluster, observer, back

    def is_restored(self) -> bool:
        return self._back()


def a_watch(back: Callable[[], bool]) -> PlayedWatch:
    return PlayedWatch(Played([]).cluster(automatic()), PlayedObserver([]), back)


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


def crew(
    plays: Played, ledger: UndoLog, policy: Repair, notes: list[str], back: Callable[[], bool], sees: ClusterView
) -> Repairs:
    watch = PlayedWatch(plays.cluster(automatic(), ledger), PlayedObserver([sees]), back)
    return Repairs(watch, policy, lambda name, _: notes.append(name))


def test_a_lost_box_is_started_after_the_delay_and_reserve_is_awaited(ledger: UndoLog) -> None:
    plays, notes, back = Played([lost("db1"), lost("db2", "running")]), list[str](), threading.Event()
    repairs = crew(plays, ledger, Repair(RESTART, 0.05), notes, back.is_set, view("unreachable", "primary"))
    lost_at = plays.clock.monotonic()
    repairs.lost(["db1"], severed=False)
    assert plays.done == []
    assert plays.clock.wait_until(lambda: plays.done == ["start db1"], 5)
    assert not repairs.is_through
    back.set()
    assert plays.clock.wait_until(lambda: repairs.is_through, 5)
    repairs.stop()
    assert notes == ["repair", "repaired"]
    [(service, since, until)] = repairs.acts
    assert service == "db1"
    assert since == until == pytest.approx(lost_at + 0.05)


def test_a_new_box_is_noted_before_the_old_one_is_removed(ledger: UndoLog) -> None:
    plays = Played([lost("db1"), lost("db2", "running")], made=[lost("db1", "running")])
    seen = list[list[str]]()
    remove = plays.remove

    def noting(box: Box) -> None:
        seen.append([entry.fault for entry in ledger.entries()])
        remove(box)

    plays.remove = noting  # type: ignore[method-assign]
    repairs = crew(plays, ledger, Repair(REPLACE, 0.0), [], lambda: True, view("unreachable", "primary"))
    repairs.lost(["db1"], severed=False)
    assert plays.clock.wait_until(lambda: repairs.is_through, 5)
    repairs.stop()
    assert seen == [["replace"]]
    assert plays.done == ["remove db1", "up redundancy-lab-4-automatic db1"]


def test_nothing_is_begun_after_the_end(ledger: UndoLog) -> None:
    plays = Played([lost("db1"), lost("db2", "running")])
    repairs = crew(plays, ledger, Repair(RESTART, 60.0), [], lambda: True, view("unreachable", "primary"))
    repairs.lost(["db1"], severed=False)
    repairs.stop()
    assert plays.done == []
    assert not repairs.is_through


def test_another_loss_means_that_all_is_awaited_again(ledger: UndoLog) -> None:
    plays = Played([lost("db1"), lost("db2", "running")])
    repairs = crew(plays, ledger, Repair(RESTART, 0.0), [], lambda: True, view("unreachable", "primary"))
    repairs.lost(["db1"], severed=False)
    assert plays.clock.wait_until(lambda: repairs.is_through, 5)
    plays._now("db2", "exited")
    repairs.lost(["db2"], severed=False)
    assert not repairs.is_through
    assert plays.clock.wait_until(lambda: repairs.is_through, 5)
    assert plays.done == ["start db1", "start db2"]
    repairs.stop()


def test_a_human_brings_back_what_is_lost_and_leaves_the_rest(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    of, said = stage(), list[str]()
    monkeypatch.setattr(readiness, "await_recovered", lambda *_, **__: None)
    ledger.open(Undo(UndoAction.START, "id-of-web1", "web1", 3), "kill")
    ledger.open(Undo(UndoAction.UNFILTER, "id-of-web2", "web2", 3, table="t"), "isolate")
    plays = Played(
        [box("lb", ("lb",)), box("web1", status="exited"), box("web2"), box("db", ("db",)), WATCH, box("internet", ("internet",))]
    )
    assert repair.by_hand(plays.cluster(of, ledger), RESTART, said.append) == 1
    assert plays.done == ["start web1"]
    assert said == ["start web1, which was dead"]
    assert [entry.fault for entry in ledger.entries()] == ["isolate"]


def test_a_human_starts_the_monitoring_box_too_and_does_not_wait_for_it(ledger: UndoLog) -> None:
    plays = PlayedEngine(started(stage(), watch={"status": "exited"}))
    assert repair.by_hand(plays.cluster(stage(), ledger), RESTART, lambda _: None) == 1
    # As played it stays dead.
    assert plays.done[0] == "start watch"


@pytest.mark.parametrize(("dead", "missing"), [("watch", ""), ("web1", "web1 unhealthy"), ("internet", "internet unhealthy")])
def test_who_only_watches_is_not_missing(monkeypatch: pytest.MonkeyPatch, dead: str, missing: str) -> None:
    monkeypatch.setattr(status_, "cluster_status", lambda *_: cluster_status_of(stage()))
    plays = Played(started(stage()))
    watch = RedundancyWatch(plays.cluster(stage()), PlayedObserver([]))
    assert watch.is_restored()
    plays._now(dead, "exited")
    assert watch.missing() == missing


def test_a_step_waits_for_its_condition_and_not_for_ever() -> None:
    answers = iter([False, False, True])
    pauses = list[float]()
    assert redundancy_watch.wait_for("redundant", a_watch(lambda: next(answers)), pauses.append, 5)
    assert len(pauses) == 2
    assert not redundancy_watch.wait_for("redundant", a_watch(lambda: False), pauses.append, 0)


@pytest.mark.parametrize(
    ("fault", "hit", "policies"),
    [
        (FaultKind.KILL, 1, {RESTART, REPLACE}),
        (FaultKind.PAUSE, 5, {RESTART, REPLACE}),
        (FaultKind.WIPE, 1, {REPLACE}),
        (FaultKind.DISCONNECT, 1, {REPLACE}),
        (FaultKind.DISCONNECT, 5, set()),
        (FaultKind.PARTITION, 2, set()),
        (FaultKind.DELAY, 1, set()),
    ],
)
def test_what_a_policy_can_bring_back(fault: FaultKind, hit: int, policies: set[RepairPolicy]) -> None:
    assert {policy for policy in RepairPolicy if repair_policy.can_repair(policy, Step(fault, "web"), hit)} == policies


def test_what_no_policy_can_repair_is_not_waited_for(ledger: UndoLog) -> None:
    notes = list[str]()
    repairs = crew(Played([]), ledger, Repair(RESTART, 60.0), notes, lambda: True, view())
    repairs.struck(Step(FaultKind.PARTITION, "db.primary"), ["db1", "db2"])
    assert (repairs.is_awaited, notes) == (False, ["note"])
    repairs.struck(Step(FaultKind.KILL, "web"), ["web1"])
    assert not repairs.is_awaited
    repairs.stop()


def test_a_role_is_played_by_a_box_or_by_none() -> None:
    step = Step(FaultKind.KILL, "db.primary")
    boxes = [replace(db("db1"), roles=("db", "db.standby")), replace(db("db2"), roles=("db",))]
    assert not matches_a_box(step, boxes)
    assert matches_a_box(replace(step, target="db.standby"), boxes)


def test_a_repair_closes_what_it_has_undone_and_nothing_else(ledger: UndoLog) -> None:
    actions = {"web1": UndoAction.START, "web2": UndoAction.RESIZE, "lb": UndoAction.READMIT, "db": UndoAction.RECONNECT}
    for service, action in actions.items():
        ledger.open(Undo(action, f"id-{service}", service, 3), "fault")
    of = automatic()
    all_started = dict.fromkeys(actions, Remedy.START)
    repair.close(PlayedEngine().cluster(replace(of, number=3), ledger), all_started)
    assert {entry.undo.service for entry in ledger.entries()} == {"web2", "lb", "db"}
    repair.close(PlayedEngine().cluster(replace(of, number=3), ledger), {**all_started, "db": Remedy.REPLACE})
    assert {entry.undo.service for entry in ledger.entries()} == {"web2", "lb"}
    repair.close(PlayedEngine().cluster(of, ledger), all_started)
    assert len(ledger.entries()) == 2
