"""Neighbouring stages differ in what the later one teaches, and each difference has its reason."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from typing import Any

import pytest

from lab.model.topology import INTERNET_ROLE, WATCH_ROLE, is_system
from lab.report.stage_diff import lines
from lab.spec import conditions, stage_diff
from lab.spec.stage_diff import StageDiff
from tests.stages.files import DOCUMENTS, FILES, FIRST, FOLDERS, SECOND, addresses, number_of, service

# Each file goes on from the one before: the automatic stage 4 from the one by hand, stage 5 from the automatic one.
STEPS = list(pairwise(FOLDERS))
CHANGED_LINES_MAX = {
    ("1-single-server", "2-separate-database"): 70,
    ("2-separate-database", "3-load-balancer"): 70,
    ("3-load-balancer", "4-database-replication"): 60,
    ("4-database-replication", "4-database-replication/compose.automatic.yaml"): 70,
    ("4-database-replication/compose.automatic.yaml", "5-redundant-load-balancers"): 90,
    ("5-redundant-load-balancers", "6-multi-az"): 120,
    ("6-multi-az", "7-multi-region"): 350,
}
SAID_LINES_MAX = 40
# The users' side, and a router: they have a number in each network.
NUMBERED_APART = (INTERNET_ROLE, WATCH_ROLE, "wan")

each_step = pytest.mark.parametrize(("before", "after"), STEPS)


def whole(folder: str, name: str) -> dict[str, Any]:
    """A service with the files that are put into it, without the number of its stage."""
    body = service(folder, name)
    files = {each["target"]: DOCUMENTS[folder]["configs"][each["source"]]["content"] for each in body.get("configs", [])}
    return {**body, "labels": {**body["labels"], "lab.stage": ""}, "configs": files}


def difference(before: str, after: str) -> StageDiff:
    reasons = stage_diff.joined_reasons([DOCUMENTS[after]])
    return stage_diff.compare(DOCUMENTS[before], DOCUMENTS[after], reasons, conditions.timers)


@pytest.mark.parametrize(("before", "after"), CHANGED_LINES_MAX)
def test_files_differ_in_few_lines(before: str, after: str) -> None:
    done = subprocess.run(["diff", FILES[before], FILES[after]], capture_output=True, text=True, check=False)
    changed = [line for line in done.stdout.splitlines() if line.startswith(("<", ">"))]
    assert 0 < len(changed) <= CHANGED_LINES_MAX[before, after]


def test_every_step_has_its_bound() -> None:
    assert list(CHANGED_LINES_MAX) == STEPS


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_setting_has_a_comment_of_one_line(folder: str) -> None:
    """Its reason stands elsewhere, in one place; the head of the file may be longer."""
    lines_ = FILES[folder].read_text(encoding="utf-8").splitlines()
    head = next(number for number, line in enumerate(lines_) if not line.startswith("#"))
    comments = [line.lstrip().startswith("#") for line in lines_[head:]]
    assert head <= 5
    assert [lines_[head + number] for number, both in enumerate(pairwise(comments)) if all(both)] == []


@each_step
def test_what_lab_diff_says_fits_on_a_screen(before: str, after: str) -> None:
    # The command puts a line with the names of both before these.
    assert 0 < len(lines(difference(before, after))) < SAID_LINES_MAX


@each_step
def test_every_box_that_differs_has_its_reason_and_no_other_has_one(before: str, after: str) -> None:
    changes = DOCUMENTS[after]["x-lab"]["changes"]
    both = set(DOCUMENTS[before]["services"]) & set(DOCUMENTS[after]["services"])
    differ = {name for name in both if whole(before, name) != whole(after, name)}
    heirs = {each.now[0] for each in difference(before, after).became if len(each.now) == 1}
    assert set(changes) == differ | heirs
    assert difference(before, after).unexplained == ()


@each_step
def test_lab_diff_says_of_every_box_that_differs_in_what(before: str, after: str) -> None:
    found = difference(before, after)
    said = {name for each in found.changed if each.settings for name in each.boxes}
    moved = {name for each in found.moved for name in each.boxes}
    assert set(DOCUMENTS[after]["x-lab"]["changes"]) <= said | moved


def test_first_stage_changes_nothing() -> None:
    assert DOCUMENTS[FIRST[0]]["x-lab"]["changes"] == {}


def test_a_box_has_one_number_on_all_networks_and_in_all_stages() -> None:
    numbers: dict[str, set[str]] = {}
    for folder in FOLDERS:
        entry = DOCUMENTS[folder]["x-lab"]["entry"].partition(":")[0]
        for _, address, name in addresses(folder):
            roles = service(folder, name)["labels"]["lab.role"].split()
            # A box that users reach under the address that they know has it beside its own.
            if not set(NUMBERED_APART) & set(roles) and address != entry:
                numbers.setdefault(name, set()).add(address.rpartition(".")[2])
    assert {name: len(found) for name, found in numbers.items()} == dict.fromkeys(numbers, 1)


def test_a_database_keeps_the_number_of_the_one_that_it_was() -> None:
    by_number = {
        (folder, address): name
        for folder in FOLDERS
        for network, address, name in addresses(folder)
        if network == "observe" and is_system(service(folder, name)["labels"]["lab.role"].split())
    }
    first = {folder: by_number[folder, "198.18.3.35"] for folder in FOLDERS}
    assert list(first.values()) == ["box", "db", "db", "db1", "db1", "db1", "db1", "db1"]


@pytest.mark.parametrize("folder", SECOND)
def test_files_of_a_stage_differ_in_their_databases_and_those_that_watch_them_only(folder: str) -> None:
    first = folder.partition("/")[0]
    one, other = DOCUMENTS[first], DOCUMENTS[folder]
    assert one["x-lab"]["failover"] != other["x-lab"]["failover"]
    for key in ("title", "entry", "databases"):
        assert one["x-lab"][key] == other["x-lab"][key]
    roles = {name: body["labels"]["lab.role"] for name, body in (one["services"] | other["services"]).items()}
    assert {name for name, role in roles.items() if role != "monitor"} == set(one["services"])
    for name in (name for name, role in roles.items() if role not in ("db", "monitor", WATCH_ROLE)):
        assert service(first, name) == service(folder, name), name
    # Each has networks and disks of its own, so Compose must not take the one for the other.
    assert one["name"] != other["name"]
    assert (one["networks"], one["configs"]) == (other["networks"], other["configs"])


@pytest.mark.parametrize("folder", SECOND)
def test_next_stage_goes_on_from_the_second_file(folder: str) -> None:
    """What stands in the automatic stage 4 and in stage 5 is the same, so their diff is the lesson too."""
    [after] = [after for after in FIRST if number_of(after) == number_of(folder) + 1]
    assert DOCUMENTS[after]["x-lab"]["failover"] == DOCUMENTS[folder]["x-lab"]["failover"]
    both = set(DOCUMENTS[folder]["services"]) & set(DOCUMENTS[after]["services"])
    assert [name for name in sorted(both) if whole(folder, name) != whole(after, name)] == [WATCH_ROLE]
