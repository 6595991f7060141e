"""What every part of a trial works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from lab.cluster.system import RunningSystem
from lab.faults.injection import Injection
from lab.model.experiment import Experiment
from lab.model.fault import Step
from lab.model.topology import Box, Stage
from lab.probe.observer import ViewSource
from lab.trial.config import Progress, RunConfig
from lab.trial.injected import Injected
from lab.trial.recorder import Recorder


@dataclass(frozen=True)
class TrialContext:
    """One trial: what is asked for, of which system, and what is known of it so far."""

    system: RunningSystem
    config: RunConfig
    number: int
    seed: int
    recorder: Recorder
    random: Random
    """All that is random in the trial comes from here, in the order of the trial."""
    injected: Injected = field(default_factory=Injected)

    @property
    def stage(self) -> Stage:
        """What is broken."""
        return self.config.stage

    @property
    def experiment(self) -> Experiment:
        """How it is broken."""
        return self.config.experiment

    @property
    def progress(self) -> Progress:
        """Where it is shown."""
        return self.recorder.progress

    def prepare(self, step: Step, observer: ViewSource) -> Injection:
        """Get a step ready against the boxes with the roles that they play at this instant. Nothing is broken by that.

        Raises UsageError, PreflightError, InconclusiveError.
        """
        return Injection.prepare(self.system, step, self.live_boxes(observer), self.random)

    def live_boxes(self, observer: ViewSource) -> list[Box]:
        """The boxes with the roles that they play at this instant. Raises InconclusiveError."""
        return self.system.live_boxes(observer.latest() if self.stage.is_watched else None)
