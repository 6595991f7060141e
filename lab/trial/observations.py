"""What Docker, the observer and the logs said in a trial, as events on the clock of its load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.checker import blind_spots, exposure, foreign_actions, recovery
from lab.checker.redundancy import is_redundant, promotable_standbys
from lab.engine.inspect import EngineEvent
from lab.load.load import Load, drift
from lab.model.history import Event, LogLine
from lab.model.payloads import ClockError, DatabasesSeen, VipSeen
from lab.model.topology import WATCH_ROLE, Box
from lab.probe import logs
from lab.probe.observer import Observer
from lab.trial import alert_record
from lab.trial.context import TrialContext
from lab.trial.operator import HEALED_BY_OPERATOR, WHOLE_BEFORE
from lab.trial.under_load import RECOVERED, Look, UnderLoad

STREAM_LATE_S = 2.0
"""So late at most Docker's report of something arrives; what seems later was stamped by a clock that has been set."""
EARLY_S = 0.1
"""By how much a stamp may lie after its arrival: two clocks, each known to some milliseconds."""
NOTED = ("die", "oom", "start", "pause", "unpause")
LOGGING_ROLES = {"lb", "monitor", WATCH_ROLE}


@dataclass(frozen=True)
class Observations:
    """What was observed of one trial, beside the answers that users got."""

    context: TrialContext
    load: Load
    observer: Observer
    heard: Sequence[EngineEvent]
    """What Docker reported."""

    # While the load is there

    def note_quality(self) -> None:
        """How well all this was observed: the observer's silences, its end, and how far the two clocks went apart."""
        self._note_blindness()
        stop_s = self._stopped_s()
        self._note_clock(stop_s)
        words = list(self.observer.words)
        for event in blind_spots.as_events(blind_spots.gaps(words, self.load.start_ns, stop_s), blind_spots.arrival_gap_s(words)):
            self.context.recorder.add(event)

    def _note_blindness(self) -> None:
        """An observer that has died saw nothing bad: that must not look like nothing bad to be seen."""
        if not self.observer.is_watching:
            self.context.recorder.note("blind", "the observer has ended, or has gone silent")

    def _note_clock(self, stop_s: float) -> None:
        found = drift(self.load.clock, self.load.clock_at_end)
        error_ms, drift_ms = round(found.error_s * 1000, 3), round(found.drift_s * 1000, 3)
        self.context.recorder.note(
            blind_spots.CLOCK_EVENT,
            f"this host's clock is known to {error_ms:.2f} ms on the load's for all of the trial; "
            f"it went {drift_ms:+.2f} ms off in {stop_s:.0f} s",
            ClockError(error_ms, drift_ms),
        )

    # Afterwards

    def note_rest(self, under_load: UnderLoad) -> None:
        """What takes time that the load may need is worked out only after it. Raises nothing."""
        reported = self._reported()
        self._note_docker(reported)
        self._note_foreign(reported, under_load)
        self._note_views()
        samples = self._note_redundancy()
        for look in under_load.looks:
            self._note_restored(look, reported, samples)

    def _reported(self) -> list[foreign_actions.Said]:
        """What Docker reported of boxes, on the clock of the load and in order of time."""
        names = {hit.target.box.id: hit.service for hit in self.context.injected.hits}
        found = [
            foreign_actions.Said(self._instant_s(event), event.service or names.get(event.box_id, ""), event.action)
            for event in list(self.heard)
        ]
        return sorted((each for each in found if each.service), key=lambda each: each.at_s)

    def _instant_s(self, event: EngineEvent) -> float:
        """When it was done, as the engine says; as it arrived, where its clock is not known or has been set meanwhile."""
        arrived_s = self.load.clock.at(event.at)
        if not event.stamp_ns or not self.observer.realtime_offset_ns:
            return arrived_s
        stamped_s = (event.stamp_ns - self.observer.realtime_offset_ns - self.load.start_ns) / 1e9
        return stamped_s if 0 <= arrived_s - stamped_s + EARLY_S <= STREAM_LATE_S else arrived_s

    def _note_docker(self, reported: Sequence[foreign_actions.Said]) -> None:
        """What happened to boxes, also to those that this trial did not break."""
        broken = set(self.context.injected.services)
        for each in reported:
            is_ours = each.service in broken
            if each.action in NOTED:
                words = f"{each.service}: {each.action}{'' if is_ours else ', not by this run'}"
                self.context.recorder.add(Event(round(each.at_s, 6), "docker" if is_ours else "note", words))

    def _note_foreign(self, reported: Sequence[foreign_actions.Said], under_load: UnderLoad) -> None:
        """What another process brought back before the lab did: what that ended did not end by itself."""
        own = [*self.context.injected.starts, *under_load.repair_acts]
        struck = [hit.as_struck() for hit in self.context.injected.hits]
        healed_s = self._healed_s()
        until_s = self.load.now_s() if healed_s is None else healed_s
        for event in foreign_actions.returns(reported, struck, own, until_s):
            self.context.recorder.add(event)
            self.context.recorder.add(Event(event.at_s, "note", f"{event.detail}: what this ended did not end by itself"))

    def _healed_s(self) -> float | None:
        """When the lab, or the operator, began to undo the faults."""
        names = ("heal", HEALED_BY_OPERATOR)
        return min((event.at_s for event in self.context.recorder.events if event.name in names), default=None)

    def _note_views(self) -> None:
        stage = self.context.stage
        for view in self.observer.views:
            at_s = self._on_load_s(view.clock_ns)
            if view.databases:
                seen = DatabasesSeen(dict(view.databases), promotable_standbys(stage, view))
                self.context.recorder.add(Event(at_s, "databases", data=seen))
            if stage.balancers:
                self.context.recorder.add(Event(at_s, "vip", data=VipSeen(view.vip_claimants, view.vip_owner)))

    def _on_load_s(self, clock_ns: int) -> float:
        return round((clock_ns - self.load.start_ns) / 1e9, 6)

    def _note_redundancy(self) -> list[exposure.RedundancySample]:
        """How many failures each tier tolerated; of a foreign project nothing was asked."""
        if not self.context.system.measures_redundancy:
            return []
        samples = exposure.replay(self.context.stage, list(self.observer.findings), self.load.start_ns)
        for sample in samples:
            self.context.recorder.add(exposure.as_event(sample, self.observer.period_s))
        return samples

    def _note_restored(
        self, look: Look, reported: Sequence[foreign_actions.Said], samples: Sequence[exposure.RedundancySample]
    ) -> None:
        """Since when redundancy was restored: that was before the lab looked."""
        seen = self._seen(look, reported, samples)
        words = f"{RECOVERED} (the lab looked at {look.at_s:.2f} s)"
        self.context.recorder.add(Event(round(recovery.restored_s(seen), 6), look.event, words))
        if look.event != WHOLE_BEFORE and recovery.is_short(seen):
            self.context.recorder.note(
                "note", "until the load ended not every tier tolerated as many failures as before the fault"
            )

    def _seen(
        self, look: Look, reported: Sequence[foreign_actions.Said], samples: Sequence[exposure.RedundancySample]
    ) -> recovery.Seen:
        stage, injected = self.context.stage, self.context.injected
        views = [(self._on_load_s(view.clock_ns), is_redundant(stage, view)) for view in self.observer.views]
        is_measured = self.context.system.measures_redundancy and not exposure.tolerates_nothing(stage)
        # What was broken before the load began was missing in its calm times, too. A silence is dated when the question
        # was put, which may have been before the fault.
        has_calm = not self.context.experiment.initial_faults and injected.since_s is not None
        return recovery.Seen(
            looked_s=look.at_s,
            broken=[hit.as_broken() for hit in injected.hits],
            said=reported,
            healed_s=self._healed_s(),
            arrivals=self.load.arrivals,
            deadline_s=self.context.config.plan.deadline_s,
            views=views if stage.is_watched else None,
            samples=samples if is_measured else None,
            calm_s=(injected.since_s or 0.0) - exposure.BACK_LATE_S if has_calm else None,
        )

    def note_logs(self) -> None:
        """What the boxes that watch others wrote in their logs, and whether that is every alert. Raises LabError."""
        offset_ns = self.observer.realtime_offset_ns
        start_realtime_ns = self.load.start_ns + offset_ns if offset_ns else 0
        boxes = [box for box in self.context.system.boxes() if LOGGING_ROLES & set(box.roles)] if offset_ns else []
        monitoring: tuple[Box | None, Sequence[LogLine]] = (None, ())
        for box in boxes:
            lines = self.context.system.log_lines(box, self._log_since_s(box, start_realtime_ns))
            monitoring = (box, lines) if WATCH_ROLE in box.roles else monitoring
            for event in logs.events_in(lines, start_realtime_ns):
                self.context.recorder.add(event)
        if not self.context.stage.is_foreign:
            self._note_alert_record(*monitoring, start_realtime_ns)

    def _log_since_s(self, box: Box, start_realtime_ns: int) -> float:
        is_monitoring = WATCH_ROLE in box.roles
        return alert_record.log_since_s(box, start_realtime_ns) if is_monitoring else start_realtime_ns / 1e9

    def _note_alert_record(self, box: Box | None, lines: Sequence[LogLine], start_realtime_ns: int) -> None:
        """Whether all alerts are known. It stands at the end of the load, which is all that pictures show."""
        until_s = round(self.load.now_s(), 6)
        found = alert_record.without_monitoring(until_s)
        if self.context.stage.is_monitored:
            found = alert_record.alert_record(box, lines, self._reported(), start_realtime_ns, until_s)
        self.context.recorder.add(alert_record.as_event(found, self._stopped_s()))

    def _stopped_s(self) -> float:
        return next(event.at_s for event in reversed(self.context.recorder.events) if event.name == "stop")
