"""What is known of a system whose file is not at hand: which boxes it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.model.topology import Box, ServiceSpec, Stage


def bare_stage(number: int, folder: str, project: str, boxes: Sequence[Box]) -> Stage:
    """A stage with the services of these boxes, and nothing else: enough to take back what was broken in it."""
    return Stage(
        number=number,
        folder=folder,
        project=project,
        file=Path(),
        title=f"the project {project}",
        new="",
        spof=(),
        memory_mib=0,
        entry=("", 0),
        databases={},
        services=tuple(ServiceSpec(box.service, box.roles, box.labels) for box in boxes if box.is_system),
    )
