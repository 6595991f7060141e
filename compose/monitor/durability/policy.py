"""Which databases a commit waits for. Pure.

`region`: a commit waits for a database in another region, as long as one there is in reach; else for its neighbour.
`local`:  it waits for its neighbour, as long as that is in reach; else for another region.

pg_auto_failover knows no regions: it has a flag for each database, whether a commit may count on it (the replication
quorum). An election waits for the word of everyone who has the flag, because one of them may be the only one who has the
last commit. So the flags are set here, and until a change of theirs has gone all the way there is no election.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Durability(StrEnum):
    """For whom a commit waits first."""

    REGION = "region"
    LOCAL = "local"


@dataclass(frozen=True)
class Node:
    """A database as the monitor knows it."""

    name: str
    region: str
    reported: str
    goal: str
    healthy: bool
    in_quorum: bool

    @property
    def is_primary(self) -> bool:
        """Whether it is the primary, and nothing is under way about that."""
        return self.reported == self.goal and self.goal in ("primary", "wait_primary")

    @property
    def is_serving(self) -> bool:
        """Whether it is the primary, and was one, whatever of its settings it is changing."""
        return {self.reported, self.goal} <= {"primary", "wait_primary", "apply_settings"}

    @property
    def is_secondary(self) -> bool:
        """Whether it is a standby, and well."""
        return self.healthy and self.reported == self.goal == "secondary"

    @property
    def is_coming(self) -> bool:
        """Whether it is well, and on its way to another state: after a failover all others are, for a second or two."""
        return self.healthy and self.reported != self.goal


def quorum(
    durability: Durability, primary: Node, standbys: Sequence[Node], streaming: frozenset[str], lingering: frozenset[str]
) -> frozenset[str] | None:
    """The names of the databases one of which a commit shall wait for; None where none is in reach, or the right ones are
    on their way: leave it as it is.

    Only who is in reach: an election waits for the word of all of these, and would wait for good for one that is lost. But
    who is one now and was lost a moment ago (`lingering`) remains for a while, as long as another one does.
    """
    near = [node for node in standbys if node.region == primary.region]
    far = [node for node in standbys if node.region != primary.region]
    for group in (far, near) if durability is Durability.REGION else (near, far):
        here = {node.name for node in group if node.is_secondary and node.name in streaming}
        if here:
            return frozenset(here | {node.name for node in group if node.in_quorum and node.name in lingering})
        if any(node.is_coming for node in group):
            return None
    return None


def lost_region(primary_region: str, nodes: Iterable[Node]) -> bool:
    """Whether no database of the primary's region answers, and another region has one that does."""
    home = [node for node in nodes if node.region == primary_region]
    away = [node for node in nodes if node.region != primary_region]
    return bool(home) and not any(node.healthy for node in home) and any(node.healthy for node in away)


def is_given_up(primary_region: str, nodes: Iterable[Node], settled: bool) -> bool:
    """Whether an election can do without the primary's region: it waits for nobody there, no change of the flags is under way,
    and no primary there was told to go on alone and died before it said that it did.
    """
    every = list(nodes)
    home = [node for node in every if node.region == primary_region]
    flags_moved = not any(node.in_quorum for node in home) and all(node.in_quorum for node in every if node not in home)
    return settled and flags_moved and not any((node.reported, node.goal) == ("primary", "wait_primary") for node in home)


def read_regions(text: str) -> dict[str, str]:
    """The region of each database, from 'eu=db1,db2 us=db3,db4'. Raises ValueError for anything else."""
    regions: dict[str, str] = {}
    for part in text.split():
        region, equals, names = part.partition("=")
        if not (region and equals and all(names.split(","))) or set(names.split(",")) & set(regions):
            raise ValueError(f"'{part}' is not REGION=DATABASE,DATABASE with each database once")
        regions.update(dict.fromkeys(names.split(","), region))
    if len(set(regions.values())) < 2:
        raise ValueError(f"'{text}' names fewer than two regions")
    return regions


def changes(nodes: Iterable[Node], wanted: frozenset[str]) -> Mapping[str, bool]:
    """Which flags to set and which to take away, the former first: a commit always has somebody to wait for.

    The primary has none: when another one has taken over, what is in force shows that it has not been set anew yet.
    """
    differing = [node for node in nodes if node.in_quorum != (node.name in wanted)]
    return {node.name: node.name in wanted for node in sorted(differing, key=lambda node: node.in_quorum)}
