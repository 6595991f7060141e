"""A disk that is full or read-only: nothing is broken then, and nothing stays broken for that."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.campaign import monkey
from lab.errors import EXIT_HEAL_FAILED, DiskError, HealError, LabError, PreflightError
from lab.faults import heal as heal_
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box
from lab.spec.stages import ROOT
from lab.store import lock, paths
from lab.store.jsonl import Lines, write_whole
from lab.store.runs import RunJournal, read_run
from lab.store.undo_log import UndoLog
from tests.unit.disks import fill, refuse, small_disk
from tests.unit.helpers import record, run_info, stage, started, use_engine
from tests.unit.played import PlayedEngine
from tests.unit.test_cli import Lab, lab

__all__ = ["lab"]

FULL = "No space left on device"


class Living(PlayedEngine):
    """Its boxes come back when they are told to."""

    def start(self, box: Box) -> None:
        super().start(box)
        self._runs(box)

    def unpause(self, box: Box) -> None:
        super().unpause(box)
        self._runs(box)

    def box(self, box: Box) -> Box | None:
        return next((each for each in self.present if each.id == box.id), None)

    def kill(self, box: Box) -> None:
        super().kill(box)
        self._becomes(box, status="exited", health="", exit_code=137)

    def _runs(self, box: Box) -> None:
        self._becomes(box, status="running", health="healthy")

    def _becomes(self, box: Box, **changes: object) -> None:
        self.present = [replace(each, **changes) if each.id == box.id else each for each in self.present]  # type: ignore[arg-type]


def broken() -> Living:
    """Stage 3 with web1 killed and web2 frozen."""
    return Living(started(stage(), web1={"status": "exited"}, web2={"status": "paused"}))


def note_both(ledger: UndoLog) -> None:
    ledger.open(Undo(UndoAction.START, "id-of-web1", "web1", 3), "kill")
    ledger.open(Undo(UndoAction.UNPAUSE, "id-of-web2", "web2", 3), "pause")


def mended(plays: Living) -> list[str]:
    return [each for each in plays.done if each.startswith(("start", "unpause"))]


def heal(plays: Living, ledger: UndoLog) -> int:
    return heal_.heal(plays, ledger, lambda _: None)


# Healing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_every_box_is_brought_back_though_that_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = tmp_path / "undo.jsonl"
    note_both(UndoLog(file))
    plays = broken()
    with monkeypatch.context() as full:
        refuse(full, number)
        with pytest.raises(HealError) as caught:
            heal(plays, UndoLog(file))
    assert mended(plays) == ["unpause web2", "start web1"]
    assert caught.value.exit_code == EXIT_HEAL_FAILED
    assert f"{file} cannot be written: {os.strerror(number)}" in caught.value.message
    # Once there is space, it ends well, whatever was still noted.
    assert heal(plays, UndoLog(file)) == 0
    assert UndoLog(file).entries() == []
    assert mended(plays) == ["unpause web2", "start web1"]


def test_every_box_is_brought_back_where_not_even_the_file_can_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that has become read-only: the notes stay open, and to undo them once more does no harm."""
    file = tmp_path / "undo.jsonl"
    note_both(UndoLog(file))
    plays, before = broken(), file.read_bytes()

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "open", refused)
        read_only.setattr(Path, "unlink", refused)
        read_only.setattr(Path, "read_text", lambda self, **_: self.read_bytes().decode())
        read_only.setattr(Path, "read_bytes", lambda _: before)
        with pytest.raises(HealError, match=r"undo.jsonl cannot be written: Read-only file system"):
            heal(plays, UndoLog(file))
    assert mended(plays) == ["unpause web2", "start web1"]
    assert [entry.undo.service for entry in UndoLog(file).entries()] == ["web1", "web2"]
    assert heal(plays, UndoLog(file)) == 2
    assert mended(plays) == ["unpause web2", "start web1"]
    assert not file.exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small") as folder:
        yield folder


def test_real_disk_that_is_full_keeps_nothing_broken(disk: Path) -> None:
    file = disk / "undo.jsonl"
    note_both(UndoLog(file))
    ballast = fill(disk, file)
    plays = broken()
    with pytest.raises(HealError, match=FULL):
        heal(plays, UndoLog(file))
    assert mended(plays) == ["unpause web2", "start web1"]
    ballast.unlink(missing_ok=True)
    assert heal(plays, UndoLog(file)) == 0
    assert UndoLog(file).entries() == []


@contextmanager
def in_a_process(work: object, *arguments: object) -> Iterator[multiprocessing.process.BaseProcess]:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)  # type: ignore[arg-type]
    process.start()
    try:
        yield process
    finally:
        process.join(30)


def heal_and_die(file: Path) -> None:
    """Heal one box, and be killed at the second."""

    class Deadly(Living):
        def start(self, box: Box) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    heal(Deadly(broken().present), UndoLog(file))


def test_healing_that_is_killed_on_a_full_disk_is_done_again(disk: Path) -> None:
    file = disk / "undo.jsonl"
    note_both(UndoLog(file))
    ballast = fill(disk, file)
    with in_a_process(heal_and_die, file) as process:
        pass
    assert process.exitcode == -signal.SIGKILL
    plays = Living(started(stage(), web1={"status": "exited"}))  # web2 was healed by then
    with pytest.raises(HealError, match=FULL):
        heal(plays, UndoLog(file))
    assert mended(plays) == ["start web1"]
    ballast.unlink(missing_ok=True)
    heal(plays, UndoLog(file))
    assert (mended(plays), UndoLog(file).entries()) == (["start web1"], [])


def test_lock_needs_no_space(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE_FOLDER", disk)
    fill(disk)
    with lock.exclusive("lab heal"), pytest.raises(PreflightError, match="busy"), lock.exclusive("lab run"):
        pass


@pytest.mark.parametrize("made", [False, True])
def test_lock_holds_on_a_disk_that_is_read_only(disk: Path, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    monkeypatch.setattr(paths, "STATE_FOLDER", disk)
    if made:
        with lock.exclusive("lab up"):
            pass
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with lock.exclusive("lab heal"), pytest.raises(PreflightError, match="busy"), lock.exclusive("lab run"):
        pass


def test_folder_that_is_a_link_is_locked_as_any(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(disk)
    monkeypatch.setattr(paths, "STATE_FOLDER", tmp_path / "link")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with lock.exclusive("lab heal"), pytest.raises(PreflightError, match="busy"), lock.exclusive("lab run"):
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, FULL), LabError(FULL)])
def test_logs_that_cannot_be_kept_hide_nothing_worse(error: Exception) -> None:
    def keep() -> Path:
        raise error

    assert monkey.keep_what_can_be(keep) == f"the logs of the boxes could not be kept: {FULL}"
    assert monkey.keep_what_can_be(lambda: Path("x")) == "the logs of all boxes are in x"


# Breaking


def test_nothing_is_broken_that_cannot_be_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    plays = Living(started(stage()))
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)
    use_engine(monkeypatch, lambda: plays)
    assert lab("chaos", "kill", "web", "--seed", "1").code == 0
    assert [each for each in plays.done if each.startswith("kill")] == ["kill web1"]
    plays.start(plays.present[[box.service for box in plays.present].index("web1")])
    UndoLog().clear()
    refuse(monkeypatch)
    for more in ((), ("--for", "1s")):
        done = lab("chaos", "kill", "web", "--seed", "1", *more)
        assert done.code == DiskError.exit_code
        assert done.errors == [f"error: {tmp_path / 'undo.jsonl'} cannot be written: {FULL}"]
    assert [each for each in plays.done if each.startswith("kill")] == ["kill web1"]


# What is on the disk


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told to be on the disk from now on: files and folders, by what they are."""
    found: list[str] = []

    def fsync(descriptor: int) -> None:
        found.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr("os.fsync", fsync)
    return found


def test_new_file_of_notes_is_on_the_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = synced(monkeypatch)
    lines = Lines(tmp_path / "state" / "undo.jsonl")
    lines.append({"id": 1})
    assert (found[0], set(found[1:])) == ("file", {"folder"})
    found.clear()
    lines.append({"id": 2})
    assert found == ["file"]


def test_document_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = synced(monkeypatch)
    replaced = Path.replace

    def replace_(self: Path, target: Path) -> Path:
        found.append("name")
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", replace_)
    write_whole(tmp_path / "result.json", {"a": 1})
    assert found == ["file", "name", "folder"]
    refuse(monkeypatch)
    with pytest.raises(DiskError, match=r"result.json cannot be written: No space left on device"):
        write_whole(tmp_path / "result.json", {"a": 2})
    assert [(each.name, json.loads(each.read_text())) for each in tmp_path.iterdir()] == [("result.json", {"a": 1})]


def test_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", fsync)
    write_whole(tmp_path / "result.json", {"a": 1})
    assert (tmp_path / "result.json").exists()


# Results


def test_trial_goes_on_without_its_disk_and_says_so_in_the_end(disk: Path) -> None:
    run, whole = RunJournal(run_info(), disk), record((2.0, 3.0))
    trial = run.trial(1)
    trial.event(whole.events[0])
    fill(disk, trial.folder / "events.jsonl")
    for event in whole.events[1:] * 200:
        trial.event(event)
    for _ in range(50):
        trial.arrivals(whole.arrivals)
    with pytest.raises(DiskError, match=rf"{trial.folder}/(events.jsonl|arrivals.jsonl.gz) cannot be written: {FULL}"):
        trial.close(whole)
    assert read_run(run.folder) == (run_info(), ())


def test_trial_that_is_broken_off_on_a_full_disk_hides_no_reason(disk: Path) -> None:
    run, whole = RunJournal(run_info(), disk), record()
    trial = run.trial(1)
    fill(disk)
    trial.arrivals(whole.arrivals * 20)
    trial.abandon()


@pytest.mark.parametrize("where", ["/dev/full", "/dev/null/x", "/proc/nothing"])
def test_results_that_have_no_place_are_refused_by_name(where: str) -> None:
    with pytest.raises(DiskError, match=where) as caught:
        RunJournal(run_info(), Path(where))
    assert "LAB_RESULTS" in caught.value.hint


# One lab on an engine

HOLD = """
import os, sys
from pathlib import Path
from lab.store import lock, paths
paths.STATE_FOLDER, lock.ENGINE_LOCKS = Path(sys.argv[1]), Path(sys.argv[2])
os.umask(0o077)
with lock.exclusive("lab run 3 kill-web"), lock.alone_on("engine of both", "lab run 3 kill-web"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Another lab with a state folder of its own holds the engine."""
    monkeypatch.setattr(paths, "STATE_FOLDER", tmp_path / "mine")
    monkeypatch.setattr(lock, "ENGINE_LOCKS", tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "theirs"), str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_other_state_folder_on_the_same_engine_is_refused(holder: subprocess.Popen[str]) -> None:
    busy = f"busy on this engine, with another state folder: lab run 3 kill-web .process {holder.pid}."
    with lock.exclusive("lab heal"):
        with pytest.raises(PreflightError, match=busy), lock.alone_on("engine of both", "lab heal"):
            pass
        with lock.alone_on("another engine", "lab heal"):
            pass


def test_killed_lab_frees_the_engine(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with lock.alone_on("engine of both", "lab heal"):
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "3"),
        ("down", "3"),
        ("down", "--all"),
        ("heal",),
        ("chaos", "kill", "web"),
        ("run", "3", "kill-web"),
        ("repair", "3"),
    ],
)
def test_every_command_that_changes_something_is_alone_on_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab, arguments: tuple[str, ...]
) -> None:
    plays = Living(started(stage()))
    use_engine(monkeypatch, lambda: plays)
    monkeypatch.setattr(paths, "STATE_FOLDER", tmp_path / "mine")
    monkeypatch.setattr(lock, "ENGINE_LOCKS", tmp_path)
    with lock.alone_on(plays.identity, "lab monkey 5"):
        done = lab(*arguments)
    assert done.code == PreflightError.exit_code
    assert done.errors == [
        f"error: the lab is busy on this engine, with another state folder: lab monkey 5 (process {os.getpid()})"
    ]
    assert plays.done == []
    assert len(plays.present) == len(started(stage()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
def test_lock_of_one_user_is_seen_by_another(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """In a folder as /tmp is: Linux lets no user open another's file there as one that may be new."""
    tmp_path.chmod(0o1777)
    [file] = tmp_path.glob("*.lock")
    assert stat.S_IMODE(file.stat().st_mode) == 0o666
    outcomes = multiprocessing.get_context("fork").Queue()

    def as_nobody() -> None:
        descriptor = os.open(tmp_path, os.O_RDONLY)  # its parents are root's
        os.fchdir(descriptor)
        lock.ENGINE_LOCKS = Path()
        os.setgid(65534)
        os.setuid(65534)
        try:
            with lock.alone_on("engine of both", "lab heal"):
                outcomes.put("held")
        except PreflightError as error:
            outcomes.put(error.message)

    for expected in ("lab run 3 kill-web", "held"):
        with in_a_process(as_nobody):
            assert expected in outcomes.get(timeout=30)
        holder.kill()
        holder.wait()


def test_lock_that_is_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "ENGINE_LOCKS", tmp_path)
    with lock.alone_on("engine", "lab up"):
        pass
    [file] = tmp_path.glob("*.lock")
    file.unlink()
    (tmp_path / "precious").write_text("precious")
    file.symlink_to(tmp_path / "precious")
    with pytest.raises(DiskError), lock.alone_on("engine", "lab up"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
