from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from lab.analysis import design, matrix_file
from lab.analysis.design import EXTRA_TRIALS, CellTerms
from lab.analysis.matrix import Cell, Matrix
from lab.analysis.matrix_file import from_document
from lab.campaign import campaign, outcome, store
from lab.campaign.campaign import Stopwatch
from lab.campaign.plan import Campaign, StagePlan
from lab.campaign.store import Attempt, CampaignStore, Span
from lab.errors import HealError, InconclusiveError, LabError, PreflightError, UsageError
from lab.model.experiment import LoadPlan
from lab.model.fault import FaultKind
from lab.model.measures import Verdict
from lab.model.result import TrialResult
from lab.report import matrix_words
from lab.signals import Deferred
from lab.spec import stages
from lab.store import runs
from tests.unit.benches import CONDITIONS, NOT_BITTEN, PlayedBench, breaking, cut_at, kill_at

TERMS = CellTerms(fault_duration_s=5.0, tolerance_s=2.0)
COLUMNS = "kill-web,kill-lb,kill-standby"
TWO_AND_THREE = (stages.find("2"), stages.find("3"))


def comparison(
    seed: int = 7,
    trials: int = 2,
    made_from: str = "abc",
    columns: str = COLUMNS,
    terms: CellTerms = TERMS,
    load: LoadPlan | None = None,
    code: str = "1",
) -> Campaign:
    planned = tuple(
        StagePlan(each, design.comparison(each, design.fault_specs(columns), terms), made_from) for each in TWO_AND_THREE
    )
    return Campaign("compare", "Two stages", seed, trials, load or LoadPlan(), planned, stops=True, code=code)


def sweep(seed: int = 7) -> Campaign:
    stage = stages.find("3")
    cell_plans = design.sweep(stage, (FaultKind.KILL,), TERMS, seed, pairs=False, sample=None)
    return Campaign("spof", "Stage 3", seed, 1, LoadPlan(), (StagePlan(stage, cell_plans, "abc"),), stops=False, code="1")


def spofs(_project: str, column: str, number: int) -> float:
    """Stage 3 without its balancer: gone. Other figures differ from trial to trial."""
    return 4.0 if column == "kill-lb" else number / 10


def carry_out(wanted: Campaign, kept: CampaignStore, bench: PlayedBench) -> list[tuple[Attempt, TrialResult | None]]:
    heard: list[tuple[Attempt, TrialResult | None]] = []
    campaign.carry_out(wanted, kept, bench, lambda attempt, result: heard.append((attempt, result)))
    return heard


def figures(matrix: Matrix) -> Any:
    """The matrix without where and when."""
    raw = matrix.to_document()
    for row in raw["rows"]:
        for cell in row["cells"]:
            cell["folder"] = ""
    return {**raw, "started_at": ""}


def whole(root: Path) -> tuple[PlayedBench, Matrix]:
    bench, kept = PlayedBench(spofs), CampaignStore.begin(comparison(), root)
    carry_out(comparison(), kept, bench)
    return bench, outcome.outcome(comparison(), kept)


@dataclass(frozen=True)
class Through:
    """A comparison that was carried out in one go. It is looked at only: the tests share it."""

    root: Path
    bench: PlayedBench
    matrix: Matrix


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Through:
    root = tmp_path_factory.mktemp("through")
    return Through(root, *whole(root))


def test_each_stage_is_started_fresh_once_and_removed_when_it_is_through(through: Through) -> None:
    bench = through.bench
    assert [done for done in bench.done if not done.startswith("trial")] == [
        "start redundancy-lab-2 fresh",
        "stop redundancy-lab-2",
        "start redundancy-lab-3 fresh",
        "stop redundancy-lab-3",
    ]
    trials = [done.split()[1:4] for done in bench.done if done.startswith("trial")]
    assert sorted(trials) == [
        ["redundancy-lab-2", "kill-web", "1"],
        ["redundancy-lab-2", "kill-web", "2"],
        ["redundancy-lab-3", "kill-lb", "1"],
        ["redundancy-lab-3", "kill-lb", "2"],
        ["redundancy-lab-3", "kill-web", "1"],
        ["redundancy-lab-3", "kill-web", "2"],
    ]


def test_the_matrix_has_what_was_measured_and_what_does_not_apply(through: Through) -> None:
    matrix = through.matrix
    assert [(row.name, row.boxes, row.memory_mib) for row in matrix.rows] == [
        ("2-separate-database", 2, 400),
        ("3-load-balancer", 4, 500),
    ]
    second, third = matrix.rows
    lacks = second.cell("kill-lb")
    assert lacks
    assert (lacks.applicable, lacks.verdict, lacks.why) == (False, None, ("stage 2 has no balancer",))
    gone, web = third.cell("kill-lb"), third.cell("kill-web")
    assert gone
    assert (gone.verdict, gone.downtime_censored, gone.downtimes_censored) == (Verdict.REFUTED, True, (True, True))
    assert gone.downtimes_s == pytest.approx((3.0, 3.0), abs=0.01)  # from 2 s until the healing at 5 s
    assert web
    assert web.downtimes_s == pytest.approx((0.1, 0.2), abs=0.04)  # until the first write is answered: every 31 ms there is one
    assert (web.verdict, web.trials, web.trials_valid, web.writes_lost) == (Verdict.HELD, 2, 2, 0)
    assert web.time_without_redundancy_s == pytest.approx(3.5 - 0.15, abs=0.04)
    assert [column.name for column in matrix.columns] == COLUMNS.split(",")


def test_a_row_says_what_its_figures_stand_on(through: Through) -> None:
    matrix = through.matrix
    assert [row.conditions for row in matrix.rows] == [CONDITIONS] * len(matrix.rows)
    assert matrix_file.from_document(json.loads(json.dumps(matrix.to_document()))) == matrix
    assert matrix.rows[0].conditions is not None


def test_unknown_conditions_are_no_reason_to_measure_nothing(tmp_path: Path) -> None:
    bench, kept = PlayedBench(spofs, unknown=LabError("no answer")), CampaignStore.begin(comparison(), tmp_path)
    carry_out(comparison(), kept, bench)
    matrix = outcome.outcome(comparison(), kept)
    assert [row.conditions for row in matrix.rows] == [None] * len(matrix.rows)
    assert figures(matrix) == figures(
        replace(matrix, rows=tuple(replace(row, conditions=None) for row in whole(tmp_path / "b")[1].rows))
    )
    with pytest.raises(PreflightError):
        carry_out(
            comparison(), CampaignStore.begin(comparison(), tmp_path / "c"), PlayedBench(unknown=PreflightError("no engine"))
        )


def test_a_cell_is_an_ordinary_run(through: Through) -> None:
    matrix = through.matrix
    cell = matrix.rows[1].cell("kill-web")
    assert cell
    folder = next(through.root.glob("compare/2*")) / cell.folder
    info, records = runs.read_run(folder)
    assert (info.experiment, info.stage, len(records)) == ("kill-web", 3, 2)
    assert json.loads((folder / "result.json").read_text())["verdict"] == "held"


def test_stages_are_asked_the_same_at_the_same_instants(through: Through) -> None:
    matrix = through.matrix
    seeds = []
    for row in matrix.rows:
        cell = row.cell("kill-web")
        assert cell
        _, records = runs.read_run(next(through.root.glob("compare/2*")) / cell.folder)
        seeds.append([record.seed for record in records])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 2


# 4 spans and 6 trials: whatever the instant of the cut, the rest is done and nothing twice.
@pytest.mark.parametrize("step", range(1, 11))
def test_it_goes_on_where_it_was_cut(through: Through, tmp_path: Path, step: int) -> None:
    root = tmp_path / "cut"
    first, second = PlayedBench(spofs, cut_at(step, KeyboardInterrupt())), PlayedBench(spofs)
    with pytest.raises(KeyboardInterrupt):
        carry_out(comparison(), CampaignStore.begin(comparison(), root), first)
    found = store.interrupted(comparison, "compare", None, root)
    assert found
    wanted, kept = found
    carry_out(wanted, kept, second)
    assert figures(outcome.outcome(wanted, kept)) == figures(through.matrix)
    trials = [done for bench in (first, second) for done in bench.done if done.startswith("trial")]
    assert len(trials) == len(set(trials)) == 6
    # A stage of which a trial is through goes on as it is; one that was only started is started fresh.
    assert sum(done.endswith("fresh") for done in (*first.done, *second.done)) in (2, 3)
    assert second.done[-1] == "stop redundancy-lab-3"


@pytest.mark.parametrize("step", [2, 5, 8])
def test_it_goes_on_where_it_was_killed(through: Through, tmp_path: Path, step: int) -> None:
    """With a real SIGKILL, after which no code can tidy up."""
    kept = CampaignStore.begin(comparison(), tmp_path / "killed")

    def work() -> None:
        carry_out(comparison(), kept, PlayedBench(spofs, kill_at(step)))

    process = get_context("fork").Process(target=work)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    carry_out(comparison(), kept, PlayedBench(spofs))
    assert figures(outcome.outcome(comparison(), kept)) == figures(through.matrix)


@pytest.mark.parametrize("characters", range(1, 120, 17))
def test_a_line_that_a_kill_cut_short_is_done_again(through: Through, tmp_path: Path, characters: int) -> None:
    root = tmp_path / "cut"
    kept = CampaignStore.begin(comparison(), root)
    with pytest.raises(KeyboardInterrupt):
        carry_out(comparison(), kept, PlayedBench(spofs, cut_at(4, KeyboardInterrupt())))
    file = kept.folder / "progress.jsonl"
    lines = file.read_text().rstrip("\n").splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1][:characters]]))
    carry_out(comparison(), kept, PlayedBench(spofs))
    assert figures(outcome.outcome(comparison(), kept)) == figures(through.matrix)


def test_what_a_killed_trial_left_makes_way(tmp_path: Path) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    bench = PlayedBench(spofs, cut_at(3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        carry_out(comparison(), kept, bench)
    # The trial that was cut had begun its journal.
    left = [folder for folder in kept.folder.glob("*/*/2*/trial-*") if not (folder / "trial.json").exists()]
    assert len(left) == 1
    carry_out(comparison(), kept, PlayedBench(spofs))
    assert (left[0] / "trial.json").exists()


def test_only_exactly_the_same_goes_on(tmp_path: Path) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    carry_out(comparison(), kept, PlayedBench())
    assert store.interrupted(comparison, "compare", None, tmp_path) is not None
    assert store.interrupted(comparison, "compare", 7, tmp_path) is not None
    assert store.interrupted(comparison, "compare", 8, tmp_path) is None
    assert store.interrupted(comparison, "spof", None, tmp_path) is None
    assert store.interrupted(lambda seed: comparison(seed, trials=3), "compare", None, tmp_path) is None
    assert store.interrupted(lambda seed: comparison(seed, columns="kill-web"), "compare", None, tmp_path) is None
    assert store.interrupted(lambda seed: comparison(seed, terms=CellTerms(7.0, 2.0)), "compare", None, tmp_path) is None
    assert store.interrupted(lambda seed: comparison(seed, load=LoadPlan(rate_per_s=50)), "compare", None, tmp_path) is None
    assert store.interrupted(lambda seed: comparison(seed, code="2"), "compare", None, tmp_path) is None
    # Trials of two states of the files are no one comparison.
    assert store.interrupted(lambda seed: comparison(seed, made_from="changed"), "compare", None, tmp_path) is None
    (kept.folder / store.RESULT_NAME).write_text("{}")
    assert store.interrupted(comparison, "compare", None, tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": LoadPlan(rate_per_s=50)}, "the load"),
        ({"trials": 3, "code": "2"}, "the trials, the lab's code"),
        ({"made_from": "changed"}, "the files of redundancy-lab-2, the files of redundancy-lab-3"),
        (
            {"terms": CellTerms(7.0, 2.0)},
            "the faults of redundancy-lab-2, or for how long, the faults of redundancy-lab-3, or for how long",
        ),
    ],
)
def test_why_it_does_not_go_on_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert store.why_not(comparison, "compare", None, tmp_path) == ""
    kept = CampaignStore.begin(comparison(), tmp_path)
    found = store.why_not(lambda seed: comparison(seed, **changes), "compare", None, tmp_path)
    assert found == f"{kept.folder} was interrupted, and differs in {said}"
    assert store.why_not(comparison, "compare", 8, tmp_path).endswith("differs in the seed")
    assert store.why_not(lambda _: sweep(), "compare", None, tmp_path).endswith("the trials, the stages")


def test_the_latest_goes_on_and_what_is_no_plan_is_passed_over(tmp_path: Path) -> None:
    folders = [CampaignStore.begin(comparison(), tmp_path).folder for _ in range(2)]
    (tmp_path / "compare" / "29990101T000000Z").mkdir()
    (tmp_path / "compare" / "29990101T000000Z" / "plan.json").write_text("no json")
    found = store.interrupted(comparison, "compare", None, tmp_path)
    assert found
    assert found[1].folder == max(folders)
    assert (tmp_path / "compare" / "latest").resolve() == folders[-1].resolve()


# What comes to nothing


@pytest.mark.parametrize(
    "error", [InconclusiveError("it does not settle"), HealError("db could not be undone"), UsageError("no box has it")]
)
def test_a_trial_that_breaks_off_is_tried_again_on_a_stage_that_is_started_fresh(tmp_path: Path, error: LabError) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    bench = PlayedBench(before=breaking("redundancy-lab-3 kill-lb 1", 1, error))
    heard = carry_out(comparison(), kept, bench)
    broken = [attempt for attempt, result in heard if result is None]
    assert [(attempt.column, attempt.number, attempt.broken_off) for attempt in broken] == [("kill-lb", 1, error.message)]
    assert bench.done.count("start redundancy-lab-3 fresh") == 2
    cell = outcome.outcome(comparison(), kept).rows[1].cell("kill-lb")
    assert cell
    assert (cell.trials, cell.trials_valid, cell.verdict) == (3, 2, Verdict.HELD)
    assert cell.why == (f"trial 1 was broken off: {error.message}",)


def test_an_interrupt_during_a_trial_that_could_not_be_healed_ends_the_campaign(tmp_path: Path) -> None:
    """The error says what is left broken, so it is what is raised; no further trial is begun."""

    def before(what: str) -> None:
        if "redundancy-lab-3 kill-lb 1" in what:
            with Deferred(lambda: None):
                os.kill(os.getpid(), signal.SIGINT)
                raise HealError("db could not be undone")

    kept = CampaignStore.begin(comparison(), tmp_path)
    bench = PlayedBench(before=before)
    with pytest.raises(HealError, match="db could not be undone"):
        carry_out(comparison(), kept, bench)
    assert not [each for each in bench.done if "redundancy-lab-3 kill-lb" in each]
    through = len(kept.attempts)
    # The same command goes on with that trial.
    rest = PlayedBench()
    carry_out(comparison(), kept, rest)
    assert len(kept.attempts) > through
    assert next(each for each in rest.done if each.startswith("trial")).startswith("trial redundancy-lab-3 kill-lb 1")


def regions(trials: int = 1) -> Campaign:
    stage = stages.find("7")
    cell_plans = design.comparison(stage, design.fault_specs("kill-region"), TERMS)
    return Campaign("compare", "Regions", 7, trials, LoadPlan(), (StagePlan(stage, cell_plans, "abc"),), stops=True, code="1")


def region_cell(bench: PlayedBench, root: Path, trials: int = 1) -> Cell:
    wanted, kept = regions(trials), CampaignStore.begin(regions(trials), root)
    carry_out(wanted, kept, bench)
    found = outcome.outcome(wanted, kept).rows[0].cell("kill-region")
    assert found
    return found


def test_a_region_whose_trial_came_to_nothing_is_tried_again(tmp_path: Path) -> None:
    bench = PlayedBench(before=breaking("kill-region 1", 1, InconclusiveError("it does not settle")))
    region_cell(bench, tmp_path)
    hit = Counter(line.split()[-1] for line in bench.done if line.startswith("trial"))
    assert hit == {"region:eu": 1, "region:us": 1, "region:witness": 1}


def test_the_figure_of_a_cell_is_that_of_its_worst_target(tmp_path: Path) -> None:
    """Users of two regions notice nothing: the median of all nine trials would be 0."""
    bench = PlayedBench(of_target={"region:eu": 1.0, "region:us": 0.0, "region:witness": 0.0})
    found = region_cell(bench, tmp_path, trials=3)
    assert [(each.target, each.trials_valid) for each in found.members] == [
        ("region:eu", 3),
        ("region:us", 3),
        ("region:witness", 3),
    ]
    assert (found.worst, found.trials, found.trials_valid, len(found.downtimes_s)) == ("region:eu", 3, 3, 3)
    assert found.downtime_median_s == pytest.approx(1.0, abs=0.02)
    assert [each.downtime_median_s for each in found.members[1:]] == [0.0, 0.0]
    assert matrix_words.cell_members(found) == "eu 1.02 s (us 0 s, witness 0 s)"
    assert matrix_words.cell_sentence(found).startswith("longest outage eu 1.02 s (us 0 s, witness 0 s); 75% interval ")
    assert (found.verdict, found.audits_incomplete) == (Verdict.HELD, 0)


def test_one_target_that_stays_away_refutes_the_cell(tmp_path: Path) -> None:
    found = region_cell(PlayedBench(of_target={"region:us": 4.0}), tmp_path)
    assert (found.verdict, found.worst, found.downtime_censored) == (Verdict.REFUTED, "region:us", True)


def test_a_target_without_a_valid_trial_leaves_the_cell_open(tmp_path: Path) -> None:
    bench = PlayedBench(before=breaking("region:us", 99, InconclusiveError("it does not settle")))
    found = region_cell(bench, tmp_path)
    assert (found.verdict, found.unmeasured, found.trials_fewest) == (Verdict.INCONCLUSIVE, ("region:us",), 0)
    assert found.worst in ("region:eu", "region:witness")
    assert "us no valid trial" in matrix_words.cell_members(found)


def test_cells_of_several_targets_survive_their_json(tmp_path: Path) -> None:
    wanted, kept = regions(2), CampaignStore.begin(regions(2), tmp_path)
    carry_out(wanted, kept, PlayedBench(of_target={"region:us": 4.0}))
    found = outcome.outcome(wanted, kept)
    assert from_document(json.loads(json.dumps(found.to_document()))) == found
    assert [row.title for row in found.rows] == ["Multi region"]


# Losses that would not have shown


def test_a_trial_after_which_a_database_was_not_read_is_counted(tmp_path: Path) -> None:
    kept, wanted = CampaignStore.begin(sweep(), tmp_path), sweep()
    carry_out(wanted, kept, PlayedBench(changes={"final_orders": {"db": None}}))
    cell = outcome.outcome(wanted, kept).rows[0].cells[0]
    assert (cell.writes_lost, cell.audits_incomplete, cell.losses_known) == (0, 1 + EXTRA_TRIALS, False)


@pytest.mark.parametrize(("phases", "unaudited"), [({"settle": 1.0}, False), ({"settle": 1.0, "start": 1.0}, True)])
def test_a_trial_that_was_broken_off_under_load_was_not_audited(phases: dict[str, float], unaudited: bool) -> None:
    assert Attempt("redundancy-lab-3", "kill-web", 1, False, "", "the load broke off", phases).is_unaudited is unaudited
    assert not Attempt("redundancy-lab-3", "kill-web", 1, True, "", "", phases).is_unaudited


def test_a_cell_that_never_works_ends_after_a_few_tries(tmp_path: Path) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    bench = PlayedBench(before=breaking("trial redundancy-lab-2", 99, InconclusiveError("it does not settle")))
    carry_out(comparison(), kept, bench)
    cell = outcome.outcome(comparison(), kept).rows[0].cell("kill-web")
    assert cell
    assert (cell.trials, cell.trials_valid, cell.verdict) == (2 + EXTRA_TRIALS, 0, Verdict.INCONCLUSIVE)
    assert len(cell.why) == 2 + EXTRA_TRIALS
    # After the last one nothing is to be done on that stage: it is not started only to be removed.
    assert bench.done.count("start redundancy-lab-2 fresh") == 2 + EXTRA_TRIALS


def test_a_trial_that_is_not_valid_is_replaced_and_shown(tmp_path: Path) -> None:
    kept, wanted = CampaignStore.begin(sweep(), tmp_path), sweep()
    carry_out(wanted, kept, PlayedBench(changes=NOT_BITTEN))
    cell = outcome.outcome(wanted, kept).rows[0].cells[0]
    assert (cell.trials, cell.trials_valid, cell.verdict) == (1 + EXTRA_TRIALS, 0, Verdict.INCONCLUSIVE)
    assert cell.why == ("the fault was not verified",)


@pytest.mark.parametrize("word", ["start", "trial", "stop"])
def test_a_machine_that_is_not_ready_ends_it_and_what_is_through_stays(tmp_path: Path, word: str) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    error = PreflightError("stage 3 needs 400 MiB")
    with pytest.raises(PreflightError):
        carry_out(comparison(), kept, PlayedBench(before=breaking(f"{word} redundancy-lab-3", 1, error)))
    assert len(kept.of_stage(stages.find("2"))) == 2
    carry_out(comparison(), kept, PlayedBench())
    assert outcome.trials_left(comparison(), kept) == 0


def test_what_was_measured_and_is_gone_is_said(tmp_path: Path) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    carry_out(comparison(), kept, PlayedBench())
    run = kept.folder / kept.attempts[0].folder / "run.json"
    run.unlink()
    with pytest.raises(UsageError, match="what kill-web measured cannot be read") as gone:
        outcome.outcome(comparison(), kept)
    assert "--fresh" in gone.value.hint


def test_a_sweep_leaves_its_stage_up(tmp_path: Path) -> None:
    bench = PlayedBench()
    carry_out(sweep(), CampaignStore.begin(sweep(), tmp_path), bench)
    assert bench.done[0] == "start redundancy-lab-3 fresh"
    assert sorted(done.split()[-1] for done in bench.done[1:]) == ["service:db", "service:lb", "service:web1", "service:web2"]


def test_cells_that_nothing_was_tried_in_yet_are_left_out(tmp_path: Path) -> None:
    kept = CampaignStore.begin(comparison(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        carry_out(comparison(), kept, PlayedBench(before=cut_at(7, KeyboardInterrupt())))
    row = outcome.outcome(comparison(), kept).rows[1]
    assert row.cell("kill-standby") is not None  # it does not apply, whatever was tried
    assert sum(cell.applicable for cell in row.cells) == 1


# Where the time goes


def test_a_stopwatch_knows_each_phase() -> None:
    now = iter([0.0, 1.0, 3.0, 3.5, 10.0])
    watch = Stopwatch(lambda: next(now))
    for name in ("start", "baseline", "start"):
        watch.phase(name)
    assert watch.stop() == {"settle": 1.0, "start": 8.5, "baseline": 0.5}


def test_every_second_is_accounted_for(tmp_path: Path) -> None:
    kept = CampaignStore(tmp_path)
    attempt = Attempt("redundancy-lab-3", "kill-web", 1, True, "", "", {"settle": 1.0, "observe": 5.0})
    for done in (
        Span("redundancy-lab-3", "start", 20.0),
        attempt,
        replace(attempt, number=2, spent_s={"observe": 5.5}),
        Span("redundancy-lab-3", "stop", 3.0),
    ):
        kept.append(done)
    assert outcome.spent(kept) == {"stages: start": 20.0, "trials: observe": 10.5, "stages: stop": 3.0, "trials: settle": 1.0}
    assert kept.is_stopped(stages.find("3"))


def test_what_is_left_is_guessed_from_what_was_needed(tmp_path: Path) -> None:
    kept, wanted = CampaignStore.begin(comparison(), tmp_path), comparison()
    assert outcome.seconds_left(wanted, kept, guess_s=10.0) == 60.0
    kept.append(Attempt("redundancy-lab-3", "kill-web", 1, True, "", "", {"observe": 4.0}))
    assert outcome.seconds_left(wanted, kept, guess_s=10.0) == 20.0
