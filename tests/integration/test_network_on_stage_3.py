"""Network faults of a stage, through the command line: measured, healed, mended after a kill of the controller."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lab.engine.engine import Engine
from lab.errors import EXIT_HELD, EXIT_PREFLIGHT, EXIT_USAGE
from lab.faults.packets import TABLE_PREFIX
from tests.integration.driver import Lab, container, docker, left_over, reach

pytestmark = pytest.mark.docker
night = pytest.mark.night

ISOLATE_WEB = """\
title: A web box is cut off
question: What happens if a web box loses everybody?
fault: isolate
target: service:web1
fault_duration_s: 3
expect:
  downtime_longest_s: {at_most: 1.0}
  writes_lost: {at_most: 0}
"""
PARTITION_WEB = """\
title: A web box loses its database
question: What happens if one web box cannot reach the database?
fault: partition
target: service:web1
from: service:db
fault_duration_s: 30
expect:
  writes_lost: {at_most: 0}
"""


DISCONNECT_WEB = """\
title: A web box loses every cable
question: What happens if one web box is on no network?
fault: disconnect
target: service:web1
fault_duration_s: 30
expect:
  writes_lost: {at_most: 0}
"""


def clean(number: int, engine: Engine) -> bool:
    return all(left_over(box.id) == "" for box in engine.boxes(number))


def wiring(number: int, engine: Engine) -> dict[str, dict[str, str]]:
    """Of each box: its addresses, by network."""
    return {box.service: box.addresses for box in engine.boxes(number)}


def test_an_isolated_web_box_is_not_missed(stage_3: Lab, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "isolate-web.yaml"
    file.write_text(ISOLATE_WEB, encoding="utf-8")
    code, document = stage_3.valid_run(3, str(file))
    [trial] = document["trials"]
    assert code == EXIT_HELD, trial
    assert trial["targets"] == ["web1"]
    assert trial["served_by"]["web2"] > trial["served_by"].get("web1", 0)
    assert clean(3, engine)


@pytest.mark.parametrize(
    ("what", "fault"), [pytest.param(PARTITION_WEB, "partition", marks=night), (DISCONNECT_WEB, "disconnect")]
)
def test_a_controller_killed_under_a_network_fault_leaves_what_heal_mends(
    stage_3: Lab, engine: Engine, tmp_path: Path, what: str, fault: str
) -> None:
    wired = wiring(3, engine)
    file = tmp_path / f"{fault}-web.yaml"
    file.write_text(what, encoding="utf-8")
    process = stage_3.start("run", "3", str(file))
    reach(process, "observe")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert (clean(3, engine), wiring(3, engine) == wired) == ((False, True) if fault == "partition" else (True, False))
    assert f"{fault} of" in stage_3("status").err
    refused = stage_3("run", "3", "kill-web")
    assert refused.code == EXIT_PREFLIGHT
    assert "still in effect" in refused.error_line
    stage_3.must("heal")
    assert clean(3, engine)
    assert wiring(3, engine) == wired
    assert "nothing was broken" in stage_3.must("heal").err


def test_heal_connects_a_box_that_another_command_disconnected(stage_3: Lab, engine: Engine) -> None:
    wired = wiring(3, engine)
    docker("network", "disconnect", "redundancy-lab-3_app", container(3, "web1"))
    assert wiring(3, engine) != wired
    assert "web1 of stage 3 was off redundancy-lab-3_app: connected again" in stage_3.must("heal").err
    assert wiring(3, engine) == wired


def test_heal_removes_leftovers_without_a_note_in_the_undo_log(stage_3: Lab, engine: Engine) -> None:
    options = ["--rm", "--network", f"container:{container(3, 'web1')}", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]
    docker("run", *options, "redundancy-lab/network", "nft", f"table netdev {TABLE_PREFIX}lost {{}}")
    assert f"table {TABLE_PREFIX}lost in the network of web1" in stage_3.must("heal").err
    assert clean(3, engine)


@night
def test_partition_by_hand_for_a_while_heals_itself(stage_3: Lab, engine: Engine) -> None:
    done = stage_3.must("chaos", "partition", "all:web", "--from", "db", "--direction", "out", "--for", "1s")
    assert "gets no answer any more from db" in done.err
    assert clean(3, engine)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["partition", "web"], "partition needs from"),
        pytest.param(["partition", "web1", "--from", "web1"], "matches no box apart from web1", marks=night),
        pytest.param(["kill", "web", "--delay-ms", "5"], "kill has no delay_ms", marks=night),
        pytest.param(["loss", "web", "--loss-percent", "101"], "loss_percent must be a number from 1 to 100", marks=night),
        pytest.param(["isolate", "zone:a"], "matches no box", marks=night),
    ],
)
def test_bad_arguments_break_nothing(stage_3: Lab, engine: Engine, arguments: list[str], says: str) -> None:
    done = stage_3("chaos", *arguments)
    assert done.code == EXIT_USAGE
    assert says in done.error_line
    assert clean(3, engine)
