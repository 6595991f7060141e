"""Stage 4 by hand: a standby that follows, an operator who promotes, and what becomes of the old primary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.engine.engine import Engine
from lab.errors import EXIT_HELD, EXIT_REFUTED, EXIT_USAGE
from lab.model.observation import DatabaseState
from lab.spec import stages
from tests.integration.clusters import look
from tests.integration.driver import Lab, not_held, until_valid

pytestmark = pytest.mark.docker

OPERATOR = """
title: The primary is lost and an operator comes soon
question: What does a failover by hand cost?
fault: {fault}
target: db.primary
operator: {{delay_s: 3, action: promote}}
fault_duration_s: 3
expect:
  downtime_longest_s: {{at_most: 6.0}}
  split_brain_s: {{at_most: 0}}
"""


@pytest.fixture
def stage_4(lab: Lab) -> Lab:
    lab.must("up", "4", "--replace", timeout_s=120)
    return lab


def states(engine: Engine) -> dict[str, DatabaseState]:
    return look(engine, stages.find("4")).databases


def assert_redundant(engine: Engine) -> None:
    assert sorted(states(engine).values()) == [DatabaseState.PRIMARY, DatabaseState.STANDBY]


def with_operator(folder: Path, fault: str) -> str:
    file = folder / f"{fault}-and-operator.yaml"
    file.write_text(OPERATOR.format(fault=fault))
    return str(file)


def changed_over(stage_4: Lab, engine: Engine, file: str) -> tuple[tuple[dict[str, DatabaseState], int], dict[str, Any]]:
    """The databases before a run, and its exit code; its document."""
    before = states(engine)
    code, document = stage_4.run(4, file)
    return (before, code), document


def test_without_an_operator_nothing_happens(stage_4: Lab, engine: Engine) -> None:
    code, document = stage_4.valid_run(4, "kill-primary", "--observe", "4s")
    [trial] = document["trials"]
    assert code == EXIT_REFUTED
    assert trial["downtime_censored"]
    assert trial["writable_databases"]["no_writer_s"] > 3
    assert trial["writes_audit"]["lost"] == 0
    assert_redundant(engine)


def test_the_operator_ends_the_outage(stage_4: Lab, engine: Engine, tmp_path: Path) -> None:
    (before, code), document = until_valid(lambda: changed_over(stage_4, engine, with_operator(tmp_path, "kill")))
    [trial] = document["trials"]
    assert code == EXIT_HELD, not_held(trial)
    phases = trial["phases"]
    assert phases["impact_s"] < phases["operator_s"] < phases["promoted_s"]
    assert phases["recover_s"] - phases["operator_s"] < 3
    assert trial["writable_databases"]["multiple_writers_s"] == 0
    assert_redundant(engine)
    assert {name for name, state in before.items() if state is DatabaseState.PRIMARY} == set(trial["targets"])
    assert states(engine) != before


def test_an_old_primary_that_thaws_makes_two(stage_4: Lab, engine: Engine, tmp_path: Path) -> None:
    code, document = stage_4.valid_run(4, with_operator(tmp_path, "pause"))
    [trial] = document["trials"]
    assert code == EXIT_REFUTED
    assert trial["writable_databases"]["multiple_writers_s"] > 0
    assert any(failure.startswith("split_brain_s") for failure in trial["failed_expectations"])
    assert_redundant(engine)


@pytest.mark.parametrize("experiment", ["kill-standby", "pause-standby"])
def test_an_asynchronous_standby_is_not_missed(stage_4: Lab, engine: Engine, experiment: str) -> None:
    code, document = stage_4.valid_run(4, experiment, "--observe", "3s")
    [trial] = document["trials"]
    assert code == EXIT_HELD, not_held(trial)
    assert trial["writes_audit"]["lost"] == 0
    assert_redundant(engine)


def test_the_operator_is_careful(stage_4: Lab, engine: Engine) -> None:
    before = states(engine)
    refused = stage_4("promote")
    assert refused.code == EXIT_USAGE
    assert "still accepts writes" in refused.error_line
    assert states(engine) == before
    fenced = stage_4.must("promote", "--fence")
    assert "fenced" in fenced.err
    assert "promoted" in fenced.err
    again = stage_4("promote")
    assert again.code == EXIT_USAGE
    assert "no standby" in again.error_line
    stage_4.must("heal")
    assert_redundant(engine)
    assert states(engine) != before
