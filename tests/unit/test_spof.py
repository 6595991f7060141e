from __future__ import annotations

import pytest

from lab.analysis import design, spof
from lab.analysis.design import CellPlan, CellTerms
from lab.analysis.matrix import Cell
from lab.analysis.spof import Fate
from lab.model.fault import FaultKind
from lab.model.measures import Verdict
from lab.model.topology import Stage
from lab.report.gate_words import fate_counts, spof_why
from lab.spec import stages
from tests.unit.matrices import cell, row

TERMS = CellTerms(fault_duration_s=5.0, tolerance_s=2.0)


def jobs_of(stage: Stage, faults: tuple[FaultKind, ...] = (FaultKind.KILL,), pairs: bool = False) -> tuple[CellPlan, ...]:
    return design.sweep(stage, faults, TERMS, 1, pairs, None)


def judge(stage: Stage, gone: set[str], cell_plans: tuple[CellPlan, ...] = (), unknown: str = "") -> spof.Sweep:
    """What is said where the service is gone as soon as one of `gone` fails ("a+b": only both together)."""

    def takes_down(cell_plan: CellPlan) -> bool:
        return any(set(each.split("+")) <= set(cell_plan.members) for each in gone)

    def measured(cell_plan: CellPlan) -> Cell:
        if unknown in cell_plan.members:
            return cell(cell_plan.column, why=("the fault was not verified",))
        return cell(cell_plan.column, 4.9, censored=True) if takes_down(cell_plan) else cell(cell_plan.column, 0.8)

    cell_plans = cell_plans or jobs_of(stage)
    return spof.judge(stage, cell_plans, row(stage.name, *map(measured, cell_plans)), TERMS.tolerance_s)


@pytest.mark.parametrize("stage", stages.all_stages(), ids=lambda stage: stage.name)
def test_what_each_stage_declares_holds_where_exactly_that_is_found(stage: Stage) -> None:
    found = judge(stage, set(stage.spof))
    assert (found.verdict, set(found.found), spof_why(found)) == (Verdict.HELD, set(stage.spof), [])


def test_what_is_found_and_not_declared_refutes() -> None:
    found = judge(stages.find("5"), {"monitor"})
    assert (found.verdict, found.found) == (Verdict.REFUTED, ("monitor",))
    assert spof_why(found) == ["monitor is a single point of failure, and not declared"]


def test_what_is_declared_and_not_found_refutes() -> None:
    found = judge(stages.find("3"), {"lb"})
    assert spof_why(found) == ["db is declared, and was survived"]
    assert found.verdict is Verdict.REFUTED


def test_a_zone_can_be_one() -> None:
    assert judge(stages.find("6"), {"zone:a"}).found == ("zone:a",)


def test_a_line_between_two_places_can_be_one() -> None:
    stage = stages.find("6")
    cell_plans = jobs_of(stage, (FaultKind.KILL, FaultKind.PARTITION))
    found = judge(stage, {"zone:a+zone:b"}, cell_plans)
    assert (found.found, found.verdict) == (("zone:a and zone:b",), Verdict.REFUTED)


def test_the_network_that_a_box_lost_is_named() -> None:
    cell_plans = jobs_of(stages.find("3"), (FaultKind.ISOLATE,))
    assert [each.fault for each in judge(stages.find("3"), set(), cell_plans).results][:3] == [
        "isolate",
        "isolate edge",
        "isolate app",
    ]


def test_what_a_gentler_fault_does_not_show_is_not_missed() -> None:
    stage = stages.find("3")
    assert judge(stage, set(), jobs_of(stage, (FaultKind.CRASH,))).verdict is Verdict.HELD
    assert judge(stage, {"web1"}, jobs_of(stage, (FaultKind.CRASH,))).verdict is Verdict.REFUTED


@pytest.mark.parametrize("missing", ["web1", "db"])
def test_what_could_not_be_measured_leaves_it_open(missing: str) -> None:
    found = judge(stages.find("3"), {"lb", "db"}, unknown=missing)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert spof_why(found) == [f"kill {missing}: the fault was not verified"]
    assert {each.members: each.fate for each in found.results}[missing,] is Fate.UNKNOWN


def test_one_that_was_not_tried_leaves_it_open() -> None:
    stage = stages.find("5")
    cell_plans = jobs_of(stage)
    found = spof.judge(stage, cell_plans, row(stage.name, *(cell(cell_plan.column, 0.0) for cell_plan in cell_plans[:-1])), 2.0)
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("seconds", "fate"), [(0.0, Fate.SURVIVED), (2.0, Fate.SURVIVED), (2.01, Fate.FAILED)])
def test_gone_is_longer_than_tolerated(seconds: float, fate: Fate) -> None:
    assert spof.fate(cell("kill-web1", seconds), 2.0) is fate


@pytest.mark.parametrize(
    ("seconds", "bounds", "fate"),
    [
        ((1.0,), (True,), Fate.UNKNOWN),
        ((2.5,), (True,), Fate.FAILED),
        ((1.0, 1.0, 4.9), (False, False, True), Fate.UNKNOWN),
        ((1.0, 1.0, 4.9), (False, False, False), Fate.UNKNOWN),
        ((1.0, 1.5, 2.0), (False, False, False), Fate.SURVIVED),
        ((1.0, 3.0, 0.5), (False, False, True), Fate.UNKNOWN),
        ((1.0, 1.5, 0.5), (False, False, True), Fate.UNKNOWN),
        ((3.0, 4.9, 4.9), (False, True, True), Fate.FAILED),
    ],
)
def test_survived_is_said_of_every_trial_and_down_of_the_median(
    seconds: tuple[float, ...], bounds: tuple[bool, ...], fate: Fate
) -> None:
    assert spof.fate(cell("kill-web1", *seconds, downtimes_censored=bounds), 2.0) is fate


@pytest.mark.parametrize(
    ("seconds", "bounds", "said"),
    [
        ((1.0, 1.0, 4.9), (False, False, False), "2 survived, 1 failed"),
        ((1.0, 3.0, 0.5), (False, False, True), "1 survived, 1 failed, 1 undecided: healed too soon"),
        ((), (), ""),
    ],
)
def test_trials_are_counted_where_nothing_is_known_of_all(
    seconds: tuple[float, ...], bounds: tuple[bool, ...], said: str
) -> None:
    stage = stages.find("5")
    cell_plans = jobs_of(stage)
    cells = [
        cell(each.column, *seconds, downtimes_censored=bounds) if each.members == ("web1",) else cell(each.column, 0.0)
        for each in cell_plans
    ]
    found = spof.judge(stage, cell_plans, row(stage.name, *cells), 2.0)
    (unknown,) = found.unknown
    assert fate_counts(unknown) == said
    assert spof_why(found) == [f"kill web1: {said or 'no valid trial'}"]


def test_a_part_that_was_healed_too_soon_leaves_it_open_and_says_so() -> None:
    stage = stages.find("5")
    cell_plans = jobs_of(stage)
    cells = [cell(cell_plan.column, 1.0, censored=cell_plan.members == ("web1",)) for cell_plan in cell_plans]
    found = spof.judge(stage, cell_plans, row(stage.name, *cells), 2.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert spof_why(found) == ["kill web1: 1 undecided: healed too soon"]


def test_pairs_show_common_work_and_hidden_dependencies() -> None:
    stage = stages.find("5")
    found = judge(stage, {"web1+web2", "db1+monitor"}, jobs_of(stage, pairs=True))
    assert (found.verdict, found.found) == (Verdict.HELD, ())
    down = {each.members: each.hidden for each in found.results if each.fate is Fate.FAILED}
    # Two that do the same work may be expected; a database and who watches it may not.
    assert down == {("web1", "web2"): False, ("db1", "monitor"): True}


def test_a_pair_with_a_single_point_of_failure_hides_nothing() -> None:
    stage = stages.find("3")
    found = judge(stage, {"lb", "db"}, jobs_of(stage, pairs=True))
    assert found.verdict is Verdict.HELD
    assert not any(each.hidden for each in found.results)
    assert sum(each.fate is Fate.FAILED for each in found.results if len(each.members) == 2) == 5
