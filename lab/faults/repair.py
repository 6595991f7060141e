"""Repair: what an orchestrator, or a human, does about a lost box. The lab stands in for the orchestrator, and says so.

What is done about a box is decided by `remedy`, which is pure. One rule stands over every policy: a disk whose content is
nowhere else is never thrown away. An orchestrator that replaced the last copy would finish what the fault began.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from time import monotonic

from lab.checker import redundancy
from lab.checker.redundancy import Tier
from lab.cluster import database, readiness
from lab.engine.engine import Engine
from lab.errors import InconclusiveError, LabError
from lab.faults import heal
from lab.model.experiment import Repair, RepairPolicy
from lab.model.fault import FaultKind, Step, Undo, UndoAction
from lab.model.observation import ClusterView, DatabaseState
from lab.model.topology import Box, Stage
from lab.probe import status
from lab.probe.observer import Observer, look
from lab.process import wait_until
from lab.store.undo_log import UndoLedger

STAND_IN = "the lab in place of an orchestrator"
CUTTING = (FaultKind.DISCONNECT, FaultKind.ISOLATE)
LOSING = (FaultKind.KILL, FaultKind.CRASH, FaultKind.STOP, FaultKind.PAUSE, FaultKind.RESTART)
ELECTION_S = 10.0
"""How long an election may take before a lost database is started as it is, for its data may be needed."""
LOOK_PERIOD_S = 0.3
CALM_TIMEOUT_S = 10.0
REPLACED = "replace"
BROUGHT_BACK = (UndoAction.START, UndoAction.UNPAUSE, UndoAction.CREATE)
"""What a repair has undone; of a new box also what was done to the cables of the old one."""
OF_CABLES = (UndoAction.RECONNECT, UndoAction.UNFILTER, UndoAction.UNSHAPE)

Note = Callable[[str, str], None]


class Remedy(StrEnum):
    """What to do about a box."""

    NOTHING = "nothing"
    START = "start"
    POWER_CYCLE = "power-cycle"
    """It is frozen: switched off and on again."""
    REPLACE = "replace"
    WAIT = "wait"
    """Nobody leads now: whether its disk is the last copy shows only when somebody does."""


def remedy(policy: RepairPolicy, stage: Stage, service: str, box: Box | None, view: ClusterView, severed: bool = False) -> Remedy:
    """What a policy does about a box as it is now (None: it is gone with its disk).

    `severed`: it runs, and its own network is what it lost: a restart is of no use, a new box has new cables.
    """
    if policy is RepairPolicy.NONE or (box and box.status == "running" and not (severed and policy is RepairPolicy.REPLACE)):
        return Remedy.NOTHING
    if box is None:
        # A restart needs something to restart.
        return _new(stage, service, view) if policy is RepairPolicy.REPLACE else Remedy.NOTHING
    as_it_is = Remedy.NOTHING if box.status == "running" else Remedy.POWER_CYCLE if box.status == "paused" else Remedy.START
    if policy is RepairPolicy.RESTART or only_copy(stage, service):
        return as_it_is
    found = _new(stage, service, view)
    return found if found is not Remedy.NOTHING else as_it_is


def _new(stage: Stage, service: str, view: ClusterView) -> Remedy:
    """Whether an empty disk can take the place of this box's now."""
    if service not in stage.databases or only_copy(stage, service):
        return Remedy.REPLACE
    if _leaders(view) - {service}:
        return Remedy.REPLACE
    return Remedy.WAIT if stage.failover == "automatic" and view.named(DatabaseState.STANDBY) else Remedy.NOTHING


def only_copy(stage: Stage, service: str) -> bool:
    """Whether nobody else ever has what is on this box's disk: a database that stands alone, or the monitor.

    A monitor with an empty disk would know no database, and no keeper would know it.
    """
    roles = {role for spec in stage.services if spec.name == service for role in spec.roles}
    return "monitor" in roles or (service in stage.databases and not stage.is_replicated)


def _leaders(view: ClusterView) -> set[str]:
    return {*view.named(DatabaseState.PRIMARY), *view.named(DatabaseState.SYNC_BLOCKED)}


def is_severed(step: Step, hit: int) -> bool:
    """Whether a step takes the network from a single box: of a whole place, the place has failed, and no box is at fault."""
    return step.fault in CUTTING and hit == 1


def can_repair(policy: RepairPolicy, step: Step, hit: int) -> bool:
    """Whether a policy brings back what a step takes. Lines, and whole places without a network, are nobody's box."""
    if step.fault is FaultKind.WIPE or is_severed(step, hit):
        return policy is RepairPolicy.REPLACE
    return policy is not RepairPolicy.NONE and step.fault in LOSING


class Reserve:
    """What a stage has in reserve, tier by tier, and whether that is all that it had in calm times."""

    def __init__(self, engine: Engine, stage: Stage, observer: Observer) -> None:
        """Look once: these are the calm times. Raises InconclusiveError when nobody can be asked."""
        self._engine, self._stage, self._observer = engine, stage, observer
        calm: list[dict[Tier, int]] = []

        def looked() -> bool:
            with suppress(InconclusiveError):
                calm.append(self._margins())
            return bool(calm)

        # A machine that is busy starting a load may answer late.
        self._calm = calm[0] if wait_until(looked, CALM_TIMEOUT_S) else self._margins()

    def is_back(self) -> bool:
        """Whether all is in reserve again."""
        return not self.missing()

    def missing(self) -> str:
        """What is not as in calm times; nothing where every box is well, the observer sees nothing missing, and every tier
        survives as many failures as it did then."""
        stage = self._stage
        if stage.is_watched and not stage.is_redundant(view := self._observer.latest()):
            return readiness.describe(view)
        boxes = [box for box in self._engine.boxes(stage.number) if box.service in stage.needed]
        ill = set(stage.needed) - {box.service for box in boxes if self._engine.is_healthy(box)}
        if ill:
            return f"{', '.join(sorted(ill))} not well"
        try:
            return shortage(self._margins(), self._calm)
        except InconclusiveError as error:
            return error.message

    def describe(self) -> str:
        """back, or what is missing."""
        missing = self.missing()
        return f"missing: {missing}" if missing else "back"

    def is_served(self) -> bool:
        """Whether one database accepts writes and users get an answer from it."""
        view = self._observer.latest()
        writable = not view.databases or len(view.named(DatabaseState.PRIMARY)) == 1
        return writable and readiness.service_answers(self._engine, self._stage)

    def _margins(self) -> dict[Tier, int]:
        boxes = self._engine.boxes(self._stage.number)
        return redundancy.margins(
            redundancy.evidence(self._stage, boxes, status.cluster_status(self._engine, self._stage, boxes))
        )


def shortage(now: dict[Tier, int], calm: dict[Tier, int]) -> str:
    """The tiers that survive fewer failures than in calm times; nothing where none does."""
    short = [
        f"{tier} survives {now.get(tier, 0)} failures, not {count}" for tier, count in calm.items() if now.get(tier, 0) < count
    ]
    return ", ".join(short)


class Repairs:
    """Brings back lost boxes a while after they were lost, each in a thread of its own, one act at a time.

    What it does and sees goes to `note`: repair, when it begins; repaired, when all is in reserve again. `stop` it before
    anything is healed. Entries of the ledger stay open until then: should the lab be killed, `lab heal` finds them.
    """

    def __init__(
        self, engine: Engine, ledger: UndoLedger, stage: Stage, repair: Repair, observer: Observer, reserve: Reserve, note: Note
    ) -> None:
        self._engine, self._ledger, self._stage, self._repair = engine, ledger, stage, repair
        self._observer, self._reserve, self._note = observer, reserve, note
        self._threads: list[threading.Thread] = []
        self._end = threading.Event()
        self._acting = threading.Lock()
        self._open: set[str] = set()
        self._done: dict[str, Remedy] = {}
        self._beyond = False
        self.acts: list[tuple[str, float, float]] = []
        """What was done to which box, from when to when; monotonic seconds of this host."""
        self.whole_at: float | None = None
        """When all was last seen in reserve again, after the last loss; monotonic seconds of this host."""

    @property
    def is_through(self) -> bool:
        """Whether boxes were lost, and each is back with all in reserve again."""
        return bool(self._threads) and not self._open and self.whole_at is not None

    @property
    def is_awaited(self) -> bool:
        """Whether repairs will bring everything back that was struck: then it is worth waiting for."""
        return bool(self._threads) and not self._beyond

    def struck(self, step: Step, services: Sequence[str]) -> None:
        """A step has hit these boxes just now."""
        if can_repair(self._repair.policy, step, len(services)):
            self.lost(services, is_severed(step, len(services)))
        else:
            self._beyond = True
            self._note("note", f"{step}: nothing that the policy {self._repair.policy} could bring back; the lab heals it")

    def lost(self, services: Sequence[str], severed: bool) -> None:
        """These boxes were lost just now."""
        self.whole_at = None
        self._open |= set(services)
        next_cell = monotonic() + self._repair.delay_s
        thread = threading.Thread(target=self._work, args=(tuple(services), severed, next_cell), daemon=True, name="repair")
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End: what is under way is done, nothing new is begun."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def settle(self) -> None:
        """Close what the repairs have undone; every other entry is for the lab to heal."""
        close(self._ledger, self._stage, self._done)

    def _work(self, services: tuple[str, ...], severed: bool, next_cell: float) -> None:
        if self._end.wait(max(next_cell - monotonic(), 0.0)):
            return
        try:
            for service in services:
                self._mend(service, severed)
            self._await_reserve(services)
        except LabError as error:  # what is not repaired is healed in the end
            self._note("note", f"the repair of {', '.join(services)} failed: {error.message}")

    def _mend(self, service: str, severed: bool) -> None:
        """What the policy does about one box, when it is known what that is."""
        deadline, found = monotonic() + ELECTION_S, Remedy.WAIT
        while found is Remedy.WAIT and not self._end.is_set():
            with self._acting:
                box = box_of(self._engine, self._stage, service)
                found = remedy(self._repair.policy, self._stage, service, box, self._observer.latest(), severed)
                if found is Remedy.WAIT and monotonic() > deadline:
                    found = Remedy.START if box else Remedy.NOTHING
                if found not in (Remedy.WAIT, Remedy.NOTHING):
                    self._note("repair", f"{found} {service} ({STAND_IN})")
                    since = monotonic()
                    try:
                        act(self._engine, self._ledger, self._stage, service, box, found)
                    finally:
                        self.acts.append((service, since, monotonic()))
                    self._done[service] = found
            self._end.wait(LOOK_PERIOD_S if found is Remedy.WAIT else 0.0)

    def _await_reserve(self, services: tuple[str, ...]) -> None:
        since = monotonic()
        while not self._end.wait(LOOK_PERIOD_S):
            if self._reserve.is_back():
                self._open -= set(services)
                self.whole_at = monotonic()
                self._note(
                    "repaired", f"{', '.join(services)}: redundancy restored, {self.whole_at - since:.1f} s after its return"
                )
                return


def box_of(engine: Engine, stage: Stage, service: str) -> Box | None:
    """The box of a service as it is now; None where it is gone."""
    return next((box for box in engine.boxes(stage.number) if box.service == service), None)


def act(engine: Engine, ledger: UndoLedger, stage: Stage, service: str, box: Box | None, what: Remedy) -> None:
    """Carry out a remedy. Raises LabError."""
    if what is Remedy.POWER_CYCLE and box:
        engine.kill(box)
        box = box_of(engine, stage, service)
    if what in (Remedy.START, Remedy.POWER_CYCLE) and box:
        heal.mend(engine, box)
    if what is Remedy.REPLACE:
        if box:
            # Should the lab be killed between the old box and the new one, somebody has to know that one is missing.
            ledger.open(Undo(UndoAction.CREATE, box.id, service, stage.number), REPLACED)
            engine.remove(box)
        _make(engine, stage, service)


def _make(engine: Engine, stage: Stage, service: str) -> None:
    if database.needs_an_operator(stage, service):
        heal.make_again(engine, stage, service)
    else:
        engine.up(stage, service)


def by_hand(engine: Engine, ledger: UndoLedger, stage: Stage, policy: RepairPolicy, say: Callable[[str], None]) -> int:
    """What the human does who is called instead: bring back every box that is lost, wait until nothing is missing.

    Returns how many were. Boxes that run are left alone, so are faults of the network. Raises HealError, UsageError.
    """
    mended: dict[str, Remedy] = {}
    for spec in stage.services:
        box = box_of(engine, stage, spec.name)
        if box and box.status == "running":
            continue
        view = look(engine, stage) if stage.is_watched else ClusterView(0, {}, 0, 0, (), "")
        asked = RepairPolicy.REPLACE if box is None else policy
        found = remedy(asked, stage, spec.name, box, view)
        found = Remedy.START if found is Remedy.WAIT and box else found
        if found in (Remedy.NOTHING, Remedy.WAIT):
            continue
        say(f"{found} {spec.name}, which was {box.condition if box else 'gone'}")
        act(engine, ledger, stage, spec.name, box, found)
        mended[spec.name] = found
    close(ledger, stage, mended)
    readiness.await_whole(engine, stage, say=say)
    ledger.check_noted()
    return len(mended)


def close(ledger: UndoLedger, stage: Stage, done: Mapping[str, Remedy]) -> None:
    """Close the entries that these remedies have made good. A limit or a line is not mended by a box that is back."""
    for entry in ledger.entries():
        undo = entry.undo
        if undo.stage != stage.number or undo.service not in done:
            continue
        renewed = done[undo.service] is Remedy.REPLACE and undo.action in OF_CABLES
        if undo.action in BROUGHT_BACK or renewed:
            ledger.close(entry)


def wait_for(condition: str, reserve: Reserve, pause: Callable[[float], None], timeout_s: float) -> bool:
    """Wait until the condition of a step holds, for so long at most; returns whether it does."""
    holds = {"redundant": reserve.is_back, "served": reserve.is_served}[condition]
    deadline = monotonic() + timeout_s
    while not holds():
        if monotonic() >= deadline:
            return False
        pause(LOOK_PERIOD_S)
    return True
