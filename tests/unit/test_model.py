"""What the words of the lab can say of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.checker.phases import without_redundancy_s
from lab.checker.redundancy import is_redundant, promotable_standbys
from lab.model.experiment import Experiment, Operator
from lab.model.fault import FaultKind, Step
from lab.model.observation import ClusterView, DatabaseState
from lab.model.result import Outage
from lab.model.topology import ServiceSpec
from tests.unit.helpers import BALANCERS, automatic, replicated, result, stage, view


@pytest.mark.parametrize(
    ("seen", "by_hand", "by_monitor"),
    [
        (view(), 1, 1),
        # It follows, and no commit waits for it: what it has not received would be lost.
        (view(synchronous=0), 1, 0),
        (view(db2="unreachable", standbys=0, synchronous=0), 0, 0),
        # No database accepts writes, so there is nothing that a standby could take over.
        (view("sync_blocked", "unreachable", standbys=0, synchronous=0), 0, 0),
        (view("unreachable", "standby", standbys=0, synchronous=0), 0, 0),
        # Two primaries: neither is a spare for the other.
        (view("primary", "primary"), 0, 0),
    ],
)
def test_spare_is_who_could_take_over_without_loss(seen: ClusterView, by_hand: int, by_monitor: int) -> None:
    assert promotable_standbys(replicated(), seen) == by_hand
    assert promotable_standbys(automatic(), seen) == by_monitor


def test_redundant_when_every_standby_follows() -> None:
    assert is_redundant(automatic(), view())
    assert not is_redundant(automatic(), view(synchronous=0))
    assert is_redundant(replicated(), view(synchronous=0))
    three = automatic(databases={"db1": "", "db2": "", "db3": ""})
    assert not is_redundant(three, view())
    assert is_redundant(three, view(standbys=2, synchronous=2, databases={**view().databases, "db3": DatabaseState.STANDBY}))


@pytest.mark.parametrize(("durability", "waited_for"), [("region", 2), ("local", 1)])
def test_across_regions_redundant_when_all_follow_and_a_commit_waits_as_it_should(durability: str, waited_for: int) -> None:
    names = {"db1": "eu", "db2": "eu", "db3": "us", "db4": "us"}
    services = tuple(ServiceSpec(name, ("db",), {"lab.region": region}) for name, region in names.items())
    world = automatic(databases=dict.fromkeys(names, ""), services=services, durability=durability)
    assert world.regions == {"eu": ["db1", "db2"], "us": ["db3", "db4"]}
    others = dict.fromkeys(("db2", "db3", "db4"), DatabaseState.STANDBY)
    for count in range(4):
        seen = view(standbys=3, synchronous=count, databases={"db1": DatabaseState.PRIMARY, **others})
        assert is_redundant(world, seen) == (count == waited_for)
    assert not is_redundant(world, replace(seen, standbys=2, synchronous=waited_for))


def test_standby_that_has_frozen_is_no_spare_though_the_primary_still_counts_it() -> None:
    assert promotable_standbys(automatic(), view("primary", "unreachable")) == 0


@pytest.mark.parametrize(
    ("holders", "wire", "redundant"),
    [
        (("lb1",), "lb1", True),
        (("lb2",), "lb2", True),
        (("lb1", "lb2"), "lb1", False),
        ((), "", False),
        # It holds the address, and users reach the other one, or none.
        (("lb1",), "lb2", False),
        (("lb1",), "", False),
    ],
)
def test_redundant_when_the_one_holder_of_the_address_answers_there(holders: tuple[str, ...], wire: str, redundant: bool) -> None:
    seen = view(vip_claimants=holders, vip_owner=wire)
    assert is_redundant(automatic(balancers=BALANCERS), seen) is redundant
    # Where the address does not move, its owner is not observed.
    assert is_redundant(automatic(), seen)


def test_balancers_do_not_make_up_for_a_missing_standby() -> None:
    assert not is_redundant(automatic(balancers=BALANCERS), view(db2="unreachable", standbys=0, synchronous=0))


def test_watched_where_something_can_move() -> None:
    assert not stage().is_watched
    assert replicated().is_watched
    assert stage(balancers=BALANCERS).is_watched
    assert is_redundant(stage(balancers=BALANCERS), view())


def test_views_are_alike_whatever_the_time() -> None:
    assert view(clock_ns=5).is_like(view(clock_ns=7))
    for other in (view(db2="unreachable"), view(standbys=0), view(synchronous=0), view(vip_claimants=()), view(vip_owner="lb2")):
        assert not view().is_like(other)


def test_databases_by_their_state() -> None:
    assert view().named(DatabaseState.PRIMARY) == ["db1"]
    assert view("unreachable", "unreachable").named(DatabaseState.UNREACHABLE) == ["db1", "db2"]
    assert view().named(DatabaseState.SYNC_BLOCKED) == []


def time_to_redundancy_s(**phases: float) -> float | None:
    return replace(result(), phases=phases).time_to_redundancy_s


def test_rejoining_is_counted_from_the_healing() -> None:
    assert time_to_redundancy_s(inject_s=2.0, heal_s=8.0, redundancy_restored_s=12.0) == 4.0
    # Back before the lab healed: there was nothing to wait for.
    assert time_to_redundancy_s(inject_s=2.0, heal_s=8.0, redundancy_restored_s=7.5) == 0.0
    assert (
        time_to_redundancy_s(inject_s=2.0, redundancy_restored_s=5.0)
        is time_to_redundancy_s(inject_s=2.0, heal_s=8.0)
        is time_to_redundancy_s()
        is None
    )


def missing_s(*spans: tuple[float, float], censored: bool = False, **instants: float) -> float | None:
    return without_redundancy_s(instants, [Outage(start_s, end_s, censored) for start_s, end_s in spans])


def test_time_without_redundancy_is_that_in_which_users_were_served() -> None:
    assert missing_s((2.0, 3.0), inject_s=2.0, redundancy_restored_s=12.0) == 9.0
    assert missing_s((2.0, 3.0), (5.0, 6.5), (11.5, 13.0), inject_s=2.0, redundancy_restored_s=12.0) == 7.0
    assert missing_s(inject_s=2.0, redundancy_restored_s=12.0) == 10.0
    assert missing_s((1.5, 12.5), inject_s=2.0, redundancy_restored_s=12.0) == 0.0


def test_time_without_redundancy_is_unknown_where_an_end_was_not_seen() -> None:
    assert missing_s((2.0, 9.0), censored=True, inject_s=2.0, redundancy_restored_s=12.0) is None
    assert missing_s((2.0, 3.0), inject_s=2.0) is None
    assert missing_s() is None


def test_operator_alone_does_something_to_the_stage() -> None:
    nothing = Experiment("calm", "t", "q?", (Step(FaultKind.NONE, ""),), 2.0, 6.0, 1.5, ())
    assert not nothing.breaks
    assert replace(nothing, operator=Operator(0.0, "switchover")).breaks
    assert replace(nothing, steps=(Step(FaultKind.KILL, "web"),)).breaks


def test_not_redundant_while_the_balancer_in_reserve_does_not_serve() -> None:
    pair = automatic(balancers=BALANCERS)
    assert is_redundant(pair, view())
    assert not is_redundant(pair, view(serving=("lb1",)))
