"""Wall clocks of boxes that are wrong: seen from outside, taken back whatever becomes of the lab, and what a failover makes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest

from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine
from lab.errors import EXIT_USAGE
from lab.process import wait_until
from lab.spec import stages
from lab.store.undo_log import UndoLog
from tests.integration.clusters import await_recovered
from tests.integration.driver import Lab, asked_of_monitor, container, docker, kill_after_note, longest

pytestmark = pytest.mark.docker
night = pytest.mark.night

NUMBER = 5
STAGE = stages.find("5")
BOXES = ("web1", "db1", "db2", "monitor")
KNOWN_S = 1.0
"""A box and another one are asked one after the other, and a web box says whole seconds."""
SEEN_WITHIN_S, KILLS = 3.0, 3
FAILOVER_MAX_S = 3.0
TRIGGERS = ("not_ahead", "runs_no_more", "restart_the_checks")


@pytest.fixture(scope="module")
def clocks(lab: Lab) -> Iterator[Lab]:
    """Stage 5 of the flavour whose clocks can be set."""
    lab.must("down", "--all", timeout_s=120)
    found = Lab({**lab.environment, "LAB_CLOCK": "yes"})
    found.must("up", str(NUMBER), timeout_s=900)
    await_recovered(DockerEngine(), STAGE, 60)
    yield found
    found.must("heal", timeout_s=240)
    found.must("down", "--all", timeout_s=120)


def off_s(service: str) -> float:
    """How far a box's clock is before the machine's: of a web box what it tells its users, else what its database says."""
    name = container(NUMBER, service)
    before = float(docker("exec", container(NUMBER, "internet"), "date", "+%s.%N"))
    if service.startswith("web"):
        head = docker("exec", name, "curl", "-sS", "-o", "/dev/null", "-D", "-", "http://127.0.0.1:8080/healthz")
        [stamp] = [line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("date:")]
        now = float(docker("exec", container(NUMBER, "internet"), "date", "--date", stamp, "+%s"))
    else:
        psql = (
            "psql",
            "-X",
            "-At",
            "-h",
            "/run/postgresql",
            "-U",
            "postgres",
            "-c",
            "SELECT extract(epoch FROM clock_timestamp())",
        )
        now = float(docker("exec", name, *psql))
    return now - before


def is_off(service: str, offset_s: float) -> bool:
    return abs(off_s(service) - offset_s) < KNOWN_S


def shown(service: str) -> str:
    return docker("exec", container(NUMBER, service), "lab-clock", "show")


def all_right() -> bool:
    return all(shown(service) == "+0" and is_off(service, 0.0) for service in BOXES)


# Without the flavour


def test_without_the_flavour_no_clock_is_set(stage_3: Lab) -> None:
    names = docker("ps", "--no-trunc", "--quiet", "--filter", "label=lab.stage=3")
    refused = stage_3("chaos", "clock", "web", "--step-s", "60")
    assert refused.code == EXIT_USAGE
    assert "its image is the ordinary one" in refused.error_line
    assert "LAB_CLOCK=yes" in refused.err
    refused = stage_3("run", "3", "clock-web")
    assert refused.code == EXIT_USAGE
    assert "no box of stage 3 has one of its own" in refused.error_line
    assert UndoLog().entries() == []
    assert docker("ps", "--no-trunc", "--quiet", "--filter", "label=lab.stage=3") == names
    # Ordinary images are without the library, whatever was built on them.
    for image in ("web", "postgres", "monitor"):
        assert "LD_PRELOAD" not in docker("image", "inspect", f"redundancy-lab/{image}", "--format", "{{json .Config.Env}}")


# With it


@night
def test_every_service_goes_by_the_clock_that_can_be_set(clocks: Lab) -> None:
    assert all_right()
    for service, process in (("web1", "gunicorn"), ("db1", "postgres"), ("db2", "postgres"), ("monitor", "postgres")):
        name = container(NUMBER, service)
        # Some of them end meanwhile, such as those that check others: of these nothing is read.
        maps = docker(
            "exec", name, "sh", "-c", f"for pid in $(pgrep -x {process}); do tr '\\n' ' ' < /proc/$pid/maps && echo; done; true"
        )
        found = [line for line in maps.splitlines() if line.strip()]
        assert found
        assert all("libfaketime" in line for line in found)


@night
@pytest.mark.parametrize("service", ["monitor", "web1", "db1", "db2"])
def test_a_clock_is_set_and_set_right_again(clocks: Lab, service: str) -> None:
    for step_s in (-3600, 60):
        clocks.must("chaos", "clock", f"service:{service}", "--step-s", str(step_s))
        assert wait_until(partial(is_off, service, step_s), SEEN_WITHIN_S), off_s(service)
        # The machine and the others keep theirs.
        assert all(is_off(other, 0.0) for other in BOXES if other != service)
        again = clocks("chaos", "clock", f"service:{service}", "--step-s", "60")
        assert again.code == EXIT_USAGE
        assert "is off already" in again.error_line
        clocks.must("heal")
        assert wait_until(all_right, SEEN_WITHIN_S)


@night
def test_a_clock_drifts_until_it_is_set_right(clocks: Lab) -> None:
    clocks.must("chaos", "clock", "service:web1", "--drift-percent", "50")
    first = float(shown("web1").split()[0])
    time.sleep(4)
    later = float(shown("web1").split()[0])
    assert later - first == pytest.approx(2.0, abs=0.8)
    assert is_off("web1", later)
    clocks.must("heal")
    time.sleep(2)
    assert all_right()


@night
def test_a_step_for_a_while_is_taken_back_by_itself(clocks: Lab) -> None:
    clocks.must("chaos", "clock", "monitor", "--step-s", "-60", "--for", "500ms")
    assert wait_until(all_right, SEEN_WITHIN_S)
    assert UndoLog().entries() == []


@night
def test_a_box_that_starts_again_is_right(clocks: Lab) -> None:
    docker("exec", container(NUMBER, "web1"), "lab-clock", "set", "+3600")
    docker("restart", container(NUMBER, "web1"))
    assert wait_until(lambda: shown("web1") == "+0", SEEN_WITHIN_S)
    await_recovered(DockerEngine(), STAGE, 60)


@night
def test_heal_finds_a_clock_that_was_set_past_the_lab(clocks: Lab) -> None:
    docker("exec", container(NUMBER, "db2"), "lab-clock", "set", "-3600")
    docker("exec", container(NUMBER, "web1"), "lab-clock", "drift", "-20")
    assert UndoLog().entries() == []
    said = clocks.must("heal").err
    assert "the clock of db2 was off (-3600): set right" in said
    assert "the clock of web1 was off" in said
    assert wait_until(all_right, SEEN_WITHIN_S)


@night
@pytest.mark.parametrize("how", [("--step-s", "-3600"), ("--drift-percent", "20")], ids=" ".join)
def test_heal_sets_clocks_right_however_early_the_controller_was_killed(clocks: Lab, lab: Lab, how: tuple[str, ...]) -> None:
    random, before = Random(" ".join(how)), docker("ps", "--no-trunc", "--quiet", "--filter", f"label=lab.stage={NUMBER}")
    for _ in range(KILLS):
        kill_after_note(clocks, ("chaos", "clock", "service:monitor,web1", *how, "--for", "30s"), random.uniform(0, 1))
        # Without the variable: what is up says of which flavour it is, and nothing of it is made anew.
        lab.must("heal")
        time.sleep(2)
        assert all_right()
        assert UndoLog().entries() == []
        assert docker("ps", "--no-trunc", "--quiet", "--filter", f"label=lab.stage={NUMBER}") == before


# What a failover makes of it


@night
def test_a_monitor_that_was_set_back_a_day_replaces_the_primary(clocks: Lab) -> None:
    trial = clocks.safe_trial(NUMBER, "clock-monitor")
    assert 0.3 < longest(trial, "write_outages") < FAILOVER_MAX_S
    assert all_right()


@night
def test_without_the_triggers_it_waits_until_its_clock_is_right(clocks: Lab) -> None:
    """What the triggers are for: seen on pg_auto_failover as it is."""
    for name in TRIGGERS:
        asked_of_monitor(NUMBER, f"ALTER TABLE pgautofailover.node DISABLE TRIGGER {name}")
    try:
        trial = clocks.valid_trial(NUMBER, "clock-monitor")
    finally:
        for name in TRIGGERS:
            asked_of_monitor(NUMBER, f"ALTER TABLE pgautofailover.node ENABLE TRIGGER {name}")
    lasted_s = trial["phases"]["heal_s"] - trial["phases"]["inject_s"]
    assert longest(trial, "write_outages") > lasted_s / 2


@night
@pytest.mark.parametrize("experiment", ["clock-primary", "clock-web"])
def test_other_clocks_cost_users_next_to_nothing(clocks: Lab, experiment: str) -> None:
    trial = clocks.safe_trial(NUMBER, experiment)
    assert longest(trial, "outages") < FAILOVER_MAX_S
    assert trial["writes_audit"]["lost"] == 0


@night
def test_nothing_lies_ahead_in_the_monitor(clocks: Lab) -> None:
    """Set back for a moment, and the instants that it keeps are not later than its clock."""
    ahead = "SELECT count(*) FROM pgautofailover.node WHERE greatest(reporttime, healthchecktime, statechangetime) > clock_timestamp()"
    clocks.must("chaos", "clock", "monitor", "--step-s", "-3600")
    assert wait_until(lambda: asked_of_monitor(NUMBER, ahead) == "0", SEEN_WITHIN_S)
    clocks.must("heal")


@night
def test_the_conditions_of_a_run_name_the_library(clocks: Lab, engine: Engine) -> None:
    _, document = clocks.run(NUMBER, "baseline")
    assert document["conditions"]["clock"] == "libfaketime"
    labels = json.loads(docker("inspect", container(NUMBER, "web1"), "--format", "{{json .Config.Labels}}"))
    assert labels["lab.clock"] == "libfaketime"
    assert {each.service for each in engine.boxes(NUMBER) if each.has_clock} == {"web1", "web2", "db1", "db2", "monitor"}
