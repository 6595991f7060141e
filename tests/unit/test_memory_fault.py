"""memory: a limit near what a box uses, and a leak up to it; against boxes that are only played."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.engine.engine import ExecResult
from lab.engine.inspect import MemoryUse
from lab.errors import HealError, LabError, UsageError
from lab.faults import FAULTS, heal, memory
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.memory import ENDING, LEAK, LEAKING, LEAKS_ALREADY, LOOKING, MIB, NOT_ENOUGH
from lab.model.fault import FaultKind, FaultParameters, Undo, UndoAction
from lab.model.topology import Box, MemoryLimit
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box, stage
from tests.unit.played import PlayedEngine
from tests.unit.test_faults import FakeControl

BEFORE = MemoryLimit(128 * MIB, 256 * MIB)
USE = MemoryUse(limit_bytes=128 * MIB, used_bytes=52 * MIB, working_bytes=40 * MIB, kept_bytes=30 * MIB, hits=7)
SQUEEZED = InjectionTarget.of(box(), "web", BlastRadius(FaultParameters(memory_percent=105.0)))
LEAKS = InjectionTarget.of(box(), "web", BlastRadius(FaultParameters(memory_percent=150.0, leak_mib_s=5.0)))
ROOM_IN_SHM = ExecResult(0, "16384 4096\n")
"""Of 64 MiB all of it."""
MEMORY = FAULTS[FaultKind.MEMORY]


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


class Limited(FakeControl):
    """A box that uses so much of its memory, and does not let everything be taken back."""

    def __init__(self, use: MemoryUse | None = USE, *answers: ExecResult, limit: MemoryLimit = BEFORE, oom_ns: int = 0) -> None:
        super().__init__(box(), *answers)
        self.use, self.limit, self.oom_ns = use, limit, oom_ns

    def memory_limit(self, box: Box) -> MemoryLimit:
        return self.limit

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        if self.use and limit.memory_bytes < self.use.kept_bytes:
            raise LabError("Docker could not limit the memory of web1: unable to set memory limit to 41943040")
        super().limit_memory(box, limit)
        self.limit = limit

    def memory_use(self, box: Box) -> MemoryUse | None:
        return self.use

    def last_oom_ns(self, box: Box) -> int:
        return self.oom_ns


# A squeeze


def test_a_squeeze_leaves_a_little_more_than_the_box_uses_and_no_swap() -> None:
    control = Limited()
    prepared = MEMORY.prepare(control, SQUEEZED)
    assert control.done == []
    assert prepared.room
    assert prepared.room.limit_bytes == 42 * MIB
    undo = MEMORY.undo(prepared)
    assert (undo.action, undo.setting, undo.process) == (UndoAction.UNSQUEEZE, f"{128 * MIB} {256 * MIB}", "")
    MEMORY.inject(control, prepared)
    assert control.done == [f"limit web1 {42 * MIB} {42 * MIB}"]


def test_docker_sets_no_limit_under_six_mebibytes() -> None:
    tiny = MemoryUse(64 * MIB, 6 * MIB, 5 * MIB, 4 * MIB)
    prepared = MEMORY.prepare(Limited(tiny), SQUEEZED)
    assert prepared.room
    assert prepared.room.limit_bytes == 6 * MIB


def squeezed(percent: float) -> InjectionTarget:
    return InjectionTarget.of(box(), "web", BlastRadius(FaultParameters(memory_percent=percent)))


@pytest.mark.parametrize(
    ("target", "use", "why", "hint"),
    [
        (squeezed(300), replace(USE, working_bytes=50 * MIB), "web1 may use no more than 128.0 MiB anyway", "under 256"),
        (squeezed(70), USE, "web1 cannot be brought down to 28.0 MiB: it uses 30.0 MiB that is no page cache", "over 75"),
        (squeezed(150), USE, "web1 uses 52.0 MiB: it would not feel a limit of 60.0 MiB", "memory_percent: 105"),
        (squeezed(105), None, "the engine does not say how much memory web1 uses", "lab doctor"),
    ],
)
def test_a_limit_that_cannot_work_is_refused_before_anything_is_changed(
    target: InjectionTarget, use: MemoryUse | None, why: str, hint: str
) -> None:
    control = Limited(use)
    with pytest.raises(UsageError) as caught:
        MEMORY.prepare(control, target)
    assert caught.value.message.startswith(why)
    assert hint in caught.value.hint
    assert control.done == []


@pytest.mark.parametrize(("with_swap_mib", "proved"), [(42, True), (256, False), (0, False)])
def test_a_box_that_can_swap_is_not_short_of_memory(with_swap_mib: int, proved: bool) -> None:
    prepared = MEMORY.prepare(Limited(), SQUEEZED)
    limit = MemoryLimit(42 * MIB, with_swap_mib * MIB)
    assert MEMORY.verify(Limited(AT_IT, limit=limit), prepared).proved is proved
    # Where the kernel does not count swap, the engine has no limit of it.
    assert MEMORY.verify(Limited(AT_IT, limit=MemoryLimit(42 * MIB, -1)), prepared).proved


def test_what_the_kernel_refuses_all_the_same_is_one_line_of_why() -> None:
    control = Limited()
    prepared = MEMORY.prepare(control, SQUEEZED)
    control.use = replace(USE, kept_bytes=50 * MIB)
    with pytest.raises(
        LabError, match=r"^web1 could not be brought down to 42\.0 MiB: [^\n]*unable to set memory limit"
    ) as caught:
        MEMORY.inject(control, prepared)
    assert "cgroup v1 refuses" in caught.value.hint
    assert control.done == []


AT_IT = replace(USE, limit_bytes=42 * MIB, used_bytes=41 * MIB)
BELOW = replace(USE, limit_bytes=42 * MIB, used_bytes=20 * MIB)


@pytest.mark.parametrize(
    ("now", "limit_mib", "oom_ns", "proved", "said"),
    [
        (AT_IT, 42, 0, True, "web1 may use 42.0 MiB, and uses 41.0 MiB"),
        # The limit stands in the engine, and the kernel has another one; or the other way round.
        (replace(AT_IT, limit_bytes=128 * MIB), 42, 0, False, "nothing shows that it is felt"),
        (AT_IT, 128, 0, False, "web1 may use more than it should"),
        (BELOW, 42, 0, False, "uses 20.0 MiB: nothing shows that it is felt"),
        # Version 1 counts how often it was reached; a process that was killed has left room.
        (replace(BELOW, hits=9), 42, 0, True, "has reached that 2 times"),
        (BELOW, 42, 5, True, "the kernel has killed a process of it"),
        (None, 42, 5, True, "the kernel has killed a process of it"),
        (None, 42, 0, False, "does not say what it uses: nothing shows"),
    ],
)
def test_proof_of_a_squeeze(now: MemoryUse | None, limit_mib: int, oom_ns: int, proved: bool, said: str) -> None:
    prepared = MEMORY.prepare(Limited(), SQUEEZED)
    limit = MemoryLimit(limit_mib * MIB, limit_mib * MIB)
    found = MEMORY.verify(Limited(now, limit=limit, oom_ns=oom_ns), prepared)
    assert found.proved is proved
    assert said in found.evidence


def test_a_process_that_was_killed_before_is_no_proof() -> None:
    prepared = MEMORY.prepare(Limited(oom_ns=5), SQUEEZED)
    limit = MemoryLimit(42 * MIB, 42 * MIB)
    assert not MEMORY.verify(Limited(BELOW, limit=limit, oom_ns=5), prepared).proved
    assert MEMORY.verify(Limited(BELOW, limit=limit, oom_ns=6), prepared).proved


# A leak


def test_a_leak_takes_all_that_could_be_taken_back() -> None:
    control = Limited(USE, ROOM_IN_SHM, ExecResult(0, ""))
    prepared = MEMORY.prepare(control, LEAKS)
    assert prepared.room
    assert (prepared.room.limit_bytes, prepared.room.leak_bytes) == (60 * MIB, 30 * MIB)
    assert MEMORY.undo(prepared).process == LEAK
    MEMORY.inject(control, prepared)
    # First the limit: without it there would be nothing to reach.
    limit, leak = control.done[-2:]
    assert limit == f"limit web1 {60 * MIB} {60 * MIB}"
    assert leak.startswith("in web1: setsid --fork bash -c ")
    assert leak.endswith(f" {LEAK} {30 * MIB} {5 * MIB}")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ExecResult(0, "8192 4096\n"), "30.0 MiB would have to leak in web1, and /dev/shm has room for 24.0 MiB"),
        (ExecResult(1, "stat: cannot read file system"), "web1 has no /dev/shm in which memory could leak"),
        (ExecResult(0, "what?\n"), "web1 has no /dev/shm in which memory could leak: what?"),
        (ExecResult(126, "bash: not found"), "web1 has no /dev/shm in which memory could leak: bash: not found"),
        (ExecResult(NOT_ENOUGH, ""), "web1 has not the programs that leak: bash 5, setsid, head, pkill"),
        (ExecResult(LEAKS_ALREADY, ""), "memory leaks in web1 already"),
    ],
)
def test_a_leak_that_has_no_room_is_refused(answer: ExecResult, why: str) -> None:
    control = Limited(USE, answer)
    with pytest.raises(UsageError) as caught:
        MEMORY.prepare(control, LEAKS)
    assert caught.value.message.startswith(why)
    assert not [each for each in control.done if each.startswith("limit")]


def test_a_box_in_which_nothing_can_be_started_does_not_leak() -> None:
    control = Limited(USE, ROOM_IN_SHM, ExecResult(126, "setsid: not found"))
    with pytest.raises(LabError, match="no leak could be started in web1: setsid: not found"):
        MEMORY.inject(control, MEMORY.prepare(control, LEAKS))


@pytest.mark.parametrize(
    ("answer", "proved"),
    [(ExecResult(0, "1048576\n"), True), (ExecResult(0, "0\n"), False), (ExecResult(1, "No such file"), False)],
)
def test_proof_of_a_leak_is_that_it_grows_long_before_the_limit_is_reached(answer: ExecResult, proved: bool) -> None:
    prepared = MEMORY.prepare(Limited(USE, ROOM_IN_SHM), LEAKS)
    now = replace(USE, limit_bytes=60 * MIB, used_bytes=45 * MIB)
    found = MEMORY.verify(Limited(now, answer, limit=MemoryLimit(60 * MIB, 60 * MIB)), prepared)
    assert found.proved is proved
    assert ("1.0 MiB of 30.0 MiB have leaked" in found.evidence) is proved


@pytest.mark.skipif(sys.platform != "linux", reason="the boxes are Linux")
def test_what_is_run_in_the_box_leaks_so_much_and_no_more_and_is_ended_by_its_name(tmp_path: Path) -> None:
    """The text of the programs, for a folder of our own instead of the box's memory and with another name."""

    def ours(text: str) -> str:
        return text.replace("/dev/shm", str(tmp_path)).replace("lab_fault", "lab_tested")

    name, file = ours(LEAK), tmp_path / ours(LEAK)
    bash = ["bash", "-c"]

    def looked() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*bash, ours(LOOKING)], check=False, capture_output=True, text=True, timeout=20)

    assert [each.isdigit() for each in looked().stdout.split()] == [True, True]
    subprocess.run([*bash, ours(LEAKING), name, "300000", "3000000"], check=True, timeout=20)
    assert file.stat().st_size == 300_000
    assert looked().returncode == LEAKS_ALREADY
    subprocess.run(["setsid", "--fork", *bash, ours(LEAKING), name, "100000000", "1000"], check=True, timeout=20)
    # Its own command line has the name in another spelling: it ends the other one, and not itself.
    assert wait_until(lambda: subprocess.run([*bash, ours(ENDING)], check=False, timeout=20).returncode == 0, 20.0)
    assert not file.exists()
    assert subprocess.run(["pgrep", "-f", name], check=False, capture_output=True, timeout=20).returncode == 1


# Taking it back


def squeezed_note(ledger: UndoLog, process: str = "", setting: str = str(BEFORE)) -> None:
    ledger.open(Undo(UndoAction.UNSQUEEZE, "id-of-web1", "web1", 3, setting=setting, process=process), "memory")


def test_a_box_gets_back_what_it_had_before_anything_is_done_in_it(ledger: UndoLog) -> None:
    squeezed_note(ledger, LEAK)
    plays = PlayedEngine([box()])
    assert heal.undo_all(plays, ledger) == 1
    assert plays.done == [f"limit web1 {BEFORE}", f"in web1: {ENDING}"]
    assert ledger.entries() == []


def test_without_a_leak_nothing_is_done_in_the_box(ledger: UndoLog) -> None:
    squeezed_note(ledger)
    plays = PlayedEngine([box()])
    heal.undo_all(plays, ledger)
    assert plays.done == [f"limit web1 {BEFORE}"]


def test_a_box_that_had_no_limit_gets_all_memory(ledger: UndoLog) -> None:
    squeezed_note(ledger, setting="0 0")
    plays = PlayedEngine([box()])
    heal.undo_all(plays, ledger)
    assert plays.done == [f"limit web1 {8192 * MIB} -1"]


@pytest.mark.parametrize(("status", "starts"), [("exited", "start web1"), ("restarting", "restart web1")])
def test_with_a_box_that_has_ended_its_leak_has_too_and_it_is_started_at_once(ledger: UndoLog, status: str, starts: str) -> None:
    squeezed_note(ledger, LEAK)
    plays = PlayedEngine([box(status=status)], answer=lambda *_: ExecResult(1, "container is not running"))
    heal.undo_all(plays, ledger)
    assert plays.done == [f"limit web1 {BEFORE}", starts]
    assert ledger.entries() == []


def test_a_leak_that_does_not_end_stays_noted(ledger: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ENDED_TIMEOUT_S", 0.0)
    squeezed_note(ledger, LEAK)
    plays = PlayedEngine([box()], answer=lambda *_: ExecResult(1, ""))
    with pytest.raises(HealError, match="memory of web1 could not be undone: the leak in web1 could not be ended"):
        heal.undo_all(plays, ledger)
    assert len(ledger.entries()) == 1


class Lowered(PlayedEngine):
    """Boxes that have a limit, and a share of the processors."""

    limit = MemoryLimit(42 * MIB, 42 * MIB)
    share = 0.05

    def memory_limit(self, box: Box) -> MemoryLimit:
        return self.limit

    def cpus(self, box: Box) -> float:
        return self.share


def test_healing_compares_each_box_with_its_stage_file_whoever_lowered_it() -> None:
    plays, said = Lowered([box(), box("other", ("web",))]), list[str]()
    assert heal._sweep(plays.cluster(stage()), said.append) == 2
    assert said == [
        "web1 could use 42.0 MiB: 128.0 MiB again, as its stage file says",
        "web1 could use 0.05 of a processor: 1 again, as its stage file says",
    ]
    # First of all: whatever is done in a box takes some memory.
    assert plays.done[:2] == [f"limit web1 {BEFORE}", "resize web1 1"]
    as_it_is = Lowered([box()])
    as_it_is.limit, as_it_is.share = BEFORE, 1.0
    assert heal._sweep(as_it_is.cluster(stage()), said.append) == 0
    # Without any limit a box was not limited by a fault.
    assert heal._sweep(PlayedEngine([box()]).cluster(stage()), said.append) == 0


def test_healing_compares_swap_too_where_the_kernel_counts_it() -> None:
    plays = Lowered([box()])
    plays.limit = MemoryLimit(128 * MIB, 128 * MIB)
    said = memory.sweep_limit(plays.cluster(stage()), box())
    assert said == ["web1 could use 0.0 MiB of swap: 128.0 MiB of swap again, as its stage file says"]
    assert plays.done == [f"limit web1 {BEFORE}"]
    plays.limit = MemoryLimit(128 * MIB, -1)
    assert memory.sweep_limit(plays.cluster(stage()), box()) == []


def test_a_limit_that_cannot_be_taken_back_is_no_healing() -> None:
    class Refusing(Lowered):
        def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
            raise LabError("Docker could not limit the memory of web1: it is busy")

    with pytest.raises(HealError, match="a limit could not be taken back: Docker could not limit the memory of web1"):
        heal._sweep(Refusing([box()]).cluster(stage()), lambda _: None)


def test_healing_ends_a_leak_that_was_never_noted() -> None:
    def answer(_box: Box, command: Sequence[str]) -> ExecResult:
        return ExecResult(0, f"/dev/shm/{LEAK}\n" if command[-1] == memory.FINDING else "")

    plays = PlayedEngine([box()], answer=answer)
    assert memory.sweep_leak(plays.cluster(stage()), box()) == ["memory leaked in web1: ended"]
    assert plays.done[-1] == f"in web1: {ENDING}"
    tight = PlayedEngine([box()])
    assert memory.sweep_leak(tight.cluster(stage()), box()) == []
    assert tight.done == [f"in web1: {memory.FINDING}"]


def test_of_a_box_that_does_not_say_it_is_not_known_that_nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ENDED_TIMEOUT_S", 0.0)
    silent = PlayedEngine([box()], answer=lambda *_: ExecResult(124, "no answer within 30 s"))
    with pytest.raises(HealError, match="the leak in web1 could not be ended"):
        memory.sweep_leak(silent.cluster(stage()), box())
    # One that has ended meanwhile has lost what leaked.
    gone = PlayedEngine([box(status="exited")], answer=lambda *_: ExecResult(1, "is not running"))
    assert memory.sweep_leak(gone.cluster(stage()), box()) == []


def test_a_limit_is_written_as_two_numbers() -> None:
    assert MemoryLimit.of(str(MemoryLimit(5, -1))) == MemoryLimit(5, -1)
