"""One trial as one picture: panels on one axis of time, the fault as a band through all of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lab.checker.latency import SLOW_S
from lab.model.history import Arrival, TrialRecord
from lab.model.result import TrialResult
from lab.report import run_words, svg, timeline, words
from lab.report.timeline import BIN_S, OTHER, Cell, Lane, Span

WIDTH = 1000.0
LEFT, RIGHT = 118.0, 902.0
COLUMNS_MAX = 784
BARS_HEIGHT, DOTS_HEIGHT, LANE_HEIGHT, GAP = 54.0, 84.0, 15.0, 14.0
HEADING, LABEL_LINE, AXIS_HEIGHT = 18.0, 15.0, 34.0
LATENCY_LOW_MS, DOT = 1.0, 2.0
MANY = 4
MARKED = (
    "impact_s",
    "detect_s",
    "elect_s",
    "reroute_s",
    "alert_s",
    "recover_s",
    "operator_s",
    "promoted_s",
    "redundancy_restored_s",
)
BOLD = ("inject_s", "heal_s")
STATE_CLASSES = {
    "primary": "st-primary",
    "sync_blocked": "st-waiting",
    "standby": "st-standby",
    "unreachable": "st-silent",
    "read-only": "st-waiting",
}
STATE_CLASSES |= {"owner": "st-primary", "claims": "st-waiting"}
STATE_CLASSES |= {timeline.tolerated(0): "st-none"} | {timeline.tolerated(level): "st-standby" for level in range(1, 100)}


@dataclass(frozen=True)
class Frame:
    """What the panels of a picture share."""

    time: svg.Axis
    width_s: float
    """Of one bar."""
    deadline_s: float
    classes: tuple[str, ...]
    """Classes of failure with a colour of their own, in its order."""

    def colour(self, failed: str) -> str:
        """The CSS class of a class of failure."""
        return f"f{self.classes.index(failed) + 1}" if failed in self.classes else "fo"


@dataclass(frozen=True)
class Panel:
    """A part of the picture: drawn downwards from 0."""

    height: float
    drawn: Markup


def trial_chart(
    record: TrialRecord, trial: TrialResult, classes: tuple[str, ...], window_s: tuple[float, float] | None = None
) -> Markup:
    """The picture of a trial, or of a stretch of it; seconds on the clock of its load."""
    low_s, high_s = window_s or (0.0, max(timeline.length_s(record), 1.0))
    frame = Frame(svg.Axis(low_s, high_s, LEFT, RIGHT), bar_width_s(high_s - low_s), record.plan.deadline_s, classes)
    arrivals = [each for each in record.arrivals if low_s <= each.at_s <= high_s]
    marks = _marks(trial, frame)
    panels = [*_request_panels(arrivals, frame), *_box_panels(record, arrivals, frame)]
    top = marks.height
    height = top + sum(panel.height + GAP for panel in panels) + AXIS_HEIGHT
    drawn, y = (
        [_bands(trial, frame, top, height - AXIS_HEIGHT), marks.drawn, _lines(trial, frame, top, height - AXIS_HEIGHT)],
        top,
    )
    for panel in panels:
        drawn.append(svg.element("g", panel.drawn, transform=f"translate(0 {svg.number(y)})"))
        y += panel.height + GAP
    drawn.append(_time_axis(frame, height - AXIS_HEIGHT))
    name = f"trial {record.number}: requests, latencies and boxes over time"
    return svg.element("svg", *drawn, viewBox=f"0 0 {WIDTH:g} {svg.number(height)}", role="img", aria_label=name, class_="trial")


def bar_width_s(length_s: float) -> float:
    """100 ms, or as many of them as keep the bars of a long trial apart; seconds."""
    return BIN_S * max(math.ceil(length_s / BIN_S / COLUMNS_MAX - 1e-9), 1)


def _request_panels(arrivals: Sequence[Arrival], frame: Frame) -> list[Panel]:
    panels = []
    for kind, name in (("read", "reads"), ("write", "writes")):
        some = timeline.of_kind(arrivals, kind)
        panels.append(_bars_panel(name, timeline.cells(some, frame.deadline_s, frame.width_s), frame))
    for kind, name in (("read", "latency of reads"), ("write", "latency of writes")):
        some = timeline.of_kind(arrivals, kind)
        if some:
            panels.append(_latency_panel(name, some, frame))
    return panels


def _bars_panel(name: str, found: Sequence[Cell], frame: Frame) -> Panel:
    """How many were good, slow and failed in each interval, stacked."""
    whole = timeline.totals(found)
    if not whole.intended:
        return Panel(HEADING, svg.text(f"no {name} were made", LEFT, 12, class_="soft"))
    most = max(cell.intended for cell in found)
    heights = svg.Axis(0, most, 0, BARS_HEIGHT)
    paths: dict[str, list[tuple[float, float, float, float]]] = {}
    hints = []
    for cell in found:
        x, end = frame.time.at(cell.start_s), frame.time.at(cell.start_s + frame.width_s)
        y = HEADING + BARS_HEIGHT
        for class_, number in _stack(cell, frame):
            y -= heights.at(number)
            paths.setdefault(class_, []).append((x, y, max(end - x - 0.2, 0.3), heights.at(number)))
        if cell.slow or cell.failed:
            hints.append(svg.box(x, HEADING, end - x, BARS_HEIGHT, "hint", _hint(cell)))
    bars = [svg.element("path", d=svg.boxes_path(boxes), class_=class_) for class_, boxes in paths.items() if class_ and boxes]
    scale = [
        svg.text(f"{most / frame.width_s:.0f}/s", LEFT - 6, HEADING + 10, "end", "tick"),
        svg.line(LEFT, HEADING + BARS_HEIGHT, RIGHT, HEADING + BARS_HEIGHT, "base"),
    ]
    drawn = svg.joined([_panel_name(name, HEADING + BARS_HEIGHT / 2), _counts(whole, frame), *scale, *bars, *hints])
    return Panel(HEADING + BARS_HEIGHT, drawn)


def _stack(cell: Cell, frame: Frame) -> list[tuple[str, int]]:
    """What a bar is made of, from its foot: failures first, so that they stand on the line."""
    failed = sorted(cell.failed.items(), key=lambda item: frame.colour(item[0]))
    parts = [*((frame.colour(name), number) for name, number in failed), ("slow", cell.slow), ("good", cell.good)]
    return [(class_, number) for class_, number in parts if number]


def _hint(cell: Cell) -> str:
    failed = [f"{number} {name}" for name, number in cell.failed.items()]
    slow = [f"{cell.slow} slow"] if cell.slow else []
    return f"{cell.start_s:.1f} s: {cell.good} good, " + ", ".join([*slow, *failed])


def _counts(whole: Cell, frame: Frame) -> Markup:
    """The panel's heading: each colour with its name and number, so that no legend is needed."""
    failed = {name: number for name, number in whole.failed.items() if name in frame.classes}
    other = sum(whole.failed.values()) - sum(failed.values())
    parts = [("good", whole.good, "good"), ("slow", whole.slow, f"slow, over {SLOW_S * 1000:.0f} ms")]
    parts += [(frame.colour(name), number, name) for name, number in failed.items()] + [("fo", other, OTHER)]
    drawn, x = [], LEFT
    for class_, number, name in parts:
        if number:
            said = f"{number:,} {name}"
            drawn += [svg.box(x, 4, 9, 9, class_), svg.text(said, x + 13, 12.5, class_="count")]
            x += 13 + svg.width_of(said) + 14
    return svg.joined(drawn)


def _panel_name(name: str, y: float) -> Markup:
    return svg.text(name, 0, y + 4, class_="name")


def _latency_panel(name: str, arrivals: Sequence[Arrival], frame: Frame) -> Panel:
    """How long each took, from the intended instant; one dot stands for all that fall on its place."""
    high_ms = max(frame.deadline_s * 1000, 10.0) * 2
    scale = svg.LogAxis(LATENCY_LOW_MS, high_ms, DOTS_HEIGHT, 0)
    grid = []
    for power in range(math.floor(math.log10(high_ms)) + 1):
        y = scale.at(10.0**power)
        label = f"{10**power} ms" if power < 3 else f"{10 ** (power - 3)} s"
        grid += [svg.line(LEFT, y, RIGHT, y, "grid"), svg.text(label, LEFT - 6, y + 4, "end", "tick")]
    limit = scale.at(frame.deadline_s * 1000)
    grid += [svg.line(LEFT, limit, RIGHT, limit, "limit"), svg.text("deadline", RIGHT + 6, limit + 4, class_="tick")]
    return Panel(DOTS_HEIGHT, svg.joined([*_two_lines(name, DOTS_HEIGHT / 2), *grid, *_dots(arrivals, scale, frame)]))


def _two_lines(name: str, y: float) -> list[Markup]:
    first, _, rest = name.partition(" ")
    return [_panel_name(first, y - 7), _panel_name(rest, y + 7)]


def _dots(arrivals: Sequence[Arrival], scale: svg.LogAxis, frame: Frame) -> list[Markup]:
    """The dots, on a grid of their own size: however many arrivals, the picture is no larger than its places."""
    places: dict[tuple[str, int, int], int] = {}
    for each in arrivals:
        took_ms = max((each.done_s - each.at_s) * 1000, LATENCY_LOW_MS)
        place = (_dot_class(each, frame), int(frame.time.at(each.at_s) / DOT), int(scale.at(took_ms) / DOT))
        places[place] = places.get(place, 0) + 1
    paths: dict[tuple[str, str], list[str]] = {}
    for (class_, column, row), number in sorted(places.items()):
        weight = " many" if number >= MANY else ""
        paths.setdefault((class_, weight), []).append(f"M{column * DOT + 1:g} {row * DOT + 1:g}h0")
    order = sorted(paths, key=lambda key: (key[0] not in ("good", "slow"), key))
    return [svg.element("path", d="".join(paths[key]), class_=f"dots d-{key[0]}{key[1]}") for key in order]


def _dot_class(arrival: Arrival, frame: Frame) -> str:
    failed = timeline.failure(arrival, frame.deadline_s)
    if failed:
        return frame.colour(failed)
    return "slow" if arrival.done_s - arrival.at_s > SLOW_S else "good"


def _box_panels(record: TrialRecord, arrivals: Sequence[Arrival], frame: Frame) -> list[Panel]:
    """Who served, who passed it on, and what the observer saw; nothing where that is unknown."""
    until_s = timeline.length_s(record)
    return [
        *_lanes_panel("served by", arrivals, lambda each: each.by, frame),
        *_lanes_panel("via load balancer", arrivals, lambda each: each.via, frame),
        *_spans_panel("databases", timeline.database_spans(record.events, until_s), frame),
        *_spans_panel("VIP", timeline.address_spans(record.events, until_s), frame),
        *_spans_panel("failures tolerated", timeline.redundancy_spans(record.events, until_s), frame),
    ]


def _lanes_panel(name: str, arrivals: Sequence[Arrival], box_of: Callable[[Arrival], str], frame: Frame) -> list[Panel]:
    found = timeline.lanes(arrivals, box_of, frame.width_s)
    if not found:
        return []
    most = max(number for lane in found for number in lane.counts.values())
    drawn = [_heading(name)]
    for index, lane in enumerate(found):
        drawn.append(_lane(lane, HEADING + index * LANE_HEIGHT, most, frame))
    return [Panel(HEADING + len(found) * LANE_HEIGHT, svg.joined(drawn))]


def _heading(name: str) -> Markup:
    return svg.text(name, 0, 12, class_="name")


def _lane(lane: Lane, y: float, most: int, frame: Frame) -> Markup:
    """A row of a box: the more answers, the taller."""
    boxes = []
    for index, number in sorted(lane.counts.items()):
        x, end = frame.time.at(index * frame.width_s), frame.time.at((index + 1) * frame.width_s)
        height = (LANE_HEIGHT - 3) * number / most
        boxes.append((x, y + LANE_HEIGHT - 2 - height, max(end - x - 0.2, 0.3), height))
    return svg.joined(
        [
            svg.text(lane.name, LEFT - 6, y + 11, "end", "lane"),
            svg.line(LEFT, y + LANE_HEIGHT - 2, RIGHT, y + LANE_HEIGHT - 2, "grid"),
            svg.element("path", d=svg.boxes_path(boxes), class_="served"),
            svg.text(f"{lane.total:,}", RIGHT + 6, y + 11, class_="tick"),
        ]
    )


def _spans_panel(name: str, spans: Sequence[Span], frame: Frame) -> list[Panel]:
    """What each box was: a bar with its state in it where there is room."""
    if not spans:
        return []
    boxes = sorted({span.name for span in spans})
    drawn = [_heading(name)]
    for index, box in enumerate(boxes):
        y = HEADING + index * LANE_HEIGHT
        drawn.append(svg.text(box, LEFT - 6, y + 11, "end", "lane"))
        drawn += [_span(span, y, frame) for span in spans if span.name == box]
    return [Panel(HEADING + len(boxes) * LANE_HEIGHT, svg.joined(drawn))]


def _span(span: Span, y: float, frame: Frame) -> Markup:
    x, end = frame.time.at(span.start_s), frame.time.at(span.end_s)
    class_ = STATE_CLASSES.get(span.state, "st-silent")
    bar = svg.box(
        x, y + 1, end - x, LANE_HEIGHT - 2, class_, f"{span.name}: {span.state} {span.start_s:.1f} to {span.end_s:.1f} s"
    )
    room = end - x > svg.width_of(span.state) + 6
    return bar + (svg.text(span.state, x + 4, y + 11.5, class_=f"on-{class_}") if room else Markup(""))


def _bands(trial: TrialResult, frame: Frame, top: float, bottom: float) -> Markup:
    """From the fault to the healing, and from there until redundancy was restored."""
    inject_s, heal_s, redundant_s = (trial.phases.get(name) for name in ("inject_s", "heal_s", "redundancy_restored_s"))
    drawn = []
    if inject_s is not None:
        until_s = heal_s if heal_s is not None else frame.time.high
        drawn.append(_band(inject_s, until_s, frame, top, bottom, "band-fault"))
    if heal_s is not None:
        drawn.append(
            _band(heal_s, redundant_s if redundant_s is not None else frame.time.high, frame, top, bottom, "band-healed")
        )
    return svg.joined(drawn)


def _band(start_s: float, end_s: float, frame: Frame, top: float, bottom: float, class_: str) -> Markup:
    x = frame.time.at(start_s)
    return svg.box(x, top, frame.time.at(end_s) - x, bottom - top, class_)


def _shown(trial: TrialResult, frame: Frame) -> list[tuple[str, float]]:
    """The instants that are marked: fault and healing, and what came in between."""
    wanted = ("inject_s", "heal_s", *MARKED)
    return [(name, at_s) for name, at_s in trial.phases.items() if name in wanted and frame.time.low <= at_s <= frame.time.high]


def _marks(trial: TrialResult, frame: Frame) -> Panel:
    """The labels over the picture, in as many lines as they need."""
    since_s = trial.phases.get("inject_s", 0.0)
    labels = []
    for name, at_s in _shown(trial, frame):
        what = f"{run_words.broken(trial)}:" if name == "inject_s" and trial.targets else ""
        after = "" if name == "inject_s" else f" +{at_s - since_s:.2f} s" if at_s >= since_s else f" {at_s - since_s:.2f} s"
        labels.append(
            svg.Label(
                frame.time.at(at_s), f"{what} {words.PHASE_WORDS[name]}{after}".strip(), f"mark m-{name}", bold=name in BOLD
            )
        )
    placed = svg.stacked(labels, WIDTH)
    lines = max((number for _, _, number in placed), default=-1) + 1
    drawn = []
    for label, x, number in placed:
        # The first to happen stands lowest: what follows is read upwards and to the right.
        y = (lines - number) * LABEL_LINE
        drawn.append(svg.line(label.x, y - 9, label.x, lines * LABEL_LINE + 4, f"lead l-{label.class_.removeprefix('mark m-')}"))
        drawn.append(svg.text(label.text, x, y, class_=label.class_))
    return Panel(lines * LABEL_LINE + 4, svg.joined(drawn))


def _lines(trial: TrialResult, frame: Frame, top: float, bottom: float) -> Markup:
    shown = _shown(trial, frame)
    return svg.joined(svg.line(frame.time.at(at_s), top, frame.time.at(at_s), bottom, f"lead l-{name}") for name, at_s in shown)


def _time_axis(frame: Frame, y: float) -> Markup:
    drawn = [svg.line(LEFT, y, RIGHT, y, "base")]
    for tick in frame.time.ticks(12):
        x = frame.time.at(tick)
        drawn += [svg.line(x, y, x, y + 4, "base"), svg.text(svg.tick_label(tick), x, y + 16, "middle", "tick")]
    drawn.append(svg.text("seconds since the load began", (LEFT + RIGHT) / 2, y + 31, "middle", "tick"))
    return svg.joined(drawn)
