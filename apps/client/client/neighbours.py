"""Where packets to an address on this network go: the kernel's table of neighbours (ARP), which asks no program of any box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TABLE = Path("/proc/net/arp")
COMPLETE = 0x2


def mac_addresses(table: str) -> dict[str, str]:
    """The MAC address of each neighbour whose is known. Raises ValueError for what is no such table."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {address: mac for address, _, flags, mac, *_ in rows if int(flags, 16) & COMPLETE}


def leads_to(entry: str, boxes: Mapping[str, str]) -> str:
    """Which of some boxes, by name and own address on this network, gets the packets to `entry`; empty where that is unknown.

    The kernel of a box whose programs have stopped still takes them.
    """
    try:
        known = mac_addresses(TABLE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return next((name for name, address in boxes.items() if entry in known and known.get(address) == known[entry]), "")
