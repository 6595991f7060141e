"""A soak: many faults from a seed, one at a time, each healed and redundancy awaited; ended by the first loss.

results/<stage>/soak/<seed>-<faults>/
    soak.jsonl        a line for each fault that is through, in order; what a later call goes on from
    evidence/         the logs of all boxes, where it ended with a loss
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from lab import experiments, journal
from lab.engine import Engine
from lab.errors import UsageError
from lab.model import Experiment, RunResult, SoakOutcome, Stage, Verdict, longest_s
from lab.runner import trial_seed
from lab.targets import possible

# One box at a time, and what a stage must survive: a lone database (db) or entry (lb) has nobody to take over.
TARGETS = ("web", "db.primary", "db.standby", "lb.active", "lb.passive", "monitor")
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
    if len(experiment.steps) != 1 or (experiment.operator and experiment.operator.does != "switchover"):
        return False
    if not experiment.breaks or not all(_has_partner(step.target, stage) for step in experiment.faults):
        return False
    try:
        experiments.check_targets(experiment, stage)
    except UsageError:
        return False
    return True


def _has_partner(target: str, stage: Stage) -> bool:
    """Whether it is a role that another box could take over; the monitor's work can wait for it."""
    return target in TARGETS and (target == "monitor" or sum(target in spec.roles for spec in possible(stage)) > 1)


def schedule(stage: Stage, faults: int, seed: int) -> list[Fault]:
    """The faults of a soak: the same for the same stage, number and seed."""
    names, random = eligible(stage), Random(f"soak/{seed}")
    return [Fault(number, random.choice(names), trial_seed(seed, number + 1)) for number in range(1, faults + 1)]


class SoakJournal:
    """The folder of one soak."""

    def __init__(self, stage: Stage, faults: int, seed: int, root: Path | None = None) -> None:
        stage_folder = stage.folder + ("" if stage.file.name == "compose.yaml" else f"-{stage.failover}")
        self.folder = (root or journal.RESULTS_FOLDER) / stage_folder / "soak" / f"{seed}-{faults}"
        self._lines = journal.Lines(self.folder / "soak.jsonl")

    def outcomes(self) -> list[SoakOutcome]:
        """The faults that are through. A half-written last line (a kill) is passed over: that fault is done again."""
        return [SoakOutcome(**{**raw, "targets": tuple(raw["targets"]), "why": tuple(raw["why"])}) for raw in self._lines.read()]

    def append(self, outcome: SoakOutcome) -> None:
        """Note a fault that is through."""
        self._lines.append(asdict(outcome))

    def keep_evidence(self, engine: Engine, stage: Stage) -> Path:
        """The last words of every box, into a folder of their own."""
        folder = self.folder / "evidence"
        folder.mkdir(parents=True, exist_ok=True)
        for box in engine.boxes(stage.number):
            (folder / f"{box.service}.log").write_text(engine.logs(box, LOG_LINES) + "\n", encoding="utf-8")
        return folder


def outcome_of(fault: Fault, result: RunResult) -> SoakOutcome:
    """What a run of one trial says about a fault."""
    trial = result.trials[0]
    return SoakOutcome(
        number=fault.number,
        experiment=fault.experiment,
        targets=trial.targets,
        verdict=result.verdict.value,
        valid=trial.valid,
        lost=trial.audit.lost,
        split_brain_s=trial.writable.get("several_s", 0.0),
        writes_downtime_s=longest_s(trial.write_outages),
        reads_downtime_s=longest_s(trial.read_outages),
        rejoin_s=trial.rejoin_s,
        why=(*trial.reasons, *trial.failed_expectations),
        folder=str(result.folder or ""),
    )


def soak(
    faults: list[Fault], kept: SoakJournal, run: Callable[[Fault], RunResult], say: Callable[[SoakOutcome], None]
) -> list[SoakOutcome]:
    """Go on from the first fault that is not through, up to the last or to a loss; returns all that are through."""
    outcomes = kept.outcomes()
    for fault in faults[len(outcomes) :]:
        if outcomes and outcomes[-1].is_loss:
            break
        outcomes.append(outcome_of(fault, run(fault)))
        kept.append(outcomes[-1])
        say(outcomes[-1])
    return outcomes


def verdict(outcomes: list[SoakOutcome]) -> Verdict:
    """Refuted by one loss; what else did not hold is named, and is no loss."""
    if any(outcome.is_loss for outcome in outcomes):
        return Verdict.REFUTED
    return Verdict.HELD if outcomes else Verdict.INCONCLUSIVE
