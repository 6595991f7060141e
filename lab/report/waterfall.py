"""What followed what in a trial: each step from the end of the one before. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from lab.model.result import TrialResult
from lab.report import svg
from lab.report.words import PHASE_WORDS

WIDTH, LEFT, RIGHT = 1000.0, 190.0, 830.0
ROW_HEIGHT, AXIS_HEIGHT = 22.0, 36.0


@dataclass(frozen=True)
class Step:
    """From one instant of a trial to the next; seconds since the fault."""

    phase: str
    """What happened at its end: a key of `phases`."""
    start_s: float
    end_s: float
    is_outage: bool
    """Whether users were without the service."""


def steps(trial: TrialResult) -> tuple[Step, ...]:
    """The phases of a trial in order of time, each from the one before; none without a fault, or with nothing after it."""
    inject_s = trial.phases.get("inject_s")
    if inject_s is None:
        return ()
    after = [(name, max(at_s - inject_s, 0.0)) for name, at_s in trial.phases.items() if name != "inject_s"]
    impact_s, recover_s = (trial.phases.get(name, inject_s) - inject_s for name in ("impact_s", "recover_s"))
    found, before_s = [], 0.0
    for name, at_s in sorted(after, key=lambda each: each[1]):
        found.append(Step(name, before_s, at_s, is_outage=max(impact_s, 0.0) <= before_s and at_s <= recover_s))
        before_s = at_s
    return tuple(found)


def waterfall(trial: TrialResult) -> Markup | None:
    """The steps as a waterfall over an axis of seconds since the fault; None where there are none."""
    found = steps(trial)
    if not found:
        return None
    axis = svg.Axis(0.0, found[-1].end_s or 1.0, LEFT, RIGHT)
    bottom = len(found) * ROW_HEIGHT + 6
    drawn = []
    for tick in axis.ticks(10):
        x = axis.at(tick)
        drawn += [svg.line(x, 4, x, bottom, "grid"), svg.text(svg.tick_label(tick), x, bottom + 15, "middle", "tick")]
    drawn.append(svg.text("seconds since the fault", (LEFT + RIGHT) / 2, bottom + 31, "middle", "tick"))
    drawn += [_row(step, index * ROW_HEIGHT + 4, axis) for index, step in enumerate(found)]
    height = bottom + AXIS_HEIGHT
    name = f"trial {trial.number}: what followed the fault, and how long each step took"
    return svg.element(
        "svg", *drawn, viewBox=f"0 0 {WIDTH:g} {svg.number(height)}", role="img", aria_label=name, class_="waterfall"
    )


def _row(step: Step, y: float, axis: svg.Axis) -> Markup:
    x, end = axis.at(step.start_s), axis.at(step.end_s)
    took = f"{step.end_s:.2f} s (+{step.end_s - step.start_s:.2f})"
    return svg.joined(
        [
            svg.text(PHASE_WORDS[step.phase], LEFT - 10, y + 14, "end", "lane"),
            svg.box(x, y + 3, max(end - x, 1.5), ROW_HEIGHT - 8, "step-outage" if step.is_outage else "step"),
            svg.text(took, end + 6, y + 14, class_="count"),
        ]
    )
