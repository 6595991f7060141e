"""A state folder that is full: every box is brought back all the same, and the disk is named."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import EXIT_HEAL_FAILED, EXIT_HELD, EXIT_INCONCLUSIVE, EXIT_PREFLIGHT
from lab.process import wait_until
from lab.spec import stages
from lab.store.paths import STATE_FOLDER
from tests.integration.driver import Lab, container, reach, states
from tests.unit.disks import fill, small_disk

pytestmark = pytest.mark.docker
night = pytest.mark.night

FULL = "No space left on device"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder of a few kB."""
    with small_disk(tmp_path / "state") as folder:
        yield folder


@pytest.fixture
def broken(stage_3: Lab, state: Path) -> Iterator[Lab]:
    """Stage 3 with web1 killed and web2 frozen, both noted in that folder."""
    lab = Lab({**stage_3.environment, "LAB_STATE": str(state)})
    lab.must("chaos", "kill", "service:web1")
    lab.must("chaos", "pause", "service:web2")
    assert are(("web1", "exited"), ("web2", "paused"))
    yield lab
    # Whatever became of it: the next test finds a stage that is whole, and this folder goes.
    (state / "ballast").unlink(missing_ok=True)
    lab.must("heal")


def are(*wanted: tuple[str, str]) -> bool:
    now = states(3)
    return all(now[container(3, service)] == state for service, state in wanted)


def assert_whole() -> None:
    assert set(states(3).values()) == {"running"}


def test_heal_on_a_full_disk_brings_every_box_back_and_names_the_disk(broken: Lab, state: Path) -> None:
    ballast = fill(state, state / "undo.jsonl")
    done = broken("heal")
    assert done.code == EXIT_HEAL_FAILED
    assert f"{state / 'undo.jsonl'} cannot be written: {FULL}" in done.error_line
    assert_whole()
    ballast.unlink()
    broken.must("heal")
    assert_whole()
    assert not (state / "undo.jsonl").exists()


@night
def test_heal_that_is_killed_on_a_full_disk_is_done_again(broken: Lab, state: Path) -> None:
    ballast = fill(state, state / "undo.jsonl")
    process = broken.start("heal")
    # The one that was broken last is brought back first.
    assert wait_until(lambda: are(("web2", "running")), 30)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    # On a quick machine it was through with both before it was killed, and had removed its notes.
    noted = (state / "undo.jsonl").exists()
    done = broken("heal")
    assert done.code == (EXIT_HEAL_FAILED if noted else 0)
    assert (FULL in done.err) is noted
    assert_whole()
    ballast.unlink()
    broken.must("heal")
    assert_whole()


def test_nothing_is_broken_on_a_full_disk(stage_3: Lab, state: Path) -> None:
    lab = Lab({**stage_3.environment, "LAB_STATE": str(state)})
    # As if the stage had been started with this folder: else it would be started anew.
    shutil.copy(STATE_FOLDER / stages.find("3").project, state)
    fill(state)
    for command in (("chaos", "kill", "web"), ("run", "3", "kill-web", "--duration", "2s")):
        done = lab(*command)
        assert done.code == EXIT_PREFLIGHT
        assert f"{state / 'undo.jsonl'} cannot be written: {FULL}" in done.error_line
        assert_whole()


@night
def test_results_that_fill_their_disk_in_mid_trial_are_said_when_all_is_healed(stage_3: Lab, tmp_path: Path) -> None:
    with small_disk(tmp_path / "results") as results:
        lab = Lab({**stage_3.environment, "LAB_RESULTS": str(results)})
        process = lab.start("run", "3", "kill-web", "--duration", "4s")
        reach(process, "observe")
        fill(results)
        _, error = process.communicate(timeout=90)
        assert process.returncode == EXIT_PREFLIGHT
        assert "Traceback" not in error
        assert f"cannot be written: {FULL}" in error
        assert str(results) in error
    assert_whole()


@night
def test_output_that_knows_few_characters_is_readable(stage_3: Lab) -> None:
    done = stage_3("run", "3", "kill-web", "--duration", "2s", LC_ALL="C", PYTHONIOENCODING="ascii")
    # This is about characters, not about how well a busy machine kept time.
    assert done.code in (EXIT_HELD, EXIT_INCONCLUSIVE), done.err
    assert "Traceback" not in done.err
    assert "expected: longest outage at most 1 s" in done.out
    assert "_ good  + slow (over 250 ms)  # failed" in done.out


@night
def test_another_state_folder_on_the_same_engine_is_refused(stage_3: Lab, tmp_path: Path) -> None:
    other = Lab({**stage_3.environment, "LAB_STATE": str(tmp_path / "other")})
    process = stage_3.start("run", "3", "kill-web", "--duration", "12s")
    reach(process, "observe")
    for command in (("heal",), ("chaos", "kill", "web"), ("repair", "3"), ("down", "3")):
        refused = other(*command)
        assert refused.code == EXIT_PREFLIGHT
        assert "busy on this engine" in refused.error_line
    process.communicate(timeout=90)
    assert process.returncode in (EXIT_HELD, EXIT_INCONCLUSIVE)
