"""Disks of a box's own, full, stalled and slow: the fault is real, and whatever becomes of the controller, heal takes it back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from lab.engine.docker_engine import DockerEngine
from lab.errors import EXIT_INTERRUPTED, EXIT_PREFLIGHT, EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.driver import NOTED_TIMEOUT_S, Lab, container, docker, kill_after_note, reach
from tests.integration.test_gray_faults import ask

pytestmark = pytest.mark.docker
night = pytest.mark.night

UP_TIMEOUT_S = 240.0
SEEN_WITHIN_S = 20.0
"""A report is old after 5 s; the monitoring box looks twice a second."""
FULL, STALL = ("disk-full", "service:db"), ("disk-stall", "service:db")
SLOW = ("disk-slow", "service:db", "--delay-ms", "200")
KILLS = 3
DISK = "redundancy-lab-3_db"
WRITE = "head -c 8192 /dev/zero >/var/lib/lab/.test && rm /var/lib/lab/.test"


@pytest.fixture(scope="module")
def on_disks(lab: Lab) -> Iterator[Lab]:
    """Stage 3 with disks of its own; nothing of it is left, not even a loop device."""
    own = Lab({**lab.environment, "LAB_DISKS": "own"})
    own.must("down", "--all", timeout_s=120)
    own.must("up", "3", timeout_s=UP_TIMEOUT_S)
    yield own
    own.must("down", "--all", timeout_s=120)
    assert DockerEngine().leftovers() == []
    assert attached() == []


@pytest.fixture
def stage(on_disks: Lab) -> Iterator[Lab]:
    """The same, healthy before and after each test."""
    if UndoLog().entries() or device() not in attached():
        on_disks.must("heal", timeout_s=UP_TIMEOUT_S)
        on_disks.must("up", "3", "--stop-others", timeout_s=UP_TIMEOUT_S)
    yield on_disks
    on_disks.must("heal", timeout_s=UP_TIMEOUT_S)
    assert UndoLog().entries() == []


def device() -> str:
    """The loop device of the database; empty where there is no such volume."""
    found = subprocess.run(["docker", "volume", "inspect", DISK], capture_output=True, text=True, check=False)
    return str((json.loads(found.stdout or "[]") or [{}])[0].get("Options", {}).get("device", ""))


def attached() -> list[str]:
    """The loop devices from 1024 on that are attached to a file, as the kernel says it."""
    look = "cd /sys/block; for each in loop*/loop/backing_file; do echo /dev/${each%%/*}; done"
    found = docker("run", "--rm", "--network", "none", "redundancy-lab/network", "bash", "-c", look).split()
    return [each for each in found if each.removeprefix("/dev/loop").isdigit() and int(each.removeprefix("/dev/loop")) >= 1024]


def writes(patience_s: float = 3.0) -> bool:
    """Whether the box of the database gets a small write onto its disk. Not for a disk that stands still."""
    command = ["docker", "exec", container(3, "db"), "bash", "-c", WRITE]
    return subprocess.run(command, capture_output=True, timeout=patience_s, check=False).returncode == 0


def states_of_postgres() -> set[str]:
    """The states of PostgreSQL's processes: D waits for a disk."""
    lines = docker("top", container(3, "db"), "-eo", "pid,stat,comm").splitlines()[1:]
    return {line.split()[1][0] for line in lines}


def helpers() -> str:
    return docker("ps", "--quiet", "--filter", "label=lab.disk.slow")


def mounted() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("volume", "inspect", DISK))[0]
    return found


@night
def test_a_database_has_a_small_disk_of_its_own(stage: Lab) -> None:
    assert mounted()["Options"]["type"] == "ext4"
    assert attached() == [device()]
    size = docker("exec", container(3, "db"), "df", "--output=fstype,size", "-m", "/var/lib/lab").splitlines()[-1].split()
    assert size[0] == "ext4"
    assert 900 < int(size[1]) <= 1024
    assert ask(stage, order=True) == 201


def test_a_full_disk_takes_no_write_and_heal_gives_its_space_back(stage: Lab) -> None:
    stage.must("chaos", *FULL)
    assert not writes()
    left = docker("exec", container(3, "db"), "df", "--output=avail", "-B1", "/var/lib/lab").splitlines()[-1]
    assert int(left) == 0
    assert ask(stage) in (200, 500, 503)
    stage.must("heal")
    assert writes()
    assert wait_until(lambda: ask(stage, order=True) == 201, 10)


@night
def test_a_database_that_ended_on_its_full_disk_is_started_by_heal(stage: Lab) -> None:
    stage.must("chaos", *FULL)
    docker("exec", container(3, "db"), "pkill", "-9", "-x", "postgres")
    time.sleep(5)
    since = time.monotonic()
    stage.must("heal")
    assert time.monotonic() - since < 30
    assert wait_until(lambda: ask(stage, order=True) == 201, 10)


def test_a_stalled_disk_hangs_what_writes_and_no_signal_is_sent_in_vain(stage: Lab) -> None:
    stage.must("chaos", *STALL)
    assert wait_until(lambda: "D" in states_of_postgres(), 10)
    assert ask(stage, order=True) != 201
    for fault in ("kill", "pause", "restart"):
        refused = stage("chaos", fault, "service:db")
        assert refused.code == EXIT_USAGE
        assert "no signal reaches a process" in refused.error_line
    refused = stage("run", "3", "kill-web")
    assert refused.code == EXIT_PREFLIGHT
    assert "a fault is still in effect: disk-stall of db" in refused.error_line
    since = time.monotonic()
    stage.must("heal")
    assert time.monotonic() - since < 20
    assert writes()
    assert "D" not in states_of_postgres()


@night
def test_a_slow_disk_holds_writes_back_and_reads_go_on(stage: Lab) -> None:
    stage.must("chaos", *SLOW)
    assert helpers()
    assert ask(stage) == 200
    since = time.monotonic()
    for _ in range(5):
        assert writes()
    assert time.monotonic() - since > 0.3
    stage.must("heal")
    assert helpers() == ""
    assert wait_until(lambda: ask(stage, order=True) == 201, 5)


@night
@pytest.mark.parametrize("fault", [FULL, STALL, SLOW], ids=" ".join)
def test_what_was_done_to_a_disk_is_taken_back_by_itself(stage: Lab, fault: tuple[str, ...]) -> None:
    stage.must("chaos", *fault, "--for", "500ms")
    assert UndoLog().entries() == []
    assert helpers() == ""
    assert writes()


@night
@pytest.mark.parametrize("fault", [STALL, FULL, SLOW], ids=" ".join)
def test_heal_takes_it_back_however_early_the_controller_was_killed(stage: Lab, fault: tuple[str, ...]) -> None:
    random = Random(" ".join(fault))
    for _ in range(KILLS):
        kill_after_note(stage, ("chaos", *fault, "--for", "30s"), random.uniform(0, 1))
        assert UndoLog().entries()
        stage.must("heal")
        assert writes()
        assert helpers() == ""
        assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("fault", [STALL, FULL, SLOW], ids=" ".join)
def test_heal_releases_a_disk_of_which_nothing_is_noted(stage: Lab, fault: tuple[str, ...]) -> None:
    stage.must("chaos", *fault)
    UndoLog().clear()
    done = stage.must("heal")
    assert writes()
    assert helpers() == ""
    if fault is STALL:
        assert f"the disk {DISK} stood still: it takes writes again" in done.err


@night
def test_an_interrupt_thaws_first(stage: Lab) -> None:
    process = stage.start("chaos", *STALL, "--for", "60s")
    assert wait_until(lambda: bool(UndoLog().entries()), NOTED_TIMEOUT_S, 0.002)
    assert wait_until(lambda: "D" in states_of_postgres(), 10)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert writes()
    assert UndoLog().entries() == []


@night
def test_a_killed_box_keeps_its_disk_and_a_wiped_one_gets_an_empty_one(stage: Lab) -> None:
    assert ask(stage, order=True) == 201
    before = device()
    marked = ("docker", "exec", container(3, "db"), "touch", "/var/lib/lab/mark")
    subprocess.run(marked, check=True)
    stage.must("chaos", "kill", "service:db", "--for", "500ms")
    docker("exec", container(3, "db"), "test", "-e", "/var/lib/lab/mark")
    stage.must("chaos", "wipe", "service:db")
    assert attached() == []
    stage.must("heal", timeout_s=UP_TIMEOUT_S)
    assert device() == before
    assert attached() == [before]
    gone = subprocess.run(["docker", "exec", container(3, "db"), "test", "-e", "/var/lib/lab/mark"], check=False)
    assert gone.returncode == 1
    assert wait_until(lambda: ask(stage, order=True) == 201, 10)


@night
@pytest.mark.parametrize("everything", [True, False])
def test_a_stage_whose_disk_stands_still_is_removed_and_nothing_is_left(on_disks: Lab, everything: bool) -> None:
    on_disks.must("up", "3", timeout_s=UP_TIMEOUT_S)
    on_disks.must("chaos", *STALL)
    on_disks.must("down", "--all" if everything else "3", timeout_s=60)
    assert DockerEngine().leftovers() == []
    assert attached() == []
    on_disks.must("up", "3", timeout_s=UP_TIMEOUT_S)
    assert attached() == [device()]


@night
def test_loop_devices_that_are_gone_are_attached_again(stage: Lab) -> None:
    """As after a restart of the machine."""
    before = device()
    names = docker("ps", "--quiet", "--filter", "label=lab.stage=3").split()
    docker("kill", *names)
    rule = f"b 7:{before.removeprefix('/dev/loop')} rwm"
    node = f"mknod {before} b 7 {before.removeprefix('/dev/loop')}; losetup --detach {before}"
    options = ["--rm", "--cap-add", "MKNOD", "--device-cgroup-rule", rule]
    docker("run", *options, "redundancy-lab/network", "bash", "-c", node)
    assert wait_until(lambda: attached() == [], 5)
    stage.must("heal", timeout_s=UP_TIMEOUT_S)
    assert attached() == [before]
    assert ask(stage, order=True) == 201


def test_without_such_disks_the_fault_is_refused(stage_2: Lab) -> None:
    refused = stage_2("chaos", *FULL)
    assert refused.code == EXIT_USAGE
    assert "db has no disk of its own" in refused.error_line
    assert "LAB_DISKS=own" in refused.err
    refused = stage_2("run", "2", "disk-full-primary")
    assert refused.code == EXIT_USAGE
    assert "disk-full needs a box with a disk of its own" in refused.error_line
    assert UndoLog().entries() == []


# Where another database takes over


@pytest.fixture(scope="module")
def five(lab: Lab) -> Iterator[Lab]:
    own = Lab({**lab.environment, "LAB_DISKS": "own"})
    own.must("up", "5", "--stop-others", timeout_s=UP_TIMEOUT_S)
    yield own
    own.must("down", "--all", timeout_s=120)
    assert attached() == []


@night
@pytest.mark.parametrize("name", [f"disk-{how}-{who}" for how in ("full", "stall") for who in ("primary", "standby")])
def test_no_write_is_lost_with_a_disk(five: Lab, name: str) -> None:
    five.safe_trial(5, name)
    assert UndoLog().entries() == []


def monitor_ready() -> str:
    """What the monitoring box shows of the monitor: 1, 0, or nothing."""
    show = "curl -fsS http://127.0.0.1:9099/metrics | sed -n 's/^monitor_ready.* //p'"
    return docker("exec", container(5, "watch"), "bash", "-c", show)


@night
def test_a_monitor_that_takes_no_reports_is_not_ready_though_it_answers(five: Lab) -> None:
    assert wait_until(lambda: monitor_ready() == "1", SEEN_WITHIN_S)
    five.must("chaos", "disk-stall", "service:monitor")
    assert wait_until(lambda: monitor_ready() == "0", SEEN_WITHIN_S)
    five.must("heal", timeout_s=UP_TIMEOUT_S)
    assert wait_until(lambda: monitor_ready() == "1", SEEN_WITHIN_S)


@night
def test_a_run_that_is_interrupted_while_a_disk_stands_still_is_healed(five: Lab) -> None:
    run = five.start("run", "5", "disk-stall-primary")
    reach(run, "observe")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=120)
    assert run.returncode == EXIT_INTERRUPTED
    assert UndoLog().entries() == []
    five.must("heal", timeout_s=UP_TIMEOUT_S)
