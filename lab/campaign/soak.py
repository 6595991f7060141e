"""A soak: many faults from a seed, one at a time, each healed and redundancy awaited; ended by the first loss.

A fault may take a box, or a whole zone or region, or the line between two of those. A loss is an acknowledged write that
is gone, or two databases that took writes; what could not be healed ends it too, as an error. An outage is no loss, however
long: some faults are known to be one, and whether it kept within what was expected is said of each.

Nothing is held that could not have been seen: half of the faults at least must have a valid trial, an audit of every
database, and, where there are two, an observer that watched which of them took writes. A loss is one however well its trial was measured.

results/<stage>/soak/<seed>-<faults>/
    conditions.json   what it is measured with; where that has changed, a new folder is begun (-2, -3, ...)
    soak.jsonl        a line for each fault that is through, in order; what a later call goes on from
    evidence/         the logs of all boxes, where it ended with a loss
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from lab.analysis.matrix import split_brain
from lab.campaign import resume
from lab.cluster.system import RunningSystem
from lab.errors import LabError, UsageError
from lab.model.experiment import Experiment, LoadPlan
from lab.model.fault import LINE_FORM
from lab.model.measures import Verdict
from lab.model.result import FaultOutcome, RunResult, longest_s
from lab.model.topology import Stage
from lab.spec import experiments
from lab.spec.targets import PLACES, possible
from lab.store import jsonl, paths
from lab.trial.runner import trial_seed

# One box at a time, and what a stage must survive: a lone database (db) or entry (lb) has nobody to take over.
TARGETS = ("web", "db.primary", "db.standby", "lb.active", "lb.passive", "monitor")
# How many zones or regions it takes for one to be spared. Of two zones neither could say that it is the larger part; regions
# come with a witness, which is one itself.
PLACES_MIN = {"zone": 3, "region": 2}
# How much of a soak is about whole places, where a stage has them: they are few among the experiments, and hit the most.
PLACES_SHARE = 1 / 3
LOG_LINES = 2000


@dataclass(frozen=True)
class Fault:
    """One fault of a soak: which experiment, with which seed."""

    number: int
    experiment: str
    seed: int


def eligible(stage: Stage) -> list[str]:
    """The experiments that a soak of this stage draws from. Raises UsageError where there is none."""
    found = [name for name in experiments.names() if _suits(experiments.find(name), stage)]
    if not found:
        raise UsageError(f"nothing on stage {stage.number} has a partner that could take over", "try stage 5: 'lab soak 5'")
    return found


def _suits(experiment: Experiment, stage: Stage) -> bool:
    if len(experiment.steps) != 1 or experiment.overload or (experiment.operator and experiment.operator.action != "switchover"):
        return False
    if not experiment.breaks or not all(_can_be_spared(target, stage) for target in _targets(experiment)):
        return False
    try:
        experiments.check_targets(experiment, stage)
    except UsageError:
        return False
    return True


def _targets(experiment: Experiment) -> list[str]:
    """Everything that is broken, on both sides of what is parted."""
    return [target for step in experiment.faults for target in (step.target, step.how.source) if target]


def _can_be_spared(target: str, stage: Stage) -> bool:
    return _is_spare_place(target, stage) if _is_place(target) else _has_partner(target, stage)


def _is_place(target: str) -> bool:
    return target.startswith(LINE_FORM) or target.partition(":")[0] in PLACES_MIN


def _is_spare_place(target: str, stage: Stage) -> bool:
    """Whether it is one of enough zones or regions, and the stage does not call it or a box in it a single point of failure.

    The line to a region may fail where the region may.
    """
    form, _, name = target.replace(LINE_FORM, "region:").partition(":")
    where = {spec.name: spec.labels[PLACES[form]] for spec in stage.services if PLACES[form] in spec.labels}
    in_it = {service for service, place in where.items() if place == name}
    return len(set(where.values())) >= PLACES_MIN[form] and not (in_it | {f"{form}:{name}"}) & set(stage.spof)


def _has_partner(target: str, stage: Stage) -> bool:
    """Whether it is a role that another box could take over; the monitor's work can wait for it."""
    return target in TARGETS and (target == "monitor" or sum(target in spec.roles for spec in possible(stage)) > 1)


def schedule(stage: Stage, faults: int, seed: int) -> list[Fault]:
    """The faults of a soak: the same for the same stage, number and seed. A third of them hit whole places, where there are any."""
    names, random = eligible(stage), Random(f"soak/{seed}")
    places = [name for name in names if any(map(_is_place, _targets(experiments.find(name))))]
    boxes = [name for name in names if name not in places]

    def draw() -> str:
        if places and boxes:
            return random.choice(places if random.random() < PLACES_SHARE else boxes)
        return random.choice(names)

    return [Fault(number, draw(), trial_seed(seed, number + 1)) for number in range(1, faults + 1)]


PROGRESS_NAME = "soak.jsonl"


def conditions(stage: Stage, faults: list[Fault], load: LoadPlan, fault_duration_s: float | None) -> dict[str, Any]:
    """All that decides what a soak measures."""
    names = dict.fromkeys(fault.experiment for fault in faults)
    return resume.conditions(stage, load, [experiments.lasting(experiments.find(name), fault_duration_s) for name in names])


class SoakJournal:
    """The folder of one soak: the one that was begun under these conditions, or a new one."""

    def __init__(self, stage: Stage, faults: int, seed: int, measured_with: dict[str, Any], root: Path | None = None) -> None:
        stage_folder = stage.folder + ("" if stage.file.name == "compose.yaml" else f"-{stage.failover}")
        base = (root or paths.RESULTS_FOLDER) / stage_folder / "soak" / f"{seed}-{faults}"
        self.folder, self.why_new = resume.folder(base, PROGRESS_NAME, measured_with)
        self.is_replicated = stage.is_replicated
        self._lines = jsonl.Lines(self.folder / PROGRESS_NAME)

    def outcomes(self) -> list[FaultOutcome]:
        """The faults that are through. A half-written last line (a kill) is passed over: that fault is done again."""
        return self._lines.of(FaultOutcome)

    def append(self, outcome: FaultOutcome) -> None:
        """Note a fault that is through."""
        self._lines.append(asdict(outcome))

    def keep_evidence(self, cluster: RunningSystem) -> Path:
        """The last words of every box, into a folder of their own."""
        return keep_evidence(self.folder, cluster)


def keep_what_can_be(keep: Callable[[], Path]) -> str:
    """Where the logs are that `keep` keeps, in words; or why they are not kept, which hides nothing that is worse."""
    try:
        return f"the logs of all boxes are in {keep()}"
    except LabError as error:
        return f"the logs of the boxes could not be kept: {error.message}"
    except OSError as error:
        return f"the logs of the boxes could not be kept: {error.strerror}"


def keep_evidence(parent: Path, cluster: RunningSystem) -> Path:
    """The last words of every box, into the folder `evidence` below another."""
    folder = parent / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    for box in cluster.boxes():
        (folder / f"{box.service}.log").write_text(cluster.engine.logs(box, LOG_LINES) + "\n", encoding="utf-8")
    return folder


def outcome_of(fault: Fault, result: RunResult, is_replicated: bool = True) -> FaultOutcome:
    """What a run of one trial says about a fault; is_replicated: whether the stage has a second database."""
    trial = result.trials[0]
    return FaultOutcome(
        number=fault.number,
        experiment=fault.experiment,
        targets=trial.targets,
        verdict=result.verdict.value,
        valid=trial.valid,
        lost=trial.audit.lost,
        split_brain_s=split_brain(result.trials, is_replicated),
        writes_downtime_s=longest_s(trial.write_outages),
        reads_downtime_s=longest_s(trial.read_outages),
        time_to_redundancy_s=trial.time_to_redundancy_s,
        why=(*trial.reasons, *(str(check) for check in trial.failures)),
        folder=str(result.folder or ""),
        audit_complete=trial.audit.complete,
        downtime_s=trial.downtime_longest_s,
        downtime_censored=trial.censored,
    )


def soak(
    faults: list[Fault], kept: SoakJournal, run: Callable[[Fault], RunResult], say: Callable[[FaultOutcome], None]
) -> list[FaultOutcome]:
    """Go on from the first fault that is not through, up to the last or to a loss; returns all that are through."""
    outcomes = kept.outcomes()
    for fault in faults[len(outcomes) :]:
        if outcomes and outcomes[-1].is_loss:
            break
        outcomes.append(outcome_of(fault, run(fault), kept.is_replicated))
        kept.append(outcomes[-1])
        say(outcomes[-1])
    return outcomes


def verdict(outcomes: Sequence[FaultOutcome]) -> Verdict:
    """Refuted by one loss, valid or not; inconclusive where fewer than half of the faults could have shown one.

    What else did not hold is named, and is no loss.
    """
    if any(outcome.is_loss for outcome in outcomes):
        return Verdict.REFUTED
    return Verdict.HELD if tell_enough(outcomes) else Verdict.INCONCLUSIVE


def tell_enough(outcomes: Sequence[FaultOutcome]) -> bool:
    """Whether half of them at least can say that nothing was lost."""
    return bool(outcomes) and 2 * sum(outcome.tells for outcome in outcomes) >= len(outcomes)
