"""Every package that an image is built with is locked; `make lock` locks what the images here have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.cluster.images import FLAVOURS
from lab.errors import LabError
from lab.spec.stages import ROOT
from scripts import lock

DOCKERFILES = sorted((ROOT / "compose").glob("*/Dockerfile"))
LINE = re.compile(r"[a-z0-9][a-z0-9.+-]+ [\w.+:~-]+")
REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n")


def body(text: str) -> str:
    return re.sub(r"^#.*\n", "", text, flags=re.M)


# The files


def test_every_package_of_every_dockerfile_is_locked() -> None:
    assert {"haproxy", "keepalived", "postgresql-17", "libfaketime", "tini"} <= lock.named()
    assert lock.named() - lock.read(lock.PACKAGES.read_text(encoding="utf-8")).keys() == set()


def test_lock_has_each_package_once_in_order() -> None:
    lines = body(lock.PACKAGES.read_text(encoding="utf-8")).splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    names = [line.split()[0] for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_nothing_is_installed_past_the_locks(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"apt-get[^\n]*install|apt install", text)
    for line in re.findall(r"^.*\bpip install.*$", text, re.M):
        assert "--require-hashes -r /opt/client/requirements.lock" in line


def test_every_requirement_is_locked_by_digest() -> None:
    text = body(lock.REQUIREMENTS.read_text(encoding="utf-8"))
    assert re.sub(REQUIREMENT, "", text) == ""
    locked = set(re.findall(r"^\S+==\S+", text, re.M))
    wanted = body((ROOT / "apps" / "client" / "requirements.txt").read_text(encoding="utf-8")).split()
    assert wanted
    assert set(wanted) - locked == set()


# Reading the images


class Images:
    """Answers as `docker run` would; images that are not among these are not here."""

    def __init__(self, packages: Mapping[str, str]) -> None:
        self._packages = packages

    def __call__(self, image: str, *command: str) -> str:
        if image not in self._packages:
            raise LabError(f"no image {image}")
        assert command in (lock.QUERY, ("cat", lock.FLAVOUR_FILE))
        return self._packages[image]


BASE = {"debian:trixie-slim": "apt 3.0.3\nlibc6 2.41-12\n"}


def test_what_the_images_add_to_the_base_is_found() -> None:
    run = Images(
        {
            **BASE,
            # A security update of the base image's own packages is no matter of ours.
            "redundancy-lab/base": "apt 3.0.3\nlibc6 2.41-13\ntini 0.19.0-3\n",
            "redundancy-lab/web": "apt 3.0.3\ntini 0.19.0-3\ngunicorn 23.0.0-1\n",
        }
    )
    assert lock.in_images(run, ("base", "web")) == {"tini": "0.19.0-3", "gunicorn": "23.0.0-1"}


def test_images_of_two_kinds_are_not_locked() -> None:
    run = Images({**BASE, "redundancy-lab/web": "gunicorn 23.0.0-1\n", "redundancy-lab/box": "gunicorn 23.0.0-2\n"})
    with pytest.raises(LabError, match=r"gunicorn is 23\.0\.0-2 in the image box, and 23\.0\.0-1 in another one"):
        lock.in_images(run, ("web", "box"))


def test_an_image_that_is_not_here_is_not_passed_over() -> None:
    with pytest.raises(LabError, match="no image redundancy-lab/web"):
        lock.in_images(Images(BASE), ("web",))


def test_a_flavour_that_is_not_here_leaves_its_pin() -> None:
    assert lock.of_flavours(Images(BASE)) == {}
    found = lock.of_flavours(Images({f"redundancy-lab/{FLAVOURS[-1]}": "libfaketime 0.9.11\n"}))
    assert found == {"libfaketime": "0.9.11"}
    before = {"libfaketime": "0.9.10", "haproxy": "3.0.10", "gone": "1"}
    assert lock.locked({"haproxy": "3.0.11", "curl": "8"}, before) == {"curl": "8", "haproxy": "3.0.11", "libfaketime": "0.9.10"}
    assert lock.locked(found, before)["libfaketime"] == "0.9.11"


def test_packages_of_a_dockerfile_are_read_over_its_lines() -> None:
    text = "# lab-install nothing\nRUN apt-get -qq update \\\n && lab-install one two-2 \\\n && sed x \\\n && lab-install three\nRUN lab-install four\n"
    assert lock.asked_for(text) == {"one", "two-2", "three", "four"}


# PyPI


def test_digests_are_of_one_file_for_each_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def download(_hint: str, *command: str) -> str:
        asked.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / "some.whl").write_bytes(b"for arm" if "manylinux_2_28_aarch64" in command else b"for amd")
        return ""

    monkeypatch.setattr(lock, "said", download)
    found = lock.digests("locust==2.47.0", "3.13")
    assert found == {hashlib.sha256(content).hexdigest() for content in (b"for arm", b"for amd")}
    assert [command[-1] for command in asked] == ["locust==2.47.0"] * 2
    assert REQUIREMENT.fullmatch(lock.as_requirement("locust==2.47.0", found))


def test_what_fails_is_an_error_with_its_hint() -> None:
    with pytest.raises(LabError, match="sh failed: it is not there") as error:
        lock.said("look for it", "/bin/sh", "-c", "echo it is not there >&2; exit 1")
    assert error.value.hint == "look for it"
