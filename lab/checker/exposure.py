"""For how long each tier tolerated no failure: from what was observed to samples, to events, to figures. Pure.

What a part reports holds until it reports something else. At each change the failures tolerated are worked out again
(`checker.redundancy`), and each change of those is an event of the journal. Figures and pictures are made from the events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from lab.checker import redundancy
from lab.model.history import Event, payloads
from lab.model.observation import ClusterStatus, ClusterView, DatabaseState, Finding, NodeState, ReplicaStatus
from lab.model.payloads import RedundancySeen
from lab.model.result import TierExposure, TrialResult
from lab.model.topology import Box, Stage, Tier

EVENT = "redundancy"
# A box that was gone is only asked again when the last question to it has been given up, half a second after it was put;
# and a kernel that has forgotten where a neighbour is looks for it once a second.
BACK_LATE_S = 1.0

Known = Mapping[tuple[str, str], dict[str, Any] | None]


@dataclass(frozen=True)
class RedundancySample:
    """How many failures each tier tolerated from an instant on, until the next sample."""

    at_s: float
    failures_tolerated: dict[Tier, int]
    working: dict[Tier, int] = field(default_factory=dict)
    """How many boxes (zones, regions) of each do their work."""
    idle: tuple[str, ...] = ()
    """The boxes that are not seen to do any."""

    def is_like(self, other: RedundancySample) -> bool:
        """Whether it shows the same."""
        return replace(self, at_s=0.0) == replace(other, at_s=0.0)


# From what was observed to samples


def replay(stage: Stage, findings: Iterable[Finding], start_ns: int) -> list[RedundancySample]:
    """Each change of a stage's redundancy, in seconds since `start_ns`; none until every part has answered or timed out."""
    known: dict[tuple[str, str], dict[str, Any] | None] = {}
    if tolerates_nothing(stage):
        # No part need be asked: this is known before the load begins, and nothing that fails can change it.
        known.update({("database", name): {"state": DatabaseState.PRIMARY} for name in stage.databases})
        return [sample_at(0.0, _system_state(stage, known))]
    wanted = _wanted(stage)
    seen: list[RedundancySample] = []
    for at_ns, together in groupby(sorted(findings, key=lambda finding: finding.at_ns), key=lambda finding: finding.at_ns):
        known.update({(each.kind, each.name): each.said for each in together})
        if wanted <= known.keys():
            found = sample_at(round((at_ns - start_ns) / 1e9, 6), _system_state(stage, known))
            if not seen or not found.is_like(seen[-1]):
                seen.append(found)
    return seen


def sample_at(at_s: float, seen: redundancy.SystemState) -> RedundancySample:
    """The redundancy of a system in this state."""
    return RedundancySample(
        at_s, redundancy.failures_tolerated(seen), redundancy.working(seen), tuple(sorted(redundancy.idle(seen)))
    )


def tolerates_nothing(stage: Stage) -> bool:
    """Whether no tier of a stage ever tolerates a failure: users come to its only web box themselves."""
    return not any("lb" in spec.roles for spec in stage.services)


def _wanted(stage: Stage) -> set[tuple[str, str]]:
    """Who has to be heard before anything can be said."""
    balancers = {spec.name for spec in stage.services if "lb" in spec.roles}
    wanted = {("database", name) for name in stage.databases} | {("statistics", name) for name in balancers}
    wanted |= {("balancer", name) for name in stage.balancers} | ({("monitor", "monitor")} if stage.monitor else set())
    return wanted | ({("route", "route")} if stage.announced else set())


def _system_state(stage: Stage, known: Known) -> redundancy.SystemState:
    return redundancy.system_state(stage, _boxes(stage, known), _cluster_status(stage, known))


def _said(known: Known, kind: str, name: str) -> dict[str, Any]:
    return known.get((kind, name)) or {}


def _boxes(stage: Stage, known: Known) -> list[Box]:
    """The boxes of a stage; those that are asked nothing else count as well while they answer."""
    silent = {name for name in stage.databases if _state(known, name) is DatabaseState.UNREACHABLE}
    return [
        Box("", spec.name, stage.number, spec.roles, spec.labels, "dead" if spec.name in silent else "running", "")
        for spec in stage.services
    ]


def _state(known: Known, name: str) -> DatabaseState:
    return DatabaseState(_said(known, "database", name).get("state", DatabaseState.UNREACHABLE))


def _cluster_status(stage: Stage, known: Known) -> ClusterStatus:
    judged = known.get(("monitor", "monitor"))
    statistics = {name: said for (kind, name), said in known.items() if kind == "statistics" and said is not None}
    return ClusterStatus(
        view=_view(stage, known),
        replicas=_replicas(stage, known),
        backends={name: {web: bool(used) for web, used in said.items()} for name, said in statistics.items()},
        node_states={name: _node_state(word) for name, word in judged["nodes"].items()} if judged else None,
        acknowledgers=int(judged["needed"]) if judged else 0,
    )


def _node_state(word: dict[str, Any]) -> NodeState:
    return NodeState(str(word["state"]), bool(word["healthy"]), bool(word["promotable"]), bool(word["votes"]))


def _view(stage: Stage, known: Known) -> ClusterView:
    states = {name: _state(known, name) for name in stage.databases}
    answering = tuple(name for name in stage.balancers if _said(known, "balancer", name).get("answers"))
    led_to = _said(known, "route", "route").get("name")
    holders = tuple(
        name for name in stage.balancers if (name == led_to if stage.announced else _said(known, "balancer", name).get("holds"))
    )
    return ClusterView(0, states, 0, 0, holders, "", answering)


def _replicas(stage: Stage, known: Known) -> dict[str, ReplicaStatus]:
    """The replicas of the one primary; where there is no primary, or more than one, none follows."""
    leaders = [name for name in stage.databases if _state(known, name) in (DatabaseState.PRIMARY, DatabaseState.SYNC_BLOCKED)]
    at = {address: spec.name for spec in stage.services for address in spec.addresses}
    followers = _said(known, "database", leaders[0]).get("followers", []) if len(leaders) == 1 else []
    known_at = {at[each["address"]]: each for each in followers if each["address"] in at}
    return {name: _replica(known_at.get(name)) for name in stage.databases if name not in leaders}


def _replica(follower: dict[str, Any] | None) -> ReplicaStatus:
    streams = bool(follower and follower["streams"])
    return ReplicaStatus(streams, bool(streams and follower and follower["synchronous"]), None, None)


# Events


def as_event(sample: RedundancySample, period_s: float) -> Event:
    """How a change stands in the journal."""
    seen = RedundancySeen(sample.failures_tolerated, sample.working, sample.idle, period_s)
    return Event(sample.at_s, EVENT, data=seen)


def read(events: Iterable[Event]) -> list[RedundancySample]:
    """The redundancy in the events of a trial, in order of time; none where it was not observed."""
    found = [
        RedundancySample(at_s, seen.failures_tolerated, seen.working, seen.idle)
        for at_s, seen in payloads(events, RedundancySeen)
    ]
    return sorted(found, key=lambda sample: sample.at_s)


def period_s(events: Iterable[Event]) -> float | None:
    """How often it was observed, in seconds, as the first event says; None where it was not."""
    return next((seen.period_s for _, seen in payloads(events, RedundancySeen)), None)


# Figures


def measure(events: Sequence[Event], since_s: float | None, until_s: float | None) -> tuple[TierExposure, ...]:
    """For how long each tier tolerated no failure, from the fault (or the start of the load) to the end of the load.

    Empty where that was not observed, or the end of the load is not known.
    """
    seen = read(events)
    if not seen or until_s is None:
        return ()
    spans = without_redundancy(seen, max(since_s or 0.0, 0.0), until_s)
    meanwhile = _working_meanwhile(seen, {span for each in spans.values() for span in each}, until_s)
    return tuple(
        _of_tier(tier, seen, spans.get(tier), meanwhile, until_s)
        for tier in Tier
        if any(tier in each.failures_tolerated for each in seen)
    )


def _of_tier(
    tier: Tier,
    seen: Sequence[RedundancySample],
    spans: list[tuple[float, float]] | None,
    meanwhile: Mapping[Tier, int],
    until_s: float,
) -> TierExposure:
    boxes = max(each.working.get(tier, 0) for each in seen)
    return TierExposure(
        tier=tier.value,
        boxes=boxes,
        working=meanwhile.get(tier, boxes),
        failures_tolerated=max(each.failures_tolerated.get(tier, 0) for each in seen),
        without_redundancy_s=None if spans is None else sum(end_s - start_s for start_s, end_s in spans),
        spans=tuple(spans or ()),
        censored=bool(spans) and spans is not None and spans[-1][1] >= until_s,
    )


def _working_meanwhile(seen: Sequence[RedundancySample], spans: Iterable[tuple[float, float]], until_s: float) -> dict[Tier, int]:
    """How many boxes of each tier worked for most of the time within these spans."""
    lasting: dict[Tier, defaultdict[int, float]] = {tier: defaultdict(float) for tier in Tier}
    within = list(spans)
    for each, end_s in _with_ends(seen, until_s):
        shared_s = sum(max(min(end_s, stop_s) - max(each.at_s, start_s), 0.0) for start_s, stop_s in within)
        for tier, boxes in each.working.items():
            if shared_s:
                lasting[tier][boxes] += shared_s
    return {tier: max(found, key=lambda boxes: (found[boxes], boxes)) for tier, found in lasting.items() if found}


def _with_ends(seen: Sequence[RedundancySample], until_s: float) -> Iterator[tuple[RedundancySample, float]]:
    ends = [*(each.at_s for each in seen[1:]), until_s]
    return zip(seen, ends, strict=True)


def without_redundancy(seen: Sequence[RedundancySample], since_s: float, until_s: float) -> dict[Tier, list[tuple[float, float]]]:
    """From when to when each tier tolerated no failure, between two instants; of those tiers that ever tolerate one.

    A stretch in which that is not known does not count. While there is no service at all, no tier tolerates anything: this is no measure of outages, and includes them.
    """
    found: dict[Tier, list[tuple[float, float]]] = {
        tier: [] for tier in Tier if any(each.failures_tolerated.get(tier, 0) > 0 for each in seen)
    }
    for each, end_s in zip(seen, [*(each.at_s for each in seen[1:]), until_s], strict=False):
        start_s, stop_s = max(each.at_s, since_s), min(end_s, until_s)
        for tier, spans in found.items():
            if each.failures_tolerated.get(tier) == 0 and start_s < stop_s:
                _lengthen(spans, start_s, stop_s)
    return found


def _lengthen(spans: list[tuple[float, float]], start_s: float, end_s: float) -> None:
    """Add a span; one that begins where the last one ends makes that longer."""
    if spans and spans[-1][1] == start_s:
        spans[-1] = (spans[-1][0], end_s)
    else:
        spans.append((start_s, end_s))


@dataclass(frozen=True)
class ExposureSummary:
    """A tier over the valid trials of a run."""

    tier: str
    boxes: int
    working: int
    """How many of them worked during the fault, in the worst trial."""
    failures_tolerated: int
    without_redundancy_s: float | None
    """The median; None where it never tolerated any failure."""
    least_s: float
    most_s: float
    censored: bool
    """That of some trial is a lower bound."""


def over_trials(trials: Iterable[TrialResult]) -> tuple[ExposureSummary, ...]:
    """Each tier over the valid trials; empty where that was not observed."""
    found: dict[str, list[TierExposure]] = {}
    for trial in trials:
        for each in trial.exposure if trial.valid else ():
            found.setdefault(each.tier, []).append(each)
    return tuple(_summary(found[tier.value]) for tier in Tier if tier.value in found)


def _summary(found: Sequence[TierExposure]) -> ExposureSummary:
    counted = [each.without_redundancy_s for each in found if each.without_redundancy_s is not None]
    return ExposureSummary(
        tier=found[0].tier,
        boxes=max(each.boxes for each in found),
        working=min(each.working for each in found),
        failures_tolerated=max(each.failures_tolerated for each in found),
        without_redundancy_s=median(counted) if counted else None,
        least_s=min(counted, default=0.0),
        most_s=max(counted, default=0.0),
        censored=any(each.censored for each in found),
    )


def causes(found: Iterable[ExposureSummary]) -> list[ExposureSummary]:
    """What failed: the tiers that had fewer boxes than before. Where a whole place failed, that place alone."""
    fewer = {each.tier: each for each in found if each.working < each.boxes}
    for place in (Tier.REGION, Tier.ZONE):
        if place in fewer:
            return [fewer[place]]
    return list(fewer.values())


# Pictures


def levels(events: Sequence[Event], until_s: float) -> list[tuple[str, float, float, int]]:
    """How many more failures each tier survives, and from when to when, in order of time; only of tiers that ever have any."""
    seen = read(events)
    ever = {tier for each in seen for tier, count in each.failures_tolerated.items() if count}
    found: list[tuple[str, float, float, int]] = []
    for tier in (each for each in Tier if each in ever):
        steps = [(max(each.at_s, 0.0), each.failures_tolerated[tier]) for each in seen if tier in each.failures_tolerated]
        changes = [step for at, step in enumerate(steps) if not at or step[1] != steps[at - 1][1]]
        found += [
            (tier.value, at_s, end_s, level) for (at_s, level), (end_s, _) in pairwise([*changes, (until_s, 0)]) if end_s > at_s
        ]
    return found
