"""memory: a box may use hardly more memory than it does (a squeeze); or a leak fills what is left until nothing is.

What leaks are the pages of a file in the box's own memory (/dev/shm). They count as the box's, cannot be taken back, and are no
process's: when the limit is reached, the kernel has to kill the service, as it would one that leaks itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.cluster.system import RunningSystem
from lab.engine.inspect import MemoryUse
from lab.errors import HealError, LabError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, Room
from lab.model.fault import FaultKind, Undo, UndoAction, Verification
from lab.model.topology import Box, MemoryLimit
from lab.process import last_line, wait_until

MIB = 2**20
PAGE_BYTES = 64 * 1024
"""Of any kernel: one with larger pages than usual would round the limit, and it would not be the one that was asked for."""
LIMIT_MIN_BYTES = 6 * MIB
"""Docker sets no lower one."""
NEAR_RATIO = 0.9
"""Of its limit: a box that uses less has room."""
LEAK = "lab_fault_leak"
SHARED = "/dev/shm"
SHARED_LEFT_BYTES = 8 * MIB
"""What a leak leaves free there: a database needs some of it, and would fail in another way."""
ENDED_TIMEOUT_S = 10.0
ASK_TIMEOUT_S = 5.0
"""A box that is short of memory may be very late with an answer."""
NOT_ENOUGH, LEAKS_ALREADY = 3, 4
# Whether a leak could be started here, and ended; then how many blocks are free in the box's memory, and how large one is.
LOOKING = (
    f"for each in setsid head pkill pgrep; do command -v $each >/dev/null || exit {NOT_ENOUGH}; done; "
    f'[ -n "$EPOCHREALTIME" ] || exit {NOT_ENOUGH}; ! ls {SHARED}/lab_fault* >/dev/null 2>&1 || exit {LEAKS_ALREADY}; '
    f"stat -f -c '%a %S' {SHARED}"
)
# $0 is the name of the file, by which the process is found too; $1 how many bytes in all, $2 how many a second. A busy machine
# makes it late, and then it catches up.
LEAKING = (
    f'exec </dev/null >/dev/null 2>&1; file={SHARED}/$0; : >"$file"; taken=0; since=${{EPOCHREALTIME/[.,]/}}; '
    "while ((taken < $1)); do due=$(((${EPOCHREALTIME/[.,]/} - since) * $2 / 1000000)); ((due > $1)) && due=$1; "
    'if ((due > taken)); then head -c $((due - taken)) /dev/zero >>"$file" || break; taken=$due; fi; sleep 0.2; done'
)
# Its own command line has the name in another spelling: it does not end itself.
ENDING = (
    f"pkill -9 -f 'lab_fault[_]leak'; rm -f {SHARED}/lab_fault*; "
    f"! pgrep -f 'lab_fault[_]leak' >/dev/null && ! ls {SHARED}/lab_fault* >/dev/null 2>&1"
)
FINDING = f"ls {SHARED}/lab_fault* 2>/dev/null; pgrep -f 'lab_fault[_]leak'; true"


class Memory(BoxFault):
    """A limit that is too tight, a neighbour in the box that grew, a leak."""

    kind = FaultKind.MEMORY
    action = UndoAction.UNSQUEEZE

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """See what it uses, and whether less than it may can work. Raises UsageError."""
        target, how = super().prepare(control, target), target.blast_radius.how
        before, now = control.memory_limit(target.box), control.memory_use(target.box)
        if now is None:
            raise UsageError(f"the engine does not say how much memory {target.box.service} uses", "see 'lab doctor'")
        limit_bytes = max(int(now.working_bytes * how.memory_percent / 100), LIMIT_MIN_BYTES) // PAGE_BYTES * PAGE_BYTES
        leaks = how.leak_mib_s > 0
        check_limit(target.box, limit_bytes, before, now, leaks)
        leak_bytes = _leak_bytes(control, target, limit_bytes - now.kept_bytes) if leaks else 0
        room = Room(limit_bytes, leak_bytes, now.hits, control.last_oom_ns(target.box))
        return replace(target, before=str(before), room=room)

    def undo(self, target: InjectionTarget) -> Undo:
        """Let it use what it could; what leaks ends."""
        leak = LEAK if target.blast_radius.how.leak_mib_s else ""
        return replace(super().undo(target), setting=target.before, process=leak)

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Lower the limit, of memory and swap together. It outlives a restart of the box; a leak does not. Raises LabError."""
        room, box = _room(target), target.box
        try:
            control.limit_memory(box, MemoryLimit(room.limit_bytes, room.limit_bytes))
        except LabError as error:
            why = f"{box.service} could not be brought down to {mib(room.limit_bytes)}: {error.message}"
            raise LabError(why, "cgroup v1 refuses where it cannot take back the rest: a higher memory_percent") from error
        if room.leak_bytes:
            rate = int(target.blast_radius.how.leak_mib_s * MIB)
            leaking = ["setsid", "--fork", "bash", "-c", LEAKING, LEAK, str(room.leak_bytes), str(rate)]
            done = control.run_in(box, leaking)
            if done.exit_code:
                raise LabError(f"no leak could be started in {box.service}: {last_line(done.output)}")

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The engine knows the limit, and something shows that it is felt: the box is near it or has reached it, the kernel has
        killed a process for it, a leak grows."""
        room, box = _room(target), target.box.service
        known = control.memory_limit(target.box)
        # Where the kernel does not count swap, the engine has no limit of it.
        is_set = known.memory_bytes == room.limit_bytes and known.with_swap_bytes in (room.limit_bytes, -1)
        now = control.memory_use(target.box)
        sign = next(_signs(control, target, now), "")
        uses = f"uses {mib(now.used_bytes)}" if now else "does not say what it uses"
        limit = f"may use {mib(room.limit_bytes)}" if is_set else "may use more than it should"
        return Verification(is_set and bool(sign), f"{box} {limit}, and {sign or f'{uses}: nothing shows that it is felt'}")


def check_limit(box: Box, limit_bytes: int, before: MemoryLimit, now: MemoryUse, leaks: bool) -> None:
    """Raise UsageError for a limit that is no less than before, that the kernel would refuse, or that the box would not feel."""
    if before.memory_bytes and limit_bytes >= before.memory_bytes:
        raise UsageError(
            f"{box.service} may use no more than {mib(before.memory_bytes)} anyway: {mib(limit_bytes)} would not be less",
            f"memory_percent: under {_percent(before.memory_bytes, now)}",
        )
    if limit_bytes < now.kept_bytes:
        raise UsageError(
            f"{box.service} cannot be brought down to {mib(limit_bytes)}: it uses {mib(now.kept_bytes)} that is no page cache",
            f"memory_percent: over {_percent(now.kept_bytes, now)}",
        )
    if not leaks and now.used_bytes < limit_bytes * NEAR_RATIO:
        raise UsageError(
            f"{box.service} uses {mib(now.used_bytes)}: it would not feel a limit of {mib(limit_bytes)}",
            "memory_percent: 105; or a leak: leak_mib_s: 5",
        )


def _percent(size_bytes: int, now: MemoryUse) -> int:
    return size_bytes * 100 // max(now.working_bytes, 1)


def _leak_bytes(control: BoxControl, target: InjectionTarget, wanted_bytes: int) -> int:
    """How much has to leak until nothing is left, page cache neither. Raises UsageError where that finds no room."""
    box, room_bytes = target.box.service, max(_free_bytes(control, target.box) - SHARED_LEFT_BYTES, 0)
    if wanted_bytes > room_bytes:
        raise UsageError(
            f"{mib(wanted_bytes)} would have to leak in {box}, and {SHARED} has room for {mib(room_bytes)}",
            "a lower memory_percent, or a larger shm_size in the stage file",
        )
    return max(wanted_bytes, MIB)


def _free_bytes(control: BoxControl, box: Box) -> int:
    """How much can leak in a box at most. Raises UsageError where a leak cannot be started or ended, or one is there."""
    done = control.run_in(box, ["bash", "-c", LOOKING], timeout_s=ASK_TIMEOUT_S)
    if done.exit_code == LEAKS_ALREADY:
        raise UsageError(f"memory leaks in {box.service} already", "'lab heal' ends it")
    if done.exit_code == NOT_ENOUGH:
        raise UsageError(f"{box.service} has not the programs that leak: bash 5, setsid, head, pkill", "without leak_mib_s")
    words = done.output.split()
    if done.exit_code or len(words) != 2 or not all(map(str.isdigit, words)):
        raise UsageError(
            f"{box.service} has no {SHARED} in which memory could leak: {last_line(done.output)}", "without leak_mib_s"
        )
    return int(words[0]) * int(words[1])


def _signs(control: BoxControl, target: InjectionTarget, now: MemoryUse | None) -> Iterator[str]:
    """What shows that a limit is felt, the cheapest to ask first."""
    room = _room(target)
    if now and now.limit_bytes == room.limit_bytes:
        if now.used_bytes >= room.limit_bytes * NEAR_RATIO:
            yield f"uses {mib(now.used_bytes)}"
        if now.hits > room.hits_before:
            yield f"has reached that {now.hits - room.hits_before} times"
    if control.last_oom_ns(target.box) > room.oom_before_ns:
        yield "the kernel has killed a process of it for want of memory"
    if room.leak_bytes and (leaked := _leaked_bytes(control, target.box)):
        yield f"{mib(leaked)} of {mib(room.leak_bytes)} have leaked"


def _leaked_bytes(control: BoxControl, box: Box) -> int:
    done = control.run_in(box, ["stat", "-c", "%s", f"{SHARED}/{LEAK}"], timeout_s=ASK_TIMEOUT_S)
    return int(done.output) if done.exit_code == 0 and done.output.strip().isdigit() else 0


def _room(target: InjectionTarget) -> Room:
    if target.room is None:
        raise LabError(f"it is not known how much memory {target.box.service} uses", "this is a bug in the lab")
    return target.room


def mib(size_bytes: int) -> str:
    """A size in words."""
    return f"{size_bytes / MIB:.1f} MiB"


# Taking it back


def give_back(system: RunningSystem, box: Box, setting: str) -> None:
    """Let a box use what it could before. Raises LabError."""
    before = MemoryLimit.of(setting)
    if not before.memory_bytes:
        # A limit cannot be removed, only set: all memory is none.
        before = MemoryLimit(system.engine.info().memory_mib * MIB, -1)
    system.engine.limit_memory(box, before)


def end_leak(system: RunningSystem, service: str) -> None:
    """End what leaks in a box, and free what has leaked. With a box that has ended, it has. Raises HealError."""
    if not wait_until(lambda: _is_tight(system, service), ENDED_TIMEOUT_S):
        raise HealError(f"the leak in {service} could not be ended", "restart the box: that ends it too")


def _is_tight(system: RunningSystem, service: str) -> bool:
    """Whether nothing leaks in a box any more, after it was ended."""
    now = system.box(service)
    if now is None or now.status != "running":
        return True
    return system.run_in(now, ["bash", "-c", ENDING]).exit_code == 0


def sweep_limit(system: RunningSystem, box: Box) -> list[str]:
    """Let a box use what its stage file says, whoever lowered that; what was done. Raises LabError."""
    wanted = next((spec.memory for spec in system.stage.services if spec.name == box.service), MemoryLimit())
    now = system.engine.memory_limit(box)
    if not wanted.memory_bytes or not now.memory_bytes or _is_as(now, wanted):
        return []
    system.engine.limit_memory(box, wanted)
    had, has = _in_words(now, wanted), _in_words(wanted, now)
    return [f"{box.service} could use {had}: {has} again, as its stage file says"]


def _is_as(now: MemoryLimit, wanted: MemoryLimit) -> bool:
    """Whether a limit is the one of the stage file. Where the kernel does not count swap, the engine has no limit of it."""
    return now.memory_bytes == wanted.memory_bytes and now.with_swap_bytes in (wanted.with_swap_bytes, -1, 0)


def _in_words(limit: MemoryLimit, other: MemoryLimit) -> str:
    """In what it differs from the other one: how much memory, or how much swap beside it."""
    is_of_swap = limit.memory_bytes == other.memory_bytes
    return f"{mib(limit.with_swap_bytes - limit.memory_bytes)} of swap" if is_of_swap else mib(limit.memory_bytes)


def sweep_leak(system: RunningSystem, box: Box) -> list[str]:
    """End what leaks in a box, whoever began it; what was done. Raises HealError."""
    found = system.run_in(box, ["bash", "-c", FINDING])
    if found.exit_code == 0 and not found.output.strip():
        return []
    # Of a box that does not say, it is not known that nothing leaks.
    end_leak(system, box.service)
    return [] if found.exit_code else [f"memory leaked in {box.service}: ended"]
