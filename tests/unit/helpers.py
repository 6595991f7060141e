"""Factories for the things that the tests speak about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from lab.checker.trial import measure_trial
from lab.checker.validity import generator_report
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival, Event, RunInfo, TrialRecord
from lab.model.measures import Expectation
from lab.model.observation import ClusterStatus, ClusterView, DatabaseState, NodeState, ReplicaStatus
from lab.model.payloads import AlertNotice, AlertRecord, DatabasesSeen, RedundancyCheck, RedundancySeen, VipSeen
from lab.model.result import Outage, TrialResult
from lab.model.topology import Box, ServiceSpec, Stage, Tier
from lab.spec.stages import find

BALANCERS = {"lb1": "198.18.0.33", "lb2": "198.18.0.65"}
NONE_LOST = Expectation("writes_lost", at_most=0, at_least=None)
SHORT = Expectation("downtime_longest_s", at_most=1.0, at_least=None)
EVENTS = (
    Event(2.0, "inject", "kill web1"),
    Event(2.05, "fault-verified", "web1 is exited, exit code 137"),
    Event(5.0, "heal"),
    Event(5.5, "recovered"),
    Event(7.0, "stop"),
)


def databases_seen(at_s: float, promotable_standbys: int = 0, **states: str) -> Event:
    """What the observer saw of databases: db1="primary", db2="standby"."""
    found = {name: DatabaseState(state) for name, state in states.items()}
    return Event(at_s, "databases", data=DatabasesSeen(found, promotable_standbys))


def vip_seen(at_s: float, *claimants: str, owner: str | None = None) -> Event:
    """What the observer saw of the VIP; its owner is the last claimant, unless another is named."""
    return Event(at_s, "vip", data=VipSeen(claimants, "".join(claimants[-1:]) if owner is None else owner))


def redundancy_seen(at_s: float, *idle: str, period_s: float = 0.1, **counts: tuple[int, int]) -> Event:
    """Of each tier how many failures it tolerates, and how many of its boxes work."""
    of = {Tier(name): each for name, each in counts.items()}
    tolerated, working = ({tier: each[at] for tier, each in of.items()} for at in (0, 1))
    return Event(at_s, "redundancy", data=RedundancySeen(tolerated, working, idle, period_s))


def alert(at_s: float, words: str, name: str = "alert") -> Event:
    """An alert as the monitoring box delivers it: its name, and what it says."""
    which, _, said = words.partition(" ")
    verb = "firing" if name == "alert" else name
    return Event(at_s, name, f"watch: alert {verb} (message 1): {words}", AlertNotice(which, said))


def alert_record(until_s: float = 9.0, firing: tuple[AlertNotice, ...] = (), **changes: Any) -> Event:
    """Every alert of such a trial is known, unless changed; none was firing before."""
    whole = AlertRecord(is_monitored=True, is_complete=True, until_s=until_s, firing=firing)
    return Event(7.0, "alert-record", data=replace(whole, **changes))


def redundant_before(at_s: float, restored: bool) -> Event:
    """Whether redundancy was restored just before a later fault."""
    return Event(at_s, "redundant-before", data=RedundancyCheck(restored))


def arrival(at_s: float, took_s: float = 0.01, **changes: Any) -> Arrival:
    """A good read, unless changed."""
    good = Arrival(
        number=0,
        kind="read",
        at_s=at_s,
        lag_s=0.001,
        done_s=at_s + took_s,
        error_class="ok",
        effect="ok",
        status=200,
        by="web1",
        via="lb",
        key="",
        new_connection=False,
    )
    return replace(good, **changes)


def bad(at_s: float, **changes: Any) -> Arrival:
    """A read that broke off."""
    return arrival(at_s, **{"error_class": "reset", "effect": "fail", "status": 0, "by": "", "via": "", **changes})


def write(key: str, outcome: str = "ok", at_s: float = 0.0) -> Arrival:
    """A write with this key and outcome."""
    return arrival(at_s, kind="write", key=key, effect=outcome, error_class="ok" if outcome == "ok" else "reset")


def traffic(seconds: float, *gone: tuple[float, float], rate_per_s: float = 128.0) -> list[Arrival]:
    """Arrivals at an even rate, every fourth a write; those within one of the stretches `gone` break off."""
    arrivals = []
    for number in range(int(seconds * rate_per_s)):
        at_s = number / rate_per_s
        fails = any(start <= at_s < end for start, end in gone)
        extra: dict[str, Any] = {"number": number}
        if number % 4 == 0:
            extra |= {"kind": "write", "key": f"k-{number}", **({"effect": "info"} if fails else {})}
        arrivals.append(bad(at_s, **extra) if fails else arrival(at_s, **extra))
    return arrivals


def spans(outages: tuple[Outage, ...]) -> list[tuple[float, float, bool]]:
    """Outages as plain values, to the millisecond."""
    return [(round(outage.start_s, 3), round(outage.end_s, 3), outage.censored) for outage in outages]


def record(*gone: tuple[float, float], **changes: Any) -> TrialRecord:
    """A trial of 7 s whose fault came at 2 s and was healed at 5 s; the database kept what was acknowledged."""
    return replace(_record(*gone), **changes)


@cache
def _record(*gone: tuple[float, float]) -> TrialRecord:
    """It is made once: hundreds of tests speak about the same few trials, and none changes one."""
    arrivals = traffic(7.0, *gone)
    kept = {each.key: 1 for each in arrivals if each.kind == "write" and each.effect == "ok"}
    return TrialRecord(
        number=1,
        seed=7,
        plan=LoadPlan(),
        targets=("web1",),
        arrivals=tuple(arrivals),
        events=EVENTS,
        generator=generator_report(arrivals, len(arrivals), len(arrivals), cpu_ratio=0.2),
        final_orders={"db": kept},
    )


def result(*gone: tuple[float, float], expectations: tuple[Expectation, ...] = (SHORT, NONE_LOST), **changes: Any) -> TrialResult:
    """The figures of such a trial."""
    return replace(_result(gone, expectations), **changes)


@cache
def _result(gone: tuple[tuple[float, float], ...], expectations: tuple[Expectation, ...]) -> TrialResult:
    return measure_trial(record(*gone), expectations, has_fault=True)


def run_info(**changes: Any) -> RunInfo:
    """A run of kill-web on stage 3."""
    info = RunInfo(
        stage=3,
        stage_folder="3-load-balancer",
        failover="none",
        experiment="kill-web",
        title="A web box is killed",
        question="What happens if a web box dies and stays dead?",
        seed=7,
        plan=LoadPlan(),
        expectations=(SHORT, NONE_LOST),
        has_fault=True,
        started_at="2026-01-31T12:00:00Z",
    )
    return replace(info, **changes)


def box(service: str = "web1", roles: tuple[str, ...] = ("web",), **changes: Any) -> Box:
    """A running box of stage 3."""
    well = Box(
        id=f"id-of-{service}",
        service=service,
        stage=3,
        roles=roles,
        labels={"lab.stage": "3", "lab.role": " ".join(roles), "lab.process": "gunicorn"},
        status="running",
        health="healthy",
        project="redundancy-lab-3",
        started_at="2026-01-31T12:00:00Z",
        exit_code=0,
    )
    return replace(well, **changes)


def stage(**changes: Any) -> Stage:
    """Stage 3 as it ships."""
    return replace(find("3"), **changes)


def replicated(**changes: Any) -> Stage:
    """Stage 4 as it ships, with promotion by hand."""
    return replace(find("4"), **changes)


def automatic(**changes: Any) -> Stage:
    """Stage 4 as it ships, with a monitor."""
    return replace(find("4", "automatic"), **changes)


def db(service: str, **changes: Any) -> Box:
    """A running database box of stage 4."""
    return box(service, ("db",), **{"stage": 4, "project": "redundancy-lab-4", **changes})


def view(db1: str = "primary", db2: str = "standby", **changes: Any) -> ClusterView:
    """What an observer sees of two databases and two balancers when all is well, unless changed."""
    states = {"db1": DatabaseState(db1), "db2": DatabaseState(db2)}
    well = ClusterView(
        clock_ns=0, databases=states, standbys=1, synchronous=1, vip_claimants=("lb1",), vip_owner="lb1", serving=("lb1", "lb2")
    )
    return replace(well, **changes)


COPY = ReplicaStatus(streams=True, synchronous=True, lag_bytes=0, replay_lag_s=0.0)
NODE = NodeState("secondary", is_healthy=True, is_promotable=True, votes=True)


def started(of: Stage, **changed: dict[str, Any]) -> list[Box]:
    """Every box of a stage as it is when all is well, but for what is said of some."""
    return [
        replace(
            Box(f"id-of-{spec.name}", spec.name, of.number, spec.roles, spec.labels, "running", "healthy", of.project),
            **changed.get(spec.name, {}),
        )
        for spec in of.services
    ]


def _known(of: Stage, balancer: ServiceSpec) -> list[str]:
    """The web boxes that a balancer knows: those of its region, where it stands in one."""
    region = balancer.labels.get("lab.region")
    return [spec.name for spec in of.services if "web" in spec.roles and spec.labels.get("lab.region") == region]


def cluster_status_of(of: Stage, **changes: Any) -> ClusterStatus:
    """What a survey finds when all is well, unless changed: the first database is the primary, the first balancer has the address."""
    first, *others = of.databases
    watched = of.failover == "automatic"
    zones = {spec.name: spec.labels.get("lab.zone", spec.name) for spec in of.services}
    # The zone of the monitor never has the primary.
    never = {name for name in of.databases for spec in of.services if "monitor" in spec.roles and zones[name] == zones[spec.name]}
    states = {first: DatabaseState.PRIMARY, **dict.fromkeys(others, DatabaseState.STANDBY)}
    holders = tuple(of.balancers)[:1]
    # Of several regions the other one is waited for.
    home = next((names for names in of.regions.values() if first in names), [first])
    synchronous = [name for name in others if name not in home] if watched else []
    whole = ClusterStatus(
        view=ClusterView(0, states, len(others), len(synchronous), holders, "".join(holders), tuple(of.balancers)),
        replicas={name: replace(COPY, synchronous=name in synchronous) for name in others},
        backends={spec.name: dict.fromkeys(_known(of, spec), True) for spec in of.services if "lb" in spec.roles},
        node_states={
            name: replace(NODE, is_promotable=name in others and name not in never, votes=name in synchronous)
            for name in of.databases
        }
        if watched
        else None,
        # pg_auto_failover asks for one acknowledgement whatever happens as soon as there are two standbys; not in regions.
        acknowledgers=min(len(others) - 1, 1) if watched and not of.durability else 0,
    )
    return replace(whole, **changes)


COMMANDS_OF_AN_ENGINE = ("campaigns", "chaos", "doctor", "images", "monkey", "own_stack", "run", "selftest", "stage")
"""The modules of the command line that ask for an engine."""


def use_engine(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> None:
    """Have every command find this engine."""
    for name in COMMANDS_OF_AN_ENGINE:
        monkeypatch.setattr(f"lab.cli.{name}.DockerEngine", make)
