"""The rules of network faults: what their text says, and what becomes of packets under them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.faults import packets
from lab.model.fault import Direction

TABLE = "lab_fault_0a1b2c3d"
# Few enough that groups often share some, as they must not.
ADDRESS = st.integers(1, 40).map(lambda last: f"198.18.0.{last}")
GROUP = st.frozensets(ADDRESS, min_size=1, max_size=12)


@dataclass(frozen=True)
class Packet:
    """From one machine to another: what it is made of, and whose."""

    source: str
    target: str
    kind: str = "ip"


def verdict(chain: str, rules: str, packet: Packet) -> bool:
    """Whether a chain lets a packet go on, as the kernel would decide: the first rule that matches does."""
    body = re.search(rf"chain {chain} {{ type [^;]*; (.*?) }};", rules)
    for rule in body[1].split(";") if body else ():
        match = re.match(
            r"(?:(ip|arp) ([sd])addr (?:ip )?{ ([^}]*) } )?(accept|counter drop|counter ether daddr set \S+)", rule.strip()
        )
        assert match or not rule.strip(), rule
        if match and match[1] in (None, packet.kind):
            address = packet.source if match[2] == "s" else packet.target
            if match[1] is None or address in match[3].split(", "):
                return match[4] == "accept"
    return True


def arrives(packet: Packet, rules: dict[str, str]) -> bool:
    """Whether a packet that one machine sends to another gets out of the one and into the other."""
    out = verdict("outgoing", rules.get(packet.source, ""), packet)
    return out and verdict("incoming", rules.get(packet.target, ""), packet)


@given(GROUP, ADDRESS, ADDRESS, st.sampled_from(["ip", "arp"]))
def test_isolated_machines_reach_each_other_and_no_other_machine(group: frozenset[str], one: str, other: str, kind: str) -> None:
    rules = dict.fromkeys(group, packets.isolation(TABLE, group))
    assert arrives(Packet(one, other, kind), rules) == ((one in group) == (other in group))


@given(GROUP, ADDRESS)
def test_an_isolated_machine_claims_no_shared_address(group: frozenset[str], shared: str) -> None:
    """A claim is an ARP packet that names the same address twice; those of the members are their own business."""
    rules = packets.isolation(TABLE, group)
    assert verdict("outgoing", rules, Packet(shared, shared, "arp")) == (shared in group)
    assert verdict("outgoing", rules, Packet(shared, shared, "ip6")) is False


@given(GROUP, GROUP, ADDRESS, ADDRESS, st.sampled_from(Direction))
def test_partition_separates_two_sides_only(
    target: frozenset[str], source: frozenset[str], one: str, other: str, direction: Direction
) -> None:
    side, opposite = target - source, source - target
    if not side or not opposite:
        return
    turned = {Direction.OUT: Direction.IN, Direction.IN: Direction.OUT}.get(direction, direction)
    rules = dict.fromkeys(side, packets.partition(TABLE, opposite, direction))
    rules |= dict.fromkeys(opposite, packets.partition(TABLE, side, turned))
    goes_out, comes_in = one in side and other in opposite, one in opposite and other in side
    lost = (goes_out and direction is not Direction.IN) or (comes_in and direction is not Direction.OUT)
    assert arrives(Packet(one, other), rules) == (not lost)
    # Who is where stays known: the other direction of a partition of one needs it.
    assert arrives(Packet(one, other, "arp"), rules)


@given(GROUP, GROUP, st.sampled_from(Direction))
def test_partition_holds_while_one_side_starts_anew(target: frozenset[str], source: frozenset[str], direction: Direction) -> None:
    """Its rules are gone then; those of the other side do for what they lose."""
    side, opposite = sorted(target - source), sorted(source - target)
    if side and opposite and direction is not Direction.IN:
        rules = {opposite[0]: packets.partition(TABLE, side, Direction.IN)}
        assert not arrives(Packet(side[0], opposite[0]), rules)


@given(st.lists(ADDRESS, min_size=1, max_size=12))
def test_the_same_machines_give_the_same_rules(group: list[str]) -> None:
    rules = packets.isolation(TABLE, group)
    assert rules == packets.isolation(TABLE, reversed([*group, *group]))
    found = [IPv4Address(each) for each in re.search(r"ip saddr { ([^}]*) }", rules)[1].split(", ")]  # type: ignore[index]
    assert found == sorted({IPv4Address(each) for each in group})


@given(st.text(max_size=20))
def test_nothing_but_addresses_gets_into_a_rule(text: str) -> None:
    try:
        address = str(IPv4Address(text))
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            packets.isolation(TABLE, [text])
        with pytest.raises(ValueError, match=r".*"):
            packets.partition(TABLE, [text], Direction.BOTH)
    else:
        assert address in packets.isolation(TABLE, [text])


@given(GROUP, st.sampled_from(Direction), st.floats(1, 100))
def test_rules_are_one_line_that_bash_passes_on_unchanged(group: frozenset[str], direction: Direction, percent: float) -> None:
    for rules in (packets.isolation(TABLE, group), packets.partition(TABLE, group, direction), packets.loss(TABLE, percent)):
        assert "\n" not in rules
        # Within double quotes only $devices is replaced.
        assert not set(rules.replace("$devices", "")) & set('"$`\\!')
        assert rules.startswith(f"table netdev {TABLE} {{ chain ")
        assert rules.count("{") == rules.count("}")


@given(st.floats(1, 100), st.floats(1, 100))
def test_more_percent_lose_more(one: float, other: float) -> None:
    low, high = (int(packets.loss(TABLE, each).split("random < ")[1].split()[0]) for each in sorted((one, other)))
    assert low <= high < packets.RANDOM_VALUES
    assert low == pytest.approx(packets.RANDOM_VALUES * min(one, other) / 100, rel=1e-6)


def test_the_sender_does_not_notice() -> None:
    """What goes out is sent to no machine, not dropped, or its sender would notice; what comes in is dropped."""
    for rules in (packets.isolation(TABLE, ["198.18.0.1"]), packets.partition(TABLE, ["198.18.0.1"], Direction.BOTH)):
        incoming, outgoing = rules.split("chain outgoing")
        assert "drop" in incoming
        assert "drop" not in outgoing
        assert f"ether daddr set {packets.NOWHERE}" in outgoing
    assert "drop" not in packets.loss(TABLE, 50)


def test_counters_are_read_in_order() -> None:
    listing = "chain outgoing {\n\tcounter packets 118 bytes 9\n\tmeta random < 5 counter packets 12 bytes 1 ether daddr set\n}"
    assert packets.counted(listing) == [118, 12]
    assert packets.counted("Error: No such file or directory") == []


def test_queues() -> None:
    assert packets.delay(50, 0) == "netem limit 10000 delay 50ms"
    assert packets.delay(50, 5) == "netem limit 10000 delay 50ms 5ms"
    assert packets.bandwidth(1000) == "tbf rate 1000kbit burst 3200 latency 100ms"
    assert packets.bandwidth(100_000) == "tbf rate 100000kbit burst 125000 latency 100ms"


STUB = """
nft() { printf 'nft %s\\n' "$*"; }
tc() { case "$*" in "qdisc show") printf '%s\\n' "qdisc noqueue 0: dev eth0 root refcnt 2" $ALREADY;; *) printf 'tc %s\\n' "$*";; esac; }
devices=eth0,eth1
"""


def in_bash(command: str, already: str = "") -> tuple[int, list[str]]:
    """A command of the helper, where nft and tc only say what they are told."""
    script = STUB.replace("$ALREADY", f"'{already}'" if already else "")
    done = subprocess.run(["bash", "-c", script + command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_bash_tells_nft_and_tc_what_was_meant() -> None:
    rules = packets.partition(TABLE, ["198.18.0.1"], Direction.IN)
    hooked = rules.replace("$devices", "eth0,eth1")
    assert "devices = { eth0,eth1 }" in hooked
    assert in_bash(packets.check_rules(rules)) == (0, [f"nft --check {hooked}"])
    assert in_bash(packets.add_rules(rules)) == (0, [f"nft {hooked}"])
    assert in_bash(packets.delete_table(TABLE)) == (0, [f"nft table netdev {TABLE}; delete table netdev {TABLE}"])
    added = [f"tc qdisc add dev {device} root handle fa17: tbf rate 9kbit" for device in ("eth0", "eth1")]
    assert in_bash(packets.add_queue("tbf rate 9kbit")) == (0, added)


def test_there_is_room_for_one_queue() -> None:
    assert in_bash(packets.check_room()) == (0, [])
    taken = "qdisc tbf 8001: dev eth1 root refcnt 2 rate 1Mbit"
    assert in_bash(packets.check_room(), taken) == (1, [taken])


def test_box_on_no_network_has_nothing_to_filter() -> None:
    for command in (packets.check_rules(packets.loss(TABLE, 5)), packets.check_room()):
        assert in_bash(f"devices=; {command}") == (1, [])


def test_what_is_left_of_a_queue_is_noticed() -> None:
    assert in_bash(packets.delete_queues())[0] == 0
    assert in_bash(packets.delete_queues(), "qdisc tbf fa17: dev eth1 root")[0] == 1
