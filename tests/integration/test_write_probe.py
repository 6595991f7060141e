"""A primary that accepts connections and takes no writes: 'lab status' says so, and where another database could take over, it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

import pytest

from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.model.topology import Stage
from lab.process import wait_until
from lab.spec import stages
from tests.integration.clusters import await_recovered, cluster, look
from tests.integration.driver import Lab, asked_of_monitor, container, docker, primary

pytestmark = pytest.mark.docker
night = pytest.mark.night

PAIR, ZONES = stages.find("5"), stages.find("6")
ARMED_S = 15.0
"""A box waits 5 s before it begins to write, and asks for nothing until it has written for 2 s."""
REPLACED_WITHIN_S = 15.0
"""Three refused writes are 1.5 s, a change-over is one or two; a busy machine takes longer."""
LEFT_ALONE_S = 8.0
STOOD_DOWN = "SELECT count(*) FROM public.stood_down"
JUST_NOW = "INSERT INTO public.stood_down VALUES ('another')"
FORGET = "DELETE FROM public.stood_down"
SPACE = "/var/lib/lab/write-probe"
TURNS = "SELECT count(*) FROM pgautofailover.event WHERE goalstate IN ('draining', 'prepare_promotion')"


def set_read_only(stage: Stage, service: str, command: str) -> None:
    """ALTER SYSTEM in a database, for all of its sessions."""
    base = (
        "exec",
        container(stage.number, service),
        "psql",
        "-X",
        "-q",
        "-h",
        "/run/postgresql",
        "-U",
        "postgres",
        "-d",
        "postgres",
    )
    docker(*base, "-c", f"ALTER SYSTEM {command}", "-c", "SELECT pg_reload_conf()")


@contextmanager
def read_only(stage: Stage, service: str) -> Iterator[None]:
    """A database that takes no writes, and answers."""
    set_read_only(stage, service, "SET default_transaction_read_only = on")
    try:
        yield
    finally:
        set_read_only(stage, service, "RESET default_transaction_read_only")


def status(lab: Lab, number: int) -> dict[str, Any]:
    [found] = json.loads(lab.must("status", str(number), "--json").out)["stages"]
    return {key: found[key] for key in ("serves", "serves_reads")}


def replaced(engine: Engine, stage: Stage, leader: str) -> str:
    """Who is the primary instead of another one, in time; empty where nobody is."""
    with cluster(engine, stage).observer() as observer:

        def heirs() -> list[str]:
            return [name for name in observer.latest().named(DatabaseState.PRIMARY) if name != leader]

        wait_until(lambda: bool(heirs()), REPLACED_WITHIN_S)
        return "".join(heirs())


def other(name: str) -> str:
    return {"db1": "db2", "db2": "db1"}[name]


def ready(engine: Engine, stage: Stage) -> str:
    """The primary of a stage that is whole, has written for a while, and in which nobody has stood down."""
    asked_of_monitor(stage.number, FORGET)
    sleep(ARMED_S)
    await_recovered(engine, stage)
    return primary(engine, stage)


def test_status_says_that_the_only_database_takes_no_writes(stage_3: Lab) -> None:
    assert status(stage_3, 3) == {"serves": True, "serves_reads": True}
    with read_only(stages.find("3"), "db"):
        assert status(stage_3, 3) == {"serves": False, "serves_reads": True}
    assert status(stage_3, 3) == {"serves": True, "serves_reads": True}


def assert_replaced(engine: Engine, stage: Stage) -> None:
    leader = ready(engine, stage)
    with read_only(stage, leader):
        assert replaced(engine, stage, leader)
        # It follows, though it is as it was.
        await_recovered(engine, stage)
        assert look(engine, stage).databases[leader] is DatabaseState.STANDBY
    assert asked_of_monitor(stage.number, STOOD_DOWN) == "1"


def test_a_primary_that_takes_no_writes_is_replaced(stage_5: Lab, engine: Engine) -> None:
    assert_replaced(engine, PAIR)


@night
def test_a_primary_of_three_that_takes_no_writes_is_replaced(stage_6: Lab, engine: Engine) -> None:
    assert_replaced(engine, ZONES)


@night
def test_a_primary_of_two_regions_that_takes_no_writes_is_replaced(stage_7: Lab, engine: Engine) -> None:
    assert_replaced(engine, stages.find("7"))


@night
def test_a_primary_is_replaced_when_a_while_has_passed_since_the_last_one_and_not_before(stage_5: Lab, engine: Engine) -> None:
    leader = ready(engine, PAIR)
    asked_of_monitor(5, JUST_NOW)
    turns = asked_of_monitor(5, TURNS)
    with read_only(PAIR, leader):
        sleep(LEFT_ALONE_S)
        assert asked_of_monitor(5, TURNS) == turns
        assert status(stage_5, 5) == {"serves": False, "serves_reads": True}
        assert replaced(engine, PAIR, leader) == other(leader)
        await_recovered(engine, PAIR)
    [box] = [each for each in engine.boxes(5) if each.service == leader]
    assert "within the last 20 s" in engine.logs(box, 200)


@night
def test_a_primary_that_nobody_could_replace_stays_and_answers_reads(stage_5: Lab, engine: Engine) -> None:
    leader = ready(engine, PAIR)
    stage_5.must("chaos", "kill", f"service:{other(leader)}")
    with read_only(PAIR, leader):
        sleep(LEFT_ALONE_S)
        assert status(stage_5, 5) == {"serves": False, "serves_reads": True}
        assert look(engine, PAIR).databases[leader] is DatabaseState.READ_ONLY
    assert asked_of_monitor(5, STOOD_DOWN) == "0"
    stage_5.must("heal")
    await_recovered(engine, PAIR)


@night
def test_commits_that_wait_for_lost_standbys_are_no_reason(stage_6: Lab, engine: Engine) -> None:
    leader = ready(engine, ZONES)
    standbys = ",".join(name for name in ZONES.databases if name != leader)
    stage_6.must("chaos", "pause", f"service:{standbys}")
    sleep(LEFT_ALONE_S)
    stage_6.must("heal")
    await_recovered(engine, ZONES)
    assert asked_of_monitor(6, STOOD_DOWN) == "0"
    assert primary(engine, ZONES) == leader


@night
def test_a_primary_on_a_full_disk_is_replaced(stage_5: Lab, engine: Engine) -> None:
    """The disk is this machine's, and is not filled: the probe's file leads to the device that is always full."""
    leader = ready(engine, PAIR)
    docker("exec", container(5, leader), "ln", "-sfn", "/dev/full", SPACE)
    try:
        assert replaced(engine, PAIR, leader) == other(leader)
        await_recovered(engine, PAIR)
    finally:
        docker("exec", container(5, leader), "rm", "-f", SPACE)


@night
def test_what_is_no_error_of_writing_is_no_reason(stage_5: Lab, engine: Engine) -> None:
    leader = ready(engine, PAIR)
    docker("exec", container(5, leader), "sh", "-c", f"rm -f {SPACE} && mkdir {SPACE}")
    try:
        sleep(LEFT_ALONE_S)
        assert primary(engine, PAIR) == leader
    finally:
        docker("exec", container(5, leader), "rmdir", SPACE)
    assert asked_of_monitor(5, STOOD_DOWN) == "0"
