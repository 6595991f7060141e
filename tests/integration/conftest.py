"""Real Docker, real stages. Each command has a deadline; whatever happens, nothing of the lab is left."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine
from lab.errors import HealError
from lab.model.topology import Box, Stage
from lab.spec import stages
from lab.store.undo_log import UndoLog
from tests.integration.clusters import await_recovered
from tests.integration.driver import REPEATS, Lab

UP_TIMEOUT_S = 240.0
SETTLE_TIMEOUT_S = 60.0
STAGE_FIXTURES = ("nothing_up", "stage_1", "stage_2", "stage_3", "stage_4", "stage_4_automatic", "stage_5", "stage_6", "stage_7")
"""In the order in which their tests run: a stage is started once, and every test of it finds it up."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one stage stand together, whatever their file; those without Docker come first, then those of no stage."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    used = [place for place, name in enumerate(STAGE_FIXTURES, 2) if name in getattr(item, "fixturenames", ())]
    return max(used, default=1 if item.get_closest_marker("docker") else 0)


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what had to be measured again."""
    if REPEATS.measured:
        terminalreporter.write_line(str(REPEATS))


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
    assert not REPEATS.are_too_many, str(REPEATS)


@pytest.fixture(scope="session")
def engine() -> Engine:
    return DockerEngine()


Bring = Callable[[str], Lab]


@pytest.fixture
def bring(lab: Lab, engine: Engine) -> Bring:
    """Have a stage (3, 4:automatic) up, whole and unbroken: as the last test left it where that is so, else by 'lab up'."""

    def bring(selector: str) -> Lab:
        stage = stages.parse(selector)
        boxes = engine.boxes()
        if not _is_ready(engine, stage, boxes):
            if UndoLog().entries() or any(box.project == stage.project for box in boxes):
                lab("heal", timeout_s=UP_TIMEOUT_S)
            failover = ("--failover", stage.failover) if ":" in selector else ()
            lab.must("up", str(stage.number), *failover, "--stop-others", timeout_s=UP_TIMEOUT_S)
            await_recovered(engine, stage, SETTLE_TIMEOUT_S)
        return lab

    return bring


def _is_ready(engine: Engine, stage: Stage, boxes: Sequence[Box]) -> bool:
    """Whether every box of the stage runs and no other one, nothing is noted as broken, and it settles."""
    running = {box.service for box in boxes if box.project == stage.project and box.status == "running"}
    if UndoLog().entries() or running != {spec.name for spec in stage.services} or len(boxes) != len(running):
        return False
    try:
        await_recovered(engine, stage, SETTLE_TIMEOUT_S)
    except HealError:
        return False
    return True


@pytest.fixture
def stage_1(bring: Bring) -> Lab:
    return bring("1")


@pytest.fixture
def stage_2(bring: Bring) -> Lab:
    return bring("2")


@pytest.fixture
def stage_3(bring: Bring) -> Lab:
    return bring("3")


@pytest.fixture
def stage_4(bring: Bring) -> Lab:
    return bring("4")


@pytest.fixture
def stage_4_automatic(bring: Bring) -> Lab:
    return bring("4:automatic")


@pytest.fixture
def stage_5(bring: Bring) -> Lab:
    return bring("5")


@pytest.fixture
def stage_6(bring: Bring) -> Lab:
    return bring("6")


@pytest.fixture
def stage_7(bring: Bring) -> Lab:
    return bring("7")


@pytest.fixture
def nothing_up(lab: Lab) -> Lab:
    lab.must("down", "--all", timeout_s=120)
    return lab
