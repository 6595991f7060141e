"""Single points of failure in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from lab.analysis.conclusion import Conclusion
from lab.analysis.spof import Fate, Sweep, SweepResult
from lab.report import gate_words, matrix_words, words
from lab.report.comparison_terminal import closing, downtime, figures_table, heading, redundancy, spent

OUTAGE = "OUTAGE"
FATES = {Fate.SURVIVED: ("survived", "green"), Fate.FAILED: (OUTAGE, "bold red"), Fate.UNKNOWN: ("unknown", "yellow")}

# A sweep


def show_spof(console: Console, found: Conclusion, tolerance_s: float) -> None:
    """Each part that failed, the single points of failure, and the pairs that show what hangs together."""
    sweep = found.sweep
    assert sweep is not None
    heading(console, f"What happens if this fails? ({OUTAGE}: longest outage over {tolerance_s:g} s)")
    table = figures_table(
        ["fault target", "fault", "service", "longest outage", "lost writes", "split brain", "time without redundancy"], right=3
    )
    for each in sweep.results:
        table.add_row(*_row(each))
    console.print(table)
    for each in sweep.results:
        if each.hidden:
            console.print(
                f"  hidden dependency: {' and '.join(each.members)} do different work, and only both together take the service down",
                style="yellow",
            )
    spent(console, found.spent_s)
    closing(console, found, _spofs(sweep), gate_words.why(found))


def _row(each: SweepResult) -> tuple[str | Text, ...]:
    cell = each.cell
    outage = downtime(cell).replace("\n", " ") if cell.downtime_median_s is not None else "-"
    fate, style = FATES[each.fate]
    counts = gate_words.fate_counts(each)
    fate += f" ({counts})" if each.fate is Fate.UNKNOWN and counts else ""
    split = matrix_words.split_text(cell.split_brain_s) if cell.split_brain_s != 0 else "-"
    return (
        " + ".join(each.members),
        each.fault,
        Text(fate, style),
        outage,
        words.lost_text(cell.writes_lost, cell.losses_known),
        split,
        redundancy(cell),
    )


def _spofs(sweep: Sweep) -> str:
    found, declared = ", ".join(sweep.found) or "none", ", ".join(sweep.declared) or "none"
    return f"single points of failure: {found} (the stage file declares: {declared})"
