from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.cluster.preflight import (
    PORTS,
    available_memory_mib,
    check_memory,
    check_no_open_faults,
    check_no_other_load,
    check_other_stages,
    check_port,
    check_tools,
    front_door,
    published,
    watch_page,
)
from lab.engine.compose import compose_is_recent
from lab.engine.engine import EngineInfo, ExecResult
from lab.errors import EXIT_PREFLIGHT, PreflightError
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box, Stage
from lab.spec.stages import all_stages, find
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, db, replicated, stage
from tests.unit.played import PlayedEngine

INFO = EngineInfo(version="28.0", compose_version="2.40.0", buildx=True, memory_mib=4000, processors=2, system="Linux")


def info(compose_version: str = "2.40.0", buildx: bool = True) -> EngineInfo:
    return EngineInfo("28.0", compose_version, buildx, memory_mib=4000, processors=2, system="Linux")


def test_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("LAB_PORT", str(port))
        with pytest.raises(PreflightError, match=f"port {port} on 127.0.0.1 is taken") as caught:
            check_port("LAB_PORT")
        assert "LAB_PORT=" in caught.value.hint
        assert caught.value.exit_code == EXIT_PREFLIGHT
    check_port("LAB_PORT")


@pytest.mark.parametrize("value", ["", "http", "0", "65536", "-1", "80.80"])
def test_port_that_is_no_port(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LAB_PORT", value)
    with pytest.raises(PreflightError, match="LAB_PORT must be a port number"):
        check_port("LAB_PORT")


def test_front_door_is_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_PORT", raising=False)
    assert front_door() == "http://127.0.0.1:8080"
    monkeypatch.setenv("LAB_PORT", "9999")
    assert front_door() == "http://127.0.0.1:9999"


def test_pages_of_the_monitoring_are_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_WATCH_PORT", "9998")
    assert watch_page() == "http://127.0.0.1:9998/consoles/alerts.html"


def test_port_of_the_monitoring_is_wanted_where_a_stage_publishes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert published(find("1")) == ["LAB_PORT", "LAB_LOCUST_PORT"]
    assert "LAB_WATCH_PORT" in published(find("2"))
    monkeypatch.setenv("LAB_WATCH", "no")
    assert "LAB_WATCH_PORT" in published(find("2"))


@pytest.mark.parametrize("found", all_stages(), ids=lambda found: found.name)
def test_ports_that_are_looked_at_are_those_in_the_file(found: Stage) -> None:
    text = found.file.read_text(encoding="utf-8")
    assert published(found) == [variable for variable in PORTS if f"${{{variable}:-" in text]


def test_memory_must_suffice() -> None:
    check_memory(stage(memory_mib=400), 400)
    with pytest.raises(PreflightError, match="stage 3 needs 400 MiB, 399 MiB are available"):
        check_memory(stage(memory_mib=400), 399)


@pytest.mark.parametrize(
    ("meminfo", "cap", "available"),
    [
        ("MemTotal: 9000000 kB\nMemAvailable:    2048000 kB\n", "", 2000),
        ("MemTotal: 9000000 kB\nMemAvailable: 20480000 kB\n", "", 4000),
        ("MemTotal: 9000000 kB\n", "", 4000),
        ("MemAvailable: 2048000 kB\n", "300", 300),
        ("MemAvailable: 2048000 kB\n", "30000", 2000),
        (None, "", 4000),
    ],
)
def test_available_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meminfo: str | None, cap: str, available: int) -> None:
    monkeypatch.setenv("LAB_MEMORY_MAX_MIB", cap)
    if meminfo is not None:
        (tmp_path / "meminfo").write_text(meminfo)
    assert available_memory_mib(INFO, tmp_path / "meminfo") == available


@pytest.mark.parametrize("cap", ["lots", "-1", "1.5", "2 GiB"])
def test_malformed_memory_cap(monkeypatch: pytest.MonkeyPatch, cap: str) -> None:
    monkeypatch.setenv("LAB_MEMORY_MAX_MIB", cap)
    with pytest.raises(PreflightError, match=f"LAB_MEMORY_MAX_MIB must be a whole number, not '{cap}'"):
        available_memory_mib(INFO)


def other(service: str, number: int) -> Box:
    """A box of another stage."""
    return box(service, stage=number, project=f"redundancy-lab-{number}")


def test_another_stage_is_in_the_way() -> None:
    check_other_stages([], stage())
    check_other_stages([box(), box("selftest", stage=0, project="redundancy-lab-selftest")], stage())
    with pytest.raises(PreflightError, match="stage 1, 2 is up") as caught:
        check_other_stages([box(), other("box", 1), other("db", 2), other("web1", 2)], stage())
    assert "lab down 1" in caught.value.hint


def test_other_file_of_the_same_stage_is_in_the_way_too() -> None:
    """Both have the same addresses and the same front door."""
    check_other_stages([db("db1")], replicated())
    check_other_stages([db("db1", project="redundancy-lab-4-automatic")], automatic())
    for boxes, wanted in (([db("db1")], automatic()), ([db("db1", project="redundancy-lab-4-automatic")], replicated())):
        with pytest.raises(PreflightError, match="stage 4, from its other file, is up") as caught:
            check_other_stages(boxes, wanted)
        assert "--stop-others" in caught.value.hint


def test_open_fault_is_in_the_way(tmp_path: Path) -> None:
    ledger = UndoLog(tmp_path / "undo.jsonl")
    check_no_open_faults(ledger)
    entries = [ledger.open(Undo(UndoAction.START, "id", service, 3), "kill") for service in ("web1", "db")]
    with pytest.raises(PreflightError, match=r"still in effect: kill of web1 since .* and 1 more") as caught:
        check_no_open_faults(ledger)
    assert "lab heal" in caught.value.hint
    for entry in entries:
        ledger.close(entry)
    check_no_open_faults(ledger)


def test_tools_must_be_there_and_recent() -> None:
    check_tools(info())
    with pytest.raises(PreflightError, match=r"found 2\.25\.9"):
        check_tools(info("2.25.9"))
    with pytest.raises(PreflightError, match="found none"):
        check_tools(info(""))
    with pytest.raises(PreflightError, match="buildx"):
        check_tools(info(buildx=False))


@pytest.mark.parametrize(
    ("version", "recent"),
    [("2.26.0", True), ("v2.26.1", True), ("2.100", True), ("5.0.0", True), ("2.9.0", False), ("1.29.2", False), ("x", False)],
)
def test_compose_versions(version: str, recent: bool) -> None:
    assert compose_is_recent(version) is recent


def test_load_of_another_lab_is_waited_for_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was left behind ends by itself; one that stays belongs to another command."""
    monkeypatch.setattr("lab.cluster.preflight.LOAD_ENDS_S", 0.2)
    internet = box("internet", ("internet",))
    seen: list[str] = []

    def playing(*processes: str) -> PlayedEngine:
        left = list(processes)

        def answer(_box: Box, command: Sequence[str]) -> ExecResult:
            seen.append(command[-1])
            found = left.pop(0) if len(left) > 1 else left[0]
            return ExecResult(0 if found else 1, found)

        return PlayedEngine([internet, box(), box("internet", ("internet",), stage=4, status="exited")], answer=answer)

    with pytest.raises(PreflightError, match="a load is running on this engine") as caught:
        check_no_other_load(playing("41"))
    assert "'lab heal'" in caught.value.hint
    check_no_other_load(playing("41", "41", ""))
    check_no_other_load(playing(""))
    check_no_other_load(PlayedEngine([box()]))
    # Not the command that asks.
    assert set(seen) == {"client[.]generator"}
