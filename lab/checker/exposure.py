"""For how long each tier had nothing in reserve: from what was found to margins, to events, to figures. Pure.

What somebody says holds until he says something else. At each change the margins are worked out anew (`lab.redundancy`), and
each change of those is an event of the journal. Everything else, figures and pictures, is made from the events.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from lab.checker import redundancy
from lab.checker.redundancy import Tier, TimedMargins
from lab.model.history import Event
from lab.model.observation import ClusterStatus, ClusterView, DatabaseState, Finding, NodeState, ReplicaStatus
from lab.model.result import TierExposure, TrialResult
from lab.model.topology import Box, Stage

EVENT = "redundancy"
NOBODY = "-"
COUNT = re.compile(r"(\w+)=(\d{1,6})/(\d{1,6})")
PERIOD = re.compile(r"period_s=(\d{1,6}(?:\.\d{1,6})?)")
# A box that was gone is only asked again when the last question to it has been given up, half a second after it was put;
# and a kernel that has forgotten where a neighbour is looks for it once a second.
BACK_LATE_S = 1.0

Known = Mapping[tuple[str, str], dict[str, Any] | None]


@dataclass(frozen=True)
class Reserve:
    """How much each tier had in reserve from an instant on."""

    at_s: float
    margins: dict[Tier, int]
    working: dict[Tier, int]
    """How many boxes (zones, regions) of each do their work."""
    idle: tuple[str, ...] = ()
    """The boxes that are not seen to do any."""

    def is_like(self, other: Reserve) -> bool:
        """Whether it shows the same."""
        return (self.margins, self.working, self.idle) == (other.margins, other.working, other.idle)


# From what was found to margins


def replay(stage: Stage, findings: Iterable[Finding], start_ns: int) -> list[Reserve]:
    """Each change of the reserves of a stage, in seconds since `start_ns`; none until everybody was heard or found silent."""
    known: dict[tuple[str, str], dict[str, Any] | None] = {}
    if without_reserve(stage):
        # Nobody need be asked: it says so before the load begins, and nothing that fails can change it.
        known.update({("database", name): {"state": DatabaseState.PRIMARY} for name in stage.databases})
        return [reserve_at(0.0, _evidence(stage, known))]
    wanted = _wanted(stage)
    seen: list[Reserve] = []
    for at_ns, together in groupby(sorted(findings, key=lambda finding: finding.at_ns), key=lambda finding: finding.at_ns):
        known.update({(each.kind, each.name): each.said for each in together})
        if wanted <= known.keys():
            found = reserve_at(round((at_ns - start_ns) / 1e9, 6), _evidence(stage, known))
            if not seen or not found.is_like(seen[-1]):
                seen.append(found)
    return seen


def reserve_at(at_s: float, seen: redundancy.Evidence) -> Reserve:
    """What evidence says of reserves."""
    return Reserve(at_s, redundancy.margins(seen), redundancy.working(seen), tuple(sorted(redundancy.idle(seen))))


def without_reserve(stage: Stage) -> bool:
    """Whether nothing of a stage can have a margin: users come to its only web box themselves."""
    return not any("lb" in spec.roles for spec in stage.services)


def _wanted(stage: Stage) -> set[tuple[str, str]]:
    """Who has to be heard before anything can be said."""
    balancers = {spec.name for spec in stage.services if "lb" in spec.roles}
    wanted = {("database", name) for name in stage.databases} | {("statistics", name) for name in balancers}
    wanted |= {("balancer", name) for name in stage.balancers} | ({("monitor", "monitor")} if stage.monitor else set())
    return wanted | ({("route", "route")} if stage.announced else set())


def _evidence(stage: Stage, known: Known) -> redundancy.Evidence:
    return redundancy.evidence(stage, _boxes(stage, known), _cluster_status(stage, known))


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
        view=_sight(stage, known),
        replicas=_copies(stage, known),
        backends={name: {web: bool(used) for web, used in said.items()} for name, said in statistics.items()},
        node_states={name: _node_state(word) for name, word in judged["nodes"].items()} if judged else None,
        acknowledgers=int(judged["needed"]) if judged else 0,
    )


def _node_state(word: dict[str, Any]) -> NodeState:
    return NodeState(str(word["state"]), bool(word["well"]), bool(word["candidate"]), bool(word["voice"]))


def _sight(stage: Stage, known: Known) -> ClusterView:
    states = {name: _state(known, name) for name in stage.databases}
    answering = tuple(name for name in stage.balancers if _said(known, "balancer", name).get("answers"))
    led_to = _said(known, "route", "route").get("name")
    holders = tuple(
        name for name in stage.balancers if (name == led_to if stage.announced else _said(known, "balancer", name).get("holds"))
    )
    return ClusterView(0, states, 0, 0, holders, "", answering)


def _copies(stage: Stage, known: Known) -> dict[str, ReplicaStatus]:
    """Whom the one primary sends to and waits for; nobody follows where there is none, or more than one."""
    leaders = [name for name in stage.databases if _state(known, name) in (DatabaseState.PRIMARY, DatabaseState.SYNC_BLOCKED)]
    at = {address: spec.name for spec in stage.services for address in spec.addresses}
    followers = _said(known, "database", leaders[0]).get("followers", []) if len(leaders) == 1 else []
    known_at = {at[each["address"]]: each for each in followers if each["address"] in at}
    return {name: _copy(known_at.get(name)) for name in stage.databases if name not in leaders}


def _copy(follower: dict[str, Any] | None) -> ReplicaStatus:
    streams = bool(follower and follower["streams"])
    return ReplicaStatus(streams, bool(streams and follower and follower["synchronous"]), None, None)


# Events


def as_event(reserve: Reserve, period_s: float) -> Event:
    """How a change stands in the journal: database=0/1 says that the one that works is the last; `without`, who does not."""
    counts = [f"{tier.value}={margin}/{reserve.working.get(tier, 0)}" for tier, margin in reserve.margins.items()]
    return Event(
        reserve.at_s, EVENT, " ".join([*counts, f"without={','.join(reserve.idle) or NOBODY}", f"period_s={period_s:g}"])
    )


def read(events: Iterable[Event]) -> list[Reserve]:
    """The reserves in the events of a trial, in order of time; none in journals from before anybody looked."""
    return [_reserve(event) for event in sorted(events, key=lambda event: event.at_s) if event.name == EVENT]


def _reserve(event: Event) -> Reserve:
    counts = {name: (int(margin), int(boxes)) for name, margin, boxes in COUNT.findall(event.detail) if name in set(Tier)}
    without = next((each.removeprefix("without=") for each in event.detail.split() if each.startswith("without=")), NOBODY)
    return Reserve(
        event.at_s,
        {Tier(name): margin for name, (margin, _) in counts.items()},
        {Tier(name): boxes for name, (_, boxes) in counts.items()},
        () if without == NOBODY else tuple(without.split(",")),
    )


def period_s(events: Iterable[Event]) -> float | None:
    """How often somebody looked, in seconds, as the first event says; None where none does."""
    found = (PERIOD.search(event.detail) for event in events if event.name == EVENT)
    return next((float(match[1]) for match in found if match), None)


# Figures


def measure(events: Sequence[Event], since_s: float | None, until_s: float | None) -> tuple[TierExposure, ...]:
    """For how long each tier had nothing in reserve, from the fault (or the start of the load) to the end of the load.

    Empty where nobody looked, or nobody knows when the load ended.
    """
    seen = read(events)
    if not seen or until_s is None:
        return ()
    timed = [TimedMargins(each.at_s, each.margins) for each in seen]
    spans = redundancy.exposed(timed, max(since_s or 0.0, 0.0), until_s)
    left = _left(seen, {span for each in spans.values() for span in each}, until_s)
    return tuple(
        _of_tier(tier, seen, spans.get(tier), left, until_s) for tier in Tier if any(tier in each.margins for each in seen)
    )


def _of_tier(
    tier: Tier, seen: Sequence[Reserve], spans: list[tuple[float, float]] | None, left: Mapping[Tier, int], until_s: float
) -> TierExposure:
    boxes = max(each.working.get(tier, 0) for each in seen)
    return TierExposure(
        tier=tier.value,
        boxes=boxes,
        working=left.get(tier, boxes),
        failures_tolerated=max(each.margins.get(tier, 0) for each in seen),
        without_redundancy_s=None if spans is None else sum(end_s - start_s for start_s, end_s in spans),
        spans=tuple(spans or ()),
        censored=bool(spans) and spans is not None and spans[-1][1] >= until_s,
    )


def _left(seen: Sequence[Reserve], spans: Iterable[tuple[float, float]], until_s: float) -> dict[Tier, int]:
    """How many boxes of each tier worked for most of the time within these spans."""
    lasting: dict[Tier, defaultdict[int, float]] = {tier: defaultdict(float) for tier in Tier}
    within = list(spans)
    for each, end_s in _with_ends(seen, until_s):
        shared_s = sum(max(min(end_s, stop_s) - max(each.at_s, start_s), 0.0) for start_s, stop_s in within)
        for tier, boxes in each.working.items():
            if shared_s:
                lasting[tier][boxes] += shared_s
    return {tier: max(found, key=lambda boxes: (found[boxes], boxes)) for tier, found in lasting.items() if found}


def _with_ends(seen: Sequence[Reserve], until_s: float) -> Iterator[tuple[Reserve, float]]:
    ends = [*(each.at_s for each in seen[1:]), until_s]
    return zip(seen, ends, strict=True)


@dataclass(frozen=True)
class Summary:
    """A tier over the valid trials of a run."""

    tier: str
    boxes: int
    left: int
    margin: int
    exposed_s: float | None
    """The median; None where it never had anything in reserve."""
    least_s: float
    most_s: float
    censored: bool
    """That of some trial is a lower bound."""


def over_trials(trials: Iterable[TrialResult]) -> tuple[Summary, ...]:
    """Each tier over the valid trials; empty where nobody looked."""
    found: dict[str, list[TierExposure]] = {}
    for trial in trials:
        for each in trial.exposure if trial.valid else ():
            found.setdefault(each.tier, []).append(each)
    return tuple(_summary(found[tier.value]) for tier in Tier if tier.value in found)


def _summary(found: Sequence[TierExposure]) -> Summary:
    counted = [each.without_redundancy_s for each in found if each.without_redundancy_s is not None]
    return Summary(
        tier=found[0].tier,
        boxes=max(each.boxes for each in found),
        left=min(each.working for each in found),
        margin=max(each.failures_tolerated for each in found),
        exposed_s=median(counted) if counted else None,
        least_s=min(counted, default=0.0),
        most_s=max(counted, default=0.0),
        censored=any(each.censored for each in found),
    )


def causes(found: Iterable[Summary]) -> list[Summary]:
    """What failed: the tiers that had fewer boxes than before. Where a whole place failed, that place alone."""
    fewer = {each.tier: each for each in found if each.left < each.boxes}
    for place in (Tier.REGION, Tier.ZONE):
        if place in fewer:
            return [fewer[place]]
    return list(fewer.values())


# Pictures


def levels(events: Sequence[Event], until_s: float) -> list[tuple[str, float, float, int]]:
    """How many more failures each tier survives, and from when to when, in order of time; only of tiers that ever have any."""
    seen = read(events)
    ever = {tier for each in seen for tier, margin in each.margins.items() if margin}
    found: list[tuple[str, float, float, int]] = []
    for tier in (each for each in Tier if each in ever):
        steps = [(max(each.at_s, 0.0), each.margins[tier]) for each in seen if tier in each.margins]
        changes = [step for at, step in enumerate(steps) if not at or step[1] != steps[at - 1][1]]
        found += [
            (tier.value, at_s, end_s, level) for (at_s, level), (end_s, _) in pairwise([*changes, (until_s, 0)]) if end_s > at_s
        ]
    return found
