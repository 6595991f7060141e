"""The boxes that there are, as the stage file says it: one a line, role, name and address.

    door front-door 198.18.0.10:8080
    web web1 198.18.1.21:8080
    balancer lb1 198.18.0.11:8404
    holder lb1 198.18.0.11:8405
    database db1 198.18.3.31
    monitor monitor 198.18.3.40
    lab internet 198.18.0.2:9100

`door` is where users come to, `balancer` and `web` where HAProxy and the order desk tell their figures, `holder` where a
balancer says whether it has the users' address, `lab` where the lab itself tells what it does. What follows an address,
such as zone=a, are labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

ROLES = ("door", "web", "balancer", "holder", "database", "monitor", "lab")
ASKED_BY_PROMETHEUS = ("balancer", "web", "lab")
DEFAULT_PORT = 5432


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


def parse(text: str) -> list[Target]:
    """The targets in a table; comments and empty lines are passed over. Raises ValueError saying which line is wrong."""
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return [_target(words) for words in lines if words]


def _target(words: list[str]) -> Target:
    if len(words) < 3 or words[0] not in ROLES or not all("=" in word for word in words[3:]):
        raise ValueError(f"no role, name and address: {' '.join(words)!r}; roles are {', '.join(ROLES)}")
    host, _, port = words[2].partition(":")
    labels = dict(word.split("=", 1) for word in words[3:])
    return Target(words[0], words[1], host, int(port or DEFAULT_PORT), labels)


def write(targets: list[Target], folder: Path) -> None:
    """Write for Prometheus whom it shall ask: one file a role."""
    for role in ASKED_BY_PROMETHEUS:
        groups = [
            {"targets": [each.address], "labels": {"box": each.name, **each.labels}} for each in targets if each.role == role
        ]
        fresh = folder / f"{role}.new"
        fresh.write_text(json.dumps(groups), encoding="utf-8")
        fresh.replace(folder / f"{role}.json")
