from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.analysis.run_document import as_document, rebuild
from lab.analysis.summary import summarise
from lab.checker.phases import EVIDENCE, PHASE_OF_EVENT
from lab.checker.trial import measure_trial
from lab.checker.verdict import decide
from lab.errors import UsageError
from lab.faults import FAULTS
from lab.model.experiment import LoadPlan
from lab.model.fault import FaultKind
from lab.model.history import Event
from lab.model.measures import MEASURES, Verdict
from lab.model.result import RunResult, TrialResult
from lab.probe.logs import RESOLVED
from lab.report import csv_table, html_page, markdown, run_words, terminal
from lab.report.figures import figures
from lab.spec.experiments import OPERATOR_ACTS
from lab.spec.stages import ROOT
from lab.spec.targets import ACTIVE, PASSIVE, PRIMARY, STANDBY
from lab.store.runs import RunJournal
from tests.unit.helpers import EVENTS, alert, record, result, run_info, vip_seen

# What docs/results.md promises. Without one of these, programs of users break: raise schema_version.
DOCUMENT = {
    "conditions",
    "schema_version",
    "stage",
    "stage_folder",
    "failover",
    "experiment",
    "question",
    "verdict",
    "repair",
    "repair_delay_s",
    "fault_duration_s",
    "expected_verdict",
    "durability",
    "overload",
    "seed",
    "rate_per_s",
    "deadline_s",
    "url",
    "contains",
    "started_at",
    "expectations",
    "trials",
    "summary",
    "folder",
}
TRIAL = {
    "number",
    "seed",
    "valid",
    "reasons",
    "target",
    "targets",
    "intended",
    "good",
    "availability_ratio",
    "service",
    "reads",
    "writes",
    "outages",
    "read_outages",
    "write_outages",
    "downtime_longest_s",
    "downtime_total_s",
    "downtime_censored",
    "gap_s",
    "gap_censored",
    "phases",
    "errors",
    "served_by",
    "latency_ms",
    "reads_latency_ms",
    "writes_latency_ms",
    "undisturbed_writes_latency_ms",
    "writes_audit",
    "generator",
    "failed_expectations",
    "undecided_expectations",
    "checks",
    "notes",
    "alert_delay_s",
    "alerts",
    "notified",
    "faults",
    "served",
    "writable_databases",
    "vip_owners",
    "time_without_redundancy_s",
    "time_to_redundancy_s",
    "without_redundancy_s",
    "exposure",
    "exposure_period_s",
}
OPERATION = {"intended", "good", "failed", "unserved_s", "availability_ratio", "fault_availability_ratio", "gap"}
OUTAGE = {"start_s", "end_s", "censored", "answered"}
GAP = {"start_s", "end_s", "censored", "length_s"}
CHECK = {"measure", "at_most", "at_least", "low", "high", "outcome"}
MEDIAN = {"median_s", "median_is_bound", "ci_s", "ci_coverage_ratio", "worst_s", "worst_is_bound", "trials"}
PHASES = {"inject_s", "verified_s", "impact_s", "recover_s", "heal_s", "redundancy_restored_s"}
# Those that only some stages and experiments have.
MORE_PHASES = {"detect_s", "elect_s", "reroute_s", "alert_s", "operator_s", "promoted_s", "repair_s"}
ALERT = {"name", "words", "fired_s", "resolved_s"}
AUDIT = {"attempted", "acknowledged", "lost", "unexpected", "duplicate", "indeterminate_committed", "lost_keys", "complete"} | {
    "why_incomplete",
    "served_by",
    "differing",
    "not_compared",
}
GENERATOR = {"intended", "recorded", "lag_p99_ms", "lag_max_ms", "cpu_ratio"}
SUMMARY = {
    "trials",
    "trials_valid",
    "downtime_median_s",
    "downtime_ci_s",
    "downtime_ci_coverage_ratio",
    "downtime_censored",
    "downtime_worst_s",
    "downtime_worst_censored",
    "downtime_median_all_s",
    "operations",
    "availability_ratio_median",
    "availability_censored",
    "reads_failed_total",
    "writes_failed_total",
    "writes_lost_total",
    "trials_audited",
}


def document(*trials: TrialResult) -> dict[str, Any]:
    """The document of a run, after a journey through JSON."""
    whole = RunResult(run_info(), decide(trials), trials, summarise(trials), Path("results/latest"))
    text = json.dumps(as_document(whole), allow_nan=False)
    content: dict[str, Any] = json.loads(text)
    return content


def test_document_has_the_keys_that_are_promised() -> None:
    content = document(result((2.0, 3.0)), result((2.0, 5.25)))
    assert set(content) == DOCUMENT
    assert set(content["summary"]) == SUMMARY
    for trial in content["trials"]:
        assert set(trial) == TRIAL
        for operation in (trial["service"], trial["reads"], trial["writes"]):
            assert set(operation) == OPERATION
            assert set(operation["gap"]) == GAP
        assert [set(each) for each in trial["checks"]] == [CHECK, CHECK]
        assert [set(each) for each in trial["outages"] + trial["read_outages"] + trial["write_outages"]] == [OUTAGE] * 3
        assert set(trial["phases"]) == PHASES
        assert set(trial["writes_audit"]) == AUDIT
        assert set(trial["generator"]) == GENERATOR
        for key in ("latency_ms", "reads_latency_ms", "writes_latency_ms"):
            assert set(trial[key]) == {"p50", "p99", "max", "longest"}
        assert set(trial["undisturbed_writes_latency_ms"]) == {"writes", "p50", "p99"}
    assert set(content["summary"]["operations"]) == {"service", "reads", "writes"}
    for operation in content["summary"]["operations"].values():
        assert set(operation) == {"outage", "gap"}
        assert set(operation["outage"]) == set(operation["gap"]) == MEDIAN
    assert set(content["expectations"][0]) == {"measure", "at_most", "at_least"}


def test_every_key_is_described() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    keys = (
        DOCUMENT | TRIAL | OPERATION | OUTAGE | GAP | CHECK | MEDIAN | PHASES | MORE_PHASES | AUDIT | GENERATOR | SUMMARY | ALERT
    )
    assert sorted(key for key in keys if not re.search(rf"`{key}(\[\])?`", text)) == []


def test_every_phase_and_every_event_is_described() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert {
        "impact_s",
        "recover_s",
        "redundancy_restored_s",
        *PHASE_OF_EVENT.values(),
        *(f"{name}_s" for name in EVIDENCE),
    } == PHASES | MORE_PHASES
    names = {*PHASE_OF_EVENT, *EVIDENCE, RESOLVED, "fault-unverified", "stop", "databases", "vip", "clock", "docker", "note"}
    names |= {"alert-record"}
    assert sorted(name for name in names if not re.search(rf"^\|[^|]*`{name}`", text, re.MULTILINE)) == []


def test_every_measure_target_and_act_is_described() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    words = {*MEASURES, *OPERATOR_ACTS, PRIMARY, STANDBY, ACTIVE, PASSIVE, "monitor", *(kind.value for kind in FaultKind)}
    assert sorted(word for word in words if f"`{word}`" not in text and f"does: {word}" not in text) == []


def test_every_fault_is_described() -> None:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    # Once in the table of what each is, once in that of proof and undo; what was measured of it is a third.
    lines = re.sub(r"<!-- measured-table:.*?<!-- /measured-table -->", "", text, flags=re.DOTALL).splitlines()
    assert [kind.value for kind in FAULTS if sum(line.startswith(f"| `{kind}` |") for line in lines) != 2] == []


def test_document_says_what_was_measured() -> None:
    content = document(result((2.0, 3.0)))
    assert (content["schema_version"], content["stage"], content["experiment"]) == (2, 3, "kill-web")
    assert (content["failover"], content["verdict"], content["seed"]) == ("none", "refuted", 7)
    assert (content["rate_per_s"], content["deadline_s"]) == (100.0, 1.0)
    (trial,) = content["trials"]
    assert (trial["valid"], trial["reasons"], trial["target"]) == (True, [], "web1")
    assert (trial["intended"], trial["good"]) == (896, 768)
    assert trial["reads"] == {
        "intended": 672,
        "good": 576,
        "failed": 96,
        "unserved_s": 1.371429,  # 96 at 70 reads a second
        "availability_ratio": 0.857143,
        "fault_availability_ratio": 0.666667,
        # From the success before the fault (1.99 s) to the one after it.
        "gap": {"start_s": 2.002187, "end_s": 3.017812, "censored": False, "length_s": 1.015625},
    }
    # The first write comes at 2 s, the first read that is answered again at 3.0078 s.
    assert trial["read_outages"] == [{"start_s": 2.007812, "end_s": 3.017812, "censored": False, "answered": 0}]
    assert trial["write_outages"] == [{"start_s": 2.0, "end_s": 3.01, "censored": False, "answered": 0}]
    assert trial["outages"] == [{"start_s": 2.0, "end_s": 3.017812, "censored": False, "answered": 0}]
    assert trial["downtime_longest_s"] == trial["downtime_total_s"] == 1.017812
    assert trial["errors"] == {"reset": 128}
    assert trial["writes_audit"]["attempted"] == 224
    assert content["summary"]["downtime_ci_s"] == [1.017812, 1.017812]
    assert content["summary"]["availability_ratio_median"] == 0.857143


def test_document_says_what_an_observer_saw_and_how_long_something_was_missing() -> None:
    (unwatched,) = document(result((2.0, 3.0)))["trials"]
    assert (unwatched["time_without_redundancy_s"], unwatched["time_to_redundancy_s"]) == (2.482188, 0.5)
    assert (unwatched["writable_databases"], unwatched["vip_owners"]) == ({}, {})
    seen = [
        Event(2.5, "elect", "monitor"),
        vip_seen(0.0, "lb1"),
        vip_seen(2.5),
    ]
    events = tuple(event for event in (*EVENTS, *seen) if event.name != "recovered")
    (watched,) = document(measure_trial(record(events=events), (), has_fault=True))["trials"]
    assert (watched["time_without_redundancy_s"], watched["time_to_redundancy_s"]) == (None, None)
    assert watched["vip_owners"] == {"no_owner_s": 4.5, "multiple_owners_s": 0.0}
    assert watched["phases"]["elect_s"] == 2.5


def test_document_says_which_alerts_were_delivered_and_when() -> None:
    (quiet,) = document(result((2.0, 3.0)))["trials"]
    assert (quiet["alert_delay_s"], quiet["alerts"]) == (None, [])
    delivered = [
        alert(1.0, "ErrorBudgetBurn page kind=read: reads fail"),
        alert(3.5, "ServiceDown page kind=read: no read for 3.4 s"),
        alert(5.5, "ServiceDown page kind=read: no read for 3.4 s", "resolved"),
        alert(6.0, "FailoverHappened info tier=database: another"),
    ]
    (trial,) = document(measure_trial(record(events=(*EVENTS, *delivered)), (), has_fault=True))["trials"]
    assert trial["phases"]["alert_s"] == 3.5
    assert trial["alert_delay_s"] == 1.5
    assert [set(each) for each in trial["alerts"]] == [ALERT] * 2
    assert [(each["name"], each["fired_s"], each["resolved_s"]) for each in trial["alerts"]] == [
        ("ServiceDown", 3.5, 5.5),
        ("FailoverHappened", 6.0, None),
    ]
    assert trial["notes"] == [
        "1.00 s: before the fault: watch: alert firing (message 1): ErrorBudgetBurn page kind=read: reads fail"
    ]


def test_run_without_a_valid_trial_has_nulls_and_no_invented_zeros() -> None:
    content = document(result(valid=False, targets=()))
    assert content["verdict"] == "inconclusive"
    assert content["trials"][0]["target"] is None
    for key in ("downtime_median_s", "downtime_ci_s", "availability_ratio_median"):
        assert content["summary"][key] is None


def test_lost_keys_are_a_sample() -> None:
    trial = result()
    lost = replace(trial.audit, lost=500, lost_keys=tuple(f"k-{number}" for number in range(500)))
    audit = document(replace(trial, audit=lost))["trials"][0]["writes_audit"]
    assert audit["lost"] == 500
    assert len(audit["lost_keys"]) == 100


def test_run_is_rebuilt_from_its_journal(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    records = [record((2.0, 2.5)), record((2.0, 2.75), number=2)]
    for each in records:
        trial = run.trial(each.number)
        trial.arrivals(each.arrivals)
        for event in each.events:
            trial.event(event)
        trial.close(each)
    rebuilt, found = rebuild(run.folder)
    assert found == tuple(records)
    assert rebuilt.verdict is Verdict.HELD
    assert rebuilt.trials == (result((2.0, 2.5)), result((2.0, 2.75), number=2))
    assert rebuilt.folder == run.folder


def test_rebuild_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file of a run"):
        rebuild(tmp_path)


# A page that was only read

READ = LoadPlan(write_share=0.0)
NOT_MEASURED = (
    *("writes", "write_outages", "writes_latency_ms", "undisturbed_writes_latency_ms", "writes_audit"),
    *("writable_databases", "vip_owners"),
)


def visited() -> RunResult:
    """Of a foreign stack, a page was read."""
    whole = record((2.5, 4.5))
    reads = tuple(each for each in whole.arrivals if each.kind == "read")
    generator = replace(whole.generator, intended=len(reads), recorded=len(reads))
    trial = measure_trial(replace(whole, plan=READ, arrivals=reads, generator=generator, final_orders={}), (), has_fault=True)
    info = run_info(stage=0, stage_folder="own-shop", plan=READ, url="http://lb/", contains="Welcome", expectations=())
    return RunResult(info, decide([trial]), (trial,), summarise([trial]))


def test_what_was_not_observed_is_null_and_not_zero() -> None:
    content = as_document(visited())
    [trial] = content["trials"]
    assert trial["valid"], trial["reasons"]
    assert {name: trial[name] for name in NOT_MEASURED} == dict.fromkeys(NOT_MEASURED)
    assert (content["summary"]["writes_lost_total"], content["summary"]["writes_failed_total"]) == (None, None)
    assert (content["stage"], content["stage_folder"], content["url"], content["contains"]) == (
        None,
        "own-shop",
        "http://lb/",
        "Welcome",
    )
    assert trial["reads"]["intended"] == trial["intended"] > 0
    assert trial["downtime_longest_s"] == pytest.approx(2.0, abs=0.05)
    assert set(trial) == TRIAL


def test_every_report_says_that_it_is_not_measured() -> None:
    result_ = visited()
    assert [each.value for each in figures(result_) if "losses" in each.name] == ["not measured"]
    assert "the longest outage was 2.01 s, the longest gap between two successes 2.02 s" in run_words.headline(result_)
    assert "write" not in run_words.headline(result_)
    page = html_page.run_page(result_, [replace(record(), plan=READ)])
    assert "not measured" in page
    assert "all of them reads of http://lb/" in page
    assert "longest outage of writes" not in page
    rows = markdown.run(result_)
    assert rows.count("not measured") >= 3
    line = dict(zip(*list(csv.reader(csv_table.run(result_).splitlines()))[:2], strict=True))
    assert {name: line[name] for name in line if name.startswith("writes_")} == dict.fromkeys(
        [name for name in line if name.startswith("writes_")], ""
    )
    console = Console(width=160, record=True, file=io.StringIO())
    terminal.show_run(console, result_, [replace(record(), plan=READ)])
    said = console.export_text()
    assert "own-shop · kill-web" in said
    assert "only http://lb/ is read: writes, losses and databases are not measured" in said
    assert "lost writes" not in said
