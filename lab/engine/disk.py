"""A disk of a box's own, as names and numbers: a volume of Docker's that is ext4 in a file, on a loop device. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.engine.scope import PROJECT_LABEL, STAGE_LABEL
from lab.errors import UsageError
from lab.model.topology import Stage
from lab.spec.stages import PROJECT_PREFIX

DISK_LABEL = "lab.disk"
"""On a volume that is such a disk: its loop device."""
FILES_LABEL = "lab.disks"
"""On the volume with the files: the project whose disks they are."""
NAMES_LABEL, LOOP_LABEL = "lab.disks.volumes", "lab.disks.loop"
"""The volumes, by the names that the stage file gives them, and the number of the first loop device."""
SLOW_LABEL = "lab.disk.slow"
"""On the helper that slows a disk down: which disk."""
VOLUME_LABEL = "com.docker.compose.volume"
SIZE_MIB = 1024
"""A database needs 50 MB, its log 256 MB, and 512 MB more where a standby is missing; what is not used takes no space."""
# Programs of the machine take the lowest free device. These are far from there, and those of several engines on one machine apart.
FIRST_LOOP, SLOTS, DISKS_MAX = 1024, 300, 10
FOLDER = "/disks"
"""Where a helper has them."""
OPTIONS = {"type": "ext4", "o": "noatime,nobarrier"}
"""Without barriers: a flush would wait for the machine's disk, for which no box waits (decision 0002)."""


@dataclass(frozen=True)
class Disk:
    """A disk of a box's own."""

    project: str
    volume: str
    """By the name that the stage file gives it."""
    loop: int
    path: str = ""
    """Where its box has it; empty where that was not asked."""

    @property
    def name(self) -> str:
        """What Compose, and Docker, call the volume."""
        return f"{self.project}_{self.volume}"

    @property
    def device(self) -> str:
        """Its loop device."""
        return f"/dev/loop{self.loop}"

    @property
    def folder(self) -> str:
        """Where a helper has it."""
        return f"{FOLDER}/{self.name}"


def files_volume(project: str) -> str:
    """The volume that has the files of a project's disks."""
    return f"{PROJECT_PREFIX}disks-of-{project.removeprefix(PROJECT_PREFIX)}"


def files_labels(stage: Stage, engine_id: str) -> dict[str, str]:
    """The labels of the volume with the files: all that is to be known of a stage's disks, whatever becomes of its file.

    Raises UsageError for more volumes than there are devices for.
    """
    if len(stage.volumes) > DISKS_MAX:
        raise UsageError(
            f"stage {stage.number} has {len(stage.volumes)} volumes, and {DISKS_MAX} can be disks", "unset LAB_DISKS"
        )
    return {
        STAGE_LABEL: str(stage.number),
        # Not the stage's own project: Compose would take it for one of its volumes.
        PROJECT_LABEL: f"{PROJECT_PREFIX}disks",
        FILES_LABEL: stage.project,
        NAMES_LABEL: " ".join(stage.volumes),
        LOOP_LABEL: str(first_loop(engine_id, stage.project)),
    }


def disks_of(labels: Mapping[str, str]) -> tuple[Disk, ...]:
    """The disks whose files a volume with these labels has."""
    project, loop = labels.get(FILES_LABEL, ""), labels.get(LOOP_LABEL, "")
    names = labels.get(NAMES_LABEL, "").split() if project and loop.isdigit() else []
    return tuple(Disk(project, name, int(loop) + at) for at, name in enumerate(names))


def volume_labels(disk: Disk, stage_number: str) -> dict[str, str]:
    """The labels of a volume that is a disk: as Compose would label it, so that it takes it for its own, and the device."""
    return {
        STAGE_LABEL: stage_number,
        PROJECT_LABEL: disk.project,
        VOLUME_LABEL: disk.volume,
        DISK_LABEL: disk.device,
    }


def first_loop(engine_id: str, project: str) -> int:
    """The number of the first loop device of a project on an engine: always the same, also after a restart of the machine."""
    slot = int(hashlib.sha256(f"{engine_id} {project}".encode()).hexdigest()[:8], 16) % SLOTS
    return FIRST_LOOP + slot * DISKS_MAX


def mark(engine_id: str) -> str:
    """What tells the disks of this engine from those of another one on the same machine."""
    return hashlib.sha256(engine_id.encode()).hexdigest()[:8]


def words(disks: Sequence[Disk]) -> list[str]:
    """Disks as the helper reads them."""
    return [f"{disk.name}:{disk.loop}" for disk in disks]


# What a helper may do


def device_options(disks: Sequence[Disk]) -> list[str]:
    """Of the helper that attaches: it may make and use the loop devices of these disks and no other, and has their files."""
    rules = ["c 10:237 rwm", *(f"b 7:{disk.loop} rwm" for disk in disks)]
    mount = f"type=volume,src={files_volume(disks[0].project)},dst=/files,volume-nocopy=true"
    return [*(word for rule in rules for word in ("--device-cgroup-rule", rule)), "--mount", mount]


def mount_options(disks: Sequence[Disk]) -> list[str]:
    """Of the helper that breaks and releases: it has these disks, whatever became of their boxes."""
    mounts = [f"type=volume,src={disk.name},dst={disk.folder},volume-nocopy=true" for disk in disks]
    return [word for mount in mounts for word in ("--mount", mount)]
