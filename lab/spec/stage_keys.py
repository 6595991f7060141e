"""What a stage's compose file says to the lab, under x-lab. All else in it is Docker Compose's to check."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lab.spec.base import Must, Strict, Text

PORT_MAX = 65535


def _number(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d?", text):
        raise ValueError("no number of a stage")
    return text


def _entry(text: str) -> str:
    host, _, port = text.partition(":")
    if not host or not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > PORT_MAX:
        raise ValueError("no address and port")
    return text


Names = Annotated[list[str], Must("a list of boxes", "spof: [lb, db]")]
Addresses = dict[str, Annotated[str, Field(min_length=1), Must("an address")]]


class StageKeys(Strict):
    """A stage of the Redundancy Lab."""

    stage: Annotated[str, AfterValidator(_number), Must("the number of a stage, as text", 'stage: "3"')]
    title: Text
    new: Text
    spof: Names
    memory_mib: Annotated[int, Field(ge=1, le=1_000_000), Must("a whole number of mebibytes", "memory_mib: 500")]
    entry: Annotated[str, AfterValidator(_entry), Must("ADDRESS:PORT", "entry: 198.18.0.10:8080")]
    databases: Addresses
    failover: Annotated[Literal["none", "automatic"], Must("none or automatic", "failover: none")] = "none"
    balancers: Addresses = Field(default_factory=dict)
    announced: Annotated[bool, Must("true or false")] = False
    durability: Annotated[str, Must("a word")] = ""
    monitor: Annotated[str, Must("an address")] = ""
    changes: dict[str, Text] = Field(default_factory=dict)
    """What differs from the stage before, for those who read the file."""

    @property
    def address(self) -> tuple[str, int]:
        """Where users reach it."""
        host, _, port = self.entry.partition(":")
        return host, int(port)
