"""From what was found to failures_tolerated, to events, to seconds with nothing in reserve."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.exposure import RedundancySample, as_event, causes, levels, measure, over_trials, period_s, read, replay
from lab.checker.redundancy import failures_tolerated, idle, system_state, working
from lab.checker.trial import measure_trial
from lab.model.history import Event
from lab.model.observation import Finding
from lab.model.result import TierExposure
from lab.model.topology import Stage, Tier
from lab.spec.stages import all_stages, find
from tests.unit.helpers import EVENTS, cluster_status_of, databases_seen, record, result, started

WEB, BALANCER, DATABASE, MONITOR, ZONE, REGION = Tier.WEB, Tier.BALANCER, Tier.DATABASE, Tier.MONITOR, Tier.ZONE, Tier.REGION
PAIR = find("5")
START_NS = 5_000_000_000
NODES = {"primary": {"promotable": False, "votes": False}, "secondary": {"promotable": True, "votes": True}}
DATA = {
    name: next(each for each in spec.addresses if each.startswith("198.18.2."))
    for spec in PAIR.services
    if (name := spec.name) in PAIR.databases
}


def ns(at_s: float) -> int:
    return START_NS + round(at_s * 1e9)


def said(at_s: float, kind: str, name: str, what: dict[str, Any] | None) -> Finding:
    return Finding(ns(at_s), kind, name, what)


def database(at_s: float, name: str, state: str, *followers: str) -> Finding:
    sent = [{"address": DATA[each], "streams": True, "synchronous": True} for each in followers]
    return said(at_s, "database", name, {"state": state, "followers": sent})


def monitor(at_s: float, **states: str) -> Finding:
    nodes = {
        name: {"state": state, "healthy": True, **NODES.get(state, {"promotable": False, "votes": False})}
        for name, state in states.items()
    }
    return said(at_s, "monitor", "monitor", {"needed": 0, "nodes": nodes})


def statistics(at_s: float, name: str, **used: bool) -> Finding:
    return said(at_s, "statistics", name, used or None)


def balancer(at_s: float, name: str, answers: bool = True, holds: bool = False) -> Finding:
    return said(at_s, "balancer", name, {"answers": answers, "holds": holds})


WHOLE = [
    database(-0.5, "db1", "primary", "db2"),
    database(-0.5, "db2", "standby"),
    monitor(-0.4, db1="primary", db2="secondary"),
    *(statistics(-0.4, name, web1=True, web2=True) for name in ("lb1", "lb2")),
    balancer(-0.4, "lb1", holds=True),
    balancer(-0.3, "lb2"),
]
CALM = {BALANCER: 1, WEB: 1, DATABASE: 1, MONITOR: 1}


def replayed(*more: Finding, of: Stage = PAIR) -> list[RedundancySample]:
    return replay(of, [*WHOLE, *more], START_NS)


def margins_at(seen: list[RedundancySample], at_s: float) -> dict[Tier, int]:
    return [each.failures_tolerated for each in seen if each.at_s <= at_s][-1]


# From what was found to margins


def test_nothing_is_said_until_everybody_was_heard() -> None:
    [whole] = replayed()
    assert (whole.at_s, whole.failures_tolerated, whole.idle) == (-0.3, CALM, ())
    assert whole.working == {BALANCER: 2, WEB: 2, DATABASE: 2, MONITOR: 1}
    assert replay(PAIR, WHOLE[:-1], START_NS) == []


def test_what_changes_no_margin_is_not_said_again() -> None:
    assert len(replayed(database(1, "db1", "primary", "db2"), monitor(2, db1="primary", db2="secondary"))) == 1


def test_primary_that_dies_leaves_nothing_in_reserve_until_its_box_follows_and_may_be_promoted() -> None:
    seen = replayed(
        database(2.0, "db1", "unreachable"),
        monitor(2.4, db1="primary", db2="prepare_promotion"),
        database(2.6, "db2", "primary"),
        monitor(2.7, db1="demoted", db2="wait_primary"),
        database(8.0, "db1", "standby"),
        monitor(8.1, db1="catchingup", db2="wait_primary"),
        database(9.0, "db2", "primary", "db1"),
        monitor(9.5, db1="secondary", db2="primary"),
    )
    by_database = [(each.at_s, each.failures_tolerated[DATABASE]) for each in seen]
    assert (-0.3, 1) in by_database
    assert {count for at_s, count in by_database if 2.0 <= at_s < 9.5} == {0}
    assert by_database[-1] == (9.5, 1)
    assert next(each.idle for each in seen if each.at_s == 2.0) == ("db1",)
    # No other tier loses redundancy while the other one takes over.
    assert all(each.failures_tolerated[WEB] == each.failures_tolerated[BALANCER] == 1 for each in seen)


def test_follower_that_the_monitor_would_not_promote_is_no_reserve() -> None:
    seen = replayed(monitor(3, db1="primary", db2="catchingup"), monitor(4, db1="primary", db2="secondary"))
    assert [margins_at(seen, at_s)[DATABASE] for at_s in (2, 3, 4)] == [1, 0, 1]


def test_web_box_that_one_balancer_gives_up_is_no_reserve_there() -> None:
    """Which balancer users come to next is not known, and so the worse one counts."""
    seen = replayed(statistics(3, "lb1", web1=True, web2=False), statistics(4, "lb1", web1=True, web2=True))
    assert [margins_at(seen, at_s)[WEB] for at_s in (2, 3, 4)] == [1, 0, 1]


def test_balancer_that_falls_silent_leaves_the_other_one_alone() -> None:
    seen = replayed(
        balancer(3, "lb1", answers=False),
        balancer(3.2, "lb2", holds=True),
        statistics(3, "lb1"),
        balancer(7, "lb1"),
        statistics(7, "lb1", web1=True, web2=True),
    )
    assert [margins_at(seen, at_s)[BALANCER] for at_s in (2, 3.2, 7)] == [1, 0, 1]


def test_without_its_monitor_neither_it_nor_the_databases_have_anything_in_reserve() -> None:
    seen = replayed(said(3, "monitor", "monitor", None))
    assert (margins_at(seen, 3)[DATABASE], margins_at(seen, 3)[MONITOR]) == (0, 0)
    assert seen[-1].working[MONITOR] == 0


def test_what_was_known_late_counts_from_when_it_was_so() -> None:
    """A silence is known half a second after it began; what another box said meanwhile was said in it."""
    told_first = [statistics(2.3, "lb1", web1=True, web2=False), database(2.0, "db1", "unreachable")]
    assert [each.at_s for each in replayed(*told_first)] == [-0.3, 2.0, 2.3]
    assert replayed(*told_first) == replayed(*reversed(told_first))


def test_a_replica_at_an_address_that_is_no_box_does_not_count() -> None:
    strange = {"address": "198.18.2.99", "streams": True, "synchronous": True}
    assert margins_at(replayed(said(1, "database", "db1", {"state": "primary", "followers": [strange]})), 1)[DATABASE] == 0


def heard(of: Stage) -> list[Finding]:
    """What everybody says of a stage that is whole."""
    cluster_status = cluster_status_of(of)
    at = {spec.name: spec.addresses[0] for spec in of.services if spec.addresses}
    followers = [
        {"address": at[name], "streams": copy.streams, "synchronous": copy.synchronous}
        for name, copy in cluster_status.replicas.items()
    ]
    states = {name: cluster_status.view.databases[name].value for name in of.databases}
    nodes = {
        name: {"state": each.state, "healthy": each.is_healthy, "promotable": each.is_promotable, "votes": each.votes}
        for name, each in (cluster_status.node_states or {}).items()
    }
    return [
        *(
            said(0, "database", name, {"state": state, "followers": followers if state == "primary" else []})
            for name, state in states.items()
        ),
        *(said(0, "statistics", name, dict(used)) for name, used in cluster_status.backends.items()),
        *(balancer(0, name, holds=name in cluster_status.view.vip_claimants) for name in of.balancers),
        said(0, "route", "route", {"name": "".join(cluster_status.view.vip_claimants)}),
        said(
            0,
            "monitor",
            "monitor",
            {"needed": cluster_status.acknowledgers, "nodes": nodes} if cluster_status.node_states else None,
        ),
    ]


@pytest.mark.parametrize("of", all_stages(), ids=lambda stage: stage.project)
def test_stage_that_is_whole_has_the_margins_that_its_map_shows(of: Stage) -> None:
    whole = system_state(of, started(of), cluster_status_of(of))
    assert replay(of, heard(of), START_NS) == [
        RedundancySample(0.0, failures_tolerated(whole), working(whole), tuple(sorted(idle(whole))))
    ]
    assert idle(whole) == frozenset()


@pytest.mark.parametrize("of", [find("1"), find("2")], ids=lambda stage: stage.project)
def test_stage_without_a_balancer_tolerates_no_failure_and_no_box_is_asked(of: Stage) -> None:
    [only] = replay(of, [], START_NS)
    assert only.failures_tolerated == {WEB: 0, DATABASE: 0}


def test_only_database_that_is_silent_takes_the_service_and_with_it_every_reserve() -> None:
    alone = find("3")
    seen = replay(alone, [*heard(alone), said(2, "database", "db", {"state": "unreachable", "followers": []})], START_NS)
    assert [each.failures_tolerated for each in seen] == [{BALANCER: 0, WEB: 1, DATABASE: 0}, {BALANCER: 0, WEB: 0, DATABASE: 0}]


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from([
            database(0, "db1", "unreachable"), database(0, "db1", "primary"), database(0, "db1", "standby"), database(0, "db2", "primary", "db1"),
            database(0, "db2", "unreachable"), monitor(0, db1="secondary", db2="primary"), said(0, "monitor", "monitor", None), *WHOLE,
            statistics(0, "lb1"), statistics(0, "lb2", web1=True, web2=False), balancer(0, "lb1", answers=False), balancer(0, "lb2", holds=True),
        ]),
    ),
    max_size=12,
)  # fmt: skip


@given(CHANGES)
def test_whatever_is_said_every_reserve_is_that_of_what_was_last_said_of_each(changes: list[tuple[int, Finding]]) -> None:
    later = [replace(finding, at_ns=ns(at_s)) for at_s, finding in changes]
    seen = replayed(*later)
    assert [each.at_s for each in seen] == sorted({each.at_s for each in seen})
    assert all(not one.is_like(other) for one, other in pairwise(seen))
    last = {(each.kind, each.name): each for each in sorted([*WHOLE, *later], key=lambda each: each.at_ns)}
    [at_once] = replay(PAIR, [replace(each, at_ns=ns(0)) for each in last.values()], START_NS)
    assert at_once.is_like(seen[-1])
    assert all(
        each.failures_tolerated[tier] <= max(each.working[tier] - 1, 0) or tier is MONITOR
        for each in seen
        for tier in each.failures_tolerated
    )


# Events

COUNTS = st.dictionaries(st.sampled_from(Tier), st.tuples(st.integers(0, 20), st.integers(0, 20)))
RESERVES = st.builds(
    lambda at_ms, counts, names: RedundancySample(
        at_ms / 1000, {tier: each[0] for tier, each in counts.items()}, {tier: each[1] for tier, each in counts.items()}, tuple(sorted(names))
    ),
    st.integers(-500, 60_000),
    COUNTS,
    st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), max_size=4),
)  # fmt: skip


@given(st.lists(RESERVES, max_size=6, unique_by=lambda each: each.at_s))
def test_what_stands_in_the_journal_is_read_again(seen: list[RedundancySample]) -> None:
    events = [as_event(each, 0.1) for each in seen]
    assert read(events) == sorted(seen, key=lambda each: each.at_s)
    assert period_s(events) == (0.1 if seen else None)


def test_words_of_an_event_are_no_redundancy() -> None:
    events = [Event(1.0, "redundancy", "web=0/1 database=0/1 without=- period_s=0.1"), Event(3.0, "stop")]
    assert read(events) == []
    assert measure(events, 0.0, 3.0) == ()
    assert period_s(events) is None


# Figures


def event(at_s: float, **counts: int) -> Event:
    """Of two boxes each, as many at work as the margin needs."""
    of = {Tier(name): margin for name, margin in counts.items()}
    return as_event(RedundancySample(at_s, of, {tier: margin + 1 for tier, margin in of.items()}), 0.1)


def exposures(*events: Event, since_s: float | None = 2.0, until_s: float | None = 10.0) -> dict[str, TierExposure]:
    return {each.tier: each for each in measure(events, since_s, until_s)}


def test_exposure_is_the_time_without_a_margin_from_the_fault_on() -> None:
    found = exposures(event(-0.2, web=1, database=1), event(3, web=1, database=0), event(7.5, web=1, database=1))
    assert found["database"] == TierExposure(
        "database", boxes=2, working=1, failures_tolerated=1, without_redundancy_s=4.5, spans=((3.0, 7.5),)
    )
    assert found["web"] == TierExposure("web", boxes=2, working=2, failures_tolerated=1, without_redundancy_s=0.0)


def test_what_was_missing_before_the_fault_counts_only_from_there() -> None:
    found = exposures(event(0, web=0), event(5, web=1), since_s=2.0)
    assert found["web"].spans == ((2.0, 5.0),)
    assert exposures(event(0, web=0), event(5, web=1), since_s=None)["web"].without_redundancy_s == 5.0


def test_tier_that_never_had_any_reserve_lost_none() -> None:
    found = exposures(event(0, web=1, balancer=0), event(3, web=0, balancer=0), event(4, web=1, balancer=0))
    assert (found["balancer"].without_redundancy_s, found["balancer"].spans, found["balancer"].failures_tolerated) == (
        None,
        (),
        0,
    )


def test_reserve_that_is_not_back_when_the_load_ends_is_a_lower_bound() -> None:
    found = exposures(event(0, web=1, database=1), event(4, web=0, database=0), event(5, web=1, database=0))
    assert (found["database"].without_redundancy_s, found["database"].censored) == (6.0, True)
    assert (found["web"].without_redundancy_s, found["web"].censored) == (1.0, False)


def test_what_was_left_is_what_there_was_for_most_of_the_time_and_not_in_passing() -> None:
    at_work = ((0, 1, 2), (3, 0, 1), (3.2, 0, 0), (3.3, 0, 1), (8, 0, 0), (8.1, 0, 2), (9, 1, 2))
    events = [as_event(RedundancySample(at_s, {DATABASE: margin}, {DATABASE: boxes}), 0.1) for at_s, margin, boxes in at_work]
    assert exposures(*events)["database"].working == 1
    in_passing = ((0, 1, 2), (3, 0, 0), (3.1, 0, 1), (3.2, 0, 0), (3.3, 0, 2), (5, 1, 2))
    events = [as_event(RedundancySample(at_s, {DATABASE: margin}, {DATABASE: boxes}), 0.1) for at_s, margin, boxes in in_passing]
    assert exposures(*events)["database"].working == 2


def test_spans_that_meet_are_one() -> None:
    found = exposures(
        event(0, web=1, database=1), event(3, web=0, database=1), event(4, web=0, database=0), event(6, web=1, database=1)
    )
    assert found["web"].spans == ((3.0, 6.0),)


@pytest.mark.parametrize("events", [(), (databases_seen(0.0, 1, db1="primary"), *EVENTS)])
def test_journal_from_before_exposure_was_observed_has_none(events: tuple[Event, ...]) -> None:
    whole = measure_trial(record(events=events or EVENTS), (), has_fault=True)
    assert (whole.exposure, whole.exposure_period_s) == ((), None)
    assert over_trials([whole]) == ()


def test_trial_that_was_broken_off_has_none() -> None:
    assert exposures(event(0, web=1), until_s=None) == {}


def test_trial_has_its_exposure() -> None:
    reserves = (event(-0.5, web=1), event(2.1, web=0), event(5.4, web=1))
    whole = measure_trial(record(events=(*EVENTS, *reserves)), (), has_fault=True)
    [web] = whole.exposure
    assert web.without_redundancy_s == pytest.approx(3.3)
    assert whole.exposure_period_s == 0.1


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=8, unique_by=lambda step: step[0]).map(
    sorted
)


@given(STEPS, st.integers(0, 20), st.integers(0, 20))
def test_exposure_is_what_looking_every_second_counts(steps: list[tuple[int, int]], since_s: int, more_s: int) -> None:
    until_s = since_s + more_s
    found = measure([event(at_s, web=margin) for at_s, margin in steps], float(since_s), float(until_s))

    def margin_at(second: int) -> int | None:
        return next((margin for at_s, margin in reversed(steps) if at_s <= second), None)

    if not any(margin for _, margin in steps):
        assert found[0].without_redundancy_s is None
    else:
        assert found[0].without_redundancy_s == sum(margin_at(second) == 0 for second in range(since_s, until_s))
        assert found[0].censored == (more_s > 0 and margin_at(until_s - 1) == 0)


def tier(name: str, exposed_s: float | None, left: int = 1, **changes: Any) -> TierExposure:
    return replace(TierExposure(name, 2, left, 1, exposed_s), **changes)


def test_tiers_over_the_valid_trials() -> None:
    trials = [
        result(exposure=(tier("web", seconds, censored=seconds == 4), tier("database", 0.0, left=2)))
        for seconds in (4.0, 2.0, 9.0)
    ]
    trials.append(result(exposure=(tier("web", 90.0),), valid=False))
    database_, web = sorted(over_trials(trials), key=lambda each: each.tier)
    assert (web.without_redundancy_s, web.least_s, web.most_s, web.censored, web.working) == (4.0, 2.0, 9.0, True, 1)
    assert (database_.without_redundancy_s, database_.working) == (0.0, 2)
    assert over_trials([result(exposure=(tier("balancer", None),))])[0].without_redundancy_s is None


@pytest.mark.parametrize(
    ("fewer", "cause"),
    [
        ((), []),
        (("web",), ["web"]),
        (("web", "database"), ["web", "database"]),
        (("web", "zone", "database"), ["zone"]),
        (("zone", "region"), ["region"]),
    ],
)
def test_what_failed_is_what_there_was_less_of_and_a_place_stands_for_all_in_it(fewer: tuple[str, ...], cause: list[str]) -> None:
    names = ("web", "database", "zone", "region")
    found = over_trials([result(exposure=tuple(tier(name, 3.0, left=1 if name in fewer else 2) for name in names))])
    assert [each.tier for each in causes(found)] == cause


def test_levels_are_those_of_tiers_that_ever_have_any() -> None:
    events = [
        event(-0.5, web=2, balancer=0),
        event(3, web=0, balancer=0),
        event(4, web=0, balancer=0),
        event(5, web=1, balancer=0),
    ]
    assert levels(events, 8.0) == [("web", 0.0, 3.0, 2), ("web", 3.0, 5.0, 0), ("web", 5.0, 8.0, 1)]
