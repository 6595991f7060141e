"""A fault of the network that comes and goes: one injection, on and off by turns, until it is ended.

Each time it comes, its undo is on the disk first; each time it has gone, that is noted as undone. So whatever becomes of the
lab, the undo log says what is in effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle

from lab.errors import LabError
from lab.faults.injection import Injection
from lab.model.fault import Verification
from lab.store.undo_log import OpenFault

ON, OFF = "fault-on", "fault-off"
"""The events of its edges, but for the first, which is that of every fault."""
VERIFIED, UNVERIFIED = "fault-verified", "fault-unverified"
BROKEN_OFF = "the flapping ended by itself: an error of the lab"

Note = Callable[[str, str, float], None]
"""Notes an event: its name, words, and when (monotonic seconds of this host)."""


class Flap:
    """An injection that was just made, and is on. As a context: no edge comes after it.

    What is on when it ends stays so, for the healing; what it is then stands in `entries`.
    """

    def __init__(self, injection: Injection, entries: list[OpenFault], since: float, note: Note) -> None:
        """`entries`: what is open of it, kept so; `since`: when it was injected, monotonic seconds of this host."""
        self._injection, self._entries, self._since, self._note = injection, entries, since, note
        self._clock = injection.system.host_clock
        injection.is_kept = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="flap")
        self.problem = ""
        """Why it came to an end before it was ended: an edge that was not proved."""
        self.acts: list[tuple[str, float, float]] = []
        """What was connected again, box by box, from when to when; monotonic seconds of this host."""
        self._thread.start()

    def end(self) -> None:
        """Let no edge come any more; one that is under way is finished."""
        self._ended.set()
        self._thread.join()
        self._injection.close()

    def __enter__(self) -> Flap:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _work(self) -> None:
        problem = BROKEN_OFF
        try:
            problem = self._come_and_go()
        except LabError as error:
            problem = error.message
        finally:
            self.problem = problem
            if problem:
                # It ended since nothing can be noted, perhaps: `problem` says it all the same.
                with suppress(LabError):
                    self._note(UNVERIFIED, problem, self._clock.monotonic())

    def _come_and_go(self) -> str:
        """Edge after edge, until it is ended (empty), or one is not proved: what was seen instead."""
        how = self._injection.step.how
        due_at = self._since + how.on_s
        for edge, lasts_s in cycle(((self._go, how.off_s), (self._come, how.on_s))):
            if self._clock.wait(self._ended, due_at - self._clock.monotonic()):
                return ""
            due_at = self._clock.monotonic() + lasts_s
            for each in edge():
                if not each.proved:
                    return each.evidence
                self._note(VERIFIED, each.evidence, self._clock.monotonic())
        return ""

    def _come(self) -> Sequence[Verification]:
        since = self._clock.monotonic()
        self._entries[:] = self._injection.note()
        self._note(ON, self._words, since)
        self._injection.inject()
        return self._injection.verify()

    def _go(self) -> Sequence[Verification]:
        since = self._clock.monotonic()
        self._note(OFF, self._words, since)
        try:
            found = self._injection.release()
        finally:
            until = self._clock.monotonic()
            self.acts += [(target.box.service, since, until) for target in self._injection.targets]
        if all(each.proved for each in found):
            for entry in self._entries:
                self._injection.system.undo_log.close(entry)
            self._entries.clear()
        return found

    @property
    def _words(self) -> str:
        return f"{self._injection.step.fault} {self._injection.names}"
