"""What every fault is, and the little of Docker that faults may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lab.engine.engine import ExecResult
from lab.engine.sidecar import Reply
from lab.errors import UsageError
from lab.model.fault import LINE_FORM, FaultKind, FaultParameters, Undo, UndoAction, Verification
from lab.model.topology import Box, Link
from lab.process import wait_until

PROOF_TIMEOUT_S = 3.0


class Beside(Protocol):
    """A shell in the network of a box."""

    def ask(self, command: str) -> Reply:
        """Run a line of bash and wait for it."""

    def close(self) -> None:
        """Let it end."""


class BoxControl(Protocol):
    """The narrow part of the engine that faults need."""

    def box(self, box: Box) -> Box | None:
        """The box as it is now."""

    def kill(self, box: Box) -> None:
        """SIGKILL to the box."""

    def stop(self, box: Box) -> None:
        """Shut down in order."""

    def restart(self, box: Box) -> None:
        """Shut down in order and start."""

    def pause(self, box: Box) -> None:
        """Freeze."""

    def links(self, box: Box) -> tuple[Link, ...]:
        """The networks it is on."""

    def disconnect(self, box: Box) -> None:
        """Take it off every network."""

    def remove(self, box: Box) -> None:
        """Remove it and its disks."""

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        """Run a command inside."""

    def beside(self, box: Box | None) -> Beside:
        """A shell in its network (None: in one of its own)."""


@dataclass(frozen=True)
class BlastRadius:
    """All that a strike is aimed at: what a fault of several boxes needs to know of the others."""

    how: FaultParameters = field(default_factory=FaultParameters)
    members: tuple[Box, ...] = ()
    """The boxes that the target names."""
    others: tuple[Box, ...] = ()
    """The other side of a partition."""
    outside: tuple[Box, ...] = ()
    """Everybody else, users too."""
    shared: str = ""
    """The address that balancers share, where all who share it are members: only then it is surely theirs."""
    table: str = ""
    """What the strike's packet rules are called, in every box."""


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
    """Stands in its network, where the fault is one of the network."""
    witness: Box | None = None
    """Another box that could reach it before."""
    reached_at: str = ""
    """At which address."""
    reached_in_ms: float = 0.0
    line: str = ""
    """The region whose line is meant, where the box is the router between regions."""
    before: str = ""
    """What that line was set to."""
    lost_before: int = 0
    """How many packets it had lost already."""
    far: Box | None = None
    """The box that the witness reaches over it."""

    def with_links(self, links: tuple[Link, ...]) -> InjectionTarget:
        """The victim, with the networks it is on."""
        return replace(self, links=links)

    @classmethod
    def of(cls, box: Box, target: str, blast_radius: BlastRadius | None = None) -> InjectionTarget:
        """The victim that a target means: a box in several roles has a process for each."""
        role = target.rpartition(":")[2]
        process = box.labels.get(f"lab.process.{role}") or box.labels.get("lab.process", "")
        line = role if target.startswith(LINE_FORM) else ""
        return cls(box, process=process, blast_radius=blast_radius or BlastRadius(), line=line)


class Fault(Protocol):
    """One way to fail."""

    kind: FaultKind

    def check(self, control: BoxControl, blast_radius: BlastRadius) -> None:
        """See whether this machine can do it at all. Raises PreflightError."""

    def prepare(self, control: BoxControl, victim: InjectionTarget) -> InjectionTarget:
        """Look at the victim before anything is broken. Raises UsageError where the fault can't apply."""

    def undo(self, victim: InjectionTarget) -> Undo:
        """How to take it back."""

    def inject(self, control: BoxControl, victim: InjectionTarget) -> float | None:
        """Break it; returns when that was done, on the wall clock of the boxes, where it is known so exactly."""

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """Whether it bit, from outside the box."""


def proof(fault: Fault, control: BoxControl, victim: InjectionTarget, timeout_s: float = PROOF_TIMEOUT_S) -> Verification:
    """The proof that a fault bit, waiting for it for a while; the last look where there was none."""
    looks: list[Verification] = []

    def verified() -> bool:
        looks.append(fault.prove(control, victim))
        return looks[-1].proved

    wait_until(verified, timeout_s)
    return looks[-1]


class BoxFault:
    """What faults of a running box share; brought back by starting it, unless a fault says otherwise."""

    action = UndoAction.START

    def check(self, control: BoxControl, blast_radius: BlastRadius) -> None:
        """What Docker itself does to boxes, it can do everywhere."""

    def prepare(self, control: BoxControl, victim: InjectionTarget) -> InjectionTarget:
        """Only what runs can fail."""
        return must_run(victim)

    def undo(self, victim: InjectionTarget) -> Undo:
        """Start it (or what `action` says)."""
        return Undo(self.action, victim.box.id, victim.box.service, victim.box.stage)


def must_run(victim: InjectionTarget) -> InjectionTarget:
    """Raise UsageError unless the box is running: what is down already can't fail."""
    if victim.box.status != "running":
        raise UsageError(f"{victim.box.service} is {victim.box.status}, not running", "'lab heal' brings it back")
    return victim


def is_down(control: BoxControl, victim: InjectionTarget) -> Verification:
    """Proof for faults that take the box down."""
    now = control.box(victim.box)
    if now is None:
        return Verification(False, f"{victim.box.service} has been removed")
    return Verification(now.status == "exited", f"{now.service} is {now.status}, exit code {now.exit_code}")


def was_started_again(control: BoxControl, victim: InjectionTarget) -> Verification:
    """Proof for faults after which the box runs again: it runs since a later instant."""
    now = control.box(victim.box)
    if now is None:
        return Verification(False, f"{victim.box.service} has been removed")
    again = now.status in ("exited", "restarting") or now.started_at != victim.box.started_at
    return Verification(again, f"{now.service} is {now.status}, started at {now.started_at} (before: {victim.box.started_at})")
