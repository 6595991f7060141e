"""The parameters that a fault needs besides its target, in experiments and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lab.cli.main import cli
from lab.errors import PreflightError, UsageError
from lab.faults import FAULTS
from lab.faults.base import Passing
from lab.model.experiment import Experiment
from lab.model.fault import BadAnswer, Direction, FaultKind, FaultParameters, Step
from lab.spec import experiments, parameters
from tests.unit.helpers import stage

GOOD: list[tuple[FaultKind, dict[str, Any], FaultParameters, str]] = [
    (FaultKind.KILL, {}, FaultParameters(), ""),
    (FaultKind.ISOLATE, {}, FaultParameters(), ""),
    (FaultKind.PARTITION, {"from": "zone:b"}, FaultParameters("zone:b"), "from zone:b"),
    (FaultKind.PARTITION, {"from": "db", "direction": "in"}, FaultParameters("db", Direction.IN), "from db (in only)"),
    (FaultKind.DELAY, {"delay_ms": 50}, FaultParameters(delay_ms=50.0), "by 50 ms"),
    (
        FaultKind.DELAY,
        {"delay_ms": 50, "jitter_ms": 5.5},
        FaultParameters(delay_ms=50.0, jitter_ms=5.5),
        "by 50 ms give or take 5.5 ms",
    ),
    (FaultKind.LOSS, {"loss_percent": 100}, FaultParameters(loss_percent=100.0), "of 100 %"),
    (FaultKind.BANDWIDTH, {"rate_kbit": 100}, FaultParameters(rate_kbit=100.0), "of 100 kbit/s"),
    (FaultKind.ISOLATE, {"network": "edge"}, FaultParameters(network="edge"), "on edge"),
    (
        FaultKind.LOSS,
        {"loss_percent": 5, "from": "db", "network": "data"},
        FaultParameters("db", loss_percent=5.0, network="data"),
        "from db of 5 % on data",
    ),
    (FaultKind.CPU, {"cpus": 0.05}, FaultParameters(cpus=0.05), "to 0.05 of a processor"),
    (FaultKind.CLOCK, {"step_s": -60}, FaultParameters(step_s=-60.0), "by -60 s"),
    (FaultKind.CLOCK, {"step_s": 86400}, FaultParameters(step_s=86400.0), "by +86400 s"),
    (FaultKind.CLOCK, {"drift_percent": 10}, FaultParameters(drift_percent=10.0), "by +10 % of each second"),
    (FaultKind.MEMORY, {"memory_percent": 105}, FaultParameters(memory_percent=105.0), "to 105 % of the memory that it uses"),
    (
        FaultKind.MEMORY,
        {"memory_percent": 130, "leak_mib_s": 5},
        FaultParameters(memory_percent=130.0, leak_mib_s=5.0),
        "to 130 % of the memory that it uses with a leak of 5 MiB/s",
    ),
    (FaultKind.DISCONNECT, {"on_s": 2, "off_s": 1.5}, FaultParameters(on_s=2.0, off_s=1.5), "(2 s on, 1.5 s off)"),
    (
        FaultKind.ISOLATE,
        {"network": "edge", "on_s": 2, "off_s": 2},
        FaultParameters(network="edge", on_s=2.0, off_s=2.0),
        "on edge (2 s on, 2 s off)",
    ),
    (FaultKind.BAD_DEPLOY, {"answer": "error"}, FaultParameters(answer=BadAnswer.ERROR), "answers 500"),
    (
        FaultKind.BAD_DEPLOY,
        {"answer": "slow", "slow_ms": 800, "percent": 20},
        FaultParameters(answer=BadAnswer.SLOW, slow_ms=800.0, percent=20.0),
        "answers 800 ms late for 20 % of requests",
    ),
    (FaultKind.POISON, {"per_s": 0.5}, FaultParameters(per_s=0.5), "0.5 a second"),
    (FaultKind.DISK_SLOW, {"delay_ms": 200}, FaultParameters(delay_ms=200.0), "by 200 ms"),
]
BAD: list[tuple[FaultKind, dict[str, Any], str, str]] = [
    (FaultKind.KILL, {"delay_ms": 5}, "delay_ms", "kill has no delay_ms: it takes nothing of the kind"),
    (
        FaultKind.LOSS,
        {"rate_kbit": 5},
        "rate_kbit",
        "loss has no rate_kbit: it takes loss_percent and from and network and on_s and off_s",
    ),
    (
        FaultKind.DELAY,
        {"loss_percent": 5},
        "loss_percent",
        "delay has no loss_percent: it takes delay_ms and jitter_ms and network and on_s and off_s",
    ),
    (FaultKind.ISOLATE, {"from": "db"}, "from", "isolate has no from"),
    (FaultKind.PARTITION, {}, "from", "partition needs from"),
    (FaultKind.CPU, {}, "cpus", "cpu needs cpus"),
    (FaultKind.DISK_SLOW, {}, "delay_ms", "disk-slow needs delay_ms"),
    (FaultKind.DISK_SLOW, {"delay_ms": 200, "jitter_ms": 5}, "jitter_ms", "disk-slow has no jitter_ms"),
    (FaultKind.DISK_FULL, {"delay_ms": 200}, "delay_ms", "disk-full has no delay_ms"),
    (FaultKind.CPU, {"cpus": 0}, "cpus", "cpus must be a number from 0.01 to 1"),
    (FaultKind.HANG, {"cpus": 0.1}, "cpus", "hang has no cpus"),
    (FaultKind.CLOCK, {}, "step_s", "clock needs step_s or drift_percent, one of them"),
    (FaultKind.CLOCK, {"step_s": 60, "drift_percent": 10}, "step_s", "clock needs step_s or drift_percent, one of them"),
    (FaultKind.CLOCK, {"cpus": 0.1}, "cpus", "clock has no cpus: it takes step_s and drift_percent"),
    (FaultKind.CLOCK, {"step_s": 0}, "step_s", "step_s must be 2 or more, or -2 or less: 0 would not be seen"),
    (FaultKind.CLOCK, {"step_s": -1.5}, "step_s", "step_s must be 2 or more, or -2 or less: -1.5 would not be seen"),
    (FaultKind.CLOCK, {"step_s": 1e6}, "step_s", "step_s must be a number from -86400 to 86400, not '1000000.0'"),
    (FaultKind.CLOCK, {"drift_percent": 1}, "drift_percent", "drift_percent must be 5 or more, or -5 or less"),
    (FaultKind.CLOCK, {"drift_percent": float("nan")}, "drift_percent", "drift_percent must be a number from -50 to 50"),
    (FaultKind.KILL, {"step_s": 60}, "step_s", "kill has no step_s"),
    (FaultKind.MEMORY, {}, "memory_percent", "memory needs memory_percent"),
    (FaultKind.MEMORY, {"leak_mib_s": 5}, "memory_percent", "memory needs memory_percent"),
    (FaultKind.MEMORY, {"memory_percent": 49}, "memory_percent", "memory_percent must be a number from 50 to 300, not '49'"),
    (FaultKind.MEMORY, {"memory_percent": 105, "on_s": 2}, "on_s", "memory has no on_s: it takes memory_percent and leak_mib_s"),
    (FaultKind.POWER, {"on_s": 2, "off_s": 2}, "on_s", "power has no on_s"),
    (FaultKind.ISOLATE, {"on_s": 2}, "off_s", "isolate has on_s and no off_s: what flaps has both"),
    (FaultKind.ISOLATE, {"off_s": 2}, "on_s", "isolate has off_s and no on_s: what flaps has both"),
    (FaultKind.ISOLATE, {"on_s": 0.5, "off_s": 2}, "on_s", "on_s must be a number from 1 to 60, not '0.5'"),
    (FaultKind.BAD_DEPLOY, {}, "answer", "bad-deploy needs answer"),
    (FaultKind.BAD_DEPLOY, {"answer": "wrong"}, "answer", "answer must be one of error, slow, not 'wrong'"),
    (FaultKind.BAD_DEPLOY, {"answer": True}, "answer", "answer must be one of error, slow, not 'True'"),
    (FaultKind.BAD_DEPLOY, {"answer": "slow"}, "slow_ms", "answer slow has a slow_ms: how late is a slow answer?"),
    (
        FaultKind.BAD_DEPLOY,
        {"answer": "error", "slow_ms": 800},
        "slow_ms",
        "answer error has no slow_ms: only a slow answer is late",
    ),
    (FaultKind.BAD_DEPLOY, {"answer": "error", "percent": 0}, "percent", "percent must be a number from 1 to 100, not '0'"),
    (FaultKind.POISON, {}, "per_s", "poison needs per_s"),
    (FaultKind.POISON, {"per_s": 100}, "per_s", "per_s must be a number from 0.5 to 20, not '100'"),
    (FaultKind.POISON, {"per_s": 1, "percent": 5}, "percent", "poison has no percent: it takes per_s"),
    (FaultKind.PARTITION, {"from": "db", "network": "edge"}, "network", "partition has no network"),
    (FaultKind.ISOLATE, {"network": ""}, "network", "network must be the name of a network in the stage file, not ''"),
    (FaultKind.ISOLATE, {"network": "a b; rm"}, "network", "network must be the name"),
    (FaultKind.PARTITION, {"direction": "out"}, "from", "partition needs from"),
    (FaultKind.PARTITION, {"from": ""}, "from", "from must be a target, not ''"),
    (FaultKind.PARTITION, {"from": 7}, "from", "from must be a target, not '7'"),
    (FaultKind.PARTITION, {"from": "db", "direction": "up"}, "direction", "direction must be one of both, out, in, not 'up'"),
    (FaultKind.PARTITION, {"from": "db", "direction": True}, "direction", "direction must be one of both, out, in, not 'True'"),
    (FaultKind.DELAY, {}, "delay_ms", "delay needs delay_ms"),
    (FaultKind.DELAY, {"delay_ms": 0}, "delay_ms", "delay_ms must be a number from 1 to 5000, not '0'"),
    (FaultKind.DELAY, {"delay_ms": True}, "delay_ms", "delay_ms must be a number from 1 to 5000, not 'True'"),
    (FaultKind.DELAY, {"delay_ms": float("nan")}, "delay_ms", "delay_ms must be a number from 1 to 5000, not 'nan'"),
    (FaultKind.DELAY, {"delay_ms": 10, "jitter_ms": 11}, "jitter_ms", "jitter_ms must not be more than delay_ms"),
    (FaultKind.LOSS, {"loss_percent": 0.5}, "loss_percent", "loss_percent must be a number from 1 to 100, not '0.5'"),
    (FaultKind.BANDWIDTH, {"rate_kbit": "fast"}, "rate_kbit", "rate_kbit must be a number from 100 to 100000, not 'fast'"),
]


@pytest.mark.parametrize(("fault", "given", "how", "words"), GOOD)
def test_what_is_given_is_read(fault: FaultKind, given: dict[str, Any], how: FaultParameters, words: str) -> None:
    assert parameters.read(fault, given) == how
    assert str(how) == words
    assert str(Step(fault, "web", how=how)) == f"{fault} web {words}".strip()


@pytest.mark.parametrize(("fault", "given", "name", "said"), BAD)
def test_what_makes_no_sense_is_named(fault: FaultKind, given: dict[str, Any], name: str, said: str) -> None:
    with pytest.raises(parameters.ParameterError) as caught:
        parameters.read(fault, given)
    assert caught.value.name == name
    assert caught.value.message.startswith(said)
    assert caught.value.hint == parameters.EXAMPLES[name]


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)


@given(st.sampled_from(FaultKind), st.dictionaries(st.sampled_from(parameters.NAMES), ANY))
def test_within_bounds_or_an_error(fault: FaultKind, given: dict[str, object]) -> None:
    try:
        how = parameters.read(fault, given)
    except parameters.ParameterError:
        return
    assert bool(how.source) == (fault is FaultKind.PARTITION)
    for name, (low, high) in parameters.BOUNDS.items():
        assert getattr(how, name) == 0 if name not in given else low <= getattr(how, name) <= high


def test_every_parameter_has_an_example() -> None:
    assert set(parameters.EXAMPLES) == set(parameters.NAMES)


@pytest.mark.parametrize("fault", parameters.FLAPPING)
def test_what_may_flap_can_be_taken_back_for_a_while(fault: FaultKind) -> None:
    assert isinstance(FAULTS[fault], Passing)


def test_a_line_does_not_flap() -> None:
    with pytest.raises(parameters.ParameterError, match="a line does not flap"):
        parameters.check_target(FaultKind.DELAY, "line:us", FaultParameters(delay_ms=5.0, on_s=2.0, off_s=2.0))


# In an experiment

PARTITION = """\
title: Apart
question: What if two sides lose each other?
fault: partition
target: all:web
from: service:db
direction: out
expect:
  writes_lost: {at_most: 0}
"""


def read(tmp_path: Path, text: str) -> Experiment:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return experiments.read(file)


def test_experiment_with_two_sides(tmp_path: Path) -> None:
    experiment = read(tmp_path, PARTITION)
    assert experiment.steps == (Step(FaultKind.PARTITION, "all:web", how=FaultParameters("service:db", Direction.OUT)),)
    experiments.check_targets(experiment, stage())


def test_step_with_parameters(tmp_path: Path) -> None:
    steps = "steps:\n  - {fault: delay, target: db, delay_ms: 20, jitter_ms: 2}\n  - {fault: loss, target: lb, loss_percent: 5, delay_s: 1}\n"
    experiment = read(tmp_path, PARTITION[: PARTITION.index("fault:")] + steps + PARTITION[PARTITION.index("expect:") :])
    assert experiment.steps == (
        Step(FaultKind.DELAY, "db", how=FaultParameters(delay_ms=20.0, jitter_ms=2.0)),
        Step(FaultKind.LOSS, "lb", 1.0, FaultParameters(loss_percent=5.0)),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from: service:db\n", "", ":1: partition needs from"),
        ("direction: out", "direction: up", ":6: direction must be one of both, out, in, not 'up'"),
        ("from: service:db", "from: [db]", ":5: from must be a target"),
        ("direction: out", "delay_ms: 5", ":6: partition has no delay_ms"),
        ("fault: partition", "fault: kill", ":5: kill has no from"),
        (
            "fault: partition\ntarget: all:web\n",
            "steps: [{fault: kill, target: web}]\n",
            ":3: either fault and target, or steps",
        ),
    ],
)
def test_error_names_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PARTITION
    with pytest.raises(UsageError) as caught:
        read(tmp_path, PARTITION.replace(old, new))
    assert f"{tmp_path / 'mine.yaml'}{said}" in caught.value.message


FLAPS = "fault: isolate\ntarget: web\non_s: 2\noff_s: 2\n"


def flapping(tmp_path: Path, more: str, fault: str = FLAPS) -> Experiment:
    return read(tmp_path, f"title: t\nquestion: q?\n{fault}{more}expect: {{writes_lost: {{at_most: 0}}}}\n")


def test_experiment_that_flaps(tmp_path: Path) -> None:
    experiment = flapping(tmp_path, "")
    assert experiment.steps == (Step(FaultKind.ISOLATE, "web", how=FaultParameters(on_s=2.0, off_s=2.0)),)
    assert experiments.lasting(experiment, 4.5).fault_duration_s == 4.5
    with pytest.raises(UsageError, match="in 4 s, what is 2 s on and 2 s off comes only once"):
        experiments.lasting(experiment, 4.0)


def test_what_flaps_comes_twice_at_least_and_is_not_broken_before(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=":7: in 4 s, what is 2 s on and 2 s off comes only once: it would not flap"):
        flapping(tmp_path, "fault_duration_s: 4\n")
    initial = "initial_faults: [{fault: isolate, target: db.standby, on_s: 2, off_s: 2}]\n"
    with pytest.raises(UsageError, match=":5: what is broken before the load begins does not flap"):
        flapping(tmp_path, initial, "fault: kill\ntarget: web\n")


@pytest.mark.parametrize("second", ["kill", "stop", "wipe", "power", "crash", "restart"])
def test_a_box_whose_network_flaps_keeps_it(tmp_path: Path, second: str) -> None:
    steps = (
        "steps:\n  - {fault: isolate, target: service:web1, on_s: 2, off_s: 2}\n"
        f"  - {{fault: {second}, target: service:web1, delay_s: 1}}\n"
    )
    with pytest.raises(UsageError, match=rf":5: {second} of web1, whose network flaps: the next edge would find another"):
        flapping(tmp_path, "", steps)
    flapping(tmp_path, "", steps.replace(f"{second}, target: service:web1", f"{second}, target: service:web2"))
    flapping(tmp_path, "", steps.replace(", on_s: 2, off_s: 2", ""))


def test_other_side_is_checked_against_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mine on stage 3: from: the target 'service:moon' matches no box apart from web1, web2"):
        experiments.check_targets(read(tmp_path, PARTITION.replace("service:db", "service:moon")), stage())


# On the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["partition", "web"], "partition needs from"),
        (["kill", "web", "--from", "db"], "kill has no from"),
        (["delay", "web", "--delay-ms", "9999"], "delay_ms must be a number from 1 to 5000, not '9999.0'"),
        (["loss", "web", "--rate-kbit", "5"], "loss has no rate_kbit"),
        (["isolate", "web", "--on", "2s", "--off", "2s"], "what flaps needs --for"),
        (["isolate", "web", "--on", "2s", "--off", "2s", "--for", "4s"], "in 4 s, what is 2 s on and 2 s off comes only once"),
        (["isolate", "web", "--on", "2s", "--for", "4s"], "isolate has on_s and no off_s"),
        (["kill", "web", "--on", "2s", "--off", "2s", "--for", "9s"], "kill has no on_s"),
        (["memory", "web", "--leak-mib-s", "2"], "memory needs memory_percent"),
    ],
)
def test_command_line_is_checked_before_docker_is_asked(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["chaos", *arguments], env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert isinstance(done.exception, UsageError)
    assert done.exception.message.startswith(said)


def test_good_command_line_goes_on_to_docker() -> None:
    options = ["--from", "db", "--direction", "in", "--for", "1s"]
    done = CliRunner().invoke(cli, ["chaos", "partition", "web", *options], env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert isinstance(done.exception, PreflightError)


def test_plan_shows_parameters(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PARTITION, encoding="utf-8")
    plan = CliRunner().invoke(cli, ["run", "3", str(file), "--dry-run", "--json"])
    step = '{"fault": "partition", "target": "all:web", "delay_s": 0.0, "from": "service:db", "direction": "out"}'
    assert step in " ".join(plan.output.split()).replace("{ ", "{").replace(" }", "}")
    words = CliRunner().invoke(cli, ["run", "3", str(file), "--dry-run"])
    assert "partition all:web from service:db (out only)" in words.output
