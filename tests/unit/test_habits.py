"""What contributors read is true: links, commands, worked examples, and a reason for each exception of the linters."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lab.checker import verdict
from lab.cli.main import cli
from lab.engine.engine import ExecResult
from lab.faults.base import Fault, InjectionTarget
from lab.model.fault import FaultKind, UndoAction
from lab.model.topology import Box
from lab.spec import experiments, stages
from lab.spec.stages import ROOT
from tests.unit.helpers import box, result

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "AGENTS.md")]
DOCUMENTS = [*PAGES, ROOT / "docs" / "architecture.md", ROOT / "docs" / "internals.md"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# What the worked examples make: these files are not there.
MADE = {"lab/faults/terminate.py", "lab/experiments/restart-web.yaml"}

BLOCK = r"^ *```(\w*)\n(.*?)^ *```$"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_document = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)


# Links


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(text: str, folder: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading of it."""
    found = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    return [link for link in found if not leads_somewhere(link, text, folder)]


def leads_somewhere(link: str, text: str, folder: Path) -> bool:
    name, _, anchor = link.partition("#")
    target = folder / name
    if not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text(encoding="utf-8") if name else text)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A title: `code`, and more\n```\n# no title\n```\n", encoding="utf-8")
    good = "[a](there.md) [b](there.md#a-title-code-and-more) [c](https://example.org/none) [d](#here)\n# Here\n"
    assert broken(good, tmp_path) == []
    bad = "[a](gone.md) [b](there.md#other) [c](there.md#no-title) [d](#there)"
    assert broken(bad, tmp_path) == ["gone.md", "there.md#other", "there.md#no-title", "#there"]


@each_document
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page.read_text(encoding="utf-8"), page.parent) == []


# Commands and files


def code(text: str) -> str:
    """The commands of a page: its blocks that are in no language, and what is code in its lines."""
    blocks = re.findall(BLOCK, text, re.MULTILINE | re.DOTALL)
    prose = re.sub(BLOCK, "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*(body for language, body in blocks if not language), *re.findall(r"`([^`]+)`", prose)])


def test_code_is_kept_apart_from_prose() -> None:
    page = "In the lab we say `lab up`.\n```\nmake x\n```\n```yaml\nmake: y\n```\nlab z\n"
    assert code(page) == "make x\n\nlab up"


@each_page
def test_make_has_every_target_that_is_named(page: Path) -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", code(page.read_text(encoding="utf-8"))))
    assert named - set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.M)) - {"stage-"} == set()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "AGENTS.md"])
def test_the_lab_has_every_command_that_is_named(name: str) -> None:
    named = set(re.findall(r"\blab ([a-z]+)\b", code((ROOT / name).read_text(encoding="utf-8"))))
    assert named
    assert named - set(cli.commands) == set()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "AGENTS.md"])
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = re.findall(r"`((?:lab|docs|tests|apps|compose|stages)/[\w./-]+)`", (ROOT / name).read_text(encoding="utf-8"))
    assert len(named) >= 3
    assert [path for path in named if path not in MADE and "N-name" not in path and not (ROOT / path).exists()] == []


# The worked examples


def example(language: str, contains: str) -> str:
    """The one block of CONTRIBUTING.md in a language that has this text."""
    (found,) = [
        each for each in re.findall(rf"^ *```{language}\n(.*?)^ *```", CONTRIBUTING, re.M | re.DOTALL) if contains in each
    ]
    return str(found)


def test_the_example_of_an_experiment_is_one(tmp_path: Path) -> None:
    file = tmp_path / "restart-web.yaml"
    file.write_text(example("yaml", "title:"), encoding="utf-8")
    found = experiments.read(file)
    assert found.question.endswith("?")
    assert "writes_lost" in {each.measure for each in found.expectations}
    experiments.check_targets(found, stages.find("3"))
    assert "restart-web" not in experiments.names(), "the example is shipped: take another one"


def test_the_example_of_a_measure_is_known_where_it_can_be() -> None:
    figure: Any = eval(f"{{{example('python', 'latency_p99_ms')}}}", dict(vars(verdict)))["latency_p99_ms"]
    found = figure(result((2.0, 3.0)))
    assert (found.is_exact, found.low) == (True, pytest.approx(10.0, abs=0.1))
    assert figure(result((2.0, 99.0))) is None
    assert "latency_p99_ms" not in verdict.FIGURES, "the example is a measure: take another one"


class OneBox:
    """A box that is as it is said to be, for a fault that only looks at it and runs a command in it."""

    def __init__(self, now: Box) -> None:
        self.now = now
        self.commands: list[list[str]] = []

    def box(self, _box: Box) -> Box:
        return self.now

    def run_in(self, _box: Box, command: list[str]) -> ExecResult:
        self.commands.append(command)
        return ExecResult(0, "")


def example_fault() -> Any:
    """The fault of the worked example, as if the lab had a kind for it."""
    space: dict[str, Any] = {}
    exec(example("python", "class Terminate").replace("FaultKind.TERMINATE", "FaultKind.RESTART"), space)
    return space["Terminate"]()


def test_the_example_of_a_fault_does_what_it_says() -> None:
    fault, target, control = example_fault(), InjectionTarget.of(box(), "web"), OneBox(box())
    assert [name for name in vars(Fault) if not name.startswith("_") and not hasattr(fault, name)] == []
    assert fault.undo(target).action is UndoAction.START
    fault.inject(control, fault.prepare(control, target))
    assert control.commands == [["kill", "-TERM", "1"]]
    assert not fault.verify(control, target).proved
    assert fault.verify(OneBox(box(status="exited")), target).proved
    assert "terminate" not in [kind.value for kind in FaultKind], "the example is a fault: take another one"


# Exceptions of the linters, and what is on the pages


def table(name: str) -> list[str]:
    """The lines of a table of pyproject.toml."""
    return PYPROJECT.partition(f"[{name}]\n")[2].partition("\n[")[0].splitlines()


def without_reason(lines: list[str]) -> list[str]:
    """The exceptions that have no comment above them; one comment may stand above several of the same kind of file."""
    found, has_reason = [], False
    for line in map(str.strip, lines):
        if line.startswith(("# ", '"')):
            found += [line] if line.startswith('"') and not has_reason else []
            has_reason = True
        else:
            has_reason = False
    return found


def ignored() -> list[str]:
    """The lines of ruff's list of ignored rules."""
    return "\n".join(table("tool.ruff.lint")).partition("\nignore = [\n")[2].partition("\n]")[0].splitlines()


def test_each_ignored_rule_has_its_reason() -> None:
    lines = ignored()
    rules = tomllib.loads(PYPROJECT)["tool"]["ruff"]["lint"]["ignore"]
    assert [line.strip() for line in lines if not line.strip().startswith("#")] == [f'"{rule}",' for rule in rules]
    assert [
        rule for above, rule in zip(["", *lines], lines, strict=False) if '"' in rule and not above.strip().startswith("# ")
    ] == []


def test_each_exception_for_some_files_has_its_reason() -> None:
    lines = table("tool.ruff.lint.per-file-ignores")
    exceptions = tomllib.loads(PYPROJECT)["tool"]["ruff"]["lint"]["per-file-ignores"]
    assert sum(line.startswith('"') for line in lines) == len(exceptions) > 0
    assert without_reason(lines) == []
    assert without_reason(['"a" = ["D1"]', "", "# why", '"b" = ["D1"]', '"c" = ["D1"]']) == ['"a" = ["D1"]']


def test_each_override_of_mypy_has_its_reason() -> None:
    before = re.findall(r"^(.*)\n\[\[tool\.mypy\.overrides\]\]$", PYPROJECT, re.M)
    assert len(before) == len(tomllib.loads(PYPROJECT)["tool"]["mypy"]["overrides"]) > 0
    assert [line for line in before if not line.startswith("# ")] == []


def test_the_picture_of_the_architecture_has_every_room() -> None:
    picture = ARCHITECTURE.partition("## The picture")[2].partition("## ")[0]
    rooms = {each.name for each in (ROOT / "lab").iterdir() if (each / "__init__.py").exists()}
    assert set(re.findall(r"\b([a-z]+)/ ", picture)) | set(re.findall(r"\b([a-z]+)/│", picture)) == rooms


@pytest.mark.parametrize(
    ("path", "words", "lines"), [("docs/architecture.md", 1100, 150), ("AGENTS.md", 400, 40), ("CHANGELOG.md", 900, 80)]
)
def test_pages_stay_short(path: str, words: int, lines: int) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.split()) <= words
    assert len(text.splitlines()) <= lines


def test_the_changelog_begins_with_what_is_not_released() -> None:
    titles = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert titles[0] == "Unreleased"
    assert tomllib.loads(PYPROJECT)["project"]["version"] in titles
