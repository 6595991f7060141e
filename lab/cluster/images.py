"""Which images there are, and whether they are still those of the files they were built from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from lab.engine.compose import ca_bundle
from lab.engine.engine import Engine
from lab.model.topology import Stage
from lab.spec.stages import ROOT

# In order: the later ones start from earlier ones. For each, the folders that it is built from.
SOURCES: dict[str, tuple[str, ...]] = {
    "base": ("compose/base",),
    "web": ("compose/base", "compose/web", "apps/web"),
    "postgres": ("compose/base", "compose/postgres"),
    "monitor": ("compose/base", "compose/postgres", "compose/monitor"),
    "box": ("compose/base", "compose/postgres", "compose/box", "apps/web"),
    "balancer": ("compose/base", "compose/balancer"),
    "internet": ("compose/base", "compose/internet", "apps/client"),
    "network": ("compose/base", "compose/network"),
    "wan": ("compose/base", "compose/wan"),
    "watch": ("compose/base", "compose/watch"),
}


def source_digest(name: str) -> str:
    """A digest over the names and contents of all files that an image is built from."""
    digest = hashlib.sha256()
    for file in _files(name):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        # Line ends as in the repository, also on a checkout that changed them.
        digest.update(hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).digest())
    return digest.hexdigest()[:16]


def _files(name: str) -> Iterator[Path]:
    for folder in SOURCES[name]:
        for file in sorted((ROOT / folder).rglob("*")):
            parts = file.relative_to(ROOT).parts
            if file.is_file() and not {"__pycache__", "tests"} & set(parts) and not any(part.startswith(".") for part in parts):
                yield file


def fingerprint(stage: Stage) -> str:
    """A digest over a stage's file, what it was asked to be, and the sources of all images: what a running stage was made from."""
    parts = [
        stage.file.read_bytes(),
        stage.durability.encode(),
        " ".join(stage.left_out).encode(),
        *(source_digest(name).encode() for name in SOURCES),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def outdated(engine: Engine, among: Collection[str] = tuple(SOURCES)) -> list[str]:
    """The images (among these) that are missing or were built from other files, in the order of building."""
    return [name for name in SOURCES if name in among and engine.image_source(name) != source_digest(name)]


def build(
    engine: Engine, say: Callable[[str], None], everything: bool = False, among: Collection[str] = tuple(SOURCES)
) -> list[str]:
    """Build what is missing or outdated among these (or everything); returns what was built. Raises LabError."""
    names = list(SOURCES) if everything else outdated(engine, among)
    if names:
        engine.ensure_base_image()
    for number, name in enumerate(names, 1):
        say(f"building image {name} ({number} of {len(names)})")
        engine.build_image(name, source_digest(name), ca_bundle())
    return names
