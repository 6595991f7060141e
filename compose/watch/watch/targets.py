"""The boxes that there are, as the environment of the monitoring box says it: for each role NAME=ADDRESS, as often as needed.

DOOR       front-door=198.18.0.10:8080      where users come in
BALANCERS  lb1=198.18.0.33 lb2=198.18.0.65  HAProxy's figures
HOLDERS    lb1=198.18.0.33 lb2=198.18.0.65  balancers that say whether they have the users' address
WEB        web1=198.18.1.34                 the order desk's figures
DATABASES  db1=198.18.3.35                  the auditor reads them
MONITOR    monitor=198.18.3.196             the same
LAB        internet=198.18.0.2              what the lab itself is doing
ZONES      a=32/27 b=64/27                  which last numbers of an address are where; REGIONS says the same of regions
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

ROLES = {
    "DOOR": ("door", 8080),
    "BALANCERS": ("balancer", 8404),
    "HOLDERS": ("holder", 8405),
    "WEB": ("web", 8080),
    "DATABASES": ("database", 5432),
    "MONITOR": ("monitor", 5432),
    "LAB": ("lab", 9100),
}
"""By the name in the environment: the role, and the port where no other is said."""
PLACES = {"ZONES": "zone", "REGIONS": "region"}
NOWHERE = ("door", "lab")
"""Roles of the users' side, which is in no zone or region."""
ASKED_BY_PROMETHEUS = ("balancer", "web", "lab")


@dataclass(frozen=True)
class Target:
    """A box that is watched, in one role."""

    role: str
    name: str
    host: str
    port: int
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """As in 198.18.0.10:8080."""
        return f"{self.host}:{self.port}"


def read(environment: Mapping[str, str]) -> list[Target]:
    """The targets that the environment names. Raises ValueError saying which word is wrong."""
    places = [each for variable, label in PLACES.items() for each in _places(label, environment.get(variable, ""))]
    found = []
    for variable, (role, port) in ROLES.items():
        for name, value in _pairs(environment.get(variable, "")):
            host, _, own_port = value.partition(":")
            labels = {} if role in NOWHERE else _labels(host, places)
            found.append(Target(role, name, host, int(own_port or port), labels))
    return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """NAME=VALUE of each word. Raises ValueError."""
    for word in text.split():
        name, _, value = word.partition("=")
        if not name or not value:
            raise ValueError(f"NAME=ADDRESS is needed, not {word!r}")
        yield name, value


def _places(label: str, text: str) -> Iterator[tuple[str, str, IPv4Network]]:
    """Label, name and range of each place; the range is that of the last number of an address. Raises ValueError."""
    for name, numbers in _pairs(text):
        yield label, name, IPv4Network(f"0.0.0.{numbers}")


def _labels(host: str, places: list[tuple[str, str, IPv4Network]]) -> dict[str, str]:
    number = IPv4Address(int(IPv4Address(host)) & 0xFF)
    return {label: name for label, name, numbers in places if number in numbers}


def write(targets: list[Target], folder: Path) -> None:
    """Write for Prometheus whom it shall ask: one file a role."""
    for role in ASKED_BY_PROMETHEUS:
        groups = [
            {"targets": [each.address], "labels": {"box": each.name, **each.labels}} for each in targets if each.role == role
        ]
        fresh = folder / f"{role}.new"
        fresh.write_text(json.dumps(groups), encoding="utf-8")
        fresh.replace(folder / f"{role}.json")
