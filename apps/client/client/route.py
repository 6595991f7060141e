"""Where the users' packets go: the kernel's route to an address.

`python -m client.route ADDRESS [NAME=BALANCER ...]` prints, at first and whenever it changes, which balancer gets new
connections to ADDRESS from now on:

    2026-01-31T12:00:00.123456Z entry 198.18.0.10: lb1 (198.18.0.33) from now on
    2026-01-31T12:00:07.654321Z entry 198.18.0.10: nobody from now on
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

# rtnetlink(7). A message: its length, type, flags, number and sender; then, of a route, struct rtmsg and attributes.
HEADER = struct.Struct("=IHHII")
RTMSG = struct.Struct("=BBBBBBBBI")
ATTRIBUTE = struct.Struct("=HH")
ERROR_CODE = struct.Struct("=i")
NLMSG_ERROR, RTM_NEWROUTE, RTM_GETROUTE = 2, 24, 26
NLM_F_REQUEST = 1
RTA_DST, RTA_GATEWAY = 1, 5
RTMGRP_IPV4_ROUTE = 0x40
RECEIVE_BYTES = 65536
# That there is no way there is an answer.
NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EINVAL)


def next_hop(address: str) -> str | None:
    """The router that a new connection to `address` (IPv4) is sent to; None where there is none.

    Asked of the kernel: 0.1 ms, and no program is started. Raises OSError where the kernel cannot be asked.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(question(address))
        return gateway(kernel.recv(RECEIVE_BYTES))


def question(address: str) -> bytes:
    """The message that asks for the route to `address`."""
    destination = socket.inet_aton(address)
    body = RTMSG.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + ATTRIBUTE.pack(ATTRIBUTE.size + 4, RTA_DST) + destination
    return HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body


def gateway(answer: bytes) -> str | None:
    """The next hop in the kernel's answer; None for "no way there" and for a neighbour.

    Raises OSError for any other refusal and for what is no answer.
    """
    try:
        length, kind, *_ = HEADER.unpack_from(answer)
        body = answer[HEADER.size : length]
        if kind == NLMSG_ERROR:
            code = -ERROR_CODE.unpack_from(body)[0]
            if code in NO_ROUTE:
                return None
            raise OSError(code, os.strerror(code))
        if kind != RTM_NEWROUTE:
            raise OSError(f"the kernel answers a question for a route with a message of type {kind}")
        return next((socket.inet_ntoa(value) for name, value in attributes(body[RTMSG.size :]) if name == RTA_GATEWAY), None)
    except struct.error as error:
        raise OSError("the kernel's answer is cut off") from error


def attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that follow one another in a message, each with its number. Raises struct.error where cut off."""
    while content:
        length, name = ATTRIBUTE.unpack_from(content)
        if not ATTRIBUTE.size <= length <= len(content):
            raise struct.error(f"an attribute of {length} bytes in {len(content)}")
        yield name, content[ATTRIBUTE.size : length]
        content = content[(length + 3) & ~3 :]


def changes(address: str) -> Iterator[str | None]:
    """The next hop now, and each one after it, for ever. Raises OSError where the kernel cannot be asked."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
        # Listened before asked, so that nothing is missed in between.
        news.bind((0, RTMGRP_IPV4_ROUTE))
        known = next_hop(address)
        yield known
        while True:
            await_news(news)
            if (now := next_hop(address)) != known:
                known = now
                yield known


def await_news(news: socket.socket) -> None:
    """Wait until some route has changed, whichever."""
    try:
        news.recv(RECEIVE_BYTES)
    except OSError as error:
        # More has changed than the kernel keeps for us: something has.
        if error.errno != errno.ENOBUFS:
            raise


def main(address: str, *balancers: str) -> None:
    """Print each change."""
    names = {host: name for name, _, host in (balancer.partition("=") for balancer in balancers)}
    for hop in changes(address):
        who = f"{names.get(hop, 'unknown')} ({hop})" if hop else "no balancer"
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        print(f"{now} entry {address}: {who} from now on", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
