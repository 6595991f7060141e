"""`lab spof`: every part of a stage fails in turn."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click

from lab.analysis import conclusion, design, variants
from lab.campaign import outcome
from lab.campaign.plan import Campaign, StagePlan
from lab.campaign.resume import code_version
from lab.cli import campaigns
from lab.cli.campaigns import CampaignOptions, campaign_options
from lab.cli.options import EXIT_OF_VERDICT, Output, chosen_seed, gathered, json_option, pass_output, with_failover
from lab.cluster import images
from lab.errors import UsageError
from lab.model.experiment import TRIALS_MAX, LoadPlan
from lab.model.fault import FaultKind
from lab.model.topology import Stage
from lab.report import spof_terminal
from lab.spec import stages

DURATION_S = 7.0


@dataclass(frozen=True)
class SpofOptions:
    """What is done to the stage."""

    faults: str | None
    quick: bool
    pairs: bool
    sample: int | None
    trials: int
    require_alerts: bool

    def kinds(self) -> tuple[FaultKind, ...]:
        """The faults. Raises UsageError."""
        if self.sample is not None and not self.pairs:
            raise UsageError("--sample chooses among pairs", "--pairs --sample N")
        if self.quick:
            if self.faults is not None:
                raise UsageError("--quick chooses the faults", "without --faults, or without --quick")
            return variants.QUICK
        return design.kinds(self.faults or FaultKind.KILL)


@click.command()
@click.argument("stage_name", metavar="STAGE")
@click.option(
    "--faults", metavar="LIST", help="How each part fails: kill,pause,hang,power,...; all: in every way. [default: kill]"
)
@click.option("--quick", is_flag=True, help="One fault of each family: kill, hang, power, readonly, isolate.")
@click.option("--pairs", is_flag=True, help="Also every two boxes at once, to find hidden dependencies.")
@click.option("--sample", type=click.IntRange(1), help="Only so many pairs, at random.")
@click.option("--trials", type=click.IntRange(1, TRIALS_MAX), default=1, show_default=True, help="Valid trials of each.")
@click.option(
    "--require-alerts",
    is_flag=True,
    help="Exit with 1 also where a fault did harm and no page and no ticket reported it.",
)
@campaign_options(DURATION_S)
@json_option
@with_failover
@pass_output
@gathered(SpofOptions, "chosen")
@gathered(CampaignOptions, "options")
def spof(output: Output, stage_name: str, chosen: SpofOptions, options: CampaignOptions, failover: str | None) -> None:
    """Let every box of a stage fail in turn, then its zones and regions: which are single points of failure?

    Exits with 0 where these are the ones that the stage file declares, with 1 where they are not. Also says which faults no
    alert reported. The stage is started from scratch, and stays up.
    """
    stage = stages.find(stage_name, failover) if failover else stages.parse(stage_name)
    terms, kinds = options.terms(DURATION_S), chosen.kinds()

    def make(seed: int) -> Campaign:
        return _campaign(
            stage, design.sweep(stage, kinds, terms, seed, chosen.pairs, chosen.sample), seed, chosen.trials, options
        )

    if options.dry_run:
        campaigns.show_plan(output, make(chosen_seed(options.seed)), options, terms.fault_duration_s)
        return
    campaign, kept = campaigns.carry_out(output, make, "spof", options, terms.fault_duration_s)
    matrix, spent_s = outcome.outcome(campaign, kept), outcome.spent(kept)
    sought = conclusion.Sought(terms.tolerance_s, chosen.require_alerts)
    found = conclusion.of_spof(matrix, stage, campaign.stages[0].cell_plans, sought, spent_s)
    campaigns.keep(kept, found)
    if options.as_json:
        campaigns.show_document(output, kept, found)
    else:
        spof_terminal.show_spof(output.data, found, terms.tolerance_s)
        campaigns.show_folder(output, kept)
    sys.exit(EXIT_OF_VERDICT[found.verdict])


def _campaign(
    stage: Stage, cell_plans: tuple[design.CellPlan, ...], seed: int, trials: int, options: CampaignOptions
) -> Campaign:
    return Campaign(
        kind="spof",
        title=f"Stage {stage.name}: every part fails in turn",
        seed=seed,
        trials=trials,
        load=LoadPlan(rate_per_s=options.rate),
        stages=(StagePlan(stage, cell_plans, images.fingerprint(stage)),),
        stops=False,
        code=code_version(),
    )
