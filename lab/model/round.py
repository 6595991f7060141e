"""What became of the rounds of random faults: `lab monkey`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lab.model.measures import Measured


@dataclass(frozen=True)
class FaultOutcome:
    """What became of the fault of a round: the figures of its trial."""

    number: int
    experiment: str
    targets: tuple[str, ...]
    verdict: str
    valid: bool
    lost: int
    split_brain_s: float | None
    """For how long two databases took writes at once: 0 where the stage has one database, None where nothing watched them."""
    writes_downtime_s: float
    reads_downtime_s: float
    time_to_redundancy_s: float | None
    why: tuple[str, ...]
    folder: str
    audit_complete: bool = False
    """Whether every database could be read afterwards: without that, `lost` is only what is known to be lost."""
    downtime_s: float | None = None
    """The longest outage of the service, which is down while reads or writes are; None where that is not known."""
    downtime_censored: bool = True
    """Whether it may have been longer."""

    @property
    def outage(self) -> Measured:
        """What is known of the longest outage of the service: no shorter than that of reads, or of writes."""
        low = max(self.reads_downtime_s, self.writes_downtime_s, self.downtime_s or 0.0)
        return Measured(low, math.inf if self.downtime_s is None or self.downtime_censored else low)

    @property
    def is_loss(self) -> bool:
        """Whether it shows what must never be: an acknowledged write lost, or two writable databases."""
        return self.lost > 0 or bool(self.split_brain_s)

    @property
    def tells(self) -> bool:
        """Whether it can say that nothing was lost: a valid trial, every database read, and watched where there are two."""
        return self.valid and self.audit_complete and self.split_brain_s is not None


@dataclass(frozen=True)
class RoundOutcome:
    """What became of a round of `lab monkey`: a fault, whoever repaired it, and what users saw of the whole round."""

    fault: FaultOutcome
    intended: int
    good: int
    downtime_s: float
    """All outages of the round together."""
    healed: bool
    """Whether the lab had to heal what the repair policy could not."""
    redundancy_restored_s: float | None = None
    """From the (first) fault until redundancy was restored; None where that is not known."""
