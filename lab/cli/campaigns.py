"""What `lab compare` and `lab spof` share: their options, the plan, and carrying it out to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from lab.analysis import design, matrix_file
from lab.analysis.conclusion import Conclusion
from lab.campaign import campaign as campaigns
from lab.campaign import outcome, store
from lab.campaign.executor import DockerExecutor
from lab.campaign.plan import Campaign
from lab.campaign.store import Attempt, CampaignStore
from lab.cli.options import Duration, Output, chosen_seed, seed_option, with_options
from lab.cluster import images, lifecycle, preflight
from lab.engine.docker_engine import DockerEngine
from lab.errors import HealError, UsageError
from lab.model.experiment import CAMPAIGN_RATE_MIN_PER_S, RATE_MAX_PER_S
from lab.model.result import TrialResult
from lab.report import comparison_document, comparison_terminal, words
from lab.report.comparison_terminal import TrialPlace
from lab.store import jsonl
from lab.store.undo_log import UndoLog

TOLERANCE_S = 5.0
"""What the slowest failover of any stage, that of a whole region, may take."""
MARGIN_S = 0.5
"""The fault lasts longer than the tolerance by this much at least: an outage begins a moment after its fault."""
OVERHEAD_S = 7.0
"""What a trial takes beside its fault, for the first guess."""

Make = Callable[[int], Campaign]
"""The campaign of a seed."""


@dataclass(frozen=True)
class CampaignOptions:
    """What both commands may be given."""

    rate: float
    duration: float | None
    tolerance: float | None
    seed: int | None
    resume: bool | None
    dry_run: bool
    as_json: bool

    def terms(self, default_s: float) -> design.CellTerms:
        """What all cells share; what is tolerated must show within the duration of a fault. Raises UsageError."""
        duration_s = default_s if self.duration is None else self.duration
        tolerated_s = min(TOLERANCE_S, duration_s - MARGIN_S) if self.tolerance is None else self.tolerance
        if not 0 <= tolerated_s < duration_s:
            raise UsageError(
                f"a fault of {duration_s:g} s does not show whether an outage is longer than {max(tolerated_s, 0):g} s",
                "a longer --duration, or a shorter --tolerance",
            )
        return design.CellTerms(duration_s, tolerated_s)


def campaign_options(default_s: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that both commands have; default_s: how long a fault lasts (s) where nothing else is said."""
    return with_options(
        click.option(
            "--rate",
            type=click.FloatRange(CAMPAIGN_RATE_MIN_PER_S, RATE_MAX_PER_S),
            default=100.0,
            show_default=True,
            help="Requests a second.",
        ),
        click.option(
            "--duration", type=Duration(), help=f"How long a fault lasts before it is healed. [default: {default_s:g}s]"
        ),
        click.option(
            "--tolerance",
            type=Duration(),
            help=f"The longest outage that counts as survived. [default: {TOLERANCE_S:g}s, less with a shorter duration]",
        ),
        seed_option,
        click.option(
            "--resume/--fresh",
            "resume",
            default=None,
            help="Continue an interrupted one, or start again; without either: continue if there is one.",
        ),
        click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing."),
    )


def carry_out(
    output: Output, make: Make, kind: str, options: CampaignOptions, duration_s: float
) -> tuple[Campaign, CampaignStore]:
    """Begin or continue, to the end; what is through at an interrupt is kept. Raises LabError, KeyboardInterrupt."""
    engine, ledger = DockerEngine(), UndoLog()
    with lifecycle.alone(engine, f"lab {kind}"):
        preflight.check_no_open_faults(ledger)
        campaign, kept = _begin(output, make, kind, options)
        left_s = outcome.seconds_left(campaign, kept, duration_s + OVERHEAD_S)
        output.say(f"to do: {_amount(outcome.trials_left(campaign, kept), left_s)}")
        images.build(engine, output.say, images.needed_by(*(each.stage for each in campaign.stages)))
        executor = DockerExecutor(engine, ledger, {each.stage.project for each in campaign.stages}, output.say)
        try:
            campaigns.carry_out(campaign, kept, executor, _trial_reporter(output, campaign, kept, duration_s))
        except (KeyboardInterrupt, HealError):
            output.say(f"{len(kept.attempts)} trials are through and kept; the same command continues with the rest")
            raise
    return campaign, kept


def _begin(output: Output, make: Make, kind: str, options: CampaignOptions) -> tuple[Campaign, CampaignStore]:
    may_continue = options.resume is not False
    if may_continue and (found := store.interrupted(make, kind, options.seed)):
        output.say(f"continuing with seed {found[0].seed}: {len(found[1].attempts)} trials are through, in {found[1].folder}")
        return found
    why_not = store.why_not(make, kind, options.seed) if may_continue else ""
    if options.resume:
        raise UsageError(
            f"no interrupted {kind} with exactly this request is kept" + (f": {why_not}" if why_not else ""),
            "the same stages, faults, trials, load, files and code; without --resume a new one is begun",
        )
    if why_not:
        output.say(f"a new one is begun: {why_not}")
    campaign = make(chosen_seed(options.seed))
    kept = CampaignStore.begin(campaign)
    output.say(f"seed {campaign.seed}; kept in {kept.folder}")
    return campaign, kept


def _trial_reporter(output: Output, campaign: Campaign, kept: CampaignStore, duration_s: float) -> campaigns.Report:
    """Prints a line for each trial that is through."""
    names = {each.stage.project: each.stage.name for each in campaign.stages}

    def report(attempt: Attempt, result: TrialResult | None) -> None:
        done, left = len(kept.attempts), outcome.trials_left(campaign, kept)
        left_s = outcome.seconds_left(campaign, kept, duration_s + OVERHEAD_S)
        place = TrialPlace(done, done + left, names[attempt.stage], attempt.column, left_s)
        output.say(comparison_terminal.trial_line(place, result, attempt.broken_off))

    return report


def show_plan(output: Output, campaign: Campaign, options: CampaignOptions, duration_s: float) -> None:
    """Print what would be done."""
    total = sum(design.left(each.cell_plans, {}, campaign.trials) for each in campaign.stages)
    if options.as_json:
        output.document({**campaign.request(), "trials_total": total})
        return
    amount = _amount(total, total * (duration_s + OVERHEAD_S))
    output.data.print(f"seed {campaign.seed}; {amount}", highlight=False)
    for each in campaign.stages:
        for cell_plan in each.cell_plans:
            line = f"{each.stage.name}  {cell_plan.column}: {_steps_of(cell_plan, campaign.trials)}"
            output.data.print(line, highlight=False, soft_wrap=True)


def _amount(trials: int, seconds: float) -> str:
    """How much is to be done, and about how long that takes."""
    return f"{words.count(trials, 'trial')}, about {round(seconds / 60)} min without starting stages"


def _steps_of(cell_plan: design.CellPlan, trials: int) -> str:
    steps = "; ".join(str(step) for experiment in cell_plan.experiments for step in experiment.faults)
    of_each = f" ({trials} trials of each)" if cell_plan.targets else ""
    return f"{steps}{of_each}" if steps else f"not applicable: {cell_plan.missing}"


def keep(kept: CampaignStore, found: Conclusion) -> None:
    """Write it down; result.json last, for with it the campaign is through."""
    matrix_file.write(found.matrix, kept.folder / matrix_file.FILE_NAME)
    jsonl.write_whole(kept.folder / store.RESULT_NAME, comparison_document.as_document(found))


def show_document(output: Output, kept: CampaignStore, found: Conclusion) -> None:
    """Print it as one JSON document."""
    output.document({**comparison_document.as_document(found), "folder": str(kept.folder)})


def show_folder(output: Output, kept: CampaignStore) -> None:
    """Print where it is kept."""
    output.data.print(f"kept in {kept.folder}", highlight=False, soft_wrap=True)
