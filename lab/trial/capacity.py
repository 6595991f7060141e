"""Overload: web boxes made small, what one of them can carry, and how many requests it may have at once.

A box of a stage carries more than this machine's generator can make beside it. So for an overload each web box gets a small
share of a processor (its cgroup's quota: real saturation, at a rate that can be measured honestly), and what one box carries
is found out first, by a short ramp. Admission control is HAProxy's: a limit per server, set through its admin socket, and
the `timeout queue` of the stage file. So a run with it and one without differ in nothing else, and no stage file in anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from lab.checker.outages import share
from lab.checker.validity import validity
from lab.cluster import readiness
from lab.cluster.system import RunningSystem
from lab.errors import InconclusiveError
from lab.faults import heal
from lab.faults.limits import WEB_ROLE, in_role, make_small
from lab.load.load import Load, LoadConfig
from lab.model.experiment import LoadPlan, Overload
from lab.model.fault import Undo, UndoAction

Interrupts = Callable[[], AbstractContextManager[None]]
ALONE = "alone"
"""What the ledger calls a web box that is shut down so that the other one is measured; it is no fault."""
FIRST_RATE_PER_S = 50.0
RATE_MAX_PER_S = 400.0
BURSTS_MAX = 9
BURST_S = 4.0
CARRIED_RATIO = 0.99
PRECISION_RATIO = 0.08
TRIES = 3


@dataclass(frozen=True)
class Burst:
    """A few seconds at a rate."""

    rate_per_s: float
    good_ratio: float

    @property
    def is_carried(self) -> bool:
        """Whether as good as every request was served in time."""
        return self.good_ratio >= CARRIED_RATIO


def next_rate(bursts: Sequence[Burst]) -> float | None:
    """The next rate of the ramp: doubled until too much, then halved towards the edge; None when that is near enough."""
    if not bursts:
        return FIRST_RATE_PER_S
    low, high = _edge(bursts)
    if len(bursts) >= BURSTS_MAX or high <= low * (1 + PRECISION_RATIO):
        return None
    found = (low + high) / 2 if high < float("inf") else low * 2
    return found if FIRST_RATE_PER_S / 16 <= found <= RATE_MAX_PER_S else None


def _edge(bursts: Sequence[Burst]) -> tuple[float, float]:
    """The highest rate that was carried below the lowest that was not, and that one."""
    high = min((each.rate_per_s for each in bursts if not each.is_carried), default=float("inf"))
    low = max((each.rate_per_s for each in bursts if each.is_carried and each.rate_per_s < high), default=0.0)
    return low, high


def capacity_per_s(bursts: Sequence[Burst]) -> float:
    """What one box carries: the highest rate of the ramp at which as good as every request was served in time.

    Raises InconclusiveError where the ramp found no edge.
    """
    low, high = _edge(bursts)
    if not low or high == float("inf"):
        said = ", ".join(f"{each.rate_per_s:.0f}/s: {each.good_ratio:.0%} good" for each in bursts)
        raise InconclusiveError(f"the ramp did not show what one web box carries ({said})", "is this machine busy? try again")
    return low


# Measured


def measure(cluster: RunningSystem, wanted: Overload, say: Callable[[str], None], open_: Interrupts) -> float:
    """What one small web box carries, in requests a second: the other one is shut down meanwhile, no limit is set.

    An interrupt is taken only within `open_`. Raises InconclusiveError where the ramp shows nothing, HealError.
    """
    bursts: list[Burst] = []
    try:
        make_small(cluster, wanted.cpus)
        _, other = in_role(cluster, WEB_ROLE)
        cluster.undo_log.open(Undo(UndoAction.START, other.id, other.service, cluster.stage.number), ALONE)
        cluster.engine.stop(other)
        while (rate := next_rate(bursts)) is not None:
            readiness.await_service(cluster)
            with open_():
                bursts.append(_burst(cluster, rate))
            say(
                f"one web box with {wanted.cpus:g} of a processor, {rate:.0f} requests a second: {bursts[-1].good_ratio:.1%} good"
            )
    finally:
        # Nothing else is open: a run does not begin while there is a fault.
        heal.undo_all(cluster.engine, cluster.undo_log)
        readiness.await_recovered(cluster)
        cluster.undo_log.check_noted()
    return capacity_per_s(bursts)


def _burst(cluster: RunningSystem, rate_per_s: float) -> Burst:
    """Some seconds at a rate; again where the load itself was late. Raises InconclusiveError where it stays so."""
    why: list[str] = []
    for _ in range(TRIES):
        found, why = _try_burst(cluster, rate_per_s)
        if not why:
            return found
    raise InconclusiveError(f"what one web box carries could not be measured well: {why[0]}", "is this machine busy? try again")


def _try_burst(cluster: RunningSystem, rate_per_s: float) -> tuple[Burst, list[str]]:
    plan = LoadPlan(rate_per_s=rate_per_s)
    prefix = f"ramp{Random().randrange(16**8):08x}"
    config = LoadConfig(cluster.stage.entry, prefix, plan, seed=round(rate_per_s))
    with Load(cluster.engine, cluster.internet, config, host_clock=cluster.host_clock) as load:
        load.run_for(BURST_S)
        generator = load.stop()
    return Burst(rate_per_s, share(load.arrivals, plan.deadline_s).ratio), validity(generator, len(load.arrivals))
