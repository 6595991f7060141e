"""The text of network faults: packet rules for nft, queues for tc, and what takes them away. Pure.

Each is one line of bash for the helper beside a box (`lab/helper.py`), which knows the box's interfaces as $devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address

from lab.engine.sidecar import LOOPBACK
from lab.model.fault import Direction

TABLE_PREFIX = "lab_fault_"
# The handle of our queues, by which they are known from any other.
QUEUE = "fa17:"
# No machine's: what is sent there is lost on the way. The sender must not notice. Where a packet is dropped on its own
# machine, the kernel tells the sender, which then behaves otherwise than when a cable is cut (decision 0011).
NOWHERE = "02:fa:17:00:00:00"
# Before anything else that looks at packets.
PRIORITY = -500
RANDOM_VALUES = 2**32
BURST_MIN_BYTES = 3_200
BURST_S = 0.01
QUEUE_MS = 100
EACH_DEVICE = "for device in ${devices//,/ }; do"
ON_A_NETWORK = '[ -n "$devices" ]'
SWEEP = (
    "nft list tables netdev | while read -r _ family name; do "
    f'case $name in {TABLE_PREFIX}*) nft delete table "$family" "$name" && echo "table $name";; esac; done; '
    f'for path in /sys/class/net/*; do device=${{path##*/}}; tc qdisc del dev "$device" root handle {QUEUE} 2>/dev/null'
    f' && echo "queue of $device"; done; ! nft list tables netdev | grep -q {TABLE_PREFIX} && ! tc qdisc show | grep -q {QUEUE}'
)


def isolation(table: str, group: Iterable[str]) -> str:
    """Rules by which a box exchanges packets with these addresses only, and does not even say who it is to others."""
    members = _set(group)
    return _table(
        table,
        incoming=f"ip saddr {members} accept; arp saddr ip {members} accept; counter drop;",
        outgoing=f"ip daddr {members} accept; arp daddr ip {members} accept; counter ether daddr set {NOWHERE};",
    )


def partition(table: str, others: Iterable[str], direction: Direction) -> str:
    """Rules by which packets to these addresses, from them, or both, are lost."""
    side = _set(others)
    return _table(
        table,
        incoming=f"ip saddr {side} counter drop;" if direction is not Direction.OUT else "",
        outgoing=f"ip daddr {side} counter ether daddr set {NOWHERE};" if direction is not Direction.IN else "",
    )


def loss(table: str, percent: float, others: Iterable[str] = ()) -> str:
    """Rules by which a share of what the box sends (to these addresses only, where some are given) is lost, at random."""
    threshold = min(int(RANDOM_VALUES * percent / 100), RANDOM_VALUES - 1)
    side = tuple(others)
    to = f"ip daddr {_set(side)} " if side else ""
    return _table(table, outgoing=f"{to}counter; {to}meta random < {threshold} counter ether daddr set {NOWHERE};")


def _table(table: str, incoming: str = "", outgoing: str = "") -> str:
    chains = [_chain("incoming", "ingress", incoming), _chain("outgoing", "egress", outgoing)]
    return f"table netdev {table} {{ {' '.join(filter(None, chains))} }}"


def _chain(name: str, hook: str, rules: str) -> str:
    head = f"type filter hook {hook} devices = {{ $devices }} priority {PRIORITY};"
    return f"chain {name} {{ {head} {rules} }};" if rules else ""


def _set(addresses: Iterable[str]) -> str:
    # In order, so that the same boxes give the same text; and nothing but addresses gets into a rule.
    return "{ " + ", ".join(str(address) for address in sorted({IPv4Address(each) for each in addresses})) + " }"


def at_device_of(address: str, command: str) -> str:
    """The same command for the interface that has this address, and for no other."""
    own = (
        f'ip -o -4 address show to {IPv4Address(address)} | while read -r _ name _; do echo "$name"; done | sort -u | paste -sd,'
    )
    return f"devices=$({own}); {command}"


def check_rules(rules: str) -> str:
    """Have the kernel check rules without putting them into force."""
    return f'{ON_A_NETWORK} && nft --check "{rules}"'


def add_rules(rules: str) -> str:
    """Put rules into force, all at once."""
    return f'nft "{rules}"'


def delete_table(table: str) -> str:
    """Take rules out of force, all at once; nothing happens where they are not in force (any more)."""
    return f'nft "table netdev {table}; delete table netdev {table}"'


def show_table(table: str) -> str:
    """Print the rules with their counters."""
    return f"nft list table netdev {table}"


def counted(listing: str) -> list[int]:
    """The packets that each counter of a listing has seen, in order."""
    return [int(number) for number in re.findall(r"counter packets (\d+)", listing)]


def delay(delay_ms: float, jitter_ms: float) -> str:
    """A queue that holds each packet back."""
    return f"netem limit 10000 delay {delay_ms:g}ms" + (f" {jitter_ms:g}ms" if jitter_ms else "")


def bandwidth(rate_kbit: float) -> str:
    """A queue that lets only so much through; what would wait for longer than QUEUE_MS in it is lost."""
    burst_bytes = max(int(rate_kbit * 1000 / 8 * BURST_S), BURST_MIN_BYTES)
    return f"tbf rate {rate_kbit:g}kbit burst {burst_bytes} latency {QUEUE_MS}ms"


def add_queue(queue: str) -> str:
    """Put a queue before every interface of the box."""
    return f'{EACH_DEVICE} tc qdisc add dev "$device" root handle {QUEUE} {queue} || exit 1; done'


def check_room() -> str:
    """See whether no interface has a queue that was put there: the kernel's own have no handle (0:)."""
    return f"{ON_A_NETWORK} && ! tc qdisc show | grep ' root ' | grep -v ' 0: '"


def try_queue(queue: str) -> str:
    """See whether the kernel has such a queue, on the loopback of a network of the helper's own."""
    return f"tc qdisc add dev {LOOPBACK} root handle {QUEUE} {queue}"


def delete_queues() -> str:
    """Take our queues away; nothing happens where there are none (any more)."""
    delete = f'tc qdisc del dev "${{path##*/}}" root handle {QUEUE} 2>/dev/null'
    return f"for path in /sys/class/net/*; do {delete}; done; ! tc qdisc show | grep -q {QUEUE}"
