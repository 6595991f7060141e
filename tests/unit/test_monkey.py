from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis.error_budget import error_budget
from lab.analysis.summary import summarise
from lab.campaign import monkey, schedule
from lab.campaign.eligible import hits_a_place, tier
from lab.campaign.monkey import MonkeyStore
from lab.campaign.schedule import Repairer, RepairPlan, Round, Schedule, ScheduleSpec, experiment_of, read_schedule
from lab.errors import HealError, UsageError
from lab.model.experiment import Repair, RepairPolicy
from lab.model.measures import Verdict
from lab.model.result import Outage, RunResult
from lab.model.round import FaultOutcome, RoundOutcome
from lab.model.topology import Stage
from lab.report import monkey_report
from lab.spec import experiments, stages
from lab.spec.targets import check, possible
from lab.store import jsonl
from tests.unit.helpers import result, run_info

STAGE, ZONES = stages.find("5"), stages.find("6")
RESTART, HEAL = RepairPlan(Repairer.RESTART), RepairPlan(Repairer.HEAL)
SAME: dict[str, Any] = {"code": "1"}
WITHIN_REACH = schedule.within_reach


@cache
def _reach(folder: str, repair: RepairPlan, reckless: bool) -> list[str]:
    return WITHIN_REACH(stages.find(folder), repair, reckless)


def planned(of: Stage = STAGE, rounds: int = 40, seed: int = 11, **changes: Any) -> Schedule:
    return schedule.schedule(of, ScheduleSpec(seed, rounds, **{"interval_s": 45.0, **changes}))


def healed(of: Stage = STAGE, rounds: int = 3, seed: int = 1, **changes: Any) -> Schedule:
    return planned(of, rounds, seed, **{"interval_s": 0.0, "repair": HEAL, **changes})


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
        patch.setattr(schedule, "within_reach", lambda of, repair, reckless: _reach(of.folder, repair, reckless))
        patch.setattr(schedule, "tier", cache(tier))
        patch.setattr(schedule, "hits_a_place", cache(hits_a_place))
        yield


def test_rounds_are_numbered() -> None:
    assert [each.number for each in planned().rounds] == list(range(1, 41))
    assert len({each.seed for each in planned().rounds}) == 40


@given(st.integers(0, 2**31 - 1), st.integers(1, 30), st.integers(1, 30), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_schedule_and_a_longer_one_begins_as_the_shorter(
    seed: int, few: int, more: int, reckless: bool
) -> None:
    short, long = (
        planned(rounds=few, seed=seed, reckless=reckless),
        planned(rounds=few + more, seed=seed, reckless=reckless),
    )
    assert long.rounds[:few] == short.rounds
    assert planned(rounds=few, seed=seed, reckless=reckless) == short


def test_another_rate_is_another_schedule() -> None:
    slow, fast = (planned(rate_per_s=rate) for rate in (50.0, 100.0))
    assert slow.rounds == fast.rounds
    assert slow.digest != fast.digest


def test_another_seed_gives_another_schedule() -> None:
    assert planned(seed=1).rounds != planned(seed=2).rounds


def test_one_tier_is_hit_at_a_time() -> None:
    for of in (STAGE, ZONES):
        for each in planned(of).rounds:
            assert len(each.experiments) == 1
            assert len(experiment_of(each, planned(of)).faults) == 1


def test_a_reckless_one_hits_two_tiers_one_shortly_after_the_other() -> None:
    everything = planned(ZONES, reckless=True)
    for each in everything.rounds:
        first, second = each.experiments
        assert tier(first) != tier(second)
        assert 0 <= each.gap_s <= schedule.GAP_MAX_S
        steps = experiment_of(each, everything).faults
        assert [step.delay_s for step in steps] == [0.0, each.gap_s]
        for step in steps:
            check(step.target, possible(ZONES), 6, step.how.source)


def test_only_the_policy_repairs() -> None:
    assert "switchover" in schedule.within_reach(STAGE, HEAL, reckless=False)
    assert "switchover" not in schedule.within_reach(STAGE, RESTART, reckless=False)
    experiment = experiment_of(planned().rounds[0], planned())
    assert experiment.repair == Repair(RepairPolicy.RESTART)
    assert experiment.operator is None


def test_a_round_is_as_long_as_faults_are_apart() -> None:
    experiment = experiment_of(planned().rounds[0], planned())
    assert experiment.baseline_s + experiment.fault_duration_s + experiment.cooldown_s + schedule.OVERHEAD_S == pytest.approx(
        45.0
    )


@pytest.mark.parametrize(("rounds", "interval_s", "said"), [(40, 5, "leaves no time"), (0, 45, "makes 0 rounds")])
def test_what_cannot_be_scheduled_is_refused(rounds: int, interval_s: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(rounds=rounds, interval_s=interval_s)


def test_a_stage_without_partners_has_nothing_for_a_monkey() -> None:
    with pytest.raises(UsageError, match="stage 1"):
        planned(stages.find("1"))


@given(st.integers(0, 2**31 - 1), st.booleans(), st.sampled_from([RESTART, HEAL]))
@settings(max_examples=10, deadline=None)
def test_a_printed_schedule_is_replayed_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int, reckless: bool, repair: RepairPlan
) -> None:
    file = tmp_path_factory.mktemp("schedule") / "schedule.json"
    before = planned(seed=seed, reckless=reckless, repair=repair)
    file.write_text(json.dumps(before.to_document()), encoding="utf-8")
    assert read_schedule(file, STAGE) == before
    assert read_schedule(file, STAGE).digest == before.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "another version"),
        ({"rate_per_s": 0}, "rate is out of bounds"),
        ({"rounds": []}, "not numbered from 1"),
        ({"interval_s": 1}, "out of bounds"),
        ({"fault_duration_s": -1}, "out of bounds"),
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
        read_schedule(file, STAGE)


# Going on, and stopping


def run_of(each: Round, **changes: Any) -> RunResult:
    trial = result(**changes)
    return RunResult(run_info(experiment=each.experiments[0]), Verdict.HELD, (trial,), summarise([trial]))


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    plan = planned(rounds=4)
    kept, ran = MonkeyStore(STAGE, plan, SAME, tmp_path), list[int]()

    def run(each: Round) -> RunResult:
        ran.append(each.number)
        if ran == [1, 2, 3]:
            raise KeyboardInterrupt
        return run_of(each)

    with pytest.raises(KeyboardInterrupt):
        monkey.play(plan, kept, 0.5, run, lambda _: None)
    outcomes = monkey.play(plan, MonkeyStore(STAGE, plan, SAME, tmp_path), 0.5, run, lambda _: None)
    assert ran == [1, 2, 3, 3, 4]
    assert [each.fault.number for each in outcomes] == [1, 2, 3, 4]
    assert kept.outcomes() == outcomes
    assert json.loads((kept.folder / "schedule.json").read_text()) == json.loads(json.dumps(plan.to_document()))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (outcome(lost=2), "2 acknowledged writes lost"),
        (outcome(lost=1, valid=False), "1 acknowledged write lost"),
        (outcome(split_brain_s=0.4), "split brain"),
        (
            outcome(good=3000),
            "availability is 75.0000%, and could only reach 94.2857% in the 3 rounds left, below the floor of 95.0000%",
        ),
    ],
)
def test_it_stops_at_what_must_not_be_and_stays_stopped(tmp_path: Path, bad: RoundOutcome, said: str) -> None:
    plan = planned(rounds=4)
    kept = MonkeyStore(STAGE, plan, SAME, tmp_path)
    kept.append(bad)

    def run(each: Round) -> RunResult:
        raise AssertionError(f"round {each.number} after the end")

    outcomes = monkey.play(plan, kept, 0.95, run, lambda _: None)
    reason = monkey.stop_reason(outcomes, 0.95, plan)
    assert reason is not None
    assert said in monkey_report.stop_text(reason)
    assert monkey.verdict(outcomes, 0.95, plan) is Verdict.REFUTED


def test_a_round_that_was_not_measured_well_says_nothing_of_availability() -> None:
    doubtful = outcome(good=0, valid=False)
    assert monkey.stop_reason([doubtful], 0.95, planned()) is None
    assert monkey.verdict([doubtful], 0.95, planned()) is Verdict.INCONCLUSIVE
    assert error_budget([doubtful, outcome()]).availability_ratio == 1.0


def test_one_bad_round_among_many_that_were_not_measured_well_refutes_nothing() -> None:
    outcomes = [outcome(1, good=0), *(outcome(number, valid=False) for number in range(2, 5))]
    assert monkey.verdict(outcomes, 0.95, planned(rounds=4)) is Verdict.INCONCLUSIVE


def test_nothing_is_held_where_a_loss_would_not_have_shown() -> None:
    blind = [outcome(number, audit_complete=number == 1) for number in range(1, 5)]
    assert monkey.verdict(blind, 0.95, planned(rounds=4)) is Verdict.INCONCLUSIVE
    assert monkey.verdict(blind[:2], 0.95, planned(rounds=2)) is Verdict.HELD


def played(rounds: Sequence[RoundOutcome], floor: float, plan: Schedule, root: Path) -> list[RoundOutcome]:
    """What is through of these rounds when it ends."""
    ahead, kept = iter(rounds), MonkeyStore(STAGE, plan, SAME, root)
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
        assert error_budget([*outcomes, *perfect]).availability_ratio < floor
    if not left:
        assert bool(monkey.stop_reason(outcomes, floor, plan)) == (error_budget(outcomes).availability_ratio < floor)


def test_other_conditions_are_another_series(tmp_path: Path) -> None:
    plan = planned(rounds=4)
    kept = MonkeyStore(STAGE, plan, {**SAME, "stage": "1"}, tmp_path)
    kept.append(outcome())
    other = MonkeyStore(STAGE, plan, {**SAME, "stage": "2"}, tmp_path)
    assert other.outcomes() == []
    assert other.why_new == f"{kept.folder} was measured with something else: the files that the stage is made from"
    assert MonkeyStore(STAGE, plan, {**SAME, "stage": "1"}, tmp_path).outcomes() == [outcome()]


def test_what_a_schedule_is_measured_with_names_each_of_its_experiments() -> None:
    found = monkey.conditions(STAGE, planned(rounds=4))
    assert set(found) == {"load", "code", "stage", "experiments"}
    assert set(found["experiments"]) == {each.experiments[0] for each in planned(rounds=4).rounds}
    assert found["load"]["rate_per_s"] == 100.0


# The budget


def test_a_budget_is_said_in_faults_a_month() -> None:
    # 36 of 4000 at 100 a second: 0.36 s of the traffic; 259.2 s a month are 720 of them.
    lines = monkey_report.report_lines([outcome(good=3964), outcome(2, good=3964)], 100.0)
    assert lines[0] == "acknowledged writes lost: 0 in 2 rounds; no split brain"
    assert lines[1].startswith("2 rounds, 8000 requests, 72 failed: availability 99.1000%")
    assert "0.36 s of the whole load" in lines[2]
    assert (
        "99.99% allows 4.32 minutes a month: 720 such faults; of incidents with on-call repair (30 minutes each): one in 7 months"
        in lines[4]
    )
    assert (
        "99.90% allows 43.20 minutes a month: 7200 such faults; of incidents with on-call repair (30 minutes each): 1.4 a month"
        in lines[3]
    )


def test_a_request_in_millions_that_failed_is_not_rounded_away() -> None:
    rounds = [replace(outcome(number), intended=1_000_000, good=1_000_000) for number in range(1, 4)]
    (line,) = [
        line for line in monkey_report.report_lines([*rounds, replace(rounds[0], good=999_999)], 100.0) if "requests" in line
    ]
    assert "availability 99.9999%" in line


def test_what_must_never_happen_is_said_of_every_round_valid_or_not() -> None:
    outcomes = [outcome(), outcome(2, lost=2, split_brain_s=0.4, valid=False)]
    assert monkey_report.report_lines(outcomes, 100.0)[0] == "acknowledged writes lost: 2 in 2 rounds; split brain for 0.4 s"


def test_a_fault_without_a_failed_request_may_happen_any_number_of_times() -> None:
    assert "any number of such faults" in monkey_report.report_lines([outcome()], 100.0)[-1]
    assert monkey_report.report_lines([], 100.0) == ["error budget unknown: no valid round"]


def test_a_round_is_a_line() -> None:
    line = monkey_report.monkey_line(replace(outcome(good=3990), healed=True, redundancy_restored_s=6.2), 40)
    assert "kill-primary" in line
    assert "longest outage 0.90 s (writes 0.90 s, reads 0.00 s), " in line
    assert line.endswith("10 of 4000 requests failed, lost 0; redundancy restored after 6.2 s (healed by the lab)")


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
    plan = planned(rounds=4)
    assert monkey.verdict(calm, 0.9, plan) is Verdict.HELD
    assert monkey.verdict([*calm[:3], cut], 0.9, plan) is Verdict.INCONCLUSIVE
    assert monkey.verdict([*calm[:3], cut], 0.0, plan) is Verdict.HELD
    assert any("≥" in line for line in monkey_report.report_lines([*calm[:3], cut], 100.0))


# Where the lab heals


def test_where_the_lab_heals_a_round_is_the_experiment_as_it_is() -> None:
    for each in healed(rounds=20).rounds:
        assert experiment_of(each, healed()) == experiments.find(each.experiments[0])
    shorter = healed(fault_duration_s=4.0)
    assert experiment_of(shorter.rounds[0], shorter).fault_duration_s == 4.0


def test_where_the_lab_heals_only_a_loss_ends_it() -> None:
    plan = healed(rounds=2)
    down = [outcome(number, good=0, verdict="refuted", downtime_s=30.0, downtime_censored=True) for number in (1, 2)]
    assert monkey.stop_reason(down, 0.0, plan) is None
    assert monkey.verdict(down, 0.0, plan) is Verdict.HELD
    assert monkey.verdict([*down[:1], outcome(2, lost=1, valid=False)], 0.0, plan) is Verdict.REFUTED
    assert monkey.verdict([], 0.0, plan) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("fewer", [{"valid": False}, {"audit_complete": False}, {"split_brain_s": None}])
def test_half_of_the_rounds_must_be_able_to_show_a_loss(fewer: dict[str, Any]) -> None:
    half = [outcome(1), outcome(2), outcome(3, **fewer), outcome(4, **fewer)]
    assert monkey.verdict(half, 0.0, healed()) is Verdict.HELD
    assert monkey.verdict([*half, outcome(5, **fewer)], 0.0, healed()) is Verdict.INCONCLUSIVE


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 1), st.sampled_from([0.0, 0.4])), min_size=1, max_size=9))
def test_loss_refutes_however_it_was_measured_and_nothing_else_does(seen: list[tuple[bool, bool, int, float]]) -> None:
    outcomes = [
        outcome(number, valid=valid, audit_complete=complete, lost=lost, split_brain_s=split_s)
        for number, (valid, complete, lost, split_s) in enumerate(seen, 1)
    ]
    found = monkey.verdict(outcomes, 0.0, healed(rounds=9))
    assert (found is Verdict.REFUTED) == any(lost or split_s for *_, lost, split_s in seen)
    if found is Verdict.HELD:
        assert 2 * sum(valid and complete for valid, complete, *_ in seen) >= len(seen)


def test_run_says_what_could_not_be_seen() -> None:
    each = healed().rounds[0]
    watched = {"no_writer_s": 0.5, "multiple_writers_s": 0.0}
    incomplete = replace(result().audit, complete=False)
    assert monkey.outcome_of(each, run_of(each, writable=watched)).fault.audit_complete
    assert not monkey.outcome_of(each, run_of(each, writable=watched, audit=incomplete)).fault.audit_complete
    unwatched = monkey.outcome_of(each, run_of(each, writable={})).fault
    assert (unwatched.split_brain_s, unwatched.tells, unwatched.is_loss) == (None, False, False)
    # A single database cannot.
    assert monkey.outcome_of(each, run_of(each, writable={}), is_replicated=False).fault.split_brain_s == 0.0


def test_a_stage_with_one_database_can_be_held(tmp_path: Path) -> None:
    for of, expected in ((stages.find("3"), Verdict.HELD), (STAGE, Verdict.INCONCLUSIVE)):
        plan = healed(of, rounds=2)
        store = MonkeyStore(of, plan, SAME, tmp_path)
        outcomes = monkey.play(plan, store, 0.0, lambda each: run_of(each, writable={}), lambda _: None)
        assert monkey.verdict(outcomes, 0.0, plan) is expected


def test_a_partition_that_was_an_outage_until_it_was_healed_is_no_loss() -> None:
    each, plan = Round(1, ("partition-zone-a-b",), 0.0, 5), healed(ZONES, rounds=1)
    down = replace(result().writes, outages=(Outage(2.0, 9.6, censored=True),))
    run = replace(run_of(each, writes=down, writable={"no_writer_s": 7.0, "multiple_writers_s": 0.0}), verdict=Verdict.REFUTED)
    seen = monkey.outcome_of(each, run)
    assert seen.fault.writes_downtime_s > 7
    assert (seen.fault.verdict, seen.fault.is_loss) == ("refuted", False)
    assert monkey.verdict([seen], 0.0, plan) is Verdict.HELD


def test_what_could_not_be_healed_ends_it_and_is_tried_again(tmp_path: Path) -> None:
    plan = healed(ZONES)
    store, ran = MonkeyStore(ZONES, plan, SAME, tmp_path), list[int]()

    def run(each: Round) -> RunResult:
        ran.append(each.number)
        if ran == [1, 2]:
            raise HealError("db2 is exited after 60 s")
        return run_of(each)

    with pytest.raises(HealError):
        monkey.play(plan, store, 0.0, run, lambda _: None)
    assert [each.fault.number for each in store.outcomes()] == [1]
    monkey.play(plan, store, 0.0, run, lambda _: None)
    assert ran == [1, 2, 2, 3]


def test_a_line_that_a_kill_cut_short_is_done_again(tmp_path: Path) -> None:
    store = MonkeyStore(STAGE, healed(), SAME, tmp_path)
    store.append(outcome(1))
    with (store.folder / "rounds.jsonl").open("a") as file:
        file.write('{"fault": {"number": 2, "exper')
    assert [each.fault.number for each in store.outcomes()] == [1]
    store.append(outcome(2))
    assert [each.fault.number for each in store.outcomes()] == [1, 2]


def test_a_line_of_another_version_is_read_and_its_audit_was_not_complete(tmp_path: Path) -> None:
    store = MonkeyStore(STAGE, healed(), SAME, tmp_path)
    older = asdict(outcome(1))
    for name in ("audit_complete", "downtime_s", "downtime_censored"):
        del older["fault"][name]
    jsonl.Lines(store.folder / monkey.PROGRESS_NAME).append({**older, "of_a_later_version": 1})
    assert [(each.fault.audit_complete, each.fault.downtime_s) for each in store.outcomes()] == [(False, None)]


def test_other_lengths_of_faults_are_another_series(tmp_path: Path) -> None:
    short, long = (healed(fault_duration_s=seconds) for seconds in (4.0, 20.0))
    first, other = (MonkeyStore(STAGE, plan, monkey.conditions(STAGE, plan), tmp_path) for plan in (short, long))
    assert first.folder != other.folder
    assert monkey.conditions(STAGE, short)["experiments"] != monkey.conditions(STAGE, long)["experiments"]


# Whole places


def about_places(names: Iterable[str]) -> set[str]:
    return {name for name in names if any(":" in step.target for step in experiments.find(name).steps)}


@pytest.mark.parametrize("repair", [RESTART, HEAL])
def test_places_are_a_third_of_the_rounds_and_the_seed_decides_which(repair: RepairPlan) -> None:
    plan = planned(ZONES, rounds=300, seed=3, repair=repair)
    places = about_places(schedule.within_reach(ZONES, repair, reckless=False))
    drawn = [each.experiments[0] for each in plan.rounds]
    share = sum(name in places for name in drawn) / len(drawn)
    assert schedule.PLACES_SHARE - 0.1 < share < schedule.PLACES_SHARE + 0.1
    # Each of them comes up.
    assert set(drawn) >= places


def test_stage_with_places_and_nothing_else_to_break_has_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "within_reach", lambda *_: ["kill-zone-a", "kill-zone-b"])
    assert {each.experiments[0] for each in planned(ZONES, rounds=20).rounds} == {"kill-zone-a", "kill-zone-b"}


def test_where_rounds_have_no_interval_a_longer_one_may_still_keep_the_floor() -> None:
    of = healed(rounds=2)
    bad = replace(outcome(good=400), intended=650)
    assert monkey.stop_reason([bad], 0.85, of) is None
    assert monkey.stop_reason([bad, replace(outcome(2, good=1400), intended=1400)], 0.85, of) is None
    assert monkey.stop_reason([bad, replace(outcome(2, good=900), intended=1400)], 0.85, of) is not None
