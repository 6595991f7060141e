"""A monitor that has lost its disk, and an empty database beside one that has all orders: no new one may be made."""

from __future__ import annotations

import pytest

from lab.engine.engine import Engine
from lab.process import wait_until
from lab.spec import stages
from tests.integration.clusters import await_recovered
from tests.integration.driver import Lab, orders_in, primary

pytestmark = pytest.mark.docker

STAGE = stages.find("5")
SAID_WITHIN_S = 60.0


def log_of_db1(engine: Engine) -> str:
    return "".join(engine.logs(box, 50) for box in engine.boxes(5) if box.service == "db1")


@pytest.mark.night
def test_no_new_database_is_made_beside_one_that_the_monitor_has_forgotten(stage_5: Lab, engine: Engine) -> None:
    if primary(engine, STAGE) != "db1":
        stage_5.must("promote")
        await_recovered(engine, STAGE)
    before = orders_in(5, "db2")
    try:
        stage_5.must("chaos", "wipe", "monitor")
        stage_5.must("chaos", "wipe", "service:db1")
        # It cannot succeed: nobody knows any more what db2 is. That is said, and nothing is made instead.
        stage_5("heal")
        assert wait_until(lambda: "no new database" in log_of_db1(engine), SAID_WITHIN_S)
        assert orders_in(5, "db2") >= before
    finally:
        stage_5.must("down", "5")
