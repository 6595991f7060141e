"""Every trial as a dot, with the median and its interval; one row for each thing that was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lab.model.result import SampleMedian
from lab.report import svg, words

WIDTH, LEFT, RIGHT = 1000.0, 262.0, 760.0
RADIUS, STEP, DEEP = 4.5, 8.0, 36.0
ROW_HEIGHT, AXIS_HEIGHT = 54.0, 36.0


@dataclass(frozen=True)
class Dot:
    """One trial; seconds."""

    value_s: float
    valid: bool = True
    censored: bool = False
    """A lower bound."""
    name: str = ""


@dataclass(frozen=True)
class DotRow:
    """Trials of one kind; `found` over those that are valid, None without one."""

    name: str
    dots: tuple[Dot, ...]
    found: SampleMedian | None
    limit_s: float | None = None
    """What was expected at most."""
    note: str = ""
    """What stands there instead of dots where there are none."""


def dots_chart(rows: Sequence[DotRow], title: str) -> Markup:
    """Rows of dots over one axis of seconds, which begins at 0."""
    values = [dot.value_s for row in rows for dot in row.dots] + [row.limit_s or 0.0 for row in rows]
    highest = max(values, default=0.0)
    axis = svg.Axis(0.0, highest * 1.04 if highest else 1.0, LEFT, RIGHT)
    bottom = len(rows) * ROW_HEIGHT
    drawn = [_scale(axis, bottom)]
    drawn += [
        svg.element("g", _row(row, axis), transform=f"translate(0 {svg.number(index * ROW_HEIGHT)})")
        for index, row in enumerate(rows)
    ]
    height = bottom + AXIS_HEIGHT
    return svg.element(
        "svg", *drawn, viewBox=f"0 0 {WIDTH:g} {svg.number(height)}", role="img", aria_label=title, class_="dots-chart"
    )


def _scale(axis: svg.Axis, bottom: float) -> Markup:
    drawn = []
    for tick in axis.ticks(8):
        x = axis.at(tick)
        drawn += [svg.line(x, 4, x, bottom, "grid"), svg.text(svg.tick_label(tick), x, bottom + 15, "middle", "tick")]
    drawn.append(svg.text("seconds", (LEFT + RIGHT) / 2, bottom + 31, "middle", "tick"))
    return svg.joined(drawn)


def _row(row: DotRow, axis: svg.Axis) -> Markup:
    middle = ROW_HEIGHT / 2
    drawn = [svg.text(row.name, 0, middle + 4, class_="name"), svg.line(LEFT, middle, RIGHT, middle, "grid")]
    if row.limit_s is not None:
        x = axis.at(row.limit_s)
        left = x > (LEFT + RIGHT) / 2
        label = svg.text("expected at most", x - 4 if left else x + 4, 11, "end" if left else "start", "tick")
        drawn += [svg.line(x, 3, x, ROW_HEIGHT - 3, "limit"), label]
    if row.found:
        drawn.append(_interval(row.found, axis, middle))
    drawn += [_dot(dot, x, middle - up) for dot, x, up in placed(row.dots, axis)]
    drawn += [svg.text(label, RIGHT + 14, middle - 3 + 15 * at, class_=class_) for at, (label, class_) in enumerate(_said(row))]
    return svg.joined(drawn)


def _interval(found: SampleMedian, axis: svg.Axis, y: float) -> Markup:
    low, high, median = axis.at(found.ci_low), axis.at(min(found.ci_high, axis.high)), axis.at(found.low)
    band = svg.box(low, y - 12, max(high - low, 1.0), 24, "interval")
    return band + svg.line(median, y - 14, median, y + 14, "median")


def placed(dots: Iterable[Dot], axis: svg.Axis) -> list[tuple[Dot, float, float]]:
    """Dots with where they stand and how far above or below the line, so that equal ones do not hide each other."""
    piles: dict[int, list[Dot]] = {}
    for dot in dots:
        piles.setdefault(int(axis.at(dot.value_s) / STEP), []).append(dot)
    found = []
    for pile in piles.values():
        apart = min(STEP, DEEP / max(len(pile) - 1, 1))
        for at, dot in enumerate(pile):
            found.append((dot, axis.at(dot.value_s), ((len(pile) - 1) / 2 - at) * apart))
    return found


def _dot(dot: Dot, x: float, y: float) -> Markup:
    """A disc; hollow where it is not valid; pointing on where it is a lower bound."""
    class_ = "trial-dot" + ("" if dot.valid else " hollow")
    label = f"{dot.name}: {words.seconds(dot.value_s, dot.censored)}" + ("" if dot.valid else ", not valid")
    title = svg.element("title", label)
    if not dot.censored:
        return svg.element("circle", title, cx=x, cy=y, r=RADIUS, class_=class_)
    points = (
        f"{svg.number(x - 4)},{svg.number(y - 5)} {svg.number(x + 7)},{svg.number(y)} {svg.number(x - 4)},{svg.number(y + 5)}"
    )
    return svg.element("polygon", title, points=points, class_=class_)


def _said(row: DotRow) -> list[tuple[str, str]]:
    """The median in figures, and how sure it is."""
    found = row.found
    if not found:
        return [(row.note or "no valid trial", "soft")]
    lines = [(f"median {words.median_text(found)}", "strong")]
    if sum(dot.valid for dot in row.dots) > 1:
        lines.append((f"{words.interval_text(found)} ({found.coverage_ratio:.0%} interval)", "soft"))
    else:
        lines.append(("one trial: no interval", "soft"))
    return lines
