"""Where results and state are, and how their folders are named."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from lab.errors import DiskError, PreflightError
from lab.spec.stages import ROOT
from lab.store.jsonl import writing

RESULTS_FOLDER = Path(os.environ.get("LAB_RESULTS") or ROOT / "results")
# Of the user and the machine, as the containers are, not of one checkout of the lab.
STATE_FOLDER = Path(
    os.environ.get("LAB_STATE") or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "redundancy-lab"
)


def utc_now() -> str:
    """Now as in 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(started_at: str) -> str:
    """An instant as a folder's name."""
    return started_at.replace(":", "").replace("-", "")


def new_folder(base: Path, name: str) -> Path:
    """Make a folder below `base` that was not there. Raises PreflightError, of which DiskError is one."""
    for number in range(1, 1000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        try:
            with writing(base):
                folder.mkdir(parents=True)
        except DiskError as error:
            if isinstance(error.__cause__, FileExistsError):
                continue
            raise
        return folder
    raise PreflightError(f"{base} has too many runs of this second")


def point(link: Path, folder: Path) -> None:
    """Let a link name a folder, in one step. Raises DiskError."""
    fresh = link.with_name(".latest.new")
    with writing(link):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(folder, link.parent))
        fresh.replace(link)
