"""A strike: one fault against all boxes that its target names, as nearly at one instant as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from secrets import token_hex
from time import monotonic
from types import TracebackType
from typing import TypeVar

from lab.errors import LabError
from lab.faults import fault_of
from lab.faults.base import BlastRadius, BoxControl, Fault, InjectionTarget, proof
from lab.faults.packets import TABLE_PREFIX
from lab.model.fault import Step, Undo, Verification
from lab.model.topology import Box, Stage
from lab.spec.targets import resolve_sides
from lab.store.undo_log import OpenFault, UndoLedger

# Getting ready is not to weigh on what is measured: few at a time. The blow itself falls on all at once.
PREPARED_AT_ONCE = 2
PROVED_AT_ONCE = 4

Result = TypeVar("Result")


@dataclass
class Injection:
    """A fault and its victims, ready. As a context: helpers end with it, whatever becomes of the rest."""

    control: BoxControl
    step: Step
    fault: Fault
    victims: tuple[InjectionTarget, ...]
    spread_s: float = 0.0
    """From the first box that was hit to the last; at most, where it is not known exactly."""

    @classmethod
    def prepare(cls, control: BoxControl, step: Step, boxes: Sequence[Box], stage: Stage, random: Random) -> Injection:
        """Find the victims and get everything ready. Nothing is broken by that.

        Raises UsageError for a target that matches nothing or cannot fail in this way, PreflightError where this
        machine cannot do it.
        """
        fault, victims = fault_of(step), aimed(step, boxes, stage, random)
        fault.check(control, victims[0].blast_radius)
        injection = cls(control, step, fault, ())
        prepared = _each(lambda victim: fault.prepare(control, victim), victims, PREPARED_AT_ONCE)
        injection.victims = tuple(done.result() for done in prepared if not done.exception())
        try:
            _results(prepared)
        except BaseException:
            injection.close()
            raise
        return injection

    @property
    def names(self) -> str:
        """The boxes that it hits."""
        return ", ".join(victim.box.service for victim in self.victims)

    def note(self, ledger: UndoLedger) -> list[OpenFault]:
        """Put every undo on the disk."""
        return [ledger.open(_placed(self.fault.undo(victim), victim.box), self.step.fault) for victim in self.victims]

    def inject(self) -> None:
        """Hit all boxes together. Raises the first failure, when all have been hit or have failed."""
        since_s = monotonic()
        instants_s = _results(_each(lambda victim: self.fault.inject(self.control, victim), self.victims, len(self.victims)))
        known_s = [at_s for at_s in instants_s if at_s is not None]
        exact = len(known_s) == len(instants_s)
        self.spread_s = max(known_s) - min(known_s) if exact else monotonic() - since_s

    def verify(self) -> list[Verification]:
        """The proof for each box, in order, with how far apart they were hit. That was the helpers' last work."""
        found = _results(_each(lambda victim: proof(self.fault, self.control, victim), self.victims, PROVED_AT_ONCE))
        self.close()
        verified = any(verification.proved for verification in found)
        found = [replace(verification, proved=verified) if verification.moot else verification for verification in found]
        if len(found) == 1:
            return found
        apart = f"one of {len(found)} hit within {self.spread_s * 1000:.0f} ms"
        return [replace(verification, evidence=f"{verification.evidence} ({apart})") for verification in found]

    def close(self) -> None:
        """End the helpers."""
        helpers = [victim.helper for victim in self.victims if victim.helper]
        self.victims = tuple(replace(victim, helper=None) for victim in self.victims)
        for helper in helpers:
            helper.close()

    def __enter__(self) -> Injection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def aimed(step: Step, boxes: Sequence[Box], stage: Stage, random: Random) -> tuple[InjectionTarget, ...]:
    """The victims of a step, each with all that the strike is aimed at. Raises UsageError."""
    members, others = resolve_sides(step.target, step.how.source, boxes, random)
    outside = tuple(box for box in boxes if box not in (*members, *others))
    # A balancer outside may hold the address, or come to hold it: then it is not the members' own.
    all_share = bool(stage.balancers) and set(stage.balancers) <= {box.service for box in members}
    blast_radius = BlastRadius(
        step.how, members, others, outside, stage.entry[0] if all_share else "", TABLE_PREFIX + token_hex(4)
    )
    return tuple(InjectionTarget.of(box, step.target, blast_radius) for box in (*members, *others))


def _placed(undo: Undo, box: Box) -> Undo:
    """An undo that also says whose box it is, where it is none of the lab's."""
    return replace(undo, project=box.project) if box.is_foreign else undo


def _each(work: Callable[[InjectionTarget], Result], victims: Sequence[InjectionTarget], at_once: int) -> list[Future[Result]]:
    """The work for each victim in a thread of its own; all has ended on return."""
    with ThreadPoolExecutor(max(at_once, 1), thread_name_prefix="strike") as pool:
        return [pool.submit(work, victim) for victim in victims]


def _results(futures: Sequence[Future[Result]]) -> list[Result]:
    """What came of it. Raises the first failure, and says how many more there were."""
    errors = [error for future in futures if (error := future.exception())]
    if len(errors) > 1 and isinstance(first := errors[0], LabError):
        raise type(first)(f"{first.message} (and {len(errors) - 1} more)", first.hint) from first
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
