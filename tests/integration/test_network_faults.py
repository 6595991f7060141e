"""Network faults in real networks, on four tiny boxes of our own. Boxes of no stage: none needs to be up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.cluster import images
from lab.cluster.cluster import Cluster
from lab.engine.engine import Engine
from lab.engine.scope import STAGE_LABEL
from lab.errors import PreflightError, UsageError
from lab.faults import heal, network_cleanup
from lab.faults.injection import Injection
from lab.model.fault import Direction, FaultKind, FaultParameters, Step, Verification
from lab.model.topology import Box
from lab.process import wait_until
from lab.spec import stages
from lab.store.undo_log import UndoLog
from tests.integration.clusters import cluster
from tests.integration.driver import container, docker, left_over

pytestmark = pytest.mark.docker
night = pytest.mark.night

# No stage has this number, and no stage has these addresses.
NUMBER = 77
FRONT, BACK = "redundancy-lab-77_front", "redundancy-lab-77_back"
SUBNETS = {FRONT: "198.19.77.0/25", BACK: "198.19.77.128/25"}
# Two in zone a, one in zone b, one where users stand; each with its addresses in front and back.
ZONES = {"a1": "a", "a2": "a", "b1": "b", "users": ""}
FRONTS = {name: f"198.19.77.1{place}" for place, name in enumerate(ZONES, 1)}
BACKS = {name: f"198.19.77.14{place}" for place, name in enumerate(ZONES, 1)}
SHARED = "198.19.77.99"
# a1 and b1 share an address, as balancers do.
STAGE = replace(stages.find("5"), number=NUMBER, entry=(SHARED, 8080), balancers={"a1": FRONTS["a1"], "b1": FRONTS["b1"]})
SPREAD_CEILING_S = 0.5
UNANSWERED = 124
PROBE_S = 0.4
ALL_WAYS = {(one, other) for one in ZONES for other in ZONES if one != other}
GARP = """
import socket, struct, sys
mac = bytes.fromhex(open(f"/sys/class/net/{sys.argv[1]}/address").read().strip().replace(":", ""))
address = socket.inet_aton("198.19.77.99")
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0x806))
arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + address + bytes(6) + address
for _ in range(5):
    sender.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
"""


def start(name: str, zone: str) -> None:
    labels = {STAGE_LABEL: str(NUMBER), "lab.role": "web" if zone else "internet", "lab.zone": zone}
    labels |= {"com.docker.compose.project": "redundancy-lab-77", "com.docker.compose.service": name}
    flags = [flag for key, value in labels.items() for flag in ("--label", f"{key}={value}")]
    options = [
        "--name",
        container(NUMBER, name),
        "--hostname",
        name,
        "--cap-drop",
        "ALL",
        "--network",
        FRONT,
        "--ip",
        FRONTS[name],
    ]
    docker("create", *options, *flags, "redundancy-lab/base", "sleep", "900")
    docker("network", "connect", "--ip", BACKS[name], BACK, container(NUMBER, name))
    docker("start", container(NUMBER, name))


def remove() -> None:
    for name in ZONES:
        subprocess.run(["docker", "rm", "--force", container(NUMBER, name)], capture_output=True, check=False)
    for network in SUBNETS:
        subprocess.run(["docker", "network", "rm", network], capture_output=True, check=False)


@pytest.fixture(scope="module")
def tiny(engine: Engine) -> Iterator[Engine]:
    images.build(engine, print, ("base", "network"))
    remove()
    for network, subnet in SUBNETS.items():
        docker("network", "create", "--internal", "--subnet", subnet, "--label", f"{STAGE_LABEL}={NUMBER}", network)
    for name, zone in ZONES.items():
        start(name, zone)
    yield engine
    remove()


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


@pytest.fixture
def whole(tiny: Engine) -> Iterator[Engine]:
    assert severed(tiny) == set()
    yield tiny
    network_cleanup.sweep(cluster(tiny, STAGE))


def boxes(engine: Engine) -> dict[str, Box]:
    return {box.service: box for box in engine.boxes(NUMBER)}


def severed(engine: Engine) -> set[tuple[str, str]]:
    """Who (if it runs) is not answered by whom, asked in front: refused is answered."""
    found = boxes(engine)
    ways = [(one, other) for one, other in sorted(ALL_WAYS) if found[one].status == "running"]
    ask = ["timeout", str(PROBE_S), "bash", "-c", "</dev/tcp/$0/9"]
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda way: engine.run_in(found[way[0]], [*ask, FRONTS[way[1]]]).exit_code, ways))
    return {way for way, code in zip(ways, codes, strict=True) if code == UNANSWERED}


def between(*sides: set[str]) -> set[tuple[str, str]]:
    one, other = sides
    return {way for way in ALL_WAYS if (way[0] in one and way[1] in other) or (way[0] in other and way[1] in one)}


def prepare(engine: Engine, kind: FaultKind, target: str, ledger: UndoLog | None = None, **how: Any) -> Injection:
    system = Cluster(engine, STAGE, ledger or UndoLog())
    return Injection.prepare(system, Step(kind, target, how=FaultParameters(**how)), system.boxes(), Random(1))


def injection(engine: Engine, ledger: UndoLog, kind: FaultKind, target: str, **how: Any) -> list[Verification]:
    with prepare(engine, kind, target, ledger, **how) as prepared:
        prepared.note()
        prepared.inject()
        verify = prepared.verify()
        assert prepared.spread_s < SPREAD_CEILING_S
        return verify


def beside(name: str, *command: str, capability: str = "NET_ADMIN") -> str:
    """A command in the network of a tiny box."""
    options = ["--rm", "--network", f"container:{container(NUMBER, name)}", "--cap-drop", "ALL", "--cap-add", capability]
    return docker("run", *options, "redundancy-lab/network", *command)


def front(name: str) -> str:
    """The interface of a tiny box that leads to the front; Docker numbers them as it likes."""
    return beside(name, "ip", "-o", "-4", "address", "show", "to", FRONTS[name]).split()[1]


def test_isolated_boxes_reach_each_other_and_no_other_box(whole: Engine, ledger: UndoLog) -> None:
    verify = injection(whole, ledger, FaultKind.ISOLATE, "zone:a")
    assert [verification.proved for verification in verify] == [True, True]
    assert "users gets no answer any more from a1" in verify[0].evidence
    assert severed(whole) == between({"a1", "a2"}, {"b1", "users"})
    assert heal.undo_all(whole, ledger) == 2
    assert severed(whole) == set()
    assert [left_over(container(NUMBER, name)) for name in ZONES] == [""] * len(ZONES)


def test_partition_cuts_two_sides_apart_and_leaves_both_their_users(whole: Engine, ledger: UndoLog) -> None:
    assert all(verification.proved for verification in injection(whole, ledger, FaultKind.PARTITION, "zone:a", source="zone:b"))
    assert severed(whole) == between({"a1", "a2"}, {"b1"})
    heal.undo_all(whole, ledger)
    assert severed(whole) == set()


@pytest.mark.parametrize(("direction", "hears"), [(Direction.OUT, "a1"), pytest.param(Direction.IN, "b1", marks=night)])
def test_partition_of_one_direction_lets_the_other_one_through(
    whole: Engine, ledger: UndoLog, direction: Direction, hears: str
) -> None:
    """No connection comes about either way; but what is sent in the other direction arrives."""
    verify = injection(whole, ledger, FaultKind.PARTITION, "service:a1", source="service:b1", direction=direction)
    assert all(verification.proved for verification in verify)
    assert severed(whole) == between({"a1"}, {"b1"})
    for listener, sender in (("a1", "b1"), ("b1", "a1")):
        listen = "timeout 2 python3 -c 'import socket; s = socket.socket(type=2); s.bind((\"\", 999)); print(s.recv(9))'; true"
        listening = subprocess.Popen(
            ["docker", "exec", "-u", "0", container(NUMBER, listener), "bash", "-c", listen], stdout=subprocess.PIPE
        )
        whole.run_in(
            boxes(whole)[sender],
            ["bash", "-c", f"for _ in {{1..12}}; do echo hi >/dev/udp/{FRONTS[listener]}/999; sleep 0.1; done"],
        )
        out, _ = listening.communicate(timeout=20)
        assert (b"hi" in out) == (listener == hears)


def test_an_isolated_box_does_not_even_claim_the_shared_address(whole: Engine, ledger: UndoLog) -> None:
    """Two boxes hold it; while one is isolated, only the other's claims and answers are heard."""
    devices = {name: front(name) for name in ("a1", "b1")}
    macs = {name: beside(name, "cat", f"/sys/class/net/{device}/address") for name, device in devices.items()}
    for name, device in devices.items():
        beside(name, "ip", "address", "add", f"{SHARED}/32", "dev", device)
    try:
        injection(whole, ledger, FaultKind.ISOLATE, "service:a1")
        for _ in range(3):
            beside("users", "ip", "neigh", "flush", "to", SHARED)
            whole.run_in(boxes(whole)["users"], ["timeout", "1", "bash", "-c", f"</dev/tcp/{SHARED}/9"])
            beside("a1", "python3", "-c", GARP, devices["a1"], capability="NET_RAW")
            assert macs["b1"] in beside("users", "ip", "neigh", "show", SHARED)
        heal.undo_all(whole, ledger)
        # The same claim, not isolated, is believed: the look above would have seen it.
        beside("a1", "python3", "-c", GARP, devices["a1"], capability="NET_RAW")
        assert macs["a1"] in beside("users", "ip", "neigh", "show", SHARED)
    finally:
        for name, device in devices.items():
            beside(name, "ip", "address", "del", f"{SHARED}/32", "dev", device)


@night
def test_a_box_that_starts_anew_stays_cut_off_from_the_other_side(whole: Engine, ledger: UndoLog) -> None:
    injection(whole, ledger, FaultKind.PARTITION, "service:a1", source="service:b1")
    docker("restart", "--time", "0", container(NUMBER, "a1"))
    assert severed(whole) == between({"a1"}, {"b1"})
    # Nothing is to be found in its new network, and that is well.
    assert heal.undo_all(whole, ledger) == 2
    assert severed(whole) == set()


@night
def test_faults_of_a_frozen_box_can_be_taken_away(whole: Engine, ledger: UndoLog) -> None:
    injection(whole, ledger, FaultKind.ISOLATE, "service:a1")
    docker("pause", container(NUMBER, "a1"))
    network_cleanup.clear(whole, [entry.undo for entry in ledger.entries()])
    assert left_over(container(NUMBER, "a1")) == ""
    heal.undo_all(whole, ledger)
    assert severed(whole) == set()


@night
def test_faults_of_one_box_are_taken_away_one_by_one(whole: Engine, ledger: UndoLog, tmp_path: Path) -> None:
    other = UndoLog(tmp_path / "other.jsonl")
    injection(whole, ledger, FaultKind.PARTITION, "service:a1", source="service:b1")
    injection(whole, other, FaultKind.PARTITION, "service:a1", source="service:a2")
    heal.undo_all(whole, other)
    assert severed(whole) == between({"a1"}, {"b1"})
    heal.undo_all(whole, ledger)
    assert severed(whole) == set()


@pytest.mark.parametrize("instant", [pytest.param("prepared", marks=night), "injected"])
def test_what_a_killed_controller_leaves_can_be_mended(whole: Engine, ledger: UndoLog, tmp_path: Path, instant: str) -> None:
    file = tmp_path / "undo.jsonl"
    controller = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.controller", str(file), instant], stdout=subprocess.PIPE
    )
    assert controller.stdout is not None
    assert controller.stdout.readline() == b"now\n"
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    helpers = ["ps", "--quiet", "--filter", "label=com.docker.compose.service=helper"]
    assert wait_until(lambda: docker(*helpers) == "", 15), "a helper outlived its controller"
    # Killed while it was getting ready, nothing was broken; after that, all is on the disk.
    assert bool(severed(whole)) == (instant == "injected")
    assert heal.undo_all(whole, UndoLog(file)) == (3 if instant == "injected" else 0)
    assert severed(whole) == set()
    assert [left_over(container(NUMBER, name)) for name in ZONES] == [""] * len(ZONES)


@night
def test_leftovers_without_a_note_in_the_undo_log_are_removed(whole: Engine, ledger: UndoLog) -> None:
    injection(whole, ledger, FaultKind.LOSS, "service:a1", loss_percent=50)
    injection(whole, ledger, FaultKind.BANDWIDTH, "service:a1", rate_kbit=5000)
    ledger.clear()
    found = network_cleanup.sweep(cluster(whole, STAGE))
    assert len(found) == 3
    assert all("in the network of a1" in line for line in found)
    assert network_cleanup.sweep(cluster(whole, STAGE)) == []
    assert left_over(container(NUMBER, "a1")) == ""


@night
def test_a_table_that_is_not_the_labs_is_left_alone(whole: Engine, ledger: UndoLog) -> None:
    beside("a1", "nft", f"table netdev labour {{ chain c {{ type filter hook ingress device {front('a1')} priority 0; }}; }}")
    try:
        injection(whole, ledger, FaultKind.ISOLATE, "service:a1")
        heal.undo_all(whole, ledger)
        assert network_cleanup.sweep(cluster(whole, STAGE)) == []
        assert left_over(container(NUMBER, "a1")) == "table netdev labour"
    finally:
        beside("a1", "nft", "delete table netdev labour")


@pytest.mark.parametrize("percent", [20.0, pytest.param(60.0, marks=night)])
def test_as_many_packets_are_lost_as_asked_for(whole: Engine, ledger: UndoLog, percent: float) -> None:
    injection(whole, ledger, FaultKind.LOSS, "service:a1", loss_percent=percent)
    send = f"for _ in {{1..2000}}; do echo >/dev/udp/{FRONTS['b1']}/9; done 2>/dev/null"
    whole.run_in(boxes(whole)["a1"], ["bash", "-c", send])
    [table] = [line.split()[-1] for line in left_over(container(NUMBER, "a1")).splitlines()]
    listing = json.loads(beside("a1", "nft", "--json", "list", "table", "netdev", table))
    counters = [
        part["counter"]["packets"]
        for each in listing["nftables"]
        for part in each.get("rule", {}).get("expr", [])
        if "counter" in part
    ]
    assert counters[1] / counters[0] == pytest.approx(percent / 100, abs=0.06)
    heal.undo_all(whole, ledger)


@pytest.mark.parametrize("rate_kbit", [pytest.param(200.0, marks=night), 2_000.0, pytest.param(20_000.0, marks=night)])
def test_only_so_much_gets_through(whole: Engine, ledger: UndoLog, rate_kbit: float) -> None:
    [verification] = injection(whole, ledger, FaultKind.BANDWIDTH, "service:a1", rate_kbit=rate_kbit)
    assert verification.proved, verification.evidence
    with pytest.raises(UsageError, match="what a1 sends is queued already"):
        prepare(whole, FaultKind.BANDWIDTH, "service:a1", rate_kbit=rate_kbit)
    heal.undo_all(whole, ledger)
    assert left_over(container(NUMBER, "a1")) == ""


def has_netem() -> bool:
    options = ["--rm", "--network", "none", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "redundancy-lab/network"]
    add = "tc qdisc add dev lo root netem delay 1ms 2>/dev/null && echo yes || echo no"
    return docker("run", *options, "bash", "-c", add) == "yes"


def test_delay_is_seen_or_refused_before_anything_is_broken(whole: Engine, ledger: UndoLog) -> None:
    if has_netem():
        [verification] = injection(whole, ledger, FaultKind.DELAY, "service:a1", delay_ms=80, jitter_ms=5)
        assert verification.proved, verification.evidence
        heal.undo_all(whole, ledger)
    else:
        with pytest.raises(PreflightError, match=r"cannot delay packets \(it has no netem: .*\)$"):
            prepare(whole, FaultKind.DELAY, "service:a1", delay_ms=80)
    assert left_over(container(NUMBER, "a1")) == ""


def test_a_helper_may_do_nothing_else(whole: Engine) -> None:
    helper = whole.beside(boxes(whole)["a1"])
    try:
        assert int(helper.ask("grep CapEff /proc/self/status").output.split()[1], 16) == 1 << 12
        assert helper.ask("cat /proc/1/cmdline").output.startswith("tini")
        assert helper.ask("ls /var/run/docker.sock").exit_code
        assert helper.ask("touch /x").exit_code
        [name] = docker("ps", "--filter", "label=com.docker.compose.service=helper", "--format", "{{.Names}}").splitlines()
        [details] = json.loads(docker("inspect", name))
        assert details["HostConfig"]["CapDrop"] == ["ALL"]
        assert details["HostConfig"]["Binds"] is None
        # It is no box, so it can be no target.
        assert {box.service for box in whole.boxes(NUMBER)} == set(ZONES)
        assert name in whole.leftovers()
    finally:
        helper.close()
    assert wait_until(lambda: name not in whole.leftovers(), 10)


def test_a_zone_is_frozen_as_one(whole: Engine, ledger: UndoLog) -> None:
    verify = injection(whole, ledger, FaultKind.PAUSE, "zone:a")
    assert all("one of 2 hit within" in verification.evidence for verification in verify)
    assert {name for name, box in boxes(whole).items() if box.status == "paused"} == {"a1", "a2"}
    assert heal.undo_all(whole, ledger) == 2
