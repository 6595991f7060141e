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
from lab.cluster import conditions
from scripts import figures, measured
from scripts.measured import READERS, Sample

OWN = Path(__file__).with_name("measured")
GATE = Path(__file__).with_name("gate.json")
"""The trials of some runs, each by itself: STAGE/EXPERIMENT, which figure, and its values."""
FACTOR = 2.0
"""A busy machine may double a figure, and a lucky trial halve it; what is four times as long is another thing."""
STALL_S = 0.3
"""For so long a busy machine may stall: that much is added where double would be less."""
STALLED_REQUESTS = 30
"""The same of a figure that counts requests: a stall's share of a load of 100 a second."""
QUIET_LOOP_MS = 42.0
"""How long the loop of the conditions took when the figures were measured that do not say it themselves."""
LOOPS = 20


def sample(of: str, figure: str) -> Sample:
    """What was measured: of STAGE/FAULT, as the comparison of all stages has it, or of a file such as 6-disconnect-zone-a.

    Raises KeyError for what was not measured, or not to its end.
    """
    found = kept(of).figures[f"{of}.{figure}" if "/" in of else figure]
    if not isinstance(found, Sample) or found.high_is_bound:
        raise KeyError(f"{figure} of {of} has no upper end")
    return found


def kept(of: str) -> measured.Measured:
    """The file that has the figures of STAGE/FAULT or of a run. Raises KeyError where none has."""
    source = figures.Source.read()
    return source.file("compare") if "/" in of else {**source.figures, **measured.read_all(OWN)}[of]


def bounds(found: Sample, figure: str, slowness: float = 1.0) -> tuple[float, float]:
    """Between what one more trial must lie, on a machine that is so many times slower than the one of the sample."""
    stall = STALL_S if figure.endswith("_s") else STALLED_REQUESTS
    return found.low / FACTOR, max(found.high * FACTOR, found.high + stall) * slowness


def bounds_now(of: str, figure: str) -> tuple[float, float]:
    """The same of what was measured, on this machine as fast as it is now."""
    machine = kept(of).machine
    # Of a comparison, which took an hour, its slowest minute.
    return bounds(sample(of, figure), figure, slowness(machine.loop_ms_max or machine.loop_ms))


def slowness(then_ms: float | None) -> float:
    """How many times slower this machine is now than the one where the loop took so long; never below 1.

    Cores that are shared with others may be half as fast for an hour, and a failover is then longer for no fault of the code.
    """
    return max(1.0, conditions.loop_ms(LOOPS) / (then_ms or QUIET_LOOP_MS))


def assert_like(trial: Mapping[str, Any], of: str, *names: str) -> None:
    """Hold figures of a trial's document against what was measured, from both sides."""
    for name in names:
        low, high = bounds_now(of, name)
        found = value(trial, name)
        assert low <= found <= high, f"{name} is {found:.3f}; of {of} it lies from {low:.3f} to {high:.3f}"


def assert_no_longer(trial: Mapping[str, Any], of: str, *names: str) -> None:
    """The same from above only, for figures that are 0 where another thing of the trial says whether it happened at all."""
    for name in names:
        high, found = bounds_now(of, name)[1], value(trial, name)
        assert found <= high, f"{name} is {found:.3f}; of {of} it is at most {high:.3f}"


def value(trial: Mapping[str, Any], name: str) -> float:
    """A figure of a trial's document."""
    found = READERS[name](trial)
    assert found is not None, f"the trial has no {name}"
    return found[0]


def change_of(document: Mapping[str, Any], of: str) -> Change:
    """What the lab's gate says of a run's valid trials against those that are kept. Raises KeyError where none are."""
    before = json.loads(GATE.read_text(encoding="utf-8"))[of]
    now = [Downtime(value(trial, before["figure"])) for trial in document["trials"] if trial["valid"]]
    slower = slowness(None)
    found = shift([Downtime(seconds * slower) for seconds in before["trials"]], now)
    return decide(found, found.p_value) if found else Change.TOO_FEW
