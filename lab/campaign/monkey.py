"""A monkey: a fault every so often, by chance, while an orchestrator repairs; ended by what must never be.

A soak heals each fault and asks only for losses. A monkey leaves the healing to a repair policy, counts what users missed,
and says what that makes of an error budget. Faults come from where a soak's come from: `soak.eligible`. Each round is a run
of one trial that lasts as long as faults are apart, so its figures, its journal and its audit are those of every run; a
round begins only when nothing is missing. So within the blast radius one fault is in effect at a time: it hits boxes of one tier, or a zone or region
with all that is in it. A reckless monkey hits two tiers in each round, the second before the first is repaired.

results/<stage>/monkey/<digest of the schedule>/
    conditions.json   what it is measured with; where that has changed, a new folder is begun (-2, -3, ...)
    schedule.json     what is done: it can be printed before, and replayed
    rounds.jsonl      a line for each round that is through, in order; what a later call goes on from
    evidence/         the logs of all boxes, where a stop condition ended it
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from lab.analysis.summary import sample_median
from lab.campaign import resume, soak
from lab.cluster.system import RunningSystem
from lab.errors import UsageError, shown
from lab.model.experiment import RATE_MAX_PER_S, Experiment, LoadPlan, Repair
from lab.model.measures import Verdict
from lab.model.result import MONTH_S, RoundOutcome, RunResult
from lab.model.topology import Stage
from lab.report import words
from lab.spec import experiments, kept
from lab.spec.located_yaml import place
from lab.store import jsonl, paths
from lab.trial.runner import trial_seed

BASELINE_S, COOLDOWN_S = 2.0, 1.5
OVERHEAD_S = 9.0
"""What a round takes beside its load and the watching: to settle, to repair, to read every database."""
OBSERVE_MIN_S = 6.0
EVERY_MIN_S = BASELINE_S + COOLDOWN_S + OVERHEAD_S + OBSERVE_MIN_S
GAP_MAX_S = 3.0
ROUNDS_MAX = 1000
HUMAN_S = 30 * 60.0
"""What an engineer takes who is woken, logs in, understands and acts."""
OBJECTIVES = (0.999, 0.9999)
VERSION = 2
TIERS = {
    "web": "web",
    "lb.active": "balancer",
    "lb.passive": "balancer",
    "db.primary": "database",
    "db.standby": "database",
    "monitor": "monitor",
}


ROUNDING = 1e-6
"""What a whole number may be short of one by, as it was calculated."""


@dataclass(frozen=True)
class Round:
    """What is done in one round: one experiment's fault, or those of two, so many seconds apart."""

    number: int
    experiments: tuple[str, ...]
    gap_s: float
    seed: int


@dataclass(frozen=True)
class Schedule:
    """All that a monkey does, decided before it begins."""

    stage: str
    """The stage's folder, and its failover where it has a second file."""
    seed: int
    every_s: float
    rate_per_s: float
    repair: Repair
    reckless: bool
    rounds: tuple[Round, ...]

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready data: what --print-schedule prints and --schedule reads."""
        raw = asdict(self)
        return {"schema_version": VERSION, **raw, "repair": {"policy": self.repair.policy.value, "delay_s": self.repair.delay_s}}

    @property
    def digest(self) -> str:
        """The same for the same schedule, and for no other."""
        return hashlib.sha256(json.dumps(self.to_document(), sort_keys=True).encode()).hexdigest()[:12]


def schedule(
    stage: Stage, for_s: float, every_s: float, seed: int, repair: Repair, reckless: bool = False, rate_per_s: float = 100.0
) -> Schedule:
    """The schedule of a seed: the same for the same seed, and a longer one begins as the shorter. Raises UsageError."""
    if every_s < EVERY_MIN_S:
        raise UsageError(f"a fault every {every_s:g} s leaves no time to see what it does", f"--every {EVERY_MIN_S:g}s or more")
    count = int(for_s // every_s)
    if not 1 <= count <= ROUNDS_MAX:
        raise UsageError(f"{for_s:g} s hold {count} rounds of {every_s:g} s", f"from 1 to {ROUNDS_MAX} rounds")
    reach, random = within_reach(stage, reckless), Random(f"monkey/{seed}")
    rounds = tuple(_round(number, reach, random, seed, reckless) for number in range(1, count + 1))
    return Schedule(stage.name, seed, every_s, rate_per_s, repair, reckless, rounds)


def within_reach(stage: Stage, reckless: bool) -> dict[str, str]:
    """The experiments that it draws from, each with its tier: a soak's, without those in which somebody acts; and where two
    fall at once, only those of a single box. Raises UsageError where there are too few."""
    names = [name for name in soak.eligible(stage) if not experiments.find(name).operator]
    found = {name: found for name in names if (found := tier(name)) or not reckless}
    if not found or (reckless and len(set(found.values())) < 2):
        raise UsageError(f"stage {stage.number} has not enough that a monkey may break", "try stage 5: 'lab monkey 5'")
    return found


def tier(name: str) -> str:
    """The tier in which an experiment breaks a box; empty for places and lines."""
    [step] = experiments.find(name).faults
    return TIERS.get(step.target, "") if not step.how.source else ""


def _round(number: int, reach: dict[str, str], random: Random, seed: int, reckless: bool) -> Round:
    first = random.choice(list(reach))
    if not reckless:
        return Round(number, (first,), 0.0, trial_seed(seed, number + 1))
    second = random.choice([name for name, found in reach.items() if found != reach[first]])
    return Round(number, (first, second), round(random.uniform(0.0, GAP_MAX_S), 1), trial_seed(seed, number + 1))


def read_schedule(file: Path, stage: Stage) -> Schedule:
    """A schedule as --print-schedule printed it. Raises UsageError for what is none, or was made for another stage."""
    try:
        text = kept.content(file)
        version = raw.get("schema_version") if isinstance(raw := kept.document(text), dict) else None
        if version != VERSION:
            raise ValueError("it is of another version of the lab")
        found = kept.parse(Schedule, text)
        _check(found)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{place(file)} is no schedule: {getattr(error, 'strerror', None) or error}",
            "'lab monkey 5 --for 30m --print-schedule --json' prints one",
        ) from error
    if found.stage != stage.name:
        raise UsageError(f"{place(file)} is a schedule for {shown(found.stage)}, not for {stage.name}", "name that stage")
    reach = set(within_reach(stage, found.reckless))
    if unknown := {name for each in found.rounds for name in each.experiments} - reach:
        raise UsageError(f"{', '.join(sorted(unknown))}: out of a monkey's reach on stage {stage.number}", "'lab list' shows all")
    return found


def _check(found: Schedule) -> None:
    """Raise ValueError for what no schedule says."""
    numbers = [each.number for each in found.rounds]
    if not 1 <= len(numbers) <= ROUNDS_MAX or numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("its rounds are not numbered from 1")
    if not all(1 <= len(each.experiments) <= 2 and 0 <= each.gap_s <= 60 for each in found.rounds):
        raise ValueError("a round has one or two experiments, up to 60 s apart")
    if (
        not EVERY_MIN_S <= found.every_s <= experiments.DURATION_MAX_S
        or not 0 <= found.repair.delay_s <= experiments.DURATION_MAX_S
    ):
        raise ValueError("its times are out of bounds")
    if not 1 <= found.rate_per_s <= RATE_MAX_PER_S:
        raise ValueError("its rate is out of bounds")


def experiment_of(each: Round, planned: Schedule) -> Experiment:
    """What a round runs."""
    first, *more = map(experiments.find, each.experiments)
    steps = (*first.faults, *(replace(step, delay_s=each.gap_s) for other in more for step in other.faults))
    return replace(
        first,
        name="-and-".join(each.experiments),
        steps=steps,
        preconditions={},
        baseline_s=BASELINE_S,
        fault_duration_s=max(planned.every_s - BASELINE_S - COOLDOWN_S - OVERHEAD_S, OBSERVE_MIN_S),
        cooldown_s=COOLDOWN_S,
        repair=planned.repair,
        expected_verdicts={},
    )


PROGRESS_NAME = "rounds.jsonl"


def conditions(stage: Stage, planned: Schedule) -> dict[str, Any]:
    """All that decides what a schedule measures."""
    rounds = {each.experiments: each for each in planned.rounds}
    load = LoadPlan(rate_per_s=planned.rate_per_s)
    # How far apart the faults of a round are is in the schedule.
    return resume.conditions(stage, load, [experiment_of(replace(each, gap_s=0.0), planned) for each in rounds.values()])


class Kept:
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

    def keep_evidence(self, cluster: RunningSystem) -> Path:
        """The last words of every box, into a folder of their own."""
        return soak.keep_evidence(self.folder, cluster)


def outcome_of(each: Round, result: RunResult, is_replicated: bool = True) -> RoundOutcome:
    """What a run of one trial says about a round; is_replicated: whether the stage has a second database."""
    [trial] = result.trials
    fault = soak.outcome_of(soak.Fault(each.number, result.info.experiment, each.seed), result, is_replicated)
    since_s, until_s = trial.phases.get("inject_s"), trial.phases.get("redundancy_restored_s")
    return RoundOutcome(
        fault=fault,
        intended=trial.total.intended,
        good=trial.total.good,
        downtime_s=trial.downtime_total_s,
        healed="heal_s" in trial.phases,
        redundancy_restored_s=None if since_s is None or until_s is None else until_s - since_s,
    )


# When to stop, and what it came to


@dataclass(frozen=True)
class ErrorBudget:
    """What users missed, over the rounds whose measurement is to be trusted."""

    rounds: int
    intended: int
    good: int
    downtime_s: float
    censored: bool = False
    """An outage of some round was cut short: it would have cost more."""

    @property
    def availability_ratio(self) -> float:
        """good / intended; 1 of nothing."""
        return self.good / self.intended if self.intended else 1.0

    def cost_s(self, rate_per_s: float) -> float:
        """What a round cost: as many seconds of the whole traffic as were not served well."""
        return (self.intended - self.good) / rate_per_s / self.rounds if self.rounds else 0.0


def error_budget(outcomes: Sequence[RoundOutcome]) -> ErrorBudget:
    """The sum of the rounds. Those that are not valid are left out: what they show may be this machine's doing."""
    valid = [each for each in outcomes if each.fault.valid]
    return ErrorBudget(
        len(valid),
        sum(each.intended for each in valid),
        sum(each.good for each in valid),
        sum(each.downtime_s for each in valid),
        any(each.fault.downtime_censored for each in valid),
    )


def stop_reason(outcomes: Sequence[RoundOutcome], floor_ratio: float, planned: Schedule) -> str:
    """Why it must not go on; empty where it may. A loss stops it however well it was measured.

    Availability is judged over all rounds of the schedule, so that their order decides nothing: it ends before the last only
    where even perfect rounds from here on would not bring it back to the floor.
    """
    lost, split_s = _harm(outcomes)
    if lost:
        return f"{lost} acknowledged writes were lost"
    if split_s:
        return f"split brain: two databases accepted writes for {split_s:.1f} s"
    left = len(planned.rounds) - len(outcomes)
    seen, best = error_budget(outcomes).availability_ratio, best_ratio(outcomes, left, planned)
    if best >= floor_ratio:
        return ""
    if left > 0:
        return (
            f"availability is {words.percent(seen, 4)}, and could only come to {words.percent(best, 4)} with the {left} rounds that are left, "
            f"below the floor of {words.percent(floor_ratio, 4)}"
        )
    return f"availability was {words.percent(seen, 4)}, below the floor of {words.percent(floor_ratio, 4)}"


def best_ratio(outcomes: Sequence[RoundOutcome], left: int, planned: Schedule) -> float:
    """The availability if all rounds that are left were perfect, each with as many requests as a round may have."""
    seen = error_budget(outcomes)
    most = max([planned.rate_per_s * planned.every_s, *(each.intended for each in outcomes)])
    every = seen.intended + left * most
    return (seen.good + left * most) / every if every else 1.0


def _harm(outcomes: Sequence[RoundOutcome]) -> tuple[int, float]:
    """Acknowledged writes that are known to be lost, and seconds in which two databases are known to have taken writes."""
    return sum(each.fault.lost for each in outcomes), sum(each.fault.split_brain_s or 0.0 for each in outcomes)


def verdict(outcomes: Sequence[RoundOutcome], floor_ratio: float, planned: Schedule) -> Verdict:
    """Refuted by a loss, valid or not; inconclusive where fewer than half of the rounds were measured well, or the databases
    watched, and read afterwards, in fewer than half of them."""
    if any(_harm(outcomes)):
        return Verdict.REFUTED
    if 2 * error_budget(outcomes).rounds < len(outcomes) or not outcomes:
        return Verdict.INCONCLUSIVE
    if stop_reason(outcomes, floor_ratio, planned):
        return Verdict.REFUTED
    # What the lab had to heal would have cost more: that the floor was kept is not known.
    known = floor_ratio <= 0 or not error_budget(outcomes).censored
    return Verdict.HELD if known and soak.tell_enough([each.fault for each in outcomes]) else Verdict.INCONCLUSIVE


def play(
    planned: Schedule, kept: Kept, floor_ratio: float, run: Callable[[Round], RunResult], say: Callable[[RoundOutcome], None]
) -> list[RoundOutcome]:
    """Go on from the first round that is not through, up to the last or to a stop condition; returns all that are through."""
    outcomes = kept.outcomes()
    for each in planned.rounds[len(outcomes) :]:
        if stop_reason(outcomes, floor_ratio, planned):
            break
        outcomes.append(outcome_of(each, run(each), kept.is_replicated))
        kept.append(outcomes[-1])
        say(outcomes[-1])
    return outcomes


def allowed_incidents(cost_s: float, objective: float) -> float:
    """How many faults of this cost a month of an objective allows; infinite where a fault costs nothing."""
    return (1 - objective) * MONTH_S / cost_s if cost_s > 0 else float("inf")


def report_lines(outcomes: Sequence[RoundOutcome], rate_per_s: float) -> list[str]:
    """The error budget in words: what was measured, and what a month of such faults would make of an objective."""
    seen = error_budget(outcomes)
    if not seen.rounds:
        return ["no round was measured well enough to say anything about a budget"]
    bad, cost_s = seen.intended - seen.good, seen.cost_s(rate_per_s)
    left_out = len(outcomes) - seen.rounds
    at_least, at_most = ("≥ ", "≤ ") if seen.censored else ("", "")
    lines = [
        f"{seen.rounds} rounds, {seen.intended} requests, {bad} not served well: availability {at_most}{words.percent(seen.availability_ratio, 4)}; "
        f"{_outages(outcomes)}" + (f"; {left_out} rounds left out (not valid)" if left_out else ""),
        f"a round cost {at_least}{cost_s:.2f} s of the whole traffic on the average",
    ]
    return [_safety(outcomes), *lines, *(_objective(objective, cost_s, at_most) for objective in OBJECTIVES)]


def _safety(outcomes: Sequence[RoundOutcome]) -> str:
    """What must never happen, over all rounds: also in one that was measured badly it would be true."""
    faults = [each.fault for each in outcomes]
    return f"{words.outcomes_lost(faults, 'rounds')}; {words.outcomes_split(faults, 'rounds')}"


def _outages(outcomes: Sequence[RoundOutcome]) -> str:
    """All outages of the rounds that are valid, and the longest; both as bounds where one was cut short."""
    valid = [each for each in outcomes if each.fault.valid]
    longest = sample_median([each.fault.outage for each in valid])
    every = words.seconds(error_budget(outcomes).downtime_s, longest.worst_is_bound)
    return f"outages of {every} in all, the longest {words.worst_text(longest)}"


def _objective(objective: float, cost_s: float, at_most: str) -> str:
    budget_s = (1 - objective) * MONTH_S
    count = allowed_incidents(cost_s, objective)
    many = (
        "any number of them"
        if count == float("inf")
        else f"{at_most}{math.floor(count + ROUNDING)} of them"
        if count >= 1
        else "not one of them"
    )
    human = allowed_incidents(HUMAN_S, objective)
    by_hand = f"{human:.1f}" if human >= 1 else f"one in {1 / human:.0f} months"
    return f"{objective:.2%} allows {budget_s / 60:.2f} minutes a month: {many}; where a human has to be woken (30 minutes each): {by_hand}"
