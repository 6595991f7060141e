"""What is started, and what is waited for, on an engine that is only played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import images
from lab.cluster.lifecycle import ensure_up
from lab.engine.engine import EngineInfo
from lab.model.topology import WATCH_ROLE, Box
from lab.store import started as started_
from tests.unit.helpers import box, stage
from tests.unit.played import PlayedEngine

STAGE = stage()
UP = f"up {STAGE.project}"


@dataclass
class Starter(PlayedEngine):
    """An engine that can start stages."""

    def info(self) -> EngineInfo:
        return EngineInfo("28.0", "2.40.0", buildx=True, memory_mib=4000, processors=2, system="Linux")


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The services that were waited for by themselves; that the stage is whole is believed."""
    found: list[str] = []

    def await_healthy(_cluster: object, services: Sequence[str]) -> None:
        found.extend(services)

    monkeypatch.setattr("lab.cluster.readiness.await_healthy", await_healthy)
    monkeypatch.setattr("lab.cluster.readiness.await_recovered", lambda *_: None)
    monkeypatch.setattr("lab.cluster.images.build", lambda *_: [])
    monkeypatch.setattr("lab.cluster.preflight.check_start", lambda *_: None)
    monkeypatch.setattr("lab.cluster.preflight.check_no_open_faults", lambda *_: None)
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)
    started_.note_started(STAGE, images.fingerprint(STAGE))
    return found


def running(**watch: str) -> list[Box]:
    """All boxes of the stage, the watching one as it is said to be."""
    return [box(spec.name, spec.roles, **(watch if WATCH_ROLE in spec.roles else {})) for spec in STAGE.services]


def started(present: list[Box]) -> list[str]:
    engine = Starter(present)
    ensure_up(engine.cluster(STAGE), lambda _: None)
    return engine.done


@pytest.mark.parametrize("watch", [{}, {"health": "unhealthy"}, {"health": "starting"}, {"status": "paused"}])
def test_stage_is_used_as_it_is_whatever_ails_who_watches(watch: dict[str, str], waited: list[str]) -> None:
    assert started(running(**watch)) == []
    assert waited == []


def test_who_watches_is_started_again_and_not_waited_for(waited: list[str]) -> None:
    assert started(running(status="exited")) == [UP]
    assert started([each for each in running() if WATCH_ROLE not in each.roles]) == [UP]
    assert waited == []


def test_what_is_needed_is_started(waited: list[str]) -> None:
    assert started([each for each in running() if each.service != "web1"]) == [UP]
    assert waited == []


def test_fresh_stage_is_waited_for_with_who_watches(waited: list[str]) -> None:
    assert started([]) == [UP]
    assert set(waited) == {spec.name for spec in STAGE.services} > set(STAGE.needed)
