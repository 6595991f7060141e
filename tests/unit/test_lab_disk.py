"""lab-disk of the helper: loop devices and file systems of a kernel that is only played, and a real disk that is full."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.disks import small_disk
from tests.unit.scripts import load

SCRIPT = Path(__file__).parents[2] / "compose/network/lab-disk"
lab_disk = load(SCRIPT)
DB = "redundancy-lab-3_db"
ENGINE = "0a1b2c3d"


class Kernel:
    """Loop devices, each with the file that it is attached to and a name; and frozen folders."""

    def __init__(self) -> None:
        self.loops: dict[str, tuple[int, int, bytes] | None] = {}
        self.mounted: set[str] = set()
        self.frozen: set[Path] = set()
        self.refuses = 0
        self.done: list[str] = []

    def ioctl(self, descriptor: int, what: int, argument: Any = 0) -> Any:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        if what in (lab_disk.ADD, lab_disk.REMOVE):
            return self._control(what == lab_disk.ADD, f"loop{argument}")
        if what in (lab_disk.FREEZE, lab_disk.THAW):
            return self._freeze(what == lab_disk.FREEZE, path)
        return self._loop(path.name, what, argument)

    def _control(self, adds: bool, name: str) -> None:
        if adds and name in self.loops:
            raise OSError(errno.EEXIST, "File exists")
        if not adds and self.loops.get(name):
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.done.append(f"{'add' if adds else 'remove'} {name}")
        self.loops.update({name: None} if adds else {})
        if not adds:
            self.loops.pop(name, None)

    def _freeze(self, freezes: bool, folder: Path) -> None:
        if freezes == (folder in self.frozen):
            raise OSError(errno.EBUSY if freezes else errno.EINVAL, "no")
        (self.frozen.add if freezes else self.frozen.remove)(folder)

    def _loop(self, name: str, what: int, argument: Any) -> Any:
        found = self.loops[name]
        if what == lab_disk.SET_FD:
            about = os.fstat(argument)
            self.loops[name] = (about.st_dev, about.st_ino, b"")
        elif what == lab_disk.SET_STATUS:
            assert found
            self.loops[name] = (*found[:2], lab_disk.STATUS.unpack(argument)[9])
        elif what == lab_disk.CLEAR_FD and name not in self.mounted:
            self.loops[name] = None
        elif what == lab_disk.GET_STATUS:
            if found is None:
                raise OSError(errno.ENXIO, "No such device or address")
            return lab_disk.STATUS.pack(*found[:2], 0, 0, 0, 0, 0, 0, 0, found[2], b"", b"", 0, 0)
        return 0


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel, with folders for devices and files; what makes a file system is only noted."""
    played = Kernel()
    for name in ("DEVICES", "FILES"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(lab_disk, name, tmp_path / name)
    monkeypatch.setattr(lab_disk, "DETACH_S", 0.15)
    monkeypatch.setattr(lab_disk.fcntl, "ioctl", played.ioctl)
    monkeypatch.setattr(lab_disk, "said", lambda command: played.done.append(command[0]))
    monkeypatch.setattr(lab_disk.os, "mknod", lambda path, _mode, _device: Path(path).touch())
    return played


def attach(loop: int = 1230, engine: str = ENGINE) -> None:
    lab_disk.main("attach", engine, "8", f"{DB}:{loop}")


def detach(loop: int = 1230, engine: str = ENGINE) -> None:
    lab_disk.main("detach", engine, f"{DB}:{loop}")


def image() -> Path:
    return Path(lab_disk.FILES) / f"{DB}.img"


# Loop devices


def test_a_disk_is_made_once_and_then_left_as_it_is(kernel: Kernel) -> None:
    attach()
    assert kernel.done == ["add loop1230", "mke2fs", "debugfs"]
    assert image().stat().st_size == 8 * 2**20
    assert image().stat().st_blocks == 0, "a file that takes no space"
    assert list(image().parent.iterdir()) == [image()]
    attached = kernel.loops["loop1230"]
    assert attached
    assert attached[:2] == (image().stat().st_dev, image().stat().st_ino)
    assert attached[2].rstrip(b"\0") == f"{DB} {ENGINE}".encode()
    attach()
    assert kernel.loops["loop1230"] == attached
    assert kernel.done == ["add loop1230", "mke2fs", "debugfs"]


def test_after_a_restart_of_the_machine_the_same_file_is_attached_again(kernel: Kernel) -> None:
    attach()
    before = kernel.loops.pop("loop1230")
    attach()
    assert kernel.loops["loop1230"] == before
    assert kernel.done.count("mke2fs") == 1


@pytest.mark.parametrize("engine", [ENGINE, "ffffffff"])
def test_a_device_that_is_in_use_by_something_else_is_left_alone(kernel: Kernel, engine: str) -> None:
    """By another program, or by the lab of another engine on the same machine."""
    name = b"snap" if engine == ENGINE else f"{DB} {ENGINE}".encode()
    kernel.loops["loop1230"] = (7, 7, name)
    with pytest.raises(lab_disk.Refusal, match=r"loop1230 is in use, and not by this engine's lab"):
        attach(engine=engine)
    assert not image().exists()
    detach(engine=engine)
    assert kernel.loops["loop1230"] == (7, 7, name)


def test_a_device_whose_file_is_gone_is_known_by_its_name_and_used_again(kernel: Kernel) -> None:
    attach()
    image().rename(image().with_suffix(".gone"))
    attach()
    found = kernel.loops["loop1230"]
    assert found
    assert found[1] == image().stat().st_ino
    assert [name for name, attached in kernel.loops.items() if attached] == ["loop1230"], "never doubled"


def test_nothing_of_a_disk_is_left(kernel: Kernel) -> None:
    attach()
    detach()
    assert not image().exists()
    assert kernel.loops == {}
    detach()
    assert kernel.loops == {}


def test_a_disk_that_is_still_mounted_is_not_lost(kernel: Kernel) -> None:
    attach()
    kernel.mounted.add("loop1230")
    with pytest.raises(lab_disk.Refusal, match=f"loop1230 is still in use: is {DB} still mounted"):
        detach()
    assert image().exists()
    kernel.mounted.clear()
    detach()
    assert not image().exists()


def test_a_file_system_that_cannot_be_made_leaves_no_file(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str]) -> None:
        raise lab_disk.Refusal(f"{command[0]}: no")

    monkeypatch.setattr(lab_disk, "said", refuse)
    with pytest.raises(lab_disk.Refusal, match="mke2fs: no"):
        attach()
    assert not image().exists()
    assert kernel.loops == {"loop1230": None}


def test_devices_are_those_of_the_kernel(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, tuple[int, int]] = {}

    def mknod(path: Path, mode: int, device: int) -> None:
        made[path.name] = (stat.S_IFMT(mode), device)
        path.touch()

    monkeypatch.setattr(lab_disk.os, "mknod", mknod)
    attach()
    assert made == {"loop-control": (stat.S_IFCHR, os.makedev(10, 237)), "loop1230": (stat.S_IFBLK, os.makedev(7, 1230))}


# A disk that is mounted


def test_release_says_what_was_wrong_and_removes_what_fills(
    kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stalled, full, good = (tmp_path / name for name in ("stalled", "full", "good"))
    for folder in (stalled, full, good):
        folder.mkdir()
        (folder / "data").touch()
    lab_disk.freeze(stalled)
    (full / lab_disk.FULL).touch()
    lab_disk.main("release", *map(str, (stalled, full, good)))
    assert capsys.readouterr().out == "stalled stood still\nfull was full\n"
    assert kernel.frozen == set()
    assert all(list(folder.iterdir()) == [folder / "data"] for folder in (stalled, full, good))


def test_ready_changes_nothing_and_is_refused_where_a_freeze_would_be(kernel: Kernel, tmp_path: Path) -> None:
    lab_disk.main("ready", str(tmp_path / "FILES"))
    assert kernel.frozen == set()
    assert list((tmp_path / "FILES").iterdir()) == []
    kernel.refuses = errno.EPERM
    with pytest.raises(PermissionError):
        lab_disk.main("ready", str(tmp_path / "FILES"))
    kernel.refuses = errno.EOPNOTSUPP
    with pytest.raises(OSError, match="not supported"):
        lab_disk.main("ready", str(tmp_path / "FILES"))


def test_a_disk_that_stutters_goes_on_when_that_ends(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[float, bool]] = []

    def sleep(seconds: float) -> None:
        held.append((seconds, bool(kernel.frozen)))
        if len(held) == 3:
            raise SystemExit

    monkeypatch.setattr(lab_disk, "sleep", sleep)
    monkeypatch.setattr(lab_disk.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        lab_disk.main("stutter", str(tmp_path), "0.2")
    assert held == [(0.2, True), (lab_disk.OPEN_S, False), (0.2, True)]
    assert kernel.frozen == set()


def test_a_full_disk_refuses_the_next_write(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        lab_disk.write(disk)
        assert list(disk.iterdir()) == []
        lab_disk.fill(disk)
        lab_disk.fill(disk)
        assert os.statvfs(disk).f_bavail == 0
        with pytest.raises(OSError, match="No space left on device"):
            lab_disk.write(disk)
        assert list(disk.iterdir()) == [disk / lab_disk.FULL]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-B", str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_what_could_not_be_done_is_one_line(tmp_path: Path) -> None:
    done = run("fill", str(tmp_path / "gone"))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{tmp_path}/gone/{lab_disk.FULL}: No such file or directory\n")
    assert run("moan").stderr == "there is no 'moan'\n"


def test_numbers_are_those_of_the_kernels_header() -> None:
    """linux/fs.h: _IOWR('X', 119, int) and 120; linux/loop.h: struct loop_info64 has 232 bytes."""
    assert [(3 << 30) | (4 << 16) | (ord("X") << 8) | number for number in (119, 120)] == [lab_disk.FREEZE, lab_disk.THAW]
    assert lab_disk.STATUS.size == 232
