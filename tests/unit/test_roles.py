"""The roles that boxes play only for now."""

from __future__ import annotations

import pytest

from lab.errors import InconclusiveError
from lab.model.observation import ClusterView
from lab.model.topology import Box, Stage
from lab.probe.roles import live_boxes, with_live_roles
from lab.spec.targets import possible
from tests.unit.helpers import BALANCERS, automatic, box, db, replicated, stage, view
from tests.unit.played import PlayedEngine

INTERNET = box("internet", ("internet",), stage=4)
LBS = [box("lb1", ("lb",), stage=4), box("lb2", ("lb",), stage=4)]
BOXES = [*LBS, db("db1"), db("db2"), box("web1", stage=4), INTERNET]


def roles_of(boxes: list[Box]) -> dict[str, tuple[str, ...]]:
    return {each.service: each.roles for each in boxes}


def live(stage: Stage, seen: ClusterView) -> dict[str, tuple[str, ...]]:
    return roles_of(with_live_roles(BOXES, stage, seen))


def test_databases_have_the_role_that_they_play_now() -> None:
    found = live(replicated(), view("standby", "primary"))
    assert (found["db1"], found["db2"]) == (("db", "db.standby"), ("db", "db.primary"))
    assert found["web1"] == ("web",)


def test_database_that_is_silent_has_no_role_of_the_moment() -> None:
    assert live(replicated(), view("unreachable", "standby"))["db1"] == ("db",)


def test_primary_that_waits_for_its_standby_is_the_primary() -> None:
    assert live(replicated(), view("sync_blocked", "unreachable"))["db1"] == ("db", "db.primary")


def test_balancer_with_the_address_is_the_active_one() -> None:
    found = live(automatic(balancers=BALANCERS), view(vip_claimants=("lb2",), vip_owner="lb2"))
    assert (found["lb1"], found["lb2"]) == (("lb", "lb.passive"), ("lb", "lb.active"))


def test_balancers_that_both_hold_the_address_are_both_active() -> None:
    found = live(automatic(balancers=BALANCERS), view(vip_claimants=("lb1", "lb2")))
    assert {found["lb1"], found["lb2"]} == {("lb", "lb.active")}


def test_balancer_that_has_the_address_and_answers_nothing_is_the_active_one() -> None:
    """'lab chaos kill lb.active' has to find it."""
    stopped = view(vip_claimants=(), vip_owner="", serving=(), vip_leads_to="lb2")
    found = live(automatic(balancers=BALANCERS), stopped)
    assert (found["lb1"], found["lb2"]) == (("lb", "lb.passive"), ("lb", "lb.active"))


def test_balancer_that_shares_no_address_is_neither() -> None:
    assert live(automatic(), view())["lb1"] == ("lb",)


def test_a_balancer_that_is_down_is_not_the_passive_one() -> None:
    lbs = [LBS[0], box("lb2", ("lb",), stage=4, status="exited")]
    found = roles_of(with_live_roles(lbs, automatic(balancers=BALANCERS), view(vip_claimants=("lb1",), vip_owner="lb1")))
    assert (found["lb1"], found["lb2"]) == (("lb", "lb.active"), ("lb",))


def test_roles_are_observed_where_they_are_not_known_yet() -> None:
    engine = PlayedEngine(BOXES, sees=view("standby", "primary"))
    assert roles_of(live_boxes(engine.cluster(replicated())))["db2"] == ("db", "db.primary")
    seen_before = view("primary", "standby")
    assert roles_of(live_boxes(engine.cluster(replicated()), seen_before))["db1"] == ("db", "db.primary")


def test_database_that_stands_alone_is_the_primary_without_a_question() -> None:
    engine = PlayedEngine([box("db", ("db",)), box("web1")])
    assert roles_of(live_boxes(engine.cluster(stage()))) == {"db": ("db", "db.primary"), "web1": ("web",)}


def test_boxes_that_cannot_be_asked_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.probe.observer.FIRST_TIMEOUT_S", 0.05)
    with pytest.raises(InconclusiveError, match="the boxes could not be asked"):
        live_boxes(PlayedEngine(BOXES).cluster(replicated()))


def test_every_role_that_a_box_may_come_to_play() -> None:
    found = {spec.name: spec.roles for spec in possible(replicated())}
    assert found["db1"] == found["db2"] == ("db", "db.primary", "db.standby")
    assert found["lb"] == ("lb",)
    assert {spec.name: spec.roles for spec in possible(stage())}["db"] == ("db", "db.primary")
    shared = {spec.name: spec.roles for spec in possible(automatic(balancers={"lb": "198.18.0.33"}))}
    assert shared["lb"] == ("lb", "lb.active", "lb.passive")
