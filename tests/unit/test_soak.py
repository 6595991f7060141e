from __future__ import annotations

from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.analysis.summary import summarise
from lab.campaign import soak
from lab.errors import HealError, UsageError
from lab.model.experiment import LoadPlan
from lab.model.measures import Verdict
from lab.model.result import FaultOutcome, Outage, RunResult
from lab.model.topology import Stage
from lab.report import terminal, words
from lab.spec import experiments, stages
from lab.spec.targets import PLACES
from lab.store import jsonl
from tests.unit.helpers import result, run_info

STAGE = stages.find("5")
NEVER_TWO = {"no_writer_s": 0.5, "multiple_writers_s": 0.0}
SAME: dict[str, Any] = {"code": "1"}


def run_of(fault: soak.Fault, **changes: Any) -> RunResult:
    trial = result(**{"writable": NEVER_TWO, **changes})
    return RunResult(run_info(experiment=fault.experiment), Verdict.HELD, (trial,), summarise([trial]))


def outcome(number: int = 1, **changes: Any) -> FaultOutcome:
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
        "time_to_redundancy_s": 3.2,
        "why": (),
        "folder": "",
        "audit_complete": True,
    }
    return FaultOutcome(**{**values, **changes})


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
    assert {"kill-primary", "wipe-standby", "kill-lb-active", "disconnect-lb-passive", "switchover", "kill-monitor"} <= set(names)
    assert not {"kill-monitor-then-primary", "kill-primary-operator", "kill-lb", "kill-db", "baseline"} & set(names)
    for name in names:
        experiments.check_targets(experiments.find(name), STAGE)


def test_a_stage_without_partners_has_nothing_to_soak() -> None:
    with pytest.raises(UsageError, match="nothing on stage 1"):
        soak.eligible(stages.find("1"))


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    kept, planned, ran = soak.SoakJournal(STAGE, 4, 1, SAME, tmp_path), soak.schedule(STAGE, 4, 1), []

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
    kept = soak.SoakJournal(STAGE, 2, 1, SAME, tmp_path)
    kept.append(outcome(1))
    with (kept.folder / "soak.jsonl").open("a") as file:
        file.write('{"number": 2, "exper')
    assert [each.number for each in kept.outcomes()] == [1]
    kept.append(outcome(2))
    assert [each.number for each in kept.outcomes()] == [1, 2]


@pytest.mark.parametrize("loss", [{"lost": 1}, {"split_brain_s": 0.1}])
def test_it_stops_at_the_first_loss_and_stays_stopped(tmp_path: Path, loss: dict[str, Any]) -> None:
    kept, planned = soak.SoakJournal(STAGE, 3, 1, SAME, tmp_path), soak.schedule(STAGE, 3, 1)
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


# Nothing unknown is held


def test_sixty_invalid_trials_say_nothing() -> None:
    why = ("not every database could be read afterwards",)
    outcomes = [outcome(number, valid=False, verdict="inconclusive", audit_complete=False, why=why) for number in range(1, 61)]
    assert soak.verdict(outcomes) is Verdict.INCONCLUSIVE
    assert words.outcomes_lost(outcomes, "faults") == "acknowledged writes lost: unknown in all 60 faults"
    assert "lost unknown" in terminal.soak_line(outcomes[0], 60)


@pytest.mark.parametrize("fewer", [{"valid": False}, {"audit_complete": False}])
def test_half_of_the_faults_must_be_able_to_show_a_loss(fewer: dict[str, Any]) -> None:
    half = [outcome(1), outcome(2), outcome(3, **fewer), outcome(4, **fewer)]
    assert soak.verdict(half) is Verdict.HELD
    assert soak.verdict([*half, outcome(5, **fewer)]) is Verdict.INCONCLUSIVE


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 1), st.sampled_from([0.0, 0.4])), min_size=1, max_size=9))
def test_loss_refutes_however_it_was_measured_and_nothing_else_does(seen: list[tuple[bool, bool, int, float]]) -> None:
    outcomes = [
        outcome(number, valid=valid, audit_complete=complete, lost=lost, split_brain_s=split_s)
        for number, (valid, complete, lost, split_s) in enumerate(seen, 1)
    ]
    found = soak.verdict(outcomes)
    assert (found is Verdict.REFUTED) == any(lost or split_s for *_, lost, split_s in seen)
    if found is Verdict.HELD:
        assert 2 * sum(valid and complete for valid, complete, *_ in seen) >= len(seen)


def test_losses_that_are_not_known_are_said_beside_those_that_are() -> None:
    seen = [outcome(1), outcome(2), outcome(3, audit_complete=False)]
    assert words.outcomes_lost(seen, "faults") == "acknowledged writes lost: 0 in 3 faults; unknown in 1 of them"
    assert words.outcomes_lost(seen[:2], "rounds") == "acknowledged writes lost: 0 in 2 rounds"
    assert words.total_lost([outcome(lost=2, audit_complete=False)]) == "at least 2"


def test_run_says_whether_its_audit_was_complete() -> None:
    fault = soak.Fault(1, "kill-primary", 5)
    incomplete = replace(result().audit, complete=False)
    assert soak.outcome_of(fault, run_of(fault)).audit_complete
    assert not soak.outcome_of(fault, run_of(fault, audit=incomplete)).audit_complete


def test_run_says_whether_two_databases_were_watched() -> None:
    fault = soak.Fault(1, "kill-primary", 5)
    unwatched = soak.outcome_of(fault, run_of(fault, writable={}))
    assert (unwatched.split_brain_s, unwatched.tells, unwatched.is_loss) == (None, False, False)
    assert soak.verdict([unwatched]) is Verdict.INCONCLUSIVE
    assert "split brain not watched" in terminal.soak_line(unwatched, 1)
    assert words.outcomes_split([unwatched], "faults") == "two writable databases: not watched in any of 1 faults"
    # A single database cannot.
    alone = soak.outcome_of(fault, run_of(fault, writable={}), is_replicated=False)
    assert (alone.split_brain_s, soak.verdict([alone])) == (0.0, Verdict.HELD)


def test_soak_of_a_stage_with_one_database_can_be_held(tmp_path: Path) -> None:
    for of, expected in ((stages.find("3"), Verdict.HELD), (STAGE, Verdict.INCONCLUSIVE)):
        kept, faults = soak.SoakJournal(of, 2, 1, SAME, tmp_path), soak.schedule(of, 2, 1)
        assert soak.verdict(soak.soak(faults, kept, lambda each: run_of(each, writable={}), lambda _: None)) is expected


def test_outage_of_the_service_is_kept_beside_those_of_reads_and_writes() -> None:
    fault = soak.Fault(1, "kill-primary", 5)
    trial = result((2.0, 3.0))
    seen = soak.outcome_of(fault, RunResult(run_info(), Verdict.HELD, (trial,), summarise([trial])))
    assert (seen.outage.low, seen.outage.is_exact) == (trial.downtime_longest_s, True)
    assert f"longest outage {trial.downtime_longest_s:.2f} s (writes 1.0" in terminal.soak_line(seen, 1)
    cut = replace(seen, downtime_censored=True)
    assert f"longest outage ≥ {trial.downtime_longest_s:.2f} s" in terminal.soak_line(cut, 1)
    # Of a line of an older version only its parts are known: it was no shorter than either.
    older = outcome(reads_downtime_s=0.4)
    assert (older.outage.low, older.outage.is_exact) == (0.9, False)


def test_table_of_a_soak_has_the_median_and_the_worst_by_experiment() -> None:
    found = [outcome(at, downtime_s=s, downtime_censored=False, writes_downtime_s=0.0) for at, s in enumerate((0.5, 1.0, 4.0))]
    out = StringIO()
    terminal.show_soak(Console(file=out, width=200), found, 3, Verdict.HELD)
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("kill-primary")]
    assert line.split() == ["kill-primary", "3", "3", "1.00", "s", "4.00", "s", "0.00", "s", "0.00", "s", "0", "3.2", "s"]
    assert "never two writable databases" in out.getvalue()


def test_line_of_another_version_is_read_and_its_audit_was_not_complete(tmp_path: Path) -> None:
    kept = soak.SoakJournal(STAGE, 2, 1, SAME, tmp_path)
    older = asdict(outcome(1))
    for name in ("audit_complete", "downtime_s", "downtime_censored"):
        del older[name]
    jsonl.Lines(kept.folder / soak.PROGRESS_NAME).append({**older, "of_a_later_version": 1})
    assert kept.outcomes() == [outcome(1, audit_complete=False)]


# Going on


def conditions(rate_per_s: float = 100.0, fault_duration_s: float | None = None, faults: int = 3) -> dict[str, Any]:
    return soak.conditions(STAGE, soak.schedule(STAGE, faults, 1), LoadPlan(rate_per_s=rate_per_s), fault_duration_s)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate_per_s": 500.0}, "the load"),
        ({"fault_duration_s": 20.0}, "what the experiments do, or for how long"),
    ],
)
def test_only_what_is_measured_alike_is_gone_on_with(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    kept = soak.SoakJournal(STAGE, 3, 1, conditions(), tmp_path)
    assert kept.why_new == ""
    kept.append(outcome(1))
    other = soak.SoakJournal(STAGE, 3, 1, conditions(**changes), tmp_path)
    assert (other.outcomes(), other.why_new) == ([], f"{kept.folder} was measured with something else: {said}")
    other.append(outcome(1))
    # Each goes on with its own.
    assert soak.SoakJournal(STAGE, 3, 1, conditions(), tmp_path).folder == kept.folder
    assert soak.SoakJournal(STAGE, 3, 1, conditions(**changes), tmp_path).folder == other.folder


# Zones and regions

ZONES, WORLD = stages.find("6"), stages.find("7")


def in_places(of: Stage, label: str, **places: str) -> Stage:
    """The stage with its boxes in these zones or regions, and no others."""
    specs = [
        replace(spec, labels={key: value for key, value in spec.labels.items() if key not in PLACES.values()})
        for spec in of.services
    ]
    return replace(of, services=tuple(replace(spec, labels={**spec.labels, label: places.get(spec.name, "z")}) for spec in specs))


def about_places(names: list[str]) -> set[str]:
    return {name for name in names if any(":" in step.target for step in experiments.find(name).steps)}


def test_zones_that_a_stage_can_spare_are_broken_and_parted_too() -> None:
    names = soak.eligible(ZONES)
    assert about_places(names) >= {
        "kill-zone-a",
        "disconnect-zone-b",
        "disconnect-zone-c",
        "pause-zone-a",
        "partition-zone-a-b",
        "partition-zone-a-b-out",
    }
    assert set(soak.eligible(STAGE)) <= set(names)
    assert about_places(soak.eligible(STAGE)) == set()


def test_regions_and_the_lines_to_them_are_broken_too_and_no_failback_is_played() -> None:
    names = soak.eligible(WORLD)
    assert {"kill-region-eu", "kill-witness", "disconnect-region-eu", "partition-eu-us", "delay-wan", "kill-primary"} <= set(
        names
    )
    assert not {"failback-region-eu", "kill-zone-a"} & set(names)


def test_zone_that_nobody_could_outvote_is_not_broken() -> None:
    """Of two zones neither is the larger part."""
    two = in_places(ZONES, "lab.zone", lb1="a", web1="a", db1="a")
    assert about_places(soak.eligible(two)) == set()


@pytest.mark.parametrize("spof", ["zone:a", "db1", "lb1"])
def test_zone_that_is_a_single_point_of_failure_or_holds_one_is_not_broken(spof: str) -> None:
    names = about_places(soak.eligible(replace(ZONES, spof=(spof,))))
    assert names >= {"kill-zone-b", "kill-zone-c", "disconnect-zone-b", "disconnect-zone-c"}
    assert not [name for name in names if "zone:a" in str(experiments.find(name).steps)]


def write(folder: Path, name: str, body: str) -> None:
    text = f"title: t\nquestion: q?\n{body}\nexpect:\n  writes_lost: {{at_most: 0}}\n"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def region_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiments with regions in all the ways in which they can be named."""
    write(tmp_path, "kill-region-eu", "fault: kill\ntarget: region:eu")
    write(tmp_path, "part-regions", "fault: partition\ntarget: region:eu\nfrom: region:us")
    write(tmp_path, "part-databases", "fault: partition\ntarget: db.standby\nfrom: db.primary")
    write(tmp_path, "part-from-balancers", "fault: partition\ntarget: region:eu\nfrom: all:lb")
    write(tmp_path, "slow-line", "fault: delay\ntarget: line:us\ndelay_ms: 60")
    write(tmp_path, "kill-web", "fault: kill\ntarget: web")
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)


@pytest.mark.usefixtures("region_experiments")
def test_one_of_two_regions_can_be_spared_and_both_sides_of_a_partition_must() -> None:
    world = in_places(WORLD, "lab.region", lb1="eu", web1="eu", db1="eu", lb2="us", web2="us", db2="us", monitor="witness")
    assert soak.eligible(world) == ["kill-region-eu", "kill-web", "part-databases", "part-regions", "slow-line"]
    one_holds_all = replace(world, spof=("region:us",))
    assert soak.eligible(one_holds_all) == ["kill-region-eu", "kill-web", "part-databases"]


def test_places_are_a_third_of_the_faults_and_the_seed_decides_which() -> None:
    planned = soak.schedule(ZONES, 300, 3)
    places = about_places(soak.eligible(ZONES))
    share = sum(fault.experiment in places for fault in planned) / len(planned)
    assert soak.PLACES_SHARE - 0.1 < share < soak.PLACES_SHARE + 0.1
    # Each of them comes up.
    assert {fault.experiment for fault in planned} >= places
    assert soak.schedule(ZONES, 40, 3) == planned[:40]


@pytest.mark.parametrize("seed", [7, 20261122])
def test_where_there_are_no_places_a_seed_means_what_it_always_meant(seed: int) -> None:
    names, random = soak.eligible(STAGE), Random(f"soak/{seed}")
    assert [fault.experiment for fault in soak.schedule(STAGE, 60, seed)] == [random.choice(names) for _ in range(60)]


def test_stage_with_places_and_nothing_else_to_break_is_soaked_with_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "TARGETS", ())
    monkeypatch.setattr(soak, "eligible", lambda _: ["kill-zone-a", "kill-zone-b"])
    assert {fault.experiment for fault in soak.schedule(ZONES, 20, 1)} == {"kill-zone-a", "kill-zone-b"}


def test_partition_that_was_an_outage_until_it_was_healed_is_no_loss() -> None:
    fault = soak.Fault(1, "partition-zone-a-b", 5)
    gone = run_of(fault, writes=replace(result().writes, outages=(Outage(2.0, 9.6, censored=True),)))
    seen = soak.outcome_of(fault, replace(gone, verdict=Verdict.REFUTED))
    assert seen.writes_downtime_s > 7
    assert (seen.verdict, seen.is_loss) == ("refuted", False)
    assert soak.verdict([seen]) is Verdict.HELD


def test_what_could_not_be_healed_ends_the_soak_and_is_tried_again(tmp_path: Path) -> None:
    kept, planned = soak.SoakJournal(ZONES, 3, 1, SAME, tmp_path), soak.schedule(ZONES, 3, 1)
    ran: list[int] = []

    def run(fault: soak.Fault) -> RunResult:
        ran.append(fault.number)
        if ran == [1, 2]:
            raise HealError("db2 is exited after 60 s")
        return run_of(fault)

    with pytest.raises(HealError):
        soak.soak(planned, kept, run, lambda _: None)
    assert [each.number for each in kept.outcomes()] == [1]
    soak.soak(planned, kept, run, lambda _: None)
    assert ran == [1, 2, 2, 3]
