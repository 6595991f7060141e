"""Stage 6: a zone is lost, or cut off. Ceilings are generous: a CI machine is busy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import monotonic

import pytest

from lab.checker.redundancy import is_redundant
from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.spec import stages
from lab.spec.stages import ROOT
from tests.integration.clusters import look
from tests.integration.driver import Lab, asked_of_monitor, container, docker, longest, primary

pytestmark = pytest.mark.docker

WRITES_CEILING_S = 6.0
READS_CEILING_S = 2.0
TWO_HOLDERS_CEILING_S = 3.0
# 3 s on a machine that does nothing else.
MAP_CEILING_S = 5.0


@pytest.mark.parametrize("experiment", ["kill-zone-a", "disconnect-zone-a", "kill-zone-c"])
def test_two_zones_go_on_without_the_third(lab: Lab, engine: Engine, experiment: str) -> None:
    lab.must("up", "6", "--replace", timeout_s=180)
    trial = lab.safe_trial(6, experiment, "--observe", "6s")
    assert longest(trial, "write_outages") < WRITES_CEILING_S
    assert longest(trial, "read_outages") < READS_CEILING_S
    stage = stages.find("6")
    view = look(engine, stage)
    assert is_redundant(stage, view)
    # The zone of the monitor never has the primary.
    assert "db3" not in view.named(DatabaseState.PRIMARY)
    if experiment == "disconnect-zone-a":
        # Who comes back had lost most of the system, held the address for nobody, and has given way.
        assert (view.vip_claimants, view.vip_owner) == (("lb2",), "lb2")


@pytest.mark.parametrize(
    ("experiment", "primary", "address", "keeper"),
    [
        ("partition-zone-a-b", "a", "a", "lb1"),
        # lb1 has the higher priority: that it gives way takes the arbiter.
        ("partition-zone-a-b", "b", "b", "lb2"),
        # lb1 hears lb2 and would leave it the address, far from the primary.
        ("partition-zone-a-b-out", "a", "b", "lb1"),
    ],
)
def test_of_two_balancers_that_lose_each_other_the_one_beside_the_primary_keeps_the_address(
    lab: Lab, engine: Engine, tmp_path: Path, experiment: str, primary: str, address: str, keeper: str
) -> None:
    cut = (ROOT / "lab" / "experiments" / f"{experiment}.yaml").read_text(encoding="utf-8")
    given = f"{{db.primary: zone:{primary}, lb.active: zone:{address}}}"
    (tmp_path / "cut.yaml").write_text(re.sub("(?m)^given: .*", f"preconditions: {given}", cut), encoding="utf-8")
    lab.must("up", "6", timeout_s=180)
    trial = lab.safe_trial(6, str(tmp_path / "cut.yaml"), "--observe", "6s")
    assert longest(trial, "write_outages") < WRITES_CEILING_S
    assert longest(trial, "read_outages") < READS_CEILING_S
    assert trial["vip_owners"]["multiple_owners_s"] < TWO_HOLDERS_CEILING_S
    view = look(engine, stages.find("6"))
    assert (view.vip_claimants, view.vip_owner) == ((keeper,), keeper)


def test_a_candidate_that_lagged_fetches_what_it_lacks_and_begins_a_new_timeline(lab: Lab) -> None:
    lab.must("up", "6", "--replace", timeout_s=180)
    trial = lab.safe_trial(6, "lagging-candidate")
    assert longest(trial, "write_outages") < WRITES_CEILING_S + 2
    log = docker("exec", container(6, "db2"), "sh", "-c", "cat $PGDATA/log/*.log")
    assert "selected new timeline ID" in log
    # What made it writable on the old one: its keeper took the file away, and started it again.
    assert "could not remove file" not in log
    fetched = "SELECT count(*) FROM pgautofailover.event WHERE goalstate = 'fast_forward'"
    assert int(asked_of_monitor(6, fetched)) > 0


def test_the_monitor_forgets_no_timeline_of_who_is_down(lab: Lab, engine: Engine) -> None:
    lab.must("up", "6", "--replace", timeout_s=180)
    leader = primary(engine, stages.find("6"))
    set_to = "UPDATE pgautofailover.node SET reportedtli = {}, reportedpgisrunning = false WHERE nodename = '{}'"
    said = f"SELECT reportedtli FROM pgautofailover.node WHERE nodename = '{leader}'"
    # In one transaction, and nothing of it kept: the keeper reports all the while.
    steps = ["BEGIN", set_to.format(1000, leader), said, set_to.format(999, leader), said, "ROLLBACK"]
    assert asked_of_monitor(6, *steps).split() == ["1000", "1000"]


def test_map_waits_for_no_frozen_box_and_says_what_stopped_answering(lab: Lab) -> None:
    lab.must("up", "6", "--replace", timeout_s=180)
    lab.must("chaos", "pause", "zone:c")
    try:
        since = monotonic()
        content = json.loads(lab.must("status", "6", "--json").out)
        took_s = monotonic() - since
    finally:
        lab.must("heal")
    assert took_s < MAP_CEILING_S
    boxes = {box["box"]: box for box in content["boxes"]}
    assert {name for name, box in boxes.items() if box["condition"] == "paused"} == {"web3", "db3", "monitor"}
    assert boxes["db3"]["database"] == "unreachable"
    assert boxes["monitor"]["zone"] == "c"
    for balancer in ("lb1", "lb2"):
        assert boxes[balancer]["backends"] == {"web1": True, "web2": True, "web3": False}
    [follows] = [box["copy"] for name, box in boxes.items() if name in ("db1", "db2") and box["database"] == "standby"]
    assert (follows["streams"], follows["synchronous"]) == (True, True)
    healed = {box["box"]: box["condition"] for box in json.loads(lab.must("status", "6", "--json").out)["boxes"]}
    assert set(healed.values()) == {"running"}
