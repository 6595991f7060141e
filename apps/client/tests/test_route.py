"""The kernel's answers about routes, as recorded from a router that hears of four balancers by BGP."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from client import route
from client.route import await_news, gateway, main, next_hop, question
from hypothesis import given
from hypothesis import strategies as st

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink")

QUESTION = "24000000 1a00 0100 01000000 00000000 02200000 00000000 00000000 08000100 c612000a"
VIA_A_BALANCER = (
    "70000000 1800 0000 01000000 a9000000 02200000 fe000001 00020000 08000f00fe000000 08000100c612000a"
    "08000400d01d0000 08000700c6120002 08000500c6120021 0800190000000000 24000c00020000008a08000000000000"
    "0000000000000000000000000000000000000000"
)
A_NEIGHBOUR = (
    "68000000 1800 0000 01000000 a9000000 02200000 fe000001 00020000 08000f00fe000000 08000100c6120021"
    "08000400d01d0000 08000700c6120002 0800190000000000 24000c00060000008608000000000000"
    "0000000000000000000000000000000000000000"
)
REFUSED = (
    "38000000 0200 0000 01000000 a9000000 %s 24000000 1a000100 01000000 00000000 02200000 00000000 00000000 0800010008080808"
)


def refusal(code: int) -> bytes:
    return bytes.fromhex(REFUSED % struct.pack("=i", -code).hex())


little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")


@little_endian
def test_question_names_the_address() -> None:
    assert question("198.18.0.10") == bytes.fromhex(QUESTION)


@little_endian
@pytest.mark.parametrize(("answer", "hop"), [(VIA_A_BALANCER, "198.18.0.33"), (A_NEIGHBOUR, None)])
def test_next_hop_is_the_gateway(answer: str, hop: str | None) -> None:
    assert gateway(bytes.fromhex(answer)) == hop


@little_endian
@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EINVAL])
def test_no_way_there_is_an_answer(code: int) -> None:
    """An unreachable, an absent, a prohibited and a blackhole route."""
    assert gateway(refusal(code)) is None


@little_endian
def test_any_other_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match=r"Operation not permitted"):
        gateway(refusal(errno.EPERM))


@little_endian
@pytest.mark.parametrize("length", [0, 15, 18])
def test_answer_that_is_cut_off_is_an_error(length: int) -> None:
    with pytest.raises(OSError, match=r"cut off"):
        gateway(refusal(errno.EHOSTUNREACH)[:length])


@little_endian
def test_message_about_something_else_is_an_error() -> None:
    with pytest.raises(OSError, match=r"type 16"):
        gateway(bytes.fromhex("10000000 1000 0000 01000000 a9000000"))


@given(st.binary(max_size=80), st.sampled_from([route.NLMSG_ERROR, route.RTM_NEWROUTE]))
def test_whatever_comes_is_a_hop_or_none_or_an_error(noise: bytes, kind: int) -> None:
    with suppress(OSError):
        hop = gateway(route.HEADER.pack(route.HEADER.size + len(noise), kind, 0, 1, 0) + noise)
        assert hop is None or socket.inet_aton(hop)


@on_linux
def test_kernel_answers() -> None:
    assert next_hop("127.0.0.1") is None


@on_linux
def test_malformed_address_is_an_error() -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        next_hop("198.18.0.256")


# Changes


class News:
    """Says that some route has changed, so often."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def recv(self, _: int) -> bytes:
        if error := self.errors.pop(0):
            raise OSError(error, "")
        return b"something"


def test_more_news_than_the_kernel_keeps_is_news_too() -> None:
    news = News(0, errno.ENOBUFS, errno.ENOTCONN)
    await_news(news)  # type: ignore[arg-type]
    await_news(news)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=str(errno.ENOTCONN)):
        await_news(news)  # type: ignore[arg-type]


class Ended(Exception):
    """Nothing more happens."""


@on_linux
def test_only_what_has_changed_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hops: Iterator[str | None] = iter(["10.0.0.1", "10.0.0.1", None, None, "10.0.0.9"])

    def look(_: str) -> str | None:
        try:
            return next(hops)
        except StopIteration:
            raise Ended from None

    monkeypatch.setattr(route, "next_hop", look)
    monkeypatch.setattr(route, "await_news", lambda _: None)
    with pytest.raises(Ended):
        main("198.18.0.10", "lb1=10.0.0.1", "lb2=10.0.0.2")
    said = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [text for _, text in said] == [
        "entry 198.18.0.10: lb1 (10.0.0.1) from now on",
        "entry 198.18.0.10: no balancer from now on",
        "entry 198.18.0.10: unknown (10.0.0.9) from now on",
    ]
    assert all(time.endswith("Z") and len(time) == len("2026-01-31T12:00:00.123456Z") for time, _ in said)
