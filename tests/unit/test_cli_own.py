"""`lab run --compose`, as a user calls it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.cli.main import cli
from lab.errors import EXIT_HELD, EXIT_PREFLIGHT, EXIT_USAGE, UsageError
from lab.model.fault import Undo, UndoAction
from lab.spec.own_stack import page_of, project_of, read_settings
from lab.spec.own_stack_keys import OwnFile
from lab.spec.stages import ROOT
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box
from tests.unit.test_cli import Lab, lab  # noqa: F401
from tests.unit.test_own import foreign
from tests.unit.test_visit import BACK, FRONT, PlayedVisit

EXAMPLE = ROOT / "docs" / "examples" / "own-stack"
GUIDE = (ROOT / "docs" / "own-stack.md").read_text(encoding="utf-8")
SAID = {"name": "shop", "services": {"lb": {}, "app": {}}, "networks": {"front": {"name": FRONT}, "back": {"name": BACK}}}


@pytest.fixture
def compose(tmp_path: Path) -> str:
    (tmp_path / "compose.yaml").write_text("name: shop\n")
    return str(tmp_path / "compose.yaml")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., PlayedVisit]:
    """The shop runs; Compose need not be there to say what is in its file."""

    def played() -> PlayedVisit:
        boxes = [foreign("app", "web", addresses={BACK: "172.19.0.3"}), foreign("lb", "entry", addresses={FRONT: "172.18.0.2"})]
        plays = PlayedVisit([*boxes, box("internet", ("internet",), stage=0)])
        monkeypatch.setattr("lab.store.paths.STATE_FOLDER", tmp_path)
        monkeypatch.setattr("lab.cli.own_stack.DockerEngine", lambda: plays)
        monkeypatch.setattr("lab.cli.own_stack.compose_config", lambda *_: SAID)
        return plays

    return played


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which experiment, on which stage?"),
        (("3",), "which experiment, on which stage?"),
        (("3", "kill-web", "--kill", "web"), "--kill needs --compose"),
        (("--url", "http://lb/"), "--url needs --compose"),
        (("3", "kill-web", "--compose", "FILE"), "either STAGE and EXPERIMENT, or --compose"),
        (("3", "--compose", "FILE"), "either STAGE and EXPERIMENT, or --compose"),
        (("--compose", "FILE", "--failover", "automatic"), "--failover is about a stage"),
        (("--compose", "FILE", "--web-ui"), "--web-ui needs a port"),
        (("--compose", "FILE", "--repair", "restart"), "--repair is about a stage of the lab"),
        (("--compose", "FILE", "--repair-delay", "3s"), "--repair-delay is about a stage of the lab"),
        (("--compose", "FILE", "--repair-delay", "0s", "--dry-run"), "--repair-delay is about a stage of the lab"),
        (("--compose", "FILE", "--kill", "lb", "--pause", "app"), "kill lb and pause app: one fault a run"),
        (("--compose", "no-such.yaml", "--kill", "lb"), "there is no file no-such.yaml"),
        (("--compose", ".", "--kill", "lb"), "there is no file ."),
        (("--compose", "FILE", "--kill", "lb"), "which URL do users read?"),
        (("--compose", "FILE", "--url", "https://lb/", "--kill", "lb"), "is no plain http URL"),
        (("--compose", "FILE", "--url", "http://lb/", "--kill", "db"), "there is no service 'db' in shop"),
        (("--compose", "FILE", "--url", "http://lb/", "--kill", "random"), "there is no service 'random' in shop"),
        (("--compose", "FILE", "--url", "http://www/", "--kill", "lb"), "no service or alias 'www' in this project"),
    ],
)
def test_wrong_usage_is_one_line(
    lab: Lab,  # noqa: F811
    runs: Callable[..., PlayedVisit],
    compose: str,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    plays = runs()
    done = lab("run", *(compose if each == "FILE" else each for each in arguments))
    assert done.code == EXIT_USAGE
    assert len(done.errors) == 1
    assert says in done.errors[0]
    assert done.out == ""
    assert set(plays.done) <= {"visiting shop"}


def test_open_fault_comes_before_what_it_has_left_of_the_project(
    lab: Lab,  # noqa: F811
    runs: Callable[..., PlayedVisit],
    compose: str,
) -> None:
    plays = runs()
    plays.present = [each for each in plays.present if each.service != "lb"]
    UndoLog().open(Undo(UndoAction.START, "id-of-lb", "lb", 0, project="shop"), "kill")
    done = lab("run", "--compose", compose, "--url", "http://lb/", "--kill", "lb")
    assert done.code == EXIT_PREFLIGHT
    assert "a fault is still in effect: kill of lb" in done.errors[0]


def test_plan_is_shown_and_nothing_done(lab: Lab, runs: Callable[..., PlayedVisit], compose: str) -> None:  # noqa: F811
    plays = runs()
    arguments = ("run", "--compose", compose, "--url", "http://lb:8080/", "--pause", "app", "--duration", "3s", "--seed", "1")
    done = lab(*arguments, "--dry-run", "--json")
    assert (done.code, done.errors) == (EXIT_HELD, [])
    plan: dict[str, Any] = json.loads(done.out)
    assert (plan["stage"], plan["stage_folder"], plan["url"]) == (None, "own-shop", "http://lb:8080/")
    assert plan["steps"] == [{"fault": "pause", "target": "app", "delay_s": 0.0}]
    assert plan["fault_duration_s"] == 3.0
    assert [each["measure"] for each in plan["expectations"]] == ["downtime_longest_s"]
    assert "own-shop, pause-app: What happens if app is frozen?" in lab(*arguments, "--dry-run").out
    assert set(plays.done) <= {"visiting shop"}


def test_lab_yaml_beside_the_file_says_what_the_command_line_does_not(
    lab: Lab,  # noqa: F811
    runs: Callable[..., PlayedVisit],
    compose: str,
) -> None:
    runs()
    Path(compose).with_name("lab.yaml").write_text(
        "url: http://app:8080/\nroles: {web: [app]}\nexpect: {outages: {at_most: 0}}\n"
    )
    plan = json.loads(lab("run", "--compose", compose, "--kill", "web", "--dry-run", "--json").out)
    assert (plan["url"], plan["experiment"]) == ("http://app:8080/", "kill-web")
    assert plan["expectations"] == [{"measure": "outages", "at_most": 0, "at_least": None}]
    plan = json.loads(lab("run", "--compose", compose, "--url", "http://lb/", "--dry-run", "--json").out)
    assert (plan["url"], plan["experiment"], plan["steps"]) == ("http://lb/", "baseline", [])
    Path(compose).with_name("lab.yaml").write_text("expects: {}\n")
    assert "lab.yaml:1: 'expects' is not known here" in lab("run", "--compose", compose).errors[0]


def test_malformed_file_is_named_with_what_compose_says_of_it(
    lab: Lab,  # noqa: F811
    runs: Callable[..., PlayedVisit],
    compose: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs()

    def refuse(file: Path, _project: str) -> dict[str, Any]:
        raise UsageError(f"{file}:2: Docker Compose cannot read it: did not find expected node content")

    monkeypatch.setattr("lab.cli.own_stack.compose_config", refuse)
    done = lab("run", "--compose", compose, "--kill", "lb")
    assert done.code == EXIT_USAGE
    assert f"{compose}:2: " in done.errors[0]


# The example and the guide


def test_example_is_what_the_guide_says() -> None:
    document = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))
    project = project_of(EXAMPLE / "compose.yaml", document)
    settings = read_settings(EXAMPLE / "lab.yaml", project)
    assert page_of(settings.url, settings.contains).host in project.services
    assert settings.network in project.networks
    assert set(settings.roles_of) == set(project.services)
    assert document["services"]["app"]["deploy"]["replicas"] == 2
    # No other registry is needed.
    assert all(each["image"].startswith("redundancy-lab/") for each in document["services"].values())
    assert settings.contains in document["configs"]["hello"]["content"]


def test_guide_names_every_option_and_every_key() -> None:
    options = [name for each in cli.commands["run"].params for name in each.opts if name.startswith("--")]
    rest = {"--web-ui", "--failover", "--repair", "--repair-delay", "--verbose", "--model"}
    assert [name for name in options if name not in rest and f"`{name}" not in GUIDE] == []
    assert [key for key in OwnFile.model_fields if not re.search(rf"`{key}`", GUIDE)] == []


def test_every_command_of_the_guide_is_understood(
    lab: Lab,  # noqa: F811
    runs: Callable[..., PlayedVisit],
    compose: str,
) -> None:
    runs()
    Path(compose).with_name("lab.yaml").write_text((EXAMPLE / "lab.yaml").read_text(encoding="utf-8"))
    lines = [line.partition("#")[0].split() for line in GUIDE.splitlines() if line.startswith("lab run ")]
    assert len(lines) == 3
    for _, *words in lines:
        done = lab(*(compose if word == "compose.yaml" else word for word in words), "--dry-run", "--json")
        assert done.errors == []
