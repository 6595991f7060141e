"""A search for single points of failure by part, and what every report makes of it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.analysis import conclusion, design, variants
from lab.analysis.conclusion import Conclusion, Sought
from lab.analysis.design import CellPlan, CellTerms
from lab.analysis.matrix import Cell, Column, Matrix
from lab.analysis.matrix_file import from_document
from lab.analysis.parts import PartKind, by_part, headings, kind_of
from lab.analysis.spof import Fate
from lab.errors import UsageError
from lab.model.fault import FaultKind
from lab.model.measures import Verdict
from lab.model.result import Notified
from lab.model.topology import Stage
from lab.report import (
    comparison_document,
    csv_table,
    gate_words,
    html_page,
    junit,
    markdown,
    spof_terminal,
    svg_strip,
    sweep_words,
)
from lab.spec import stages
from tests.unit import matrices
from tests.unit.reports import HOSTILE, a_matrix
from tests.unit.test_report_files import outcomes, tree

TOLERANCE_S = 5.0
FAULTS = (FaultKind.KILL, FaultKind.ISOLATE, FaultKind.PARTITION)
KNOWN: dict[str, Any] = {"trials_notified": 1}
MISSED: dict[str, Any] = {"trials_not_notified": 1}


def plans(stage: Stage, faults: tuple[FaultKind, ...] = FAULTS) -> tuple[CellPlan, ...]:
    return design.sweep(stage, faults, CellTerms(7.0, TOLERANCE_S), 1, False, None)


def swept(stage: Stage, changes: dict[str, Cell] | None = None, faults: tuple[FaultKind, ...] = FAULTS) -> Matrix:
    """A search in which every fault was survived and reported, but for some cells (by column)."""
    every = plans(stage, faults)
    cells = [(changes or {}).get(each.column) or matrices.cell(each.column, 0.4, **KNOWN) for each in every]
    columns = tuple(Column(each.column, each.title, each.members, each.way) for each in every)
    row = matrices.row(stage.name, *cells, title=stage.title)
    return matrices.matrix(row, columns=columns, tolerance_s=TOLERANCE_S)


STAGE = stages.find("6")
CHANGES = {
    "kill-lb1": matrices.cell("kill-lb1", 6.4, censored=True, verdict=Verdict.REFUTED, **KNOWN),
    "kill-db1": matrices.cell("kill-db1", 0.9, writes_lost=3, verdict=Verdict.REFUTED, **KNOWN),
    "isolate-web1": matrices.cell("isolate-web1", 0.2, **MISSED),
    "isolate-edge-lb2": matrices.cell("isolate-edge-lb2", 0.0),
    "kill-web3": matrices.cell("kill-web3", 0.0, trials_no_alert_needed=1),
    "kill-monitor": matrices.cell("kill-monitor", why=("the fault was not verified",)),
}
FOUND = swept(STAGE, CHANGES)


def concluded(stage: Stage = STAGE, matrix: Matrix = FOUND, alerts_required: bool = False) -> Conclusion:
    return conclusion.of_spof(matrix, stage, plans(stage), Sought(TOLERANCE_S, alerts_required), {})


def printed(show: Any, *arguments: Any, width: int = 120) -> str:
    out = StringIO()
    show(Console(file=out, width=width), *arguments)
    return out.getvalue()


# The table


def test_a_row_is_a_part_and_a_column_a_fault() -> None:
    table = by_part(FOUND)
    boxes = [spec.name for spec in STAGE.services if spec.is_system]
    places, lines = ["zone:a", "zone:b", "zone:c"], ["zone:a and zone:b", "zone:a and zone:c", "zone:b and zone:c"]
    assert [row.name for row in table.rows] == [*boxes, *places, *lines]
    assert [column.name for column in table.columns][:2] == ["kill", "isolate"]
    assert table.columns[-1].name == "partition"
    assert "isolate edge" in [column.name for column in table.columns]
    over = headings(FOUND)
    assert [(row.name, text) for row, text in zip(table.rows, over, strict=True) if text] == [
        (boxes[0], "boxes"),
        ("zone:a", "zones"),
        ("zone:a and zone:b", "lines between two places"),
    ]
    killed = table.rows[boxes.index("lb1")].cell("kill")
    assert killed
    assert killed.downtime_median_s == 6.4
    assert table.rows[-1].cell("kill") is None


@pytest.mark.parametrize("name", ["1", "4:automatic", "5", "7"])
def test_every_cell_is_in_the_table_once(name: str) -> None:
    whole = swept(stages.parse(name), faults=variants.EVERY)
    table = by_part(whole)
    assert sum(len(row.cells) for row in table.rows) == len(whole.columns)
    assert len(table.rows) == len({column.members for column in whole.columns})
    assert by_part(table) == table
    assert len(headings(whole)) == len(table.rows)


def test_a_comparison_stays_as_it_is() -> None:
    found = a_matrix()
    assert by_part(found) is found
    assert headings(found) == ["", ""]
    assert sweep_words.headline(found).startswith("1-single-server survives 0 of 1 fault")


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (("web1",), PartKind.BOX),
        (("zone:a",), PartKind.ZONE),
        (("region:eu",), PartKind.REGION),
        (("zone:a", "zone:b"), PartKind.LINE),
        (("web1", "db1"), PartKind.PAIR),
    ],
)
def test_kinds_of_parts(members: tuple[str, ...], kind: PartKind) -> None:
    assert kind_of(members) is kind


def test_the_column_of_a_network_is_named_by_it() -> None:
    ways = {each.column: each.way for each in plans(stages.find("3"))}
    assert (ways["kill-web1"], ways["isolate-lb"], ways["isolate-edge-lb"]) == ("kill", "isolate", "isolate edge")
    assert {each.way for each in design.comparison(STAGE, design.fault_specs("kill"), CellTerms(7.0, 5.0))} == {""}


# The file


def test_a_search_survives_its_journey_and_one_of_before_says_nothing_of_alerts() -> None:
    raw = json.loads(json.dumps(FOUND.to_document()))
    assert from_document(raw) == FOUND
    for key in ("tolerance_s", "alerts_required"):
        del raw[key]
    for column in raw["columns"]:
        del column["members"], column["fault"]
    for cell in raw["rows"][0]["cells"]:
        for key in ("trials_notified", "trials_not_notified", "trials_no_alert_needed"):
            del cell[key]
    before = from_document(raw)
    assert not before.is_sweep
    assert {cell.notified for cell in before.rows[0].cells} == {Notified.UNKNOWN}
    html_page.matrix_page(before)


def test_a_file_that_contradicts_itself_is_refused() -> None:
    raw = json.loads(json.dumps(FOUND.to_document()))
    raw["rows"][0]["cells"][0]["trials_not_notified"] = 7
    with pytest.raises(UsageError, match="says of more trials than are valid whether they were notified"):
        from_document(raw)
    raw = json.loads(json.dumps(FOUND.to_document()))
    raw["columns"][1] |= {"members": raw["columns"][0]["members"], "fault": raw["columns"][0]["fault"]}
    with pytest.raises(UsageError, match="two columns are of one part that fails in one way"):
        from_document(raw)


# The verdict


def test_not_notified_is_a_finding_and_refutes_only_where_alerts_are_required() -> None:
    changes = {"isolate-web1": CHANGES["isolate-web1"]}
    found, strict = (concluded(matrix=swept(STAGE, changes), alerts_required=required) for required in (False, True))
    assert (found.verdict, strict.verdict) == (Verdict.HELD, Verdict.REFUTED)
    assert (gate_words.why(found), gate_words.why(strict)) == (
        [],
        ["isolate web1: it did harm, and no page and no ticket reported it"],
    )
    assert strict.matrix.alerts_required
    for each in (found, strict):
        document = comparison_document.as_document(each)["spof"]
        assert document["not_notified"] == ["isolate web1"]
        assert {result["notified"] for result in document["results"]} == {"notified", "not notified"}
    assert comparison_document.as_document(strict)["spof"]["alerts_required"] is True


def test_an_alert_that_is_not_known_leaves_it_open_where_alerts_are_required() -> None:
    changes = {"isolate-edge-lb2": CHANGES["isolate-edge-lb2"]}
    found, strict = (concluded(matrix=swept(STAGE, changes), alerts_required=required) for required in (False, True))
    assert (found.verdict, strict.verdict) == (Verdict.HELD, Verdict.INCONCLUSIVE)
    assert gate_words.why(strict) == ["isolate edge lb2: it is not known whether an alert reported it"]


NOTICES = st.lists(st.sampled_from(list(Notified)), min_size=len(plans(stages.find("3"))), max_size=len(plans(stages.find("3"))))
SAYING: dict[Notified, dict[str, Any]] = {
    Notified.YES: KNOWN,
    Notified.NO: MISSED,
    Notified.NOT_NEEDED: {"trials_no_alert_needed": 1},
    Notified.UNKNOWN: {},
}


@given(NOTICES)
def test_requiring_alerts_holds_only_where_every_fault_was_reported_or_harmless(notices: list[Notified]) -> None:
    stage = stages.find("3")
    every = plans(stage)
    cells = {
        each.column: matrices.cell(
            each.column,
            6.4 if set(each.members) & set(stage.spof) and each.way == "kill" else 0.4,
            **SAYING[notice],
        )
        for each, notice in zip(every, notices, strict=True)
    }
    matrix = swept(stage, cells)
    loose, strict = (concluded(stage, matrix, required) for required in (False, True))
    assert loose.verdict is Verdict.HELD
    expected = (
        Verdict.REFUTED if Notified.NO in notices else Verdict.INCONCLUSIVE if Notified.UNKNOWN in notices else Verdict.HELD
    )
    assert strict.verdict is expected
    assert strict.sweep
    assert len(strict.sweep.not_notified) == notices.count(Notified.NO)


# In words


def test_the_headline_counts_what_was_survived_and_what_was_not_reported() -> None:
    text = sweep_words.headline(FOUND)
    assert text.startswith(
        f"{STAGE.title} survives {len(FOUND.columns) - 2} of {len(FOUND.columns)} faults; outages: kill lb1; 1 unknown; "
    )
    assert (
        "1 reported by no page and no ticket; of 2 it is not known whether an alert reported them; 3 acknowledged writes lost"
        in text
    )


def test_many_outages_are_counted() -> None:
    down = {each.column: matrices.cell(each.column, 6.4, **KNOWN) for each in plans(STAGE) if each.way == "kill"}
    assert f"{len(down) - 5} more" in sweep_words.headline(swept(STAGE, down))


@pytest.mark.parametrize(
    ("changes", "said", "whole"),
    [
        ({"trials_notified": 3}, "", "reported by a page or a ticket"),
        ({"trials_no_alert_needed": 3}, "", "it did no harm, so no alert was needed"),
        ({"trials_not_notified": 3}, "not notified", "it did harm, and no page and no ticket reported it (3 of 3 trials)"),
        (
            {"trials_not_notified": 1, "trials_notified": 2},
            "not notified in 1 of 3",
            "it did harm, and no page and no ticket reported it (1 of 3 trials)",
        ),
        ({"trials_notified": 2}, "alert unknown", "it is not known whether an alert reported it"),
    ],
)
def test_what_a_cell_says_of_alerts(changes: dict[str, Any], said: str, whole: str) -> None:
    cell = matrices.cell("kill", 0.1, 0.2, 0.3, **changes)
    assert (sweep_words.notice(cell), sweep_words.notice_sentence(cell)) == (said, whole)


# Reports


def test_a_page_has_the_parts_and_what_no_alert_reported() -> None:
    page = html_page.matrix_page(FOUND)
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split()).replace("\u00a0", " ")
    for said in (
        "A search for single points of failure",
        "zone:a and zone:b",
        "isolate edge",
        "3 lost",
        "≥ 6.40 s ✗",
        "not notified",
    ):
        assert said in text
    assert "web1, isolate: it did harm, and no page and no ticket reported it" in text
    assert page.count('class="notice"') == 3
    assert page.count('class="over"') == 3
    assert "costs" not in text
    # Of one trial each, a dot says no more than the cell.
    assert "Every trial" not in text


def test_a_page_of_several_trials_has_dots() -> None:
    repeated = swept(STAGE, {"kill-web1": matrices.cell("kill-web1", 0.1, 0.4, trials_notified=2)})
    assert "Every trial" in html_page.matrix_page(repeated)


def test_junit_has_a_suite_a_part_and_properties_of_each_case() -> None:
    root = tree(junit.comparison(FOUND))
    assert [suite.attrib["name"] for suite in root][-1] == f"{STAGE.name}.zone:b and zone:c"
    cases = {(case.attrib["classname"].rpartition(".")[2], case.attrib["name"]): case for case in root.iter("testcase")}
    assert len(cases) == len(FOUND.columns)

    def properties(part: str, fault: str) -> dict[str, str]:
        return {each.attrib["name"]: each.attrib["value"] for each in cases[part, fault].iter("property")}

    assert properties("lb1", "kill") == {
        "fate": "failed",
        "outage_s": "6.400",
        "outage_is_lower_bound": "true",
        "writes_lost": "0",
        "notified": "notified",
    }
    assert properties("web1", "isolate")["notified"] == "not notified"
    assert (properties("monitor", "kill")["outage_s"], properties("monitor", "kill")["fate"]) == ("unknown", "unknown")
    assert properties("db1", "kill")["writes_lost"] == "3"
    assert outcomes(root).count("failure") == 2
    assert outcomes(root).count("error") == 1


def test_junit_fails_for_what_no_alert_reported_where_alerts_are_required() -> None:
    root = tree(junit.comparison(replace(FOUND, alerts_required=True)))
    failed = {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"])
        for case in root.iter("testcase")
        if case.find("failure") is not None
    }
    errors = {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"])
        for case in root.iter("testcase")
        if case.find("error") is not None
    }
    assert ("web1", "isolate") in failed
    assert errors == {("monitor", "kill"), ("lb2", "isolate edge")}
    messages = [error.attrib["message"] for error in root.iter("error")]
    assert "it is not known whether an alert reported it" in messages


def test_a_comparison_has_properties_and_no_fate() -> None:
    root = tree(junit.comparison(a_matrix()))
    assert {each.attrib["name"] for case in root.iter("testcase") for each in case.iter("property")} == {
        "outage_s",
        "outage_is_lower_bound",
        "writes_lost",
        "notified",
    }


def test_markdown_csv_and_strip_have_the_parts() -> None:
    text = markdown.comparison(FOUND)
    assert "| part | kill | isolate |" in text
    assert "0.20 s ✓, not notified" in text
    rows = list(csv.DictReader(StringIO(csv_table.comparison(FOUND))))
    line = next(row for row in rows if row["column"] == "isolate-edge-lb2")
    assert (line["part"], line["fault"], line["notified"], line["trials_notified"]) == ("lb2", "isolate edge", "unknown", "0")
    assert ">lb2<" in svg_strip.comparison(FOUND)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_matrix_fits_the_terminal_and_no_figure_is_cut(width: int) -> None:
    text = printed(spof_terminal.show_sweep, FOUND, width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for said in ("OUTAGE", "zone:c", "boxes", "partition", "lost"):
        assert said in words


def test_of_several_faults_the_terminal_shows_one_matrix_and_what_needs_a_word() -> None:
    text = printed(spof_terminal.show_spof, concluded(), TOLERANCE_S, width=200)
    assert text.count("fault target") == 1
    table = text.partition("fault target")[2].splitlines()
    named = [line.split()[0] for line in table[1:] if line and not line.startswith(" ")]
    assert {"lb1", "db1", "monitor", "web1"} <= set(named)
    assert "web2" not in named
    assert "faults: 1 reported by no page and no ticket" in text
    assert "seconds alone: survived" in text


def test_of_one_fault_the_terminal_shows_a_line_a_part() -> None:
    killed = swept(STAGE, CHANGES, (FaultKind.KILL,))
    found = conclusion.of_spof(killed, STAGE, plans(STAGE, (FaultKind.KILL,)), Sought(TOLERANCE_S), {})
    text = printed(spof_terminal.show_spof, found, TOLERANCE_S, width=200)
    assert "seconds alone" not in text
    assert "web3" in text
    assert "not needed" in text


def test_hostile_texts_stay_texts() -> None:
    column = Column("x", HOSTILE, (HOSTILE,), HOSTILE)
    cell = matrices.cell("x", 0.1, why=(HOSTILE,), **MISSED)
    found = matrices.matrix(matrices.row("3-load-balancer", cell), title=HOSTILE, columns=(column,), tolerance_s=5.0)
    assert found.is_sweep
    assert "<img" not in html_page.matrix_page(found)
    assert "<img" not in junit.comparison(found)
    assert "<img" not in svg_strip.comparison(found)
    tree(junit.comparison(found))


def test_fates_are_those_of_the_search() -> None:
    fates = [sweep_words.fate_of(FOUND, cell) for cell in FOUND.rows[0].cells]
    assert (fates.count(Fate.FAILED), fates.count(Fate.UNKNOWN)) == (1, 1)
    assert sweep_words.fate_of(a_matrix(), a_matrix().rows[0].cells[0]) is Fate.UNKNOWN
