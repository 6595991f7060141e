"""Taking faults back, and waiting until every system that was hit has recovered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lab.cluster.attach import ForeignProject
from lab.cluster.bare_stage import bare_stage
from lab.cluster.cluster import Cluster
from lab.cluster.readiness import await_healthy, await_recovered, by_project
from lab.cluster.system import RunningSystem, Say
from lab.engine.engine import Engine
from lab.errors import HealError, LabError, UsageError
from lab.faults import clock, cpu, disk_release, hang, limits, memory, network_cleanup, poison, readonly, release
from lab.model.fault import FaultKind, Undo, UndoAction
from lab.model.topology import INTERNET_ROLE, Box, Stage
from lab.spec import stages
from lab.store.undo_log import OpenFault, UndoLog


def bring_back(system: RunningSystem, box: Box) -> bool:
    """Let a frozen box go on, start one that is down; returns whether there was anything to do. Raises LabError."""
    if box.status == "paused":
        system.engine.unpause(box)
    elif box.is_down:
        system.start(box)
    else:
        return False
    return True


def undo(system: RunningSystem, entry: OpenFault) -> None:
    """Take one fault back and close its entry. Raises HealError when the engine refuses."""
    try:
        if entry.undo.action is UndoAction.CREATE:
            system.recreate(entry.undo.service)
        elif box := system.struck(entry.undo):
            _restore(system, box, entry.undo)
    except LabError as error:
        raise could_not(entry, error) from error
    system.undo_log.close(entry)


def _restore(system: RunningSystem, box: Box, entry: Undo) -> None:
    if entry.action in limits.OF_AN_OVERLOAD:
        limits.undo(system, box, entry)
        return
    if entry.action is UndoAction.UNSQUEEZE:
        # First: whatever is done in a box takes some memory.
        memory.give_back(system, box, entry.setting)
    system.engine.reconnect(box, entry.links)
    bring_back(system, box)
    match entry.action:
        case UndoAction.UNSQUEEZE:
            # What the kernel has ended again and again is started later and later.
            disk_release.revive(system, box)
            if entry.process:
                memory.end_leak(system, entry.service)
        case UndoAction.CONTINUE:
            hang.undo(system, box, entry.process)
        case UndoAction.READWRITE:
            readonly.undo(system, box)
        case UndoAction.RELEASE:
            disk_release.revive(system, box)
        case UndoAction.SET_RIGHT:
            clock.undo(system, box)
        case UndoAction.REDEPLOY:
            poison.end(system)
            release.undo(system, box)
        case _:
            retune(system, box, entry.setting)


def system_of(engine: Engine, undo_log: UndoLog, entry: OpenFault) -> RunningSystem | None:
    """Where a fault is in effect; None where nothing of that is left. Raises LabError."""
    if entry.undo.project:
        return ForeignProject.by_name(engine, entry.undo.project, undo_log)
    boxes = engine.boxes(entry.undo.stage)
    return Cluster(engine, _stage_of(boxes, entry.undo), undo_log) if boxes else None


def _stage_of(boxes: Sequence[Box], undo: Undo) -> Stage:
    """The stage of boxes. Raises UsageError where its file is gone, and how a box is started depends on that."""
    try:
        return stages.of_boxes(boxes)
    except UsageError:
        # Without its file it is not known whether a database that is down would be a second primary.
        is_down = any(box.service == undo.service and box.is_down for box in boxes)
        if is_down or undo.action in (UndoAction.START, UndoAction.CREATE):
            raise
        return bare_stage(undo.stage, boxes[0].project, boxes[0].project, boxes)


def retune(system: RunningSystem, router: Box, setting: str) -> None:
    """Set a line between regions to what it was (nothing for an empty setting). Raises LabError."""
    if setting and (done := system.run_in(router, ["lab-wan", "set", *setting.split()])).exit_code:
        raise LabError(f"the router refuses: {done.output.strip()[-200:]}")


def could_not(entry: OpenFault, why: LabError) -> HealError:
    """The error of a fault that is still in effect."""
    return HealError(f"{entry.fault} of {entry.undo.service} could not be undone: {why.message}", "'lab heal' tries again")


def undo_all(engine: Engine, undo_log: UndoLog, entries: Sequence[OpenFault] | None = None) -> int:
    """Take every open fault (or these) back, the last one first; returns how many. A failure does not keep the rest from it.

    Disks come before, then networks, all at one instant. Raises HealError for the first that failed. That something could
    not be noted is no failure of that: `undo_log.check_noted` says it when all that is to be waited for has come.
    """
    failures: list[HealError] = []
    entries = undo_log.entries() if entries is None else entries
    undos = [entry.undo for entry in entries]
    # First: no signal reaches a process that waits for a disk, so its box can be neither stopped nor removed.
    stuck = disk_release.release(engine, undos)
    stuck |= network_cleanup.clear(engine, undos)
    for entry in reversed(entries):
        try:
            if entry.undo in stuck:
                raise could_not(entry, stuck[entry.undo])
            _undo_one(engine, undo_log, entry)
        except HealError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return len(entries)


def _undo_one(engine: Engine, undo_log: UndoLog, entry: OpenFault) -> None:
    try:
        system = system_of(engine, undo_log, entry)
    except LabError as error:
        raise could_not(entry, error) from error
    if system is None:
        undo_log.close(entry)
    else:
        undo(system, entry)


def heal(engine: Engine, undo_log: UndoLog, say: Say) -> int:
    """Undo every open fault, connect and bring back every box, wait until each system serves.

    Returns how many things were repaired. Raises HealError.
    """
    is_noted = any(entry.undo.disk for entry in undo_log.entries())
    released = disk_release.sweep(engine, say)
    count = _undo_noted(engine, undo_log, say) + (0 if is_noted else released)
    clusters, gone = _clusters(engine, undo_log)
    for cluster in clusters:
        if released:
            disk_release.revive_all(cluster)
        # First: without its networks, a box may not start, or end at once.
        count += reconnect(cluster, say) + _bring_back_all(cluster, say) + _sweep(cluster, say)
    if gone:
        raise gone[0]
    for cluster in clusters:
        restore_missing(cluster, say)
        end_stray_loads(cluster)
        await_recovered(cluster, say=say)
    undo_log.check_noted()
    return count


def _clusters(engine: Engine, undo_log: UndoLog) -> tuple[list[Cluster], list[UsageError]]:
    """Every stage that is up, and what is not known of those whose file is gone: of these, only what was frozen or cut off
    can be brought back."""
    clusters, gone = [], []
    for project, boxes in by_project(sorted(engine.boxes(), key=lambda box: box.stage)).items():
        try:
            stage = stages.of_boxes(boxes)
        except UsageError as error:
            gone.append(error)
            stage = bare_stage(boxes[0].stage, project, project, [box for box in boxes if not box.is_down])
        clusters.append(Cluster(engine, stage, undo_log))
    return clusters, gone


def _undo_noted(engine: Engine, undo_log: UndoLog, say: Say) -> int:
    """Undo what is noted, detach from foreign projects; returns how many things that were. Raises HealError."""
    entries = undo_log.entries()
    try:
        for entry in entries:
            say(f"undoing {entry.fault} of {entry.undo.service} ({entry.since})")
            end_shutdown(engine, undo_log, entry)
        count = undo_all(engine, undo_log)
        for entry in entries:
            if entry.undo.project:
                await_foreign(ForeignProject.by_name(engine, entry.undo.project, undo_log), entry)
    finally:
        # Whatever could not be undone: the lab's own box stays in no network of others.
        detached = engine.end_visits()
        if detached:
            say("the internet box was still in a network that is not the lab's: removed")
    return count + bool(detached)


def _bring_back_all(cluster: RunningSystem, say: Say) -> int:
    count = 0
    known = {spec.name for spec in cluster.stage.services}
    for box in cluster.boxes():
        if box.is_down and box.service not in known:
            continue  # its stage file is gone: it could be a second primary
        try:
            is_done = bring_back(cluster, box)
        except LabError as error:
            raise HealError(
                f"{box.service} is {box.status} and could not be brought back: {error.message}", error.hint
            ) from error
        if is_done:
            say(f"{box.service} of stage {box.stage} was {box.status}: brought back")
            count += 1
    return count


def _sweep(cluster: RunningSystem, say: Say) -> int:
    found = _sweep_limits(cluster)
    found += [f"{each}: removed" for each in network_cleanup.sweep(cluster)] + poison.end(cluster)
    for box in cluster.boxes():
        if box.is_system and box.status == "running":
            found += [*memory.sweep_leak(cluster, box), *hang.sweep(cluster, box)]
            found += [*readonly.sweep(cluster, box), *clock.sweep(cluster, box), *release.sweep(cluster, box)]
    for each in found:
        say(each)
    return len(found)


def _sweep_limits(cluster: RunningSystem) -> list[str]:
    """Compare each box with its stage file. Raises HealError. First of all: whatever is done in a box takes some memory."""
    try:
        return [line for box in cluster.boxes() for line in (*memory.sweep_limit(cluster, box), *cpu.sweep(cluster, box))]
    except LabError as error:
        raise HealError(f"a limit could not be taken back: {error.message}", "'lab heal' tries again") from error


def await_foreign(project: ForeignProject, entry: OpenFault) -> None:
    """Wait until a box of a foreign project is healthy again, if it is still there. Raises HealError."""
    if project.box(entry.undo.service):
        await_healthy(project, [entry.undo.service])


def end_shutdown(engine: Engine, undo_log: UndoLog, entry: OpenFault) -> None:
    """Wait for the end of a shutdown whose controller was killed: undone before its end, it would still come.

    Where that fails, the undo of the fault fails too, and says why: it keeps no other fault from being undone.
    """
    if entry.fault not in (FaultKind.STOP, FaultKind.RESTART):
        return
    with suppress(LabError):
        system = system_of(engine, undo_log, entry)
        box = system.struck(entry.undo) if system else None
        if system and box and box.status == "running":
            system.engine.stop(box)


def reconnect(cluster: RunningSystem, say: Say) -> int:
    """Connect every box to the networks of its stage file, whatever took it off them; returns how many were off one.

    What could not be done is said, and keeps nothing else from being repaired: whether all serves is found out at the end.
    """
    count = 0
    for box in cluster.boxes():
        try:
            missing = _reconnected(cluster, box)
        except LabError as error:
            say(f"{box.service} of stage {box.stage} could not be connected again: {error.message}")
            continue
        if missing:
            say(f"{box.service} of stage {box.stage} was off {' and '.join(missing)}: connected again")
            count += 1
    return count


def _reconnected(cluster: RunningSystem, box: Box) -> list[str]:
    links = cluster.stage.links_of(box.service)
    present = {link.network for link in cluster.engine.links(box)}
    missing = [link.network for link in links if link.network not in present]
    if missing:
        cluster.engine.reconnect(box, links)
    return missing


def restore_missing(cluster: RunningSystem, say: Say) -> None:
    """Create boxes again that were removed from a stage that is up."""
    missing = {spec.name for spec in cluster.stage.services} - {box.service for box in cluster.boxes()}
    if missing:
        say(f"{', '.join(sorted(missing))} of stage {cluster.stage.number} had been removed: created again")
        cluster.engine.up(cluster.stage)


def end_stray_loads(cluster: RunningSystem) -> None:
    """End loads that outlived their controller (they end by themselves when their input does; this makes sure)."""
    for box in cluster.boxes():
        if INTERNET_ROLE in box.roles and box.status == "running":
            cluster.run_in(box, ["pkill", "-9", "-f", "client[.]generator"])
