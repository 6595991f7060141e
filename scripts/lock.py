"""The lock files: which versions an image is built with. `make lock` writes them, from what the images here have.

compose/base/packages.lock has the packages of Debian that lab-install added, apps/client/requirements.lock those of PyPI, with the
digests of their files. So: measure first, then lock what was measured; nothing is built for it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lab.cluster.images import FLAVOURS, SOURCES
from lab.engine.engine import IMAGE_PREFIX
from lab.errors import LabError
from lab.process import last_line
from lab.spec.stages import ROOT

PACKAGES = ROOT / "compose" / "base" / "packages.lock"
REQUIREMENTS = ROOT / "apps" / "client" / "requirements.lock"
BASE = "debian:trixie-slim"
PACKAGES_HEAD = "# What lab-install adds to the base image, in the versions that were measured. `make lock` writes this file.\n"
REQUIREMENTS_HEAD = "# What is in the internet box, as it was measured; each file by its digest. `make lock` writes this file.\n"
QUERY = ("dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n")
FLAVOUR_FILE = "/usr/local/lib/lab/libfaketime.version"
"""What a flavour has from a package that is only there while it is built."""
ARCHITECTURES = ("x86_64", "aarch64")
# pip does not know that who has a newer C library can use what is for an older one.
PLATFORMS = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_26",
    "manylinux_2_28",
    "manylinux_2_31",
    "manylinux_2_34",
    "manylinux_2_39",
)
NO_IMAGE = (
    "all images, as they were measured, and the base image must be here; 'lab build' makes them, 'lab images load' loads them"
)
NO_FILE = "check the network; a package without a wheel for each architecture cannot be locked"

Run = Callable[..., str]
Versions = dict[str, str]


def ask(image: str, *command: str) -> str:
    """What a program of an image says. Raises LabError."""
    program, *words = command
    return said(NO_IMAGE, "docker", "run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", program, image, *words)


def said(hint: str, *command: str) -> str:
    """What a command prints. Raises LabError with the hint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"{Path(command[0]).name} failed: {last_line(done.stderr)}", hint)
    return done.stdout


# Debian


def read(text: str) -> Versions:
    """`NAME VERSION` of each line that is no comment. Raises ValueError for any other line."""
    return dict(line.split() for line in text.splitlines() if line and not line.startswith("#"))


def in_images(run: Run, names: Iterable[str], base: str = BASE) -> Versions:
    """What the images have beyond the base image. Raises LabError where two have another version of the same."""
    found: Versions = {}
    there = read(run(base, *QUERY))
    for name in names:
        for package, version in read(run(IMAGE_PREFIX + name, *QUERY)).items():
            if package not in there and found.setdefault(package, version) != version:
                raise LabError(
                    f"{package} is {version} in the image {name}, and {found[package]} in another one",
                    "'lab build --all' builds them of one kind; then measure, and lock again",
                )
    return found


def of_flavours(run: Run) -> Versions:
    """What a flavour has of a package, from the first that is here; empty where none is: then the pin stays as it was."""
    for name in FLAVOURS:
        try:
            return read(run(IMAGE_PREFIX + name, "cat", FLAVOUR_FILE))
        except LabError:
            continue
    return {}


def named() -> set[str]:
    """Every package that a Dockerfile asks for."""
    return {
        package for file in (ROOT / "compose").glob("*/Dockerfile") for package in asked_for(file.read_text(encoding="utf-8"))
    }


def asked_for(dockerfile: str) -> set[str]:
    """What it has lab-install install."""
    commands = [
        part.split() for line in dockerfile.replace("\\\n", " ").splitlines() for part in line.removeprefix("RUN ").split("&&")
    ]
    return {package for words in commands if words[:1] == ["lab-install"] for package in words[1:]}


def locked(found: Mapping[str, str], before: Mapping[str, str]) -> Versions:
    """The new pins: what was found, and of what a Dockerfile names and no image here has, the pin of before."""
    asked = named()
    kept = {package: version for package, version in before.items() if package in asked}
    return dict(sorted({**kept, **found}.items()))


# PyPI


def digests(requirement: str, python: str) -> set[str]:
    """Of the files that pip takes for NAME==VERSION, one for each architecture. Raises LabError."""
    found = set()
    for architecture in ARCHITECTURES:
        platforms = [word for platform in PLATFORMS for word in ("--platform", f"{platform}_{architecture}")]
        with tempfile.TemporaryDirectory() as folder:
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python, *platforms, "--dest", folder]
            said(NO_FILE, sys.executable, "-m", "pip", "download", *options, requirement)
            found |= {hashlib.sha256(file.read_bytes()).hexdigest() for file in Path(folder).iterdir()}
    return found


def as_requirement(requirement: str, found: Iterable[str]) -> str:
    """As pip reads it."""
    return " \\\n    ".join([requirement, *(f"--hash=sha256:{digest}" for digest in sorted(found))]) + "\n"


def main() -> None:
    """Write both files."""
    packages = locked({**in_images(ask, SOURCES), **of_flavours(ask)}, read(PACKAGES.read_text(encoding="utf-8")))
    internet = f"{IMAGE_PREFIX}internet"
    python = ask(internet, "python3", "-c", "import sys; print(*sys.version_info[:2], sep='.')").strip()
    requirements = ask(internet, "/opt/venv/bin/python", "-m", "pip", "freeze").splitlines()
    text = "".join(as_requirement(each, digests(each, python)) for each in requirements)
    PACKAGES.write_text(PACKAGES_HEAD + "".join(f"{name} {version}\n" for name, version in packages.items()), encoding="utf-8")
    REQUIREMENTS.write_text(REQUIREMENTS_HEAD + text, encoding="utf-8")
    print(f"{len(packages)} packages in {PACKAGES.relative_to(ROOT)}, {len(requirements)} in {REQUIREMENTS.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")
