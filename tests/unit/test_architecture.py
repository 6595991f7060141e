"""The layers that docs/architecture.md draws are those of the code: a room is a folder, imports point down only, no circle."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lab.spec.stages import ROOT

LAB = ROOT / "lab"
TABLE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Layers")[2].partition("Three rules")[0]
LAYERS = {
    name: int(line[2])
    for line in TABLE.splitlines()
    if re.match(r"\| \d ", line)
    for name in re.findall(r"`(\w+)/?`", line.split("|")[2])
}
FILES = sorted(file for file in LAB.rglob("*.py") if file.name not in ("__init__.py", "__main__.py"))
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}


def room(module: str) -> str:
    """Its name in the table: `lab.store.lock` is in `store`, `lab.errors` is by itself."""
    return module.split(".")[1]


@cache
def imported(file: Path) -> frozenset[str]:
    """The modules of the lab that a file imports; a package counts as such where no module of it is named."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lab":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lab"}
    return frozenset(found - {"lab"})


def upwards(importer: str, names: frozenset[str]) -> set[str]:
    """Those of the imported modules that are in a room which is not below that of the importer."""
    mine = room(importer)
    return {name for name in names if room(name) != mine and LAYERS[room(name)] >= LAYERS[mine]}


def test_every_room_has_a_layer_and_every_name_is_a_room() -> None:
    assert {room(module) for module in MODULES} == set(LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_only(module: str) -> None:
    assert upwards(module, imported(MODULES[module])) == set()


def test_an_import_upwards_is_found(tmp_path: Path) -> None:
    file = tmp_path / "lock.py"
    file.write_text("from lab.cli import main\nfrom lab.engine.engine import Engine\nfrom lab.errors import LabError\n")
    assert upwards("lab.store.lock", imported(file)) == {"lab.cli.main", "lab.engine.engine"}


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {module: {name for name in imported(file) if name in MODULES} for module, file in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


def test_reports_are_imported_by_the_command_line_alone() -> None:
    users = {room(module) for module, file in MODULES.items() for name in imported(file) if room(name) == "report"}
    assert users <= {"report", "cli"}
