"""What the engine makes of Docker's answers, against an API that is only played."""

from __future__ import annotations

import subprocess
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from hypothesis import given
from hypothesis import strategies as st

from lab.engine.compose import unreadable
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import ExecResult
from lab.engine.inspect import WATCHED, EngineEvent, MemoryUse, memory_use_of, nanoseconds
from lab.errors import HealError, UsageError
from lab.model.history import LogLine
from lab.model.topology import Box, Link, MemoryLimit
from lab.process import wait_until
from tests.unit.helpers import box, stage

EDGE = Link("redundancy-lab-5_edge", "198.18.0.11", "02:42:c6:12:00:0b", ("lb1", "redundancy-lab-5-lb1-1"), "fd00::b")
APP = Link("redundancy-lab-5_app", "", "", ("lb1",))
DETAILS: dict[str, Any] = {
    "Id": "id-of-lb1",
    "Config": {"Labels": {"lab.stage": "5", "lab.role": "lb", "com.docker.compose.project": "redundancy-lab-5"}},
    "Mounts": [{"Type": "volume", "Name": "disk"}, {"Type": "volume", "Name": "nameless"}, {"Type": "tmpfs"}],
    "NetworkSettings": {
        "Networks": {
            EDGE.network: {
                "IPAMConfig": {"IPv4Address": EDGE.address, "IPv6Address": EDGE.address6},
                "IPAddress": EDGE.address,
                "MacAddress": EDGE.mac,
                "Aliases": list(EDGE.aliases),
            },
            # Docker chose address and MAC address here, and may choose others next time.
            APP.network: {
                "IPAMConfig": None,
                "IPAddress": "198.18.1.7",
                "MacAddress": "02:42:c6:12:01:07",
                "Aliases": list(APP.aliases),
            },
        }
    },
}
LB1 = box("lb1", ("lb",))


class Happening(list[dict[str, Any]]):
    """A stream of events that can be closed."""

    def close(self) -> None:
        self.clear()


@dataclass
class PlayedApi:
    """One container, and what is done to it."""

    details: dict[str, Any] = field(default_factory=lambda: deepcopy(DETAILS))
    log: bytes = b""
    happened: list[dict[str, Any]] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    done: list[Any] = field(default_factory=list)

    def inspect_container(self, _: str) -> dict[str, Any]:
        return self.details

    def disconnect_container_from_network(self, container: str, network: str) -> None:
        del self.details["NetworkSettings"]["Networks"][network]
        self.done.append((container, network))

    def connect_container_to_network(self, container: str, network: str, **how: Any) -> None:
        self.done.append((container, network, how))

    def remove_container(self, container: str, **how: bool) -> None:
        self.done.append((container, how))

    def remove_volume(self, name: str) -> None:
        if name == "nameless":
            raise NotFound("went with its container")
        self.done.append(name)

    def volumes(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {"Volumes": None}

    def stop(self, _: str, timeout: int) -> None:
        self.done.append(f"stop within {timeout} s")

    def restart(self, _: str, timeout: int) -> None:
        self.done.append(f"restart within {timeout} s")

    def update_container(self, _: str, **how: Any) -> None:
        self.done.append(how)

    def stats(self, _: str, **how: Any) -> dict[str, Any]:
        self.done.append(how)
        return self.statistics

    def info(self) -> dict[str, Any]:
        return {"SystemTime": "2026-01-31T13:00:00.123456789+01:00"}

    def events(self, **how: Any) -> Happening:
        self.done.append(how)
        return Happening(self.happened)

    def version(self) -> dict[str, Any]:
        return {"Version": "28.0", "Arch": "arm64"}

    def logs(self, _: str, **how: Any) -> bytes:
        self.done.append(how)
        return self.log


def played(**changes: Any) -> tuple[PlayedApi, DockerEngine]:
    engine, api = DockerEngine.__new__(DockerEngine), PlayedApi(**changes)
    engine.api = api
    return api, engine


def test_times_as_docker_writes_them() -> None:
    assert nanoseconds("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert nanoseconds("1970-01-01T00:01:00Z") == 60_000_000_000
    # Docker leaves out zeros at the end.
    assert nanoseconds("1970-01-01T00:00:00.5Z") == 500_000_000


@pytest.mark.parametrize("stamp", ["", "panic:", "2026-01-31T12:00:00.soonZ", "12:00:00.5Z"])
def test_what_is_no_time(stamp: str) -> None:
    assert nanoseconds(stamp) == 0


@given(st.integers(10**9, 4 * 10**18))
def test_no_nanosecond_is_lost(at_ns: int) -> None:
    whole = datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert nanoseconds(f"{whole}.{at_ns % 10**9:09d}".rstrip("0") + "Z") == at_ns


def test_architecture_is_named_as_images_name_it() -> None:
    """Docker's `info` has the kernel's word for it (aarch64), its `version` that of images."""
    _, engine = played()
    assert engine.architecture() == "arm64"


def test_log_lines_have_the_time_at_which_they_were_read() -> None:
    log = b"2026-01-31T12:00:00.25Z Entering MASTER STATE\nno time at all\n2026-01-31T12:00:01Z caf\xff\n2026-01-31T12:00:02Z\n"
    api, engine = played(log=log)
    noon_ns = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()) * 10**9
    assert engine.log_lines(LB1, since_s=noon_ns / 1e9 + 0.9) == [
        LogLine("lb1", noon_ns + 250_000_000, "Entering MASTER STATE"),
        LogLine("lb1", noon_ns + 1_000_000_000, "caf�"),
    ]
    # Docker takes whole seconds: rather some lines too many than one too few.
    assert api.done == [{"timestamps": True, "since": noon_ns // 10**9}]


# Memory

V1 = {
    "usage": 100,
    "limit": 1000,
    "failcnt": 3,
    "stats": {"inactive_file": 1, "active_file": 2, "total_inactive_file": 10, "total_active_file": 20},
}
V2 = {"usage": 100, "limit": 1000, "stats": {"inactive_file": 10, "active_file": 20, "slab_reclaimable": 5, "anon": 50}}


@pytest.mark.parametrize(
    ("said", "use"),
    [
        (V1, MemoryUse(1000, 100, 90, 70, 3)),
        (V2, MemoryUse(1000, 100, 90, 65)),
        # Of one that does not run.
        ({}, None),
        ({"usage": 0}, None),
        ({"usage": 5, "stats": {"inactive_file": 9}}, MemoryUse(0, 5, 0, 0)),
    ],
)
def test_memory_is_read_from_both_versions_of_control_groups(said: dict[str, Any], use: MemoryUse | None) -> None:
    api, engine = played(statistics={"memory_stats": said})
    assert engine.memory_use(LB1) == use
    assert api.done == [{"stream": False, "one_shot": True}]
    assert memory_use_of({}) is None


def test_a_limit_of_memory_is_one_of_swap_too() -> None:
    api, engine = played()
    api.details["HostConfig"] = {"Memory": 64, "MemorySwap": 128}
    before = engine.memory_limit(LB1)
    assert before == MemoryLimit(64, 128)
    engine.limit_memory(LB1, MemoryLimit(32, 32))
    assert api.done == [{"mem_limit": 32, "memswap_limit": 32}]
    del api.details["HostConfig"]
    assert engine.memory_limit(LB1) == MemoryLimit()


def test_the_last_kill_for_want_of_memory_is_asked_for_by_the_engines_own_clock() -> None:
    api, engine = played(happened=[{"timeNano": 5}, {"timeNano": 9}, {"timeNano": 7}])
    assert engine.last_oom_ns(LB1) == 9
    [asked] = api.done
    assert asked["until"] == int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())
    assert asked["filters"] == {"type": "container", "container": "id-of-lb1", "event": "oom"}
    _, quiet = played()
    assert quiet.last_oom_ns(LB1) == 0


def test_links_hold_what_the_stage_file_fixes_and_leave_the_rest_to_docker() -> None:
    _, engine = played()
    assert engine.links(LB1) == (APP, EDGE)


def test_a_box_is_cut_off_every_network() -> None:
    api, engine = played()
    engine.disconnect(LB1)
    assert api.done == [("id-of-lb1", APP.network), ("id-of-lb1", EDGE.network)]
    assert engine.links(LB1) == ()


def test_reconnection_gives_back_address_and_names_where_they_are_missing() -> None:
    api, engine = played()
    del api.details["NetworkSettings"]["Networks"][EDGE.network]
    engine.reconnect(LB1, (APP, EDGE))
    as_before = {
        "ipv4_address": EDGE.address,
        "ipv6_address": EDGE.address6,
        "aliases": list(EDGE.aliases),
        "mac_address": EDGE.mac,
    }
    assert api.done == [("id-of-lb1", EDGE.network, as_before)]


def test_reconnection_asks_for_nothing_that_was_not_fixed() -> None:
    api, engine = played()
    del api.details["NetworkSettings"]["Networks"][APP.network]
    engine.reconnect(LB1, (APP,))
    assert api.done == [
        ("id-of-lb1", APP.network, {"ipv4_address": None, "ipv6_address": None, "aliases": ["lb1"], "mac_address": None})
    ]


@pytest.mark.parametrize(
    ("status", "exit_code", "asked"),
    [
        ("running", 0, ["198.18.2.31\tdb1", "fd00::2\tdb2"]),
        ("running", 127, ["198.18.2.31\tdb1", "fd00::2\tdb2"]),
        ("exited", 0, []),
        ("running", 1, None),
    ],
)
def test_names_that_the_stage_file_gave_are_given_back(
    monkeypatch: pytest.MonkeyPatch, status: str, exit_code: int, asked: list[str] | None
) -> None:
    api, engine = played()
    api.details["State"] = {"Status": status}
    api.details["HostConfig"] = {"ExtraHosts": ["db1:198.18.2.31", "db2:fd00::2", "outside:host-gateway"]}
    lines: list[str] = []

    def run_in(_: Box, command: list[str], user: str) -> ExecResult:
        assert user == "root"
        lines.extend(command[4:])
        return ExecResult(exit_code, "")

    monkeypatch.setattr(engine, "run_in", run_in)
    if asked is None:
        with pytest.raises(HealError, match="neighbours' names"):
            engine.reconnect(LB1, (APP, EDGE))
    else:
        engine.reconnect(LB1, (APP, EDGE))
        assert lines == asked


def test_a_box_is_removed_with_its_disks() -> None:
    api, engine = played()
    engine.remove(LB1)
    assert api.done == [("id-of-lb1", {"force": True, "v": True}), "disk"]


def test_foreign_containers_are_neither_cut_off_nor_removed() -> None:
    api, engine = played()
    api.details["Config"]["Labels"]["com.docker.compose.project"] = "somebody-else"
    for work in (engine.disconnect, engine.remove, lambda lb1: engine.reconnect(lb1, (Link("other", "", "", ()),))):
        with pytest.raises(UsageError, match="lb1 is not a box of the lab"):
            work(LB1)
    assert api.done == []


@pytest.mark.parametrize(("left_out", "scaled"), [((), []), (("watch",), ["--scale", "watch=0"])])
def test_what_is_left_out_is_neither_started_nor_made(
    monkeypatch: pytest.MonkeyPatch, left_out: tuple[str, ...], scaled: list[str]
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    _, engine = played()
    engine.up(stage(left_out=left_out))
    engine.create(stage(left_out=left_out))
    engine.down(stage(left_out=left_out))
    engine.up(stage(left_out=left_out), "web1")
    assert [command[command.index("never") + 1 :] for command in asked[:2]] == [scaled, scaled]
    # What was started before it was left out goes too.
    assert "--scale" not in asked[2]
    # Where one service is named no other is started anyway.
    assert asked[3][asked[3].index("never") + 1 :] == ["--no-deps", "web1"]


# A foreign project

SHOP = {"com.docker.compose.project": "shop", "com.docker.compose.service": "lb", "com.docker.compose.container-number": "2"}


def test_on_a_visit_one_project_may_be_touched_and_nothing_of_it_removed() -> None:
    api, engine = played()
    api.details["Config"]["Labels"] = dict(SHOP)
    foreign = box("lb#2", stage=0, project="shop", id="id-of-lb1")
    with pytest.raises(UsageError, match="not a box of the lab"):
        engine.disconnect(foreign)
    engine.visiting("shop").disconnect(foreign)
    assert len(api.done) == 2
    for project in ("shop2", "", "redundancy-lab-5"):
        with pytest.raises(UsageError, match="not a box of the lab"):
            engine.visiting(project).reconnect(foreign, (EDGE,))
    with pytest.raises(UsageError, match="not the lab's to remove"):
        engine.visiting("shop").remove(foreign)
    assert len(api.done) == 2


def test_on_a_visit_no_box_of_the_lab_is_touched() -> None:
    api, engine = played()
    with pytest.raises(UsageError, match="not a box of the lab"):
        engine.visiting("shop").disconnect(LB1)
    assert api.done == []
    # The engine itself is as it was.
    engine.disconnect(LB1)


def test_visited_project_is_never_started_or_stopped() -> None:
    _, engine = played()
    shop = stage(number=0, folder="own-shop", project="shop")
    for work in (engine.up, engine.down, engine.create):
        with pytest.raises(UsageError, match="own-shop is not the lab's to start or stop"):
            work(shop)


def test_box_of_a_visited_project_has_the_labs_words() -> None:
    api, engine = played()
    api.details |= {"Config": {"Labels": dict(SHOP)}, "State": {"Status": "running"}}
    found = engine.visiting("shop", {"lb": ("entry",)}).box(LB1)
    assert found
    assert (found.service, found.stage, found.roles, found.project) == ("lb#2", 0, ("lb", "entry"), "shop")
    assert found.is_foreign
    assert found.is_system


@pytest.mark.parametrize(("given", "taken_s"), [(None, 10), (75, 75), (0, 0)])
def test_a_box_has_its_own_time_to_end(given: int | None, taken_s: int) -> None:
    api, engine = played()
    api.details["Config"]["StopTimeout"] = given
    engine.stop(LB1)
    engine.restart(LB1)
    assert api.done == [f"stop within {taken_s} s", f"restart within {taken_s} s"]


# What Docker says of boxes while they are watched

OURS = {
    "lab.stage": "3",
    "lab.role": "web",
    "com.docker.compose.project": "redundancy-lab-3",
    "com.docker.compose.service": "web1",
}
HELPER = {key: value for key, value in OURS.items() if key != "lab.role"}


def happening(action: str, labels: dict[str, str] | None = None, kind: str = "container", stamp_ns: int = 7) -> dict[str, Any]:
    return {"Type": kind, "Action": action, "Actor": {"ID": "id-of-web1", "Attributes": labels or OURS}, "timeNano": stamp_ns}


def heard(*happened: dict[str, Any], project: str = "") -> list[EngineEvent]:
    """What is heard of these, the last of which is of a box of ours."""
    api, engine = played(happened=[*happened, happening("die", SHOP if project else OURS)])
    found: list[EngineEvent] = []
    (engine.visiting(project) if project else engine).watch(found.append)
    assert wait_until(lambda: bool(found) and found[-1].action == "die", 5)
    [asked] = api.done
    assert asked["filters"] == {"type": ["container", "network"], "event": list(WATCHED)}
    return found[:-1]


def test_what_happens_to_our_boxes_is_heard_with_the_instant_that_the_engine_says() -> None:
    [start, health] = heard(happening("start", stamp_ns=123), happening("health_status: healthy"))
    assert (start.service, start.action, start.stamp_ns, start.box_id) == ("web1", "start", 123, "id-of-web1")
    assert health.action == "health_status: healthy"


def test_of_a_connection_to_a_network_only_the_container_is_named() -> None:
    [found] = heard(happening("connect", {"container": "id-of-web1", "name": "redundancy-lab-3_app"}, kind="network"))
    assert (found.service, found.action, found.box_id) == ("", "connect", "id-of-web1")


def test_other_containers_and_helpers_are_not_heard() -> None:
    assert heard(happening("start", SHOP), happening("start", HELPER), happening("exec_start: ls")) == []
    [found] = heard(happening("start", OURS), happening("start", SHOP), project="shop")
    assert found.service == "lb#2"


@pytest.mark.parametrize(
    ("policy", "expected"), [("", False), ("no", False), ("always", True), ("unless-stopped", True), ("on-failure", True)]
)
def test_a_box_with_a_restart_policy_restarts_itself(policy: str, expected: bool) -> None:
    api, engine = played()
    api.details |= {"State": {"Status": "running"}, "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}}}
    found = engine.box(LB1)
    assert found
    assert found.restarts_itself is expected


# What Compose says of a file


@pytest.mark.parametrize(
    ("said", "place", "why"),
    [
        ("yaml: line 2: did not find expected node content", "shop.yaml:2: ", "did not find expected node content"),
        ("failed to parse shop.yaml: yaml: line 12: found a tab", "shop.yaml:12: ", "found a tab"),
        ("services.lb.image must be a string", "shop.yaml: ", "services.lb.image must be a string"),
        ("it said nothing", "shop.yaml: ", "it said nothing"),
    ],
)
def test_a_file_that_compose_cannot_read_is_named_with_its_line_where_compose_says_one(said: str, place: str, why: str) -> None:
    assert unreadable(Path("shop.yaml"), said) == f"{place}Docker Compose cannot read it: {why}"
