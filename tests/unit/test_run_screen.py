"""What `lab run` prints in the end: one screen for one trial, all of it for who asks."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lab.analysis.run_document import rebuild
from lab.model.result import FaultImpact
from lab.report import next_steps, redundancy_table
from lab.report.terminal import show_run
from lab.spec import experiments, stages
from tests.unit.helpers import record, run_info
from tests.unit.reports import a_run

JOURNALS = Path(__file__).parents[1] / "journals"
ONE_TRIAL = (
    "3-load-balancer/kill-web/20261130T092246Z",
    "5-redundant-load-balancers/kill-primary/20261130T092331Z",
    "6-multi-az/disconnect-zone-a/20261130T092503Z",
    "7-multi-region/kill-region-eu/20261130T092611Z",
)
LINES_MAX, WIDTH = 20, 100


def screen(run: str, verbose: bool = False, model: bool = False) -> list[str]:
    result, records = rebuild(JOURNALS / run)
    console = Console(file=StringIO(), width=WIDTH)
    show_run(console, result, records, verbose, model)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("run", ONE_TRIAL)
def test_one_trial_is_a_strip_a_table_a_verdict_and_what_to_try_next(run: str) -> None:
    lines = screen(run)
    assert len(lines) <= LINES_MAX, "\n".join(lines)
    assert max(len(line) for line in lines if not line.startswith("kept in ")) <= WIDTH
    assert [line.split()[0] for line in lines if line.startswith(("service  ", "reads  ", "writes  "))] == [
        "service",
        "reads",
        "writes",
    ]
    text = "\n".join(lines)
    assert all(word in text for word in ("fault target: ", "\u25bc", "longest outage", "expected: ", "next: lab ", "kept in "))


@pytest.mark.parametrize("run", ONE_TRIAL)
def test_more_is_shown_to_who_asks_and_the_model_is_marked_as_one(run: str) -> None:
    short, verbose, model = screen(run), screen(run, verbose=True), screen(run, model=True)
    for title in ("failures", "alerts: ", "served by"):
        assert any(title in line for line in verbose)
        assert not any(title in line for line in short if "failures tolerated" not in line)
    assert redundancy_table.MODEL_HEADING not in [*short, *verbose]
    assert "not measured" in redundancy_table.MODEL_HEADING
    assert redundancy_table.MODEL_HEADING in model
    assert [line for line in short if line not in model] == []


def test_a_missed_expectation_is_on_the_short_screen() -> None:
    lines = screen("6-multi-az/disconnect-zone-a/20261130T092503Z")
    assert "longest outage of writes at most 3.5 s: was 3.76 s" in lines
    assert any(line.startswith("REFUTED") for line in lines)


@pytest.mark.parametrize("run", ONE_TRIAL)
def test_what_to_try_next_exists_and_fits_its_stage(run: str) -> None:
    result, _ = rebuild(JOURNALS / run)
    steps = next_steps.next_steps(result)
    assert len(steps) == 2
    for step in steps:
        _, command, stage, *rest = step.partition(" (")[0].split()
        assert command in ("run", "spof")
        if command == "run":
            experiments.check_targets(experiments.find(rest[0]), stages.find(stage))


def test_nothing_is_suggested_for_a_stack_that_is_not_the_labs() -> None:
    run, _ = a_run(record(), info=run_info(stage=0, stage_folder="own-shop"))
    assert next_steps.next_steps(run) == []


def test_what_must_never_be_and_what_was_missed_come_before_all_else_on_the_short_screen() -> None:
    journal = "6-multi-az/disconnect-zone-a/20261130T092503Z"
    result, records = rebuild(JOURNALS / journal)
    [trial] = result.trials
    impacts = tuple(FaultImpact(2.0 * each, "kill web1", None, 0.0, False) for each in range(5))
    quiet = replace(trial, checks=(), fault_impacts=impacts, notes=("n",))
    worst = replace(trial, number=2, fault_impacts=impacts, writable={"multiple_writers_s": 1.7})
    many = replace(result, trials=(quiet, worst))
    console = Console(file=StringIO(), width=WIDTH)
    show_run(console, many, [records[0], records[0]], False, False)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "split brain: two databases accepted writes for 1.7 s" in text
    assert "trial 2: longest outage of writes at most 3.5 s: was 3.76 s" in text


def test_a_repair_that_failed_and_writes_executed_twice_are_on_the_short_screen() -> None:
    result, records = rebuild(JOURNALS / "3-load-balancer/kill-web/20261130T092246Z")
    [trial] = result.trials
    note = "the repair of web1 failed: no such image"
    bad = replace(result, trials=(replace(trial, notes=(note,), audit=replace(trial.audit, duplicate=3)),))
    console = Console(file=StringIO(), width=WIDTH)
    show_run(console, bad, records, False, False)
    assert isinstance(console.file, StringIO)
    assert note in console.file.getvalue()
    assert "3 writes executed twice" in console.file.getvalue()
