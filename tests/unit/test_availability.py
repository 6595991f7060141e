from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import comb, inf
from statistics import median
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.analysis.summary import median_interval, sample_median, summarise
from lab.checker.latency import latencies, quantile
from lab.checker.outages import QUIET_S, find_outages, share
from lab.checker.phases import owner_seconds, phases, seconds_without_and_with_several, taken_over_at, writable_seconds
from lab.checker.trial import measure_trial
from lab.checker.validity import generator_report, validity
from lab.checker.verdict import decide, measured
from lab.model.history import Arrival, Event, GeneratorReport
from lab.model.measures import MEASURES, Check, Expectation, Measured, Outcome, Verdict
from lab.model.observation import DatabaseState
from lab.model.payloads import DatabasesSeen
from lab.model.result import RequestCount, TrialResult
from lab.report.bins import bins
from tests.unit.helpers import (
    EVENTS,
    NONE_LOST,
    SHORT,
    arrival,
    bad,
    databases_seen,
    record,
    result,
    spans,
    traffic,
    vip_seen,
    write,
)

DEADLINE_S = 1.0
TICK_S = 1 / 64  # times are whole ticks, so that sums are exact


@st.composite
def arrival_lists(draw: st.DrawFn) -> list[Arrival]:
    """Arrivals in order, good and bad in stretches, some late."""
    at_tick, found = 0, []
    stretch = st.tuples(st.integers(1, 25), st.booleans(), st.integers(1, 20), st.sampled_from([0, 1, 40, 64, 65, 100]))
    for count, good, gap, took in draw(st.lists(stretch, max_size=12)):
        for _ in range(count):
            at_tick += gap
            at_s, took_s = at_tick * TICK_S, took * TICK_S
            found.append(arrival(at_s, took_s) if good else bad(at_s))
    return found


def test_no_failure_is_no_outage() -> None:
    assert find_outages(traffic(5.0), DEADLINE_S) == ()
    assert find_outages([], DEADLINE_S) == ()


def test_outage_from_first_failure_to_first_good_answer() -> None:
    assert spans(find_outages(traffic(6.0, (2.0, 3.0)), DEADLINE_S)) == [(2.0, 3.01, False)]


def test_outage_of_a_single_request() -> None:
    assert spans(find_outages(traffic(6.0, (2.0, 2.001)), DEADLINE_S)) == [(2.0, round(2 + 1 / 128 + 0.01, 3), False)]


def test_two_outages_when_a_second_and_ten_good_arrivals_lie_between() -> None:
    found = find_outages(traffic(6.0, (1.0, 1.5), (2.75, 3.0)), DEADLINE_S)
    assert spans(found) == [(1.0, 1.51, False), (2.75, 3.01, False)]


@pytest.mark.parametrize(("again_s", "outages"), [(2.5, 2), (2.5 - 1 / 128, 1)])
def test_second_of_good_arrivals_is_a_whole_one(again_s: float, outages: int) -> None:
    assert len(find_outages(traffic(6.0, (1.0, 1.5), (again_s, 3.0)), DEADLINE_S)) == outages


def test_flapping_is_one_outage() -> None:
    assert spans(find_outages(traffic(6.0, (1.0, 1.5), (2.25, 2.5), (3.25, 3.5)), DEADLINE_S)) == [(1.0, 3.51, False)]


@pytest.mark.parametrize(("rate_per_s", "outages"), [(4.0, 1), (8.0, 2)])
def test_few_arrivals_do_not_end_an_outage(rate_per_s: float, outages: int) -> None:
    """Two good seconds hold 8 arrivals at 4/s, which say less than the 16 at 8/s."""
    assert len(find_outages(traffic(12.0, (1.0, 2.0), (4.0, 5.0), rate_per_s=rate_per_s), DEADLINE_S)) == outages


def test_healing_censors_what_it_ends() -> None:
    arrivals = traffic(8.0, (2.0, 6.0))
    assert spans(find_outages(arrivals, DEADLINE_S, cuts_s=(5.0,))) == [(2.0, 5.0, True)]


def test_healing_does_not_censor_what_had_ended_or_came_later() -> None:
    arrivals = traffic(9.0, (2.0, 3.0), (6.0, 6.5))
    assert spans(find_outages(arrivals, DEADLINE_S, cuts_s=(5.0,))) == [(2.0, 3.01, False), (6.0, 6.51, False)]


def test_end_of_load_censors_an_open_outage() -> None:
    arrivals = traffic(4.0, (2.0, 9.0))
    assert spans(find_outages(arrivals, DEADLINE_S, stopped_at_s=4.125)) == [(2.0, 4.125, True)]
    assert spans(find_outages(arrivals, DEADLINE_S)) == [(2.0, round(4 - 1 / 128, 3), True)]


def test_good_answers_too_few_to_end_an_outage_leave_it_censored() -> None:
    (outage,) = find_outages(traffic(4.0, (2.0, 3.5)), DEADLINE_S, stopped_at_s=4.0)
    assert outage.censored
    assert 3.5 <= outage.end_s <= 4.0


def test_frozen_server_is_gone_until_the_thaw() -> None:
    """A request of less than a deadline before the thaw is answered in time, at the thaw; none was answered before."""
    frozen = [replace(each, done_s=4.0) if 2.0 <= each.at_s < 4.0 else each for each in traffic(7.0)]
    assert spans(find_outages(frozen, DEADLINE_S)) == [(2.0, 4.0, False)]


def test_answer_at_the_deadline_is_good_and_after_it_is_not() -> None:
    assert find_outages([arrival(1.0, took_s=1.0)], DEADLINE_S) == ()
    assert len(find_outages([arrival(1.0, took_s=1.0 + TICK_S)], DEADLINE_S)) == 1


@given(arrival_lists())
def test_outages_are_ordered_and_disjoint(arrivals: list[Arrival]) -> None:
    outages = find_outages(arrivals, DEADLINE_S)
    assert all(outage.start_s <= outage.end_s for outage in outages)
    assert all(before.end_s <= after.start_s for before, after in pairwise(outages))


@given(arrival_lists())
def test_every_bad_arrival_lies_in_the_outage_that_began_last(arrivals: list[Arrival]) -> None:
    outages = find_outages(arrivals, DEADLINE_S)
    bad_at = [each.at_s for each in arrivals if not each.is_good(DEADLINE_S)]
    assert {outage.start_s for outage in outages} <= set(bad_at)
    assert bool(outages) == bool(bad_at)
    for at_s in bad_at:
        begun = [outage for outage in outages if outage.start_s <= at_s]
        assert begun[-1].end_s >= at_s
        assert all(outage.end_s <= at_s for outage in begun[:-1])


@given(arrival_lists())
def test_outages_are_a_quiet_second_apart(arrivals: list[Arrival]) -> None:
    outages = find_outages(arrivals, DEADLINE_S)
    for before, after in pairwise(outages):
        last_bad_s = max(each.at_s for each in arrivals if not each.is_good(DEADLINE_S) and each.at_s < after.start_s)
        between = [each for each in arrivals if last_bad_s < each.at_s < after.start_s]
        assert len(between) >= 10
        assert after.start_s - between[0].at_s >= QUIET_S
        assert before.end_s >= between[0].at_s


@given(arrival_lists(), st.integers(0, 1000))
def test_shifted_arrivals_shift_the_outages(arrivals: list[Arrival], ticks: int) -> None:
    by = ticks * TICK_S
    shifted = [replace(each, at_s=each.at_s + by, done_s=each.done_s + by) for each in arrivals]
    expected = [replace(each, start_s=each.start_s + by, end_s=each.end_s + by) for each in find_outages(arrivals, DEADLINE_S)]
    assert list(find_outages(shifted, DEADLINE_S)) == expected


@given(arrival_lists(), st.integers(0, 3000))
def test_healing_only_shortens_and_marks(arrivals: list[Arrival], ticks: int) -> None:
    healed_at_s = ticks * TICK_S
    for free, cut in zip(find_outages(arrivals, DEADLINE_S), find_outages(arrivals, DEADLINE_S, (healed_at_s,)), strict=True):
        inside = free.start_s < healed_at_s < free.end_s
        assert cut == (replace(free, end_s=healed_at_s, censored=True) if inside else free)


def test_share_counts_good_in_time() -> None:
    assert share([arrival(0), arrival(1, took_s=2), bad(2), arrival(3)], DEADLINE_S) == RequestCount(intended=4, good=2)
    assert share([arrival(0), bad(1)], DEADLINE_S).ratio == 0.5
    assert share([], DEADLINE_S).ratio == 1.0


def test_quantile_is_nearest_rank() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [quantile(values, q) for q in (0.0, 0.2, 0.21, 0.5, 0.99, 1.0)] == [1, 1, 2, 3, 5, 5]
    assert quantile([], 0.5) == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.integers(1, 100))
def test_quantile_is_a_value_with_enough_at_or_below_it(values: list[float], percent: int) -> None:
    found = quantile(values, percent / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values) + 1e-6


def good_generator(**changes: Any) -> GeneratorReport:
    report = GeneratorReport(intended=100, recorded=100, lag_p99_ms=25.0, lag_max_ms=100.0, cpu_ratio=0.70)
    return replace(report, **changes)


def test_measurement_at_every_limit_is_valid() -> None:
    assert validity(good_generator(), kept=100) == []


@pytest.mark.parametrize(
    ("changes", "kept", "said"),
    [
        ({"lag_p99_ms": 25.1}, 100, "p99"),
        ({"lag_max_ms": 100.1}, 100, "at most 100 ms"),
        ({"cpu_ratio": 0.71}, 100, "71%"),
        ({"recorded": 99}, 100, "99 recorded"),
        ({}, 99, "99 kept"),
        ({"intended": 0, "recorded": 0}, 0, "no request"),
    ],
)
def test_measurement_beyond_a_limit_is_not_valid(changes: dict[str, Any], kept: int, said: str) -> None:
    (reason,) = validity(good_generator(**changes), kept)
    assert said in reason


def test_generator_report_from_arrivals() -> None:
    arrivals = [arrival(at, lag_s=0.001) for at in range(98)] + [arrival(98, lag_s=0.02), arrival(99, lag_s=0.09)]
    report = generator_report(arrivals, 100, 100, 0.1)
    assert report.lag_p99_ms == pytest.approx(20)
    assert report.lag_max_ms == pytest.approx(90)
    assert generator_report([], 0, 0, 0.0).lag_max_ms == 0.0


def test_median_interval_of_five_is_the_extremes_and_says_that_they_cover_less() -> None:
    assert median_interval([3, 1, 2, 5, 4]) == (1, 5, 0.9375)


def test_median_interval_of_ten_is_second_and_ninth() -> None:
    assert median_interval(list(range(1, 11))) == (2, 9, 0.978515625)


def test_median_interval_of_one() -> None:
    assert median_interval([7.0]) == (7.0, 7.0, 0.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60, unique=True))
def test_median_interval_holds_the_median_and_is_the_narrowest_that_covers(values: list[float]) -> None:
    low, high, coverage = median_interval(values)
    count, ordered = len(values), sorted(values)
    assert low <= median(values) <= high
    k = ordered.index(low) + 1
    assert ordered.index(high) == count - k

    def covered(k: int) -> float:
        """P(at least k and at most n - k of n values lie below the median)."""
        return float(sum(comb(count, below) for below in range(k, count - k + 1)) / 2**count)

    assert coverage == pytest.approx(covered(k))
    if count >= 6:
        assert coverage >= 0.95
        assert covered(k + 1) < 0.95


def test_measured_trial_has_every_figure() -> None:
    trial = result((2.0, 3.0))
    assert trial.valid
    assert trial.reasons == ()
    assert (trial.total.intended, trial.total.good) == (7 * 128, 6 * 128)
    assert (trial.writes.intended, trial.writes.good) == (7 * 32, 6 * 32)
    assert (trial.reads.intended, trial.reads.good) == (7 * 96, 6 * 96)
    # The first read after the outage was intended a little later than the first write.
    assert spans(trial.write_outages) == [(2.0, 3.01, False)]
    assert spans(trial.read_outages) == [(2.008, 3.018, False)]
    assert spans(trial.outages) == [(2.0, 3.018, False)]
    assert trial.errors == {"reset": 128}
    assert trial.served_by == {"web1": 6 * 128}
    assert trial.audit.lost == 0
    assert [str(check) for check in trial.failures] == ["downtime_longest_s at most 1: was 1.02"]


def test_late_answers_are_counted_as_late() -> None:
    arrivals = tuple(replace(each, done_s=each.at_s + 2) if each.at_s == 3.0 else each for each in traffic(7.0))
    assert measure_trial(record(arrivals=arrivals), [], has_fault=True).errors == {"late": 1}


def test_reads_that_fail_are_no_write_outage() -> None:
    arrivals = tuple(
        bad(each.at_s, number=each.number) if 2 <= each.at_s < 3 and each.kind == "read" else each for each in traffic(7)
    )
    trial = measure_trial(record(arrivals=arrivals), [], has_fault=True)
    assert trial.write_outages == ()
    assert len(trial.read_outages) == len(trial.outages) == 1


def test_fault_that_did_not_bite_makes_a_trial_invalid() -> None:
    for events in (
        [event for event in EVENTS if event.name != "fault-verified"],
        [*EVENTS, Event(2.2, "fault-unverified", "web2 is running")],
    ):
        trial = measure_trial(record(events=tuple(events)), [], has_fault=True)
        assert not trial.verified
        assert not trial.valid
        assert trial.reasons == ("the fault was not verified",)


def test_trial_without_a_fault_needs_no_bite() -> None:
    trial = measure_trial(record(events=(Event(7.0, "stop"),)), [], has_fault=False)
    assert trial.valid
    assert trial.verified


def test_trial_that_ended_before_its_fault_is_invalid() -> None:
    trial = measure_trial(record(events=()), [], has_fault=True)
    assert "the trial ended before the fault" in trial.reasons


def test_failures_before_the_fault_make_a_trial_invalid() -> None:
    assert result((0.5, 0.6)).reasons == ("requests failed before the fault",)


@pytest.mark.parametrize(
    ("asked_s", "took_s", "valid"),
    [(1.5, 0.51, True), (1.5, 0.49, False), (1.99, 0.005, False), (1.01, 9.0, True), (0.99, 9.0, False)],
)
def test_requests_under_way_when_the_fault_came_are_not_before_it(asked_s: float, took_s: float, valid: bool) -> None:
    arrivals = (*record().arrivals, bad(asked_s, number=9_999, done_s=asked_s + took_s))
    trial = measure_trial(record(arrivals=arrivals, generator=generator_report(arrivals, 897, 897, 0.2)), [], has_fault=True)
    assert trial.valid is valid, trial.reasons


def test_unreadable_database_makes_a_trial_invalid() -> None:
    trial = measure_trial(record(final_orders={"db": None}), [NONE_LOST], has_fault=True)
    assert trial.reasons == ("it cannot be said what was lost: db could not be read",)
    assert trial.failures == ()
    assert [str(check) for check in trial.undecided] == ["writes_lost at most 0: was unknown"]


def test_trial_that_was_not_observed_to_the_end_is_not_valid() -> None:
    trial = measure_trial(record(events=(*EVENTS, Event(6.0, "blind", "the observer has gone silent"))), [], has_fault=True)
    assert trial.reasons == ("the databases and the address were not watched until the end",)


def test_late_generator_makes_a_trial_invalid() -> None:
    trial = measure_trial(record(generator=good_generator(intended=896, recorded=896, lag_max_ms=500)), [], has_fault=True)
    assert not trial.valid


def test_notes_are_kept() -> None:
    events = (*EVENTS, Event(3.0, "note", "db: die, not by this run"))
    assert measure_trial(record(events=events), [], has_fault=True).notes == ("3.00 s: db: die, not by this run",)


def value_of(trial: TrialResult, measure: str) -> float | None:
    """A measure that is known exactly, or None."""
    found = measured(trial, measure)
    assert found is None or found.is_exact, found
    return found.low if found else None


def test_every_measure_can_be_read_from_a_trial() -> None:
    trial = result((2.0, 3.0))
    values = {name: value_of(trial, name) for name in MEASURES}
    assert values["downtime_longest_s"] == values["downtime_total_s"] == pytest.approx(1.01 + 1 / 128)
    assert values["availability_ratio"] == values["reads_availability_ratio"] == pytest.approx(6 / 7)
    assert (values["reads_failed"], values["writes_failed"]) == (96, 32)
    assert values["writes_lost"] == values["writes_unexpected"] == values["writes_duplicate"] == 0
    assert values["reads_downtime_longest_s"] == values["writes_downtime_longest_s"] == pytest.approx(1.01, abs=0.01)
    assert values["outages"] == 1
    # Broken at 2 s, served again at 3.01 s, healed at 5 s, whole again at 5.5 s.
    assert values["time_without_redundancy_s"] == pytest.approx(2.49 - 1 / 128)
    assert values["time_to_redundancy_s"] == pytest.approx(0.5)
    # Outage and gap are the same but for what the load's spacing adds.
    assert values["gap_s"] == pytest.approx(1.01 + 1 / 32, abs=1 / 32)
    assert values["unserved_s"] == pytest.approx(128 / 100)
    assert values["fault_availability_ratio"] == pytest.approx(2 / 3)
    # Not observed: unknown, which is not 0.
    assert values["multiple_vip_owners_s"] is values["served_of_capacity_ratio"] is None
    # One database by itself cannot split.
    assert values["split_brain_s"] == 0


def test_downtime_of_reads_is_measured_apart_from_that_of_writes() -> None:
    arrivals = tuple(
        bad(each.at_s, number=each.number) if 2 <= each.at_s < 3 and each.kind == "read" else each for each in traffic(7)
    )
    trial = measure_trial(record(arrivals=arrivals), [], has_fault=True)
    assert value_of(trial, "reads_downtime_longest_s") == pytest.approx(1.01, abs=0.01)
    assert value_of(trial, "writes_downtime_longest_s") == 0


def test_every_outage_counts() -> None:
    assert value_of(result((2.0, 2.5), (3.75, 4.0)), "outages") == 2
    assert value_of(result(), "outages") == 0


def test_what_an_observer_saw_can_be_expected() -> None:
    seen = [
        databases_seen(0.0, 1, db1="primary", db2="standby"),
        databases_seen(3.0, db1="primary", db2="primary"),
        databases_seen(3.25, db1="unreachable", db2="primary"),
        vip_seen(0.0, "lb1"),
        vip_seen(2.5, "lb1", "lb2"),
        vip_seen(3.25),
        vip_seen(4.0, "lb2"),
    ]
    trial = measure_trial(record(events=(*EVENTS, *seen)), [], has_fault=True)
    assert trial.writable == {"no_writer_s": 0.0, "multiple_writers_s": 0.25}
    assert trial.vip_owners == {"no_owner_s": 0.75, "multiple_owners_s": 0.75}
    assert value_of(trial, "split_brain_s") == 0.25
    assert value_of(trial, "multiple_vip_owners_s") == 0.75


def test_time_without_redundancy_begins_with_the_fault_where_no_user_noticed() -> None:
    assert result().time_without_redundancy_s == pytest.approx(3.5)
    assert result((2.0, 5.25)).time_without_redundancy_s == pytest.approx(5.5 - 5.26 - 1 / 128)


def test_time_with_something_missing_is_none_where_users_suffered_for_longer() -> None:
    assert result((2.0, 5.75)).time_without_redundancy_s == 0.0


def test_stage_that_was_not_whole_again_has_no_time_for_it() -> None:
    events = tuple(event for event in EVENTS if event.name != "recovered")
    trial = measure_trial(record(events=events), [], has_fault=True)
    assert (trial.time_without_redundancy_s, trial.time_to_redundancy_s) == (None, None)


@pytest.mark.parametrize(
    ("at_most", "at_least", "value", "holds"),
    [(1.0, None, 1.0, True), (1.0, None, 1.1, False), (None, 0.9, 0.9, True), (None, 0.9, 0.8, False), (2.0, 1.0, 1.5, True)],
)
def test_expectation_bounds_are_inclusive(at_most: float | None, at_least: float | None, value: float, holds: bool) -> None:
    assert Expectation("availability_ratio", at_most, at_least).judge(Measured.exactly(value)) is (
        Outcome.HOLDS if holds else Outcome.FAILS
    )


def test_latencies_of_good_answers_and_longest_of_all() -> None:
    found = latencies([arrival(0, took_s=0.1), arrival(1, took_s=0.2), bad(2, done_s=5.0)], DEADLINE_S)
    assert found == pytest.approx({"p50": 100, "p99": 200, "max": 200, "longest": 3000})


def test_latency_of_undisturbed_writes_ends_with_the_fault() -> None:
    slow = [replace(each, done_s=each.at_s + 0.4) if each.at_s >= 1.9 else each for each in record().arrivals]
    found = measure_trial(record(arrivals=tuple(slow)), (), has_fault=True)
    # The fault came at 2 s: an answer at 2.3 s to what was asked at 1.9 s is none of before.
    assert max(found.undisturbed_writes_ms) < 400
    assert found.writes_latency_ms["longest"] == pytest.approx(400)
    calm = measure_trial(record(arrivals=tuple(slow), events=(Event(7.0, "stop"),)), (), has_fault=False)
    assert len(calm.undisturbed_writes_ms) == calm.writes.good


def seen_phases(events: Sequence[Event], arrivals: list[Arrival]) -> dict[str, float]:
    return phases(events, find_outages(arrivals, DEADLINE_S, (), 7.0))


def test_phases_in_the_order_of_time() -> None:
    found = seen_phases(EVENTS, traffic(7.0, (2.25, 3.0)))
    assert {name: round(at_s, 3) for name, at_s in found.items()} == {
        "inject_s": 2.0,
        "verified_s": 2.05,
        "impact_s": 2.25,
        "recover_s": 3.01,
        "heal_s": 5.0,
        "redundancy_restored_s": 5.5,
    }
    assert list(found.values()) == sorted(found.values())


def test_phases_recover_after_healing_when_only_healing_helped() -> None:
    found = seen_phases(EVENTS, traffic(7.0, (2.0, 5.25)))
    assert found["recover_s"] == pytest.approx(5.26)


def test_phases_leave_out_what_did_not_happen() -> None:
    assert "impact_s" not in seen_phases(EVENTS, traffic(7.0))
    assert "recover_s" not in seen_phases(EVENTS, traffic(7.0, (2.0, 9.0)))
    assert seen_phases([], traffic(7.0, (2.0, 3.0))) == {}


def test_phases_take_no_impact_from_before_the_fault() -> None:
    assert seen_phases(EVENTS, traffic(7.0, (0.5, 0.75), (2.5, 2.75)))["impact_s"] == 2.5


WATCHED = (
    databases_seen(0.0, 1, db1="primary", db2="standby"),
    databases_seen(2.1, db1="unreachable", db2="standby"),
    Event(2.4, "detect", "monitor: db1 is marked as unhealthy"),
    Event(2.5, "elect", "monitor: db2 to prepare_promotion"),
    databases_seen(2.9, db1="unreachable", db2="primary"),
)


def test_phases_say_when_a_failure_was_detected_a_primary_elected_and_failover_complete() -> None:
    found = seen_phases(sorted([*EVENTS, *WATCHED], key=lambda event: event.at_s), traffic(7.0, (2.0, 3.0)))
    assert {name: found[name] for name in ("detect_s", "elect_s", "reroute_s")} == {
        "detect_s": 2.4,
        "elect_s": 2.5,
        "reroute_s": 2.9,
    }
    assert list(found.values()) == sorted(found.values())


def test_first_evidence_counts() -> None:
    events = [*EVENTS, *(Event(at_s, "detect", "lb") for at_s in (2.25, 2.5, 3.0))]
    assert seen_phases(events, traffic(7.0))["detect_s"] == 2.25


def test_box_that_a_balancer_left_out_is_a_reroute_without_a_failover() -> None:
    events = [*EVENTS, Event(2.3, "reroute", "lb: Server reads/web1 is DOWN")]
    assert seen_phases(events, traffic(7.0))["reroute_s"] == 2.3


@pytest.mark.parametrize("name", ["detect", "elect", "reroute", "alert"])
@pytest.mark.parametrize(("at_s", "counts"), [(1.99, False), (2.0, True), (4.99, True), (5.0, False), (6.0, False)])
def test_evidence_from_before_the_fault_or_after_healing_says_nothing_about_the_stage(
    name: str, at_s: float, counts: bool
) -> None:
    found = seen_phases([*EVENTS, Event(at_s, name)], traffic(7.0))
    assert (f"{name}_s" in found) is counts


def test_takeover_that_only_came_with_the_healing_is_none() -> None:
    late = [replace(event, at_s=5.25) if event is WATCHED[-1] else event for event in WATCHED]
    assert "reroute_s" not in seen_phases([*EVENTS, *late], traffic(7.0))


def test_evidence_without_healing_counts_to_the_end() -> None:
    """A switchover breaks nothing, so nothing is healed."""
    events = [Event(2.0, "inject", "switchover"), Event(6.5, "elect")]
    assert seen_phases(events, traffic(7.0))["elect_s"] == 6.5


def test_another_primary_has_taken_over() -> None:
    events = [
        databases_seen(0.0, db1="primary", db2="standby"),
        databases_seen(2.1, db1="unreachable", db2="standby"),
        databases_seen(2.9, db1="unreachable", db2="primary"),
    ]
    assert taken_over_at(events, 2.0) == 2.9


def test_the_same_primary_again_is_no_takeover() -> None:
    events = [
        databases_seen(0.0, db1="primary", db2="standby"),
        databases_seen(2.1, db1="unreachable", db2="standby"),
        databases_seen(2.9, db1="primary", db2="standby"),
    ]
    assert taken_over_at(events, 2.0) is None


def test_primary_that_waits_for_its_standby_has_not_yet_taken_over() -> None:
    events = [
        databases_seen(0.0, db1="primary", db2="standby"),
        databases_seen(2.5, db1="unreachable", db2="sync_blocked"),
        databases_seen(3.5, db1="unreachable", db2="primary"),
    ]
    assert taken_over_at(events, 2.0) == 3.5


def test_takeover_before_the_fault_is_not_its_work() -> None:
    events = [
        databases_seen(0.0, db1="primary", db2="standby"),
        databases_seen(1.5, db1="standby", db2="primary"),
        databases_seen(3.0, db1="unreachable", db2="primary"),
    ]
    assert taken_over_at(events, 2.0) is None


def test_another_balancer_that_answers_has_taken_over() -> None:
    events = [vip_seen(0.0, "lb1"), vip_seen(2.1), vip_seen(2.3, "lb2")]
    assert taken_over_at(events, 2.0) == 2.3
    # Holding the address is not enough: users are served by who answers.
    assert taken_over_at([vip_seen(0.0, "lb1"), vip_seen(2.3, "lb2", owner="")], 2.0) is None


def test_first_takeover_counts_where_there_were_two() -> None:
    events = [databases_seen(0.0, db1="primary", db2="standby"), databases_seen(2.9, db1="unreachable", db2="primary")]
    events += [vip_seen(0.0, "lb1"), vip_seen(2.3, "lb2")]
    assert taken_over_at(events, 2.0) == 2.3


def test_who_was_not_seen_before_the_fault_cannot_be_another() -> None:
    assert taken_over_at([databases_seen(2.9, db1="unreachable", db2="primary")], 2.0) is None
    assert taken_over_at([], 2.0) is None


def test_summary_is_over_valid_trials() -> None:
    trials = [result((2.0, 2.0 + seconds)) for seconds in (0.5, 1.0, 2.0)] + [result((0.0, 1.0))]
    summary = summarise(trials)
    assert (summary.trials, summary.trials_valid) == (4, 3)
    assert summary.outage is not None
    assert summary.outage.low == summary.outage.high == pytest.approx(1.01 + 1 / 128)
    assert (summary.outage.ci_low, summary.outage.ci_high) == pytest.approx((0.51 + 1 / 128, 2.01 + 1 / 128))
    assert summary.outage.coverage_ratio == 0.75
    assert summary.availability_ratio_median == pytest.approx(6 / 7)
    assert (summary.reads_failed_total, summary.writes_failed_total) == (336, 112)
    assert not summary.outage.is_bound


def test_summary_has_a_second_median_that_counts_what_is_not_valid() -> None:
    trials = [result((2.0, 2.5)), result((2.0, 4.0), valid=False), result((2.0, 4.25), valid=False)]
    summary = summarise(trials)
    assert summary.outage is not None
    assert summary.outage_all is not None
    assert summary.outage.low == pytest.approx(0.51 + 1 / 128)
    assert summary.outage_all.low == pytest.approx(2.01 + 1 / 128)
    assert summary.outage_all.count == 3


def test_summary_says_when_downtime_is_a_bound_and_counts_lost_writes() -> None:
    lost = result((2.0, 6.0)).audit
    summary = summarise([result((2.0, 6.0), audit=replace(lost, lost=3)), result(audit=replace(lost, lost=2))])
    assert summary.outage is not None
    assert summary.outage.is_bound
    assert summary.writes_lost_total == 5


def test_summary_counts_the_trials_whose_writes_were_audited() -> None:
    audit = result().audit
    assert summarise([result(), result(audit=replace(audit, complete=False))]).trials_audited == 1


def test_summary_without_a_valid_trial_has_no_figures() -> None:
    summary = summarise([result(valid=False)])
    assert summary.trials_valid == 0
    assert [summary.service, summary.reads, summary.writes, summary.outage, summary.availability_ratio_median] == [None] * 5


def test_one_censored_trial_of_twenty_leaves_the_median_as_it_is() -> None:
    """Whatever the one that was healed after 3 s would have become, it is in the upper half."""
    values = [Measured.exactly(1.01)] * 19 + [Measured(3.0, inf)]
    found = sample_median(values)
    assert (found.low, found.high, found.is_bound) == (1.01, 1.01, False)
    assert (found.worst, found.worst_is_bound) == (3.0, True)


def test_censored_trial_in_the_lower_half_makes_the_median_a_bound() -> None:
    found = sample_median([Measured(0.5, inf), Measured.exactly(1.0), Measured.exactly(2.0)])
    assert (found.low, found.high) == (1.0, 2.0)
    assert (found.ci_low, found.ci_high) == (0.5, inf)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.booleans()), min_size=1, max_size=12))
def test_median_of_what_is_true_lies_within_the_bounds(values: list[tuple[float, float, bool]]) -> None:
    """Whatever the censored ones would have become."""
    known = [Measured(low, inf) if censored else Measured.exactly(low) for low, _, censored in values]
    truth = [low + more if censored else low for low, more, censored in values]
    found = sample_median(known)
    assert found.low <= median(truth) <= found.high
    assert found.ci_low <= median_interval(truth)[0]
    assert median_interval(truth)[1] <= found.ci_high
    assert found.worst <= max(truth)


def test_held_when_every_valid_trial_met_every_expectation() -> None:
    assert decide([result(), result((2.0, 2.5))]) is Verdict.HELD
    assert decide([result(), result(valid=False)]) is Verdict.HELD


def test_refuted_by_one_valid_trial() -> None:
    assert decide([result(), result(), result((2.0, 4.0))]) is Verdict.REFUTED


def test_inconclusive_without_enough_valid_trials() -> None:
    assert decide([]) is Verdict.INCONCLUSIVE
    assert decide([result(valid=False)]) is Verdict.INCONCLUSIVE
    assert decide([result(), result(valid=False), result(valid=False)]) is Verdict.INCONCLUSIVE
    assert decide([result((2.0, 4.0), valid=False)]) is Verdict.INCONCLUSIVE


def test_lost_write_refutes_even_when_time_was_badly_kept() -> None:
    late = good_generator(intended=897, recorded=897, lag_max_ms=500)
    with_lost = record(arrivals=(*traffic(7.0, (2.0, 4.0)), write("gone", at_s=6.999)), generator=late)
    trial = measure_trial(with_lost, [SHORT, NONE_LOST], has_fault=True)
    assert not trial.valid
    assert trial.audit.lost_keys == ("gone",)
    assert decide([trial]) is Verdict.REFUTED
    assert summarise([trial]).writes_lost_total == 1
    # Nothing else that was measured in it counts.
    assert decide([measure_trial(with_lost, [SHORT], has_fault=True)]) is Verdict.INCONCLUSIVE
    tolerant = Expectation("writes_lost", at_most=1, at_least=None)
    assert decide([measure_trial(with_lost, [tolerant], has_fault=True)]) is Verdict.INCONCLUSIVE


def test_outage_that_healing_cut_short_of_its_limit_decides_nothing() -> None:
    limit = Expectation("downtime_longest_s", at_most=3.5, at_least=None)
    cut, ended = result((2.0, 5.25), expectations=(limit,)), result((2.0, 4.5), expectations=(limit,))
    assert [str(check) for check in cut.undecided] == ["downtime_longest_s at most 3.5: was at least 3"]
    # The measurement is to be trusted: the outage lasted for 3 s at least, and leaving it out would favour the system.
    assert cut.valid
    assert not cut.is_decided
    assert decide([cut]) is Verdict.INCONCLUSIVE
    assert decide([cut, ended]) is Verdict.HELD
    assert decide([cut, cut, ended]) is Verdict.INCONCLUSIVE
    assert decide([ended]) is Verdict.HELD
    beyond = result((2.0, 5.25), expectations=(SHORT,))
    assert decide([beyond]) is Verdict.REFUTED


def test_at_least_of_an_outage_that_healing_cut_short_is_undecided() -> None:
    """Healed after 3 s: whether it would have lasted for 5 is not known."""
    long = Expectation("downtime_longest_s", at_most=None, at_least=5.0)
    assert decide([result((2.0, 5.25), expectations=(long,))]) is Verdict.INCONCLUSIVE
    assert decide([result((2.0, 4.5), expectations=(long,))]) is Verdict.REFUTED
    short = Expectation("downtime_longest_s", at_most=None, at_least=2.0)
    assert decide([result((2.0, 5.25), expectations=(short,))]) is Verdict.HELD


@pytest.mark.parametrize(
    ("measure", "at_most", "at_least", "verdict"),
    [
        ("availability_ratio", None, 0.5, Verdict.INCONCLUSIVE),
        ("availability_ratio", None, 0.99, Verdict.REFUTED),
        ("availability_ratio", 0.99, None, Verdict.HELD),
        ("fault_availability_ratio", 0.9, None, Verdict.INCONCLUSIVE),
        ("writes_failed", 200, None, Verdict.INCONCLUSIVE),
        ("writes_failed", 50, None, Verdict.REFUTED),
        ("reads_failed", 1000, None, Verdict.INCONCLUSIVE),
        ("outages", 1, None, Verdict.INCONCLUSIVE),
        ("outages", 0, None, Verdict.REFUTED),
        ("unserved_s", 9, None, Verdict.INCONCLUSIVE),
        ("gap_s", 3.5, None, Verdict.INCONCLUSIVE),
        ("gap_s", 2.0, None, Verdict.REFUTED),
        ("downtime_total_s", 4.0, None, Verdict.INCONCLUSIVE),
    ],
)
def test_healing_makes_a_bound_of_every_measure_that_grows_with_the_outage(
    measure: str, at_most: float | None, at_least: float | None, verdict: Verdict
) -> None:
    limit = Expectation(measure, at_most, at_least)
    assert decide([result((2.0, 5.25), expectations=(limit,))]) is verdict


@pytest.mark.parametrize(
    "measure",
    ["time_without_redundancy_s", "time_to_redundancy_s", "split_brain_s", "multiple_vip_owners_s", "served_of_capacity_ratio"],
)
def test_what_was_not_observed_is_unknown_and_holds_nothing(measure: str) -> None:
    events = tuple(event for event in EVENTS if event.name != "recovered")
    limit = Expectation(measure, at_most=1000.0, at_least=None)
    kept = record().final_orders["db"]
    trial = measure_trial(record(events=events, final_orders={"db1": kept, "db2": kept}), [limit], has_fault=True)
    assert measured(trial, measure) is None
    assert [str(check) for check in trial.undecided] == [f"{limit}: was unknown"]
    assert decide([trial]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "measure", ["downtime_longest_s", "reads_failed", "availability_ratio", "writes_downtime_longest_s", "gap_s", "outages"]
)
def test_what_nothing_was_asked_of_is_unknown(measure: str) -> None:
    trial = measure_trial(record(arrivals=()), [Expectation(measure, 1000.0, None)], has_fault=True)
    assert [check.outcome for check in trial.checks] == [Outcome.UNDECIDED]


def test_rejoin_is_0_where_nothing_was_healed() -> None:
    events = tuple(event for event in EVENTS if event.name not in ("heal", "recovered"))
    assert value_of(measure_trial(record(events=events), [], has_fault=True), "time_to_redundancy_s") == 0


def test_writes_that_were_not_audited_are_not_known_to_be_kept() -> None:
    limits = [NONE_LOST, Expectation("writes_duplicate", 0, None), Expectation("writes_unexpected", 0, None)]
    trial = measure_trial(record(final_orders={"db": None}), limits, has_fault=True)
    assert [check.outcome for check in trial.checks] == [Outcome.UNDECIDED] * 3


def test_strangers_hand_censors_the_outage_that_it_ended() -> None:
    events = tuple(sorted([*EVENTS, Event(4.0, "foreign", "web1: start, not by this run")], key=lambda event: event.at_s))
    trial = measure_trial(record((2.0, 4.25), events=events), [Expectation("downtime_longest_s", 5.0, None)], has_fault=True)
    assert spans(trial.outages) == [(2.0, 4.0, True)]
    assert decide([trial]) is Verdict.INCONCLUSIVE


def test_failback_is_over_when_all_was_whole_for_the_last_time() -> None:
    events = (
        Event(2.0, "inject", "failback"),
        Event(2.1, "fault-verified"),
        Event(2.5, "recovered"),
        Event(6.0, "elect"),
        Event(6.5, "recovered"),
    )
    trial = measure_trial(record((3.0, 3.5), events=(*events, Event(7.0, "stop"))), [], has_fault=True)
    assert (trial.phases["redundancy_restored_s"], trial.phases["elect_s"]) == (6.5, 6.0)
    assert trial.time_without_redundancy_s == pytest.approx(6.5 - 2.0 - 0.51 - 1 / 128)


def test_outage_whose_end_was_not_seen_has_no_time_without_redundancy() -> None:
    assert measure_trial(record((2.0, 9.0)), [], has_fault=True).time_without_redundancy_s is None


@pytest.mark.parametrize(
    ("value", "at_most", "at_least", "said"),
    [
        (0.99987, None, 0.9999, "0.99987"),
        (12345, 100, None, "12345"),
        (1.0004, 1.0, None, "1.0004"),
        (1.44, 1.0, None, "1.44"),
        (5.0, 1.0, None, "5"),
        (0.0, None, 5.0, "0"),
    ],
)
def test_value_is_shown_on_its_own_side_of_the_bound(
    value: float, at_most: float | None, at_least: float | None, said: str
) -> None:
    limit, found = Expectation("reads_failed", at_most, at_least), Measured.exactly(value)
    assert Check(limit, found, limit.judge(found)).was == said


def failing(kind: str, start_s: float, end_s: float) -> tuple[Arrival, ...]:
    """Seven seconds of traffic in which the reads, or the writes, of a stretch break off."""
    return tuple(
        bad(each.at_s, number=each.number, kind=kind, key=each.key)
        if each.kind == kind and start_s <= each.at_s < end_s
        else each
        for each in traffic(7.0)
    )


@pytest.mark.parametrize(("kind", "other"), [("read", "write"), ("write", "read")])
def test_downtime_of_reads_or_writes_is_decided_by_outages_of_their_own(kind: str, other: str) -> None:
    """One kind was gone until the lab healed, after 3 of the 3.5 s it may be; of the other one there is no doubt."""
    own = Expectation(f"{kind}s_downtime_longest_s", at_most=3.5, at_least=None)
    others = Expectation(f"{other}s_downtime_longest_s", at_most=3.5, at_least=None)
    cut = record(arrivals=failing(kind, 2.0, 5.25))
    undecided = measure_trial(cut, [own, others], has_fault=True)
    assert [check.expectation for check in undecided.undecided] == [own]
    assert decide([undecided]) is Verdict.INCONCLUSIVE
    assert decide([measure_trial(cut, [others], has_fault=True)]) is Verdict.HELD
    beyond = replace(own, at_most=2.5)
    assert decide([measure_trial(cut, [beyond], has_fault=True)]) is Verdict.REFUTED
    ended = record(arrivals=failing(kind, 2.0, 4.5))
    assert decide([measure_trial(ended, [own], has_fault=True)]) is Verdict.HELD


DOWNTIMES = ("downtime_longest_s", "downtime_total_s", "reads_downtime_longest_s", "writes_downtime_longest_s")


@given(
    kind=st.sampled_from(["read", "write"]),
    start_s=st.integers(128, 6 * 64).map(lambda ticks: ticks * TICK_S),
    length_s=st.integers(1, 5 * 64).map(lambda ticks: ticks * TICK_S),
    measure=st.sampled_from(DOWNTIMES),
    at_most=st.floats(0, 6),
)
def test_downtime_that_is_a_lower_bound_never_holds(
    kind: str, start_s: float, length_s: float, measure: str, at_most: float
) -> None:
    limit = Expectation(measure, at_most=at_most, at_least=None)
    trial = measure_trial(record(arrivals=failing(kind, start_s, start_s + length_s)), [limit], has_fault=True)
    own = {"r": trial.read_outages, "w": trial.write_outages, "d": trial.outages}[measure[0]]
    (check,) = trial.checks
    if any(outage.censored for outage in own):
        assert check.outcome is not Outcome.HOLDS
    else:
        assert check.outcome is not Outcome.UNDECIDED


def test_bins_tell_good_slow_and_bad_apart() -> None:
    arrivals = [arrival(0.05), arrival(0.06, took_s=0.3), bad(0.25), arrival(0.31)]
    found = [(each.start_s, each.good, each.slow, each.bad) for each in bins(arrivals, DEADLINE_S)]
    assert found == [(0.0, 1, 1, 0), (0.1, 0, 0, 0), (0.2, 0, 0, 1), (0.3, 1, 0, 0)]
    assert bins([], DEADLINE_S) == ()


@given(arrival_lists())
def test_bins_hold_every_arrival_once(arrivals: list[Arrival]) -> None:
    found = bins(arrivals, DEADLINE_S)
    assert sum(each.good + each.slow + each.bad for each in found) == len(arrivals)
    assert sum(each.bad for each in found) == sum(not each.is_good(DEADLINE_S) for each in arrivals)


@example(at_s=4.3)
@given(at_s=st.integers(0, 2000).map(lambda tenths: tenths / 10))
def test_bins_hold_an_arrival_on_an_edge(at_s: float) -> None:
    assert sum(each.good for each in bins([arrival(at_s)], DEADLINE_S)) == 1


SIGHTS = [
    databases_seen(-0.5, 1, db1="primary", db2="standby"),
    databases_seen(2.0, db1="unreachable", db2="standby"),
    databases_seen(5.0, db1="unreachable", db2="primary"),
    databases_seen(6.0, db1="primary", db2="primary"),
    databases_seen(6.5, 1, db1="standby", db2="primary"),
]


def test_seconds_without_and_with_several_writable_databases() -> None:
    assert writable_seconds(SIGHTS, 10.0) == {"no_writer_s": pytest.approx(3.0), "multiple_writers_s": pytest.approx(0.5)}
    assert writable_seconds(SIGHTS, 6.2)["multiple_writers_s"] == pytest.approx(0.2)


def test_what_was_not_observed_is_no_figure() -> None:
    assert owner_seconds(SIGHTS, 10.0) == {}
    assert writable_seconds(SIGHTS, None) == {}


@pytest.mark.parametrize(
    ("states", "primaries"),
    [
        (("primary", "standby"), ["db1"]),
        (("primary", "primary"), ["db1", "db2"]),
        # It acknowledges nothing while it waits for its standby.
        (("sync_blocked", "unreachable"), []),
    ],
)
def test_databases_that_accept_writes_are_primaries(states: tuple[str, str], primaries: list[str]) -> None:
    found = DatabasesSeen({f"db{at}": DatabaseState(state) for at, state in enumerate(states, 1)}, 0)
    assert found.primaries == primaries


@pytest.mark.parametrize(("claimants", "seconds"), [(("lb1",), (0.0, 0.0)), (("lb1", "lb2"), (0.0, 4.0)), ((), (4.0, 0.0))])
def test_claimants_of_the_vip_are_counted(claimants: tuple[str, ...], seconds: tuple[float, float]) -> None:
    assert tuple(owner_seconds([vip_seen(0.0, *claimants)], 4.0).values()) == seconds


@given(st.lists(st.tuples(st.integers(-64, 640), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 640))
def test_every_second_that_was_watched_has_none_one_or_several(views: list[tuple[int, int]], stopped: int) -> None:
    counts = [(tick * TICK_S, count) for tick, count in sorted(views)]
    found = seconds_without_and_with_several(counts, stopped * TICK_S)
    one = seconds_without_and_with_several([(at_s, int(count != 1)) for at_s, count in counts], stopped * TICK_S)
    assert found
    assert one
    watched_from_s = max(counts[0][0], 0.0)
    assert sum(found) + one[0] == max(stopped * TICK_S - watched_from_s, 0.0)


def test_late_failure_makes_no_time_without_redundancy_shorter() -> None:
    """Down from 2 to 2.7 s, and redundancy restored at 6.5 s: a stray failure after that changes nothing."""
    events = tuple(replace(event, at_s=6.5) if event.name == "recovered" else event for event in EVENTS)
    calm = measure_trial(record((2.0, 2.7), events=events), [], has_fault=True)
    stray = measure_trial(record((2.0, 2.7), (6.8, 6.81), events=events), [], has_fault=True)
    assert calm.time_without_redundancy_s == pytest.approx(4.5 - 0.71, abs=0.02)
    assert stray.time_without_redundancy_s == calm.time_without_redundancy_s
    between = measure_trial(record((2.0, 2.7), (4.5, 4.6), events=events), [], has_fault=True)
    assert between.time_without_redundancy_s == pytest.approx(4.5 - 0.71 - 0.13, abs=0.03)


def test_one_database_cannot_split() -> None:
    limit = Expectation("split_brain_s", 0.0, None)
    assert measure_trial(record(), [limit], has_fault=True).checks[0].outcome is Outcome.HOLDS
    kept = record().final_orders["db"]
    two = measure_trial(record(final_orders={"db1": kept, "db2": kept}), [limit], has_fault=True)
    assert two.checks[0].outcome is Outcome.UNDECIDED


def test_median_availability_of_healed_trials_is_an_upper_bound() -> None:
    summary = summarise([result((2.0, 6.0)), result((2.0, 6.0)), result((2.0, 2.5))])
    assert summary.availability_censored
    assert summary.availability_ratio_median == pytest.approx(3 / 7, abs=0.01)
    assert not summarise([result((2.0, 6.0)), result((2.0, 3.0)), result((2.0, 2.5))]).availability_censored
