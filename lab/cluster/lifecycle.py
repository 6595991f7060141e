"""Stages started until they serve, and removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab import signals
from lab.cluster import images, preflight, readiness
from lab.cluster.cluster import Cluster
from lab.cluster.system import Say
from lab.engine.engine import Engine
from lab.errors import HealError, PreflightError
from lab.model.topology import Box
from lab.store import lock, started


@contextmanager
def alone(engine: Engine, purpose: str, despite_load: bool = False) -> Iterator[None]:
    """One lab at a time: of this state folder, and on this engine. Raises PreflightError naming the other one."""
    with lock.exclusive(purpose), alone_on_engine(engine, purpose, despite_load):
        yield


@contextmanager
def alone_on_engine(engine: Engine, purpose: str, despite_load: bool = False) -> Iterator[None]:
    """The second half of it. `despite_load`: for a command that ends a load that was left behind."""
    with lock.alone_on(engine.identity, purpose):
        if not despite_load:
            preflight.check_no_other_load(engine)
        yield


def ensure_up(cluster: Cluster, say: Say) -> None:
    """Start what of the stage is not running; on any failure or interrupt of a fresh start, remove it again."""
    stage = cluster.stage
    present = [box for box in cluster.boxes() if box.project == stage.project]
    made_from = images.fingerprint(stage)
    if present and started.started_from(stage) != made_from:
        say(f"the files of stage {stage.number} have changed since it was started: starting it from scratch")
        take_down([cluster], say)
        present = []
    if _is_up(cluster, present):
        return
    _check_start(cluster, is_fresh=not present)
    images.build(cluster.engine, say, images.needed_by(stage))
    say(f"starting stage {stage.number}: {stage.title}")
    try:
        if not present:
            _make_disks(cluster)
        cluster.engine.up(stage)
        started.note_started(stage, made_from)
        _await_start(cluster, is_fresh=not present)
    except BaseException:
        if not present:
            with signals.Deferred(lambda: say("removing what was started, please wait")):
                cluster.engine.down(stage)
        raise


def _check_start(cluster: Cluster, is_fresh: bool) -> None:
    """Raise PreflightError where the stage, or what of it does not run, cannot be started here and now."""
    preflight.check_no_open_faults(cluster.undo_log)
    if is_fresh:
        preflight.check_start(cluster.engine, cluster.stage)
    else:
        preflight.check_tools(cluster.engine.info())
        preflight.check_other_stages(cluster.engine.boxes(), cluster.stage)


def _make_disks(cluster: Cluster) -> None:
    """For a fresh start: what is left of older disks goes, and where they are wanted, new ones are to be made. Raises LabError."""
    cluster.engine.remove_disks(cluster.stage.project)
    if cluster.stage.own_disks:
        cluster.engine.make_disks(cluster.stage)


def _is_up(cluster: Cluster, present: Sequence[Box]) -> bool:
    """Whether nothing has to be started. The monitoring may be unhealthy: a stage can be used without it."""
    healthy = {box.service for box in present if cluster.engine.is_healthy(box)}
    there = {box.service for box in present if box.condition != "dead"}
    return healthy >= set(cluster.stage.needed) and there >= {spec.name for spec in cluster.stage.services}


def _await_start(cluster: Cluster, is_fresh: bool) -> None:
    try:
        if is_fresh:
            readiness.await_healthy(cluster, [spec.name for spec in cluster.stage.services])
        readiness.await_recovered(cluster)
    except HealError as error:  # nothing was broken that could be healed
        raise PreflightError(f"stage {cluster.stage.number} did not start: {error.message}", error.hint) from error


def take_down(clusters: Sequence[Cluster], say: Say) -> None:
    """Remove these stages, with the notes of what was broken in them. Raises HealError where those cannot be removed."""
    for cluster in clusters:
        stage, undo_log = cluster.stage, cluster.undo_log
        say(f"removing stage {stage.number}" + ("" if stage.file.name == "compose.yaml" else f" ({stage.failover})"))
        cluster.engine.down(stage)
        # What was removed is no longer broken; of a stage with two files, the other one may be what is up.
        for entry in undo_log.entries():
            if entry.undo.stage == stage.number and not cluster.boxes():
                undo_log.close(entry)
    for cluster in clusters:
        cluster.undo_log.check_noted()
