"""A trial while its load runs: baseline, inject, observe, repair or operate, heal (always), cooldown."""

from __future__ import annotations

from dataclasses import dataclass

from lab import signals
from lab.checker.foreign_actions import Act
from lab.checker.outages import quiet_in_s
from lab.cluster import readiness
from lab.errors import HealError, InconclusiveError, LabError
from lab.faults import heal
from lab.faults.flap import Flap
from lab.faults.injection import Injection
from lab.faults.redundancy_watch import RedundancyWatch, wait_for
from lab.faults.repair import Repairs
from lab.load.load import Load
from lab.model.fault import FaultKind, Step
from lab.model.payloads import Capacity, ClockError, RedundancyCheck
from lab.probe.observer import Observer
from lab.process import POLL_S, wait_until
from lab.spec.targets import matches_a_box
from lab.trial.context import TrialContext
from lab.trial.operator import OperatorAtWork

JITTER_S = 1.0
REPAIR_TIMEOUT_S = 45.0
"""How long a repair may take before the lab heals instead."""
ROLE_TIMEOUT_S = 10.0
"""How long a later step waits until a box plays the role that it hits."""
QUIET_TIMEOUT_S = 5.0
"""For how long the load goes on where the last failure is too recent for an end of the outage to be seen."""
UNREPAIRED_TIMEOUT_S = 8.0
"""How long a step waits for a return to redundancy that no policy works at: some things return by themselves."""
RECOVERED = "every box that was broken is healthy again, the service answers, redundancy is restored"


@dataclass(frozen=True)
class Look:
    """That the lab found the stage recovered."""

    event: str
    """The event that says since when."""
    at_s: float
    """When the lab looked, on the clock of the load."""


class UnderLoad:
    """The part of a trial that users see."""

    def __init__(self, context: TrialContext, load: Load, observer: Observer) -> None:
        self._context, self._load, self._observer = context, load, observer
        self._recorder, self._progress, self._experiment = context.recorder, context.progress, context.experiment
        self._clock = context.system.host_clock
        self._watch: RedundancyWatch | None = None
        self._repairs: Repairs | None = None
        self._flaps: list[Flap] = []
        self.looks: list[Look] = []
        """Each time that the lab found the stage recovered."""

    @property
    def repair_acts(self) -> list[Act]:
        """What repairs did to which box, and when."""
        acts = self._repairs.acts if self._repairs else []
        return [self._act(*act) for act in acts]

    # Baseline

    def baseline(self) -> None:
        """Requests with nothing broken by this trial's steps yet. Raises InconclusiveError."""
        rate_per_s, capacity_per_s = self._context.config.plan.rate_per_s, self._context.config.capacity_per_s
        self._load.show_fault(self._context.injected.words)
        self._progress.phase("baseline", f"{rate_per_s:g} requests a second, nothing broken")
        error_ms = round(self._load.clock.error_s * 1000, 3)
        self._recorder.note("clock", f"this host's clock is known to {error_ms:.2f} ms on the load's", ClockError(error_ms))
        if capacity_per_s:
            words = f"one web box carries {capacity_per_s:.1f} requests a second"
            self._recorder.note("capacity", words, Capacity(round(capacity_per_s, 3)))
        self._prepare_repairs()
        self._load.run_for(self._experiment.baseline_s)

    def _prepare_repairs(self) -> None:
        repair = self._experiment.repair
        if repair.acts or len(self._experiment.faults) > 1:
            self._watch = RedundancyWatch(self._context.system, self._observer)
        if repair.acts and self._watch:
            self._repairs = Repairs(self._watch, repair, self._recorder.note)

    # From the first fault to the recovery

    def break_and_heal(self) -> None:
        """Every step, operator and repair; then healing, whatever came of them. Raises HealError, InconclusiveError.

        An interrupt comes through only in windows in which nothing is between "noted on disk" and "broken".
        """
        if self._experiment.breaks:
            # No period of the system may line up with the fault.
            self._load.run_for(self._context.random.random() * JITTER_S)
        with signals.Deferred(lambda: self._progress.notice("interrupted: healing first")) as interrupts:
            try:
                self._break(interrupts)
                self._observe(interrupts)
            finally:
                self._recover()

    def _break(self, interrupts: signals.Deferred) -> None:
        for step in self._experiment.faults:
            self._await_turn(step, interrupts)
            self._inject(step)
        if self._experiment.operator:
            operator = OperatorAtWork(self._context, self._load, self._observer, self._heal, self._undo)
            operator.call(self._experiment.operator, interrupts)

    def _observe(self, interrupts: signals.Deferred) -> None:
        self._progress.phase("observe", f"for {self._experiment.fault_duration_s:g} s")
        with interrupts.open():
            self._load.run_for(self._experiment.fault_duration_s)
            self._await_repairs()

    def _recover(self) -> None:
        self._end_repairs()
        # Of what flaps nothing may be in effect just now; it has lasted until here all the same.
        if self._flaps or self._context.system.undo_log.entries():
            self._heal()
        elif self._experiment.operator or self._repairs:
            self._await_recovered("recovered")

    # Inject

    def _await_turn(self, step: Step, interrupts: signals.Deferred) -> None:
        """Wait for what a step waits for, and note whether it hits a system whose redundancy is restored."""
        is_later = bool(self._context.injected.hits)
        with interrupts.open():
            self._wait_for(step)
            self._load.run_for(step.delay_s)
            if is_later:
                self._note_redundancy()
                self._await_role(step)

    def _wait_for(self, step: Step) -> None:
        if not step.wait_for or not self._watch:
            return
        self._progress.phase("wait", f"until the stage is {step.wait_for}, {step.timeout_s:g} s at most")
        is_repaired = step.wait_for != "redundant" or self._repairs
        timeout_s = step.timeout_s if is_repaired else min(step.timeout_s, UNREPAIRED_TIMEOUT_S)
        wait_for(step.wait_for, self._watch, self._load.run_for, timeout_s)

    def _note_redundancy(self) -> None:
        if self._watch:
            missing = self._watch.missing()
            words = f"missing: {missing}" if missing else "redundancy is restored"
            self._recorder.note("redundant-before", words, RedundancyCheck(restored=not missing))

    def _await_role(self, step: Step) -> None:
        """Between two primaries no box plays the role that is to be hit. Raises InconclusiveError."""
        if not wait_until(lambda: matches_a_box(step, self._context.live_boxes(self._observer)), ROLE_TIMEOUT_S):
            raise InconclusiveError(
                f"{step}: {ROLE_TIMEOUT_S:g} s after the fault before it, no box plays the role that is to be hit",
                "was this machine busy?",
            )

    def _inject(self, step: Step) -> None:
        """The undo on disk first, then the fault, then its proof. Raises LabError."""
        with self._context.prepare(step, self._observer) as injection:
            words = f"{step.fault} {injection.names}"
            self._progress.phase("inject", words)
            entries = injection.note()
            since = self._clock.monotonic()
            self._context.injected.add(step, injection.targets, self._recorder.instant_s(since), words)
            self._recorder.note("inject", words, at=since)
            self._load.show_fault(self._context.injected.words)
            injection.inject()
            self._verify(injection)
            self._note_starts(step, injection, since)
            if step.how.flaps:
                self._flaps.append(Flap(injection, entries, since, self._note_edge))
            if self._repairs:
                self._repairs.struck(step, [target.box.service for target in injection.targets])

    def _verify(self, injection: Injection) -> None:
        for verification in injection.verify():
            self._recorder.note("fault-verified" if verification.proved else "fault-unverified", verification.evidence)

    def _note_edge(self, name: str, words: str, at: float) -> None:
        self._recorder.note(name, words, at=at)

    def _end_flaps(self) -> None:
        """No edge comes any more. What came back each time was the lab's doing."""
        for flap in self._flaps:
            flap.end()
            self._context.injected.starts += [self._act(*act) for act in flap.acts]
        self._flaps = []

    def _note_starts(self, step: Step, injection: Injection, since: float) -> None:
        if step.fault is FaultKind.RESTART:  # no other fault starts a box
            until = self._clock.monotonic()
            self._context.injected.starts += [self._act(target.box.service, since, until) for target in injection.targets]

    def _act(self, service: str, since: float, until: float) -> Act:
        return Act(service, self._load.clock.at(since), self._load.clock.at(until))

    # Repair

    def _await_repairs(self) -> None:
        if not self._repairs or not self._repairs.is_awaited:
            return
        repair = self._experiment.repair
        self._progress.phase("repair", f"{repair}, until redundancy is restored")
        deadline = self._clock.monotonic() + repair.delay_s + REPAIR_TIMEOUT_S
        while not self._repairs.is_through and self._clock.monotonic() < deadline:
            self._load.run_for(POLL_S)
        if not self._repairs.is_through and self._watch:
            missing = self._watch.missing() or "nothing any more"
            self._recorder.note("note", f"redundancy is not restored {REPAIR_TIMEOUT_S:g} s later: missing: {missing}")

    def _end_repairs(self) -> None:
        """No repair goes on while the lab heals. What was repaired needs no healing."""
        if not self._repairs:
            return
        self._repairs.stop()
        if self._repairs.is_awaited and self._repairs.is_through:
            self._repairs.settle()
            if not self._context.system.undo_log.entries():
                self._load.show_fault("")

    # Heal

    def _heal(self, event: str = "heal", recovered: str = "recovered") -> None:
        """Undo every fault of this trial, and wait until the stage has recovered. Raises HealError."""
        self._undo(event)
        self._await_recovered(recovered)

    def _undo(self, event: str) -> None:
        """Undo every fault of this trial, the last one first. Raises HealError."""
        # First of all, before a word is said: a terminal or a disk that is gone must not keep anything broken.
        healing_since = self._clock.monotonic()
        try:
            self._end_flaps()
            heal.undo_all(self._context.system.engine, self._context.system.undo_log)
        finally:
            self._recorder.note(event, at=healing_since)
            self._load.show_fault("")
            self._progress.phase("heal", "faults undone, waiting until the stage has recovered")

    def _await_recovered(self, event: str) -> None:
        """Wait until what was broken is healthy, users are served, and redundancy is restored.

        Raises HealError, also where it cannot be found out whether that is so.
        """
        try:
            self._look_until_recovered(event)
        except HealError:
            raise
        except LabError as error:
            raise HealError(f"it is not known whether the stage has recovered: {error.message}", error.hint) from error

    def _look_until_recovered(self, event: str) -> None:
        system = self._context.system
        readiness.await_healthy(system, self._context.injected.services)
        readiness.await_service(system)
        readiness.await_view(system, self._observer, say=lambda text: self._recorder.note("note", text))
        # Where repairs went before, since when redundancy is restored is known better than by this look.
        since = self._repairs.restored_at if self._repairs and self._repairs.is_through else None
        self.looks.append(Look(event, self._load.clock.at(self._clock.monotonic() if since is None else since)))

    # Cooldown

    def cooldown(self) -> None:
        """A while longer under load, and on until the end of the last outage is seen, within a limit.

        A stray failure in the last second of the load would leave an outage of which only the begin is known.
        """
        self._progress.phase("after", "a while longer under load")
        self._load.run_for(self._experiment.cooldown_s)
        deadline = self._clock.monotonic() + QUIET_TIMEOUT_S
        while (wait_s := self._quiet_in_s()) > 0 and self._clock.monotonic() < deadline:
            self._load.run_for(wait_s)

    def _quiet_in_s(self) -> float:
        return quiet_in_s(self._load.arrivals, self._context.config.plan, self._load.now_s())
