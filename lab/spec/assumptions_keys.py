"""What the availability model assumes, as assumptions.yaml has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lab.spec.base import Must, Strict

NUMBER_MAX = 1e6
Number = Annotated[float, Field(ge=0, le=NUMBER_MAX), Must(f"a number from 0 to {NUMBER_MAX:g}", "see assumptions.yaml")]


class RateKeys(Strict):
    """How often something fails, and for how long."""

    failures_per_year: Number
    repair_h: Number


class Boxes(Strict):
    """By role."""

    box: RateKeys
    web: RateKeys
    lb: RateKeys
    db: RateKeys
    monitor: RateKeys
    other: RateKeys


class Places(Strict):
    """Of whole places."""

    zone: RateKeys
    region: RateKeys


class Failovers(Strict):
    """For how many seconds users are without the service when one of several fails."""

    web: Number
    lb: Number
    primary: Number
    standby: Number
    zone: Number
    region: Number
    other: Number


class AssumptionsFile(Strict):
    """What the availability model of the Redundancy Lab assumes."""

    boxes: Boxes
    places: Places
    operator_min: Number
    failover_s: Failovers
