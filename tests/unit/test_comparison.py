from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import comparison
from lab.comparison import MONTH_S, OBJECTIVES
from lab.model import Verdict
from lab.report.matrix import Cell, Matrix
from lab.statistics import Change
from tests.unit.matrices import cell, matrix, not_applicable, row

FAST, SLOW = (0.2, 0.21, 0.22, 0.23, 0.24), (1.2, 1.21, 1.22, 1.23, 1.24)


def test_stages_differ_where_five_trials_say_so() -> None:
    found = comparison.differences(
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
    found = comparison.differences(matrix(row("2-a", cell("kill-web", *SLOW[:3])), row("3-b", cell("kill-web", *FAST))))
    assert [each.change for each in found] == [Change.TOO_FEW]
    assert found[0].shift is None


def test_every_two_stages_that_have_the_part_are_compared() -> None:
    rows = [row(f"{number}-x", cell("kill-web", *FAST)) for number in (1, 2, 3)]
    rows.append(row("4-x", not_applicable("kill-web", "it has none")))
    rows.append(row("5-x", cell("kill-web")))
    assert [(each.first, each.second) for each in comparison.differences(matrix(*rows))] == [
        ("1-x", "2-x"),
        ("1-x", "3-x"),
        ("2-x", "3-x"),
    ]


def test_a_cell_that_does_not_say_which_downtimes_are_bounds_has_only_bounds() -> None:
    found = comparison.downtimes(cell("kill-web", 3.0, 0.1, censored=True, downtimes_censored=()))
    assert [each.censored for each in found] == [True, True]


# A month


@pytest.mark.parametrize(
    ("downtime_s", "faults"), [(1.0, (2592, 259, 25)), (259.2, (10, 1, 0)), (0.0, (None, None, None)), (2592.0, (1, 0, 0))]
)
def test_a_month_allows_so_many_faults(downtime_s: float, faults: tuple[int | None, ...]) -> None:
    (found,) = comparison.affordable(matrix(row("3-x", cell("kill-web", downtime_s))))
    assert found.faults == faults


@given(st.floats(0.001, 10_000))
def test_what_is_allowed_keeps_the_objective_and_one_more_would_not(downtime_s: float) -> None:
    (found,) = comparison.affordable(matrix(row("3-x", cell("kill-web", downtime_s))))
    for faults, objective in zip(found.faults, OBJECTIVES, strict=True):
        assert faults is not None
        allowed_s = MONTH_S * (1 - objective)
        assert faults * downtime_s <= allowed_s + 1e-6 < (faults + 1) * downtime_s + 2e-6


def test_where_the_downtime_is_a_lower_bound_the_faults_are_an_upper_one() -> None:
    (found,) = comparison.affordable(matrix(row("3-x", cell("kill-web", 4.0, censored=True), cell("kill-lb"))))
    assert found.censored


# Now and then


def ten(random: Random, median_s: float, noughts: float) -> tuple[float, ...]:
    """Ten trials of a failover: perhaps some that nobody noticed, the rest around a median."""
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
    said = [{each.verdict for each in comparison.against(stage_of(random), stage_of(random))} for _ in range(200)]
    assert sum(each == {Verdict.HELD} for each in said) >= 180 + 5


def test_an_injected_regression_is_recognised_with_ten_trials() -> None:
    random, false_alarms = Random(2), 0
    for _ in range(40):
        found = comparison.against(stage_of(random, kill_primary=2.5), stage_of(random))
        worse = {each.column: each for each in found if each.verdict is Verdict.REFUTED}
        assert worse["kill-primary"].change is Change.LONGER
        assert "longer: by +" in worse["kill-primary"].why
        false_alarms += len(worse) > 1
    assert false_alarms <= 4  # of forty comparisons two are to be expected


def test_the_smallest_change_that_counts_is_the_users_choice() -> None:
    then, now = (matrix(row("3-x", cell("pause-web", *(base + 0.001 * each for each in range(10))))) for base in (0.35, 0.41))
    (small,), (counts,) = comparison.against(now, then), comparison.against(now, then, shift_min_s=0.05)
    assert (small.verdict, small.change) == (Verdict.HELD, Change.NONE)
    assert small.why.endswith(", under the 0.1 s that count")
    assert (counts.verdict, counts.change) == (Verdict.REFUTED, Change.LONGER)


def test_what_has_become_better_is_no_failure() -> None:
    random = Random(3)
    found = comparison.against(stage_of(random, kill_primary=0.2), stage_of(random))
    assert {each.column: each.change for each in found}["kill-primary"] is Change.SHORTER
    assert comparison.verdict_of([each.verdict for each in found]) is Verdict.HELD


def test_that_it_stays_away_now_is_a_regression() -> None:
    then, now = matrix(row("5-x", cell("kill-lb", *[0.3] * 10))), matrix(row("5-x", cell("kill-lb", *[4.0] * 10, censored=True)))
    (found,) = comparison.against(now, then)
    assert found.verdict is Verdict.REFUTED
    assert "by at least +3.70 s" in found.why


def test_too_few_trials_say_neither_yes_nor_no() -> None:
    (found,) = comparison.against(matrix(row("5-x", cell("kill-lb", 9.0, 9.0))), matrix(row("5-x", cell("kill-lb", 0.1, 0.1))))
    assert (found.verdict, found.change) == (Verdict.INCONCLUSIVE, Change.TOO_FEW)
    assert found.why == "too few trials to say: 2 and 2 valid trials, 5 of each are needed"


def test_five_trials_are_too_few_where_very_many_cells_are_asked() -> None:
    def many(cells: int) -> Matrix:
        return matrix(row("5-x", *(cell(f"kill-{number}", *FAST) for number in range(cells))))

    assert {each.change for each in comparison.against(many(6), many(6))} == {Change.NONE}
    assert {each.change for each in comparison.against(many(7), many(7))} == {Change.TOO_FEW}
    assert comparison.against(many(7), many(7))[0].why.endswith("5 and 5 valid trials, 6 of each are needed")


@pytest.mark.parametrize(
    ("now", "said"), [({"writes_lost": 2}, "2 acknowledged writes lost"), ({"split_brain_s": 0.4}, "two writable databases")]
)
def test_a_loss_is_a_regression_whatever_the_trials(now: dict[str, float], said: str) -> None:
    then = cell("kill-primary", 1.0)
    worse = replace(then, **now)  # type: ignore[arg-type]
    (found,) = comparison.against(matrix(row("5-x", worse)), matrix(row("5-x", then)))
    assert found.verdict is Verdict.REFUTED
    assert said in found.why
    # What was so before is not new.
    assert comparison.against(matrix(row("5-x", worse)), matrix(row("5-x", worse)))[0].verdict is Verdict.INCONCLUSIVE


def test_only_what_both_have_is_compared() -> None:
    then = matrix(row("3-x", cell("kill-web", *FAST)), row("4-x", cell("kill-web", *FAST)))
    now = matrix(
        row("3-x", cell("kill-web", *FAST), cell("kill-lb", *FAST), not_applicable("kill-zone", "none")),
        row("5-x", cell("kill-web", *FAST)),
    )
    assert [(each.row, each.column) for each in comparison.against(now, then)] == [("3-x", "kill-web")]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], Verdict.HELD),
        ([Verdict.HELD, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.INCONCLUSIVE, Verdict.REFUTED, Verdict.HELD], Verdict.REFUTED),
    ],
)
def test_the_worst_decides(found: list[Verdict], expected: Verdict) -> None:
    assert comparison.verdict_of(found) is expected


def test_cells_without_a_valid_trial_are_named() -> None:
    silent: Cell = cell("kill-lb", why=("the fault did not bite",))
    assert comparison.unmeasured(matrix(row("3-x", cell("kill-web", 1.0), silent, not_applicable("kill-zone", "none")))) == (
        "3-x, kill-lb: the fault did not bite",
    )
