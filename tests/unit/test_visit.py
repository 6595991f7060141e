"""A visit: which project, from which network, and that nothing of the lab stays in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import attach
from lab.cluster.attach import ForeignProject
from lab.engine.engine import ExecResult
from lab.engine.scope import FILES_LABEL
from lab.errors import LabError, PreflightError, UsageError
from lab.model.topology import Box, Link, Page, Stage
from lab.spec.own_stack import stage_of
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box
from tests.unit.played import PlayedEngine
from tests.unit.test_own import PAGE, SHOP, foreign

FRONT, BACK = "shop_front", "shop_back"
INTERNET = box("internet", ("internet",), stage=0, project="redundancy-lab-visit")
LB = foreign("lb", addresses={FRONT: "172.18.0.2", BACK: "172.19.0.2"})
APP = foreign("app", addresses={BACK: "172.19.0.3"})
HOST = foreign("job")
"""Without a network of its own."""


@dataclass
class PlayedVisit(PlayedEngine):
    """An engine that visits the shop."""

    present: list[Box] = field(default_factory=lambda: [APP, HOST, LB])
    page: ExecResult = field(default_factory=lambda: ExecResult(0, "ok\n"))
    fails: bool = False

    def boxes(self, stage: int | None = None) -> list[Box]:
        return self.present

    def links(self, box: Box) -> tuple[Link, ...]:
        return tuple(Link(name, "", "", (f"shop-{box.service}-1", f"{box.service}.shop")) for name in box.addresses)

    def subnets(self, network: str) -> tuple[str, ...]:
        return {FRONT: ("172.18.0.0/16", "fd00::/64"), BACK: ("172.19.0.0/16",)}[network]

    def visit(self, project: str, network: str) -> Box:
        self.done.append(f"visit {project} in {network}")
        if self.fails:
            raise LabError("no")
        return INTERNET

    def end_visits(self, project: str = "") -> int:
        assert project == "shop"
        self.done.append("end visits")
        return 0

    def internet_box(self, stage: Stage) -> Box:
        return INTERNET

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        self.done.append(" ".join(command[:3]))
        return self.page


@pytest.fixture(autouse=True)
def _built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.cluster.images.build", lambda *_, **__: [])


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


# Which project


def test_project_that_does_not_run_is_not_started() -> None:
    for present in ([], [foreign("app", status="exited")], [INTERNET]):
        with pytest.raises(UsageError, match="no container of the project shop is running") as caught:
            attach.boxes_of(PlayedVisit(present), SHOP, is_named=False)
        assert caught.value.hint == "docker compose -p shop -f compose.yaml up -d"


def test_project_from_another_file_of_the_same_name_is_left_alone_unless_it_was_named(tmp_path: Path) -> None:
    ours = foreign("app", labels={FILES_LABEL: f"{tmp_path}/other.yaml,{Path('compose.yaml').resolve()}"})
    theirs = foreign("lb", labels={FILES_LABEL: f"{tmp_path}/compose.yaml"})
    assert attach.boxes_of(PlayedVisit([ours]), SHOP, is_named=False) == [ours]
    with pytest.raises(UsageError, match="lb of the project shop was started from") as caught:
        attach.boxes_of(PlayedVisit([ours, theirs]), SHOP, is_named=False)
    assert "--project shop" in caught.value.hint
    assert attach.boxes_of(PlayedVisit([ours, theirs]), SHOP, is_named=True) == [ours, theirs]


# From where


def network(host: str, wanted: str = "") -> str:
    return attach.network_of(PlayedVisit(), SHOP, Page(host, 80, "/"), [APP, HOST, LB], wanted)


@pytest.mark.parametrize("host", ["app", "shop-app-1", "app.shop", "172.19.0.3", "172.19.9.9"])
def test_users_stand_where_whom_they_reach_is(host: str) -> None:
    """By service, container, alias, address, or an address of the network that moves among boxes."""
    assert network(host) == BACK


@pytest.mark.parametrize("host", ["nobody", "job", "localhost", "127.0.0.1", "8.8.8.8", "redundancy-lab-3-lb-1"])
def test_host_that_is_not_in_the_project(host: str) -> None:
    with pytest.raises(UsageError, match=f"no service or alias '{host}' in this project") as caught:
        network(host)
    assert caught.value.hint == "boxes that can be reached: app, lb"


def test_of_several_networks_one_has_to_be_said() -> None:
    with pytest.raises(UsageError, match="'lb' is on 2 networks") as caught:
        network("lb")
    assert "front, back" in caught.value.hint
    assert network("lb", "front") == FRONT
    assert network("lb", "back") == BACK
    with pytest.raises(UsageError, match="there is no network 'middle'"):
        network("lb", "middle")
    with pytest.raises(UsageError, match="'app' is not on the network 'front'"):
        network("app", "front")


# There and away again

SHOP_STAGE = stage_of(SHOP, PAGE, [APP, LB])


def test_internet_box_comes_when_what_a_killed_lab_has_left_is_gone_and_goes_in_the_end(ledger: UndoLog) -> None:
    plays = PlayedVisit()
    with attach.attached(ForeignProject(plays, SHOP_STAGE, ledger), FRONT, lambda _: None):
        assert plays.done == ["end visits", f"visit shop in {FRONT}", "python -m client.page"]
        plays.done.clear()
    assert plays.done == ["end visits"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), LabError("no")])
def test_internet_box_goes_whatever_happens(error: BaseException, ledger: UndoLog) -> None:
    plays = PlayedVisit()

    def broken_off() -> None:
        with attach.attached(ForeignProject(plays, SHOP_STAGE, ledger), FRONT, lambda _: None):
            plays.done.clear()
            raise error

    with pytest.raises(type(error)):
        broken_off()
    assert plays.done == ["end visits"]


@pytest.mark.parametrize(
    "changes", [{"fails": True}, {"page": ExecResult(1, "http-503\n")}, {"page": ExecResult(124, "no answer within 5 s")}]
)
def test_nothing_is_measured_of_what_does_not_answer_before(changes: dict[str, Any], ledger: UndoLog) -> None:
    plays = PlayedVisit(**changes)
    with pytest.raises(LabError) as caught, attach.attached(ForeignProject(plays, SHOP_STAGE, ledger), FRONT, lambda _: None):
        pytest.fail("it does not answer")
    assert plays.done[-1] == "end visits"
    if "page" in changes:
        assert isinstance(caught.value, PreflightError)
        said = changes["page"].output.strip()
        assert caught.value.message == f"http://lb:8080/ does not answer as it should: {said}"
        assert "2xx with 'Welcome' in it" in caught.value.hint
