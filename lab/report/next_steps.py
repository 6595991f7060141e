"""What to try after a run: commands that are known to work on the stage that they name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from lab.checker.validity import load_problems
from lab.errors import UsageError
from lab.model.experiment import CAMPAIGN_RATE_MIN_PER_S, RATE_MIN_PER_S, TRIALS_MAX, LoadPlan, RepairPolicy
from lab.model.history import RunInfo
from lab.model.measures import Verdict
from lab.model.result import Operation, RunResult, TrialResult
from lab.model.topology import Stage
from lab.spec import experiments, stages

TRIALS = 10
TELLING_TRIALS = 3
"""If this many trials say nothing and no other one does, that is not bad luck: more of them would not say more."""
MORE = "more: -v (redundancy, alerts, phases, conditions), --model (availability), lab report --html FILE"


def next_steps(result: RunResult) -> list[str]:
    """One or two commands, each with its reason. None for a stack or an experiment that is not the lab's, and for an undecided
    run that no command is known to decide."""
    info = result.info
    stage = _stage_of(info)
    if stage is None or info.experiment not in experiments.names():
        return []
    if result.verdict is Verdict.INCONCLUSIVE:
        return _to_decide(info, stage, result.trials)
    spread = [f"{_command(info, stage)} --trials {TRIALS} (how it varies)"] if len(result.trials) < 2 else []
    return [_elsewhere(info, stage), *spread]


def _stage_of(info: RunInfo) -> Stage | None:
    """None for a stack that is not the lab's, and for a stage that is not here."""
    try:
        return stages.find(str(info.stage), info.failover)
    except UsageError:
        return None


# Commands


def _command(info: RunInfo, stage: Stage) -> str:
    """What makes such a run on a stage. It leaves the seed out: another one says more."""
    return " ".join(["lab run", str(stage.number), info.experiment, *_failover(stage), *_options(info)])


def _failover(stage: Stage) -> list[str]:
    return [] if stage == stages.find(str(stage.number)) else [f"--failover {stage.failover}"]


def _options(info: RunInfo) -> list[str]:
    """The options of a run that make it another one than its experiment alone."""
    own, found = experiments.find(info.experiment), []
    if info.repair != own.repair.policy:
        found.append(f"--repair {info.repair}")
    if info.repair != RepairPolicy.NONE and info.repair_delay_s != own.repair.delay_s:
        found.append(f"--repair-delay {info.repair_delay_s:g}s")
    if info.fault_duration_s not in (None, own.fault_duration_s):
        found.append(f"--duration {info.fault_duration_s:g}s")
    # The rate of an overload follows from the capacity.
    if not info.overload and info.plan.rate_per_s != LoadPlan().rate_per_s:
        found.append(f"--rate {info.plan.rate_per_s:g}")
    return found


def _elsewhere(info: RunInfo, stage: Stage) -> str:
    """The same fault on the first later stage that has its target; after the last, what else may fail."""
    later = [each for each in stages.all_stages() if each.number > stage.number]
    found = next((each for each in later if _fits(info.experiment, each)), None)
    if found is not None:
        return f"{_command(info, found)} (the same fault)"
    rate_per_s = info.plan.rate_per_s
    has_rate = not info.overload and rate_per_s != LoadPlan().rate_per_s and rate_per_s >= CAMPAIGN_RATE_MIN_PER_S
    rate = [f"--rate {rate_per_s:g}"] if has_rate else []
    return " ".join([f"lab spof {stage.number}", *_failover(stage), *rate, "(every box in turn)"])


def _fits(name: str, stage: Stage) -> bool:
    try:
        experiments.check_targets(experiments.find(name), stage)
    except UsageError:
        return False
    return True


# Undecided


class Cause(Enum):
    """Why a trial leaves a run undecided."""

    LOAD = auto()
    """The load was not made in time."""
    HEALED = auto()
    """The fault was healed before it could be said."""
    OTHER = auto()


def _to_decide(info: RunInfo, stage: Stage, trials: Sequence[TrialResult]) -> list[str]:
    """The command that is most likely to decide it: what helps depends on why most trials say nothing."""
    causes = Counter(_cause(info, trial) for trial in trials if not trial.is_decided)
    [(cause, _)] = causes.most_common(1) or [(Cause.OTHER, 0)]
    if cause is Cause.LOAD:
        return _slower(info, stage, len(trials))
    return _longer(info, stage, trials) if cause is Cause.HEALED else _more(info, stage, trials)


def _cause(info: RunInfo, trial: TrialResult) -> Cause:
    if not trial.valid:
        return Cause.LOAD if load_problems(trial.generator) and not info.overload else Cause.OTHER
    is_open = _was_cut(trial) and any(_needs_time(check.expectation.measure) for check in trial.undecided)
    return Cause.HEALED if is_open else Cause.OTHER


def _was_cut(trial: TrialResult) -> bool:
    """Whether the lab healed while requests failed, or before the longest gap was over."""
    return any(trial.phases.get("heal_s") in _cuts_s(of) for of in (trial.reads, trial.writes))


def _cuts_s(of: Operation) -> list[float]:
    """The instants at which outages, or the longest gap, were cut short."""
    ends = [each.end_s for each in of.outages if each.censored]
    return [*ends, of.gap.end_s] if of.gap and of.gap.censored else ends


def _needs_time(measure: str) -> bool:
    """Whether a longer fault says more of it; what databases hold, and how many accept writes, is no question of time."""
    words = ("downtime", "outages", "gap", "unserved", "failed", "availability", "time_without_redundancy")
    return any(word in measure for word in words)


def _slower(info: RunInfo, stage: Stage, trials: int) -> list[str]:
    rate_per_s = math.floor(info.plan.rate_per_s / 2)
    if rate_per_s < RATE_MIN_PER_S:
        return []
    slower = replace(info, plan=replace(info.plan, rate_per_s=rate_per_s))
    return [f"{_command(slower, stage)}{_as_many(trials)} (a load that this machine can make in time)"]


def _longer(info: RunInfo, stage: Stage, trials: Sequence[TrialResult]) -> list[str]:
    """A fault twice as long, and longer than any time that is expected."""
    lasted_s = info.fault_duration_s or experiments.find(info.experiment).fault_duration_s
    undecided = [check.expectation for trial in trials for check in trial.undecided if check.expectation.measure.endswith("_s")]
    bounds = [bound for each in undecided for bound in (each.at_most, each.at_least) if bound is not None]
    longer_s = min(math.ceil(max([2 * lasted_s, *(bound + 1 for bound in bounds)])), experiments.DURATION_MAX_S)
    if longer_s <= lasted_s:
        return []
    again = _command(replace(info, fault_duration_s=longer_s), stage)
    return [f"{again}{_as_many(len(trials))} (the fault was healed too soon to say)"]


def _more(info: RunInfo, stage: Stage, trials: Sequence[TrialResult]) -> list[str]:
    """More trials; nothing where many said nothing, and none did: see what is said of them."""
    more = min(max(TRIALS, 2 * len(trials)), TRIALS_MAX)
    if more <= len(trials) or (len(trials) >= TELLING_TRIALS and not any(trial.is_decided for trial in trials)):
        return []
    wanted = "decided" if trials and all(trial.valid for trial in trials) else "valid"
    return [f"{_command(info, stage)} --trials {more} (enough {wanted} trials)"]


def _as_many(trials: int) -> str:
    return f" --trials {trials}" if trials > 1 else ""
