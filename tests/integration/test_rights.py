"""Who may only watch can change nothing: the auditor's password lies in the monitoring box and on the users' side."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.driver import Lab, asked_of_monitor, container, docker

pytestmark = pytest.mark.docker

STAGE = 5
AUDITOR = "host=198.18.3.196 dbname=pg_auto_failover user=auditor password=books-are-balanced"
OURS = "p.pronamespace IN ('pgautofailover'::regnamespace, 'public'::regnamespace)"
# A call of each function that SQL can call at all. Its arguments are no constants, or the planner would spare itself the call of a
# function that answers NULL to NULL, and with it the question of rights.
CALLS = f"""
SELECT format('SELECT %I.%I(%s)%s', n.nspname, p.proname,
  (SELECT string_agg(format('a%s', number), ', ' ORDER BY number) FROM unnest(p.proargtypes) WITH ORDINALITY AS given(type, number)),
  (SELECT ' FROM (SELECT ' || string_agg(format('NULL::%s AS a%s', format_type(type, NULL), number), ', ' ORDER BY number) || ' OFFSET 0) AS given'
   FROM unnest(p.proargtypes) WITH ORDINALITY AS given(type, number)))
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE {OURS} AND p.prokind = 'f' AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) AS type JOIN pg_type ON pg_type.oid = type WHERE typtype = 'p')
ORDER BY 1
"""
MAY = f"SELECT count(*) FROM pg_proc AS p WHERE {OURS} AND has_function_privilege('%s', p.oid, 'EXECUTE')"
DENIED = "42501"
SEVERAL = "42725"
"""A call that may mean two functions, as one has a default: refused before rights are asked for. MAY asks for those too."""


def psql(script: str) -> list[str]:
    """What psql answers as the auditor to a script, line by line."""
    command = ["docker", "exec", "-i", container(STAGE, "monitor"), "psql", "-X", "-qAt", AUDITOR]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_who_watches_may_call_nothing_in_the_monitor(stage_5: Lab) -> None:
    calls = asked_of_monitor(STAGE, CALLS).splitlines()
    names = {call.split("(")[0].removeprefix("SELECT ") for call in calls}
    assert {"pgautofailover.remove_node", "pgautofailover.perform_failover", "public.change_over", "public.stopped_at"} <= names
    before = asked_of_monitor(STAGE, "SELECT string_agg(nodename || goalstate, ' ' ORDER BY nodename) FROM pgautofailover.node")
    answers = psql("".join(f"{call};\n\\echo :SQLSTATE\n" for call in calls))
    answered = {call: answer for call, answer in zip(calls, answers, strict=True) if answer != SEVERAL}
    assert answered == dict.fromkeys(answered, DENIED)
    assert len(calls) - len(answered) <= 1
    assert asked_of_monitor(STAGE, MAY % "auditor") == "0"
    assert psql("SELECT string_agg(nodename || goalstate, ' ' ORDER BY nodename) FROM pgautofailover.node;\n") == [before]


def test_keepers_may_call_what_they_need(stage_5: Lab) -> None:
    of_pg_auto_failover = "SELECT count(*) FROM pg_proc AS p WHERE p.pronamespace = 'pgautofailover'::regnamespace"
    own = f"{of_pg_auto_failover} AND has_function_privilege('autoctl_node', p.oid, 'EXECUTE')"
    assert asked_of_monitor(STAGE, own) == asked_of_monitor(STAGE, of_pg_auto_failover) != "0"


def test_who_watches_still_watches(stage_5: Lab) -> None:
    ready = "curl -fsS http://127.0.0.1:9099/metrics | grep '^monitor_ready'"
    assert docker("exec", container(STAGE, "watch"), "bash", "-c", ready).endswith(" 1")
