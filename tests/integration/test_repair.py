"""Repair policies and cascades on real stages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.checker.redundancy import is_redundant
from lab.engine.engine import Engine
from lab.errors import EXIT_REFUTED
from lab.spec import stages
from lab.store.undo_log import UndoLog
from tests.integration.clusters import look
from tests.integration.driver import TRIES, Lab, container, docker, not_held, primary
from tests.integration.likeness import assert_like, bounds_now

pytestmark = pytest.mark.docker
night = pytest.mark.night

STAGE = stages.find("5")
# From the repair until redundancy is restored: docs/lessons/cascades.md has 2.4 to 5.5 s of a restart, 7.5 to 9.0 s of a new disk.
RETURN_S = {"restart": (1.2, 11.0), "replace": (3.7, 18.0)}
LARGE_MIB = 200


def machine(service: str) -> str:
    """The identity of a box: a new one has the same name."""
    return docker("inspect", container(5, service), "--format", "{{.Id}}")


def disk(service: str) -> str:
    """When the disk of a box was made: the identity of what is on it is the same in every copy."""
    return docker("volume", "inspect", f"{STAGE.project}_{service}", "--format", "{{.CreatedAt}}")


def returned_within(trial: dict[str, Any], policy: str) -> bool:
    """Whether redundancy came back as soon as that kind of repair takes, and no sooner."""
    at_least_s, at_most_s = RETURN_S[policy]
    return bool(at_least_s <= trial["phases"]["redundancy_restored_s"] - trial["phases"]["repair_s"] <= at_most_s)


@pytest.mark.parametrize("policy", ["restart", pytest.param("replace", marks=night)])
def test_a_lost_primary_is_repaired_without_a_hand_of_the_lab_in_the_end(stage_5: Lab, engine: Engine, policy: str) -> None:
    lost = primary(engine, STAGE)
    before, disk_before = machine(lost), disk(lost)
    trial = stage_5.safe_trial(5, "kill-primary", "--repair", policy, "--duration", "3s")
    phases = trial["phases"]
    assert phases["inject_s"] + 2 <= phases["repair_s"] < phases["redundancy_restored_s"]
    assert "heal_s" not in phases
    assert_like(trial, "5/kill-primary", "writes_gap_s")
    assert not any(outage["censored"] for outage in trial["outages"])
    assert returned_within(trial, policy)
    assert is_redundant(STAGE, look(engine, STAGE))
    # The same box, or another one with another disk.
    assert (machine(lost) == before) == (policy == "restart")
    assert (disk(lost) == disk_before) == (policy == "restart")
    assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("policy", ["restart", "replace"])
def test_the_second_primary_is_survived_where_the_first_was_repaired(stage_5: Lab, policy: str) -> None:
    trial = stage_5.safe_trial(5, "cascade-primary", "--repair", policy)
    first, second = trial["faults"]
    assert first["what"] != second["what"]
    assert second["redundant_before"] is True
    # The longest gap is that of either; neither outage is longer.
    assert_like(trial, "5/kill-primary", "writes_gap_s")
    assert max(first["downtime_s"], second["downtime_s"]) <= bounds_now("5/kill-primary", "outage_s")[1]


@night
def test_without_repair_the_loss_of_the_second_primary_is_an_outage(stage_5: Lab, engine: Engine) -> None:
    code, document = stage_5.valid_run(5, "cascade-primary", "--duration", "4s")
    [trial] = document["trials"]
    assert (document["repair"], document["expected_verdict"]) == ("none", "refuted")
    assert trial["writes_audit"]["lost"] == 0
    assert code == EXIT_REFUTED, not_held(trial)
    second = trial["faults"][1]
    assert second["redundant_before"] is False
    assert second["censored"]
    assert 3.0 <= second["downtime_s"] <= 5.0
    assert is_redundant(STAGE, look(engine, STAGE))


@night
def test_with_a_large_database_a_new_box_is_redundant_again(stage_5: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE)
    psql = ["psql", "-X", "-q", "-h", "/run/postgresql", "-d", "postgres", "-c"]
    fill = f"CREATE TABLE filler AS SELECT repeat(md5(n::text), 32) AS text FROM generate_series(1, {LARGE_MIB * 1024}) AS n"
    docker("exec", container(5, leader), *psql, fill)
    trial = stage_5.safe_trial(5, "kill-primary", "--repair", "replace", "--duration", "3s")
    assert "heal_s" not in trial["phases"]
    assert returned_within(trial, "replace")
    docker("exec", container(5, primary(engine, STAGE)), *psql, "DROP TABLE filler")


def test_on_call_repair_restarts_what_no_policy_repaired(stage_5: Lab, engine: Engine) -> None:
    stage_5.must("chaos", "kill", "db.standby")
    stage_5.must("chaos", "kill", "web")
    done = stage_5.must("repair", "5")
    assert "repaired: 2 boxes, nothing is missing" in done.err
    assert UndoLog().entries() == []
    assert is_redundant(STAGE, look(engine, STAGE))
    assert "no box was lost" in stage_5.must("repair", "5").err


@pytest.mark.parametrize("for_", ["25s", pytest.param("50s", marks=night)])
def test_a_monkey_goes_on_where_it_stopped_and_states_a_budget(stage_5: Lab, for_: str) -> None:
    options = ("monkey", "5", "--for", for_, "--interval", "25s", "--seed", "4", "--floor", "0.5")
    plan = json.loads(stage_5.must(*options, "--print-schedule", "--json").out)
    first = json.loads(stage_5(*options, "--json").out)
    assert [each["fault"]["experiment"] for each in first["rounds"]] == [each["experiments"][0] for each in plan["rounds"]]
    assert sum(each["fault"]["lost"] for each in first["rounds"]) == 0
    again = json.loads(stage_5(*options, "--json", timeout_s=20).out)
    assert again == first


def served_ratio(trial: dict[str, Any]) -> float:
    """What was served of what a box was found to carry."""
    return float(trial["served"]["served_per_s"] / trial["served"]["capacity_per_s"])


@night
def test_what_one_box_carries_is_served_in_an_overload_and_not_without_admission(stage_3: Lab) -> None:
    held = stage_3.valid_trial(3, "overload-web")
    # 0.92 to 1.34 and 0.21 to 0.33 on a machine that does nothing else.
    assert 0.5 < served_ratio(held) < 2.0
    # One whose cores are shared may be faster by the time of the overload than when its capacity was measured: then it is none.
    for _ in range(TRIES):
        collapsed = stage_3.valid_trial(3, "overload-web-unlimited")
        if served_ratio(collapsed) < 0.5:
            break
    assert 0.1 < served_ratio(collapsed) < 0.5
    assert held["writes_audit"]["lost"] == collapsed["writes_audit"]["lost"] == 0
    # Everything is as its file says again.
    for service in ("web1", "web2"):
        assert docker("inspect", container(3, service), "--format", "{{.HostConfig.NanoCpus}}") == "1000000000"
    assert UndoLog().entries() == []
