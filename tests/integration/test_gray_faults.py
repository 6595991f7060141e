"""Boxes that are made sick and not dead: the fault bites, and whatever becomes of the controller, heal takes it back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from random import Random

import pytest

from lab.errors import EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.condition import STANDS_STILL, assert_as_before, condition, settled
from tests.integration.driver import Lab, container, docker, kill_after_note

pytestmark = pytest.mark.docker
night = pytest.mark.night

KILLS = 3
PATIENCE_S = 2.0
HANG = ("hang", "service:lb")
READONLY = ("readonly", "service:db")
CPU = ("cpu", "service:web1", "--cpus", "0.05")
POWER = ("power", "service:web2")
EDGE = ("isolate", "service:lb", "--network", "edge")
LOSS = ("loss", "service:web1", "--from", "service:db", "--loss-percent", "60")
SICK = (HANG, READONLY, CPU, POWER, EDGE, LOSS)


def ask(lab: Lab, order: bool = False) -> int:
    """The status of an answer to a user; 0 where none came."""
    body = json.dumps({"key": f"sick-{time.monotonic_ns()}", "item": "probe", "quantity": 1}).encode() if order else None
    request = urllib.request.Request(f"{lab.front_door}/orders", data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


BOXES = ("lb", "web1", "web2", "db")


def test_a_hanging_balancer_answers_nothing_and_its_box_runs(stage_3: Lab) -> None:
    stage_3.must("chaos", *HANG)
    now = condition(3, "lb")["lb"]
    assert now["status"] == "running"
    assert {"haproxy" in each for each in now["processes"] if each.startswith(STANDS_STILL)} == {True}
    assert ask(stage_3) == 0
    stage_3.must("heal")
    assert not any(each.startswith(STANDS_STILL) for each in condition(3, "lb")["lb"]["processes"])
    assert wait_until(lambda: ask(stage_3) == 200, 5)


def test_a_database_that_takes_no_writes_answers_reads(stage_3: Lab) -> None:
    stage_3.must("chaos", *READONLY)
    assert ask(stage_3) == 200
    assert ask(stage_3, order=True) == 503
    refused = stage_3("chaos", *READONLY)
    assert refused.code == EXIT_USAGE
    assert "takes no writes already" in refused.error_line
    stage_3.must("heal")
    assert wait_until(lambda: ask(stage_3, order=True) == 201, 5)


@pytest.mark.parametrize("fault", [POWER, *(pytest.param(each, marks=night) for each in SICK if each != POWER)], ids=" ".join)
def test_what_made_a_box_sick_is_taken_back_by_itself(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before = settled(3, *BOXES)
    stage_3.must("chaos", *fault, "--for", "500ms")
    assert_as_before(before, 3)
    assert UndoLog().entries() == []


@pytest.mark.parametrize("fault", [CPU, *(pytest.param(each, marks=night) for each in SICK if each != CPU)], ids=" ".join)
def test_heal_leaves_each_box_as_it_was_however_early_the_controller_was_killed(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before, random = settled(3, *BOXES), Random(" ".join(fault))
    for _ in range(KILLS):
        kill_after_note(stage_3, ("chaos", *fault, "--for", "30s"), random.uniform(0, 1))
        assert UndoLog().entries()
        stage_3.must("heal")
        assert_as_before(before, 3)
        assert UndoLog().entries() == []


@night
def test_a_fault_of_one_network_leaves_the_others(stage_3: Lab) -> None:
    stage_3.must("chaos", *EDGE)
    assert ask(stage_3) == 0
    # Its other side lives: what stands on the inner network still reaches it.
    inner = condition(3, "lb")["lb"]["networks"]["redundancy-lab-3_app"]["address"]
    docker("exec", container(3, "web1"), "timeout", "2", "bash", "-c", f"</dev/tcp/{inner}/8080")
    refused = stage_3("chaos", "isolate", "service:web1", "--network", "edge")
    assert refused.code == EXIT_USAGE
    assert "web1 is on no network 'edge'" in refused.error_line
    stage_3.must("heal")
    assert wait_until(lambda: ask(stage_3) == 200, 5)
