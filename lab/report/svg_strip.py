"""An SVG for a README: a trial on one line, or a comparison as a field of squares. A file of its own, light and dark."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from markupsafe import Markup

from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.parts import by_part
from lab.model.history import TrialRecord
from lab.model.result import RunResult, TrialResult
from lab.report import heat, matrix_words, palette, run_words, svg, sweep_words, timeline
from lab.report.bins import Bin, bins
from lab.report.conditions import line as stands_on
from lab.report.conditions import lines_of

WIDTH, MARGIN = 900.0, 8.0
CELLS_MAX = 450
BAR_HEIGHTS = {"good": 16.0, "slow": 26.0, "fail-1": 36.0}
SQUARE_WIDTH, SQUARE_HEIGHT, NAME_WIDTH = 78.0, 30.0, 170.0
TITLE_CHARACTERS, TITLE_LINES, TITLE_LINE = 105, 3, 19.0
FOOTER_CHARACTERS, FOOTER_LINES, FOOTER_LINE, FOOTER_TEXTS_MAX = 150, 4, 13.0, 12
COLUMN_LINE_CHARACTERS, COLUMN_LINES = 12, 3
SERIF_FREE = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica Neue,DejaVu Sans,sans-serif"
CLASSES = ("good", "slow", "fail-1", "fault", "healed", *(f"heat-{at}" for at in range(5)))


def run(result: RunResult, records: Sequence[TrialRecord]) -> str:
    """The trial that is most like the median, on one line."""
    title = run_words.headline(result)
    heading, below = _heading(title)
    if not records:
        return _document(below + MARGIN, title, heading)
    record, trial = typical(result, records)
    cells = _cells(record)
    axis = svg.Axis(0.0, len(cells) * _cell_s(record), MARGIN, WIDTH - MARGIN)
    drawn = [*_bands(trial, axis), *_bars(cells, axis), *_marks(trial, axis)]
    for tick in axis.ticks(10):
        drawn.append(svg.text(f"{tick:g} s", axis.at(tick), 62, _anchor(tick, axis), "small"))
    line = svg.element("g", *drawn, transform=f"translate(0 {svg.number(below)})")
    texts = [stands_on(result.info.conditions)] if result.info.conditions else []
    footer, bottom = _footer(texts, below + 72)
    return _document(bottom, title, [*heading, line, *footer])


def _heading(title: str) -> tuple[list[Markup], float]:
    """The sentence over a picture, and where the picture begins."""
    lines = _wrapped(title, TITLE_CHARACTERS, TITLE_LINES)
    drawn = [svg.text(line, MARGIN, 20 + at * TITLE_LINE, class_="title") for at, line in enumerate(lines)]
    return drawn, 10 + len(lines) * TITLE_LINE


def _footer(texts: Sequence[str], top: float) -> tuple[list[Markup], float]:
    """What the figures stand on, in small print from here down, and where it ends."""
    lines = [each for text in texts[:FOOTER_TEXTS_MAX] for each in _wrapped(text, FOOTER_CHARACTERS, FOOTER_LINES)]
    drawn = [svg.text(line, MARGIN, top + 8 + at * FOOTER_LINE, class_="small") for at, line in enumerate(lines)]
    return drawn, top + len(lines) * FOOTER_LINE + (MARGIN if lines else 0)


def typical(result: RunResult, records: Sequence[TrialRecord]) -> tuple[TrialRecord, TrialResult]:
    """The valid trial whose downtime is nearest to the median, the first of several; the first trial where none is valid."""
    both = list(zip(records, result.trials, strict=True))
    good = [each for each in both if each[1].valid]
    outage = result.summary.outage
    if outage is None or not good:
        return both[0]
    return min(good, key=lambda each: abs(each[1].downtime_longest_s - outage.low))


def _cell_s(record: TrialRecord) -> float:
    """100 ms, or as many of them as keep a long trial within its line; seconds."""
    return timeline.BIN_S * max(-(-(timeline.index_of(_last_s(record), timeline.BIN_S) + 1) // CELLS_MAX), 1)


def _last_s(record: TrialRecord) -> float:
    return max((each.at_s for each in record.arrivals), default=0.0)


def _cells(record: TrialRecord) -> tuple[Bin, ...]:
    return bins(record.arrivals, record.plan.deadline_s, _cell_s(record)) or (Bin(0.0, 0, 0, 0),)


def _bars(cells: Sequence[Bin], axis: svg.Axis) -> list[Markup]:
    """A bar for each interval: taller for worse, so that it reads without colour too."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    width = (WIDTH - 2 * MARGIN) / len(cells)
    for at, cell in enumerate(cells):
        kind = "fail-1" if cell.bad else "slow" if cell.slow else "good" if cell.good else ""
        if kind:
            height = BAR_HEIGHTS[kind]
            found.setdefault(kind, []).append((axis.start + at * width, 46 - height, max(width - 0.4, 0.3), height))
    return [svg.element("path", d=svg.boxes_path(boxes), class_=kind) for kind, boxes in found.items()]


def _bands(trial: TrialResult, axis: svg.Axis) -> list[Markup]:
    inject_s, heal_s = trial.phases.get("inject_s"), trial.phases.get("heal_s")
    if inject_s is None:
        return []
    x = axis.at(inject_s)
    return [svg.box(x, 6, axis.at(heal_s if heal_s is not None else axis.high) - x, 42, "fault")]


def _marks(trial: TrialResult, axis: svg.Axis) -> list[Markup]:
    drawn = []
    for name, sign in (("inject_s", "▼"), ("heal_s", "▲")):
        if name in trial.phases:
            x = axis.at(trial.phases[name])
            drawn += [svg.line(x, 6, x, 48, "mark"), svg.text(sign, x, 9, "middle", "small")]
    return drawn


def _anchor(tick: float, axis: svg.Axis) -> str:
    x = axis.at(tick)
    return "start" if x < MARGIN + 10 else "end" if x > WIDTH - MARGIN - 14 else "middle"


def comparison(matrix: Matrix) -> str:
    """A row a stage (of a search for single points of failure: a part), a square a fault, with the median of the downtime in it."""
    title, shown = sweep_words.headline(matrix), by_part(matrix)
    drawn, below = _heading(title)
    top = below + 12 + COLUMN_LINES * 12
    width = max(NAME_WIDTH + len(shown.columns) * (SQUARE_WIDTH + 4) + MARGIN, WIDTH)
    for at, column in enumerate(shown.columns):
        lines = _wrapped(column.title, COLUMN_LINE_CHARACTERS, COLUMN_LINES)
        x = _column_x(at) + SQUARE_WIDTH / 2
        drawn += [svg.text(each, x, top - 6 - 12 * (len(lines) - 1 - nth), "middle", "small") for nth, each in enumerate(lines)]
    for at, row in enumerate(shown.rows):
        drawn += _row(shown, row, top + at * (SQUARE_HEIGHT + 4))
    texts = lines_of([(row.name, row.conditions) for row in matrix.rows])
    footer, bottom = _footer(texts, top + len(shown.rows) * (SQUARE_HEIGHT + 4) + MARGIN)
    return _document(bottom, title, [*drawn, *footer], width)


def _column_x(at: int) -> float:
    return NAME_WIDTH + at * (SQUARE_WIDTH + 4)


def _row(matrix: Matrix, row: Row, y: float) -> list[Markup]:
    drawn = [svg.text(_cut(row.name, 24), MARGIN, y + 19, class_="row")]
    for at, column in enumerate(matrix.columns):
        cell = row.cell(column.name)
        if cell:
            drawn += _square(cell, _column_x(at), y)
    return drawn


def _square(cell: Cell, x: float, y: float) -> list[Markup]:
    at = heat.level(cell)
    middle = x + SQUARE_WIDTH / 2
    texts = f"{matrix_words.cell_downtime(cell)} {heat.mark(cell)}".strip()
    if at is None:
        return [svg.box(x, y, SQUARE_WIDTH, SQUARE_HEIGHT, "none"), svg.text(texts, middle, y + 19, "middle", "small")]
    class_ = "on-heat-4" if at == len(heat.STEPS_S) else "on-heat"
    alarm = f"{cell.writes_lost:,} lost" if cell.writes_lost else "split brain" if cell.split_brain_s else ""
    beneath = svg.text(alarm, middle, y + 26, "middle", f"{class_} tiny") if alarm else Markup("")
    square = svg.box(x, y, SQUARE_WIDTH, SQUARE_HEIGHT, f"heat-{at}", matrix_words.cell_sentence(cell))
    return [square, svg.text(texts, middle, y + (15 if alarm else 19), "middle", class_), beneath]


def _wrapped(text: str, characters: int, most: int) -> list[str]:
    """A text in lines of about so many characters; what is too long is cut, and says so."""
    lines = textwrap.wrap(text, characters) or [""]
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(lines[most - 1] + " …", characters)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _document(height: float, title: str, drawn: Sequence[Markup], width: float = WIDTH) -> str:
    style = svg.element("style", Markup(_style()))
    frame = svg.element("rect", x=0, y=0, width=width, height=height, rx=6, class_="paper")
    drawing = svg.element(
        "svg",
        svg.element("title", _cut(title, 500)),
        style,
        frame,
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {svg.number(width)} {svg.number(height)}",
        width=width,
        height=height,
        role="img",
    )
    return svg.xml_text(drawing) + "\n"


def _style() -> str:
    fills = "".join(f".{name}{{fill:var(--{name})}}" for name in CLASSES)
    return (
        f":root{{{palette.variables(palette.LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{palette.variables(palette.DARK)}}}}}"
        f"text{{font:12px {SERIF_FREE};fill:var(--ink)}}.title{{font-weight:600;font-size:14px}}.row{{font-weight:600}}"
        ".small{font-size:10.5px;fill:var(--soft)}.tiny{font-size:9px}.paper{fill:var(--paper)}"
        ".mark{stroke:var(--ink);stroke-width:1}.none{fill:none;stroke:var(--rule);stroke-dasharray:3 3}"
        f".on-heat{{fill:var(--on-heat)}}.on-heat-4{{fill:var(--on-heat-4)}}{fills}"
    )
