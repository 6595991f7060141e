"""How dark a cell of a comparison is, and what its mark says beside its colour. Pure."""

from __future__ import annotations

from lab.model import Verdict
from lab.report.matrix import Cell

# Up to and including each: nobody noticed, a blink, a pause, a wait. Beyond, or not over by itself: gone.
STEPS_S = (0.0, 0.5, 2.0, 5.0)
STEP_WORDS = ("no outage", "up to 0.5 s", "up to 2 s", "up to 5 s", "longer, or until healed")


def level(cell: Cell) -> int | None:
    """From 0 (no outage) to 4 (longer than the last step, or ended only by healing); None where nothing can be said."""
    if not cell.applicable or cell.downtime_median_s is None:
        return None
    if cell.downtime_censored and cell.downtime_median_s > 0:
        return len(STEPS_S)
    return next((at for at, step_s in enumerate(STEPS_S) if cell.downtime_median_s <= step_s), len(STEPS_S))


def mark(cell: Cell) -> str:
    """The verdict as a sign, for eyes and printers without colour."""
    signs = {Verdict.HELD: "✓", Verdict.REFUTED: "✗", Verdict.INCONCLUSIVE: "?"}
    return signs[cell.verdict] if cell.verdict else ""
