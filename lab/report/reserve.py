"""How many more failures each tier survived, for how long none, and what that costs in a month: the same in every report. Pure
but for the file of assumptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.analysis import reliability
from lab.analysis.reliability import ExposureCost
from lab.checker import exposure
from lab.checker.exposure import ExposureSummary
from lab.model.result import TrialResult

TITLES = (
    "tier",
    "failures tolerated",
    "during the fault",
    "time without redundancy",
    "model: exposure per month",
    "model: downtime per month",
    "model: with your MTTR",
)
NEVER = "never had any"
NOTHING = "-"


def lines(found: Sequence[ExposureSummary]) -> list[tuple[str, ...]]:
    """A line for each tier, under TITLES; none where nobody looked."""
    costs = {cost.tier: cost for cost in reliability.exposure_costs(found, reliability.read())} if found else {}
    return [_line(each, costs.get(each.tier)) for each in found]


def _line(found: ExposureSummary, cost: ExposureCost | None) -> tuple[str, ...]:
    modelled = (cost.exposed_s, cost.outage_s, cost.unrepaired_outage_s) if cost else ()
    bound = found.censored and cost is not None
    return (
        found.tier,
        str(found.failures_tolerated) if found.failures_tolerated else "none",
        f"{found.working} of {found.boxes} at work" if found.working < found.boxes else "all at work",
        _exposed(found),
        *([_short(value_s, bound) for value_s in modelled] or [NOTHING] * 3),
    )


def _exposed(found: ExposureSummary) -> str:
    if found.without_redundancy_s is None:
        return NEVER
    between = f" ({found.least_s:.1f} to {found.most_s:.1f})" if found.most_s > found.least_s else ""
    return f"{'≥ ' if found.censored else ''}{found.without_redundancy_s:.1f} s{between}"


def _short(value_s: float, bound: bool) -> str:
    """Seconds of a model: two digits say all that it knows."""
    shown = f"{value_s:.2g}" if value_s < 99.5 else f"{value_s:,.0f}"
    return f"{'≥ ' if bound else ''}{shown} s"


def note(trials: Iterable[TrialResult]) -> str:
    """How the figures were come by, and which of them are a model."""
    trials = list(trials)
    period = next((trial.exposure_period_s for trial in trials if trial.exposure_period_s), None)
    looked = (
        f"looked every {period * 1000:.0f} ms, and a box that was gone is seen again up to {exposure.BACK_LATE_S:g} s late. "
        if period
        else "no part of the stage has a second one. "
    )
    costs = reliability.exposure_costs(exposure.over_trials(trials), reliability.read())
    rate = f" ({costs[0].failures_per_month:.2g} a month)" if costs else ""
    return (
        "Failures tolerated: how many more of a tier may fail, at best. Time without redundancy: from the fault on, for how long "
        f"none may (median of the valid trials); {looked}The model is not measured: what failed here fails as often as "
        f"lab/assumptions.yaml says{rate}, and a second failure within that time is an outage until it is repaired. With your "
        "MTTR: the same, were the first one repaired only as late as assumed there."
    )
