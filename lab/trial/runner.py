"""A run, trial by trial: settle, preconditions, initial faults, the load (baseline to cooldown), audit.

Whatever happens, every fault is undone before a trial ends: `under_load` heals what it broke, and what is open after that is
undone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from lab import signals
from lab.analysis.run_document import as_document
from lab.analysis.summary import summarise
from lab.checker.trial import measure_trial
from lab.checker.validity import generator_report
from lab.checker.verdict import decide
from lab.cluster.system import RunningSystem
from lab.engine.inspect import EngineEvent
from lab.errors import DiskError, HealError, InconclusiveError, LabError
from lab.faults import heal
from lab.load.load import Load, LoadConfig
from lab.model.history import GeneratorReport, RunInfo, TrialRecord
from lab.model.result import RunResult, TrialResult
from lab.model.topology import Box
from lab.probe.observer import Observer
from lab.store.runs import RunJournal, TrialJournal
from lab.trial import preconditions
from lab.trial.audit import database_audit, read_databases
from lab.trial.config import Progress, RunConfig, info_of, trial_seed
from lab.trial.context import TrialContext
from lab.trial.observations import Observations
from lab.trial.recorder import Recorder
from lab.trial.under_load import UnderLoad

__all__ = ["Progress", "RunConfig", "Trial", "conclude", "info_of", "run", "run_trial", "trial_seed"]


def run(system: RunningSystem, config: RunConfig, info: RunInfo, progress: Progress) -> RunResult:
    """Run every trial, write the journal, return the result.

    Raises InconclusiveError when the stage does not settle or the load breaks off, HealError when a fault
    could not be undone, KeyboardInterrupt (healed) when interrupted.
    """
    noted = replace(info, conditions=system.conditions())
    journal = RunJournal(noted)
    results = [run_trial(system, config, number, journal, progress) for number in range(1, config.trials + 1)]
    return conclude(noted, results, journal)


def run_trial(system: RunningSystem, config: RunConfig, number: int, journal: RunJournal, progress: Progress) -> TrialResult:
    """Run one trial of a run and write its journal. Raises what `run` does."""
    progress.trial(number, trial_seed(config.seed, number))
    record = Trial(system, config, number, journal.trial(number), progress).run()
    result = measure_trial(record, config.experiment.expectations, config.experiment.breaks)
    progress.done(result, record)
    return result


def conclude(info: RunInfo, trials: Sequence[TrialResult], journal: RunJournal) -> RunResult:
    """The result of a run whose trials are through; writes result.json."""
    result = RunResult(info, decide(trials), tuple(trials), summarise(trials), journal.folder)
    journal.result(as_document(result))
    return result


class Trial:
    """One trial, from settling to its audit."""

    def __init__(self, system: RunningSystem, config: RunConfig, number: int, journal: TrialJournal, progress: Progress) -> None:
        seed = trial_seed(config.seed, number)
        self._recorder = Recorder(journal, progress, system.host_clock)
        self._context = TrialContext(system, config, number, seed, self._recorder, Random(seed))
        self._system, self._config, self._progress = system, config, progress
        self._prefix = f"{seed:08x}{Random().randrange(16**6):06x}"
        self._heard: list[EngineEvent] = []
        self._failure: HealError | None = None
        """Why the stage did not recover: raised when all that is known of the trial is written."""

    def run(self) -> TrialRecord:
        """One trial, written as far as it is known. Raises what `run` does; a failed healing outranks all else."""
        try:
            record = self._run()
        except BaseException as error:
            self._recorder.abandon()
            if self._failure:
                raise self._failure from error
            self._system.undo_log.check_noted()
            raise
        self._close(record)
        return record

    def _close(self, record: TrialRecord) -> None:
        """Raises DiskError; HealError where the stage did not recover, or that it did could not be noted."""
        try:
            self._recorder.close(record)
        except DiskError as error:
            if not self._failure:
                raise
            self._progress.notice(error.message)
        if self._failure:
            self._progress.notice(f"what was measured is kept in {self._recorder.journal.folder.parent}; 'lab report' shows it")
            raise self._failure
        self._system.undo_log.check_noted()

    def _run(self) -> TrialRecord:
        preconditions.settle(self._context)
        preconditions.bring_about(
            self._system,
            self._context.experiment.preconditions,
            lambda text: self._progress.phase("preconditions", text),
        )
        try:
            preconditions.limit_boxes(self._context)
            preconditions.inject_initial_faults(self._context)
            return self._measure()
        finally:
            # Every open fault is of this trial: a run does not begin while there is one.
            if self._system.undo_log.entries():
                with signals.Deferred(lambda: self._progress.notice("interrupted: healing first")):
                    self._undo_the_rest()

    def _undo_the_rest(self) -> None:
        """What an earlier attempt left. That it fails once more is no reason to lose what was measured."""
        try:
            heal.undo_all(self._system.engine, self._system.undo_log)
        except HealError:
            if not self._failure:
                raise

    def _measure(self) -> TrialRecord:
        """From the start of the load to the audit."""
        self._progress.phase("start", "the load")
        internet = self._system.internet
        stop_watching = self._system.engine.watch(self._heard.append)
        try:
            with self._system.observer(self._system.measures_redundancy) as observer, self._load(internet) as load:
                self._recorder.clock = load.clock
                observations = Observations(self._context, load, observer, self._heard)
                under_load, generator = self._under_load(load, observer, observations)
        finally:
            stop_watching()
        observations.note_rest(under_load)
        audited = self._audit(internet)
        # Last of all: an alert whose condition must hold for some seconds is delivered after the fault has been healed.
        self._note_logs(observations)
        return self._record(load, generator, audited)

    def _load(self, internet: Box) -> Load:
        config, stage = self._config, self._config.stage
        load_config = LoadConfig(stage.entry, self._prefix, config.plan, self._context.seed, config.web_ui, stage.page)
        return Load(self._system.engine, internet, load_config, self._recorder.arrived, self._system.host_clock)

    def _under_load(self, load: Load, observer: Observer, observations: Observations) -> tuple[UnderLoad, GeneratorReport]:
        under_load = UnderLoad(self._context, load, observer)
        under_load.baseline()
        try:
            under_load.break_and_heal()
            under_load.cooldown()
        except HealError as error:
            self._note_failed_healing(load, error)
        self._recorder.note("stop")
        generator = self._stop(load)
        observations.note_quality()
        return under_load, generator

    def _record(self, load: Load, generator: GeneratorReport, audited: dict[str, dict[str, Any]]) -> TrialRecord:
        return TrialRecord(
            number=self._context.number,
            seed=self._context.seed,
            plan=self._config.plan,
            targets=tuple(self._context.injected.services),
            arrivals=tuple(sorted(load.arrivals, key=lambda arrival: arrival.number)),
            events=self._recorder.events,
            generator=generator,
            final_orders={name: content.get("orders") for name, content in audited.items()},
            databases={name: database_audit(content) for name, content in audited.items()},
        )

    # What is still done for a trial whose stage did not recover

    def _note_failed_healing(self, load: Load, error: HealError) -> None:
        """The trial ends here, and what is known of it is kept: of what was not healed nothing is concluded."""
        self._failure = error
        self._recorder.note("heal-failed", error.message)
        load.show_fault("")
        self._progress.phase("heal", f"failed: {error.message}")

    def _stop(self, load: Load) -> GeneratorReport:
        try:
            return load.stop()
        except InconclusiveError as error:
            if not self._failure:
                raise
            # At least so many were intended, and how late they were is known of those that arrived.
            self._recorder.note("note", error.message)
            intended = max((arrival.number for arrival in load.arrivals), default=-1) + 1
            return generator_report(load.arrivals, intended, len(load.arrivals), 0.0)

    def _note_logs(self, observations: Observations) -> None:
        try:
            observations.note_logs()
        except LabError as error:
            if not self._failure:
                raise
            self._recorder.note("note", f"the logs could not be read: {error.message}")

    def _audit(self, internet: Box) -> dict[str, dict[str, Any]]:
        if not self._config.plan.has_writes:
            return {}
        self._progress.phase("audit", "reading every database, each standby when it has caught up")
        try:
            return read_databases(self._system, internet, self._prefix)
        except LabError as error:
            if not self._failure:
                raise
            self._recorder.note("note", error.message)
            return {name: {"error": error.message} for name in self._config.stage.databases}
