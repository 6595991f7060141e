"""The commands about repair and random faults, as a user types them, where no Docker Engine answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.analysis.summary import summarise
from lab.errors import EXIT_HEAL_FAILED, EXIT_HELD, EXIT_PREFLIGHT, EXIT_REFUTED, EXIT_USAGE, HealError
from lab.model.history import RunInfo
from lab.model.measures import Verdict
from lab.model.result import RunResult
from lab.trial.runner import RunConfig
from tests.unit import test_cli
from tests.unit.helpers import box, result
from tests.unit.played import PlayedEngine
from tests.unit.test_cli import Lab

lab, up = test_cli.lab, test_cli.up
HEALED = ("monkey", "5", "--repair", "heal", "--faults", "2", "--seed", "3")
TEN_MINUTES = ("monkey", "5", "--for", "10m", "--interval", "45s")


def test_a_plan_says_who_repairs_and_what_is_waited_for(lab: Lab) -> None:
    plan = json.loads(
        lab("run", "5", "cascade-primary", "--repair", "replace", "--repair-delay", "500ms", "--dry-run", "--json").out
    )
    assert plan["repair"] == {"policy": "replace", "delay_s": 0.5}
    assert plan["expected_verdict"] == "held"
    assert plan["steps"][1]["wait_for"] == "redundant"
    told = lab("run", "5", "cascade-primary", "--repair", "restart", "--dry-run").out
    assert "repair: restart after 2 s, by the lab in place of an orchestrator" in " ".join(told.split())


def test_a_repair_policy_beside_an_operator_is_refused(lab: Lab) -> None:
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
        ("monkey", "5", "--interval", "5s"),
        ("monkey", "5", "--repair", "none"),
        ("monkey", "5", "--schedule", "nowhere.json"),
        ("monkey", "5", "--for", "10m", "--faults", "5"),
        ("monkey", "5", "--duration", "5s"),
        ("monkey", "5", "--repair", "heal", "--repair-delay", "5s"),
        ("monkey", "5", "--faults", "0"),
    ],
)
def test_what_no_monkey_can_do_is_refused(lab: Lab, arguments: tuple[str, ...]) -> None:
    assert lab(*arguments, "--print-schedule").code == EXIT_USAGE


@pytest.mark.parametrize(
    ("arguments", "rounds", "interval_s"),
    [
        (("--repair", "heal"), 60, 0.0),
        (("--repair", "heal", "--faults", "5"), 5, 0.0),
        (("--repair", "heal", "--faults", "5", "--interval", "20s"), 5, 20.0),
        (("--repair", "heal", "--for", "10m"), 13, 45.0),
        (("--faults", "7"), 7, 45.0),
        ((), 40, 45.0),
    ],
)
def test_a_number_of_faults_or_a_time_says_when_to_stop(
    lab: Lab, arguments: tuple[str, ...], rounds: int, interval_s: float
) -> None:
    plan = json.loads(lab("monkey", "5", *arguments, "--seed", "1", "--print-schedule", "--json").out)
    assert (len(plan["rounds"]), plan["interval_s"]) == (rounds, interval_s)


@pytest.mark.parametrize("arguments", [("--for", "10m", "--interval", "1s"), ("--for", "30m", "--duration", "60s")])
def test_rounds_that_would_last_longer_than_their_interval_are_refused(lab: Lab, arguments: tuple[str, ...]) -> None:
    done = lab("monkey", "5", "--repair", "heal", *arguments, "--print-schedule")
    assert done.code == EXIT_USAGE
    assert "leaves no time to see what a fault does" in done.err


def test_a_schedule_that_the_lab_heals_says_so(lab: Lab) -> None:
    lines = lab("monkey", "5", "--repair", "heal", "--faults", "2", "--seed", "3", "--print-schedule").out.splitlines()
    assert lines[0] == "stage 5-redundant-load-balancers, seed 3, repair heal, one fault after another"
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]


def test_what_could_not_be_healed_keeps_the_logs(
    lab: Lab, up: Callable[..., PlayedEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    up(box("web1", stage=5, project="redundancy-lab-5"))

    def fails(*_: object) -> None:
        raise HealError("db2 is exited after 60 s")

    monkeypatch.setattr("lab.cluster.lifecycle.ensure_up", lambda *_: None)
    monkeypatch.setattr("lab.campaign.monkey.play", fails)
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path / "results")
    done = lab(*HEALED)
    assert done.code == EXIT_HEAL_FAILED
    [evidence] = (tmp_path / "results" / "5-redundant-load-balancers" / "monkey").glob("*/evidence")
    assert f"the logs of all boxes are in {evidence}" in done.err.replace("\n", "")
    assert [file.name for file in evidence.iterdir()] == ["web1.log"]


@pytest.fixture
def heals(up: Callable[..., PlayedEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """Stage 5 is up, and every fault of it is survived; but `lost` writes are lost in each."""
    up(box("web1", stage=5, project="redundancy-lab-5"))
    writes = {"lost": 0}

    def run(_system: object, config: RunConfig, info: RunInfo, _progress: object) -> RunResult:
        trial = result(seed=config.seed, writable={"no_writer_s": 0.0, "multiple_writers_s": 0.0})
        trial = replace(trial, audit=replace(trial.audit, lost=writes["lost"]))
        return RunResult(info, Verdict.HELD, (trial,), summarise([trial]))

    monkeypatch.setattr("lab.cluster.lifecycle.ensure_up", lambda *_: None)
    monkeypatch.setattr("lab.cli.monkey.run_experiment", run)
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path / "results")
    return writes


def test_it_continues_only_what_is_measured_alike(lab: Lab, heals: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab(*HEALED).code == EXIT_HELD
    again = lab(*HEALED)
    assert "2 rounds, 2 are through already" in again.err.replace("\n", " ")
    assert "nothing was left to do" in again.err.replace("\n", " ")
    assert "acknowledged writes lost: 0 in 2 rounds" in again.out.replace("\n", " ")
    monkeypatch.setattr("lab.campaign.resume.code_version", lambda: "another")
    other = lab(*HEALED).err.replace("\n", " ")
    assert "a new one is begun: " in other
    assert "was measured with something else: the lab's code" in other
    assert "2 rounds, 0 are through already" in other


def test_it_stops_at_a_loss_and_keeps_the_logs_of_that_day(lab: Lab, heals: dict[str, int], tmp_path: Path) -> None:
    heals["lost"] = 3
    done = lab(*HEALED, "--json")
    document = json.loads(done.out)
    assert (done.code, document["verdict"], len(document["rounds"])) == (EXIT_REFUTED, "refuted", 1)
    assert document["report"][0] == "stopped after round 1: 3 acknowledged writes lost"
    log = Path(document["folder"]) / "evidence" / "web1.log"
    log.write_text("of that day")
    assert lab(*HEALED).code == EXIT_REFUTED
    assert log.read_text() == "of that day"


@pytest.mark.parametrize("arguments", [("monkey", "5", "--for", "1m"), ("repair", "5")])
def test_without_an_engine_nothing_is_begun(
    lab: Lab, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path)
    assert lab(*arguments).code == EXIT_PREFLIGHT
