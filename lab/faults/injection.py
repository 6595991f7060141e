"""An injection: one fault against all boxes that its target names, as nearly at one instant as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from secrets import token_hex
from types import TracebackType
from typing import Protocol, TypeVar

from lab.errors import LabError, UsageError
from lab.faults import fault_of
from lab.faults.base import BlastRadius, BoxControl, Fault, InjectionTarget, Passing, verification
from lab.faults.packets import TABLE_PREFIX
from lab.host_clock import HostClock
from lab.model.fault import BY_SIGNAL, FaultKind, Step, Undo, Verification
from lab.model.topology import Box, Stage
from lab.spec.targets import resolve_sides
from lab.store.undo_log import OpenFault, UndoLog

# Preparing must not weigh on what is measured: few at a time. The fault itself hits all at once.
PREPARED_AT_ONCE = 2
PROVED_AT_ONCE = 4

Result = TypeVar("Result")


class FaultySystem(Protocol):
    """What an injection needs of a running system."""

    @property
    def engine(self) -> BoxControl:
        """What can be done to its boxes."""

    @property
    def stage(self) -> Stage:
        """Its description."""

    @property
    def undo_log(self) -> UndoLog:
        """Where each fault is noted first."""

    @property
    def host_clock(self) -> HostClock:
        """The clock by which a fault is dated."""

    def undo_of(self, undo: Undo, box: Box) -> Undo:
        """An undo as it is noted for a box of this system."""


@dataclass
class Injection:
    """A fault and its targets, ready. As a context: helpers end with it, whatever becomes of the rest."""

    system: FaultySystem
    step: Step
    fault: Fault
    targets: tuple[InjectionTarget, ...]
    spread_s: float = 0.0
    """From the first box that was hit to the last; at most, where it is not known exactly."""
    is_kept: bool = False
    """It goes on after the context: what keeps it closes it."""

    @classmethod
    def prepare(cls, system: FaultySystem, step: Step, boxes: Sequence[Box], random: Random) -> Injection:
        """Find the targets among the boxes (with the roles that they play now) and get ready. Nothing is broken by that.

        Raises UsageError for a target that matches nothing or cannot fail in this way, PreflightError where this
        machine cannot do it.
        """
        control, fault, targets = system.engine, fault_of(step), aimed(step, boxes, system.stage, random)
        _check_obeys(system.undo_log, step, targets)
        fault.check(control, targets[0].blast_radius)
        injection = cls(system, step, fault, ())
        prepared = _each(lambda target: fault.prepare(control, target), targets, PREPARED_AT_ONCE)
        injection.targets = tuple(done.result() for done in prepared if not done.exception())
        try:
            _results(prepared)
        except BaseException:
            injection.close()
            raise
        return injection

    @property
    def names(self) -> str:
        """The boxes that it hits."""
        return ", ".join(target.box.service for target in self.targets)

    def note(self) -> list[OpenFault]:
        """Put every undo on the disk. Raises DiskError: then the fault must not happen."""
        undos = [self.system.undo_of(self.fault.undo(target), target.box) for target in self.targets]
        return [self.system.undo_log.open(undo, self.step.fault) for undo in undos]

    def inject(self) -> None:
        """Hit all boxes together. Raises the first failure, when all have been hit or have failed."""
        now_s = self.system.host_clock.monotonic
        since_s = now_s()
        instants_s = _results(
            _each(lambda target: self.fault.inject(self.system.engine, target), self.targets, len(self.targets))
        )
        known_s = [at_s for at_s in instants_s if at_s is not None]
        exact = len(known_s) == len(instants_s)
        self.spread_s = max(known_s) - min(known_s) if exact else now_s() - since_s

    def verify(self) -> list[Verification]:
        """The verification for each box, with how far apart they were hit. The helpers end with that, unless the fault flaps."""
        found = _results(_each(lambda target: verification(self.fault, self.system.engine, target), self.targets, PROVED_AT_ONCE))
        if not self.step.how.flaps:
            self.close()
        is_verified = any(each.proved for each in found)
        found = [replace(each, proved=is_verified) if each.moot else each for each in found]
        if len(found) == 1:
            return found
        apart = f"one of {len(found)} hit within {self.spread_s * 1000:.0f} ms"
        return [replace(each, evidence=f"{each.evidence} ({apart})") for each in found]

    def release(self) -> list[Verification]:
        """Take the fault back at all boxes together, for a while; whether nothing of it is left at each. Raises the first failure."""
        fault, control = self.fault, self.system.engine
        assert isinstance(fault, Passing), "what cannot come and go was refused"
        return _results(_each(lambda target: fault.release(control, target), self.targets, len(self.targets)))

    def close(self) -> None:
        """End the helpers."""
        helpers = [target.helper for target in self.targets if target.helper]
        self.targets = tuple(replace(target, helper=None) for target in self.targets)
        for helper in helpers:
            helper.close()

    def __enter__(self) -> Injection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.is_kept:
            self.close()


def aimed(step: Step, boxes: Sequence[Box], stage: Stage, random: Random) -> tuple[InjectionTarget, ...]:
    """The targets of a step, each with the blast radius of the whole injection. Raises UsageError."""
    members, others = resolve_sides(step.target, step.how.source, boxes, random)
    outside = tuple(box for box in boxes if box not in (*members, *others))
    # A balancer outside may hold the address, or come to hold it: then it is not the members' own.
    all_share = bool(stage.balancers) and set(stage.balancers) <= {box.service for box in members}
    blast_radius = BlastRadius(
        step.how, members, others, outside, stage.entry[0] if all_share else "", stage.entry, TABLE_PREFIX + token_hex(4)
    )
    return tuple(InjectionTarget.of(box, step.target, blast_radius) for box in (*members, *others))


def _check_obeys(undo_log: UndoLog, step: Step, targets: Sequence[InjectionTarget]) -> None:
    """Raise UsageError where a box is to be ended or stopped whose disk stands still: no signal would reach its processes."""
    if step.fault not in BY_SIGNAL:
        return
    still = {entry.undo.service for entry in undo_log.entries() if entry.fault == FaultKind.DISK_STALL}
    for target in targets:
        if target.box.service in still:
            raise UsageError(
                f"{step.fault} of {target.box.service}: its disk stands still, and no signal reaches a process that waits for it",
                "'lab heal' first",
            )


def _each(work: Callable[[InjectionTarget], Result], targets: Sequence[InjectionTarget], at_once: int) -> list[Future[Result]]:
    """The work for each target in a thread of its own; all has ended on return."""
    with ThreadPoolExecutor(max(at_once, 1), thread_name_prefix="injection") as pool:
        return [pool.submit(work, target) for target in targets]


def _results(futures: Sequence[Future[Result]]) -> list[Result]:
    """What came of it. Raises the first failure, and says how many more there were."""
    errors = [error for future in futures if (error := future.exception())]
    if len(errors) > 1 and isinstance(first := errors[0], LabError):
        raise type(first)(f"{first.message} (and {len(errors) - 1} more)", first.hint) from first
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
