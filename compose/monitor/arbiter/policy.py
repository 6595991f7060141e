"""Which balancer keeps the users' address. Pure.

Two balancers that lose each other cannot tell it from the other one's death, and both hold the address. A third, whom both
reach, can tell; it has the one of them keep it that stands beside the primary, for its web box reaches that one too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Balancer:
    """A balancer, where to ask it, and the database beside it."""

    name: str
    address: str
    database: str


class Word(StrEnum):
    """What a balancer that does not hear its partner is told."""

    STAY = "stay"
    LEAVE = "leave"
    """Another one holds the address, and is to."""
    HAND_OVER = "hand over"
    """Another one could hold it, and stands beside the primary: who has the address alone is on the wrong side of the cut."""


def word(asker: str, of_use: Sequence[Balancer], holders: Collection[str], primary: str) -> Word:
    """What to tell `asker`, of those who answer here and can serve users (`of_use`) and of those who hold the address.

    The one beside the primary keeps the address, whoever holds it now. Where none is, or it is of no use, one that holds it does.
    No balancer is sent away in favour of one of no use.
    """
    beside = [balancer.name for balancer in of_use if balancer.database == primary]
    keeper = next(iter(beside or [balancer.name for balancer in of_use if balancer.name in holders]), asker)
    if keeper == asker:
        return Word.STAY
    return Word.LEAVE if set(holders) - {asker} else Word.HAND_OVER


def can_serve(beat: str) -> bool:
    """Whether a balancer that says this of itself (lab-reach) reaches the users' side and a web box. False for what is no beat."""
    users, web, *_ = [*beat.split(), "", ""]
    return users == "1" and web.isdecimal() and int(web) > 0


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
