"""The controller's end of the survey: whom it asks, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from lab.engine.engine import ExecResult
from lab.errors import InconclusiveError
from lab.model.observation import Copy, DatabaseState, Judgement, Sight, Survey
from lab.model.topology import Box, Stage
from lab.probe.status import SURVEY_TIMEOUT_S, copies, examined, survey
from lab.spec.stages import find
from tests.unit.helpers import box, db, sight, stage
from tests.unit.played import PlayedEngine

PAIR = find("5")
INTERNET = box("internet", ("internet",), stage=5)
DATA = {"db1": "198.18.2.31", "db2": "198.18.2.32"}
BOXES = [*(db(name, stage=5, addresses={"data": address}) for name, address in DATA.items()), INTERNET]


def follower(address: str = DATA["db2"], **changes: Any) -> dict[str, Any]:
    return {"address": address, "streams": True, "awaited": True, "behind_bytes": 0, **changes}


def primary(*followers: dict[str, Any], position: int = 5000) -> dict[str, Any]:
    return {"position": position, "unreplayed_bytes": None, "replayed_age_s": None, "followers": list(followers)}


def standby(position: int = 5000, age_s: float | None = 7.0, unreplayed: int = 0) -> dict[str, Any]:
    return {"position": position, "unreplayed_bytes": unreplayed, "replayed_age_s": age_s, "followers": []}


def said(**changes: Any) -> dict[str, Any]:
    """What the client prints of stage 5 when all is well, unless changed."""
    node = {"state": "secondary", "well": True, "candidate": True, "voice": True}
    return {
        "sight": asdict(sight()),
        "databases": {"db1": primary(follower()), "db2": standby()},
        "backends": {"lb1": {"web1": True, "web2": True}, "lb2": {"web1": True, "web2": False}},
        "monitor": {"needed": 0, "nodes": {"db1": {**node, "state": "primary", "candidate": False, "voice": False}, "db2": node}},
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
        assert (box.service, list(command[:3])) == ("internet", ["python", "-m", "client.survey"])
        self.orders.append(json.loads(command[-1]))
        self.timeouts_s.append(timeout_s)
        return ExecResult(0, self.output)

    def survey(self, of: Stage = PAIR) -> Survey:
        return survey(self.as_engine, of, self.present)


def test_everything_is_asked_in_one_question_with_a_deadline() -> None:
    engine = Asked(json.dumps(said()))
    engine.survey()
    assert engine.timeouts_s == [SURVEY_TIMEOUT_S]
    assert engine.orders == [
        {
            "databases": PAIR.databases,
            "balancers": PAIR.balancers,
            "entry": "198.18.0.10",
            "announced": False,
            "statistics": PAIR.balancers,
            "monitor": "198.18.3.40",
        }
    ]


def test_what_everybody_says() -> None:
    found = Asked(json.dumps(said())).survey()
    assert found == Survey(
        sight=sight(),
        copies={"db2": Copy(streams=True, awaited=True, behind_bytes=0, behind_s=0.0)},
        backends={"lb1": {"web1": True, "web2": True}, "lb2": {"web1": True, "web2": False}},
        judgements={"db1": Judgement("primary", True, False, False), "db2": Judgement("secondary", True, True, True)},
        acknowledgers=0,
    )


def test_who_does_not_answer_is_missing() -> None:
    silent = said(backends={"lb1": None, "lb2": {"web1": True}}, monitor=None)
    found = Asked(json.dumps(silent)).survey()
    assert found.backends == {"lb2": {"web1": True}}
    assert (found.judgements, found.acknowledgers) == (None, 0)


def test_stage_where_nothing_moves_is_asked_only_for_the_web_boxes_in_use() -> None:
    engine = Asked(json.dumps({"sight": None, "databases": {}, "backends": {"lb": {"web1": True}}, "monitor": None}))
    found = engine.survey(stage())
    assert engine.orders[0]["statistics"] == {"lb": "198.18.0.10"}
    assert engine.orders[0]["databases"] == {}
    assert found.sight.named(DatabaseState.PRIMARY) == ["db"]
    assert found.backends == {"lb": {"web1": True}}


def test_stage_without_a_balancer_is_asked_nothing() -> None:
    engine = Asked("")
    assert engine.survey(find("1")).sight.named(DatabaseState.PRIMARY) == ["box"]
    assert engine.orders == []


@pytest.mark.parametrize("status", ["paused", "exited"])
def test_internet_box_that_does_not_run_is_not_asked(status: str) -> None:
    engine = Asked("", [box("internet", ("internet",), stage=5, status=status)])
    with pytest.raises(InconclusiveError, match=r"could not be asked: the internet box is (paused|dead)"):
        engine.survey()
    assert engine.orders == []
    with pytest.raises(InconclusiveError, match="the internet box is gone"):
        Asked("", []).survey()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "no answer"),
        ("no answer within 2 s", "no answer within 2 s"),
        ("Traceback\nModuleNotFoundError: No module named 'client.survey'", "No module named"),
        ('{"sight": null}', "sight"),
        ('{"sight": {"clock_ns": 1}}', "clock_ns"),
    ],
)
def test_answer_that_is_none_is_named(output: str, words: str) -> None:
    with pytest.raises(InconclusiveError, match="the boxes could not be asked") as caught:
        Asked(output).survey()
    assert words in caught.value.message


# How far a copy is behind


def copy(seen: Sight, **databases: dict[str, Any] | None) -> Copy:
    return copies(seen, databases, BOXES)["db2"]


def test_while_the_primary_sends_its_own_word_counts() -> None:
    """Both ends of the difference are of one instant; the standby's own position is of another."""
    seen = copy(sight(), db1=primary(follower(behind_bytes=300)), db2=standby(4000, age_s=0.2))
    assert seen == Copy(streams=True, awaited=True, behind_bytes=300, behind_s=0.2)


def test_copy_that_has_everything_is_not_behind_however_long_ago_the_last_order_was() -> None:
    assert copy(sight(), db1=primary(follower()), db2=standby(age_s=900.0)).behind_s == 0.0


def test_copy_that_has_everything_and_does_not_show_it_is_behind_in_time() -> None:
    held_back = standby(5000, age_s=8.0, unreplayed=400)
    assert copy(sight(), db1=primary(follower()), db2=held_back) == Copy(True, True, behind_bytes=0, behind_s=8.0)


def test_copy_that_has_never_shown_an_order_has_no_age() -> None:
    assert copy(sight(standbys=0), db1=primary(), db2=standby(2000, age_s=None)).behind_s is None


def test_copy_that_is_sent_nothing_is_behind_by_what_it_lacks() -> None:
    seen = copy(sight(standbys=0), db1=primary(), db2=standby(2000, age_s=12.5))
    assert seen == Copy(streams=False, awaited=False, behind_bytes=3000, behind_s=12.5)


def test_copy_that_catches_up_is_not_awaited() -> None:
    catching_up = follower(streams=False, awaited=True, behind_bytes=4000)
    assert copy(sight(), db1=primary(catching_up), db2=standby(1000, age_s=2.0)) == Copy(False, False, 4000, 2.0)


def test_frozen_copy_is_known_from_the_primary_as_long_as_that_counts_it() -> None:
    assert copy(sight("primary", "silent"), db1=primary(follower(behind_bytes=800)), db2=None) == Copy(True, True, 800, None)
    assert copy(sight("primary", "silent"), db1=primary(), db2=None) == Copy(False, False, None, None)


def test_how_far_a_copy_with_a_log_of_its_own_is_behind_is_unknown() -> None:
    assert copy(sight(), db1=primary(position=5000), db2=standby(6000)) == Copy(False, False, None, None)


@pytest.mark.parametrize("states", [("silent", "standby"), ("primary", "primary")])
def test_without_exactly_one_primary_nothing_is_known_of_copies(states: tuple[str, str]) -> None:
    found = copies(sight(*states), {"db1": primary(follower()), "db2": standby()}, BOXES)
    assert set(found.values()) <= {Copy(streams=False, awaited=False, behind_bytes=None, behind_s=None)}


def test_primary_that_waits_has_copies_too() -> None:
    assert copy(sight("waiting", "standby"), db1=primary(), db2=standby(4990, age_s=3.0)).behind_bytes == 10


def test_follower_at_an_address_that_is_no_box_of_ours_is_nobody() -> None:
    assert not copy(sight(), db1=primary(follower("198.18.2.99")), db2=standby()).streams


# Boxes that Docker calls unhealthy


class Examining(PlayedEngine):
    """An engine whose boxes are examined; those named pass."""

    passing: tuple[str, ...] = ("web1",)

    def is_well(self, box: Box, timeout_s: float = 5.0) -> bool:
        self.done.append(f"examine {box.service} within {timeout_s:g} s")
        return box.service in self.passing


def test_box_that_docker_calls_unhealthy_is_examined_now() -> None:
    ill = [box("web1", health="unhealthy"), box("web2", health="unhealthy"), box("web3", health="starting"), box("lb", ("lb",))]
    frozen = box("db", ("db",), status="paused", health="unhealthy")
    engine = Examining()
    found = examined(engine.as_engine, [*ill, frozen])
    assert [each.condition for each in found] == ["running", "unhealthy", "starting", "running", "paused"]
    assert sorted(engine.done) == ["examine web1 within 1 s", "examine web2 within 1 s"]
    assert examined(engine.as_engine, []) == []
