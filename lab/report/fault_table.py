"""Faults that the lab healed, by experiment: their figures, and what did not hold."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.analysis.summary import sample_median
from lab.model.measures import Verdict
from lab.model.round import FaultOutcome
from lab.plaintext import one_line
from lab.report import monkey_report, words
from lab.report.console import VERDICT_STYLES

TITLES = ("experiment", "faults", "held", "outage", "worst", "writes", "reads", "lost", "restored")
LEGEND = (
    "Medians over the faults: the longest outage of the service, of writes, of reads; from the healing until redundancy was "
    "restored. Worst: the longest outage of any."
)


def show_faults(console: Console, outcomes: Sequence[FaultOutcome], faults: int, verdict: Verdict) -> None:
    """The figures by experiment, and what did not hold."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in TITLES:
        table.add_column(title, justify="left" if title == "experiment" else "right", overflow="fold")
    for name in sorted({outcome.experiment for outcome in outcomes}):
        table.add_row(name, *_row([outcome for outcome in outcomes if outcome.experiment == name]))
    console.print(table)
    console.print(LEGEND, style="dim")
    for outcome in outcomes:
        if outcome.why:
            text = f"{outcome.number}: {outcome.experiment}: {'; '.join(outcome.why)}"
            console.print(one_line(text), markup=False, highlight=False)
    console.print(
        Text.assemble(
            (verdict.value.upper(), VERDICT_STYLES[verdict]),
            f"  {len(outcomes)} of {faults} faults, {sum(outcome.verdict == Verdict.HELD for outcome in outcomes)} held; "
            f"{sum(outcome.valid for outcome in outcomes)} with a valid trial; "
            f"{monkey_report.outcomes_lost(outcomes, 'faults')}; {monkey_report.outcomes_split(outcomes, 'faults')}",
        )
    )


def _row(outcomes: Sequence[FaultOutcome]) -> list[str]:
    rejoins = [outcome.time_to_redundancy_s for outcome in outcomes if outcome.time_to_redundancy_s is not None]
    found = sample_median([outcome.outage for outcome in outcomes])
    return [
        str(len(outcomes)),
        str(sum(outcome.verdict == Verdict.HELD for outcome in outcomes)),
        words.median_text(found),
        words.worst_text(found),
        f"{median(outcome.writes_downtime_s for outcome in outcomes):.2f} s",
        f"{median(outcome.reads_downtime_s for outcome in outcomes):.2f} s",
        monkey_report.total_lost(outcomes),
        f"{median(rejoins):.1f} s" if rejoins else "-",
    ]
