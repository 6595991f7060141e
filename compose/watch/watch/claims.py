"""Who says that he is the only one of his kind, and whether two say so at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Claim:
    """That something is the only one of its kind, as it says itself; seconds on a monotonic clock, 0 where it does not.

    Two claims conflict only where one was repeated after the other began: a box that has just died or frozen said so
    until then, and its heir may have said so since.
    """

    since: float = 0.0
    confirmed: float = 0.0

    def say(self, claimed: bool, at: float) -> None:
        """It has answered, or failed to."""
        self.since = (self.since or at) if claimed else 0.0
        self.confirmed = at if claimed else 0.0


def holders(claims: Iterable[Claim]) -> int:
    """How many claims are in effect, each of them repeated since all others began."""
    held = [claim for claim in claims if claim.since]
    return sum(all(claim.confirmed >= other.since for other in held) for claim in held)
