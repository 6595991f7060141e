"""What came of a campaign so far: its cells, where the time went, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab.analysis import design, run_document
from lab.analysis.cell import Targets, cell_of, not_applicable
from lab.analysis.design import CellPlan
from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.campaign.plan import Campaign, StagePlan
from lab.campaign.store import Attempt, CampaignStore
from lab.errors import UsageError
from lab.model.result import RunResult
from lab.store import runs
from lab.store.runs import RunJournal
from lab.trial.runner import conclude


def outcome(campaign: Campaign, store: CampaignStore) -> Matrix:
    """The cells, each computed anew from the journals of its trials. Cells that nothing was tried in yet are left out."""
    return Matrix(
        title=campaign.title,
        started_at=str(store.plan().get("started_at", "")),
        seed=campaign.seed,
        rate_per_s=campaign.load.rate_per_s,
        deadline_s=campaign.load.deadline_s,
        columns=tuple(
            dict.fromkeys(
                Column(cell_plan.column, cell_plan.title, cell_plan.members, cell_plan.way)
                for each in campaign.stages
                for cell_plan in each.cell_plans
            )
        ),
        rows=tuple(_row(each, store) for each in campaign.stages),
    )


def _row(each: StagePlan, store: CampaignStore) -> Row:
    attempts = store.of_stage(each.stage)
    cells = [
        _cell(cell_plan, [done for done in attempts if done.column == cell_plan.column], store, each.stage.is_replicated)
        for cell_plan in each.cell_plans
    ]
    return Row(
        stage=each.stage.number,
        name=each.stage.name,
        failover=each.stage.failover,
        boxes=len(design.boxes_of(each.stage)),
        memory_mib=each.stage.memory_mib,
        cells=tuple(cell for cell in cells if cell),
        title=each.stage.title,
        conditions=runs.read_conditions(store.folder / attempts[0].folder) if attempts else None,
    )


def _cell(cell_plan: CellPlan, attempts: Sequence[Attempt], store: CampaignStore, is_replicated: bool) -> Cell | None:
    if cell_plan.missing:
        return not_applicable(cell_plan.column, cell_plan.missing)
    if not attempts:
        return None
    result = _run(store, attempts[0].folder, cell_plan)
    broken_off = [f"trial {each.number} was broken off: {each.broken_off}" for each in attempts if each.broken_off]
    hit = {each.number: cell_plan.targets[each.variant] if cell_plan.targets else "" for each in attempts}
    cell = cell_of(cell_plan.column, result, Targets(tuple(cell_plan.targets), hit), is_replicated)
    measured = {trial.number for trial in result.trials}
    unaudited = cell.audits_incomplete + sum(each.is_unaudited for each in attempts if each.number not in measured)
    return replace(cell, why=(*cell.why, *broken_off), folder=attempts[0].folder, audits_incomplete=unaudited)


def _run(store: CampaignStore, folder: str, cell_plan: CellPlan) -> RunResult:
    """The run of a cell, from its journal; its own result.json is written with it."""
    try:
        found, _ = run_document.rebuild(store.folder / folder)
    except UsageError as error:
        raise UsageError(f"what {cell_plan.column} measured cannot be read: {error.message}", "--fresh starts again") from error
    return conclude(found.info, found.trials, RunJournal.reopen(store.folder / folder))


def spent(store: CampaignStore) -> dict[str, float]:
    """Where the seconds went: start and stop of stages, and each phase of the trials; most of it first."""
    found: dict[str, float] = {}
    for span in store.spans:
        found[f"stages: {span.what}"] = found.get(f"stages: {span.what}", 0.0) + span.spent_s
    for attempt in store.attempts:
        for phase, seconds in attempt.spent_s.items():
            found[f"trials: {phase}"] = found.get(f"trials: {phase}", 0.0) + seconds
    return {name: round(seconds, 1) for name, seconds in sorted(found.items(), key=lambda each: -each[1])}


def trials_left(campaign: Campaign, store: CampaignStore) -> int:
    """How many trials are still to come, if all are valid."""
    return sum(design.left(each.cell_plans, store.progress_of_cells(each.stage), campaign.trials) for each in campaign.stages)


def seconds_left(campaign: Campaign, store: CampaignStore, guess_s: float) -> float:
    """About how long the rest takes: as long a trial as those before, or as is guessed."""
    took = [sum(each.spent_s.values()) for each in store.attempts]
    return trials_left(campaign, store) * (sum(took) / len(took) if took else guess_s)
