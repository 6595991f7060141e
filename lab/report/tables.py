"""What a comparison or a sweep says, in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.analysis.compare import OBJECTIVES, AllowedIncidents, RegressionCheck
from lab.analysis.conclusion import MODEL_NOTE, Conclusion
from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.reliability import Prediction
from lab.analysis.spof import Fate, Sweep, SweepResult
from lab.analysis.stats import TRIALS_MIN, Change
from lab.model.measures import Verdict
from lab.model.result import TrialResult
from lab.report import words
from lab.report.terminal import VERDICT_STYLES

NOT_APPLICABLE = "·"
AS_FAR = ", as far as is known"
OUTAGE = "OUTAGE"
FATES = {Fate.SURVIVED: ("survived", "green"), Fate.FAILED: (OUTAGE, "bold red"), Fate.UNKNOWN: ("unknown", "yellow")}


def trial_line(done: int, total: int, stage: str, column: str, result: TrialResult | None, why: str, left_s: float) -> str:
    """One trial that is through."""
    if result is None:
        said = f"broken off: {why}"
    else:
        said = (
            f"{', '.join(result.targets) or '-'}  longest outage {words.longest_text(result.outages)}, lost {result.audit.lost}"
        )
        said += "" if result.valid else f"  not valid: {'; '.join(result.reasons)}"
    left = f"  (about {left_s / 60:.0f} min left)" if left_s >= 60 else ""
    return f"{done:4d} of {total}  {stage}  {column}  {said}{left}"


# A comparison


def show_comparison(console: Console, found: Conclusion) -> None:
    """The matrix, what it means, and what is only a model."""
    matrix = found.matrix
    _heading(console, "Longest outage of the service: median (interval), reads and writes where they differ, longest gap")
    console.print(_grid(matrix, _downtime))
    _heading(console, "Answered correctly in time, of all that was asked in a trial (median)")
    console.print(_grid(matrix, _ratio))
    _heading(console, "Time without redundancy: served, and the next fault would have been an outage (median)")
    console.print(_grid(matrix, _degraded))
    _heading(console, f"How many such faults a month allows at {', '.join(f'{each * 100:.5g} %' for each in OBJECTIVES)}")
    console.print(_grid(matrix, lambda cell: _allowed(cell, found.allowed_incidents, matrix)))
    console.print(
        f"{NOT_APPLICABLE} not applicable: the stage has no such thing;  ≥ ≤ a bound: the lab healed too many trials before they ended",
        style="dim",
    )
    _losses(console, matrix)
    _differences(console, found)
    _model(console, found.predictions)
    _gates(console, found)
    _spent(console, found.spent_s)
    gated = found.budget is not None or found.regressions is not None
    _closing(console, found, _comparison_closing(found), () if gated else found.why)  # each gate has said its own


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _table(titles: Sequence[str], right: int) -> Table:
    """A table whose columns from `right` on hold figures."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, title in enumerate(titles):
        # What does not fit goes on in the next line: half of a figure is another figure.
        table.add_column(title, justify="right" if place >= right else "left", overflow="fold")
    return table


def _grid(matrix: Matrix, say: Callable[[Cell], str]) -> Table:
    table = _table(["stage", "boxes", "MiB", *(column.name for column in matrix.columns)], right=1)
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


def _downtime(cell: Cell) -> str:
    return "\n".join([words.cell_downtime(cell), *_interval(cell), *words.cell_beside(cell), *_members(cell)])


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
    return [f"worst: {cell.worst}", *(f"{each.name}: {words.member_downtime(each)}" for each in others)]


def _degraded(cell: Cell) -> str:
    return "unknown" if cell.without_redundancy_s is None else f"{cell.without_redundancy_s:.1f} s{words.degraded_unknown(cell)}"


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
    split = f"for {split_s:.1f} s" if split_s else "never"
    watched = "" if all(cell.split_brain_s is not None for _, cell in cells) else AS_FAR
    _heading(console, f"Acknowledged writes lost: {lost}{known}; two writable databases at once: {split}{watched}")
    for name, cell in cells:
        if cell.writes_lost or cell.split_brain_s != 0 or not cell.losses_known:
            said = words.split_text(cell.split_brain_s)
            console.print(f"  {name}, {cell.column}: {_lost(cell)}, split brain {said}", highlight=False)


def _lost(cell: Cell) -> str:
    if cell.losses_known:
        return f"lost {cell.writes_lost}"
    after = "" if cell.audits_incomplete is None else f" after {words.count(cell.audits_incomplete, 'trial')}"
    return f"lost {cell.writes_lost}, not known{after}"


def _differences(console: Console, found: Conclusion) -> None:
    """What each stage changes against the one before it in the matrix that has the same fault."""
    told = [each for each in found.differences if _are_neighbours(each.first, each.second, each.column, found.matrix)]
    if not told:
        return
    _heading(console, "From a stage to the next that has the part (Mann-Whitney; Hodges-Lehmann shift; each by itself)")
    for each in told:
        if each.shift and each.change in (Change.LONGER, Change.SHORTER):
            bound = f"{each.shift.bound} " if each.shift.bound else ""
            console.print(
                f"  {each.column}: {each.first} → {each.second}: {each.change}, {bound}{each.shift.estimate_s:+.2f} s "
                f"({each.shift.low_s:+.2f} to {each.shift.high_s:+.2f}), p = {each.shift.p_value:.2g}",
                highlight=False,
            )
    same, few = (sum(each.change is change for each in told) for change in (Change.NONE, Change.TOO_FEW))
    if same:
        console.print(f"  {same} of {len(told)}: {Change.NONE}", highlight=False)
    if few:
        fewest = f"{TRIALS_MIN} valid trials of each are the fewest"
        console.print(f"  {few} of {len(told)}: {Change.TOO_FEW} ({fewest})", highlight=False)


def _are_neighbours(first: str, second: str, column: str, matrix: Matrix) -> bool:
    names = [row.name for row in matrix.rows if (cell := row.cell(column)) and cell.applicable and cell.trials_valid]
    return names.index(second) - names.index(first) == 1


def _model(console: Console, predictions: Sequence[Prediction]) -> None:
    _heading(console, f"Availability over a year: {MODEL_NOTE}")
    table = _table(["stage", "assumed failovers", "measured failovers", "minutes a month", "most of it"], right=1)
    for each in predictions:
        measured = words.percent(each.measured_ratio, 4) if each.measured_ratio is not None else "-"
        table.add_row(each.row, words.percent(each.assumed_ratio, 4), measured, f"{each.month_min:.2f}", each.worst)
    console.print(table)
    for each in predictions:
        for seen in each.observations:
            if seen.disagreement:
                console.print(f"  model and measurement disagree: {each.row}, {seen.column}: {seen.disagreement}", style="yellow")


def _gates(console: Console, found: Conclusion) -> None:
    for title, gates in (("Budget", found.budget), ("Against the older comparison", found.regressions)):
        if gates is None:
            continue
        _heading(console, title)
        for each in gates:
            why = each.why if isinstance(each, RegressionCheck) else "; ".join(each.why)
            console.print(
                Text.assemble(
                    "  ", (f"{each.verdict.value:<13}", VERDICT_STYLES[each.verdict]), f"{each.row}, {each.column}  {why}"
                )
            )


def _spent(console: Console, spent_s: dict[str, float]) -> None:
    if spent_s:
        _heading(console, f"Where {sum(spent_s.values()) / 60:.1f} minutes went")
        console.print("  " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent_s.items()), highlight=False)


def _comparison_closing(found: Conclusion) -> str:
    if found.budget is None and found.regressions is None:
        return "every cell was measured; nothing was claimed" if found.verdict is Verdict.HELD else "cells without a valid trial"
    return {Verdict.HELD: "the gate holds", Verdict.REFUTED: "the gate is broken"}.get(found.verdict, "too little to say")


def _closing(console: Console, found: Conclusion, said: str, whys: Sequence[str]) -> None:
    console.print()
    console.print(Text.assemble((found.verdict.value.upper(), VERDICT_STYLES[found.verdict]), f"  {said}"))
    for why in whys:
        console.print(f"  {why}", markup=False, highlight=False)


# A sweep


def show_sweep(console: Console, found: Conclusion, tolerance_s: float) -> None:
    """Each part that failed, the single points of failure, and the pairs that show what hangs together."""
    sweep = found.sweep
    assert sweep is not None
    _heading(console, f"What happens if this fails? ({OUTAGE}: the longest outage is over {tolerance_s:g} s)")
    table = _table(["fails", "fault", "service", "longest outage", "lost writes", "split brain", "without redundancy"], right=3)
    for each in sweep.failings:
        table.add_row(*_failing(each))
    console.print(table)
    for each in sweep.failings:
        if each.hidden:
            console.print(
                f"  hidden dependency: {' and '.join(each.members)} do different work, and only both together take the service down",
                style="yellow",
            )
    _spent(console, found.spent_s)
    _closing(console, found, _spofs(sweep), found.why)


def _failing(each: SweepResult) -> tuple[str | Text, ...]:
    cell = each.cell
    outage = _downtime(cell).replace("\n", " ") if cell.downtime_median_s is not None else "-"
    reserve = _degraded(cell)
    fate, style = FATES[each.fate]
    split = words.split_text(cell.split_brain_s) if cell.split_brain_s != 0 else "-"
    return " + ".join(each.members), each.fault, Text(fate, style), outage, str(cell.writes_lost), split, reserve


def _spofs(sweep: Sweep) -> str:
    found, declared = ", ".join(sweep.found) or "none", ", ".join(sweep.declared) or "none"
    return f"single points of failure: {found} (the stage file declares: {declared})"
