"""JSON Schemas of the files that people write, for editors: `python -m lab.schemas` writes docs/schemas/ again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.model.measures import MEASURES, MEASURES_OF_READS
from lab.spec.assumptions_keys import AssumptionsFile
from lab.spec.base import Strict
from lab.spec.budget_keys import BudgetFile
from lab.spec.experiment_keys import ExperimentFile
from lab.spec.own_stack_keys import OwnFile
from lab.spec.stage_keys import StageKeys
from lab.spec.stages import ROOT

FOLDER = ROOT / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def all_schemas() -> dict[str, dict[str, Any]]:
    """Each schema by the name of its file."""
    return {
        "experiment.json": _expecting(_schema(ExperimentFile), MEASURES),
        "budget.json": _schema(BudgetFile),
        "own-stack.json": _expecting(_schema(OwnFile), MEASURES_OF_READS),
        "assumptions.json": _schema(AssumptionsFile),
        "stage.json": _under("x-lab", _schema(StageKeys)),
    }


def text_of(schema: dict[str, Any]) -> str:
    """As it is written."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write them all; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in all_schemas().items():
        (folder / name).write_text(text_of(schema), encoding="utf-8")
    return [folder / name for name in all_schemas()]


def _schema(model: type[Strict]) -> dict[str, Any]:
    found: dict[str, Any] = _without_null(model.model_json_schema(by_alias=True))
    return {"$schema": DIALECT, **found}


def _without_null(schema: Any) -> Any:
    """What may be left out may not be empty: that is how the models read it, too."""
    if isinstance(schema, list):
        return [_without_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _without_null(each) for key, each in schema.items() if not (key == "default" and each is None)}
    choices = [each for each in found.get("anyOf", []) if each != {"type": "null"}]
    if len(choices) == 1:
        del found["anyOf"]
        return {**choices[0], **found}
    return found


def _expecting(schema: dict[str, Any], measures: tuple[str, ...]) -> dict[str, Any]:
    schema["properties"]["expect"]["propertyNames"] = {"enum": list(measures)}
    return schema


def _under(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a file of which only one entry is the lab's."""
    own: dict[str, Any] = {name: schema.pop(name) for name in ("$schema", "$defs") if name in schema}
    return {**own, "title": "StageFile", "type": "object", "properties": {key: schema}, "required": [key]}


if __name__ == "__main__":
    for written in write():
        print(written.relative_to(ROOT))
