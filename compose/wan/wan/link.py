"""The devices: the router's addresses, and two ways to be a link, the kernel's own or this program."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import Protocol

from wan.line import Count, Line, Region, Settings, WanError, forwarded_once, netem

TUN, TRIAL_TUN = "lab-wan", "lab-wan-try"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Whatever the networks take, the TUN does: the rest of the way says what is too big.
MTU_BYTES = 65535
# What the TUN keeps while this program does not get the processor. More would be a delay that nobody has asked for.
TUN_QUEUE_PACKETS = 1000
BATCH_PACKETS = 64
# Above the kernel's own rules: what this box says and what comes from the TUN goes its way, all else to the TUN.
RULES, TABLE = {100: "iif lo lookup main", 101: f"iif {TUN} lookup main", 102: "lookup 100"}, "100"
# What the kernel tells of: interfaces, their addresses, routes.
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE = 0x1, 0x10, 0x40
# The interfaces are looked at when the kernel says that they have changed, and besides that so often.
LOOK_S = 2.0
DISCARD_PORT = 9


def say(text: str) -> None:
    """A line for the log of the box."""
    print(f"lab-wan: {text}", file=sys.stderr, flush=True)


def run(*command: str) -> str:
    """What a command says. Raises WanError with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WanError(f"{' '.join(command)}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout


def open_tun(name: str) -> int:
    """A TUN device that lasts as long as it is open. Raises WanError."""
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError as error:
        raise WanError(f"no TUN device can be made: {error} (the box needs /dev/net/tun and NET_ADMIN)") from None
    return tun


def lacks_netem() -> str | None:
    """Why the kernel can't delay packets by itself, tried on a device that is thrown away; None when it can."""
    try:
        trial = open_tun(TRIAL_TUN)
    except WanError as error:
        return str(error)
    try:
        run("tc", "qdisc", "replace", "dev", TRIAL_TUN, "root", *netem(Settings(1.0, 1.0, 1.0)).split())
    except WanError as error:
        return str(error)
    finally:
        os.close(trial)
    return None


def check_kernel(interfaces: Sequence[str]) -> None:
    """Raise WanError when the kernel would not forward, or drop what comes in where it does not expect it."""
    ipv4 = Path("/proc/sys/net/ipv4")
    if (ipv4 / "ip_forward").read_text().strip() != "1":
        raise WanError("net.ipv4.ip_forward must be 1")
    for name in interfaces:
        # The stricter of both holds. 1 is strict; 2 asks only for any way back.
        filters = [(ipv4 / "conf" / which / "rp_filter").read_text().strip() for which in ("all", name)]
        if max(filters) == "1":
            raise WanError(f"net.ipv4.conf.all.rp_filter and default.rp_filter must be 0 ({name}: {max(filters)})")


class Gateways:
    """The gateway address of each region, on whichever interface Docker has given this box there.

    Docker gives a gateway's address to no box, so the router takes it itself; and when it is connected to a network
    anew, the interface is another one.
    """

    def __init__(self, regions: Sequence[Region], taken: Callable[[Region, str], None]) -> None:
        self.interfaces: dict[str, str] = {}
        self._regions = regions
        self._taken = taken
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._news.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE))
        self._news.settimeout(LOOK_S)

    def watch(self) -> None:
        """Take the addresses again whenever something has changed, for good."""
        while True:
            # Nothing for a while, or more than could be kept, is a reason to look as well.
            with contextlib.suppress(OSError):
                self._news.recv(65536)
            self.take()

    def take(self) -> None:
        """Take every address that is not ours yet; what can't be taken now can be later."""
        try:
            _forget_default_route()
            addresses = _addresses()
        except WanError as error:
            say(str(error))
            return
        for region in self._regions:
            self._take(region, [(name, each) for name, each in addresses if each.ip in region.gateway.network])

    def _take(self, region: Region, addresses: Sequence[tuple[str, IPv4Interface]]) -> None:
        if not addresses:
            if self.interfaces.pop(region.name, None):
                say(f"{region.name}: no interface any more")
            return
        name = addresses[0][0]
        try:
            if region.gateway not in [each for _, each in addresses]:
                # In this order: what fails is tried again as long as the address is not ours.
                self._taken(region, name)
                run("ip", "address", "add", str(region.gateway), "dev", name)
                _announce(region.gateway)
                say(f"{region.name}: {name} has {region.gateway}")
            self.interfaces[region.name] = name
        except (WanError, OSError) as error:  # an interface may be gone the moment after it was seen
            say(f"{region.name}: {error}")


def _forget_default_route() -> None:
    """Docker has set one, by way of an address that is our own now, and would fail to replace it."""
    if run("ip", "-4", "route", "show", "default"):
        run("ip", "-4", "route", "del", "default")


def _addresses() -> list[tuple[str, IPv4Interface]]:
    lines = [line.split() for line in run("ip", "-o", "-4", "address", "show", "up").splitlines()]
    return [(line[1], IPv4Interface(line[3])) for line in lines]


def _announce(gateway: IPv4Interface) -> None:
    """Let all boxes there learn who has the address now; some may still know the interface that is gone.

    Asking for any address does that, since who asks is told with it, to all. To just say it would need NET_RAW.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.bind((str(gateway.ip), 0))
            asking.sendto(b"", (str(gateway.network[-2]), DISCARD_PORT))
        except OSError as error:
            say(f"{gateway}: could not be announced: {error}")


class Link(Protocol):
    """What delays packets: one of the two below."""

    name: str

    def taken(self, region: Region, interface: str) -> None:
        """A region is on this interface now. Raises WanError."""

    def change(self, region: str, settings: Settings) -> Settings:
        """Returns what was before. Raises WanError."""

    def settings(self, region: str) -> Settings:
        """What is asked of a line."""

    def count(self, region: str) -> Count:
        """What has become of its packets. Raises WanError."""

    def wait(self, control: socket.socket) -> None:
        """Do the work of a link until there is something to read from the control."""


class Netem:
    """The kernel's own: a queue on the interface of each region, as what goes there leaves here.

    A queue counts as one packet what the network interfaces have glued together, up to 64 KB, and loses it as one.
    """

    name = "netem"

    def __init__(self, regions: Sequence[Region]) -> None:
        self._settings = {region.name: region.settings for region in regions}
        self._interfaces: dict[str, str] = {}

    def taken(self, region: Region, interface: str) -> None:
        """The queue of a region, on an interface that has none yet."""
        self._interfaces[region.name] = interface
        self._replace(region.name, self._settings[region.name])

    def change(self, region: str, settings: Settings) -> Settings:
        """A region that is not connected gets them when it is."""
        if region in self._interfaces:
            self._replace(region, settings)
        before, self._settings[region] = self._settings[region], settings
        return before

    def _replace(self, region: str, settings: Settings) -> None:
        run("tc", "qdisc", "replace", "dev", self._interfaces[region], "root", *netem(settings).split())

    def settings(self, region: str) -> Settings:
        """What is asked of a line."""
        return self._settings[region]

    def count(self, region: str) -> Count:
        """As the kernel counts; it does not say how late it was."""
        if region not in self._interfaces:
            return Count(late_packets=None, late_max_ms=None)
        (queue, *_) = json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", self._interfaces[region], "root"))
        return Count(queue["packets"], queue["bytes"], queue["drops"], None, None)

    def wait(self, control: socket.socket) -> None:
        """The kernel does the work."""
        select.select([control], [], [])


class Userspace:
    """This program: what is to be forwarded comes out of a TUN device, and goes back into it when its time has come.

    Without offloads announced, the kernel cuts big segments into packets before they come.
    """

    name = "userspace"

    def __init__(self, regions: Sequence[Region]) -> None:
        self._tun = open_tun(TUN)
        self._regions = regions
        self._lines = {region.name: Line(region.settings, Random()) for region in regions}
        self._line_to: dict[bytes, Line | None] = {}
        run("ip", "link", "set", TUN, "up", "mtu", str(MTU_BYTES), "txqueuelen", str(TUN_QUEUE_PACKETS))
        for region in regions:
            run("ip", "route", "replace", str(region.gateway.network), "dev", TUN, "table", TABLE)
        for number, rule in RULES.items():
            subprocess.run(["ip", "rule", "del", "pref", str(number)], capture_output=True, check=False)
            run("ip", "rule", "add", "pref", str(number), *rule.split())
        check_kernel([TUN])

    def taken(self, region: Region, interface: str) -> None:
        """The rules know no interface but the TUN; the kernel must not refuse what comes in there."""
        check_kernel([interface])

    def change(self, region: str, settings: Settings) -> Settings:
        """Returns what was before."""
        return self._lines[region].change(settings, monotonic_ns())

    def settings(self, region: str) -> Settings:
        """What is asked of a line."""
        return self._lines[region].settings

    def count(self, region: str) -> Count:
        """What has become of the packets of a line."""
        return self._lines[region].count()

    def wait(self, control: socket.socket) -> None:
        """Take and release packets until there is something to read from the control."""
        lines, tun = list(self._lines.values()), self._tun
        sources: list[int | socket.socket] = [tun, control]
        while True:
            due_ns = [line.due_ns for line in lines if line.due_ns is not None]
            wait_s = max(0, min(due_ns) - monotonic_ns()) / 1e9 if due_ns else None
            ready, _, _ = select.select(sources, [], [], wait_s)
            if tun in ready:
                self._take(tun)
            for line in lines:
                for packet in line.leave(monotonic_ns()):
                    _write(tun, packet)
            if control in ready:
                return

    def _take(self, tun: int) -> None:
        for _ in range(BATCH_PACKETS):
            try:
                packet = bytearray(os.read(tun, MTU_BYTES))
            except BlockingIOError:
                return
            line = self._line(bytes(packet[16:20])) if packet[0] >> 4 == 4 else None
            if line is not None:
                line.enter(forwarded_once(packet), monotonic_ns())

    def _line(self, target: bytes) -> Line | None:
        """The line towards an address, remembered."""
        if target not in self._line_to:
            if len(self._line_to) > 10_000:
                self._line_to.clear()
            address = IPv4Address(target)
            names = [region.name for region in self._regions if address in region.gateway.network]
            self._line_to[target] = self._lines[names[0]] if names else None
        return self._line_to[target]


def _write(tun: int, packet: bytes | bytearray) -> None:
    """Back to the kernel, which forwards it; or can't, when the region is not connected."""
    try:
        os.write(tun, packet)
    except OSError as error:
        say(f"a packet was refused: {error}")


def choose(kind: str, regions: Sequence[Region]) -> tuple[Link, str]:
    """The link to use, and why. Raises WanError."""
    lack = lacks_netem() if kind != "userspace" else None
    if kind == "netem" and lack:
        raise WanError(f"the kernel has no netem: {lack}")
    if kind == "userspace" or lack:
        return Userspace(regions), f"netem can't be had: {lack}" if lack else "as asked"
    return Netem(regions), "as asked" if kind == "netem" else "the kernel has it"
