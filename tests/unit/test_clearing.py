"""Taking network faults out of boxes, with helpers that are only played."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lab.engine.sidecar import Reply
from lab.errors import HealError, LabError
from lab.faults import heal, network_cleanup
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box
from lab.store.undo_log import UndoLog
from tests.unit import played
from tests.unit.helpers import box, stage

TABLE = "lab_fault_0a1b2c3d"


@dataclass
class PlayedHelper:
    """Notes what it is told."""

    service: str
    plays: PlayedEngine

    def ask(self, command: str) -> Reply:
        kind = {"true": "ready", f'nft "table netdev {TABLE}; delete table netdev {TABLE}"': "untable"}.get(command, "clear")
        self.plays.done.append(f"{kind} {self.service}")
        if self.service in self.plays.deaf and kind != "ready":
            raise LabError(f"the helper beside {self.service} does not answer")
        code, said = self.plays.says.get(self.service, (0, "")) if kind != "ready" else (0, "")
        return Reply(code, 0.0, said)

    def close(self) -> None:
        self.plays.done.append(f"close {self.service}")


@dataclass
class PlayedEngine(played.PlayedEngine):
    """Boxes, some of which no helper can be started beside, and what becomes of them meanwhile."""

    says: dict[str, tuple[int, str]] = field(default_factory=dict)
    deaf: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    later: dict[str, Box | None] = field(default_factory=dict)
    image: str | None = "made"

    def box(self, box: Box) -> Box | None:
        return self.later.get(box.service, box)

    def image_source(self, name: str) -> str | None:
        return self.image

    def beside(self, box: Box | None) -> PlayedHelper:
        assert box is not None
        if box.service in self.closed:
            raise LabError(f"the helper beside {box.service} could not be started: cannot join network")
        return PlayedHelper(box.service, self)


def undo(service: str, action: UndoAction = UndoAction.UNFILTER) -> Undo:
    return Undo(action, f"id-of-{service}", service, 3, table=TABLE if action is UndoAction.UNFILTER else "")


def plays(*services: str, **changes: object) -> PlayedEngine:
    return PlayedEngine([box(service) for service in services], **changes)  # type: ignore[arg-type]


def test_all_are_ready_before_the_first_is_cleared() -> None:
    engine = plays("web1", "web2", "db")
    assert network_cleanup.clear(engine, [undo("web1"), undo("web2"), undo("db", UndoAction.UNSHAPE)]) == {}
    assert sorted(engine.done[:3]) == ["ready db", "ready web1", "ready web2"]
    assert sorted(engine.done[3:6]) == ["clear db", "untable web1", "untable web2"]
    assert sorted(engine.done[6:]) == ["close db", "close web1", "close web2"]


def test_other_faults_need_no_helper() -> None:
    engine = plays("web1")
    others = set(UndoAction) - set(network_cleanup.OF_THE_NETWORK)
    assert network_cleanup.clear(engine, [undo("web1", action) for action in others]) == {}
    assert engine.done == []


@pytest.mark.parametrize("status", ["exited", "restarting", "created", "dead"])
def test_box_without_a_network_has_no_fault_in_it(status: str) -> None:
    engine = PlayedEngine([box(status=status)])
    assert network_cleanup.clear(engine, [undo("web1"), undo("gone")]) == {}
    assert engine.done == []


def test_frozen_box_is_cleared_too() -> None:
    engine = PlayedEngine([box(status="paused")])
    network_cleanup.clear(engine, [undo("web1")])
    assert engine.done == ["ready web1", "untable web1", "close web1"]


@pytest.mark.parametrize("now", [None, box(status="exited"), box(started_at="2026-01-31T12:00:09Z")])
def test_box_that_lost_its_network_meanwhile_lost_the_fault(now: Box | None) -> None:
    engine = plays("web1", closed=("web1",), later={"web1": now})
    assert network_cleanup.clear(engine, [undo("web1")]) == {}


def test_failure_keeps_no_other_from_being_cleared() -> None:
    engine = plays("web1", "web2", "db", "lb", closed=("web1",), deaf=("web2",), says={"db": (1, "Operation not permitted\n")})
    stuck = network_cleanup.clear(engine, [undo(name) for name in ("web1", "web2", "db", "lb")])
    assert {each.service: error.message.rpartition(": ")[2] for each, error in stuck.items()} == {
        "web1": "cannot join network",
        "web2": "the helper beside web2 does not answer",
        "db": "Operation not permitted",
    }
    assert "untable lb" in engine.done
    assert {"close web2", "close db", "close lb"} <= set(engine.done)


def test_engine_that_stops_answering_leaves_everything_noted() -> None:
    class Going(PlayedEngine):
        def box(self, box: Box) -> Box | None:
            raise LabError("the Docker Engine stopped answering")

    class Gone(Going):
        def boxes(self, stage: int | None = None) -> list[Box]:
            raise LabError("the Docker Engine stopped answering")

    assert set(network_cleanup.clear(Gone([]), [undo("web1"), undo("web2", UndoAction.START)])) == {undo("web1")}
    engine = Going([box()], closed=("web1",))
    with pytest.raises(HealError, match="the network of web1 could not be cleared"):
        network_cleanup.sweep(engine.cluster(stage()))


def test_sweep_says_what_it_found() -> None:
    engine = plays("web1", "web2", says={"web2": (0, f"table {TABLE}\nqueue of eth0\n")})
    engine.present.append(box("db", status="exited"))
    found = network_cleanup.sweep(engine.cluster(stage()))
    assert found == [f"table {TABLE} in the network of web2", "queue of eth0 in the network of web2"]


def test_sweep_that_leaves_something_is_an_error() -> None:
    engine = plays("web1", says={"web1": (1, "")})
    with pytest.raises(HealError, match="the network of web1 could not be cleared: something is left of it"):
        network_cleanup.sweep(engine.cluster(stage()))


def test_without_the_image_nothing_can_have_been_put_anywhere() -> None:
    engine = plays("web1", image=None)
    assert network_cleanup.sweep(engine.cluster(stage())) == []
    assert engine.done == []


# As a part of healing


def test_networks_are_cleared_before_boxes_are_brought_back(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    ledger.open(undo("web1"), "isolate")
    ledger.open(undo("web2", UndoAction.UNPAUSE), "pause")
    engine = plays("web1")
    engine.present.append(box("web2", status="paused"))
    assert heal.undo_all(engine, ledger) == 2
    assert engine.done == ["ready web1", "untable web1", "close web1", "unpause web2"]
    assert ledger.entries() == []


def test_fault_that_could_not_be_cleared_stays_noted(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    for name in ("web1", "web2"):
        ledger.open(undo(name), "partition")
    engine = plays("web1", "web2", deaf=("web1",))
    with pytest.raises(HealError, match="partition of web1 could not be undone: the helper beside web1 does not answer"):
        heal.undo_all(engine, ledger)
    assert [entry.undo.service for entry in ledger.entries()] == ["web1"]


def test_undo_survives_the_disk(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    ledger.open(undo("web1"), "isolate")
    ledger.open(undo("web2", UndoAction.UNSHAPE), "delay")
    assert [entry.undo for entry in ledger.entries()] == [undo("web1"), undo("web2", UndoAction.UNSHAPE)]


def test_box_that_died_of_it_is_brought_back(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    ledger.open(undo("web1"), "isolate")
    engine = PlayedEngine([replace(box(), status="exited", project="redundancy-lab-3")])
    heal.undo_all(engine, ledger)
    assert engine.done == ["start web1"]
