"""Makes the pictures of docs/images again, from the kept runs that docs/measured/pictures.yaml names.

    python -m scripts.pictures

A picture of a page needs Chromium; one that is an SVG needs nothing. What cannot be made is said, and stays as it is (exit 4).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from lab.analysis import matrix as matrices
from lab.analysis import run_document
from lab.errors import EXIT_PREFLIGHT, LabError, PreflightError, UsageError
from lab.report import files
from lab.spec import located_yaml
from lab.spec.stages import ROOT

SPEC = ROOT / "docs" / "measured" / "pictures.yaml"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DEADLINE_S = 120
SCHEMES = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}
KEYS = {"run", "comparison", "scheme", "width", "height"}


@dataclass(frozen=True)
class Picture:
    """A picture, and what it is made from."""

    path: Path
    run: Path | None
    comparison: Path | None
    """One of these two: the folder of a run, or the matrix.json of a comparison."""
    scheme: str = "light"
    width: int = 1280
    height: int = 1900
    """In pixels, of a PNG."""


def read(spec: Path = SPEC, root: Path = ROOT) -> list[Picture]:
    """The pictures that a file names. Raises UsageError naming file and line for what is malformed."""
    content = located_yaml.load(spec)
    pictures = content.get("pictures")
    if not isinstance(pictures, located_yaml.Mapping):
        raise content.error("pictures", "'pictures' must be a mapping of pictures to what they are made from")
    return [_picture(pictures, name, root) for name in pictures]


def _picture(pictures: located_yaml.Mapping, name: str, root: Path) -> Picture:
    body = pictures[name]
    if not isinstance(body, Mapping) or not set(body) <= KEYS or ("run" in body) == ("comparison" in body):
        raise pictures.error(name, f"'{name}' needs either run or comparison, and may have scheme, width and height")
    scheme, width, height = str(body.get("scheme", "light")), body.get("width", 1280), body.get("height", 1900)
    if scheme not in SCHEMES or not name.endswith((".png", ".svg")) or not all(isinstance(each, int) for each in (width, height)):
        raise pictures.error(
            name, f"'{name}' must be a .png or .svg, its scheme light or dark, its width and height whole numbers"
        )
    run, comparison = (root / body[key] if key in body else None for key in ("run", "comparison"))
    return Picture(root / name, run, comparison, scheme, width, height)


def drawn(picture: Picture) -> str:
    """The page or the drawing that a picture is made of. Raises UsageError where its run is not kept here."""
    kept = (picture.run / "run.json" if picture.run else picture.comparison) or Path()
    if not kept.exists():
        raise UsageError(f"{kept.parent} is not kept here", "docs/measured/pictures.yaml names it; name another, or put it there")
    kind = "svg" if picture.path.suffix == ".svg" else "html"
    if picture.run:
        result, records = run_document.rebuild(picture.run)
        return files.OF_RUN[kind](result, records)
    assert picture.comparison
    return files.OF_MATRIX[kind](matrices.read(picture.comparison))


def find_browser() -> str:
    """The command of a Chromium. Raises PreflightError where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise PreflightError("no Chromium is installed, which takes the picture of a page", f"one of: {', '.join(BROWSERS)}")
    return found


def make(picture: Picture) -> None:
    """Make one picture. Raises LabError for what is missing; then the picture that is there stays."""
    content = drawn(picture)
    if picture.path.suffix == ".svg":
        files.write(content, str(picture.path))
        return
    browser = find_browser()
    with TemporaryDirectory() as folder:
        page, taken = Path(folder) / "page.html", Path(folder) / "taken.png"
        page.write_text(content, encoding="utf-8")
        _photograph(browser, picture, page, taken)
        shutil.copyfile(taken, picture.path)


def _photograph(browser: str, picture: Picture, page: Path, taken: Path) -> None:
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"),
        f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={picture.width},{picture.height}",
        *SCHEMES[picture.scheme],
        f"--screenshot={taken}",
        page.as_uri(),
    ]
    try:
        subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PreflightError(f"{browser} took no picture: {error}") from error
    if not taken.exists():
        raise PreflightError(f"{browser} took no picture, and said nothing")


@click.command()
def cli() -> None:
    """Make every picture again."""
    missing = 0
    for picture in read():
        name = picture.path.relative_to(ROOT)
        try:
            make(picture)
            click.echo(f"made {name}")
        except LabError as error:
            missing += 1
            click.echo(f"{name} stays as it is: {error.message}" + (f" (hint: {error.hint})" if error.hint else ""), err=True)
    if missing:
        sys.exit(EXIT_PREFLIGHT)


def main() -> None:
    """Run it; an error is one line."""
    try:
        cli()
    except UsageError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
