from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import budget
from lab.analysis.matrix import Member
from lab.errors import UsageError
from lab.model.measures import Verdict
from tests.unit.matrices import cell, matrix, row

GOOD = """\
# What a commit may cost.
stages:
  3:
    kill-web: {downtime_longest_s: 1.0, writes_lost: 0, trials: 5}
  4:automatic:
    kill-primary:
      downtime_median_s: 2
      split_brain_s: 0
"""


def read(tmp_path: Path, text: str) -> budget.Budget:
    (tmp_path / "budgets.yaml").write_text(text)
    return budget.read(tmp_path / "budgets.yaml")


def test_a_budget_names_stages_faults_and_trials(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert [stage.name for stage in found.stages] == ["3-load-balancer", "4-database-replication (automatic)"]
    assert [fault_spec.name for fault_spec in found.fault_specs] == ["kill-web", "kill-primary"]
    assert found.trials == 5
    assert [limit.at_most for limit in found.limits] == [
        {"downtime_longest_s": 1.0, "writes_lost": 0.0},
        {"downtime_median_s": 2.0, "split_brain_s": 0.0},
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "a mapping"),
        ("stage: {}\n", 1, "'stage' is not known here"),
        ("stages:\n", 1, "'stages' is empty"),
        ("stages: {}\n", 1, "no budget is given"),
        ("stages:\n  9: {kill-web: {writes_lost: 0}}\n", 2, "there is no stage '9'"),
        ("stages:\n  3:manual: {kill-web: {writes_lost: 0}}\n", 2, "stage 3 has no failover 'manual'"),
        ("stages:\n  3: kill-web\n", 2, "3 must be a mapping, not 'kill-web'"),
        ("stages:\n  3:\n    kill-wbe: {writes_lost: 0}\n", 3, "'kill-wbe' is no fault"),
        ("stages:\n  3:\n    kill: {writes_lost: 0}\n", 3, "'kill' is several faults"),
        ("stages:\n  3:\n    kill-standby: {writes_lost: 0}\n", 3, "stage 3 has no standby database"),
        ("stages:\n  3:\n    kill-web: 1\n", 3, "kill-web must be a mapping, not '1'"),
        ("stages:\n  3:\n    kill-web: {}\n", 3, "no bound is given here"),
        ("stages:\n  3:\n    kill-web:\n      trials: 5\n", 3, "no bound is given here"),
        ("stages:\n  3:\n    kill-web:\n      downtime: 1\n", 4, "'downtime' is not known here"),
        (
            "stages:\n  3:\n    kill-web:\n      writes_lost: none\n",
            4,
            "writes_lost must be a number from 0 to 1e+09, not 'none'",
        ),
        ("stages:\n  3:\n    kill-web:\n      writes_lost: -1\n", 4, "writes_lost must be a number from 0"),
        ("stages:\n  3:\n    kill-web:\n      writes_lost: .nan\n", 4, "writes_lost must be a number from 0"),
        ("stages:\n  3:\n    kill-web:\n      writes_lost: true\n", 4, "writes_lost must be a number from 0"),
        ("stages:\n  3:\n    kill-web:\n      writes_lost: 0\n      trials: 0\n", 5, "trials must be a whole number from 1"),
        ("stages:\n  3:\n    kill-web:\n      writes_lost: 0\n      trials: 2.5\n", 5, "trials must be a whole number"),
        ("stages:\n  3:\n    kill-web: {writes_lost: 0}\n    kill-web: {writes_lost: 1}\n", 4, "stands here twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, text)
    assert error.value.message.startswith(f"{tmp_path / 'budgets.yaml'}:{line}: ")
    assert said in error.value.message


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(["kill-web", "3", "4:automatic", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["stages", "3", "4:automatic", "kill-web", "kill", "trials", "writes_lost", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(documents)
def test_whatever_stands_in_it_is_a_budget_or_an_error_with_a_file(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    folder = tmp_path_factory.mktemp("budget")
    message = ""
    try:
        assert read(folder, yaml.safe_dump(document)).limits
    except UsageError as error:
        message = error.message
    assert not message or str(folder) in message


# The gate


def verdicts(tmp_path: Path, *cells: Any, bounds: str = "{downtime_longest_s: 1.0, writes_lost: 0, trials: 3}") -> budget.Finding:
    limits = read(tmp_path, f"stages:\n  3:\n    kill-web: {bounds}\n")
    (found,) = budget.check(limits, matrix(row("3-load-balancer", *cells)))
    return found


@pytest.mark.parametrize(
    ("measured", "expected", "said"),
    [
        (cell("kill-web", 0.1, 0.2, 1.0), Verdict.HELD, ()),
        (cell("kill-web", 0.1, 0.2, 1.01), Verdict.REFUTED, ("downtime_longest_s at most 1: was 1.01",)),
        (cell("kill-web", 0.1, 0.2, 0.3, writes_lost=2), Verdict.REFUTED, ("writes_lost at most 0: was 2",)),
        (cell("kill-web", 0.1, 0.2), Verdict.INCONCLUSIVE, ("2 valid trials of 3",)),
        # A broken limit is broken, however few the trials.
        (cell("kill-web", 5.0), Verdict.REFUTED, ("downtime_longest_s at most 1: was 5",)),
        (cell("kill-web", 5.0, censored=True), Verdict.REFUTED, ("downtime_longest_s at most 1: was at least 5",)),
        (cell("kill-web", writes_lost=1), Verdict.REFUTED, ("writes_lost at most 0: was 1",)),
        (cell("kill-web", why=("fault-unverified",)), Verdict.INCONCLUSIVE, ("0 valid trials of 3: no-bite",)),
    ],
)
def test_the_gate(tmp_path: Path, measured: Any, expected: Verdict, said: tuple[str, ...]) -> None:
    found = verdicts(tmp_path, measured)
    assert (found.verdict, found.why) == (expected, said)


def test_a_lower_bound_within_the_limit_proves_nothing(tmp_path: Path) -> None:
    found = verdicts(tmp_path, cell("kill-web", 0.5, 0.5, 0.5, censored=True))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "healed too soon" in found.why[0]
    # Of writes it proves as much as any.
    assert verdicts(tmp_path, cell("kill-web", 0.5, censored=True), bounds="{writes_lost: 0}").verdict is Verdict.HELD


@pytest.mark.parametrize(
    ("bound_s", "longest", "middle"),
    [(0.9, Verdict.REFUTED, Verdict.REFUTED), (2.0, Verdict.REFUTED, Verdict.HELD), (3.5, Verdict.INCONCLUSIVE, Verdict.HELD)],
)
def test_one_trial_that_was_healed_leaves_open_only_what_it_could_change(
    tmp_path: Path, bound_s: float, longest: Verdict, middle: Verdict
) -> None:
    measured = cell("kill-web", 1.0, 1.0, 3.0, downtimes_censored=(False, False, True))
    assert verdicts(tmp_path, measured, bounds=f"{{downtime_longest_s: {bound_s}}}").verdict is longest
    assert verdicts(tmp_path, measured, bounds=f"{{downtime_median_s: {bound_s}}}").verdict is middle


def test_a_median_of_some_trials_only_keeps_no_limit(tmp_path: Path) -> None:
    """Those in which redundancy was not seen to be restored are the longest, not none."""
    found = verdicts(tmp_path, cell("kill-web", 0.1, without_redundancy_s=2.0, degraded_unknown=4), bounds="{degraded_s: 5}")
    assert (found.verdict, found.why) == (Verdict.INCONCLUSIVE, ("degraded_s is not known of every trial",))


def test_a_split_brain_that_nothing_watched_keeps_no_limit(tmp_path: Path) -> None:
    found = verdicts(tmp_path, cell("kill-web", 0.1, split_brain_s=None), bounds="{split_brain_s: 0}")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why == ("whether two databases took writes at once is not known: not every trial was watched",)
    assert verdicts(tmp_path, cell("kill-web", 0.1), bounds="{split_brain_s: 0}").verdict is Verdict.HELD
    assert verdicts(tmp_path, cell("kill-web", 0.1, split_brain_s=0.2), bounds="{split_brain_s: 0}").verdict is Verdict.REFUTED


def test_what_was_not_measured_is_not_held(tmp_path: Path) -> None:
    assert verdicts(tmp_path).why == ("it was not measured",)
    assert (
        verdicts(tmp_path, cell("kill-web", 1.0, without_redundancy_s=None), bounds="{degraded_s: 5}").verdict
        is Verdict.INCONCLUSIVE
    )
    assert (
        verdicts(tmp_path, cell("kill-web", 1.0, without_redundancy_s=5.5), bounds="{degraded_s: 5}").verdict is Verdict.REFUTED
    )


def test_a_budget_is_about_every_target(tmp_path: Path) -> None:
    """The longest outage may be that of a target whose median is not the worst."""
    a = Member("zone:a", 3, 3, (0.6, 0.6, 0.6), (False,) * 3, 0.6)
    b = Member("zone:b", 3, 3, (0.1, 0.1, 1.4), (False,) * 3, 0.1)
    found = verdicts(tmp_path, cell("kill-web", *a.downtimes_s, members=(a, b), worst="zone:a"))
    assert (found.verdict, found.why) == (Verdict.REFUTED, ("downtime_longest_s at most 1: was 1.40",))
    few = replace(b, trials_valid=2, downtimes_s=(0.1, 0.1), downtimes_censored=(False,) * 2)
    found = verdicts(tmp_path, cell("kill-web", *a.downtimes_s, members=(a, few), worst="zone:a"))
    assert (found.verdict, found.why) == (Verdict.INCONCLUSIVE, ("2 valid trials of 3",))


@pytest.mark.parametrize("unknown", [1, None])
def test_losses_that_would_not_have_shown_keep_no_limit(tmp_path: Path, unknown: int | None) -> None:
    found = verdicts(tmp_path, cell("kill-web", 0.1, 0.1, 0.1, audits_incomplete=unknown))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "whether a write was lost is not known" in found.why[0]
