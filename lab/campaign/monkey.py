"""A monkey: random faults, one round after another, until a write is lost or all rounds are through.

Where the lab heals (`--repair heal`), each round is an experiment as it is, and only a loss ends it: an acknowledged write
that is lost, or two databases that accepted writes. An outage is no loss, however long; whether it kept within what was
expected is said of each. Where a policy repairs, an orchestrator's work is measured: what users missed is counted, and it
ends too where availability can no longer reach the floor.

Each round is a run of one trial, so its figures, its journal and its audit are those of every run; a round begins only when
everything is redundant. Nothing is held that could not have been seen: half of the rounds at least must have a valid
trial, an audit of every database, and, where there are two, an observer that watched which of them accepted writes. A
loss is one however well its trial was measured. What could not be healed ends it too, as an error.

results/<stage>/monkey/<digest of the schedule>/
    conditions.json   what it is measured with; where that has changed, a new folder is begun (-2, -3, ...)
    schedule.json     what is done: it can be printed before, and replayed
    rounds.jsonl      a line for each round that is through, in order; a later call continues from there
    evidence/         the logs of all boxes, where it was stopped
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lab.analysis import error_budget
from lab.analysis.cell import split_brain
from lab.analysis.error_budget import AbortRule, StopReason
from lab.campaign import resume
from lab.campaign.schedule import ROUND_MAX_S, Round, Schedule, experiment_of
from lab.cluster.system import RunningSystem
from lab.errors import LabError
from lab.model.experiment import LoadPlan
from lab.model.measures import Verdict
from lab.model.result import RunResult, longest_s
from lab.model.round import FaultOutcome, RoundOutcome
from lab.model.topology import Stage
from lab.store import jsonl, paths

PROGRESS_NAME = "rounds.jsonl"
LOG_LINES = 2000
Report = Callable[[RoundOutcome], None]
"""Is called with each round that is through."""


def conditions(stage: Stage, planned: Schedule) -> dict[str, Any]:
    """All that decides what a schedule measures."""
    rounds = {each.experiments: each for each in planned.rounds}
    load = LoadPlan(rate_per_s=planned.rate_per_s)
    # How far apart the faults of a round are is in the schedule.
    return resume.conditions(stage, load, [experiment_of(replace(each, gap_s=0.0), planned) for each in rounds.values()])


class MonkeyStore:
    """The folder of one schedule: the one that was begun under these conditions, or a new one."""

    def __init__(self, stage: Stage, planned: Schedule, measured_with: dict[str, Any], root: Path | None = None) -> None:
        stage_folder = stage.folder + ("" if stage.file.name == "compose.yaml" else f"-{stage.failover}")
        base = (root or paths.RESULTS_FOLDER) / stage_folder / "monkey" / planned.digest
        self.folder, self.why_new = resume.folder(base, PROGRESS_NAME, measured_with)
        self.is_replicated = stage.is_replicated
        jsonl.write_whole(self.folder / "schedule.json", planned.to_document())
        self._lines = jsonl.Lines(self.folder / PROGRESS_NAME)

    def outcomes(self) -> list[RoundOutcome]:
        """The rounds that are through. A half-written last line (a kill) is passed over: that round is done again."""
        return self._lines.of(RoundOutcome)

    def append(self, outcome: RoundOutcome) -> None:
        """Note a round that is through; on return it is on the disk."""
        self._lines.append(asdict(outcome))

    def keep_logs(self, cluster: RunningSystem) -> str:
        """Keep the last lines of every box; returns where, in words, or why not, which hides nothing that is worse."""
        return keep_what_can_be(lambda: self._keep_logs(cluster))

    def _keep_logs(self, cluster: RunningSystem) -> Path:
        folder = self.folder / "evidence"
        folder.mkdir(parents=True, exist_ok=True)
        for box in cluster.boxes():
            (folder / f"{box.service}.log").write_text(cluster.engine.logs(box, LOG_LINES) + "\n", encoding="utf-8")
        return folder


def keep_what_can_be(keep: Callable[[], Path]) -> str:
    """Where the logs are that `keep` keeps, in words; or why they are not kept."""
    try:
        return f"the logs of all boxes are in {keep()}"
    except LabError as error:
        return f"the logs of the boxes could not be kept: {error.message}"
    except OSError as error:
        return f"the logs of the boxes could not be kept: {error.strerror}"


def outcome_of(each: Round, result: RunResult, is_replicated: bool = True) -> RoundOutcome:
    """What a run of one trial says about a round; is_replicated: whether the stage has a second database."""
    [trial] = result.trials
    since_s, until_s = trial.phases.get("inject_s"), trial.phases.get("redundancy_restored_s")
    return RoundOutcome(
        fault=_fault_of(each, result, is_replicated),
        intended=trial.total.intended,
        good=trial.total.good,
        downtime_s=trial.downtime_total_s,
        healed="heal_s" in trial.phases,
        redundancy_restored_s=None if since_s is None or until_s is None else until_s - since_s,
    )


def _fault_of(each: Round, result: RunResult, is_replicated: bool) -> FaultOutcome:
    [trial] = result.trials
    return FaultOutcome(
        number=each.number,
        experiment=result.info.experiment,
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


# When to stop, and what it came to


def stop_reason(outcomes: Sequence[RoundOutcome], floor_ratio: float, planned: Schedule) -> StopReason | None:
    """Why it must not go on; None where it may."""
    # Where no interval is planned, a round that is left may be longer, and so have more good answers, than any so far.
    longest_s = planned.interval_s or ROUND_MAX_S
    rule = AbortRule(len(planned.rounds), planned.rate_per_s * longest_s, floor_ratio)
    return error_budget.stop_reason(outcomes, rule)


def verdict(outcomes: Sequence[RoundOutcome], floor_ratio: float, planned: Schedule) -> Verdict:
    """Refuted by a loss, valid or not; inconclusive where fewer than half of the rounds are valid, or the databases were
    observed, and read afterwards, in fewer than half of them."""
    if any(error_budget.harm(outcomes)):
        return Verdict.REFUTED
    seen = error_budget.error_budget(outcomes)
    if 2 * seen.rounds < len(outcomes) or not outcomes:
        return Verdict.INCONCLUSIVE
    if stop_reason(outcomes, floor_ratio, planned):
        return Verdict.REFUTED
    # What the lab had to heal would have cost more: that the floor was kept is not known.
    known = floor_ratio <= 0 or not seen.censored
    return Verdict.HELD if known and _tell_enough(outcomes) else Verdict.INCONCLUSIVE


def _tell_enough(outcomes: Sequence[RoundOutcome]) -> bool:
    """Whether half of them at least can say that nothing was lost."""
    return 2 * sum(outcome.fault.tells for outcome in outcomes) >= len(outcomes)


def play(
    planned: Schedule, store: MonkeyStore, floor_ratio: float, run: Callable[[Round], RunResult], report: Report
) -> list[RoundOutcome]:
    """Continue with the first round that is not through, up to the last or to a stop condition; returns all that are through."""
    outcomes = store.outcomes()
    for each in planned.rounds[len(outcomes) :]:
        if stop_reason(outcomes, floor_ratio, planned):
            break
        outcomes.append(outcome_of(each, run(each), store.is_replicated))
        store.append(outcomes[-1])
        report(outcomes[-1])
    return outcomes
