"""The two running systems: a stage of ours and a foreign project, behind one Protocol."""

from __future__ import annotations

from lab.cluster.attach import ForeignProject
from lab.cluster.cluster import Cluster
from lab.cluster.system import RunningSystem


def both(cluster: Cluster, project: ForeignProject) -> tuple[RunningSystem, RunningSystem]:
    """mypy holds both implementations to the Protocol."""
    return cluster, project
