"""What a comparison says, in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.analysis.budget import Finding
from lab.analysis.compare import OBJECTIVES, AllowedIncidents
from lab.analysis.conclusion import Conclusion
from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.reliability import Prediction
from lab.analysis.stats import TRIALS_MIN, Change
from lab.model.measures import Verdict
from lab.model.result import Notified, TrialResult
from lab.plaintext import one_line
from lab.report import gate_words, matrix_words, sweep_words, words
from lab.report.comparison_document import MODEL_NOTE
from lab.report.conditions import lines_of
from lab.report.console import VERDICT_STYLES

NOT_APPLICABLE = "·"
AS_FAR = ", as far as is known"


@dataclass(frozen=True)
class TrialPlace:
    """Where in a campaign a trial is."""

    done: int
    """Trials that are through, with this one."""
    total: int
    stage: str
    column: str
    left_s: float
    """What the rest will take, in seconds."""


def trial_line(place: TrialPlace, result: TrialResult | None, why: str = "") -> str:
    """One trial that is through; without a result, why it was broken off."""
    outcome = _outcome(result) if result else f"broken off: {why}"
    left = f"  (about {place.left_s / 60:.0f} min left)" if place.left_s >= 60 else ""
    return f"{place.done:4d} of {place.total}  {place.stage}  {place.column}  {outcome}{left}"


def _outcome(result: TrialResult) -> str:
    targets, outage = ", ".join(result.targets) or "-", words.longest_text(result.outages)
    invalid = "" if result.valid else f"  not valid: {'; '.join(result.reasons)}"
    silent = f", {sweep_words.NOT_NOTIFIED}" if result.notified is Notified.NO else ""
    return (
        f"{targets}  longest outage {outage}, lost {words.lost_text(result.audit.lost, result.audit.complete)}{silent}{invalid}"
    )


# A comparison


def show_comparison(console: Console, found: Conclusion) -> None:
    """The matrix, what it means, and what is only a model."""
    matrix = found.matrix
    heading(console, "Longest outage of the service: median (interval), reads and writes where they differ, longest gap")
    console.print(_grid(matrix, downtime))
    heading(console, "Availability: good requests of all in a trial (median)")
    console.print(_grid(matrix, _ratio))
    heading(console, "Time without redundancy: served, and the next fault would have been an outage (median)")
    console.print(_grid(matrix, redundancy))
    heading(console, f"How many such faults a month allows at {', '.join(f'{each * 100:.5g} %' for each in OBJECTIVES)}")
    console.print(_grid(matrix, lambda cell: _allowed(cell, found.allowed_incidents, matrix)))
    console.print(
        f"{NOT_APPLICABLE} not applicable: the stage has no such thing;  ≥ ≤ a bound: the lab healed too many trials before they ended",
        style="dim",
    )
    _losses(console, matrix)
    _differences(console, found)
    _model(console, found.predictions)
    _gates(console, found)
    spent(console, found.spent_s)
    # Each gate has summary its own.
    closing(console, found, _comparison_closing(found), () if found.is_gated else gate_words.why(found))


def heading(console: Console, text: str) -> None:
    """A title over a table, after an empty line."""
    console.print()
    console.print(Text(text, style="bold"))


def figures_table(titles: Sequence[str], right: int) -> Table:
    """A table whose columns from `right` on hold figures."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, title in enumerate(titles):
        # What does not fit goes on in the next line: half of a figure is another figure.
        table.add_column(title, justify="right" if place >= right else "left", overflow="fold")
    return table


def _grid(matrix: Matrix, say: Callable[[Cell], str]) -> Table:
    table = figures_table(["stage", "boxes", "MiB", *(column.name for column in matrix.columns)], right=1)
    for row in matrix.rows:
        cells = [_in_grid(row.cell(column.name), say) for column in matrix.columns]
        table.add_row(_short(row), str(row.boxes), str(row.memory_mib), *cells)
    return table


def _short(row: Row) -> str:
    """The number of a stage, which leaves room for the columns; and which file, where it is the second one."""
    return str(row.stage) + (f" ({row.failover})" if row.name.endswith(f" ({row.failover})") else "")


def _in_grid(cell: Cell | None, say: Callable[[Cell], str]) -> str:
    if cell is None:
        return "not tried"
    if not cell.applicable:
        return NOT_APPLICABLE
    return say(cell) if cell.trials_valid else "no valid trial"


def downtime(cell: Cell) -> str:
    """The median of the longest outage, and what stands beneath it, a line each."""
    return "\n".join([matrix_words.cell_downtime(cell), *_interval(cell), *matrix_words.cell_beside(cell), *_members(cell)])


def _interval(cell: Cell) -> list[str]:
    """As short as columns are narrow: 1.21-1.37."""
    if cell.trials_valid < 2 or cell.downtime_low_s is None:
        return []
    high = "" if cell.downtime_high_s is None else f"{cell.downtime_high_s:.2f}"
    return [f"{cell.downtime_low_s:.2f}-{high}" if high else f"≥ {cell.downtime_low_s:.2f}"]


def _members(cell: Cell) -> list[str]:
    """Which target the figure is of, and those of the others, a line each."""
    if not cell.worst:
        return []
    others = [each for each in cell.members if each.target != cell.worst]
    return [f"worst: {cell.worst}", *(f"{each.name}: {matrix_words.member_downtime(each)}" for each in others)]


def redundancy(cell: Cell) -> str:
    """The time without redundancy."""
    return matrix_words.without_redundancy(cell)


def _ratio(cell: Cell) -> str:
    return words.share_text(cell.availability_ratio, cell.availability_censored) if cell.availability_ratio is not None else "-"


def _allowed(cell: Cell, allowed_incidents: Sequence[AllowedIncidents], matrix: Matrix) -> str:
    row = next(row.name for row in matrix.rows if cell in row.cells)
    found = next((each for each in allowed_incidents if (each.row, each.column) == (row, cell.column)), None)
    if found is None:
        return "-"
    if None in found.faults:
        return "unknown" if found.censored else "any number"
    return ("≤ " if found.censored else "") + " / ".join(str(each) for each in found.faults)


def _losses(console: Console, matrix: Matrix) -> None:
    """Lost writes and split brain: none in a line, each where there is any, or where that is not known."""
    cells = [(row.name, cell) for row in matrix.rows for cell in row.cells if cell.applicable]
    lost, split_s = sum(cell.writes_lost for _, cell in cells), max((cell.split_brain_s or 0.0 for _, cell in cells), default=0.0)
    known = "" if all(cell.losses_known for _, cell in cells) else AS_FAR
    split = f"{split_s:.1f} s" if split_s else "none"
    observed = "" if all(cell.split_brain_s is not None for _, cell in cells) else AS_FAR
    heading(console, f"Acknowledged writes lost: {lost}{known}; split brain: {split}{observed}")
    for name, cell in cells:
        if cell.writes_lost or cell.split_brain_s != 0 or not cell.losses_known:
            split = matrix_words.split_text(cell.split_brain_s)
            console.print(f"  {name}, {cell.column}: {_lost(cell)}, split brain {split}", highlight=False)


def _lost(cell: Cell) -> str:
    if cell.losses_known:
        return f"lost {cell.writes_lost}"
    return f"lost {cell.writes_lost}, unknown in {words.count(cell.audits_incomplete, 'trial')}"


def _differences(console: Console, found: Conclusion) -> None:
    """What each stage changes against the one before it in the matrix that has the same fault."""
    shown = [each for each in found.differences if _are_neighbours(each.first, each.second, each.column, found.matrix)]
    if not shown:
        return
    heading(console, "From a stage to the next that has the part (Mann-Whitney; Hodges-Lehmann shift; each by itself)")
    for each in shown:
        if each.shift and each.change in (Change.LONGER, Change.SHORTER):
            bound = f"{each.shift.bound} " if each.shift.bound else ""
            console.print(
                f"  {each.column}: {each.first} → {each.second}: {each.change}, {bound}{each.shift.estimate_s:+.2f} s "
                f"({each.shift.low_s:+.2f} to {each.shift.high_s:+.2f}), p = {each.shift.p_value:.2g}",
                highlight=False,
            )
    same, few = (sum(each.change is change for each in shown) for change in (Change.NONE, Change.TOO_FEW))
    if same:
        console.print(f"  {same} of {len(shown)}: {Change.NONE}", highlight=False)
    if few:
        fewest = f"{TRIALS_MIN} valid trials of each are the fewest"
        console.print(f"  {few} of {len(shown)}: {Change.TOO_FEW} ({fewest})", highlight=False)


def _are_neighbours(first: str, second: str, column: str, matrix: Matrix) -> bool:
    names = [row.name for row in matrix.rows if (cell := row.cell(column)) and cell.applicable and cell.trials_valid]
    return names.index(second) - names.index(first) == 1


def _model(console: Console, predictions: Sequence[Prediction]) -> None:
    heading(console, f"Availability over a year: {MODEL_NOTE}")
    table = figures_table(["stage", "assumed failovers", "measured failovers", "minutes a month", "most of it"], right=1)
    for each in predictions:
        measured = words.percent(each.measured_ratio, 4) if each.measured_ratio is not None else "-"
        table.add_row(each.row, words.percent(each.assumed_ratio, 4), measured, f"{each.month_min:.2f}", each.worst)
    console.print(table)
    for each in predictions:
        for seen in each.observations:
            if seen.disagreement:
                text = gate_words.disagreement_text(seen)
                console.print(f"  model and measurement disagree: {each.row}, {seen.column}: {text}", style="yellow")


def _gates(console: Console, found: Conclusion) -> None:
    for title, gates in (("Budget", found.budget), ("Against the baseline", found.regressions)):
        if gates is None:
            continue
        heading(console, title)
        for each in gates:
            why = "; ".join(gate_words.budget_why(each) if isinstance(each, Finding) else [gate_words.regression_why(each)])
            console.print(
                Text.assemble(
                    "  ", (f"{each.verdict.value:<13}", VERDICT_STYLES[each.verdict]), f"{each.row}, {each.column}  {why}"
                )
            )


def spent(console: Console, spent_s: dict[str, float]) -> None:
    """What the time of a campaign went into."""
    if spent_s:
        heading(console, f"Where {sum(spent_s.values()) / 60:.1f} minutes went")
        console.print("  " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent_s.items()), highlight=False)


def _comparison_closing(found: Conclusion) -> str:
    if not found.is_gated:
        return (
            "every cell was measured; no budget, no baseline" if found.verdict is Verdict.HELD else "cells without a valid trial"
        )
    return {Verdict.HELD: "the gate is kept", Verdict.REFUTED: "the gate is broken"}.get(found.verdict, "unknown")


def closing(console: Console, found: Conclusion, summary: str, whys: Sequence[str]) -> None:
    """The verdict, and the reasons that no table has summary."""
    console.print()
    console.print(Text.assemble((found.verdict.value.upper(), VERDICT_STYLES[found.verdict]), f"  {summary}"))
    for why in whys:
        console.print(f"  {why}", markup=False, highlight=False)


# A matrix by itself, as `lab report` shows it


def show_matrix(console: Console, matrix: Matrix) -> None:
    """Print a comparison: a row a stage, a column a fault."""
    console.print()
    console.print(Text(one_line(matrix.title), style="bold"))
    table = Table(padding=(0, 1), show_lines=True)
    table.add_column("stage")
    for column in matrix.columns:
        table.add_column(Text(column.title), justify="right")
    table.add_column("costs", justify="right")
    for row in matrix.rows:
        cells = [_matrix_cell(row.cell(column.name)) for column in matrix.columns]
        table.add_row(Text(row.name), *cells, Text(matrix_words.cost(row)))
    console.print(table)
    console.print(one_line(matrix_words.matrix_headline(matrix)), markup=False, highlight=False)
    for line in lines_of([(row.name, row.conditions) for row in matrix.rows]):
        console.print(one_line(line), style="dim", markup=False, highlight=False)


def _matrix_cell(cell: Cell | None) -> Text:
    """The median of the longest outage, reads and writes apart, the gap, and what must never be."""
    if cell is None or cell.verdict is None:
        return Text("" if cell is None else "n/a", style="dim")
    lines = [
        matrix_words.cell_downtime(cell),
        *_member_line(cell),
        *matrix_words.cell_beside(cell),
        *matrix_words.cell_alarms(cell),
    ]
    return Text("\n".join(lines), style=VERDICT_STYLES[cell.verdict])


def _member_line(cell: Cell) -> list[str]:
    return [matrix_words.cell_members(cell)] if cell.members else []
