"""The router between regions, on real networks: two regions with a box in each. Boxes of no stage: none needs to be up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster import images
from lab.engine.engine import Engine
from lab.process import wait_until
from tests.integration.driver import REPEATS, TRIES, docker

pytestmark = pytest.mark.docker
night = pytest.mark.night

IMAGE = "redundancy-lab/wan"
ROUTER, EU, US = BOXES = ("lab-test-wan", "lab-test-eu", "lab-test-us")
SUBNETS = {EU: "198.19.78.0/25", US: "198.19.78.128/25"}
GATEWAYS = {EU: "198.19.78.1", US: "198.19.78.129"}
ROUTERS = {EU: "198.19.78.2", US: "198.19.78.130"}
ADDRESSES = {EU: "198.19.78.10", US: "198.19.78.140"}
# The bridge has no address of its own; and an engine that drops what comes from elsewhere does not here.
OPTIONS = {"inhibit_ipv4": "true", "enable_ip_masquerade": "false", "gateway_mode_ipv4": "routed"}
SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
LINES = (f"eu={GATEWAYS[EU]}/25,delay=20ms", f"us={GATEWAYS[US]}/25,delay=5ms")
TOLERANCE_MS = 2.0
RECONNECT_S = 5.0


def router_options(*sysctls: str) -> list[str]:
    flags = [flag for sysctl in sysctls for flag in ("--sysctl", sysctl)]
    return ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--device", "/dev/net/tun", "--tmpfs", "/run", *flags]


def remove() -> None:
    subprocess.run(["docker", "rm", "--force", *BOXES], capture_output=True, check=False)
    subprocess.run(["docker", "network", "rm", *SUBNETS], capture_output=True, check=False)


@pytest.fixture(scope="module")
def networks(engine: Engine) -> Iterator[None]:
    images.build(engine, print, ("base", "wan"))
    remove()
    options = [flag for name, value in OPTIONS.items() for flag in ("-o", f"com.docker.network.bridge.{name}={value}")]
    for region, subnet in SUBNETS.items():
        docker("network", "create", *options, "--subnet", subnet, "--gateway", GATEWAYS[region], region)
        docker("run", "--detach", "--name", region, "--network", region, "--ip", ADDRESSES[region], IMAGE, "sleep", "300")
    yield
    remove()


@pytest.fixture(scope="module")
def router(networks: None) -> str:
    # The way that works on every kernel.
    lab_wan = (IMAGE, "lab-wan", "--link", "userspace", *LINES)
    docker("create", "--name", ROUTER, *router_options(*SYSCTLS), "--network", EU, "--ip", ROUTERS[EU], *lab_wan)
    docker("network", "connect", "--ip", ROUTERS[US], US, ROUTER)
    docker("start", ROUTER)
    assert wait_until(lambda: connected() == {"eu", "us"}, RECONNECT_S)
    return ROUTER


def told(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(docker("exec", ROUTER, "lab-wan", *words))
    return document


def connected() -> set[str]:
    asked = subprocess.run(["docker", "exec", ROUTER, "lab-wan", "show"], capture_output=True, text=True, check=False)
    lines = json.loads(asked.stdout)["lines"] if asked.returncode == 0 else {}
    return {name for name, line in lines.items() if line["interface"]}


def probed(rate: int = 200, seconds: int = 1) -> dict[str, Any]:
    probe = ("lab-wan", "probe", ADDRESSES[US], f"rate={rate}", f"seconds={seconds}")
    document: dict[str, Any] = json.loads(docker("exec", EU, *probe))
    return document


def assert_round_trip(expected_ms: float) -> None:
    """Never shorter; and where this machine was too busy, measured again."""
    for _ in range(TRIES):
        median_ms = probed()["median_ms"]
        assert median_ms >= expected_ms
        if median_ms <= expected_ms + TOLERANCE_MS:
            REPEATS.count()
            return
        REPEATS.count(f"a round trip of {median_ms} ms, not {expected_ms}")
    pytest.fail(f"{median_ms} ms for {expected_ms}")


def test_round_trip_takes_both_delays_also_after_a_change_and_its_undoing(router: str) -> None:
    assert_round_trip(25)
    change = told("set", "us", "delay=45ms", "rate=50mbit")
    assert change["before"] == {"delay_ms": 5.0, "loss_percent": 0.0, "rate_mbit": 0.0, "queue_ms": 100.0}
    assert_round_trip(65)
    told("set", "us", *change["undo"].split())
    assert_round_trip(25)
    shown = told("show")
    assert shown["link"] == "userspace"
    assert shown["overrun"] == 0
    for line in shown["lines"].values():
        assert line["packets"] >= 600
        assert line["dropped"] == 0


def test_what_is_lost_is_lost_in_one_direction(router: str) -> None:
    before = told("show")["lines"]
    change = told("set", "us", "loss=100%")
    assert probed()["answered"] == 0
    told("set", "us", *change["undo"].split())
    lines = told("show")["lines"]
    assert lines["us"]["dropped"] == before["us"]["dropped"] + 200
    assert [lines[name]["packets"] for name in lines] == [before[name]["packets"] for name in lines]


def test_router_is_one_hop(router: str) -> None:
    # With a time to live of 2 a packet passes one router, not two.
    hop = "import socket; asking = socket.socket(); asking.settimeout(2); asking.setsockopt(socket.SOL_IP, socket.IP_TTL, 2)"
    refused = f"{hop}\ntry: asking.connect(('{ADDRESSES[US]}', 9))\nexcept ConnectionRefusedError: print('arrived')"
    assert docker("exec", EU, "python3", "-c", refused).strip() == "arrived"


@night
def test_region_that_was_disconnected_is_taken_again(router: str) -> None:
    docker("network", "disconnect", US, ROUTER)
    assert wait_until(lambda: connected() == {"eu"}, RECONNECT_S)
    # Under another address, so with another MAC address: the boxes there must learn it.
    docker("network", "connect", "--ip", "198.19.78.150", US, ROUTER)
    assert wait_until(lambda: connected() == {"eu", "us"}, RECONNECT_S)
    assert probed()["answered"] == 200


@night
def test_all_regions_in_any_order(router: str) -> None:
    """Docker must not stumble over gateways that are the router's own."""
    for order in ((US, EU), (EU, US)):
        for region in order:
            docker("network", "disconnect", region, ROUTER)
        for region in order:
            docker("network", "connect", "--ip", ROUTERS[region], region, ROUTER)
        assert wait_until(lambda: connected() == {"eu", "us"}, RECONNECT_S)
        assert probed()["answered"] == 200


@pytest.mark.parametrize(
    ("words", "sysctls", "code", "complaint"),
    [
        ((LINES[0],), SYSCTLS, 2, "two regions at least"),
        pytest.param(LINES, ("net.ipv4.ip_forward=0",), 1, "net.ipv4.ip_forward must be 1", marks=night),
        pytest.param(LINES, ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=1"), 1, "rp_filter must be 0", marks=night),
    ],
)
def test_router_that_cannot_be_one_says_why(
    networks: None, words: tuple[str, ...], sysctls: tuple[str, ...], code: int, complaint: str
) -> None:
    command = [
        "docker",
        "run",
        "--rm",
        *router_options(*sysctls),
        "--network",
        EU,
        IMAGE,
        "lab-wan",
        "--link",
        "userspace",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr
