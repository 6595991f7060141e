from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import experiments, soak, stages
from lab.availability import summarise
from lab.errors import UsageError
from lab.model import RunResult, SoakOutcome, Verdict
from lab.report import terminal
from tests.unit.helpers import result, run_info

STAGE = stages.find("5")


def run_of(fault: soak.Fault, **changes: Any) -> RunResult:
    trial = result(**changes)
    return RunResult(run_info(experiment=fault.experiment), Verdict.HELD, (trial,), summarise([trial]))


def outcome(number: int = 1, **changes: Any) -> SoakOutcome:
    values: dict[str, Any] = {
        "number": number,
        "experiment": "kill-primary",
        "targets": ("db1",),
        "verdict": "held",
        "valid": True,
        "lost": 0,
        "split_brain_s": 0.0,
        "writes_downtime_s": 0.9,
        "reads_downtime_s": 0.0,
        "rejoin_s": 3.2,
        "why": (),
        "folder": "",
    }
    return SoakOutcome(**{**values, **changes})


def test_the_same_seed_gives_the_same_faults() -> None:
    first = soak.schedule(STAGE, 60, 11)
    assert first == soak.schedule(STAGE, 60, 11)
    assert first != soak.schedule(STAGE, 60, 12)
    assert [fault.number for fault in first] == list(range(1, 61))
    assert len({fault.seed for fault in first}) == 60


def test_a_longer_soak_begins_as_the_shorter_one() -> None:
    assert soak.schedule(STAGE, 60, 11)[:10] == soak.schedule(STAGE, 10, 11)


def test_a_soak_draws_from_single_faults_that_the_stage_must_survive() -> None:
    names = soak.eligible(STAGE)
    assert {"kill-primary", "wipe-standby", "kill-lb-active", "cutoff-lb-passive", "switchover", "kill-monitor"} <= set(names)
    assert not {"kill-monitor-then-primary", "kill-primary-operator", "kill-lb", "kill-db", "baseline"} & set(names)
    for name in names:
        experiments.check_targets(experiments.find(name), STAGE)


def test_a_stage_without_partners_has_nothing_to_soak() -> None:
    with pytest.raises(UsageError, match="nothing on stage 1"):
        soak.eligible(stages.find("1"))


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    kept, planned, ran = soak.SoakJournal(STAGE, 4, 1, tmp_path), soak.schedule(STAGE, 4, 1), []

    def run(fault: soak.Fault) -> RunResult:
        ran.append(fault.number)
        if ran == [1, 2, 3]:
            raise KeyboardInterrupt
        return run_of(fault)

    with pytest.raises(KeyboardInterrupt):
        soak.soak(planned, kept, run, lambda _: None)
    outcomes = soak.soak(planned, kept, run, lambda _: None)
    assert ran == [1, 2, 3, 3, 4]
    assert [each.number for each in outcomes] == [1, 2, 3, 4]
    assert soak.soak(planned, kept, run, lambda _: None) == outcomes
    assert len(ran) == 5


def test_a_line_that_a_kill_cut_short_is_done_again(tmp_path: Path) -> None:
    kept = soak.SoakJournal(STAGE, 2, 1, tmp_path)
    kept.append(outcome(1))
    with (kept.folder / "soak.jsonl").open("a") as file:
        file.write('{"number": 2, "exper')
    assert [each.number for each in kept.outcomes()] == [1]
    kept.append(outcome(2))
    assert [each.number for each in kept.outcomes()] == [1, 2]


@pytest.mark.parametrize("loss", [{"lost": 1}, {"split_brain_s": 0.1}])
def test_it_stops_at_the_first_loss_and_stays_stopped(tmp_path: Path, loss: dict[str, Any]) -> None:
    kept, planned = soak.SoakJournal(STAGE, 3, 1, tmp_path), soak.schedule(STAGE, 3, 1)
    kept.append(outcome(1, **loss))

    def run(fault: soak.Fault) -> RunResult:
        raise AssertionError(f"fault {fault.number} after a loss")

    outcomes = soak.soak(planned, kept, run, lambda _: None)
    assert soak.verdict(outcomes) is Verdict.REFUTED


def test_what_did_not_hold_is_named_and_is_no_loss() -> None:
    slow = outcome(1, verdict="refuted", why=("downtime_longest_s at most 2.5: was 3.1",))
    assert soak.verdict([slow]) is Verdict.HELD
    assert "was 3.1" in terminal.soak_line(slow, 1)
    assert soak.verdict([]) is Verdict.INCONCLUSIVE
