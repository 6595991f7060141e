"""The operator that an experiment models: is called, arrives after a delay, and acts."""

from __future__ import annotations

from collections.abc import Callable

from lab import signals
from lab.load.load import Load
from lab.model.experiment import Operator
from lab.probe.observer import ViewSource
from lab.trial import preconditions
from lab.trial.context import TrialContext

HEALED_BY_OPERATOR, WHOLE_BEFORE = "operator-heal", "redundant-before-switchover"
"""A failback has two phases: the operator heals what was broken, and changes over only when redundancy is restored."""

Heal = Callable[[str, str], None]
"""Undo every fault and wait until the stage has recovered; the names of the two events."""
Undo = Callable[[str], None]
"""Undo every fault; the name of the event."""


class OperatorAtWork:
    """An operator under load."""

    def __init__(self, context: TrialContext, load: Load, observer: ViewSource, heal: Heal, undo: Undo) -> None:
        self._context, self._load, self._observer = context, load, observer
        self._heal, self._undo = heal, undo

    def call(self, operator: Operator, interrupts: signals.Deferred) -> None:
        """Wait until the operator arrives (an interrupt may come meanwhile), and let them act. Raises LabError."""
        recorder = self._context.recorder
        self._context.progress.phase("operator", f"arrives in {operator.delay_s:g} s")
        with interrupts.open():
            self._load.run_for(operator.delay_s)
        is_fault = not self._context.experiment.faults
        if is_fault:
            recorder.note("inject", operator.action)
        recorder.note("operator", operator.action)
        self._act(operator)
        if is_fault:
            recorder.note("fault-verified", "the primary is another one")

    def _act(self, operator: Operator) -> None:
        system = self._context.system
        if operator.action == "failback":
            # Part of what the operator does, and no rescue by the lab: nothing that comes after is cut off by it.
            self._heal(HEALED_BY_OPERATOR, WHOLE_BEFORE)
        if operator.action == "accept-loss":
            # Boxes come back first, and one of them says that its disk is lost.
            self._undo(HEALED_BY_OPERATOR)
            system.accept_loss(self._observer, self._say)
        elif operator.action == "promote":
            system.promote(fence=True, say=self._say)
        elif operator.target:
            preconditions.move_primary(system, self._observer, operator.target, self._say)
        else:
            system.switchover(self._observer, self._say)

    def _say(self, text: str) -> None:
        self._context.progress.phase("operator", text)
        self._context.recorder.note("promoted", text)
