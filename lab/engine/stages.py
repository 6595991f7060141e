"""Stages by Docker Compose: started, removed, and whatever is left of them."""

from __future__ import annotations

import subprocess

from lab.engine.api import explained
from lab.engine.compose import other_images, scale_options
from lab.engine.disk import FILES_LABEL
from lab.engine.disks import DockerDisks
from lab.engine.scope import STAGE_LABEL, is_ours
from lab.errors import LabError, UsageError
from lab.model.topology import Stage


class DockerStages(DockerDisks):
    """Whole stages, and single services of them."""

    def up(self, stage: Stage, only: str = "") -> None:
        """Create and start what of a stage (or only this service) is not there or not running. Raises LabError."""
        self.restore_disks(stage.project)
        chosen = ["--no-deps", only] if only else scale_options(stage)
        self._compose(stage, "up", "--detach", "--no-build", "--pull", "never", *chosen)

    def create(self, stage: Stage) -> None:
        """Create what of a stage is not there, without starting it. Raises LabError."""
        self.restore_disks(stage.project)
        self._compose(stage, "up", "--no-start", "--no-build", "--pull", "never", *scale_options(stage))

    def down(self, stage: Stage) -> None:
        """Remove a stage's containers, networks and volumes. Nothing is kept, so nothing need stop gracefully."""
        self.release_all()
        self._compose(stage, "down", "--volumes", "--timeout", "0", "--remove-orphans")
        self.remove_disks(stage.project)

    def leftovers(self) -> list[str]:
        """Names of containers, networks and volumes with our labels, whatever made them."""
        filters = {"label": [STAGE_LABEL]}
        with explained("list what the lab has made"):
            containers = [
                (entry["Names"] or [entry["Id"]])[0].lstrip("/")
                for entry in self.api.containers(all=True, filters=filters)
                if is_ours(entry["Labels"])
            ]
            networks = [entry["Name"] for entry in self.api.networks(filters=filters) if is_ours(entry["Labels"])]
            volumes = [entry["Name"] for entry in self.api.volumes(filters=filters)["Volumes"] or [] if is_ours(entry["Labels"])]
        return [*containers, *networks, *volumes]

    def remove_leftovers(self) -> None:
        """Remove every container, network and volume with our labels, also of stages whose file is gone."""
        self.release_all()
        filters = {"label": [STAGE_LABEL]}
        with explained("remove what the lab has made"):
            for entry in self.api.containers(all=True, filters=filters):
                if is_ours(entry["Labels"]):
                    self.remove_container(entry["Id"])
            for entry in self.api.networks(filters=filters):
                if is_ours(entry["Labels"]):
                    self.api.remove_network(entry["Id"])
            for entry in self.api.volumes(filters=filters)["Volumes"] or []:
                # With the files of disks goes what is known of them: those are last.
                if is_ours(entry["Labels"]) and FILES_LABEL not in entry["Labels"]:
                    self.api.remove_volume(entry["Name"], force=True)
        self.remove_disks()

    def _compose(self, stage: Stage, *arguments: str) -> None:
        if stage.is_foreign:
            raise UsageError(f"{stage.place} is not the lab's to start or stop", f"docker compose -f {stage.file} up -d")
        images = other_images(stage)
        # The project by name: COMPOSE_PROJECT_NAME would outrank the file, and make a foreign project ours.
        command = [
            "docker",
            "compose",
            "--progress",
            "plain",
            "--project-name",
            stage.project,
            "--file",
            str(stage.file),
            *(["--file", "-"] if images else []),
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, input=images, start_new_session=True)
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            raise LabError(
                f"docker compose {arguments[0]} failed for stage {stage.number}: {lines[-1] if lines else 'no output'}",
                "run 'lab doctor'; with --debug the whole output is shown" if len(lines) < 2 else " / ".join(lines[-4:-1]),
            )
