"""The layers that docs/architecture.md draws are those of the code: every module is in one, and imports point down only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lab.stages import ROOT

LAB = ROOT / "lab"
TABLE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Layers")[2].partition("Three rules")[0]
LAYERS = {
    name.rstrip("/"): int(line[2])
    for line in TABLE.splitlines()
    if re.match(r"\| \d ", line)
    for name in re.findall(r"`([\w/]+)`", line)
}
FILES = sorted(file for file in LAB.rglob("*.py") if not file.name.startswith("__"))


def module_of(file: Path) -> str:
    """Its name in the table: that of its folder, where it has one."""
    return file.relative_to(LAB).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """The modules of the lab that a file imports, as the table calls them; what only types need does not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "lab":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lab."):
            found.add(node.module.split(".")[1])
    return found


def test_every_module_has_a_layer_and_every_name_is_a_module() -> None:
    assert {module_of(file) for file in FILES} == set(LAYERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LAB)))
def test_imports_point_down_only(file: Path) -> None:
    mine = LAYERS[module_of(file)]
    assert {name for name in imported(file) if LAYERS[name] > mine} == set()
