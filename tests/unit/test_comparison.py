from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import compare, design, reliability
from lab.analysis.cell import worst_of
from lab.analysis.compare import OBJECTIVES
from lab.analysis.conclusion import Gate, of_comparison
from lab.analysis.matrix import Cell, Matrix
from lab.analysis.stats import CHANCE_MAX, TRIALS_MIN, Change, holm
from lab.model.measures import Verdict
from lab.model.result import MONTH_S
from lab.report.gate_words import regression_why, why
from lab.spec import stages
from tests.unit.matrices import cell, matrix, member, not_applicable, row

FAST, SLOW = (0.2, 0.21, 0.22, 0.23, 0.24), (1.2, 1.21, 1.22, 1.23, 1.24)


def test_stages_differ_where_five_trials_say_so() -> None:
    found = compare.differences(
        matrix(row("2-separate-database", cell("kill-web", *SLOW)), row("3-load-balancer", cell("kill-web", *FAST)))
    )
    (difference,) = found
    assert (difference.first, difference.second, difference.change) == (
        "2-separate-database",
        "3-load-balancer",
        Change.SHORTER,
    )
    assert difference.shift
    assert difference.shift.estimate_s == pytest.approx(-1.0)


def test_three_trials_are_too_few_to_say() -> None:
    found = compare.differences(matrix(row("2-a", cell("kill-web", *SLOW[:3])), row("3-b", cell("kill-web", *FAST))))
    assert [each.change for each in found] == [Change.TOO_FEW]
    assert found[0].shift is None


def test_every_two_stages_that_have_the_part_are_compared() -> None:
    rows = [row(f"{number}-x", cell("kill-web", *FAST)) for number in (1, 2, 3)]
    rows.append(row("4-x", not_applicable("kill-web", "it has none")))
    rows.append(row("5-x", cell("kill-web")))
    assert [(each.first, each.second) for each in compare.differences(matrix(*rows))] == [
        ("1-x", "2-x"),
        ("1-x", "3-x"),
        ("2-x", "3-x"),
    ]


def test_a_bound_of_the_median_and_of_the_worst_targets_are_upper_bounds_of_what_a_month_allows() -> None:
    bound = cell("kill-web", 1.0, 1.0, 3.0, downtimes_censored=(False, True, False))
    (found,) = compare.allowed_incidents(matrix(row("3-x", bound)))
    assert (found.faults, found.censored) == ((2592, 259, 25), True)
    a = member("zone:a", 1.0, censored=True)
    b = member("zone:b", 2.0)
    (found,) = compare.allowed_incidents(
        matrix(row("3-x", cell("kill-zone", 1.0, censored=True, members=(a, b), worst="zone:a")))
    )
    assert (found.faults[0], found.censored) == (1296, True)


def test_split_brain_that_nothing_watched_is_not_held_against_an_older_comparison() -> None:
    old, seen = (matrix(row("5-x", cell("kill-web", *FAST, split_brain_s=each))) for each in (0.0, None))
    (found,) = compare.regressions(seen, old)
    assert (found.verdict, "is not known: the databases were not observed" in regression_why(found)) == (
        Verdict.INCONCLUSIVE,
        True,
    )
    (found,) = compare.regressions(matrix(row("5-x", cell("kill-web", *FAST, split_brain_s=0.3))), seen)
    assert (found.verdict, regression_why(found)) == (Verdict.REFUTED, "split brain for 0.3 s, and none is known of before")


# A month


@pytest.mark.parametrize(
    ("downtime_s", "faults"), [(1.0, (2592, 259, 25)), (259.2, (10, 1, 0)), (0.0, (None, None, None)), (2592.0, (1, 0, 0))]
)
def test_a_month_allows_so_many_faults(downtime_s: float, faults: tuple[int | None, ...]) -> None:
    (found,) = compare.allowed_incidents(matrix(row("3-x", cell("kill-web", downtime_s))))
    assert found.faults == faults


@given(st.floats(0.001, 10_000))
def test_what_is_allowed_keeps_the_objective_and_one_more_would_not(downtime_s: float) -> None:
    (found,) = compare.allowed_incidents(matrix(row("3-x", cell("kill-web", downtime_s))))
    for faults, objective in zip(found.faults, OBJECTIVES, strict=True):
        assert faults is not None
        allowed_s = MONTH_S * (1 - objective)
        assert faults * downtime_s <= allowed_s + 1e-6 < (faults + 1) * downtime_s + 2e-6


def test_where_the_downtime_is_a_lower_bound_the_faults_are_an_upper_one() -> None:
    (found,) = compare.allowed_incidents(matrix(row("3-x", cell("kill-web", 4.0, censored=True), cell("kill-lb"))))
    assert found.censored


# Now and then


def ten(random: Random, median_s: float, noughts: float) -> tuple[float, ...]:
    """Ten trials of a failover: perhaps some that no user noticed, the rest around a median."""
    return tuple(0.0 if random.random() < noughts else max(random.gauss(median_s, 0.2), 0.0) for _ in range(10))


def stage_of(random: Random, **medians_s: float) -> Matrix:
    columns = {
        "kill-web": 0.1,
        "kill-lb": 0.3,
        "kill-primary": 1.1,
        "kill-standby": 0.4,
        **{name.replace("_", "-"): s for name, s in medians_s.items()},
    }
    return matrix(
        row(
            "5-redundant",
            *(cell(name, *ten(random, each, 0.0 if name == "kill-primary" else 0.4)) for name, each in columns.items()),
        )
    )


def test_an_unchanged_stage_is_called_no_change_at_least_nine_times_of_ten() -> None:
    random = Random(1)
    said = [{each.verdict for each in compare.regressions(stage_of(random), stage_of(random))} for _ in range(200)]
    assert sum(each == {Verdict.HELD} for each in said) >= 180 + 5


def test_an_injected_regression_is_recognised_with_ten_trials() -> None:
    random, false_alarms = Random(2), 0
    for _ in range(40):
        found = compare.regressions(stage_of(random, kill_primary=2.5), stage_of(random))
        worse = {each.column: each for each in found if each.verdict is Verdict.REFUTED}
        assert worse["kill-primary"].change is Change.LONGER
        assert "longer: by +" in regression_why(worse["kill-primary"])
        false_alarms += len(worse) > 1
    assert false_alarms <= 4  # of forty comparisons two are to be expected


def test_the_smallest_change_that_counts_is_the_users_choice() -> None:
    then, now = (matrix(row("3-x", cell("pause-web", *(base + 0.001 * each for each in range(10))))) for base in (0.35, 0.41))
    (small,), (counts,) = compare.regressions(now, then), compare.regressions(now, then, shift_min_s=0.05)
    assert (small.verdict, small.change) == (Verdict.HELD, Change.NONE)
    assert regression_why(small).endswith(", under the 0.1 s that count")
    assert (counts.verdict, counts.change) == (Verdict.REFUTED, Change.LONGER)


def test_what_has_become_better_is_no_failure() -> None:
    random = Random(3)
    found = compare.regressions(stage_of(random, kill_primary=0.2), stage_of(random))
    assert {each.column: each.change for each in found}["kill-primary"] is Change.SHORTER
    assert compare.verdict_of([each.verdict for each in found]) is Verdict.HELD


def test_that_it_stays_away_now_is_a_regression() -> None:
    then, now = matrix(row("5-x", cell("kill-lb", *[0.3] * 10))), matrix(row("5-x", cell("kill-lb", *[4.0] * 10, censored=True)))
    (found,) = compare.regressions(now, then)
    assert found.verdict is Verdict.REFUTED
    assert "by at least +3.70 s" in regression_why(found)


def test_too_few_trials_say_neither_yes_nor_no() -> None:
    (found,) = compare.regressions(matrix(row("5-x", cell("kill-lb", 9.0, 9.0))), matrix(row("5-x", cell("kill-lb", 0.1, 0.1))))
    assert (found.verdict, found.change) == (Verdict.INCONCLUSIVE, Change.TOO_FEW)
    assert regression_why(found) == "too few trials to say: 2 and 2 valid trials, 5 of each are needed"


def test_five_trials_are_too_few_where_very_many_cells_are_asked() -> None:
    def many(cells: int) -> Matrix:
        return matrix(row("5-x", *(cell(f"kill-{number}", *FAST) for number in range(cells))))

    assert {each.change for each in compare.regressions(many(6), many(6))} == {Change.NONE}
    assert {each.change for each in compare.regressions(many(7), many(7))} == {Change.TOO_FEW}
    assert regression_why(compare.regressions(many(7), many(7))[0]).endswith("5 and 5 valid trials, 6 of each are needed")


def test_holm_is_judged_by_holm() -> None:
    """Six cells of 20 and 20 that do not differ, and one of 5 and 5 that is as far apart as can be."""
    apart = tuple(each + 1 for each in FAST)
    alike = tuple(0.2 + 0.01 * each for each in range(20))

    def of(changed: tuple[float, ...], *others: tuple[float, ...]) -> Matrix:
        return matrix(row("5-x", cell("kill-lb", *changed), *(cell(f"kill-{at}", *each) for at, each in enumerate(others))))

    clear = tuple(each + 1 for each in alike)
    found = {each.column: each for each in compare.regressions(of(apart, *[clear] * 6), of(FAST, *[alike] * 6))}
    assert {each.change for each in found.values()} == {Change.LONGER}
    assert found["kill-lb"].judged.p_adjusted == pytest.approx(2 / 252)
    # Beside six that show nothing, one of five and five is asked seven times over.
    found = {each.column: each for each in compare.regressions(of(apart, *[alike] * 6), of(FAST, *[alike] * 6))}
    assert found["kill-lb"].change is Change.TOO_FEW
    assert regression_why(found["kill-lb"]).endswith("5 and 5 valid trials, 6 of each are needed")


sizes = st.tuples(st.integers(5, 8), st.integers(5, 8))


@given(sizes, st.lists(st.floats(1e-6, 1), max_size=9))
def test_too_few_is_said_only_where_no_outcome_would_have_been_a_change(size: tuple[int, int], others: list[float]) -> None:
    """Every outcome without ties, by the number of pairs that are in order: its p-value, and what Holm makes of it."""
    ways = (
        Counter(
            sum(1 for chosen in deal for other in range(sum(size)) if other not in deal and other < chosen)
            for deal in combinations(range(sum(size)), size[0])
        )
        if sum(size) <= 11
        else Counter({0: 1, size[0] * size[1]: 1})
    )
    middle = size[0] * size[1] / 2
    every = math.comb(sum(size), size[0])
    attainable = [
        sum(many for other, many in ways.items() if abs(other - middle) >= abs(pairs - middle)) / every for pairs in ways
    ]
    some = any(holm([p, *others])[0] < CHANCE_MAX for p in attainable)
    assert compare.could_tell(*size, others) == some


@given(st.lists(st.floats(1e-6, 1), max_size=30))
def test_the_trials_that_are_needed_are_enough_and_the_fewest(others: list[float]) -> None:
    needed = compare.trials_needed(others)
    assert compare.could_tell(needed, needed, others)
    assert needed == TRIALS_MIN or not compare.could_tell(needed - 1, needed - 1, others)


# Several targets


def zones(*medians_s: float, trials: int = 10, shift_s: float = 0.0) -> Cell:
    """A cell whose zones have these medians."""
    spread = [0.01 * at - 0.005 * (trials - 1) for at in range(trials)]
    each_one = [
        member(f"zone:{name}", *(max(median_s + shift_s + by, 0.0) for by in spread))
        for name, median_s in zip("abc", medians_s, strict=False)
    ]
    worst = worst_of(each_one)
    assert worst
    return cell("kill-zone", *worst.downtimes_s, members=tuple(each_one), worst=worst.target)


def test_the_worst_targets_are_held_against_each_other() -> None:
    then, now = matrix(row("6-x", zones(3.0, 0.2, 0.2))), matrix(row("6-x", zones(0.2, 4.0, 0.2)))
    (found,) = compare.regressions(now, then)
    assert found.verdict is Verdict.REFUTED
    assert found.shift
    assert found.shift.estimate_s == pytest.approx(1.0)
    assert regression_why(found).endswith("10 and 10 valid trials (zone:a before, zone:b now)")


def test_targets_in_one_sample_are_not_held_against_those_of_each() -> None:
    mixed = cell("kill-zone", *[0.2, 3.0, 0.0] * 4)
    (found,) = compare.regressions(matrix(row("6-x", zones(3.0, 0.2, 0.2))), matrix(row("6-x", mixed)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert regression_why(found) == "not the same targets: all in one sample before, zone:a, zone:b, zone:c now"


def test_a_target_without_a_valid_trial_leaves_it_open() -> None:
    whole = zones(3.0, 0.2, 0.2)
    blind = replace(whole, members=(*whole.members[:2], member("zone:c", trials=3)))
    (found,) = compare.regressions(matrix(row("6-x", blind)), matrix(row("6-x", whole)))
    assert (found.verdict, regression_why(found)) == (Verdict.INCONCLUSIVE, "no valid trial of zone:c")
    # What is at least as long as it seems is longer all the same.
    (found,) = compare.regressions(matrix(row("6-x", blind)), matrix(row("6-x", zones(1.0, 0.2, 0.2))))
    assert found.verdict is Verdict.REFUTED


def test_a_target_without_a_valid_trial_before_is_no_regression() -> None:
    then = zones(0.2, 0.2)
    blind = replace(then, members=(*then.members, member("zone:c", trials=3)))
    (found,) = compare.regressions(matrix(row("6-x", zones(0.2, 0.2, 3.0))), matrix(row("6-x", blind)))
    assert (found.verdict, regression_why(found)) == (Verdict.INCONCLUSIVE, "no valid trial of zone:c before")
    # But no longer than what was known to be the least is no longer.
    (found,) = compare.regressions(matrix(row("6-x", zones(0.2, 0.2, 0.2))), matrix(row("6-x", blind)))
    assert found.verdict is Verdict.HELD
    (allowed,) = compare.allowed_incidents(matrix(row("6-x", blind)))
    assert allowed.censored


def test_cells_with_such_a_target_are_named_and_what_they_allow_is_an_upper_bound() -> None:
    whole = zones(3.0, 0.2, 0.2)
    blind = replace(whole, members=(*whole.members[:2], member("zone:c", trials=3)))
    assert compare.unmeasured(matrix(row("6-x", blind))) == (("6-x", blind),)
    (allowed,) = compare.allowed_incidents(matrix(row("6-x", blind)))
    assert allowed.censored


def test_zones_that_are_alike_raise_no_more_false_alarms() -> None:
    """The worst of three is taken on both sides alike."""
    random, alarms = Random(4), 0

    def drawn() -> Matrix:
        ones = [tuple(max(random.gauss(1.0, 0.3), 0.0) for _ in range(10)) for _ in "abc"]
        each_one = [member(f"zone:{name}", *some) for name, some in zip("abc", ones, strict=True)]
        worst = worst_of(each_one)
        assert worst
        return matrix(row("6-x", cell("kill-zone", *worst.downtimes_s, members=tuple(each_one), worst=worst.target)))

    for _ in range(200):
        (found,) = compare.regressions(drawn(), drawn())
        alarms += found.verdict is Verdict.REFUTED
    assert alarms <= 10


def test_unknown_losses_are_not_no_worse() -> None:
    then = cell("kill-primary", *[1.0] * 10)
    (found,) = compare.regressions(matrix(row("5-x", replace(then, audits_incomplete=2))), matrix(row("5-x", then)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "whether a write was lost is not known" in regression_why(found)


def test_what_is_in_common_is_known_before_anything_is_measured() -> None:
    six, terms = stages.find("6"), design.CellTerms(5.0, 2.0)
    planned = [(six, design.comparison(six, design.fault_specs("kill-zone,kill-web"), terms))]

    def common(*cells: Cell, name: str = six.name) -> list[tuple[str, str]]:
        return compare.in_common(planned, matrix(row(name, *cells)))

    assert common(zones(1.0, 1.0, 1.0), cell("kill-web", 0.1)) == [(six.name, "kill-zone"), (six.name, "kill-web")]
    assert common(cell("kill-zone", 1.0)) == common(zones(1.0, 1.0)) == []
    assert common(cell("kill-lb", 1.0), not_applicable("kill-web", "none")) == []
    assert common(cell("kill-web", 0.1), name="5-redundant-load-balancers") == []


@pytest.mark.parametrize(
    ("now", "said"), [({"writes_lost": 2}, "2 acknowledged writes lost"), ({"split_brain_s": 0.4}, "split brain")]
)
def test_a_loss_is_a_regression_whatever_the_trials(now: dict[str, float], said: str) -> None:
    then = cell("kill-primary", 1.0)
    worse = replace(then, **now)  # type: ignore[arg-type]
    (found,) = compare.regressions(matrix(row("5-x", worse)), matrix(row("5-x", then)))
    assert found.verdict is Verdict.REFUTED
    assert said in regression_why(found)
    # What was so before is not new.
    assert compare.regressions(matrix(row("5-x", worse)), matrix(row("5-x", worse)))[0].verdict is Verdict.INCONCLUSIVE


def test_only_what_both_have_is_compared() -> None:
    then = matrix(row("3-x", cell("kill-web", *FAST)), row("4-x", cell("kill-web", *FAST)))
    now = matrix(
        row("3-x", cell("kill-web", *FAST), cell("kill-lb", *FAST), not_applicable("kill-zone", "none")),
        row("5-x", cell("kill-web", *FAST)),
    )
    assert [(each.row, each.column) for each in compare.regressions(now, then)] == [("3-x", "kill-web")]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], Verdict.HELD),
        ([Verdict.HELD, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.INCONCLUSIVE, Verdict.REFUTED, Verdict.HELD], Verdict.REFUTED),
    ],
)
def test_the_worst_decides(found: list[Verdict], expected: Verdict) -> None:
    assert compare.verdict_of(found) is expected


def test_cells_without_a_valid_trial_are_named() -> None:
    silent: Cell = cell("kill-lb", why=("the fault was not verified",))
    whole = matrix(row("3-x", cell("kill-web", 1.0), silent, not_applicable("kill-zone", "none")))
    assert compare.unmeasured(whole) == (("3-x", silent),)
    found = of_comparison(whole, [], reliability.read(), Gate(), {})
    assert (found.verdict, why(found)) == (Verdict.INCONCLUSIVE, ["3-x, kill-lb: the fault was not verified"])
