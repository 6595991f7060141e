from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import ClassVar, cast

import pytest

from lab.cluster import images
from lab.cluster.images import SOURCES, build, outdated, source_digest
from lab.engine import image_tools
from lab.engine.engine import SOURCE_LABEL, Engine
from lab.engine.image_tools import ImageBuild
from lab.errors import DiskError, LabError, PreflightError, UsageError
from lab.spec import stages
from lab.spec.stages import ROOT


class FakeEngine:
    def __init__(self, built: dict[str, str]) -> None:
        self.built = built
        self.done: list[str] = []

    def image_source(self, name: str) -> str | None:
        return self.built.get(name)

    def architecture(self) -> str:
        return "arm64"

    def ensure_base_image(self) -> None:
        self.done.append("base image")


def an_engine(*built: str) -> tuple[FakeEngine, Engine]:
    fake = FakeEngine({name: source_digest(name) for name in built})
    return fake, cast(Engine, fake)


class FakeBuild:
    """Builds nothing: notes the name, and what was under way at that time."""

    engine: FakeEngine
    fails = ""
    at_once: ClassVar[set[str]] = set()
    most = 0
    ended: ClassVar[list[str]] = []
    remarks: ClassVar[list[str]] = []

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def run(self, heard: Callable[[str], None]) -> None:
        FakeBuild.at_once.add(self.name)
        FakeBuild.most = max(FakeBuild.most, len(FakeBuild.at_once))
        heard("1/2 RUN apt-get update")
        sleep(0.01)
        FakeBuild.at_once.discard(self.name)
        if self.name == FakeBuild.fails:
            raise LabError(f"building the image {self.name} failed")
        self.engine.done.append(self.name)
        self.engine.built[self.name] = self.source

    def end(self) -> None:
        FakeBuild.ended.append(self.name)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[FakeEngine, Engine]]:
    """An engine that has these images, and builders that only note what they would build."""
    monkeypatch.setattr(images, "ImageBuild", FakeBuild)
    FakeBuild.fails, FakeBuild.at_once, FakeBuild.most, FakeBuild.ended = "", set(), 0, []

    def make(*built: str) -> tuple[FakeEngine, Engine]:
        FakeBuild.engine, engine = an_engine(*built)
        return FakeBuild.engine, engine

    return make


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository in which every image has its folders."""
    monkeypatch.setattr(images, "ROOT", tmp_path)
    for folder in {folder for folders in SOURCES.values() for folder in folders}:
        (tmp_path / folder / "inner").mkdir(parents=True)
        (tmp_path / folder / "inner" / "file.txt").write_text(f"of {folder}\n")
    return tmp_path


def test_digest_changes_with_content_name_and_number_of_files(root: Path) -> None:
    file = root / "apps" / "web" / "inner" / "file.txt"
    seen = {source_digest("web")}
    file.write_text("other\n")
    seen.add(source_digest("web"))
    file.rename(file.with_name("renamed.txt"))
    seen.add(source_digest("web"))
    (root / "apps" / "web" / "more.txt").touch()
    seen.add(source_digest("web"))
    assert len(seen) == 4


def test_digest_is_that_of_the_files_and_nothing_else(root: Path) -> None:
    before = source_digest("web")
    web = root / "apps" / "web"
    for folder in ("tests", "__pycache__", ".cache"):
        (web / folder).mkdir()
        (web / folder / "file.py").write_text("nothing that is copied")
    (root / "apps" / "client" / "inner" / "file.txt").write_text("of another image")
    (web / "inner" / "file.txt").write_bytes(b"of apps/web\r\n")
    assert source_digest("web") == before


def test_change_in_a_base_outdates_what_is_built_on_it(root: Path) -> None:
    _, engine = an_engine(*SOURCES)
    assert outdated(engine) == []
    (root / "compose" / "postgres" / "inner" / "file.txt").write_text("other")
    assert outdated(engine) == ["postgres", "monitor", "box"]
    (root / "compose" / "base" / "inner" / "file.txt").write_text("other")
    assert outdated(engine) == list(SOURCES)


def test_missing_images_are_outdated_in_the_order_of_building(root: Path) -> None:
    _, engine = an_engine("web", "balancer")
    assert outdated(engine) == ["base", "postgres", "monitor", "box", "internet", "network", "wan", "watch"]


Builds = Callable[..., tuple[FakeEngine, Engine]]


def test_build_makes_only_what_is_outdated(root: Path, builds: Builds) -> None:
    fake, engine = builds("base", "web", "postgres", "monitor", "balancer", "network", "wan", "watch")
    messages: list[str] = []
    assert build(engine, messages.append) == ["box", "internet"]
    assert sorted(fake.done) == ["base image", "box", "internet"]
    assert messages == ["building 2 images: box, internet", "built 2 images in 0 s"]
    fake.done.clear()
    assert build(engine, messages.append) == []
    assert fake.done == []
    assert build(engine, messages.append, everything=True) == list(SOURCES)


def test_packages_of_another_version_are_said_once(root: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    _, engine = builds()
    messages: list[str] = []
    monkeypatch.setattr(FakeBuild, "remarks", [f"package{number} 2 (locked: 1)" for number in range(7)])
    build(engine, messages.append)
    warning = messages[-1]
    assert warning.startswith("warning: the mirror no longer has every locked version")
    assert [warning.count(f"package{number} 2 (locked: 1)") for number in range(7)] == [1, 1, 1, 1, 1, 0, 0]
    assert "and 2 more; 'make lock'" in warning


def test_an_image_is_built_after_those_that_it_is_built_on_and_two_at_once(root: Path, builds: Builds) -> None:
    fake, engine = builds()
    build(engine, lambda _: None)
    assert fake.done[:2] == ["base image", "base"]
    assert set(fake.done[1:]) == set(SOURCES)
    assert max(fake.done.index(name) for name in ("monitor", "box")) > fake.done.index("postgres")
    assert FakeBuild.most == 2


def test_after_a_failure_nothing_more_is_begun_and_what_runs_is_ended(root: Path, builds: Builds) -> None:
    fake, engine = builds()
    FakeBuild.fails = "base"
    with pytest.raises(LabError, match="building the image base failed"):
        build(engine, lambda _: None)
    assert fake.done == ["base image"]
    assert FakeBuild.ended == ["base"]


def test_only_what_a_stage_needs_is_built(builds: Builds) -> None:
    fake, engine = builds()
    first, third, seventh = (images.needed_by(stages.find(number)) for number in "137")
    assert first == ("base", "postgres", "box", "internet", "network")
    assert third == ("base", "web", "postgres", "balancer", "internet", "network", "watch")
    assert set(seventh) == set(SOURCES) - {"box"}
    assert set(images.needed_by(*stages.all_stages())) == set(SOURCES)
    build(engine, lambda _: None, first)
    assert set(fake.done) == {"base image", *first}


def test_a_stage_without_its_monitoring_box_needs_no_image_of_it() -> None:
    stage = stages.find("3")
    without = replace(stage, services=tuple(spec for spec in stage.services if spec.name != "watch"), left_out=("watch",))
    assert "watch" in images.needed_by(stage)
    assert "watch" not in images.needed_by(without)


def test_a_stage_is_made_from_its_own_images_only(root: Path) -> None:
    before = [images.fingerprint(stages.find(number)) for number in ("3", "7")]
    (root / "compose" / "wan" / "inner" / "file.txt").write_text("other")
    third, seventh = (images.fingerprint(stages.find(number)) for number in ("3", "7"))
    assert third == before[0]
    assert seventh != before[1]


def test_the_line_that_moves_says_how_far_it_is() -> None:
    lines: list[str] = []
    under_way = images.Builds(["web", "balancer"])
    under_way._steps = {"web": "2/5 RUN apt-get update"}
    lines.append(under_way.line())
    assert lines == ["  0 of 2 built, 0 s  web 2/5 RUN apt-get update"]


# Rooms without a network


def image_file(file: Path, found: dict[str, str], compressed: bool = False, architecture: str = "arm64") -> Path:
    """A file as `docker save` writes it; an image of an empty digest has no label, one of no architecture does not say it."""
    said = {"architecture": architecture} if architecture else {}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        manifest = []
        for tag, source in found.items():
            labels = {SOURCE_LABEL: source} if source else None
            add(f"{tag}.json", json.dumps({"config": {"Labels": labels}, **said}).encode())
            add(f"{tag}/layer.tar", b"x" * 300_000)
            manifest.append({"Config": f"{tag}.json", "RepoTags": [f"{tag}:latest"]})
        add("manifest.json", json.dumps(manifest).encode())
    file.write_bytes(gzip.compress(plain.getvalue(), 1) if compressed else plain.getvalue())
    return file


def ours(*names: str) -> dict[str, str]:
    return {f"redundancy-lab/{name}": source_digest(name) for name in names}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeEngine, Engine, list[Path]]:
    """An engine without images, and the files that were loaded into it."""
    files: list[Path] = []
    fake, engine = an_engine()

    def load(file: Path) -> None:
        files.append(file)
        fake.built |= {name: image.source for name, image in image_tools.images_in(file).items()}

    monkeypatch.setattr(image_tools, "load", load)
    return fake, engine, files


@pytest.mark.parametrize("compressed", [False, True])
def test_images_that_were_loaded_are_up_to_date(
    loaded: tuple[FakeEngine, Engine, list[Path]], tmp_path: Path, compressed: bool
) -> None:
    _, engine, files = loaded
    file = image_file(tmp_path / "lab.tar", ours(*SOURCES), compressed)
    assert images.load(engine, file, lambda _: None, SOURCES) == list(SOURCES)
    assert files == [file]
    assert outdated(engine) == []


def test_images_of_one_stage_are_enough_for_it(loaded: tuple[FakeEngine, Engine, list[Path]], tmp_path: Path) -> None:
    _, engine, _ = loaded
    needed = images.needed_by(stages.find("1"))
    file = image_file(tmp_path / "lab.tar", ours(*needed))
    with pytest.raises(UsageError, match="has no image web, monitor"):
        images.load(engine, file, lambda _: None, tuple(SOURCES))
    assert images.load(engine, file, lambda _: None, needed) == list(needed)


@pytest.mark.parametrize(
    ("found", "error", "said"),
    [
        ({"nginx": ""}, UsageError, "has images that are not the lab's: nginx"),
        ({"redundancy-lab/web": "0123456789abcdef"}, PreflightError, "built from other files than those here: web"),
        ({"redundancy-lab/web": ""}, PreflightError, "built from other files than those here: web"),
        ({}, UsageError, "has no image web"),
    ],
)
def test_a_file_of_other_images_is_refused_and_not_loaded(
    loaded: tuple[FakeEngine, Engine, list[Path]], tmp_path: Path, found: dict[str, str], error: type[LabError], said: str
) -> None:
    _, engine, files = loaded
    with pytest.raises(error, match=said):
        images.load(engine, image_file(tmp_path / "lab.tar", found), lambda _: None, ("web",))
    assert files == []


@pytest.mark.parametrize(("architecture", "named"), [("amd64", "amd64"), ("", "an unknown architecture")])
def test_a_file_for_other_processors_is_refused_and_not_loaded(
    loaded: tuple[FakeEngine, Engine, list[Path]], tmp_path: Path, architecture: str, named: str
) -> None:
    _, engine, files = loaded
    file = image_file(tmp_path / "lab.tar", ours(*SOURCES), architecture=architecture)
    with pytest.raises(PreflightError, match=f"has images for {named}, and the engine runs arm64") as error:
        images.load(engine, file, lambda _: None, SOURCES)
    assert "save them on a machine with arm64" in error.value.hint
    assert files == []


def test_a_file_that_is_none_is_refused(loaded: tuple[FakeEngine, Engine, list[Path]], tmp_path: Path) -> None:
    _, engine, files = loaded
    whole = image_file(tmp_path / "lab.tar", ours(*SOURCES), compressed=True).read_bytes()
    (tmp_path / "half.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tar").write_text("no archive")
    (tmp_path / "other.tar").write_bytes(b"")
    for name, said in (
        ("nowhere.tar", "there is no file"),
        ("half.tgz", "is no file of images, or is not whole"),
        ("text.tar", "is no file of images"),
        ("other.tar", "is no file of images"),
    ):
        with pytest.raises(UsageError, match=said):
            images.load(engine, tmp_path / name, lambda _: None, SOURCES)
    assert files == []


def test_what_is_not_up_to_date_is_not_saved(tmp_path: Path) -> None:
    _, engine = an_engine("base", "web")
    with pytest.raises(PreflightError, match="not built, or older than their files: network"):
        images.save(engine, tmp_path / "lab.tar", lambda _: None, ("base", "web", "network"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a `docker` first in the path that runs this shell script."""

    def make(script: str) -> None:
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return make


@pytest.mark.parametrize("name", ["lab.tar", "lab.tgz"])
def test_saved_images_are_those_that_were_asked_for(tmp_path: Path, docker: Callable[[str], None], name: str) -> None:
    docker('echo "$@"')
    _, engine = an_engine(*SOURCES)
    assert images.save(engine, tmp_path / name, lambda _: None, ("web", "base")) == ["base", "web"]
    content = (tmp_path / name).read_bytes()
    text = gzip.decompress(content) if name.endswith("gz") else content
    assert text == b"save redundancy-lab/base redundancy-lab/web\n"


def test_what_cannot_be_saved_leaves_no_file(tmp_path: Path, docker: Callable[[str], None]) -> None:
    docker("echo 'Error response from daemon: no such image' >&2; exit 1")
    _, engine = an_engine(*SOURCES)
    with pytest.raises(LabError, match="could not be saved: Error response from daemon: no such image"):
        images.save(engine, tmp_path / "lab.tar", lambda _: None, ("base",))
    with pytest.raises(DiskError, match="cannot be written"):
        images.save(engine, tmp_path / "nowhere" / "lab.tar", lambda _: None, ("base",))
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]


def test_a_full_disk_ends_it_and_leaves_no_file(tmp_path: Path, docker: Callable[[str], None]) -> None:
    docker("head -c 3000000 /dev/zero")

    def full(_bytes: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match="No space left") as error:
        image_tools.save(("base",), tmp_path / "lab.tar", full)
    assert "free some space" in error.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]


def test_an_engine_whose_disk_is_full_says_so(tmp_path: Path, docker: Callable[[str], None]) -> None:
    docker("echo 'write /layer.tar: no space left on device' >&2; exit 1")
    with pytest.raises(LabError, match=r"could not be loaded: write /layer\.tar: no space left") as error:
        image_tools.load(tmp_path / "lab.tar")
    assert "engine's disk" in error.value.hint


# The builder


def test_a_build_reports_its_steps_and_ends_with_the_last_words(docker: Callable[[str], None]) -> None:
    docker('[ "$1" = context ] && exit; echo "#7 [3/5] RUN  apt-get update" >&2; echo "#8 0.1 E: no network" >&2; exit 1')
    steps: list[str] = []
    with pytest.raises(LabError, match=r"building the image web failed: .*E: no network"):
        image_tools.ImageBuild("web", "1").run(steps.append)
    assert steps == ["3/5 RUN apt-get update"]


def test_a_build_notes_packages_of_another_version(docker: Callable[[str], None]) -> None:
    said = "lab-install: haproxy 3.0.12-1 (locked: 3.0.11-1)"
    docker(f'[ "$1" = context ] && exit; echo "#9 12.34 {said}" >&2; echo "#9 [2/3] RUN echo {said}" >&2')
    built = image_tools.ImageBuild("balancer", "1")
    built.run(lambda _: None)
    assert built.remarks == ["haproxy 3.0.12-1 (locked: 3.0.11-1)"]


def test_a_build_that_was_ended_before_does_not_begin(docker: Callable[[str], None]) -> None:
    docker("exit 0")
    ended = image_tools.ImageBuild("web", "1")
    ended.end()
    with pytest.raises(LabError, match="was given up"):
        ended.run(lambda _: None)


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("#7 [3/5] RUN apt-get update", "3/5 RUN apt-get update"),
        ("#12 [ 4/10] COPY apps/web /opt/web", "4/10 COPY apps/web /opt/web"),
        ("#7 1.234 Get:1 http://deb.debian.org trixie", ""),
        ("#1 [internal] load build definition from Dockerfile", ""),
    ],
)
def test_a_step_is_read(line: str, step: str) -> None:
    assert image_tools.step_of(line) == step


# The files


@pytest.mark.parametrize("name", SOURCES)
def test_dockerfile_takes_nothing_that_its_digest_does_not_cover(name: str) -> None:
    text = (ROOT / "compose" / name / "Dockerfile").read_text()
    (start,) = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    if start.startswith("redundancy-lab/"):
        base = start.removeprefix("redundancy-lab/")
        assert list(SOURCES).index(base) < list(SOURCES).index(name)
        assert set(SOURCES[base]) <= set(SOURCES[name])
    for copied in re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", text, re.MULTILINE):
        for path in copied.split():
            assert (ROOT / path).exists()
            assert any(path == folder or path.startswith(f"{folder}/") for folder in SOURCES[name])


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tools, "builder_name", lambda: "default")


@pytest.mark.usefixtures("no_docker")
@pytest.mark.parametrize("name", images.FLAVOURS)
def test_a_flavour_starts_from_the_ordinary_image_and_takes_nothing_that_its_digest_does_not_cover(name: str) -> None:
    plain, _, flavour = name.partition(":")
    text = (ROOT / "compose" / flavour / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["redundancy-lab/base", "redundancy-lab/${PLAIN}"]
    assert "compose/base" in SOURCES[plain]
    copied = re.findall(r"^COPY (?:--chmod=\d+ )?(compose/\S+) ", text, re.MULTILINE)
    assert copied
    assert all((ROOT / path).exists() and path.startswith(f"compose/{flavour}/") for path in copied)
    command = ImageBuild(name, "digest")._command()
    assert command[command.index("--tag") + 1] == f"redundancy-lab/{name}"
    assert command[command.index("--file") + 1] == str(ROOT / "compose" / flavour / "Dockerfile")
    assert command[command.index("--build-arg") + 1] == f"PLAIN={plain}"


@pytest.mark.usefixtures("no_docker")
@pytest.mark.parametrize("name", SOURCES)
def test_an_ordinary_image_is_built_from_its_own_folder_without_arguments(name: str) -> None:
    command = ImageBuild(name, "digest")._command()
    assert command[command.index("--file") + 1] == str(ROOT / "compose" / name / "Dockerfile")
    assert "--build-arg" not in command


def test_every_folder_with_a_dockerfile_is_an_image() -> None:
    flavours = {name.partition(":")[2] for name in images.FLAVOURS}
    assert {file.parent.name for file in (ROOT / "compose").glob("*/Dockerfile")} == {*SOURCES, *flavours}
