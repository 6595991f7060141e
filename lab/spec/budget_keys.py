"""A budget: what each fault may cost at each stage, as a file has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from lab.model.experiment import TRIALS_MAX
from lab.spec.base import Must, Strict, broken
from lab.spec.expect import Bound

EXAMPLE = "stages: {3: {kill-web: {downtime_longest_s: 1.0, writes_lost: 0, trials: 5}}}"


class LimitKeys(Strict):
    """What one fault may cost at most; `trials` is how many valid ones are needed to say so."""

    downtime_longest_s: Bound | None = None
    downtime_median_s: Bound | None = None
    writes_lost: Bound | None = None
    split_brain_s: Bound | None = None
    time_without_redundancy_s: Bound | None = None
    trials: Annotated[int, Field(ge=1, le=TRIALS_MAX), Must(f"a whole number from 1 to {TRIALS_MAX}", "trials: 5")] = 1

    @model_validator(mode="after")
    def _has_a_bound(self) -> LimitKeys:
        if not self.at_most:
            raise broken("", "no bound is given here", EXAMPLE)
        return self

    @property
    def at_most(self) -> dict[str, float]:
        """The bounds that are given."""
        return {name: value for name, value in self.model_dump(exclude={"trials"}).items() if value is not None}


class BudgetFile(Strict):
    """A budget of the Redundancy Lab: for each stage, and each fault at it, what it may cost."""

    stages: dict[str, dict[str, LimitKeys]]
