"""A bench that is only played: every trial leaves a real journal, and nothing runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lab.checker.trial import measure_trial
from lab.errors import LabError
from lab.model.history import Conditions, Event
from lab.model.result import TrialResult
from lab.model.topology import Stage
from lab.store.runs import RunJournal
from lab.trial.runner import Progress, RunConfig, trial_seed
from tests.unit.helpers import EVENTS, databases_seen, record

WATCHED = databases_seen(0.0, 1, db1="primary", db2="standby")
Gone = Callable[[str, str, int], float]
"""For how many seconds the service is gone: by project, column and number of the trial. 3 s or more: until it is healed."""


def never(_project: str, _column: str, _number: int) -> float:
    return 0.0


CONDITIONS = Conditions(fsync=False, database_bytes=8_000_000)


@dataclass
class PlayedBench:
    """`gone` decides what each trial sees; `before` is called first of all with what is about to be done."""

    gone: Gone = never
    before: Callable[[str], None] = lambda _: None
    changes: dict[str, Any] = field(default_factory=dict)
    """Changes of every record."""
    of_target: dict[str, float] = field(default_factory=dict)
    """For how many seconds the service is gone where these are hit, whatever `gone` says."""
    is_watched: bool = True
    """Whether an observer sees which of two databases takes writes."""
    done: list[str] = field(default_factory=list)
    unknown: LabError | None = None
    """Why the conditions cannot be found out."""

    def start(self, stage: Stage, fresh: bool) -> None:
        self._do(f"start {stage.project}{' fresh' if fresh else ''}")

    def stop(self, stage: Stage) -> None:
        self._do(f"stop {stage.project}")

    def conditions(self, stage: Stage) -> Conditions:
        if self.unknown:
            raise self.unknown
        return CONDITIONS

    def trial(self, order: RunConfig, number: int, run: RunJournal, progress: Progress) -> TrialResult:
        journal = run.trial(number)
        self._do(f"trial {order.stage.project} {order.experiment.name} {number} {order.experiment.faults[0].target}")
        progress.phase("baseline")
        targets = (order.experiment.faults[0].target,)
        gone_s = self.of_target.get(targets[0], self.gone(order.stage.project, order.experiment.name, number))
        outage = ((2.0, 2.0 + gone_s),) if gone_s else ()
        seed = trial_seed(order.seed, number)
        whole = replace(record(*outage), number=number, seed=seed, targets=targets, **self.changes)
        if order.stage.is_replicated and self.is_watched:
            whole = replace(whole, events=(*whole.events, WATCHED))
        journal.arrivals(whole.arrivals)
        for event in whole.events:
            journal.event(event)
        journal.close(whole)
        return measure_trial(whole, order.experiment.expectations, has_fault=True)

    def _do(self, what: str) -> None:
        self.before(what)
        self.done.append(what)


def cut_at(count: int, error: BaseException) -> Callable[[str], None]:
    """Raises at the thing of this number that is done (from 1), once."""
    seen: list[str] = []

    def before(what: str) -> None:
        seen.append(what)
        if len(seen) == count:
            raise error

    return before


def kill_at(count: int) -> Callable[[str], None]:
    """Kills this process at the thing of this number that is done (from 1)."""
    seen: list[str] = []

    def before(what: str) -> None:
        seen.append(what)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def breaking(word: str, times: int, error: LabError) -> Callable[[str], None]:
    """Raises the first so many times that something with this word is done."""
    seen: list[str] = []

    def before(what: str) -> None:
        if word in what:
            seen.append(what)
            if len(seen) <= times:
                raise error

    return before


NOT_BITTEN = {
    "events": tuple(Event(2.05, "fault-unverified", "it runs") if each.name == "fault-verified" else each for each in EVENTS)
}
