"""Outages, gaps and failed requests: of each operation, and of the service."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lab.checker.outages import (
    at_least,
    find_outages,
    longest_gap,
    longest_of,
    operation,
    quiet_in_s,
    service,
    share_within,
    union,
)
from lab.checker.trial import measure_trial
from lab.checker.verdict import measured
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, Event, TrialRecord
from lab.model.measures import MEASURES, Expectation, Outcome
from lab.model.result import Gap, Operation, Outage
from tests.unit.helpers import arrival, bad, record, spans, traffic

DEADLINE_S, TICK_S = 1.0, 1 / 64
RATE_PER_S = 64.0


@st.composite
def histories(draw: st.DrawFn) -> list[Arrival]:
    """Reads and writes in order, good and bad in stretches, answered at once, late or too late."""
    at_tick, found = 0, []
    stretch = st.tuples(
        *(st.integers(1, 30), st.sampled_from(["", "read", "write", "both"]), st.integers(1, 12)),
        *(st.sampled_from([0, 1, 20, 50, 64, 65, 90]), st.integers(1, 4)),
    )
    for count, fails, gap, took, every in draw(st.lists(stretch, min_size=1, max_size=12)):
        for number in range(count):
            at_tick += gap
            kind = "write" if number % every == 0 else "read"
            at_s, took_s = at_tick * TICK_S, took * TICK_S
            found.append(bad(at_s, kind=kind) if fails in (kind, "both") else arrival(at_s, took_s, kind=kind))
    return found


def of(
    arrivals: list[Arrival], cuts_s: tuple[float, ...] = (), stopped_at_s: float | None = None
) -> tuple[Operation, Operation, Operation]:
    """Reads, writes, and the service."""
    reads, writes = (
        operation([each for each in arrivals if each.kind == kind], DEADLINE_S, RATE_PER_S / 2, cuts_s, stopped_at_s)
        for kind in ("read", "write")
    )
    return reads, writes, service((reads, writes), RATE_PER_S)


@given(histories())
def test_the_whole_is_never_shorter_than_a_part(arrivals: list[Arrival]) -> None:
    reads, writes, whole = of(arrivals)
    for part in (reads, writes):
        for outage in part.outages:
            covering = [each for each in whole.outages if each.start_s <= outage.start_s and outage.end_s <= each.end_s]
            assert len(covering) == 1
            assert covering[0].censored or not outage.censored
        if part.gap:
            assert whole.gap is not None
            assert whole.gap.length_s >= part.gap.length_s
    assert whole.failed == reads.failed + writes.failed


@given(histories())
def test_whole_is_down_only_while_a_part_is(arrivals: list[Arrival]) -> None:
    reads, writes, whole = of(arrivals)
    parts = [(each.start_s, each.end_s) for each in (*reads.outages, *writes.outages)]
    for outage in whole.outages:
        inside = sorted(each for each in parts if outage.start_s <= each[0] and each[1] <= outage.end_s)
        assert inside[0][0] == outage.start_s
        assert max(end_s for _, end_s in inside) == outage.end_s
        reach_s = inside[0][1]
        for start_s, end_s in inside[1:]:
            assert start_s < reach_s  # no instant between two parts belongs to neither
            reach_s = max(reach_s, end_s)
    assert all(before.end_s <= after.start_s for before, after in pairwise(whole.outages))


@given(histories(), st.lists(st.integers(0, 4000).map(lambda ticks: ticks * TICK_S), max_size=2))
def test_total_outage_is_no_longer_than_the_gap_and_a_deadline(arrivals: list[Arrival], cuts_s: list[float]) -> None:
    """During an outage in which nothing was answered the last success was at most a deadline after its begin."""
    for part in of(arrivals, tuple(sorted(cuts_s)))[:2]:
        total = [outage.length_s for outage in part.outages if not outage.answered]
        if total:
            assert part.gap is not None
            assert part.gap.censored or max(total) <= part.gap.length_s + DEADLINE_S + 1e-9


@given(histories())
def test_gap_that_nothing_cut_bounds_every_total_outage(arrivals: list[Arrival]) -> None:
    """Also where the load ended in it."""
    for part in of(arrivals)[:2]:
        total = [outage.length_s for outage in part.outages if not outage.answered]
        assert not total or (part.gap is not None and max(total) <= part.gap.length_s + DEADLINE_S + 1e-9)


def test_partial_outage_may_be_longer_than_the_gap_and_says_so() -> None:
    """One request of fifty fails for a minute: one outage, partial, and 1.2 s of load that failed."""
    arrivals = [bad(at / 50) if at % 50 == 0 and 500 <= at <= 3500 else arrival(at / 50) for at in range(4000)]
    found = operation(arrivals, DEADLINE_S, 50.0)
    (outage,) = found.outages
    assert outage.length_s == pytest.approx(60.0, abs=0.1)
    assert outage.answered == 3001 - 61
    assert found.unserved_s == pytest.approx(61 / 50)
    assert found.gap is not None
    assert found.gap.length_s == pytest.approx(0.04)


@given(histories())
def test_service_is_restored_when_its_last_operation_is(arrivals: list[Arrival]) -> None:
    events = (Event(0.0, "inject"), Event(0.0, "fault-verified"), Event(arrivals[-1].at_s, "stop"))
    trial = measure_trial(replace(record(), arrivals=tuple(arrivals), events=events), [], has_fault=True)
    ends = [outage.end_s for outage in (*trial.read_outages, *trial.write_outages)]
    if "recover_s" in trial.phases:
        assert trial.phases["recover_s"] == max(ends)
    else:
        assert not ends or trial.total.censored


def test_answer_to_a_read_ends_no_outage_of_writes() -> None:
    """Writes fail from 2 to 3 s, and those of the next 0.8 s wait; reads go on all the while."""
    arrivals = [
        each
        if each.kind == "read" or not 2.0 <= each.at_s < 3.8
        else bad(each.at_s, kind="write")
        if each.at_s < 3.0
        else replace(each, done_s=3.8)
        for each in traffic(7.0)
    ]
    reads, writes, whole = of(arrivals)
    assert reads.outages == ()
    assert spans(writes.outages) == spans(whole.outages) == [(2.0, 3.8, False)]


def test_earliest_answer_of_all_ends_an_outage() -> None:
    """What piled up in a freeze is answered in one instant, and the load takes the answers in any order."""
    frozen = [replace(each, done_s=4.009 - each.at_s / 1000) if 2.0 <= each.at_s < 4.0 else each for each in traffic(7.0)]
    (outage,) = find_outages(frozen, DEADLINE_S)
    assert outage.end_s == pytest.approx(4.009 - 3.992 / 1000, abs=1e-4)


@given(histories(), st.integers(1, 2000).map(lambda ticks: ticks * TICK_S))
def test_shifted_arrivals_shift_everything(arrivals: list[Arrival], by_s: float) -> None:
    shifted = [replace(each, at_s=each.at_s + by_s, done_s=each.done_s + by_s) for each in arrivals]
    for before, after in zip(of(arrivals), of(shifted), strict=True):
        assert [replace(each, start_s=each.start_s + by_s, end_s=each.end_s + by_s) for each in before.outages] == list(
            after.outages
        )
        assert (before.gap is None) is (after.gap is None)
        if before.gap and after.gap:
            assert after.gap.length_s == before.gap.length_s


def test_union_of_windows() -> None:
    reads = (Outage(1.0, 2.0, False), Outage(5.0, 6.0, False, answered=2))
    writes = (Outage(1.5, 3.0, False), Outage(3.0, 3.5, True), Outage(5.5, 5.75, True, answered=1))
    assert union(reads, writes) == (Outage(1.0, 3.0, False), Outage(3.0, 3.5, True), Outage(5.0, 6.0, True, answered=3))
    assert union((), ()) == ()


def test_freeze_that_no_request_fails_in_is_a_gap_and_no_outage() -> None:
    frozen = [replace(each, done_s=2.75) if 2.0 <= each.at_s < 2.75 else each for each in traffic(7.0)]
    reads, writes, whole = of(frozen)
    assert reads.outages == writes.outages == whole.outages == ()
    assert whole.gap is not None
    assert whole.gap.length_s == pytest.approx(0.75, abs=0.03)
    assert not whole.gap.censored


def test_gap_that_the_healing_ended_is_a_lower_bound() -> None:
    frozen = [replace(each, done_s=2.75) if 2.0 <= each.at_s < 2.75 else each for each in traffic(7.0)]
    gap = longest_gap(frozen, DEADLINE_S, cuts_s=(2.5,))
    assert gap is not None
    assert gap.censored
    assert gap.end_s == 2.5


def test_healing_between_two_answers_makes_no_bound_of_another_gap() -> None:
    """Between any two answers lies an instant without one; only a gap that could have been the longest matters."""
    frozen = [replace(each, done_s=2.75) if 2.0 <= each.at_s < 2.75 else each for each in traffic(7.0)]
    gap = longest_gap(frozen, DEADLINE_S, cuts_s=(5.0, 6.001))
    assert gap is not None
    assert not gap.censored
    assert gap.length_s == pytest.approx(0.75, abs=0.03)


def test_gap_at_the_end_of_the_load_is_a_lower_bound_while_requests_fail() -> None:
    open_ = longest_gap(traffic(7.0, (2.0, 4.0), (6.5, 7.0)), DEADLINE_S, stopped_at_s=7.0)
    assert open_ is not None
    assert open_.censored
    assert open_.length_s == pytest.approx(2.0, abs=0.03)
    assert longest_gap(traffic(7.0), DEADLINE_S, stopped_at_s=7.0) == longest_gap(traffic(7.0), DEADLINE_S)


def test_gap_without_a_success_is_the_whole_load() -> None:
    assert longest_gap([bad(1.0), bad(2.0)], DEADLINE_S, stopped_at_s=3.0) == Gap(1.0, 3.0, censored=True)
    assert longest_gap([], DEADLINE_S) is None


def test_longest_gap_of_several() -> None:
    assert longest_of([Gap(0, 1), None, Gap(2, 4), Gap(5, 5.5, censored=True)]) == Gap(2, 4, censored=True)
    assert longest_of([None]) is None


def test_share_within_a_span() -> None:
    found = share_within([arrival(1.0), bad(2.0), arrival(2.5), bad(3.0)], DEADLINE_S, (2.0, 3.0))
    assert found is not None
    assert (found.intended, found.good) == (2, 1)
    assert share_within([arrival(1.0)], DEADLINE_S, (2.0, 3.0)) is None
    assert share_within([arrival(1.0)], DEADLINE_S, None) is None


def test_range_is_ordered() -> None:
    assert at_least(2.0, is_bound=True).high == math.inf
    with pytest.raises(ValueError, match="no range"):
        replace(at_least(2.0, is_bound=False), high=1.0)


@pytest.mark.parametrize(
    ("gone", "now_s", "wait_s"),
    [((), 7.0, 0.0), (((2.0, 3.0),), 7.0, 0.0), (((6.5, 6.6),), 7.0, 6.6 - 1 / 128 + 1.3 - 7.0)],
)
def test_load_goes_on_until_the_last_failure_is_long_enough_ago(
    gone: tuple[tuple[float, float], ...], now_s: float, wait_s: float
) -> None:
    """A stray failure in the last second would leave an outage of which nothing is known but its begin."""
    plan = LoadPlan()
    assert quiet_in_s(traffic(7.0, *gone), plan, now_s) == pytest.approx(wait_s, abs=1 / 64)
    # When it has gone on for so long, no outage is open.
    assert not any(outage.censored for outage in find_outages(traffic(now_s + wait_s, *gone), DEADLINE_S))


CUT_SHORT = [name for name in MEASURES if name not in ("time_without_redundancy_s", "time_to_redundancy_s")]


@st.composite
def outages_of_one_kind_or_both(draw: st.DrawFn) -> tuple[TrialRecord, float]:
    """A trial with one stretch of failures that ended by itself, and an instant in it at which the lab might have healed."""
    start_s, length_s = 2.0 + draw(st.integers(0, 64)) * TICK_S, draw(st.integers(8, 160)) * TICK_S
    kinds = draw(st.sampled_from([("read",), ("write",), ("read", "write")]))
    cut_s = start_s + length_s * draw(st.floats(0.1, 0.95))
    arrivals = tuple(
        bad(each.at_s, number=each.number, kind=each.kind, key=each.key)
        if each.kind in kinds and start_s <= each.at_s < start_s + length_s
        else each
        for each in traffic(9.0)
    )
    failed = [each for each in arrivals if not each.is_good(DEADLINE_S)]
    # A cut before the first failure leaves nothing of an outage to be seen.
    assume(all(any(each.kind == kind and each.at_s < cut_s for each in failed) for kind in kinds))
    events = (Event(2.0, "inject"), Event(2.0, "fault-verified"), Event(9.0, "stop"))
    return replace(record(), arrivals=arrivals, events=events, final_orders=kept(arrivals)), cut_s


def kept(arrivals: tuple[Arrival, ...]) -> dict[str, dict[str, int] | None]:
    """What the database holds: the orders that were acknowledged."""
    return {"db": {each.key: 1 for each in arrivals if each.kind == "write" and each.effect == "ok"}}


def healed_at(whole: TrialRecord, cut_s: float) -> TrialRecord:
    """The same trial, had the lab healed at that instant: from then on all is well."""
    healed = tuple(
        each
        if each.at_s < cut_s or each.is_good(DEADLINE_S)
        else arrival(each.at_s, number=each.number, kind=each.kind, key=each.key)
        for each in whole.arrivals
    )
    return replace(
        whole,
        arrivals=healed,
        final_orders=kept(healed),
        events=(*whole.events, Event(cut_s, "heal"), Event(cut_s + 0.5, "recovered")),
    )


@given(outages_of_one_kind_or_both(), st.sampled_from(CUT_SHORT), st.floats(0, 8), st.booleans())
def test_cutting_a_trial_short_never_turns_a_verdict_into_its_opposite(
    trial: tuple[TrialRecord, float], measure: str, bound: float, is_most: bool
) -> None:
    whole, cut_s = trial
    scale = 1 / 8 if "ratio" in measure else 100 if measure.endswith("failed") else 1
    limit = Expectation(measure, bound * scale, None) if is_most else Expectation(measure, None, bound * scale)
    free = measure_trial(whole, [limit], has_fault=True).checks[0]
    cut = measure_trial(healed_at(whole, cut_s), [limit], has_fault=True).checks[0]
    if free.outcome is not Outcome.UNDECIDED:
        assert cut.outcome in (free.outcome, Outcome.UNDECIDED), (free, cut)


@given(outages_of_one_kind_or_both(), st.sampled_from(CUT_SHORT))
def test_bounds_of_a_trial_that_was_cut_short_hold_what_is_true(trial: tuple[TrialRecord, float], measure: str) -> None:
    whole, cut_s = trial
    free = measured(measure_trial(whole, [], has_fault=True), measure)
    cut = measured(measure_trial(healed_at(whole, cut_s), [], has_fault=True), measure)
    if free is not None and cut is not None:
        assert cut.low - 1e-9 <= free.low
        assert free.high <= cut.high + 1e-9
