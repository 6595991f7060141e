"""A campaign: the trials of a comparison or a sweep, stage after stage; what is through is kept, and not done again.

results/compare/<time>/ (and results/sweep/<time>/)
    plan.json            what was asked for; who asks for the same again goes on here
    progress.jsonl       a line for each trial that is through, and for each start and stop of a stage
    <stage>/<column>/    the runs, as results/<stage>/<experiment>/ has them: one a cell
    matrix.json          the cells
    result.json          all that is made of them; with it, the campaign is through
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from lab import signals
from lab.analysis import design, run_document
from lab.analysis.design import CellPlan, CellProgress, NextTrial
from lab.analysis.matrix import Cell, Column, Matrix, Row, cell_of, not_applicable
from lab.errors import LabError, PreflightError, UsageError
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, Conditions, RunInfo, TrialRecord
from lab.model.result import RunResult, TrialResult
from lab.model.topology import Stage
from lab.spec import kept as documents
from lab.store import jsonl, paths, runs
from lab.store.jsonl import Lines
from lab.store.runs import RunJournal
from lab.trial.runner import Progress, RunConfig, conclude, info_of

RESULT_NAME = "result.json"


@dataclass(frozen=True)
class StagePlan:
    """What is done to one stage."""

    stage: Stage
    cell_plans: tuple[CellPlan, ...]
    made_from: str
    """The fingerprint of the files that it is started from."""


@dataclass(frozen=True)
class Campaign:
    """Everything that is to be done, in order."""

    kind: str
    """compare or sweep: the folder below results/."""
    title: str
    seed: int
    trials: int
    """Valid trials that each cell is to have."""
    load: LoadPlan
    stages: tuple[StagePlan, ...]
    stops: bool
    """Whether each stage is taken down when it is through."""
    code: str
    """The version of the lab's code that measures (resume.code_version)."""

    def asked(self) -> dict[str, Any]:
        """All that decides what is measured, as JSON has it."""
        stages = [
            {
                "project": each.stage.project,
                "made_from": each.made_from,
                "jobs": [asdict(cell_plan) for cell_plan in each.cell_plans],
            }
            for each in self.stages
        ]
        asked = {"seed": self.seed, "trials": self.trials, "load": asdict(self.load), "code": self.code, "stages": stages}
        return json.loads(json.dumps(asked))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Attempt:
    """A trial that is through."""

    stage: str
    """The project of its stage file."""
    column: str
    number: int
    valid: bool
    folder: str
    """Of its run, below that of the campaign."""
    broken_off: str = ""
    """Why it has no figures."""
    spent_s: dict[str, float] = field(default_factory=dict)
    """The seconds of each phase."""
    variant: int = 0
    """Which of the experiments of its cell it was, from 0."""

    @property
    def is_unaudited(self) -> bool:
        """Whether it was broken off after its load had begun: what it acknowledged was never looked for."""
        return bool(self.broken_off) and "start" in self.spent_s


@dataclass(frozen=True)
class Span:
    """Time that went into a stage and no trial."""

    stage: str
    what: str
    """start or stop."""
    spent_s: float


class Executor(Protocol):
    """What a campaign has done for it."""

    def start(self, stage: Stage, anew: bool) -> None:
        """See that a stage is up and whole; anew: whatever of it is there is removed first."""

    def stop(self, stage: Stage) -> None:
        """Remove a stage."""

    def conditions(self, stage: Stage) -> Conditions:
        """What the figures of a stage that is up will stand on."""

    def trial(self, order: RunConfig, number: int, run: RunJournal, progress: Progress) -> TrialResult:
        """One trial, with its journal. Raises LabError where it comes to nothing; then the stage may need a new start."""


class Kept:
    """The folder of a campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = Lines(folder / "progress.jsonl")

    @classmethod
    def begin(cls, campaign: Campaign, root: Path | None = None) -> Kept:
        """A new folder, with what was asked for in it."""
        started_at = paths.utc_now()
        folder = paths.new_folder((root or paths.RESULTS_FOLDER) / campaign.kind, paths.stamp(started_at))
        plan_document = {"title": campaign.title, "started_at": started_at, "asked": campaign.asked()}
        jsonl.write_whole(folder / "plan.json", plan_document)
        paths.point(folder.parent / "latest", folder)
        return cls(folder)

    @classmethod
    def unfinished(cls, kind: str, root: Path | None = None) -> list[Kept]:
        """Those that were interrupted, the latest first."""
        found = sorted(((root or paths.RESULTS_FOLDER) / kind).glob("*/plan.json"), reverse=True)
        folders = [file.parent for file in found if not file.parent.is_symlink()]
        return [cls(folder) for folder in folders if not (folder / RESULT_NAME).exists()]

    def plan(self) -> dict[str, Any]:
        """What was asked for: title, started_at, asked; empty where the file cannot be read."""
        try:
            found = documents.document(documents.content(self.folder / "plan.json"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("asked"), dict) else {}

    @property
    def seed(self) -> int | None:
        """Its seed; None where its plan cannot be read."""
        seed = self.plan().get("asked", {}).get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def attempts(self) -> list[Attempt]:
        """The trials that are through, in order."""
        return self._lines.of(Attempt, "attempt")

    @property
    def spans(self) -> list[Span]:
        """What stages took beside their trials."""
        return self._lines.of(Span, "span")

    def append(self, done: Attempt | Span) -> None:
        """Note what is through; on return it is on the disk."""
        self._lines.append({"attempt" if isinstance(done, Attempt) else "span": asdict(done)})

    def of_stage(self, stage: Stage) -> list[Attempt]:
        """The trials of a stage that are through."""
        return [each for each in self.attempts if each.stage == stage.project]

    def of_cell(self, stage: Stage, column: str) -> list[Attempt]:
        """The trials of one of its cells that are through."""
        return [each for each in self.of_stage(stage) if each.column == column]

    def progress_of_cells(self, stage: Stage) -> dict[tuple[str, int], CellProgress]:
        """How far each experiment of each cell of a stage is."""
        found: dict[tuple[str, int], CellProgress] = {}
        for each in self.of_stage(stage):
            before = found.get((each.column, each.variant), CellProgress())
            found[each.column, each.variant] = CellProgress(before.tried + 1, before.valid + each.valid)
        return found

    def is_stopped(self, stage: Stage) -> bool:
        """Whether a stage was taken down last."""
        spans = [span for span in self.spans if span.stage == stage.project]
        return bool(spans) and spans[-1].what == "stop"

    def run_of(self, info: RunInfo, stage: Stage, column: str) -> RunJournal:
        """The run of a cell: the one that was begun, or a new one."""
        begun = self.of_cell(stage, column)
        return RunJournal.reopen(self.folder / begun[0].folder) if begun else RunJournal(info, self.folder)

    @contextmanager
    def timed(self, stage: Stage, what: str) -> Iterator[None]:
        """Note how long something took, if it comes to its end."""
        since = monotonic()
        yield
        self.append(Span(stage.project, what, round(monotonic() - since, 3)))


def go_on(make: Callable[[int], Campaign], kind: str, seed: int | None, root: Path | None = None) -> tuple[Campaign, Kept] | None:
    """The latest interrupted campaign in which exactly this was asked for (with this seed, where one is given)."""
    for kept in Kept.unfinished(kind, root):
        if kept.seed is None or seed not in (None, kept.seed):
            continue
        campaign = make(kept.seed)
        if kept.plan().get("asked") == campaign.asked():
            return campaign, kept
    return None


WORDS = {
    "load": "the load",
    "code": "the lab's code",
    "made_from": "the files of {}",
    "jobs": "the faults of {}, or for how long",
}


def why_not(make: Callable[[int], Campaign], kind: str, seed: int | None, root: Path | None = None) -> str:
    """Why the latest interrupted campaign is not gone on with, in words; empty where there is none."""
    kept = next(iter(Kept.unfinished(kind, root)), None)
    if kept is None:
        return ""
    asked, wanted = kept.plan().get("asked"), make(kept.seed if kept.seed is not None and seed is None else seed or 0).asked()
    if not isinstance(asked, dict):
        return f"{kept.folder} does not say what was asked for"
    return f"{kept.folder} was interrupted, and differs in {', '.join(_differences(asked, wanted))}"


def _differences(asked: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What two campaigns do not have in common."""
    found = [WORDS.get(key, f"the {key}") for key in wanted if key != "stages" and asked.get(key) != wanted[key]]
    before, now = (_by_project(each.get("stages")) for each in (asked, wanted))
    if list(before) != list(now):
        return [*found, "the stages"]
    both = [(project, key) for project in now for key in ("made_from", "jobs") if before[project].get(key) != now[project][key]]
    return found + [WORDS[key].format(project) for project, key in both]


def _by_project(stages: Any) -> dict[str, dict[str, Any]]:
    whole = [each for each in stages if isinstance(each, dict)] if isinstance(stages, list) else []
    return {str(each.get("project")): each for each in whole}


def carry_out(campaign: Campaign, kept: Kept, bench: Executor, said: Callable[[Attempt, TrialResult | None], None]) -> None:
    """Do all that is not through.

    Raises what a start or stop of a stage raises, and KeyboardInterrupt; what is through is kept.
    """
    for each in campaign.stages:
        if design.next_cell(each.cell_plans, kept.progress_of_cells(each.stage), campaign.trials, campaign.seed):
            _stage(campaign, each, kept, bench, said)
        elif campaign.stops and kept.of_stage(each.stage) and not kept.is_stopped(each.stage):
            _stop(each, kept, bench)


def _stage(
    campaign: Campaign, each: StagePlan, kept: Kept, bench: Executor, said: Callable[[Attempt, TrialResult | None], None]
) -> None:
    # At its first trial a stage is as its file says: who plays which role is not left to what was done to it before.
    with kept.timed(each.stage, "start"):
        bench.start(each.stage, anew=not kept.of_stage(each.stage))
    while next_cell := design.next_cell(each.cell_plans, kept.progress_of_cells(each.stage), campaign.trials, campaign.seed):
        attempt, result = _attempt(campaign, each, next_cell, kept, bench)
        kept.append(attempt)
        said(attempt, result)
        more = design.next_cell(each.cell_plans, kept.progress_of_cells(each.stage), campaign.trials, campaign.seed)
        if attempt.broken_off and (more or not campaign.stops):
            with kept.timed(each.stage, "start"):
                bench.start(each.stage, anew=True)
    if campaign.stops:
        _stop(each, kept, bench)


def _stop(each: StagePlan, kept: Kept, bench: Executor) -> None:
    with kept.timed(each.stage, "stop"):
        bench.stop(each.stage)


def _attempt(
    campaign: Campaign, each: StagePlan, next_cell: NextTrial, kept: Kept, bench: Executor
) -> tuple[Attempt, TrialResult | None]:
    """One trial. What comes to nothing is a result too: the stage did not settle, or could not be healed.

    Raises PreflightError, and any LabError during which somebody interrupted.
    """
    cell_plan, variant = next_cell.cell_plan, next_cell.variant
    before = kept.of_cell(each.stage, cell_plan.column)
    number = len(before) + 1
    order = RunConfig(
        each.stage,
        cell_plan.experiments[variant],
        campaign.load,
        design.seed_of(campaign.seed, cell_plan.column),
        campaign.trials,
    )
    info = info_of(order) if before else replace(info_of(order), conditions=_conditions(bench, each.stage))
    run = kept.run_of(info, each.stage, cell_plan.column)
    watch = Stopwatch()
    attempt = Attempt(
        each.stage.project, cell_plan.column, number, False, str(run.folder.relative_to(kept.folder)), variant=variant
    )
    try:
        result = bench.trial(order, number, run, watch)
    except PreflightError:
        raise
    except LabError as error:
        if signals.was_interrupted(error):  # the interrupt was for the whole campaign, and could not be raised before
            raise
        return replace(attempt, broken_off=error.message, spent_s=watch.stop()), None
    return replace(attempt, valid=result.valid, spent_s=watch.stop()), result


def _conditions(bench: Executor, stage: Stage) -> Conditions | None:
    """What the figures will stand on; None where that cannot be found out, which is no reason to measure nothing."""
    try:
        return bench.conditions(stage)
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


# What came of it


def outcome(campaign: Campaign, kept: Kept) -> Matrix:
    """The cells, each computed anew from the journals of its trials. Cells that nothing was tried in yet are left out."""
    return Matrix(
        title=campaign.title,
        started_at=str(kept.plan().get("started_at", "")),
        seed=campaign.seed,
        rate_per_s=campaign.load.rate_per_s,
        deadline_s=campaign.load.deadline_s,
        columns=tuple(
            dict.fromkeys(Column(cell_plan.column, cell_plan.title) for each in campaign.stages for cell_plan in each.cell_plans)
        ),
        rows=tuple(_row(each, kept) for each in campaign.stages),
    )


def _row(each: StagePlan, kept: Kept) -> Row:
    attempts = kept.of_stage(each.stage)
    cells = [
        _cell(cell_plan, [done for done in attempts if done.column == cell_plan.column], kept, each.stage.is_replicated)
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
        conditions=runs.read_conditions(kept.folder / attempts[0].folder) if attempts else None,
    )


def _cell(cell_plan: CellPlan, attempts: Sequence[Attempt], kept: Kept, is_replicated: bool) -> Cell | None:
    if cell_plan.missing:
        return not_applicable(cell_plan.column, cell_plan.missing)
    if not attempts:
        return None
    result = _run(kept, attempts[0].folder, cell_plan)
    broken_off = [f"trial {each.number} was broken off: {each.broken_off}" for each in attempts if each.broken_off]
    hit = {each.number: cell_plan.targets[each.variant] if cell_plan.targets else "" for each in attempts}
    cell = cell_of(cell_plan.column, result, hit, cell_plan.targets, is_replicated)
    measured = {trial.number for trial in result.trials}
    unaudited = (cell.audits_incomplete or 0) + sum(each.is_unaudited for each in attempts if each.number not in measured)
    return replace(cell, why=(*cell.why, *broken_off), folder=attempts[0].folder, audits_incomplete=unaudited)


def _run(kept: Kept, folder: str, cell_plan: CellPlan) -> RunResult:
    """The run of a cell, from its journal; its own result.json is written with it."""
    try:
        found, _ = run_document.rebuild(kept.folder / folder)
    except UsageError as error:
        raise UsageError(f"what {cell_plan.column} measured is gone: {error.message}", "--fresh begins anew") from error
    return conclude(found.info, found.trials, RunJournal.reopen(kept.folder / folder))


def spent(kept: Kept) -> dict[str, float]:
    """Where the seconds went: start and stop of stages, and each phase of the trials; most of it first."""
    found: dict[str, float] = {}
    for span in kept.spans:
        found[f"stages: {span.what}"] = found.get(f"stages: {span.what}", 0.0) + span.spent_s
    for attempt in kept.attempts:
        for phase, seconds in attempt.spent_s.items():
            found[f"trials: {phase}"] = found.get(f"trials: {phase}", 0.0) + seconds
    return {name: round(seconds, 1) for name, seconds in sorted(found.items(), key=lambda each: -each[1])}


def trials_left(campaign: Campaign, kept: Kept) -> int:
    """How many trials are still to come, if all are valid."""
    return sum(design.left(each.cell_plans, kept.progress_of_cells(each.stage), campaign.trials) for each in campaign.stages)


def seconds_left(campaign: Campaign, kept: Kept, guess_s: float) -> float:
    """About how long the rest takes: as long a trial as those before, or as is guessed."""
    took = [sum(each.spent_s.values()) for each in kept.attempts]
    return trials_left(campaign, kept) * (sum(took) / len(took) if took else guess_s)
