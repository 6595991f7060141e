"""How many more failures a stage tolerates now. Pure: the state of the system goes in, counts come out.

A tier tolerates as many failures as boxes of it may fail one after another, whichever they are, before writes stop for good.
Between two failures the system does what it does by itself (another balancer takes the VIP, another database is promoted);
nothing is repaired. Of zones and regions it is the same, with all boxes of a place failing at once.

It is about whether anything is left that answers, not about how much that can carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lab.model.observation import ClusterStatus, ClusterView, DatabaseState
from lab.model.topology import Box, Stage, Tier

Group = frozenset[str]
"""Boxes that fail at once."""


@dataclass(frozen=True)
class Place:
    """Where a box stands; empty where a stage has no such places."""

    box: str
    zone: str = ""
    region: str = ""


@dataclass(frozen=True)
class Balancer:
    """A balancer as it is now."""

    name: str
    holds: bool
    """Users come to it."""
    ready: bool
    """It would serve them if they came."""
    uses: Group
    """The web boxes that it sends requests to."""


@dataclass(frozen=True)
class Database:
    """A database as it is now."""

    name: str
    leads: bool = False
    """It takes writes, or would if its standbys acknowledged them."""
    follows: bool = False
    """It is sent what the primary writes, and answers."""
    eligible: bool = False
    """The monitor would make it the primary."""
    refuses: bool = False
    """It is the primary and takes no writes: the monitor finds it healthy. That it may be replaced all the same is not counted on."""
    answers: bool = False
    """It answers reads."""


@dataclass(frozen=True)
class SystemState:
    """A stage as it is now: what is known to work."""

    web: Group
    balancers: tuple[Balancer, ...]
    """Empty: users come to the web boxes themselves."""
    databases: tuple[Database, ...]
    monitors: Group
    automatic: bool
    """A monitor alone makes failovers of databases."""
    synchronous: Group = frozenset()
    """The databases that a commit waits for, any one of them (or any `acknowledgers`), whether they are there or not; none:
    the primary acknowledges alone, and no other need have what it has."""
    voices: Group = frozenset()
    """The databases that an election waits for, all of them, whether they are there or not."""
    acknowledgers: int = 0
    """How many of them must acknowledge a commit whatever becomes of them; 0: the monitor lets it wait for those that are left."""
    announced: bool = False
    """A balancer that cannot serve leaves the VIP to the others; else it keeps it for as long as it lives."""
    durability: str = ""
    """In several regions, whom a commit waits for first: region (another one) or local (the neighbours)."""
    home: str = ""
    """The region of the primary, or of the one that was it last."""
    places: tuple[Place, ...] = ()

    @property
    def followers(self) -> Group:
        """The databases that follow."""
        return frozenset(each.name for each in self.databases if each.follows)

    def databases_in(self, region: str) -> Group:
        """The databases of a region, in whatever state."""
        here = {place.box for place in self.places if place.region == region}
        return frozenset(each.name for each in self.databases if each.name in here)


# What an observer sees


def promotable_standbys(stage: Stage, view: ClusterView) -> int:
    """How many databases could take over now without losing what was acknowledged.

    Where no commit waits for a standby (an operator promotes it), one that follows is as good as it gets.
    """
    if len(view.named(DatabaseState.PRIMARY)) != 1:
        return 0
    following = view.synchronous if stage.failover == "automatic" else view.standbys
    # A primary goes on counting a standby that has frozen, until it is disconnected.
    return min(following, len(view.named(DatabaseState.STANDBY)))


def is_redundant(stage: Stage, view: ClusterView) -> bool:
    """Whether an observer sees full redundancy: every standby follows, one balancer has the VIP, and all of them serve."""
    follow = stage.failover != "automatic" or view.standbys == len(stage.databases) - 1
    databases = not stage.is_replicated or (follow and promotable_standbys(stage, view) == stage.acknowledgers)
    has_one_owner = len(view.vip_claimants) == 1 and view.vip_claimants[0] == view.vip_owner
    return databases and (not stage.balancers or (has_one_owner and len(view.serving) == len(stage.balancers)))


# What all its parts report
#
# What the monitor calls a standby that takes part in an election, and one that has won it.
VOTING = ("secondary", "report_lsn", "fast_forward")
WON = ("prepare_promotion", "stop_replication", "wait_primary")


def system_state(stage: Stage, boxes: Iterable[Box], cluster_status: ClusterStatus) -> SystemState:
    """What a survey shows of a stage whose boxes are these."""
    system = [box for box in boxes if box.is_system]
    balancers = tuple(_balancer(stage, box.service, cluster_status) for box in system if "lb" in box.roles)
    judged = cluster_status.node_states
    databases = tuple(_database(stage, box, cluster_status) for box in system if box.service in stage.databases)
    leaders = frozenset(each.name for each in databases if each.leads)
    return SystemState(
        web=frozenset(box.service for box in system if "web" in box.roles and (balancers or box.is_healthy)),
        balancers=balancers,
        databases=databases,
        monitors=frozenset(box.service for box in system if "monitor" in box.roles and judged is not None),
        automatic=stage.failover == "automatic",
        synchronous=_awaited(cluster_status, leaders),
        voices=_voices(cluster_status),
        acknowledgers=cluster_status.acknowledgers,
        announced=stage.announced,
        durability=stage.durability,
        home=next((box.region for box in system if box.service in (leaders or _former(cluster_status))), ""),
        places=tuple(Place(box.service, box.zone, box.region) for box in system),
    )


def _balancer(stage: Stage, name: str, cluster_status: ClusterStatus) -> Balancer:
    uses = frozenset(web for web, used in cluster_status.backends.get(name, {}).items() if used)
    if not stage.balancers:  # the entry is its own address
        return Balancer(name, name in cluster_status.backends, name in cluster_status.backends, uses)
    ready = name in cluster_status.view.serving and name in cluster_status.backends
    return Balancer(name, name in cluster_status.view.vip_claimants, ready, uses)


def _database(stage: Stage, box: Box, cluster_status: ClusterStatus) -> Database:
    state, copy = cluster_status.view.databases.get(box.service), cluster_status.replicas.get(box.service)
    if not stage.is_replicated:
        return _alone(box, state)
    judgement = (cluster_status.node_states or {}).get(box.service)
    leads = state in (DatabaseState.PRIMARY, DatabaseState.SYNC_BLOCKED)
    if state is DatabaseState.READ_ONLY:
        return Database(box.service, refuses=True, answers=True)
    follows = state is DatabaseState.STANDBY and copy is not None and copy.streams
    if judgement and state is DatabaseState.STANDBY and _is_between_primaries(cluster_status):
        # There is no primary to follow. What it was until now, and what is being made of it, the monitor knows.
        leads, follows = judgement.state in WON, judgement.state in VOTING
    eligible = follows and judgement is not None and judgement.is_promotable
    return Database(box.service, leads, follows, eligible, answers=state not in (None, DatabaseState.UNREACHABLE))


def _alone(box: Box, state: DatabaseState | None) -> Database:
    """The only database. Where it was not asked, there is nothing that it could be but the primary."""
    answers = box.is_healthy and state is not DatabaseState.UNREACHABLE
    refuses = answers and state is DatabaseState.READ_ONLY
    return Database(box.service, leads=answers and not refuses, refuses=refuses, answers=answers)


def _is_between_primaries(cluster_status: ClusterStatus) -> bool:
    return not {DatabaseState.PRIMARY, DatabaseState.SYNC_BLOCKED, DatabaseState.READ_ONLY} & set(
        cluster_status.view.databases.values()
    )


def _former(cluster_status: ClusterStatus) -> Group:
    """Who was the primary, as far as the monitor knows: an election does not wait for it."""
    return frozenset(
        name for name, each in (cluster_status.node_states or {}).items() if not each.votes and each.state not in VOTING
    )


def _voices(cluster_status: ClusterStatus) -> Group:
    return frozenset(name for name, each in (cluster_status.node_states or {}).items() if each.votes)


def _awaited(cluster_status: ClusterStatus, leaders: Group) -> Group:
    """The databases that commits wait for; where they wait for one that is not there, those that are missing."""
    if _is_between_primaries(cluster_status):
        return frozenset() if leaders else _voices(cluster_status)
    waits_in_vain = bool(cluster_status.view.named(DatabaseState.SYNC_BLOCKED))
    return frozenset(name for name, copy in cluster_status.replicas.items() if copy.synchronous != waits_in_vain)


# What follows from a failure


def lost(seen: SystemState, names: Iterable[str]) -> SystemState:
    """What is left when these boxes fail at once, before anything takes over."""
    gone = frozenset(names)
    return replace(
        seen,
        web=seen.web - gone,
        balancers=tuple(
            Balancer(each.name, False, False, frozenset()) if each.name in gone else replace(each, uses=each.uses - gone)
            for each in seen.balancers
        ),
        databases=tuple(Database(each.name) if each.name in gone else each for each in seen.databases),
        monitors=seen.monitors - gone,
    )


def outcomes(seen: SystemState) -> list[SystemState]:
    """Every way in which the system may settle by itself; none where one of them is without the service.

    Which of several balancers or databases takes over is not known beforehand, and so each of them has to do.
    """
    settled = [way for entry in _entries(seen) for way in _databases(entry)]
    return settled if settled and all(map(serves, settled)) else []


def serves(seen: SystemState) -> bool:
    """Whether users get their writes acknowledged as things are."""
    return _is_reached(seen) and sum(each.leads for each in seen.databases) == 1 and _acknowledges(seen)


def serves_reads(seen: SystemState) -> bool:
    """Whether users get their reads answered, now or once the address has moved: any database that answers will do."""
    return all(map(_is_reached, _entries(seen))) and any(each.answers for each in seen.databases)


def _is_reached(seen: SystemState) -> bool:
    """Whether users reach a web box."""
    entries = [each for each in seen.balancers if each.holds]
    if seen.balancers and not entries:
        return False
    reach = [each.uses & seen.web if each.ready else frozenset() for each in entries] if seen.balancers else [seen.web]
    return all(reach)


def _acknowledges(seen: SystemState) -> bool:
    """Whether enough are there of those for which a commit waits. One that was just promoted waits for none yet."""
    return not seen.synchronous or len(seen.synchronous & seen.followers) >= max(seen.acknowledgers, 1)


def _entries(seen: SystemState) -> list[SystemState]:
    """Who may have the address once it has moved."""
    able = [each.name for each in seen.balancers if each.ready and (each.uses & seen.web or not seen.announced)]
    held = [each.name for each in seen.balancers if each.holds and (each.name in able or not seen.announced)]
    if held or not able:
        return [seen]
    return [replace(seen, balancers=tuple(replace(each, holds=each.name == heir) for each in seen.balancers)) for heir in able]


def _databases(seen: SystemState) -> list[SystemState]:
    """Who may be the primary once the monitor has done its work; as it is where there is nothing it could do."""
    decides = seen.automatic and bool(seen.monitors) and not any(each.refuses for each in seen.databases)
    leader = next((each.name for each in seen.databases if each.leads), "")
    if leader:
        # Those whom a commit waits for are gone: others are, or it goes on alone, unless so many are needed whatever happens.
        moves = decides and not seen.acknowledgers and not _acknowledges(seen)
        return [_waiting_for(seen, _quorum(seen, leader) if seen.durability else frozenset())] if moves else [seen]
    heirs = [each.name for each in seen.databases if each.follows and each.eligible]
    return [_promoted(seen, heir) for heir in heirs] if heirs and decides and _elects(seen) else [seen]


def _elects(seen: SystemState) -> bool:
    """Whether an election can end, with one who has everything that was acknowledged."""
    followers = seen.followers
    home = seen.databases_in(seen.home)
    if seen.durability == "local" and home & seen.voices and not home & followers:
        # The region is given up, with what only it has; all others are asked.
        return frozenset(each.name for each in seen.databases) - home <= followers
    # With several who acknowledge, one voice more than a commit needs: any two such groups have a member in common.
    return seen.voices <= followers and len(seen.synchronous & followers) > seen.acknowledgers


def _promoted(seen: SystemState, heir: str) -> SystemState:
    databases = tuple(Database(heir, leads=True, answers=True) if each.name == heir else each for each in seen.databases)
    home = next((place.region for place in seen.places if place.box == heir), "")
    after = replace(seen, databases=databases, home=home)
    return _waiting_for(after, _quorum(after, heir))


def _waiting_for(seen: SystemState, names: Group) -> SystemState:
    return replace(seen, synchronous=names, voices=names)


def _quorum(seen: SystemState, leader: str) -> Group:
    """For whom a commit on this primary waits: who follows; between regions a whole group of which one follows."""
    if not seen.durability:
        return seen.followers
    near = seen.databases_in(seen.home) - {leader}
    far = frozenset(each.name for each in seen.databases) - near - {leader}
    groups = (near, far) if seen.durability == "local" else (far, near)
    return next((group for group in groups if group & seen.followers), frozenset())


# Failures tolerated


def failures_tolerated(seen: SystemState) -> dict[Tier, int]:
    """How many failures each tier of the stage tolerates; 0 everywhere while there is no service and none would return by itself."""
    return {tier: tolerated(seen, groups) for tier, groups in _groups(seen).items()}


def working(seen: SystemState) -> dict[Tier, int]:
    """How many boxes (zones, regions) of each tier do their work."""
    return {tier: len(groups) for tier, groups in _groups(seen).items()}


def idle(seen: SystemState) -> Group:
    """The boxes of the system that do not do their work."""
    at_work = frozenset[str]().union(*(group for groups in _groups(seen).values() for group in groups))
    return frozenset(place.box for place in seen.places) - at_work


def tolerated(seen: SystemState, groups: Iterable[Group]) -> int:
    """How many of the groups may fail, one after another in the worst order, until the service stops for good."""
    known: dict[tuple[SystemState, frozenset[Group]], int] = {}

    def left(state: SystemState, standing: frozenset[Group]) -> int:
        if (state, standing) not in known:
            known[state, standing] = min((after(state, standing, group) for group in standing), default=0)
        return known[state, standing]

    def after(state: SystemState, standing: frozenset[Group], group: Group) -> int:
        ways = outcomes(lost(state, group))
        return 1 + min(left(way, standing - {group}) for way in ways) if ways else 0

    return min((left(way, frozenset(groups)) for way in outcomes(seen)), default=0)


def _groups(seen: SystemState) -> dict[Tier, list[Group]]:
    """What may fail in each tier that the stage has, of what works now."""
    used = frozenset[str]().union(*(each.uses for each in seen.balancers)) if seen.balancers else seen.web
    working = {
        Tier.BALANCER: [each.name for each in seen.balancers if each.ready],
        Tier.WEB: sorted(seen.web & used),
        Tier.DATABASE: [each.name for each in seen.databases if each.leads or each.follows],
        Tier.MONITOR: sorted(seen.monitors),
    }
    present = {Tier.BALANCER: bool(seen.balancers), Tier.WEB: True, Tier.DATABASE: True, Tier.MONITOR: seen.automatic}
    found = {tier: [frozenset({name}) for name in names] for tier, names in working.items() if present[tier]}
    alive = {name for names in working.values() for name in names}
    places = [each for each in seen.places if each.box in alive]
    if any(each.zone for each in seen.places):
        # Two regions may both have a zone a.
        found[Tier.ZONE] = _together(((each.region, each.zone), each.box) for each in places if each.zone)
    if any(each.region for each in seen.places):
        found[Tier.REGION] = _together((each.region, each.box) for each in places if each.region)
    return found


def _together(placed: Iterable[tuple[object, str]]) -> list[Group]:
    by_place: dict[object, set[str]] = {}
    for place, box in placed:
        by_place.setdefault(place, set()).add(box)
    return [frozenset(boxes) for boxes in by_place.values()]
