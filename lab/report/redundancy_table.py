"""How many more failures each tier tolerated and for how long none, as measured; and what that costs in a month, as a model.

The same in every report. Pure but for the file of assumptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.analysis import reliability
from lab.analysis.reliability import ExposureCost
from lab.checker import exposure
from lab.checker.exposure import ExposureSummary
from lab.model.result import TrialResult

TITLES = ("tier", "failures tolerated", "during the fault", "time without redundancy")
MODEL_TITLES = ("tier", "exposure per month", "downtime per month", "with your MTTR")
MODEL_HEADING = "Model, not measured: what the time without redundancy costs"
NEVER = "never had any"


def lines(found: Sequence[ExposureSummary]) -> list[tuple[str, ...]]:
    """A line for each tier, under TITLES; none where nothing was observed."""
    return [_line(each) for each in found]


def _line(found: ExposureSummary) -> tuple[str, ...]:
    during = f"{found.working} of {found.boxes} at work" if found.working < found.boxes else "all at work"
    return found.tier, str(found.failures_tolerated) if found.failures_tolerated else "none", during, _without(found)


def _without(found: ExposureSummary) -> str:
    if found.without_redundancy_s is None:
        return NEVER
    between = f" ({found.least_s:.1f} to {found.most_s:.1f})" if found.most_s > found.least_s else ""
    return f"{'≥ ' if found.censored else ''}{found.without_redundancy_s:.1f} s{between}"


def note(trials: Iterable[TrialResult]) -> str:
    """How the measured figures were come by."""
    period_s = next((trial.exposure_period_s for trial in trials if trial.exposure_period_s), None)
    observed = (
        f"observed every {period_s * 1000:.0f} ms; a box that comes back is seen up to {exposure.BACK_LATE_S:g} s late."
        if period_s
        else "no part of the stage has a second one."
    )
    return (
        "Failures tolerated: how many more of a tier may fail, at best. Time without redundancy: from the fault on, for how long "
        f"none may (median of the valid trials); {observed}"
    )


# The model


def model_lines(found: Sequence[ExposureSummary]) -> list[tuple[str, ...]]:
    """A line for each tier that had a time without redundancy, under MODEL_TITLES."""
    censored = {each.tier: each.censored for each in found}
    return [_model_line(cost, censored[cost.tier]) for cost in _costs(found)]


def _costs(found: Sequence[ExposureSummary]) -> tuple[ExposureCost, ...]:
    return reliability.exposure_costs(found, reliability.read()) if found else ()


def _model_line(cost: ExposureCost, censored: bool) -> tuple[str, ...]:
    values_s = (cost.exposed_s, cost.outage_s, cost.unrepaired_outage_s)
    return (cost.tier, *(_short(value_s, censored) for value_s in values_s))


def _short(value_s: float, bound: bool) -> str:
    """Seconds of a model: two digits say all that it knows."""
    shown = f"{value_s:.2g}" if value_s < 99.5 else f"{value_s:,.0f}"
    return f"{'≥ ' if bound else ''}{shown} s"


def model_note(found: Sequence[ExposureSummary]) -> str:
    """What the model takes for granted."""
    costs = _costs(found)
    rate = f" ({costs[0].failures_per_month:.2g} a month)" if costs else ""
    return (
        f"What failed here fails as often as lab/assumptions.yaml says{rate}, and a second failure within the time without "
        "redundancy is an outage until it is repaired. With your MTTR: the same, were the first one repaired only as late as "
        "assumed there."
    )
