"""Real Docker, real stages. Each command has a deadline; whatever happens, nothing of the lab is left."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine
from lab.spec import stages
from tests.integration.clusters import await_recovered
from tests.integration.driver import Lab


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The command line, with ports and results of its own; everything is down before and after."""
    lab = Lab(
        {
            "LAB_PORT": str(_free_port()),
            "LAB_LOCUST_PORT": str(_free_port()),
            "LAB_WATCH_PORT": str(_free_port()),
            "LAB_RESULTS": str(tmp_path_factory.mktemp("results")),
        }
    )
    lab.must("build", timeout_s=900)
    lab.must("down", "--all", timeout_s=120)
    yield lab
    lab.must("down", "--all", timeout_s=120)
    assert DockerEngine().leftovers() == []


@pytest.fixture(scope="session")
def engine() -> Engine:
    return DockerEngine()


@pytest.fixture(scope="module")
def stage_5(lab: Lab) -> Iterator[Lab]:
    lab.must("up", "5", "--replace", timeout_s=180)
    yield lab
    lab.must("down", "5")


@pytest.fixture
def redundant(stage_5: Lab, engine: Engine) -> Lab:
    await_recovered(engine, stages.find("5"))
    return stage_5


@pytest.fixture
def stage_3(lab: Lab) -> Lab:
    lab.must("up", "3", "--replace", timeout_s=120)
    return lab


@pytest.fixture
def stage_2(lab: Lab) -> Lab:
    lab.must("up", "2", "--replace", timeout_s=120)
    return lab


@pytest.fixture
def stage_1(lab: Lab) -> Lab:
    lab.must("up", "1", "--replace", timeout_s=120)
    return lab


@pytest.fixture
def nothing_up(lab: Lab) -> Lab:
    lab.must("down", "--all", timeout_s=120)
    return lab
