"""What a figure stands on: read from the stage files, and never more than stands there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.run_document import as_document, rebuild
from lab.cluster import database
from lab.engine.engine import EngineInfo, ExecResult
from lab.errors import UsageError
from lab.model.history import Conditions, Machine, Timer
from lab.model.topology import Box, Stage
from lab.report import files, svg_strip
from lab.report.conditions import line, lines_of
from lab.spec import conditions, located_yaml, stages
from lab.spec.conditions import from_document, of, timers
from lab.store import runs
from tests.unit.helpers import box, record, run_info
from tests.unit.played import PlayedEngine
from tests.unit.reports import HOSTILE, a_matrix, a_run

MACHINE = Machine(cores=2, memory_mib=7900, engine="28.0", kernel="6.1", system="Debian 13")
STAGES = {stage.name: stage for stage in stages.all_stages()}
OF_HAPROXY = {"inter": 0.15, "fastinter": 0.05, "downinter": 0.2, "fall": 2.0, "timeout check": 0.15}
READY = {"inter": 0.4, "fastinter": 0.1, "downinter": 0.2, "fall": 2.0, "timeout check": 0.45}
OF_VRRP = {"advert_int": 0.05, "down_timer_adverts": 2.0}
OF_BFD = {"interval": 0.1, "multiplier": 3.0}
OF_LOG = {"wal_sender_timeout": 2.0, "wal_receiver_timeout": 2.0}
OF_MONITOR = {
    "health_check_period": 0.15,
    "health_check_timeout": 0.2,
    "health_check_max_retries": 2.0,
    "health_check_retry_delay": 0.05,
    "node_considered_unhealthy_timeout": 0.001,
    "primary_demote_timeout": 0.1,
    "startup_grace_period": 1.0,
}
# What a reader finds in each file, by hand.
WANTED: dict[str, dict[tuple[str, str], dict[str, float]]] = {
    "1-single-server": {},
    "2-separate-database": {},
    "3-load-balancer": {("haproxy", "reads"): OF_HAPROXY},
    "4-database-replication": {("haproxy", "reads"): OF_HAPROXY, ("postgresql", ""): OF_LOG},
    "4-database-replication (automatic)": {
        ("haproxy", "reads"): OF_HAPROXY,
        ("postgresql", ""): OF_LOG,
        ("pg_auto_failover", ""): OF_MONITOR,
    },
    "5-redundant-load-balancers": {
        ("haproxy", "reads"): OF_HAPROXY,
        ("postgresql", ""): OF_LOG,
        ("pg_auto_failover", ""): OF_MONITOR,
        ("keepalived", "entry"): OF_VRRP,
    },
    "6-multi-az": {
        ("haproxy", "reads"): OF_HAPROXY,
        ("postgresql", ""): OF_LOG,
        ("pg_auto_failover", ""): {**OF_MONITOR, "node_considered_unhealthy_timeout": 0.5},
        ("keepalived", "entry"): OF_VRRP,
    },
    "7-multi-region": {
        ("haproxy", "reads"): OF_HAPROXY,
        ("haproxy", "ready"): READY,
        ("postgresql", ""): OF_LOG,
        ("pg_auto_failover", ""): {
            **OF_MONITOR,
            "health_check_period": 0.3,
            "health_check_timeout": 0.5,
            "node_considered_unhealthy_timeout": 1.0,
        },
        ("bird", "bfd"): OF_BFD,
    },
}


def read(stage: Stage, **known: Any) -> Conditions:
    return of(located_yaml.load(stage.file), **known)


def configs(**contents: str) -> dict[str, Any]:
    return {"configs": {name: {"content": content} for name, content in contents.items()}}


def test_all_eight_files_are_here() -> None:
    assert set(STAGES) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_each_timer_is_what_stands_in_the_file(name: str) -> None:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for each in read(STAGES[name]).timers:
        assert each.setting not in found.setdefault((each.product, each.where), {}), "found twice, with two values"
        found[each.product, each.where][each.setting] = each.value
    assert found == WANTED[name]
    text = STAGES[name].file.read_text(encoding="utf-8")
    for each in read(STAGES[name]).timers:
        assert each.setting in text


@pytest.mark.parametrize("name", WANTED)
def test_disk_and_distance_are_those_of_the_file(name: str) -> None:
    found = read(STAGES[name])
    assert found.fsync is False
    region = {"eu-us": 40.0, "eu-witness": 25.0, "us-witness": 25.0}
    assert found.round_trips_ms == (region if name == "7-multi-region" else {})


@pytest.mark.parametrize(
    ("old", "new", "setting", "value"),
    [
        ("check inter 150ms", "check inter 1s", "inter", 1.0),
        ("check inter 150ms", "check inter 1700", "inter", 1.7),
        ("downinter 200ms fall 2", "downinter 200ms fall 5", "fall", 5.0),
        ("advert_int 0.05", "advert_int 1", "advert_int", 1.0),
        ("health_check_period=150", "health_check_period=5s", "health_check_period", 5.0),
        ("primary_demote_timeout=100", "primary_demote_timeout=30000", "primary_demote_timeout", 30.0),
    ],
)
def test_a_changed_file_gives_the_changed_value(tmp_path: Path, old: str, new: str, setting: str, value: float) -> None:
    text = STAGES["5-redundant-load-balancers"].file.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "compose.yaml").write_text(text.replace(old, new), encoding="utf-8")
    found = timers(located_yaml.load(tmp_path / "compose.yaml"))
    assert [each.value for each in found if each.setting == setting] == [value]


def test_what_does_not_stand_there_is_left_out() -> None:
    assert timers({}) == timers({"services": None, "configs": []}) == ()
    assert of({}).fsync is None
    haproxy = (
        "backend reads\n  # default-server check inter 9s fall 9\n  server a 10.0.0.1:80 check\n  server b 10.0.0.2:80 inter 3s\n"
    )
    assert timers(configs(haproxy=haproxy)) == ()
    assert timers(configs(a="advert_int 7", b="interval 100 ms;")) == (), "outside of its block it is something else"
    assert timers({"services": {"m": {"command": "lab-monitor -c pgautofailover.health_check_period=soon"}}}) == ()


def test_two_different_values_are_both_reported() -> None:
    services = {name: {"command": f"x -c wal_sender_timeout={value}"} for name, value in (("a", "2s"), ("b", "5s"), ("c", "2s"))}
    assert [each.value for each in timers({"services": services})] == [2.0, 5.0]
    mixed = {"services": {"a": {"command": ["x", "-c", "fsync=on"]}, "b": {"command": "x -c fsync=off"}}}
    assert conditions.fsync(mixed) is False
    assert conditions.fsync({"services": {"a": {"command": ["x", "-c", "fsync=on"]}}}) is True


@given(st.floats(0.001, 5000, allow_nan=False).map(lambda each: round(each, 3)))
def test_a_time_is_the_same_in_every_unit(value_s: float) -> None:
    for text in (f"{value_s:.3f}s", f"{value_s * 1000:.0f}ms", f"{value_s * 1000:.0f}", f"{value_s * 1e6:.0f}us"):
        (found,) = timers(configs(h=f"backend reads\n  default-server check inter {text} rise 2\n"))
        assert found.value == pytest.approx(value_s, abs=0.0006)


def test_the_line_says_all_of_it() -> None:
    found = read(STAGES["5-redundant-load-balancers"], machine=MACHINE, database_bytes=8_100_000)
    assert line(found) == (
        "conditions: one machine (2 cores), fsync off, HAProxy 150 ms x 2 (default 2 s x 3), VRRP 50 ms x 2 (default 1 s x 3), "
        "monitor 150 ms (default 5 s), unhealthy 1 ms (20 s), demote 100 ms (30 s), links 0 ms, database 8 MB, "
        "kill: processes end, kernel and page cache live on"
    )


def test_how_fast_the_machine_was_is_said_where_it_was_measured() -> None:
    slow = replace(MACHINE, loop_ms=81.6)
    assert "one machine (2 cores), a million additions in 82 ms, fsync" in line(of(None, slow))
    assert "additions" not in line(of(None, MACHINE))
    # Of several stages a range, and no line of its own for each.
    assert lines_of([("3", of(None, MACHINE)), ("4", of(None, slow)), ("5", of(None, replace(MACHINE, loop_ms=40.0)))]) == [
        line(of(None, slow)).replace("in 82 ms", "in 40 to 82 ms")
    ]


def test_unknown_is_said_and_is_not_zero() -> None:
    found = of(None, MACHINE)
    assert (found.fsync, found.round_trips_ms, found.database_bytes, found.timers) == (None, None, None, ())
    said = line(found)
    assert all(each in said for each in ("fsync unknown", "links unknown", "database size unknown"))
    assert "0 ms" not in said
    assert "machine unknown" in line(Conditions())


def test_of_several_stages_the_usual_and_what_differs() -> None:
    named = [
        (name, read(stage, machine=MACHINE, database_bytes=8_000_000 + stage.number * 1_000_000))
        for name, stage in STAGES.items()
    ]
    said = lines_of(named)
    assert "HAProxy 150 ms x 2 (default 2 s x 3)" in said[0]
    assert "databases 9 MB to 15 MB" in said[0]
    assert [each.partition(":")[0] for each in said[1:]] == ["but 6-multi-az", "but 7-multi-region"]
    assert "unhealthy 500 ms" in said[1]
    assert "eu-us 40 ms" in said[2]
    assert lines_of([*named, ("9", Conditions())])[0].count("database size unknown") == 1
    assert lines_of([("3", None)]) == lines_of([]) == []


def test_disks_of_their_own_are_a_condition() -> None:
    own, shared = (
        PlayedEngine().cluster(replace(STAGES["3-load-balancer"], own_disks=each)).conditions() for each in (True, False)
    )
    assert "fsync off, disks own, of 1 GiB (ext4 in files), HAProxy" in line(own)
    assert "disks" not in line(shared)
    assert from_document(json.loads(json.dumps(asdict(own)))) == own
    assert lines_of([("a", own), ("b", own), ("c", shared)])[0].count("disks own") == 1


# Through JSON and back


def test_it_survives_its_journey_through_json() -> None:
    for name, stage in STAGES.items():
        found = read(stage, machine=MACHINE, database_bytes=None if name.startswith("1") else 5)
        assert from_document(json.loads(json.dumps(asdict(found), allow_nan=False))) == found
    fast = Conditions(replace(MACHINE, loop_ms=38.5))
    assert from_document(asdict(fast)) == fast
    assert from_document(None) is None


def test_what_another_version_added_is_passed_over() -> None:
    raw = asdict(read(STAGES["5-redundant-load-balancers"], machine=MACHINE))
    for part in (raw, raw["machine"], *raw["timers"]):
        part["of_tomorrow"] = {"x": 1}
    assert from_document(json.loads(json.dumps(raw))) == read(STAGES["5-redundant-load-balancers"], machine=MACHINE)
    assert from_document({}) == Conditions()


@pytest.mark.parametrize(
    "raw",
    [
        [],
        "x",
        7,
        {"timers": [1]},
        {"timers": [{}]},
        {"machine": "big"},
        {"round_trips_ms": [1]},
        {"machine": {"cores": 2, "memory_mib": 1, "loop_ms": -1}},
        {"database_bytes": 1e999},
    ]
    + [{"round_trips_ms": {"a-b": each}} for each in ("NaN", -1, 1e999)],
)
def test_what_is_none_is_a_value_error(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_document(raw)


# In a run, and in its reports

STANDS_ON = read(STAGES["3-load-balancer"], machine=MACHINE, database_bytes=8_100_000)


def test_a_run_keeps_it_and_reports_show_it(tmp_path: Path) -> None:
    result, records = a_run(record((2.0, 3.0)), info=run_info(conditions=STANDS_ON))
    assert from_document(json.loads(json.dumps(as_document(result)))["conditions"]) == STANDS_ON
    kept = runs.RunJournal(result.info, tmp_path)
    assert rebuild(kept.folder)[0].info == result.info
    assert runs.read_conditions(kept.folder) == STANDS_ON
    for kind in ("html", "svg", "markdown", "summary"):
        said = " ".join(files.OF_RUN[kind](result, records).replace("\u00a0", " ").split())
        assert "fsync off" in said, kind
        assert "conditions: one machine (2 cores)" in said, kind


def test_a_run_from_before_it_was_noted(tmp_path: Path) -> None:
    kept = runs.RunJournal(run_info(), tmp_path)
    raw = json.loads((kept.folder / "run.json").read_text())
    del raw["conditions"]
    (kept.folder / "run.json").write_text(json.dumps(raw))
    result, records = rebuild(kept.folder)
    assert result.info.conditions is None
    assert as_document(result)["conditions"] is None
    assert "conditions:" not in svg_strip.run(result, records)
    assert runs.read_conditions(kept.folder) is runs.read_conditions(tmp_path / "nowhere") is None


def test_nonsense_in_a_run_is_one_line(tmp_path: Path) -> None:
    kept = runs.RunJournal(run_info(), tmp_path)
    raw = json.loads((kept.folder / "run.json").read_text())
    (kept.folder / "run.json").write_text(json.dumps({**raw, "conditions": {"timers": 3}}))
    with pytest.raises(UsageError, match="is no file of a run"):
        rebuild(kept.folder)


def test_a_comparison_says_what_its_stages_stand_on() -> None:
    one, many = a_matrix().rows
    found = a_matrix(rows=(one, type(many)(**{**vars(many), "conditions": STANDS_ON})))
    for kind in ("html", "svg", "markdown", "summary"):
        assert "fsync off" in files.OF_MATRIX[kind](found).replace("\u00a0", " "), kind
        assert "fsync" not in files.OF_MATRIX[kind](a_matrix()), kind


def test_a_hostile_text_stays_text() -> None:
    timer = Timer("haproxy", HOSTILE, "inter", 1.0, 2.0, "s")
    found = Conditions(MACHINE, timers=(timer,), round_trips_ms={HOSTILE: 1.0}, kill=HOSTILE)
    result, records = a_run(record(), info=run_info(conditions=found))
    assert "<script>alert" not in files.OF_RUN["html"](result, records)
    assert "<script>" not in files.OF_RUN["svg"](result, records)
    assert "<img" not in files.OF_RUN["markdown"](result, records)


# Asked of what is up


class Played(PlayedEngine):
    """An engine whose databases say these sizes."""

    def __init__(self, **said: ExecResult) -> None:
        super().__init__()
        self.said = said
        self.asked: list[str] = []

    def info(self) -> EngineInfo:
        return EngineInfo("28.0", "2.40.0", True, 7900, 2, "Debian 13", "6.1")

    def boxes(self, stage: int | None = None) -> list[Box]:
        return [box("web1"), *(box(name, ("db",)) for name in self.said)]

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30.0, user: str = "") -> ExecResult:
        self.asked.append(box.service)
        return self.said[box.service]


def test_the_size_is_that_of_the_first_database_that_answers() -> None:
    stage = STAGES["5-redundant-load-balancers"]
    played = Played(db1=ExecResult(1, "no such box"), db2=ExecResult(0, "8124439\n"), db3=ExecResult(0, "1"))
    assert database.size_bytes(played.cluster(stage)) == 8_124_439
    assert played.asked == ["db1", "db2"]
    for silent in (ExecResult(124, "no answer"), ExecResult(0, ""), ExecResult(0, "psql: warning"), ExecResult(1, "5")):
        unknown = Played(db1=silent)
        assert database.size_bytes(unknown.cluster(stage)) is None


def test_what_is_looked_at_is_the_machine_the_file_and_the_database() -> None:
    played = Played(db1=ExecResult(0, "8124439"))
    stage = STAGES["5-redundant-load-balancers"]
    found = played.cluster(stage).conditions()
    assert found.machine is not None
    assert 5 < (found.machine.loop_ms or 0) < 5000
    assert replace(found, machine=replace(found.machine, loop_ms=None)) == read(stage, machine=MACHINE, database_bytes=8_124_439)
