"""The arrivals of a run, decided before it by a seed: nothing that the system does changes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Intent:
    """One intended request."""

    number: int
    at_s: float
    """Seconds after the start of the load."""
    write: bool
    new_connection: bool
    pick: float
    """In [0, 1): which of the acknowledged orders a read asks for."""


def arrivals(rate_per_s: float, seed: int, write_share: float, new_connection_share: float) -> Iterator[Intent]:
    """Intents without end, in order of time.

    One falls at a uniformly random instant of each interval of 1 / rate_per_s: the rate is exact, and no
    period of the system (a health check, a garbage collection) can hide between two arrivals.
    """
    random = Random(seed)
    number = 0
    while True:
        yield Intent(
            number=number,
            at_s=(number + random.random()) / rate_per_s,
            write=random.random() < write_share,
            new_connection=random.random() < new_connection_share,
            pick=random.random(),
        )
        number += 1
