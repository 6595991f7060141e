"""lab.yaml, beside a Compose file that is not the lab's: what the lab cannot read from there. Durations in seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lab.spec.base import Must, Seconds, Strict, Verbatim
from lab.spec.expect import Bounds
from lab.spec.experiment_keys import BASELINE_S, COOLDOWN_S, FAULT_DURATION_S, After

Services = Annotated[list[str], Field(min_length=1), Must("a list of services", "roles: {web: [web1, web2]}")]


class OwnFile(Strict):
    """Settings of the Redundancy Lab for a Compose project of your own."""

    url: Verbatim | None = None
    contains: Verbatim | None = None
    network: Verbatim | None = None
    roles: dict[str, Services] = Field(default_factory=dict)
    baseline_s: Seconds = BASELINE_S
    fault_duration_s: Seconds = FAULT_DURATION_S
    cooldown_s: After = COOLDOWN_S
    expect: dict[str, Bounds] | None = None
