"""The pictures of the documents, made from kept runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.analysis import matrix as matrices
from lab.errors import PreflightError, UsageError
from lab.spec.stages import ROOT
from scripts import pictures
from scripts.pictures import Picture, make, read
from tests.unit.helpers import record
from tests.unit.reports import a_matrix
from tests.unit.test_figures import kept

PNG = b"\x89PNG\r\n"
# As Chromium is called, and what it leaves.
BROWSER = """#!/bin/sh
for each in "$@"; do case "$each" in --screenshot=*) printf '\\211PNG\\r\\n%s' "$*" >"${each#--screenshot=}" ;; esac; done
"""


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Chromium that is only played."""
    found = tmp_path / "bin" / "chromium"
    found.parent.mkdir()
    found.write_text(BROWSER, encoding="utf-8")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", f"{found.parent}:/usr/bin:/bin")
    return found


BY_HAND = {ROOT / "docs" / "images" / "three-figures.svg"}
"""A sketch of what words mean: it shows no measurement."""


def test_every_picture_of_the_documents_is_named_and_nothing_else() -> None:
    assert {each.path for each in read()} == set((ROOT / "docs" / "images").iterdir()) - BY_HAND
    said = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    shown = set(re.findall(r"\]\((?:docs/)?images/([\w.-]+)\)", said))
    assert shown == {each.path.name for each in read()} | {each.name for each in BY_HAND}


def test_a_drawing_needs_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = kept(tmp_path / "results", record((2.0, 3.0)))
    make(Picture(tmp_path / "strip.svg", run, None))
    assert (tmp_path / "strip.svg").read_text(encoding="utf-8").startswith("<svg")
    (tmp_path / "page.png").write_bytes(b"as it was")
    with pytest.raises(PreflightError, match="no Chromium is installed"):
        make(Picture(tmp_path / "page.png", run, None))
    assert (tmp_path / "page.png").read_bytes() == b"as it was"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_photographed(tmp_path: Path, browser: Path, scheme: str) -> None:
    matrices.write(a_matrix(), tmp_path / "matrix.json")
    make(Picture(tmp_path / "heat.png", None, tmp_path / "matrix.json", scheme, 1280, 1010))
    taken = (tmp_path / "heat.png").read_bytes()
    assert taken.startswith(PNG)
    assert b"--window-size=1280,1010" in taken
    assert (b"preferredColorScheme=0" in taken) == (scheme == "dark")


def test_a_browser_that_takes_nothing_is_said(tmp_path: Path, browser: Path) -> None:
    run = kept(tmp_path / "results", record())
    for program, why in (
        ("#!/bin/sh\nexit 0\n", "took no picture, and said nothing"),
        ("#!/bin/sh\nexit 7\n", "took no picture: "),
    ):
        browser.write_text(program, encoding="utf-8")
        with pytest.raises(PreflightError, match=why):
            make(Picture(tmp_path / "page.png", run, None))


def test_a_run_that_is_not_kept_is_said_and_the_others_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = kept(tmp_path / "results", record())
    here, gone = Picture(tmp_path / "a.svg", run, None), Picture(tmp_path / "b.svg", tmp_path / "nowhere", None)
    monkeypatch.setattr(pictures, "read", lambda: [gone, here])
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    done = CliRunner().invoke(pictures.cli)
    assert done.exit_code == 4
    assert "b.svg stays as it is" in done.output
    assert "is not kept here" in done.output
    assert "made a.svg" in done.output


@pytest.mark.parametrize(
    "content",
    [
        "pictures: [a]",
        "x: 1",
        "pictures: {a.png: {run: x, comparison: y}}",
        "pictures: {a.png: {}}",
        "pictures: {a.jpg: {run: x}}",
        "pictures: {a.png: {run: x, scheme: grey}}",
        "pictures: {a.png: {run: x, height: tall}}",
        "pictures: {a.png: {run: x, depth: 3}}",
    ],
)
def test_a_malformed_list_is_refused_with_its_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "pictures.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"pictures\.yaml:1"):
        read(tmp_path / "pictures.yaml")
