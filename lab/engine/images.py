"""Images: which ones there are, and how they are built."""

from __future__ import annotations

import subprocess
from pathlib import Path

from docker.errors import NotFound

from lab.engine.api import DockerConnection, explained
from lab.engine.compose import builder_name
from lab.engine.engine import IMAGE_PREFIX, SOURCE_LABEL
from lab.errors import LabError, PreflightError
from lab.spec.stages import ROOT


class DockerImages(DockerConnection):
    """The images of the lab."""

    def image_source(self, name: str) -> str | None:
        """The digest of the files that an image of ours was built from; None where there is no such image."""
        with explained("look for the lab's images"):
            try:
                labels = self.api.inspect_image(IMAGE_PREFIX + name)["Config"].get("Labels") or {}
            except NotFound:
                return None
        return str(labels.get(SOURCE_LABEL, ""))

    def build_image(self, name: str, source: str, ca_bundle: Path | None) -> None:
        """Build an image of compose/NAME/Dockerfile. Raises LabError with the builder's last words."""
        command = [
            "docker",
            "buildx",
            "build",
            "--load",
            # The engine's own builder: others (docker-container) do not see images that are only here.
            "--builder",
            builder_name(),
            "--quiet",
            "--tag",
            IMAGE_PREFIX + name,
            "--label",
            f"{SOURCE_LABEL}={source}",
        ]
        command += ["--file", str(ROOT / "compose" / name / "Dockerfile")]
        # An option, not a must: only machines behind a proxy with its own certificate have one.
        command += ["--secret", f"id=ca,src={ca_bundle}"] if ca_bundle else []
        done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            tail = " / ".join(line.strip() for line in done.stderr.strip().splitlines()[-3:])
            raise LabError(
                f"building the image {name} failed: {tail}",
                "is there a network? behind a company proxy, set LAB_CA_BUNDLE to its certificate file",
            )

    def ensure_base_image(self) -> None:
        """Pull or make the base image. Raises LabError."""
        done = subprocess.run([str(ROOT / "scripts" / "ensure-base-image")], check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise PreflightError(
                "the base image could not be made (the reason is above)", "check the network, then 'lab build' again"
            )
