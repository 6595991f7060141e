"""The link, measured from a box beside it: echo requests at an even pace, answered by the kernel of the other box.

No program runs over there, and the kernel notes when an answer has come: what is measured is the way, not who measures.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns, time_ns

ECHO, ECHO_REPLY = 8, 0
SO_TIMESTAMPNS = 35
ANSWERS_S = 2.0
STAMP = struct.Struct("!qq")
HEADER_BYTES = 8


@dataclass(frozen=True)
class Probed:
    """Round trips in ms, and how evenly they were asked for."""

    sent: int
    answered: int
    overtaken: int
    median_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    # How much later than its time a request was sent, at most: the pace, no part of the round trips.
    pace_late_max_ms: float


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of these values that so great a share does not exceed; None of none."""
    return round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)], 3) if ordered else None


class _Probe:
    def __init__(self, address: str, size_bytes: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.connect((address, 0))
        self._socket.setblocking(False)
        self._padding = bytes(max(0, size_bytes - HEADER_BYTES - STAMP.size))
        self.trips_ms: list[float] = []
        self.overtaken = 0
        self._last = -1

    def ask(self, number: int) -> None:
        header = struct.pack("!BBHHH", ECHO, 0, 0, 0, number & 0xFFFF)
        # Nobody there just now: not answered.
        with contextlib.suppress(OSError):
            self._socket.send(header + STAMP.pack(number, time_ns()) + self._padding)

    def listen(self, until_ns: int, enough: int | None = None) -> None:
        """Note the answers, until this time or until there are enough."""
        while len(self.trips_ms) != enough and (left_ns := until_ns - monotonic_ns()) > 0:
            if not select.select([self._socket], [], [], left_ns / 1e9)[0]:
                return
            try:
                data, notes, _, _ = self._socket.recvmsg(65536, 64)
            except OSError:  # the word that somebody could not be reached
                continue
            if data[0] == ECHO_REPLY and notes:
                number, sent_ns = STAMP.unpack_from(data, HEADER_BYTES)
                came_s, came_ns = struct.unpack("@qq", notes[0][2][:16])
                self.trips_ms.append((came_s * 10**9 + came_ns - sent_ns) / 1e6)
                self.overtaken += number < self._last
                self._last = max(self._last, number)


def probe(address: str, rate_per_s: float = 1000.0, lasting_s: float = 5.0, size_bytes: int = 64) -> Probed:
    """Ask so often for so long, then wait for the last answers. Raises OSError when nothing can be sent there."""
    asking, late_ns, sent = _Probe(address, size_bytes), 0, int(rate_per_s * lasting_s)
    begin_ns = monotonic_ns()
    for number in range(sent):
        due_ns = begin_ns + round(number / rate_per_s * 1e9)
        asking.listen(due_ns)
        late_ns = max(late_ns, monotonic_ns() - due_ns)
        asking.ask(number)
    asking.listen(monotonic_ns() + round(ANSWERS_S * 1e9), enough=sent)
    trips = sorted(asking.trips_ms)
    median, p95, p99, longest = (quantile(trips, share) for share in (0.5, 0.95, 0.99, 1.0))
    return Probed(sent, len(trips), asking.overtaken, median, p95, p99, longest, round(late_ns / 1e6, 3))
