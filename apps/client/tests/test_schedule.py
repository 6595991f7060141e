from __future__ import annotations

from itertools import islice, pairwise
from math import sqrt

import pytest
from client.schedule import Intent, arrivals
from hypothesis import given
from hypothesis import strategies as st

RATES = st.floats(1, 1000)
SEEDS = st.integers(0, 2**31 - 1)


def some(count: int, rate_per_s: float, seed: int, write_share: float = 0.3, new_share: float = 0.1) -> list[Intent]:
    return list(islice(arrivals(rate_per_s, seed, write_share, new_share), count))


@given(RATES, SEEDS)
def test_one_arrival_in_each_interval_so_the_rate_is_exact(rate_per_s: float, seed: int) -> None:
    found = some(300, rate_per_s, seed)
    assert [intent.number for intent in found] == list(range(300))
    for intent in found:
        assert intent.number <= intent.at_s * rate_per_s * (1 + 1e-12)
        assert intent.at_s * rate_per_s <= (intent.number + 1) * (1 + 1e-12)
    assert all(before.at_s <= after.at_s for before, after in pairwise(found))


@given(RATES, SEEDS)
def test_seed_decides_everything(rate_per_s: float, seed: int) -> None:
    assert some(50, rate_per_s, seed) == some(50, rate_per_s, seed)
    assert some(50, rate_per_s, seed) != some(50, rate_per_s, seed + 1)


def test_instants_are_spread_over_their_interval() -> None:
    """Else a period of the system could hide between two arrivals."""
    parts = [intent.at_s * 100 - intent.number for intent in some(2000, 100, seed=1)]
    tenths = [sum(tenth <= part * 10 < tenth + 1 for part in parts) for tenth in range(10)]
    assert sum(tenths) == 2000
    assert all(140 <= count <= 260 for count in tenths)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("write_share", "new_share"), [(0.3, 0.1), (0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_shares_are_those_asked_for(seed: int, write_share: float, new_share: float) -> None:
    count = 5000
    found = some(count, 100, seed, write_share, new_share)
    for asked, got in (
        (write_share, sum(intent.write for intent in found)),
        (new_share, sum(intent.new_connection for intent in found)),
    ):
        assert abs(got - asked * count) <= 4 * sqrt(count * asked * (1 - asked))


def test_shares_do_not_move_the_instants() -> None:
    assert [each.at_s for each in some(100, 100, 7, write_share=0.0)] == [
        each.at_s for each in some(100, 100, 7, write_share=1.0)
    ]


def test_picks_are_shares() -> None:
    assert all(0 <= intent.pick < 1 for intent in some(1000, 100, seed=1))
