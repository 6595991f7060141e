"""The only place that talks to Docker: boxes, images, Compose. Touches nothing without our labels, or of a project that was named."""

from __future__ import annotations

import shutil
import subprocess

from lab.engine.api import explained
from lab.engine.engine import EngineInfo
from lab.engine.events import DockerEvents
from lab.engine.networks import DockerNetworks
from lab.engine.stages import DockerStages
from lab.engine.visits import DockerVisits
from lab.errors import PreflightError


class DockerEngine(DockerStages, DockerNetworks, DockerEvents, DockerVisits):
    """The engine of this machine: every part of it over one connection."""

    def info(self) -> EngineInfo:
        """Versions and size of the engine and its tools."""
        with explained("ask the engine what it is"):
            info = self.api.info()
        if shutil.which("docker") is None:
            raise PreflightError(
                "there is no 'docker' command", "install Docker's command line with its compose and buildx plugins"
            )
        compose = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=False)
        buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
        return EngineInfo(
            version=info.get("ServerVersion", ""),
            compose_version=compose.stdout.strip().removeprefix("v") if compose.returncode == 0 else "",
            buildx=buildx.returncode == 0,
            memory_mib=int(info.get("MemTotal", 0)) // 2**20,
            processors=int(info.get("NCPU", 0)),
            system=info.get("OperatingSystem", ""),
            kernel=info.get("KernelVersion", ""),
        )
