"""Stages and trials of a campaign on real Docker."""

from __future__ import annotations

from collections.abc import Callable, Collection

from lab.cluster import lifecycle, readiness
from lab.cluster.cluster import Cluster
from lab.engine.engine import Engine
from lab.model.history import Conditions
from lab.model.result import TrialResult
from lab.model.topology import Stage
from lab.store.runs import RunJournal
from lab.store.undo_log import UndoLog
from lab.trial.runner import Progress, RunConfig, run_trial


class DockerExecutor:
    """Starts and stops the stages of a campaign, and runs its trials. Another stage that is up stays, and is an error."""

    def __init__(self, engine: Engine, ledger: UndoLog, projects: Collection[str], say: Callable[[str], None]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._projects = projects
        self._say = say

    def start(self, stage: Stage, fresh: bool) -> None:
        """See that a stage is up and whole; fresh: whatever of it is there is removed first. Raises LabError."""
        in_the_way = [
            self._cluster(each)
            for each in readiness.stages_up(self._engine)
            if each.project in self._projects and (fresh or each.project != stage.project)
        ]
        lifecycle.take_down(in_the_way, self._say)
        lifecycle.ensure_up(self._cluster(stage), self._say)

    def stop(self, stage: Stage) -> None:
        """Remove a stage."""
        lifecycle.take_down([self._cluster(stage)], self._say)

    def conditions(self, stage: Stage) -> Conditions:
        """What the figures of a stage that is up will stand on."""
        return self._cluster(stage).conditions()

    def trial(self, config: RunConfig, number: int, run: RunJournal, progress: Progress) -> TrialResult:
        """One trial, with its journal. Raises LabError where it comes to nothing."""
        return run_trial(self._cluster(config.stage), config, number, run, progress)

    def _cluster(self, stage: Stage) -> Cluster:
        return Cluster(self._engine, stage, self._ledger)
