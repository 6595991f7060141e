from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import pytest

from lab.engine.disk import Disk
from lab.engine.engine import ExecResult
from lab.engine.inspect import MemoryUse
from lab.engine.sidecar import Beside
from lab.errors import UsageError
from lab.faults import FAULTS, OF_A_BOX, BoxControl, InjectionTarget, verification
from lab.faults.base import Passing
from lab.model.fault import OF_A_DISK, FaultKind, UndoAction
from lab.model.topology import Box, Link, MemoryLimit
from tests.unit.helpers import box

LATER = "2026-01-31T12:00:09Z"
LINKS = (Link("edge", "198.18.0.21", "02:42:c6:12:00:15", ("web1",)), Link("app", "198.18.1.21", "", ("web1",)))
UNDO = {FaultKind.PAUSE: UndoAction.UNPAUSE, FaultKind.DISCONNECT: UndoAction.RECONNECT, FaultKind.WIPE: UndoAction.CREATE}
UNDO |= {FaultKind.HANG: UndoAction.CONTINUE, FaultKind.READONLY: UndoAction.READWRITE, FaultKind.CPU: UndoAction.RESIZE}
UNDO |= {FaultKind.POWER: UndoAction.POWER_ON, FaultKind.CLOCK: UndoAction.SET_RIGHT, FaultKind.MEMORY: UndoAction.UNSQUEEZE}
UNDO |= dict.fromkeys(OF_A_DISK, UndoAction.RELEASE)
UNDO |= dict.fromkeys((FaultKind.BAD_DEPLOY, FaultKind.POISON), UndoAction.REDEPLOY)
UNDO |= dict.fromkeys((FaultKind.ISOLATE, FaultKind.PARTITION, FaultKind.LOSS), UndoAction.UNFILTER)
UNDO |= dict.fromkeys((FaultKind.DELAY, FaultKind.BANDWIDTH), UndoAction.UNSHAPE)


class FakeControl:
    """One box that is as it is said to be; notes what is done to it."""

    def __init__(self, now: Box | None, *answers: ExecResult, connected: tuple[Link, ...] = LINKS) -> None:
        self.now = now
        self.answers = list(answers)
        self.connected = connected
        self.done: list[str] = []

    def box(self, box: Box) -> Box | None:
        return self.now

    def kill(self, box: Box) -> None:
        self.done.append(f"kill {box.service}")

    def stop(self, box: Box) -> None:
        self.done.append(f"stop {box.service}")

    def restart(self, box: Box) -> None:
        self.done.append(f"restart {box.service}")

    def pause(self, box: Box) -> None:
        self.done.append(f"pause {box.service}")

    def links(self, box: Box) -> tuple[Link, ...]:
        return self.connected

    def disconnect(self, box: Box) -> None:
        self.done.append(f"disconnect {box.service}")
        self.connected = ()

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        self.done.append(f"reconnect {box.service}")
        self.connected = tuple(links)

    def remove(self, box: Box) -> None:
        self.done.append(f"remove {box.service}")
        self.now = None

    def cpus(self, box: Box) -> float:
        return 1.0

    def resize(self, box: Box, cpus: float) -> None:
        self.done.append(f"resize {box.service} {cpus:g}")

    def memory_limit(self, box: Box) -> MemoryLimit:
        return MemoryLimit(128 * 2**20, 256 * 2**20)

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        self.done.append(f"limit {box.service} {limit}")

    def memory_use(self, box: Box) -> MemoryUse | None:
        return None

    def last_oom_ns(self, box: Box) -> int:
        return 0

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        self.done.append(f"in {box.service}: {' '.join(command)}")
        return self.answers.pop(0)

    def beside(self, box: Box | None) -> Beside:
        raise AssertionError("these faults need no helper")

    def own_disk(self, box: Box) -> Disk | None:
        return None

    def at_disk(self, disk: Disk) -> Beside:
        raise AssertionError("these faults need no disk")

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        raise AssertionError("these faults need no disk")


def victim(target: str = "web") -> InjectionTarget:
    return InjectionTarget.of(box(), target)


def proved(kind: FaultKind, now: Box | None, *answers: ExecResult, of: InjectionTarget | None = None) -> bool:
    control: BoxControl = FakeControl(now, *answers)
    verification = FAULTS[kind].verify(control, of or victim())
    assert "web1" in verification.evidence
    return verification.proved


def test_every_kind_that_breaks_something_has_a_fault() -> None:
    assert set(FAULTS) == set(FaultKind) - {FaultKind.NONE}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("status", ["exited", "paused", "restarting", "created", "dead"])
def test_what_does_not_run_cannot_fail(kind: FaultKind, status: str) -> None:
    control = FakeControl(None)
    with pytest.raises(UsageError, match=f"web1 is {status}, not running"):
        FAULTS[kind].prepare(control, InjectionTarget.of(box(status=status), "web"))
    assert control.done == []


@pytest.mark.parametrize("kind", FAULTS)
def test_undo_names_box_and_how(kind: FaultKind) -> None:
    undo = FAULTS[kind].undo(victim())
    assert (undo.box_id, undo.service, undo.stage) == ("id-of-web1", "web1", 3)
    assert undo.action is UNDO.get(kind, UndoAction.START)


@pytest.mark.parametrize("kind", [FaultKind.KILL, FaultKind.STOP, FaultKind.PAUSE, FaultKind.RESTART])
def test_fault_does_the_one_thing_to_the_one_box(kind: FaultKind) -> None:
    control = FakeControl(box())
    prepared = FAULTS[kind].prepare(control, victim())
    assert control.done == []
    FAULTS[kind].inject(control, prepared)
    assert control.done == [f"{kind} web1"]


@pytest.mark.parametrize("kind", [FaultKind.KILL, FaultKind.STOP])
def test_proof_of_a_box_that_is_down(kind: FaultKind) -> None:
    assert proved(kind, box(status="exited", exit_code=137))
    assert not proved(kind, box())
    assert not proved(kind, box(status="restarting"))
    assert not proved(kind, None)


def test_proof_of_a_frozen_box() -> None:
    assert proved(FaultKind.PAUSE, box(status="paused"))
    assert not proved(FaultKind.PAUSE, box())
    assert not proved(FaultKind.PAUSE, None)


def test_proof_of_a_restart() -> None:
    assert proved(FaultKind.RESTART, box(started_at=LATER))
    assert proved(FaultKind.RESTART, box(status="restarting"))
    assert not proved(FaultKind.RESTART, box())
    assert not proved(FaultKind.RESTART, None)


def test_crash_kills_every_process_of_the_name_from_inside() -> None:
    control = FakeControl(box(), ExecResult(0, "42\n43\n"), ExecResult(137, ""))
    fault = FAULTS[FaultKind.CRASH]
    prepared = fault.prepare(control, victim())
    assert prepared.pids == {"42", "43"}
    fault.inject(control, prepared)
    assert control.done == ["in web1: pgrep -x gunicorn", "in web1: pkill -9 -x gunicorn"]


def test_crash_needs_a_process() -> None:
    fault = FAULTS[FaultKind.CRASH]
    with pytest.raises(UsageError, match="no process 'gunicorn' runs in web1"):
        fault.prepare(FakeControl(box(), ExecResult(1, "")), victim())
    with pytest.raises(UsageError, match="names no process"):
        fault.prepare(FakeControl(box()), InjectionTarget.of(box(labels={}), "web"))


CRASHED = replace(victim(), pids=frozenset({"42", "43"}))


def test_proof_of_a_crash() -> None:
    assert proved(FaultKind.CRASH, box(status="exited"), of=CRASHED)
    assert proved(FaultKind.CRASH, box(started_at=LATER), of=CRASHED)
    assert proved(FaultKind.CRASH, box(), ExecResult(1, ""), of=CRASHED)
    assert proved(FaultKind.CRASH, box(), ExecResult(0, "44\n45\n"), of=CRASHED)
    assert not proved(FaultKind.CRASH, box(), ExecResult(0, "42\n43\n"), of=CRASHED)
    assert not proved(FaultKind.CRASH, box(), ExecResult(0, "43\n44\n"), of=CRASHED)


def test_box_that_does_not_say_is_no_proof_of_a_crash() -> None:
    assert not proved(FaultKind.CRASH, box(), ExecResult(124, "no answer within 30 s"), of=CRASHED)


def test_cutoff_notes_how_the_box_was_connected_before_it_pulls_the_cables() -> None:
    control, fault = FakeControl(box()), FAULTS[FaultKind.DISCONNECT]
    prepared = fault.prepare(control, victim())
    assert control.done == []
    fault.inject(control, prepared)
    assert control.done == ["disconnect web1"]
    # Still known after it is gone, in the order and with the addresses of before.
    assert fault.undo(prepared).links == LINKS


def test_other_faults_have_no_cables_to_put_back() -> None:
    for kind in {fault.kind for fault in OF_A_BOX} - {FaultKind.DISCONNECT}:
        assert FAULTS[kind].undo(victim()).links == ()


def test_box_without_a_network_cannot_be_cut_off() -> None:
    with pytest.raises(UsageError, match="web1 is on no network"):
        FAULTS[FaultKind.DISCONNECT].prepare(FakeControl(box(), connected=()), victim())


@pytest.mark.parametrize(
    ("now", "connected", "verified"),
    [
        (box(), (), True),
        (box(), LINKS[1:], False),
        # A box that died is another fault.
        (box(status="exited"), (), False),
        (None, (), False),
    ],
)
def test_proof_of_a_cutoff(now: Box | None, connected: tuple[Link, ...], verified: bool) -> None:
    verification = FAULTS[FaultKind.DISCONNECT].verify(FakeControl(now, connected=connected), victim())
    assert verification.proved is verified
    assert "web1" in verification.evidence


def test_evidence_of_a_cutoff_names_the_networks_that_are_left() -> None:
    assert "on app" in FAULTS[FaultKind.DISCONNECT].verify(FakeControl(box(), connected=LINKS[1:]), victim()).evidence
    assert "on no network" in FAULTS[FaultKind.DISCONNECT].verify(FakeControl(box(), connected=()), victim()).evidence


@pytest.mark.parametrize(("back", "proved"), [(LINKS, True), (LINKS[:1], False)])
def test_a_box_that_was_cut_off_for_a_while_is_back_when_no_network_is_missing(back: tuple[Link, ...], proved: bool) -> None:
    class Returning(FakeControl):
        def reconnect(self, box: Box, links: Sequence[Link]) -> None:
            super().reconnect(box, back)

    control, fault = Returning(box()), FAULTS[FaultKind.DISCONNECT]
    prepared = fault.prepare(control, victim())
    fault.inject(control, prepared)
    assert isinstance(fault, Passing)
    found = fault.release(control, prepared)
    assert found.proved is proved
    assert found.evidence == ("web1 is off no network" if proved else "web1 is off app")


def test_wipe_kills_before_it_removes() -> None:
    """So that the box fails at one instant, as a killed one does, however long its removal takes."""
    control, fault = FakeControl(box()), FAULTS[FaultKind.WIPE]
    fault.inject(control, fault.prepare(control, victim()))
    assert control.done == ["kill web1", "remove web1"]
    assert fault.verify(control, victim()).proved


def test_proof_of_a_wipe() -> None:
    assert proved(FaultKind.WIPE, None)
    assert not proved(FaultKind.WIPE, box(status="exited"))
    assert not proved(FaultKind.WIPE, box())


class LateControl(FakeControl):
    """The box is down from the given look on."""

    def __init__(self, verified_at: int) -> None:
        super().__init__(box())
        self.verified_at = verified_at
        self.looks = 0

    def box(self, box: Box) -> Box | None:
        self.looks += 1
        return replace(box, status="exited", exit_code=137) if self.looks >= self.verified_at else box


def test_proof_is_waited_for_and_ends_with_the_first() -> None:
    control = LateControl(verified_at=3)
    found = verification(FAULTS[FaultKind.KILL], control, victim(), timeout_s=5)
    assert found.proved
    assert found.evidence == "web1 is exited, exit code 137"
    assert control.looks == 3


def test_proof_that_does_not_come_is_the_last_look() -> None:
    control, since = LateControl(verified_at=10_000), monotonic()
    found = verification(FAULTS[FaultKind.KILL], control, victim(), timeout_s=0.2)
    assert not found.proved
    assert found.evidence == "web1 is running, exit code 0"
    assert monotonic() - since >= 0.2
    assert control.looks > 1


@pytest.mark.parametrize(
    ("target", "process"),
    [("db", "postgres"), ("web", "gunicorn"), ("all:web", "gunicorn"), ("box", "supervisord"), ("service:box", "supervisord")],
)
def test_box_in_several_roles_has_a_process_for_each(target: str, process: str) -> None:
    labels = {"lab.process": "supervisord", "lab.process.web": "gunicorn", "lab.process.db": "postgres"}
    assert InjectionTarget.of(box("box", roles=("box", "web", "db"), labels=labels), target).process == process
