"""Which balancer keeps the users' address. Pure.

Two balancers that lose each other cannot tell it from the other one's death, and both hold the address. A third, whom both
reach, can tell; it has the one of them keep it that stands beside the primary, for its web box reaches that one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Balancer:
    """A balancer, where to ask it, and the database beside it."""

    name: str
    address: str
    database: str


def must_leave(asker: str, holders: Sequence[Balancer], primary: str) -> bool:
    """Whether `asker`, who does not hear the others, has to be without the address.

    Of those who hold it the one beside the primary keeps it, or the first one. Who has left stays away as long as another one
    holds it: no second change while they do not hear each other.
    """
    if not holders:
        return False
    keeper = next((balancer for balancer in holders if balancer.database == primary), holders[0])
    return keeper.name != asker


def read_balancers(text: str) -> dict[str, Balancer]:
    """The balancers by name, from 'lb1=ADDRESS,DATABASE lb2=ADDRESS,DATABASE'. Raises ValueError for anything else."""
    balancers: dict[str, Balancer] = {}
    for part in text.split():
        name, equals, rest = part.partition("=")
        address, comma, database = rest.partition(",")
        if not (name and equals and address and comma and database) or "," in database or name in balancers:
            raise ValueError(f"'{part}' is not NAME=ADDRESS,DATABASE with each name once")
        balancers[name] = Balancer(name, address, database)
    if len(balancers) < 2:
        raise ValueError(f"'{text}' names fewer than two balancers")
    return balancers
