"""The lab is killed (SIGKILL) under every fault that it knows, at any instant after the fault's note: `lab heal` leaves no trace.

LAB_SIGKILLS says how often each: 3 where it is not set, 20 for a night of its own. A line for each kill says what came of it, past
pytest's capture: `pytest -m docker tests/integration/test_sigkill_each_fault.py | grep -c '^sigkill .*: as before$'` counts them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from lab.faults import FAULTS
from lab.model.fault import FaultKind
from lab.process import last_line, wait_until
from lab.spec import stages
from lab.store.undo_log import UndoLog
from tests.integration import condition, ways
from tests.integration.condition import Condition
from tests.integration.driver import Done, Lab
from tests.integration.ways import Way

pytestmark = pytest.mark.docker
night = pytest.mark.night

NUMBER = 3
BOXES = [spec.name for spec in stages.find(str(NUMBER)).services]
"""All, those of users and of the monitoring too: what sends a request that kills stands there."""
KILLS = int(os.environ.get("LAB_SIGKILLS") or 3)
NOTED_TIMEOUT_S = 60.0
"""A run first measures for a while with nothing broken."""
WITHIN_S = (0.2, 1.0, 5.0)
"""As many kills in each: what is half done is soon over, what flaps takes its time."""
HEAL_TIMEOUT_S = 240.0
ENDED_TIMEOUT_S = 60.0
UNSEEN = (FaultKind.CRASH, FaultKind.RESTART)
"""What is over by itself: Docker starts the box again."""


@dataclass(frozen=True)
class Killed:
    """A lab that was killed under a fault, and what came of the healing."""

    way: Way
    command: str
    after_s: float
    """From the note to the kill."""
    healed_in_s: float
    wrong: list[str]
    """What healing said where it failed, and in what the boxes differ from before."""

    def __str__(self) -> str:
        what = f"sigkill {self.way}: lab {self.command} killed {self.after_s:.3f} s after the note, healed in {self.healed_in_s:.1f} s"
        return f"{what}: {'; '.join(self.wrong) or 'as before'}"


def look(at: Callable[..., Condition] = condition.condition) -> Condition:
    """The boxes, and the containers that stand beside them."""
    return {**at(NUMBER, *BOXES), "beside": {"helpers": condition.helpers()}}


def differences(before: Condition) -> list[str]:
    """In what the boxes differ from before, when they have had some time to become alike."""
    found: list[str] = []

    def are_alike() -> bool:
        found[:] = condition.differences(before, look())
        return not found

    wait_until(are_alike, condition.UNDONE_TIMEOUT_S)
    return found


def kill(lab: Lab, arguments: list[str], until_s: float) -> float:
    """Start a command and kill it at an instant after its first note; seconds from then. Fails where it ends before that."""
    process = lab.start(*arguments)
    was_noted = wait_until(lambda: bool(UndoLog().entries()) or process.poll() is not None, NOTED_TIMEOUT_S, 0.002)
    since = time.monotonic()
    try:
        process.wait(Random().uniform(0, until_s))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    after_s = time.monotonic() - since
    _, said = process.communicate(timeout=ENDED_TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL, f"lab {' '.join(arguments)} ended by itself: {said}"
    assert was_noted, f"lab {' '.join(arguments)} noted nothing within {NOTED_TIMEOUT_S:g} s: {said}"
    return after_s


def wrong_after(done: Done, before: Condition) -> list[str]:
    """What is wrong after a healing."""
    failed = [f"lab heal ended with {done.code}: {last_line(done.err)}"] if done.code else []
    noted = [f"{entry.fault} of {entry.undo.service} is still noted" for entry in UndoLog().entries()]
    return [*failed, *noted, *differences(before)]


def arguments_of(way: Way, command: str, folder: Path) -> list[str]:
    """The command that does it, and goes on."""
    if command == "chaos":
        return ["chaos", *way.arguments, "--for", f"{ways.LASTS_S}s"]
    file = folder / "under-the-lab.yaml"
    file.write_text(way.experiment, encoding="utf-8")
    return ["run", str(NUMBER), str(file)]


def within_s(number: int) -> float:
    """In how many seconds one of several kills is to come. Not in step with the ways of a fault, of which some have three."""
    return WITHIN_S[(number + number // len(WITHIN_S)) % len(WITHIN_S)]


def skip_what_cannot_be(fault: FaultKind) -> None:
    if why := ways.not_possible(fault):
        pytest.skip(why)


@night
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_heal_leaves_every_box_as_it_was_at_whatever_instant_the_lab_was_killed(
    stage_3: Lab, fault: FaultKind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_what_cannot_be(fault)
    before = look(condition.settled)
    for number, (way, command) in enumerate(islice(ways.in_turn(fault), KILLS)):
        after_s = kill(stage_3, arguments_of(way, command, tmp_path), within_s(number))
        since = time.monotonic()
        done = stage_3("heal", timeout_s=HEAL_TIMEOUT_S)
        found = Killed(way, command, after_s, time.monotonic() - since, wrong_after(done, before))
        with capsys.disabled():
            print(f"\n{found}", end="", flush=True)
        if found.wrong:
            # What is wrong must not be what the next test begins with.
            stage_3.must("down", str(NUMBER))
            pytest.fail(str(found))


@night
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in UNSEEN], ids=str)
def test_the_comparison_sees_each_fault_and_nothing_when_it_is_healed(stage_3: Lab, fault: FaultKind) -> None:
    """Without that, "as before" would say nothing."""
    skip_what_cannot_be(fault)
    before = look(condition.settled)
    way = next(way for way in ways.of(fault) if not ways.flaps(way))
    stage_3.must("chaos", *way.arguments)
    seen = condition.differences(before, look())
    stage_3.must("heal", timeout_s=HEAL_TIMEOUT_S)
    assert seen, way
    assert differences(before) == []
