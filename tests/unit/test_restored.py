"""Since when nothing was missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.exposure import RedundancySample
from lab.checker.foreign_actions import Said
from lab.checker.recovery import TAKEN_BACK, Broken, Seen, is_short, restored_s, served_s
from lab.model.fault import FaultKind
from lab.model.topology import Tier
from tests.unit.helpers import arrival, bad, traffic

LOOKED_S = 12.5


def reserve(at_s: float, web: int, *idle: str) -> RedundancySample:
    return RedundancySample(at_s, {Tier.WEB: web}, {Tier.WEB: web + 1}, idle)


# web1 was killed at 2 s; another process started it at 6 s; the balancer used it from 6.4 s on. The lab healed at 12.3 s and looked at 12.5 s.
SEEN = Seen(
    looked_s=LOOKED_S,
    broken=[Broken("web1", FaultKind.KILL, 2.0)],
    said=[Said(2.1, "web1", "kill"), Said(2.1, "web1", "die"), Said(6.0, "web1", "start")],
    healed_s=12.3,
    arrivals=traffic(14.0, (2.0, 3.0)),
    deadline_s=1.0,
    views=[(-1.0, True), (2.2, False), (5.8, True)],
    samples=[reserve(-1.0, 1), reserve(2.3, 0, "web1"), reserve(6.4, 1)],
    calm_s=1.0,
)


def restored(**changes: Any) -> float:
    return restored_s(replace(SEEN, **changes))


def test_it_is_when_it_was_and_not_when_the_lab_looked() -> None:
    assert restored() == 6.4


def test_each_part_can_be_the_last() -> None:
    assert restored(views=[(-1.0, True), (2.2, False), (7.7, True)]) == 7.7
    assert restored(said=[*SEEN.said, Said(6.1, "web1", "die"), Said(8.0, "web1", "start")]) == 8.0
    assert restored(arrivals=traffic(14.0, (2.0, 9.0))) == pytest.approx(9.0, abs=0.05)


def test_a_break_in_between_is_no_restoration() -> None:
    assert restored(views=[(-1.0, True), (2.2, False), (5.0, True), (7.0, False), (8.0, True)]) == 8.0
    assert restored(samples=[reserve(-1.0, 1), reserve(6.4, 1), reserve(9.0, 0), reserve(9.5, 1)]) == 9.5


def test_a_tier_that_has_as_many_as_before_but_another_box_idle_is_not_restored() -> None:
    idle = [reserve(-1.0, 1), reserve(6.4, 1, "web3"), reserve(9.0, 1)]
    assert restored(samples=idle) == 9.0


UNKNOWN: list[dict[str, Any]] = [
    {"said": SEEN.said[:2]},  # no event says that the box was started
    {"views": []},
    {"views": [(-1.0, True), (2.2, False)]},
    {"samples": []},
    {"samples": [reserve(-1.0, 1), reserve(2.3, 0, "web1")]},
    {"calm_s": -5.0},  # what calm times were like is unknown
    {"arrivals": traffic(14.0, (2.0, 20.0))},
]


@pytest.mark.parametrize("changes", UNKNOWN)
def test_what_is_not_known_counts_from_the_look(changes: dict[str, Any]) -> None:
    assert restored(**changes) == LOOKED_S


def test_what_is_in_reserve_may_come_back_only_after_the_look() -> None:
    """The monitor calls a standby a candidate a while after it follows."""
    late = [reserve(-1.0, 1), reserve(2.3, 0, "web1"), reserve(6.4, 0), reserve(13.4, 1)]
    assert restored(samples=late) == 13.4
    assert not is_short(replace(SEEN, samples=late))
    assert is_short(replace(SEEN, samples=late[:-1]))
    # What is lost again after the look is another matter.
    lost_again = [reserve(-1.0, 1), reserve(2.3, 0, "web1"), reserve(6.4, 1), reserve(13.4, 0)]
    assert restored(samples=lost_again) == 6.4
    assert not is_short(replace(SEEN, samples=lost_again))


def test_without_observations_nothing_is_known_to_be_short() -> None:
    assert not is_short(replace(SEEN, samples=None))
    assert not is_short(replace(SEEN, samples=[]))


def test_without_calm_times_what_there_was_at_the_look_is_all_there_is() -> None:
    """A failback: what the operator healed was broken before the load began."""
    assert restored(calm_s=None, samples=[reserve(-1.0, 0, "web1"), reserve(6.4, 1)]) == 6.4


def test_what_is_not_observed_is_not_missing() -> None:
    assert restored(views=None, samples=None) == 6.0


@pytest.mark.parametrize("fault", TAKEN_BACK)
def test_a_fault_of_the_network_lasts_until_the_lab_takes_it_back(fault: FaultKind) -> None:
    quiet: dict[str, Any] = {"said": [], "views": None, "samples": None}
    assert restored(broken=[Broken("web1", fault, 2.0)], **quiet) == 12.3
    assert restored(broken=[Broken("web1", fault, 2.0)], healed_s=None, **quiet) == LOOKED_S


def test_a_crash_under_a_supervisor_ends_no_box() -> None:
    crashed = [Broken("web1", FaultKind.CRASH, 2.0)]
    assert restored(broken=crashed, said=[]) == 6.4
    assert restored(broken=crashed, said=[Said(2.1, "web1", "die")]) == LOOKED_S


def test_a_foreign_box_is_back_when_docker_calls_it_healthy() -> None:
    checked = {"broken": [Broken("web1", FaultKind.KILL, 2.0, is_checked=True)], "views": None, "samples": None}
    healthy = Said(8.5, "web1", "health_status: healthy")
    assert restored(said=[*SEEN.said, healthy], **checked) == 8.5
    assert restored(said=SEEN.said, **checked) == LOOKED_S
    assert restored(said=[*SEEN.said, replace(healthy, at_s=13.0)], **checked) == LOOKED_S


def test_a_read_that_is_answered_does_not_serve_who_writes() -> None:
    writes = [bad(2.0, kind="write"), arrival(2.5, took_s=0.9, kind="write")]
    reads = [bad(2.0), arrival(2.1), arrival(2.6)]
    assert served_s([*writes, *reads], 1.0, 10.0) == pytest.approx(3.4)
    assert served_s(reads, 1.0, 10.0) == pytest.approx(2.11)
    assert served_s([writes[0], *reads], 1.0, 10.0) is None
    assert served_s([], 1.0, 10.0) == 0.0


STATES = st.lists(st.tuples(st.floats(-2, 20), st.booleans()), max_size=8)


@given(STATES, STATES, st.floats(3, 20), st.lists(st.floats(0, 20), max_size=4))
def test_it_is_never_while_something_was_missing_and_after_the_look_only_where_a_tier_was_short(
    views: list[tuple[float, bool]], webs: list[tuple[float, bool]], looked_s: float, starts: list[float]
) -> None:
    said = [Said(at_s, "web1", "start") for at_s in starts]
    reserves = [reserve(-3.0, 1), *(reserve(at_s, int(well)) for at_s, well in sorted(webs))]
    found = restored(views=views, samples=reserves, looked_s=looked_s, said=said, calm_s=-2.5, arrivals=[])
    at_look = [each for each in reserves if each.at_s <= looked_s][-1]
    assert found <= looked_s or not at_look.failures_tolerated[Tier.WEB]
    missing = [at_s for at_s, well in views if not well] + [
        each.at_s for each in reserves if not each.failures_tolerated[Tier.WEB]
    ]
    assert not [at_s for at_s in missing if found < at_s <= looked_s] or found == looked_s
    assert found >= looked_s or all(at_s <= found for at_s in starts if 2.0 < at_s <= looked_s)
