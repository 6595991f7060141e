"""What Docker Compose is asked: its version, a file as it reads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from lab.errors import PreflightError, UsageError
from lab.model.topology import CLOCK_TAG, Stage
from lab.process import last_line

COMPOSE_MIN = (2, 26)


def scale_options(stage: Stage) -> list[str]:
    """Options of `docker compose up` for what of a stage is not to be started."""
    return [word for name in stage.left_out for word in ("--scale", f"{name}=0")]


def other_images(stage: Stage) -> str:
    """What Compose is to read after the stage's file: the images that it does not name itself. Empty where there are none."""
    services = {spec.name: {"image": spec.image} for spec in stage.services if spec.image.endswith(CLOCK_TAG)}
    return json.dumps({"services": services}) if services else ""


def builder_name() -> str:
    """The CLI's context; the engine's own builder has its name."""
    done = subprocess.run(["docker", "context", "show"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "default"


def ca_bundle() -> Path | None:
    """The certificates that a build needs behind a proxy that signs with its own, where one is set."""
    for variable in ("LAB_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE"):
        path = os.environ.get(variable)
        if path and Path(path).is_file():
            return Path(path)
    return None


def compose_is_recent(version: str) -> bool:
    """Whether Compose is new enough for the stage files."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return bool(numbers) and tuple(int(number) for number in numbers.groups()) >= COMPOSE_MIN if numbers else False


def compose_config(file: Path, project: str = "") -> dict[str, Any]:
    """A Compose file as Compose itself reads it, with the name of the project; needs no engine.

    Raises UsageError with Compose's word for a file that is malformed, PreflightError where there is no Compose.
    """
    command = ["docker", "compose", *(["--project-name", project] if project else []), "--file", str(file)]
    try:
        done = subprocess.run(
            [*command, "config", "--format", "json"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise PreflightError("there is no 'docker' command", "install Docker's command line with its compose plugin") from error
    if done.returncode:
        raise UsageError(unreadable(file, last_line(done.stderr)), f"docker compose -f {file} config")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def unreadable(file: Path, said: str) -> str:
    """Compose's word for a file that it cannot read, with its line where the file's other errors have it: after the file."""
    located = re.fullmatch(r"(?:.*: )?yaml: line (\d+): (.*)", said)
    place, why = (f"{file}:{located[1]}", located[2]) if located else (str(file), said)
    return f"{place}: Docker Compose cannot read it: {why}"
