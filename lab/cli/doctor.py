"""`lab doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial

import click
from rich.text import Text

from lab.cli.options import Output, json_option, pass_output
from lab.cluster import images, preflight
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine, EngineInfo
from lab.errors import LabError, PreflightError
from lab.model.topology import Stage
from lab.spec import stages
from lab.store.undo_log import UndoLog

Check = tuple[str, bool, str]
"""What was checked, whether it is fine, and a line about it."""


@click.command()
@click.option(
    "--stage", "stage_name", metavar="STAGE", help="Check for this stage (3, 4:automatic); without it, for the largest."
)
@json_option
@pass_output
def doctor(output: Output, stage_name: str | None, as_json: bool) -> None:
    """Check whether this machine is ready: tools, memory, ports, images."""
    stage = stages.parse(stage_name) if stage_name else None
    checks = list(_diagnose(stage))
    if as_json:
        output.document([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks])
    else:
        for name, ok, detail in checks:
            mark = ("ok   ", "green") if ok else ("FAIL ", "red")
            output.data.print(Text.assemble(mark, f"{name:<8} {detail}"), soft_wrap=True)
    if not all(ok for _, ok, _ in checks):
        raise PreflightError("this machine is not ready", "'make setup' installs what is missing on Debian and Ubuntu")


def _diagnose(stage: Stage | None) -> Iterable[Check]:
    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    try:
        engine = DockerEngine()
    except PreflightError as error:
        yield "engine", False, error.message
        return
    info = engine.info()
    yield "engine", True, f"Docker {info.version} on {info.system}, {info.processors} processors"
    yield _check("compose", f"Compose {info.compose_version}, buildx", lambda: preflight.check_tools(info))
    yield _memory(info, stage)
    if not engine.boxes():
        for variable in preflight.published(stage) if stage else preflight.PORTS:
            yield _check("port", f"{variable} is free", partial(preflight.check_port, variable))
    yield _images(engine, stage)
    yield _check("faults", "none in effect", lambda: preflight.check_no_open_faults(UndoLog()))


def _memory(info: EngineInfo, stage: Stage | None) -> Check:
    available = preflight.available_memory_mib(info)
    largest = stage or max(stages.all_stages(), key=lambda each: each.memory_mib)
    who = f"stage {largest.number}" if stage else "the largest stage"
    good = f"{available} MiB available, {who} takes {largest.memory_mib}"
    return _check("memory", good, lambda: preflight.check_memory(largest, available))


def _images(engine: Engine, stage: Stage | None) -> Check:
    """Missing ones are no failure: they are built when a stage starts."""
    missing = images.outdated(engine, images.needed_by(stage)) if stage else images.outdated(engine)
    number = f" {stage.number}" if stage else ""
    if missing:
        return "images", True, f"to be built: {', '.join(missing)} ('lab {'up' if stage else 'build'}{number}' builds them)"
    return "images", True, "all built from the files that are here"


def _check(name: str, good: str, look: Callable[[], None]) -> Check:
    try:
        look()
    except LabError as error:
        return name, False, f"{error.message} ({error.hint})"
    return name, True, good
