"""clock: the wall clock of a box is wrong. It was set forward or back, or it is too fast or too slow.

The machine has one wall clock for all boxes, and it stays as it is. The programs of a box ask libfaketime for the time, in images of
that flavour only (LAB_CLOCK=yes). The monotonic clock is right, as it is on a machine whose clock is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.cluster.database import MONITOR_ROLE, PSQL
from lab.cluster.system import RunningSystem
from lab.errors import HealError, LabError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, verified_within, with_processes
from lab.model.fault import FaultKind, UndoAction, Verification
from lab.model.topology import DB_ROLE, INTERNET_ROLE, Box
from lab.process import last_line

SET = "lab-clock"
"""The program in the box that sets its clock."""
RIGHT = "+0"
LIBRARY = "libfaketime"
BY_DATE = ("date", "+%s.%N")
BY_DATABASE = (*PSQL, "-c", "SELECT extract(epoch FROM clock_timestamp())")
SECONDS = re.compile(r"\d+\.\d+")
OFFSET = re.compile(r"([+-]\d+(?:\.\d+)?)( drift)?")
ASK_TIMEOUT_S = 5.0
DRIFT_PROOF_S = 15.0
"""For so long a drift has time to become more than the clocks are known to: some tenths of a second."""
LAG_S = 2.5
"""A drift takes a step each second, programs look once a second, and each question takes its time: so old may be what one says."""


class Clock(BoxFault):
    """A machine that was set to another time, or whose clock nothing keeps right."""

    kind = FaultKind.CLOCK
    action = UndoAction.SET_RIGHT

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Only a clock that can be set, and is right, can be set wrong; and only where the service goes by it."""
        box, target = target.box, super().prepare(control, target)
        if not box.has_clock:
            raise UsageError(
                f"the clock of {box.service} cannot be set: its image is the ordinary one",
                "web boxes, databases and monitors have a flavour for that: LAB_CLOCK=yes lab up STAGE",
            )
        target = with_processes(control, target, "read a clock")
        maps = [f"/proc/{pid}/maps" for pid in sorted(target.pids, key=int)]
        if control.run_in(box, ["grep", "-lq", LIBRARY, *maps], timeout_s=ASK_TIMEOUT_S).exit_code:
            raise UsageError(
                f"'{target.process}' in {box.service} does not go by the clock that can be set", "see docs/faults.md"
            )
        if (now := _setting(control, box)) != RIGHT:
            raise UsageError(f"the clock of {box.service} is off already: {now or 'unknown'} s", "'lab heal' sets it right")
        return target

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Set it. Every program of the box sees it within a second. Raises LabError where the box refuses."""
        how = target.blast_radius.how
        words = ["set", f"{how.step_s:+.3f}"] if how.step_s else ["drift", f"{how.drift_percent:+.3f}"]
        done = control.run_in(target.box, [SET, *words], timeout_s=ASK_TIMEOUT_S)
        if done.exit_code:
            raise LabError(f"the clock of {target.box.service} could not be set: {last_line(done.output)}")

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The box's clock and that of a box without the flavour differ by what was asked for."""
        if not target.blast_radius.how.drift_percent:
            return self._compared(control, target)
        return verified_within(lambda: self._compared(control, target), DRIFT_PROOF_S)

    def _compared(self, control: BoxControl, target: InjectionTarget) -> Verification:
        name, how = target.box.service, target.blast_radius.how
        other = next((box for box in target.blast_radius.outside if INTERNET_ROLE in box.roles), None)
        if other is None:
            return Verification(False, f"there is no box whose clock is surely right, to compare that of {name} with")
        apart = compared(control, target.box, other)
        asked = _offset_s(_setting(control, target.box)) if how.drift_percent else how.step_s
        if apart is None or asked is None:
            return Verification(False, f"{name} or {other.service} does not say what time it is")
        lag_s = abs(how.drift_percent) / 100 * LAG_S
        words = f"the clock of {name} is {apart.middle_s:+.2f} s off that of {other.service} (known to {apart.error_s:.2f} s)"
        is_asked_way = asked * (how.step_s or how.drift_percent) > 0
        return Verification(is_asked_way and apart.has(asked, lag_s) and not apart.has(0.0), words)


@dataclass(frozen=True)
class Apart:
    """How far one clock is before another one: between two bounds, since neither is read at once."""

    low_s: float
    high_s: float

    @property
    def middle_s(self) -> float:
        """The best guess."""
        return (self.low_s + self.high_s) / 2

    @property
    def error_s(self) -> float:
        """By how much that may be wrong."""
        return (self.high_s - self.low_s) / 2

    def has(self, offset_s: float, tolerance_s: float = 0.0) -> bool:
        """Whether it may be so much."""
        return self.low_s - tolerance_s <= offset_s <= self.high_s + tolerance_s


def compared(control: BoxControl, box: Box, other: Box) -> Apart | None:
    """How far a box's clock is before another box's, which is read before and after; None where one does not say.

    A database is asked itself, another box has a new process say it.
    """
    by = BY_DATABASE if {DB_ROLE, MONITOR_ROLE} & set(box.roles) else BY_DATE
    readings = [_read(control, *each) for each in ((other, BY_DATE), (box, by), (other, BY_DATE))]
    before, now, after = readings
    return None if before is None or now is None or after is None else Apart(now - after, now - before)


def _read(control: BoxControl, box: Box, command: tuple[str, ...]) -> float | None:
    done = control.run_in(box, command, timeout_s=ASK_TIMEOUT_S)
    return float(done.output) if done.exit_code == 0 and SECONDS.fullmatch(done.output.strip()) else None


def _setting(control: BoxControl, box: Box) -> str:
    """How far off the clock of a box is set; empty where the box does not say."""
    done = control.run_in(box, [SET, "show"], timeout_s=ASK_TIMEOUT_S)
    said = done.output.strip()
    return said if done.exit_code == 0 and OFFSET.fullmatch(said) else ""


def _offset_s(setting: str) -> float | None:
    return float(setting.split(maxsplit=1)[0]) if setting else None


def undo(system: RunningSystem, box: Box) -> None:
    """Set the clock of a box right that was not started again: what it was set to is in memory. Raises LabError."""
    if not box.has_clock or box.is_down:
        return
    done = system.run_in(box, [SET, "set", RIGHT])
    if done.exit_code:
        raise LabError(f"the clock of {box.service} could not be set right: {last_line(done.output)}")


def sweep(system: RunningSystem, box: Box) -> list[str]:
    """Set the clock of a box right where it is not known to be, whoever set it; what was done. Raises HealError."""
    if not box.has_clock:
        return []
    done = system.run_in(box, [SET, "show"])
    said = last_line(done.output)
    if done.exit_code == 0 and said == RIGHT:
        return []
    try:
        undo(system, box)
    except LabError as error:
        raise HealError(error.message, "'lab heal' tries again") from error
    return [f"the clock of {box.service} was off ({said}): set right"]
