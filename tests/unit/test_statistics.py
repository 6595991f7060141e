from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import stats
from lab.analysis.stats import EXACT_MAX, Change, Downtime, Shift, attainable_p, decide, holm, loss_upper_bound, p_value, shift
from lab.analysis.summary import CONFIDENCE

# Few values, so that there are many ties, as with downtimes of exactly 0.
downtimes = st.builds(Downtime, st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.5, 4.0]), st.booleans())
samples = st.lists(downtimes, min_size=1, max_size=4)
plain = st.lists(st.floats(0, 10).map(lambda each: Downtime(round(each, 3))), min_size=5, max_size=9)


def sample(*seconds: float) -> list[Downtime]:
    return [Downtime(each) for each in seconds]


def drawn(seed: int, first: int, second: int) -> tuple[list[Downtime], list[Downtime]]:
    random = Random(seed)
    one = sample(*(round(random.gauss(1, 0.2), 4) for _ in range(first)))
    return one, sample(*(round(random.gauss(1.15, 0.2), 4) for _ in range(second)))


def surely_longer(one: Downtime, other: Downtime) -> int:
    """1, 0 or -1; what is censored may be anything above its bound."""
    if one.censored and other.censored:
        return 0
    if one.censored:
        return 1 if other.seconds <= one.seconds else 0
    if other.censored:
        return -1 if one.seconds <= other.seconds else 0
    return (one.seconds > other.seconds) - (one.seconds < other.seconds)


def by_brute_force(first: list[Downtime], second: list[Downtime]) -> float:
    """Every way in which the pooled trials could have been dealt, one by one."""
    every = [*first, *second]

    def statistic(chosen: set[int]) -> int:
        rest = [index for index in range(len(every)) if index not in chosen]
        return sum(surely_longer(every[one], every[other]) for one in chosen for other in rest)

    observed = abs(statistic(set(range(len(first)))))
    deals = [set(each) for each in combinations(range(len(every)), len(first))]
    return sum(abs(statistic(deal)) >= observed for deal in deals) / len(deals)


@given(samples, samples)
def test_p_value_is_that_of_counting_every_deal(first: list[Downtime], second: list[Downtime]) -> None:
    assert p_value(first, second) == pytest.approx(by_brute_force(first, second))


# scipy 1.17.1: mannwhitneyu(first, second, method="exact"), and "asymptotic" for the last.
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (5, 5, 0.5476190476190477),
        (5, 7, 0.3434343434343435),
        (10, 10, 0.014689644720604474),
        (6, 12, 0.06679594914889034),
        (20, 25, 0.09802414690495412),
    ],
)
def test_p_value_is_that_of_scipy(first: int, second: int, expected: float) -> None:
    assert p_value(*drawn(first * 100 + second, first, second)) == pytest.approx(expected, rel=1e-12)


def test_approximation_is_that_of_scipy_with_and_without_ties() -> None:
    random = Random(7)
    first, second = [random.gauss(1, 0.2) for _ in range(40)], [random.gauss(1.1, 0.2) for _ in range(45)]
    assert len(first) + len(second) > EXACT_MAX
    assert p_value(sample(*first), sample(*second)) == pytest.approx(0.033479208492490545, rel=1e-9)
    tied = [sample(*(round(each, 1) for each in some)) for some in (first, second)]
    assert p_value(*tied) == pytest.approx(0.05080092548528965, rel=1e-9)


@given(samples, samples)
def test_it_does_not_matter_which_sample_comes_first(first: list[Downtime], second: list[Downtime]) -> None:
    assert p_value(first, second) == pytest.approx(p_value(second, first))


@given(plain, plain, st.floats(0.1, 5))
def test_shift_turns_with_the_samples_and_moves_with_them(first: list[Downtime], second: list[Downtime], by_s: float) -> None:
    there, back = shift(first, second), shift(second, first)
    assert there
    assert back
    assert there.low_s <= there.estimate_s <= there.high_s
    assert (there.estimate_s, there.low_s, there.high_s) == pytest.approx((-back.estimate_s, -back.high_s, -back.low_s))
    moved = shift(first, [Downtime(each.seconds + by_s) for each in second])
    assert moved
    assert moved.estimate_s == pytest.approx(there.estimate_s + by_s)


@given(st.lists(st.integers(0, 10_000), min_size=10, max_size=16, unique=True), st.integers(0, 6))
def test_interval_covers_at_least_what_it_says_and_is_the_test_turned_round(values_ms: list[int], more: int) -> None:
    cut = 5 + min(more, len(values_ms) - 10)
    first, second = sample(*(each / 1000 for each in values_ms[:cut])), sample(*(each / 1000 for each in values_ms[cut:]))
    found = shift(first, second)
    assert found
    assert 0.95 <= found.coverage_ratio < 1
    assert (found.low_s <= 0 <= found.high_s) == (found.p_value > 1 - found.coverage_ratio + 1e-12)


def test_shift_by_hand() -> None:
    found = shift(sample(0, 0, 0, 0, 0), sample(1, 1, 1, 1, 2))
    assert found
    assert (found.estimate_s, found.low_s, found.high_s) == (1, 1, 2)
    assert found.p_value == pytest.approx(2 / 252)
    assert found.coverage_ratio == pytest.approx(1 - 2 * 4 / 252)


def test_fewer_than_five_trials_are_too_few_to_say() -> None:
    assert shift(sample(0, 0, 0, 0), sample(9, 9, 9, 9, 9)) is None
    assert decide(None, 0.0) is Change.TOO_FEW


@pytest.mark.parametrize("first", range(1, 12))
@pytest.mark.parametrize("second", range(1, 12))
def test_an_interval_covers_what_it_says_or_there_is_none(first: int, second: int) -> None:
    """Three and three: even the whole range of differences covers the shift with no more than 90 %."""
    found = stats._interval([float(each) for each in range(first * second)], first, second)
    widest = 1 - attainable_p(first, second)
    assert (found is None) == (widest < CONFIDENCE)
    if found:
        assert CONFIDENCE <= found[2] <= widest


def test_lower_bounds_are_not_taken_for_values() -> None:
    # Healed after 4.0 to 4.4 s each: which was longer is unknown.
    stayed_away = [Downtime(4 + each / 10, censored=True) for each in range(5)]
    later = [Downtime(4.2 + each / 10, censored=True) for each in range(5)]
    assert p_value(stayed_away, later) == 1.0
    # But that each outlasted an outage of a second is sure.
    assert p_value(sample(1, 1, 1.1, 0.9, 1), stayed_away) == pytest.approx(2 / 252)
    found = shift(sample(1, 1, 1.1, 0.9, 1), stayed_away)
    assert found
    assert found.censored


def test_nothing_but_ties_is_no_difference() -> None:
    found = shift(sample(0, 0, 0, 0, 0), sample(0, 0, 0, 0, 0))
    assert found == Shift(0, 0, 0, found.coverage_ratio if found else 0, 1.0, False)


@pytest.mark.parametrize(
    ("estimate_s", "p_adjusted", "expected"),
    [
        (0.5, 0.01, Change.LONGER),
        (-0.5, 0.01, Change.SHORTER),
        (0.5, 0.05, Change.NONE),
        (0.05, 0.001, Change.NONE),  # sure, and nothing that a user notices
    ],
)
def test_a_change_is_sure_and_matters(estimate_s: float, p_adjusted: float, expected: Change) -> None:
    assert decide(Shift(estimate_s, 0, 1, 0.95, p_adjusted, False), p_adjusted) is expected


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_between_no_correction_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(p * len(p_values), 1) + 1e-12
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 3), (5, 5), (5, 8)])
def test_attainable_p_is_that_of_samples_that_do_not_overlap(first: int, second: int) -> None:
    low, high = sample(*range(first)), sample(*range(100, 100 + second))
    assert attainable_p(first, second) == pytest.approx(p_value(low, high))


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Ten trials against ten of the same kind: downtimes that are often 0, otherwise spread."""
    random = Random(1)

    def ten() -> list[Downtime]:
        return sample(*(0.0 if random.random() < 0.5 else random.gauss(1.0, 0.3) for _ in range(10)))

    alarms = sum(decide(found, found.p_value) is not Change.NONE for _ in range(400) if (found := shift(ten(), ten())))
    assert alarms <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(("trials", "bound"), [(0, 1.0), (1, 0.95), (3, 0.6316), (20, 0.1391), (59, 0.0495)])
def test_what_none_lost_in_so_many_trials_leaves(trials: int, bound: float) -> None:
    assert loss_upper_bound(trials) == pytest.approx(bound, abs=5e-5)


@given(st.integers(1, 10_000))
def test_a_share_at_the_bound_would_show_nothing_once_in_twenty(trials: int) -> None:
    assert (1 - loss_upper_bound(trials)) ** trials == pytest.approx(0.05)
    assert loss_upper_bound(trials) > loss_upper_bound(trials + 1)
    # The rule of three bounds it from above.
    assert loss_upper_bound(trials) <= 3 / trials


def test_a_negative_number_of_trials_bounds_nothing() -> None:
    with pytest.raises(ValueError, match="-1 trials"):
        loss_upper_bound(-1)


def some(*seconds: float, cut: int = 0) -> list[Downtime]:
    """The last so many were healed before they ended."""
    return [Downtime(each, at >= len(seconds) - cut) for at, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("cut_before", "cut_now", "bound"),
    [(0, 0, ""), (0, 1, ""), (0, 5, "at least"), (5, 0, "at most"), (5, 5, "about"), (1, 0, "")],
)
def test_which_way_a_shift_is_a_bound(cut_before: int, cut_now: int, bound: str) -> None:
    """One trial of five that was healed is among the longest anyway: it moves no median of differences."""
    before, now = (0.2, 0.2, 0.2, 0.2, 0.2), (1.2, 1.2, 1.2, 1.2, 1.2)
    longer = shift(some(*before, cut=cut_before), some(*now, cut=cut_now))
    shorter = shift(some(*now, cut=cut_now), some(*before, cut=cut_before))
    assert longer
    assert shorter
    # In size: what was cut before may have been larger than what is there now either way.
    assert (longer.bound, shorter.bound) == (bound, bound)
    assert longer.censored == bool(cut_before or cut_now)
