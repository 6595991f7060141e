"""What `lab run` prints in the end: one screen for one trial, all of it for who asks."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.analysis.run_document import rebuild
from lab.model.experiment import LoadPlan
from lab.model.history import TrialRecord
from lab.model.measures import Expectation
from lab.model.result import FaultImpact
from lab.report import next_steps, redundancy_table
from lab.report.terminal import show_run
from lab.spec import experiments, stages
from tests.unit.helpers import EVENTS, record, run_info
from tests.unit.reports import a_run, invalid
from tests.unit.test_cli import Lab, lab  # noqa: F401

JOURNALS = Path(__file__).parents[1] / "journals"
ONE_TRIAL = (
    "3-load-balancer/kill-web/20261130T092246Z",
    "5-redundant-load-balancers/kill-primary/20261130T092331Z",
    "6-multi-az/disconnect-zone-a/20261130T092503Z",
    "7-multi-region/kill-region-eu/20261130T092611Z",
)
LINES_MAX, WIDTH = 20, 100
UNVERIFIED = record(events=tuple(event for event in EVENTS if event.name != "fault-verified"))


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


def steps_after(*records: TrialRecord, **of_run: Any) -> list[str]:
    """What is suggested after a run of these trials."""
    return next_steps.next_steps(a_run(*records, info=run_info(**of_run))[0])


def test_nothing_is_suggested_for_a_stack_that_is_not_the_labs_or_a_stage_that_is_not_here() -> None:
    assert steps_after(record(), stage=0, stage_folder="own-shop") == []
    assert steps_after(record(), stage=88, stage_folder="88-many-planets") == []


def test_a_run_as_its_experiment_says_needs_no_options() -> None:
    assert steps_after(record(), fault_duration_s=experiments.find("kill-web").fault_duration_s) == [
        "lab run 4 kill-web (the same fault)",
        "lab run 3 kill-web --trials 10 (how it varies)",
    ]


@pytest.mark.parametrize("records", [(record(),), (UNVERIFIED,)])
def test_what_to_try_next_keeps_the_options_of_the_run(lab: Lab, records: tuple[TrialRecord, ...]) -> None:  # noqa: F811
    run: dict[str, Any] = {"repair": "restart", "repair_delay_s": 5.0, "fault_duration_s": 9.5, "plan": LoadPlan(rate_per_s=50.0)}
    steps = steps_after(*records, **run)
    assert steps
    for step in steps:
        plan = json.loads(lab(*step.partition(" (")[0].split()[1:], "--dry-run", "--json").out)
        assert plan["repair"] == {"policy": "restart", "delay_s": 5.0}
        assert (plan["fault_duration_s"], plan["rate_per_s"]) == (9.5, 50.0)


def test_what_to_try_next_keeps_the_file_of_the_stage() -> None:
    automatic: dict[str, Any] = {"failover": "automatic", "experiment": "kill-primary"}
    assert steps_after(record(), record(number=2), stage=4, **automatic) == ["lab run 5 kill-primary (the same fault)"]
    assert steps_after(UNVERIFIED, stage=4, **automatic) == [
        "lab run 4 kill-primary --failover automatic --trials 10 (enough valid trials)"
    ]


def test_a_search_for_single_points_of_failure_keeps_the_rate_that_it_can_have() -> None:
    last = stages.all_stages()[-1]
    for rate_per_s, said in ((100.0, ""), (50.0, " --rate 50"), (10.0, "")):
        of_run: dict[str, Any] = {"stage": last.number, "failover": last.failover, "plan": LoadPlan(rate_per_s=rate_per_s)}
        assert steps_after(record(), **of_run)[0] == f"lab spof {last.number}{said} (every box in turn)"


def test_a_load_that_was_not_made_in_time_is_tried_slower() -> None:
    assert steps_after(invalid()) == ["lab run 3 kill-web --rate 50 (a load that this machine can make in time)"]
    assert steps_after(invalid(1), invalid(2), record(number=3))[0].startswith("lab run 3 kill-web --rate 50 --trials 3 (")
    assert steps_after(invalid(), plan=LoadPlan(rate_per_s=1.0)) == []


@pytest.mark.parametrize(("at_most", "lasted_s", "said"), [(10.0, 3.0, "11s"), (4.0, 3.5, "7s"), (4.0, None, "12s")])
def test_a_fault_that_was_healed_too_soon_to_say_is_tried_longer(at_most: float, lasted_s: float | None, said: str) -> None:
    bound = Expectation("downtime_longest_s", at_most=at_most, at_least=None)
    assert steps_after(record((2.0, 6.0)), expectations=(bound,), fault_duration_s=lasted_s) == [
        f"lab run 3 kill-web --duration {said} (the fault was healed too soon to say)"
    ]
    hour = experiments.DURATION_MAX_S
    assert steps_after(record((2.0, 6.0)), expectations=(bound,), fault_duration_s=hour) == []


def test_a_longer_fault_is_not_suggested_for_what_it_says_nothing_of() -> None:
    """No observer counted the owners of a VIP, and the stage has none."""
    bound = Expectation("multiple_vip_owners_s", at_most=0.0, at_least=None)
    assert steps_after(record((2.0, 6.0)), expectations=(bound,)) == ["lab run 3 kill-web --trials 10 (enough decided trials)"]


def test_more_trials_are_suggested_where_some_may_say_more_and_not_where_none_of_many_did() -> None:
    few = tuple(replace(UNVERIFIED, number=number) for number in (1, 2))
    assert steps_after(*few) == ["lab run 3 kill-web --trials 10 (enough valid trials)"]
    assert steps_after(*few, replace(UNVERIFIED, number=3)) == []
    many = [replace(UNVERIFIED if number % 3 else record(), number=number) for number in range(1, 13)]
    assert steps_after(*many) == ["lab run 3 kill-web --trials 24 (enough valid trials)"]


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
