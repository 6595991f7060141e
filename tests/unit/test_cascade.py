from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker import per_fault, redundancy
from lab.checker.redundancy import SystemState
from lab.checker.trial import measure_trial
from lab.model.history import Event
from lab.model.result import FaultImpact, Outage
from lab.model.topology import Stage, Tier
from lab.report import remarks
from lab.spec import experiments, stages
from tests.unit.helpers import EVENTS, SHORT, cluster_status_of, record, redundant_before, started

TWO = (Event(2.0, "inject", "kill db1"), redundant_before(8.0, restored=True), Event(8.25, "inject", "kill db2"))


def test_one_fault_is_no_cascade() -> None:
    assert per_fault.fault_impacts(EVENTS, [Outage(2.0, 3.0, False)]) == ()


def test_each_fault_has_the_outage_that_began_with_it() -> None:
    # Binary fractions: sums of them are exact.
    first, second = per_fault.fault_impacts(TWO, [Outage(1.75, 3.0, False), Outage(8.5, 12.0, True)])
    assert first == FaultImpact(2.0, "kill db1", None, 1.25, False)
    assert second == FaultImpact(8.25, "kill db2", True, 3.5, True)


def test_an_outage_that_was_open_when_the_next_fault_came_belongs_to_both() -> None:
    first, second = per_fault.fault_impacts((TWO[0], TWO[2]), [Outage(2.0, 12.0, False)])
    assert (first.downtime_s, first.censored) == (6.25, True)
    assert (second.downtime_s, second.censored) == (3.75, False)
    assert second.redundant_before is None


def test_a_look_is_about_the_fault_that_follows_it() -> None:
    events = [*TWO, redundant_before(20.0, restored=False), Event(20.1, "inject", "kill db1")]
    assert [each.redundant_before for each in per_fault.fault_impacts(events, [])] == [None, True, False]


INSTANTS = st.floats(0, 100, allow_nan=False)


@given(st.lists(INSTANTS, min_size=2, max_size=6, unique=True), st.lists(st.tuples(INSTANTS, INSTANTS), max_size=6))
def test_no_fault_costs_more_than_all_of_them_did(struck: list[float], spans: list[tuple[float, float]]) -> None:
    outages = [Outage(min(span), max(span), False) for span in spans]
    found = per_fault.fault_impacts([Event(at_s, "inject", f"at {at_s}") for at_s in struck], outages)
    assert [each.at_s for each in found] == sorted(struck)
    longest = max((each.length_s for each in outages), default=0.0)
    assert all(0 <= each.downtime_s <= longest for each in found)
    # Something is said of an outage that ended after the first fault.
    if any(each.end_s > min(struck) and each.length_s for each in outages):
        assert any(each.downtime_s for each in found)


def test_a_trial_says_what_each_fault_did() -> None:
    events = (*EVENTS[:2], redundant_before(3.9, restored=False), Event(4.0, "inject", "kill web2"), *EVENTS[2:])
    trial = measure_trial(
        record((4.0, 5.5), events=tuple(sorted(events, key=lambda event: event.at_s))), (SHORT,), has_fault=True
    )
    lines = remarks.fault_lines(trial.fault_impacts, 0.5)
    assert lines[0] == "fault 1 (kill web1): no user noticed: survived"
    assert lines[1].startswith("fault 2 (kill web2, before redundancy was restored): longest outage ≥ 1.0")
    assert lines[1].endswith("an outage")


# What the shipped experiments foresee, against the model of redundancy: under `none` nothing is mended between the two.


def settled(seen: SystemState, names: list[str]) -> list[SystemState]:
    return redundancy.outcomes(redundancy.lost(seen, names))


CASCADES = {
    "cascade-primary": (Tier.DATABASE, ("5",)),
    "cascade-balancers": (Tier.BALANCER, ("5",)),
    "cascade-web": (Tier.WEB, ("3", "5")),
}


@pytest.mark.parametrize("name", CASCADES)
def test_two_in_a_row_are_an_outage_where_only_one_is_in_reserve(name: str) -> None:
    tier, numbers = CASCADES[name]
    for stage in map(stages.find, numbers):
        seen = redundancy.system_state(stage, started(stage), cluster_status_of(stage))
        assert redundancy.failures_tolerated(seen)[tier] == 1
        assert experiments.find(name).expected_verdicts == {"none": "refuted", "restart": "held", "replace": "held"}


def calm(stage: Stage) -> SystemState:
    return redundancy.system_state(stage, started(stage), cluster_status_of(stage))


def test_without_its_monitor_no_standby_replaces_a_primary() -> None:
    seen = calm(stages.find("5"))
    [without] = settled(seen, ["monitor"])
    assert redundancy.failures_tolerated(without)[Tier.DATABASE] == 0
    assert experiments.find("monitor-then-primary").expected_verdicts["none"] == "refuted"


def test_after_a_zone_no_primary_can_be_spared() -> None:
    stage = stages.find("6")
    seen = calm(stage)
    zone = [spec.name for spec in stage.services if spec.labels.get("lab.zone") == "a"]
    after = settled(seen, zone)
    assert after
    expected_verdict = experiments.find("zone-then-primary").expected_verdicts["none"]
    survived = all(redundancy.failures_tolerated(way)[Tier.DATABASE] > 0 for way in after)
    assert expected_verdict == ("held" if survived else "refuted")


def test_outage_that_the_next_fault_cut_may_have_become_the_longest() -> None:
    """The first fault's second outage is cut after half a second, and was longer than its first one in the end."""
    events = [Event(0.0, "inject", "kill web1"), Event(3.0, "inject", "kill web2")]
    first, _ = per_fault.fault_impacts(events, [Outage(0.1, 1.1, censored=False), Outage(2.5, 6.0, censored=False)])
    assert (first.downtime_s, first.censored) == (1.0, True)
    assert remarks.fault_lines([first], 2.5)[0].endswith("unknown: the next fault came")
