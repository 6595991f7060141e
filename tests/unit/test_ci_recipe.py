"""The workflow and the recipe for CI: what they call exists, and takes the options that they give it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from lab import budget
from lab.cli import cli
from lab.stages import ROOT

WORKFLOW = ROOT / "docs" / "ci" / "github-actions.yaml"
GUIDE = ROOT / "docs" / "comparing.md"
BUDGETS = ROOT / "docs" / "ci" / "budgets.yaml"
DOCUMENT: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = DOCUMENT["jobs"]["compare"]["steps"]


def lines_of_workflow() -> list[str]:
    """Every shell line, with the option that an expression may add."""
    text = "\n".join(str(step["run"]) for step in STEPS if "run" in step)
    return re.sub(r"\$\{\{[^}]*'(--[^']*)'[^}]*\}\}", r"\1", text).splitlines()


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
    assert {"sweep", "selftest", "down", "compare"} <= set(called)
    assert [
        word for word in commands(lines_of_workflow(), "lab")[1] if word in ("compare", "--against", "baseline/result.json")
    ] == ["compare", "--against", "baseline/result.json"]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_what_is_called_exists_and_takes_its_options(arguments: list[str]) -> None:
    name, *rest = arguments
    context = cli.commands[name].make_context(name, list(rest))
    assert context.params
    options = {option for param in context.command.params if isinstance(param, click.Option) for option in param.opts}
    assert {word for word in rest if word.startswith("--")} <= options


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
