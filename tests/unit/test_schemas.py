from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.analysis import budget, reliability
from lab.faults import OF_A_LINE
from lab.model.measures import MEASURES
from lab.spec import experiments, schemas, stages
from lab.spec.assumptions_keys import Boxes, Failovers, Places
from lab.spec.base import Strict
from lab.spec.budget_keys import LimitKeys
from lab.spec.experiment_keys import ExperimentFile
from lab.spec.parameters import OF_A_LINE as ALLOWED_OF_A_LINE
from lab.spec.stages import ROOT


@pytest.mark.parametrize("name", schemas.all_schemas())
def test_schema_is_up_to_date(name: str) -> None:
    kept = json.loads((schemas.FOLDER / name).read_text(encoding="utf-8"))
    assert kept == schemas.all_schemas()[name], "make schemas"


def test_there_is_no_other_schema() -> None:
    assert {file.name for file in schemas.FOLDER.iterdir()} == set(schemas.all_schemas())


def test_written_again_they_are_the_same(tmp_path: Path) -> None:
    for file in schemas.write(tmp_path):
        assert file.read_text(encoding="utf-8") == schemas.text_of(schemas.all_schemas()[file.name])


def known_in(schema: dict[str, Any], whole: dict[str, Any]) -> set[str]:
    """The keys that a schema, or what it refers to, knows."""
    found = whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return set(found["properties"])


@pytest.mark.parametrize("file", sorted(experiments.FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_experiments_use_what_the_schema_knows(file: Path) -> None:
    schema, document = schemas.all_schemas()["experiment.json"], yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(document) <= known_in(schema, schema)
    assert set(schema["required"]) <= set(document)
    assert set(document["expect"]) <= set(schema["properties"]["expect"]["propertyNames"]["enum"])
    for step in document.get("steps", []):
        assert set(step) <= known_in(schema["properties"]["steps"]["items"], schema)


def test_schemas_name_every_measure_fault_and_parameter() -> None:
    schema = schemas.all_schemas()["experiment.json"]
    assert schema["properties"]["expect"]["propertyNames"]["enum"] == list(MEASURES)
    assert {"from", "direction", "delay_ms", "preconditions"} <= set(schema["properties"])
    assert "null" not in json.dumps(schema)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (LimitKeys, budget.KEYS),
        (Boxes, reliability.KINDS),
        (Places, reliability.PLACES),
        (Failovers, reliability.FAILOVERS),
    ],
)
def test_a_file_may_say_what_is_used_and_nothing_else(model: type[Strict], names: tuple[str, ...]) -> None:
    assert set(model.model_fields) == set(names)


def test_a_line_takes_the_faults_that_are_there_for_it() -> None:
    assert set(ALLOWED_OF_A_LINE) == set(OF_A_LINE)


def test_every_key_of_an_experiment_is_described() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    keys = [field.alias or name for name, field in ExperimentFile.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_stage_files_have_what_their_schema_asks_for() -> None:
    schema = schemas.all_schemas()["stage.json"]["properties"]["x-lab"]
    for stage in stages.all_stages():
        about = yaml.safe_load(stage.file.read_text(encoding="utf-8"))["x-lab"]
        assert set(schema["required"]) <= set(about) <= set(schema["properties"])
