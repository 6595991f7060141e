"""What every fault is, and the little of Docker that faults may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from lab.engine.disk import Disk
from lab.engine.engine import ExecResult
from lab.engine.inspect import MemoryUse
from lab.engine.sidecar import Beside
from lab.errors import UsageError
from lab.model.fault import LINE_FORM, FaultKind, FaultParameters, Undo, UndoAction, Verification
from lab.model.topology import Box, Link, MemoryLimit
from lab.process import wait_until

VERIFICATION_TIMEOUT_S = 3.0


class BoxControl(Protocol):
    """The narrow part of the engine that faults need."""

    def box(self, box: Box) -> Box | None:
        """The box as it is now."""

    def kill(self, box: Box) -> None:
        """SIGKILL to the box."""

    def stop(self, box: Box) -> None:
        """Shut down gracefully."""

    def restart(self, box: Box) -> None:
        """Shut down gracefully and start."""

    def pause(self, box: Box) -> None:
        """Freeze."""

    def links(self, box: Box) -> tuple[Link, ...]:
        """The networks it is on."""

    def disconnect(self, box: Box) -> None:
        """Take it off every network."""

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        """Connect it again to those of the networks that it is not on."""

    def remove(self, box: Box) -> None:
        """Remove it and its disks."""

    def cpus(self, box: Box) -> float:
        """How many processors it may use; 0: all of them."""

    def resize(self, box: Box, cpus: float) -> None:
        """Give it so many processors."""

    def memory_limit(self, box: Box) -> MemoryLimit:
        """How much memory it may use."""

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        """Let it use so much memory."""

    def memory_use(self, box: Box) -> MemoryUse | None:
        """How much memory it uses; None where that is not known."""

    def last_oom_ns(self, box: Box) -> int:
        """When the kernel last killed a process of it for want of memory; 0: not known of any."""

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        """Run a command inside."""

    def beside(self, box: Box | None) -> Beside:
        """A shell in its network (None: in one of its own)."""

    def own_disk(self, box: Box) -> Disk | None:
        """The disk of the box; None where it has none of its own."""

    def at_disk(self, disk: Disk) -> Beside:
        """A shell that has this disk."""

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        """Hold every write back for up to so long."""


@dataclass(frozen=True)
class BlastRadius:
    """All boxes that one injection is about: what a fault of several boxes needs to know of the others."""

    how: FaultParameters = field(default_factory=FaultParameters)
    members: tuple[Box, ...] = ()
    """The boxes that the target names."""
    others: tuple[Box, ...] = ()
    """The other side of a partition."""
    outside: tuple[Box, ...] = ()
    """All other boxes, users too."""
    shared: str = ""
    """The address that balancers share, where all who share it are members: only then it is surely theirs."""
    entry: tuple[str, int] = ("", 0)
    """Address and port that users reach."""
    table: str = ""
    """The name of the injection's packet rules, in every box."""


@dataclass(frozen=True)
class Room:
    """How much memory a box is to have, and what was counted of it before; in bytes."""

    limit_bytes: int
    leak_bytes: int = 0
    """How much a leak takes of that; 0: nothing leaks."""
    hits_before: int = 0
    oom_before_ns: int = 0


@dataclass(frozen=True)
class InjectionTarget:
    """A box that a fault is about to hit, as it was just before."""

    box: Box
    process: str = ""
    """Name of the process that a crash kills."""
    pids: frozenset[str] = frozenset()
    """Its process numbers inside the box."""
    links: tuple[Link, ...] = ()
    """The networks it was on."""
    blast_radius: BlastRadius = BlastRadius()
    helper: Beside | None = None
    """Stands in its network, or has its disk, where the fault is one of these."""
    disk: Disk | None = None
    """Its own disk, where the fault is one of a disk."""
    witness: Box | None = None
    """Another box that could reach it before."""
    reached_at: str = ""
    """At which address."""
    reached_in_ms: float = 0.0
    line: str = ""
    """The region whose line is meant, where the box is the router between regions."""
    before: str = ""
    """What that line, or the box's share of the processors or its memory, was set to."""
    lost_before: int = 0
    """How many packets it had lost already."""
    far: Box | None = None
    """The box that the witness reaches over it."""
    room: Room | None = None
    """How much memory it is to have, where that is what it loses."""

    def with_links(self, links: tuple[Link, ...]) -> InjectionTarget:
        """The target, with the networks it is on."""
        return replace(self, links=links)

    @classmethod
    def of(cls, box: Box, target: str, blast_radius: BlastRadius | None = None) -> InjectionTarget:
        """A box as the text of a target means it: a box in several roles has a process for each."""
        role = target.rpartition(":")[2]
        process = box.labels.get(f"lab.process.{role}") or box.labels.get("lab.process", "")
        line = role if target.startswith(LINE_FORM) else ""
        return cls(box, process=process, blast_radius=blast_radius or BlastRadius(), line=line)


class Fault(Protocol):
    """One way to fail."""

    kind: FaultKind

    def check(self, control: BoxControl, blast_radius: BlastRadius) -> None:
        """See whether this machine can do it at all. Raises PreflightError."""

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Look at the target before anything is broken. Raises UsageError where the fault can't apply."""

    def undo(self, target: InjectionTarget) -> Undo:
        """How to take it back."""

    def inject(self, control: BoxControl, target: InjectionTarget) -> float | None:
        """Break it; returns when that was done, on the wall clock of the boxes, where it is known so exactly."""

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Whether it took effect, seen from outside the box."""


@runtime_checkable
class Passing(Protocol):
    """A fault that can come and go: what stands ready for it takes it back for a while, faster than healing does."""

    def release(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Take it back; whether nothing of it is left."""


def verification(
    fault: Fault, control: BoxControl, target: InjectionTarget, timeout_s: float = VERIFICATION_TIMEOUT_S
) -> Verification:
    """Whether a fault took effect, waiting for that for a while; the last attempt where it did not."""
    return verified_within(lambda: fault.verify(control, target), timeout_s)


def verified_within(look: Callable[[], Verification], timeout_s: float) -> Verification:
    """What a look finds, which is repeated for a while until it is a proof; the last one where none was."""
    attempts: list[Verification] = []

    def is_verified() -> bool:
        attempts.append(look())
        return attempts[-1].proved

    wait_until(is_verified, timeout_s)
    return attempts[-1]


class BoxFault:
    """What faults of a running box share; brought back by starting it, unless a fault says otherwise."""

    action = UndoAction.START

    def check(self, control: BoxControl, blast_radius: BlastRadius) -> None:
        """What Docker itself does to boxes, it can do on every machine."""

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Only what runs can fail."""
        return must_run(target)

    def undo(self, target: InjectionTarget) -> Undo:
        """Start it (or what `action` says)."""
        return Undo(self.action, target.box.id, target.box.service, target.box.stage)


def must_run(target: InjectionTarget) -> InjectionTarget:
    """Raise UsageError unless the box is running: what is down already can't fail."""
    if target.box.status != "running":
        raise UsageError(f"{target.box.service} is {target.box.status}, not running", "'lab heal' brings it back")
    return target


def with_processes(control: BoxControl, target: InjectionTarget, could: str) -> InjectionTarget:
    """The target with the numbers of its processes: the named one and its children, since an orphan could go on serving.

    Raises UsageError where it names none that could `could`, or none runs.
    """
    must_run(target)
    if not target.process:
        raise UsageError(f"{target.box.service} names no process that could {could}", "its label lab.process is missing")
    found = pids(control, target)
    if not found:
        raise UsageError(f"no process '{target.process}' runs in {target.box.service}", "'lab status' shows how the boxes are")
    return replace(target, pids=found)


def pids(control: BoxControl, target: InjectionTarget) -> frozenset[str] | None:
    """The numbers of the processes of that name; None when the box does not say."""
    found = control.run_in(target.box, ["pgrep", "-x", target.process])
    if found.exit_code == 1:  # pgrep's word for "none"
        return frozenset()
    return frozenset(found.output.split()) if found.exit_code == 0 else None


def is_down(control: BoxControl, target: InjectionTarget) -> Verification:
    """Verification of faults that take the box down."""
    now = control.box(target.box)
    if now is None:
        return Verification(False, f"{target.box.service} has been removed")
    return Verification(now.status == "exited", f"{now.service} is {now.status}, exit code {now.exit_code}")


def was_started_again(control: BoxControl, target: InjectionTarget) -> Verification:
    """Verification of faults after which the box runs again: it runs since a later instant."""
    now = control.box(target.box)
    if now is None:
        return Verification(False, f"{target.box.service} has been removed")
    is_restarted = now.status in ("exited", "restarting") or now.started_at != target.box.started_at
    return Verification(
        is_restarted, f"{now.service} is {now.status}, started at {now.started_at} (before: {target.box.started_at})"
    )
