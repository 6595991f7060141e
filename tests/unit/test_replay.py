"""Journals of real runs, replayed: what the lab says of them today. Each was a mistake once, or guards against one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.analysis.run_document import as_document, rebuild
from lab.model.result import RunResult

JOURNALS = Path(__file__).parents[1] / "journals"
KILL_PRIMARY, KILL_PRIMARIES = (
    "5-redundant-load-balancers/kill-primary/20261130T092331Z",
    "5-redundant-load-balancers/kill-primary/20261130T104459Z",
)


def replayed(run: str) -> RunResult:
    return rebuild(JOURNALS / run)[0]


@pytest.mark.parametrize(
    ("run", "reads_s", "writes_s", "service_s"),
    [
        ("3-load-balancer/kill-web/20261130T092246Z", [0.0], [0.03], [0.03]),
        (KILL_PRIMARY, [0.0], [1.44], [1.44]),
        (KILL_PRIMARIES, [0.0] * 5, [0.0, 0.77, 0.0, 0.0, 0.99], [0.0, 0.77, 0.0, 0.0, 0.99]),
        (
            "5-redundant-load-balancers/pause-primary/20261130T104633Z",
            [0.0] * 4,
            [1.415, 1.183, 1.395, 1.32],
            [1.415, 1.183, 1.395, 1.32],
        ),
        (
            "5-redundant-load-balancers/disconnect-primary/20261130T104756Z",
            [0.0] * 4,
            [1.37, 1.29, 1.21, 1.31],
            [1.37, 1.29, 1.21, 1.31],
        ),
        ("6-multi-az/disconnect-zone-a/20261130T092503Z", [0.39], [3.76], [3.76]),
        ("7-multi-region/kill-region-eu/20261130T092611Z", [0.33], [3.02], [3.02]),
    ],
)
def test_service_is_down_while_reads_or_writes_are(
    run: str, reads_s: list[float], writes_s: list[float], service_s: list[float]
) -> None:
    trials = replayed(run).trials
    for outages, expected in (
        ([trial.read_outages for trial in trials], reads_s),
        ([trial.write_outages for trial in trials], writes_s),
        ([trial.outages for trial in trials], service_s),
    ):
        assert [max((each.length_s for each in some), default=0.0) for some in outages] == pytest.approx(expected, abs=0.006)


def test_service_is_restored_after_the_failover_and_not_before() -> None:
    """Reads were answered all the while; the first order that the new primary acknowledged ends the outage."""
    (trial,) = replayed(KILL_PRIMARY).trials
    phases = trial.phases
    assert phases["detect_s"] <= phases["elect_s"] <= phases["recover_s"]
    assert phases["recover_s"] == pytest.approx(4.56, abs=0.01)
    # The observer looks ten times a second: it may see the new primary a tenth later than the first order does.
    assert phases["reroute_s"] - phases["recover_s"] < 0.1


def test_failover_in_which_no_request_failed_is_a_gap() -> None:
    """Three of five kills failed nothing, one failed for 0.77 s: both are right beside gaps of much the same length."""
    trials = replayed(KILL_PRIMARIES).trials
    gaps = [trial.writes.gap.length_s for trial in trials if trial.writes.gap]
    assert gaps == pytest.approx([0.684, 0.820, 0.744, 0.798, 1.041], abs=0.001)
    assert [trial.writes.failed for trial in trials][:1] == [0]
    assert all(trial.reads.gap and trial.reads.gap.length_s < 0.3 for trial in trials)


def test_first_of_several_boxes_that_noticed_counts_whatever_order_their_logs_were_read_in() -> None:
    trials = replayed("7-multi-region/kill-primary/20261130T110258Z").trials
    detected = [trial.phases["detect_s"] for trial in trials]
    assert detected == pytest.approx([2.45, 3.19, 3.58, 2.66, 2.78, 3.44], abs=0.01)


@pytest.mark.parametrize(
    "folder", sorted(each.parent.relative_to(JOURNALS).as_posix() for each in JOURNALS.glob("*/*/*/run.json"))
)
def test_every_journal_keeps_the_order_of_its_figures(folder: str) -> None:
    result = replayed(folder)
    assert result.trials
    for trial in result.trials:
        for part in (trial.reads, trial.writes):
            assert trial.downtime_longest_s >= max((each.length_s for each in part.outages), default=0.0)
            total = [each.length_s for each in part.outages if not each.answered]
            assert part.gap is not None
            assert max(total, default=0.0) <= part.gap.length_s + 1.0
        if "recover_s" in trial.phases:
            after = [each.end_s for each in (*trial.read_outages, *trial.write_outages) if not each.censored]
            assert trial.phases["recover_s"] >= max(after)
    assert as_document(result)["trials"]
