"""Images built, saved to a file and loaded from one: by the docker command, which knows how."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.engine.compose import builder_name, ca_bundle
from lab.engine.engine import IMAGE_PREFIX, SOURCE_LABEL
from lab.errors import DiskError, LabError, UsageError
from lab.process import last_line
from lab.spec.stages import ROOT

TAIL_LINES = 3
CHUNK_BYTES = 2**20
SMALL_BYTES = 2**18
"""What an image says of itself is smaller; its layers are not read."""
STEP = re.compile(r"#\d+ \[\s*(\d+)/(\d+)\] (.*)")
"""A step of the builder's plain output: `#7 [3/5] RUN apt-get update ...`."""

REMARK = re.compile(r"#\d+ [\d.]+ lab-install: (.*)")
"""A package that is not of the version that it is locked to (compose/base/lab-install)."""


@dataclass(frozen=True)
class SavedImage:
    """What an image in a file says of itself."""

    source: str
    """The digest of the files that it was built from; empty for one that is not the lab's."""
    architecture: str
    """Of the processors that it is for: amd64, arm64; empty where it does not say."""


class ImageBuild:
    """One build of the image NAME of compose/NAME/Dockerfile, or NAME:FLAVOUR of compose/FLAVOUR. Another thread may end it."""

    def __init__(self, name: str, source: str) -> None:
        """`source`: the digest of the files that it is built from; the image carries it as a label."""
        self._name = name
        self._source = source
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self.remarks: list[str] = []
        """Packages of another version than the locked one, of the steps that were really run."""

    def run(self, heard: Callable[[str], None]) -> None:
        """Build it; calls `heard` with each step. Raises LabError with the builder's last words."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with self._started() as process:
            assert process.stderr is not None
            for line in process.stderr:
                if text := step_of(line):
                    heard(text)
                if remark := REMARK.match(line):
                    self.remarks.append(remark[1].strip())
                if line.strip():
                    tail.append(line.strip())
        if process.returncode:
            raise LabError(
                f"building the image {self._name} failed: {' / '.join(tail)}",
                "is there a network? behind a company proxy, set LAB_CA_BUNDLE to its certificate file",
            )

    def end(self) -> None:
        """End the builder where it runs, and do not start it where it does not."""
        self._ended = True
        if self._process:
            self._process.terminate()

    def _started(self) -> subprocess.Popen[str]:
        if self._ended:
            raise LabError(f"building the image {self._name} was given up")
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        return self._process

    def _command(self) -> list[str]:
        command = ["docker", "buildx", "build", "--load", "--progress", "plain"]
        # The engine's own builder: others (docker-container) do not see images that are only here.
        command += ["--builder", builder_name(), "--tag", IMAGE_PREFIX + self._name]
        plain, _, flavour = self._name.partition(":")
        command += [
            "--label",
            f"{SOURCE_LABEL}={self._source}",
            "--file",
            str(ROOT / "compose" / (flavour or plain) / "Dockerfile"),
        ]
        command += ["--build-arg", f"PLAIN={plain}"] if flavour else []
        # An option, not a must: only who is behind a proxy with its own certificate has one.
        bundle = ca_bundle()
        return [*command, *(["--secret", f"id=ca,src={bundle}"] if bundle else []), str(ROOT)]


def step_of(line: str) -> str:
    """A step as the builder's plain output has it, in a few words; empty for any other line."""
    found = STEP.match(line)
    return f"{found[1]}/{found[2]} {' '.join(found[3].split())}" if found else ""


def save(names: Sequence[str], file: Path, heard: Callable[[int], None]) -> None:
    """Write images to a file that `load` reads, compressed where it is named .gz or .tgz; calls `heard` with the bytes so far.

    Raises LabError or DiskError, and leaves no half file then.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        _save(names, part, heard, compressed=file.suffix in (".gz", ".tgz"))
        part.replace(file)
    except OSError as error:
        raise DiskError.of(file, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _save(names: Sequence[str], part: Path, heard: Callable[[int], None], compressed: bool) -> None:
    command = ["docker", "save", *(IMAGE_PREFIX + name for name in names)]
    with (
        gzip.open(part, "wb", compresslevel=1) if compressed else part.open("wb") as out,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        done = 0
        while chunk := process.stdout.read(CHUNK_BYTES):
            out.write(chunk)
            heard(done := done + len(chunk))
        said = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise LabError(f"the images could not be saved: {last_line(said)}", "see 'lab doctor'")


def load(file: Path) -> None:
    """Load the images of a file. Raises LabError."""
    command = ["docker", "load", "--quiet", "--input", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = last_line(done.stderr)
        hint = "free some space on the engine's disk" if "no space left" in said else "see 'lab doctor'"
        raise LabError(f"the images of {file} could not be loaded: {said}", hint)


def images_in(file: Path) -> dict[str, SavedImage]:
    """The images in a file, by name. Raises UsageError for what is no such file."""
    try:
        with tarfile.open(file, "r|*") as archive:
            small = {
                member.name: _content(archive, member) for member in archive if member.isfile() and member.size <= SMALL_BYTES
            }
        manifest = json.loads(small["manifest.json"])
        return {_name(tag): _saved(small[entry["Config"]]) for entry in manifest for tag in entry["RepoTags"] or []}
    except (tarfile.TarError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is no file of images, or is not whole", "'lab images save FILE' writes one") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}", "'lab images save FILE' writes one") from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    return opened.read() if opened else b""


def _name(tag: str) -> str:
    return tag.removesuffix(":latest").removeprefix(IMAGE_PREFIX)


def _saved(config: bytes) -> SavedImage:
    said = json.loads(config)
    labels = said.get("config", {}).get("Labels") or {}
    return SavedImage(str(labels.get(SOURCE_LABEL, "")), str(said.get("architecture", "")))
