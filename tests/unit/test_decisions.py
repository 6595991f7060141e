"""Every decision says whether it still stands, refers to decisions that exist, and is in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.spec.stages import ROOT

FOLDER = ROOT / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
NUMBERS = {file.name[:4] for file in DECISIONS}
LIST = r"(?P<by>\d{4}(?:, \d{4})*)"
STATUS = re.compile(
    rf"Status: (?P<short>stands \(since \d{{4}}-\d\d-\d\d\)|changed by {LIST}(?=: \S)|superseded by (?P<next>\d{{4}})$)"
)
ROW = re.compile(r"\| (?P<number>\d{4}) \| \[[^]]+\]\((?P<file>[^)]+)\) \| (?P<status>[^|]+) \| [^|]+ \|")
WORDS_MAX = 700


def status(text: str) -> re.Match[str] | None:
    """The status in a decision's first line under its title."""
    return STATUS.match(text.splitlines()[2])


def is_allowed(text: str) -> bool:
    """Whether the title, an empty line and a status of the allowed form come first, each by itself."""
    title, empty, _, after = text.splitlines()[:4]
    return title.startswith("# ") and empty == after == "" and status(text) is not None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Status: stands (since 2026-11-22)", True),
        ("Status: changed by 0029: what ends an outage.", True),
        ("Status: changed by 0029, 0030: two things.", True),
        ("Status: superseded by 0029", True),
        ("Status: stands", False),
        ("Status: changed by 0029", False),
        ("Status: superseded by 29", False),
        ("_Replaced in part by 0029._", False),
    ],
)
def test_form_of_a_status(line: str, expected: bool) -> None:
    assert is_allowed(f"# 0001 A title\n\n{line}\n\nText.\n") is expected


@pytest.mark.parametrize("file", DECISIONS, ids=lambda file: file.name[:4])
def test_a_decision_says_whether_it_stands(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# {file.name[:4]} ")
    assert is_allowed(text), text.splitlines()[2]
    assert len(text.split()) <= WORDS_MAX


@pytest.mark.parametrize("file", DECISIONS, ids=lambda file: file.name[:4])
def test_a_decision_refers_to_decisions_and_files_that_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = status(text)
    assert found
    later = set(re.findall(r"\d{4}", found["by"] or found["next"] or ""))
    assert later <= NUMBERS
    assert all(number > file.name[:4] for number in later), "an earlier decision cannot change a later one"
    assert set(re.findall(r"\b00\d\d\b", text)) <= NUMBERS
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_the_index_has_every_decision_with_its_status() -> None:
    rows = [found for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if (found := ROW.fullmatch(line))]
    assert [(row["number"], row["file"]) for row in rows] == [(file.name[:4], file.name) for file in DECISIONS]
    for row in rows:
        found = status((FOLDER / row["file"]).read_text(encoding="utf-8"))
        assert found
        assert row["status"] == found["short"].partition(" (")[0], row["file"]
