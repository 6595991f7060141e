"""Whatever ends the controller, whatever it was doing: afterwards everything runs and answers."""

from __future__ import annotations

import signal
import subprocess
import urllib.request

import pytest

from lab.errors import EXIT_INTERRUPTED, EXIT_PREFLIGHT
from lab.process import wait_until
from lab.spec import stages
from lab.store.paths import STATE_FOLDER
from lab.store.undo_log import UndoLog
from tests.integration.driver import NOTED_TIMEOUT_S, Lab, container, docker, reach, states

pytestmark = pytest.mark.docker
night = pytest.mark.night

LEDGER = STATE_FOLDER / "undo.jsonl"
ENDED_TIMEOUT_S = 60.0
# The phases of a trial, each with a fault: nothing is broken yet, something is, and nothing is any more.
BEFORE = {"settle": "kill-web", "start": "pause-web", "baseline": "crash-db"}
DURING = {"noted": "kill-lb", "observe": "pause-db"}
AFTER = {"heal": "crash-web", "after": "kill-db", "audit": "pause-web"}
LOAD_ENDS_WITHIN_S = 10.0


def under_way(lab: Lab, phase: str, experiment: str) -> subprocess.Popen[str]:
    """A run that has come to a phase. To 'noted' it has when what it is about to break is on the disk, broken or not."""
    process = lab.start("run", "3", experiment, "--duration", "2s")
    if phase == "noted":
        # A whole line, and not the file only: one that was cut short is no note.
        assert wait_until(lambda: bool(UndoLog().entries()), NOTED_TIMEOUT_S, 0.005)
    else:
        reach(process, phase)
    return process


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


@pytest.mark.parametrize(("phase", "experiment"), (BEFORE | DURING | AFTER).items())
def test_an_interrupt_heals_by_itself(stage_3: Lab, phase: str, experiment: str) -> None:
    assert end(under_way(stage_3, phase, experiment), signal.SIGINT) == EXIT_INTERRUPTED
    assert_whole(stage_3)


@night
@pytest.mark.parametrize(("phase", "experiment"), (BEFORE | DURING | AFTER).items())
def test_a_termination_is_an_interrupt(stage_3: Lab, phase: str, experiment: str) -> None:
    assert end(under_way(stage_3, phase, experiment), signal.SIGTERM) == EXIT_INTERRUPTED
    assert_whole(stage_3)


@pytest.mark.parametrize(("phase", "experiment"), DURING.items())
def test_after_a_killed_controller_heal_mends(stage_3: Lab, phase: str, experiment: str) -> None:
    end(under_way(stage_3, phase, experiment), signal.SIGKILL)
    assert LEDGER.exists()
    assert "'lab heal'" in stage_3("status").err
    refused = stage_3("run", "3", "kill-web")
    assert refused.code == EXIT_PREFLIGHT
    assert "still in effect" in refused.error_line
    stage_3.must("heal")
    assert_no_load()
    assert_whole(stage_3)


@pytest.mark.parametrize(("phase", "experiment"), (BEFORE | AFTER).items())
def test_a_controller_that_is_killed_while_nothing_is_broken_leaves_nothing_to_mend(
    stage_3: Lab, phase: str, experiment: str
) -> None:
    end(under_way(stage_3, phase, experiment), signal.SIGKILL)
    assert not LEDGER.exists()
    # It ends with its controller, without help.
    assert wait_until(lambda: not load_runs(), LOAD_ENDS_WITHIN_S), "the load outlived its controller"
    assert_whole(stage_3)


def load_runs() -> bool:
    found = subprocess.run(
        ["docker", "exec", container(3, "internet"), "pgrep", "-f", "client[.]generator"],
        capture_output=True,
        check=False,
        timeout=30,
    )
    return found.returncode == 0


def assert_no_load() -> None:
    assert not load_runs(), "the load outlived its controller"


@night
def test_who_reads_the_output_may_go_away(stage_3: Lab) -> None:
    process = stage_3.start("run", "3", "kill-web", "--duration", "1s")
    reach(process, "inject")
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=ENDED_TIMEOUT_S) == 0
    assert_whole(stage_3)


@night
def test_a_lost_terminal_heals(stage_3: Lab) -> None:
    assert end(under_way(stage_3, "observe", "kill-web"), signal.SIGHUP) == EXIT_INTERRUPTED
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


@pytest.mark.parametrize("fault", ["kill", *(pytest.param(each, marks=night) for each in ("crash", "stop", "pause", "restart"))])
def test_chaos_for_a_while_heals_itself(stage_3: Lab, fault: str) -> None:
    stage_3.must("chaos", fault, "service:web1", "--for", "500ms")
    assert_whole(stage_3)
