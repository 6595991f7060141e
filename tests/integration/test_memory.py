"""A box that is short of memory, or leaks: the fault is felt, and whatever becomes of the controller, heal takes it back."""

from __future__ import annotations

import json
import signal
import time
from random import Random
from typing import Any

import pytest

from lab.errors import EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.driver import Lab, container, docker
from tests.integration.test_gray_faults import BOXES, KILLS, NOTED_TIMEOUT_S, UNDONE_TIMEOUT_S, ask

pytestmark = pytest.mark.docker
night = pytest.mark.night

MIB = 2**20
GROWS_TIMEOUT_S = 20.0
SQUEEZE = ("memory", "service:web1", "--memory-percent", "105")
LEAK = ("memory", "service:web1", "--memory-percent", "130", "--leak-mib-s", "5")


def limits(service: str) -> tuple[int, int]:
    """How much memory Docker says that a box may use, and how much with swap."""
    host = json.loads(docker("inspect", container(3, service)))[0]["HostConfig"]
    return host["Memory"], host["MemorySwap"]


def leaked(service: str) -> dict[str, Any]:
    """What is in a box that leaks: the file, and the process."""
    listing = docker("exec", container(3, service), "ls", "-A", "/dev/shm").split()
    processes = docker("top", container(3, service), "-eo", "pid,args").splitlines()
    return {
        "files": [name for name in listing if name.startswith("lab_")],
        "runs": any("lab_fault_leak" in each for each in processes),
    }


def condition() -> dict[str, Any]:
    return {service: (limits(service), leaked(service)) for service in BOXES}


NONE = {"files": [], "runs": False}


def test_a_squeezed_box_may_use_hardly_more_than_it_does_and_gets_it_back(stage_3: Lab) -> None:
    before = condition()
    done = stage_3.must("chaos", *SQUEEZE)
    assert "web1 may use" in done.err
    memory, with_swap = limits("web1")
    assert 6 * MIB <= memory < before["web1"][0][0]
    # Where the kernel does not count swap, Docker leaves that out.
    assert with_swap in (memory, -1)
    stage_3.must("heal")
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)


@pytest.mark.parametrize(
    ("percent", "why"), [("300", "it would not feel a limit of"), ("50", "cannot be brought down to")], ids=["far", "near"]
)
def test_what_cannot_work_is_refused_and_leaves_nothing(stage_3: Lab, percent: str, why: str) -> None:
    before = condition()
    refused = stage_3("chaos", "memory", "service:web1", "--memory-percent", percent)
    assert refused.code == EXIT_USAGE
    assert why in refused.error_line or "anyway" in refused.error_line
    assert condition() == before
    assert UndoLog().entries() == []


def test_a_leak_grows_and_heal_ends_it(stage_3: Lab) -> None:
    before = condition()
    assert "have leaked" in stage_3.must("chaos", *LEAK).err
    assert leaked("web1")["files"] == ["lab_fault_leak"]
    stage_3.must("heal")
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)
    assert wait_until(lambda: ask(stage_3) == 200, 5)


def test_a_box_that_restarts_has_lost_its_leak_and_keeps_the_limit_until_heal(stage_3: Lab) -> None:
    before = condition()
    stage_3.must("chaos", *LEAK)
    docker("restart", "--time", "2", container(3, "web1"))
    assert leaked("web1") == NONE
    assert limits("web1")[0] < before["web1"][0][0]
    stage_3.must("heal")
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)


@pytest.mark.parametrize("fault", [LEAK, pytest.param(SQUEEZE, marks=night)], ids=" ".join)
def test_heal_leaves_each_box_as_it_was_however_early_the_controller_was_killed(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before, random = condition(), Random(" ".join(fault))
    for _ in range(KILLS):
        process = stage_3.start("chaos", *fault, "--for", "30s")
        assert wait_until(lambda: bool(UndoLog().entries()), NOTED_TIMEOUT_S, 0.002)
        time.sleep(random.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert UndoLog().entries()
        stage_3.must("heal")
        assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)
        assert UndoLog().entries() == []


@pytest.mark.parametrize("fault", [SQUEEZE, LEAK], ids=" ".join)
def test_it_is_taken_back_by_itself(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before = condition()
    stage_3.must("chaos", *fault, "--for", "1s")
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)
    assert UndoLog().entries() == []


def test_heal_compares_limits_with_the_stage_file_and_ends_leaks_that_were_never_noted(stage_3: Lab) -> None:
    before = condition()
    docker("update", "--memory", "100m", "--memory-swap", "100m", "--cpus", "0.5", container(3, "web2"))
    docker("exec", container(3, "web2"), "bash", "-c", "head -c 1000000 /dev/zero >/dev/shm/lab_fault_leak")
    said = stage_3.must("heal").err
    assert "web2 could use 100.0 MiB: 128.0 MiB again, as its stage file says" in said
    assert "web2 could use 0.5 of a processor: 1 again, as its stage file says" in said
    assert "memory leaked in web2: ended" in said
    assert condition() == before
    assert json.loads(docker("inspect", container(3, "web2")))[0]["HostConfig"]["NanoCpus"] == 1_000_000_000


@night
def test_a_database_that_runs_out_of_memory_serves_again_after_heal(stage_3: Lab) -> None:
    before = condition()
    stage_3.must("chaos", "memory", "service:db", "--memory-percent", "115", "--leak-mib-s", "20", "--for", "10s", timeout_s=200)
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)
    assert wait_until(lambda: ask(stage_3, order=True) == 201, 30)


@night
def test_a_leak_in_a_trial_is_measured_and_healed(stage_3: Lab) -> None:
    before = condition()
    trial = stage_3.valid_trial(3, "memory-web")
    assert trial["targets"][0] in ("web1", "web2")
    assert trial["writes_audit"]["lost"] == 0
    assert wait_until(lambda: condition() == before, UNDONE_TIMEOUT_S), (condition(), before)
