"""Disks of a box's own: made before a stage is, broken and released by helpers, removed with the stage. decision 0035."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from docker.errors import NotFound

from lab.engine import disk as own
from lab.engine.api import explained
from lab.engine.boxes import DockerBoxes
from lab.engine.disk import DISK_LABEL, FILES_LABEL, SLOW_LABEL, Disk
from lab.engine.scope import STAGE_LABEL, is_ours
from lab.engine.shells import DockerShells, helper_options
from lab.engine.sidecar import Helper
from lab.errors import LabError, PreflightError, UsageError
from lab.model.topology import Box, Stage
from lab.process import last_line

NO_DISKS_HINT = "it needs loop devices and ext4 in the engine's kernel; unset LAB_DISKS, and all but the faults of a disk work"
LEFT_HINT = "'lab down --all' tries again; 'losetup --list' on the engine's machine shows what is attached"


class DockerDisks(DockerBoxes, DockerShells):
    """Volumes that are small disks, each with a file and a loop device."""

    def disks(self, project: str = "") -> tuple[Disk, ...]:
        """The disks that a project of the lab has (all of them have), whether they are attached or not."""
        return tuple(disk for labels in self._files(project) for disk in own.disks_of(labels))

    def own_disk(self, box: Box) -> Disk | None:
        """The disk of a box, and where the box has it; None where its volumes are folders of the engine's disk."""
        with explained(f"look at the disk of {box.service}"):
            mounts = (self.inspect(box.id) or {}).get("Mounts", [])
        paths = {each["Name"]: each.get("Destination", "") for each in mounts if each.get("Type") == "volume"}
        found = [disk for disk in self.disks(box.project) if disk.name in paths]
        # A volume of that name may be a plain one: what it is, its own label says.
        present = self._volumes() if found else {}
        return next((replace(disk, path=paths[disk.name]) for disk in found if present.get(disk.name) == disk.device), None)

    def make_disks(self, stage: Stage) -> None:
        """Say that every volume of a stage is to be such a disk: `restore_disks` makes them. Raises UsageError."""
        labels = own.files_labels(stage, self.identity)
        with explained("make disks"):
            self.api.create_volume(own.files_volume(stage.project), labels=labels)

    def restore_disks(self, project: str) -> None:
        """Make and attach what is missing of a project's disks, before Compose makes plain volumes; nothing where it has none.

        Raises PreflightError where this machine cannot.
        """
        for labels in self._files(project):
            disks = own.disks_of(labels)
            self._attach(disks)
            with explained("make disks"):
                for disk in disks:
                    self._make_volume(disk, labels[STAGE_LABEL])

    def remove(self, box: Box) -> None:
        """Remove the box and its disks; of a disk of its own what is on it goes too, and the next one is empty."""
        disk = self.own_disk(box)
        super().remove(box)
        if disk:
            self._detach([disk])

    def remove_disks(self, project: str = "") -> None:
        """Leave nothing of a project's disks (of all), which no box uses any more. Raises LabError."""
        for labels in self._files(project):
            disks = own.disks_of(labels)
            for disk in disks:
                self._remove_volume(disk.name)
            self._detach(disks)
            self._remove_volume(own.files_volume(labels[FILES_LABEL]))

    def at_disk(self, disk: Disk) -> Helper:
        """Start a helper that has this disk, and may fill and freeze it."""
        return self.helper([*_options(), *own.mount_options([disk])], f"helper at the disk of {disk.volume}")

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        """Start a helper that holds every write back for up to so long, until the disk is released. Raises LabError."""
        options = ["--detach", "--label", f"{SLOW_LABEL}={disk.name}", *_options(), *own.mount_options([disk])]
        done = self.have_helper(options, ["lab-disk", "stutter", disk.folder, f"{held_s:g}"])
        if done.exit_code:
            raise LabError(f"the disk of {disk.volume} could not be slowed down: {last_line(done.output)}")

    def release_disks(self, names: Sequence[str]) -> list[str]:
        """Let these disks take writes again, and give them space; returns what was wrong. Raises LabError.

        Disks that are gone need nothing. Docker would make a volume of a name that it does not know.
        """
        if not names:
            return []
        self._end_slow(names)
        present = self._volumes()
        disks = [disk for disk in self.disks() if disk.name in names and disk.name in present]
        if not disks:
            return []
        command = ["lab-disk", "release", *(disk.folder for disk in disks)]
        done = self.have_helper([*_options(), *own.mount_options(disks)], command)
        if done.exit_code:
            # After a restart of the machine no device is attached to its file.
            for project in sorted({disk.project for disk in disks}):
                self.restore_disks(project)
            done = self.have_helper([*_options(), *own.mount_options(disks)], command)
        if done.exit_code:
            raise LabError(f"the disks could not be released: {last_line(done.output)}", "'lab heal' tries again")
        return [line for line in done.output.splitlines() if line.strip()]

    def release_all(self) -> None:
        """Let every disk go on before something is removed, which would otherwise hang. Where that fails, the removal says why."""
        with suppress(LabError):
            self.release_disks([disk.name for disk in self.disks()])

    # Volumes

    def _files(self, project: str = "") -> list[dict[str, str]]:
        """The labels of the volumes that have files of disks."""
        with explained("look for disks"):
            found = self.api.volumes(filters={"label": [f"{FILES_LABEL}={project}" if project else FILES_LABEL]})["Volumes"] or []
        return [each["Labels"] for each in found if is_ours(each["Labels"])]

    def _volumes(self) -> dict[str, str]:
        """Every volume that is such a disk, and its device."""
        with explained("look for disks"):
            found = self.api.volumes(filters={"label": [DISK_LABEL]})["Volumes"] or []
        return {each["Name"]: each["Labels"][DISK_LABEL] for each in found if is_ours(each["Labels"])}

    def _make_volume(self, disk: Disk, stage_number: str) -> None:
        try:
            labels = self.api.inspect_volume(disk.name).get("Labels") or {}
        except NotFound:
            options = {**own.OPTIONS, "device": disk.device}
            self.api.create_volume(disk.name, driver="local", driver_opts=options, labels=own.volume_labels(disk, stage_number))
            return
        if labels.get(DISK_LABEL) != disk.device:
            raise UsageError(
                f"the volume {disk.name} is there already, and is no disk of its own", f"'lab down {stage_number}' first"
            )

    def _remove_volume(self, name: str) -> None:
        with explained(f"remove the volume {name}"), suppress(NotFound):
            self.api.remove_volume(name)

    # Loop devices

    def _attach(self, disks: Sequence[Disk]) -> None:
        done = self._at_devices(disks, "attach", str(own.SIZE_MIB))
        if done:
            raise PreflightError(f"no box can have a disk of its own here: {done}", NO_DISKS_HINT)

    def _detach(self, disks: Sequence[Disk]) -> None:
        done = self._at_devices(disks, "detach")
        if done:
            raise LabError(f"something is left of the disks: {done}", LEFT_HINT)

    def _at_devices(self, disks: Sequence[Disk], verb: str, *more: str) -> str:
        """What went wrong; empty where nothing did."""
        if not disks:
            return ""
        options = [*helper_options("none", "MKNOD"), *own.device_options(disks)]
        done = self.have_helper(options, ["lab-disk", verb, own.mark(self.identity), *more, *own.words(disks)])
        return last_line(done.output) if done.exit_code else ""

    def _end_slow(self, names: Sequence[str]) -> None:
        """End the helpers that slow these disks down; one may be killed while it holds writes back, which is released then."""
        with explained("release disks"):
            found = self.api.containers(all=True, filters={"label": [SLOW_LABEL]})
            for entry in found:
                if is_ours(entry["Labels"]) and entry["Labels"][SLOW_LABEL] in names:
                    self.remove_container(entry["Id"])


def _options() -> list[str]:
    """To freeze a file system takes SYS_ADMIN; to fill one whose folder is another user's, DAC_OVERRIDE."""
    return helper_options("none", "SYS_ADMIN", "DAC_OVERRIDE")
