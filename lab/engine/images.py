"""Images: which ones there are, and the one that they are built on."""

from __future__ import annotations

import subprocess

from docker.errors import NotFound

from lab.engine.api import DockerConnection, explained
from lab.engine.engine import IMAGE_PREFIX, SOURCE_LABEL
from lab.errors import PreflightError
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

    def architecture(self) -> str:
        """The processor architecture of the engine, in the words of images (amd64, arm64). Raises LabError."""
        with explained("ask the engine for its architecture"):
            return str(self.api.version()["Arch"])

    def ensure_base_image(self) -> None:
        """Pull or make the base image. Raises LabError."""
        done = subprocess.run([str(ROOT / "scripts" / "ensure-base-image")], check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise PreflightError(
                "the base image could not be made (the reason is above)", "check the network, then 'lab build' again"
            )
