from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.campaign import resume
from lab.cluster import images
from lab.model.experiment import LoadPlan
from lab.spec import experiments, stages
from lab.store import jsonl

PROGRESS = "rounds.jsonl"


def tree(root: Path) -> Path:
    for name in ("lab/a.py", "lab/report/b.py", "apps/client/client/c.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


@pytest.mark.parametrize("name", ["lab/a.py", "lab/report/b.py", "apps/client/client/c.py", "lab/new.py"])
def test_code_that_has_changed_is_another_version(tmp_path: Path, name: str) -> None:
    before = resume.code_version(tree(tmp_path / "one"))
    other = tree(tmp_path / "two")
    assert resume.code_version.__wrapped__(other) == before
    (other / name).write_text("changed\n")
    assert resume.code_version.__wrapped__(other) != before


def test_line_ends_of_a_checkout_are_no_change(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    (two / "lab" / "a.py").write_bytes(b"# lab/a.py\r\n")
    assert resume.code_version(one) == resume.code_version(two)


def test_conditions_are_of_the_load_the_code_the_files_and_the_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, kill = stages.find("3"), experiments.find("kill-web")
    before = resume.conditions(stage, LoadPlan(), [kill])
    assert before == resume.conditions(stage, LoadPlan(), [kill])
    changed = {
        "load": resume.conditions(stage, LoadPlan(rate_per_s=50), [kill]),
        "experiments": resume.conditions(stage, LoadPlan(), [replace(kill, fault_duration_s=kill.fault_duration_s + 1)]),
    }
    monkeypatch.setattr(images, "fingerprint", lambda _: "changed")
    changed["stage"] = resume.conditions(stage, LoadPlan(), [kill])
    for key, found in changed.items():
        assert {name for name in before if before[name] != found[name]} == {key}


def note(folder: Path) -> None:
    jsonl.Lines(folder / PROGRESS).append({"number": 1})


def test_a_folder_without_progress_is_taken_over(tmp_path: Path) -> None:
    base = tmp_path / "7-60"
    assert resume.folder(base, PROGRESS, {"code": "1"}) == (base, "")
    assert resume.folder(base, PROGRESS, {"code": "2"}) == (base, "")
    note(base)
    assert resume.folder(base, PROGRESS, {"code": "2"}) == (base, "")


def test_each_series_is_found_again_among_others(tmp_path: Path) -> None:
    base = tmp_path / "7-60"
    folders: list[Path] = []
    for code in "123":
        folder, why = resume.folder(base, PROGRESS, {"code": code})
        assert why.endswith("was measured with something else: the lab's code") == bool(folders)
        folders.append(folder)
        note(folder)
    assert [folder.name for folder in folders] == ["7-60", "7-60-2", "7-60-3"]
    assert [resume.folder(base, PROGRESS, {"code": code})[0] for code in "123"] == folders


@pytest.mark.parametrize("text", [None, "no json", "[]"])
def test_a_series_of_an_older_version_is_not_gone_on_with(tmp_path: Path, text: str | None) -> None:
    base = tmp_path / "7-60"
    note(base)
    if text is not None:
        (base / resume.CONDITIONS_NAME).write_text(text)
    found, why = resume.folder(base, PROGRESS, {"code": "1"})
    assert found.name == "7-60-2"
    assert why == f"{base} was measured with something else: it does not say what"
