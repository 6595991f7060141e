"""What each stage does under each fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.errors import EXIT_HELD, EXIT_REFUTED
from tests.integration.driver import Lab, not_held
from tests.integration.likeness import assert_like

pytestmark = pytest.mark.docker
night = pytest.mark.night

READ_DEADLINE_GRACE_MS = 1_050
FIRST_FAILURE_S = 0.3
"""After the fault, the first request that fails comes within this."""


def only(document: dict[str, Any]) -> dict[str, Any]:
    """The one trial of a run."""
    [trial] = document["trials"]
    assert trial["writes_audit"]["complete"]
    assert trial["latency_ms"]["longest"] <= READ_DEADLINE_GRACE_MS
    return dict(trial)


def nothing_lost(trial: dict[str, Any]) -> None:
    audit = trial["writes_audit"]
    assert audit["attempted"] > 100
    assert (audit["lost"], audit["unexpected"], audit["duplicate"]) == (0, 0, 0)


def as_long_as_the_fault(trial: dict[str, Any]) -> bool:
    """Whether the service was down from the fault until the lab healed it: what comes after that is not counted."""
    lasted_s = trial["phases"]["heal_s"] - trial["phases"]["inject_s"]
    return bool(trial["downtime_longest_s"] == pytest.approx(lasted_s, abs=FIRST_FAILURE_S))


def test_baseline_serves_everything(stage_3: Lab) -> None:
    code, document = stage_3.valid_run(3, "baseline", "--rate", "200")
    trial = only(document)
    assert code == EXIT_HELD, not_held(trial)
    assert trial["good"] == trial["intended"] >= 2000
    assert set(trial["served_by"]) == {"web1", "web2"}
    # The monitoring is there, and has nothing to say of a calm time.
    assert (trial["alerts"], trial["alert_delay_s"]) == ([], None)
    nothing_lost(trial)


@pytest.mark.parametrize(
    "experiment", ["kill-web", pytest.param("crash-web", marks=night), pytest.param("stop-web", marks=night)]
)
def test_stage_3_does_not_care_about_a_lost_web_box(stage_3: Lab, experiment: str) -> None:
    code, document = stage_3.valid_run(3, experiment, "--duration", "3s")
    trial = only(document)
    assert code == EXIT_HELD, not_held(trial)
    assert trial["reads"]["intended"] - trial["reads"]["good"] <= 3
    assert trial["phases"]["inject_s"] <= trial["phases"]["verified_s"]
    assert_like(trial, "3/kill-web", "gap_s")
    nothing_lost(trial)


@night
def test_stage_3_reroutes_around_a_frozen_web_box(stage_3: Lab) -> None:
    code, document = stage_3.valid_run(3, "pause-web")
    trial = only(document)
    assert code == EXIT_HELD, not_held(trial)
    assert trial["downtime_longest_s"] < 1.0
    # Until the balancer has noticed, half of the requests wait at the frozen box.
    assert trial["phases"]["inject_s"] < trial["phases"]["reroute_s"]
    assert trial["latency_ms"]["longest"] > 100
    nothing_lost(trial)


@pytest.mark.parametrize("experiment", ["kill-db", pytest.param("pause-db", marks=night)])
def test_stage_3_needs_its_database(stage_3: Lab, experiment: str) -> None:
    code, document = stage_3.valid_run(3, experiment, "--duration", "3s")
    trial = only(document)
    assert code == EXIT_REFUTED
    assert document["verdict"] == "refuted"
    assert trial["downtime_censored"]
    assert as_long_as_the_fault(trial)
    assert trial["phases"]["recover_s"] > trial["phases"]["heal_s"]
    nothing_lost(trial)


def test_the_policy_brings_a_crashed_database_back(stage_3: Lab) -> None:
    _, document = stage_3.valid_run(3, "crash-db")
    trial = only(document)
    assert_like(trial, "3-crash-db", "outage_s", "gap_s")
    assert not trial["downtime_censored"]
    nothing_lost(trial)


@night
def test_stage_3_needs_its_balancer(stage_3: Lab) -> None:
    code, document = stage_3.valid_run(3, "kill-lb")
    trial = only(document)
    assert code == EXIT_REFUTED
    assert trial["downtime_censored"]
    assert trial["errors"]["connect-timeout"] > 100
    nothing_lost(trial)


def test_stage_2_has_nothing_beside_its_web_box(stage_2: Lab) -> None:
    code, document = stage_2.valid_run(2, "kill-web", "--duration", "3s")
    trial = only(document)
    assert code == EXIT_REFUTED
    assert trial["downtime_censored"]
    assert as_long_as_the_fault(trial)
    nothing_lost(trial)


def test_stage_1_dies_with_its_box(stage_1: Lab) -> None:
    code, document = stage_1.valid_run(1, "kill-box", "--duration", "3s")
    trial = only(document)
    assert code == EXIT_REFUTED
    assert trial["target"] == "box"
    assert trial["downtime_censored"]
    assert as_long_as_the_fault(trial)
    nothing_lost(trial)


@pytest.mark.parametrize("experiment", ["crash-web", pytest.param("crash-db", marks=night)])
def test_stage_1_has_a_supervisor(stage_1: Lab, experiment: str) -> None:
    _, document = stage_1.valid_run(1, experiment)
    trial = only(document)
    assert_like(trial, f"1-{experiment}", "outage_s", "gap_s")
    assert not trial["downtime_censored"]
    nothing_lost(trial)


@night
def test_a_report_says_the_same_as_the_run(stage_3: Lab) -> None:
    _, document = stage_3.valid_run(3, "kill-web", "--trials", "2", "--duration", "2s", "--seed", "7")
    report = stage_3("report", document["folder"], "--json", DOCKER_HOST="unix:///nonexistent.sock")
    assert report.code == 0, report.err
    again = json.loads(report.out)
    assert again == document
    assert document["seed"] == 7
    assert document["summary"]["trials_valid"] == 2
