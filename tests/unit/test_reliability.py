from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import reliability
from lab.analysis.cell import worst_of
from lab.analysis.matrix import Cell, Member, Row
from lab.analysis.reliability import (
    HOURS_PER_MONTH,
    HOURS_PER_YEAR,
    Assumptions,
    ExposureCost,
    Part,
    Rate,
    at_least,
    exposure_costs,
    series,
)
from lab.checker.exposure import ExposureSummary
from lab.errors import UsageError
from lab.model.result import MONTH_S
from lab.model.topology import ServiceSpec, Stage
from lab.report.gate_words import disagreement_text
from lab.spec import stages
from tests.unit.matrices import cell, member, row

ASSUMED = reliability.read()
ALL = stages.all_stages()
availabilities = st.lists(st.floats(0, 1), max_size=6)
rates = st.builds(Rate, st.floats(0, 50), st.floats(0, 100))


def alone(stage: Stage) -> Row:
    return row(stage.name)


def predicted(name: str, *cells: object, assumed: Assumptions = ASSUMED) -> reliability.Prediction:
    stage = stages.parse(name)
    return reliability.predict(stage, row(stage.name, *cells), assumed)  # type: ignore[arg-type]


# Series and parallel


@given(availabilities)
def test_one_of_several_is_parallel_and_all_of_them_is_series(parts: list[float]) -> None:
    assert at_least(1, parts) == pytest.approx(1 - math.prod(1 - part for part in parts), abs=1e-9)
    assert at_least(len(parts), parts) == pytest.approx(series(parts), abs=1e-9)
    assert at_least(0, parts) == pytest.approx(1)
    assert at_least(len(parts) + 1, parts) == 0


@given(availabilities, availabilities)
def test_series_joins(first: list[float], second: list[float]) -> None:
    assert series([*first, *second]) == pytest.approx(series([series(first), series(second)]))
    assert series([*first, 1.0]) == pytest.approx(series(first))
    assert series([*first, 0.0]) == 0


@given(st.integers(0, 6), availabilities, st.floats(0, 1))
def test_more_parts_never_harm_what_is_parallel_and_never_help_a_series(needed: int, parts: list[float], more: float) -> None:
    assert at_least(needed, [*parts, more]) >= at_least(needed, parts) - 1e-9
    assert series([*parts, more]) <= series(parts) + 1e-9
    assert at_least(needed + 1, parts) <= at_least(needed, parts) + 1e-9


@given(st.integers(0, 6), st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 5), st.floats(0, 1))
def test_a_better_part_never_harms(needed: int, parts: list[float], index: int, better: float) -> None:
    index %= len(parts)
    improved = [max(part, better) if place == index else part for place, part in enumerate(parts)]
    assert at_least(needed, improved) >= at_least(needed, parts) - 1e-9


def test_two_of_three_by_hand() -> None:
    assert at_least(2, [0.9, 0.9, 0.9]) == pytest.approx(3 * 0.81 * 0.1 + 0.729)


# Rates


def test_a_rate_by_hand() -> None:
    assert Rate(8766 / 100, 1).availability == pytest.approx(1 / 1.01)
    assert Rate(0, 5).availability == Rate(5, 0).availability == 1


@given(rates, st.floats(0, 10), st.integers(1, 5), st.integers(0, 5), st.floats(0, 100))
def test_more_failures_or_longer_ones_are_never_better(rate: Rate, more: float, count: int, needed: int, seconds: float) -> None:
    def part(rate: Rate, seconds: float) -> float:
        return Part("web", count, needed, rate, (("kill-web", count, seconds),)).availability

    assert 0 <= part(rate, seconds) <= 1
    assert part(replace(rate, failures_per_year=rate.failures_per_year + more), seconds) <= part(rate, seconds) + 1e-9
    assert part(replace(rate, repair_h=rate.repair_h + more), seconds) <= part(rate, seconds) + 1e-9
    assert part(rate, seconds + more) <= part(rate, seconds) + 1e-9


# Stages


def shape(name: str) -> dict[str, tuple[int, int]]:
    return {part.name: (part.count, part.needed) for part in reliability.parts_of(stages.parse(name), ASSUMED)}


def test_the_parts_of_each_stage() -> None:
    anywhere = {"zone": (1, 1), "region": (1, 1)}
    assert shape("1") == {"box": (1, 1), **anywhere}
    assert shape("2") == {"web": (1, 1), "db": (1, 1), **anywhere}
    assert shape("3") == {"lb": (1, 1), "web": (2, 1), "db": (1, 1), **anywhere}
    assert shape("4") == {"lb": (1, 1), "web": (2, 1), "db": (2, 1), **anywhere}
    # The monitor's loss alone is no outage.
    assert shape("4:automatic") == shape("4")
    assert shape("5") == {"lb": (2, 1), "web": (2, 1), "db": (2, 1), **anywhere}
    assert shape("6") == {"lb": (2, 1), "web": (3, 1), "db": (3, 2), "zone": (3, 2), "region": (1, 1)}


def test_regions_bring_their_zones_with_them() -> None:
    services = tuple(
        ServiceSpec(spec.name, spec.roles, {**spec.labels, "lab.region": region})
        for spec, region in zip(stages.find("3").services, ("eu", "us", "witness", "eu", "", ""), strict=True)
    )
    parts = {part.name: part for part in reliability.parts_of(replace(stages.find("3"), services=services), ASSUMED)}
    assert (parts["region"].count, parts["region"].needed) == (3, 2)
    assert (parts["zone"].count, parts["zone"].needed) == (3, 2)


def test_each_stage_is_at_least_as_available_as_the_one_before_that_lacks_something() -> None:
    ratios = [reliability.predict(stage, alone(stage), ASSUMED).assumed_ratio for stage in ALL]
    # From one box to two there is nothing gained but that each is simpler.
    assert all(after > before for before, after in pairwise(ratios[1:]))
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-4)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_nothing_that_fails_makes_a_stage_perfect(stage: Stage) -> None:
    perfect = replace(
        ASSUMED,
        boxes={name: Rate(0, 1) for name in ASSUMED.boxes},
        places={name: Rate(0, 1) for name in ASSUMED.places},
    )
    assert reliability.predict(stage, alone(stage), perfect).assumed_ratio == pytest.approx(1)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
@pytest.mark.parametrize("kind", reliability.KINDS)
def test_worse_boxes_never_make_a_stage_better(stage: Stage, kind: str) -> None:
    worse = replace(ASSUMED, boxes={**ASSUMED.boxes, kind: Rate(500, 50)})
    assert (
        reliability.predict(stage, alone(stage), worse).assumed_ratio
        <= reliability.predict(stage, alone(stage), ASSUMED).assumed_ratio
    )


def test_where_an_operator_promotes_the_time_is_the_operators() -> None:
    slow = replace(ASSUMED, operator_min=ASSUMED.operator_min * 10)
    assert predicted("4", assumed=slow).assumed_ratio < predicted("4").assumed_ratio
    assert predicted("4:automatic", assumed=slow).assumed_ratio == predicted("4:automatic").assumed_ratio


# Beside what was measured


def test_measured_failovers_take_the_place_of_the_assumed_ones() -> None:
    slower, as_assumed = predicted("5", cell("kill-primary", 100.0)), predicted("5", cell("kill-primary", 1.5))
    assert slower.measured_ratio is not None
    assert slower.measured_ratio < slower.assumed_ratio
    assert as_assumed.measured_ratio == pytest.approx(as_assumed.assumed_ratio)
    assert predicted("5").measured_ratio is None


def test_a_failover_that_never_ends_costs_a_repair() -> None:
    stays_away = predicted("5", cell("kill-lb", 4.0, censored=True))
    assert stays_away.measured_ratio is not None
    assert stays_away.month_min > predicted("5").month_min
    expected = ASSUMED.boxes["lb"].failures_per_year * ASSUMED.boxes["lb"].repair_h / reliability.HOURS_PER_YEAR
    assert stays_away.assumed_ratio - stays_away.measured_ratio == pytest.approx(expected, rel=0.01)


def twenty(cut: int, seconds: float = 1.01) -> Cell:
    """Twenty trials of which so many were healed, after 3 s."""
    bounds = tuple(at < cut for at in range(20))
    return cell("kill-primary", *(3.0 if bound else seconds for bound in bounds), downtimes_censored=bounds)


def test_a_failover_that_fails_one_time_in_twenty_costs_a_mixture() -> None:
    """19 times 1.01 s and once a repair of 4 h: neither the 13 minutes a month of the one nor the 52 of the other."""
    always, once, never = (predicted("5", twenty(cut)).month_min for cut in (0, 1, 20))
    assert [always, never] == pytest.approx([12.86, 52.28], abs=0.01)
    assert once == pytest.approx(14.84, abs=0.01)
    assert once == pytest.approx(always + (never - always) / 20, abs=0.01)
    (seen,) = predicted("5", twenty(1)).observations
    assert (seen.observed_s, seen.censored) == (1.01, False)
    assert disagreement_text(seen) == "model: restored after 1.50 s; in 1 of 20 trials not until it was healed"


@given(st.integers(0, 19), st.floats(0, 6))
def test_one_more_trial_that_was_healed_never_makes_a_month_shorter(cut: int, seconds: float) -> None:
    assert predicted("5", twenty(cut + 1, seconds)).month_min >= predicted("5", twenty(cut, seconds)).month_min - 1e-9


@pytest.mark.parametrize(
    ("name", "column", "seconds", "censored", "said"),
    [
        ("5", "kill-lb", 0.4, False, ""),
        ("5", "kill-lb", 0.0, False, "model 0.50 s, measured 0.00 s"),
        ("5", "kill-lb", 4.0, False, "model 0.50 s, measured 4.00 s"),
        ("5", "kill-lb", 4.0, True, "measured: not restored until it was healed"),
        ("5", "kill-web", 0.0, False, ""),
        # There was no repair: the model waits for a repair, and so did the measurement until it was healed.
        ("3", "kill-lb", 4.0, True, ""),
        ("3", "kill-lb", 0.2, False, "model 60 min, measured 0.20 s"),
        ("4", "kill-primary", 4.0, True, ""),
        ("1", "kill-web", 4.0, True, ""),
        ("6", "kill-zone", 3.1, False, ""),
    ],
)
def test_where_they_disagree_it_is_said(name: str, column: str, seconds: float, censored: bool, said: str) -> None:
    (seen,) = predicted(name, cell(column, seconds, censored=censored)).observations
    assert (seen.column, seen.observed_s) == (column, seconds)
    assert said in disagreement_text(seen)
    assert bool(said) == bool(seen.disagreement)


def test_what_the_model_knows_nothing_of_is_passed_over() -> None:
    assert predicted("5", cell("pause-primary", 1.0), cell("kill-lb")).observations == ()


# The file


def test_the_file_that_comes_with_the_lab_says_that_nothing_in_it_is_measured() -> None:
    assert "NONE OF THIS IS MEASURED" in reliability.FILE.read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("operator_min: 30", "operator_min: soon", "operator_min must be a number from 0 to 1e+06, not 'soon'"),
        ("operator_min: 30", "operator_min: -1", "operator_min must be a number"),
        ("operator_min: 30", "", "'operator_min' is missing"),
        ("  lb: 0.5", "  lbs: 0.5", "'lbs' is not known here"),
        ("repair_h: 12", "repair: 12", "'repair' is not known here"),
        ("places:", "place:", "'place' is not known here"),
        ("  web: 0.1\n", "", "'web' is missing"),
    ],
)
def test_what_is_wrong_in_it_is_named_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = reliability.FILE.read_text()
    assert text.count(old) == 1
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    with pytest.raises(UsageError) as error:
        reliability.read(tmp_path / "mine.yaml")
    assert f"{tmp_path / 'mine.yaml'}:" in error.value.message
    assert said in error.value.message


# What nothing in reserve costs


def tier(name: str, exposed_s: float | None, boxes: int = 2, left: int = 1) -> ExposureSummary:
    return ExposureSummary(name, boxes, left, 1, exposed_s, exposed_s or 0.0, exposed_s or 0.0, censored=False)


def cost(*found: ExposureSummary, assumed: Assumptions = ASSUMED) -> dict[str, ExposureCost]:
    return {each.tier: each for each in exposure_costs(found, assumed)}


def assuming(failures_per_year: float = HOURS_PER_YEAR / HOURS_PER_MONTH, repair_h: float = 2.0) -> Assumptions:
    return replace(ASSUMED, boxes={**ASSUMED.boxes, "db": Rate(failures_per_year, repair_h)})


def test_a_month_is_as_long_as_everywhere() -> None:
    assert HOURS_PER_MONTH * 3600 == MONTH_S == 30 * 24 * 3600
    (alone_,) = [stage for stage in ALL if stage.number == 1]
    found = reliability.predict(alone_, alone(alone_), ASSUMED)
    assert found.month_min * 60 == pytest.approx((1 - found.assumed_ratio) * MONTH_S)


def test_cost_of_two_databases_that_fail_once_a_month_each() -> None:
    """Two failures a month, each with 36 s (a 72,000th of a month) in which the other one may fail: 2 h gone, if so."""
    found = cost(tier("database", 36.0, boxes=2, left=1), tier("web", 0.0, left=2), assumed=assuming())["database"]
    assert found.failures_per_month == pytest.approx(2)
    assert found.exposed_s == pytest.approx(72.0)
    assert found.outage_s == pytest.approx(2 / 72_000 * 7200, rel=1e-4)
    # Without a repair for 2 h, a 360th of a month.
    assert found.unrepaired_outage_s == pytest.approx(2 * (1 - math.exp(-1 / 360)) * 7200)


def test_what_failed_decides_how_often_and_what_is_left_what_a_second_failure_is() -> None:
    without_monitor = cost(tier("monitor", 60.0, boxes=1, left=0), tier("database", 60.0, left=2))
    monitor, database, months = ASSUMED.boxes["monitor"], ASSUMED.boxes["db"], HOURS_PER_YEAR / HOURS_PER_MONTH
    assert without_monitor["database"].failures_per_month == pytest.approx(monitor.failures_per_year / months)
    assert without_monitor["database"].outage_s == pytest.approx(
        monitor.failures_per_year / months * 60 * 2 * database.failures_per_year / (8766 * 3600) * database.repair_h * 3600,
        rel=1e-3,
    )
    assert without_monitor["monitor"].outage_s == 0
    place = cost(tier("zone", 60.0, boxes=3, left=2), tier("database", 60.0, boxes=3, left=2))
    assert place["database"].failures_per_month == pytest.approx(3 * ASSUMED.places["zone"].failures_per_year / months)


def of_zones(*members: Member) -> Cell:
    worst = worst_of(members)
    assert worst
    return cell("kill-zone", *worst.downtimes_s, censored=worst.downtime_censored, members=members, worst=worst.target)


def test_a_zone_costs_what_the_zones_cost_on_average() -> None:
    """Each fails as often as the others, and only one has the primary."""
    zones = [member(f"zone:{name}", s) for name, s in (("a", 3.0), ("b", 0.0), ("c", 0.3))]
    (seen,) = predicted("6", of_zones(*zones)).observations
    assert seen.observed_s == pytest.approx(1.1)
    assert predicted("6", of_zones(*zones)).measured_ratio == pytest.approx(predicted("6", cell("kill-zone", 1.1)).measured_ratio)
    away = member("zone:a", 6.0, censored=True)
    repair_s = ASSUMED.places["zone"].repair_h * 3600
    assert predicted("6", of_zones(away, *zones[1:])).measured_ratio == pytest.approx(
        predicted("6", cell("kill-zone", (repair_s + 0.0 + 0.3) / 3)).measured_ratio
    )


def test_where_nothing_failed_or_nothing_was_exposed_there_is_no_cost() -> None:
    assert cost(tier("database", 0.0, left=2), tier("balancer", None, boxes=1)) == {}
    assert cost(tier("database", 5.0, left=2)) == {}
    assert cost(tier("database", 0.0), tier("web", None)) == {}


@given(rates, st.floats(0.1, 1e6), st.floats(0.1, 1e6), st.integers(1, 9))
def test_longer_exposure_never_costs_less_and_never_more_than_an_outage_each_time(
    rate: Rate, one_s: float, other_s: float, left: int
) -> None:
    assumed = replace(ASSUMED, boxes={**ASSUMED.boxes, "db": rate})
    shorter, longer = (cost(tier("database", each, 10, left), assumed=assumed) for each in sorted((one_s, other_s)))
    if not rate.failures_per_year:
        assert shorter == longer == {}
        return
    assert shorter["database"].outage_s <= longer["database"].outage_s
    assert longer["database"].outage_s <= longer["database"].unrepaired_outage_s
    assert longer["database"].unrepaired_outage_s <= longer["database"].failures_per_month * rate.repair_h * 3600 + 1e-9


def test_target_of_which_nothing_is_known_leaves_the_model_as_assumed() -> None:
    """A region without a valid trial is not one that costs nothing."""
    known = of_zones(member("zone:a", 0.0), member("zone:b", trials=1))
    assert known.unmeasured == ("zone:b",)
    assert predicted("6", known).measured_ratio is None
