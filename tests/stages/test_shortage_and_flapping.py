"""On which stages a box can be short of memory, or have a network that comes and goes: experiments, random faults, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lab.analysis import variants
from lab.campaign.eligible import TARGETS, eligible
from lab.errors import UsageError
from lab.faults.memory import LIMIT_MIN_BYTES, MIB
from lab.model.experiment import Experiment
from lab.model.fault import FaultKind, FaultParameters, Step
from lab.model.topology import Stage, is_system
from lab.spec import experiments, parameters, stages
from lab.spec.targets import check, possible
from tests.stages.files import DOCUMENTS, each_stage, service

SHORT, LEAKING = {"memory-lb-active"}, {"memory-web", "memory-primary"}
FLAPPING = {"flap-web", "flap-lb-active", "flap-primary", "flap-standby"}
OURS = SHORT | LEAKING | FLAPPING
LONE = {"memory-web", "memory-primary", "flap-web", "flap-primary"}
"""What every stage has a box for."""
REPLICATED, ALL = LONE | {"flap-standby"}, OURS
RUNS_ON = {"1": LONE, "2": LONE, "3": LONE, "4:none": REPLICATED, "4:automatic": REPLICATED, "5": ALL, "6": ALL, "7": ALL}
SURVIVES = {
    "3": {"memory-web", "flap-web"},
    "4:none": REPLICATED,
    "4:automatic": REPLICATED,
    **dict.fromkeys("567", ALL),
}
"""What random faults are drawn from: a stage is to survive it."""
SHARED_BYTES = 64 * MIB
"""Of /dev/shm, where a stage file says nothing."""

each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def of(name: str) -> tuple[Experiment, Step]:
    experiment = experiments.find(name)
    [step] = experiment.faults
    return experiment, step


def refused_on(stage: Stage) -> set[str]:
    refused = set()
    for name in OURS:
        try:
            experiments.check_targets(experiments.find(name), stage)
        except UsageError:
            refused.add(name)
    return refused


def size_bytes(value: Any) -> int:
    found = re.fullmatch(r"(\d+)m", str(value))
    assert found, value
    return int(found[1]) * MIB


def test_every_experiment_of_these_faults_is_known_here() -> None:
    steps = {name: step for name in experiments.names() for step in experiments.find(name).faults}
    assert {name for name, step in steps.items() if step.fault is FaultKind.MEMORY} == SHORT | LEAKING
    assert {name for name, step in steps.items() if step.how.leak_mib_s} == LEAKING
    assert {name for name, step in steps.items() if step.how.flaps} == FLAPPING


def test_users_data_and_the_way_to_them_are_each_short_of_memory_and_cut_off_by_turns() -> None:
    """A web box, the balancer that users reach, the database that takes writes."""
    targets = {"web", "lb.active", "db.primary"}
    assert {of(name)[1].target for name in SHORT | LEAKING} == targets
    assert {of(name)[1].target for name in FLAPPING} == targets | {"db.standby"}
    assert targets < set(TARGETS)


@pytest.mark.parametrize("selector", RUNS_ON)
def test_a_stage_runs_what_it_has_boxes_for_and_refuses_the_rest(selector: str) -> None:
    assert refused_on(stages.parse(selector)) == OURS - RUNS_ON[selector]


@pytest.mark.parametrize("selector", SURVIVES)
def test_what_a_stage_is_to_survive_is_drawn_at_random(selector: str) -> None:
    assert set(eligible(stages.parse(selector))) & OURS == SURVIVES[selector]


def test_a_lone_box_is_not_drawn() -> None:
    lone = stages.find("3")
    one_web = replace(lone, services=tuple(spec for spec in lone.services if spec.name != "web2"))
    with pytest.raises(UsageError, match="nothing on stage 3 has a partner"):
        eligible(one_web)


@each_of_ours
def test_what_it_does_comes_to_something_before_it_is_healed(name: str) -> None:
    experiment, step = of(name)
    parameters.check_flapping(step.how, experiment.fault_duration_s)
    if step.how.leak_mib_s:
        # Of a box of 128 MiB that has half of it free, all would have leaked.
        assert step.how.leak_mib_s * experiment.fault_duration_s >= 48
    assert {"writes_lost"} < {each.measure for each in experiment.expectations}


@each_stage
def test_every_box_has_a_limit_that_can_be_lowered_and_set_again(folder: str) -> None:
    """Docker cannot take a limit away: a box without one would not get back what it had."""
    for spec in stages.read(stages.STAGES_FOLDER / (folder if folder.endswith(".yaml") else f"{folder}/compose.yaml")).services:
        body = service(folder, spec.name)
        assert spec.memory.memory_bytes == size_bytes(body["mem_limit"]) > 4 * LIMIT_MIN_BYTES, spec.name
        assert spec.memory.with_swap_bytes >= spec.memory.memory_bytes
        assert "memswap_limit" not in body, "then the engine and lab heal must agree on it"
        assert spec.cpus > 0


@each_stage
def test_where_memory_can_leak_there_is_room_for_it(folder: str) -> None:
    """What is left of a box's memory has to fit there."""
    for name, body in DOCUMENTS[folder]["services"].items():
        roles = set(body["labels"]["lab.role"].split())
        if not is_system(roles) or not roles & {"web", "db"}:
            continue
        shared_bytes = size_bytes(body["shm_size"]) if "shm_size" in body else SHARED_BYTES
        assert shared_bytes >= SHARED_BYTES, name


@each_stage
def test_box_is_started_again_when_the_kernel_has_killed_it(folder: str) -> None:
    for name, body in DOCUMENTS[folder]["services"].items():
        assert body["restart"] in ("on-failure", "always", "unless-stopped"), name


def test_a_sweep_squeezes_any_part_within_bounds() -> None:
    how = FaultParameters(memory_percent=variants.MEMORY_PERCENT)
    assert parameters.read(FaultKind.MEMORY, {"memory_percent": variants.MEMORY_PERCENT}) == how


WORLD = stages.find("7")


@pytest.mark.parametrize(
    ("fault", "how", "why"),
    [
        (FaultKind.MEMORY, FaultParameters(memory_percent=105.0), "memory is nothing that happens to a line"),
        (FaultKind.DELAY, FaultParameters(delay_ms=50.0, on_s=2.0, off_s=2.0), "a line does not flap"),
        (FaultKind.ISOLATE, FaultParameters(on_s=2.0, off_s=2.0), "isolate is nothing that happens to a line"),
    ],
)
def test_a_line_has_no_memory_and_does_not_flap(fault: FaultKind, how: FaultParameters, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parameters.check_target(fault, "line:us", how)


@pytest.mark.parametrize("target", ["internet", "watch", "service:internet", "service:watch", "wan", "all:watch"])
def test_where_users_and_watchers_stand_nothing_is_broken(target: str) -> None:
    with pytest.raises(UsageError, match="matches no box"):
        check(target, possible(WORLD), WORLD.number)
