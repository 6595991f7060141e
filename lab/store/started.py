"""Which files a stage was started from."""

from __future__ import annotations

from lab.model.topology import Stage
from lab.spec import kept
from lab.store import paths
from lab.store.jsonl import writing


def note_started(stage: Stage, fingerprint: str) -> None:
    """Remember which files a stage was started from. Raises DiskError."""
    file = paths.STATE_FOLDER / stage.project
    with writing(file):
        paths.STATE_FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(fingerprint, encoding="utf-8")


def started_from(stage: Stage) -> str:
    """The fingerprint of the files that a stage was last started from; empty where it never was, or nothing can be read."""
    file = paths.STATE_FOLDER / stage.project
    try:
        return kept.content(file).decode("utf-8", "replace")
    except (OSError, kept.MalformedError):
        return ""
