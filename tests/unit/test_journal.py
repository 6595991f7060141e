from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import PreflightError, UsageError
from lab.model.experiment import Overload
from lab.model.fault import Undo, UndoAction
from lab.model.history import DatabaseAudit, Event, TrialRecord
from lab.model.observation import DatabaseState
from lab.model.payloads import (
    PAYLOADS,
    AlertNotice,
    AlertRecord,
    Capacity,
    ClockError,
    DatabasesSeen,
    ObserverGap,
    RedundancyCheck,
    RedundancySeen,
    VipSeen,
)
from lab.model.topology import Link, Tier
from lab.spec.stages import ROOT
from lab.store import lock, paths, runs
from lab.store.runs import RunJournal, read_run
from lab.store.undo_log import UndoLog
from tests.unit.helpers import record, run_info

HOLD = """
import sys
from pathlib import Path
from lab.store import lock, paths
paths.STATE_FOLDER = Path(sys.argv[1])
with lock.exclusive("lab run 3 kill-web"):
    print("held", flush=True)
    sys.stdin.read()
"""


def undo(service: str, action: UndoAction = UndoAction.START) -> Undo:
    return Undo(action, f"id-of-{service}", service, 3)


# The ledger of faults


def test_open_fault_survives_the_controller(tmp_path: Path) -> None:
    file = tmp_path / "state" / "undo.jsonl"
    opened = UndoLog(file).open(undo("web1", UndoAction.UNPAUSE), "pause")
    assert UndoLog(file).entries() == [opened]
    assert opened.undo.action is UndoAction.UNPAUSE


def test_cables_that_were_pulled_survive_the_controller(tmp_path: Path) -> None:
    links = (Link("edge", "198.18.0.11", "02:42:c6:12:00:0b", ("lb1", "balancer")), Link("app", "", "", ()))
    file = tmp_path / "undo.jsonl"
    opened = UndoLog(file).open(replace(undo("lb1", UndoAction.RECONNECT), links=links), "disconnect")
    assert UndoLog(file).entries() == [opened]
    assert opened.undo.links == links


def test_fault_noted_before_there_were_links_is_still_known(tmp_path: Path) -> None:
    file = tmp_path / "undo.jsonl"
    old = {"action": "start", "box_id": "id-of-web1", "service": "web1", "stage": 3}
    file.write_text(json.dumps({"id": "a1", "fault": "kill", "since": "2026-01-31T12:00:00Z", "undo": old}) + "\n")
    (entry,) = UndoLog(file).entries()
    assert entry.undo == undo("web1")
    UndoLog(file).close(entry)
    assert not file.exists()


def test_closing_the_last_fault_removes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "undo.jsonl"
    ledger = UndoLog(file)
    first, second = ledger.open(undo("web1"), "kill"), ledger.open(undo("db"), "stop")
    ledger.close(first)
    assert ledger.entries() == [second]
    assert file.exists()
    ledger.close(second)
    assert ledger.entries() == []
    assert not file.exists()


def test_faults_are_in_the_order_of_opening(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    opened = [ledger.open(undo(f"box{number}"), "kill") for number in range(5)]
    ledger.close(opened.pop(2))
    assert ledger.entries() == opened


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_torn_last_line_is_passed_over_and_writing_goes_on(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "undo.jsonl"
    ledger = UndoLog(file)
    first = ledger.open(undo("web1"), "kill")
    whole = file.read_bytes()
    ledger.open(undo("db"), "kill")
    file.write_bytes(whole + file.read_bytes()[len(whole) :].lstrip(b"\n")[:kept])
    assert ledger.entries() == [first]
    third = ledger.open(undo("lb"), "kill")
    assert ledger.entries() == [first, third]
    ledger.close(first)
    ledger.close(third)
    assert not file.exists()


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert UndoLog(tmp_path / "undo.jsonl").entries() == []


# The journal of a run


def test_run_comes_back_equal(tmp_path: Path) -> None:
    info = run_info(durability="region", overload=Overload(0.15, 1.5, 1))
    records = [record((2.0, 3.0)), record((2.0, 6.0), number=2, final_orders={"db": None, "db2": {"a": 2}})]
    run = RunJournal(info, tmp_path)
    for each in records:
        trial = run.trial(each.number)
        trial.arrivals(each.arrivals[:100])
        for event in each.events:
            trial.event(event)
        trial.arrivals(each.arrivals[100:])
        trial.close(each)
    assert read_run(run.folder) == (info, tuple(records))


def journal_of(whole: TrialRecord, root: Path) -> Path:
    """The folder of a run with this one trial."""
    run = RunJournal(run_info(), root)
    trial = run.trial(whole.number)
    trial.arrivals(whole.arrivals)
    for event in whole.events:
        trial.event(event)
    trial.close(whole)
    return run.folder


AUDITED = {"db1": DatabaseAudit("primary", 3, "0/60", True), "db2": DatabaseAudit("", error="no answer")}


def test_what_each_database_was_comes_back_and_another_versions_fields_do_no_harm(tmp_path: Path) -> None:
    whole = record(databases=AUDITED, final_orders={"db1": {"a": 1}, "db2": None})
    folder = journal_of(whole, tmp_path)
    assert read_run(folder)[1] == (whole,)
    file = folder / "trial-01" / "trial.json"
    trial = json.loads(file.read_text())
    trial["databases"]["db1"]["mood"] = "good"
    file.write_text(json.dumps(trial))
    assert read_run(folder)[1] == (whole,)


def test_trial_from_before_the_databases_were_compared_can_be_read(tmp_path: Path) -> None:
    folder = journal_of(record(databases=AUDITED), tmp_path)
    file = folder / "trial-01" / "trial.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "databases"}))
    assert read_run(folder)[1] == (record(),)


def test_run_from_before_durability_and_overload_were_noted_can_be_read(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    file = run.folder / "run.json"
    old = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("durability", "overload")}
    file.write_text(json.dumps(old))
    assert read_run(run.folder) == (run_info(), ())


def test_trial_that_was_broken_off_is_left_out(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    trial = run.trial(1)
    trial.arrivals(record().arrivals)
    trial.abandon()
    assert read_run(run.folder) == (run_info(), ())


def test_trials_are_in_the_order_of_their_numbers_also_beyond_99(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    for number in (*range(1, 102), 1000):
        run.trial(number).close(record(number=number, arrivals=(), final_orders={}))
    assert [trial.number for trial in read_run(run.folder)[1]] == [*range(1, 102), 1000]


def test_event_is_on_disk_at_once(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    trial = run.trial(1)
    trial.event(record().events[0])
    assert '"inject"' in (run.folder / "trial-01" / "events.jsonl").read_text()
    trial.abandon()


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    first, second = (RunJournal(run_info(), tmp_path).folder for _ in range(2))
    assert first == tmp_path / "3-load-balancer" / "kill-web" / "20260131T120000Z"
    assert first != second
    assert (tmp_path / "latest").resolve() == (first.parent / "latest").resolve() == second


def test_latest_links_may_be_moved_with_the_results(tmp_path: Path) -> None:
    folder = RunJournal(run_info(), tmp_path / "old").folder
    (tmp_path / "old").rename(tmp_path / "new")
    assert (tmp_path / "new" / "latest" / "run.json").exists()
    assert not folder.exists()


def test_find_run_by_path_and_below_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RESULTS_FOLDER", tmp_path)
    folder = RunJournal(run_info()).folder
    assert folder.is_relative_to(tmp_path)
    for name in ("latest", "3-load-balancer/kill-web/latest", "3-load-balancer/kill-web/20260131T120000Z", str(folder)):
        assert runs.find_run(name) == folder


@pytest.mark.parametrize("name", ["latest", "nosuch", "3-load-balancer", ""])
def test_find_run_names_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(paths, "RESULTS_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3-load-balancer").mkdir()
    with pytest.raises(UsageError, match=f"there is no run '{name}'"):
        runs.find_run(name)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 2, "plan": {}, "surprise": 1}'])
def test_malformed_run_is_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match="is no file of a run"):
        read_run(tmp_path)


def test_malformed_trial_is_no_run(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    run.trial(1).close(record())
    arrivals = run.folder / "trial-01" / "arrivals.jsonl.gz"
    for content in (gzip.compress(b'{"number": 1}\n'), gzip.compress(b"{}{}{}" * 50)[:-9], b"not compressed"):
        arrivals.write_bytes(content)
        with pytest.raises(UsageError, match="is no file of a run"):
            read_run(run.folder)


def test_damaged_trial_is_no_run(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    run.trial(1).close(record())
    arrivals = run.folder / "trial-01" / "arrivals.jsonl.gz"
    arrivals.write_bytes(gzip.compress(b"{}\n")[:10] + b"\xff" * 50)
    with pytest.raises(UsageError, match="is no file of a run"):
        read_run(run.folder)


def test_result_is_written_whole(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    run.result({"verdict": "held"})
    assert json.loads((run.folder / "result.json").read_text()) == {"verdict": "held"}
    assert not list(run.folder.glob("*.new"))


# One controller at a time


def test_second_controller_is_refused_until_the_first_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE_FOLDER", tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        busy = f"the lab is busy: lab run 3 kill-web .process {holder.pid}."
        with pytest.raises(PreflightError, match=busy), lock.exclusive("lab heal"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    # Its end freed the lock, though it was killed.
    with lock.exclusive("lab heal"):
        assert "lab heal" in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_failing_command_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE_FOLDER", tmp_path)
    with pytest.raises(UsageError, match="some failure"), lock.exclusive("lab up 3"):
        raise UsageError("some failure")
    with lock.exclusive("lab up 3"):
        pass


@pytest.mark.parametrize(("version", "shown"), [(1, "1"), (3, "3"), (None, "null"), ("2", "2")])
def test_journal_of_another_version_is_refused_in_one_line(tmp_path: Path, version: object, shown: str) -> None:
    run = RunJournal(run_info(), tmp_path)
    file = run.folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": version}))
    with pytest.raises(UsageError) as caught:
        read_run(run.folder)
    assert caught.value.message.endswith(f"run.json has schema_version {shown}; this version of the lab reads 2 only")
    assert "\n" not in caught.value.message


def test_journal_from_before_versions_were_noted_is_version_1(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="has schema_version 1; this version of the lab reads 2 only"):
        read_run(tmp_path)


STATES = st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from(DatabaseState), max_size=3)
TIERS = st.dictionaries(st.sampled_from(Tier), st.integers(0, 20))
SECONDS = st.floats(0, 1000)
NAMES = st.lists(st.text(max_size=5), max_size=3).map(tuple)
NOTICES = st.builds(AlertNotice, st.text(max_size=5), st.text(max_size=5))
PAYLOAD_OF = {
    "databases": st.builds(DatabasesSeen, STATES, st.integers(0, 5)),
    "vip": st.builds(VipSeen, NAMES, st.text(max_size=5)),
    "redundancy": st.builds(RedundancySeen, TIERS, TIERS, NAMES, SECONDS),
    "redundant-before": st.builds(RedundancyCheck, st.booleans()),
    "capacity": st.builds(Capacity, SECONDS),
    "observer-gap": st.builds(ObserverGap, SECONDS, st.none() | SECONDS),
    "clock": st.builds(ClockError, SECONDS, st.none() | SECONDS),
    "alert": st.none() | NOTICES,
    "resolved": NOTICES,
    "alert-record": st.builds(
        AlertRecord, st.booleans(), st.booleans(), SECONDS, st.text(max_size=5), st.lists(NOTICES, max_size=2).map(tuple)
    ),
    "inject": st.none(),
}
NOTED = st.sampled_from(sorted(PAYLOAD_OF)).flatmap(
    lambda name: st.builds(Event, SECONDS, st.just(name), st.text(max_size=9), PAYLOAD_OF[name])
)


def test_every_payload_is_tried() -> None:
    assert set(PAYLOADS) == set(PAYLOAD_OF) - {"inject"}


@given(st.lists(NOTED, max_size=8))
def test_events_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, noted: list[Event]) -> None:
    run = RunJournal(run_info(), tmp_path_factory.mktemp("run"))
    trial = run.trial(1)
    for event in noted:
        trial.event(event)
    trial.close(record(arrivals=()))
    [found] = read_run(run.folder)[1]
    assert found.events == tuple(sorted(noted, key=lambda event: event.at_s))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"at_s": 1, "name": "databases"}', "'databases' has no data"),
        ('{"at_s": 1, "name": "vip", "data": {"claimants": "lb1", "owner": ""}}', "claimants should be a valid"),
        ('{"at_s": 1, "name": "redundancy", "data": {"failures_tolerated": {"moon": 1}, "working": {}}}', "moon"),
        ('{"at_s": 1, "name": "databases", "data": {"states": {"db": "fine"}, "promotable_standbys": 0}}', "states.db should be"),
        ('{"at_s": 1, "name": "capacity", "data": {"requests_per_s": 1e300}}', "is no number that the lab writes"),
    ],
)
def test_event_whose_payload_is_not_understood_is_named(tmp_path: Path, line: str, why: str) -> None:
    run = RunJournal(run_info(), tmp_path)
    run.trial(1).close(record(arrivals=()))
    (run.folder / "trial-01" / "events.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=r"events\.jsonl is no file of a run") as caught:
        read_run(run.folder)
    assert why in caught.value.message
