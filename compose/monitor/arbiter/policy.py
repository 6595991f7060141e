"""Which balancer keeps the users' address. Pure.

Two balancers that lose each other cannot tell it from the other one's death, and both hold the address. A third, whom both
reach, can tell; it has the one of them keep it that stands beside the primary, for its web box reaches that one too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Balancer:
    """A balancer, where to ask it, and the database beside it."""

    name: str
    address: str
    database: str


def must_leave(asker: str, holders: Collection[str], preferred: str) -> bool:
    """Whether `asker`, who does not hear the others, has to be without the address.

    Who has given way stays away as long as another one holds it: no second change while they do not hear each other.
    """
    others = set(holders) - {asker}
    return bool(others) and not (asker in holders and asker == preferred)


def preference(balancers: Mapping[str, Balancer], primary: str) -> str:
    """The name of the balancer beside the primary; the first one where none is."""
    beside = [balancer.name for balancer in balancers.values() if balancer.database == primary]
    return beside[0] if beside else next(iter(balancers))


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
