"""How dark a cell of a comparison is, and what its mark says beside its colour. Pure."""

from __future__ import annotations

from lab.analysis.matrix import Cell
from lab.model.measures import Verdict

# Up to and including each: no outage, a blink, a pause, a wait. Beyond: longer, or over only once it was healed.
STEPS_S = (0.0, 0.5, 2.0, 5.0)
STEP_WORDS = ("no outage", "up to 0.5 s", "up to 2 s", "up to 5 s", "longer, or until healed")


def level(cell: Cell) -> int | None:
    """From 0 (no outage) to 4 (longer than the last step, or ended only by healing); None where nothing can be said.

    Of a median that is only a lower bound, as dark as it may be.
    """
    found = cell.median
    if not cell.applicable or found is None:
        return None
    return next((at for at, step_s in enumerate(STEPS_S) if found.high <= step_s), len(STEPS_S))


def mark(cell: Cell) -> str:
    """The verdict as a sign, for eyes and printers without colour."""
    signs = {Verdict.HELD: "✓", Verdict.REFUTED: "✗", Verdict.INCONCLUSIVE: "?"}
    return signs[cell.verdict] if cell.verdict else ""
