"""Why a comparison or a search for single points of failure has the verdict that it has, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.analysis.budget import Finding
from lab.analysis.compare import JudgedCells, Reason, RegressionCheck
from lab.analysis.conclusion import Conclusion
from lab.analysis.matrix import Cell
from lab.analysis.reliability import Disagreement, Observation
from lab.analysis.spof import Sweep, SweepResult
from lab.analysis.stats import CHANCE_MAX, Change
from lab.model.measures import Verdict
from lab.report import matrix_words, run_words, sweep_words

LOSSES_UNKNOWN = "whether a write was lost is not known: not every database could be read after each trial"
SPLIT_UNKNOWN = "whether there was a split brain is not known: the databases were not observed in each trial"
HEALED = "healed too soon to say whether the downtime keeps within its bound (--duration for longer)"
UNKNOWN = {
    "writes_lost": LOSSES_UNKNOWN,
    "split_brain_s": SPLIT_UNKNOWN,
    "time_without_redundancy_s": "the time without redundancy is not known of every trial",
}
NOT_MEASURED = "it was not measured"
NO_VALID_TRIAL = "no valid trial"
NOTHING_IN_COMMON = "no cell in common with the baseline"


def why(found: Conclusion) -> list[str]:
    """Why the verdict is not `held`, a line for each reason."""
    lines = [f"{each.row}, {each.column}: {'; '.join(budget_why(each))}" for each in found.budget or () if _is_open(each)]
    lines += [f"{each.row}, {each.column}: {regression_why(each)}" for each in found.regressions or () if _is_open(each)]
    lines += [f"{row}, {cell.column}: {cell_reasons(cell) or NO_VALID_TRIAL}" for row, cell in found.unmeasured]
    lines += [NOTHING_IN_COMMON] if found.regressions == () else []
    return [*lines, *(spof_why(found.sweep) if found.sweep else ())]


def _is_open(found: Finding | RegressionCheck) -> bool:
    return found.verdict is not Verdict.HELD


def cell_reasons(cell: Cell) -> str:
    """All that a cell did not do as expected, in a line; empty where there is nothing."""
    return "; ".join(matrix_words.cell_why(cell))


# A budget


def budget_why(found: Finding) -> list[str]:
    """Why a limit is broken, or neither broken nor kept; nothing where it is kept."""
    if found.cell is None:
        return [NOT_MEASURED]
    return [run_words.check_text(check) for check in found.broken] or list(_open_questions(found, found.cell))


def _open_questions(found: Finding, cell: Cell) -> Iterator[str]:
    if found.is_short:
        reasons = cell_reasons(cell)
        yield f"{cell.trials_fewest} valid trials of {found.trials_needed}" + (f": {reasons}" if reasons else "")
    if cell.trials_fewest and any(measure.startswith("downtime") for measure in found.undecided):
        yield HEALED
    yield from (UNKNOWN[measure] for measure in found.undecided if measure in UNKNOWN)


# A baseline


def regression_why(found: RegressionCheck) -> str:
    """What the verdict on a cell rests on."""
    return REASONS[found.reason](found)


def _shift(found: RegressionCheck) -> str:
    trials = f"{found.before.trials_valid} and {found.cell.trials_valid} valid trials"
    return _shift_text(found.judged, trials) + _of_which(found.cell, found.before)


def _shift_text(judged: JudgedCells, trials: str) -> str:
    shift, p, change = judged.shift, judged.p_adjusted, judged.change
    if shift is None or p is None:
        return f"{change}: {trials}, {judged.trials_needed} of each are needed"
    bound = f"{shift.bound} " if shift.bound else ""
    small = f", under the {judged.shift_min_s:g} s that count" if p < CHANCE_MAX and change is Change.NONE else ""
    return (
        f"{change}: by {bound}{shift.estimate_s:+.2f} s ({shift.coverage_ratio:.0%} interval {shift.low_s:+.2f} to "
        f"{shift.high_s:+.2f} s), p = {p:.2g}, {trials}{small}"
    )


def _of_which(cell: Cell, before: Cell) -> str:
    """Which targets the samples are of."""
    if not cell.worst:
        return ""
    return f" ({cell.worst})" if cell.worst == before.worst else f" ({before.worst} before, {cell.worst} now)"


def _split_brain(found: RegressionCheck) -> str:
    before = "none before" if found.before.split_brain_s == 0 else "none is known of before"
    return f"split brain for {found.cell.split_brain_s:.1f} s, and {before}"


def _targets(cell: Cell) -> str:
    return ", ".join(each.target for each in cell.members) or "all in one sample"


REASONS: dict[Reason, Callable[[RegressionCheck], str]] = {
    Reason.SHIFT: _shift,
    Reason.LOSS: lambda found: f"{found.cell.writes_lost} acknowledged writes lost, and none before",
    Reason.SPLIT_BRAIN: _split_brain,
    Reason.OTHER_TARGETS: lambda found: f"not the same targets: {_targets(found.before)} before, {_targets(found.cell)} now",
    Reason.TARGET_UNMEASURED: lambda found: f"{NO_VALID_TRIAL} of {', '.join(found.cell.unmeasured)}",
    Reason.TARGET_UNMEASURED_BEFORE: lambda found: f"{NO_VALID_TRIAL} of {', '.join(found.before.unmeasured)} before",
    Reason.LOSSES_UNKNOWN: lambda _: LOSSES_UNKNOWN,
    Reason.SPLIT_BRAIN_UNKNOWN: lambda _: SPLIT_UNKNOWN,
}


# Single points of failure


def spof_why(found: Sweep) -> list[str]:
    """Where found and declared differ, and the parts of which nothing is known."""
    lines = [f"{name} is a single point of failure, and not declared" for name in found.undeclared]
    lines += [f"{name} is declared, and was survived" for name in found.refuted]
    lines += [f"{each.name}: {_unknown(each)}" for each in found.unknown]
    return [*lines, *(_alerts_why(found) if found.alerts_required else ())]


def _alerts_why(found: Sweep) -> list[str]:
    """What no alert reported, and what of that is not known, where alerts are required."""
    silent = (*found.not_notified, *found.notified_unknown)
    return [f"{each.name}: {sweep_words.notice_sentence(each.cell)}" for each in silent]


def _unknown(found: SweepResult) -> str:
    reasons = [each for each in (fate_counts(found), cell_reasons(found.cell)) if each]
    return "; ".join(reasons) or NO_VALID_TRIAL


def fate_counts(found: SweepResult) -> str:
    """2 survived, 1 failed; empty without a valid trial."""
    counts = (
        (found.trials.survived, "survived"),
        (found.trials.failed, "failed"),
        (found.trials.undecided, "undecided: healed too soon"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count)


# The model


def disagreement_text(seen: Observation) -> str:
    """In what a measurement is not what the model says; empty where they agree."""
    if seen.disagreement is None:
        return ""
    predicted, observed = _length(seen.predicted_s), _length(seen.observed_s)
    if seen.disagreement is Disagreement.LENGTH:
        return f"model {predicted}, measured {observed}"
    if seen.disagreement is Disagreement.NOT_BY_ITSELF:
        return f"model: restored after {predicted}; measured: not restored until it was healed ({observed})"
    return f"model: restored after {predicted}; in {seen.healed} of {seen.trials} trials not until it was healed"


def _length(value_s: float) -> str:
    return f"{value_s:.2f} s" if value_s < 600 else f"{value_s / 60:.0f} min"
