from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis.summary import summarise
from lab.campaign import monkey, soak
from lab.campaign.monkey import Kept, Round, Schedule
from lab.errors import UsageError
from lab.model.experiment import Repair, RepairPolicy
from lab.model.measures import Verdict
from lab.model.result import FaultOutcome, RoundOutcome, RunResult
from lab.model.topology import Stage
from lab.report import terminal
from lab.spec import experiments, stages
from lab.spec.targets import check, possible
from tests.unit.helpers import result, run_info

STAGE, ZONES = stages.find("5"), stages.find("6")
RESTART = Repair(RepairPolicy.RESTART)
SAME: dict[str, Any] = {"code": "1"}
WITHIN_REACH = monkey.within_reach


@cache
def _reach(folder: str, reckless: bool) -> dict[str, str]:
    return WITHIN_REACH(stages.find(folder), reckless)


def planned(of: Stage = STAGE, for_s: float = 1800.0, seed: int = 11, reckless: bool = False, every_s: float = 45.0) -> Schedule:
    return monkey.schedule(of, for_s, every_s, seed, RESTART, reckless)


def outcome(number: int = 1, good: int = 4000, **changes: Any) -> RoundOutcome:
    values: dict[str, Any] = {
        "number": number,
        "experiment": "kill-primary",
        "targets": ("db1",),
        "verdict": "held",
        "valid": True,
        "lost": 0,
        "split_brain_s": 0.0,
        "writes_downtime_s": 0.9,
        "reads_downtime_s": 0.0,
        "time_to_redundancy_s": None,
        "why": (),
        "folder": "",
        "audit_complete": True,
        "downtime_s": 0.9,
        "downtime_censored": False,
    }
    return RoundOutcome(FaultOutcome(**{**values, **changes}), 4000, good, 0.9, False)


# The schedule


@pytest.fixture(autouse=True, scope="module")
def reach_is_found_once() -> Iterator[None]:
    """Some sixty files are read for it each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monkey, "within_reach", lambda of, reckless: _reach(of.folder, reckless))
        yield


def test_half_an_hour_of_a_fault_every_45_s_is_forty_rounds() -> None:
    assert [each.number for each in planned().rounds] == list(range(1, 41))


@given(st.integers(0, 2**31 - 1), st.integers(1, 30), st.integers(1, 30), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_schedule_and_a_longer_one_begins_as_the_shorter(
    seed: int, few: int, more: int, reckless: bool
) -> None:
    short, long = (
        planned(for_s=45.0 * few, seed=seed, reckless=reckless),
        planned(for_s=45.0 * (few + more), seed=seed, reckless=reckless),
    )
    assert long.rounds[:few] == short.rounds
    assert planned(for_s=45.0 * few, seed=seed, reckless=reckless) == short


def test_another_rate_is_another_schedule() -> None:
    slow, fast = (monkey.schedule(STAGE, 1800.0, 45.0, 11, RESTART, rate_per_s=rate) for rate in (50.0, 100.0))
    assert slow.rounds == fast.rounds
    assert slow.digest != fast.digest


def test_another_seed_gives_another_schedule() -> None:
    assert planned(seed=1).rounds != planned(seed=2).rounds


def test_one_tier_is_hit_at_a_time() -> None:
    for of in (STAGE, ZONES):
        for each in planned(of).rounds:
            assert len(each.experiments) == 1
            assert len(monkey.experiment_of(each, planned(of)).faults) == 1


def test_a_reckless_one_hits_two_tiers_one_shortly_after_the_other() -> None:
    everything = planned(ZONES, reckless=True)
    for each in everything.rounds:
        first, second = each.experiments
        assert monkey.tier(first) != monkey.tier(second)
        assert 0 <= each.gap_s <= monkey.GAP_MAX_S
        steps = monkey.experiment_of(each, everything).faults
        assert [step.delay_s for step in steps] == [0.0, each.gap_s]
        for step in steps:
            check(step.target, possible(ZONES), 6, step.how.source)


def test_nobody_acts_but_the_policy() -> None:
    assert "switchover" in soak.eligible(STAGE)
    assert "switchover" not in monkey.within_reach(STAGE, reckless=False)
    experiment = monkey.experiment_of(planned().rounds[0], planned())
    assert experiment.repair == RESTART
    assert experiment.operator is None


def test_a_round_is_as_long_as_faults_are_apart() -> None:
    experiment = monkey.experiment_of(planned().rounds[0], planned())
    assert experiment.baseline_s + experiment.fault_duration_s + experiment.cooldown_s + monkey.OVERHEAD_S == pytest.approx(45.0)


@pytest.mark.parametrize(("for_s", "every_s", "said"), [(1800, 5, "leaves no time"), (30, 45, "hold 0 rounds")])
def test_what_cannot_be_scheduled_is_refused(for_s: float, every_s: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(for_s=for_s, every_s=every_s)


def test_a_stage_without_partners_has_nothing_for_a_monkey() -> None:
    with pytest.raises(UsageError, match="stage 1"):
        planned(stages.find("1"))


@given(st.integers(0, 2**31 - 1), st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_printed_schedule_is_replayed_as_it_was(tmp_path_factory: pytest.TempPathFactory, seed: int, reckless: bool) -> None:
    file = tmp_path_factory.mktemp("schedule") / "schedule.json"
    before = planned(seed=seed, reckless=reckless)
    file.write_text(json.dumps(before.to_document()), encoding="utf-8")
    assert monkey.read_schedule(file, STAGE) == before
    assert monkey.read_schedule(file, STAGE).digest == before.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "another version"),
        ({"rate_per_s": 0}, "rate is out of bounds"),
        ({"rounds": []}, "not numbered from 1"),
        ({"every_s": 1}, "out of bounds"),
        ({"repair": {"policy": "pray", "delay_s": 2}}, "is no schedule"),
        ({"stage": "6-multi-az"}, "is a schedule for 6-multi-az"),
        ({"rounds": [{"number": 1, "experiments": ["kill-box"], "gap_s": 0, "seed": 1}]}, "out of a monkey's reach"),
        ({"rounds": [{"number": 1, "experiments": [], "gap_s": 0, "seed": 1}]}, "one or two experiments"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({**planned().to_document(), **changes}), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        monkey.read_schedule(file, STAGE)


# Going on, and stopping


def run_of(each: Round, **changes: Any) -> RunResult:
    trial = result(**changes)
    return RunResult(run_info(experiment=each.experiments[0]), Verdict.HELD, (trial,), summarise([trial]))


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    plan = planned(for_s=180.0)
    kept, ran = Kept(STAGE, plan, SAME, tmp_path), list[int]()

    def run(each: Round) -> RunResult:
        ran.append(each.number)
        if ran == [1, 2, 3]:
            raise KeyboardInterrupt
        return run_of(each)

    with pytest.raises(KeyboardInterrupt):
        monkey.play(plan, kept, 0.5, run, lambda _: None)
    outcomes = monkey.play(plan, Kept(STAGE, plan, SAME, tmp_path), 0.5, run, lambda _: None)
    assert ran == [1, 2, 3, 3, 4]
    assert [each.fault.number for each in outcomes] == [1, 2, 3, 4]
    assert kept.outcomes() == outcomes
    assert json.loads((kept.folder / "schedule.json").read_text()) == json.loads(json.dumps(plan.to_document()))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (outcome(lost=2), "2 acknowledged writes were lost"),
        (outcome(lost=1, valid=False), "1 acknowledged writes were lost"),
        (outcome(split_brain_s=0.4), "split brain"),
        (
            outcome(good=3000),
            "availability is 75.0000%, and could only come to 94.2857% with the 3 rounds that are left, below the floor of 95.0000%",
        ),
    ],
)
def test_it_stops_at_what_must_not_be_and_stays_stopped(tmp_path: Path, bad: RoundOutcome, said: str) -> None:
    plan = planned(for_s=180.0)
    kept = Kept(STAGE, plan, SAME, tmp_path)
    kept.append(bad)

    def run(each: Round) -> RunResult:
        raise AssertionError(f"round {each.number} after the end")

    outcomes = monkey.play(plan, kept, 0.95, run, lambda _: None)
    assert said in monkey.stop_reason(outcomes, 0.95, plan)
    assert monkey.verdict(outcomes, 0.95, plan) is Verdict.REFUTED


def test_a_round_that_was_not_measured_well_says_nothing_of_availability() -> None:
    doubtful = outcome(good=0, valid=False)
    assert monkey.stop_reason([doubtful], 0.95, planned()) == ""
    assert monkey.verdict([doubtful], 0.95, planned()) is Verdict.INCONCLUSIVE
    assert monkey.error_budget([doubtful, outcome()]).availability_ratio == 1.0


def test_one_bad_round_among_many_that_were_not_measured_well_refutes_nothing() -> None:
    outcomes = [outcome(1, good=0), *(outcome(number, valid=False) for number in range(2, 5))]
    assert monkey.verdict(outcomes, 0.95, planned(for_s=180.0)) is Verdict.INCONCLUSIVE


def test_nothing_is_held_where_a_loss_would_not_have_shown() -> None:
    blind = [outcome(number, audit_complete=number == 1) for number in range(1, 5)]
    assert monkey.verdict(blind, 0.95, planned(for_s=180.0)) is Verdict.INCONCLUSIVE
    assert monkey.verdict(blind[:2], 0.95, planned(for_s=90.0)) is Verdict.HELD


def played(rounds: Sequence[RoundOutcome], floor: float, plan: Schedule, root: Path) -> list[RoundOutcome]:
    """What is through of these rounds when it ends."""
    ahead, kept = iter(rounds), Kept(STAGE, plan, SAME, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monkey, "outcome_of", lambda _each, run, _is_replicated: run)
        return monkey.play(plan, kept, floor, lambda _: cast(RunResult, next(ahead)), lambda _: None)


def test_a_lost_region_counts_the_same_in_the_first_round_and_in_the_last(tmp_path: Path) -> None:
    """4 s of 36 s are 89 % of one round and 99.7 % of forty."""
    plan, region = planned(), outcome(1, good=3556)
    for place in (0, 20, 39):
        rounds = [outcome(number) for number in range(1, 41)]
        rounds[place] = region
        outcomes = played(rounds, 0.95, plan, tmp_path / str(place))
        assert len(outcomes) == 40
        assert monkey.verdict(outcomes, 0.95, plan) is Verdict.HELD


ROUNDS = st.lists(st.tuples(st.integers(0, 4000), st.booleans()), min_size=1, max_size=8)


@given(ROUNDS, st.floats(0, 1), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_rounds_decides_nothing(
    tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[int, bool]], floor: float, random: Random
) -> None:
    plan = replace(planned(), rounds=planned().rounds[: len(seen)])
    rounds = [outcome(number, good, valid=valid) for number, (good, valid) in enumerate(seen, 1)]
    shuffled = random.sample(rounds, len(rounds))
    found = [played(each, floor, plan, tmp_path_factory.mktemp("order")) for each in (rounds, shuffled)]
    # Whoever is stopped before the end could not have held: so no order holds what another one does not.
    held = {monkey.verdict(each, floor, plan) is Verdict.HELD for each in found}
    assert len(held) == 1
    if all(valid for _, valid in seen):
        assert len({monkey.verdict(each, floor, plan) for each in found}) == 1


@given(ROUNDS, st.integers(0, 5), st.floats(0, 1))
def test_it_stops_only_where_perfect_rounds_would_not_help(seen: list[tuple[int, bool]], left: int, floor: float) -> None:
    plan = replace(planned(), rounds=planned().rounds[: len(seen) + left])
    outcomes = [outcome(number, good, valid=valid) for number, (good, valid) in enumerate(seen, 1)]
    perfect = [outcome(len(seen) + number) for number in range(1, left + 1)]
    if monkey.stop_reason(outcomes, floor, plan):
        assert monkey.error_budget([*outcomes, *perfect]).availability_ratio < floor
    if not left:
        assert bool(monkey.stop_reason(outcomes, floor, plan)) == (monkey.error_budget(outcomes).availability_ratio < floor)


def test_other_conditions_are_another_series(tmp_path: Path) -> None:
    plan = planned(for_s=180.0)
    kept = Kept(STAGE, plan, {**SAME, "stage": "1"}, tmp_path)
    kept.append(outcome())
    other = Kept(STAGE, plan, {**SAME, "stage": "2"}, tmp_path)
    assert other.outcomes() == []
    assert other.why_new == f"{kept.folder} was measured with something else: the files that the stage is made from"
    assert Kept(STAGE, plan, {**SAME, "stage": "1"}, tmp_path).outcomes() == [outcome()]


def test_what_a_schedule_is_measured_with_names_each_of_its_experiments() -> None:
    found = monkey.conditions(STAGE, planned(for_s=180.0))
    assert set(found) == {"load", "code", "stage", "experiments"}
    assert set(found["experiments"]) == {each.experiments[0] for each in planned(for_s=180.0).rounds}
    assert found["load"]["rate_per_s"] == 100.0


# The budget


def test_a_budget_is_said_in_faults_a_month() -> None:
    # 36 of 4000 at 100 a second: 0.36 s of the traffic; 259.2 s a month are 720 of them.
    lines = monkey.report_lines([outcome(good=3964), outcome(2, good=3964)], 100.0)
    assert lines[0] == "acknowledged writes lost: 0 in 2 rounds; never two writable databases"
    assert lines[1].startswith("2 rounds, 8000 requests, 72 not served well: availability 99.1000%")
    assert "0.36 s of the whole traffic" in lines[2]
    assert (
        "99.99% allows 4.32 minutes a month: 720 of them; where a human has to be woken (30 minutes each): one in 7 months"
        in lines[4]
    )
    assert "99.90% allows 43.20 minutes a month: 7200 of them; where a human has to be woken (30 minutes each): 1.4" in lines[3]


def test_a_request_in_millions_that_failed_is_not_rounded_away() -> None:
    rounds = [replace(outcome(number), intended=1_000_000, good=1_000_000) for number in range(1, 4)]
    (line,) = [line for line in monkey.report_lines([*rounds, replace(rounds[0], good=999_999)], 100.0) if "requests" in line]
    assert "availability 99.9999%" in line


def test_what_must_never_happen_is_said_of_every_round_valid_or_not() -> None:
    outcomes = [outcome(), outcome(2, lost=2, split_brain_s=0.4, valid=False)]
    assert monkey.report_lines(outcomes, 100.0)[0] == "acknowledged writes lost: 2 in 2 rounds; two writable databases for 0.4 s"


def test_what_nobody_noticed_can_happen_any_number_of_times() -> None:
    assert "any number of them" in monkey.report_lines([outcome()], 100.0)[-1]
    assert monkey.report_lines([], 100.0) == ["no round was measured well enough to say anything about a budget"]


def test_a_round_is_a_line() -> None:
    line = terminal.monkey_line(replace(outcome(good=3990), healed=True, redundancy_restored_s=6.2), 40)
    assert "kill-primary" in line
    assert "longest outage 0.90 s (writes 0.90 s, reads 0.00 s), " in line
    assert line.endswith("10 of 4000 requests failed, lost 0; redundancy restored after 6.2 s (the lab healed it)")


def test_a_run_becomes_an_outcome() -> None:
    each = planned().rounds[0]
    seen = monkey.outcome_of(each, run_of(each))
    assert (seen.fault.number, seen.fault.experiment, seen.healed) == (1, each.experiments[0], True)
    assert seen.redundancy_restored_s == 3.5
    assert seen.intended == seen.good > 0
    assert all(name in experiments.names() for name in each.experiments)


def test_a_floor_that_the_lab_kept_by_healing_is_not_known_to_be_kept() -> None:
    """The round would have gone on: what it would have cost is unknown."""
    calm = [outcome(number) for number in range(1, 5)]
    cut = outcome(4, downtime_s=9.0, downtime_censored=True)
    plan = planned(for_s=180.0)
    assert monkey.verdict(calm, 0.9, plan) is Verdict.HELD
    assert monkey.verdict([*calm[:3], cut], 0.9, plan) is Verdict.INCONCLUSIVE
    assert monkey.verdict([*calm[:3], cut], 0.0, plan) is Verdict.HELD
    assert any("≥" in line for line in monkey.report_lines([*calm[:3], cut], 100.0))
