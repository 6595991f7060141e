"""A Compose project of one's own: what Compose, the lab.yaml beside it and the command line say of it, as a stage and an experiment.

Pure but for reading lab.yaml: what runs is asked in `lab.visit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.errors import UsageError, shown
from lab.model.experiment import Experiment
from lab.model.fault import FaultKind, Step
from lab.model.measures import MEASURES_OF_READS, Expectation
from lab.model.topology import FOREIGN, FOREIGN_FOLDER, HTTP_PORT, WATCH_ROLE, Box, Page, ServiceSpec, Stage
from lab.model.topology import is_system as is_of_the_system
from lab.spec import base, located_yaml
from lab.spec.expect import expectations
from lab.spec.experiment_keys import BASELINE_S, COOLDOWN_S, FAULT_DURATION_S
from lab.spec.own_stack_keys import OwnFile
from lab.spec.stages import PROJECT_PREFIX

FILE_NAME = "lab.yaml"
TOLERANCE_S = 1.0
"""For how long users may be without the service, where no bound is given."""
HAPPENS = {
    FaultKind.KILL: "is killed",
    FaultKind.STOP: "is shut down",
    FaultKind.PAUSE: "is frozen",
    FaultKind.DISCONNECT: "is cut off",
}
"""What may be done to boxes of a foreign stack: all of it can be taken back, and leaves nothing in them."""
NAME_MAX_CHARACTERS = 60
ANY_BOX = "random"


@dataclass(frozen=True)
class Project:
    """What Compose says of a file."""

    name: str
    file: Path
    services: tuple[str, ...]
    networks: Mapping[str, str] = field(default_factory=dict)
    """What Docker calls each of its networks, by their names in the file."""

    @property
    def start_hint(self) -> str:
        """How it is started; the lab does not."""
        return f"docker compose -p {self.name} -f {self.file} up -d"


@dataclass(frozen=True)
class Settings:
    """What lab.yaml says."""

    url: str = ""
    contains: str = ""
    network: str = ""
    """Where users stand, where the box that they reach is on several networks: its name in the Compose file."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The services that play each role."""
    baseline_s: float = BASELINE_S
    fault_duration_s: float = FAULT_DURATION_S
    cooldown_s: float = COOLDOWN_S
    expectations: tuple[Expectation, ...] = (Expectation("downtime_longest_s", TOLERANCE_S, None),)

    @property
    def roles_of(self) -> dict[str, tuple[str, ...]]:
        """The roles that each service plays."""
        services = {service for each in self.roles.values() for service in each}
        return {service: tuple(role for role, each in self.roles.items() if service in each) for service in sorted(services)}


def is_free(name: str) -> bool:
    """Whether a service or a role may be called so: some names mean a box of the lab's own, or any box at all."""
    return name != ANY_BOX and is_of_the_system([name])


def project_of(file: Path, said: Mapping[str, Any]) -> Project:
    """The project that Compose has read from a file. Raises UsageError for what is no project, or is the lab's."""
    name, services = str(said.get("name", "")), said.get("services")
    if not name or not isinstance(services, dict) or not services:
        raise UsageError(f"{file} has no services", "name the Compose file of the project that runs")
    if name.startswith(PROJECT_PREFIX):
        raise UsageError(f"{file} is a stage of the lab", "lab run STAGE EXPERIMENT, such as lab run 3 kill-web")
    # There is no observer on a visit: there the name of the monitoring box means nothing (lab.scope).
    if taken := [each for each in services if each != WATCH_ROLE and not is_free(each)]:
        raise UsageError(
            f"a service cannot be called '{taken[0]}' here: it means something else to the lab", "give it another name"
        )
    networks = {key: str((each or {}).get("name", key)) for key, each in (said.get("networks") or {}).items()}
    return Project(name, file, tuple(sorted(services)), networks)


def read_settings(file: Path, project: Project) -> Settings:
    """What a lab.yaml says of a project; what is usual, where there is no such file. Raises UsageError naming file and line."""
    if not _is_there(file):
        return Settings()
    document = located_yaml.load(file)
    found = base.read(OwnFile, document)
    settings = Settings(
        url=found.url or "",
        contains=found.contains or "",
        network=found.network or "",
        roles=_roles(document, found.roles, project),
        baseline_s=found.baseline_s,
        fault_duration_s=found.fault_duration_s,
        cooldown_s=found.cooldown_s,
    )
    if found.expect is None:
        return settings
    return replace(settings, expectations=expectations(document, found.expect, found.fault_duration_s, MEASURES_OF_READS))


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"{located_yaml.place(file)} is no file: {getattr(error, 'strerror', 'no such name')}") from error


def _roles(document: located_yaml.Mapping, roles: Mapping[str, list[str]], project: Project) -> dict[str, tuple[str, ...]]:
    found: located_yaml.Mapping = document.get("roles", document)
    for role, services in roles.items():
        if unknown := [each for each in services if each not in project.services]:
            raise found.error(role, f"there is no service '{shown(unknown[0])}' in {project.name}", _known(project))
        if (role in project.services and services != [role]) or re.search(r"[\s:,#]", role) or not is_free(role):
            raise found.error(role, f"'{shown(role)}' cannot be a role: it means something else already", "choose another name")
    return {role: tuple(services) for role, services in roles.items()}


def _known(project: Project) -> str:
    return f"services of {project.name}: {', '.join(project.services)}"


def page_of(url: str, contains: str) -> Page:
    """What is to be read. Raises UsageError for what is no http URL."""
    if not url:
        raise UsageError("which URL do users read?", "--url http://SERVICE:PORT/path, or 'url' in lab.yaml")
    try:
        parts = urlsplit(url)
        port = HTTP_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise UsageError(f"'{url}' is no URL: {error}", "--url http://SERVICE:PORT/path") from error
    if parts.scheme != "http" or not parts.hostname or parts.username is not None:
        raise UsageError(
            f"'{url}' is no plain http URL", "--url http://SERVICE:PORT/path: the port inside the network, without TLS"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (path.isascii() and path.isprintable() and " " not in path):
        raise UsageError(
            f"'{url}' has characters that a URL spells otherwise", "spell them with %, as a browser's address bar copies them"
        )
    return Page(parts.hostname, port, path, contains)


def stage_of(project: Project, page: Page, boxes: Sequence[Box]) -> Stage:
    """The project as a stage, whose boxes are those that run now: what has ended before is none of its business."""
    running = [box for box in boxes if box.is_system and box.status in ("running", "paused")]
    return Stage(
        number=FOREIGN,
        folder=FOREIGN_FOLDER + project.name,
        project=project.name,
        file=project.file,
        title=f"the project {project.name}",
        new="",
        spof=(),
        memory_mib=0,
        entry=(page.host, page.port),
        databases={},
        services=tuple(ServiceSpec(box.service, box.roles, box.labels) for box in running),
        page=page,
    )


def experiment_of(step: Step | None, settings: Settings) -> Experiment:
    """What is done: one fault, or none."""
    name, title, question = "baseline", "Nothing is broken", "What does a user see while nothing is broken?"
    if step:
        target = step.target.removeprefix("service:")
        name = re.sub(r"[^\w.-]+", "-", f"{step.fault}-{target}")[:NAME_MAX_CHARACTERS]
        names = target.split(",")
        happens = HAPPENS[step.fault] if len(names) == 1 else HAPPENS[step.fault].replace("is ", "are ", 1)
        what = f"{' and '.join(names)} {happens}"
        title, question = what, f"What happens if {what}?"
    return Experiment(
        name=name,
        title=title,
        question=question,
        steps=(step or Step(FaultKind.NONE, ""),),
        baseline_s=settings.baseline_s,
        fault_duration_s=settings.fault_duration_s,
        cooldown_s=settings.cooldown_s,
        expectations=settings.expectations,
    )


def check_target(target: str, project: Project, settings: Settings) -> None:
    """Raise UsageError unless a target names services of the project, or a role that lab.yaml gives to some.

    Nothing that means a box without naming it (random, all:ROLE, a label) is taken here.
    """
    form, colon, value = target.partition(":")
    if colon and form != "service":
        raise UsageError(
            f"'{target}' names no service", f"a service or a role by its name, or service:NAME,NAME; {_known(project)}"
        )
    for name in value.split(",") if colon else [target]:
        service = name.partition("#")[0]
        if service not in project.services and (colon or name not in settings.roles):
            roles = f"; roles: {', '.join(settings.roles)}" if settings.roles else ""
            raise UsageError(f"there is no service '{service}' in {project.name}", _known(project) + roles)


def check_runs(target: str, project: Project, boxes: Sequence[Box]) -> None:
    """Raise UsageError unless every box that a target names is running, and of the copies that a role means at least one."""
    _, colon, value = target.partition(":")
    for name in value.split(",") if colon else [target]:
        meant = [box for box in boxes if box.service == name or (not colon and name in box.roles)]
        if not meant:
            raise UsageError(f"'{name}' has no container in the project {project.name}{_copies(name, boxes)}", project.start_hint)
        down = [box for box in meant if box.status != "running"]
        if down and (colon or len(down) == len(meant)):
            raise UsageError(f"'{down[0].service}' is {down[0].status}, not running", project.start_hint)


def _copies(name: str, boxes: Sequence[Box]) -> str:
    """The other copies of a service whose first one is gone: they have numbers in their names."""
    found = [box.service for box in boxes if box.service.partition("#")[0] == name and box.status == "running"]
    return f"; its copies that run are {', '.join(found)}" if found else ""
