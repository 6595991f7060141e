"""A run or a comparison as one page that needs nothing else: opens from disk, in light and dark, on a screen and on paper."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.analysis.parts import by_part, headings
from lab.analysis.summary import sample_median
from lab.checker import exposure
from lab.checker.verdict import measured
from lab.model.history import RunInfo, TrialRecord
from lab.model.result import RunResult, TrialResult
from lab.report import heat, matrix_words, palette, redundancy_table, remarks, run_words, sweep_words, timeline, trialchart, words
from lab.report.conditions import line as stands_on
from lab.report.conditions import lines_of
from lab.report.dots import Dot, DotRow, dots_chart
from lab.report.figures import figures
from lab.report.waterfall import waterfall

SIZE_MAX_BYTES = 5 * 1024 * 1024
# What the trials' pictures may take together: the rest is for the frame and for the table with a line for each.
PICTURES_MAX_BYTES = 3 * 1024 * 1024
TRIALS_DRAWN_MAX = 60
TABLE_ROWS_MAX = 1000
REMARKS_MAX, TEXT_MAX_CHARACTERS = 40, 400
# A trial that is longer than its bars of 100 ms have room gets a second picture of what happened around the fault.
CLOSE_UP_BEFORE_S, CLOSE_UP_S = 2.0, 60.0


@dataclass(frozen=True)
class TrialSection:
    """A trial with its pictures."""

    trial: TrialResult
    summary: str
    remarks: tuple[str, ...]
    chart: Markup
    bar: str
    close_up: Markup | None
    steps: Markup | None

    @property
    def size_bytes(self) -> int:
        """What its pictures take."""
        return sum(len((each or "").encode(errors="replace")) for each in (self.chart, self.close_up, self.steps))


@dataclass(frozen=True)
class TierTable:
    """A table with a line for each tier."""

    heading: str
    titles: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str


def run_page(result: RunResult, records: Sequence[TrialRecord]) -> str:
    """The page of a run, at most SIZE_MAX_BYTES: of very many trials, those that tell most are drawn."""
    sections = _sections(result, records)
    return _render(
        "run.html.j2",
        title=f"{result.info.experiment} on {run_words.stage_name(result.info)}",
        result=result,
        headline=run_words.headline(result),
        verdict=result.verdict,
        verdict_line=run_words.verdict_line(result),
        conditions=remarks.conditions(result),
        stands_on=[stands_on(result.info.conditions)] if result.info.conditions else [],
        figures=figures(result),
        dots=dots_chart(_dot_rows(result), "every trial as a dot, with the median and its interval"),
        rows=[_table_row(trial) for trial in result.trials[:TABLE_ROWS_MAX]],
        redundancy=_redundancy(result),
        sections=sections,
        not_drawn=len(result.trials) - len(sections),
    )


def _redundancy(result: RunResult) -> list[TierTable]:
    """What was measured of each tier, and what a model makes of it."""
    found = exposure.over_trials(result.trials)
    measured = TierTable("", redundancy_table.TITLES, redundancy_table.lines(found), redundancy_table.note(result.trials))
    modelled = redundancy_table.model_lines(found)
    model = TierTable(redundancy_table.MODEL_HEADING, redundancy_table.MODEL_TITLES, modelled, redundancy_table.model_note(found))
    return [each for each in (measured, model) if each.lines]


def matrix_page(matrix: Matrix) -> str:
    """The page of a comparison, or of a search for single points of failure: a row a part of the stage."""
    shown = by_part(matrix)
    charts = [(column, _column_chart(column, shown.rows)) for column in shown.columns] if _is_repeated(matrix) else []
    return _render(
        "matrix.html.j2",
        title=matrix.title,
        matrix=matrix,
        columns=shown.columns,
        headline=sweep_words.headline(matrix),
        scale=list(enumerate(heat.STEP_WORDS)),
        lines=[_heat_row(matrix, row, over, shown.columns) for row, over in zip(shown.rows, headings(matrix), strict=True)],
        charts=[(column, chart) for column, chart in charts if chart],
        remarks=list(_remarks(matrix)),
        stands_on=lines_of([(row.name, row.conditions) for row in matrix.rows]),
    )


def _is_repeated(matrix: Matrix) -> bool:
    """Whether dots say more than the table does: of one trial each, they do not."""
    return not matrix.is_sweep or any(cell.trials_counted > 1 for row in matrix.rows for cell in row.cells)


@dataclass(frozen=True)
class HeatRow:
    """A row of the heat map."""

    row: Row
    over: str
    """What stands over it, where a kind of parts begins."""
    cells: Sequence[dict[str, object]]


def _heat_row(matrix: Matrix, row: Row, over: str, columns: Sequence[Column]) -> HeatRow:
    return HeatRow(row, over, [_heat_cell(matrix, row.cell(column.name)) for column in columns])


def _render(template: str, **values: object) -> str:
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = palette.stylesheet() + _asset("page.css")
    page = _environment().get_template(template)
    return page.render(**values, style=Markup(style), script=Markup(script), script_hash=digest)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lab.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "seconds": words.seconds,
        "percent": words.percent,
        "memory": matrix_words.memory,
        "short": _short,
        "tied": _tied,
    }
    return environment


def _asset(name: str) -> str:
    """A file of ours beside the templates; never anything from outside, it is not escaped."""
    return resources.files("lab.report").joinpath("templates", name).read_text(encoding="utf-8")


def _short(text: str) -> str:
    """A text from outside, no longer than a page bears."""
    return text if len(text) <= TEXT_MAX_CHARACTERS else text[:TEXT_MAX_CHARACTERS] + " …"


def _tied(text: str) -> str:
    """A number and its unit on one line."""
    return re.sub(r"(\d) (s|ms)\b", "\\1\u00a0\\2", text)


def _dot_rows(result: RunResult) -> list[DotRow]:
    limits = {each.measure: each.at_most for each in result.info.expectations}
    rows = [("longest outage", "downtime_longest_s"), ("longest gap", "gap_s")]
    if result.info.plan.has_writes:  # otherwise all were reads
        rows += [
            ("longest outage of reads", "reads_downtime_longest_s"),
            ("longest outage of writes", "writes_downtime_longest_s"),
        ]
    return [_dot_row(name, result.trials, measure, limits.get(measure)) for name, measure in rows]


def _dot_row(name: str, trials: Sequence[TrialResult], measure: str, limit_s: float | None) -> DotRow:
    known = [(trial, value) for trial in trials if (value := measured(trial, measure)) is not None]
    dots = tuple(Dot(value.low, trial.valid, not value.is_exact, f"trial {trial.number}") for trial, value in known)
    counting = [value for trial, value in known if trial.valid]
    return DotRow(name, dots, sample_median(counting) if counting else None, limit_s)


@dataclass(frozen=True)
class TableRow:
    """The figures of a trial, by the heading of their column."""

    valid: bool
    cells: dict[str, str]


def _table_row(trial: TrialResult) -> TableRow:
    return TableRow(trial.valid, _cells(trial))


def _standing(trial: TrialResult) -> str:
    """What a trial counts for, where it is not simply one of those that count."""
    return " (not valid)" if not trial.valid else " (undecided)" if trial.undecided else ""


def _cells(trial: TrialResult) -> dict[str, str]:
    return {
        "trial": f"{trial.number}" + _standing(trial),
        "fault target": run_words.broken(trial) or "nothing",
        "longest outage": words.outage_text(trial.total),
        "of reads": words.outage_text(trial.reads),
        "of writes": words.outage_text(trial.writes) if trial.has_writes else run_words.NOT_MEASURED,
        "longest gap": words.gap_text(trial.total.gap),
        "failed reads": words.failed_text(trial.reads),
        "failed writes": words.failed_text(trial.writes) if trial.has_writes else run_words.NOT_MEASURED,
        "lost writes": run_words.lost_of(trial),
        "p50": f"{trial.latency_ms['p50']:.1f} ms",
        "p99": f"{trial.latency_ms['p99']:.0f} ms",
        "without redundancy": words.seconds(trial.time_without_redundancy_s),
    }


def _sections(result: RunResult, records: Sequence[TrialRecord]) -> list[TrialSection]:
    """The trials in order; of more than fit, those that missed an expectation or had the longest outages."""
    classes = timeline.shown_classes(trial.errors for trial in result.trials)
    both = dict(zip((trial.number for trial in result.trials), zip(records, result.trials, strict=True), strict=True))
    chosen: list[TrialSection] = []
    left_bytes = PICTURES_MAX_BYTES
    for trial in sorted(result.trials, key=_interest, reverse=True)[:TRIALS_DRAWN_MAX]:
        section = _section(result.info, *both[trial.number], classes)
        if section.size_bytes <= left_bytes:
            left_bytes -= section.size_bytes
            chosen.append(section)
    return sorted(chosen, key=lambda section: section.trial.number)


def _interest(trial: TrialResult) -> tuple[bool, bool, float, int]:
    return bool(trial.audit.lost), bool(trial.failures), trial.downtime_longest_s, -trial.number


def _section(info: RunInfo, record: TrialRecord, trial: TrialResult, classes: tuple[str, ...]) -> TrialSection:
    length_s = max(timeline.length_s(record), 1.0)
    bar_s = trialchart.bar_width_s(length_s)
    around_s = trial.phases.get("inject_s", trial.outages[0].start_s if trial.outages else None)
    close_up = None
    if bar_s > timeline.BIN_S and around_s is not None:
        start_s = max(around_s - CLOSE_UP_BEFORE_S, 0.0)
        close_up = trialchart.trial_chart(record, trial, classes, (start_s, min(start_s + CLOSE_UP_S, length_s)))
    return TrialSection(
        trial=trial,
        summary=_summary(trial),
        remarks=tuple(remarks.remarks(info, trial)[:REMARKS_MAX]),
        chart=trialchart.trial_chart(record, trial, classes),
        bar=f"{bar_s * 1000:.0f} ms" if bar_s < 1 else f"{bar_s:.1f} s",
        close_up=close_up,
        steps=waterfall(trial),
    )


def _summary(trial: TrialResult) -> str:
    """A trial in half a line."""
    nothing = run_words.NO_USER_NOTICED if trial.total.intended else "no request was made"
    parts = [f"longest outage {words.longest_text(trial.outages)}" if trial.outages else nothing]
    parts += [f"{trial.audit.lost:,} lost writes"] if trial.audit.lost else []
    parts += [] if trial.valid else ["not valid"]
    parts += ["undecided"] if trial.valid and trial.undecided else []
    return ", ".join([run_words.broken(trial) or "no fault", *parts])


UNTRIED: dict[str, object] = {
    "class": "untried",
    "downtime": "",
    "lines": [],
    "title": "not tried",
    "mark": "",
    "verdict": "",
    "alarm": False,
    "notice": "",
}


def _heat_cell(matrix: Matrix, cell: Cell | None) -> dict[str, object]:
    """What the heat map shows of a cell."""
    if cell is None:
        return UNTRIED
    at = heat.level(cell)
    lines = [matrix_words.cell_members(cell), matrix_words.cell_interval(cell), *matrix_words.cell_beside(cell)]
    lines += matrix_words.cell_alarms(cell)
    return {
        "class": "na" if not cell.applicable else "unknown" if at is None else f"heat-{at}",
        "downtime": matrix_words.cell_downtime(cell),
        "lines": [line for line in lines if line],
        "title": sweep_words.cell_sentence(matrix, cell),
        "mark": heat.mark(cell),
        "verdict": cell.verdict or "",
        "alarm": bool(cell.writes_lost or cell.split_brain_s),
        "notice": sweep_words.cell_notice(matrix, cell),
    }


def _column_chart(column: Column, rows: Sequence[Row]) -> Markup | None:
    """The trials of one fault at every stage; None where it was tried nowhere."""
    found = [_cell_dots(row.name, cell) for row in rows if (cell := row.cell(column.name)) and cell.applicable]
    return dots_chart(found, f"{column.title}: every trial as a dot, a row a stage") if found else None


def _cell_dots(name: str, cell: Cell) -> DotRow:
    dots = tuple(Dot(each.low, censored=not each.is_exact, name=f"{name}, trial {at}") for at, each in enumerate(cell.outages, 1))
    return DotRow(name, dots, cell.median)


def _remarks(matrix: Matrix) -> Iterator[tuple[str, str, str]]:
    """What is to be said of cells that did not hold, do not apply, or were not reported: row, column, why."""
    shown = by_part(matrix)
    for row in shown.rows:
        for column in shown.columns:
            cell = row.cell(column.name)
            if cell and (why := sweep_words.remarks(matrix, cell)):
                yield row.name, column.title, "; ".join(why[:REMARKS_MAX])
