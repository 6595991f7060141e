"""Whether a stage has the redundancy again that it had before the first fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from lab.checker import redundancy
from lab.checker.redundancy import is_redundant
from lab.cluster import readiness
from lab.cluster.system import RunningSystem
from lab.errors import InconclusiveError
from lab.model.observation import DatabaseState
from lab.model.topology import Tier
from lab.probe import status
from lab.probe.observer import ViewSource
from lab.process import wait_until

LOOK_PERIOD_S = 0.3
BASELINE_TIMEOUT_S = 10.0


class RedundancyWatch:
    """How many failures each tier tolerates, and whether that is as many as in the baseline."""

    def __init__(self, cluster: RunningSystem, observer: ViewSource) -> None:
        """Look once: this is the baseline. Raises InconclusiveError when the boxes cannot be asked."""
        self.cluster, self.observer = cluster, observer
        baseline: list[dict[Tier, int]] = []

        def is_known() -> bool:
            with suppress(InconclusiveError):
                baseline.append(self._tolerated())
            return bool(baseline)

        # A machine that is busy starting a load may answer late.
        self._baseline = baseline[0] if wait_until(is_known, BASELINE_TIMEOUT_S) else self._tolerated()

    def is_restored(self) -> bool:
        """Whether redundancy is as in the baseline."""
        return not self.missing()

    def missing(self) -> str:
        """What is not as in the baseline; empty where every box is healthy, the observer sees full redundancy, and every
        tier tolerates as many failures as it did then."""
        stage = self.cluster.stage
        if stage.is_watched and not is_redundant(stage, view := self.observer.latest()):
            return readiness.describe(view)
        boxes = [box for box in self.cluster.boxes() if box.service in stage.needed]
        unhealthy = set(stage.needed) - {box.service for box in boxes if self.cluster.engine.is_healthy(box)}
        if unhealthy:
            return f"{', '.join(sorted(unhealthy))} unhealthy"
        try:
            return shortage(self._tolerated(), self._baseline)
        except InconclusiveError as error:
            return error.message

    def describe(self) -> str:
        """back, or what is missing."""
        missing = self.missing()
        return f"missing: {missing}" if missing else "back"

    def is_served(self) -> bool:
        """Whether one database accepts writes and users get an answer from it."""
        return is_served(self.cluster, self.observer)

    def _tolerated(self) -> dict[Tier, int]:
        boxes = self.cluster.boxes()
        return redundancy.failures_tolerated(
            redundancy.system_state(self.cluster.stage, boxes, status.cluster_status(self.cluster, boxes))
        )


def is_served(cluster: RunningSystem, observer: ViewSource) -> bool:
    """Whether one database accepts writes, as an observer sees it, and users get an answer from it."""
    view = observer.latest()
    is_writable = not view.databases or len(view.named(DatabaseState.PRIMARY)) == 1
    return is_writable and cluster.serves()


def shortage(now: dict[Tier, int], baseline: dict[Tier, int]) -> str:
    """The tiers that tolerate fewer failures than in the baseline; empty where none does."""
    short = [
        f"{tier} tolerates {now.get(tier, 0)} failures, not {count}"
        for tier, count in baseline.items()
        if now.get(tier, 0) < count
    ]
    return ", ".join(short)


def wait_for(condition: str, watch: RedundancyWatch, pause: Callable[[float], None], timeout_s: float) -> bool:
    """Wait until the condition of a step holds, for so long at most; returns whether it does."""
    holds = {"redundant": watch.is_restored, "served": watch.is_served}[condition]
    clock = watch.cluster.host_clock
    deadline = clock.monotonic() + timeout_s
    while not holds():
        if clock.monotonic() >= deadline:
            return False
        pause(LOOK_PERIOD_S)
    return True
