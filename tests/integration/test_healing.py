"""Whatever ends the controller, whatever it was doing: afterwards everything runs and answers."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from random import Random

import pytest

from lab.errors import EXIT_INTERRUPTED, EXIT_PREFLIGHT
from lab.process import wait_until
from lab.spec import stages
from lab.store.paths import STATE_FOLDER
from tests.integration.driver import Lab, container, docker, goes_on, states

pytestmark = pytest.mark.docker

LEDGER = STATE_FOLDER / "undo.jsonl"
ENDED_TIMEOUT_S = 60.0
# Seconds after the start of the command: settle, baseline, inject, observe, heal and after all lie in between.
INSTANTS_S = [0.7 + 0.85 * number for number in range(10)]
EXPERIMENTS = ["pause-db", "kill-web", "crash-db", "pause-web", "kill-lb"]


def end(process: subprocess.Popen[str], number: signal.Signals) -> int:
    process.send_signal(number)
    process.communicate(timeout=ENDED_TIMEOUT_S)
    return process.returncode


def answers(lab: Lab) -> bool:
    try:
        with urllib.request.urlopen(f"{lab.front_door}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def assert_whole(lab: Lab) -> None:
    assert set(states(3).values()) == {"running"}
    assert len(states(3)) == len(stages.find("3").services)
    assert wait_until(lambda: answers(lab), 10)
    assert not LEDGER.exists()


@pytest.mark.parametrize("number", range(10))
def test_an_interrupt_heals_by_itself(stage_3: Lab, number: int) -> None:
    process = stage_3.start("run", "3", EXPERIMENTS[number % 5], "--observe", "3s")
    goes_on(process, INSTANTS_S[number] + Random(number).random() * 0.5)
    code = end(process, signal.SIGTERM if number % 3 == 2 else signal.SIGINT)
    assert code == EXIT_INTERRUPTED
    assert_whole(stage_3)


@pytest.mark.parametrize("number", range(10))
def test_after_a_killed_controller_heal_mends(stage_3: Lab, number: int) -> None:
    process = stage_3.start("run", "3", EXPERIMENTS[number % 5], "--observe", "3s")
    goes_on(process, INSTANTS_S[number] + Random(100 + number).random() * 0.5)
    end(process, signal.SIGKILL)
    if LEDGER.exists():
        assert "'lab heal'" in stage_3("status").err
        refused = stage_3("run", "3", "kill-web")
        assert refused.code == EXIT_PREFLIGHT
        assert "still in effect" in refused.error_line
    stage_3.must("heal")
    assert_whole(stage_3)
    load = subprocess.run(
        ["docker", "exec", container(3, "internet"), "pgrep", "-f", "client[.]generator"],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert load.returncode == 1, "the load outlived its controller"


def test_who_reads_the_output_may_go_away(stage_3: Lab) -> None:
    process = stage_3.start("run", "3", "kill-web", "--observe", "1s")
    assert process.stderr is not None
    assert process.stdout is not None
    while "inject" not in (line := process.stderr.readline()):
        assert line, "the run ended early"
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=ENDED_TIMEOUT_S) == 0
    assert_whole(stage_3)


def test_a_lost_terminal_heals(stage_3: Lab) -> None:
    process = stage_3.start("run", "3", "kill-web")
    assert process.stderr is not None
    while "observe" not in (line := process.stderr.readline()):
        assert line, "the run ended early"
    assert end(process, signal.SIGHUP) == EXIT_INTERRUPTED
    assert_whole(stage_3)


def test_heal_brings_back_what_others_broke(stage_3: Lab) -> None:
    docker("kill", container(3, "web1"))
    docker("pause", container(3, "db"))
    docker("rm", "--force", container(3, "web2"))
    stage_3.must("heal")
    assert_whole(stage_3)
    assert "nothing was broken" in stage_3.must("heal").err


def test_chaos_stays_until_heal(stage_3: Lab) -> None:
    stage_3.must("chaos", "kill", "web", "--seed", "1")
    assert sorted(states(3).values()).count("exited") == 1
    assert "in effect" in stage_3.must("status").err
    stage_3.must("heal")
    assert_whole(stage_3)


@pytest.mark.parametrize("fault", ["kill", "crash", "stop", "pause", "restart"])
def test_chaos_for_a_while_heals_itself(stage_3: Lab, fault: str) -> None:
    stage_3.must("chaos", fault, "service:web1", "--for", "500ms")
    assert_whole(stage_3)
