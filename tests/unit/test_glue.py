"""docs/glue.md names everything of ours that an image holds, and nothing else; the sizes that it states are those of the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"
PAGE = (ROOT / "docs" / "glue.md").read_text(encoding="utf-8")
# What an image is made from, and what programs of others are configured with.
NO_PROGRAM = {".yaml", ".html", ".lock"}
SIZE_TOLERANCE = 0.2
SIZES = [(path, int(lines)) for path, lines in re.findall(r"^\| `(compose/[\w./-]+)` \| (\d+) \|", PAGE, re.MULTILINE)]


def piece_of(file: Path) -> str:
    """The file, or the Python package that it belongs to, from the root of the repository."""
    folder = file.parent
    return (folder if (folder / "__init__.py").exists() else file).relative_to(ROOT).as_posix()


def pieces() -> set[str]:
    files = [file for file in COMPOSE.rglob("*") if file.is_file() and not {"__pycache__", "tests"} & set(file.parts)]
    return {piece_of(file) for file in files if file.name != "Dockerfile" and file.suffix not in NO_PROGRAM}


def lines_of(piece: Path) -> int:
    files = sorted(piece.glob("*.py")) if piece.is_dir() else [piece]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def test_every_program_of_an_image_is_on_the_page_once() -> None:
    assert sorted(path for path, _ in SIZES) == sorted(pieces())


@pytest.mark.parametrize(("path", "lines"), SIZES)
def test_stated_size_is_that_of_the_files(path: str, lines: int) -> None:
    assert lines == pytest.approx(lines_of(ROOT / path), rel=SIZE_TOLERANCE)


def test_tests_that_are_named_exist() -> None:
    written = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert {name for name in named if f"def {name}(" not in written and not list((ROOT / "tests").rglob(f"{name}.py"))} == set()
