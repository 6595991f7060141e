from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import design, variants
from lab.analysis.design import EXTRA_TRIALS, CellPlan, CellProgress, CellTerms
from lab.errors import UsageError
from lab.model.fault import FaultKind
from lab.model.topology import ServiceSpec, Stage
from lab.spec import experiments, parameters, stages
from tests.unit.helpers import automatic, replicated, stage

TERMS = CellTerms(fault_duration_s=5.0, tolerance_s=3.5)
KILLS = design.fault_specs("kill")
ALL = stages.all_stages()


def in_regions() -> Stage:
    """Stage 3, its boxes in two regions and a third that only watches."""
    home = {"lb": "eu", "web1": "eu", "web2": "us", "db": "witness"}
    services = tuple(
        ServiceSpec(spec.name, spec.roles, {**spec.labels, "lab.region": home.get(spec.name, "")}) for spec in stage().services
    )
    return replace(stage(), services=services)


def targets(cell_plan: CellPlan) -> list[str]:
    return [step.target for experiment in cell_plan.experiments for step in experiment.faults]


def applicable(of: Stage) -> dict[str, list[str]]:
    return {
        cell_plan.column: sorted(targets(cell_plan)) for cell_plan in design.comparison(of, KILLS, TERMS) if not cell_plan.missing
    }


# Columns


def test_a_fault_by_itself_is_that_fault_of_every_part() -> None:
    assert [fault_spec.name for fault_spec in KILLS] == [
        "kill-web",
        "kill-lb",
        "kill-primary",
        "kill-standby",
        "kill-zone",
        "kill-region",
    ]


def test_columns_are_parts_experiments_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("title: t\nquestion: q\nfault: kill\ntarget: web\nexpect: {writes_lost: {at_most: 0}}\n")
    found = design.fault_specs(f"pause-web, kill-monitor,kill-db,{tmp_path / 'mine.yaml'}")
    assert [fault_spec.name for fault_spec in found] == ["pause-web", "kill-monitor", "kill-db", "mine"]
    assert [fault_spec.experiment is None for fault_spec in found] == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no fault is named"),
        (",", "no fault is named"),
        ("explode", "'explode' is no fault"),
        ("kill-moon", "'kill-moon' is no fault"),
        ("kill,kill-web", "kill-web is named twice"),
        ("nosuch.yaml", "cannot be read"),
    ],
)
def test_wrong_columns_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        design.fault_specs(text)


@pytest.mark.parametrize(("text", "said"), [("", "no fault is named"), ("delay", "'delay' is no fault that 'lab spof' injects")])
def test_wrong_faults_of_a_sweep_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        design.kinds(text)


def test_faults_of_a_sweep() -> None:
    assert design.kinds("kill, pause,kill") == (FaultKind.KILL, FaultKind.PAUSE)
    left_out = {FaultKind.NONE, FaultKind.DELAY, FaultKind.LOSS, FaultKind.BANDWIDTH, FaultKind.DISK_SLOW, FaultKind.CLOCK}
    assert set(design.kinds("all")) == set(FaultKind) - left_out
    assert set(variants.QUICK) < set(variants.EVERY) == set(design.SWEPT)


# Cells of a comparison


def test_what_each_stage_has() -> None:
    assert [applicable(each) for each in ALL[:7]] == [
        {"kill-web": ["web"], "kill-primary": ["db.primary"]},
        {"kill-web": ["web"], "kill-primary": ["db.primary"]},
        {"kill-web": ["web"], "kill-lb": ["lb"], "kill-primary": ["db.primary"]},
        *[{"kill-web": ["web"], "kill-lb": ["lb"], "kill-primary": ["db.primary"], "kill-standby": ["db.standby"]}] * 2,
        {"kill-web": ["web"], "kill-lb": ["lb.active"], "kill-primary": ["db.primary"], "kill-standby": ["db.standby"]},
        {
            "kill-web": ["web"],
            "kill-lb": ["lb.active"],
            "kill-primary": ["db.primary"],
            "kill-standby": ["db.standby"],
            "kill-zone": ["zone:a", "zone:b", "zone:c"],
        },
    ]


def test_regions_are_found_by_their_labels() -> None:
    assert applicable(in_regions())["kill-region"] == ["region:eu", "region:us", "region:witness"]
    assert "kill-zone" not in applicable(in_regions())


@pytest.mark.parametrize("of", ALL, ids=lambda each: each.name)
def test_what_is_planned_can_be_done_and_what_is_not_is_explained(of: Stage) -> None:
    for cell_plan in design.comparison(of, (*KILLS, *design.fault_specs("switchover,kill-monitor")), TERMS):
        assert bool(cell_plan.experiments) != bool(cell_plan.missing)
        for experiment in cell_plan.experiments:
            experiments.check_targets(experiment, of)
            assert cell_plan.column in (experiment.name, "switchover")


def test_a_part_that_a_stage_does_not_have_is_not_applicable_and_says_why() -> None:
    missing = {
        cell_plan.column: cell_plan.missing
        for cell_plan in design.comparison(stage(), design.fault_specs("kill,switchover"), TERMS)
    }
    assert missing["kill-standby"] == "stage 3 has no standby database"
    assert missing["kill-zone"] == "stage 3 has no second zone"
    assert "needs a monitor" in missing["switchover"]


def test_each_zone_is_a_sample_of_its_own_with_as_many_trials_as_any_cell() -> None:
    cell_plans = design.comparison(stages.find("6"), design.fault_specs("kill-zone,kill-web"), TERMS)
    zones, web = cell_plans
    assert zones.targets == ("zone:a", "zone:b", "zone:c")
    assert web.targets == ()
    assert design.left(cell_plans, {}, 5) == 3 * 5 + 5
    done = run_through(cell_plans, 5, 1, set())
    assert Counter(done) == {("kill-zone", variant, number): 1 for variant in range(3) for number in range(1, 6)} | {
        ("kill-web", 0, number): 1 for number in range(1, 6)
    }


def test_a_cell_watches_for_as_long_as_asked_and_expects_the_tolerance() -> None:
    (cell_plan,) = design.comparison(stage(), design.fault_specs("kill-web"), TERMS)
    (experiment,) = cell_plan.experiments
    assert experiment.fault_duration_s == 5.0
    assert [str(each) for each in experiment.expectations] == ["downtime_longest_s at most 3.5", "writes_lost at most 0"]


def test_an_experiment_keeps_its_own_watching_unless_told_otherwise() -> None:
    own = experiments.find("kill-db").fault_duration_s
    wished = design.fault_specs("kill-db")
    for fault_duration_s, expected in ((None, own), (9.0, 9.0)):
        (fault_spec,) = design.watched_for(wished, fault_duration_s)
        assert fault_spec.experiment
        assert fault_spec.experiment.fault_duration_s == expected


# Sweeps


def members(of: Stage, **changes: object) -> list[tuple[str, ...]]:
    asked = {"faults": (FaultKind.KILL,), "terms": TERMS, "seed": 1, "pairs": False, "sample": None, **changes}
    return [cell_plan.members for cell_plan in design.sweep(of, **asked)]  # type: ignore[arg-type]


def test_a_sweep_has_every_box_then_zones_then_regions() -> None:
    assert members(stage()) == [("lb",), ("web1",), ("web2",), ("db",)]
    assert members(stages.find("6"))[-3:] == [("zone:a",), ("zone:b",), ("zone:c",)]
    assert members(in_regions())[-3:] == [("region:eu",), ("region:us",), ("region:witness",)]


@pytest.mark.parametrize("of", ALL, ids=lambda each: each.name)
def test_a_sweep_can_be_done_at_every_stage_pairs_included(of: Stage) -> None:
    cell_plans = design.sweep(of, (FaultKind.KILL, FaultKind.DISCONNECT), TERMS, 1, pairs=True, sample=None)
    boxes = len(design.boxes_of(of))
    assert sum(len(cell_plan.members) == 2 for cell_plan in cell_plans) == boxes * (boxes - 1)  # of two faults, each half as many
    assert len({cell_plan.column for cell_plan in cell_plans}) == len(cell_plans)
    for cell_plan in cell_plans:
        experiments.check_targets(cell_plan.experiments[0], of)
        assert not {"internet"} & set(cell_plan.members)


@pytest.mark.parametrize("of", ALL, ids=lambda each: each.name)
def test_every_fault_that_makes_sense_for_a_part_is_one_that_its_file_could_ask_for(of: Stage) -> None:
    cell_plans = design.sweep(of, variants.EVERY, TERMS, 1, pairs=False, sample=None)
    assert len({cell_plan.column for cell_plan in cell_plans}) == len(cell_plans)
    for [step] in (cell_plan.experiments[0].steps for cell_plan in cell_plans):
        how: dict[str, object] = {"from": step.how.source, "network": step.how.network, "cpus": step.how.cpus}
        how["memory_percent"] = step.how.memory_percent
        how |= {"answer": step.how.answer, "per_s": step.how.per_s}
        assert parameters.read(step.fault, {name: value for name, value in how.items() if value}) == step.how
    asked = [str(cell_plan.experiments[0].steps[0]) for cell_plan in cell_plans]
    assert sum(each.startswith("readonly") for each in asked) == 1
    assert not any(" on observe" in each for each in asked)


def columns(of: str, *faults: FaultKind) -> list[str]:
    return [each.column for each in design.sweep(stages.find(of), faults, TERMS, 1, pairs=False, sample=None)]


def test_a_box_on_several_networks_can_lose_each_of_them_and_all() -> None:
    assert columns("3", FaultKind.ISOLATE)[:3] == ["isolate-lb", "isolate-edge-lb", "isolate-app-lb"]


def test_what_has_a_disk_of_its_own_can_lose_it() -> None:
    own = replace(stages.find("5"), own_disks=True)
    for fault in (FaultKind.DISK_FULL, FaultKind.DISK_STALL):
        assert columns("5", fault) == []
        found = design.sweep(own, (fault,), TERMS, 1, pairs=True, sample=None)
        assert [each.column for each in found] == [f"{fault}-{name}" for name in ("db1", "db2", "monitor")]
        for each in found:
            experiments.check_targets(each.experiments[0], own)


def test_only_a_web_box_gets_a_release_with_a_defect() -> None:
    assert columns("3", FaultKind.BAD_DEPLOY, FaultKind.POISON) == [
        "bad-deploy-web1",
        "bad-deploy-web2",
        "poison-web1",
        "poison-web2",
    ]
    assert columns("1", FaultKind.BAD_DEPLOY) == ["bad-deploy-box"]
    pairs = design.sweep(stages.find("3"), (FaultKind.POISON,), TERMS, 1, pairs=True, sample=None)
    assert [each.members for each in pairs if len(each.members) == 2] == [("web1", "web2")]


def test_places_can_lose_each_other_and_boxes_are_not_asked() -> None:
    assert columns("6", FaultKind.PARTITION) == [
        f"partition-zone-{each}" for each in ("a-and-zone-b", "a-and-zone-c", "b-and-zone-c")
    ]
    assert columns("5", FaultKind.PARTITION) == []
    [cut, *_] = design.sweep(stages.find("6"), (FaultKind.PARTITION,), TERMS, 1, pairs=False, sample=None)
    assert cut.title == "zone a and zone b lose each other"


def test_the_first_database_is_made_the_primary_before_it_takes_no_writes() -> None:
    [of_two] = design.sweep(stages.find("5"), (FaultKind.READONLY,), TERMS, 1, pairs=False, sample=None)
    assert (of_two.members, of_two.experiments[0].preconditions) == (("db1",), {"db.primary": "service:db1"})
    [of_one] = design.sweep(stages.find("3"), (FaultKind.READONLY,), TERMS, 1, pairs=False, sample=None)
    assert (of_one.members, of_one.experiments[0].preconditions) == (("db",), {})


def test_a_sample_of_pairs_is_decided_by_the_seed() -> None:
    every = {pair for pair in members(stages.find("5"), pairs=True) if len(pair) == 2}
    drawn = [
        [pair for pair in members(stages.find("5"), pairs=True, sample=4, seed=seed) if len(pair) == 2] for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(each)) == 4 and set(each) <= every for each in drawn)
    assert len(members(stages.find("5"), pairs=True, sample=999)) == len(members(stages.find("5"), pairs=True))


def test_two_boxes_are_hit_by_one_fault() -> None:
    cell_plan = design.sweep(automatic(), (FaultKind.KILL,), TERMS, 1, pairs=True, sample=1)[-1]
    assert [str(step) for step in cell_plan.experiments[0].steps] == [f"kill service:{','.join(cell_plan.members)}"]
    assert cell_plan.title.endswith("are killed at once")


# The order


Trial = tuple[str, int, int]
"""Column, turn, and which trial of these two it is."""


def run_through(cell_plans: tuple[CellPlan, ...], trials: int, seed: int, invalid: set[Trial]) -> list[Trial]:
    """Every trial until none is due; those in `invalid` come to nothing."""
    progress_of_cells: dict[tuple[str, int], CellProgress] = {}
    done: list[Trial] = []
    while next_cell := design.next_cell(cell_plans, progress_of_cells, trials, seed):
        key = (next_cell.cell_plan.column, next_cell.variant)
        before = progress_of_cells.get(key, CellProgress())
        done.append((*key, before.tried + 1))
        progress_of_cells[key] = CellProgress(before.tried + 1, before.valid + (done[-1] not in invalid))
        assert len(done) < 1000
    assert design.left(cell_plans, progress_of_cells, trials) == 0
    return done


EXPERIMENTS = [
    ("kill-web", 0),
    ("kill-web", 1),
    ("kill-lb", 0),
    ("kill-primary", 0),
    *(("kill-region", each) for each in range(3)),
]
invalids = st.sets(st.tuples(st.sampled_from(EXPERIMENTS), st.integers(1, 9)).map(lambda each: (*each[0], each[1])))


@given(st.integers(1, 5), st.integers(0, 99), invalids)
def test_every_experiment_gets_its_valid_trials_or_a_few_more_tries(trials: int, seed: int, invalid: set[Trial]) -> None:
    """Also each region: one whose loss is hard to measure takes no trials from the others, nor they from it."""
    done = run_through(design.comparison(in_regions(), KILLS, TERMS), trials, seed, invalid)
    assert {(column, variant) for column, variant, _ in done} == set(EXPERIMENTS)
    for column, variant in EXPERIMENTS:
        numbers = [number for name, which, number in done if (name, which) == (column, variant)]
        valid = sum((column, variant, number) not in invalid for number in numbers)
        assert numbers == list(range(1, len(numbers) + 1))
        assert valid == trials or len(numbers) == trials + EXTRA_TRIALS
        assert valid <= trials
        assert len(numbers) <= trials + EXTRA_TRIALS


@given(st.integers(1, 4), st.integers(0, 99))
def test_trials_go_in_rounds(trials: int, seed: int) -> None:
    for of, each_round in ((automatic(), 4), (in_regions(), 7)):
        done = run_through(design.comparison(of, KILLS, TERMS), trials, seed, set())
        assert [number for *_, number in done] == [number for number in range(1, trials + 1) for _ in range(each_round)]


def test_the_same_faults_come_in_the_same_order_at_every_stage() -> None:
    for seed in range(10):
        orders = [run_through(design.comparison(of, KILLS, TERMS), 3, seed, set()) for of in (stage(), replicated())]
        assert [step for step in orders[1] if step[0] != "kill-standby"] == orders[0]


def test_the_order_is_another_one_in_each_round_and_with_each_seed() -> None:
    cell_plans = design.comparison(stages.find("6"), KILLS, TERMS)
    rounds = [
        tuple(step[:2] for step in run_through(cell_plans, 8, seed, set()) if step[2] == each)
        for seed in (1, 2)
        for each in range(1, 9)
    ]
    assert len(set(rounds)) > 8


def test_ranks_come_in_order() -> None:
    cell_plans = design.sweep(stages.find("6"), (FaultKind.KILL,), TERMS, 1, pairs=True, sample=3)
    ranks = {cell_plan.column: cell_plan.rank for cell_plan in cell_plans}
    done = [ranks[column] for column, *_ in run_through(cell_plans, 1, 1, set())]
    assert done == sorted(done)


def test_seeds_are_of_the_column_not_of_the_stage() -> None:
    seeds = Counter(design.seed_of(seed, fault_spec.name) for seed in range(5) for fault_spec in KILLS)
    assert set(seeds.values()) == {1}


@pytest.mark.parametrize(
    ("number", "kind", "given"),
    [
        ("6", "zone", {"db.primary": "zone:a", "lb.active": "zone:a"}),
        ("7", "region", {"db.primary": "region:eu"}),
        ("7", "web", {"db.primary": "region:eu"}),
        ("7", "primary", {"db.primary": "region:eu"}),
        ("6", "primary", {}),
        ("5", "web", {}),
        ("5", "zone", {}),
        ("4", "primary", {}),
    ],
)
def test_parts_fail_with_primary_and_address_where_they_belong(number: str, kind: str, given: dict[str, str]) -> None:
    """Otherwise the trials of one cell would be of two kinds, by where the trial before left the primary."""
    assert design.home(stages.find(number), kind) == given


def test_a_web_box_is_one_of_each_region() -> None:
    """Seen: the median of a cell was that of a box which no user reaches."""
    (cell_plan,) = design.comparison(stages.find("7"), design.fault_specs("kill-web"), TERMS)
    assert cell_plan.targets == ("service:web1", "service:web3")
    (cell_plan,) = design.comparison(stages.find("6"), design.fault_specs("kill-web"), TERMS)
    assert [each.faults[0].target for each in cell_plan.experiments] == ["web"]


def test_in_several_regions_the_primary_is_in_the_first_one_before_every_trial() -> None:
    """Seen: killed in the other region it cost 6 s instead of 3, and both were in one median."""
    stage, wanted = stages.find("7"), design.fault_specs("kill,pause-primary,switchover")
    plans = [each for each in design.comparison(stage, wanted, TERMS) if not each.missing]
    plans += design.sweep(stage, design.kinds("kill"), TERMS, 7, pairs=False, sample=None)
    assert len(plans) > 10
    assert {each.preconditions.get("db.primary") for plan in plans for each in plan.experiments} == {"region:eu"}
    # What an experiment itself asks for comes first.
    (plan,) = design.comparison(stage, design.fault_specs("failback-region-eu"), TERMS)
    own = experiments.find("failback-region-eu").preconditions
    assert dict(own) == {name: plan.experiments[0].preconditions[name] for name in own}


def test_every_trial_of_a_zone_is_of_one_kind() -> None:
    (cell_plan,) = design.comparison(stages.find("6"), design.fault_specs("kill-zone"), TERMS)
    assert {tuple(each.preconditions.items()) for each in cell_plan.experiments} == {
        (("db.primary", "zone:a"), ("lb.active", "zone:a"))
    }
    swept = design.sweep(stages.find("6"), design.kinds("kill"), TERMS, 7, pairs=False, sample=None)
    assert [bool(each.experiments[0].preconditions) for each in swept] == [":" in each.members[0] for each in swept]
