"""What is installed in the monitor's database: who may call it, and whose objects its names mean."""

from __future__ import annotations

import re

import pytest

from lab.model.topology import Stage
from lab.spec.stages import ROOT, all_stages

MONITOR = ROOT / "compose" / "monitor"
PIECES = ("clock.sql", "guard.sql", "change_over.sql", "loss.sql")
FUNCTION = re.compile(r"CREATE FUNCTION (public\.\w+)\((.*?)\) RETURNS (.*?) AS \$", re.DOTALL)
FIXED = "SET search_path = pg_catalog, pg_temp"


def statements(name: str) -> list[str]:
    """The statements of a file as single-user mode reads them: without comments, each up to a semicolon and an empty line."""
    lines = [line for line in (MONITOR / name).read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("--")]
    return [each.strip() for each in re.split(r";\n\n", "\n".join(lines) + "\n\n") if each.strip()]


def functions() -> dict[str, str]:
    """Each function of ours, with its signature: what it is besides."""
    text = "\n".join((MONITOR / name).read_text(encoding="utf-8") for name in PIECES)
    found = {f"{name}({arguments})": besides for name, arguments, besides in FUNCTION.findall(text)}
    assert len(found) == text.count("CREATE FUNCTION")
    return found


@pytest.mark.parametrize("signature", functions())
def test_a_function_means_what_it_says_whoever_calls_it(signature: str) -> None:
    """Triggers run inside functions that act with their owner's rights, in a session whose search path somebody else has set."""
    assert FIXED in functions()[signature]


def test_a_statement_is_one_for_single_user_mode() -> None:
    for name in (*PIECES, "rights.sql"):
        starts = [re.match(r"(CREATE (?:TABLE|FUNCTION|TRIGGER)|INSERT INTO|REVOKE|GRANT) ", each) for each in statements(name)]
        assert starts
        assert all(starts), name


def test_rights_are_taken_before_they_are_given() -> None:
    taken, *given = statements("rights.sql")
    assert taken == "REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA pgautofailover, public FROM PUBLIC"
    assert {each.split()[0] for each in given} == {"GRANT"}
    assert [each for each in given if each.endswith("PUBLIC")] == []
    # Who watches reads.
    assert {each.split(" ON ")[0] for each in given if each.endswith("TO auditor")} == {"GRANT USAGE", "GRANT SELECT"}


def test_what_boxes_say_they_may_say() -> None:
    """Every function of ours that a keeper's box calls, and no other."""
    boxes = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "compose" / "postgres").rglob("*") if file.is_file())
    called = set(re.findall(r"SELECT (public\.\w+)\(", boxes))
    granted = {
        found[1] for each in statements("rights.sql") if (found := re.match(r"GRANT EXECUTE ON FUNCTION (public\.\w+)\(", each))
    }
    assert called
    assert granted == called


@pytest.mark.parametrize("stage", [each for each in all_stages() if each.monitor], ids=lambda stage: stage.project)
def test_who_checks_a_database_finds_a_connection_that_no_user_can_take(stage: Stage) -> None:
    assert re.findall(r" -c reserved_connections=(\d+)", stage.file.read_text(encoding="utf-8")) == ["6"]
    keeper = (ROOT / "compose" / "postgres" / "lab-keeper").read_text(encoding="utf-8")
    # Roles are made with the cluster, before anybody can connect.
    made, granted = (
        keeper.index(words) for words in ("CREATE ROLE pgautofailover_monitor", "GRANT pg_use_reserved_connections TO")
    )
    assert made < granted
    assert "GRANT pg_use_reserved_connections TO pgautofailover_monitor, auditor" in keeper


def test_rights_come_when_all_functions_are_there() -> None:
    text = (MONITOR / "lab-monitor").read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if "/usr/local/lib/lab/guard.sql" in line]
    # A file's first statement ends the one before: an empty line comes before it.
    texts = [(MONITOR / name).read_text(encoding="utf-8") for name in (*PIECES[1:], "rights.sql")]
    assert all(re.sub(r"(?m)^ *--.*\n", "", each).startswith("\n") for each in texts)
    assert re.findall(r"/usr/local/lib/lab/([\w.]+)", line) == [*PIECES, "rights.sql"]
    copied = (MONITOR / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"compose/monitor/{name}" in copied for name in (*PIECES, "rights.sql"))


# The wall clock

PAST = re.compile(r"(\w+) > (?:clock_timestamp|now)\(\)")
KEPT_BY_OTHERS = {"reporttime"}
"""What pg_auto_failover notes, by the wall clock. That it does not lie ahead is seen to (not_ahead)."""


def triggers() -> dict[str, str]:
    """Each trigger of ours on the table of nodes: when it fires, and on what condition."""
    every = [each for name in PIECES for each in statements(name) if each.startswith("CREATE TRIGGER")]
    found = [re.match(r"CREATE TRIGGER (\w+) ((?:BEFORE|AFTER) .*) EXECUTE FUNCTION", each) for each in every]
    return {each[1]: each[2] for each in found if each}


def test_our_own_orders_and_deadlines_are_not_measured_by_a_clock_that_is_set() -> None:
    text = "\n".join(each for name in PIECES for each in statements(name))
    assert set(PAST.findall(text)) <= KEPT_BY_OTHERS
    columns = re.findall(r"CREATE TABLE public\.\w+ \((.*?)\)", text, re.DOTALL)
    assert len(columns) == 6
    assert [each for each in columns if "timestamptz" in each] == []
    # An order of before the machine started is ahead of its clock, and no fresh one.
    assert len(re.findall(r"public\.uptime_s\(\) - ordered BETWEEN 0 AND \d+", text)) == text.count("- ordered") == 4


def test_what_the_extension_compares_with_the_clock_cannot_lie_ahead_of_it() -> None:
    """IsUnhealthy, IsHealthy, IsReporting and IsDrainTimeExpired look at these three (node_metadata.c)."""
    [function] = [each for each in statements("clock.sql") if each.startswith("CREATE FUNCTION public.not_ahead()")]
    set_back = re.findall(r"NEW\.(\w+) := least\(NEW\.\1, clock_timestamp\(\)\);", function)
    assert set_back == ["reporttime", "healthchecktime", "statechangetime"]
    watched = ", ".join(f"NEW.{name}" for name in set_back)
    # Any update, whoever makes it: the checks of health make one for each database some times a second.
    assert triggers()["not_ahead"] == (
        f"BEFORE UPDATE ON pgautofailover.node FOR EACH ROW WHEN (greatest({watched}) > clock_timestamp())"
    )


def test_before_its_own_start_the_monitor_goes_by_what_a_database_says() -> None:
    when = triggers()["runs_no_more"]
    assert when.startswith("BEFORE UPDATE OF health ")
    for part in ("NEW.health = 0", "clock_timestamp() < pg_postmaster_start_time()", "NEW.reporttime < clock_timestamp() - "):
        assert part in when
    # Triggers of one event fire in the order of their names: who is just being stopped is not ill, and a report that lay
    # ahead has been put right.
    before = [name for name, words in triggers().items() if words.startswith(("BEFORE UPDATE OF health", "BEFORE UPDATE ON"))]
    assert sorted(before) == ["not_ahead", "not_ill", "runs_no_more"]


def test_checks_that_stand_still_are_started_again_by_a_report() -> None:
    assert triggers()["restart_the_checks"] == "AFTER UPDATE OF reporttime ON pgautofailover.node FOR EACH ROW"
    [function] = [each for each in statements("clock.sql") if each.startswith("CREATE FUNCTION public.restart_the_checks()")]
    asked, ended = function.index("healthchecktime NOT BETWEEN"), function.index("pg_terminate_backend(pid)")
    noted = function.index("SET healthchecktime = clock_timestamp()")
    # What is noted first keeps the next report from ending the one that has only just been started.
    assert asked < noted < ended
    # Another report may hold a row of its own, and wait for one of this one's.
    assert "FOR UPDATE SKIP LOCKED" in function
    assert "datname = current_database()" in function


# What was acknowledged alone


def body(name: str, file: str = "loss.sql") -> str:
    [found] = [each for each in statements(file) if each.startswith(f"CREATE FUNCTION public.{name}(")]
    return found


def test_no_way_leads_around_the_question_whether_a_database_may_be_forgotten() -> None:
    """Whoever removes it: its box, pg_autoctl, an operator at the monitor."""
    assert triggers()["refuse_to_forget"] == "BEFORE DELETE ON pgautofailover.node FOR EACH ROW"
    everything = "\n".join((MONITOR / name).read_text(encoding="utf-8") for name in PIECES)
    # One function lifts it, for its own transaction, and only for what is known to be lost.
    assert everything.count("set_config('lab.loss_is_accepted', 'yes', true)") == 1
    accept = body("accept_loss")
    lifted, removed, back = (
        accept.index(words)
        for words in ("'lab.loss_is_accepted', 'yes', true", "remove_node(nodeid, true)", "'lab.loss_is_accepted', '', true")
    )
    assert lifted < removed < back
    assert "WHERE nodename IN (SELECT nodename FROM public.lost_disk);" in accept[removed:back]


def test_only_an_empty_disk_counts_as_a_lost_one() -> None:
    everything = "\n".join(each for name in PIECES for each in statements(name))
    # What a box says of itself, and no other word: one that only does not answer may have everything.
    assert everything.count("INSERT INTO public.lost_disk") == body("forget").count("INSERT INTO public.lost_disk") == 1
    for reason in ("public.leader() IS NOT NULL", "doubtful IS NOT NULL", "moving IS NOT NULL"):
        assert f"IF {reason} THEN\n    RAISE EXCEPTION" in body("accept_loss")


def test_what_an_operator_has_to_decide_is_for_the_lab_alone() -> None:
    rights = (MONITOR / "rights.sql").read_text(encoding="utf-8")
    assert "accept_loss" not in rights
    assert "public.question" not in rights


def test_who_takes_over_gracefully_has_the_whole_of_the_last_record() -> None:
    """With a part of it the next timeline would begin before the end of the old one."""
    assert "reportedlsn >= change.stopped_at + 114" in body("lacks_nothing", "change_over.sql")
