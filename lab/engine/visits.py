"""Single containers of the lab outside a stage: the self-test, and the internet box in a foreign network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lab.engine.api import DockerConnection, explained
from lab.engine.engine import IMAGE_PREFIX
from lab.engine.inspect import box_of
from lab.engine.scope import FOREIGN_LABEL, PROJECT_LABEL, ROLE_LABEL, SERVICE_LABEL, STAGE_LABEL, is_ours
from lab.model.topology import FOREIGN, INTERNET_ROLE, Box
from lab.spec.stages import PROJECT_PREFIX

INTERNET_CPU_SHARES = 8192
"""As in the stage files: the load gets the processor first."""


class DockerVisits(DockerConnection):
    """Containers that come and go with a command."""

    @contextmanager
    def container(self, image: str, command: Sequence[str]) -> Iterator[Box]:
        """A container of its own, without a network, for as long as the context lasts (the self-test)."""
        labels = {STAGE_LABEL: "0", ROLE_LABEL: "internet", PROJECT_LABEL: PROJECT_PREFIX + "selftest", SERVICE_LABEL: "selftest"}
        created = self._create(image, command, labels, network_mode="none")
        try:
            yield self._started(created)
        finally:
            self.remove_container(created)

    def visit(self, project: str, network: str) -> Box:
        """Put an internet box into a network of a foreign project. Raises LabError, and leaves none then."""
        labels = {
            STAGE_LABEL: str(FOREIGN),
            ROLE_LABEL: INTERNET_ROLE,
            FOREIGN_LABEL: project,
            PROJECT_LABEL: PROJECT_PREFIX + "visit",
            SERVICE_LABEL: INTERNET_ROLE,
        }
        # Names of the project only, and at once: no other server is asked for a name that its network does not know.
        created = self._create(
            "internet", ["sleep", "infinity"], labels, network_mode=network, dns=["127.0.0.1"], cpu_shares=INTERNET_CPU_SHARES
        )
        try:
            return self._started(created)
        except BaseException:
            self.remove_container(created)
            raise

    def end_visits(self, project: str = "") -> int:
        """Remove the internet box from the networks of a project (of all that are not the lab's); returns how many there were."""
        with explained("remove the internet box"):
            found = self.api.containers(all=True, filters={"label": [f"{FOREIGN_LABEL}={project}" if project else FOREIGN_LABEL]})
            ours = [entry["Id"] for entry in found if is_ours(entry["Labels"])]
            for container_id in ours:
                self.remove_container(container_id)
        return len(ours)

    def _create(self, image: str, command: Sequence[str], labels: dict[str, str], **host: Any) -> str:
        with explained(f"create a container of {IMAGE_PREFIX}{image}"):
            config = self.api.create_host_config(cap_drop=["ALL"], pids_limit=256, mem_limit="512m", **host)
            # The observer reads it, also where there is no database to be asked.
            environment = {"AUDITOR_PASSWORD": ""}
            created = self.api.create_container(
                IMAGE_PREFIX + image, list(command), labels=labels, host_config=config, environment=environment
            )
        return str(created["Id"])

    def _started(self, container_id: str) -> Box:
        with explained("start a container"):
            self.api.start(container_id)
            details = self.inspect(container_id)
        assert details is not None
        return box_of(details, self.scope)
