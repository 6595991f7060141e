"""The faults of a disk, and the one undo that comes before all others; against boxes and helpers that are only played."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.cluster import lifecycle
from lab.engine.disk import Disk
from lab.engine.engine import ExecResult
from lab.engine.sidecar import Reply
from lab.errors import HealError, LabError, PreflightError, UsageError
from lab.faults import FAULTS, OF_A_DISK, disk, disk_release, heal
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.disk import Tried
from lab.faults.injection import Injection
from lab.model.fault import BY_SIGNAL, FaultKind, FaultParameters, Step, Undo, UndoAction
from lab.model.topology import Box
from lab.spec import experiment_keys, experiments
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, db, stage
from tests.unit.played import PlayedEngine
from tests.unit.test_faults import FakeControl
from tests.unit.test_network_faults import Ground

DB = box("db", ("db",))
OWN = Disk("redundancy-lab-3", "db", 1230, "/var/lib/lab")
QUICK, STILL = ExecResult(0, "900\n"), ExecResult(75, "hangs\n")
NO_SPACE = "No space left on device"
HELD = FaultParameters(delay_ms=100.0)
FULL, STALL, SLOW = FaultKind.DISK_FULL, FaultKind.DISK_STALL, FaultKind.DISK_SLOW
KINDS = [fault.kind for fault in OF_A_DISK]
each_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass
class FakeHelper:
    """Has the disk, and says what it is to say to a command."""

    control: Disks

    def ask(self, command: str) -> Reply:
        self.control.done.append(command)
        return self.control.replies.get(command.split()[1], Reply(0, 1000.5, ""))

    def close(self) -> None:
        self.control.done.append("closed")


class Disks(FakeControl):
    """A database whose disk is its own."""

    def __init__(self, *answers: ExecResult, own: Disk | None = OWN, **replies: Reply) -> None:
        super().__init__(DB, *answers)
        self.own, self.replies = own, replies

    def own_disk(self, box: Box) -> Disk | None:
        return self.own

    def at_disk(self, disk: Disk) -> FakeHelper:
        return FakeHelper(self)

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        self.done.append(f"slow {disk.name} by {held_s:g} s")


def target(**changes: Any) -> InjectionTarget:
    return InjectionTarget.of(replace(DB, **changes), "db", BlastRadius(HELD))


def prepared(kind: FaultKind, control: Disks) -> InjectionTarget:
    return FAULTS[kind].prepare(control, target())


def broken(control: Disks) -> InjectionTarget:
    return replace(target(), disk=OWN, helper=FakeHelper(control))


# Prepared


@each_kind
def test_a_database_on_the_engines_disk_is_refused_with_what_helps(kind: FaultKind) -> None:
    control = Disks(own=None)
    with pytest.raises(UsageError, match="db has no disk of its own") as caught:
        prepared(kind, control)
    assert "LAB_DISKS=own" in caught.value.hint
    assert control.done == []


@each_kind
def test_nothing_is_changed_beforehand_but_a_write_is_tried(kind: FaultKind) -> None:
    control = Disks(QUICK, QUICK)
    found = prepared(kind, control)
    assert found.disk == OWN
    assert control.done[-1] == "lab-disk ready /disks/redundancy-lab-3_db"
    assert not {"fill", "freeze", "stutter", "slow"} & {word for each in control.done for word in each.split()}


@each_kind
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (STILL, "the disk of db does not end a write"),
        (
            ExecResult(1, f"head: error writing 'standard output': {NO_SPACE}\n"),
            r"the disk of db takes no writes already \(head: ",
        ),
        (ExecResult(124, "no answer within 13 s"), "takes no writes already"),
        (ExecResult(0, "what?\n"), "takes no writes already"),
    ],
)
def test_a_disk_that_is_no_good_already_is_not_broken(kind: FaultKind, answer: ExecResult, why: str) -> None:
    control = Disks(answer)
    with pytest.raises(UsageError, match=why):
        prepared(kind, control)
    assert not any(each.startswith("lab-disk") for each in control.done)


@each_kind
def test_a_kernel_that_cannot_freeze_is_a_reason_before_anything_is_broken(kind: FaultKind) -> None:
    control = Disks(QUICK, QUICK, ready=Reply(1, 0.0, "Operation not permitted"))
    with pytest.raises(PreflightError, match="the disk of db cannot be broken here: Operation not permitted"):
        prepared(kind, control)
    assert control.done[-1] == "closed"


def test_a_disk_that_is_as_slow_already_proves_nothing() -> None:
    with pytest.raises(UsageError, match="a write on the disk of db takes 26 ms already"):
        prepared(SLOW, Disks(QUICK, ExecResult(0, "26000\n26000\n")))


@each_kind
def test_the_undo_names_the_disk(kind: FaultKind) -> None:
    undo = FAULTS[kind].undo(prepared(kind, Disks(QUICK, QUICK)))
    assert (undo.action, undo.service, undo.disk) == (UndoAction.RELEASE, "db", "redundancy-lab-3_db")


# Injected and verified


@pytest.mark.parametrize(("kind", "verb"), [(FULL, "fill"), (STALL, "freeze")])
def test_the_helper_does_one_thing_and_says_when(kind: FaultKind, verb: str) -> None:
    control = Disks()
    assert FAULTS[kind].inject(control, broken(control)) == 1000.5
    assert control.done == [f"lab-disk {verb} /disks/redundancy-lab-3_db"]
    busy: dict[str, Any] = {verb: Reply(1, 0.0, "Device or resource busy")}
    refusing = Disks(**busy)
    with pytest.raises(LabError, match="the disk of db could not be broken: Device or resource busy"):
        FAULTS[kind].inject(refusing, broken(refusing))


def test_a_slow_disk_is_slowed_by_another_helper_that_stays() -> None:
    control = Disks()
    FAULTS[SLOW].inject(control, broken(control))
    assert control.done == ["slow redundancy-lab-3_db by 0.1 s"]


@pytest.mark.parametrize(
    ("reply", "proved"),
    [
        (Reply(1, 0.0, f"/disks/redundancy-lab-3_db/.lab-try: {NO_SPACE}"), True),
        (Reply(0, 0.0, ""), False),
        (Reply(1, 0.0, "Input/output error"), False),
        (Reply(0, 0.0, NO_SPACE), False),
    ],
)
def test_proof_of_a_full_disk_is_the_error_of_a_write(reply: Reply, proved: bool) -> None:
    control = Disks(write=reply)
    found = FAULTS[FULL].verify(control, broken(control))
    assert found.proved is proved
    assert "a write on the disk of db" in found.evidence


@pytest.mark.parametrize(
    ("answer", "proved"),
    [
        (STILL, True),
        (QUICK, False),
        (ExecResult(1, f"head: {NO_SPACE}\n"), False),
        # What did not answer has not been seen to hang.
        (ExecResult(124, "no answer within 10 s"), False),
        (ExecResult(137, ""), False),
        (ExecResult(75, "bash: hangs: not found\n"), False),
    ],
)
def test_proof_of_a_stall_is_a_write_that_does_not_end(answer: ExecResult, proved: bool) -> None:
    control = Disks(answer)
    assert FAULTS[STALL].verify(control, broken(control)).proved is proved


@pytest.mark.parametrize(
    ("answer", "proved"),
    [
        (ExecResult(0, "90000\n10000\n"), True),
        (ExecResult(0, "24000\n25000\n"), False),
        (STILL, False),
        (ExecResult(1, "Input/output error\n"), False),
        (ExecResult(0, ""), False),
    ],
)
def test_proof_of_a_slow_disk_is_how_long_writes_take(answer: ExecResult, proved: bool) -> None:
    control = Disks(answer)
    assert FAULTS[SLOW].verify(control, broken(control)).proved is proved


@pytest.mark.parametrize(("delay_ms", "times"), [(1.0, 12), (100.0, 8), (400.0, 2), (5000.0, 2)])
def test_the_slower_a_disk_the_fewer_writes_prove_it(delay_ms: float, times: int) -> None:
    control = Disks(QUICK)
    slow = replace(broken(control), blast_radius=BlastRadius(FaultParameters(delay_ms=delay_ms)))
    FAULTS[SLOW].verify(control, slow)
    # PATH, how often, for how many twentieths of a second, the rest between two.
    assert control.done[0].split()[-4:-2] == ["/var/lib/lab", str(times)]
    assert int(control.done[0].split()[-2]) * disk.WAIT_STEP_S > times * delay_ms / 1000


# The question itself


def ask(folder: Path, times: int = 1, patience_s: float = 3.0) -> tuple[Tried, float]:
    """What a box would answer, and how long that took: run here, with a folder for the box's disk and its memory."""
    script = disk.WRITES.replace("/run/", f"{folder}/run-")
    steps = round(patience_s / disk.WAIT_STEP_S)
    since = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", script, "lab-write", str(folder / "disk"), str(times), str(steps), "0.01"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return Tried.of(ExecResult(done.returncode, done.stdout + done.stderr)), time.monotonic() - since


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path


def test_writes_are_timed_and_leave_nothing(folder: Path) -> None:
    found, _ = ask(folder, times=3)
    assert len(found.took_ms) == 3
    assert 0 < found.mean_ms < 500
    assert (found.error, found.hangs) == ("", False)
    assert list((folder / "disk").iterdir()) == []
    assert [each.name for each in folder.iterdir()] == ["disk"]


def test_a_write_that_is_refused_says_why(folder: Path) -> None:
    (folder / "disk").rmdir()
    found, _ = ask(folder)
    assert "No such file or directory" in found.error


def test_a_write_that_does_not_end_is_left_to_end_by_itself(folder: Path) -> None:
    """A pipe that nothing reads stands for the frozen disk: to open it for writing waits."""
    waits = folder / "disk" / ".lab-write"
    subprocess.run(["mkfifo", str(waits)], check=True)
    found, took_s = ask(folder, patience_s=0.5)
    assert found.hangs
    assert took_s < 5
    # The disk goes on: the write ends, and so does its process.
    with waits.open("rb") as reader:
        assert reader.read() == bytes(8192)
    deadline = time.monotonic() + 5
    while waits.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not waits.exists()


# Taken back: before everything else


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


def opened(ledger: UndoLog, kind: FaultKind = STALL) -> Undo:
    undo = Undo(UndoAction.RELEASE, "id-of-db", "db", 3, disk=OWN.name)
    ledger.open(undo, kind)
    return undo


@each_kind
def test_disks_are_released_before_any_box_is_started_or_stopped(ledger: UndoLog, kind: FaultKind) -> None:
    ledger.open(Undo(UndoAction.START, "id-of-web1", "web1", 3), "kill")
    opened(ledger, kind)
    plays = PlayedEngine([replace(DB, status="exited"), box(status="exited")], own=(OWN,))
    assert heal.undo_all(plays, ledger) == 2
    assert plays.done == ["release redundancy-lab-3_db", "start db", "start web1"]
    assert ledger.entries() == []


def test_a_box_that_docker_would_start_later_and_later_is_started_at_once(ledger: UndoLog) -> None:
    opened(ledger, FULL)
    plays = PlayedEngine([replace(DB, status="restarting")], own=(OWN,))
    heal.undo_all(plays, ledger)
    assert plays.done == ["release redundancy-lab-3_db", "restart db"]


class Stuck(PlayedEngine):
    """Its disks cannot be released."""

    def release_disks(self, names: Sequence[str]) -> list[str]:
        raise LabError("the disks could not be released: no", "'lab heal' tries again")


def test_a_disk_that_cannot_be_released_stays_noted_and_keeps_no_other_fault_from_being_undone(ledger: UndoLog) -> None:
    ledger.open(Undo(UndoAction.START, "id-of-web1", "web1", 3), "kill")
    opened(ledger)
    plays = Stuck([DB, box(status="exited")], own=(OWN,))
    with pytest.raises(HealError, match="disk-stall of db could not be undone: the disks could not be released: no"):
        heal.undo_all(plays, ledger)
    assert plays.done == ["start web1"]
    assert [entry.undo.disk for entry in ledger.entries()] == [OWN.name]


def test_other_faults_need_no_disk() -> None:
    plays = PlayedEngine(own=(OWN,))
    assert disk_release.release(plays, [Undo(UndoAction.START, "id", "db", 3)]) == {}
    assert plays.done == []


def test_heal_releases_every_disk_first_also_where_nothing_is_noted(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "await_recovered", lambda *_, **__: None)
    other = replace(OWN, volume="monitor")
    boxes = [replace(DB, status="restarting"), box("web1", status="exited")]
    plays = PlayedEngine(boxes, own=(OWN, other), wrong=(f"{OWN.name} stood still",))
    said: list[str] = []
    assert heal.heal(plays, ledger, said.append) >= 2
    assert plays.done[:2] == ["release redundancy-lab-3_db", "release redundancy-lab-3_monitor"]
    assert {"restart db", "start web1"} <= set(plays.done[2:])
    assert said[0] == "the disk redundancy-lab-3_db stood still: it takes writes again"


def test_heal_thaws_before_it_waits_for_the_end_of_a_shutdown(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "await_recovered", lambda *_, **__: None)
    ledger.open(Undo(UndoAction.START, "id-of-db", "db", 3), "stop")
    plays = PlayedEngine([DB], own=(OWN,))
    heal.heal(plays, ledger, lambda _: None)
    assert plays.done[:2] == ["release redundancy-lab-3_db", "stop db"]


def test_heal_says_where_disks_cannot_be_released(ledger: UndoLog) -> None:
    with pytest.raises(HealError, match="the disks could not be released"):
        heal.heal(Stuck([DB], own=(OWN,)), ledger, lambda _: None)


def test_an_undo_of_a_disk_survives_the_disk(ledger: UndoLog) -> None:
    undo = opened(ledger)
    assert [entry.undo for entry in ledger.entries()] == [undo]


# While a disk stands still


def prepare(ledger: UndoLog, kind: FaultKind, name: str) -> Injection:
    ground = Ground(FakeControl(DB), stage(), ledger)  # type: ignore[arg-type]
    return Injection.prepare(ground, Step(kind, f"service:{name}"), [DB, box()], Random(1))


@pytest.mark.parametrize("kind", BY_SIGNAL)
def test_what_needs_a_signal_is_refused_while_the_disk_of_a_box_stands_still(ledger: UndoLog, kind: FaultKind) -> None:
    opened(ledger)
    with pytest.raises(UsageError, match=f"{kind} of db: its disk stands still, and no signal reaches a process"):
        prepare(ledger, kind, "db")


def test_other_boxes_and_other_faults_of_a_disk_are_no_reason(ledger: UndoLog) -> None:
    opened(ledger)
    assert prepare(ledger, FaultKind.KILL, "web1").names == "web1"
    full = UndoLog(Path(ledger._lines.file).with_name("full.jsonl"))
    opened(full, FULL)
    assert prepare(full, FaultKind.KILL, "db").names == "db"


def step(kind: FaultKind) -> tuple[Step, frozenset[str]]:
    return Step(kind, "service:db"), frozenset({"db"})


def test_steps_that_no_signal_would_reach_are_refused_in_an_experiment() -> None:
    found = experiment_keys.clash_of([step(STALL), step(FaultKind.KILL)])
    assert found == ("kill of db after disk-stall: no signal reaches a process that waits for a disk", 1)
    assert experiment_keys.clash_of([step(FULL), step(FaultKind.KILL)]) is None
    twice = experiment_keys.clash_of([step(FULL), step(FULL)])
    assert twice
    assert "for the second time" in twice[0]
    after = experiment_keys.clash_of([step(FaultKind.KILL), step(STALL)])
    assert after
    assert "down already" in after[0]


# Where they can be asked for


def test_an_experiment_with_a_disk_needs_a_stage_with_disks() -> None:
    experiment = experiments.find("disk-full-primary")
    with pytest.raises(UsageError, match="disk-full needs a box with a disk of its own") as caught:
        experiments.check_targets(experiment, stage())
    assert "LAB_DISKS=own" in caught.value.hint
    experiments.check_targets(experiment, stage(own_disks=True))


def test_a_box_without_a_volume_has_no_disk_to_lose() -> None:
    experiment = replace(experiments.find("disk-full-primary"), steps=(Step(FULL, "service:web1"),))
    with pytest.raises(UsageError, match="disk-full: web1 has no disk") as caught:
        experiments.check_targets(experiment, automatic(own_disks=True))
    assert caught.value.hint == "these have one: db1, db2, monitor"


# A stage that is started


def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plays: PlayedEngine, own_disks: bool) -> list[str]:
    monkeypatch.setattr("lab.cluster.lifecycle._check_start", lambda *_, **__: None)
    monkeypatch.setattr("lab.cluster.images.build", lambda *_: [])
    monkeypatch.setattr("lab.cluster.lifecycle._await_start", lambda *_, **__: None)
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)
    lifecycle.ensure_up(plays.cluster(stage(own_disks=own_disks)), lambda _: None)
    return plays.done


def test_a_fresh_start_leaves_no_older_disk_and_makes_new_ones_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    up = "up redundancy-lab-3"
    assert started(monkeypatch, tmp_path, PlayedEngine(), True) == ["make disks redundancy-lab-3", up]
    assert started(monkeypatch, tmp_path, PlayedEngine(own=(OWN,)), False) == ["remove disk redundancy-lab-3_db", up]


def test_a_stage_with_other_disks_is_started_from_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started(monkeypatch, tmp_path, PlayedEngine(), False)
    again = started(monkeypatch, tmp_path, PlayedEngine([DB, db("db1")]), True)
    assert again == ["down redundancy-lab-3", "make disks redundancy-lab-3", "up redundancy-lab-3"]
