"""What a run is asked for, and how it says where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from lab.model.experiment import Experiment, LoadPlan
from lab.model.history import Arrival, RunInfo, TrialRecord
from lab.model.result import TrialResult
from lab.model.topology import Stage
from lab.store.paths import utc_now


class Progress(Protocol):
    """What is shown of a run while it goes on."""

    def trial(self, number: int, seed: int) -> None:
        """A trial begins."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase of it begins."""

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Requests have ended (called from another thread)."""

    def done(self, result: TrialResult, record: TrialRecord) -> None:
        """A trial has its figures."""

    def notice(self, text: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True)
class RunConfig:
    """What a run is asked for."""

    stage: Stage
    experiment: Experiment
    plan: LoadPlan
    seed: int
    trials: int = 1
    web_ui: bool = False
    capacity_per_s: float = 0.0
    """What one web box carries, where the experiment is an overload: measured before."""


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: that of the run for the first, others far from it, all fixed by it."""
    return seed if number == 1 else Random(f"{seed}/{number}").randrange(2**31)


def info_of(config: RunConfig) -> RunInfo:
    """The frame of a run's results, for one that begins now."""
    stage, experiment = config.stage, config.experiment
    return RunInfo(
        stage=stage.number,
        stage_folder=stage.folder,
        failover=stage.failover,
        experiment=experiment.name,
        title=experiment.title,
        question=experiment.question,
        seed=config.seed,
        plan=config.plan,
        expectations=experiment.expectations,
        has_fault=experiment.breaks,
        started_at=utc_now(),
        url=stage.page.url if stage.page else "",
        contains=stage.page.contains if stage.page else "",
        repair=experiment.repair.policy.value,
        repair_delay_s=experiment.repair.delay_s,
        expected_verdict=experiment.expected_verdicts.get(experiment.repair.policy.value, ""),
        durability=stage.durability,
        overload=experiment.overload,
        fault_duration_s=experiment.fault_duration_s,
    )
