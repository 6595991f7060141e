"""A box that is short of memory, or leaks: the fault is felt, and whatever becomes of the controller, heal takes it back."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from lab.errors import EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.condition import assert_as_before, settled
from tests.integration.driver import Lab, container, docker, kill_after_note
from tests.integration.test_gray_faults import BOXES, KILLS, ask
from tests.stages.files import DOCUMENTS

pytestmark = pytest.mark.docker
night = pytest.mark.night

MIB = 2**20
UNITS = {"B": 1, "KiB": 2**10, "MiB": MIB, "GiB": 2**30}
ROUNDED_RATIO = 0.01
"""`docker stats` says four digits."""
SQUEEZE = ("memory", "service:web1", "--memory-percent", "105")
LEAK = ("memory", "service:web1", "--memory-percent", "130", "--leak-mib-s", "5")
SQUEEZE_DB = ("memory", "service:db", "--memory-percent", "105")
LEAK_DB = ("memory", "service:db", "--memory-percent", "115", "--leak-mib-s", "20")


def limits(service: str) -> tuple[int, int]:
    """How much memory Docker says that a box may use, and how much with swap."""
    host = json.loads(docker("inspect", container(3, service)))[0]["HostConfig"]
    return host["Memory"], host["MemorySwap"]


def used_and_limit(service: str) -> list[float]:
    """How much memory a box uses and may use, in bytes, as the kernel says it to `docker stats`."""
    said = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container(3, service))
    found = re.fullmatch(r"([\d.]+)(\w+) / ([\d.]+)(\w+)", said)
    assert found, said
    return [float(found[1]) * UNITS[found[2]], float(found[3]) * UNITS[found[4]]]


def leaked(service: str) -> dict[str, Any]:
    """What is in a box that leaks: the file, and the process."""
    listing = docker("exec", container(3, service), "ls", "-A", "/dev/shm").split()
    processes = docker("top", container(3, service), "-eo", "pid,args").splitlines()
    return {
        "files": [name for name in listing if name.startswith("lab_")],
        "runs": any("lab_fault_leak" in each for each in processes),
    }


NONE = {"files": [], "runs": False}


def assert_as_in_the_stage_file() -> None:
    """Each box may use what its file says, its service runs, and nothing leaks."""
    for service in BOXES:
        body = DOCUMENTS["3-load-balancer"]["services"][service]
        memory, with_swap = limits(service)
        wanted = int(body["mem_limit"].removesuffix("m")) * MIB
        assert memory == wanted, service
        # Where the kernel does not count swap, Docker leaves that out.
        assert with_swap in (2 * wanted, -1), service
        assert used_and_limit(service)[1] == pytest.approx(wanted, rel=ROUNDED_RATIO), service
        running = docker("top", container(3, service), "-eo", "pid,comm").split()
        assert body["labels"]["lab.process"] in running, service
        assert leaked(service) == NONE, service


@pytest.mark.parametrize("fault", [SQUEEZE, pytest.param(SQUEEZE_DB, marks=night)], ids=" ".join)
def test_a_squeezed_box_may_use_hardly_more_than_it_does_and_gets_it_back(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before, service = settled(3, *BOXES), fault[1].removeprefix("service:")
    had, _ = limits(service)
    done = stage_3.must("chaos", *fault)
    assert f"{service} may use" in done.err
    memory, with_swap = limits(service)
    assert 6 * MIB <= memory < had
    assert with_swap in (memory, -1)
    # Seen from outside: the kernel has the limit, and the box is near it.
    used, limit = used_and_limit(service)
    assert limit == pytest.approx(memory, rel=ROUNDED_RATIO)
    assert used > memory / 2
    stage_3.must("heal")
    assert_as_before(before, 3)
    assert_as_in_the_stage_file()


@pytest.mark.parametrize(
    ("percent", "why"), [("300", "it would not feel a limit of"), ("50", "cannot be brought down to")], ids=["far", "near"]
)
def test_what_cannot_work_is_refused_and_leaves_nothing(stage_3: Lab, percent: str, why: str) -> None:
    before = settled(3, *BOXES)
    refused = stage_3("chaos", "memory", "service:web1", "--memory-percent", percent)
    assert refused.code == EXIT_USAGE
    assert why in refused.error_line or "anyway" in refused.error_line
    assert_as_before(before, 3)
    assert UndoLog().entries() == []


@night
def test_a_second_leak_in_a_box_is_refused(stage_3: Lab) -> None:
    slow = ("memory", "service:web1", "--memory-percent", "130", "--leak-mib-s", "0.5")
    stage_3.must("chaos", *slow)
    refused = stage_3("chaos", *slow)
    assert refused.code == EXIT_USAGE
    assert len(UndoLog().entries()) == 1
    stage_3.must("heal")
    assert_as_in_the_stage_file()


def test_a_leak_grows_and_heal_ends_it(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    assert "have leaked" in stage_3.must("chaos", *LEAK).err
    assert leaked("web1")["files"] == ["lab_fault_leak"]
    stage_3.must("heal")
    assert_as_before(before, 3)
    assert wait_until(lambda: ask(stage_3) == 200, 5)


@night
def test_a_box_that_restarts_has_lost_its_leak_and_keeps_the_limit_until_heal(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    stage_3.must("chaos", *LEAK)
    docker("restart", "--time", "2", container(3, "web1"))
    assert leaked("web1") == NONE
    assert limits("web1")[0] < before["web1"]["settings"]["Memory"]
    stage_3.must("heal")
    assert_as_before(before, 3)


@night
@pytest.mark.parametrize("fault", [LEAK, SQUEEZE, SQUEEZE_DB, LEAK_DB], ids=" ".join)
def test_heal_leaves_each_box_as_it_was_however_early_the_controller_was_killed(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before, random = settled(3, *BOXES), Random(" ".join(fault))
    for _ in range(KILLS):
        kill_after_note(stage_3, ("chaos", *fault, "--for", "30s"), random.uniform(0, 2))
        assert UndoLog().entries()
        stage_3.must("heal")
        assert_as_before(before, 3)
        assert_as_in_the_stage_file()
        assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("fault", [SQUEEZE, LEAK], ids=" ".join)
def test_it_is_taken_back_by_itself(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before = settled(3, *BOXES)
    stage_3.must("chaos", *fault, "--for", "1s")
    assert_as_before(before, 3)
    assert UndoLog().entries() == []


@night
def test_heal_compares_limits_with_the_stage_file_and_ends_leaks_that_were_never_noted(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    docker("update", "--memory", "100m", "--memory-swap", "100m", "--cpus", "0.5", container(3, "web2"))
    # Where the kernel counts no swap, this changes nothing.
    docker("update", "--memory", "256m", "--memory-swap", "256m", container(3, "db"))
    docker("exec", container(3, "web2"), "bash", "-c", "head -c 1000000 /dev/zero >/dev/shm/lab_fault_leak")
    said = stage_3.must("heal").err
    assert "web2 could use 100.0 MiB: 128.0 MiB again, as its stage file says" in said
    assert "db could use 0.0 MiB of swap" in said or limits("db")[1] == -1
    assert "web2 could use 0.5 of a processor: 1 again, as its stage file says" in said
    assert "memory leaked in web2: ended" in said
    assert_as_before(before, 3)
    assert json.loads(docker("inspect", container(3, "web2")))[0]["HostConfig"]["NanoCpus"] == 1_000_000_000


@night
def test_a_database_that_runs_out_of_memory_serves_again_after_heal(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    stage_3.must("chaos", *LEAK_DB, "--for", "10s", timeout_s=200)
    assert_as_before(before, 3)
    assert wait_until(lambda: ask(stage_3, order=True) == 201, 30)


@night
def test_a_leak_in_a_trial_is_measured_and_healed(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    trial = stage_3.valid_trial(3, "memory-web")
    assert trial["targets"][0] in ("web1", "web2")
    assert trial["writes_audit"]["lost"] == 0
    assert_as_before(before, 3)
