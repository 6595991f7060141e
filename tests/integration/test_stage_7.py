"""Stage 7: a region is lost, a partition, a longer line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.checker.redundancy import is_redundant
from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.probe.bgp import announcements
from lab.process import wait_until
from lab.spec import stages
from tests.integration.clusters import cluster, look
from tests.integration.driver import Lab, asked_of_monitor, container, docker, primary
from tests.integration.likeness import assert_like, assert_no_longer

pytestmark = pytest.mark.docker
night = pytest.mark.night

UP_TIMEOUT_S = 240
LINE = "us"
GIVEN_UP_WITHIN_S = 30.0


# Cut off, both databases go on by themselves for a moment, and cannot simply follow when they are back: each begins anew.
@pytest.fixture
def local(nothing_up: Lab) -> Iterator[Lab]:
    """Stage 7 with the other durability: no stage for other tests."""
    local = Lab({**nothing_up.environment, "LAB_DURABILITY": "local"})
    local.must("up", "7", timeout_s=UP_TIMEOUT_S)
    yield local
    local.must("down", "--all")


@night
def test_with_local_a_region_is_given_up_also_when_its_databases_died_one_after_the_other(local: Lab, engine: Engine) -> None:
    stage = stages.find("7")
    home = ("db1", "db2")
    leader = primary(engine, stage)
    assert leader in home
    # What the monitor tells a primary whose neighbour has died; dead itself, it never says that it has done so.
    docker("pause", *(container(7, name) for name in home))
    told = "UPDATE pgautofailover.node SET goalstate = 'wait_primary' WHERE nodename = '{}' AND reportedstate = 'primary' RETURNING 1"
    assert asked_of_monitor(7, told.format(leader)) == "1"
    docker("kill", *(container(7, name) for name in home))
    assert wait_until(lambda: bool(set(look(engine, stage).named(DatabaseState.PRIMARY)) - set(home)), GIVEN_UP_WITHIN_S)
    local.must("heal")


def test_no_database_is_still_joining_when_an_election_begins(stage_7: Lab, engine: Engine) -> None:
    leader = primary(engine, stages.find("7"))
    other = "db1" if leader == "db2" else "db2"
    joining = f"UPDATE pgautofailover.node SET goalstate = 'join_secondary', reportedstate = 'join_secondary' WHERE nodename = '{other}'"
    stepping_down = f"UPDATE pgautofailover.node SET goalstate = 'draining' WHERE nodename = '{leader}'"
    steps = ["BEGIN", joining, stepping_down, f"SELECT goalstate FROM pgautofailover.node WHERE nodename = '{other}'", "ROLLBACK"]
    assert asked_of_monitor(7, *steps) == "secondary"


def test_a_longer_line_is_measured_and_taken_back(stage_7: Lab, engine: Engine) -> None:
    [router] = [box for box in engine.boxes(7) if "wan" in box.roles]
    far = stages.find("7")
    before = told(engine, router.service)
    stage_7.must("chaos", "delay", f"line:{LINE}", "--delay-ms", "60")
    assert told(engine, router.service)["delay_ms"] == before["delay_ms"] + 60
    stage_7.must("heal")
    assert told(engine, router.service)["delay_ms"] == before["delay_ms"]
    assert is_redundant(far, look(engine, far))


def told(engine: Engine, service: str) -> dict[str, float]:
    """What the router says of the line."""
    router = next(box for box in engine.boxes(7) if box.service == service)
    answer: dict[str, dict[str, dict[str, float]]] = json.loads(engine.run_in(router, ["lab-wan", "show"]).output)
    return answer["lines"][LINE]


def test_a_commit_waits_for_the_other_region_and_the_map_shows_them(stage_7: Lab, engine: Engine) -> None:
    stage = stages.find("7")
    leader = primary(engine, stage)
    home = next(region for region, names in stage.regions.items() if leader in names)
    boxes = {box["box"]: box for box in json.loads(stage_7.must("status", "7", "--json").out)["boxes"]}
    awaited = {name for name, box in boxes.items() if box["replica"] and box["replica"]["synchronous"]}
    assert awaited == {name for region, names in stage.regions.items() for name in names if region != home}
    assert {box["region"] for box in boxes.values() if box["region"]} == {"eu", "us", "witness"}
    # Each proves itself for half a second before it is more than the last resort.
    assert wait_until(lambda: announcements(cluster(engine, stage)) == {"lb1": 1, "lb2": 2, "lb3": 3, "lb4": 4}, 10)
    assert [boxes[name]["announces"] for name in ("lb1", "lb2", "lb3", "lb4")].count(None) == 0


@night
def test_who_keeps_the_durability_is_started_again(stage_7: Lab) -> None:
    before = durability()
    assert before
    docker("exec", container(7, "monitor"), "pkill", "-KILL", "-f", "^python3 -m durability")
    assert wait_until(lambda: durability() not in ("", before), 10)
    assert wait_until(lambda: bool(in_monitor("find /run/durability -newermt '-1 sec'")), 10)


def durability() -> str:
    """The process that looks for whom a commit waits; empty where there is none."""
    return in_monitor("pgrep -f '^python3 -m durability' || true")


def in_monitor(script: str) -> str:
    return docker("exec", container(7, "monitor"), "sh", "-c", script)


# Last: afterwards the primary is in the other region.
@pytest.mark.parametrize(
    ("experiment", "writes"),
    [("kill-region-eu", "writes_gap_s"), pytest.param("disconnect-region-eu", "writes_outage_s", marks=night)],
)
def test_one_region_goes_on_without_the_other(stage_7: Lab, engine: Engine, experiment: str, writes: str) -> None:
    trial = stage_7.safe_trial(7, experiment, "--duration", "8s")
    assert_like(trial, f"7-{experiment}", writes)
    assert_no_longer(trial, f"7-{experiment}", "failed_reads")
    stage = stages.find("7")
    assert is_redundant(stage, look(engine, stage))
