"""`lab compare`: the same faults at every stage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from lab.analysis import budget, conclusion, design, reliability
from lab.analysis import compare as compare_
from lab.analysis.conclusion import Gate
from lab.analysis.matrix import Matrix
from lab.analysis.reliability import Assumptions
from lab.analysis.stats import SHIFT_MIN_S
from lab.campaign import outcome
from lab.campaign.plan import Campaign, StagePlan
from lab.campaign.resume import code_version
from lab.campaign.store import CampaignStore
from lab.cli import campaigns
from lab.cli.campaigns import CampaignOptions, campaign_options
from lab.cli.options import EXIT_OF_VERDICT, Duration, Output, chosen_seed, gathered, json_option, pass_output
from lab.cluster import images
from lab.errors import UsageError
from lab.model.experiment import TRIALS_MAX, LoadPlan
from lab.model.topology import Stage
from lab.report import comparison_terminal
from lab.spec import stages
from lab.spec.located_yaml import place

DURATION_S = 6.0
TRIALS = 3
NAMED_MAX = 4
"""Cells that an error names."""


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, and with what."""

    faults: str | None
    trials: int | None
    budget_file: Path | None
    baseline: Path | None
    change_min: float | None
    assumptions: Path | None

    @property
    def shift_min_s(self) -> float:
        """The smallest change that counts (s)."""
        return SHIFT_MIN_S if self.change_min is None else self.change_min

    def check(self) -> None:
        """Raise UsageError for what does not go together."""
        if self.change_min is not None and not self.baseline:
            raise UsageError("--change-min is about a change against an older comparison", "--baseline OLD --change-min 50ms")


@dataclass(frozen=True)
class Inputs:
    """The files and names of the command line, read."""

    stages: tuple[Stage, ...]
    assumed: Assumptions
    limits: budget.Budget | None
    old: Matrix | None


@click.command()
@click.argument("stage_names", metavar="[STAGES]...", nargs=-1)
@click.option(
    "--faults",
    metavar="LIST",
    help="The columns: kill, kill-web, pause-primary, an experiment, ... [default: kill, or those of the budget]",
)
@click.option(
    "--trials",
    type=click.IntRange(1, TRIALS_MAX),
    help=f"Valid trials of each cell, of each zone and region. [default: {TRIALS}, or what the budget needs]",
)
@campaign_options(DURATION_S)
@click.option(
    "--budget", "budget_file", type=click.Path(path_type=Path), help="Limits for stages and faults: exit 1 if one is broken."
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="An older result.json: exit 1 if something is worse, beyond what is random.",
)
@click.option(
    "--change-min",
    type=Duration(),
    help=f"With --baseline: a smaller change does not count. [default: {SHIFT_MIN_S:g}s]",
)
@click.option(
    "--assumptions", type=click.Path(path_type=Path), help="What the availability model assumes, instead of lab/assumptions.yaml."
)
@json_option
@pass_output
@gathered(CompareOptions, "chosen")
@gathered(CampaignOptions, "options")
def compare(output: Output, stage_names: tuple[str, ...], chosen: CompareOptions, options: CampaignOptions) -> None:
    """Inject the same faults into every stage, and set the stages side by side.

    STAGES are numbers or folder names, 4:automatic for a stage's second file; without any: all. Each is started, and
    removed when it is through. After an interruption the same command continues.
    """
    terms = options.terms(DURATION_S)
    given = _read(stage_names, chosen, options)
    specs = design.watched_for(_fault_specs(chosen.faults, given.limits), options.duration)
    plans = {
        each.project: StagePlan(each, design.comparison(each, specs, terms), images.fingerprint(each)) for each in given.stages
    }
    trials = chosen.trials or (given.limits.trials if given.limits else TRIALS)

    def make(seed: int) -> Campaign:
        return _campaign(tuple(plans.values()), seed, trials, options)

    if given.old:
        _check_common(make(0), given.old, chosen.baseline)
    if options.dry_run:
        campaigns.show_plan(output, make(chosen_seed(options.seed)), options, terms.fault_duration_s)
        return
    found = _conclude(*campaigns.carry_out(output, make, "compare", options, terms.fault_duration_s), given, chosen)
    _show(output, found, options.as_json)


def _read(names: Sequence[str], chosen: CompareOptions, options: CampaignOptions) -> Inputs:
    """Everything that the command line names. Raises UsageError."""
    assumed = reliability.read(chosen.assumptions or reliability.FILE)
    limits = budget.read(chosen.budget_file) if chosen.budget_file else None
    found = _stages(names, limits)
    chosen.check()
    load = LoadPlan(rate_per_s=options.rate)
    old = conclusion.read_old(chosen.baseline, load.rate_per_s, load.deadline_s) if chosen.baseline else None
    return Inputs(found, assumed, limits, old)


def _campaign(plans: tuple[StagePlan, ...], seed: int, trials: int, options: CampaignOptions) -> Campaign:
    return Campaign(
        kind="compare",
        title="Stages under the same faults",
        seed=seed,
        trials=trials,
        load=LoadPlan(rate_per_s=options.rate),
        stages=plans,
        stops=True,
        code=code_version(),
    )


def _conclude(
    campaign: Campaign, kept: CampaignStore, given: Inputs, chosen: CompareOptions
) -> tuple[CampaignStore, conclusion.Conclusion]:
    found = conclusion.of_comparison(
        outcome.outcome(campaign, kept),
        given.stages,
        given.assumed,
        Gate(given.limits, given.old, chosen.shift_min_s),
        outcome.spent(kept),
    )
    campaigns.keep(kept, found)
    return kept, found


def _show(output: Output, concluded: tuple[CampaignStore, conclusion.Conclusion], as_json: bool) -> None:
    """Print what came of it, and exit with its code."""
    kept, found = concluded
    if as_json:
        campaigns.show_document(output, kept, found)
    else:
        comparison_terminal.show_comparison(output.data, found)
        campaigns.show_folder(output, kept)
    sys.exit(EXIT_OF_VERDICT[found.verdict])


def _check_common(planned: Campaign, old: Matrix, file: Path | None) -> None:
    """Raises UsageError where no planned cell is one of the older comparison's."""
    if compare_.in_common([(each.stage, each.cell_plans) for each in planned.stages], old):
        return
    wanted = [
        f"{each.stage.name}, {cell_plan.column}"
        for each in planned.stages
        for cell_plan in each.cell_plans
        if not cell_plan.missing
    ]
    had = [f"{row.name}, {cell.column}" for row in old.rows for cell in row.cells if cell.applicable]
    raise UsageError(
        f"{place(file)} has no cell that can be compared with what is planned ({_few(wanted)})",
        f"it has {_few(had)}; trials of several zones or regions in one sample cannot be compared with those of each",
    )


def _few(names: list[str]) -> str:
    """Some of many, in a line."""
    return "; ".join(names[:NAMED_MAX]) + (f"; {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else "") or "none"


def _stages(names: Sequence[str], limits: budget.Budget | None) -> tuple[Stage, ...]:
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
