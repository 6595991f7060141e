"""Which images there are, and whether they are still those of the files they were built from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from time import monotonic

from lab.cluster.live import live_line
from lab.engine import image_tools
from lab.engine.engine import HELPER_IMAGE, IMAGE_PREFIX, Engine
from lab.engine.image_tools import ImageBuild, SavedImage
from lab.errors import PreflightError, UsageError, shown
from lab.model.topology import CLOCK_TAG, Stage
from lab.spec.located_yaml import place
from lab.spec.stages import CLOCKED, ROOT, clock_is_wanted

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
FLAVOURS = tuple(image.removeprefix(IMAGE_PREFIX) + CLOCK_TAG for image in CLOCKED)
"""Images whose wall clock can be set. Each is built on the ordinary one, which it leaves as it is, and is asked for by LAB_CLOCK."""
EVERY = (*SOURCES, *FLAVOURS)
"""All that there can be, in the order of building."""
SHOWN_MAX = 5
"""Packages that a warning names."""


def wanted() -> tuple[str, ...]:
    """The images that are built where no stage is named: the ordinary ones, and with LAB_CLOCK=yes their flavours. Raises UsageError."""
    return EVERY if clock_is_wanted() else tuple(SOURCES)


def sources_of(name: str) -> tuple[str, ...]:
    """The folders that an image is built from."""
    plain, _, flavour = name.partition(":")
    return (*SOURCES[plain], f"compose/{flavour}") if flavour else SOURCES[plain]


def source_digest(name: str) -> str:
    """A digest over the names and contents of all files that an image is built from."""
    digest = hashlib.sha256()
    for file in _files(name):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        # Line ends as in the repository, also on a checkout that changed them.
        digest.update(hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).digest())
    return digest.hexdigest()[:16]


def _files(name: str) -> Iterator[Path]:
    for folder in sources_of(name):
        for file in sorted((ROOT / folder).rglob("*")):
            parts = file.relative_to(ROOT).parts
            if file.is_file() and not {"__pycache__", "tests"} & set(parts) and not any(part.startswith(".") for part in parts):
                yield file


def bases_of(name: str) -> set[str]:
    """An image and those that it is built on."""
    plain = name.partition(":")[0]
    return {name, *(folder.removeprefix("compose/") for folder in SOURCES[plain] if folder.startswith("compose/"))}


def needed_by(*stages: Stage) -> tuple[str, ...]:
    """The images that the files of these stages name, those that they are built on, and the helper's; in the order of building."""
    named = {spec.image.removeprefix(IMAGE_PREFIX) for stage in stages for spec in stage.services} & set(EVERY)
    every = set().union(*(bases_of(name) for name in {*named, HELPER_IMAGE}))
    return tuple(name for name in EVERY if name in every)


def fingerprint(stage: Stage) -> str:
    """A digest over a stage's file, what it was asked to be, and the sources of its images: what a running stage was made from."""
    parts = [
        stage.file.read_bytes(),
        stage.durability.encode(),
        " ".join(stage.left_out).encode(),
        *([b"own disks"] if stage.own_disks else []),
        *(f"{name} {source_digest(name)}".encode() for name in needed_by(stage)),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def outdated(engine: Engine, among: Collection[str] = tuple(SOURCES)) -> list[str]:
    """The images (among these) that are missing or were built from other files, in the order of building."""
    return [name for name in EVERY if name in among and engine.image_source(name) != source_digest(name)]


def build(
    engine: Engine, say: Callable[[str], None], among: Collection[str] = tuple(SOURCES), everything: bool = False
) -> list[str]:
    """Build what is missing or outdated among these (or all of them); returns what was built. Raises LabError."""
    names = [name for name in EVERY if name in among] if everything else outdated(engine, among)
    if not names:
        return []
    engine.ensure_base_image()
    since, under_way = monotonic(), Builds(names)
    say(f"building {_count(names)}: {', '.join(names)}")
    with live_line(say, under_way.line):
        under_way.finish()
    say(f"built {_count(names)} in {monotonic() - since:.0f} s")
    if under_way.remarks:
        say(_other_versions(sorted(under_way.remarks)))
    return names


def _other_versions(remarks: Sequence[str]) -> str:
    more = f" and {len(remarks) - SHOWN_MAX} more" if len(remarks) > SHOWN_MAX else ""
    return (
        f"warning: the mirror no longer has every locked version, so figures may differ from those in docs/: "
        f"{', '.join(remarks[:SHOWN_MAX])}{more}; 'make lock' locks what was built"
    )


# Rooms without a network


def save(engine: Engine, file: Path, say: Callable[[str], None], among: Collection[str]) -> list[str]:
    """Write these images to a file; returns their names. Raises PreflightError where one is not up to date, DiskError."""
    if missing := outdated(engine, among):
        raise PreflightError(f"not built, or older than their files: {', '.join(missing)}", "'lab build' builds them")
    names, written, since = [name for name in EVERY if name in among], [0], monotonic()
    line = partial(_saving, names, written, since)
    with live_line(say, line):
        image_tools.save(names, file, partial(written.__setitem__, 0))
    return names


def _saving(names: Collection[str], written: list[int], since: float) -> str:
    return f"  saving {_count(names)}: {written[0] / 2**20:.0f} MiB, {monotonic() - since:.0f} s"


def load(engine: Engine, file: Path, say: Callable[[str], None], among: Collection[str]) -> list[str]:
    """Load the images of a file; returns their names. Nothing is loaded that is not of the lab, of other files than those here, or
    for other processors than the engine's.

    Raises UsageError for a file that is none or has not all of `among`, PreflightError where they were built from other files
    or for another architecture.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {place(file)}", "'lab images save FILE' writes one")
    since = monotonic()
    with live_line(say, lambda: f"  loading, {monotonic() - since:.0f} s"):
        found = image_tools.images_in(file)
        _check_found(file, found, among)
        _check_architecture(file, found, engine.architecture())
        _check_sources(file, found)
        image_tools.load(file)
    if missing := outdated(engine, among):
        raise PreflightError(f"{place(file)} was loaded, and still not here: {', '.join(missing)}", "see 'docker image ls'")
    return [name for name in EVERY if name in found]


def _check_found(file: Path, found: Collection[str], among: Collection[str]) -> None:
    if strange := sorted(set(found) - set(EVERY)):
        raise UsageError(f"{place(file)} has images that are not the lab's: {shown(', '.join(strange))}", "nothing was loaded")
    if absent := [name for name in EVERY if name in among and name not in found]:
        raise UsageError(f"{place(file)} has no image {', '.join(absent)}", "save without --stage, or load with --stage")


def _check_architecture(file: Path, found: Mapping[str, SavedImage], wanted: str) -> None:
    """Raise PreflightError where an image is not for the engine's processors: it would not start, or be emulated and slow."""
    if other := sorted({image.architecture for image in found.values()} - {wanted}):
        named = ", ".join(shown(each) or "an unknown architecture" for each in other)
        raise PreflightError(
            f"{place(file)} has images for {named}, and the engine runs {wanted}",
            f"save them on a machine with {wanted}, or 'lab build' here; nothing was loaded",
        )


def _check_sources(file: Path, found: Mapping[str, SavedImage]) -> None:
    if other := [name for name, image in found.items() if image.source != source_digest(name)]:
        raise PreflightError(
            f"{place(file)} was built from other files than those here: {', '.join(other)}",
            "the same checkout on both machines; then save again",
        )


def _count(names: Collection[str]) -> str:
    return f"{len(names)} images" if len(names) > 1 else "1 image"


class Builds:
    """Images that are being built: at most two at once, each after those that it is built on."""

    AT_ONCE = 2

    def __init__(self, names: Collection[str]) -> None:
        self._waiting = list(names)
        self._total = len(names)
        self._built = 0
        self._steps: dict[str, str] = {}
        """Of each that is being built, the step that it is at."""
        self.remarks: set[str] = set()
        """Packages of another version than the locked one."""
        self._since = monotonic()

    def line(self) -> str:
        """How far it is, in a line."""
        steps = " · ".join(f"{name} {step}" for name, step in list(self._steps.items()))
        return f"  {self._built} of {self._total} built, {monotonic() - self._since:.0f} s  {steps}"

    def finish(self) -> None:
        """Build all. A failure or an interrupt ends those that are under way. Raises the first LabError."""
        running: dict[Future[None], tuple[str, ImageBuild]] = {}
        with ThreadPoolExecutor(self.AT_ONCE) as threads:
            try:
                while self._waiting or running:
                    for name in self._ready()[: self.AT_ONCE - len(running)]:
                        build = ImageBuild(name, source_digest(name))
                        running[self._begin(threads, name, build)] = (name, build)
                    for each in wait(running, return_when=FIRST_COMPLETED).done:
                        each.result()
                        name, build = running.pop(each)
                        del self._steps[name]
                        self._built += 1
                        self.remarks |= set(build.remarks)
            except BaseException:
                for _, build in running.values():
                    build.end()
                raise

    def _ready(self) -> list[str]:
        """Those that are built on nothing that is still to be built."""
        return [name for name in self._waiting if not (bases_of(name) - {name}) & {*self._waiting, *self._steps}]

    def _begin(self, threads: ThreadPoolExecutor, name: str, build: ImageBuild) -> Future[None]:
        self._waiting.remove(name)
        self._steps[name] = ""
        return threads.submit(build.run, partial(self._steps.__setitem__, name))
