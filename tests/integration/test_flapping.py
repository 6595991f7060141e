"""A fault of the network that comes and goes: each edge is real, and whenever it ends, heal takes back what is left."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.errors import EXIT_INTERRUPTED, EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.condition import assert_as_before, condition, differences, settled
from tests.integration.driver import Lab, container, kill_after_note, left_over, reach
from tests.integration.test_gray_faults import BOXES, KILLS

pytestmark = pytest.mark.docker
night = pytest.mark.night

EDGE_TIMEOUT_S, COMES_WITHIN_S = 3.0, 1.0
LONGER_TURNS = ("--on", "4s", "--off", "4s")
TURNS = ("--on", "1s", "--off", "1s")
ISOLATE = ("isolate", "service:web1", *TURNS)
DISCONNECT = ("disconnect", "service:web1", *TURNS)
LOSS = ("loss", "service:web1", "--loss-percent", "60", *TURNS)
BANDWIDTH = ("bandwidth", "service:web1", "--rate-kbit", "1000", *TURNS)
PARTITION = ("partition", "all:web", "--from", "db", *TURNS)
FLAPS_WEB = """\
title: The network of a web box flaps
question: What happens if a web box loses its network, gets it back, and loses it again?
fault: {fault}
target: service:web1
on_s: 2
off_s: 2
fault_duration_s: 9
cooldown_s: 3
expect:
  writes_lost: {{at_most: 0}}
"""


@pytest.mark.parametrize(
    "fault", [ISOLATE, *(pytest.param(each, marks=night) for each in (DISCONNECT, LOSS, BANDWIDTH, PARTITION))], ids=" ".join
)
def test_it_comes_and_goes_and_leaves_nothing(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before = settled(3, *BOXES)
    said = stage_3.must("chaos", *fault, "--for", "8s", timeout_s=90).err
    first_words = [line.split()[0] for line in said.splitlines() if line.strip()]
    edges = [word for word in first_words if word in ("on:", "off:")]
    assert edges[:3] == ["off:", "on:", "off:"], said
    assert_as_before(before, 3)
    assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("edge", ["on:", "off:"])
@pytest.mark.parametrize("fault", [ISOLATE, DISCONNECT], ids=" ".join)
def test_an_interrupt_in_either_phase_heals(stage_3: Lab, fault: tuple[str, ...], edge: str) -> None:
    before = settled(3, *BOXES)
    process = stage_3.start("chaos", *fault, "--for", "60s")
    reach(process, edge)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert_as_before(before, 3)
    assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("fault", [ISOLATE, DISCONNECT], ids=" ".join)
def test_heal_leaves_each_box_as_it_was_whenever_the_controller_was_killed(stage_3: Lab, fault: tuple[str, ...]) -> None:
    before, random = settled(3, *BOXES), Random(" ".join(fault))
    for _ in range(KILLS + 1):
        kill_after_note(stage_3, ("chaos", *fault, "--for", "60s"), random.uniform(0, 5))
        stage_3.must("heal")
        assert_as_before(before, 3)
        assert UndoLog().entries() == []


def noted() -> list[str]:
    """What the undo log on the disk says is in effect."""
    return [f"{entry.fault} of {entry.undo.service}" for entry in UndoLog().entries()]


def is_noted(wanted: bool) -> bool:
    return bool(noted()) is wanted


@pytest.mark.parametrize(
    "fault", [ISOLATE, *(pytest.param(each, marks=night) for each in (DISCONNECT, PARTITION, BANDWIDTH))], ids=" ".join
)
def test_the_undo_log_has_each_edge_and_a_killed_controller_leaves_what_heal_takes_back(
    stage_3: Lab, fault: tuple[str, ...]
) -> None:
    """While it is on, its undo is on the disk and the box has it; while it is off, neither. Then the controller is killed."""
    before, length = settled(3, *BOXES), len(fault) - len(TURNS)
    for edges in (("off:",), ("off:", "on:"), ("off:", "on:", "off:")):
        process = stage_3.start("chaos", *fault[:length], *LONGER_TURNS, "--for", "60s")
        for edge in edges:
            reach(process, edge)
            is_on = edge == "on:"
            assert wait_until(partial(is_noted, is_on), EDGE_TIMEOUT_S, 0.005), (edge, noted())
        # An edge is said, and noted, just before it comes.
        time.sleep(COMES_WITHIN_S)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = [line for line in differences(before, condition(3, *BOXES)) if " packets: " in line or " networks " in line]
        assert bool(found) is is_on is bool(noted()), (edges, found, noted())
        stage_3.must("heal")
        assert noted() == []
        assert [left_over(container(3, service)) for service in BOXES] == [""] * len(BOXES)
        assert_as_before(before, 3)


def events(trial_folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (trial_folder / "events.jsonl").read_text().splitlines()]
    return sorted(found, key=lambda event: event["at_s"])


@night
@pytest.mark.parametrize("fault", ["isolate", "disconnect"])
def test_a_trial_has_one_fault_and_notes_each_edge(stage_3: Lab, tmp_path: Path, fault: str) -> None:
    before = settled(3, *BOXES)
    file = tmp_path / f"flap-{fault}.yaml"
    file.write_text(FLAPS_WEB.format(fault=fault), encoding="utf-8")
    _, document = stage_3.valid_run(3, str(file))
    [trial] = document["trials"]
    assert trial["targets"] == ["web1"]
    folder = max(Path(stage_3.environment["LAB_RESULTS"]).rglob("events.jsonl"), key=lambda each: each.stat().st_mtime).parent
    noted = events(folder)
    names = [event["name"] for event in noted if event["name"] in ("inject", "fault-off", "fault-on", "heal")]
    assert names[:4] == ["inject", "fault-off", "fault-on", "fault-off"]
    assert names[-1] == "heal"
    assert names.count("inject") == names.count("heal") == 1
    # What came back each time was the lab's doing.
    assert not [event for event in noted if event["name"] in ("foreign", "fault-unverified")]
    assert_as_before(before, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["isolate", "web", *TURNS], "what flaps needs --for"),
        (["isolate", "web", *TURNS, "--for", "2s"], "comes only once"),
        (["kill", "web", *TURNS, "--for", "9s"], "kill has no on_s"),
    ],
)
def test_what_cannot_flap_is_refused(stage_3: Lab, arguments: list[str], says: str) -> None:
    refused = stage_3("chaos", *arguments)
    assert refused.code == EXIT_USAGE
    assert says in refused.error_line


@night
def test_the_network_of_the_active_balancer_flaps(stage_5: Lab) -> None:
    trial = stage_5.safe_trial(5, "flap-lb-active")
    assert trial["targets"][0] in ("lb1", "lb2")


@night
def test_a_web_box_whose_network_flaps_is_not_missed(stage_3: Lab) -> None:
    before = settled(3, *BOXES)
    trial = stage_3.safe_trial(3, "flap-web")
    assert trial["targets"][0] in ("web1", "web2")
    assert_as_before(before, 3)
