"""The lines between regions: what they are asked, and when packets leave them. No device, no clock."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import astuple
from ipaddress import IPv4Interface
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wan import link
from wan.cli import main
from wan.line import (
    HELD_MAX,
    LATE_NS,
    NS_PER_MS,
    Count,
    Line,
    Region,
    Settings,
    UsageError,
    WanError,
    changed,
    forwarded_once,
    in_words,
    netem,
    parse_region,
    parse_regions,
)
from wan.probe import quantile

SETTINGS = st.builds(
    Settings,
    delay_ms=st.sampled_from([0.0, 0.25, 5.0, 120.0]),
    loss_percent=st.sampled_from([0.0, 30.0]),
    rate_mbit=st.sampled_from([0.0, 0.5, 10.0]),
    queue_ms=st.sampled_from([1.0, 20.0, 100.0]),
)
# Times between packets, in ns, and their lengths.
ARRIVALS = st.lists(st.tuples(st.integers(0, 3 * NS_PER_MS), st.integers(20, 1500)), max_size=60)
FAR_NS = 10**12


def a_line(**asked: float) -> Line:
    return Line(Settings(**asked), Random(7))


def numbered(number: int, length_bytes: int = 20) -> bytes:
    return number.to_bytes(4, "big").ljust(length_bytes, b"x")


def drained(line: Line) -> list[tuple[int, int]]:
    """When each packet is due, and its number, as a clock finds them that is always right."""
    seen = []
    while (due_ns := line.due_ns) is not None:
        seen += [(due_ns, int.from_bytes(packet[:4], "big")) for packet in line.leave(due_ns)]
    return seen


@given(SETTINGS, ARRIVALS)
def test_nothing_is_early_and_nothing_overtakes(asked: Settings, arrivals: list[tuple[int, int]]) -> None:
    line, now_ns, entered = Line(asked, Random(1)), 0, {}
    for number, (gap_ns, length_bytes) in enumerate(arrivals):
        now_ns += gap_ns
        if line.enter(numbered(number, length_bytes), now_ns):
            entered[number] = (now_ns, length_bytes)
    seen = drained(line)
    assert [number for _, number in seen] == list(entered)
    for due_ns, number in seen:
        came_ns, length_bytes = entered[number]
        turn_ns = length_bytes * 8000 / asked.rate_mbit if asked.rate_mbit else 0
        assert due_ns >= came_ns + round(asked.delay_ms * NS_PER_MS) + int(turn_ns)
        assert due_ns <= came_ns + (asked.delay_ms + asked.queue_ms) * NS_PER_MS + turn_ns + 1
    count = line.count()
    assert (count.packets, count.dropped) == (len(entered), len(arrivals) - len(entered))
    assert count.sent_bytes == sum(length_bytes for _, length_bytes in entered.values())


@given(st.lists(st.tuples(SETTINGS, ARRIVALS), min_size=2, max_size=4))
def test_what_changes_holds_at_once_for_what_is_on_its_way(times: list[tuple[Settings, list[tuple[int, int]]]]) -> None:
    line, now_ns = Line(Settings(), Random(1)), 0
    entered: list[int] = []
    for asked, arrivals in times:
        before = line.settings
        assert line.change(asked, now_ns) == before
        dues_ns = [due_ns for due_ns, _ in line._held]
        wait_ms = asked.delay_ms + (asked.queue_ms if asked.rate_mbit else 0)
        assert all(due_ns <= now_ns + wait_ms * NS_PER_MS for due_ns in dues_ns)
        for gap_ns, length_bytes in arrivals:
            now_ns += gap_ns
            if line.enter(numbered(len(entered), length_bytes), now_ns):
                entered.append(length_bytes)
    seen = drained(line)
    assert [number for _, number in seen] == list(range(len(entered)))
    assert seen == sorted(seen)


def test_line_of_which_nothing_is_asked_holds_nothing_back() -> None:
    line = a_line()
    assert line.enter(b"packet", 5)
    assert list(line.leave(5)) == [b"packet"]
    assert line.due_ns is None


def test_packet_waits_for_its_delay() -> None:
    line = a_line(delay_ms=20.0)
    line.enter(b"packet", 1000)
    assert line.due_ns == 1000 + 20 * NS_PER_MS
    assert list(line.leave(line.due_ns - 1)) == []
    assert list(line.leave(line.due_ns)) == [b"packet"]


def test_lateness_is_what_the_clock_took_too_long_since_the_last_change() -> None:
    line = a_line(delay_ms=20.0)
    for late_ns in (LATE_NS + 500_000, LATE_NS, 0):
        line.enter(b"packet", 0)
        list(line.leave(20 * NS_PER_MS + late_ns))
    assert (line.count().late_packets, line.count().late_max_ms) == (1, 1.5)
    line.change(Settings(delay_ms=20.0), FAR_NS)
    assert (line.count().late_packets, line.count().late_max_ms) == (1, 0.0)


@pytest.mark.parametrize("percent", [0.5, 1.0, 10.0, 50.0])
def test_share_that_is_lost(percent: float) -> None:
    line = a_line(loss_percent=percent)
    lost = 0
    for number in range(40_000):
        lost += not line.enter(b"packet", number)
        list(line.leave(number))
    # Four standard deviations.
    share = percent / 100
    assert lost == line.count().dropped
    assert abs(lost - 40_000 * share) < 4 * (40_000 * share * (1 - share)) ** 0.5


def test_everything_is_lost_when_everything_is_to_be() -> None:
    line = a_line(loss_percent=100.0)
    assert not any(line.enter(b"packet", number) for number in range(1000))


def test_as_much_as_the_rate_says_gets_through_and_no_queue_is_longer_than_asked() -> None:
    # Twice as much as the line can: 10 Mbit/s are 1,250 bytes in a millisecond.
    line = a_line(rate_mbit=10.0, queue_ms=30.0, delay_ms=5.0)
    accepted = [line.enter(bytes(1250), number * NS_PER_MS // 2) for number in range(4000)]
    # In 2 s one each millisecond, and at the end those that wait. The queue is full after 60 ms, and stays full.
    assert sum(accepted) == pytest.approx(2000 + 30, abs=2)
    assert all(accepted[:60])
    assert sum(accepted[100:200]) == 50
    seen = drained(line)
    assert seen[-1][0] <= (2000 + 30 + 5 + 1) * NS_PER_MS
    gaps = {round((later - sooner) / NS_PER_MS, 3) for (sooner, _), (later, _) in pairwise(seen)}
    assert gaps == {1.0}


def test_lost_packet_takes_no_turn_on_the_line() -> None:
    line = a_line(rate_mbit=1.0, loss_percent=100.0)
    line.enter(bytes(1500), 0)
    line.change(Settings(rate_mbit=1.0), 0)
    line.enter(bytes(125), 0)
    assert line.due_ns == NS_PER_MS


def test_no_line_holds_more_than_there_is_memory_for() -> None:
    line = a_line(delay_ms=10_000.0)
    assert sum(line.enter(b"packet", 0) for _ in range(HELD_MAX + 10)) == HELD_MAX
    assert line.count().dropped == 10


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("us=198.18.64.1/24", Settings()),
        ("us=198.18.64.1/24,delay=20ms", Settings(20.0)),
        ("us=198.18.64.1/24,delay=0.5s,loss=1.5%,rate=512kbit,queue=10ms", Settings(500.0, 1.5, 0.512, 10.0)),
        ("us=198.18.64.1/24,rate=1gbit,rate=0mbit", Settings()),
    ],
)
def test_region_in_words(text: str, settings: Settings) -> None:
    region = parse_region(text)
    assert (region.name, region.gateway, region.settings) == ("us", IPv4Interface("198.18.64.1/24"), settings)


@given(
    st.builds(
        Settings,
        st.floats(0, 10_000).map(lambda ms: round(ms, 3)),
        st.floats(0, 100).map(lambda percent: round(percent, 3)),
        st.just(0.0) | st.floats(0.064, 100_000).map(lambda mbit: round(mbit, 3)),
        st.floats(1, 10_000).map(lambda ms: round(ms, 3)),
    )
)
def test_words_that_undo_a_change_say_all_that_was(settings: Settings) -> None:
    other = Settings(1.0, 2.0, 3.0, 4.0)
    assert astuple(changed(other, in_words(settings).split())) == pytest.approx(astuple(settings))


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["eu"], "'' is no address"),
        (["=198.18.1.1/24"], "begins with no region"),
        (["EU=198.18.1.1/24"], "begins with no region"),
        (["eu=198.18.1.1"], "lacks the length"),
        (["eu=198.18.1.1/31"], "lacks the length"),
        (["eu=198.18.1.300/24"], "is no address"),
        (["eu=198.18.1.1/24,"], "'' is none of delay=, loss=, rate=, queue="),
        (["eu=198.18.1.1/24,speed=1ms"], "'speed=1ms' is none of"),
        (["eu=198.18.1.1/24,delay=20"], "delay=20: a number with its unit is needed, ms or s"),
        (["eu=198.18.1.1/24,delay=-1ms"], "a number with its unit"),
        (["eu=198.18.1.1/24,delay=nanms"], "a number with its unit"),
        (["eu=198.18.1.1/24,delay=11s"], "from 0 to 10000 ms"),
        (["eu=198.18.1.1/24,loss=101%"], "from 0 to 100 %"),
        (["eu=198.18.1.1/24,rate=1kbit"], "from 0.064 to 100000 mbit, or 0"),
        (["eu=198.18.1.1/24,queue=0ms"], "from 1 to 10000 ms"),
        (["eu=198.18.1.1/24"], "two regions at least"),
        ([], "two regions at least"),
        (["eu=198.18.1.1/24", "eu=198.18.2.1/24"], "eu is there twice"),
        (["eu=198.18.0.1/16", "us=198.18.2.1/24"], "eu and us share addresses"),
    ],
)
def test_words_that_say_nothing(texts: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        parse_regions(texts)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["set", "us"],
        ["show", "us"],
        ["probe"],
        ["probe", "198.18.1.1", "rate=0"],
        ["probe", "198.18.1.1", "pace=1"],
        ["--link"],
        ["--link", "magic", "eu=198.18.1.1/24", "us=198.18.2.1/24"],
        ["--link", "userspace", "eu=198.18.1.1/24"],
        ["eu=198.18.1.1/24,delay=soon", "us=198.18.2.1/24"],
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"lab-wan: .+\n", said.err)


def test_question_without_a_router_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 1
    assert capsys.readouterr().err.startswith("lab-wan: no router answers here")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Settings(), f"netem limit {HELD_MAX}"),
        (Settings(delay_ms=20.0), f"netem limit {HELD_MAX} delay 20ms"),
        (Settings(0.25, 1.5), f"netem limit {HELD_MAX} delay 0.25ms loss 1.5%"),
        # 10 Mbit/s are 1,250 bytes in a millisecond: 150,000 bytes in 120 ms, 100 full packets, and the one that is sent.
        (Settings(20.0, 0.0, 10.0, 100.0), "netem limit 101 delay 20ms rate 10000000bit"),
        (Settings(rate_mbit=0.064, queue_ms=1.0), "netem limit 1 rate 64000bit"),
        (Settings(rate_mbit=100_000.0), f"netem limit {HELD_MAX} rate 100000000000bit"),
    ],
)
def test_line_as_a_queue_of_the_kernel(settings: Settings, text: str) -> None:
    assert netem(settings) == text


QUEUE = {"kind": "netem", "root": True, "bytes": 420, "packets": 5, "drops": 2, "overlimits": 0, "backlog": 0}


@pytest.fixture
def said_to_tc(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kernel that has netem, and what it was told."""
    said: list[str] = []

    def run(*command: str) -> str:
        said.append(" ".join(command))
        return json.dumps([QUEUE]) if "show" in command else ""

    monkeypatch.setattr(link, "run", run)
    monkeypatch.setattr(link, "lacks_netem", lambda: None)
    return said


REGIONS = parse_regions(["eu=198.18.32.1/24,delay=20ms", "us=198.18.64.1/24,delay=5ms"])


@pytest.mark.parametrize(("kind", "why"), [("auto", "the kernel has it"), ("netem", "as asked")])
def test_queues_of_the_kernel_follow_the_interfaces(kind: str, why: str, said_to_tc: list[str]) -> None:
    chosen, because = link.choose(kind, REGIONS)
    assert (chosen.name, because) == ("netem", why)
    chosen.taken(REGIONS[0], "eth0")
    assert chosen.change("eu", Settings(60.0)) == Settings(20.0)
    # Not connected: it holds once it is.
    assert chosen.change("us", Settings(loss_percent=1.0)) == Settings(5.0)
    chosen.taken(REGIONS[1], "eth4")
    chosen.taken(REGIONS[0], "eth5")
    assert [re.sub(r"^tc qdisc replace dev (\w+) root netem limit \d+", r"\1", told) for told in said_to_tc] == [
        "eth0 delay 20ms",
        "eth0 delay 60ms",
        "eth4 loss 1%",
        "eth5 delay 60ms",
    ]


def test_what_the_kernel_counts(said_to_tc: list[str]) -> None:
    chosen, _ = link.choose("auto", REGIONS)
    assert chosen.count("eu") == Count(0, 0, 0, None, None)
    chosen.taken(REGIONS[0], "eth0")
    assert chosen.count("eu") == Count(5, 420, 2, None, None)
    assert said_to_tc[-1] == "tc -s -j qdisc show dev eth0 root"


def test_netem_that_was_asked_for_and_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "lacks_netem", lambda: "qdisc kind is unknown")
    with pytest.raises(WanError, match="no netem: qdisc kind is unknown"):
        link.choose("netem", REGIONS)


def checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def header(ttl: int, protocol: int, source: int, target: int) -> bytearray:
    fields = struct.pack("!BBHHHBBHII", 0x45, 0, 84, 7, 0x4000, ttl, protocol, 0, source, target)
    return bytearray(fields[:10] + checksum(fields).to_bytes(2, "big") + fields[12:])


ADDRESS = st.integers(0, 2**32 - 1)


@given(st.integers(1, 254), st.integers(0, 255), ADDRESS, ADDRESS)
def test_hop_that_is_given_back_leaves_a_right_header(ttl: int, protocol: int, source: int, target: int) -> None:
    given_back = forwarded_once(header(ttl, protocol, source, target) + b"payload")
    assert given_back[8] == ttl + 1
    assert bytes(given_back[20:]) == b"payload"
    assert given_back[12:20] == header(ttl, protocol, source, target)[12:20]
    # Over a header with its right checksum it is zero.
    assert checksum(bytes(given_back[:20])) == 0


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=300).map(sorted), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_quantile_is_a_value_that_few_exceed(trips: list[float], share: float) -> None:
    value = quantile(trips, share)
    assert value in [round(trip, 3) for trip in trips]
    assert sum(round(trip, 3) <= value for trip in trips) >= share * len(trips)
    assert sum(round(trip, 3) < value for trip in trips) < share * len(trips)


def test_quantile_of_nothing() -> None:
    assert quantile([], 0.5) is None


def test_an_interface_that_is_gone_a_moment_later_ends_no_router(capsys: pytest.CaptureFixture[str]) -> None:
    """The thread that takes the gateways' addresses goes on, or a region that is connected again would be out of reach for good."""

    def taken(_: Region, name: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", f"/proc/sys/net/ipv4/conf/{name}/rp_filter")

    region = Region("eu", IPv4Interface("198.18.32.2/19"))
    gateways = link.Gateways([region], taken)
    gateways._take(region, [("eth3", IPv4Interface("198.18.32.9/19"))])
    assert gateways.interfaces == {}
    assert "lab-wan: eu: [Errno 2]" in capsys.readouterr().err
