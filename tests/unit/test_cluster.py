"""The two running systems: a stage of the lab and a foreign project, behind one Protocol; and the engine below them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster.attach import ForeignProject
from lab.cluster.cluster import Cluster
from lab.cluster.system import RunningSystem
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine, ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults import heal
from lab.model.fault import Undo, UndoAction
from lab.model.history import LogLine
from lab.model.observation import DatabaseState
from lab.model.topology import Box
from lab.store.undo_log import OpenFault, UndoLog
from tests.unit.helpers import automatic, box, db, replicated, stage, view
from tests.unit.played import PlayedEngine, PlayedObserver
from tests.unit.test_own import foreign

APP = foreign("app", "web")


def systems(cluster: Cluster, project: ForeignProject) -> tuple[RunningSystem, RunningSystem]:
    """mypy holds both implementations to the Protocol."""
    return cluster, project


def engines(real: DockerEngine, played: PlayedEngine) -> tuple[Engine, Engine]:
    """mypy holds the real engine and the played one to the same Protocol."""
    return real, played


@pytest.fixture
def undo_log(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


# A stage


def test_cluster_knows_the_boxes_of_its_stage_only() -> None:
    cluster = PlayedEngine([box("web1"), db("db1")]).cluster(stage())
    assert [each.service for each in cluster.boxes()] == ["web1"]
    assert cluster.box("web1") == box("web1")
    assert cluster.box("db1") is None


def test_lost_database_is_started_as_a_standby_where_an_operator_promotes() -> None:
    internet = box("internet", ("internet",), stage=4)
    plays = PlayedEngine([internet], sees=view("unreachable", "primary"))
    plays.cluster(replicated()).start(db("db1", status="exited"))
    assert plays.done == ["rejoin db2 in db1", "start db1"]
    with_a_monitor = PlayedEngine([internet])
    with_a_monitor.cluster(automatic()).start(db("db1", status="exited"))
    assert with_a_monitor.done == ["start db1"]


@pytest.mark.parametrize(("alone", "done"), [(True, "up redundancy-lab-3 web1"), (False, "up redundancy-lab-3")])
def test_box_is_recreated_alone_or_with_what_else_is_down(alone: bool, done: str) -> None:
    plays = PlayedEngine()
    plays.cluster(stage()).recreate("web1", alone=alone)
    assert plays.done == [done]


def test_database_that_an_operator_promotes_is_recreated_only_when_another_one_leads() -> None:
    internet, empty = box("internet", ("internet",), stage=4), db("db1", status="created")
    plays = PlayedEngine(
        [db("db2"), internet], sees=view("unreachable", "standby"), made=[empty], answer=lambda _box, _command: ExecResult(0, "t")
    )
    plays.cluster(replicated()).recreate("db1")
    promoted = next(at for at, done in enumerate(plays.done) if "pg_promote" in done)
    assert plays.done.index("create redundancy-lab-4") < promoted < plays.done.index("start db1")


def test_fault_of_a_stage_is_undone_also_where_the_box_was_recreated(undo_log: UndoLog) -> None:
    undo = Undo(UndoAction.START, "another-id", "web1", 3)
    cluster = Cluster(PlayedEngine([box("web1")]), stage(), undo_log)
    assert cluster.struck(undo) == box("web1")
    assert cluster.undo_of(undo, box("web1")) == undo


def test_errors_of_a_stage_name_the_commands_of_the_lab() -> None:
    cluster = PlayedEngine().cluster(stage())
    assert cluster.without_boxes("db").message == "db of stage 3 is missing"
    assert "lab heal" in cluster.without_answer("web1 is exited").hint


# A foreign project


@pytest.fixture
def shop(undo_log: UndoLog) -> ForeignProject:
    return ForeignProject.by_name(PlayedEngine([APP, foreign("lb")]), "shop", undo_log)


def test_foreign_project_is_found_by_its_name(shop: ForeignProject) -> None:
    assert [spec.name for spec in shop.stage.services] == ["app", "lb"]
    assert (shop.stage.place, shop.stage.databases) == ("own-shop", {})
    assert shop.box("app") == APP
    assert shop.live_boxes() == shop.boxes()


def test_nothing_is_observed_of_a_foreign_project(shop: ForeignProject) -> None:
    assert not shop.measures_redundancy
    assert shop.observe().named(DatabaseState.PRIMARY) == []
    assert shop.status().node_states is None
    assert shop.conditions().database_bytes is None


@pytest.mark.parametrize(
    "work",
    [
        lambda project: project.recreate("app"),
        lambda project: project.promote(fence=True, say=print),
        lambda project: project.switchover(PlayedObserver([]), print),
        lambda project: project.accept_loss(PlayedObserver([]), print),
    ],
)
def test_nothing_but_faults_is_done_to_a_foreign_project(shop: ForeignProject, work: Callable[[ForeignProject], None]) -> None:
    assert isinstance(shop.engine, PlayedEngine)
    shop.engine.done.clear()
    with pytest.raises(UsageError, match="own-shop"):
        work(shop)
    assert shop.engine.done == []


def test_only_the_very_box_that_was_hit_is_touched_again(shop: ForeignProject) -> None:
    undo = Undo(UndoAction.START, APP.id, "app", 0)
    assert shop.struck(undo) == APP
    assert shop.struck(Undo(UndoAction.START, "another-id", "app", 0)) is None
    assert shop.undo_of(undo, APP).project == "shop"


def test_log_that_cannot_be_read_is_no_error_of_a_foreign_project(undo_log: UndoLog) -> None:
    class Mute(PlayedEngine):
        def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
            raise LabError("it keeps no log")

    assert ForeignProject.by_name(Mute([APP]), "shop", undo_log).log_lines(APP, 0.0) == []
    with pytest.raises(LabError, match="keeps no log"):
        Mute([box("web1")]).cluster(stage()).log_lines(box("web1"), 0.0)


def test_errors_of_a_foreign_project_name_the_commands_of_compose(shop: ForeignProject) -> None:
    for error in (shop.without_boxes("app"), shop.without_answer("app is exited")):
        assert "docker compose" in error.hint
        assert "lab " not in error.hint


# Where a fault is


def open_fault(action: UndoAction, project: str = "") -> OpenFault:
    return OpenFault("1", Undo(action, "id-of-web1", "web1", 3, project=project), "fault", "2026-01-31T12:00:00Z")


def test_system_of_a_fault(undo_log: UndoLog) -> None:
    plays = PlayedEngine([box("web1")])
    assert isinstance(heal.system_of(plays, undo_log, open_fault(UndoAction.START)), Cluster)
    assert isinstance(heal.system_of(plays, undo_log, open_fault(UndoAction.START, project="shop")), ForeignProject)
    assert heal.system_of(PlayedEngine(), undo_log, open_fault(UndoAction.START)) is None


def test_box_whose_stage_file_is_gone_is_unpaused_and_not_started(undo_log: UndoLog) -> None:
    frozen = box("web1", status="paused", project="redundancy-lab-3-old")

    class Unknown(PlayedEngine):
        def reconnect(self, box: Box, links: object) -> None:
            """It was never disconnected."""

    undo_log.open(open_fault(UndoAction.UNPAUSE).undo, "pause")
    plays = Unknown([frozen])
    assert heal.undo_all(plays, undo_log) == 1
    assert plays.done == ["unpause web1"]
    undo_log.open(open_fault(UndoAction.START).undo, "kill")
    with pytest.raises(HealError, match="the file that web1 was started from is gone"):
        heal.undo_all(plays, undo_log)


def test_what_was_frozen_by_hand_goes_on_though_the_stage_file_is_gone_and_nothing_that_is_down_is_started(
    undo_log: UndoLog,
) -> None:
    project = "redundancy-lab-4-old"
    plays = PlayedEngine([box("web1", status="paused", project=project), db("db1", status="exited", project=project)])
    with pytest.raises(UsageError, match=r"the file that .* was started from is gone"):
        heal.heal(plays, undo_log, lambda _: None)
    assert "unpause web1" in plays.done
    assert not any(each.startswith("start") for each in plays.done)


def test_a_network_fault_of_a_database_that_is_down_is_not_healed_by_starting_it_where_the_stage_file_is_gone(
    undo_log: UndoLog,
) -> None:
    down = db("db1", status="exited", project="redundancy-lab-4-old")
    undo_log.open(replace(open_fault(UndoAction.UNFILTER).undo, service="db1", stage=down.stage), "isolate")
    plays = PlayedEngine([down])
    with pytest.raises(HealError, match="the file that db1 was started from is gone"):
        heal.undo_all(plays, undo_log)
    assert not any(each.startswith("start") for each in plays.done)
