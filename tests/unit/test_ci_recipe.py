"""The workflow, the recipe for CI, and every other document: what they call exists, and takes the options that they give it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from lab import errors
from lab.analysis import budget
from lab.cli.main import cli
from lab.cluster import images
from lab.errors import UsageError
from lab.spec import experiments, stages
from lab.spec.stages import ROOT

WORKFLOW = ROOT / "docs" / "ci" / "github-actions.yaml"
GUIDE = ROOT / "docs" / "comparing.md"
BUG = 70
BUDGETS = ROOT / "docs" / "ci" / "budgets.yaml"
DOCUMENT: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = DOCUMENT["jobs"]["compare"]["steps"]


def lines_of_workflow() -> list[str]:
    """Every shell line, with the option that an expression may add, by itself or as a variable of its step."""
    text = "\n".join(_with_variables(step) for step in STEPS if "run" in step)
    return [line.partition(" || ")[0].strip() for line in _with_options(text).splitlines()]


def _with_variables(step: dict[str, Any]) -> str:
    text = str(step["run"])
    for name, value in step.get("env", {}).items():
        text = text.replace(f"${name}", _with_options(str(value)))
    return text


def _with_options(text: str) -> str:
    return re.sub(r"\$\{\{[^}]*'(--[^']*)'[^}]*\}\}", r"\1", text)


def blocks_of_guide(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    return [block for which, block in found if which == language]


def lines_of_guide() -> list[str]:
    return [
        line
        for block in blocks_of_guide("")
        for line in block.splitlines()
        if line.startswith(("lab ", ".venv/bin/lab ", "make "))
    ]


def commands(lines: list[str], name: str) -> list[list[str]]:
    """The arguments of each call of a program."""
    words = [shlex.split(line.replace("$SEED", "1"), comments=True) for line in lines]
    return [each[1:] for each in words if each and Path(each[0]).name == name]


CALLS = [*commands(lines_of_workflow(), "lab"), *commands(lines_of_guide(), "lab")]


def test_something_is_called() -> None:
    called = [arguments[0] for arguments in CALLS]
    assert called.count("compare") >= 5
    assert {"spof", "selftest", "down", "compare"} <= set(called)
    assert [
        word for word in commands(lines_of_workflow(), "lab")[1] if word in ("compare", "--baseline", "baseline/result.json")
    ] == ["compare", "--baseline", "baseline/result.json"]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_what_is_called_exists_and_takes_its_options(arguments: list[str]) -> None:
    name, *rest = arguments
    context = cli.commands[name].make_context(name, list(rest))
    assert context.params
    options = {
        option
        for param in context.command.params
        if isinstance(param, click.Option)
        for option in (*param.opts, *param.secondary_opts)
    }
    assert {word for word in rest if word.startswith("--")} <= options


DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "stages").glob("*/README.md")])
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```$", re.M | re.S)
OF_THE_LAB = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?lab (?=[a-z])(.*)")
SPANS = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?lab [^`]+)`")
# In a sentence a command may be named without what it is given, or with a word that stands for it.
STANDS_FOR = re.compile(r"\b[A-Z]{3,}\b|\.\.\.")


def of_blocks(text: str) -> list[str]:
    """The lab's commands of the blocks of a document, one each; several on a line are taken apart."""
    return [part.strip() for block in FENCED.findall(text) for line in block.splitlines() for part in line.split(" && ")]


def arguments_of(line: str) -> list[str]:
    """What the lab is given on a line; empty where it is not called."""
    match = OF_THE_LAB.fullmatch(" ".join(line.split()))
    return shlex.split(match[1], comments=True) if match else []


def parsed(arguments: list[str]) -> None:
    """Parse a command line as click does. Raises click.ClickException, KeyError or UsageError for what cannot be."""
    name, *rest = arguments
    cli.commands[name].make_context(name, list(rest))
    given = [word for word in rest if not word.startswith("-")]
    if name == "run" and len(given) > 1 and given[0].isdigit():
        stages.parse(given[0])
        assert given[1].endswith(".yaml") or experiments.find(given[1])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_document_is_one(path: Path) -> None:
    # The glossary ends with words that are not used any more.
    text = path.read_text(encoding="utf-8").partition("## Words we do not use")[0]
    for line in of_blocks(text):
        if arguments := arguments_of(line):
            parsed(arguments)
    for said in SPANS.findall(FENCED.sub("", text)):
        arguments = arguments_of(said)
        if arguments and not STANDS_FOR.search(said):
            with suppress(click.MissingParameter):
                parsed(arguments)


def test_commands_are_found_and_a_wrong_one_is_not_taken() -> None:
    found = [
        arguments
        for path in DOCUMENTS
        for line in of_blocks(path.read_text(encoding="utf-8"))
        if (arguments := arguments_of(line))
    ]
    assert len(found) > 80
    assert {arguments[0] for arguments in found} >= {
        "run",
        "up",
        "down",
        "heal",
        "chaos",
        "status",
        "compare",
        "spof",
        "doctor",
        "build",
    }
    for wrong in (
        ["explode", "3"],
        ["run", "3", "kill-web", "--loudly"],
        ["up", "3", "--stop-others=7"],
        ["run", "3", "kill-nothing"],
    ):
        with pytest.raises((KeyError, click.ClickException, UsageError)):
            parsed(wrong)


def test_what_make_is_asked_for_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    asked = [each for lines in (lines_of_workflow(), lines_of_guide()) for each in commands(lines, "make")]
    assert len(asked) == 2
    assert all(set(each) <= targets for each in asked)


def test_the_workflow_is_one_that_github_takes() -> None:
    # YAML 1.1 reads the key "on" as true; GitHub does not.
    assert set(DOCUMENT) == {"name", True, "permissions", "concurrency", "jobs"}
    assert set(DOCUMENT[True]) == {"pull_request", "push"}
    assert DOCUMENT["permissions"] == {"contents": "read"}
    for step in STEPS:
        assert ("uses" in step) != ("run" in step)
        assert step.get("name") or step["uses"]
        assert re.fullmatch(r"actions/[a-z-]+(/[a-z]+)?@v\d+", step.get("uses", "actions/checkout@v4"))


def test_whatever_happens_it_is_kept_and_cleaned_up() -> None:
    always = [step["name"] for step in STEPS if step.get("if") == "${{ always() }}"]
    assert always == ["Keep everything that was seen", "Leave nothing behind"]
    assert STEPS[-1]["run"].endswith("lab down --all")


def test_the_budgets_that_come_with_it_are_budgets(tmp_path: Path) -> None:
    assert budget.read(BUDGETS).trials >= 5
    shown = blocks_of_guide("yaml")
    assert len(shown) == 1
    (tmp_path / "shown.yaml").write_text(shown[0])
    assert len(budget.read(tmp_path / "shown.yaml").limits) == 2


def test_the_guide_knows_every_bound() -> None:
    said = BUDGETS.read_text(encoding="utf-8")
    assert [key for key in budget.KEYS if f"{key}:" not in said] == []


def test_exit_codes_are_said_in_one_table_and_in_the_help() -> None:
    constants = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    results = (
        (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition("## Verdict and exit code")[2].partition("\n## ")[0]
    )
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", results, re.M)} == constants | {BUG}
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", (cli.help or "").partition("Exit codes:")[2])} == constants | {BUG}
    assert "| exit code |" not in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_variable_that_is_read_is_in_the_table() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in [*(ROOT / "lab").rglob("*.py"), *(ROOT / "scripts").glob("ensure-*")]
    )
    read = set(re.findall(r"\b(?:LAB_[A-Z_]+|XDG_STATE_HOME|PIP_CERT|REQUESTS_CA_BUNDLE)\b", text))
    read |= set(
        re.findall(r"\$\{(LAB_[A-Z_]+)", "\n".join(stage.file.read_text(encoding="utf-8") for stage in stages.all_stages()))
    )
    table = (
        (ROOT / "docs" / "environment.md").read_text(encoding="utf-8").partition("| variable | meaning |")[2].partition("\n\n")[0]
    )
    assert read - set(re.findall(r"`(\w+)`", table)) == set()


def test_images_go_to_a_room_without_a_network() -> None:
    page = (ROOT / "docs" / "workshop.md").read_text(encoding="utf-8")
    assert "lab images save" in page
    assert "lab images load" in page
    assert len(images.SOURCES) == 10, "workshop.md says ten"
