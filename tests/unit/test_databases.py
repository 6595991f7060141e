"""Who accepts writes, and the operator, against an engine that is only played."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from lab import databases
from lab.engine import Engine, ExecResult
from lab.errors import InconclusiveError, UsageError
from lab.journal import UndoLedger
from lab.model import Box, DatabaseState
from tests.unit.helpers import box, stage

PRIMARY, STANDBY, SILENT = DatabaseState.PRIMARY, DatabaseState.STANDBY, DatabaseState.SILENT
REPLICATED = stage(databases={"db1": "198.18.3.31", "db2": "198.18.3.32"})


@dataclass
class PlayedEngine:
    """Answers as two databases would; notes what is done to them."""

    found: dict[str, str]
    promotes: bool = True
    done: list[tuple[str, str]] = field(default_factory=list)

    def internet_box(self, _: object) -> Box:
        return box("internet", ("internet",))

    def boxes(self, _: object = None) -> list[Box]:
        return [box("db1", ("db",)), box("db2", ("db",))]

    def run_in(self, target: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        if "client.observer" in command:
            return ExecResult(0, json.dumps({"states": self.found}))
        self.done.append(("promote", target.service))
        return ExecResult(0, "t\n" if self.promotes else "f\n")

    def kill(self, target: Box) -> None:
        self.done.append(("kill", target.service))

    def put_file(self, target: Box, path: str, content: str) -> None:
        self.done.append((f"rejoin {content}", target.service))

    def start(self, target: Box) -> None:
        self.done.append(("start", target.service))


def played(**changes: Any) -> tuple[PlayedEngine, Engine]:
    engine = PlayedEngine(**changes)
    return engine, cast(Engine, engine)


def test_databases_have_the_role_that_they_play_now() -> None:
    live = databases.with_live_roles([box("db1", ("db",)), box("db2", ("db",)), box("web1")], {"db1": STANDBY, "db2": PRIMARY})
    assert [each.roles for each in live] == [("db", "db.standby"), ("db", "db.primary"), ("web",)]
    assert databases.with_live_roles([box("db1", ("db",))], {"db1": SILENT})[0].roles == ("db",)


def test_promotion_is_refused_while_the_primary_lives(tmp_path: Path) -> None:
    plays, engine = played(found={"db1": "primary", "db2": "standby"})
    with pytest.raises(UsageError, match="db1 still accepts writes"):
        databases.promote(engine, UndoLedger(tmp_path / "undo"), REPLICATED, False, lambda _: None)
    assert plays.done == []


def test_fencing_comes_before_promotion_and_is_on_disk_before_that(tmp_path: Path) -> None:
    ledger = UndoLedger(tmp_path / "undo")
    plays, engine = played(found={"db1": "primary", "db2": "standby"})
    assert databases.promote(engine, ledger, REPLICATED, True, lambda _: None) == "db2"
    assert plays.done == [("kill", "db1"), ("promote", "db2")]
    assert [entry.undo.service for entry in ledger.entries()] == ["db1"]


def test_nobody_to_promote(tmp_path: Path) -> None:
    for found in ({"db1": "primary", "db2": "silent"}, {"db1": "silent", "db2": "silent"}):
        plays, engine = played(found=found)
        with pytest.raises(UsageError, match="no standby to promote"):
            databases.promote(engine, UndoLedger(tmp_path / "undo"), REPLICATED, True, lambda _: None)
        assert plays.done == []


def test_a_promotion_that_fails_says_so(tmp_path: Path) -> None:
    _, engine = played(found={"db1": "silent", "db2": "standby"}, promotes=False)
    with pytest.raises(InconclusiveError, match="db2 could not be promoted"):
        databases.promote(engine, UndoLedger(tmp_path / "undo"), REPLICATED, False, lambda _: None)


def test_a_lost_database_comes_back_behind_the_one_that_took_over() -> None:
    plays, engine = played(found={"db1": "silent", "db2": "primary"})
    databases.bring_back(engine, REPLICATED, box("db1", ("db",)))
    assert plays.done == [("rejoin db2", "db1"), ("start", "db1")]


def test_a_lost_primary_that_nobody_replaced_comes_back_as_it_was() -> None:
    plays, engine = played(found={"db1": "silent", "db2": "standby"})
    databases.bring_back(engine, REPLICATED, box("db1", ("db",)))
    assert plays.done == [("start", "db1")]
