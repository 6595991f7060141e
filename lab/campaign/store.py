"""What is kept of a campaign, and whether an interrupted one may be continued.

results/compare/<time>/ (and results/spof/<time>/)
    plan.json            the request; the same request continues here
    progress.jsonl       a line for each trial that is through, and for each start and stop of a stage
    <stage>/<column>/    the runs, as results/<stage>/<experiment>/ has them: one a cell
    matrix.json          the cells
    result.json          all that is made of them; with it, the campaign is through
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from lab.analysis.design import CellProgress
from lab.campaign.plan import Campaign
from lab.model.history import RunInfo
from lab.model.topology import Stage
from lab.spec import kept as documents
from lab.store import jsonl, paths
from lab.store.jsonl import Lines
from lab.store.runs import RunJournal

RESULT_NAME = "result.json"


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


class CampaignStore:
    """The folder of a campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = Lines(folder / "progress.jsonl")

    @classmethod
    def begin(cls, campaign: Campaign, root: Path | None = None) -> CampaignStore:
        """A new folder, with the request in it."""
        started_at = paths.utc_now()
        folder = paths.new_folder((root or paths.RESULTS_FOLDER) / campaign.kind, paths.stamp(started_at))
        plan_document = {"title": campaign.title, "started_at": started_at, "request": campaign.request()}
        jsonl.write_whole(folder / "plan.json", plan_document)
        paths.point(folder.parent / "latest", folder)
        return cls(folder)

    @classmethod
    def unfinished(cls, kind: str, root: Path | None = None) -> list[CampaignStore]:
        """Those that were interrupted, the latest first."""
        found = sorted(((root or paths.RESULTS_FOLDER) / kind).glob("*/plan.json"), reverse=True)
        folders = [file.parent for file in found if not file.parent.is_symlink()]
        return [cls(folder) for folder in folders if not (folder / RESULT_NAME).exists()]

    def plan(self) -> dict[str, Any]:
        """title, started_at, request; empty where the file cannot be read."""
        try:
            found = documents.document(documents.content(self.folder / "plan.json"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("request"), dict) else {}

    @property
    def seed(self) -> int | None:
        """Its seed; None where its plan cannot be read."""
        seed = self.plan().get("request", {}).get("seed")
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


# Continuing


def interrupted(
    make: Callable[[int], Campaign], kind: str, seed: int | None, root: Path | None = None
) -> tuple[Campaign, CampaignStore] | None:
    """The latest interrupted campaign with exactly this request (and this seed, where one is given)."""
    for store in CampaignStore.unfinished(kind, root):
        if store.seed is None or seed not in (None, store.seed):
            continue
        campaign = make(store.seed)
        if store.plan().get("request") == campaign.request():
            return campaign, store
    return None


WORDS = {
    "load": "the load",
    "code": "the lab's code",
    "made_from": "the files of {}",
    "cells": "the faults of {}, or for how long",
}


def why_not(make: Callable[[int], Campaign], kind: str, seed: int | None, root: Path | None = None) -> str:
    """Why the latest interrupted campaign is not continued, in words; empty where there is none."""
    store = next(iter(CampaignStore.unfinished(kind, root)), None)
    if store is None:
        return ""
    before = store.plan().get("request")
    if not isinstance(before, dict):
        return f"{store.folder} does not say what was requested"
    now = make(store.seed if store.seed is not None and seed is None else seed or 0).request()
    return f"{store.folder} was interrupted, and differs in {', '.join(_differences(before, now))}"


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two requests do not have in common."""
    found = [WORDS.get(key, f"the {key}") for key in now if key != "stages" and before.get(key) != now[key]]
    old, new = (_by_project(each.get("stages")) for each in (before, now))
    if list(old) != list(new):
        return [*found, "the stages"]
    both = [(project, key) for project in new for key in ("made_from", "cells") if old[project].get(key) != new[project][key]]
    return found + [WORDS[key].format(project) for project, key in both]


def _by_project(stages: Any) -> dict[str, dict[str, Any]]:
    whole = [each for each in stages if isinstance(each, dict)] if isinstance(stages, list) else []
    return {str(each.get("project")): each for each in whole}
