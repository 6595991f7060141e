"""Taking faults back, against an engine that is only played."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.cluster import database, readiness
from lab.cluster.attach import ForeignProject
from lab.cluster.cluster import Cluster
from lab.engine.engine import ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults import heal
from lab.model.fault import Undo, UndoAction
from lab.model.observation import ClusterView
from lab.model.topology import Box, Link, Page, Stage
from lab.store.undo_log import UndoLog
from tests.unit.helpers import BALANCERS, automatic, box, db, replicated, stage, started, view
from tests.unit.played import PlayedEngine, PlayedObserver
from tests.unit.test_own import foreign

LINKS = (Link("edge", "198.18.0.11", "02:42:c6:12:00:0b", ("lb",)), Link("app", "", "", ()))
INTERNET = box("internet", ("internet",))


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


def opened(ledger: UndoLog, service: str, action: UndoAction, fault: str, links: tuple[Link, ...] = ()) -> None:
    ledger.open(Undo(action, f"id-of-{service}", service, 3, links), fault)


def test_box_that_was_cut_off_gets_its_networks_back(ledger: UndoLog) -> None:
    opened(ledger, "lb", UndoAction.RECONNECT, "disconnect", LINKS)
    plays = PlayedEngine([box("lb", ("lb",)), box("web1")])
    assert heal.undo_all(plays, ledger) == 1
    assert plays.done == ["connect lb to edge", "connect lb to app"]
    assert ledger.entries() == []


def test_box_that_died_while_it_was_cut_off_is_connected_before_it_starts(ledger: UndoLog) -> None:
    opened(ledger, "lb", UndoAction.RECONNECT, "disconnect", LINKS[:1])
    plays = PlayedEngine([box("lb", ("lb",), status="exited")])
    heal.undo_all(plays, ledger)
    assert plays.done == ["connect lb to edge", "start lb"]


def test_box_that_was_wiped_is_made_again(ledger: UndoLog) -> None:
    opened(ledger, "web1", UndoAction.CREATE, "wipe")
    plays = PlayedEngine([box("web2"), INTERNET])
    heal.undo_all(plays, ledger)
    assert plays.done == ["up redundancy-lab-3"]
    assert ledger.entries() == []


def test_database_that_was_wiped_joins_the_one_that_has_the_data(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([view("unreachable", "standby"), view("unreachable", "primary")])
    monkeypatch.setattr(Cluster, "observe", lambda _: next(seen))
    ledger.open(Undo(UndoAction.CREATE, "id-of-db1", "db1", 4), "wipe")
    plays = PlayedEngine(
        [db("db2", project="redundancy-lab-4")],
        answer=lambda _box, _command: ExecResult(0, "t"),
        made=[db("db1", project="redundancy-lab-4", status="created")],
    )
    heal.undo_all(plays, ledger)
    assert plays.done[0] == "create redundancy-lab-4"
    promote, rejoin, start = (
        next(at for at, done in enumerate(plays.done) if word in done) for word in ("pg_promote", "rejoin", "start db1")
    )
    assert promote < rejoin < start


def test_box_is_made_again_from_the_file_that_its_stage_was_started_from(ledger: UndoLog) -> None:
    ledger.open(Undo(UndoAction.CREATE, "id-of-db1", "db1", 4), "wipe")
    plays = PlayedEngine([db("db2", project="redundancy-lab-4-automatic")])
    heal.undo_all(plays, ledger)
    assert plays.done == ["up redundancy-lab-4-automatic"]


def test_box_of_a_stage_that_is_gone_is_not_made_again(ledger: UndoLog) -> None:
    opened(ledger, "web1", UndoAction.CREATE, "wipe")
    plays = PlayedEngine([db("db1")])
    heal.undo_all(plays, ledger)
    assert plays.done == []
    assert ledger.entries() == []


def test_faults_are_taken_back_in_the_opposite_order(ledger: UndoLog) -> None:
    opened(ledger, "web1", UndoAction.UNPAUSE, "pause")
    opened(ledger, "web2", UndoAction.START, "kill")
    opened(ledger, "lb", UndoAction.RECONNECT, "disconnect", LINKS[:1])
    plays = PlayedEngine([box("web1", status="paused"), box("web2", status="exited"), box("lb", ("lb",))])
    assert heal.undo_all(plays, ledger) == 3
    assert plays.done == ["connect lb to edge", "start web2", "unpause web1"]


def test_fault_that_cannot_be_undone_stays_noted_and_keeps_no_other_from_it(ledger: UndoLog) -> None:
    class Stuck(PlayedEngine):
        def unpause(self, box: Box) -> None:
            raise UsageError("Docker could not unpause it")

    opened(ledger, "web1", UndoAction.START, "kill")
    opened(ledger, "web2", UndoAction.UNPAUSE, "pause")
    plays = Stuck([box("web1", status="exited"), box("web2", status="paused")])
    with pytest.raises(HealError, match="pause of web2 could not be undone: Docker could not unpause it"):
        heal.undo_all(plays, ledger)
    assert plays.done == ["start web1"]
    assert [entry.undo.service for entry in ledger.entries()] == ["web2"]


def test_lost_database_comes_back_as_its_stage_says() -> None:
    """By hand the lab says which primary it follows; where there is a monitor, the monitor does."""
    lost = {"status": "exited"}
    by_hand = PlayedEngine([box("internet", ("internet",), stage=4)], sees=view("unreachable", "primary"))
    assert heal.bring_back(by_hand.cluster(replicated()), db("db1", **lost))
    assert by_hand.done == ["rejoin db2 in db1", "start db1"]
    watched = PlayedEngine()
    assert heal.bring_back(watched.cluster(automatic()), db("db1", **lost))
    assert watched.done == ["start db1"]


def test_what_runs_needs_no_mending() -> None:
    plays = PlayedEngine()
    assert not heal.bring_back(plays.cluster(stage()), box())
    assert not heal.bring_back(plays.cluster(stage()), box(status="restarting"))
    assert plays.done == []


def names(boxes: list[Box]) -> list[tuple[int, str]]:
    return [(found.number, found.file.name) for found in readiness.stages_up(PlayedEngine(boxes))]


def test_stages_that_are_up_are_known_by_the_files_they_were_started_from() -> None:
    assert names([]) == []
    assert names([box(), box("web2", status="exited")]) == [(3, "compose.yaml")]
    assert names([db("db1", project="redundancy-lab-4-automatic"), box()]) == [(3, "compose.yaml"), (4, "compose.automatic.yaml")]
    # The container of the self-test belongs to no stage.
    assert names([box("selftest", stage=0, project="redundancy-lab-selftest")]) == []


def test_box_whose_stage_file_is_gone_is_an_error() -> None:
    with pytest.raises(UsageError, match="the file that web1 was started from is gone"):
        names([box(project="redundancy-lab-3-old")])


def test_box_that_is_off_a_network_is_connected_again_also_where_it_does_not_run() -> None:
    off = {"web1": ("redundancy-lab-3_app",), "web2": ("redundancy-lab-3_data",)}
    plays = PlayedEngine([box("web1"), box("web2", status="exited"), INTERNET], off=off)
    said: list[str] = []
    assert heal.reconnect(plays.cluster(stage()), said.append) == 2
    assert said == [
        "web1 of stage 3 was off redundancy-lab-3_app: connected again",
        "web2 of stage 3 was off redundancy-lab-3_data: connected again",
    ]
    assert [each for each in plays.done if "web2" in each] == [
        f"connect web2 to redundancy-lab-3_{network}" for network in ("app", "data")
    ]


def test_network_that_is_gone_keeps_no_other_box_from_being_connected() -> None:
    plays = PlayedEngine([box("web1"), box("web2")], off=dict.fromkeys(("web1", "web2"), ("redundancy-lab-3_app",)))

    def reconnect(each: Box, _links: object) -> None:
        if each.service == "web1":
            raise LabError("there is no such network")

    plays.reconnect = reconnect  # type: ignore[assignment]
    said: list[str] = []
    assert heal.reconnect(plays.cluster(stage()), said.append) == 1
    assert said[0] == "web1 of stage 3 could not be connected again: there is no such network"
    assert "web2 of stage 3 was off" in said[1]


def test_missing_boxes_are_made_again() -> None:
    every = [box(spec.name, spec.roles) for spec in stage().services]
    plays, said = PlayedEngine([each for each in every if each.service != "db"]), list[str]()
    heal.restore_missing(plays.cluster(stage()), said.append)
    assert plays.done == ["up redundancy-lab-3"]
    assert said == ["db of stage 3 had been removed: created again"]
    whole = PlayedEngine(every)
    heal.restore_missing(whole.cluster(stage()), said.append)
    assert whole.done == []


# Nothing is missing


@pytest.mark.parametrize("gone", [False, True])
def test_stage_is_whole_without_who_only_watches(gone: bool) -> None:
    boxes = started(stage(), watch={"status": "exited"})
    present = [each for each in boxes if not gone or each.service != "watch"]
    readiness.await_recovered(PlayedEngine(present).cluster(stage()), timeout_s=0.1)
    with pytest.raises(HealError, match="web1 is exited"):
        readiness.await_recovered(PlayedEngine(started(stage(), web1={"status": "exited"})).cluster(stage()), timeout_s=0.1)


def test_redundancy_is_waited_for() -> None:
    observer = PlayedObserver([view(db2="unreachable", standbys=0, synchronous=0), view(synchronous=0), view()])
    readiness.await_view(PlayedEngine().cluster(automatic()), observer, timeout_s=5)
    assert observer.views == [view()]


def test_two_primaries_without_a_monitor_are_parted_whenever_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    parted: list[list[str]] = []
    monkeypatch.setattr(database, "end_split_brain", lambda _cluster, primaries, _say: parted.append(primaries))
    views = [view("unreachable", "primary", standbys=0), view("primary", "primary", standbys=0), view("standby", "primary")]
    observer = PlayedObserver(views)
    readiness.await_view(PlayedEngine().cluster(replicated()), observer, timeout_s=5)
    assert parted == [["db1", "db2"]]


@pytest.mark.parametrize(
    ("of", "seen", "said"),
    [
        (
            replicated(),
            view(db2="unreachable", standbys=0, synchronous=0),
            "db1 is primary, db2 is unreachable, 0 replicas streaming",
        ),
        (automatic(), view(synchronous=0), "1 replicas streaming, 0 synchronous"),
        (automatic(balancers=BALANCERS), view(vip_claimants=("lb1", "lb2")), "VIP claimed by lb1 and lb2"),
        (automatic(balancers=BALANCERS), view(vip_claimants=(), vip_owner="lb1"), "VIP claimed by no balancer"),
    ],
)
def test_what_is_missing_is_said(of: Stage, seen: ClusterView, said: str) -> None:
    with pytest.raises(HealError, match=r"is not redundant after 0\.1 s") as caught:
        readiness.await_view(PlayedEngine().cluster(of), PlayedObserver([seen]), timeout_s=0.1)
    assert said in caught.value.message


def test_stage_in_which_nothing_can_move_is_not_watched() -> None:
    """Its observer has nothing to say, and is not asked."""
    readiness.await_view(PlayedEngine().cluster(stage()), PlayedObserver([]), timeout_s=0.1)
    readiness.await_redundant(PlayedEngine().cluster(stage()), timeout_s=0.1)


# A foreign project


def opened_in_the_shop(ledger: UndoLog, fault: str = "kill", action: UndoAction = UndoAction.START) -> None:
    ledger.open(Undo(action, "id-of-app", "app", 0, project="shop"), fault)


def test_foreign_box_is_healed_on_a_visit_and_no_stage_is_looked_for(ledger: UndoLog) -> None:
    opened_in_the_shop(ledger)
    assert ledger.entries()[0].undo.project == "shop"
    plays = PlayedEngine([foreign("app", status="exited"), foreign("lb", status="exited")])
    assert heal.undo_all(plays, ledger) == 1
    # What was not broken by the lab stays as it is.
    assert plays.done == ["visiting shop", "start app"]
    assert ledger.entries() == []


def test_heal_takes_back_what_a_killed_controller_did_to_a_foreign_stack(ledger: UndoLog) -> None:
    opened_in_the_shop(ledger, "stop")
    frozen = foreign("app", status="paused")
    plays = PlayedEngine([frozen, foreign("job", status="exited")], visits=1)

    def unpause(box: Box) -> None:
        plays.present[0] = foreign(box.service)
        plays.done.append(f"unpause {box.service}")

    plays.unpause = unpause  # type: ignore[method-assign]
    said: list[str] = []
    assert heal.heal(plays, ledger, said.append) == 2
    assert [each for each in plays.done if not each.startswith("visiting")] == ["unpause app"]
    assert any("internet box was still" in each for each in said)
    assert ledger.entries() == []


def test_visit_ends_though_a_foreign_box_cannot_be_restarted(ledger: UndoLog) -> None:
    class Stuck(PlayedEngine):
        def start(self, box: Box) -> None:
            raise UsageError("its port is taken")

    opened_in_the_shop(ledger)
    said: list[str] = []
    with pytest.raises(HealError, match="its port is taken"):
        heal.heal(Stuck([foreign("app", status="exited")], visits=1), ledger, said.append)
    assert any("internet box was still" in each for each in said)


def test_heal_waits_for_the_end_of_a_shutdown_in_a_foreign_stack(ledger: UndoLog) -> None:
    class Scoped(PlayedEngine):
        """As the real one: outside a visit it touches no box of others."""

        def stop(self, box: Box) -> None:
            assert self.done[-1:] == ["visiting shop"], self.done
            super().stop(box)

    opened_in_the_shop(ledger, "stop")
    plays = Scoped([foreign("app")])
    heal.heal(plays, ledger, lambda _: None)
    assert plays.done[:2] == ["visiting shop", "stop app"]


def test_a_shutdown_that_cannot_be_ended_keeps_no_other_fault_from_being_undone(ledger: UndoLog) -> None:
    class Stuck(PlayedEngine):
        def stop(self, box: Box) -> None:
            raise UsageError("it refuses")

    opened_in_the_shop(ledger, "stop")
    plays = Stuck([foreign("app", status="running")], visits=1)
    said: list[str] = []
    heal.heal(plays, ledger, said.append)
    assert any("internet box was still" in each for each in said)
    assert ledger.entries() == []


def test_project_that_is_gone_keeps_no_fault_open(ledger: UndoLog) -> None:
    opened_in_the_shop(ledger)
    assert heal.heal(PlayedEngine(), ledger, lambda _: None) == 1
    assert ledger.entries() == []


def test_foreign_box_that_does_not_come_back_is_not_created_again(ledger: UndoLog) -> None:
    with pytest.raises(HealError, match="app has been removed, not by the lab") as caught:
        readiness.await_healthy(ForeignProject.by_name(PlayedEngine(), "shop", ledger), ["app"], timeout_s=0)
    assert "docker compose up -d" in caught.value.hint
    assert "lab heal" not in caught.value.hint


def test_page_is_asked_for_by_the_client_and_the_order_desk_by_its_health(ledger: UndoLog) -> None:
    asked: list[list[str]] = []

    def answer(_box: Box, command: Sequence[str]) -> ExecResult:
        asked.append(list(command))
        return ExecResult(0, "")

    page = Page("lb", 8080, "/a", "Welcome")
    plays = PlayedEngine([box("internet", ("internet",), stage=0), INTERNET], answer=answer)
    assert ForeignProject(plays, stage(number=0, entry=("lb", 8080), page=page), ledger).serves()
    assert plays.cluster(stage()).serves()
    of_the_page, of_the_desk = asked
    assert of_the_page[:3] == ["python", "-m", "client.page"]
    wanted = {"path": "/a", "host": "lb:8080", "contains": "Welcome"}
    assert json.loads(of_the_page[3]) == {"address": ["lb", 8080], "page": wanted}
    assert of_the_desk[-1] == "http://198.18.0.10:8080/readyz"
