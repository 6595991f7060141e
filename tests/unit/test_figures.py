"""What documents say of measurements is what was measured."""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import matrix as matrices
from lab.analysis import matrix_file
from lab.analysis.cell import cell_of, not_applicable
from lab.analysis.run_document import as_document
from lab.errors import UsageError
from lab.model.history import RunInfo, TrialRecord
from lab.spec import experiments, stages
from lab.spec.stages import ROOT
from lab.store.runs import RunJournal
from scripts import figures, measured
from scripts.figure_text import text
from scripts.figures import Source, documents, filled, marks
from scripts.measured import Count, Fingerprint, Machine, Measured, Sample, fingerprint_of
from tests.unit.helpers import record, run_info
from tests.unit.reports import a_run, invalid

SOURCE = Source.read()
NOW = {"3": Fingerprint("f", {"web": "w", "balancer": "b"})}
SEEN = Measured(
    name="3-kill-web",
    stage="3-load-balancer",
    experiment="kill-web",
    commit="abc1234",
    date="2026-01-31",
    machine=Machine(2, 7.8, "28.0"),
    trials=6,
    trials_valid=5,
    seed=7,
    rate_per_s=100.0,
    stage_fingerprint={"3": NOW["3"]},
    figures={"writes_outage_s": Sample(1.35, 1.19, 1.42, 5), "writes_lost": Count(0, 1234)},
)
EMPTY = Measured("3-pause-web", "3-load-balancer", "pause-web")
TABLE = {
    "rows": [{"title": "`kill-web`", "of": "3-kill-web"}],
    "columns": [{"title": "no writes for", "figure": "writes_outage_s"}],
}
PLAYED = Source({"3-kill-web": SEEN, "3-pause-web": EMPTY}, {"stage-3": TABLE})


# The documents as they are


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_marked_figure_is_the_one_that_was_measured(path: Path) -> None:
    wrong = [
        f"line {mark.line}: {mark.what} says {mark.said!r}, not {mark.wanted!r}"
        for mark in marks(path, SOURCE)
        if mark.said != mark.wanted
    ]
    assert wrong == [], "run 'make figures'"


def test_marks_are_there_and_every_file_is_said_somewhere() -> None:
    uses = figures.used_in(documents(), SOURCE)
    assert len(uses) > 20
    assert [name for name, paths in uses.items() if not paths] == []


def test_every_table_can_be_made() -> None:
    for name in SOURCE.tables:
        assert SOURCE.table(name).count("\n| ") > 2, name


def test_the_page_names_every_file() -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    assert [name for name in SOURCE.figures if f"[{name}]({name}.json)" not in page] == [], "run 'make figures'"


def test_files_are_of_stages_and_experiments_that_are_there() -> None:
    for found in SOURCE.figures.values():
        of = [stages.parse(selector) for selector in found.stage_fingerprint]
        assert of
        if found.stage:
            assert [(stage.folder, stage.failover) for stage in of] == [(found.stage, found.failover)]
            assert not found.experiment or experiments.find(found.experiment)


def test_figures_that_are_older_than_their_stage_are_reported() -> None:
    older = {line.partition(":")[0] for line in figures.warnings(SOURCE)}
    if older:
        warnings.warn(
            f"measured with older files, or not yet ('make figures' says why): {', '.join(sorted(older))}", stacklevel=1
        )
    assert older == {name for name, found in SOURCE.figures.items() if not found.figures or measured.older_than(found)}


# Filling


def test_a_span_and_a_table_are_filled() -> None:
    before = (
        "It costs <!-- measured:3-kill-web.writes_outage_s -->old<!-- /measured -->, in the median "
        "<!-- measured:3-kill-web.writes_outage_s median --><!-- /measured -->; "
        "<!-- measured:3-kill-web.writes_lost -->?<!-- /measured --> lost.\n\n"
        "<!-- measured-table:stage-3 -->\nanything\n<!-- /measured-table -->\nend\n"
    )
    after = filled(before, PLAYED)
    plain = re.sub(r"<!--.*?-->\n?", "", after)
    assert plain.startswith("It costs 1.35 s (1.19 to 1.42, n 5), in the median 1.35 s; 0 of 1,234 lost.\n\n")
    assert "| `kill-web` | 1.35 s (1.19 to 1.42) |" in plain
    assert "Measured 2026-01-31; state of the lab: abc1234; processor cores: 2; requests a second: 100." in plain
    assert plain.endswith("\nend\n")
    assert filled(after, PLAYED) == after


def test_what_is_not_measured_is_no_figure() -> None:
    wanted = {
        "3-pause-web.outage_s": "not measured yet",
        "3-pause-web.trials": "not measured yet",
        "3-kill-web.time_to_failover_s": "-",
        "3-kill-web.trials": "6 (5 valid)",
    }
    for what, said in wanted.items():
        assert filled(f"<!-- measured:{what} -->7 s<!-- /measured -->", PLAYED).split("-->")[1] == f"{said}<!-- /measured "


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("\n<!-- measured:3-kill-lb.outage_s -->1 s<!-- /measured -->", r"line 2: there are no figures '3-kill-lb'"),
        ("<!-- measured:3-kill-web.writes_outage_s wide -->1 s<!-- /measured -->", r"line 1: there is no format 'wide'"),
        ("<!-- measured-table:stage-9 -->\n<!-- /measured-table -->", r"line 1: there is no table 'stage-9'"),
        ("<!-- measured:3-kill-web.writes_outage_s -->1 s", "not closed"),
        ("1 s<!-- /measured -->", "not closed"),
        ("<!-- measured:3-kill-web -->1 s<!-- /measured -->", "misspelt"),
        ("<!-- measured-tabel:stage-3 -->\n<!-- /measured-table -->", "misspelt"),
    ],
)
def test_a_mark_that_names_nothing_or_is_not_closed_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "x.md").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=why):
        marks(tmp_path / "x.md", PLAYED)


@given(st.text(st.characters(codec="utf-8", exclude_characters="<>\r"), max_size=60))
def test_text_without_marks_stays_as_it_is(content: str) -> None:
    assert filled(content, PLAYED) == content


# Words


@pytest.mark.parametrize(
    ("name", "figure", "format_", "said"),
    [
        ("outage_s", Sample(1.35, 1.19, 1.42, 5), "full", "1.35 s (1.19 to 1.42, n 5)"),
        ("outage_s", Sample(1.3512, 1.19, 1.42, 5), "range", "1.35 s (1.19 to 1.42)"),
        ("outage_s", Sample(2.6, 2.1, 4.4, 5), "full", "2.6 s (2.1 to 4.4, n 5)"),
        ("outage_s", Sample(0.0, 0.0, 0.0, 3), "full", "0 s (n 3)"),
        ("outage_s", Sample(0.0, 0.0, 0.0, 3), "range", "0 s"),
        ("outage_s", Sample(6.16, 6.13, 6.18, 2, True, True), "full", "≥ 6.16 s (6.13 to ≥ 6.18, n 2)"),
        ("outage_s", Sample(6.16, 6.13, 6.18, 2, True, True), "high", "≥ 6.18 s"),
        ("outage_s", Sample(22.83, 0.5, 123.4, 3), "range", "22.8 s (0.50 to 123)"),
        ("failed_reads", Sample(7.0, 1.0, 1250.0, 9), "range", "7 (1 to 1,250)"),
        ("failed_reads", Sample(7.5, 7.0, 8.0, 2), "median", "7.5"),
        ("p50_ms", Sample(46.3, 5.46, 55.0, 3), "range", "46 ms (5.5 to 55)"),
        ("good_ratio", Sample(0.99999, 0.9, 1.0, 3), "range", "99.99% (90.00% to 100%)"),
        ("writes_lost", Count(1, 42_487), "full", "1 of 42,487"),
    ],
)
def test_a_figure_in_words(name: str, figure: Sample | Count, format_: str, said: str) -> None:
    assert text(name, figure, format_) == said


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=1, max_size=9))
def test_a_sample_is_a_bound_exactly_where_what_was_cut_short_could_change_it(values: list[tuple[float, bool]]) -> None:
    found = Sample.of(values)
    assert found
    assert found.low <= found.median <= found.high
    longer = Sample.of([(value + 1000 * bound, False) for value, bound in values])
    assert longer
    assert found.median_is_bound == (longer.median != found.median)
    assert found.high_is_bound == any(bound for _, bound in values)


def test_nothing_is_no_sample() -> None:
    assert Sample.of([]) is None


# From a run


def kept(root: Path, *records: TrialRecord, **changes: Any) -> Path:
    """The folder of a run with these trials."""
    info: RunInfo = run_info(**changes)
    run = RunJournal(info, root)
    for each in records:
        journal = run.trial(each.number)
        journal.arrivals(each.arrivals)
        for event in each.events:
            journal.event(event)
        journal.close(each)
    return run.folder


def test_the_figures_of_a_run_are_those_of_its_valid_trials() -> None:
    run, _ = a_run(record((2.0, 3.0)), record((2.0, 2.5), number=2), invalid(3, (2.0, 6.0)))
    found = measured.figures_of(json.loads(json.dumps(as_document(run))))
    outage = found["outage_s"]
    assert isinstance(outage, Sample)
    assert (outage.n, round(outage.low, 2), round(outage.high, 2)) == (2, 0.52, 1.02)
    assert found["failed_reads"] == Sample.of(
        [(float(trial.reads.intended - trial.reads.good), False) for trial in run.trials[:2]]
    )
    assert found["writes_lost"] == Count(0, sum(trial.audit.acknowledged for trial in run.trials))


def test_an_unknown_loss_is_no_figure_and_a_loss_is_one() -> None:
    document = json.loads(json.dumps(as_document(a_run(record(), record(number=2))[0])))
    document["trials"][0]["writes_audit"]["complete"] = False
    assert "writes_lost" not in measured.figures_of(document)
    document["trials"][1]["writes_audit"]["lost"] = 2
    lost = measured.figures_of(document)["writes_lost"]
    assert isinstance(lost, Count)
    assert lost.count == 2


def test_an_outage_that_was_healed_is_a_bound_and_a_gap_is_read_where_there_is_one() -> None:
    document = json.loads(json.dumps(as_document(a_run(record((2.0, 3.0)))[0])))
    (trial,) = document["trials"]
    trial["outages"][0]["censored"] = True
    trial["writes"]["gap"] = {"start_s": 1.9, "end_s": 3.2, "length_s": 1.3, "censored": False}
    found = measured.figures_of(document)
    assert text("outage_s", found["outage_s"], "median").startswith("≥ ")
    assert found["writes_gap_s"] == Sample(1.3, 1.3, 1.3, 1)


def test_a_file_survives_its_journey(tmp_path: Path) -> None:
    for each in (SEEN, EMPTY, replace(SEEN, stage_fingerprint={"3": None}, machine=Machine())):
        assert measured.read(measured.write(each, tmp_path)) == each
    for name in ("", "../x", "a.b", "a b"):
        with pytest.raises(UsageError, match="is no name for figures"):
            measured.write(replace(SEEN, name=name), tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "figures": {}}', "7"])
def test_what_is_no_file_of_figures_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"x\.json holds no figures"):
        measured.read(tmp_path / "x.json")


# Which are older


def test_a_comment_makes_no_figure_old_and_a_setting_does(tmp_path: Path) -> None:
    stage = stages.find("3")
    content = stage.file.read_text(encoding="utf-8")
    (tmp_path / "compose.yaml").write_text("# a comment\n" + content, encoding="utf-8")
    assert fingerprint_of(replace(stage, file=tmp_path / "compose.yaml")) == fingerprint_of(stage)
    assert "inter 150ms" in content
    (tmp_path / "compose.yaml").write_text(content.replace("inter 150ms", "inter 250ms"), encoding="utf-8")
    assert fingerprint_of(replace(stage, file=tmp_path / "compose.yaml")).file != fingerprint_of(stage).file
    assert set(fingerprint_of(stage).images) == {"web", "postgres", "balancer", "internet", "watch"}


def test_what_has_changed_since_is_named() -> None:
    def now(**changes: str) -> Any:
        return lambda _: Fingerprint(changes.get("file", "f"), {"web": changes.get("web", "w"), "balancer": "b"})

    assert measured.older_than(SEEN, now()) == []
    assert measured.older_than(SEEN, now(web="other")) == ["stage 3: image web"]
    assert measured.older_than(SEEN, now(file="g", web="other")) == ["stage 3: its file, image web"]
    assert measured.older_than(replace(SEEN, stage_fingerprint={"3": None}), now()) == ["stage 3: unknown"]
    assert "measured with an older file" in figures.state(SEEN)
    assert "not measured yet" in figures.state(EMPTY)


def test_the_machine_of_a_comparison_says_how_fast_it_was_from_the_first_cell_to_the_last() -> None:
    def each(loop_ms: float | None) -> Machine:
        return Machine(2, 7.8, "28.0", loop_ms)

    assert measured.machine_of([each(60.2), each(41.0), each(97.4)]).text.endswith("a million additions in 41 to 97 ms")
    assert measured.machine_of([each(41.2), each(41.4)]).text.endswith("a million additions in 41 ms")
    # Nothing is said of a time that was not looked at.
    assert measured.machine_of([each(41.0), each(None)]).text == Machine(2, 7.8, "28.0").text


# The commands


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of figures of its own."""
    found = tmp_path / "measured"
    found.mkdir()
    monkeypatch.setattr(figures, "FOLDER", found)
    return found


def test_add_makes_the_file_of_a_run(tmp_path: Path, folder: Path) -> None:
    run = kept(tmp_path / "results", record((2.0, 3.0)))
    done = CliRunner().invoke(figures.cli, ["add", str(run), "--commit", "abc"], catch_exceptions=False)
    assert done.exit_code == 0
    found = measured.read(folder / "3-kill-web.json")
    assert (found.commit, found.stage, found.trials, found.seed, found.date) == ("abc", "3-load-balancer", 1, 7, "2026-01-31")
    assert found.stage_fingerprint == {"3": fingerprint_of(stages.find("3"))}
    assert text("outage_s", found.figures["outage_s"]) == "1.02 s (n 1)"
    assert measured.older_than(found) == []


def test_add_names_the_second_file_of_a_stage_and_refuses_what_is_not_the_labs(tmp_path: Path, folder: Path) -> None:
    run = kept(
        tmp_path / "a", record(), stage=4, stage_folder="4-database-replication", failover="automatic", experiment="kill-primary"
    )
    CliRunner().invoke(figures.cli, ["add", str(run)], catch_exceptions=False)
    assert set(measured.read(folder / "4-automatic-kill-primary.json").stage_fingerprint) == {"4:automatic"}
    foreign = kept(tmp_path / "b", record(), stage=0, stage_folder="own-x", url="http://x/")
    with pytest.raises(UsageError, match="foreign stack"):
        CliRunner().invoke(figures.cli, ["add", str(foreign), "--name", "x"], catch_exceptions=False)


def test_add_compare_reads_the_runs_of_the_cells(tmp_path: Path, folder: Path) -> None:
    compared = tmp_path / "compare"
    run = kept(compared, record((2.0, 3.0)))
    cell = replace(cell_of("kill-web", a_run(record((2.0, 3.0)))[0]), folder=str(run.relative_to(compared)))
    row = matrices.Row(3, "3-load-balancer", "none", 4, 400, (cell, not_applicable("kill-zone", "there are no zones")))
    columns = (matrices.Column("kill-web", "a"), matrices.Column("kill-zone", "b"))
    matrix_file.write(
        matrices.Matrix("Stages", "2026-01-31T12:00:00Z", 7, 100.0, 1.0, columns, (row,)), compared / matrix_file.FILE_NAME
    )
    CliRunner().invoke(figures.cli, ["add-compare", str(compared)], catch_exceptions=False)
    found = measured.read(folder / "compare.json")
    assert text("outage_s", found.figures["3/kill-web.outage_s"]) == "1.02 s (n 1)"
    source = Source({"compare": found}, {"all": {"of": "compare", "figure": "outage_s", "columns": ["kill-web", "kill-zone"]}})
    assert "| 3 | 1.02 s |  |" in source.table("all")
    assert "1.02 s" in filled("<!-- measured:compare.3/kill-web.outage_s median -->?<!-- /measured -->", source)


def test_the_state_of_a_checkout(tmp_path: Path) -> None:
    assert figures.commit_now(tmp_path) is None
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "a.py").write_text("1")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    clean = figures.commit_now(tmp_path)
    assert clean
    assert re.fullmatch(r"[0-9a-f]{7,}", clean)
    (tmp_path / "README.md").write_text("a document")
    assert figures.commit_now(tmp_path) == clean
    (tmp_path / "lab" / "a.py").write_text("2")
    assert figures.commit_now(tmp_path) == f"{clean}-dirty"


def test_an_error_is_one_line_and_its_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def fails() -> None:
        figures.comparison_runs(tmp_path)

    with pytest.raises(SystemExit) as ended:
        figures.main(fails)
    assert ended.value.code == 2
    assert "is no comparison" in capsys.readouterr().err.splitlines()[0]


def test_figures_of_zones_are_those_of_the_worst_one() -> None:
    """Trials that hit different boxes are no one sample."""
    quick, slow, slower = ((2.0, 2.25),), ((2.0, 4.0),), ((2.0, 4.5),)
    records = [record(*gone, number=number) for number, gone in enumerate((quick, slow, quick, slower), 1)]
    boxes = ("web1", "web2", "web1", "web2")
    run = a_run(*(replace(each, targets=(name,)) for each, name in zip(records, boxes, strict=True)))
    found = measured.of_worst_target(as_document(run[0]))
    assert [trial["targets"] for trial in found["trials"]] == [["web2"], ["web2"]]
    outage = measured.figures_of(found)["outage_s"]
    assert isinstance(outage, measured.Sample)
    assert (round(outage.low, 2), round(outage.high, 2), outage.n) == (2.02, 2.52, 2)
    assert (found["summary"]["trials"], found["summary"]["trials_valid"]) == (2, 2)
