"""Stages started until they serve, and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from lab import signals
from lab.cluster import images, preflight, readiness
from lab.engine.engine import Engine
from lab.errors import HealError, PreflightError
from lab.model.topology import Box, Stage
from lab.store import lock, started
from lab.store.undo_log import UndoLedger


@contextmanager
def alone(engine: Engine, purpose: str, despite_load: bool = False) -> Iterator[None]:
    """One lab at a time: of this state folder, and on this engine. Raises PreflightError naming the other."""
    with lock.exclusive(purpose), alone_on_engine(engine, purpose, despite_load):
        yield


@contextmanager
def alone_on_engine(engine: Engine, purpose: str, despite_load: bool = False) -> Iterator[None]:
    """The second half of it. `despite_load`: for who ends a load that was left behind."""
    with lock.alone_on(engine.identity, purpose):
        if not despite_load:
            preflight.check_no_other_load(engine)
        yield


def ensure_up(engine: Engine, stage: Stage, say: Callable[[str], None]) -> None:
    """Start what of the stage is not running; on any failure or interrupt of a fresh start, remove it again."""
    present = [box for box in engine.boxes(stage.number) if box.project == stage.project]
    made_from = images.fingerprint(stage)
    if present and started.started_from(stage) != made_from:
        say(f"the files of stage {stage.number} have changed since it was started: starting it anew")
        take_down(engine, [stage], say)
        present = []
    if _is_up(engine, stage, present):
        return
    preflight.check_no_open_faults(UndoLedger())
    if present:
        preflight.check_tools(engine.info())
        preflight.check_other_stages(engine.boxes(), stage)
    else:
        preflight.check_start(engine, stage)
    images.build(engine, say)
    say(f"starting stage {stage.number}: {stage.title}")
    try:
        engine.up(stage)
        started.note_started(stage, made_from)
        _await_start(engine, stage, is_fresh=not present)
    except BaseException:
        if not present:
            with signals.Deferred(lambda: say("removing what was started, please wait")):
                engine.down(stage)
        raise


def _is_up(engine: Engine, stage: Stage, present: Sequence[Box]) -> bool:
    """Whether nothing has to be started. Who only watches may be ill: a stage can be used without."""
    well = {box.service for box in present if engine.is_healthy(box)}
    there = {box.service for box in present if box.condition != "dead"}
    return well >= set(stage.needed) and there >= {spec.name for spec in stage.services}


def _await_start(engine: Engine, stage: Stage, is_fresh: bool) -> None:
    try:
        if is_fresh:
            readiness.await_well(engine, stage.number, [spec.name for spec in stage.services])
        readiness.await_whole(engine, stage)
    except HealError as error:  # nothing was broken that could be healed
        raise PreflightError(f"stage {stage.number} did not start: {error.message}", error.hint) from error


def take_down(engine: Engine, chosen: Iterable[Stage], say: Callable[[str], None]) -> None:
    """Remove these stages, with the notes of what was broken in them. Raises HealError where those cannot be removed."""
    ledger = UndoLedger()
    for stage in chosen:
        say(f"removing stage {stage.number}" + ("" if stage.file.name == "compose.yaml" else f" ({stage.failover})"))
        engine.down(stage)
        # What is gone is no longer broken; of a stage with two files, the other one may be what is up.
        for entry in ledger.entries():
            if entry.undo.stage == stage.number and not engine.boxes(stage.number):
                ledger.close(entry)
    ledger.check_noted()
