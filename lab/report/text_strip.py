"""A trial along its time in characters: for terminals and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lab.model.history import TrialRecord
from lab.model.result import TierExposure, TrialResult
from lab.plaintext import one_line
from lab.report import run_words
from lab.report.bins import Bin, bins
from lab.report.timeline import index_of, length_s

BIN_S = 0.1
BINS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""What one character may stand for, in seconds."""
GOOD, SLOW, BAD, NOTHING = "▁", "▄", "█", " "
EXPOSED = "━"
STYLES = {GOOD: "green", SLOW: "yellow", BAD: "bold red", NOTHING: ""}
MARKS = {"inject": "▼", "heal": "▲"}
STRIP_MARGIN = 9
LEGEND = (
    f"{GOOD} good  {SLOW} slow (over 250 ms)  {BAD} failed  {MARKS['inject']} fault injected  {MARKS['heal']} healed by the lab"
)


def strip(row: Sequence[Bin]) -> Text:
    """Intervals as coloured characters."""
    text = Text()
    for each in row:
        text.append(character(each), STYLES[character(each)])
    return text


def character(cell: Bin) -> str:
    """One interval: its worst arrival decides."""
    if cell.bad:
        return BAD
    if cell.slow:
        return SLOW
    return GOOD if cell.good else NOTHING


def room(width: int) -> int:
    """How many characters of a strip fit in a row of so many, in whole tens."""
    return max(width - STRIP_MARGIN - 1, 20) // 10 * 10


def fitting_s(records: Sequence[TrialRecord], width: int) -> float:
    """The shortest interval, in seconds, with which each of these trials fits in one row."""
    last_s = max((length_s(record) for record in records), default=0.0)
    return next((each for each in BINS_S if index_of(last_s, each) < room(width)), BINS_S[-1])


def show_row(console: Console, record: TrialRecord, bin_s: float) -> None:
    """A trial in one row, with its faults marked above."""
    cells = bins(record.arrivals, record.plan.deadline_s, bin_s)
    _show_marks(console, _marks(record, bin_s, 0, len(cells)))
    console.print(Text(f"{0.0:6.1f} s ") + strip(cells), soft_wrap=True)


def show_strip(console: Console, record: TrialRecord, trial: TrialResult) -> None:
    """A trial in rows of one character for each 100 ms, and under each row the tiers that tolerate no failure then."""
    cells, width = bins(record.arrivals, record.plan.deadline_s, BIN_S), room(console.width)
    console.print(one_line(f"trial {trial.number}: {run_words.broken(trial) or 'no fault'}"), markup=False)
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        _show_marks(console, _marks(record, BIN_S, start, len(row)))
        console.print(Text(f"{start * BIN_S:6.1f} s ") + strip(row), soft_wrap=True)
        for tier, line in bands(trial, start, len(row)):
            console.print(Text(f"{tier:>{STRIP_MARGIN - 1}} {line.rstrip()}", style="yellow"), soft_wrap=True)


def _marks(record: TrialRecord, bin_s: float, start: int, length: int) -> str:
    """What stands above a row: faults and healings, each over its interval."""
    found = {index_of(event.at_s, bin_s): MARKS[event.name] for event in record.events if event.name in MARKS}
    return "".join(found.get(start + offset, " ") for offset in range(length))


def _show_marks(console: Console, above: str) -> None:
    if above.strip():
        console.print(" " * STRIP_MARGIN + above.rstrip(), style="bold magenta", highlight=False)


def bands(trial: TrialResult, start: int, length: int) -> list[tuple[str, str]]:
    """For each tier that has no redundancy left in a row of intervals, where in the row that is."""
    found = [(each.tier, "".join(_band(each, start + at) for at in range(length))) for each in trial.exposure]
    return [(tier, line) for tier, line in found if line.strip()]


def _band(tier: TierExposure, interval: int) -> str:
    # Rounded first: 2.1 / 0.1 is a little more than 21.
    spans = [(round(start_s / BIN_S, 6), round(end_s / BIN_S, 6)) for start_s, end_s in tier.spans]
    return EXPOSED if any(start < interval + 1 and end > interval for start, end in spans) else NOTHING


def lines(record: TrialRecord, trial: TrialResult, width: int) -> Iterator[str]:
    """A trial as plain lines of so many characters of 100 ms, with the bands of its tiers."""
    characters = "".join(character(cell) for cell in bins(record.arrivals, record.plan.deadline_s, BIN_S))
    for start in range(0, len(characters), width):
        line = characters[start : start + width]
        yield f"{start * BIN_S:7.1f} s {line}"
        yield from (f"{tier:>9} {band.rstrip()}" for tier, band in bands(trial, start, len(line)))
