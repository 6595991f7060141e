"""Which release of the order desk this process is. All of them lie side by side in the image.

The good one is this package without its folder `defects`. A file may name another one: only then is the module of that name
loaded, and puts its defect into the app. `lab-release` writes the file. It is on the box's own disk: a bad release survives a
restart of its box, as a real one does, and a new box is without.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from flask import Flask

FILE = Path(os.environ.get("RELEASE_FILE", "/var/lib/orderdesk/release"))
GOOD = "good"
WITH_A_DEFECT = ("bad", "poisonous")


def named(file: Path = FILE) -> str:
    """The release that the file names, with its settings, as in `bad answer=error`; GOOD where there is no file."""
    try:
        return file.read_text(encoding="utf-8").strip() or GOOD
    except FileNotFoundError:
        return GOOD


def put_into(app: Flask, release: str) -> None:
    """Make an app this release. Raises ValueError where there is no such release."""
    name, *words = release.split()
    if name == GOOD:
        return
    if name not in WITH_A_DEFECT:
        raise ValueError(f"there is no release '{name}'")
    settings = {key: value for key, _, value in (word.partition("=") for word in words)}
    import_module(f"orderdesk.defects.{name}").install(app, settings)
