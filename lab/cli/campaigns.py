"""The commands that run a campaign: sweep (every part of a stage fails in turn) and compare (every stage, the same faults)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any

import click

from lab.analysis import budget, conclusion, design, reliability
from lab.analysis import compare as compare_
from lab.analysis import matrix as matrices
from lab.analysis.conclusion import Conclusion
from lab.analysis.stats import SHIFT_MIN_S
from lab.campaign import campaign
from lab.campaign.campaign import Attempt, Campaign, Kept, StagePlan
from lab.campaign.executor import DockerExecutor
from lab.campaign.resume import code_version
from lab.cli.options import EXIT_OF_VERDICT, TRIALS_MAX, Duration, Output, json_option, pass_output, seed_option, with_failover
from lab.cluster import images, lifecycle, preflight
from lab.engine.engine import Engine
from lab.errors import HealError, UsageError
from lab.model.experiment import RATE_MAX_PER_S, LoadPlan
from lab.model.result import TrialResult
from lab.model.topology import Stage
from lab.report import tables
from lab.spec import stages
from lab.spec.located_yaml import place
from lab.store import jsonl
from lab.store.undo_log import UndoLedger

# Slower than this, what goes on after the healing would be too short to see the end of an outage in.
RATE_MIN_PER_S = 20.0
COMPARE_OBSERVE_S, SWEEP_OBSERVE_S = 6.0, 7.0
TOLERANCE_S = 5.0
"""What the slowest failover of any stage, that of a whole region, may take."""
MARGIN_S = 0.5
"""Watched for so much longer than the tolerance at least: an outage begins a moment after its fault."""
TRIALS = 3
NAMED_MAX = 4
"""Cells that an error names."""
OVERHEAD_S = 7.0
"""What a trial takes beside the watching, for the first guess."""

Make = Callable[[int], Campaign]


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--rate", type=click.FloatRange(RATE_MIN_PER_S, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second."),
        click.option("--observe", type=Duration(), help=f"How long to watch before healing (default: {COMPARE_OBSERVE_S:g}s; {SWEEP_OBSERVE_S:g}s for a sweep)."),
        click.option("--tolerance", type=Duration(), help=f"How long users may be without the service before it counts as gone (default: {TOLERANCE_S:g}s, less where less is watched)."),
        seed_option,
        click.option("--resume/--fresh", "resume", default=None, help="Go on with an interrupted one, or begin anew; by default the first if there is one."),
        click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _terms(fault_duration_s: float | None, tolerance_s: float | None, default_s: float) -> design.TestTerms:
    """What all cells share; what is tolerated must show within what is watched. Raises UsageError."""
    watched_s = default_s if fault_duration_s is None else fault_duration_s
    tolerated_s = min(TOLERANCE_S, watched_s - MARGIN_S) if tolerance_s is None else tolerance_s
    if not 0 <= tolerated_s < watched_s:
        raise UsageError(
            f"watching for {watched_s:g} s does not show whether an outage is longer than {max(tolerated_s, 0):g} s",
            "a longer --observe, or a shorter --tolerance",
        )
    return design.TestTerms(watched_s, tolerated_s)


@click.command()
@click.argument("stage_name", metavar="STAGE")
@click.option(
    "--faults", default="kill", show_default=True, metavar="LIST", help="How each part fails: kill,pause,crash,disconnect,..."
)
@click.option("--pairs", is_flag=True, help="Every two boxes at once as well, to find what hangs together.")
@click.option("--sample", type=click.IntRange(1), help="So many pairs by chance, instead of all.")
@click.option("--trials", type=click.IntRange(1, TRIALS_MAX), default=1, show_default=True, help="Valid trials of each.")
@_shared
@json_option
@with_failover
@pass_output
def sweep(
    output: Output,
    stage_name: str,
    faults: str,
    pairs: bool,
    sample: int | None,
    trials: int,
    rate: float,
    observe: float | None,
    tolerance: float | None,
    seed: int | None,
    resume: bool | None,
    dry_run: bool,
    as_json: bool,
    failover: str | None,
) -> None:
    """Let every box of a stage fail in turn, then its zones and regions: which are single points of failure?

    Exits with 0 where these are the ones that the stage file declares, with 1 where they are not. The stage is
    started anew, and stays up.
    """
    stage = stages.find(stage_name, failover) if failover else stages.parse(stage_name)
    terms, kinds = _terms(observe, tolerance, SWEEP_OBSERVE_S), design.kinds(faults)
    if sample is not None and not pairs:
        raise UsageError("--sample chooses among pairs", "--pairs --sample N")
    made_from = images.fingerprint(stage)

    def make(seed: int) -> Campaign:
        cell_plans = design.sweep(stage, kinds, terms, seed, pairs, sample)
        title = f"Stage {stage.name}: every part fails in turn"
        return Campaign(
            "sweep",
            title,
            seed,
            trials,
            LoadPlan(rate_per_s=rate),
            (StagePlan(stage, cell_plans, made_from),),
            stops=False,
            code=code_version(),
        )

    if dry_run:
        _show_plan(output, make(_seed(seed)), terms, as_json)
        return
    done, kept = _carry_out(output, make, "sweep", seed, resume, terms)
    found = conclusion.of_sweep(
        campaign.outcome(done, kept), stage, done.stages[0].cell_plans, terms.tolerance_s, campaign.spent(kept)
    )
    _keep(kept, found)
    if as_json:
        output.document({**found.to_document(), "folder": str(kept.folder)})
    else:
        tables.show_sweep(output.data, found, terms.tolerance_s)
        output.data.print(f"kept in {kept.folder}", highlight=False, soft_wrap=True)
    sys.exit(EXIT_OF_VERDICT[found.verdict])


@click.command()
@click.argument("stage_names", metavar="[STAGES]...", nargs=-1)
@click.option(
    "--faults",
    metavar="LIST",
    help="The columns: kill, kill-web, pause-primary, an experiment, ... (default: kill, or those of the budget).",
)
@click.option(
    "--trials",
    type=click.IntRange(1, TRIALS_MAX),
    help=f"Valid trials of each cell, of each zone and region (default: {TRIALS}, or what the budget needs).",
)
@_shared
@click.option(
    "--budget", "budget_file", type=click.Path(path_type=Path), help="Limits for stages and faults: exit 1 where one is broken."
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="An older result.json: exit 1 where something has become worse, and not by chance.",
)
@click.option(
    "--change-min",
    type=Duration(),
    help=f"With --against: a smaller change does not count (default: {SHIFT_MIN_S:g}s).",
)
@click.option(
    "--assumptions", type=click.Path(path_type=Path), help="What the availability model assumes, instead of lab/assumptions.yaml."
)
@json_option
@pass_output
def compare(
    output: Output,
    stage_names: tuple[str, ...],
    faults: str | None,
    trials: int | None,
    rate: float,
    observe: float | None,
    tolerance: float | None,
    seed: int | None,
    resume: bool | None,
    dry_run: bool,
    budget_file: Path | None,
    regressions: Path | None,
    change_min: float | None,
    assumptions: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Do the same faults to every stage, and set the stages side by side.

    STAGES are numbers or folder names, 4:automatic for a stage's second file; all without any. Each is started, and
    removed when it is through. Called again after an interruption, it goes on where it stopped.
    """
    terms, assumed = _terms(observe, tolerance, COMPARE_OBSERVE_S), reliability.read(assumptions or reliability.FILE)
    limits = budget.read(budget_file) if budget_file else None
    chosen = _stages(stage_names, limits)
    wished = design.watched_for(_fault_specs(faults, limits), observe)
    load = LoadPlan(rate_per_s=rate)
    if change_min is not None and not regressions:
        raise UsageError("--change-min is about a change against an older comparison", "--against OLD --change-min 50ms")
    old = conclusion.read_old(regressions, load.rate_per_s, load.deadline_s) if regressions else None
    wanted = trials or (limits.trials if limits else TRIALS)
    made_from = {stage.project: images.fingerprint(stage) for stage in chosen}

    def make(seed: int) -> Campaign:
        planned = tuple(StagePlan(stage, design.comparison(stage, wished, terms), made_from[stage.project]) for stage in chosen)
        return Campaign("compare", "Stages under the same faults", seed, wanted, load, planned, stops=True, code=code_version())

    if old:
        _check_common(make(0), old, regressions)
    if dry_run:
        _show_plan(output, make(_seed(seed)), terms, as_json)
        return
    done, kept = _carry_out(output, make, "compare", seed, resume, terms)
    outcome, spent = campaign.outcome(done, kept), campaign.spent(kept)
    found = conclusion.of_comparison(
        outcome, chosen, assumed, limits, old, spent, SHIFT_MIN_S if change_min is None else change_min
    )
    _keep(kept, found)
    if as_json:
        output.document({**found.to_document(), "folder": str(kept.folder)})
    else:
        tables.show_comparison(output.data, found)
        output.data.print(f"kept in {kept.folder}", highlight=False, soft_wrap=True)
    sys.exit(EXIT_OF_VERDICT[found.verdict])


def _check_common(planned: Campaign, old: matrices.Matrix, file: Path | None) -> None:
    """Raises UsageError where nothing that is to be measured can be held against the older comparison."""
    if compare_.in_common([(each.stage, each.cell_plans) for each in planned.stages], old):
        return
    asked = [
        f"{each.stage.name}, {cell_plan.column}"
        for each in planned.stages
        for cell_plan in each.cell_plans
        if not cell_plan.missing
    ]
    had = [f"{row.name}, {cell.column}" for row in old.rows for cell in row.cells if cell.applicable]
    raise UsageError(
        f"{place(file)} has no cell that can be compared with what is asked for ({_few(asked)})",
        f"it has {_few(had)}; trials of several zones or regions in one sample cannot be compared with those of each",
    )


def _few(names: list[str]) -> str:
    """Some of many, in a line."""
    return "; ".join(names[:NAMED_MAX]) + (f"; {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else "") or "none"


def _stages(names: tuple[str, ...], limits: budget.Budget | None) -> tuple[Stage, ...]:
    """Those that are named; without any those of the budget; without one all."""
    if not names:
        return limits.stages if limits else stages.all_stages()
    chosen = tuple(stages.parse(name) for name in names)
    if len({stage.project for stage in chosen}) < len(chosen):
        raise UsageError("a stage is named twice", "lab compare 3 4 4:automatic")
    return chosen


def _fault_specs(faults: str | None, limits: budget.Budget | None) -> tuple[design.FaultSpec, ...]:
    if faults is None and limits:
        return limits.fault_specs
    return design.fault_specs("kill" if faults is None else faults)


def _seed(seed: int | None) -> int:
    return SystemRandom().randrange(2**31) if seed is None else seed


def _show_plan(output: Output, planned: Campaign, terms: design.TestTerms, as_json: bool) -> None:
    total = sum(design.left(each.cell_plans, {}, planned.trials) for each in planned.stages)
    if as_json:
        output.document({**planned.asked(), "trials_total": total})
        return
    output.data.print(
        f"seed {planned.seed}; {total} trials, about {_minutes(total, terms)} min without starting stages", highlight=False
    )
    for each in planned.stages:
        for cell_plan in each.cell_plans:
            each_has = f" ({planned.trials} trials of each)" if cell_plan.targets else ""
            steps = "; ".join(str(step) for experiment in cell_plan.experiments for step in experiment.faults) + each_has
            output.data.print(
                f"{each.stage.name}  {cell_plan.column}: {steps or 'not applicable: ' + cell_plan.missing}",
                highlight=False,
                soft_wrap=True,
            )


def _minutes(trials: int, terms: design.TestTerms) -> int:
    return round(trials * (terms.fault_duration_s + OVERHEAD_S) / 60)


def _carry_out(
    output: Output, make: Make, kind: str, seed: int | None, resume: bool | None, terms: design.TestTerms
) -> tuple[Campaign, Kept]:
    """Begin or go on, to the end. An interrupt passes through: what is through by then is kept."""
    engine, ledger = Engine(), UndoLedger()
    with lifecycle.alone(engine, f"lab {kind}"):
        preflight.check_no_open_faults(ledger)
        wanted, kept = _begin(output, make, kind, seed, resume)
        images.build(engine, output.say)
        bench = DockerExecutor(engine, ledger, {each.stage.project for each in wanted.stages}, output.say)
        try:
            campaign.carry_out(wanted, kept, bench, _teller(output, wanted, kept, terms))
        except (KeyboardInterrupt, HealError):
            output.say(f"{len(kept.attempts)} trials are through and kept; the same command goes on with the rest")
            raise
    return wanted, kept


def _begin(output: Output, make: Make, kind: str, seed: int | None, resume: bool | None) -> tuple[Campaign, Kept]:
    found = campaign.go_on(make, kind, seed) if resume is not False else None
    if found:
        output.say(f"going on with seed {found[0].seed}: {len(found[1].attempts)} trials are through, in {found[1].folder}")
        return found
    why_not = campaign.why_not(make, kind, seed) if resume is not False else ""
    if resume:
        raise UsageError(
            f"no interrupted {kind} of exactly this is kept" + (f": {why_not}" if why_not else ""),
            "the same stages, faults, trials, load, files and code; without --resume a new one is begun",
        )
    if why_not:
        output.say(f"a new one is begun: {why_not}")
    fresh = make(_seed(seed))
    kept = Kept.begin(fresh)
    output.say(f"seed {fresh.seed}; kept in {kept.folder}")
    return fresh, kept


def _teller(
    output: Output, wanted: Campaign, kept: Kept, terms: design.TestTerms
) -> Callable[[Attempt, TrialResult | None], None]:
    """Says a line for each trial that is through."""
    names = {each.stage.project: each.stage.name for each in wanted.stages}

    def said(attempt: Attempt, result: TrialResult | None) -> None:
        done, left = len(kept.attempts), campaign.trials_left(wanted, kept)
        left_s = campaign.seconds_left(wanted, kept, terms.fault_duration_s + OVERHEAD_S)
        name = names[attempt.stage]
        output.say(tables.trial_line(done, done + left, name, attempt.column, result, attempt.broken_off, left_s))

    return said


def _keep(kept: Kept, found: Conclusion) -> None:
    """Write it down; result.json last, for with it the campaign is through."""
    matrices.write(found.matrix, kept.folder / matrices.FILE_NAME)
    jsonl.write_whole(kept.folder / campaign.RESULT_NAME, found.to_document())
