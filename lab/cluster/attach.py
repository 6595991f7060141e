"""A visit to a Compose project that is not the lab's: found as it runs, the internet box put into its network and taken out again."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lab import signals
from lab.cluster import images, readiness
from lab.engine.engine import Engine
from lab.engine.scope import FILES_LABEL
from lab.errors import PreflightError, UsageError
from lab.model.topology import Box, Page, Stage
from lab.spec.own_stack import Project

IMAGES = ("base", "internet")
Say = Callable[[str], None]


def boxes_of(engine: Engine, project: Project, is_named: bool) -> list[Box]:
    """The project's boxes, whatever their state; `engine` is visiting it.

    Raises UsageError where none runs, or where (unless the project was named on the command line) they were started from
    another file: two projects in folders of the same name have the same name.
    """
    boxes = [box for box in engine.boxes() if box.is_system]
    if not any(box.status == "running" for box in boxes):
        raise UsageError(f"no container of the project {project.name} is running", project.start_hint)
    for box in boxes:
        files = [each for each in box.labels.get(FILES_LABEL, "").split(",") if each]
        if files and not is_named and project.file.resolve() not in [Path(each).resolve() for each in files]:
            raise UsageError(
                f"{box.service} of the project {project.name} was started from {files[0]}, not from {project.file}",
                f"is it the one that is meant? then say so: --project {project.name}",
            )
    return boxes


def network_of(engine: Engine, project: Project, page: Page, boxes: Sequence[Box], wanted: str) -> str:
    """The network (as Docker calls it) from which users read the page: the one of the box that they reach.

    Raises UsageError for a host that is not in the project, or on several networks of which none is `wanted`.
    """
    networks = project.networks
    if wanted and wanted not in networks:
        raise UsageError(f"there is no network '{wanted}' in the project", f"its networks: {', '.join(networks) or 'none'}")
    found = _reached_from(engine, page.host, boxes)
    if not found:
        raise UsageError(
            f"no service or alias '{page.host}' in this project",
            f"boxes that can be reached: {', '.join(_reachable(boxes)) or 'none'}",
        )
    if wanted:
        if networks[wanted] not in found:
            raise UsageError(f"'{page.host}' is not on the network '{wanted}'", f"it is on {', '.join(found)}")
        return networks[wanted]
    if len(found) > 1:
        names = [name for name, full in networks.items() if full in found]
        raise UsageError(
            f"'{page.host}' is on {len(found)} networks; on which do its users stand?",
            f"say so in lab.yaml, with one of {', '.join(names or found)}: 'network: {(names or found)[0]}'",
        )
    return found[0]


def _reachable(boxes: Sequence[Box]) -> list[str]:
    return [box.service for box in boxes if box.status == "running" and box.addresses]


def _reached_from(engine: Engine, host: str, boxes: Sequence[Box]) -> list[str]:
    """The networks on which somebody has the name, or that have the address."""
    running = [box for box in boxes if box.status == "running"]
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        present = sorted({network for box in running for network in box.addresses})
        return [each for each in present if any(address in ipaddress.ip_network(subnet) for subnet in engine.subnets(each))]
    links = [(box, link) for box in running for link in engine.links(box) if link.network in box.addresses]
    return sorted({link.network for box, link in links if host in (box.service, *link.aliases)})


@contextmanager
def visiting(engine: Engine, stage: Stage, network: str, say: Say) -> Iterator[Engine]:
    """The internet box in the project's network, for as long as the context lasts; the page answers when it begins.

    Raises PreflightError where the page does not answer. The box is removed whatever happens, an interrupt waits for that.
    """
    images.build(engine, say, among=IMAGES)
    engine.end_visits(stage.project)  # one that a killed controller has left
    try:
        with signals.Deferred(lambda: say("one moment, please")):
            engine.visit(stage.project, network)
        check_answers(engine, stage)
        yield engine
    finally:
        with signals.Deferred(lambda: say("removing the internet box, please wait")):
            engine.end_visits(stage.project)


def check_answers(engine: Engine, stage: Stage) -> None:
    """Raise PreflightError, with what became of it, where the page is not answered as it should be."""
    assert stage.page is not None
    done = engine.run_in(engine.internet_box(stage), readiness.question(stage), timeout_s=readiness.ANSWER_TIMEOUT_S)
    if done.exit_code:
        said = (done.output.strip().splitlines() or ["no answer"])[-1]
        text = f" with '{stage.page.contains}' in it" if stage.page.contains else ""
        raise PreflightError(
            f"{stage.page.url} does not answer as it should: {said}",
            f"a good answer is 2xx{text}, from inside the project's network, at the port that the service itself has there",
        )
