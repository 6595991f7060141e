"""What the tests with a killed lab do, and what they hold a healed stage against: whole, and able to see a difference."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.cli.main import cli
from lab.errors import PreflightError
from lab.faults import FAULTS
from lab.model.fault import OF_A_DISK, FaultKind
from lab.spec import experiments, parameters, stages
from tests.integration import condition, ways
from tests.integration.test_sigkill_each_fault import WITHIN_S, Killed, within_s
from tests.integration.ways import WAYS, Way

STAGE = stages.with_clocks(replace(stages.find("3"), own_disks=True), True)
each_way = pytest.mark.parametrize("way", WAYS, ids=str)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_fault_that_the_lab_knows_has_a_way_and_what_can_flap_flaps_too(fault: FaultKind) -> None:
    found = [ways.flaps(way) for way in ways.of(fault)]
    assert False in found
    assert (True in found) is (fault in parameters.FLAPPING)


@each_way
def test_a_way_is_the_same_in_an_experiment_and_as_a_command(tmp_path: Path, way: Way) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(way.experiment, encoding="utf-8")
    experiment = experiments.read(file)
    [step] = experiment.faults
    assert (step.fault, step.target, step.how) == (way.fault, way.target, parameters.read(way.fault, way.given))
    experiments.check_targets(experiment, STAGE)
    arguments = ["chaos", *way.arguments, "--for", f"{ways.LASTS_S}s"]
    done = CliRunner().invoke(cli, arguments, env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    # Past all checks: it fails where there is no engine.
    assert isinstance(done.exception, PreflightError), done.output


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_each_way_is_done_by_each_command_and_killed_early_and_late(fault: FaultKind) -> None:
    found, most = ways.of(fault), 6 * len(ways.of(fault))
    turns = [(way, command, within_s(number)) for number, (way, command) in enumerate(islice(ways.in_turn(fault), most))]
    assert {(str(way), command) for way, command, _ in turns} == {(str(way), each) for way in found for each in ("chaos", "run")}
    assert {(str(way), until_s) for way, _, until_s in turns} == {(str(way), until_s) for way in found for until_s in WITHIN_S}


@pytest.mark.parametrize("fault", [FaultKind.CLOCK, *OF_A_DISK], ids=str)
def test_what_this_machine_was_not_asked_for_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, fault: FaultKind
) -> None:
    variable, value = ("LAB_CLOCK", "yes") if fault is FaultKind.CLOCK else ("LAB_DISKS", "own")
    monkeypatch.delenv(variable, raising=False)
    assert ways.not_possible(fault).endswith(f"{variable}={value}")
    monkeypatch.setenv(variable, value)
    assert ways.not_possible(fault) == ""
    assert ways.not_possible(FaultKind.KILL) == ""


# What they are held against

BEFORE = {"web1": {"status": "running", "settings": {"Memory": 128, "MemorySwap": 256}, "processes": {"gunicorn": 2}}}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"status": "exited"}, "web1 status: 'running', then 'exited'"),
        ({"settings": {"Memory": 42, "MemorySwap": 256}}, "web1 settings Memory: 128, then 42"),
        ({"settings": {"Memory": 128}}, "web1 settings MemorySwap: 256, then None"),
        ({"processes": {"gunicorn": 2, "bash": 1}}, "web1 processes bash: None, then 1"),
    ],
)
def test_a_difference_is_named(now: dict[str, object], said: str) -> None:
    assert condition.differences(BEFORE, BEFORE) == []
    assert condition.differences(BEFORE, {"web1": {**BEFORE["web1"], **now}}) == [said]
    [line] = condition.differences({"web1": {**BEFORE["web1"], "packets": "table " * 50}}, {})
    assert line.startswith("web1: {'status': 'running'")
    assert line.endswith("…, then None")
    assert len(line) < 200


def test_what_a_box_does_not_say_is_not_known() -> None:
    assert condition.unknown(BEFORE) == []
    assert condition.unknown({"db": {"status": "running", "database": condition.SILENT}}) == ["db database"]


def test_processes_that_last_are_compared_without_their_numbers() -> None:
    before = {"1": "gunicorn --bind=0.0.0.0:8080", "7": "postgres: orderdesk postgres 198.18.2.34(43242) idle", "8": "curl -m 1"}
    after = {"1": "gunicorn --bind=0.0.0.0:8080", "7": "postgres: orderdesk postgres 198.18.2.34(43242) idle", "9": "curl -m 1"}
    assert condition.lasting(before, after) == {"gunicorn --bind=#.#.#.#:#": 1}
    still = {**after, "1": condition.STANDS_STILL + after["1"]}
    assert condition.lasting(before, still) == {"stands still: gunicorn --bind=#.#.#.#:#": 1}


def test_rules_by_which_docker_answers_for_names_are_not_a_faults() -> None:
    own = "table ip nat {\n\tchain DOCKER_OUTPUT {\n\t\ttcp dport 53 dnat to 127.0.0.11:40123\n\t}\n}\n"
    fault = "table netdev lab_fault_1 {\n\tchain incoming {\n\t}\n}"
    assert condition.DOCKERS_OWN.sub("", own + fault) == fault
    assert condition.DOCKERS_OWN.sub("", own) == ""


@pytest.mark.parametrize(("wrong", "end"), [([], ": as before"), (["web1 status: 'running', then 'exited'"], "then 'exited'")])
def test_a_line_says_what_came_of_a_kill(wrong: list[str], end: str) -> None:
    line = str(Killed(Way(FaultKind.CPU, "service:web1", {"cpus": 0.05}), "chaos", 0.1234, 4.25, wrong))
    assert line.startswith("sigkill cpu service:web1 cpus=0.05: lab chaos killed 0.123 s after the note, healed in 4.2 s: ")
    assert line.endswith(end)
    assert "\n" not in line
