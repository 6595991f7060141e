"""Stages that are up, as the lab itself works with them."""

from __future__ import annotations

from lab.cluster import readiness
from lab.cluster.cluster import Cluster
from lab.engine.engine import Engine
from lab.model.observation import ClusterView
from lab.model.topology import Stage
from lab.store.undo_log import UndoLog


def cluster(engine: Engine, stage: Stage) -> Cluster:
    """A stage, with the undo log of this state folder."""
    return Cluster(engine, stage, UndoLog())


def look(engine: Engine, stage: Stage) -> ClusterView:
    """What an observer sees of a stage now."""
    return cluster(engine, stage).observe()


def await_recovered(engine: Engine, stage: Stage, timeout_s: float = readiness.RECOVERY_TIMEOUT_S) -> None:
    """Wait until nothing of a stage is missing. Raises HealError."""
    readiness.await_recovered(cluster(engine, stage), timeout_s)
