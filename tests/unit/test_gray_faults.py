"""The faults after which a box lives on and is of no use: it hangs, starves, or takes no writes; and the loss of power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.engine.engine import ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults import FAULTS, hang, heal, packets, readonly
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.cpu import share
from lab.faults.network import on_network, ways
from lab.model.fault import FaultKind, FaultParameters, Undo, UndoAction, Verification
from lab.model.topology import Box
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, db, stage
from tests.unit.played import PlayedEngine
from tests.unit.test_faults import FakeControl, victim
from tests.unit.test_network_faults import ANSWERED, BOXES, LOST, UNREACHABLE, prepare
from tests.unit.test_network_faults import FakeControl as FakeNetwork

RUNS, STOPS = "S", "T"


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


# hang


def listing(*states: str) -> ExecResult:
    return ExecResult(0, "".join(f"{42 + at} (gun (x) icorn) {state} 1 42 42 0\n" for at, state in enumerate(states)))


HUNG = replace(victim(), pids=frozenset({"42", "43"}))


def test_hang_stops_every_process_of_the_name_and_nothing_else() -> None:
    control, fault = FakeControl(box(), ExecResult(0, "42\n43\n"), ExecResult(0, "")), FAULTS[FaultKind.HANG]
    prepared = fault.prepare(control, victim())
    fault.inject(control, prepared)
    assert control.done == ["in web1: pgrep -x gunicorn", "in web1: pkill -STOP -x gunicorn"]
    assert fault.undo(prepared) == Undo(UndoAction.CONTINUE, "id-of-web1", "web1", 3, process="gunicorn")


def test_a_box_that_does_not_let_its_process_be_stopped_is_an_error() -> None:
    with pytest.raises(LabError, match="'gunicorn' in web1 could not be stopped: Operation not permitted"):
        FAULTS[FaultKind.HANG].inject(FakeControl(box(), ExecResult(1, "Operation not permitted")), HUNG)


@pytest.mark.parametrize(
    ("states", "proved"),
    [((STOPS, STOPS), True), ((STOPS, RUNS), False), ((RUNS, RUNS), False), ((STOPS, "Z"), True), ((), False), (("Z",), False)],
)
def test_proof_of_a_hang_is_that_every_process_stands_still(states: Sequence[str], proved: bool) -> None:
    found = FAULTS[FaultKind.HANG].verify(FakeControl(box(), listing(*states)), HUNG)
    assert found.proved is proved
    assert "'gunicorn' in web1" in found.evidence


@pytest.mark.parametrize("now", [None, box(status="exited"), box(status="paused")])
def test_a_box_that_is_down_does_not_hang(now: Box | None) -> None:
    assert not FAULTS[FaultKind.HANG].verify(FakeControl(now), HUNG).proved


def hung(ledger: UndoLog) -> None:
    ledger.open(Undo(UndoAction.CONTINUE, "id-of-web1", "web1", 3, process="gunicorn"), "hang")


def answering(result: ExecResult, to: str = "") -> Any:
    return lambda _box, command: result if to in " ".join(command) else ExecResult(1, "")


@pytest.mark.parametrize("code", [0, 1])
def test_what_hung_goes_on_and_where_it_has_ended_there_is_nothing_to_do(ledger: UndoLog, code: int) -> None:
    hung(ledger)
    plays = PlayedEngine([box()], answer=answering(ExecResult(code, "")))
    assert heal.undo_all(plays, ledger) == 1
    assert plays.done == ["in web1: gunicorn"]
    assert ledger.entries() == []


def test_what_cannot_be_continued_stays_noted(ledger: UndoLog) -> None:
    hung(ledger)
    with pytest.raises(HealError, match="hang of web1 could not be undone: 'gunicorn' in web1 could not be continued"):
        heal.undo_all(PlayedEngine([box()], answer=answering(ExecResult(124, "no answer within 30 s"))), ledger)
    assert [entry.undo.process for entry in ledger.entries()] == ["gunicorn"]


def test_healing_lets_named_processes_go_on_that_were_stopped_by_hand() -> None:
    labels = {"lab.process": "supervisord", "lab.process.web": "gunicorn"}
    plays = PlayedEngine(answer=answering(ExecResult(0, "gunicorn killed (pid 42)\n")))
    assert hang.sweep(plays.cluster(stage()), box(labels=labels)) == ["gunicorn in web1 stood still: continued"]
    assert plays.done == ["in web1: gunicorn|supervisord"]
    assert hang.sweep(PlayedEngine(answer=answering(ExecResult(1, ""))).cluster(stage()), box(labels=labels)) == []
    assert hang.sweep(plays.cluster(stage()), box(labels={})) == []


# readonly


def database(**changes: Any) -> InjectionTarget:
    return InjectionTarget.of(db("db1", **changes), "db.primary")


def test_readonly_sets_it_for_new_and_old_sessions() -> None:
    control, fault = FakeControl(db("db1"), ExecResult(0, "off\n"), ExecResult(0, "")), FAULTS[FaultKind.READONLY]
    fault.inject(control, fault.prepare(control, database()))
    assert control.done[1].endswith("-c ALTER SYSTEM SET default_transaction_read_only = on -c SELECT pg_reload_conf()")
    assert fault.undo(database()).action is UndoAction.READWRITE


@pytest.mark.parametrize(
    ("target", "answers", "why"),
    [
        (victim(), (), "web1 is no database"),
        (database(), (ExecResult(0, "on\n"),), "db1 takes no writes already"),
        (
            database(),
            (ExecResult(2, "psql: error: connection refused\n"),),
            "db1 does not answer: psql: error: connection refused",
        ),
        (database(status="exited"), (), "db1 is exited, not running"),
    ],
)
def test_only_a_database_that_takes_writes_can_cease_to(target: InjectionTarget, answers: Sequence[ExecResult], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        FAULTS[FaultKind.READONLY].prepare(FakeControl(target.box, *answers), target)


@pytest.mark.parametrize(("said", "proved"), [("on\n", True), ("off\n", False), ("", False), ("psql: error\n", False)])
def test_proof_of_a_database_that_takes_no_writes(said: str, proved: bool) -> None:
    assert FAULTS[FaultKind.READONLY].verify(FakeControl(db("db1"), ExecResult(0, said)), database()).proved is proved


def of_databases(*read_only: str, refuses: str = "") -> Any:
    def answer(asked: Box, command: Sequence[str]) -> ExecResult:
        words = " ".join(command)
        if "SHOW" in words:
            return ExecResult(0, "on\n" if asked.service in read_only else "off\n")
        return ExecResult(1 if asked.service == refuses else 0, "")

    return answer


def test_the_setting_is_taken_out_of_every_database_that_was_copied_from_the_one_that_had_it(ledger: UndoLog) -> None:
    ledger.open(Undo(UndoAction.READWRITE, "id-of-db1", "db1", 4), "readonly")
    boxes = [db(name, project="redundancy-lab-4-automatic") for name in ("db1", "db2", "db3")]
    plays = PlayedEngine(boxes, answer=of_databases("db1", "db2"))
    heal.undo_all(plays, ledger)
    reset = [text.split(":")[0] for text in plays.done if text.endswith("SELECT pg_reload_conf()")]
    assert reset == ["in db1", "in db2"]
    assert ledger.entries() == []


def test_a_database_that_does_not_take_the_setting_back_stays_noted(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readonly, "BACK_TIMEOUT_S", 0.0)
    ledger.open(Undo(UndoAction.READWRITE, "id-of-db1", "db1", 4), "readonly")
    plays = PlayedEngine([db("db1", project="redundancy-lab-4-automatic")], answer=of_databases(refuses="db1"))
    with pytest.raises(HealError, match="readonly of db1 could not be undone: db1 does not take the setting back"):
        heal.undo_all(plays, ledger)
    assert len(ledger.entries()) == 1


def test_healing_finds_a_database_that_takes_no_writes_whoever_made_it_so() -> None:
    cluster = PlayedEngine(answer=of_databases("db1")).cluster(automatic())
    assert readonly.sweep(cluster, db("db1")) == ["db1 took no writes: it takes them again"]
    assert readonly.sweep(cluster, db("db2")) == readonly.sweep(cluster, box("web1")) == []
    assert readonly.sweep(cluster, db("db1", status="exited")) == []
    refused = PlayedEngine(answer=of_databases("db1", refuses="db1")).cluster(automatic())
    assert readonly.sweep(refused, db("db1")) == []


# cpu


class Sized(FakeControl):
    """A box that may use so much of a processor."""

    def __init__(self, now: float, *answers: ExecResult) -> None:
        super().__init__(box(), *answers)
        self.size = now

    def cpus(self, box: Box) -> float:
        return self.size

    def resize(self, box: Box, cpus: float) -> None:
        self.done.append(f"resize {box.service} {cpus:g}")
        self.size = cpus


STARVED = InjectionTarget.of(box(), "web", BlastRadius(FaultParameters(cpus=0.1)))


@pytest.mark.parametrize("before", [1.0, 0.0])
def test_cpu_notes_what_the_box_had(before: float) -> None:
    control, fault = Sized(before), FAULTS[FaultKind.CPU]
    prepared = fault.prepare(control, STARVED)
    assert control.done == []
    assert (fault.undo(prepared).action, fault.undo(prepared).setting) == (UndoAction.RESIZE, f"{before:g}")
    fault.inject(control, prepared)
    assert control.done == ["resize web1 0.1"]


def test_a_box_that_has_no_more_than_that_does_not_starve_by_it() -> None:
    with pytest.raises(UsageError, match=r"web1 may use no more than 0\.1 of a processor"):
        FAULTS[FaultKind.CPU].prepare(Sized(0.1), STARVED)


@pytest.mark.parametrize(
    ("times", "now", "proved"),
    [
        ("0.500 0.045 0.005", 0.1, True),
        # It got half a processor: the limit does not hold.
        ("0.100 0.050 0.000", 0.1, False),
        # It was slow, and the engine knows of no such limit: the machine was busy.
        ("0.500 0.045 0.005", 1.0, False),
    ],
)
def test_proof_of_starvation_is_what_a_little_work_got(times: str, now: float, proved: bool) -> None:
    assert FAULTS[FaultKind.CPU].verify(Sized(now, ExecResult(0, times)), STARVED).proved is proved


def test_a_box_that_does_not_finish_its_work_is_no_proof() -> None:
    for answer in (ExecResult(124, "no answer within 20 s"), ExecResult(0, ""), ExecResult(0, "bash: time: not found\n")):
        found = FAULTS[FaultKind.CPU].verify(Sized(0.1, answer), STARVED)
        assert not found.proved
        assert "could not be asked" in found.evidence
    assert share("0.000 0.000 0.000") == 0.0


@pytest.mark.parametrize(("before", "after"), [("1", "1"), ("0.25", "0.25"), ("0", "2")])
def test_a_starved_box_gets_back_what_it_had_and_all_processors_where_it_had_no_limit(
    ledger: UndoLog, before: str, after: str
) -> None:
    ledger.open(Undo(UndoAction.RESIZE, "id-of-web1", "web1", 3, setting=before), "cpu")
    plays = PlayedEngine([box()])
    heal.undo_all(plays, ledger)
    assert plays.done == [f"resize web1 {after}"]


# power


def test_power_silences_a_box_before_it_kills_it() -> None:
    control = FakeNetwork()
    with prepare(control, FaultKind.POWER) as injection:
        assert not [text for text in control.done if text.startswith(("kill", 'web1: nft "'))]
        injection.inject()
        undo = injection.fault.undo(injection.targets[0])
    rules, kill = (next(at for at, text in enumerate(control.done) if word in text) for word in ('web1: nft "', "kill web1"))
    assert rules < kill
    assert (undo.action, undo.table) == (UndoAction.POWER_ON, injection.targets[0].blast_radius.table)


def powered_off(answer: ExecResult) -> Verification:
    control = FakeNetwork(lambda _w, _c: answer, LOST)
    with prepare(FakeNetwork(), FaultKind.POWER) as injection:
        target = replace(injection.targets[0], helper=control.beside(injection.targets[0].box))
        return injection.fault.verify(control, target)


def test_proof_of_a_lost_power_is_silence_and_no_refusal() -> None:
    found = powered_off(UNREACHABLE)
    assert found.proved
    assert "web1 is exited" in found.evidence
    assert "gets no answer from it" in found.evidence
    assert not powered_off(ANSWERED).proved
    assert not powered_off(ExecResult(137, "")).proved


def test_rules_of_a_lost_power_go_where_the_lab_ended_before_the_kill(ledger: UndoLog) -> None:
    undo = Undo(UndoAction.POWER_ON, "id-of-web1", "web1", 3, table="lab_fault_1")
    ledger.open(undo, "power")
    running = PlayedEngine([box()])
    # The helper that takes them away is not played: the fault stays noted, for a healing that can.
    with pytest.raises(HealError, match="power of web1 could not be undone"):
        heal.undo_all(running, ledger)
    dead = PlayedEngine([box(status="exited")])
    heal.undo_all(dead, ledger)
    assert dead.done == ["start web1"]
    assert ledger.entries() == []


# One network of several


def test_a_fault_of_one_network_is_put_before_its_interface_only() -> None:
    control = FakeNetwork()
    with prepare(control, FaultKind.ISOLATE, "service:lb", network="e") as injection:
        injection.inject()
        # Who is to notice it asks there, too.
        assert {address for _, address in ways(injection.targets[0])} == {"198.18.0.11"}
    commands = [text for text in control.told("lb") if "nft" in text]
    assert len(commands) == 2
    assert all(text.startswith("devices=$(ip -o -4 address show to 198.18.0.11 ") for text in commands)


def test_a_box_that_is_not_on_that_network_cannot_lose_it() -> None:
    with pytest.raises(UsageError, match="web1 is on no network 'e'") as caught:
        prepare(FakeNetwork(), FaultKind.ISOLATE, "service:web1", network="e")
    assert caught.value.hint == "it is on a, d"


def test_the_name_of_a_network_is_that_of_the_stage_file() -> None:
    of_compose = replace(BOXES[3], addresses={"redundancy-lab-5_edge": "198.18.0.11", "redundancy-lab-5_app": "198.18.1.11"})
    assert list(on_network(of_compose, "edge")) == ["redundancy-lab-5_edge"]
    assert list(on_network(of_compose, "redundancy-lab-5_app")) == ["redundancy-lab-5_app"]
    assert on_network(of_compose, "ed") == {}
    assert len(on_network(of_compose, "")) == 2


def test_loss_between_two_sides_counts_and_loses_only_what_goes_to_the_other() -> None:
    control = FakeNetwork()
    with prepare(control, FaultKind.LOSS, "service:web1", source="service:db", loss_percent=50.0) as injection:
        injection.inject()
    [web1], [of_db] = ([text for text in control.told(name) if text.startswith('nft "')] for name in ("web1", "db"))
    assert "ip daddr { 198.18.2.31 } counter; ip daddr { 198.18.2.31 } meta random <" in web1
    assert "ip daddr { 198.18.1.21, 198.18.2.21 } meta random <" in of_db
    assert packets.loss("t", 50.0).count("ip daddr") == 0
