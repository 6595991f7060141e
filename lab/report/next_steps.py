"""What to try after a run: commands that are known to work on the stage that they name."""

from __future__ import annotations

from lab.errors import UsageError
from lab.model.history import RunInfo
from lab.model.measures import Verdict
from lab.model.result import RunResult
from lab.model.topology import Stage
from lab.spec import experiments, stages

TRIALS = 10
MORE = "more: -v (redundancy, alerts, phases, conditions), --model (availability), lab report --html FILE"


def next_steps(result: RunResult) -> list[str]:
    """One or two commands, each with its reason; none for a stack that is not the lab's, or a file of one's own."""
    info = result.info
    if info.stage == 0 or info.experiment not in experiments.names():
        return []
    again = f"lab run {_place(info)} {info.experiment}"
    if result.verdict is Verdict.INCONCLUSIVE:
        return [f"{again} --trials {TRIALS} (enough valid trials)"]
    spread = [f"{again} --trials {TRIALS} (how it varies)"] if len(result.trials) < 2 else []
    return [_elsewhere(info), *spread]


def _place(info: RunInfo) -> str:
    """A stage and its file as options have them."""
    stage = stages.find(str(info.stage))
    return str(info.stage) if stage.failover == info.failover else f"{info.stage} --failover {info.failover}"


def _elsewhere(info: RunInfo) -> str:
    """The same fault on the first later stage that has its target; after the last, what else may fail."""
    later = [stage for stage in stages.all_stages() if stage.number > info.stage]
    found = next((stage for stage in later if _fits(info.experiment, stage)), None)
    if found is None:
        return f"lab spof {info.stage} (every box in turn)"
    file = "" if found == stages.find(str(found.number)) else f" --failover {found.failover}"
    return f"lab run {found.number} {info.experiment}{file} (the same fault)"


def _fits(name: str, stage: Stage) -> bool:
    try:
        experiments.check_targets(experiments.find(name), stage)
    except UsageError:
        return False
    return True
