"""The connection to Docker that the parts of the engine share: which containers it may touch, and errors of one line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from lab.engine.scope import ForeignScope, Scope
from lab.errors import LabError, PreflightError, UsageError
from lab.model.topology import Box
from lab.process import wait_until

API_TIMEOUT_S = 30
CONFLICT = 409
NO_ENGINE_HINT = "start Docker (Desktop: open it; Linux: 'systemctl start docker'), or run 'make setup' to have one installed"


class DockerConnection:
    """A Docker Engine that answers. Every failure to answer is a PreflightError or a LabError of one line."""

    scope = Scope()

    def __init__(self) -> None:
        """Raises PreflightError when no engine answers."""
        try:
            self.api = docker.from_env(timeout=API_TIMEOUT_S).api
            self.api.ping()
        except (DockerException, requests.RequestException, OSError) as error:
            raise PreflightError(f"no Docker Engine answers ({first_line(error)})", NO_ENGINE_HINT) from error

    @property
    def identity(self) -> str:
        """What tells this engine from every other one, whoever asks and from where. Raises PreflightError."""
        with explained("ask the engine what it is"):
            return str(self.api.info().get("ID", ""))

    def visiting(self, project: str, roles: Mapping[str, tuple[str, ...]] | None = None) -> Self:
        """The same engine, which sees and may touch this Compose project and the internet box in it, and nothing else."""
        other = copy.copy(self)
        other.scope = ForeignScope(project, roles or {})
        return other

    def act(self, box: Box, verb: str, call: Callable[[str], None]) -> None:
        """Do something to a box of ours. Raises UsageError for any other container, LabError."""
        with explained(f"{verb} {box.service}"):
            details = self.inspect(box.id)
            # Asked again at the last moment: what is broken is a container of ours, or nothing.
            if not details or not self.scope.owns(details["Config"]["Labels"]):
                raise UsageError(f"{box.service} is not a box of the lab (any more)", "see 'lab status'")
            call(box.id)

    def inspect(self, container_id: str) -> dict[str, Any] | None:
        """What Docker says of a container; None where there is none."""
        try:
            details: dict[str, Any] = self.api.inspect_container(container_id)
        except NotFound:
            return None
        return details

    def remove_container(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes, and wait until it is gone."""
        try:
            self.api.remove_container(container_id, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            # Another command is removing it: that will do.
            if error.status_code != CONFLICT:
                raise
        wait_until(lambda: self.inspect(container_id) is None, API_TIMEOUT_S)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of Docker as errors of the lab, with what was tried."""
    try:
        yield
    except APIError as error:
        raise LabError(
            f"Docker could not {what}: {first_line(error.explanation or error)}", "see 'lab status' and 'lab doctor'"
        ) from error
    except (DockerException, requests.RequestException) as error:
        raise PreflightError(
            f"the Docker Engine stopped answering (asked to {what}: {first_line(error)})", NO_ENGINE_HINT
        ) from error


def first_line(error: object) -> str:
    """The first line of an error, cut to 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
