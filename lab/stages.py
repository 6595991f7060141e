"""The stage files: stages/N-name/compose.yaml, with what the lab needs to know under `x-lab`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lab import yamlfile
from lab.errors import UsageError
from lab.model import ServiceSpec, Stage

ROOT = Path(__file__).resolve().parent.parent
STAGES_FOLDER = ROOT / "stages"
PROJECT_PREFIX = "redundancy-lab-"


@cache
def all_stages() -> tuple[Stage, ...]:
    """Every stage that is there, in order. Raises UsageError for a stage file that is malformed."""
    return tuple(sorted((read(file) for file in STAGES_FOLDER.glob("*/compose.yaml")), key=lambda stage: stage.number))


def find(name: str) -> Stage:
    """The stage with this number or folder name. Raises UsageError."""
    stages = all_stages()
    for stage in stages:
        if name in (str(stage.number), stage.folder):
            return stage
    known = ", ".join(f"{stage.number} ({stage.folder})" for stage in stages)
    raise UsageError(f"there is no stage '{name}'", f"stages are {known}")


def read(file: Path) -> Stage:
    """The stage in a compose file. Raises UsageError naming file and line for what is missing or wrong."""
    document = yamlfile.load(file)
    about = _section(document, "x-lab")
    services = _section(document, "services")
    host, _, port = str(_need(about, "entry")).partition(":")
    try:
        return Stage(
            number=int(_need(about, "stage")),
            folder=file.parent.name,
            project=str(_need(document, "name")),
            file=file,
            title=str(_need(about, "title")),
            new=str(_need(about, "new")),
            spof=tuple(_need(about, "spof")),
            memory_mib=int(_need(about, "memory_mib")),
            entry=(host, int(port)),
            databases={str(name): str(address) for name, address in _section(about, "databases").items()},
            services=tuple(_service(name, _section(services, name)) for name in services),
            failover=str(about.get("failover", "none")),
        )
    except (TypeError, ValueError) as error:
        raise about.error("", f"x-lab is malformed: {error}") from error


def _service(name: str, body: yamlfile.Mapping) -> ServiceSpec:
    labels = {key: str(value) for key, value in _section(body, "labels").items()}
    return ServiceSpec(name=name, roles=tuple(labels.get("lab.role", "").split()), labels=labels)


def _need(mapping: yamlfile.Mapping, key: str) -> Any:
    if key not in mapping:
        raise mapping.error(key, f"'{key}' is missing")
    return mapping[key]


def _section(mapping: yamlfile.Mapping, key: str) -> yamlfile.Mapping:
    value = _need(mapping, key)
    if not isinstance(value, yamlfile.Mapping):
        raise mapping.error(key, f"'{key}' must be a mapping")
    return value
