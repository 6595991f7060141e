"""What `make test` proves on real Docker each time, what only `make test-all` does, and how trials are held against what was measured."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from lab.analysis.stats import Change
from lab.cluster import conditions
from lab.spec.stages import ROOT
from scripts import figures, measured, night
from scripts.measured import Sample
from tests.integration import likeness
from tests.integration.driver import TRIES, Repeats, until_valid
from tests.integration.likeness import (
    GATE,
    OWN,
    STALL_S,
    STALLED_REQUESTS,
    assert_like,
    assert_no_longer,
    bounds,
    bounds_now,
    change_of,
    sample,
)

FOLDER = ROOT / "tests" / "integration"
# One test at least for each thing that the lab is about. A new mechanism gets a line here.
MECHANISMS = {
    "stage 1 serves": "test_experiments::test_stage_1_dies_with_its_box",
    "stage 2 serves": "test_experiments::test_stage_2_has_nothing_beside_its_web_box",
    "stage 3 serves": "test_experiments::test_baseline_serves_everything",
    "stage 4 serves, an operator promotes": "test_stage_4::test_the_operator_ends_the_outage",
    "stage 4 with a monitor serves": "test_stage_4::test_with_a_monitor_no_operator_is_needed",
    "a web box is lost": "test_experiments::test_stage_3_does_not_care_about_a_lost_web_box",
    "restart policy": "test_experiments::test_the_policy_brings_a_crashed_database_back",
    "failover": "test_stage_5::test_another_database_takes_over",
    "fence of an old primary": "test_stage_5::test_an_old_primary_that_comes_back_gets_no_requests",
    "a primary that takes no writes": "test_write_probe::test_a_primary_that_takes_no_writes_is_replaced",
    "fence by an operator": "test_stage_4::test_the_operator_is_careful",
    "split brain is seen": "test_stage_4::test_an_old_primary_that_thaws_makes_two",
    "VIP": "test_stage_5::test_the_address_moves",
    "switchover": "test_stage_5::test_the_databases_change_over_on_request",
    "zone": "test_stage_6::test_two_zones_go_on_without_the_third",
    "partition of zones": "test_stage_6::test_of_two_balancers_that_lose_each_other_the_one_beside_the_primary_keeps_the_address",
    "region": "test_stage_7::test_one_region_goes_on_without_the_other",
    "WAN": "test_stage_7::test_a_longer_line_is_measured_and_taken_back",
    "WAN router": "test_wan::test_round_trip_takes_both_delays_also_after_a_change_and_its_undoing",
    "repair": "test_repair::test_a_lost_primary_is_repaired_without_a_hand_of_the_lab_in_the_end",
    "repair by hand": "test_repair::test_on_call_repair_restarts_what_no_policy_repaired",
    "monkey": "test_repair::test_a_monkey_goes_on_where_it_stopped_and_states_a_budget",
    "comparison and budget": "test_campaigns::test_a_budget_that_is_broken_fails",
    "single points of failure": "test_campaigns::test_a_sweep_finds_exactly_what_is_declared",
    "alert": "test_alerts::test_the_right_alerts_fire_in_time_and_are_resolved_after_the_fault",
    "alert rules": "test_alert_rules::test_rules_say_what_their_tests_say",
    "time without redundancy": "test_exposure::test_databases_have_nothing_in_reserve_from_the_kill_until_the_standby_is_back",
    "prober beside the lab, reads": "test_measuring::test_an_independent_prober_agrees_on_an_outage",
    "prober beside the lab, writes": "test_stage_5::test_an_independent_prober_agrees_on_the_outage_of_writes",
    "Ctrl-C": "test_healing::test_an_interrupt_heals_by_itself",
    "SIGKILL under a fault": "test_healing::test_after_a_killed_controller_heal_mends",
    "SIGKILL in calm phases": "test_healing::test_a_controller_that_is_killed_while_nothing_is_broken_leaves_nothing_to_mend",
    "SIGKILL under a network fault": "test_network_on_stage_3::test_a_controller_killed_under_a_network_fault_leaves_what_heal_mends",
    "partition": "test_network_faults::test_partition_cuts_two_sides_apart_and_leaves_both_their_users",
    "loss": "test_network_faults::test_as_many_packets_are_lost_as_asked_for",
    "bandwidth": "test_network_faults::test_only_so_much_gets_through",
    "another process brings a box back": "test_strangers::test_a_strangers_start_is_said_and_its_outage_is_censored",
    "full disk": "test_full_disk::test_heal_on_a_full_disk_brings_every_box_back_and_names_the_disk",
    "hang": "test_gray_faults::test_a_hanging_balancer_answers_nothing_and_its_box_runs",
    "a database that takes no writes": "test_gray_faults::test_a_database_that_takes_no_writes_answers_reads",
    "loss of power": "test_gray_faults::test_what_made_a_box_sick_is_taken_back_by_itself",
    "SIGKILL under a fault that makes a box sick": "test_gray_faults::test_heal_leaves_each_box_as_it_was_however_early_the_controller_was_killed",
    "a box short of memory": "test_memory::test_a_squeezed_box_may_use_hardly_more_than_it_does_and_gets_it_back",
    "leak": "test_memory::test_a_leak_grows_and_heal_ends_it",
    "flapping": "test_flapping::test_it_comes_and_goes_and_leaves_nothing",
    "SIGKILL under a fault that flaps": "test_flapping::test_the_undo_log_has_each_edge_and_a_killed_controller_leaves_what_heal_takes_back",
    "own stack": "test_own_stack::test_one_of_two_copies_may_fail",
    "decoy": "test_safety::test_foreign_containers_are_never_touched",
    "decoy beside an own stack": "test_own_stack::test_other_projects_and_commands_beside_it_are_left_alone",
    "one lab at a time": "test_safety::test_two_controllers_at_once",
}
PHASES = {"settle", "start", "baseline", "noted", "observe", "heal", "after", "audit"}


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"tests.integration.{name}")


def function_of(place: str) -> FunctionType:
    module, _, name = place.partition("::")
    found = getattr(module_of(module), name)
    assert isinstance(found, FunctionType)
    return found


def marks_of(function: FunctionType) -> list[pytest.Mark]:
    return list(getattr(function, "pytestmark", []))


def variants_of_the_day(function: FunctionType) -> list[list[Any]]:
    """For each parametrisation of a test the values that are tried each day; a value with the mark is left to the night."""
    found = []
    for mark in marks_of(function):
        if mark.name == "parametrize":
            found.append([value for value in mark.args[1] if not is_for_the_night(getattr(value, "marks", ()))])
    return found


def is_for_the_night(marks: Any) -> bool:
    return any(mark.name == "night" for mark in marks)


def all_on_docker() -> Iterator[tuple[str, FunctionType]]:
    for file in sorted(FOLDER.glob("test_*.py")):
        module = module_of(file.stem)
        assert "docker" in {mark.name for mark in [module.pytestmark]}, file.name
        yield from ((f"{file.stem}::{name}", each) for name, each in vars(module).items() if name.startswith("test_"))


@pytest.mark.parametrize("place", MECHANISMS.values(), ids=MECHANISMS)
def test_every_mechanism_is_proved_each_day(place: str) -> None:
    function = function_of(place)
    assert not is_for_the_night(marks_of(function))
    assert all(variants_of_the_day(function))


def test_most_tests_are_variants_and_none_is_in_no_tier() -> None:
    places = dict(all_on_docker())
    assert set(MECHANISMS.values()) <= set(places)
    of_the_day = [place for place, each in places.items() if not is_for_the_night(marks_of(each))]
    # A test whose every variant is for the night says so itself.
    assert all(all(variants_of_the_day(places[place])) for place in of_the_day)


def test_signals_come_in_every_phase() -> None:
    [interrupted] = variants_of_the_day(function_of(MECHANISMS["Ctrl-C"]))
    killed = [
        value
        for place in ("SIGKILL under a fault", "SIGKILL in calm phases")
        for value in variants_of_the_day(function_of(MECHANISMS[place]))[0]
    ]
    assert {phase for phase, _ in interrupted} == {phase for phase, _ in killed} == PHASES


# How trials are held against what was measured


@pytest.fixture(autouse=True)
def machine_of_the_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "loop_ms", lambda _loops: likeness.QUIET_LOOP_MS)


def test_every_file_of_figures_for_tests_is_one() -> None:
    assert set(measured.read_all(OWN)) & set(figures.Source.read().figures) == set()


def test_bounds_lie_around_what_was_measured_and_exclude_another_thing() -> None:
    low_s, high_s = bounds(Sample(1.0, 0.9, 1.1, 5), "outage_s")
    assert 0 < low_s < 0.9
    assert 1.1 < high_s < 4 * 0.9
    assert bounds(Sample(0.0, 0.0, 0.1, 5), "gap_s") == (0.0, 0.1 + STALL_S)
    assert bounds(Sample(9, 7, 12, 5), "failed_reads") == (3.5, 12 + STALLED_REQUESTS)


@pytest.fixture
def zone_a(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests hold trials against, whatever was measured last."""
    found = measured.Measured("6-kill-zone-a", "6-multi-az", "kill-zone-a", figures={"outage_s": Sample(1.63, 1.39, 1.80, 5)})
    monkeypatch.setattr(likeness, "kept", lambda _: found)


@pytest.mark.usefixtures("zone_a")
def test_on_a_machine_that_is_slower_now_a_trial_may_be_longer_and_no_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = bounds_now("6-kill-zone-a", "outage_s")
    monkeypatch.setattr(conditions, "loop_ms", lambda _loops: 2 * likeness.QUIET_LOOP_MS)
    assert bounds_now("6-kill-zone-a", "outage_s") == (quick[0], 2 * quick[1])
    monkeypatch.setattr(conditions, "loop_ms", lambda _loops: likeness.QUIET_LOOP_MS / 2)
    assert bounds_now("6-kill-zone-a", "outage_s") == quick


def trial(longest_s: float) -> dict[str, Any]:
    return {"outages": [{"start_s": 2.0, "end_s": 2.0 + longest_s, "censored": False}]}


@pytest.mark.usefixtures("zone_a")
@pytest.mark.parametrize("longest_s", [1.6, 2.0])
def test_a_trial_of_about_that_length_is_like_it(longest_s: float) -> None:
    assert_like(trial(longest_s), "6-kill-zone-a", "outage_s")


@pytest.mark.usefixtures("zone_a")
@pytest.mark.parametrize("longest_s", [0.0, 0.5, 6.0])
def test_a_trial_that_took_no_time_or_four_times_as_long_is_not_like_it(longest_s: float) -> None:
    with pytest.raises(AssertionError, match="outage_s is"):
        assert_like(trial(longest_s), "6-kill-zone-a", "outage_s")


@pytest.mark.usefixtures("zone_a")
def test_no_longer_is_about_one_side_only() -> None:
    assert_no_longer(trial(0.0), "6-kill-zone-a", "outage_s")
    with pytest.raises(AssertionError, match="at most"):
        assert_no_longer(trial(6.0), "6-kill-zone-a", "outage_s")


def test_what_was_not_measured_to_its_end_bounds_nothing() -> None:
    with pytest.raises(KeyError, match="no upper end"):
        sample("3/kill-lb", "outage_s")


def with_gaps(*gaps_s: float) -> dict[str, Any]:
    return {"trials": [{"valid": True, "service": {"gap": {"length_s": gap_s}}} for gap_s in gaps_s]}


def test_the_gate_knows_the_same_from_another() -> None:
    kept = json.loads(GATE.read_text(encoding="utf-8"))["5/kill-primary"]["trials"]
    assert change_of(with_gaps(*kept[:7]), "5/kill-primary") is Change.NONE
    assert change_of(with_gaps(*(gap_s + 1.0 for gap_s in kept[:7])), "5/kill-primary") is Change.LONGER
    assert change_of(with_gaps(*kept[:4]), "5/kill-primary") is Change.TOO_FEW


def run_of(*reasons: str) -> tuple[int, dict[str, Any]]:
    return 0, {"stage_folder": "3", "experiment": "kill-web", "trials": [{"valid": not reasons, "reasons": list(reasons)}]}


def test_a_run_is_repeated_until_it_is_valid_and_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = Repeats()
    monkeypatch.setattr("tests.integration.driver.REPEATS", repeats)
    runs = iter([run_of("late"), run_of()])
    assert until_valid(lambda: next(runs)) == run_of()
    assert (repeats.measured, repeats.again) == (2, ["3, kill-web: late"])
    with pytest.raises(AssertionError, match=f"not one valid measurement of {TRIES}"):
        until_valid(lambda: run_of("late"))
    assert repeats.measured == 2 + TRIES


def test_too_many_repeats_are_a_failure_and_few_are_not() -> None:
    assert not Repeats(4, ["late"] * 3).are_too_many
    assert Repeats(10, ["late"] * 4).are_too_many
    assert not Repeats(40, ["late"] * 8).are_too_many
    assert Repeats(40, ["late"] * 9).are_too_many


# The run of every test


REPORT = '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3" time="5"/></testsuites>'


def test_a_report_is_counted_and_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    found = night.Outcome.read(tmp_path / "report.xml", 5.25)
    assert (found.passed, found.failed, found.skipped) == (4, 3, 3)
    nothing = night.Outcome.read(tmp_path / "none.xml", 1.0)
    assert (nothing.passed, nothing.failed) == (0, 1)
    assert found + nothing == night.Outcome(4, 4, 3, 6.2)


def test_the_page_of_figures_says_when_every_test_ran(tmp_path: Path) -> None:
    file = tmp_path / measured.TEST_RUN
    assert figures.last_test_run(file) == ""
    content = {
        "date": "2026-01-31",
        "commit": "abc",
        "all_passed": False,
        "passed": 9,
        "failed": 1,
        "skipped": 0,
        "duration_s": 3000.0,
    }
    file.write_text(json.dumps(content))
    said = figures.last_test_run(file)
    assert "2026-01-31" in said
    assert "for 50 minutes: **not all passed**; 9 passed, 1 failed, 0 skipped" in said
    assert measured.read_all(tmp_path) == {}
