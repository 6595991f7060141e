"""Disks of a box's own, as the engine makes and removes them: against an API, and helpers, that are only played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from docker.errors import NotFound
from hypothesis import given
from hypothesis import strategies as st

from lab.engine import disk as own
from lab.engine.disk import Disk, disks_of, files_labels, files_volume, first_loop
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import ExecResult
from lab.engine.scope import is_ours
from lab.engine.shells import helper_options
from lab.errors import LabError, PreflightError, UsageError
from lab.model.topology import ServiceSpec, Stage
from lab.spec import stages
from tests.unit.helpers import automatic, box, db, stage

ID = "HUIS:3GQ7"
DB = box("db", ("db",), id="id-of-db")
WITH_DISKS = stage(own_disks=True)
FIRST = first_loop(ID, "redundancy-lab-3")
DISK = Disk("redundancy-lab-3", "db", FIRST)


@dataclass
class Volumes:
    """Volumes and containers of an engine, and what is done to them."""

    present: dict[str, dict[str, Any]] = field(default_factory=dict)
    slow: list[dict[str, Any]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def info(self) -> dict[str, str]:
        return {"ID": ID}

    def volumes(self, filters: dict[str, list[str]]) -> dict[str, Any]:
        [label] = filters["label"]
        key, _, value = label.partition("=")
        found = [each for each in self.present.values() if value in ("", each["Labels"].get(key)) and key in each["Labels"]]
        return {"Volumes": found or None}

    def create_volume(self, name: str, driver: str = "", driver_opts: Any = None, labels: Any = None) -> None:
        self.present.setdefault(name, {"Name": name, "Options": driver_opts, "Labels": labels})
        self.done.append(f"create {name}")

    def inspect_volume(self, name: str) -> dict[str, Any]:
        if name not in self.present:
            raise NotFound(name)
        return self.present[name]

    def remove_volume(self, name: str, force: bool = False) -> None:
        if name not in self.present:
            raise NotFound(name)
        del self.present[name]
        self.done.append(f"remove {name}")

    def containers(self, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        return self.slow

    def remove_container(self, container: str, **_: bool) -> None:
        self.slow = [each for each in self.slow if each["Id"] != container]
        self.done.append(f"remove container {container}")

    def inspect_container(self, container: str) -> dict[str, Any]:
        if container != DB.id:
            raise NotFound(container)
        mounts = [{"Type": "volume", "Name": DISK.name, "Destination": "/var/lib/lab"}]
        return {"Id": container, "Config": {"Labels": {**DB.labels, "com.docker.compose.project": DB.project}}, "Mounts": mounts}


class Played(DockerEngine):
    """An engine whose helpers only note what they are asked."""

    def __init__(self, *answers: ExecResult) -> None:
        self.played = Volumes()
        self.api: Any = self.played
        self.answers = list(answers)
        self.options: list[list[str]] = []

    def have_helper(self, options: Sequence[str], command: Sequence[str], timeout_s: float = 60) -> ExecResult:
        self.options.append(list(options))
        self.played.done.append(" ".join(command))
        return self.answers.pop(0) if self.answers else ExecResult(0, "")


def started(*answers: ExecResult) -> Played:
    """An engine on which the stage was started with disks."""
    engine = Played()
    engine.make_disks(WITH_DISKS)
    engine.restore_disks(WITH_DISKS.project)
    engine.played.done.clear()
    engine.options.clear()
    engine.answers = list(answers)
    return engine


# Names and numbers


@pytest.mark.parametrize("of", stages.all_stages(), ids=lambda of: of.name)
def test_every_volume_of_a_stage_is_a_disk(of: Stage) -> None:
    found = disks_of(files_labels(of, ID))
    assert [disk.volume for disk in found] == of.volumes
    assert {spec.name for spec in of.services if spec.volumes} >= set(of.databases)
    assert all(disk.project == of.project for disk in found)
    assert len({disk.device for disk in found}) == len(found)


@given(st.text(max_size=20), st.sampled_from([each.project for each in stages.all_stages()]))
def test_devices_are_far_from_those_that_programs_take_and_within_what_every_kernel_has(engine: str, project: str) -> None:
    first = first_loop(engine, project)
    assert 1024 <= first <= 4095 - own.DISKS_MAX
    assert first == first_loop(engine, project)


def test_disks_of_several_engines_on_one_machine_are_told_apart() -> None:
    assert first_loop("one", "redundancy-lab-3") != first_loop("another", "redundancy-lab-3")
    assert own.mark("one") != own.mark("another")


def test_what_is_no_volume_with_files_has_no_disks() -> None:
    labels = files_labels(WITH_DISKS, ID)
    for wrong in ({}, {**labels, own.LOOP_LABEL: "many"}, {**labels, own.FILES_LABEL: ""}):
        assert disks_of(wrong) == ()


def test_a_stage_with_more_volumes_than_devices_is_refused() -> None:
    many = tuple(ServiceSpec(f"db{at}", ("db",), {}, volumes=(f"db{at}",)) for at in range(11))
    with pytest.raises(UsageError, match="stage 3 has 11 volumes, and 10 can be disks"):
        files_labels(stage(services=many), ID)


def test_files_are_the_labs_and_no_volume_of_the_stage() -> None:
    labels = files_labels(automatic(), ID)
    assert is_ours(labels)
    assert labels["com.docker.compose.project"] not in {each.project for each in stages.all_stages()}
    assert files_volume("redundancy-lab-4-automatic") == "redundancy-lab-disks-of-4-automatic"


# Made


def test_volumes_are_made_before_compose_makes_plain_ones() -> None:
    engine = Played()
    engine.make_disks(WITH_DISKS)
    engine.restore_disks(WITH_DISKS.project)
    assert engine.played.done == [
        "create redundancy-lab-disks-of-3",
        f"lab-disk attach {own.mark(ID)} 1024 redundancy-lab-3_db:{FIRST}",
        "create redundancy-lab-3_db",
    ]
    made = engine.played.present["redundancy-lab-3_db"]
    assert made["Options"] == {"type": "ext4", "o": "noatime,nobarrier", "device": f"/dev/loop{FIRST}"}
    # As Compose would label it, but for the digest that it compares.
    assert made["Labels"] == {
        "lab.stage": "3",
        "com.docker.compose.project": "redundancy-lab-3",
        "com.docker.compose.volume": "db",
        "lab.disk": f"/dev/loop{FIRST}",
    }


def test_what_is_there_is_attached_and_not_made_again() -> None:
    engine = started()
    engine.restore_disks("redundancy-lab-3")
    assert engine.played.done == [f"lab-disk attach {own.mark(ID)} 1024 redundancy-lab-3_db:{FIRST}"]


def test_a_stage_without_disks_of_its_own_needs_no_helper() -> None:
    engine = started()
    engine.restore_disks("redundancy-lab-4")
    assert engine.played.done == []


def test_a_machine_that_cannot_says_why() -> None:
    engine = Played(ExecResult(1, "/dev/loop-control: Operation not permitted\n"))
    engine.make_disks(WITH_DISKS)
    with pytest.raises(
        PreflightError, match="no box can have a disk of its own here: /dev/loop-control: Operation not"
    ) as caught:
        engine.restore_disks(WITH_DISKS.project)
    assert "unset LAB_DISKS" in caught.value.hint
    assert "redundancy-lab-3_db" not in engine.played.present


def test_a_plain_volume_of_that_name_is_not_taken_for_a_disk() -> None:
    engine = Played()
    engine.make_disks(WITH_DISKS)
    engine.played.create_volume(DISK.name, labels={"lab.stage": "3", "com.docker.compose.project": "redundancy-lab-3"})
    with pytest.raises(UsageError, match="the volume redundancy-lab-3_db is there already, and is no disk of its own"):
        engine.restore_disks(WITH_DISKS.project)
    assert engine.own_disk(DB) is None


def test_the_helper_may_use_the_devices_of_these_disks_and_no_other() -> None:
    engine = Played()
    engine.make_disks(WITH_DISKS)
    engine.restore_disks(WITH_DISKS.project)
    [options] = engine.options
    rules = [options[at + 1] for at, word in enumerate(options) if word == "--device-cgroup-rule"]
    assert rules == ["c 10:237 rwm", f"b 7:{FIRST} rwm"]
    assert [options[at + 1] for at, word in enumerate(options) if word == "--cap-add"] == ["MKNOD"]
    assert "--privileged" not in options
    assert options[options.index("--network") + 1] == "none"


def test_every_helper_drops_what_it_does_not_need() -> None:
    for options in (helper_options("none", "NET_ADMIN"), helper_options("none")):
        assert options[options.index("--cap-drop") + 1] == "ALL"
        assert {"--read-only", "no-new-privileges:true", "--rm"} <= set(options)
    assert "--cap-add" not in helper_options("none")


# Known again


def test_the_disk_of_a_box_is_known_by_its_volume() -> None:
    engine = started()
    assert engine.own_disk(DB) == replace(DISK, path="/var/lib/lab")
    assert engine.disks() == engine.disks("redundancy-lab-3") == (DISK,)
    assert engine.disks("redundancy-lab-4") == ()
    assert engine.own_disk(box()) is None
    assert Played().own_disk(DB) is None


# Released


def slow(disk: Disk, **labels: str) -> dict[str, Any]:
    ours = {"lab.stage": "0", "com.docker.compose.project": "redundancy-lab-helper"}
    return {"Id": f"slows-{disk.name}", "Labels": {**ours, "lab.disk.slow": disk.name, **labels}}


def test_release_ends_what_slows_and_then_lets_all_go_on() -> None:
    engine = started(ExecResult(0, "redundancy-lab-3_db stood still\n"))
    other = replace(DISK, project="redundancy-lab-9")
    engine.played.slow = [slow(DISK), slow(other), slow(DISK, **{"com.docker.compose.project": "shop"})]
    assert engine.release_disks([DISK.name]) == ["redundancy-lab-3_db stood still"]
    assert engine.played.done == [
        "remove container slows-redundancy-lab-3_db",
        "lab-disk release /disks/redundancy-lab-3_db",
    ]
    assert f"type=volume,src={DISK.name},dst=/disks/{DISK.name},volume-nocopy=true" in engine.options[0]


def test_a_disk_that_is_gone_needs_no_release_and_no_volume_is_made_of_its_name() -> None:
    engine = started()
    del engine.played.present[DISK.name]
    assert engine.release_disks([DISK.name, "another"]) == []
    assert engine.release_disks([]) == []
    assert engine.played.done == []


def test_after_a_restart_of_the_machine_disks_are_attached_and_then_released() -> None:
    gone = ExecResult(125, "docker: Error response from daemon: failed to mount local volume: no such file or directory\n")
    engine = started(gone)
    assert engine.release_disks([DISK.name]) == []
    assert [each.split()[1] for each in engine.played.done] == ["release", "attach", "release"]


def test_disks_that_cannot_be_released_are_an_error() -> None:
    engine = started(ExecResult(1, "no\n"), ExecResult(0, ""), ExecResult(1, "Operation not permitted\n"))
    with pytest.raises(LabError, match="the disks could not be released: Operation not permitted"):
        engine.release_disks([DISK.name])


def test_a_disk_is_slowed_by_a_helper_that_stays() -> None:
    engine = started()
    engine.slow_disk(DISK, 0.2)
    assert engine.played.done == ["lab-disk stutter /disks/redundancy-lab-3_db 0.2"]
    assert engine.options[0][:3] == ["--detach", "--label", "lab.disk.slow=redundancy-lab-3_db"]
    with pytest.raises(LabError, match="the disk of db could not be slowed down: no"):
        started(ExecResult(1, "no")).slow_disk(DISK, 0.2)


# Removed


def test_nothing_of_the_disks_is_left() -> None:
    engine = started()
    engine.remove_disks("redundancy-lab-3")
    assert engine.played.done == [
        "remove redundancy-lab-3_db",
        f"lab-disk detach {own.mark(ID)} redundancy-lab-3_db:{FIRST}",
        "remove redundancy-lab-disks-of-3",
    ]
    engine.remove_disks()
    assert engine.played.present == {}


def test_files_that_are_still_attached_are_kept_and_named() -> None:
    engine = started(ExecResult(1, "/dev/loop1230 is still in use: is redundancy-lab-3_db still mounted?\n"))
    with pytest.raises(LabError, match="something is left of the disks: /dev/loop1230 is still in use"):
        engine.remove_disks("redundancy-lab-3")
    assert "redundancy-lab-disks-of-3" in engine.played.present


def test_a_wiped_box_leaves_nothing_on_its_disk() -> None:
    engine = started()
    engine.remove(DB)
    assert engine.played.done == [
        "remove container id-of-db",
        "remove redundancy-lab-3_db",
        f"lab-disk detach {own.mark(ID)} redundancy-lab-3_db:{FIRST}",
    ]
    # The next start finds what is to be there.
    assert engine.disks("redundancy-lab-3") == (DISK,)


class Composing(Played):
    """Notes what Compose is asked, too."""

    def _compose(self, stage: Stage, *arguments: str) -> None:
        self.played.done.append(f"compose {arguments[0]}")


def composed(engine: Played) -> Composing:
    found = Composing()
    found.api = found.played = engine.played
    return found


def test_disks_go_on_before_a_stage_is_removed_and_are_detached_afterwards() -> None:
    engine = composed(started())
    engine.down(WITH_DISKS)
    assert [" ".join(each.split()[:2]) for each in engine.played.done] == [
        "lab-disk release",
        "compose down",
        "remove redundancy-lab-3_db",
        "lab-disk detach",
        "remove redundancy-lab-disks-of-3",
    ]


def test_a_stage_is_removed_though_its_disks_could_not_be_released() -> None:
    engine = composed(started())
    engine.answers = [ExecResult(1, "no"), ExecResult(1, "no")]
    engine.down(WITH_DISKS)
    assert engine.played.present == {}


def test_disks_are_there_before_compose_starts_anything() -> None:
    engine = composed(started())
    for work in (engine.up, engine.create):
        engine.played.done.clear()
        work(WITH_DISKS)
        assert [each.split()[0] for each in engine.played.done] == ["lab-disk", "compose"]


# Wanted


@pytest.mark.parametrize(("value", "wanted"), [("own", True), ("shared", False), ("", False)])
def test_disks_are_asked_for_by_a_variable(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("LAB_DISKS", value)
    found = stages.read(stages.find("4", "automatic").file)
    assert found.own_disks is wanted
    assert found.volumes == ["db1", "db2", "monitor"]


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DISKS", "mine")
    with pytest.raises(UsageError, match="LAB_DISKS must be own or shared, not 'mine'"):
        stages.read(stages.find("3").file)


def test_databases_on_the_engines_disk_have_none() -> None:
    assert Played().own_disk(db("db1")) is None
