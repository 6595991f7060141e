"""Everything that is looked at before anything is started or broken."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lab.engine.compose import COMPOSE_MIN, compose_is_recent
from lab.engine.engine import Engine, EngineInfo
from lab.errors import PreflightError
from lab.model.topology import INTERNET_ROLE, Box, Stage
from lab.process import wait_until
from lab.store.undo_log import UndoLog

FRONT_DOOR_PORT = 8080
LOCUST_UI_PORT = 8089
WATCH_PORT = 8090
PORTS = {"LAB_PORT": FRONT_DOOR_PORT, "LAB_LOCUST_PORT": LOCUST_UI_PORT, "LAB_WATCH_PORT": WATCH_PORT}
LOAD_PATTERN = "client[.]generator"
LOAD_ENDS_S = 3.0
NO_OPEN_FAULTS_HINT = "'lab heal' takes it back"


def front_door() -> str:
    """The URL of the front door on this machine."""
    return f"http://127.0.0.1:{_port('LAB_PORT')}"


def locust_page() -> str:
    """The URL of Locust's page on this machine."""
    return f"http://127.0.0.1:{_port('LAB_LOCUST_PORT')}"


def watch_page() -> str:
    """The URL of the monitoring's page on this machine."""
    return f"http://127.0.0.1:{_port('LAB_WATCH_PORT')}/consoles/alerts.html"


def check_tools(info: EngineInfo) -> None:
    """Raise PreflightError when Compose or buildx is missing or too old."""
    needed = ".".join(map(str, COMPOSE_MIN))
    if not compose_is_recent(info.compose_version):
        raise PreflightError(
            f"Docker Compose {needed} or newer is needed, found {info.compose_version or 'none'}",
            "update Docker Desktop or the compose plugin",
        )
    if not info.buildx:
        raise PreflightError("the docker buildx plugin is missing", "update Docker Desktop, or install docker-buildx")


def check_start(engine: Engine, stage: Stage) -> None:
    """Raise PreflightError when this stage can't be started here and now."""
    info = engine.info()
    check_tools(info)
    check_other_stages(engine.boxes(), stage)
    check_memory(stage, available_memory_mib(info))
    for variable in published(stage):
        check_port(variable)


def published(stage: Stage) -> list[str]:
    """The variables of the ports that its file publishes: that of the monitoring also where its box is left out."""
    watched = bool(stage.left_out) or len(stage.needed) < len(stage.services)
    return [variable for variable in PORTS if watched or variable != "LAB_WATCH_PORT"]


def check_other_stages(boxes: Sequence[Box], stage: Stage) -> None:
    """Raise PreflightError when another stage is up: they use the same addresses and the same front door."""
    others = sorted({box.stage for box in boxes if box.stage and box.project != stage.project})
    if others:
        names = ", ".join(map(str, others)) if others != [stage.number] else f"{stage.number}, from its other file,"
        raise PreflightError(
            f"stage {names} is up, and stages share their addresses",
            f"'lab down {others[0]}' first, or 'lab up' with --stop-others",
        )


def check_memory(stage: Stage, available_mib: int) -> None:
    """Raise PreflightError when the stage needs more memory than there is."""
    if stage.memory_mib > available_mib:
        raise PreflightError(
            f"not enough memory: stage {stage.number} needs {stage.memory_mib} MiB, {available_mib} MiB are available",
            "close other programs or containers; Docker Desktop: Settings, Resources, Memory",
        )


def available_memory_mib(info: EngineInfo, meminfo: Path = Path("/proc/meminfo")) -> int:
    """What containers can still have: the engine's size or this machine's free memory, or LAB_MEMORY_MAX_MIB.

    Raises PreflightError when that variable is no number.
    """
    available = info.memory_mib
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        available = min(available, int(lines.get("MemAvailable", "0 kB").split()[0]) // 1024 or available)
    cap = os.environ.get("LAB_MEMORY_MAX_MIB", "")
    if cap and not (cap.isascii() and cap.isdigit()):
        raise PreflightError(f"LAB_MEMORY_MAX_MIB must be a whole number, not '{cap}'", "unset it, or give mebibytes")
    return min(available, int(cap)) if cap else available


def check_port(variable: str) -> None:
    """Raise PreflightError when the loopback port that this variable names can't be had."""
    port = _port(variable)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = port + 1000 if port + 1000 < 65536 else 18080
            raise PreflightError(
                f"port {port} on 127.0.0.1 is taken by another program",
                f"end that program, or choose another port: {variable}={other}",
            ) from error


def check_no_other_load(engine: Engine) -> None:
    """Raise PreflightError when a load runs that this command did not start: of a lab on another machine, which no lock here knows.

    One that was left behind ends by itself as soon as its input does, so that is waited for.
    """
    for box in [each for each in engine.boxes() if INTERNET_ROLE in each.roles and each.status == "running"]:
        if not wait_until(partial(_is_idle, engine, box), LOAD_ENDS_S):
            raise PreflightError(
                "a load is running on this engine that is not of this command",
                "does another user measure on it? wait for the end; 'lab heal' ends a load that was left behind",
            )


def _is_idle(engine: Engine, box: Box) -> bool:
    found = engine.run_in(box, ["pgrep", "-f", LOAD_PATTERN])
    return found.exit_code != 0 or not found.output.strip()


def check_no_open_faults(ledger: UndoLog) -> None:
    """Raise PreflightError when a fault of an earlier command is still in effect, or may be."""
    ledger.check_understood()
    entries = ledger.entries()
    if entries:
        first = entries[0]
        more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
        raise PreflightError(
            f"a fault is still in effect: {first.fault} of {first.undo.service} since {first.since}{more}", NO_OPEN_FAULTS_HINT
        )


def _port(variable: str) -> int:
    value = os.environ.get(variable, str(PORTS[variable]))
    if not (value.isascii() and value.isdigit()) or not 0 < int(value) < 65536:
        raise PreflightError(f"{variable} must be a port number, not '{value}'", f"unset it to have {PORTS[variable]}")
    return int(value)
