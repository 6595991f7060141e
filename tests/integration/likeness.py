"""What a trial must be like: as docs/measured has it of the same experiment, and far from that to neither side.

The figures that no document says are in the folder `measured` beside this file, in the same format. They are made from a run that was
just measured: `python -m scripts.figures add RUN --folder tests/integration/measured`. Five trials give a range, and one trial is held against it: the
lab's own gate ('lab compare') needs five of each, so it stands in the tests of the night.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.analysis.stats import Change, Downtime, decide, shift
from scripts import figures, measured
from scripts.measured import READERS, Sample

OWN = Path(__file__).with_name("measured")
GATE = Path(__file__).with_name("gate.json")
"""The trials of some runs, each by itself: STAGE/EXPERIMENT, which figure, and its values."""
FACTOR = 2.0
"""A busy machine may double a figure, and a lucky trial halve it; what is four times as long is another thing."""
STALL_S = 0.3
"""For so long a busy machine may stall: that much is added where double would be less."""


def sample(of: str, figure: str) -> Sample:
    """What was measured: of STAGE/FAULT, as the comparison of all stages has it, or of a file such as 6-disconnect-zone-a.

    Raises KeyError for what was not measured, or not to its end.
    """
    source = figures.Source.read()
    if "/" in of:
        found = source.file("compare").figures[f"{of}.{figure}"]
    else:
        found = {**source.figures, **measured.read_all(OWN)}[of].figures[figure]
    if not isinstance(found, Sample) or found.high_is_bound:
        raise KeyError(f"{figure} of {of} has no upper end")
    return found


def bounds(found: Sample) -> tuple[float, float]:
    """Between what one more trial must lie."""
    return found.low / FACTOR, max(found.high * FACTOR, found.high + STALL_S)


def assert_like(trial: Mapping[str, Any], of: str, *names: str) -> None:
    """Hold figures of a trial's document against what was measured, from both sides."""
    for name in names:
        low, high = bounds(sample(of, name))
        found = value(trial, name)
        assert low <= found <= high, f"{name} is {found:.3f}; of {of} it lies from {low:.3f} to {high:.3f}"


def assert_no_longer(trial: Mapping[str, Any], of: str, *names: str) -> None:
    """The same from above only, for figures that are 0 where another thing of the trial says whether it happened at all."""
    for name in names:
        high, found = bounds(sample(of, name))[1], value(trial, name)
        assert found <= high, f"{name} is {found:.3f}; of {of} it is at most {high:.3f}"


def value(trial: Mapping[str, Any], name: str) -> float:
    """A figure of a trial's document."""
    found = READERS[name](trial)
    assert found is not None, f"the trial has no {name}"
    return found[0]


def change_of(document: Mapping[str, Any], of: str) -> Change:
    """What the lab's gate says of a run's valid trials against those that are kept. Raises KeyError where none are."""
    kept = json.loads(GATE.read_text(encoding="utf-8"))[of]
    now = [Downtime(value(trial, kept["figure"])) for trial in document["trials"] if trial["valid"]]
    found = shift([Downtime(seconds) for seconds in kept["trials"]], now)
    return decide(found, found.p_value) if found else Change.TOO_FEW
