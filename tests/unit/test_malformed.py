"""Whatever stands in a file, the lab ends with one line that names it, and with the right exit code."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.analysis import conclusion, matrix_file
from lab.analysis.run_document import rebuild
from lab.campaign.store import CampaignStore
from lab.cli.main import main
from lab.errors import EXIT_HEAL_FAILED, EXIT_HELD, EXIT_PREFLIGHT, EXIT_USAGE, LabError, UsageError, is_harmless
from lab.spec import experiments, own_stack, stages
from lab.spec.stages import ROOT
from lab.store import runs, started, undo_log
from lab.store.undo_log import UndoLog
from tests.unit.helpers import use_engine
from tests.unit.played import PlayedEngine

CORPUS = ROOT / "tests" / "malformed"
SEED = CORPUS / "seed"
LINE_MAX_CHARACTERS = 400
NAME_TOO_LONG = "a" * 5000


@dataclass
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def notes(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("note: ")]


Lab = Callable[..., Done]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Lab:
    """Runs a command in this process; state and results are kept elsewhere, and no Docker Engine answers."""
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path / "state")
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path / "results")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, *capsys.readouterr())

    return run


def check_refused(done: Done, code: int, said: str = "") -> None:
    """One line of what is wrong, at most one hint, and nothing that a terminal would obey."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    hints = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert (len(errors), len(errors) + len(hints) + len(done.notes)) == (1, len(done.err.splitlines())), done.err
    assert len(hints) <= 1
    assert len(errors[0]) <= LINE_MAX_CHARACTERS
    assert is_harmless(done.err.replace("\n", ""))
    assert said in errors[0]


def right_of(file: Path) -> tuple[int, str]:
    """The exit code, and what is said, from the first line of a file."""
    found = re.match(r"# exit (\d+): ?(.*)\n", file.read_text(encoding="utf-8"))
    assert found, file
    return int(found[1]), found[2]


def all_in(folder: str) -> list[Any]:
    return [pytest.param(file, id=file.stem) for file in sorted((CORPUS / folder).glob("*.yaml"))]


# Files that people write


@pytest.mark.parametrize("file", all_in("experiments"))
def test_experiment(lab: Lab, file: Path) -> None:
    code, said = right_of(file)
    done = lab("run", "3", str(file), "--dry-run")
    if code == EXIT_HELD:
        assert (done.code, done.err) == (EXIT_HELD, "")
        return
    check_refused(done, code, said)
    assert file.name in done.err or "on stage 3" in done.err


@pytest.mark.parametrize(("folder", "option"), [("budgets", "--budget"), ("assumptions", "--assumptions")])
def test_budget_and_assumptions(lab: Lab, folder: str, option: str) -> None:
    files = sorted((CORPUS / folder).glob("*.yaml"))
    assert len(files) >= 5
    for file in files:
        code, said = right_of(file)
        done = lab("compare", "3", option, str(file), "--dry-run")
        if code == EXIT_HELD:
            assert (done.code, done.err) == (EXIT_HELD, "")
        else:
            check_refused(done, code, said)
            assert f"{file.name}:" in done.err


def refusal(read: Callable[[], object]) -> LabError | None:
    """What a reader refuses with; None where it reads."""
    try:
        read()
    except LabError as error:
        return error
    return None


def check_one_line(read: Callable[[], object]) -> str:
    """It is read, or refused in one line, which is returned."""
    error = refusal(read)
    if error is None:
        return ""
    assert isinstance(error, UsageError)
    assert len(f"error: {error.message}") < LINE_MAX_CHARACTERS
    assert is_harmless(error.message + error.hint)
    return error.message


@pytest.mark.parametrize("file", all_in("stages"))
def test_stage_file(file: Path) -> None:
    said, message = right_of(file)[1], check_one_line(lambda: stages.read(file))
    assert said in message
    assert bool(said) == bool(message)


@pytest.mark.parametrize("file", all_in("own"))
def test_settings_of_an_own_stack(file: Path) -> None:
    project = own_stack.Project("shop", file, ("app", "lb"))
    said, message = right_of(file)[1], check_one_line(lambda: own_stack.read_settings(file, project))
    assert said in message
    assert bool(said) == bool(message)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"title: \xff\n", "not UTF-8"),
        (b"title: a\x00b\n", "this is not YAML"),
        (b"[" * 100_000, "nested more than"),
        (b"- " * 100_000, "nested more than"),
        (b"a: 1\n" * 200_000, "more than 400000 bytes"),
        (b"fault: " + b"k" * 200_000, "not 'kkk"),
        (b"? " * 5000, "nested more than"),
        (b"a: " + b"9" * 5000, "'a' is not known"),
        (b'title: "' + rb"\e[2J" * 3000 + b'"\n', "title must be a line of text"),
        (b"\xef\xbb\xbftitle: a\n", "'question' is missing"),
    ],
)
def test_experiment_of_any_bytes(lab: Lab, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(content)
    check_refused(lab("run", "3", str(file), "--dry-run"), EXIT_USAGE, said if "missing" not in said else "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", NAME_TOO_LONG),
        ("report", "\udcff"),
        ("run", "3", f"{NAME_TOO_LONG}.yaml", "--dry-run"),
        ("run", "3", "\udcff\x1b[2J.yaml", "--dry-run"),
        ("run", "3", "\x1b[2J\nerror: all is well", "--dry-run"),
        ("run", "\x1b[2J", "kill-web"),
        ("run", "3", "kill-web", "--duration", "\x1b[2J"),
        ("run", "--compose", NAME_TOO_LONG, "--url", "http://a/"),
        ("compare", "3", "--baseline", NAME_TOO_LONG, "--dry-run"),
        ("compare", "3", "--budget", NAME_TOO_LONG, "--dry-run"),
        ("compare", "3", "--assumptions", "/dev/zero", "--dry-run"),
        ("monkey", "5", "--print-schedule", "--schedule", NAME_TOO_LONG),
    ],
)
def test_name_that_no_file_has(lab: Lab, arguments: tuple[str, ...]) -> None:
    check_refused(lab(*arguments), EXIT_USAGE)


# Runs that were kept


def changed_run(tmp_path: Path, **changes: Any) -> Path:
    """The seed's run with other entries in run.json."""
    shutil.copytree(SEED / "run", tmp_path / "run")
    raw = json.loads((SEED / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**raw, **changes}))
    return tmp_path / "run"


PLAN = {"rate_per_s": 100.0, "deadline_s": 1.0, "write_share": 0.3, "new_connection_share": 0.1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plan": {**PLAN, "rate_per_s": "fast"}}, "plan.rate_per_s should be a valid number, not 'fast'"),
        ({"plan": {**PLAN, "rate_per_s": 0}}, "no load has 0 requests"),
        ({"plan": {**PLAN, "deadline_s": None}}, "plan.deadline_s should be a valid number, not 'null'"),
        ({"plan": {**PLAN, "deadline_s": 1e9}}, "no load has"),
        ({"plan": {**PLAN, "write_share": 2}}, "a share is from 0 to 1"),
        ({"plan": []}, "plan should be an object"),
        ({"expectations": [{"measure": "carbon_g", "at_most": 1, "at_least": None}]}, "'carbon_g' is nothing that"),
        ({"expectations": [{"measure": "\x1b[2J", "at_most": 1, "at_least": None}]}, "is nothing that"),
        ({"expectations": [{"measure": "writes_lost", "at_most": "1", "at_least": None}]}, "at_most should be a valid number"),
        ({"expectations": {}}, "expectations should be"),
        ({"seed": 10**300}, "is no number that the lab writes"),
        ({"seed": 1.5}, "seed should be a valid integer"),
        ({"title": None}, "title should be a valid string"),
        ({"overload": {"cpus": "few"}}, "overload.cpus should be"),
        ({"has_fault": "yes"}, "has_fault should be a valid boolean"),
    ],
)
def test_run_with_a_wrong_entry(lab: Lab, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    check_refused(lab("report", str(changed_run(tmp_path, **changes))), EXIT_USAGE, said)


def test_fields_of_another_version_are_passed_over(lab: Lab, tmp_path: Path) -> None:
    raw = json.loads((SEED / "run" / "run.json").read_text())
    expectations = [{**each, "since": 3} for each in raw["expectations"]]
    done = lab("report", str(changed_run(tmp_path, moon="full", plan={**PLAN, "shape": "sine"}, expectations=expectations)))
    assert (done.code, done.err) == (EXIT_HELD, "")


def test_half_a_character_is_shown_as_a_replacement(lab: Lab, tmp_path: Path) -> None:
    done = lab("report", str(changed_run(tmp_path, question="Is \ud83d here, \U0001f600 and \\ud83d?")))
    assert (done.code, done.err) == (EXIT_HELD, "")
    assert "Is \N{REPLACEMENT CHARACTER} here, \U0001f600 and \\ud83d?" in done.out


@pytest.mark.parametrize(
    "content",
    [
        "",
        "7",
        "null",
        '"run"',
        "[]",
        '{"schema_version": 2}',
        "[" * 100_000,
        '{"seed": NaN}',
        "\ufeff{}",
        '{"seed": 1',
        "9" * 5000,
        "\x00" * 100,
    ],
)
def test_run_whose_frame_is_none(lab: Lab, tmp_path: Path, content: str) -> None:
    folder = changed_run(tmp_path)
    (folder / "run.json").write_text(content)
    check_refused(lab("report", str(folder)), EXIT_USAGE, "run.json is no file of a run")


ARRIVAL = (
    '{"number":0,"kind":"read","at_s":%s,"lag_s":0.0,"done_s":%s,"error_class":"ok","effect":"ok","status":200,'
    '"by":"web1","via":"lb","key":"","new_connection":false}\n'
)


def packed(*lines: str) -> bytes:
    return gzip.compress("".join(lines).encode(), mtime=0)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("1e9", "1e9"))),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("-1e9", "0"))),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("NaN", "0"))),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("1e999", "0"))),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("true", "0"))),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ('"1"', "0"))),
        ("arrivals.jsonl.gz", packed("[" * 5000)),
        ("arrivals.jsonl.gz", packed(" " * 20_000_000)),
        ("arrivals.jsonl.gz", packed("{}\n")),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("1", "1"))[:-9]),
        ("arrivals.jsonl.gz", b"no gzip at all"),
        ("arrivals.jsonl.gz", b""),
        ("arrivals.jsonl.gz", packed(ARRIVAL % ("1", "1"))[:12] + b"\xff" * 60),
        ("events.jsonl", b'{"at_s": 1e9, "name": "inject"}\n'),
        ("events.jsonl", b'{"at_s": NaN, "name": "inject"}\n'),
        ("events.jsonl", b'{"at_s": 1, "name": null}\n'),
        ("events.jsonl", b'{"at_s": 1, "na'),
        ("events.jsonl", b"\xff\xfe\n"),
        ("trial.json", b"[]"),
        ("trial.json", b'{"number": 1, "seed": 1, "targets": "web1", "generator": {}}'),
        ("audit.json.gz", packed("[]")),
        ("audit.json.gz", packed('{"db": {"key": "twice"}}')),
        ("audit.json.gz", packed('{"db": {"key": 1e300}}')),
    ],
)
def test_run_whose_trial_is_damaged(lab: Lab, tmp_path: Path, file: str, content: bytes) -> None:
    folder = changed_run(tmp_path)
    (folder / "trial-01" / file).write_bytes(content)
    check_refused(lab("report", str(folder)), EXIT_USAGE, f"{file} is no file of a run")


# Older comparisons


def comparison(**changes: Any) -> Any:
    """The seed's comparison, with other entries in its only cell."""
    raw = json.loads((SEED / "comparison.json").read_text())
    raw["rows"][0]["cells"][0].update(changes)
    return raw


GOOD = comparison()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**GOOD, "schema_version": 1}, "schema_version is 1, not 2"),
        ({**GOOD, "rows": []}, "has no cell that can be compared"),
        ({**GOOD, "rows": [{**GOOD["rows"][0], "name": "5-redundant-load-balancers"}]}, "has no cell that can be compared"),
        ({**GOOD, "rate_per_s": 50.0}, "was measured with 50 requests a second"),
        ({**GOOD, "seed": 10**400}, "is no number that the lab writes"),
        ({**GOOD, "columns": None}, "columns should be"),
        (comparison(trials=float("inf")), "this is not JSON"),
        (comparison(trials=0), "more valid trials than trials"),
        (comparison(downtimes_censored=[False]), "says of 1 downtimes whether they are lower bounds, not of 5"),
        (comparison(downtimes_censored=[False] * 6), "says of 6 downtimes"),
        (comparison(downtimes_s=[]), "has 0 downtimes of 5 valid trials"),
        (comparison(downtimes_s=[-1, 0, 0, 0, 0]), "-1 is no measured value"),
        (comparison(downtimes_s=[float("nan")] * 5), "this is not JSON"),
        (comparison(downtime_median_s="0.2"), "should be a valid number"),
        (comparison(availability_ratio=1.5), "has a ratio over 1"),
        (comparison(verdict="splendid"), "verdict should be"),
        (comparison(verdict=None), "no verdict"),
        (comparison(why="because"), "why should be"),
        (comparison(column="\x1b[2J"), "has cells of no column"),
        ([], "is no comparison"),
        ({"matrix": {"matrix": GOOD}}, "is no comparison"),
    ],
)
def test_older_comparison_is_refused_before_anything_is_measured(lab: Lab, tmp_path: Path, document: Any, said: str) -> None:
    file = tmp_path / "older.json"
    file.write_text(json.dumps(document))
    done = lab("compare", "3", "--faults", "kill-web", "--baseline", str(file))
    check_refused(done, EXIT_USAGE, said)
    assert "older.json" in done.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", ["", "[" * 100_000, "\ufeff" + json.dumps(GOOD), json.dumps(GOOD)[:300]])
def test_older_comparison_that_is_no_json(lab: Lab, tmp_path: Path, content: str) -> None:
    (tmp_path / "older.json").write_text(content)
    for arguments in (
        ("compare", "3", "--baseline", str(tmp_path / "older.json"), "--dry-run"),
        ("report", str(tmp_path / "older.json")),
    ):
        check_refused(lab(*arguments), EXIT_USAGE, "older.json is no comparison: this is not JSON")


def test_older_comparison_of_another_version_is_read_as_far_as_it_is_known(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "older.json"
    file.write_text(json.dumps({**comparison(gap_s=[0.1]), "mood": "good"}))
    assert lab("compare", "3", "--faults", "kill-web", "--baseline", str(file), "--dry-run").code == EXIT_HELD
    file.write_text(json.dumps({"matrix": GOOD}))
    assert lab("report", str(file)).code == EXIT_HELD


# Notes of what is broken

NOTE = json.loads((SEED / "undo.jsonl").read_text())


def noted(tmp_path: Path, *lines: Any) -> Path:
    """undo.jsonl with these lines: documents, or text as it is."""
    file = tmp_path / "state" / "undo.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines) + "\n")
    return file


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in NOTE.items() if name != key}


STRANGE = [
    pytest.param(without("id"), id="no id"),
    pytest.param({**NOTE, "undo": None}, id="null"),
    pytest.param({**NOTE, "undo": []}, id="list"),
    pytest.param({**NOTE, "undo": {**NOTE["undo"], "action": "defrost"}}, id="action of another version"),
    pytest.param({**NOTE, "undo": {**NOTE["undo"], "reason": "new"}}, id="field of another version"),
    pytest.param({**NOTE, "undo": {**NOTE["undo"], "stage": "3"}}, id="stage as text"),
    pytest.param({**NOTE, "undo": {**NOTE["undo"], "links": [{"network": 1}]}}, id="links"),
    pytest.param({**NOTE, "fault": 7}, id="fault as number"),
    pytest.param({**NOTE, "id": ["a"]}, id="id as list"),
    pytest.param({"closed": True}, id="closed without an id"),
    pytest.param([], id="list"),
    pytest.param("7", id="number"),
]


@pytest.mark.parametrize("strange", STRANGE)
def test_strange_note_stops_what_would_break_more(lab: Lab, tmp_path: Path, strange: Any) -> None:
    noted(tmp_path, {**NOTE, "id": "another"}, strange)
    done = lab("run", "3", "kill-web", "--dry-run")
    check_refused(done, EXIT_PREFLIGHT, "undo.jsonl:2 is no note")
    assert len(done.notes) == 1
    assert lab("list").code == EXIT_HELD


@pytest.mark.parametrize("strange", STRANGE)
def test_strange_note_does_not_stop_heal(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strange: Any) -> None:
    engine = PlayedEngine([])
    use_engine(monkeypatch, lambda: engine)
    noted(tmp_path, {**NOTE, "id": "another"}, strange)
    check_refused_with_words(lab("heal"), EXIT_HEAL_FAILED, "undo.jsonl:2 is no note")
    # What could be read is undone, and noted as that; what could not stays.
    assert UndoLog().entries() == []
    assert len(UndoLog().notes().strange) == 1
    check_refused_with_words(lab("heal"), EXIT_HEAL_FAILED, "undo.jsonl:2 is no note")
    done = lab("down", "--all")
    assert done.code == EXIT_HELD, done.err
    assert lab("run", "3", "kill-web", "--dry-run").code == EXIT_HELD


def check_refused_with_words(done: Done, code: int, said: str) -> None:
    """As check_refused, beside what a command says of its work."""
    lines = [line for line in done.err.splitlines() if line.startswith(("error: ", "hint: ", "note: "))]
    check_refused(Done(done.code, done.out, "\n".join(lines)), code, said)


def test_folder_in_the_place_of_the_notes(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engine(monkeypatch, lambda: PlayedEngine([]))
    (tmp_path / "state" / "undo.jsonl").mkdir(parents=True)
    check_refused(lab("run", "3", "kill-web", "--dry-run"), EXIT_PREFLIGHT, "undo.jsonl cannot be read")
    check_refused_with_words(lab("heal"), EXIT_HEAL_FAILED, "undo.jsonl cannot be read")
    assert lab("down", "--all").code == EXIT_HELD
    assert lab("run", "3", "kill-web", "--dry-run").code == EXIT_HELD


@pytest.mark.parametrize("cut", [json.dumps(NOTE)[:80], "\x00" * 4096, "{", '{"id": "0123'])
def test_note_that_was_cut_short_is_reported_and_passed_over(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    use_engine(monkeypatch, lambda: PlayedEngine([]))
    file = noted(tmp_path, cut, {**NOTE, "id": "after it"})
    done = lab("run", "3", "kill-web", "--dry-run")
    assert done.code == EXIT_HELD
    assert len(done.notes) == 2
    assert "undo.jsonl:1 was cut short" in done.err.replace("\n", "")
    assert lab("heal").code == EXIT_HELD
    assert not file.exists()


def test_note_of_another_version_that_was_closed_is_no_longer_strange(tmp_path: Path) -> None:
    ledger = UndoLog(noted(tmp_path, {**NOTE, "undo": {"action": "defrost"}}, {"id": NOTE["id"], "closed": True}))
    assert ledger.notes() == undo_log.Notes((), (), ())


# Schedules


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 99},
        {"rounds": []},
        {"rounds": "all"},
        {"interval_s": 1e12},
        {"interval_s": "45"},
        {"repair": {"policy": "prayer", "delay_s": 2.0}},
        {"repair": None},
        {"stage": "\x1b[2J"},
        {"rate_per_s": float("nan")},
    ],
)
def test_schedule_of_a_monkey(lab: Lab, tmp_path: Path, change: dict[str, Any]) -> None:
    printed = json.loads(lab("monkey", "5", "--for", "2m", "--seed", "1", "--print-schedule", "--json").out)
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({**printed, "colour": "red"}))
    assert lab("monkey", "5", "--print-schedule", "--schedule", str(file)).code == EXIT_HELD
    file.write_text(json.dumps({**printed, **change}))
    check_refused(lab("monkey", "5", "--print-schedule", "--schedule", str(file)), EXIT_USAGE, "schedule.json is")


# Anything at all

KEYS = [
    "title",
    "question",
    "fault",
    "target",
    "steps",
    "expect",
    "given",
    "repair",
    "fault_duration_s",
    "at_most",
    "<<",
    "?",
    "&a",
    "*a",
]
WORDS = st.sampled_from(
    [*KEYS, ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "kill", "web", "1", ".nan", "1:30", "!!set", '"', "#"]
)
YAML_TEXT = st.one_of(st.text(), st.lists(WORDS, max_size=40).map("".join))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)
ANYWHERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return file


@ANYWHERE
@given(text=YAML_TEXT)
def test_any_text_as_an_experiment(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "any.yaml", text)
    check_one_line(lambda: experiments.read(file))


GOOD_EXPERIMENT = "title: t\nquestion: q\nfault: kill\ntarget: web\nexpect: {writes_lost: {at_most: 0}}\n"


@ANYWHERE
@given(
    key=st.sampled_from(
        [
            "title",
            "fault",
            "target",
            "preconditions",
            "initial_faults",
            "steps",
            "operator",
            "repair",
            "fault_duration_s",
            "cooldown_s",
            "expect",
        ]
    ),
    value=JSON,
)
def test_any_value_in_an_experiment(tmp_path: Path, key: str, value: Any) -> None:
    lines = [line for line in GOOD_EXPERIMENT.splitlines() if not line.startswith(f"{key}:")]
    file = written(tmp_path, "any.yaml", "\n".join([*lines, f"{key}: {json.dumps(value)}", ""]))
    check_one_line(lambda: experiments.read(file))


def paths_of(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each entry of a document."""
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [path, *(way for key, each in inner for way in paths_of(each, (*path, key)))]


def put(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A document with another value somewhere."""
    if not path:
        return value
    copy = dict(found) if isinstance(found, dict) else list(found)
    copy[path[0]] = put(copy[path[0]], path[1:], value)
    return copy


RUN = json.loads((SEED / "run" / "run.json").read_text())


@ANYWHERE
@given(path=st.sampled_from(paths_of(RUN)), value=JSON)
def test_anything_in_the_frame_of_a_run(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    written(tmp_path, "run.json", json.dumps(put(RUN, path, value)))
    check_one_line(lambda: runs.read_run(tmp_path))


@ANYWHERE
@given(path=st.sampled_from(paths_of(GOOD)), value=JSON)
def test_anything_in_an_older_comparison(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    file = written(tmp_path, "older.json", json.dumps(put(GOOD, path, value)))
    check_one_line(lambda: conclusion.read_old(file, 100.0, 1.0))
    check_one_line(lambda: matrix_file.read(file))


@ANYWHERE
@given(path=st.sampled_from(paths_of(NOTE)), value=JSON)
def test_anything_in_a_note_is_read_or_strange(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    ledger = UndoLog(noted(tmp_path, put(NOTE, path, value)))
    notes = ledger.notes()
    assert len(notes.open) + len(notes.strange) + len(notes.cut) == 1 or value == {} or not path
    assert all(len(line) < LINE_MAX_CHARACTERS and is_harmless(line) for line in notes.strange)
    # What is understood is as it was written.
    assert all(entry.undo.service == put(NOTE, path, value)["undo"]["service"] for entry in notes.open)


TRIAL = json.loads((SEED / "run" / "trial-01" / "trial.json").read_text())
EVENTS = [json.loads(line) for line in (SEED / "run" / "trial-01" / "events.jsonl").read_text().splitlines()]
FIRST = json.loads(ARRIVAL % ("1.5", "1.6"))


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(SEED / "run", folder)
    return folder


@given(
    event=st.sampled_from(paths_of(EVENTS)),
    arrival=st.sampled_from(paths_of(FIRST)),
    trial=st.sampled_from(paths_of(TRIAL)),
    what=st.sampled_from(["event", "arrival", "trial"]),
    value=JSON,
)
def test_anything_in_a_trial(
    kept_run: Path, event: tuple[Any, ...], arrival: tuple[Any, ...], trial: tuple[Any, ...], what: str, value: Any
) -> None:
    events = put(EVENTS, event, value) if what == "event" else EVENTS
    first = put(FIRST, arrival, value) if what == "arrival" else FIRST
    folder = kept_run / "trial-01"
    lines = events if isinstance(events, list) else [events]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "arrivals.jsonl.gz").write_bytes(packed(json.dumps(first), "\n", ARRIVAL % ("2", "2.1")))
    (folder / "trial.json").write_text(json.dumps(put(TRIAL, trial, value) if what == "trial" else TRIAL))
    check_one_line(lambda: rebuild(kept_run))


# What a command goes on from


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"attempt": {"stage": "p", "column": "kill-web", "number": "1", "valid": True, "folder": "f"}}, "number should be"),
        ({"attempt": None}, "this should be an object"),
        ({"attempt": {}}, "stage is missing"),
        ({"attempt": {"stage": "p", "column": "\x1b[2J", "number": 1e300, "valid": True, "folder": "f"}}, "1e+300 is no number"),
    ],
)
def test_progress_of_a_campaign_names_its_line(tmp_path: Path, line: Any, said: str) -> None:
    good = {"attempt": {"stage": "p", "column": "kill-web", "number": 1, "valid": True, "folder": "f", "mood": "new"}}
    file = tmp_path / "progress.jsonl"
    file.write_text(json.dumps(good) + "\n" + json.dumps(line)[:-3] + "\n" + json.dumps({"span": 1}) + "\n")
    assert [each.column for each in CampaignStore(tmp_path).attempts] == ["kill-web"]
    file.write_text(json.dumps(good) + "\n" + json.dumps(line) + "\n")
    assert f"progress.jsonl:2: {said}" in check_one_line(lambda: CampaignStore(tmp_path).attempts)


def test_what_a_stage_was_started_from_may_be_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)
    stage = stages.find("3")
    (tmp_path / stage.project).write_bytes(b"\xff\xfe")
    assert started.started_from(stage) != ""
    (tmp_path / stage.project).unlink()
    (tmp_path / stage.project).mkdir()
    assert started.started_from(stage) == ""


def test_help_is_given_whatever_is_noted(lab: Lab, tmp_path: Path) -> None:
    noted(tmp_path, without("id"))
    assert lab("run", "--help").code == EXIT_HELD


def test_less_watched_than_the_author_meant_is_said(lab: Lab) -> None:
    done = lab("run", "3", "kill-web", "--duration", "500ms", "--dry-run")
    assert done.code == EXIT_HELD
    assert any("cannot be seen within the 0.5 s" in line for line in done.notes)
    assert lab("run", "3", "kill-web", "--dry-run").err == ""
