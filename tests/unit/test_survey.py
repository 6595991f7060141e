"""The controller's end of the survey: whom it asks, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from lab.engine.engine import ExecResult
from lab.errors import InconclusiveError
from lab.model.observation import ClusterStatus, ClusterView, DatabaseState, NodeState, ReplicaStatus
from lab.model.topology import Box, Stage
from lab.probe.status import STATUS_TIMEOUT_S, cluster_status, examined, replicas
from lab.spec.stages import find
from tests.unit.helpers import box, db, stage, view
from tests.unit.played import PlayedEngine

PAIR = find("5")
INTERNET = box("internet", ("internet",), stage=5)
DATA = {"db1": "198.18.2.35", "db2": "198.18.2.67"}
BOXES = [*(db(name, stage=5, addresses={"data": address}) for name, address in DATA.items()), INTERNET]


def follower(address: str = DATA["db2"], **changes: Any) -> dict[str, Any]:
    return {"address": address, "streams": True, "synchronous": True, "lag_bytes": 0, **changes}


def primary(*followers: dict[str, Any], position: int = 5000) -> dict[str, Any]:
    return {"position": position, "unreplayed_bytes": None, "replayed_age_s": None, "followers": list(followers)}


def standby(position: int = 5000, age_s: float | None = 7.0, unreplayed: int = 0) -> dict[str, Any]:
    return {"position": position, "unreplayed_bytes": unreplayed, "replayed_age_s": age_s, "followers": []}


def said(**changes: Any) -> dict[str, Any]:
    """What the client prints of stage 5 when all is well, unless changed."""
    node = {"state": "secondary", "healthy": True, "promotable": True, "votes": True}
    return {
        "view": asdict(view()),
        "databases": {"db1": primary(follower()), "db2": standby()},
        "backends": {"lb1": {"web1": True, "web2": True}, "lb2": {"web1": True, "web2": False}},
        "monitor": {
            "needed": 0,
            "nodes": {"db1": {**node, "state": "primary", "promotable": False, "votes": False}, "db2": node},
        },
        "alone": {},
        **changes,
    }


class Asked(PlayedEngine):
    """An engine in whose internet box the survey prints this."""

    def __init__(self, output: str, present: Sequence[Box] = tuple(BOXES)) -> None:
        super().__init__(list(present))
        self.output = output
        self.orders: list[dict[str, Any]] = []
        self.timeouts_s: list[float] = []

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        assert (box.service, list(command[:3])) == ("internet", ["python", "-m", "client.status"])
        self.orders.append(json.loads(command[-1]))
        self.timeouts_s.append(timeout_s)
        return ExecResult(0, self.output)

    def cluster_status(self, of: Stage = PAIR) -> ClusterStatus:
        return cluster_status(self.cluster(of), self.present)


def test_everything_is_asked_in_one_question_with_a_deadline() -> None:
    engine = Asked(json.dumps(said()))
    engine.cluster_status()
    assert engine.timeouts_s == [STATUS_TIMEOUT_S]
    assert engine.orders == [
        {
            "databases": PAIR.databases,
            "balancers": PAIR.balancers,
            "entry": "198.18.0.10",
            "announced": False,
            "statistics": PAIR.balancers,
            "monitor": "198.18.3.196",
            "alone": {},
        }
    ]


def test_what_everybody_says() -> None:
    found = Asked(json.dumps(said())).cluster_status()
    assert found == ClusterStatus(
        view=view(),
        replicas={"db2": ReplicaStatus(streams=True, synchronous=True, lag_bytes=0, replay_lag_s=0.0)},
        backends={"lb1": {"web1": True, "web2": True}, "lb2": {"web1": True, "web2": False}},
        node_states={"db1": NodeState("primary", True, False, False), "db2": NodeState("secondary", True, True, True)},
        acknowledgers=0,
    )


def test_who_does_not_answer_is_missing() -> None:
    silent = said(backends={"lb1": None, "lb2": {"web1": True}}, monitor=None)
    found = Asked(json.dumps(silent)).cluster_status()
    assert found.backends == {"lb2": {"web1": True}}
    assert (found.node_states, found.acknowledgers) == (None, 0)


def alone(state: str, **backends: dict[str, bool]) -> str:
    """What the client prints of a stage where nothing moves."""
    return json.dumps({"view": None, "databases": {}, "backends": backends, "monitor": None, "alone": {"db": state}})


@pytest.mark.parametrize("state", list(DatabaseState))
def test_stage_where_nothing_moves_is_asked_for_the_web_boxes_in_use_and_for_its_only_database(state: DatabaseState) -> None:
    engine = Asked(alone(state, lb={"web1": True}))
    found = engine.cluster_status(stage())
    assert engine.orders[0]["statistics"] == {"lb": "198.18.0.10"}
    assert engine.orders[0]["databases"] == {}
    assert engine.orders[0]["alone"] == stage().databases
    assert found.view.databases == {"db": state}
    assert found.backends == {"lb": {"web1": True}}


def test_stage_without_a_balancer_is_asked_for_its_database() -> None:
    engine = Asked(alone("read-only"))
    assert engine.cluster_status(find("2")).view.named(DatabaseState.READ_ONLY) == ["db"]
    assert (engine.orders[0]["alone"], engine.orders[0]["statistics"]) == (find("2").databases, {})


@pytest.mark.parametrize("status", ["paused", "exited"])
def test_internet_box_that_does_not_run_is_not_asked(status: str) -> None:
    engine = Asked("", [box("internet", ("internet",), stage=5, status=status)])
    with pytest.raises(InconclusiveError, match=r"could not be asked: the internet box is (paused|dead)"):
        engine.cluster_status()
    assert engine.orders == []
    with pytest.raises(InconclusiveError, match="the internet box is missing"):
        Asked("", []).cluster_status()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "no answer"),
        ("no answer within 2 s", "no answer within 2 s"),
        ("Traceback\nModuleNotFoundError: No module named 'client.status'", "No module named"),
        ('{"view": null}', "view"),
        ('{"view": {"clock_ns": 1}}', "clock_ns"),
    ],
)
def test_answer_that_is_none_is_named(output: str, words: str) -> None:
    with pytest.raises(InconclusiveError, match="the boxes could not be asked") as caught:
        Asked(output).cluster_status()
    assert words in caught.value.message


# How far a copy is behind


def copy(seen: ClusterView, **databases: dict[str, Any] | None) -> ReplicaStatus:
    return replicas(seen, databases, BOXES)["db2"]


def test_while_the_primary_sends_its_own_word_counts() -> None:
    """Both ends of the difference are of one instant; the standby's own position is of another."""
    seen = copy(view(), db1=primary(follower(lag_bytes=300)), db2=standby(4000, age_s=0.2))
    assert seen == ReplicaStatus(streams=True, synchronous=True, lag_bytes=300, replay_lag_s=0.2)


def test_copy_that_has_everything_is_not_behind_however_long_ago_the_last_order_was() -> None:
    assert copy(view(), db1=primary(follower()), db2=standby(age_s=900.0)).replay_lag_s == 0.0


def test_copy_that_has_everything_and_does_not_show_it_is_behind_in_time() -> None:
    held_back = standby(5000, age_s=8.0, unreplayed=400)
    assert copy(view(), db1=primary(follower()), db2=held_back) == ReplicaStatus(True, True, lag_bytes=0, replay_lag_s=8.0)


def test_copy_that_has_never_shown_an_order_has_no_age() -> None:
    assert copy(view(standbys=0), db1=primary(), db2=standby(2000, age_s=None)).replay_lag_s is None


def test_copy_that_is_sent_nothing_is_behind_by_what_it_lacks() -> None:
    seen = copy(view(standbys=0), db1=primary(), db2=standby(2000, age_s=12.5))
    assert seen == ReplicaStatus(streams=False, synchronous=False, lag_bytes=3000, replay_lag_s=12.5)


def test_copy_that_catches_up_is_not_awaited() -> None:
    catching_up = follower(streams=False, synchronous=True, lag_bytes=4000)
    assert copy(view(), db1=primary(catching_up), db2=standby(1000, age_s=2.0)) == ReplicaStatus(False, False, 4000, 2.0)


def test_frozen_copy_is_known_from_the_primary_as_long_as_that_counts_it() -> None:
    assert copy(view("primary", "unreachable"), db1=primary(follower(lag_bytes=800)), db2=None) == ReplicaStatus(
        True, True, 800, None
    )
    assert copy(view("primary", "unreachable"), db1=primary(), db2=None) == ReplicaStatus(False, False, None, None)


def test_how_far_a_copy_with_a_log_of_its_own_is_behind_is_unknown() -> None:
    assert copy(view(), db1=primary(position=5000), db2=standby(6000)) == ReplicaStatus(False, False, None, None)


@pytest.mark.parametrize("states", [("unreachable", "standby"), ("primary", "primary")])
def test_without_exactly_one_primary_nothing_is_known_of_copies(states: tuple[str, str]) -> None:
    found = replicas(view(*states), {"db1": primary(follower()), "db2": standby()}, BOXES)
    assert set(found.values()) <= {ReplicaStatus(streams=False, synchronous=False, lag_bytes=None, replay_lag_s=None)}


def test_primary_that_waits_has_copies_too() -> None:
    assert copy(view("sync_blocked", "standby"), db1=primary(), db2=standby(4990, age_s=3.0)).lag_bytes == 10


def test_a_replica_at_an_address_that_is_no_box_of_ours_does_not_count() -> None:
    assert not copy(view(), db1=primary(follower("198.18.2.99")), db2=standby()).streams


# Boxes that Docker calls unhealthy


class Examining(PlayedEngine):
    """An engine whose boxes are examined; those named pass."""

    passing: tuple[str, ...] = ("web1",)

    def is_healthy(self, box: Box, timeout_s: float = 5.0) -> bool:
        self.done.append(f"examine {box.service} within {timeout_s:g} s")
        return box.service in self.passing


def test_box_that_docker_calls_unhealthy_is_examined_now() -> None:
    ill = [box("web1", health="unhealthy"), box("web2", health="unhealthy"), box("web3", health="starting"), box("lb", ("lb",))]
    frozen = box("db", ("db",), status="paused", health="unhealthy")
    engine = Examining()
    found = examined(engine.cluster(PAIR), [*ill, frozen])
    assert [each.condition for each in found] == ["running", "unhealthy", "starting", "running", "paused"]
    assert sorted(engine.done) == ["examine web1 within 1 s", "examine web2 within 1 s"]
    assert examined(engine.cluster(PAIR), []) == []
