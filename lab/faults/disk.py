"""disk-full, disk-stall, disk-slow: a box's disk has no space, stands still, or takes its time. The box runs on.

Each needs a disk of the box's own (LAB_DISKS=own, decision 0035): the engine's is everyone's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.engine.disk import Disk
from lab.engine.engine import ExecResult
from lab.engine.sidecar import Beside
from lab.errors import LabError, PreflightError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, must_run
from lab.model.fault import FaultKind, Undo, UndoAction, Verification
from lab.process import last_line
from lab.spec.experiments import OWN_DISKS_HINT

NO_SPACE = "No space left on device"
STALL_S, PATIENCE_S = 0.5, 3.0
"""A write takes a millisecond. A disk on which one does not end within the first stands still; with the second it is no good
to begin with."""
PAUSE_S = 0.03
"""Between two writes: so much longer than a slow disk takes writes, that each meets one that does not."""
WRITES_MAX, WRITES_S = 12, 1.0
SLOW_RATIO = 0.25
"""Of what a write is held back at most, how much it waits on average at least."""
ASK_TIMEOUT_S = 10.0
HANGS, HANGING = 75, "hangs"
# Small writes, one after the other, by a process that is not waited for longer than is said. On a disk that stands still it cannot
# end: it has no output that anything reads, and ends by itself when the disk goes on. Each line is how long a write took, in
# millionths of a second.
WRITES = (
    "file=$1/.lab-write said=/run/lab-write.$$; "
    "( trap 'rm -f \"$file\"' EXIT; for ((each = 0; each < $2; each++)); do since=$EPOCHREALTIME; "
    'head -c 8192 /dev/zero >"$file" || exit 1; till=$EPOCHREALTIME; echo $((${till/[.,]} - ${since/[.,]})); sleep $4; done '
    ') >"$said" 2>&1 </dev/null & '
    "for ((each = 0; each < $3; each++)); do sleep 0.05; kill -0 $! 2>/dev/null || break; done; "
    f'if kill -0 $! 2>/dev/null; then rm -f "$said"; echo {HANGING}; exit {HANGS}; fi; '
    'wait $!; code=$?; cat "$said"; rm -f "$said"; exit $code'
)
WAIT_STEP_S = 0.05


@dataclass(frozen=True)
class Tried:
    """What became of some small writes on the disk of a box."""

    took_ms: tuple[float, ...] = ()
    error: str = ""
    """Why they could not be made; empty where they were."""
    hangs: bool = False

    @property
    def mean_ms(self) -> float:
        """How long one took on average."""
        return sum(self.took_ms) / len(self.took_ms) if self.took_ms else 0.0

    @classmethod
    def of(cls, done: ExecResult) -> Tried:
        """As the box tells it; what is not understood is an error."""
        lines = done.output.split("\n") if done.exit_code == 0 else []
        numbers = [line for line in lines if line.strip()]
        if done.exit_code == HANGS and last_line(done.output) == HANGING:
            return cls(hangs=True)
        if done.exit_code or not numbers or not all(each.strip().isdigit() for each in numbers):
            return cls(error=last_line(done.output))
        return cls(tuple(int(each) / 1000 for each in numbers))


class DiskFault(BoxFault):
    """What the faults of a disk share: a helper that has the disk, and does one thing to it."""

    action = UndoAction.RELEASE
    verb = ""
    """What the helper does."""

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """See whether the disk is the box's own, works, and could be broken. Nothing is changed by that."""
        disk = control.own_disk(must_run(target).box)
        if disk is None:
            raise UsageError(f"{target.box.service} has no disk of its own", OWN_DISKS_HINT)
        target = replace(target, disk=disk)
        self.check_works(control, target)
        helper = control.at_disk(disk)
        try:
            reply = helper.ask(f"lab-disk ready {disk.folder}")
            if reply.exit_code:
                raise PreflightError(
                    f"the disk of {target.box.service} cannot be broken here: {last_line(reply.output)}", "see 'lab doctor'"
                )
        except BaseException:
            helper.close()
            raise
        return replace(target, helper=helper)

    def check_works(self, control: BoxControl, target: InjectionTarget) -> None:
        """Raise UsageError where the box cannot write even now."""
        before = tried(control, target, 1, PATIENCE_S)
        if before.hangs or before.error:
            why = "does not end a write" if before.hangs else f"takes no writes already ({before.error})"
            raise UsageError(f"the disk of {target.box.service} {why}", "'lab heal' brings it back")

    def undo(self, target: InjectionTarget) -> Undo:
        """Let it take writes again."""
        return replace(super().undo(target), disk=target.disk.name if target.disk else "")

    def inject(self, control: BoxControl, target: InjectionTarget) -> float | None:
        """Have the helper do it. Raises LabError."""
        reply = helper_of(target).ask(f"lab-disk {self.verb} {disk_of(target).folder}")
        if reply.exit_code:
            raise LabError(f"the disk of {target.box.service} could not be broken: {last_line(reply.output)}")
        return reply.at_s


class DiskFull(DiskFault):
    """A log that was never emptied, a forgotten dump: not a byte is left."""

    kind = FaultKind.DISK_FULL
    verb = "fill"

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A small write by the helper is refused. What runs in the box may have ended by then."""
        reply = helper_of(target).ask(f"lab-disk write {disk_of(target).folder}")
        said = last_line(reply.output) if reply.exit_code else "succeeds"
        return Verification(NO_SPACE in said and reply.exit_code != 0, f"a write on the disk of {target.box.service}: {said}")


class DiskStall(DiskFault):
    """A dying disk, a storage network that is gone: no write ends, and no signal reaches the process that waits for it."""

    kind = FaultKind.DISK_STALL
    verb = "freeze"

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A small write by the box does not end."""
        now = tried(control, target, 1, STALL_S)
        box = target.box.service
        if now.hangs:
            return Verification(True, f"a write on the disk of {box} does not end within {STALL_S:g} s")
        said = f"could not be made ({now.error})" if now.error else f"takes {now.mean_ms:.0f} ms"
        return Verification(False, f"a write on the disk of {box} {said}")


class DiskSlow(DiskFault):
    """A disk that is worn out, or shared with too many: it stutters. Reads are as fast as ever."""

    kind = FaultKind.DISK_SLOW

    def check_works(self, control: BoxControl, target: InjectionTarget) -> None:
        """A disk that is as slow already would prove nothing."""
        super().check_works(control, target)
        before = self._tried(control, target)
        if before.hangs or before.error or before.mean_ms >= _held_ms(target) * SLOW_RATIO:
            raise UsageError(
                f"a write on the disk of {target.box.service} takes {before.mean_ms:.0f} ms already",
                f"delay_ms: {max(10.0, 10 * before.mean_ms):.0f}, or 'lab heal'",
            )

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Start the helper that holds writes back: it stays when the lab ends."""
        control.slow_disk(disk_of(target), _held_ms(target) / 1000)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Small writes by the box wait for a good part of what they are held back at most."""
        now, box = self._tried(control, target), target.box.service
        if now.hangs or now.error:
            return Verification(False, f"a write on the disk of {box} {'does not end' if now.hangs else f'fails: {now.error}'}")
        is_slow = now.mean_ms >= _held_ms(target) * SLOW_RATIO
        words = f"{len(now.took_ms)} writes on the disk of {box} took {now.mean_ms:.0f} ms on average"
        return Verification(is_slow, f"{words} (each is held back for up to {_held_ms(target):g} ms)")

    def _tried(self, control: BoxControl, target: InjectionTarget) -> Tried:
        each_s = _held_ms(target) / 1000 + PAUSE_S
        times = max(2, min(WRITES_MAX, round(WRITES_S / each_s)))
        return tried(control, target, times, times * each_s + PATIENCE_S)


def _held_ms(target: InjectionTarget) -> float:
    return target.blast_radius.how.delay_ms


def tried(control: BoxControl, target: InjectionTarget, times: int, patience_s: float) -> Tried:
    """Have a box write a little on its disk, so many times, and wait for that for so long."""
    steps = round(patience_s / WAIT_STEP_S)
    arguments = [disk_of(target).path, str(times), str(steps), f"{PAUSE_S:g}"]
    timeout_s = patience_s + ASK_TIMEOUT_S
    return Tried.of(control.run_in(target.box, ["bash", "-c", WRITES, "lab-write", *arguments], timeout_s=timeout_s))


def disk_of(target: InjectionTarget) -> Disk:
    """The disk of a target that was prepared."""
    if target.disk is None:
        raise LabError(f"{target.box.service} has no disk of its own", "this is a bug in the lab")
    return target.disk


def helper_of(target: InjectionTarget) -> Beside:
    """The helper at the disk of a target that was prepared."""
    if target.helper is None:
        raise LabError(f"the disk of {target.box.service} has no helper", "this is a bug in the lab")
    return target.helper
