"""A planned change-over of the primary among several databases: without an election where one is not needed, with one where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import stages
from lab.engine import Engine, wait_until
from tests.integration.driver import Lab, asked_of_monitor, container, docker, primary

pytestmark = pytest.mark.docker

STAGE = 6
STAGE_6 = stages.find("6")
SETTLED_WITHIN_S = 60
ASKED_TO_VOTE = "SELECT count(*) FROM pgautofailover.event WHERE goalstate = 'report_lsn'"
PRIORITIES = "SELECT string_agg(candidatepriority::text, ' ' ORDER BY nodename) FROM pgautofailover.node"
WELL = "SELECT count(*) FROM pgautofailover.node WHERE reportedstate = goalstate AND goalstate IN ('primary', 'secondary') AND health = 1"
MAY_SAY = "ON FUNCTION public.stopped_at(text, pg_lsn)"


@pytest.fixture
def well(lab: Lab) -> Iterator[Lab]:
    """Stage 6 with three databases that the monitor finds well, before and after."""
    lab.must("up", str(STAGE), timeout_s=180)
    lab.must("heal")
    assert settled()
    yield lab
    lab.must("heal")
    assert settled()


def settled() -> bool:
    return wait_until(lambda: asked_of_monitor(STAGE, WELL) == "3", SETTLED_WITHIN_S)


def test_who_lacks_nothing_takes_over_without_an_election(well: Lab, engine: Engine) -> None:
    leader, votes, priorities = (
        primary(engine, STAGE_6),
        asked_of_monitor(STAGE, ASKED_TO_VOTE),
        asked_of_monitor(STAGE, PRIORITIES),
    )
    well.must("promote")
    assert settled()
    assert primary(engine, STAGE_6) != leader
    assert asked_of_monitor(STAGE, ASKED_TO_VOTE) == votes
    assert asked_of_monitor(STAGE, PRIORITIES) == priorities
    assert asked_of_monitor(STAGE, "SELECT count(*) FROM public.change_over") == "0"


def test_who_is_not_known_to_lack_nothing_takes_part_in_an_election(well: Lab, engine: Engine) -> None:
    leader, votes, priorities = (
        primary(engine, STAGE_6),
        asked_of_monitor(STAGE, ASKED_TO_VOTE),
        asked_of_monitor(STAGE, PRIORITIES),
    )
    # The old primary's box cannot say where its log ended.
    asked_of_monitor(STAGE, f"REVOKE EXECUTE {MAY_SAY} FROM PUBLIC")
    try:
        well.must("promote")
        assert settled()
    finally:
        asked_of_monitor(STAGE, f"GRANT EXECUTE {MAY_SAY} TO PUBLIC")
    assert primary(engine, STAGE_6) != leader
    assert int(asked_of_monitor(STAGE, ASKED_TO_VOTE)) > int(votes)
    assert asked_of_monitor(STAGE, PRIORITIES) == priorities


def test_who_dies_as_it_is_to_take_over_takes_part_when_it_is_back(well: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE_6)
    heir = "db1" if leader == "db2" else "db2"
    # Frozen first: it is not to be quicker than this test.
    docker("pause", container(STAGE, heir))
    asked_of_monitor(STAGE, f"SELECT public.change_over('{heir}')")
    docker("kill", container(STAGE, heir))
    stepped_down = f"SELECT reportedstate FROM pgautofailover.node WHERE nodename = '{leader}'"
    assert wait_until(lambda: asked_of_monitor(STAGE, stepped_down) == "report_lsn", SETTLED_WITHIN_S)
    docker("start", container(STAGE, heir))
    # It was refused as a voter whose PostgreSQL does not run, and PostgreSQL is started only for a voter.
    assert settled()
