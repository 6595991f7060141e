"""What a search for single points of failure says in words: the same in every report."""

from __future__ import annotations

from collections.abc import Iterable

from lab.analysis import spof
from lab.analysis.matrix import Cell, Matrix, Row
from lab.analysis.parts import by_part
from lab.analysis.spof import Fate
from lab.model.result import Notified
from lab.report import matrix_words, words

OUTAGE = "OUTAGE"
FATES = {Fate.SURVIVED: "survived", Fate.FAILED: OUTAGE, Fate.UNKNOWN: "unknown"}
NOT_NOTIFIED, ALERT_UNKNOWN = "not notified", "alert unknown"
NAMED_MAX = 6
"""More parts than this are counted, not named."""

Tried = list[tuple[Row, Cell]]
"""Each cell of the table by part, with the row of its part."""


def headline(matrix: Matrix) -> str:
    """A comparison, or a search for single points of failure, in one sentence."""
    return _headline(matrix) if matrix.is_sweep else matrix_words.matrix_headline(matrix)


def _headline(matrix: Matrix) -> str:
    tried = [(row, cell) for row in by_part(matrix).rows for cell in row.cells if cell.applicable]
    fates = {fate: [each for each in tried if fate_of(matrix, each[1]) is fate] for fate in Fate}
    parts = [f"{matrix.rows[0].called} survives {len(fates[Fate.SURVIVED])} of {words.count(len(tried), 'fault')}"]
    parts += [f"outages: {_named(fates[Fate.FAILED])}"] if fates[Fate.FAILED] else []
    parts += [f"{len(fates[Fate.UNKNOWN])} unknown"] if fates[Fate.UNKNOWN] else []
    return f"{'; '.join([*parts, *alert_lines(cell for _, cell in tried), matrix_words.matrix_losses(matrix)])}."


def _named(found: Tried) -> str:
    return words.some([f"{cell.column} {row.name}" for row, cell in found], NAMED_MAX)


def alert_lines(cells: Iterable[Cell]) -> list[str]:
    """How many faults no page and no ticket reported, and of how many that is not known; nothing where all were reported."""
    found = [cell.notified for cell in cells]
    missed, unknown = found.count(Notified.NO), found.count(Notified.UNKNOWN)
    lines = [f"{missed} reported by no page and no ticket"] if missed else []
    return lines + ([f"of {unknown} it is not known whether an alert reported them"] if unknown else [])


def fate_of(matrix: Matrix, cell: Cell) -> Fate:
    """What became of the service."""
    return Fate.UNKNOWN if matrix.tolerance_s is None else spof.fate(cell, matrix.tolerance_s)


def notice(cell: Cell) -> str:
    """What a cell says of alerts: nothing where one reported the fault, or none had to."""
    if cell.notified is Notified.NO:
        some = (
            f" in {cell.trials_not_notified} of {cell.trials_counted}" if cell.trials_not_notified < cell.trials_counted else ""
        )
        return f"{NOT_NOTIFIED}{some}"
    return ALERT_UNKNOWN if cell.notified is Notified.UNKNOWN else ""


def cell_notice(matrix: Matrix, cell: Cell) -> str:
    """The same in a table that may be a comparison's: there, and where nothing was tried, nothing is said of alerts."""
    return notice(cell) if matrix.is_sweep and cell.applicable else ""


SENTENCES = {
    Notified.YES: "reported by a page or a ticket",
    Notified.NO: "it did harm, and no page and no ticket reported it",
    Notified.NOT_NEEDED: "it did no harm, so no alert was needed",
    Notified.UNKNOWN: "it is not known whether an alert reported it",
}


def notice_sentence(cell: Cell) -> str:
    """The same as a sentence, for every cell."""
    counted = cell.trials_counted
    some = f" ({cell.trials_not_notified} of {counted} trials)" if cell.notified is Notified.NO and counted > 1 else ""
    return SENTENCES[cell.notified] + some


def cell_sentence(matrix: Matrix, cell: Cell) -> str:
    """All of a cell in words; of a search with what became of the service, and whether an alert reported the fault."""
    whole = matrix_words.cell_sentence(cell)
    if not matrix.is_sweep or not cell.applicable:
        return whole
    return f"{FATES[fate_of(matrix, cell)].lower()}; {whole}; {notice_sentence(cell)}"


def remarks(matrix: Matrix, cell: Cell) -> list[str]:
    """What needs a word: what was not as expected; of a search also a fault that no alert reported."""
    findings = {Notified.NO, Notified.UNKNOWN} if matrix.alerts_required else {Notified.NO}
    is_finding = matrix.is_sweep and cell.applicable and cell.notified in findings
    return [*matrix_words.cell_why(cell), *([notice_sentence(cell)] if is_finding else [])]
