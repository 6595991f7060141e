"""The commands about repair, as a user types them, where no Docker Engine answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.errors import EXIT_HELD, EXIT_PREFLIGHT, EXIT_USAGE
from tests.unit import test_cli
from tests.unit.test_cli import Lab

lab = test_cli.lab
TEN_MINUTES = ("monkey", "5", "--for", "10m", "--every", "45s")


def test_a_plan_says_who_repairs_and_what_is_waited_for(lab: Lab) -> None:
    plan = json.loads(
        lab("run", "5", "cascade-primary", "--repair", "replace", "--repair-after", "500ms", "--dry-run", "--json").out
    )
    assert plan["repair"] == {"policy": "replace", "delay_s": 0.5}
    assert plan["expected_verdict"] == "held"
    assert plan["steps"][1]["once"] == "redundant"
    told = lab("run", "5", "cascade-primary", "--repair", "restart", "--dry-run").out
    assert "repair: restart after 2 s, by the lab in place of an orchestrator" in " ".join(told.split())


def test_nobody_repairs_where_an_operator_comes(lab: Lab) -> None:
    done = lab("run", "4", "kill-primary-operator", "--repair", "restart", "--dry-run")
    assert done.code == EXIT_USAGE
    assert "has an operator already" in done.err


def test_a_schedule_is_printed_before_and_read_again(lab: Lab, tmp_path: Path) -> None:
    done = lab(*TEN_MINUTES, "--seed", "11", "--print-schedule", "--json")
    assert done.code == EXIT_HELD
    plan = json.loads(done.out)
    assert len(plan["rounds"]) == 13
    assert plan == json.loads(lab(*TEN_MINUTES, "--seed", "11", "--print-schedule", "--json").out)
    file = tmp_path / "schedule.json"
    file.write_text(done.out, encoding="utf-8")
    assert json.loads(lab("monkey", "5", "--schedule", str(file), "--print-schedule", "--json").out) == plan
    told = lab(*TEN_MINUTES, "--seed", "11", "--print-schedule").out.splitlines()
    assert told[0] == "stage 5-redundant-load-balancers, seed 11, repair restart after 2 s, a fault every 45 s"
    assert told[2].split()[:5] == ["2", "at", "45", "s", plan["rounds"][1]["experiments"][0]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("monkey", "1"),
        ("monkey", "5", "--every", "5s"),
        ("monkey", "5", "--repair", "none"),
        ("monkey", "5", "--schedule", "nowhere.json"),
    ],
)
def test_what_no_monkey_can_do_is_refused(lab: Lab, arguments: tuple[str, ...]) -> None:
    assert lab(*arguments, "--print-schedule").code == EXIT_USAGE


@pytest.mark.parametrize("arguments", [("monkey", "5", "--for", "1m"), ("repair", "5")])
def test_without_an_engine_nothing_is_begun(
    lab: Lab, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path)
    assert lab(*arguments).code == EXIT_PREFLIGHT
