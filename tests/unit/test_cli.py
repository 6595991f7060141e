from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from lab.cli.main import cli, main
from lab.cli.options import Duration
from lab.engine.engine import ExecResult
from lab.errors import EXIT_HELD, EXIT_PREFLIGHT, EXIT_REFUTED, EXIT_USAGE
from lab.faults import FAULTS
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box
from lab.spec import experiments
from lab.spec.stages import ROOT, all_stages
from lab.store.runs import RunJournal
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box, db, record, run_info, use_engine, view
from tests.unit.played import PlayedEngine

COMMANDS = sorted(cli.commands)


NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent.sock", "COLUMNS": "120"}


@dataclass
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        assert "Traceback" not in self.err
        return [line for line in self.err.splitlines() if line.startswith("error:")]


def run_lab(*arguments: str, **environment: str) -> Done:
    """Run `lab` as a user does, where no Docker Engine answers."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, **NO_ENGINE, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


Lab = Callable[..., Done]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    """The same within this process, which is faster."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        for name, value in NO_ENGINE.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, *capsys.readouterr())

    return run


def test_unknown_stage_is_a_usage_error_that_names_the_stages() -> None:
    done = run_lab("up", "9")
    assert done.code == EXIT_USAGE
    assert done.errors == ["error: there is no stage '9'"]
    assert all(f"{stage.number} ({stage.folder})" in done.err for stage in all_stages())
    assert done.out == ""


def test_unknown_experiment_is_a_usage_error_that_names_them() -> None:
    done = run_lab("run", "3", "kill-moon")
    assert done.code == EXIT_USAGE
    assert done.errors == ["error: there is no experiment 'kill-moon'"]
    assert "kill-web" in done.err


def test_experiment_that_does_not_fit_the_stage_is_a_usage_error(lab: Lab) -> None:
    done = lab("run", "3", "kill-box", "--dry-run")
    assert done.code == EXIT_USAGE
    assert "matches no box" in done.errors[0]


def test_malformed_experiment_file_is_a_usage_error_with_its_line(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("title: t\nquestion: q\nfault: explode\n")
    done = lab("run", "3", str(tmp_path / "mine.yaml"), "--dry-run")
    assert done.code == EXIT_USAGE
    assert f"{tmp_path / 'mine.yaml'}:3: " in done.errors[0]


def test_no_engine_is_not_ready() -> None:
    done = run_lab("status")
    assert done.code == EXIT_PREFLIGHT
    assert len(done.errors) == 1
    assert "no Docker Engine answers" in done.errors[0]
    assert "hint: " in done.err


def test_doctor_says_so_as_one_document(lab: Lab) -> None:
    done = lab("doctor", "--json")
    assert done.code == EXIT_PREFLIGHT
    checks = json.loads(done.out)
    assert {"check": "python", "ok": True, "detail": sys.version.split(maxsplit=1)[0]} in checks
    assert [each["ok"] for each in checks if each["check"] == "engine"] == [False]


def test_unknown_run_is_a_usage_error(tmp_path: Path) -> None:
    done = run_lab("report", "nosuch", LAB_RESULTS=str(tmp_path))
    assert done.code == EXIT_USAGE
    assert done.errors == ["error: there is no run 'nosuch'"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("explode",),
        ("run", "3"),
        ("run", "3", "kill-web", "--trials", "0"),
        ("run", "3", "kill-web", "--duration", "soon"),
        ("chaos", "burn", "web"),
        ("down",),
        ("up", "3", "--failover", "automatic"),
        ("run", "4", "kill-primary", "--failover", "by-magic"),
        ("down", "5", "--failover", "none"),
        ("run", "4", "switchover", "--dry-run"),
        ("run", "4", "kill-monitor", "--dry-run"),
    ],
)
def test_wrong_usage_is_one_line_and_no_traceback(lab: Lab, arguments: tuple[str, ...]) -> None:
    done = lab(*arguments)
    assert done.code == EXIT_USAGE
    assert len(done.errors) == 1
    assert done.out == ""


def test_dry_run_prints_one_document_and_needs_no_engine() -> None:
    done = run_lab("run", "3", "kill-web", "--dry-run", "--json", "--seed", "1")
    assert (done.code, done.errors) == (EXIT_HELD, [])
    plan: dict[str, Any] = json.loads(done.out)
    assert (plan["stage"], plan["experiment"], plan["seed"]) == (3, "kill-web", 1)
    assert plan["steps"] == [{"fault": "kill", "target": "web", "delay_s": 0.0}]
    assert plan["trials"] == [{"number": 1, "seed": 1}]


def test_dry_run_takes_every_option_and_the_seed_decides_the_trials(lab: Lab) -> None:
    arguments = ("run", "3", "kill-web", "--dry-run", "--json", "--seed", "1", "--trials", "3", "--duration", "500ms")
    plan = json.loads(lab(*arguments).out)
    assert plan["fault_duration_s"] == 0.5
    assert len({trial["seed"] for trial in plan["trials"]}) == 3
    assert json.loads(lab(*arguments).out) == plan


def test_plan_says_which_file_and_what_an_operator_does(lab: Lab) -> None:
    arguments = ("run", "4", "switchover", "--failover", "automatic", "--dry-run")
    plan = json.loads(lab(*arguments, "--json").out)
    assert (plan["stage"], plan["failover"]) == (4, "automatic")
    assert (plan["steps"], plan["operator"]) == ([], {"delay_s": 0.0, "action": "switchover", "target": ""})
    assert "an operator's switchover; watch" in lab(*arguments).out
    assert "break nothing; watch" in lab("run", "4", "baseline", "--dry-run").out
    assert json.loads(lab("run", "4", "kill-primary", "--dry-run", "--json").out)["operator"] is None


# What is up, and which file it was started from

AUTOMATIC = "redundancy-lab-4-automatic"


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., PlayedEngine]:
    """These boxes are up; state and locks are kept elsewhere."""
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)

    def boxes(*present: Box) -> PlayedEngine:
        plays = PlayedEngine(list(present))
        use_engine(monkeypatch, lambda: plays)
        return plays

    return boxes


def note_pause_of_db1() -> None:
    UndoLog().open(Undo(UndoAction.UNPAUSE, "id-of-db1", "db1", 4), "pause")


def test_down_takes_both_files_of_a_stage(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    plays = up(db("db1", project=AUTOMATIC))
    note_pause_of_db1()
    done = lab("down", "4")
    assert done.code == EXIT_HELD
    assert plays.done == ["down redundancy-lab-4", f"down {AUTOMATIC}"]
    assert "removing stage 4\nremoving stage 4 (automatic)\nstage 4 is gone" in done.err
    # What is gone is no longer broken.
    assert UndoLog().entries() == []


def test_down_takes_one_file_where_it_is_named_and_forgets_no_fault_of_the_other(
    lab: Lab, up: Callable[..., PlayedEngine]
) -> None:
    plays = up(db("db1", project=AUTOMATIC))
    note_pause_of_db1()
    lab("down", "4", "--failover", "none")
    assert plays.done == ["down redundancy-lab-4"]
    assert [entry.undo.service for entry in UndoLog().entries()] == ["db1"]
    lab("down", "4", "--failover", "automatic")
    assert plays.done[1:] == [f"down {AUTOMATIC}"]
    assert UndoLog().entries() == []


def test_down_all_takes_what_is_up_by_its_file_and_the_rest_by_its_labels(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    gone = box("web1", project="redundancy-lab-3-old")
    plays = up(db("db1", project=AUTOMATIC), gone, box("selftest", stage=0, project="redundancy-lab-selftest"))
    note_pause_of_db1()
    done = lab("down", "--all")
    assert done.code == EXIT_HELD
    assert plays.done == [f"down {AUTOMATIC}", "remove leftovers"]
    assert UndoLog().entries() == []


def test_down_all_takes_back_what_was_done_to_a_foreign_box(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    plays = up(box("app", ("app",), stage=0, project="shop", status="exited"))
    UndoLog().open(Undo(UndoAction.START, "id-of-app", "app", 0, project="shop"), "kill")
    assert lab("down", "--all").code == EXIT_HELD
    assert plays.done == ["visiting shop", "start app", "remove leftovers"]
    assert UndoLog().entries() == []


def test_promotion_is_asked_of_the_monitor_where_there_is_one(
    lab: Lab, up: Callable[..., PlayedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("switchover", "promote"):
        monkeypatch.setattr(
            f"lab.cluster.database.{name}", lambda cluster, *_, name=name: asked.append(f"{name} {cluster.stage.project}")
        )
    internet = box("internet", ("internet",), stage=4)
    up(db("db1", project=AUTOMATIC), internet)
    lab("promote")
    up(db("db1"), internet)
    lab("promote")
    assert asked == [f"switchover {AUTOMATIC}", "promote redundancy-lab-4"]
    monkeypatch.setattr("lab.cluster.loss.accept", lambda cluster, *_: asked.append(f"accept {cluster.stage.project}"))
    up(db("db1", project=AUTOMATIC), internet)
    assert lab("promote", "--accept-loss").code == EXIT_HELD
    assert asked[2:] == [f"accept {AUTOMATIC}"]
    assert lab("promote", "--accept-loss", "--fence").code == EXIT_USAGE
    assert asked[3:] == []
    up(box())
    done = lab("promote")
    assert done.code == EXIT_USAGE
    assert "no stage with a standby database is up" in done.errors[0]


# The map


def sees(plays: PlayedEngine, **changes: Any) -> PlayedEngine:
    """The survey finds two databases that are well, unless changed."""
    found = {"view": asdict(view()), "databases": {}, "backends": {}, "monitor": None, "alone": {}, **changes}
    plays.answer = lambda _box, _command: ExecResult(0, json.dumps(found))
    return plays


def test_status_is_one_document_with_roles_and_faults(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    sees(
        up(db("db1", project=AUTOMATIC), db("db2", project=AUTOMATIC), box("internet", ("internet",), stage=4, project=AUTOMATIC))
    )
    note_pause_of_db1()
    done = lab("status", "4", "--json")
    assert done.code == EXIT_HELD
    content = json.loads(done.out)
    assert set(content) == {"stages", "boxes", "faults"}
    [of] = content["stages"]
    assert (of["stage"], of["failover"], of["unasked"]) == (4, "automatic", None)
    assert [each["roles"] for each in content["boxes"]] == [["db", "db.primary"], ["db", "db.standby"], ["internet"]]
    assert [(fault["fault"], fault["box"]) for fault in content["faults"]] == [("pause", "db1")]


def test_status_draws_the_map_and_asks_each_stage_once(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    plays = sees(
        up(db("db1", project=AUTOMATIC), db("db2", project=AUTOMATIC), box("internet", ("internet",), stage=4, project=AUTOMATIC))
    )
    done = lab("status")
    assert done.out.startswith("stage 4 · Database replication\n")
    assert "db2       db.standby" in done.out
    assert "front door: http://127.0.0.1:" in done.err
    assert len(plays.done) == 1


def test_status_that_cannot_be_observed_says_so_and_shows_the_boxes(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    frozen = box("internet", ("internet",), stage=4, project=AUTOMATIC, status="paused")
    plays = up(db("db1", project=AUTOMATIC), frozen)
    done = lab("status")
    assert done.code == EXIT_HELD
    assert "the internet box is paused: roles, replicas and failures tolerated are unknown" in done.out
    assert "! internet" in done.out
    assert plays.done == []


def test_status_of_what_is_not_up(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    up()
    assert "no stage is up; 'lab up 3' starts one" in lab("status").err
    sees(up(db("db1")))
    assert "stage 6 is not up; 'lab up 6' starts it" in lab("status", "6").err
    assert json.loads(lab("status", "6", "--json").out) == {"stages": [], "boxes": [], "faults": []}
    assert lab("status", "9").code == EXIT_USAGE


def test_status_shows_boxes_whose_file_is_gone(lab: Lab, up: Callable[..., PlayedEngine]) -> None:
    up(box("web1", project="redundancy-lab-3-old"))
    assert "web1 is running; the file that it was started from is gone" in lab("status").out
    content = json.loads(lab("status", "--json").out)
    assert ([each["box"] for each in content["boxes"]], content["stages"]) == (["web1"], [])


def test_report_needs_no_engine_and_says_the_verdict_in_the_document(tmp_path: Path) -> None:
    run = RunJournal(run_info(), tmp_path)
    trial, whole = run.trial(1), record((2.0, 4.0))
    trial.arrivals(whole.arrivals)
    for event in whole.events:
        trial.event(event)
    trial.close(whole)
    done = run_lab("report", "3-load-balancer/kill-web/latest", "--json", LAB_RESULTS=str(tmp_path))
    assert done.code == EXIT_HELD
    assert json.loads(done.out)["verdict"] == "refuted"


def test_list_names_every_stage_and_experiment(lab: Lab) -> None:
    done = lab("list")
    assert done.code == EXIT_HELD
    assert all(stage.folder in done.out for stage in all_stages())
    listed = {line.split(maxsplit=1)[0] for line in done.out.splitlines()}
    assert set(experiments.names()) <= listed
    # The other file of a stage is reached with an option, and the list says with which.
    options = [line.rpartition(" (")[2] for line in done.out.splitlines() if line.startswith("stage 4 ")]
    assert options[-1] == "--failover automatic)"
    assert "--failover" not in options[0]


def test_help_names_every_command_and_the_exit_codes(lab: Lab) -> None:
    done = lab("--help")
    assert done.code == EXIT_HELD
    assert all(f"  {name} " in done.out for name in COMMANDS)
    assert f"{EXIT_REFUTED} refuted" in done.out
    assert f"{EXIT_PREFLIGHT} not ready" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_command_and_its_options_have_help(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


def test_every_fault_can_be_asked_for() -> None:
    (choice,) = [each.type for each in cli.commands["chaos"].params if each.name == "fault_name"]
    assert isinstance(choice, click.Choice)
    assert set(choice.choices) == {kind.value for kind in FAULTS}


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("10s", 10), ("500ms", 0.5), ("2m", 120), ("1.5s", 1.5), ("0", 0), ("60m", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "61m", "1h", "1e3", "inf", "5 s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        Duration().convert(text, None, None)
