"""Stage 6: a zone is lost, or cut off. Ceilings are generous: a CI machine is busy."""

from __future__ import annotations

import pytest

from lab import stages
from lab.engine import Engine
from lab.model import DatabaseState
from lab.observer import look
from tests.integration.driver import Lab, longest

pytestmark = pytest.mark.docker

WRITES_CEILING_S = 6.0
READS_CEILING_S = 2.0


@pytest.mark.parametrize("experiment", ["kill-zone-a", "cutoff-zone-a", "kill-zone-c"])
def test_two_zones_go_on_without_the_third(lab: Lab, engine: Engine, experiment: str) -> None:
    lab.must("up", "6", "--replace", timeout_s=180)
    trial = lab.valid_trial(6, experiment, "--observe", "6s")
    assert trial["writes_audit"]["lost"] == 0
    assert trial["writable_databases"]["several_s"] == 0
    assert longest(trial, "write_outages") < WRITES_CEILING_S
    assert longest(trial, "read_outages") < READS_CEILING_S
    stage = stages.find("6")
    sight = look(engine, stage)
    assert stage.is_redundant(sight)
    # The zone of the monitor never has the primary.
    assert "db3" not in sight.named(DatabaseState.PRIMARY)
