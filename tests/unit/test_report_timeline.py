from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model.history import Arrival, Event
from lab.report.bins import bins
from lab.report.timeline import (
    BIN_S,
    Cell,
    Span,
    address_spans,
    cells,
    database_spans,
    failure,
    index_of,
    lanes,
    length_s,
    redundancy_spans,
    shown_classes,
    totals,
)
from lab.report.trialchart import COLUMNS_MAX, bar_width_s
from tests.unit.helpers import arrival, bad, databases_seen, record, redundancy_seen, traffic, vip_seen

DEADLINE_S = 1.0


@st.composite
def some_arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Arrivals at instants of a microsecond, as the journal has them, of every kind."""
    instant = st.integers(0, 20_000_000).map(lambda micro: micro / 1_000_000)
    kinds = st.sampled_from(["good", "slow", "late", "reset", "http-503"])
    found = []
    for at_s, kind in draw(st.lists(st.tuples(instant, kinds), max_size=60)):
        took_s = {"slow": 0.5, "late": 1.5}.get(kind, 0.01)
        found.append(bad(at_s, error_class=kind) if kind in ("reset", "http-503") else arrival(at_s, took_s))
    return found


@given(some_arrivals(), st.sampled_from([1, 2, 3, 7, 10, 60]))
def test_every_arrival_is_in_exactly_one_bin(arrivals: list[Arrival], factor: int) -> None:
    width_s = BIN_S * factor
    found = cells(arrivals, DEADLINE_S, width_s)
    assert sum(cell.intended for cell in found) == len(arrivals)
    # In whole microseconds there is nothing to round.
    exactly = Counter(round(each.at_s * 1_000_000) // (factor * 100_000) for each in arrivals)
    assert [cell.intended for cell in found] == [exactly[at] for at in range(len(found))]
    assert [cell.start_s for cell in found] == pytest.approx([at * width_s for at in range(len(found))])


@given(some_arrivals())
def test_bins_agree_with_the_terminals_strip(arrivals: list[Arrival]) -> None:
    mine = [(cell.start_s, cell.good, cell.slow, sum(cell.failed.values())) for cell in cells(arrivals, DEADLINE_S)]
    assert mine == [(each.start_s, each.good, each.slow, each.bad) for each in bins(arrivals, DEADLINE_S)]


def test_edges_of_bins() -> None:
    assert [index_of(at_s, BIN_S) for at_s in (0.0, 0.099999, 0.1, 4.3, 4.299999, -0.2)] == [0, 0, 1, 43, 42, 0]
    assert cells([], DEADLINE_S) == ()


def test_failures_by_class_and_what_is_late() -> None:
    found = cells([arrival(0.0), arrival(0.01, 0.3), arrival(0.02, 1.2), bad(0.03), bad(0.04)], DEADLINE_S)
    assert found == (Cell(0.0, good=1, slow=1, failed={"late": 1, "reset": 2}),)
    assert totals(found).failed == {"reset": 2, "late": 1}
    assert [failure(each, DEADLINE_S) for each in (arrival(0.0), arrival(0.0, 1.2), bad(0.0))] == ["", "late", "reset"]


def test_the_most_frequent_classes_get_a_colour() -> None:
    assert shown_classes([{"a": 1, "b": 5}, {"c": 3, "d": 3, "a": 1}]) == ("b", "c", "d")
    assert shown_classes([]) == ()


def test_lanes_of_boxes_that_answered() -> None:
    arrivals = [arrival(0.0), arrival(0.05, by="web2"), arrival(0.3), bad(0.3)]
    assert [(lane.name, lane.counts, lane.total) for lane in lanes(arrivals, lambda each: each.by, BIN_S)] == [
        ("web1", {0: 1, 3: 1}, 2),
        ("web2", {0: 1}, 1),
    ]
    assert lanes([replace(each, via="") for each in arrivals], lambda each: each.via, BIN_S) == ()


def test_spans_of_databases_join_what_stays_the_same() -> None:
    events = [
        databases_seen(-0.3, 1, db1="primary", db2="standby"),
        databases_seen(2.0, db1="unreachable", db2="standby"),
        databases_seen(3.0, db1="unreachable", db2="primary"),
    ]
    # What is in the file comes in the order of writing.
    assert database_spans(events[::-1], 5.0) == (
        Span(0.0, 2.0, "db1", "primary"),
        Span(2.0, 5.0, "db1", "unreachable"),
        Span(0.0, 3.0, "db2", "standby"),
        Span(3.0, 5.0, "db2", "primary"),
    )
    assert database_spans([], 5.0) == ()


def test_spans_of_the_address() -> None:
    events = [
        vip_seen(0.0, "lb1"),
        vip_seen(1.0),
        vip_seen(2.0, "lb1", "lb2"),
    ]
    assert address_spans(events, 3.0) == (
        Span(0.0, 1.0, "lb1", "owner"),
        Span(2.0, 3.0, "lb1", "claims"),
        Span(2.0, 3.0, "lb2", "owner"),
    )


def test_spans_of_reserves_are_those_of_tiers_that_ever_have_any() -> None:
    events = (
        redundancy_seen(-0.5, web=(1, 2), database=(0, 1)),
        redundancy_seen(1.0, web=(0, 1), database=(0, 1)),
        redundancy_seen(2.0, web=(1, 2), database=(0, 0)),
    )
    assert redundancy_spans(events, 3.0) == (
        Span(0.0, 1.0, "web", "1"),
        Span(1.0, 2.0, "web", "none"),
        Span(2.0, 3.0, "web", "1"),
    )


def test_length_is_until_the_last_thing_seen() -> None:
    assert length_s(record(arrivals=tuple(traffic(2.0)), events=())) == pytest.approx(2.0, abs=0.05)
    assert length_s(record(arrivals=(), events=(Event(9.0, "stop"),))) == 9.0
    assert length_s(record(arrivals=(), events=())) == 0.0


@given(st.floats(0.1, 100_000))
def test_bars_are_whole_tenths_and_never_too_many(length: float) -> None:
    width_s = bar_width_s(length)
    assert length / width_s <= COLUMNS_MAX + 1e-6
    assert width_s / BIN_S == pytest.approx(round(width_s / BIN_S))
    assert width_s == BIN_S or length / (width_s - BIN_S) > COLUMNS_MAX - 1e-6
