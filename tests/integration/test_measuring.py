"""The lab's figures against those of an independent prober."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.readiness import await_healthy
from lab.engine.engine import Engine
from lab.spec import stages
from tests.integration.clusters import cluster
from tests.integration.driver import ROUNDING_S, Lab, container, docker, longest, until_valid
from tests.integration.prober import Prober, killed_beside

pytestmark = pytest.mark.docker
night = pytest.mark.night

AGREEMENT_S = 0.15
"""A CI machine's two cores carry two loads here; on a quiet one the two agree within some 30 ms."""

ENGINE_OF_SETUP = Path("/run/redundancy-lab-dockerd.pid")
SHARES_OF_CONTAINERS = Path("/sys/fs/cgroup/cpu/docker/cpu.shares")
SHARES_OF_ONE = 1024


@pytest.mark.skipif(
    not (ENGINE_OF_SETUP.exists() and SHARES_OF_CONTAINERS.exists()), reason="not an engine that 'make setup' started"
)
def test_the_containers_come_before_the_engine_that_setup_started() -> None:
    assert int(SHARES_OF_CONTAINERS.read_text()) > 4 * SHARES_OF_ONE


def test_an_independent_prober_agrees_on_an_outage(stage_2: Lab, engine: Engine) -> None:
    def measure() -> tuple[Prober, dict[str, Any]]:
        measured = killed_beside(stage_2, 2, "web1", back_after_s=2)
        await_healthy(cluster(engine, stages.find("2")), ["web1"], 30)
        return measured

    prober, document = until_valid(measure)
    [trial] = document["trials"]
    # The prober reads.
    assert len(trial["read_outages"]) == len(prober.outages_s()) == 1
    assert longest(trial, "read_outages") == pytest.approx(prober.outage_s(), abs=AGREEMENT_S)
    assert trial["downtime_longest_s"] > longest(trial, "write_outages") - ROUNDING_S
    assert any("web1: die, not by this run" in note for note in trial["notes"])


@night
def test_an_independent_prober_agrees_that_nothing_happened(stage_3: Lab, engine: Engine) -> None:
    def measure() -> tuple[Prober, dict[str, Any]]:
        measured = killed_beside(stage_3, 3, "web1")
        docker("start", container(3, "web1"))
        await_healthy(cluster(engine, stages.find("3")), ["web1"], 30)
        return measured

    prober, document = until_valid(measure)
    [trial] = document["trials"]
    assert longest(trial, "read_outages") == pytest.approx(prober.outage_s(), abs=AGREEMENT_S)
    assert trial["reads"]["intended"] - trial["reads"]["good"] <= 3


@night
def test_known_outages_are_measured_right(nothing_up: Lab) -> None:
    done = nothing_up("selftest", "--rate", "100", "--repeats", "3", "--json", timeout_s=180)
    document = json.loads(done.out)
    assert done.code == 0, document
    assert {line["how"] for line in document["outages"]} == {"refused", "closed", "frozen"}
    assert document["closed_loop"]["failures"] < document["closed_loop"]["requests"] * 0.02
