"""Whether what was interrupted may be gone on with: only what is measured alike belongs in one series.

What decides the figures is kept beside them in conditions.json: the load, the durations, the files that a stage is made from,
what each experiment does, and the lab's own code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from lab.cluster import images
from lab.model.experiment import Experiment, LoadPlan
from lab.model.topology import Stage
from lab.spec.stages import ROOT
from lab.store import jsonl

CONDITIONS_NAME = "conditions.json"
SOURCES = ("lab", "apps/client")


@cache
def code_version(root: Path = ROOT) -> str:
    """A digest over the code that measures: the controller, and the client that makes the load."""
    digest = hashlib.sha256()
    for file in sorted(file for folder in SOURCES for file in (root / folder).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).digest())
    return digest.hexdigest()[:16]


def conditions(stage: Stage, load: LoadPlan, experiments: Iterable[Experiment]) -> dict[str, Any]:
    """All that decides what a series of experiments measures, as JSON has it."""
    digests = {each.name: _digest(asdict(each)) for each in experiments}
    return {
        "load": asdict(load),
        "code": code_version(),
        "stage": images.fingerprint(stage),
        "experiments": dict(sorted(digests.items())),
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


WORDS = {
    "load": "the load",
    "code": "the lab's code",
    "stage": "the files that the stage is made from",
    "experiments": "what the experiments do, or for how long",
}


def folder(base: Path, progress_name: str, wanted: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder that is gone on in: the one whose progress was measured under these conditions, or a new one beside.

    Returns with it why a new one was begun: empty where it goes on, or where there was nothing to go on with.
    """
    why = ""
    for number in count(1):
        candidate = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not (candidate / progress_name).exists():
            candidate.mkdir(parents=True, exist_ok=True)
            jsonl.write_whole(candidate / CONDITIONS_NAME, dict(wanted))
            return candidate, why
        kept = _read(candidate / CONDITIONS_NAME)
        if kept == wanted:
            return candidate, ""
        why = f"{candidate} was measured with something else: {', '.join(_differences(kept, wanted))}"
    raise AssertionError("a folder was found or made")


def _read(file: Path) -> dict[str, Any]:
    """What is kept; empty where it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _differences(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    if not kept:
        return ["it does not say what"]
    return [WORDS[key] for key in WORDS if kept.get(key) != wanted.get(key)] or ["fields of another version"]
