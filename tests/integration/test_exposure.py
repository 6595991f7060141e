"""Nothing in reserve: what a trial says of it, and what plain Docker and SQL say who share nothing with the lab."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time

import pytest
from client.observer import PERIOD_S

from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.spec import stages
from tests.integration.clusters import look
from tests.integration.driver import Lab, container, docker

pytestmark = pytest.mark.docker

STAGE = stages.find("5")
AGREEMENT_S = 0.5
LATE_ROWS_TIMEOUT_S = 5
FOLLOWERS = """
    SELECT extract(epoch FROM clock_timestamp()), pg_is_in_recovery(),
           (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
"""
JUDGED = "SELECT extract(epoch FROM clock_timestamp()), reportedstate, health FROM pgautofailover.node WHERE nodename = '{name}'"


@dataclass
class Watched:
    """What a query said again and again, a row a tenth of a second: the instant on the wall clock, then the rest."""

    process: subprocess.Popen[str]
    rows: list[tuple[float, ...] | tuple[float, str, str]]

    def first(self, since_s: float, is_so: Callable[[str, str], bool]) -> float:
        """When it was so for the first time after an instant."""
        return next(float(row[0]) for row in self.rows if row[0] > since_s and is_so(str(row[1]), str(row[2])))


@contextmanager
def watching(service: str, database: str, query: str) -> Iterator[Watched]:
    """Ask again and again from within a box, by nothing but psql; the rows are there when the context ends."""
    command = ["docker", "exec", "-i", container(5, service), "psql", "-X", "-At", "-q", "-h", "/run/postgresql", "-d", database]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{query} \\watch 0.1\n")
    process.stdin.flush()
    found = Watched(process, [])
    try:
        yield found
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=LATE_ROWS_TIMEOUT_S)
        lines = [line.split("|") for line in out.splitlines()]
        found.rows += [(float(line[0]), line[1], line[2]) for line in lines if len(line) == 3]


def killed_at(service: str, since_s: float) -> float:
    """When Docker killed a box, on its wall clock. That the box is dead it says only when it has cleared it away."""
    options = ["--since", f"{since_s:.3f}", "--until", f"{time():.3f}", "--filter", f"container={container(5, service)}"]
    said = docker("events", *options, "--filter", "event=kill", "--format", "{{.TimeNano}}").splitlines()
    return int(said[0]) / 1e9


def test_databases_have_nothing_in_reserve_from_the_kill_until_the_standby_is_back(stage_5: Lab, engine: Engine) -> None:
    view = look(engine, STAGE)
    [old], [new] = view.named(DatabaseState.PRIMARY), view.named(DatabaseState.STANDBY)
    since_s = time()
    with (
        watching(new, "postgres", FOLLOWERS) as leader,
        watching("monitor", "pg_auto_failover", JUDGED.format(name=old)) as monitor,
    ):
        # Once: a second trial would kill the other one. That the machine was too busy for the load makes no difference here.
        [trial] = stage_5.run(5, "kill-primary")[1]["trials"]
    begun_s = killed_at(old, since_s)
    followed_s = leader.first(begun_s, lambda standing_by, followers: (standing_by, followers) == ("f", "1"))
    judged_s = monitor.first(begun_s + 1, lambda state, health: (state, health) == ("secondary", "1"))
    exposed_s = max(followed_s, judged_s) - begun_s
    assert trial["targets"] == [old]
    assert trial["without_redundancy_s"]["database"] == pytest.approx(exposed_s, abs=AGREEMENT_S)
    found = {each["tier"]: each for each in trial["exposure"]}
    assert (found["database"]["boxes"], found["database"]["working"], found["database"]["failures_tolerated"]) == (2, 1, 1)
    assert not found["database"]["censored"]
    inject_s, verified_s = trial["phases"]["inject_s"], trial["phases"]["verified_s"]
    assert inject_s < found["database"]["spans"][0][0] < verified_s + AGREEMENT_S
    # It is about the databases: every other tier had redundancy, but while no write was accepted.
    gone_s = sum(outage["end_s"] - outage["start_s"] for outage in trial["write_outages"])
    assert max(trial["without_redundancy_s"][tier] for tier in ("web", "balancer", "monitor")) <= gone_s + AGREEMENT_S


@pytest.mark.night
def test_a_tier_that_never_had_anything_in_reserve_says_so_and_a_report_without_docker_says_the_same(stage_1: Lab) -> None:
    trial = stage_1.valid_trial(1, "kill-box", "--duration", "4s")
    assert trial["without_redundancy_s"] == {"web": None, "database": None}
    assert trial["exposure_period_s"] == PERIOD_S
    assert said_again(stage_1) == trial["exposure"]


@pytest.mark.night
def test_of_two_web_boxes_one_is_in_reserve_until_the_other_is_killed(stage_3: Lab) -> None:
    trial = stage_3.valid_trial(3, "kill-web", "--duration", "4s")
    web_s, lasted_s = trial["without_redundancy_s"]["web"], trial["phases"]["heal_s"] - trial["phases"]["inject_s"]
    assert trial["without_redundancy_s"] == {"web": web_s, "database": None, "balancer": None}
    # From the fault until the box is back: 0.9 to 1.0 s after the healing.
    assert lasted_s - AGREEMENT_S < web_s < lasted_s + 2.0
    assert said_again(stage_3) == trial["exposure"]


def said_again(lab: Lab) -> list[dict[str, object]]:
    """What a report of the latest run, made where no Docker is, says of the exposure of its first trial."""
    done = lab("report", "latest", "--json", DOCKER_HOST="unix:///nowhere")
    assert done.code == 0, done.err
    found: list[dict[str, object]] = json.loads(done.out)["trials"][0]["exposure"]
    return found
