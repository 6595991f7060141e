from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.analysis import conclusion, matrix_file
from lab.cli.main import main
from lab.errors import EXIT_HELD, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, EXIT_PREFLIGHT, EXIT_REFUTED, EXIT_USAGE, PreflightError
from lab.model.fault import Undo, UndoAction
from lab.model.history import Event
from lab.store.undo_log import UndoLog
from tests.unit.benches import NOT_BITTEN, Gone, PlayedBench, breaking, cut_at
from tests.unit.helpers import EVENTS, alert, alert_record
from tests.unit.played import PlayedEngine

# A trial that is played is healed 3 s after its fault.
SHORT = ("--tolerance", "2s")
PAGE = alert(3.0, "ServiceDown page kind=read: no read has been served for 3.3 s")


@dataclass
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Lab = Callable[..., Done]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Lab:
    """Runs a command on a bench that is only played; results and state are kept elsewhere."""
    monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path / "state")
    monkeypatch.setattr("lab.store.paths.RESULTS_FOLDER", tmp_path / "results")
    monkeypatch.setattr("lab.cli.campaigns.DockerEngine", PlayedEngine)
    monkeypatch.setattr("lab.cluster.images.build", lambda *_: [])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")

    def run(*arguments: str, bench: PlayedBench | None = None) -> Done:
        monkeypatch.setattr("lab.cli.campaigns.DockerExecutor", lambda *_: bench or PlayedBench())
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, *capsys.readouterr())

    return run


def without(*parts: str) -> Gone:
    """The service is gone for good without these, and for a moment without others."""
    return lambda _project, column, number: 4.0 if column in parts else number / 20


def results(tmp_path: Path, kind: str = "compare") -> Path:
    return tmp_path / "results" / kind / "latest"


# compare


def test_a_comparison_sets_stages_side_by_side(lab: Lab, tmp_path: Path) -> None:
    done = lab("compare", "2", "3", "--seed", "1", *SHORT, bench=PlayedBench(without("kill-lb", "kill-primary")))
    assert done.code == EXIT_HELD
    second = [line for line in done.out.splitlines() if line.startswith("2  ")]
    assert [line.count("·") for line in second] == [4, 4, 4, 4]  # four tables
    for said in (
        "≥ 3.00 s",
        "≤ 864 / 86 / 8",
        "· not applicable: the stage has no such thing",
        "Acknowledged writes lost: 0; split brain: none",
        "a model with assumed rates (lab/assumptions.yaml), not a measurement",
        "2 of 2: too few trials to say (5 valid trials of each are the fewest)",
        "minutes went",
        "HELD  every cell was measured; no budget, no baseline",
    ):
        assert said in done.out
    assert "kept in" in done.out
    assert "15 of 15  3-load-balancer" in done.err
    kept = results(tmp_path)
    assert matrix_file.read(kept / "matrix.json").rows[1].cell("kill-lb")
    assert json.loads((kept / "result.json").read_text())["verdict"] == "held"


def test_json_is_one_document_with_everything(lab: Lab) -> None:
    done = lab("compare", "2", "3", "4:automatic", "--trials", "5", "--json", *SHORT, bench=PlayedBench(without("kill-lb")))
    document: dict[str, Any] = json.loads(done.out)
    assert (document["kind"], document["verdict"], document["why"]) == ("compare", "held", [])
    assert [row["name"] for row in document["matrix"]["rows"]] == [
        "2-separate-database",
        "3-load-balancer",
        "4-database-replication (automatic)",
    ]
    assert {each["change"] for each in document["differences"]} == {"no change"}
    allowed = {(each["row"], each["column"]): each for each in document["allowed_incidents"]["cells"]}
    assert allowed["3-load-balancer", "kill-lb"]["faults"] == [864, 86, 8]
    assert allowed["3-load-balancer", "kill-lb"]["censored"] is True
    assert "not a measurement" in document["model"]["note"]
    assert document["model"]["stages"][0]["measured_ratio"] is not None
    assert (document["budget"], document["baseline"], document["spof"]) == (None, None, None)
    assert set(document["spent_s"]) >= {"stages: start", "stages: stop", "trials: settle", "trials: baseline"}


def test_a_cell_without_a_valid_trial_leaves_it_open(lab: Lab) -> None:
    done = lab("compare", "3", "--faults", "kill-web", "--trials", "1", *SHORT, bench=PlayedBench(changes=NOT_BITTEN))
    assert done.code == EXIT_INCONCLUSIVE
    assert "INCONCLUSIVE  cells without a valid trial" in done.out
    assert "3-load-balancer, kill-web: the fault was not verified" in done.out


def test_an_interrupted_comparison_goes_on(lab: Lab, tmp_path: Path) -> None:
    command = ("compare", "2", "3", "--trials", "1", *SHORT)
    done = lab(*command, bench=PlayedBench(before=cut_at(5, KeyboardInterrupt())))
    assert done.code == EXIT_INTERRUPTED
    assert "2 trials are through and kept; the same command continues with the rest" in done.err
    assert not (results(tmp_path) / "result.json").exists()
    # Another seed or other faults are another comparison.
    assert "continuing" not in lab(*command, "--faults", "kill-web").err
    bench = PlayedBench()
    done = lab(*command, bench=bench)
    assert done.code == EXIT_HELD
    assert "2 trials are through" in done.err
    assert not any("redundancy-lab-2" in each and each.startswith("trial") for each in bench.done)
    # Now it is through: the same command begins anew.
    assert "continuing" not in lab(*command).err


def test_fresh_begins_anew_and_resume_insists(lab: Lab) -> None:
    command = ("compare", "2", "--trials", "1", *SHORT)
    assert lab(*command, "--resume").code == EXIT_USAGE
    lab(*command, bench=PlayedBench(before=cut_at(3, KeyboardInterrupt())))
    assert "continuing" not in lab(*command, "--fresh").err
    done = lab(*command, "--resume")
    assert (done.code, "continuing with seed" in done.err) == (EXIT_HELD, True)


def test_a_fault_that_is_in_effect_is_not_measured_with(lab: Lab) -> None:
    UndoLog().open(Undo(UndoAction.START, "id", "db", 3), "kill")
    bench = PlayedBench()
    done = lab("compare", "3", *SHORT, bench=bench)
    assert (done.code, bench.done) == (EXIT_PREFLIGHT, [])
    assert "a fault is still in effect: kill of db" in done.err


def test_a_machine_that_is_too_small_says_so_and_keeps_the_rest(lab: Lab) -> None:
    small = PlayedBench(before=breaking("start redundancy-lab-3", 1, PreflightError("stage 3 needs 400 MiB")))
    command = ("compare", "2", "3", "--trials", "1", *SHORT)
    assert lab(*command, bench=small).code == EXIT_PREFLIGHT
    assert "2 trials are through" in lab(*command).err


# The gate

BUDGET = "stages: {3: {kill-web: {downtime_longest_s: 0.5, writes_lost: 0, trials: 2}}}\n"


@pytest.mark.parametrize(
    ("gone", "code", "said"),
    [
        (without(), EXIT_HELD, "HELD  the gate is kept"),
        (without("kill-web"), EXIT_REFUTED, "3-load-balancer, kill-web  longest outage at most 0.5 s: was at least 3"),
    ],
)
def test_a_budget_decides_what_is_measured_and_the_exit_code(lab: Lab, tmp_path: Path, gone: Gone, code: int, said: str) -> None:
    (tmp_path / "budgets.yaml").write_text(BUDGET)
    bench = PlayedBench(gone)
    done = lab("compare", "--budget", str(tmp_path / "budgets.yaml"), *SHORT, bench=bench)
    assert done.code == code
    assert said in done.out
    assert [each.split()[1:4] for each in bench.done if each.startswith("trial")] == [
        ["redundancy-lab-3", "kill-web", "1"],
        ["redundancy-lab-3", "kill-web", "2"],
    ]


def test_a_budget_of_which_nothing_can_be_said_is_open(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text(BUDGET)
    done = lab("compare", "--budget", str(tmp_path / "budgets.yaml"), *SHORT, bench=PlayedBench(changes=NOT_BITTEN))
    assert done.code == EXIT_INCONCLUSIVE
    assert "0 valid trials of 2" in done.out


@pytest.mark.parametrize("name", ["result.json", "matrix.json", ""])
def test_an_older_comparison_is_found_in_its_folder_or_its_files(lab: Lab, tmp_path: Path, name: str) -> None:
    lab("compare", "3", "--faults", "kill-web", "--trials", "1", *SHORT)
    folder = results(tmp_path)
    assert conclusion.read_old(folder / name, 100.0, 1.0) == matrix_file.read(folder / "matrix.json")


def test_a_regression_is_told_from_noise(lab: Lab, tmp_path: Path) -> None:
    command = ("compare", "3", "--faults", "kill-web,kill-primary", "--trials", "10", *SHORT)
    lab(*command, bench=PlayedBench(lambda _project, _column, number: number / 20))
    old = results(tmp_path).resolve()

    def noise(_project: str, column: str, number: int) -> float:
        return (11 - number) / 20 + (0.01 if column == "kill-web" else 0.0)

    def slower(_project: str, column: str, number: int) -> float:
        return number / 20 + (1.0 if column == "kill-web" else 0.0)

    same, worse = (lab(*command, "--baseline", str(old), bench=PlayedBench(gone)) for gone in (noise, slower))
    assert (same.code, worse.code) == (EXIT_HELD, EXIT_REFUTED)
    assert same.out.count("no change: by") == 2
    assert "3-load-balancer, kill-web  longer: by +1.00 s" in worse.out
    assert "kill-primary  longer" not in worse.out


def test_against_too_few_trials_nothing_is_said(lab: Lab, tmp_path: Path) -> None:
    command = ("compare", "3", "--faults", "kill-web", "--trials", "2", *SHORT)
    lab(*command)
    done = lab(*command, "--baseline", str(results(tmp_path).resolve()))
    assert done.code == EXIT_INCONCLUSIVE
    assert "too few trials to say: 2 and 2 valid trials" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "9"), "there is no stage '9'"),
        (("compare", "3:manual"), "stage 3 has no failover 'manual'"),
        (("compare", "3", "3-load-balancer"), "a stage is named twice"),
        (("compare", "--faults", "explode"), "'explode' is no fault"),
        (("compare", "--duration", "400ms"), "a fault of 0.4 s does not show"),
        (("compare", "--duration", "4s", "--tolerance", "4s"), "a fault of 4 s does not show"),
        (("compare", "--budget", "nosuch.yaml"), "nosuch.yaml cannot be read"),
        (("compare", "--baseline", "nosuch.json"), "nosuch.json is no comparison"),
        (("compare", "--baseline", "pyproject.toml"), "pyproject.toml is no comparison"),
        (("compare", "--change-min", "50ms"), "--change-min is about a change against an older comparison"),
        (("compare", "--assumptions", "pyproject.toml"), "pyproject.toml"),
        (("compare", "--rate", "5"), "Invalid value for '--rate'"),
        (("spof", "9"), "there is no stage '9'"),
        (("spof", "3", "--faults", "kill-web"), "'kill-web' is no fault that 'lab spof' injects"),
        (("spof", "3", "--sample", "3"), "--sample chooses among pairs"),
        (("spof", "3", "--tolerance", "9s"), "a fault of 7 s does not show"),
    ],
)
def test_wrong_usage_is_one_line(lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    done = lab(*arguments)
    assert done.code == EXIT_USAGE
    assert said in next(line for line in done.err.splitlines() if line.startswith("error:"))
    assert "Traceback" not in done.err


def test_what_was_measured_under_another_load_is_not_compared(lab: Lab, tmp_path: Path) -> None:
    command = ("compare", "3", "--faults", "kill-web", "--trials", "1", *SHORT)
    lab(*command, "--rate", "50")
    done = lab(*command, "--baseline", str(results(tmp_path).resolve()))
    assert done.code == EXIT_USAGE
    assert "was measured with 50 requests a second" in done.err


@pytest.mark.parametrize(
    "asked", [("compare", "4", "--faults", "kill-web"), ("compare", "3", "--faults", "kill-lb"), ("compare", "3", "--dry-run")]
)
def test_what_has_no_cell_in_common_is_not_begun(lab: Lab, tmp_path: Path, asked: tuple[str, ...]) -> None:
    lab("compare", "3", "--faults", "pause-web", "--trials", "1", *SHORT)
    bench = PlayedBench()
    done = lab(*asked, "--baseline", str(results(tmp_path).resolve()), *SHORT, bench=bench)
    assert (done.code, bench.done) == (EXIT_USAGE, [])
    assert "has no cell that can be compared with what is planned" in done.err
    assert "it has 3-load-balancer, pause-web" in done.err


def test_regions_in_one_sample_are_not_held_against_each_region(lab: Lab, tmp_path: Path) -> None:
    command = ("compare", "7", "--faults", "kill-region", "--trials", "1", *SHORT)
    lab(*command)
    raw = json.loads((results(tmp_path) / "matrix.json").read_text())
    for cell in raw["rows"][0]["cells"]:
        cell |= {"members": [], "worst": ""}
    (tmp_path / "old.json").write_text(json.dumps(raw))
    bench = PlayedBench()
    done = lab(*command, "--baseline", str(tmp_path / "old.json"), bench=bench)
    assert (done.code, bench.done) == (EXIT_USAGE, [])
    assert "trials of several zones or regions in one sample" in done.err


def test_each_region_has_its_trials_and_the_worst_is_named(lab: Lab) -> None:
    command = ("compare", "7", "--faults", "kill-region,kill-web", "--trials", "2", "--seed", "1")
    dry = lab(*command, "--dry-run").out
    assert "seed 1; 10 trials, about 2 min" in dry
    assert "kill region:eu; kill region:us; kill region:witness (2 trials of each)" in dry
    done = lab(*command, *SHORT, bench=PlayedBench(of_target={"region:us": 1.0}))
    assert done.code == EXIT_HELD
    for said in ("1.02 s", "worst: region:us", "eu: 0 s", "witness: 0 s"):
        assert said in done.out


def test_losses_that_are_not_known_are_no_zero(lab: Lab) -> None:
    blind = PlayedBench(changes={"final_orders": {"db": None}})
    done = lab("compare", "3", "--faults", "kill-web", "--trials", "1", *SHORT, bench=blind)
    assert done.code == EXIT_INCONCLUSIVE
    assert "Acknowledged writes lost: 0, as far as is known" in done.out
    assert "3-load-balancer, kill-web: lost 0, unknown in 3 trials" in done.out


def test_why_an_interrupted_comparison_does_not_go_on_is_said(lab: Lab) -> None:
    command = ("compare", "2", "--trials", "1", *SHORT)
    lab(*command, bench=PlayedBench(before=cut_at(3, KeyboardInterrupt())))
    other = lab(*command, "--rate", "50", "--resume")
    assert other.code == EXIT_USAGE
    assert "was interrupted, and differs in the load" in other.err
    assert "a new one is begun: " in lab(*command, "--rate", "50").err


def test_a_dry_run_says_what_would_be_done(lab: Lab) -> None:
    done = lab("compare", "5", "6", "--dry-run", "--seed", "1")
    assert done.code == EXIT_HELD
    assert "5-redundant-load-balancers  kill-lb: kill lb.active" in done.out
    assert "kill zone:a" in done.out
    assert "not applicable: stage 6 has no second region" in done.out
    asked = json.loads(lab("compare", "5", "--dry-run", "--json", "--seed", "1").out)
    assert (asked["seed"], asked["trials"], asked["trials_total"]) == (1, 3, 12)


@pytest.mark.parametrize(
    ("arguments", "fault_duration_s", "tolerance_s"),
    [
        (("compare",), 6.0, 5.0),
        (("compare", "--duration", "4s"), 4.0, 3.5),
        (("compare", "--duration", "9s"), 9.0, 5.0),
        (("compare", "--duration", "9s", "--tolerance", "1s"), 9.0, 1.0),
        (("spof", "3"), 7.0, 5.0),
    ],
)
def test_what_is_tolerated_shows_within_what_is_watched(
    lab: Lab, arguments: tuple[str, ...], fault_duration_s: float, tolerance_s: float
) -> None:
    asked = json.loads(lab(*arguments, "--dry-run", "--json").out)
    experiment = asked["stages"][0]["cells"][0]["experiments"][0]
    assert experiment["fault_duration_s"] == fault_duration_s
    assert experiment["expectations"][0]["at_most"] == tolerance_s


# sweep


@pytest.mark.parametrize(
    ("gone", "code", "said"),
    [
        (("kill-lb", "kill-db"), EXIT_HELD, "HELD  single points of failure: lb, db (the stage file declares: lb, db)"),
        (("kill-lb",), EXIT_REFUTED, "db is declared, and was survived"),
        (("kill-lb", "kill-db", "kill-web1"), EXIT_REFUTED, "web1 is a single point of failure, and not declared"),
    ],
)
def test_a_sweep_holds_where_it_finds_what_is_declared(lab: Lab, gone: tuple[str, ...], code: int, said: str) -> None:
    bench = PlayedBench(without(*gone))
    done = lab("spof", "3", *SHORT, bench=bench)
    assert done.code == code
    assert said in done.out
    assert not any(each.startswith("stop") for each in bench.done)


def test_a_search_of_pairs_names_hidden_dependencies(lab: Lab) -> None:
    down = without("kill-db1-and-monitor", "kill-web1-and-web2")
    done = lab("spof", "5", "--pairs", *SHORT, bench=PlayedBench(down))
    assert done.code == EXIT_HELD
    assert done.out.count("OUTAGE  ") == 2
    assert done.out.count("hidden dependency") == 1
    assert "hidden dependency: db1 and monitor" in done.out


def test_a_sweep_as_a_document(lab: Lab, tmp_path: Path) -> None:
    done = lab(
        "spof",
        "4",
        "--failover",
        "automatic",
        "--faults",
        "kill,pause",
        "--json",
        *SHORT,
        bench=PlayedBench(without("kill-lb", "pause-lb")),
    )
    document = json.loads(done.out)
    assert (document["verdict"], document["spof"]["found"], document["spof"]["declared"]) == ("held", ["lb"], ["lb"])
    assert len(document["spof"]["results"]) == 12
    assert document["folder"].startswith(str(tmp_path / "results" / "spof"))
    assert (results(tmp_path, "spof") / "result.json").exists()


def test_an_interrupted_sweep_goes_on(lab: Lab) -> None:
    lab("spof", "3", *SHORT, bench=PlayedBench(without("kill-lb", "kill-db"), before=cut_at(4, KeyboardInterrupt())))
    bench = PlayedBench(without("kill-lb", "kill-db"))
    done = lab("spof", "3", *SHORT, bench=bench)
    assert done.code == EXIT_HELD
    assert bench.done[0] == "start redundancy-lab-3"
    assert len(bench.done) == 3


def test_how_long_it_takes_is_said_before_it_starts_and_when_it_goes_on(lab: Lab) -> None:
    command = ("spof", "3", "--faults", "all", *SHORT)
    done = lab(*command, bench=PlayedBench(before=cut_at(4, KeyboardInterrupt())))
    trials = int(done.err.partition("to do: ")[2].split()[0])
    assert f"to do: {trials} trials, about {round(trials * 14 / 60)} min without starting stages" in done.err
    dry = lab("spof", "3", "--faults", "all", "--dry-run", "--seed", "1")
    assert f"seed 1; {trials} trials, about {round(trials * 14 / 60)} min without starting stages" in dry.out
    # A trial that is played takes no time.
    assert f"to do: {trials - 2} trials, about 0 min" in lab(*command).err


@pytest.mark.parametrize(
    ("more", "arguments", "code", "said"),
    [
        ((), (), EXIT_HELD, "HELD"),
        ((), ("--require-alerts",), EXIT_INCONCLUSIVE, "kill web1: it is not known whether an alert reported it"),
        ((alert_record(),), (), EXIT_HELD, "4 reported by no page and no ticket"),
        ((alert_record(),), ("--require-alerts",), EXIT_REFUTED, "kill web1: it did harm, and no page and no ticket reported it"),
        ((alert_record(), PAGE), ("--require-alerts",), EXIT_HELD, "HELD"),
        ((alert_record(is_complete=False), PAGE), ("--require-alerts",), EXIT_INCONCLUSIVE, "INCONCLUSIVE"),
        ((alert_record(is_monitored=False),), ("--require-alerts",), EXIT_REFUTED, "REFUTED"),
    ],
)
def test_a_fault_that_no_alert_reports_is_listed_and_fails_only_where_alerts_are_required(
    lab: Lab, more: tuple[Event, ...], arguments: tuple[str, ...], code: int, said: str
) -> None:
    bench = PlayedBench(without("kill-lb", "kill-db"), changes={"events": (*EVENTS, *more)})
    done = lab("spof", "3", *arguments, *SHORT, bench=bench)
    assert (done.code, said in done.out) == (code, True), done.out


def test_a_search_that_is_kept_is_shown_by_part_and_written_as_every_report(lab: Lab, tmp_path: Path) -> None:
    bench = PlayedBench(without("kill-lb", "kill-db"), changes={"events": (*EVENTS, alert_record())})
    lab("spof", "3", "--faults", "kill,pause", *SHORT, bench=bench)
    folder = str(results(tmp_path, "spof").resolve())
    shown = lab("report", folder).out
    assert "OUTAGE" in shown
    assert "not notified" in " ".join(shown.split())
    page, cases = tmp_path / "spof.html", tmp_path / "spof.xml"
    assert lab("report", folder, "--html", str(page), "--junit", str(cases)).code == EXIT_HELD
    assert "not notified" in page.read_text(encoding="utf-8")
    assert 'name="notified" value="not notified"' in cases.read_text(encoding="utf-8")
