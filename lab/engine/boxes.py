"""Boxes: listed, broken, brought back, removed."""

from __future__ import annotations

import io
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

from docker.errors import NotFound

from lab.engine.api import DockerConnection, explained, first_line
from lab.engine.inspect import MemoryUse, box_of, memory_use_of, nanoseconds
from lab.errors import LabError, UsageError
from lab.model.history import LogLine
from lab.model.topology import INTERNET_ROLE, Box, MemoryLimit, Stage

GRACE_S = 10
"""What Docker gives a container that has no `stop_grace_period`."""


class DockerBoxes(DockerConnection):
    """The boxes of the lab, or of one foreign project."""

    def boxes(self, stage: int | None = None) -> list[Box]:
        """The boxes of a stage, or of all, in order of their names; whatever their state."""
        with explained("list the lab's containers"):
            found = [
                entry
                for labels in self.scope.filters(stage)
                for entry in self.api.containers(all=True, filters={"label": labels})
            ]
            details = [self.inspect(entry["Id"]) for entry in found if self.scope.owns(entry["Labels"])]
        return sorted((box_of(each, self.scope) for each in details if each), key=lambda box: (box.stage, box.service))

    def box(self, box: Box) -> Box | None:
        """The box as it is now; None when it is gone."""
        with explained(f"look at {box.service}"):
            details = self.inspect(box.id)
        return box_of(details, self.scope) if details else None

    def internet_box(self, stage: Stage) -> Box:
        """The box where users stand. Raises UsageError when the stage is not up."""
        for box in self.boxes(stage.number):
            if INTERNET_ROLE in box.roles:
                return box
        raise UsageError(f"stage {stage.number} is not up", f"'lab up {stage.number}' starts it")

    def kill(self, box: Box) -> None:
        """SIGKILL to everything in the box; Docker then leaves it dead."""
        self.act(box, "kill", self.api.kill)

    def start(self, box: Box) -> None:
        """Start the box again."""
        self.act(box, "start", self.api.start)

    def stop(self, box: Box) -> None:
        """Shut the box down gracefully, within the grace period of its Compose file; returns when it is down."""
        self.act(box, "stop", lambda which: self.api.stop(which, timeout=self._grace_s(which)))

    def restart(self, box: Box) -> None:
        """Shut the box down gracefully, within that period, and start it again."""
        self.act(box, "restart", lambda which: self.api.restart(which, timeout=self._grace_s(which)))

    def pause(self, box: Box) -> None:
        """Freeze every process of the box."""
        self.act(box, "pause", self.api.pause)

    def unpause(self, box: Box) -> None:
        """Let a frozen box go on."""
        self.act(box, "unpause", self.api.unpause)

    def resize(self, box: Box, cpus: float) -> None:
        """Give the box so much of a processor, from now on. Raises LabError."""
        self.act(box, "resize", lambda id_: _update(id_, cpus))

    def cpus(self, box: Box) -> float:
        """How much of the processors the box may use; 0: all of them."""
        with explained(f"look at {box.service}"):
            details = self.inspect(box.id) or {}
        return int(details.get("HostConfig", {}).get("NanoCpus") or 0) / 1e9

    def memory_limit(self, box: Box) -> MemoryLimit:
        """How much memory the engine has the box use at most, also when it starts again."""
        with explained(f"look at {box.service}"):
            said = (self.inspect(box.id) or {}).get("HostConfig", {})
        return MemoryLimit(int(said.get("Memory") or 0), int(said.get("MemorySwap") or 0))

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        """Let the box use so much memory, from now on. Raises LabError where the kernel cannot take back what is more."""
        given = {"mem_limit": limit.memory_bytes, "memswap_limit": limit.with_swap_bytes}
        self.act(box, "limit the memory of", lambda id_: self.api.update_container(id_, **given))

    def memory_use(self, box: Box) -> MemoryUse | None:
        """How much memory the box uses now; None where the engine does not say, as of one that does not run."""
        with explained(f"ask how much memory {box.service} uses"), suppress(NotFound):
            return memory_use_of(self.api.stats(box.id, stream=False, one_shot=True))
        return None

    def remove(self, box: Box) -> None:
        """Remove the box and its disks: nothing of it is left. Raises UsageError for a box of a foreign project."""
        if box.is_foreign:
            raise UsageError(f"{box.service} is not the lab's to remove", "its disk would be lost")
        with explained(f"look at {box.service}"):
            mounts = (self.inspect(box.id) or {}).get("Mounts", [])
        self.act(box, "remove", lambda id_: self.api.remove_container(id_, force=True, v=True))
        with explained(f"remove the disk of {box.service}"):
            for name in [mount["Name"] for mount in mounts if mount.get("Type") == "volume"]:
                with suppress(NotFound):  # an anonymous one went with the box
                    self.api.remove_volume(name)

    def put_file(self, box: Box, path: str, content: str) -> None:
        """Put a small text file into a box, which need not run."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(Path(path).name)
            data = content.encode()
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
        with explained(f"put a file into {box.service}"):
            self.api.put_archive(box.id, str(Path(path).parent), archive.getvalue())

    def logs(self, box: Box, lines: int = 5) -> str:
        """The last lines that a box printed."""
        with explained(f"read the log of {box.service}"):
            text: bytes = self.api.logs(box.id, tail=lines)
        return text.decode(errors="replace").strip()

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since a wall-clock instant (seconds), each line with when the engine read it."""
        with explained(f"read the log of {box.service}"):
            text: bytes = self.api.logs(box.id, timestamps=True, since=int(since_s))
        stamped = (line.split(" ", 1) for line in text.decode(errors="replace").splitlines() if " " in line)
        return [LogLine(box.service, at_ns, said) for stamp, said in stamped if (at_ns := nanoseconds(stamp))]

    def _grace_s(self, container_id: str) -> int:
        """How long a box may take to end. Said to the engine's client, too: it waits so much longer for an answer."""
        given = (self.inspect(container_id) or {}).get("Config", {}).get("StopTimeout")
        return GRACE_S if given is None else int(given)


def _update(container_id: str, cpus: float) -> None:
    # The library has no word for this limit.
    command = ["docker", "update", "--cpus", f"{cpus:g}", container_id]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"a box could not be resized: {first_line(done.stderr)}", "see 'lab doctor'")
