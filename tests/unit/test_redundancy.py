"""How many more failures a stage survives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.exposure import RedundancySample, without_redundancy
from lab.checker.redundancy import (
    VOTING,
    Balancer,
    Database,
    Place,
    SystemState,
    failures_tolerated,
    idle,
    lost,
    outcomes,
    promotable_standbys,
    serves,
    serves_reads,
    system_state,
    tolerated,
)
from lab.model.observation import ClusterStatus, DatabaseState, NodeState, ReplicaStatus
from lab.model.topology import ServiceSpec, Stage, Tier
from lab.spec.stages import all_stages, find
from tests.unit.helpers import COPY, NODE, cluster_status_of, started

WEB, BALANCER, DATABASE, MONITOR, ZONE, REGION = Tier.WEB, Tier.BALANCER, Tier.DATABASE, Tier.MONITOR, Tier.ZONE, Tier.REGION
PAIR, ZONES, WORLD = find("5"), find("6"), find("7")
GONE = ReplicaStatus(streams=False, synchronous=False, lag_bytes=None, replay_lag_s=None)
CATCHING_UP = replace(COPY, synchronous=False)


def seen(of: Stage, cluster_status: ClusterStatus | None = None, **boxes: dict[str, str]) -> SystemState:
    return system_state(of, started(of, **boxes), cluster_status or cluster_status_of(of))


# When all is well


@pytest.mark.parametrize("of", all_stages(), ids=lambda stage: stage.project)
def test_what_takes_a_stage_down_alone_is_what_its_file_calls_a_single_point_of_failure(of: Stage) -> None:
    whole = seen(of)
    assert serves(whole)
    system = [box.service for box in started(of) if box.is_system]
    assert {name for name in system if not outcomes(lost(whole, {name}))} == set(of.spof)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (find("1"), {WEB: 0, DATABASE: 0}),
        (find("2"), {WEB: 0, DATABASE: 0}),
        (find("3"), {BALANCER: 0, WEB: 1, DATABASE: 0}),
        # A standby that only an operator promotes tolerates no failure.
        (find("4"), {BALANCER: 0, WEB: 1, DATABASE: 0}),
        (find("4", "automatic"), {BALANCER: 0, WEB: 1, DATABASE: 1, MONITOR: 1}),
        (PAIR, {BALANCER: 1, WEB: 1, DATABASE: 1, MONITOR: 1}),
        # Three databases and no more margin than two: of three, two must have what was acknowledged.
        (ZONES, {BALANCER: 1, WEB: 2, DATABASE: 1, MONITOR: 1, ZONE: 1}),
        # All web boxes but one may fail: users are led to the region that has it. Of the databases that a commit may have waited
        # for, an election waits for all: one of them lost, and then the primary, is too many.
        (WORLD, {BALANCER: 3, WEB: 3, DATABASE: 1, MONITOR: 1, REGION: 1}),
    ],
)
def test_margins_of_each_stage(of: Stage, expected: dict[Tier, int]) -> None:
    assert failures_tolerated(seen(of)) == expected


@pytest.mark.parametrize("of", all_stages(), ids=lambda stage: stage.project)
def test_who_only_watches_is_in_no_tier(of: Stage) -> None:
    whole = seen(of)
    assert seen(of, watch={"status": "exited"}) == whole
    assert {place.box for place in whole.places} == {spec.name for spec in of.services} - {"internet", "wan", "watch"}
    assert "watch" not in idle(whole)


# After a failure


def databases(of: Stage, *states: str, **replicas: ReplicaStatus) -> ClusterStatus:
    """Survey of databases in these states; a copy that is not named is gone."""
    view = cluster_status_of(of).view
    named = {name: DatabaseState(state) for name, state in zip(of.databases, states, strict=True)}
    leaders = [name for name, state in named.items() if state in (DatabaseState.PRIMARY, DatabaseState.SYNC_BLOCKED)]
    found = {name: replicas.get(name, GONE) for name in named if name not in leaders}
    counts = (sum(copy.streams for copy in found.values()), sum(copy.synchronous for copy in found.values()))
    view = replace(view, databases=named, standbys=counts[0], synchronous=counts[1])
    judged = {
        # One that has died keeps its voice, if it was no primary.
        name: replace(NODE, is_promotable=found.get(name, GONE).synchronous and name != "db3", votes=name in found)
        for name in named
    }
    return cluster_status_of(of, view=view, replicas=found, node_states=judged)


def database_margin(of: Stage, cluster_status: ClusterStatus) -> int:
    return failures_tolerated(seen(of, cluster_status))[DATABASE]


@pytest.mark.parametrize(
    ("cluster_status", "survives"),
    [
        (databases(PAIR, "primary", "standby", db2=COPY), 1),
        # The other way round, after a failover.
        (databases(PAIR, "standby", "primary", db1=COPY), 1),
        (databases(PAIR, "unreachable", "primary"), 0),
        # It follows, and was not waited for: what it has not received would be lost.
        (databases(PAIR, "primary", "standby", db2=CATCHING_UP), 0),
        # Frozen; the primary counts it until it is disconnected.
        (databases(PAIR, "primary", "unreachable", db2=COPY), 0),
        # The monitor will have it go on alone.
        (databases(PAIR, "sync_blocked", "unreachable"), 0),
        # Seen a moment later it is waited for; it was not when the state was seen.
        (databases(PAIR, "sync_blocked", "standby", db2=COPY), 0),
        (databases(ZONES, "primary", "standby", "standby", db2=COPY, db3=COPY), 1),
        (databases(ZONES, "primary", "standby", "unreachable", db2=COPY), 0),
        (databases(ZONES, "primary", "unreachable", "unreachable"), 0),
        (databases(ZONES, "unreachable", "primary", "standby", db3=COPY), 0),
        (databases(PAIR, "primary", "primary"), 0),
        (databases(PAIR, "unreachable", "unreachable"), 0),
    ],
)
def test_databases(cluster_status: ClusterStatus, survives: int) -> None:
    of = ZONES if len(cluster_status.view.databases) == 3 else PAIR
    assert database_margin(of, cluster_status) == survives
    # The same as is counted of all of them in a trial.
    found = seen(of, cluster_status)
    leads = sum(each.leads for each in found.databases) == 1
    assert promotable_standbys(of, cluster_status.view) == (len(found.synchronous & found.followers) if leads else 0)


def test_standby_that_the_monitor_would_not_promote_takes_nothing_over() -> None:
    ill = cluster_status_of(
        PAIR, node_states={"db1": NODE, "db2": NodeState("catchingup", is_healthy=True, is_promotable=False, votes=True)}
    )
    assert database_margin(PAIR, ill) == 0


@pytest.mark.parametrize("number", ["5", "6", "7"])
def test_primary_that_refuses_writes_is_not_replaced_while_it_answers(number: str) -> None:
    """The monitor asks whether it answers, and finds it healthy: nothing takes over, and orders stay refused."""
    of = find(number)
    whole = cluster_status_of(of)
    states = {name: DatabaseState.READ_ONLY if each == "primary" else each for name, each in whole.view.databases.items()}
    refusing = seen(of, replace(whole, view=replace(whole.view, databases=states, standbys=0, synchronous=0)))
    assert outcomes(refusing) == []
    assert set(failures_tolerated(refusing).values()) == {0}
    # Reads are another matter.
    assert serves_reads(refusing)


@pytest.mark.parametrize("number", ["1", "2", "3"])
@pytest.mark.parametrize(
    ("state", "writes", "reads"), [("primary", True, True), ("read-only", False, True), ("unreachable", False, False)]
)
def test_the_only_database_is_what_it_says(number: str, state: str, writes: bool, reads: bool) -> None:
    of = find(number)
    whole = cluster_status_of(of)
    found = seen(of, replace(whole, view=replace(whole.view, databases=dict.fromkeys(of.databases, DatabaseState(state)))))
    assert (bool(outcomes(found)), serves_reads(found)) == (writes, reads)


def test_reads_need_a_way_to_a_database_that_answers() -> None:
    assert serves_reads(seen(PAIR, databases(PAIR, "unreachable", "standby")))
    assert not serves_reads(seen(PAIR, databases(PAIR, "unreachable", "unreachable")))
    whole = seen(PAIR)
    # The other balancer takes the address.
    assert serves_reads(lost(whole, {"lb1"}))
    assert not serves_reads(lost(whole, {"lb1", "lb2"}))
    assert not serves_reads(lost(whole, {"web1", "web2"}))


def test_without_its_monitor_the_service_goes_on_and_the_databases_have_no_margin() -> None:
    alone = seen(PAIR, cluster_status_of(PAIR, node_states=None))
    assert serves(alone)
    assert failures_tolerated(alone) == {BALANCER: 1, WEB: 1, DATABASE: 0, MONITOR: 0}


def test_a_primary_goes_on_waiting_when_the_monitor_is_lost_too() -> None:
    """Two of stage 6 are enough to acknowledge; one of two needs the monitor to be let off."""
    pair = lost(seen(PAIR), {"monitor", "db2"})
    assert outcomes(pair) == []
    zones = seen(ZONES)
    assert outcomes(lost(zones, {"monitor", "db3"}))
    assert outcomes(lost(zones, {"monitor", "db1"})) == []
    assert outcomes(lost(zones, {"db2", "db3"})) == []


def test_election_needs_one_voice_more_than_a_commit() -> None:
    """One standby alone can't know that it has everything: the other one may have acknowledged what it has not."""
    zones = seen(ZONES)
    assert outcomes(lost(zones, {"db1"}))
    assert outcomes(lost(zones, {"db1", "db3"})) == []
    # Whichever else could be elected: the second time there are too few votes.
    equal = seen(ZONES, cluster_status_of(ZONES, node_states=dict.fromkeys(ZONES.databases, NODE)))
    equal = replace(equal, voices=frozenset({"db2", "db3"}))
    for after in outcomes(lost(equal, {"db1"})):
        [leader] = [each.name for each in after.databases if each.leads]
        assert outcomes(lost(after, {leader})) == []
    # With two databases it is the only one that was waited for.
    assert outcomes(lost(seen(PAIR), {"db1"}))


@pytest.mark.parametrize(
    ("db2", "db3"),
    [
        ("secondary", "secondary"),
        ("report_lsn", "secondary"),
        ("report_lsn", "report_lsn"),
        ("fast_forward", "report_lsn"),
        ("prepare_promotion", "report_lsn"),
        ("wait_primary", "report_lsn"),
    ],
)
def test_between_two_primaries_the_monitor_knows_what_will_be(db2: str, db3: str) -> None:
    """No database follows another one then, and none says that it accepts writes."""
    judged = {
        "db1": NodeState("primary", is_healthy=False, is_promotable=False, votes=False),
        "db2": NodeState(db2, is_healthy=True, is_promotable=db2 in VOTING, votes=db2 in VOTING),
        "db3": NodeState(db3, is_healthy=True, is_promotable=False, votes=True),
    }
    between = replace(databases(ZONES, "unreachable", "standby", "standby"), node_states=judged)
    [after] = outcomes(seen(ZONES, between))
    assert [each.name for each in after.databases if each.leads] == ["db2"]
    assert failures_tolerated(seen(ZONES, between)) == {BALANCER: 1, WEB: 2, DATABASE: 0, MONITOR: 1, ZONE: 0}
    # Two of three are gone: it is not on the way, it has come to nothing.
    frozen = replace(databases(ZONES, "unreachable", "standby", "unreachable"), node_states={**judged, "db2": replace(NODE)})
    assert outcomes(seen(ZONES, frozen)) == []
    assert outcomes(seen(ZONES, replace(between, node_states=None))) == []


def test_region_that_is_being_given_up_is_known_from_who_led_it() -> None:
    near = replace(WORLD, durability="local")
    judged = {
        "db1": NodeState("primary", is_healthy=False, is_promotable=False, votes=False),
        "db2": NodeState("secondary", is_healthy=False, is_promotable=False, votes=True),
        **{name: NodeState("secondary", is_healthy=True, is_promotable=True, votes=False) for name in ("db3", "db4")},
    }
    gone = databases(near, "unreachable", "unreachable", "standby", "standby")
    found = seen(near, replace(gone, node_states=judged))
    assert found.home == "eu"
    assert len(outcomes(found)) == 2


def test_primary_that_was_just_promoted_acknowledges_alone_and_has_no_margin() -> None:
    of = databases(ZONES, "unreachable", "primary", "standby", db3=CATCHING_UP)
    found = seen(ZONES, of)
    assert serves(found)
    assert failures_tolerated(found)[DATABASE] == 0


@pytest.mark.parametrize(
    ("holders", "answering", "backends", "expected"),
    [
        (("lb2",), ("lb1", "lb2"), ("lb1", "lb2"), (1, 1)),
        (("lb1",), ("lb1",), ("lb1",), (0, 1)),
        # It serves and does not hear its partner's address, or the other way round: not ready.
        (("lb1",), ("lb1", "lb2"), ("lb1",), (0, 1)),
        # No balancer has the VIP yet: one that is ready takes it.
        ((), ("lb1", "lb2"), ("lb1", "lb2"), (1, 1)),
        ((), (), (), (0, 0)),
    ],
)
def test_balancers(
    holders: tuple[str, ...], answering: tuple[str, ...], backends: tuple[str, ...], expected: tuple[int, int]
) -> None:
    whole = cluster_status_of(PAIR)
    view = replace(whole.view, vip_claimants=holders, serving=answering)
    found = failures_tolerated(seen(PAIR, replace(whole, view=view, backends={name: whole.backends[name] for name in backends})))
    assert (found[BALANCER], found[WEB]) == expected


def test_heir_that_finds_no_web_box_is_no_margin() -> None:
    whole = cluster_status_of(PAIR)
    blind = replace(whole, backends={**whole.backends, "lb2": {"web1": False, "web2": False}})
    assert failures_tolerated(seen(PAIR, blind))[BALANCER] == 0
    assert failures_tolerated(seen(PAIR, blind))[WEB] == 1


def test_each_of_several_heirs_has_to_do() -> None:
    """Which of them takes over is not known beforehand."""
    sees, blind = Balancer("lb2", False, True, frozenset({"web1"})), Balancer("lb3", False, True, frozenset())
    found = replace(seen(PAIR), balancers=(Balancer("lb1", True, True, frozenset({"web1"})), sees, blind))
    assert outcomes(found)
    assert outcomes(lost(found, {"lb1"})) == []
    assert outcomes(lost(found, {"lb1", "lb3"}))


def test_users_who_are_led_to_two_balancers_need_both() -> None:
    both = cluster_status_of(PAIR)
    both = replace(both, view=replace(both.view, vip_claimants=("lb1", "lb2")))
    assert serves(seen(PAIR, both))
    assert not serves(seen(PAIR, replace(both, backends={**both.backends, "lb2": {"web1": False}})))


def test_web_boxes_that_the_balancer_does_not_use_are_no_margin() -> None:
    one = cluster_status_of(ZONES, backends={name: {"web1": False, "web2": True, "web3": False} for name in ("lb1", "lb2")})
    assert failures_tolerated(seen(ZONES, one))[WEB] == 0
    none = cluster_status_of(ZONES, backends={name: {"web1": False} for name in ("lb1", "lb2")})
    assert set(failures_tolerated(seen(ZONES, none)).values()) == {0}


def test_unhealthy_box_serves_no_user_where_nothing_health_checks_it() -> None:
    assert outcomes(seen(find("2"), web1={"status": "paused"})) == []
    assert outcomes(seen(find("2"), db={"status": "exited"})) == []


# Places


def test_zone_takes_everything_in_it_at_once() -> None:
    zones = seen(ZONES)
    assert all(outcomes(lost(zones, {each.box for each in zones.places if each.zone == zone})) for zone in "abc")
    after = lost(zones, {each.box for each in zones.places if each.zone == "b"})
    assert failures_tolerated(after) == {BALANCER: 0, WEB: 1, DATABASE: 0, MONITOR: 1, ZONE: 0}


def test_monitor_beside_the_primary_costs_the_margin_of_zones() -> None:
    moved = tuple(
        replace(spec, labels={**spec.labels, "lab.zone": "a"}) if spec.name == "monitor" else spec for spec in ZONES.services
    )
    assert failures_tolerated(seen(replace(ZONES, services=moved)))[ZONE] == 0
    assert failures_tolerated(seen(replace(ZONES, services=moved)))[DATABASE] == 1


def in_region(found: SystemState, name: str) -> set[str]:
    return {each.box for each in found.places if each.region == name}


@pytest.mark.parametrize("durability", ["region", "local"])
def test_either_region_or_the_witness_may_go(durability: str) -> None:
    of = replace(WORLD, durability=durability)
    world = seen(of, far_or_near(of))
    for name in ("eu", "us", "witness"):
        assert outcomes(lost(world, in_region(world, name))), name
    for pair in (("eu", "us"), ("eu", "witness")):
        assert outcomes(lost(world, in_region(world, pair[0]) | in_region(world, pair[1]))) == [], pair


def far_or_near(of: Stage) -> ClusterStatus:
    """Commits on db1 wait for the other region, or for the neighbour."""
    synchronous = {"region": ("db3", "db4"), "local": ("db2",)}[of.durability]
    whole = cluster_status_of(of)
    replicas = {name: replace(COPY, synchronous=name in synchronous) for name in whole.replicas}
    judged = {name: replace(NODE, is_promotable=name != "db1", votes=name in synchronous) for name in of.databases}
    return replace(whole, view=replace(whole.view, synchronous=len(synchronous)), replicas=replicas, node_states=judged)


def test_commit_waits_for_the_neighbour_when_the_other_region_is_gone() -> None:
    world = seen(WORLD)
    [after] = outcomes(lost(world, in_region(world, "us")))
    assert after.synchronous == {"db2"}
    # The monitor has to see to that.
    assert outcomes(lost(world, in_region(world, "us") | {"monitor"})) == []
    # It is the only one who has everything now.
    [then] = outcomes(lost(after, {"db1"}))
    assert [each.name for each in then.databases if each.leads] == ["db2"]
    assert outcomes(lost(then, {"db2"})) == []


def test_election_waits_for_everybody_who_may_have_the_last_commit_in_regions_too() -> None:
    world = seen(WORLD)
    assert outcomes(lost(world, {"db1"}))
    # The neighbour lacks nothing that the other region has not: it may go first.
    assert outcomes(lost(world, {"db2"}))
    assert outcomes(lost(lost(world, {"db2"}), {"db1"}))
    assert outcomes(lost(lost(world, {"db3"}), {"db1"})) == []
    near = replace(WORLD, durability="local")
    assert outcomes(lost(seen(near, far_or_near(near)), {"db1"}))


def test_region_that_is_given_up_is_not_waited_for_and_the_rest_must_be_whole() -> None:
    near = replace(WORLD, durability="local")
    world = seen(near, far_or_near(near))
    [first, second] = outcomes(lost(world, {"db1", "db2"}))
    assert {each.name for after in (first, second) for each in after.databases if each.leads} == {"db3", "db4"}
    assert (first.home, second.home) == ("us", "us")
    assert outcomes(lost(world, {"db1", "db2", "db4"})) == []
    far = seen(WORLD)
    assert outcomes(lost(far, {"db1", "db2", "db4"})) == []


@pytest.mark.parametrize(("durability", "synchronous"), [("local", {"db2", "db3"}), ("region", {"db4"})])
def test_commit_waits_for_a_whole_group_again_when_one_of_it_is_left(durability: str, synchronous: set[str]) -> None:
    names = ("db1", "db2", "db3", "db4")
    world = replace(
        seen(WORLD),
        databases=(Database("db1", leads=True), *(Database(name, follows=True, eligible=True) for name in names[1:])),
        places=tuple(Place(name, region="us" if name == "db4" else "eu") for name in names),
        synchronous=frozenset({"db2"}),
        durability=durability,
    )
    [after] = outcomes(lost(world, {"db2"}))
    assert after.synchronous == after.voices == synchronous


def test_standby_that_an_operators_primary_waits_for_stops_it_for_good() -> None:
    """No monitor is there to let it go on alone."""
    by_hand = find("4")
    waits = cluster_status_of(by_hand, replicas={"db2": COPY})
    assert outcomes(lost(seen(by_hand), {"db2"}))
    assert outcomes(lost(seen(by_hand, waits), {"db2"})) == []


def test_balancers_without_web_boxes_leave_the_address_where_it_is_announced() -> None:
    world = seen(WORLD)
    [one, other] = outcomes(lost(world, {"web1", "web2"}))
    assert {each.name for after in (one, other) for each in after.balancers if each.holds} == {"lb3", "lb4"}
    # VRRP moves it only when a box is gone.
    assert outcomes(lost(replace(world, announced=False), {"web1", "web2"})) == []


def region(name: str, zone: str = "") -> dict[str, str]:
    return {"lab.region": name, **({"lab.zone": zone} if zone else {})}


def test_regions_and_zones_of_the_same_name_in_two_of_them() -> None:
    where = {
        "lb1": ("eu", "a"),
        "web1": ("eu", "b"),
        "db1": ("eu", "a"),
        "lb2": ("us", "a"),
        "web2": ("us", "b"),
        "db2": ("us", "a"),
    }
    specs = tuple(
        ServiceSpec(spec.name, spec.roles, {**spec.labels, **region(*where.get(spec.name, ("witness",)))})
        for spec in PAIR.services
    )
    found = failures_tolerated(seen(replace(PAIR, services=specs, announced=True)))
    # The witness may go alone; with it gone, or with one of the two, the next one is too many.
    assert (found[REGION], found[ZONE]) == (1, 1)
    together = tuple(replace(spec, labels={**spec.labels, **region("eu")}) if spec.name == "monitor" else spec for spec in specs)
    assert failures_tolerated(seen(replace(PAIR, services=together, announced=True)))[REGION] == 0


# Whatever the evidence is

NAMES = ("n1", "n2", "n3")


@st.composite
def evidences(draw: st.DrawFn) -> SystemState:
    web = frozenset(f"w{name}" for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    uses = st.sets(st.sampled_from(sorted(web))).map(frozenset)
    states = draw(st.lists(st.tuples(st.booleans(), uses), max_size=3))
    holder = draw(st.integers(-1, len(states) - 1))
    balancers = tuple(
        Balancer(f"l{number}", holds=number == holder and ready, ready=ready, uses=used if ready else frozenset())
        for number, (ready, used) in enumerate(states)
    )
    following = draw(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=3))
    standbys = tuple(
        Database(f"d{number}", False, follows, follows and eligible) for number, (follows, eligible) in enumerate(following, 1)
    )
    everybody = [*web, *(each.name for each in balancers), "d0", *(each.name for each in standbys), "m"]
    return SystemState(
        web=web,
        balancers=balancers,
        databases=(Database("d0", leads=draw(st.booleans())), *standbys),
        monitors=draw(st.sampled_from([frozenset(), frozenset({"m"})])),
        automatic=draw(st.booleans()),
        synchronous=frozenset(each.name for each in standbys if draw(st.booleans())),
        voices=frozenset(each.name for each in standbys if draw(st.booleans())),
        announced=draw(st.booleans()),
        durability=draw(st.sampled_from(["", "region", "local"])),
        home="eu",
        acknowledgers=draw(st.integers(0, 1)),
        places=tuple(Place(name, draw(st.sampled_from("abc")), draw(st.sampled_from(["eu", "us"]))) for name in everybody),
    )


def boxes_of(found: SystemState, tier: Tier) -> list[frozenset[str]]:
    if tier is WEB:
        return [frozenset({name}) for name in found.web]
    if tier is BALANCER:
        return [frozenset({each.name}) for each in found.balancers if each.ready]
    if tier is DATABASE:
        return [frozenset({each.name}) for each in found.databases if each.leads or each.follows]
    return [
        frozenset(each.box for each in found.places if (each.region, each.zone) == place)
        for place in {(each.region, each.zone) for each in found.places}
    ]


def by_trying(found: SystemState, groups: Iterable[frozenset[str]]) -> int:
    """The margin by its definition: every order of failures, and every way in which each may end."""
    orders = list(permutations(groups))

    def survived(state: SystemState, order: tuple[frozenset[str], ...]) -> int:
        ways = outcomes(lost(state, order[0])) if order else []
        return 1 + min(survived(way, order[1:]) for way in ways) if ways else 0

    return min((survived(way, order) for way in outcomes(found) for order in orders), default=0)


@given(evidences(), st.sampled_from([WEB, BALANCER, DATABASE, ZONE]))
def test_margin_is_what_trying_every_order_of_failures_says(found: SystemState, tier: Tier) -> None:
    groups = boxes_of(found, tier)
    assert tolerated(found, groups) == by_trying(found, groups)


@given(evidences())
def test_margins_are_within_what_there_is_and_zero_without_the_service(found: SystemState) -> None:
    for tier, count in failures_tolerated(found).items():
        assert 0 <= count <= (len(found.monitors) if tier is MONITOR else len(boxes_of(found, tier)))
        if not outcomes(found):
            assert count == 0


@given(evidences())
def test_a_failure_takes_at_most_one_from_the_margin_of_its_tier(found: SystemState) -> None:
    for tier in (WEB, BALANCER, DATABASE):
        groups = boxes_of(found, tier)
        before = tolerated(found, groups)
        for group in groups if before else []:
            for settled in outcomes(found):
                ways = outcomes(lost(settled, group))
                assert ways
                assert min(tolerated(way, [each for each in groups if each != group]) for way in ways) >= before - 1


@given(evidences())
def test_what_has_settled_stays_as_it_is(found: SystemState) -> None:
    for settled in outcomes(found):
        assert serves(settled)
        assert outcomes(settled) == [settled]


@given(evidences())
def test_one_balancer_gives_the_margin_of_the_web_boxes_that_it_uses(found: SystemState) -> None:
    alone = replace(found, balancers=(Balancer("l0", holds=True, ready=True, uses=found.web),))
    assert failures_tolerated(alone)[WEB] == (len(found.web) - 1 if outcomes(alone) else 0)


@given(evidences())
def test_zone_that_has_everything_is_no_margin(found: SystemState) -> None:
    together = replace(found, places=tuple(replace(each, zone="a", region="eu") for each in found.places))
    assert failures_tolerated(together).get(ZONE, 0) == failures_tolerated(together).get(REGION, 0) == 0


# Over time


def exposure_s(seen: Sequence[RedundancySample], until_s: float) -> dict[Tier, float]:
    spans = without_redundancy(seen, -inf, until_s)
    return {tier: sum(end_s - start_s for start_s, end_s in each) for tier, each in spans.items()}


def at(at_s: float, **counts: int) -> RedundancySample:
    return RedundancySample(at_s, {Tier(name): count for name, count in counts.items()})


def test_exposure_is_the_time_without_a_margin() -> None:
    timed = [at(0, web=1, database=1), at(2, web=1, database=0), at(5, web=0, database=0), at(6, web=1, database=1)]
    assert exposure_s(timed, 10) == {WEB: 1, DATABASE: 4}
    assert exposure_s(timed[:3], 10) == {WEB: 5, DATABASE: 8}


def test_tier_that_never_has_a_margin_is_not_exposed_but_missing() -> None:
    assert exposure_s([at(0, balancer=0, web=1), at(1, balancer=0, web=0)], 3) == {WEB: 2}


def test_time_in_which_nothing_is_known_is_not_counted() -> None:
    assert exposure_s([at(0, web=1, database=1), at(1, web=0), at(3, web=1, database=1)], 5) == {WEB: 2, DATABASE: 0}
    assert exposure_s([], 5) == {}


STEPS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), min_size=1, max_size=8).map(sorted)


@given(STEPS, st.integers(0, 30))
def test_exposure_is_what_looking_every_second_counts(steps: list[tuple[int, int]], more_s: int) -> None:
    steps = [(steps[0][0], max(steps[0][1], 1)), *steps[1:]]
    until_s = steps[-1][0] + more_s
    timed = [at(at_s, web=count) for at_s, count in steps]

    def web_at(second: int) -> int:
        return [each.failures_tolerated[WEB] for each in timed if each.at_s <= second][-1]

    counted = sum(web_at(second) == 0 for second in range(steps[0][0], until_s))
    assert exposure_s(timed, until_s) == {WEB: counted}
