"""What a series of random faults says: a line for each round, the error budget, and why it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lab.analysis.error_budget import (
    OBJECTIVES,
    ON_CALL_REPAIR_S,
    ErrorBudget,
    StopReason,
    allowed_incidents,
    error_budget,
)
from lab.analysis.summary import sample_median
from lab.model.measures import Verdict
from lab.model.result import MONTH_S
from lab.model.round import FaultOutcome, RoundOutcome
from lab.plaintext import one_line
from lab.report import matrix_words, words
from lab.report.console import VERDICT_STYLES

ROUNDING = 1e-6
"""What a whole number may be short of one by, as it was calculated."""


def monkey_line(outcome: RoundOutcome, rounds: int) -> str:
    """One round of so many."""
    fault, failed = outcome.fault, outcome.intended - outcome.good
    restored_s = outcome.redundancy_restored_s
    restored = "" if restored_s is None else f"; redundancy restored after {restored_s:.1f} s"
    line = f"{_head(fault, rounds)}, {failed} of {outcome.intended} requests failed, {_safety_of(fault)}{restored}"
    return line + (" (healed by the lab)" if outcome.healed else "") + _reasons(fault)


def healed_line(outcome: FaultOutcome, faults: int) -> str:
    """One fault of so many, each healed by the lab."""
    restored_s = outcome.time_to_redundancy_s
    restored = "time to redundancy unknown" if restored_s is None else f"redundancy restored after {restored_s:.1f} s"
    return f"{_head(outcome, faults)}, {_safety_of(outcome)}, {restored}{_reasons(outcome)}"


def _head(fault: FaultOutcome, of: int) -> str:
    return (
        f"{fault.number:4d} of {of}  {fault.experiment:<20} {', '.join(fault.targets) or '-':<8} {fault.verdict:<12} "
        f"longest outage {words.measured_text(fault.outage)} (writes {fault.writes_downtime_s:.2f} s, reads {fault.reads_downtime_s:.2f} s)"
    )


def _safety_of(fault: FaultOutcome) -> str:
    split = f", split brain {matrix_words.split_text(fault.split_brain_s)}" if fault.split_brain_s != 0 else ""
    return f"lost {total_lost([fault])}{split}"


def _reasons(fault: FaultOutcome) -> str:
    return "".join(f"\n              {one_line(why)}" for why in fault.why)


def show_monkey(console: Console, verdict: Verdict, lines: Sequence[str], folder: str) -> None:
    """Print the report, the verdict, and where it is kept."""
    for line in lines:
        console.print(one_line(line), markup=False, highlight=False)
    console.print(Text.assemble((verdict.value.upper(), VERDICT_STYLES[verdict]), f"  kept in {folder}"), soft_wrap=True)


# The report


def report_lines(outcomes: Sequence[RoundOutcome], rate_per_s: float, reason: StopReason | None = None) -> list[str]:
    """Why it stopped, what was lost, the error budget, and what such faults make of a month of an objective."""
    stopped = [f"stopped after round {len(outcomes)}: {stop_text(reason)}"] if reason else []
    return [*stopped, *_budget_lines(outcomes, error_budget(outcomes), rate_per_s)]


def _budget_lines(outcomes: Sequence[RoundOutcome], budget: ErrorBudget, rate_per_s: float) -> list[str]:
    if not budget.rounds:
        return ["error budget unknown: no valid round"]
    cost_s, left_out = budget.cost_s(rate_per_s), len(outcomes) - budget.rounds
    at_least, at_most = ("≥ ", "≤ ") if budget.censored else ("", "")
    availability = f"availability {at_most}{words.percent(budget.availability_ratio, 4)}"
    failed = f"{budget.rounds} rounds, {budget.intended} requests, {budget.intended - budget.good} failed"
    return [
        _safety(outcomes),
        f"{failed}: {availability}; {_outages(outcomes)}" + (f"; {left_out} rounds left out (not valid)" if left_out else ""),
        f"average cost of a round: {at_least}{cost_s:.2f} s of the whole load",
        *(_objective(objective, cost_s, at_most) for objective in OBJECTIVES),
    ]


def _safety(outcomes: Sequence[RoundOutcome]) -> str:
    """What must never happen, over all rounds: also in one that is not valid it would be true."""
    faults = [each.fault for each in outcomes]
    return f"{outcomes_lost(faults, 'rounds')}; {outcomes_split(faults, 'rounds')}"


def _outages(outcomes: Sequence[RoundOutcome]) -> str:
    """All outages of the rounds that are valid, and the longest; both as bounds where one was cut short."""
    valid = [each for each in outcomes if each.fault.valid]
    longest = sample_median([each.fault.outage for each in valid])
    every = words.seconds(error_budget(outcomes).downtime_s, longest.worst_is_bound)
    return f"all outages {every}, the longest {words.worst_text(longest)}"


def _objective(objective: float, cost_s: float, at_most: str) -> str:
    allowed = allowed_incidents(cost_s, objective)
    by_hand = allowed_incidents(ON_CALL_REPAIR_S, objective)
    minutes = (1 - objective) * MONTH_S / 60
    incidents = f"{by_hand:.1f} a month" if by_hand >= 1 else f"one in {1 / by_hand:.0f} months"
    return (
        f"{objective:.2%} allows {minutes:.2f} minutes a month: {_such_faults(allowed, at_most)}; "
        f"of incidents with on-call repair (30 minutes each): {incidents}"
    )


def _such_faults(allowed: float, at_most: str) -> str:
    if math.isinf(allowed):
        return "any number of such faults"
    return f"{at_most}{math.floor(allowed + ROUNDING)} such faults" if allowed >= 1 else "not one such fault"


def stop_text(reason: StopReason) -> str:
    """Why a series must not go on."""
    if reason.lost:
        return f"{words.count(reason.lost, 'acknowledged write')} lost"
    if reason.split_brain_s:
        return f"split brain: two databases accepted writes for {reason.split_brain_s:.1f} s"
    floor = f"below the floor of {words.percent(reason.abort_below, 4)}"
    if reason.rounds_left <= 0:
        return f"availability was {words.percent(reason.availability_ratio, 4)}, {floor}"
    return (
        f"availability is {words.percent(reason.availability_ratio, 4)}, and could only reach "
        f"{words.percent(reason.best_ratio, 4)} in the {words.count(reason.rounds_left, 'round')} left, {floor}"
    )


# Losses over several faults


def total_lost(outcomes: Sequence[FaultOutcome]) -> str:
    """Lost writes of several faults, as far as is known."""
    lost = sum(outcome.lost for outcome in outcomes)
    if all(outcome.audit_complete for outcome in outcomes):
        return str(lost)
    return f"at least {lost}" if lost else "unknown"


def outcomes_lost(outcomes: Sequence[FaultOutcome], of_what: str) -> str:
    """Lost writes in a sentence, over so many faults (rounds), and in how many of them that is not known."""
    unknown = sum(not outcome.audit_complete for outcome in outcomes)
    lost = sum(outcome.lost for outcome in outcomes)
    if not unknown:
        return f"acknowledged writes lost: {lost} in {len(outcomes)} {of_what}"
    known = f"{lost} in {len(outcomes)} {of_what}" if unknown < len(outcomes) or lost else f"unknown in all {unknown} {of_what}"
    return f"acknowledged writes lost: {known}" + (f"; unknown in {unknown} of them" if "unknown" not in known else "")


def outcomes_split(outcomes: Sequence[FaultOutcome], of_what: str) -> str:
    """Split brain over so many faults (rounds): for how long in all, and in how many of them that is not known."""
    split_s = sum(outcome.split_brain_s or 0.0 for outcome in outcomes)
    unknown = sum(outcome.split_brain_s is None for outcome in outcomes)
    if unknown and unknown == len(outcomes):
        return f"split brain: not observed in any of {unknown} {of_what}"
    seen = f"split brain for {split_s:.1f} s" if split_s else "no split brain"
    return seen + (f"; not observed in {unknown} of {len(outcomes)} {of_what}" if unknown else "")
