"""What is installed in the monitor's database: who may call it, and whose objects its names mean."""

from __future__ import annotations

import re

import pytest

from lab.model.topology import Stage
from lab.spec.stages import ROOT, all_stages

MONITOR = ROOT / "compose" / "monitor"
PIECES = ("guard.sql", "change_over.sql")
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
    assert re.findall(r"/usr/local/lib/lab/([\w.]+)", line) == [*PIECES, "rights.sql"]
    copied = (MONITOR / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"compose/monitor/{name}" in copied for name in (*PIECES, "rights.sql"))
