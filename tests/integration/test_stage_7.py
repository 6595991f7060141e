"""Stage 7: a region is lost, a partition, a longer line. Ceilings are generous: a CI machine is busy."""

from __future__ import annotations

import json

import pytest

from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.probe.bgp import announcements
from lab.process import wait_until
from lab.spec import stages
from tests.integration.clusters import cluster, look
from tests.integration.driver import Lab, asked_of_monitor, container, docker, longest, primary

pytestmark = pytest.mark.docker

UP_TIMEOUT_S = 240
WRITES_CEILING_S = 15.0
READS_CEILING_S = 4.0
LINE = "us"
GIVEN_UP_WITHIN_S = 30.0


# Cut off, both databases go on by themselves for a moment, and cannot simply follow when they are back: each begins anew.
@pytest.mark.parametrize("experiment", ["kill-region-eu", "disconnect-region-eu"])
def test_one_region_goes_on_without_the_other(lab: Lab, engine: Engine, experiment: str) -> None:
    lab.must("up", "7", "--replace", timeout_s=UP_TIMEOUT_S)
    # Starting a whole region at once makes the load late on two cores; what is safe must be safe all the same.
    _, document = lab.run(7, experiment, "--observe", "8s")
    [trial] = document["trials"]
    assert trial["writes_audit"]["lost"] == 0
    assert trial["writable_databases"]["multiple_s"] == 0
    assert longest(trial, "write_outages") < WRITES_CEILING_S
    assert longest(trial, "read_outages") < READS_CEILING_S
    stage = stages.find("7")
    assert stage.is_redundant(look(engine, stage))


def test_with_local_a_region_is_given_up_also_when_its_databases_died_one_after_the_other(lab: Lab, engine: Engine) -> None:
    local = Lab({**lab.environment, "LAB_DURABILITY": "local"})
    local.must("up", "7", "--replace", timeout_s=UP_TIMEOUT_S)
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
    local.must("down", "7")


def test_no_database_is_still_joining_when_an_election_begins(lab: Lab, engine: Engine) -> None:
    lab.must("up", "7", "--replace", timeout_s=UP_TIMEOUT_S)
    leader = primary(engine, stages.find("7"))
    other = "db1" if leader == "db2" else "db2"
    joining = f"UPDATE pgautofailover.node SET goalstate = 'join_secondary', reportedstate = 'join_secondary' WHERE nodename = '{other}'"
    stepping_down = f"UPDATE pgautofailover.node SET goalstate = 'draining' WHERE nodename = '{leader}'"
    steps = ["BEGIN", joining, stepping_down, f"SELECT goalstate FROM pgautofailover.node WHERE nodename = '{other}'", "ROLLBACK"]
    assert asked_of_monitor(7, *steps) == "secondary"


def test_a_longer_line_is_measured_and_taken_back(lab: Lab, engine: Engine) -> None:
    lab.must("up", "7", "--replace", timeout_s=UP_TIMEOUT_S)
    [router] = [box for box in engine.boxes(7) if "wan" in box.roles]
    far = stages.find("7")
    before = told(engine, router.service)
    lab.must("chaos", "delay", f"line:{LINE}", "--delay-ms", "60")
    assert told(engine, router.service)["delay_ms"] == before["delay_ms"] + 60
    lab.must("heal")
    assert told(engine, router.service)["delay_ms"] == before["delay_ms"]
    assert far.is_redundant(look(engine, far))


def told(engine: Engine, service: str) -> dict[str, float]:
    """What the router says of the line."""
    router = next(box for box in engine.boxes(7) if box.service == service)
    answer: dict[str, dict[str, dict[str, float]]] = json.loads(engine.run_in(router, ["lab-wan", "show"]).output)
    return answer["lines"][LINE]


def test_a_commit_waits_for_the_other_region_and_the_map_shows_them(lab: Lab, engine: Engine) -> None:
    lab.must("up", "7", "--replace", timeout_s=UP_TIMEOUT_S)
    stage = stages.find("7")
    leader = primary(engine, stage)
    home = next(region for region, names in stage.regions.items() if leader in names)
    boxes = {box["box"]: box for box in json.loads(lab.must("status", "7", "--json").out)["boxes"]}
    synchronous = {name for name, box in boxes.items() if box["copy"] and box["copy"]["synchronous"]}
    assert synchronous == {name for region, names in stage.regions.items() for name in names if region != home}
    assert {box["region"] for box in boxes.values() if box["region"]} == {"eu", "us", "witness"}
    # Each proves itself for half a second before it is more than the last resort.
    assert wait_until(lambda: announcements(cluster(engine, stage)) == {"lb1": 1, "lb2": 2, "lb3": 3, "lb4": 4}, 10)
    assert [boxes[name]["announces"] for name in ("lb1", "lb2", "lb3", "lb4")].count(None) == 0
