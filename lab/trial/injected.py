"""What was broken in a trial, when, and what was started by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.checker.foreign_actions import Act, Struck
from lab.checker.recovery import Broken
from lab.faults import InjectionTarget
from lab.model.fault import ENDING, Step


@dataclass(frozen=True)
class Hit:
    """A box that a fault hit."""

    step: Step
    target: InjectionTarget
    at_s: float
    """On the clock of the load; 0 for what was broken before it."""

    @property
    def service(self) -> str:
        """The box."""
        return self.target.box.service

    def as_struck(self) -> Struck:
        """As the search for what others did needs it."""
        was_ended = self.at_s == 0.0 and self.step.fault in ENDING
        return Struck(self.service, self.at_s, self.target.box.restarts_itself, was_ended)

    def as_broken(self) -> Broken:
        """As the search for the restored redundancy needs it."""
        box = self.target.box
        return Broken(self.service, self.step.fault, self.at_s, box.is_foreign and bool(box.health))


class Injected:
    """Every fault of a trial so far."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.starts: list[Act] = []
        """What faults themselves started under load."""
        self._words: list[str] = []

    def add(self, step: Step, targets: Sequence[InjectionTarget], at_s: float, words: str) -> None:
        """Note a fault that is about to be injected."""
        self.hits += [Hit(step, target, at_s) for target in targets]
        self._words.append(words)

    @property
    def services(self) -> list[str]:
        """The boxes that were hit, in that order."""
        return [hit.service for hit in self.hits]

    @property
    def words(self) -> str:
        """Each fault and the boxes that it hit: `kill db1, kill db2`."""
        return ", ".join(self._words)

    @property
    def since_s(self) -> float | None:
        """When the first box was hit; None where none was."""
        return min((hit.at_s for hit in self.hits), default=None)
