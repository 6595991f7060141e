"""An SVG for a README: a trial on one line, or a comparison as a field of squares. A file of its own, light and dark."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lab.availability import Bin, bins
from lab.model import RunResult, TrialRecord, TrialResult
from lab.report import heat, palette, svg, timeline, words
from lab.report.matrix import Cell, Matrix, Row

WIDTH, MARGIN = 900.0, 8.0
CELLS_MAX = 450
BAR_HEIGHTS = {"good": 16.0, "slow": 26.0, "fail-1": 36.0}
SQUARE_WIDTH, SQUARE_HEIGHT, NAME_WIDTH = 78.0, 30.0, 170.0
TITLE_MAX_CHARACTERS = 110
COLUMN_LINE_CHARACTERS, COLUMN_LINES = 12, 3
SERIF_FREE = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica Neue,DejaVu Sans,sans-serif"
CLASSES = ("good", "slow", "fail-1", "fault", "healed", *(f"heat-{at}" for at in range(5)))


def run(result: RunResult, records: Sequence[TrialRecord]) -> str:
    """The trial that is most like the median, on one line."""
    title = _cut(words.headline(result))
    if not records:
        return _document(40.0, title, [svg.text(title, MARGIN, 22, class_="title")])
    record, trial = typical(result, records)
    cells = _cells(record)
    axis = svg.Axis(0.0, len(cells) * _cell_s(record), MARGIN, WIDTH - MARGIN)
    drawn = [svg.text(title, MARGIN, 18, class_="title"), *_bands(trial, axis), *_bars(cells, axis), *_marks(trial, axis)]
    for tick in axis.ticks(10):
        drawn.append(svg.text(f"{tick:g} s", axis.at(tick), 84, _anchor(tick, axis), "small"))
    return _document(92.0, title, drawn)


def typical(result: RunResult, records: Sequence[TrialRecord]) -> tuple[TrialRecord, TrialResult]:
    """The valid trial whose downtime is nearest to the median, the first of several; the first trial where none is valid."""
    both = list(zip(records, result.trials, strict=True))
    good = [each for each in both if each[1].valid]
    median_s = result.summary.downtime_median_s
    if median_s is None or not good:
        return both[0]
    return min(good, key=lambda each: abs(each[1].downtime_longest_s - median_s))


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
            found.setdefault(kind, []).append((axis.start + at * width, 68 - height, max(width - 0.4, 0.3), height))
    return [svg.element("path", d=svg.boxes_path(boxes), class_=kind) for kind, boxes in found.items()]


def _bands(trial: TrialResult, axis: svg.Axis) -> list[Markup]:
    inject_s, heal_s = trial.phases.get("inject_s"), trial.phases.get("heal_s")
    if inject_s is None:
        return []
    x = axis.at(inject_s)
    return [svg.box(x, 28, axis.at(heal_s if heal_s is not None else axis.high) - x, 42, "fault")]


def _marks(trial: TrialResult, axis: svg.Axis) -> list[Markup]:
    drawn = []
    for name, sign in (("inject_s", "▼"), ("heal_s", "▲")):
        if name in trial.phases:
            x = axis.at(trial.phases[name])
            drawn += [svg.line(x, 28, x, 70, "mark"), svg.text(sign, x, 31, "middle", "small")]
    return drawn


def _anchor(tick: float, axis: svg.Axis) -> str:
    x = axis.at(tick)
    return "start" if x < MARGIN + 10 else "end" if x > WIDTH - MARGIN - 14 else "middle"


def comparison(matrix: Matrix) -> str:
    """A row a stage, a square a fault, with the median of the downtime in it."""
    title = _cut(words.matrix_headline(matrix))
    top = 40.0 + COLUMN_LINES * 12
    width = max(NAME_WIDTH + len(matrix.columns) * (SQUARE_WIDTH + 4) + MARGIN, WIDTH)
    drawn = [svg.text(title, MARGIN, 18, class_="title")]
    for at, column in enumerate(matrix.columns):
        lines = _wrapped(column.title)
        x = _column_x(at) + SQUARE_WIDTH / 2
        drawn += [svg.text(each, x, top - 6 - 12 * (len(lines) - 1 - nth), "middle", "small") for nth, each in enumerate(lines)]
    for at, row in enumerate(matrix.rows):
        drawn += _row(matrix, row, top + at * (SQUARE_HEIGHT + 4))
    return _document(top + len(matrix.rows) * (SQUARE_HEIGHT + 4) + MARGIN, title, drawn, width)


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
    said = f"{words.cell_downtime(cell)} {heat.mark(cell)}".strip()
    if at is None:
        return [svg.box(x, y, SQUARE_WIDTH, SQUARE_HEIGHT, "none"), svg.text(said, middle, y + 19, "middle", "small")]
    class_ = "on-heat-4" if at == len(heat.STEPS_S) else "on-heat"
    lost = svg.text(f"{cell.writes_lost:,} lost", middle, y + 26, "middle", f"{class_} tiny") if cell.writes_lost else Markup("")
    square = svg.box(x, y, SQUARE_WIDTH, SQUARE_HEIGHT, f"heat-{at}", words.cell_sentence(cell))
    return [square, svg.text(said, middle, y + (15 if cell.writes_lost else 19), "middle", class_), lost]


def _wrapped(title: str) -> list[str]:
    """A heading in a few short lines."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > COLUMN_LINE_CHARACTERS:
            lines.append("")
        lines[-1] = _cut(f"{lines[-1]} {word}".strip(), COLUMN_LINE_CHARACTERS + 3)
    return lines if len(lines) <= COLUMN_LINES else [*lines[: COLUMN_LINES - 1], lines[COLUMN_LINES - 1] + " …"]


def _cut(text: str, most: int = TITLE_MAX_CHARACTERS) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _document(height: float, title: str, drawn: Sequence[Markup], width: float = WIDTH) -> str:
    style = svg.element("style", Markup(_style()))
    frame = svg.element("rect", x=0, y=0, width=width, height=height, rx=6, class_="paper")
    return (
        svg.element(
            "svg",
            svg.element("title", title),
            style,
            frame,
            *drawn,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {svg.number(width)} {svg.number(height)}",
            width=width,
            height=height,
            role="img",
        )
        + "\n"
    )


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
