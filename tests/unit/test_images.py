from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest

from lab.cluster import images
from lab.cluster.images import SOURCES, build, outdated, source_digest
from lab.engine.engine import Engine
from lab.spec.stages import ROOT


class FakeEngine:
    def __init__(self, built: dict[str, str]) -> None:
        self.built = built
        self.done: list[str] = []

    def image_source(self, name: str) -> str | None:
        return self.built.get(name)

    def ensure_base_image(self) -> None:
        self.done.append("base image")

    def build_image(self, name: str, source: str, ca_bundle: Path | None) -> None:
        self.done.append(name)
        self.built[name] = source


def an_engine(*built: str) -> tuple[FakeEngine, Engine]:
    fake = FakeEngine({name: source_digest(name) for name in built})
    return fake, cast(Engine, fake)


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


def test_build_makes_only_what_is_outdated(root: Path) -> None:
    fake, engine = an_engine("base", "web", "postgres", "monitor", "balancer", "network", "wan", "watch")
    said: list[str] = []
    assert build(engine, said.append) == ["box", "internet"]
    assert fake.done == ["base image", "box", "internet"]
    assert said == ["building image box (1 of 2)", "building image internet (2 of 2)"]
    fake.done.clear()
    assert build(engine, said.append) == []
    assert fake.done == []
    assert build(engine, said.append, everything=True) == list(SOURCES)


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


def test_every_folder_with_a_dockerfile_is_an_image() -> None:
    assert {file.parent.name for file in (ROOT / "compose").glob("*/Dockerfile")} == set(SOURCES)
