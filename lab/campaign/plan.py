"""What a campaign is to do: its stages, and the cells of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lab.analysis.design import CellPlan
from lab.model.experiment import LoadPlan
from lab.model.topology import Stage


@dataclass(frozen=True)
class StagePlan:
    """What is done to one stage."""

    stage: Stage
    cell_plans: tuple[CellPlan, ...]
    made_from: str
    """The fingerprint of the files that it is started from."""


@dataclass(frozen=True)
class Campaign:
    """Everything that is to be done, in order."""

    kind: str
    """compare or spof: the folder below results/."""
    title: str
    seed: int
    trials: int
    """Valid trials that each cell is to have."""
    load: LoadPlan
    stages: tuple[StagePlan, ...]
    stops: bool
    """Whether each stage is taken down when it is through."""
    code: str
    """The version of the lab's code that measures (resume.code_version)."""

    def request(self) -> dict[str, Any]:
        """All that decides what is measured, as JSON has it."""
        stages = [
            {
                "project": each.stage.project,
                "made_from": each.made_from,
                "cells": [asdict(cell_plan) for cell_plan in each.cell_plans],
            }
            for each in self.stages
        ]
        request = {"seed": self.seed, "trials": self.trials, "load": asdict(self.load), "code": self.code, "stages": stages}
        return json.loads(json.dumps(request))  # type: ignore[no-any-return]
