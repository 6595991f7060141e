"""What documents say of searches for single points of failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.analysis import matrix_file, spof
from lab.analysis.matrix import Matrix
from lab.analysis.spof import Fate
from lab.errors import UsageError
from lab.model.history import Conditions, Machine
from lab.spec import stages
from scripts import figures, measured, sweeps
from scripts.figures import Source
from scripts.measured import Measured
from tests.unit import matrices
from tests.unit.reports import a_matrix
from tests.unit.test_parts import FOUND, STAGE, TOLERANCE_S, swept

LISTED = [{"title": "5", "of": "5-spof"}, {"title": "6", "of": "6-spof"}]
TABLES = {"survived": {"sweeps": LISTED}, "survived-6": {"sweep": "6-spof"}}


def kept(matrix: Matrix = FOUND) -> Measured:
    return sweeps.of_sweep(None, matrix, "abc1234")


def source(*found: Measured) -> Source:
    return Source({each.name: each for each in found}, TABLES)


def lines(table: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_a_file_says_what_was_searched_and_survives_its_journey(tmp_path: Path) -> None:
    machine = Machine(2, 24064, "28.0", "6.1", "Debian")
    row = replace(FOUND.rows[0], conditions=Conditions(machine=machine))
    found = kept(replace(FOUND, rows=(row,)))
    assert (found.name, found.stage, found.experiment, found.date, found.commit) == (
        "6-spof",
        "6-multi-az",
        "",
        "2026-01-31",
        "abc1234",
    )
    assert (found.machine.cores, found.machine.memory_gib, found.trials_valid) == (2, 23.5, len(FOUND.columns) - 1)
    assert measured.read(measured.write(found, tmp_path)) == found
    assert measured.older_than(found) == []
    assert kept(swept(stages.parse("4:automatic"))).name == "4-automatic-spof"


def test_every_part_and_fault_has_the_fate_that_the_search_gave_it() -> None:
    found = sweeps.tried(kept())
    assert [each.fate for each in found] == [spof.fate(cell, TOLERANCE_S) for cell in FOUND.rows[0].cells]
    by_name = {(each.part, each.fault): each for each in found}
    assert (by_name["db1", "kill"].lost, by_name["web1", "isolate"].not_notified) == (3, True)
    assert by_name["lb2", "isolate-edge"].alert_unknown
    assert by_name["zone:a and zone:b", "partition"].fate is Fate.SURVIVED
    assert by_name["monitor", "kill"].outage is None


@pytest.mark.parametrize(
    ("seconds", "bounds"),
    [((1.0,), (True,)), ((1.0, 9.0, 9.0), (False, True, False)), ((1.0, 2.0), (False, True)), ((6.0, 4.0), (False, False))],
)
def test_fates_of_several_trials_are_kept(seconds: tuple[float, ...], bounds: tuple[bool, ...]) -> None:
    cell = matrices.cell("kill-web1", *seconds, downtimes_censored=bounds)
    found = {(each.part, each.fault): each for each in sweeps.tried(kept(swept(STAGE, {"kill-web1": cell})))}
    assert found["web1", "kill"].fate is spof.fate(cell, TOLERANCE_S)


def test_what_each_stage_survives_has_a_column_for_each_that_was_measured() -> None:
    text = source(kept()).table("survived")
    rows = lines(text)
    boxes = sum(spec.is_system for spec in STAGE.services)
    assert rows["fault"] == ["stage 6"]
    killed = f"{boxes + 1} of {boxes + 3}; outage: lb1; unknown: monitor; lost writes: db1 (3)"
    assert rows["`kill`"] == [killed]
    assert "not notified: web1" in rows["`isolate`"][0]
    assert "alert unknown: lb2" in rows["`isolate-edge`"][0]
    assert rows["`partition`"] == ["3 of 3"]
    assert "Measured 2026-01-31; state of the lab: abc1234" in text
    assert "Not measured yet: stage 5 (" in text


def test_what_no_stage_was_measured_for_is_said() -> None:
    assert "| not measured yet |" in source().table("survived")
    assert "Not measured yet: stages 5, 6 (" in source().table("survived")
    assert lines(source().table("survived-6"))["not measured yet"] == [""] * 6


def test_what_a_stage_survives_in_full() -> None:
    rows = lines(source(kept()).table("survived-6"))
    assert rows["`kill`"][1:] == ["0.9 s", "lb1 (≥ 6.4 s)", "db1 (3)", "", "unknown: monitor"]
    assert rows["`isolate`"][4] == "web1"
    assert rows["`isolate-edge`"][5] == "alert unknown: lb2"


def test_many_parts_are_counted() -> None:
    down = {each.name: matrices.cell(each.name, 6.4) for each in FOUND.columns if each.fault == "kill"}
    assert f"{len(down) - 4} more" in lines(source(kept(swept(STAGE, down))).table("survived-6"))["`kill`"][2]


def test_a_file_is_used_where_its_table_stands(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("<!-- measured-table:survived -->\n<!-- /measured-table -->\n", encoding="utf-8")
    found = source(kept())
    assert figures.used_in([page], found) == {"6-spof": [page]}
    page.write_text(figures.filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    assert [mark.said == mark.wanted for mark in figures.marks(page, found)] == [True]
    assert "`lab spof` on 6-multi-az" in figures.page(found, {})


def test_add_spof_keeps_a_search_and_refuses_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    for name, matrix in (("search", FOUND), ("comparison", a_matrix())):
        (tmp_path / name).mkdir()
        matrix_file.write(matrix, tmp_path / name / matrix_file.FILE_NAME)
    done = CliRunner().invoke(figures.cli, ["add-spof", str(tmp_path / "search"), "--commit", "abc1234"], catch_exceptions=False)
    assert done.exit_code == 0
    assert measured.read(tmp_path / "6-spof.json") == kept()
    for name in ("comparison", "nothing"):
        with pytest.raises(UsageError, match="is no search for single points of failure"):
            CliRunner().invoke(figures.cli, ["add-spof", str(tmp_path / name)], catch_exceptions=False)
