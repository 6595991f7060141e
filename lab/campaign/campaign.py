"""A campaign: the trials of a comparison, or of a search for single points of failure, stage after stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Protocol

from lab import signals
from lab.analysis import design
from lab.analysis.design import NextTrial
from lab.campaign.plan import Campaign, StagePlan
from lab.campaign.store import Attempt, CampaignStore
from lab.errors import LabError, PreflightError
from lab.model.history import Arrival, Conditions, TrialRecord
from lab.model.result import TrialResult
from lab.model.topology import Stage
from lab.store.runs import RunJournal
from lab.trial.runner import Progress, RunConfig, info_of

Report = Callable[[Attempt, TrialResult | None], None]
"""Is called with each trial that is through; without a result where it was broken off."""


class Executor(Protocol):
    """What a campaign has done for it."""

    def start(self, stage: Stage, fresh: bool) -> None:
        """See that a stage is up and whole; fresh: whatever of it is there is removed first."""

    def stop(self, stage: Stage) -> None:
        """Remove a stage."""

    def conditions(self, stage: Stage) -> Conditions:
        """What the figures of a stage that is up will stand on."""

    def trial(self, config: RunConfig, number: int, run: RunJournal, progress: Progress) -> TrialResult:
        """One trial, with its journal. Raises LabError where it comes to nothing; then the stage may need a new start."""


def carry_out(campaign: Campaign, store: CampaignStore, executor: Executor, report: Report) -> None:
    """Do all that is not through.

    Raises what a start or stop of a stage raises, and KeyboardInterrupt; what is through is kept.
    """
    for each in campaign.stages:
        if design.next_cell(each.cell_plans, store.progress_of_cells(each.stage), campaign.trials, campaign.seed):
            _stage(campaign, each, store, executor, report)
        elif campaign.stops and store.of_stage(each.stage) and not store.is_stopped(each.stage):
            _stop(each, store, executor)


def _stage(campaign: Campaign, each: StagePlan, store: CampaignStore, executor: Executor, report: Report) -> None:
    # At its first trial a stage is as its file says: who plays which role is not left to what was done to it before.
    with store.timed(each.stage, "start"):
        executor.start(each.stage, fresh=not store.of_stage(each.stage))
    while next_cell := design.next_cell(each.cell_plans, store.progress_of_cells(each.stage), campaign.trials, campaign.seed):
        attempt, result = _attempt(campaign, each, next_cell, store, executor)
        store.append(attempt)
        report(attempt, result)
        more = design.next_cell(each.cell_plans, store.progress_of_cells(each.stage), campaign.trials, campaign.seed)
        if attempt.broken_off and (more or not campaign.stops):
            with store.timed(each.stage, "start"):
                executor.start(each.stage, fresh=True)
    if campaign.stops:
        _stop(each, store, executor)


def _stop(each: StagePlan, store: CampaignStore, executor: Executor) -> None:
    with store.timed(each.stage, "stop"):
        executor.stop(each.stage)


def _attempt(
    campaign: Campaign, each: StagePlan, next_cell: NextTrial, store: CampaignStore, executor: Executor
) -> tuple[Attempt, TrialResult | None]:
    """One trial. What comes to nothing is a result too: the stage did not settle, or could not be healed.

    Raises PreflightError, and any LabError during which the user interrupted.
    """
    cell_plan, variant = next_cell.cell_plan, next_cell.variant
    before = store.of_cell(each.stage, cell_plan.column)
    number = len(before) + 1
    config = RunConfig(
        each.stage,
        cell_plan.experiments[variant],
        campaign.load,
        design.seed_of(campaign.seed, cell_plan.column),
        campaign.trials,
    )
    info = info_of(config) if before else replace(info_of(config), conditions=_conditions(executor, each.stage))
    run = store.run_of(info, each.stage, cell_plan.column)
    watch = Stopwatch()
    attempt = Attempt(
        each.stage.project, cell_plan.column, number, False, str(run.folder.relative_to(store.folder)), variant=variant
    )
    try:
        result = executor.trial(config, number, run, watch)
    except PreflightError:
        raise
    except LabError as error:
        if signals.was_interrupted(error):  # the interrupt was for the whole campaign, and could not be raised before
            raise
        return replace(attempt, broken_off=error.message, spent_s=watch.stop()), None
    return replace(attempt, valid=result.valid, spent_s=watch.stop()), result


def _conditions(executor: Executor, stage: Stage) -> Conditions | None:
    """What the figures will stand on; None where that cannot be found out, which is no reason to measure nothing."""
    try:
        return executor.conditions(stage)
    except PreflightError:
        raise
    except LabError:
        return None


class Stopwatch:
    """A progress that only looks at the clock: the seconds of each phase."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._phase, self._since = "settle", clock()
        self._spent_s: dict[str, float] = {}

    def trial(self, number: int, seed: int) -> None:
        """Nothing."""

    def phase(self, name: str, detail: str = "") -> None:
        """The phase before ends."""
        now = self._clock()
        self._spent_s[self._phase] = self._spent_s.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = name, now

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Nothing."""

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""

    def stop(self) -> dict[str, float]:
        """The last phase ends; returns the seconds of each."""
        self.phase("")
        return {name: round(seconds, 3) for name, seconds in self._spent_s.items()}
