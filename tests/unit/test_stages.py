"""Which stage is meant, where a stage may have two files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.model.topology import Link, MemoryLimit
from lab.spec import stages
from lab.spec.stages import all_stages, find, of, read
from tests.unit.helpers import box, db

FILE = (
    "name: redundancy-lab-{project}\nx-lab:\n  stage: '{number}'\n  title: t\n  new: n\n  spof: []\n  memory_mib: 1\n"
    "  entry: 198.18.0.10:8080\n  databases: {{db: 198.18.3.31}}\n{more}services: {{}}\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of stages in place of the lab's own."""
    monkeypatch.setattr(stages, "STAGES_FOLDER", tmp_path)
    all_stages.cache_clear()
    yield tmp_path
    all_stages.cache_clear()


def put(folder: Path, path: str, project: str, more: str = "") -> Path:
    file = folder / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(FILE.format(project=project, number=path.partition("-")[0], more=more))
    return file


def test_networks_of_a_box_are_those_of_its_file() -> None:
    names = ("redundancy-lab-5-lb1-1", "lb1")
    edge, app = find("5").links_of("lb1")
    assert edge == Link("redundancy-lab-5_edge", "198.18.0.33", "02:42:c6:12:00:21", names)
    assert app == Link("redundancy-lab-5_app", "198.18.1.33", "", names)
    # Where the file fixes no address, Docker chooses.
    assert Link("redundancy-lab-5_outside", "", "", ("redundancy-lab-5-internet-1", "internet")) in find("5").links_of("internet")
    assert find("5").links_of("nobody") == ()


MIB = 2**20


def test_limits_of_a_box_are_those_of_its_file() -> None:
    """Docker lets a box swap as much again, where its file says nothing of swap."""
    found = {spec.name: (spec.cpus, spec.memory) for spec in find("3").services}
    assert found["web1"] == found["web2"] == (1.0, MemoryLimit(128 * MIB, 256 * MIB))
    assert found["lb"] == (1.0, MemoryLimit(64 * MIB, 128 * MIB))
    assert all(spec.cpus and spec.memory.memory_bytes for stage in all_stages() for spec in stage.services)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("mem_limit: 128m", MemoryLimit(128 * MIB, 256 * MIB)),
        ("mem_limit: 1GB, memswap_limit: 1g", MemoryLimit(1024 * MIB, 1024 * MIB)),
        ("mem_limit: 1000", MemoryLimit(1000, 2000)),
        ("mem_limit: a lot, cpus: many", MemoryLimit()),
        ("image: i", MemoryLimit()),
    ],
)
def test_sizes_are_read_as_compose_writes_them(folder: Path, said: str, limit: MemoryLimit) -> None:
    file = put(folder, "1-a/compose.yaml", "1")
    text = file.read_text().replace("services: {}", f"services: {{web: {{labels: {{lab.role: web}}, networks: {{}}, {said}}}}}")
    file.write_text(text)
    [spec] = read(file).services
    assert (spec.memory, spec.cpus) == (limit, 0.0)


def test_stage_is_found_by_number_and_by_folder() -> None:
    assert find("4") == find("4-database-replication")
    assert find("3").number == 3


def test_first_file_is_meant_unless_a_failover_is_asked_for() -> None:
    assert find("4").file.name == "compose.yaml"
    assert find("4", "none") == find("4")
    automatic = find("4", "automatic")
    assert (automatic.file.name, automatic.failover, automatic.project) == (
        "compose.automatic.yaml",
        "automatic",
        "redundancy-lab-4-automatic",
    )
    assert find("4-database-replication", "automatic") == automatic


def test_file_that_a_stage_does_not_have_is_an_error_that_names_those_it_has() -> None:
    with pytest.raises(UsageError, match="stage 3 has no failover 'automatic'") as caught:
        find("3", "automatic")
    assert caught.value.hint == "it has 'none' (3-load-balancer/compose.yaml)"
    with pytest.raises(UsageError, match="stage 4 has no failover 'quorum'") as caught:
        find("4", "quorum")
    assert "'none' (4-database-replication/compose.yaml), 'automatic' (4-database-replication/compose" in caught.value.hint


@pytest.mark.parametrize("name", ["9", "", "04", "3-load", "compose.yaml", "database"])
def test_unknown_stage_is_an_error_that_names_each_stage_once(name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no stage '{name}'") as caught:
        find(name)
    assert caught.value.hint.count("4 (4-database-replication)") == 1
    with pytest.raises(UsageError, match="there is no stage"):
        find(name, "automatic")


def test_stage_whose_first_file_is_automatic_needs_no_option(folder: Path) -> None:
    put(folder, "5-two-balancers/compose.yaml", "5", "  failover: automatic\n  balancers: {lb1: 198.18.0.11, lb2: 198.18.0.12}\n")
    assert find("5") == find("5", "automatic")
    assert find("5").balancers == {"lb1": "198.18.0.11", "lb2": "198.18.0.12"}
    with pytest.raises(UsageError, match="stage 5 has no failover 'none'"):
        find("5", "none")


def test_first_file_comes_first_whatever_the_others_are_called(folder: Path) -> None:
    put(folder, "4-b/compose.a.yaml", "4-a", "  failover: automatic\n")
    put(folder, "10-c/compose.yaml", "10")
    put(folder, "4-b/compose.yaml", "4")
    put(folder, "2-a/compose.yaml", "2")
    put(folder, "2-a/compose.yml", "ignored")
    assert [stage.project for stage in all_stages()] == [f"redundancy-lab-{name}" for name in ("2", "4", "4-a", "10")]


def test_balancers_must_be_a_mapping(folder: Path) -> None:
    file = put(folder, "5-x/compose.yaml", "5", "  balancers: [lb1, lb2]\n")
    with pytest.raises(UsageError, match=r"compose\.yaml:10: balancers must be a mapping"):
        read(file)


def test_box_knows_the_file_that_it_was_started_from() -> None:
    assert of(db("db1")) == find("4")
    assert of(db("db1", project="redundancy-lab-4-automatic")) == find("4", "automatic")
    assert of(box()) == find("3")


def test_box_whose_file_is_gone() -> None:
    with pytest.raises(UsageError, match=r"the file that web1 was started from is gone \(redundancy-lab-3-old\)") as caught:
        of(box(project="redundancy-lab-3-old"))
    assert "lab down --all" in caught.value.hint
