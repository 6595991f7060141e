"""Faults: what is broken, how, and what takes it back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab.model.topology import Link

LINE_FORM = "line:"


class FaultKind(StrEnum):
    """How a box fails."""

    NONE = "none"
    KILL = "kill"
    CRASH = "crash"
    STOP = "stop"
    PAUSE = "pause"
    HANG = "hang"
    RESTART = "restart"
    DISCONNECT = "disconnect"
    WIPE = "wipe"
    POWER = "power"
    READONLY = "readonly"
    CPU = "cpu"
    DISK_FULL = "disk-full"
    DISK_STALL = "disk-stall"
    DISK_SLOW = "disk-slow"
    CLOCK = "clock"
    MEMORY = "memory"
    BAD_DEPLOY = "bad-deploy"
    POISON = "poison"
    ISOLATE = "isolate"
    PARTITION = "partition"
    DELAY = "delay"
    LOSS = "loss"
    BANDWIDTH = "bandwidth"


ENDING = (FaultKind.KILL, FaultKind.STOP, FaultKind.WIPE, FaultKind.POWER)
"""What takes a box down through the engine: it stays down until something starts it."""
OF_WEB_BOXES = (FaultKind.BAD_DEPLOY, FaultKind.POISON)
"""A web box gets another release."""
OF_A_DISK = (FaultKind.DISK_FULL, FaultKind.DISK_STALL, FaultKind.DISK_SLOW)
"""What needs a box with a disk of its own."""
BY_SIGNAL = (*ENDING, FaultKind.CRASH, FaultKind.HANG, FaultKind.PAUSE, FaultKind.RESTART)
"""What ends or stops processes. One that waits for a disk which stands still obeys no signal."""


class BadAnswer(StrEnum):
    """How a bad release answers."""

    ERROR = "error"
    SLOW = "slow"


class Direction(StrEnum):
    """Which packets between the two sides of a partition are lost, as the target sees it."""

    BOTH = "both"
    OUT = "out"
    """What the target sends to the other side."""
    IN = "in"
    """What the other side sends to the target."""


class UndoAction(StrEnum):
    """What brings a box back."""

    START = "start"
    UNPAUSE = "unpause"
    CONTINUE = "continue"
    POWER_ON = "power-on"
    READWRITE = "readwrite"
    RECONNECT = "reconnect"
    CREATE = "create"
    UNFILTER = "unfilter"
    UNSHAPE = "unshape"
    RETUNE = "retune"
    RESIZE = "resize"
    SET_RIGHT = "set-right"
    UNSQUEEZE = "unsqueeze"
    REDEPLOY = "redeploy"
    READMIT = "readmit"
    RELEASE = "release"


@dataclass(frozen=True)
class Undo:
    """How to take a fault back; written to disk before the fault."""

    action: UndoAction
    box_id: str
    service: str
    stage: int
    links: tuple[Link, ...] = ()
    """What to connect the box to again."""
    table: str = ""
    """The table of packet rules to delete in the box's network."""
    setting: str = ""
    """What was set before: of the router between regions a line and its words, of a box its share of the processors or its memory."""
    process: str = ""
    """The name of the process that is to go on; of a leak, of the one that is to end."""
    disk: str = ""
    """The disk (its volume) that is to take writes again."""
    project: str = ""
    """Whose box it is, where it is none of the lab's: the name of the Compose project."""


@dataclass(frozen=True)
class Verification:
    """Proof that a fault has taken effect, as seen from outside the box."""

    proved: bool
    evidence: str
    moot: bool = False
    """Nothing was there to be broken at this box; it counts as hit where another box of the same fault was."""


@dataclass(frozen=True)
class FaultParameters:
    """What a fault needs to know besides its target; nothing, for most."""

    source: str = ""
    """The other side of a partition (`from` in YAML, `--from`)."""
    direction: Direction = Direction.BOTH
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    rate_kbit: float = 0.0
    network: str = ""
    """The one network, by its name in the stage file, that it is about; all where it is empty."""
    cpus: float = 0.0
    """How many processors are left (0.1: a tenth of one)."""
    step_s: float = 0.0
    """By how much a wall clock is set forward (or back, where it is negative)."""
    drift_percent: float = 0.0
    """By how much it is too fast (or too slow, where it is negative)."""
    memory_percent: float = 0.0
    """How much memory the box may use, of what it uses when the fault is prepared (105: a twentieth more)."""
    leak_mib_s: float = 0.0
    """How fast what is left of that fills up, in MiB a second; 0: nothing leaks."""
    on_s: float = 0.0
    """For how long a fault of the network that flaps is in effect each time; 0: it does not flap, it stays."""
    off_s: float = 0.0
    """And for how long it is not, in between."""
    answer: BadAnswer | None = None
    """How a bad release answers."""
    slow_ms: float = 0.0
    """How late, where it is slow."""
    percent: float = 0.0
    """How many of a hundred requests it concerns; 0: all."""
    per_s: float = 0.0
    """How often the request comes that kills."""

    @property
    def flaps(self) -> bool:
        """Whether the fault comes and goes."""
        return self.on_s > 0

    def __str__(self) -> str:
        words = [f"from {self.source}"] if self.source else []
        words += [f"({self.direction} only)"] if self.direction is not Direction.BOTH else []
        words += [f"by {self.delay_ms:g} ms"] if self.delay_ms else []
        words += [f"give or take {self.jitter_ms:g} ms"] if self.jitter_ms else []
        words += [f"of {self.loss_percent:g} %"] if self.loss_percent else []
        words += [f"of {self.rate_kbit:g} kbit/s"] if self.rate_kbit else []
        words += [f"on {self.network}"] if self.network else []
        words += [f"to {self.cpus:g} of a processor"] if self.cpus else []
        words += [f"by {self.step_s:+.10g} s"] if self.step_s else []
        words += [f"by {self.drift_percent:+g} % of each second"] if self.drift_percent else []
        words += [f"to {self.memory_percent:g} % of the memory that it uses"] if self.memory_percent else []
        words += [f"with a leak of {self.leak_mib_s:g} MiB/s"] if self.leak_mib_s else []
        words += [f"({self.on_s:g} s on, {self.off_s:g} s off)"] if self.flaps else []
        words += ["answers 500"] if self.answer is BadAnswer.ERROR else []
        words += [f"answers {self.slow_ms:g} ms late"] if self.answer is BadAnswer.SLOW else []
        words += [f"for {self.percent:g} % of requests"] if self.percent else []
        words += [f"{self.per_s:g} a second"] if self.per_s else []
        return " ".join(words)


@dataclass(frozen=True)
class Step:
    """One fault of an experiment."""

    fault: FaultKind
    target: str
    delay_s: float = 0.0
    """Seconds after the step before it (after the jitter, for the first)."""
    how: FaultParameters = FaultParameters()
    wait_for: str = ""
    """What is waited for before that: redundant (redundancy is restored to what it was when the trial began) or served (one
    database accepts writes and users get an answer); nothing where it is empty."""
    timeout_s: float = 0.0
    """For how long at most; the step is done then all the same."""

    def __str__(self) -> str:
        once = f" once {self.wait_for}" if self.wait_for else ""
        return f"{self.fault} {self.target} {self.how}".rstrip() + once
