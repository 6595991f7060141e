"""A run or a comparison as Markdown: for a pull request, and for the summary of a CI step.

Never longer than its place takes, whatever was measured: rows that do not fit are left out, and it says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lab.analysis.matrix import Cell, Matrix
from lab.analysis.parts import by_part
from lab.checker import exposure
from lab.model.history import RunInfo, TrialRecord
from lab.model.measures import Verdict
from lab.model.result import RunResult, TrialResult
from lab.report import heat, matrix_words, redundancy_table, remarks, run_words, sweep_words, text_strip, words
from lab.report.conditions import line as stands_on
from lab.report.conditions import lines_of
from lab.report.figures import figures

PULL_REQUEST_MAX_BYTES = 64 * 1024
SUMMARY_MAX_BYTES = 512 * 1024
TEXT_MAX_CHARACTERS = 400
SENTENCE_MAX_CHARACTERS = 2000
COLUMNS_MAX = 30
CONDITIONS_MAX = 20
STRIP_CHARACTERS = 100
SIGNS = {Verdict.HELD: "✓", Verdict.REFUTED: "✗", Verdict.INCONCLUSIVE: "?"}
JOINER = "\u2060"
# Markup anywhere; at the start of a line what would make a list of it; mentions, references to issues, addresses.
SPECIAL = re.compile(r"[&<>|`*_~\[\]\\]|^[-+=]|^#(?=\s)|^\d+(?=[.)]\s)|[@#](?=\w)|://|\bwww\.", re.IGNORECASE)


def run(result: RunResult, limit_bytes: int = PULL_REQUEST_MAX_BYTES) -> str:
    """A run for a pull request: the sentence, the figures, a row a trial."""
    titles = (
        "trial",
        "fault target",
        "longest outage",
        "longest gap",
        "failed reads",
        "failed writes",
        "lost writes",
        "p99 latency",
        "remarks",
    )
    rows = [_trial_row(result.info, trial) for trial in result.trials]
    head = [*_run_head(result), "", f"{words.count(len(result.trials), 'trial')}:", "", _row(titles), _rule(len(titles))]
    return _fitted(head, rows, limit_bytes)


def summary(result: RunResult, records: Sequence[TrialRecord], limit_bytes: int = SUMMARY_MAX_BYTES) -> str:
    """A run for the summary of a CI step: the same, and each trial along its time."""
    whole = run(result, limit_bytes // 2)
    key = (
        f"One character is 100 ms: `{text_strip.GOOD}` good, `{text_strip.SLOW}` slow, `{text_strip.BAD}` failed, "
        f"`{text_strip.EXPOSED}` the tier has no redundancy left."
    )
    strips = [_strip(record, trial) for record, trial in zip(records, result.trials, strict=True)]
    return _fitted([whole, key], strips, limit_bytes)


def comparison(matrix: Matrix, limit_bytes: int = PULL_REQUEST_MAX_BYTES) -> str:
    """A comparison for a pull request: a row a stage, a column a fault; of a search for single points of failure a row a part."""
    shown = by_part(matrix)
    columns = shown.columns[:COLUMNS_MAX]
    more = len(shown.columns) - len(columns)
    costs = [] if matrix.is_sweep else ["costs"]
    head = [
        f"### {plain(matrix.title)}",
        "",
        plain(sweep_words.headline(matrix), SENTENCE_MAX_CHARACTERS),
        "",
        *([f"{more} more faults are left out.", ""] if more else []),
        *_stands_on(matrix),
        _row(["part" if matrix.is_sweep else "stage", *(column.title for column in columns), *costs]),
        _rule(len(columns) + 1 + len(costs)),
    ]
    rows = [
        _row([row.name, *(_cell(matrix, row.cell(column.name)) for column in columns), *[matrix_words.cost(row) for _ in costs]])
        for row in shown.rows
    ]
    return _fitted(head, rows, limit_bytes)


def _stands_on(matrix: Matrix) -> list[str]:
    lines = lines_of([(row.name, row.conditions) for row in matrix.rows[:CONDITIONS_MAX]])
    return [each for line in lines for each in (f"_{plain(line)}_", "")]


def plain(text: str, most: int = TEXT_MAX_CHARACTERS) -> str:
    """Text that stays text: no markup, no link, no mention, no table's bar, on one line, not too long."""
    line = " ".join(text.split())
    line = line if len(line) <= most else line[:most] + " …"
    return SPECIAL.sub(_spelled, line)


def _spelled(match: re.Match[str]) -> str:
    """A sign that means something as an entity, which is never markup; what is linked from plain text too, taken apart."""
    found = match[0]
    if found in ("@", "#") or len(found) > 1:
        return found[0] + JOINER + found[1:]
    return f"&#{ord(found)};"


def _run_head(result: RunResult) -> list[str]:
    title = f"{result.verdict.value}: {result.info.experiment} on {run_words.stage_name(result.info)}"
    return [
        f"### {SIGNS[result.verdict]} {plain(title)}",
        "",
        plain(run_words.headline(result), SENTENCE_MAX_CHARACTERS),
        "",
        plain(run_words.verdict_line(result), SENTENCE_MAX_CHARACTERS),
        *(line for text in remarks.conditions(result) for line in ("", plain(text))),
        "",
        _row(("figure", "value", "")),
        _rule(3),
        *(_row((figure.name, figure.value, figure.detail)) for figure in figures(result)),
        "",
        *_redundancy(result),
        f"Seed {result.info.seed}, {result.info.plan.rate_per_s:g} requests a second, begun {plain(result.info.started_at)}.",
        *(["", f"_{plain(stands_on(result.info.conditions))}_"] if result.info.conditions else []),
    ]


def _redundancy(result: RunResult) -> list[str]:
    """A row a tier, as measured; then what a model makes of it."""
    found = exposure.over_trials(result.trials)
    if not found:
        return []
    measured = _table(redundancy_table.TITLES, redundancy_table.lines(found), redundancy_table.note(result.trials))
    modelled = redundancy_table.model_lines(found)
    if not modelled:
        return measured
    heading = f"**{redundancy_table.MODEL_HEADING}**"
    return [*measured, heading, "", *_table(redundancy_table.MODEL_TITLES, modelled, redundancy_table.model_note(found))]


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> list[str]:
    rows = map(_row, lines)
    return [_row(titles), _rule(len(titles)), *rows, "", plain(note, SENTENCE_MAX_CHARACTERS), ""]


def _trial_row(info: RunInfo, trial: TrialResult) -> str:
    """The figures of a trial; in italics where it is not valid."""
    cells = _trial_cells(info, trial)
    return _row(cells) if trial.valid else "| " + " | ".join(f"*{plain(cell)}*" if cell else "" for cell in cells) + " |"


def _trial_cells(info: RunInfo, trial: TrialResult) -> tuple[str, ...]:
    return (
        str(trial.number) if trial.valid else f"{trial.number} (not valid)",
        run_words.broken(trial) or "-",
        words.outage_text(trial.total),
        words.gap_text(trial.total.gap),
        words.failed_text(trial.reads),
        words.failed_text(trial.writes) if trial.has_writes else run_words.NOT_MEASURED,
        run_words.lost_of(trial),
        f"{trial.latency_ms['p99']:.0f} ms",
        "; ".join(
            [
                *trial.reasons,
                *(run_words.check_text(each) for each in trial.failures),
                *(f"undecided: {run_words.check_text(each)}" for each in trial.undecided),
                *remarks.each_fault(info, trial),
            ]
        ),
    )


def _cell(matrix: Matrix, cell: Cell | None) -> str:
    if cell is None:
        return ""
    beside = [matrix_words.cell_members(cell), matrix_words.cell_apart(cell), matrix_words.cell_gap(cell)]
    notice = sweep_words.cell_notice(matrix, cell)
    parts = [f"{matrix_words.cell_downtime(cell)} {heat.mark(cell)}".strip(), *beside, *matrix_words.cell_alarms(cell), notice]
    return ", ".join(each for each in parts if each)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _strip(record: TrialRecord, trial: TrialResult) -> str:
    """A trial as characters; of ours alone, so nothing in it needs escaping."""
    timed = text_strip.lines(record, trial, STRIP_CHARACTERS)
    return "\n".join([f"\nTrial {record.number}:\n", "```text", *timed, "```"])


def _fitted(head: Sequence[str], rows: Sequence[str], limit_bytes: int) -> str:
    """The head and as many rows as there is room for, and how many are left out. The head is short enough by what it is made of."""
    note = "\n_{} more are left out: there is no room for them here. The CSV has all._"
    left_bytes = limit_bytes - _size("\n".join(head)) - _size(note) - 20
    fitting = 0
    for row in rows:
        left_bytes -= _size(row) + 1
        if left_bytes < 0:
            break
        fitting += 1
    left_out = [note.format(len(rows) - fitting)] if fitting < len(rows) else []
    return "\n".join([*head, *rows[:fitting], *left_out]) + "\n"


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
