"""The lines: what is asked of each, and when a packet leaves it. Pure: no clock, no device.

A packet towards a region is on the line of that region, whoever sent it. So a round trip between two regions takes the
delays of both lines.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Interface
from random import Random

NS_PER_MS = 1_000_000
# A line never has more than this: some 15 MB of full packets, or 500 Mbit/s for 0.2 s.
HELD_MAX = 10_000
# A packet that leaves this much after its time is counted as late.
LATE_NS = 1 * NS_PER_MS
FULL_PACKET_BYTES = 1500
TTL, CHECKSUM, PROTOCOL_STEP = 8, slice(10, 12), 0x0100


class WanError(Exception):
    """What was asked for cannot be. One line for people."""


class UsageError(WanError):
    """Words that say nothing that a line could do."""


@dataclass(frozen=True)
class Settings:
    """What a line does to packets."""

    delay_ms: float = 0.0
    loss_percent: float = 0.0
    # 0: as fast as it goes.
    rate_mbit: float = 0.0
    # With a rate: a packet that would wait longer than this for its turn is dropped.
    queue_ms: float = 100.0


@dataclass(frozen=True)
class Region:
    """A region: the address under which its boxes know the router, with the length of the subnet, and its line."""

    name: str
    gateway: IPv4Interface
    settings: Settings = Settings()


@dataclass(frozen=True)
class Count:
    """What became of the packets of a line. None: the kernel does not say."""

    packets: int = 0
    sent_bytes: int = 0
    # Lost as asked, or because too many waited.
    dropped: int = 0
    late_packets: int | None = 0
    late_max_ms: float | None = 0.0


@dataclass(frozen=True)
class _Word:
    field: str
    # The first is that of the field.
    units: dict[str, float]
    least: float
    most: float
    zero: bool = False


_WORDS = {
    "delay": _Word("delay_ms", {"ms": 1, "s": 1000}, 0, 10_000),
    "loss": _Word("loss_percent", {"%": 1}, 0, 100),
    "rate": _Word("rate_mbit", {"mbit": 1, "kbit": 0.001, "gbit": 1000}, 0.064, 100_000, zero=True),
    "queue": _Word("queue_ms", {"ms": 1, "s": 1000}, 1, 10_000),
}


def changed(settings: Settings, words: Sequence[str]) -> Settings:
    """These settings, but for what words like `delay=20ms` say. Raises UsageError."""
    for word in words:
        name, _, value = word.partition("=")
        if name not in _WORDS:
            raise UsageError(f"'{word}' is none of {', '.join(f'{known}=' for known in _WORDS)}")
        settings = replace(settings, **{_WORDS[name].field: _number(name, value)})
    return settings


def _number(name: str, text: str) -> float:
    word = _WORDS[name]
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(\D*)", text, re.ASCII)
    unit = match[2] if match else ""
    if match is None or unit not in word.units:
        raise UsageError(f"{name}={text}: a number with its unit is needed, {' or '.join(word.units)}")
    number = float(match[1]) * word.units[unit]
    if not (word.least <= number <= word.most or (word.zero and not number)):
        raise UsageError(f"{name}={text}: from {word.least:g} to {word.most:g} {next(iter(word.units))}" + ", or 0" * word.zero)
    return number


def in_words(settings: Settings) -> str:
    """All settings, as `changed` reads them."""
    return " ".join(f"{name}={_plain(getattr(settings, word.field))}{next(iter(word.units))}" for name, word in _WORDS.items())


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def parse_region(text: str) -> Region:
    """A region from `us=198.18.2.139/26,delay=20ms`. Raises UsageError."""
    first, *words = text.split(",")
    name, _, address = first.partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", name):
        raise UsageError(f"'{text}' begins with no region: NAME=GATEWAY/LENGTH[,delay=20ms,...]")
    try:
        gateway = IPv4Interface(address)
    except ValueError:
        raise UsageError(f"{name}: '{address}' is no address with the length of its subnet") from None
    if not 8 <= gateway.network.prefixlen <= 30:
        raise UsageError(f"{name}: '{address}' lacks the length of its subnet, from /8 to /30")
    return Region(name, gateway, changed(Settings(), words))


def parse_regions(texts: Sequence[str]) -> tuple[Region, ...]:
    """The regions of a router, two at least. Raises UsageError."""
    regions = tuple(parse_region(text) for text in texts)
    if len(regions) < 2:
        raise UsageError("a router stands between two regions at least: NAME=GATEWAY/LENGTH[,delay=20ms,...]")
    for place, region in enumerate(regions):
        for other in regions[:place]:
            if region.name == other.name:
                raise UsageError(f"region {region.name} is there twice")
            if region.gateway.network.overlaps(other.gateway.network):
                raise UsageError(f"{other.name} and {region.name} share addresses")
    return regions


def netem(settings: Settings) -> str:
    """The same line as a queue of the kernel: what `tc qdisc replace` is given."""
    text = f"netem limit {_limit(settings)}"
    if settings.delay_ms:
        text += f" delay {_plain(settings.delay_ms)}ms"
    if settings.loss_percent:
        text += f" loss {_plain(settings.loss_percent)}%"
    if settings.rate_mbit:
        text += f" rate {round(settings.rate_mbit * 1e6)}bit"
    return text


def _limit(settings: Settings) -> int:
    """How many packets the kernel may have: of full size, as many as wait for their turn and are on their way."""
    if not settings.rate_mbit:
        return HELD_MAX
    held_bytes = settings.rate_mbit * 1000 / 8 * (settings.queue_ms + settings.delay_ms)
    return min(HELD_MAX, 1 + round(held_bytes / FULL_PACKET_BYTES))


class Line:
    """The packets on their way to a region, first in first out: none is early, none overtakes another."""

    def __init__(self, settings: Settings, chance: Random) -> None:
        self.settings = settings
        self._chance = chance
        self._held: deque[tuple[int, bytes | bytearray]] = deque()
        self._free_ns = self._last_due_ns = 0
        self._packets = self._bytes = self._dropped = self._late = self._late_max_ns = 0

    @property
    def due_ns(self) -> int | None:
        """When the next packet leaves; None when there is none."""
        return self._held[0][0] if self._held else None

    def change(self, settings: Settings, now_ns: int) -> Settings:
        """From now on; the longest lateness begins anew. Returns what was before.

        What is on its way has no more to wait than what comes now: else a long delay, taken back, would go on.
        """
        before, self.settings = self.settings, settings
        self._late_max_ns = 0
        turn_ns = now_ns + round(settings.queue_ms * NS_PER_MS if settings.rate_mbit else 0)
        latest_ns = turn_ns + round(settings.delay_ms * NS_PER_MS)
        self._free_ns = min(self._free_ns, turn_ns)
        self._last_due_ns = min(self._last_due_ns, latest_ns)
        self._held = deque((min(due_ns, latest_ns), packet) for due_ns, packet in self._held)
        return before

    def enter(self, packet: bytes | bytearray, now_ns: int) -> bool:
        """Take a packet; False when it is lost or dropped."""
        asked = self.settings
        # In this order: a packet that is lost takes no one's turn.
        if asked.loss_percent and self._chance.random() * 100 < asked.loss_percent:
            self._dropped += 1
            return False
        begin_ns = max(now_ns, self._free_ns) if asked.rate_mbit else now_ns
        if begin_ns - now_ns > asked.queue_ms * NS_PER_MS or len(self._held) >= HELD_MAX:
            self._dropped += 1
            return False
        if asked.rate_mbit:
            begin_ns = self._free_ns = begin_ns + round(len(packet) * 8000 / asked.rate_mbit)
        # Behind those that came before, also when the delay or the queue has become shorter since.
        self._last_due_ns = max(self._last_due_ns, begin_ns + round(asked.delay_ms * NS_PER_MS))
        self._held.append((self._last_due_ns, packet))
        return True

    def leave(self, now_ns: int) -> Iterator[bytes | bytearray]:
        """The packets whose time has come, in their order."""
        held = self._held
        while held and held[0][0] <= now_ns:
            due_ns, packet = held.popleft()
            late_ns = now_ns - due_ns
            self._late += late_ns > LATE_NS
            self._late_max_ns = max(self._late_max_ns, late_ns)
            self._packets += 1
            self._bytes += len(packet)
            yield packet

    def count(self) -> Count:
        """What has become of the packets so far; the longest lateness since the last change."""
        return Count(self._packets, self._bytes, self._dropped, self._late, self._late_max_ns / NS_PER_MS)


def forwarded_once(packet: bytearray) -> bytearray:
    """This IPv4 packet with its time to live one longer, in place.

    The kernel forwards what passes the line twice, to us and from us, and has counted a hop each time; a router is one.
    """
    packet[TTL] += 1
    checksum = int.from_bytes(packet[CHECKSUM], "big") - PROTOCOL_STEP
    packet[CHECKSUM] = (checksum if checksum >= 0 else checksum + 0xFFFF).to_bytes(2, "big")
    return packet


def as_record(value: Settings | Count) -> dict[str, float | int | None]:
    """Its fields, for JSON."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
