"""Users take every connection that they get, and the primary is not taken for dead."""

from __future__ import annotations

import subprocess

import pytest

from lab.engine.engine import Engine
from lab.spec import stages
from tests.integration.driver import Lab, asked_of_monitor, container, primary

pytestmark = pytest.mark.docker

STAGE = stages.find("5")
HELD_S = 4
"""Some twenty checks of the monitor."""
# As users until there is none left, then as those who decide and watch; in the internet box.
TAKE_ALL = f"""
import sys, time, psycopg
def connect(user, password):
    return psycopg.connect(f"host={{sys.argv[1]}} dbname=postgres user={{user}} password={{password}}")
taken = []
try:
    while len(taken) < 200:
        taken.append(connect("orderdesk", "orders-are-open"))
except psycopg.OperationalError as refused:
    print("reserved" if "pg_use_reserved_connections" in str(refused) else refused)
connect("auditor", "books-are-balanced").close()
connect("pgautofailover_monitor", "pgautofailover_monitor").close()
time.sleep({HELD_S})
print(len(taken))
"""
EVENTS = "SELECT count(*) FROM pgautofailover.event WHERE goalstate IN ('draining', 'prepare_promotion')"


def test_a_primary_without_a_free_connection_is_not_taken_for_dead(stage_5: Lab, engine: Engine) -> None:
    leader, before = primary(engine, STAGE), asked_of_monitor(5, EVENTS)
    command = ["docker", "exec", "-i", container(5, "internet"), "python", "-", STAGE.databases[leader]]
    done = subprocess.run(command, input=TAKE_ALL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    refused, taken = done.stdout.split()
    assert (refused, int(taken) > 0) == ("reserved", True)
    assert (primary(engine, STAGE), asked_of_monitor(5, EVENTS)) == (leader, before)
