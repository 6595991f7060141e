"""Single points of failure in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from lab.analysis.conclusion import Conclusion
from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.analysis.parts import by_part, headings
from lab.analysis.spof import Fate, Sweep, SweepResult
from lab.model.result import Notified
from lab.plaintext import one_line
from lab.report import gate_words, matrix_words, sweep_words, words
from lab.report.comparison_terminal import closing, downtime, figures_table, heading, redundancy, spent
from lab.report.conditions import lines_of
from lab.report.sweep_words import FATES, OUTAGE

STYLES = {Fate.SURVIVED: "green", Fate.FAILED: "bold red", Fate.UNKNOWN: "yellow"}
TITLES = ("fault target", "fault", "service", "longest outage", "lost writes", "split brain", "time without redundancy", "alert")
ALERTS = {
    Notified.YES: "notified",
    Notified.NO: sweep_words.NOT_NOTIFIED,
    Notified.NOT_NEEDED: "not needed",
    Notified.UNKNOWN: "unknown",
}
CELL_WIDTH, GAP_WIDTH = 10, 2
"""Of a column of the matrix by part, in characters, and what lies between two."""
LEGEND = (
    f"seconds alone: survived, the longest outage;  {sweep_words.NOT_NOTIFIED}: it did harm, and no page and no ticket "
    f"reported it;  {sweep_words.ALERT_UNKNOWN}: not every alert is known;  empty: not tried"
)

# A search that has just been made


def show_spof(console: Console, found: Conclusion, tolerance_s: float) -> None:
    """What became of every part that failed, the single points of failure, and the pairs that show what hangs together."""
    sweep = found.sweep
    assert sweep is not None
    heading(console, f"What happens if this fails? ({OUTAGE}: longest outage over {tolerance_s:g} s)")
    is_table = len({column.fault for column in found.matrix.columns}) > 1
    if is_table:
        _show_by_part(console, found.matrix)
    _show_results(console, [each for each in sweep.results if not is_table or _needs_a_word(each)])
    for each in sweep.results:
        if each.hidden:
            console.print(
                f"  hidden dependency: {' and '.join(each.members)} do different work, and only both together take the service down",
                style="yellow",
            )
    for line in sweep_words.alert_lines(each.cell for each in sweep.results):
        console.print(f"  faults: {line}", style="yellow", highlight=False)
    spent(console, found.spent_s)
    closing(console, found, _spofs(sweep), gate_words.why(found))


def _needs_a_word(each: SweepResult) -> bool:
    """Whether it is no fault that was survived, lost nothing and was reported."""
    cell = each.cell
    is_safe = cell.losses_known and not cell.writes_lost and cell.split_brain_s == 0
    return each.fate is not Fate.SURVIVED or not is_safe or each.notified is Notified.NO


def _show_results(console: Console, results: Sequence[SweepResult]) -> None:
    """A line each."""
    table = figures_table(list(TITLES), right=3)
    for each in results:
        table.add_row(*_row(each))
    if results:
        console.print(table)


def _row(each: SweepResult) -> tuple[str | Text, ...]:
    cell = each.cell
    outage = downtime(cell).replace("\n", " ") if cell.downtime_median_s is not None else "-"
    fate, counts = FATES[each.fate], gate_words.fate_counts(each)
    fate += f" ({counts})" if each.fate is Fate.UNKNOWN and counts else ""
    split = matrix_words.split_text(cell.split_brain_s) if cell.split_brain_s != 0 else "-"
    return (
        " + ".join(each.members),
        each.fault,
        Text(fate, STYLES[each.fate]),
        outage,
        words.lost_text(cell.writes_lost, cell.losses_known),
        split,
        redundancy(cell),
        Text(ALERTS[each.notified], "yellow" if each.notified is Notified.NO else ""),
    )


def _spofs(sweep: Sweep) -> str:
    found, declared = ", ".join(sweep.found) or "none", ", ".join(sweep.declared) or "none"
    return f"single points of failure: {found} (the stage file declares: {declared})"


# By part


def show_sweep(console: Console, matrix: Matrix) -> None:
    """A search that is kept, as `lab report` shows it: a row a part, a column a fault."""
    heading(console, one_line(matrix.title))
    _show_by_part(console, matrix)
    console.print(one_line(sweep_words.headline(matrix)), markup=False, highlight=False)
    for line in lines_of([(row.name, row.conditions) for row in matrix.rows]):
        console.print(one_line(line), style="dim", markup=False, highlight=False)


def _show_by_part(console: Console, matrix: Matrix) -> None:
    """As many columns beside each other as the terminal is wide; the others in a table of their own beneath."""
    shown, over = by_part(matrix), headings(matrix)
    name_width = max((len(text) for text in (*over, *(row.name for row in shown.rows))), default=0)
    fitting = max((console.width - name_width - GAP_WIDTH) // (CELL_WIDTH + GAP_WIDTH), 1)
    for start in range(0, len(shown.columns), fitting):
        _show_columns(console, matrix, shown.columns[start : start + fitting], list(zip(shown.rows, over, strict=True)))
    console.print(LEGEND, style="dim", markup=False, highlight=False)


def _show_columns(console: Console, matrix: Matrix, columns: Sequence[Column], rows: Iterable[tuple[Row, str]]) -> None:
    table = figures_table(["", *(one_line(column.title) for column in columns)], right=1)
    for row, over in rows:
        cells = [row.cell(column.name) for column in columns]
        if over:
            table.add_row(Text(over, "dim"))
        table.add_row(Text(one_line(row.name)), *(_cell(matrix, cell) for cell in cells))
    console.print(table)


def _cell(matrix: Matrix, cell: Cell | None) -> Text:
    """OUTAGE or unknown, how long, what was lost, and whether no alert reported it; a line each."""
    if cell is None:
        return Text("")
    fate = sweep_words.fate_of(matrix, cell)
    lines = [] if fate is Fate.SURVIVED else [FATES[fate]]
    lines += [] if cell.downtime_median_s is None else [matrix_words.cell_downtime(cell)]
    lines += [*matrix_words.cell_alarms(cell), sweep_words.notice(cell)]
    return Text("\n".join(line for line in lines if line), STYLES[fate])
