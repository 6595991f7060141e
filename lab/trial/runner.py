"""An experiment: settle, baseline, inject, observe, heal (always), wait until whole, audit; trial by trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from threading import Lock
from time import monotonic
from typing import Any, Protocol

from lab import signals
from lab.analysis.run_document import as_document
from lab.analysis.summary import summarise
from lab.checker import blind_spots, exposure, foreign_actions, recovery
from lab.checker.outages import quiet_in_s
from lab.checker.trial import measure_trial
from lab.checker.validity import generator_report
from lab.checker.verdict import decide
from lab.cluster import conditions, database, readiness
from lab.engine.engine import Engine
from lab.engine.inspect import EngineEvent
from lab.errors import DiskError, HealError, InconclusiveError, LabError, UsageError
from lab.faults import InjectionTarget, heal, limits
from lab.faults.injection import Injection
from lab.faults.repair import Repairs, Reserve, wait_for
from lab.load.load import Load, drift
from lab.model.experiment import Experiment, LoadPlan, Operator
from lab.model.fault import FaultKind, Step
from lab.model.history import Arrival, DatabaseAudit, Event, GeneratorReport, RunInfo, TrialRecord
from lab.model.observation import DatabaseState
from lab.model.result import RunResult, TrialResult
from lab.model.topology import WATCH_ROLE, Box, Stage
from lab.probe import logs, roles
from lab.probe.observer import Observer
from lab.process import POLL_S, wait_until
from lab.spec.targets import plays_somebody
from lab.store.paths import utc_now
from lab.store.runs import RunJournal, TrialJournal
from lab.store.undo_log import UndoLedger
from lab.trial import placement

JITTER_S = 1.0
SETTLE_TIMEOUT_S = 60.0
AUDIT_TIMEOUT_S = 60.0
RESERVE_TIMEOUT_S = 45.0
"""How long a repair may take before the lab heals instead."""
ROLE_TIMEOUT_S = 10.0
"""How long a later step waits for somebody to play the role that it hits."""
QUIET_TIMEOUT_S = 5.0
"""For how long the load goes on where the last failure is too recent for an end of the outage to be seen."""
NOBODY_COMES_S = 8.0
"""How long a step waits for a return to redundancy that nobody works at: some things come back by themselves."""
STREAM_LATE_S = 2.0
"""So late at most Docker's word of something arrives; what seems later was stamped by a clock that has been set."""
EARLY_S = 0.1
"""By how much a stamp may lie after its arrival: two clocks, each known to some milliseconds."""
HEALED_BY_OPERATOR, WHOLE_BEFORE = "operator-heal", "redundant-before-switchover"
"""A failback has two phases: the operator takes back what was broken, and only when nothing is missing changes over."""
NOTED = ("die", "start", "pause", "unpause")
ENDING = (FaultKind.KILL, FaultKind.STOP, FaultKind.WIPE)
"""What takes a box down through the engine."""


class Progress(Protocol):
    """Whoever watches a run."""

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
    """What a run was asked for."""

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


def info_of(order: RunConfig) -> RunInfo:
    """The frame of a run's results, for one that begins now."""
    stage, experiment = order.stage, order.experiment
    return RunInfo(
        stage=stage.number,
        stage_folder=stage.folder,
        failover=stage.failover,
        experiment=experiment.name,
        title=experiment.title,
        question=experiment.question,
        seed=order.seed,
        plan=order.plan,
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
    )


def run(engine: Engine, ledger: UndoLedger, order: RunConfig, info: RunInfo, progress: Progress) -> RunResult:
    """Run every trial, write the journal, return the result.

    Raises InconclusiveError when the stage does not settle or the load breaks off, HealError when a fault
    could not be undone, KeyboardInterrupt (healed) when interrupted.
    """
    noted = replace(info, conditions=conditions.look(engine, order.stage))
    journal = RunJournal(noted)
    results = [run_trial(engine, ledger, order, number, journal, progress) for number in range(1, order.trials + 1)]
    return conclude(noted, results, journal)


def run_trial(
    engine: Engine, ledger: UndoLedger, order: RunConfig, number: int, journal: RunJournal, progress: Progress
) -> TrialResult:
    """Run one trial of a run and write its journal. Raises what `run` does."""
    seed = trial_seed(order.seed, number)
    progress.trial(number, seed)
    record = _Trial(engine, ledger, order, progress, number, seed, journal.trial(number)).run()
    result = measure_trial(record, order.experiment.expectations, order.experiment.breaks)
    progress.done(result, record)
    return result


def conclude(info: RunInfo, trials: Sequence[TrialResult], journal: RunJournal) -> RunResult:
    """The result of a run whose trials are through; writes result.json."""
    result = RunResult(info, decide(trials), tuple(trials), summarise(trials), journal.folder)
    journal.result(as_document(result))
    return result


@dataclass
class _Trial:
    engine: Engine
    ledger: UndoLedger
    order: RunConfig
    progress: Progress
    number: int
    seed: int
    journal: TrialJournal
    events: list[Event] = field(default_factory=list)
    victims: list[InjectionTarget] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Each fault and whom it hit, in words."""
    heard: list[EngineEvent] = field(default_factory=list)
    struck: list[tuple[Step, InjectionTarget, float]] = field(default_factory=list)
    """Each victim, what hit it, and when: seconds on the clock of the load, 0 for what was broken before it."""
    acts: list[foreign_actions.Act] = field(default_factory=list)
    """What faults themselves started under load."""
    looks: list[tuple[str, str, float]] = field(default_factory=list)
    """When the lab found that nothing is missing: the name of the event, its words, seconds on the clock of the load."""
    noting: Lock = field(default_factory=Lock)
    """Repairs note things too, from threads of their own."""
    reserve: Reserve | None = None
    repairs: Repairs | None = None

    failure: HealError | None = None
    """Why the stage did not come back: raised when all that is known of the trial is written."""

    def run(self) -> TrialRecord:
        """One trial, written as far as it is known. Raises what `run` does; a failed healing outranks all else."""
        try:
            record = self._run()
        except BaseException as error:
            self.journal.abandon()
            if self.failure:
                raise self.failure from error
            self.ledger.check_noted()
            raise
        try:
            self.journal.close(record)
        except DiskError as error:
            if not self.failure:
                raise
            self.progress.notice(error.message)
        self._raise_failure()
        return record

    def _raise_failure(self) -> None:
        """Raises HealError where the stage did not come back, or that it did could not be noted."""
        if self.failure:
            self.progress.notice(f"what was measured is kept in {self.journal.folder.parent}; 'lab report' shows it")
            raise self.failure
        self.ledger.check_noted()

    def _run(self) -> TrialRecord:
        stage, experiment = self.order.stage, self.order.experiment
        self.random = Random(self.seed)
        self.progress.phase("settle", "waiting until every box is well")
        try:
            readiness.await_whole(self.engine, stage, SETTLE_TIMEOUT_S)
        except HealError as error:
            raise InconclusiveError(f"{stage.place} does not settle: {error.message}", error.hint) from error
        placement.bring_about(
            self.engine, stage, experiment.preconditions, lambda text: self.progress.phase("preconditions", text)
        )
        try:
            if experiment.overload:
                if not self.order.capacity_per_s:
                    raise UsageError(f"{experiment.name} needs to know what a web box carries", "'lab run' measures that first")
                limits.impose(self.engine, self.ledger, stage, experiment.overload)
            self._break_before()
            return self._under_load()
        finally:
            # Every open fault is of this trial: a run does not begin while there is one.
            if self.ledger.entries():
                with signals.Deferred(lambda: self.progress.notice("interrupted: healing first")):
                    self._undo_the_rest()

    def _undo_the_rest(self) -> None:
        """What an earlier attempt left. That it fails once more is no reason to lose what was measured."""
        try:
            heal.undo_all(self.engine, self.ledger)
        except HealError:
            if not self.failure:
                raise

    def _break_before(self) -> None:
        """What users do not see fail: only that it is missing, and how it comes back."""
        if not self.order.experiment.initial_faults:
            return
        stage = self.order.stage
        with Observer(self.engine, stage) as self.observer, signals.Deferred(lambda: self.progress.notice("interrupted")):
            for step in self.order.experiment.initial_faults:
                with Injection.prepare(self.engine, step, self._boxes(), stage, self.random) as injection:
                    self.progress.phase(
                        "initial-faults", f"{step.fault} {injection.names}, and waiting until users are served without"
                    )
                    injection.note(self.ledger)
                    self.victims += injection.victims
                    self.struck += [(step, victim, 0.0) for victim in injection.victims]
                    self.broken.append(f"{step.fault} {injection.names}")
                    injection.inject()
                    injection.verify()
            if not wait_until(self._is_served, SETTLE_TIMEOUT_S):
                raise InconclusiveError(f"stage {stage.number} does not serve without {', '.join(self._names())}")

    def _is_served(self) -> bool:
        view = self.observer.latest()
        writable = not view.databases or len(view.named(DatabaseState.PRIMARY)) == 1
        return writable and readiness.service_answers(self.engine, self.order.stage)

    def _names(self) -> list[str]:
        return [victim.box.service for victim in self.victims]

    def _under_load(self) -> TrialRecord:
        stage, experiment = self.order.stage, self.order.experiment
        self.progress.phase("start", "the load")
        prefix = f"{self.seed:08x}{Random().randrange(16**6):06x}"
        internet = self.engine.internet_box(stage)
        stop_watching = self.engine.watch(self.heard.append)
        try:
            with (
                Observer(self.engine, stage, reserve=not stage.is_foreign) as observer,
                Load(
                    self.engine,
                    internet,
                    stage.entry,
                    prefix,
                    self.order.plan,
                    self.seed,
                    self._arrived,
                    self.order.web_ui,
                    stage.page,
                ) as load,
            ):
                self.load, self.observer = load, observer
                load.show_fault(", ".join(self.broken))
                self.progress.phase("baseline", f"{self.order.plan.rate_per_s:g} requests a second, nothing broken")
                self._note("clock", f"this host's clock is known to {load.clock.error_s * 1000:.2f} ms on the load's")
                if self.order.capacity_per_s:
                    self._note("capacity", f"{self.order.capacity_per_s:.1f} requests a second are what one web box carries")
                self._get_repairs_ready(observer)
                load.run_for(experiment.baseline_s)
                try:
                    self._break_and_heal()
                    self.progress.phase("after", "a while longer under load")
                    load.run_for(experiment.cooldown_s)
                    self._await_quiet(load)
                except HealError as error:
                    self._note_failed_healing(error)
                self._note("stop")
                generator = self._stop(load)
                self._note_blindness(observer)
                self._note_clock_and_gaps(observer)
        finally:
            stop_watching()
        said = self._said()
        self._note_what_docker_said(said)
        self._note_strangers(said)
        self._note_views(observer)
        reserves = self._note_reserves(observer)
        self._note_restored(observer, said, reserves)
        self._note_logs(observer)
        if self.order.plan.has_writes:
            self.progress.phase("audit", "reading every database, each standby when it has caught up")
        found = self._audit_what_can_be(internet, prefix) if self.order.plan.has_writes else {}
        return TrialRecord(
            number=self.number,
            seed=self.seed,
            plan=self.order.plan,
            targets=tuple(self._names()),
            arrivals=tuple(sorted(load.arrivals, key=lambda arrival: arrival.number)),
            events=tuple(sorted(self.events, key=lambda event: event.at_s)),
            generator=generator,
            final_orders={name: said.get("orders") for name, said in found.items()},
            databases={name: database_audit(said) for name, said in found.items()},
        )

    def _await_quiet(self, load: Load) -> None:
        """Go on until requests have succeeded for long enough to say that the last outage is over, within a limit.

        A stray failure in the last second of the load would leave an outage of which nothing is known but its begin.
        """
        deadline = monotonic() + QUIET_TIMEOUT_S
        wait_s = quiet_in_s(load.arrivals, self.order.plan, load.clock.now_s())
        while wait_s > 0 and monotonic() < deadline:
            load.run_for(wait_s)
            wait_s = quiet_in_s(load.arrivals, self.order.plan, load.clock.now_s())

    # What is still done for a trial whose stage did not come back

    def _note_failed_healing(self, error: HealError) -> None:
        """The trial ends here, and what is known of it is kept: of what was not healed nothing is concluded."""
        self.failure = error
        self._note("heal-failed", error.message)
        self.load.show_fault("")
        self.progress.phase("heal", f"failed: {error.message}")

    def _stop(self, load: Load) -> GeneratorReport:
        try:
            return load.stop()
        except InconclusiveError as error:
            if not self.failure:
                raise
            # At least so many were intended, and how late they were is known of those that arrived.
            self._note("note", error.message)
            intended = max((arrival.number for arrival in load.arrivals), default=-1) + 1
            return generator_report(load.arrivals, intended, len(load.arrivals), 0.0)

    def _note_logs(self, observer: Observer) -> None:
        try:
            self._note_evidence(observer)
        except LabError as error:
            if not self.failure:
                raise
            self._note("note", f"the logs could not be read: {error.message}")

    def _audit_what_can_be(self, internet: Box, prefix: str) -> dict[str, dict[str, Any]]:
        try:
            return self._audit(internet, prefix)
        except LabError as error:
            if not self.failure:
                raise
            self._note("note", error.message)
            return {name: {"error": error.message} for name in self.order.stage.databases}

    def _break_and_heal(self) -> None:
        experiment = self.order.experiment
        if experiment.breaks:
            # No period of the system may line up with the fault.
            self.load.run_for(self.random.random() * JITTER_S)
        with signals.Deferred(lambda: self.progress.notice("interrupted: healing first")) as interrupts:
            try:
                for step in experiment.faults:
                    self._await_turn(step, interrupts)
                    self._strike(step)
                if experiment.operator:
                    self._call(experiment.operator, interrupts)
                self.progress.phase("observe", f"for {experiment.fault_duration_s:g} s")
                with interrupts.open():
                    self.load.run_for(experiment.fault_duration_s)
                    self._await_repairs()
            finally:
                self._end_repairs()
                if self.ledger.entries():
                    self._heal()
                elif experiment.operator or self.repairs:
                    self._await_whole()

    def _get_repairs_ready(self, observer: Observer) -> None:
        experiment, stage = self.order.experiment, self.order.stage
        if experiment.repair.acts or len(experiment.faults) > 1:
            self.reserve = Reserve(self.engine, stage, observer)
        if experiment.repair.acts and self.reserve:
            self.repairs = Repairs(self.engine, self.ledger, stage, experiment.repair, observer, self.reserve, self._note)

    def _await_turn(self, step: Step, interrupts: signals.Deferred) -> None:
        """Wait for what a step waits for, and note whether it strikes a system that has all in reserve."""
        with interrupts.open():
            if step.wait_for and self.reserve:
                self.progress.phase("wait", f"until all is {step.wait_for}, {step.timeout_s:g} s at most")
                hopeless = step.wait_for == "redundant" and not self.repairs
                wait_for(
                    step.wait_for,
                    self.reserve,
                    self.load.run_for,
                    min(step.timeout_s, NOBODY_COMES_S) if hopeless else step.timeout_s,
                )
            self.load.run_for(step.delay_s)
            if self.reserve and self.victims:
                self._note("redundant-before", self.reserve.describe())
            # Between two primaries nobody plays the role that is to be hit.
            if self.victims and not wait_until(lambda: plays_somebody(step, self._boxes()), ROLE_TIMEOUT_S):
                raise InconclusiveError(
                    f"{step}: {ROLE_TIMEOUT_S:g} s after what was broken before, no box plays the role that is to be hit",
                    "was this machine busy?",
                )

    def _await_repairs(self) -> None:
        if self.repairs and self.repairs.is_awaited:
            self.progress.phase("repair", f"{self.order.experiment.repair}, until redundancy is restored")
            deadline = monotonic() + self.order.experiment.repair.delay_s + RESERVE_TIMEOUT_S
            while not self.repairs.is_through and monotonic() < deadline:
                self.load.run_for(POLL_S)
            if not self.repairs.is_through and self.reserve:
                self._note("note", f"redundancy is not restored {RESERVE_TIMEOUT_S:g} s later: {self.reserve.describe()}")

    def _end_repairs(self) -> None:
        """No repair goes on while the lab heals. What was repaired needs no healing."""
        if not self.repairs:
            return
        self.repairs.stop()
        if self.repairs.is_awaited and self.repairs.is_through:
            self.repairs.settle()
            if not self.ledger.entries():
                self.load.show_fault("")

    def _call(self, operator: Operator, interrupts: signals.Deferred) -> None:
        """The operator who is modelled: arrives after a delay, and acts."""
        self.progress.phase("operator", f"arrives in {operator.delay_s:g} s")
        with interrupts.open():
            self.load.run_for(operator.delay_s)
        breaks = bool(self.order.experiment.faults)
        if not breaks:
            self._note("inject", operator.action)
        self._note("operator", operator.action)
        if operator.action == "failback":
            # Part of what the operator does, and no rescue by the lab: nothing that comes after is cut off by it.
            self._heal(HEALED_BY_OPERATOR, WHOLE_BEFORE)
        if operator.action == "promote":
            database.promote(self.engine, self.ledger, self.order.stage, fence=True, say=self._say_promoted)
        elif operator.target:
            placement.move_primary(self.engine, self.order.stage, self.observer, operator.target, self._say_promoted)
        else:
            database.switchover(self.engine, self.order.stage, self._say_promoted, self.observer)
        if not breaks:
            self._note("fault-verified", "the primary is another one")

    def _say_promoted(self, text: str) -> None:
        self.progress.phase("operator", text)
        self._note("promoted", text)

    def _strike(self, step: Step) -> None:
        with Injection.prepare(self.engine, step, self._boxes(), self.order.stage, self.random) as injection:
            self.progress.phase("inject", f"{step.fault} {injection.names}")
            injection.note(self.ledger)
            self.victims += injection.victims
            since = monotonic()
            self._note("inject", f"{step.fault} {injection.names}", since)
            self.broken.append(f"{step.fault} {injection.names}")
            self.load.show_fault(", ".join(self.broken))
            injection.inject()
            for verification in injection.verify():
                self._note("fault-verified" if verification.proved else "fault-unverified", verification.evidence)
            self.struck += [(step, victim, self.load.clock.at(since)) for victim in injection.victims]
            if step.fault is FaultKind.RESTART:  # no other fault starts a box
                self.acts += [self._act(victim.box.service, since, monotonic()) for victim in injection.victims]
            if self.repairs:
                self.repairs.struck(step, [victim.box.service for victim in injection.victims])

    def _boxes(self) -> list[Box]:
        """The boxes with the roles that they play at this instant."""
        stage = self.order.stage
        return roles.boxes_in_roles(self.engine, stage, self.observer.latest() if stage.is_watched else None)

    def _heal(self, event: str = "heal", whole: str = "recovered") -> None:
        """Take back every fault of this trial, the last one first, and wait until users are served again."""
        # First of all, before a word is said: a terminal or a disk that is gone must not keep anything broken.
        healing_since = monotonic()
        try:
            heal.undo_all(self.engine, self.ledger)
        finally:
            self._note(event, at=healing_since)
            self.load.show_fault("")
            self.progress.phase("heal", "took the fault back, waiting until all is well")
        self._await_whole(whole)

    def _await_whole(self, event: str = "recovered") -> None:
        """Wait until what was broken is well, users are served, and nothing is missing to survive the next fault.

        Raises HealError, also where it cannot be found out whether that is so.
        """
        try:
            self._look_until_whole(event)
        except HealError:
            raise
        except LabError as error:
            raise HealError(f"it is not known whether the stage is well again: {error.message}", error.hint) from error

    def _look_until_whole(self, event: str) -> None:
        readiness.await_well(self.engine, self.order.stage.number, self._names())
        readiness.await_service(self.engine, self.order.stage)
        readiness.await_view(self.engine, self.order.stage, self.observer, say=lambda text: self._note("note", text))
        # Where repairs went before, since when nothing is missing is known better than by this look.
        since = self.repairs.whole_at if self.repairs and self.repairs.is_through else None
        looked_s = self.load.clock.at(monotonic() if since is None else since)
        self.looks.append((event, "every box that was broken is well again, the service answers, nothing is missing", looked_s))

    def _note(self, name: str, detail: str = "", at: float | None = None) -> None:
        self._note_event(Event(round(self.load.clock.at(monotonic() if at is None else at), 6), name, detail))

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        self.journal.arrivals(arrivals)
        self.progress.arrivals(arrivals)

    def _said(self) -> list[foreign_actions.Said]:
        """What Docker said of boxes, on the clock of the load and in order of time."""
        names = {victim.box.id: victim.box.service for victim in self.victims}
        found = [
            foreign_actions.Said(self._instant(heard), heard.service or names.get(heard.box_id, ""), heard.action)
            for heard in list(self.heard)
        ]
        return sorted((each for each in found if each.service), key=lambda each: each.at_s)

    def _instant(self, heard: EngineEvent) -> float:
        """When it was done, as the engine says; as it arrived, where its clock is not known or has been set meanwhile."""
        arrived_s = self.load.clock.at(heard.at)
        if not heard.stamp_ns or not self.observer.realtime_offset_ns:
            return arrived_s
        stamped_s = (heard.stamp_ns - self.observer.realtime_offset_ns - self.load.start_ns) / 1e9
        return stamped_s if 0 <= arrived_s - stamped_s + EARLY_S <= STREAM_LATE_S else arrived_s

    def _note_what_docker_said(self, said: Sequence[foreign_actions.Said]) -> None:
        """What happened to boxes, also to those that somebody else broke."""
        victims = set(self._names())
        for each in said:
            ours = each.service in victims
            if each.action in NOTED:
                words = f"{each.service}: {each.action}{'' if ours else ', not by this run'}"
                self._note_event(Event(round(each.at_s, 6), "docker" if ours else "note", words))

    def _note_strangers(self, said: Sequence[foreign_actions.Said]) -> None:
        """Who but the lab and the system brought back what was broken, before the lab did: what that ended did not end by itself."""
        repaired = self.repairs.acts if self.repairs else []
        own = [*self.acts, *(self._act(*act) for act in repaired)]
        struck = [
            foreign_actions.Struck(victim.box.service, at_s, victim.box.restarts_itself, at_s == 0.0 and step.fault in ENDING)
            for step, victim, at_s in self.struck
        ]
        healed_s = self._healed_s()
        for event in foreign_actions.returns(said, struck, own, self.load.clock.now_s() if healed_s is None else healed_s):
            self._note_event(event)
            self._note_event(Event(event.at_s, "note", f"{event.detail}: what this ended did not end by itself"))

    def _healed_s(self) -> float | None:
        """When the lab, or its operator, began to take the faults back."""
        found = [event.at_s for event in self.events if event.name in ("heal", HEALED_BY_OPERATOR)]
        return min(found, default=None)

    def _act(self, service: str, since: float, until: float) -> foreign_actions.Act:
        return foreign_actions.Act(service, self.load.clock.at(since), self.load.clock.at(until))

    def _note_restored(
        self, observer: Observer, said: Sequence[foreign_actions.Said], reserves: Sequence[exposure.Reserve]
    ) -> None:
        """Since when nothing was missing, for each time that the lab found so: that came before it looked."""
        stage, experiment = self.order.stage, self.order.experiment
        seen_s = [(self._on_load(view.clock_ns), stage.is_redundant(view)) for view in observer.views]
        injected_s = min((at_s for _, _, at_s in self.struck), default=None)
        for event, words, looked_s in self.looks:
            seen = recovery.Seen(
                looked_s=looked_s,
                broken=[
                    recovery.Broken(victim.box.service, step.fault, at_s, victim.box.is_foreign and bool(victim.box.health))
                    for step, victim, at_s in self.struck
                ],
                said=said,
                healed_s=self._healed_s(),
                arrivals=self.load.arrivals,
                deadline_s=self.order.plan.deadline_s,
                views=seen_s if stage.is_watched else None,
                reserves=None if stage.is_foreign or exposure.without_reserve(stage) else reserves,
                # What was broken before the load began was missing in its calm times, too. A silence is dated when the question
                # was put, which may have been before the fault.
                calm_s=None if experiment.initial_faults or injected_s is None else injected_s - exposure.BACK_LATE_S,
            )
            self._note_event(Event(round(recovery.restored_s(seen), 6), event, f"{words} (the lab looked at {looked_s:.2f} s)"))
            if event != WHOLE_BEFORE and recovery.is_short(seen):
                self._note("note", "until the load ended not every tier survived as many failures as before the fault")

    def _on_load(self, clock_ns: int) -> float:
        return round((clock_ns - self.load.start_ns) / 1e9, 6)

    def _note_clock_and_gaps(self, observer: Observer) -> None:
        """How well all this was observed: for how long the observer said nothing, and how far the two clocks went apart."""
        stop_s = next(event.at_s for event in reversed(self.events) if event.name == "stop")
        found = drift(self.load.clock, self.load.clock_at_end)
        self._note(
            blind_spots.CLOCK_EVENT,
            f"this host's clock is known to {found.error_s * 1000:.2f} ms on the load's for all of the trial; "
            f"it went {found.drift_s * 1000:+.2f} ms off in {stop_s:.0f} s",
        )
        words = list(observer.words)
        for event in blind_spots.as_events(blind_spots.gaps(words, self.load.start_ns, stop_s), blind_spots.arrival_gap_s(words)):
            self._note_event(event)

    def _note_blindness(self, observer: Observer) -> None:
        """An observer that died meanwhile has seen nothing bad: that must not look like nothing bad to be seen."""
        if not observer.is_watching:
            self._note("blind", "the observer has ended, or has gone silent")

    def _note_views(self, observer: Observer) -> None:
        stage = self.order.stage
        for view in observer.views:
            at_s = self._on_load(view.clock_ns)
            if view.databases:
                states = " ".join(f"{name}={state}" for name, state in view.databases.items())
                self._note_event(Event(at_s, "databases", f"{states} promotable_standbys={stage.promotable_standbys(view)}"))
            if stage.balancers:
                self._note_event(Event(at_s, "vip", f"claimants={','.join(view.vip_claimants)} owner={view.vip_owner}"))

    def _note_reserves(self, observer: Observer) -> list[exposure.Reserve]:
        """How many more failures each tier survives: worked out only now, for that takes time which the load may need.

        Of somebody else's project nobody was asked.
        """
        if self.order.stage.is_foreign:
            return []
        found = exposure.replay(self.order.stage, list(observer.findings), self.load.start_ns)
        for reserve in found:
            self._note_event(exposure.as_event(reserve, observer.period_s))
        return found

    def _note_evidence(self, observer: Observer) -> None:
        """What the boxes that watch others wrote in their logs, on the clock of the load."""
        if not observer.realtime_offset_ns:
            return
        start_realtime_ns = self.load.start_ns + observer.realtime_offset_ns
        for box in self.engine.boxes(self.order.stage.number):
            if {"lb", "monitor", WATCH_ROLE} & set(box.roles):
                try:
                    lines = self.engine.log_lines(box, start_realtime_ns / 1e9)
                except LabError:
                    if not box.is_foreign:
                        raise
                    continue  # somebody else's box need not keep a log that can be read
                for event in logs.events_in(lines, start_realtime_ns):
                    self._note_event(event)

    def _note_event(self, event: Event) -> None:
        with self.noting:
            self.events.append(event)
            self.journal.event(event)

    def _audit(self, internet: Box, prefix: str) -> dict[str, dict[str, Any]]:
        """What the audit says of each database. Raises InconclusiveError where it says nothing."""
        addresses = self.order.stage.databases
        done = self.engine.run_in(internet, ["python", "-m", "client.audit", prefix, json.dumps(addresses)], AUDIT_TIMEOUT_S)
        try:
            found = json.loads(done.output)
            return {name: dict(found[name]) for name in addresses}
        except (ValueError, KeyError, TypeError) as error:
            raise InconclusiveError(f"the audit failed: {(done.output.strip().splitlines() or ['no output'])[-1]}") from error


def database_audit(said: dict[str, Any]) -> DatabaseAudit:
    """What the audit says of a database, beside its orders."""
    return DatabaseAudit(
        role=str(said.get("role", "")),
        timeline=said.get("timeline"),
        position=str(said.get("position", "")),
        caught_up=bool(said.get("caught_up", False)),
        error=str(said.get("error", "")),
    )
