"""Repair: what an orchestrator, or a person on call, does about a lost box. The lab stands in for the orchestrator, and says so.

What is done about a box is decided by `repair_policy.remedy`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from lab.cluster import readiness
from lab.cluster.system import RunningSystem, Say
from lab.errors import LabError
from lab.faults import heal
from lab.faults.redundancy_watch import LOOK_PERIOD_S, RedundancyWatch
from lab.faults.repair_policy import Remedy, can_repair, is_severed, remedy
from lab.model.experiment import Repair, RepairPolicy
from lab.model.fault import Step, Undo, UndoAction
from lab.model.observation import ClusterView
from lab.model.topology import Box

STAND_IN = "the lab in place of an orchestrator"
ELECTION_S = 10.0
"""How long an election may take before a lost database is started as it is, for its data may be needed."""
REPLACED = "replace"
BROUGHT_BACK = (UndoAction.START, UndoAction.UNPAUSE, UndoAction.CREATE)
"""What a repair has undone; of a new box also what was done to the network of the old one."""
OF_NETWORKS = (UndoAction.RECONNECT, UndoAction.UNFILTER, UndoAction.UNSHAPE)

Note = Callable[[str, str], None]


class Repairs:
    """Brings back lost boxes a while after they were lost, each in a thread of its own, one act at a time.

    What it does and sees goes to `note`: repair, when it begins; repaired, when redundancy is restored. `stop` it before
    anything is healed. Entries of the undo log stay open until then: should the lab be killed, `lab heal` finds them.
    """

    def __init__(self, watch: RedundancyWatch, repair: Repair, note: Note) -> None:
        self._watch, self._repair, self._note = watch, repair, note
        self._cluster, self._clock = watch.cluster, watch.cluster.host_clock
        self._threads: list[threading.Thread] = []
        self._end = threading.Event()
        self._acting = threading.Lock()
        self._open: set[str] = set()
        self._done: dict[str, Remedy] = {}
        self._beyond = False
        self.acts: list[tuple[str, float, float]] = []
        """What was done to which box, from when to when; monotonic seconds of this host."""
        self.restored_at: float | None = None
        """When redundancy was last seen to be restored, after the last loss; monotonic seconds of this host."""

    @property
    def is_through(self) -> bool:
        """Whether boxes were lost, and each is back with redundancy restored."""
        return bool(self._threads) and not self._open and self.restored_at is not None

    @property
    def is_awaited(self) -> bool:
        """Whether repairs will bring back everything that was hit: then it is worth waiting for."""
        return bool(self._threads) and not self._beyond

    def struck(self, step: Step, services: Sequence[str]) -> None:
        """A step has hit these boxes just now."""
        if can_repair(self._repair.policy, step, len(services)):
            self.lost(services, is_severed(step, len(services)))
        else:
            self._beyond = True
            self._note("note", f"{step}: the policy {self._repair.policy} cannot bring that back; the lab heals it")

    def lost(self, services: Sequence[str], severed: bool) -> None:
        """These boxes were lost just now."""
        self.restored_at = None
        self._open |= set(services)
        due_at = self._clock.monotonic() + self._repair.delay_s
        thread = threading.Thread(target=self._work, args=(tuple(services), severed, due_at), daemon=True, name="repair")
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End: what is under way is done, nothing new is begun."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def settle(self) -> None:
        """Close what the repairs have undone; every other entry is for the lab to heal."""
        close(self._cluster, self._done)

    def _work(self, services: tuple[str, ...], severed: bool, due_at: float) -> None:
        if self._clock.wait(self._end, due_at - self._clock.monotonic()):
            return
        try:
            for service in services:
                self._repair_box(service, severed)
            self._await_redundancy(services)
        except LabError as error:  # what is not repaired is healed in the end
            self._note("note", f"the repair of {', '.join(services)} failed: {error.message}")

    def _repair_box(self, service: str, severed: bool) -> None:
        """What the policy does about one box, when it is known what that is."""
        deadline, chosen = self._clock.monotonic() + ELECTION_S, Remedy.WAIT
        while chosen is Remedy.WAIT and not self._end.is_set():
            with self._acting:
                box, view = self._cluster.box(service), self._watch.observer.latest()
                chosen = remedy(self._repair.policy, self._cluster.stage, service, box, view, severed)
                if chosen is Remedy.WAIT and self._clock.monotonic() > deadline:
                    chosen = Remedy.START if box else Remedy.NOTHING
                if chosen not in (Remedy.WAIT, Remedy.NOTHING):
                    self._act(service, box, chosen)
            self._clock.wait(self._end, LOOK_PERIOD_S if chosen is Remedy.WAIT else 0.0)

    def _act(self, service: str, box: Box | None, chosen: Remedy) -> None:
        self._note("repair", f"{chosen} {service} ({STAND_IN})")
        since = self._clock.monotonic()
        try:
            act(self._cluster, service, box, chosen)
        finally:
            self.acts.append((service, since, self._clock.monotonic()))
        self._done[service] = chosen

    def _await_redundancy(self, services: tuple[str, ...]) -> None:
        since = self._clock.monotonic()
        while not self._clock.wait(self._end, LOOK_PERIOD_S):
            if self._watch.is_restored():
                self._open -= set(services)
                self.restored_at = self._clock.monotonic()
                self._note(
                    "repaired", f"{', '.join(services)}: redundancy restored, {self.restored_at - since:.1f} s after its return"
                )
                return


def act(cluster: RunningSystem, service: str, box: Box | None, chosen: Remedy) -> None:
    """Carry out a remedy. Raises LabError."""
    if chosen is Remedy.POWER_CYCLE and box:
        cluster.engine.kill(box)
        box = cluster.box(service)
    if chosen in (Remedy.START, Remedy.POWER_CYCLE) and box:
        heal.bring_back(cluster, box)
    if chosen is Remedy.REPLACE:
        if box:
            # Should the lab be killed between the old box and the new one, the undo log says that one is missing.
            cluster.undo_log.open(Undo(UndoAction.CREATE, box.id, service, cluster.stage.number), REPLACED)
            cluster.engine.remove(box)
        cluster.recreate(service, alone=True)


def by_hand(cluster: RunningSystem, policy: RepairPolicy, say: Say) -> int:
    """What a person on call does: bring back every box that is lost, wait until redundancy is restored.

    Returns how many were lost. Boxes that run are left alone, so are faults of the network. Raises HealError, UsageError.
    """
    done: dict[str, Remedy] = {}
    for spec in cluster.stage.services:
        box = cluster.box(spec.name)
        chosen = _by_hand(cluster, spec.name, box, policy)
        if chosen is not Remedy.NOTHING:
            say(f"{chosen} {spec.name}, which was {box.condition if box else 'missing'}")
            act(cluster, spec.name, box, chosen)
            done[spec.name] = chosen
    close(cluster, done)
    readiness.await_recovered(cluster, say=say)
    cluster.undo_log.check_noted()
    return len(done)


def _by_hand(cluster: RunningSystem, service: str, box: Box | None, policy: RepairPolicy) -> Remedy:
    """What a person on call does about a box now; a person waits for no election."""
    if box and box.status == "running":
        return Remedy.NOTHING
    view = cluster.observe() if cluster.stage.is_watched else ClusterView(0, {}, 0, 0, (), "")
    chosen = remedy(policy if box else RepairPolicy.REPLACE, cluster.stage, service, box, view)
    if chosen is Remedy.WAIT:
        return Remedy.START if box else Remedy.NOTHING
    return chosen


def close(cluster: RunningSystem, done: Mapping[str, Remedy]) -> None:
    """Close the entries that these remedies have undone. A limit or a line is not undone by a box that is back."""
    for entry in cluster.undo_log.entries():
        undo = entry.undo
        if undo.stage != cluster.stage.number or undo.service not in done:
            continue
        is_new = done[undo.service] is Remedy.REPLACE and undo.action in OF_NETWORKS
        if undo.action in BROUGHT_BACK or is_new:
            cluster.undo_log.close(entry)
