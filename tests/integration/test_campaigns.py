"""Sweeps and comparisons on real stages."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.errors import EXIT_HELD, EXIT_REFUTED
from lab.process import wait_until
from tests.integration.driver import Lab, states

pytestmark = pytest.mark.docker
night = pytest.mark.night
CAMPAIGN_TIMEOUT_S = 600.0
FIRST_TIMEOUT_S = 180.0


def through(lab: Lab, kind: str) -> list[dict[str, Any]]:
    """The trials that are through in the latest campaign."""
    file = Path(lab.environment["LAB_RESULTS"]) / kind / "latest" / "progress.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []
    return [line["attempt"] for line in lines if "attempt" in line]


@pytest.mark.parametrize(
    ("stage", "found"),
    [
        pytest.param("1", ["box"], marks=night),
        ("2", ["db", "web1"]),
        pytest.param("3", ["db", "lb"], marks=night),
        pytest.param("5", [], marks=night),
    ],
)
def test_a_sweep_finds_exactly_what_is_declared(nothing_up: Lab, stage: str, found: list[str]) -> None:
    done = nothing_up("spof", stage, "--duration", "4s", "--seed", "1", "--json", timeout_s=CAMPAIGN_TIMEOUT_S)
    document = json.loads(done.out)
    assert sorted(document["spof"]["found"]) == found, document["why"]
    assert done.code == EXIT_HELD


# For each of these stage 2 has an alert (docs/alerts.md). A fault of 7 s is longer than any of them takes.
@night
def test_a_fault_that_does_harm_is_reported_where_there_is_monitoring(nothing_up: Lab) -> None:
    done = nothing_up("spof", "2", "--require-alerts", "--seed", "1", "--json", timeout_s=CAMPAIGN_TIMEOUT_S)
    document = json.loads(done.out)
    assert {result["notified"] for result in document["spof"]["results"]} == {"notified"}, document["why"]
    assert done.code == EXIT_HELD


@night
def test_no_fault_is_reported_where_there_is_no_monitoring(nothing_up: Lab) -> None:
    command = ("spof", "1", "--faults", "kill,pause", "--duration", "4s", "--seed", "1", "--json")
    document = json.loads(nothing_up(*command, timeout_s=CAMPAIGN_TIMEOUT_S).out)
    assert document["spof"]["not_notified"] == ["kill box", "pause box"]
    assert nothing_up(*command, "--require-alerts", timeout_s=CAMPAIGN_TIMEOUT_S).code == EXIT_REFUTED


@night
def test_whether_a_fault_is_reported_is_not_known_without_the_monitoring_box(nothing_up: Lab) -> None:
    without = Lab({**nothing_up.environment, "LAB_WATCH": "no"})
    done = without("spof", "2", "--duration", "4s", "--seed", "1", "--json", timeout_s=CAMPAIGN_TIMEOUT_S)
    assert {result["notified"] for result in json.loads(done.out)["spof"]["results"]} == {"unknown"}
    without.must("down", "2")


@night
def test_a_comparison_goes_on_after_it_was_killed(nothing_up: Lab) -> None:
    command = ("compare", "2", "3", "--faults", "kill-web,kill-lb", "--trials", "2", "--duration", "4s", "--seed", "1")
    process = nothing_up.start(*command)
    try:
        assert wait_until(lambda: len(through(nothing_up, "compare")) == 1, FIRST_TIMEOUT_S)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    nothing_up.must("heal", timeout_s=120)
    first = through(nothing_up, "compare")
    done = nothing_up(*command, "--json", timeout_s=CAMPAIGN_TIMEOUT_S)
    assert done.code == EXIT_HELD, done.err
    assert f"continuing with seed 1: {len(first)} trials are through" in done.err
    assert through(nothing_up, "compare")[: len(first)] == first
    rows = {row["name"]: {cell["column"]: cell for cell in row["cells"]} for row in json.loads(done.out)["matrix"]["rows"]}
    assert rows["2-separate-database"]["kill-web"]["downtime_censored"]
    assert not rows["2-separate-database"]["kill-lb"]["applicable"]
    assert not rows["3-load-balancer"]["kill-web"]["downtime_censored"]
    assert rows["3-load-balancer"]["kill-lb"]["downtime_censored"]
    assert [rows["3-load-balancer"][name]["trials_valid"] for name in ("kill-web", "kill-lb")] == [2, 2]
    # Each stage is removed when it is through.
    assert states(2) == states(3) == {}


def test_a_budget_that_is_broken_fails(nothing_up: Lab, tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("stages: {2: {kill-web: {downtime_longest_s: 0.5, trials: 1}}}\n")
    done = nothing_up(
        "compare", "--budget", str(tmp_path / "budgets.yaml"), "--duration", "4s", "--json", timeout_s=CAMPAIGN_TIMEOUT_S
    )
    assert done.code == EXIT_REFUTED, done.err
    assert "longest outage at most 0.5 s: was at least" in json.loads(done.out)["budget"][0]["why"][0]
