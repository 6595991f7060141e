"""Experiments: YAML files that say what to break, for how long, and what to expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from lab.errors import UsageError, is_harmless, shown
from lab.model.experiment import Experiment, Repair, RepairPolicy
from lab.model.fault import LINE_FORM, OF_A_DISK, FaultKind, Step
from lab.model.topology import Stage
from lab.spec import expect, located_yaml, parameters
from lab.spec import experiment_keys as spec
from lab.spec.base import DURATION_MAX_S
from lab.spec.experiment_keys import BASELINE_S, COOLDOWN_S, FAULT_DURATION_S, OPERATOR_ACTS
from lab.spec.targets import ACTIVE, PASSIVE, PLACES, PRIMARY, STANDBY, check, possible

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
__all__ = [
    "BASELINE_S",
    "COOLDOWN_S",
    "DURATION_MAX_S",
    "FAULT_DURATION_S",
    "OPERATOR_ACTS",
    "check_targets",
    "find",
    "lasting",
    "names",
    "read",
    "repairing",
]
ANY_BOX = "random"
OWN_DISKS_HINT = "'export LAB_DISKS=own', for every command about the stage: it is started with such disks"
MOVING_ROLES = (PRIMARY, STANDBY, ACTIVE, PASSIVE)


ALIKE_MAX, NAME_MAX = 20, 100


def names() -> list[str]:
    """The experiments that come with the lab."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def alike(name: str) -> list[str]:
    """The names of experiments that a reader of this one may have meant: of the same fault, or spelt alike."""
    known = names()
    same_fault = [each for each in known if each.partition("-")[0] == name.partition("-")[0]]
    return same_fault[:ALIKE_MAX] or get_close_matches(name[:NAME_MAX], known, ALIKE_MAX)


def find(name: str) -> Experiment:
    """The experiment with this name, or in this file (a path that ends in .yaml or .yml).

    Raises UsageError, naming file and line for what is malformed.
    """
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    if name not in names():
        near = ", ".join(alike(name)) or "baseline"
        raise UsageError(
            f"there is no experiment '{shown(name)}'", f"there is {near}; 'lab list' shows all; or give a path to a .yaml file"
        )
    return read(FOLDER / f"{name}.yaml")


def read(file: Path) -> Experiment:
    """The experiment in a file. Raises UsageError naming file and line."""
    document = located_yaml.load(file)
    if not is_harmless(file.stem):  # its results stand in a folder of this name
        raise document.error("", "an experiment cannot have the name of this file", "rename it")
    return spec.read(document, file.stem)


def lasting(experiment: Experiment, fault_duration_s: float | None) -> Experiment:
    """The experiment, watched for so long before it is healed; as it is without one. Raises UsageError."""
    if fault_duration_s is None:
        return experiment
    for step in experiment.faults:
        parameters.check_flapping(step.how, fault_duration_s)
    return replace(experiment, fault_duration_s=fault_duration_s)


def unseen(experiment: Experiment) -> list[str]:
    """What cannot be seen of its expectations because it is watched for less than its author meant, a line each."""
    return expect.unseen(experiment.expectations, spec.watched_s(experiment))


def repairing(experiment: Experiment, policy: str | None, delay_s: float | None) -> Experiment:
    """The experiment under another repair policy, or after another delay. Raises UsageError where an operator is modelled."""
    repair = experiment.repair
    repair = Repair(RepairPolicy(policy or repair.policy), repair.delay_s if delay_s is None else delay_s)
    if repair.acts and experiment.operator:
        raise UsageError(
            f"{experiment.name} has an operator already, who repairs what is broken",
            "without --repair, or another experiment",
        )
    if repair.acts and experiment.overload:
        raise UsageError(
            f"{experiment.name} is about what is left when a box is lost: repaired, it would be no overload",
            "without --repair, or another experiment",
        )
    return replace(experiment, repair=repair)


def check_targets(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError when a step's target can match nothing in this stage, or no box there can do what is asked."""
    if experiment.operator and experiment.operator.action != "promote" and stage.failover != "automatic":
        raise UsageError(
            f"{experiment.name} needs a monitor, and stage {stage.number} has none in {stage.file.name}",
            "'lab list' shows the stages; stage 4 has one with --failover automatic",
        )
    if experiment.operator and experiment.operator.action == "promote" and stage.failover == "automatic":
        raise UsageError(
            f"{experiment.name} needs a stage where an operator promotes; in {stage.file.name} a monitor does",
            f"without the operator: lab run {stage.number} kill-primary --failover automatic",
        )
    if experiment.overload:
        _check_overload(experiment, stage)
    _check_clocks(experiment, stage)
    try:
        for step in (*experiment.initial_faults, *experiment.faults):
            meant = check(step.target, possible(stage), stage.number, step.how.source)
            if step.fault in OF_A_DISK:
                _check_disks(step, meant, stage)
        for role, target in experiment.preconditions.items():
            _check_given(role, target, stage)
        if experiment.operator and experiment.operator.target:
            _check_given(PRIMARY, experiment.operator.target, stage)
        _check_clash(experiment, stage)
    except UsageError as error:
        raise UsageError(f"{experiment.name} on stage {stage.number}: {error.message}", error.hint) from error


def _check_disks(step: Step, meant: Sequence[str], stage: Stage) -> None:
    """Raise UsageError where a disk is to be broken that would not be there."""
    if not stage.own_disks:
        raise UsageError(f"{step.fault} needs a box with a disk of its own", OWN_DISKS_HINT)
    have = [spec.name for spec in stage.services if spec.volumes]
    if lacking := [name for name in meant if name not in have]:
        raise UsageError(f"{step.fault}: {lacking[0]} has no disk", f"these have one: {', '.join(have)}")


def _check_overload(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError unless one of two web boxes behind a balancer can be left to carry it all."""
    roles = [role for spec in stage.services for role in spec.roles]
    if roles.count("web") != 2 or "lb" not in roles:
        raise UsageError(f"{experiment.name} needs two web boxes behind a balancer", "stages 3, 4 and 5 have them")


def _check_clocks(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError where a clock is to be set and no box of the stage has one of its own."""
    if any(step.fault is FaultKind.CLOCK for step in (*experiment.initial_faults, *experiment.faults)) and not stage.has_clocks:
        raise UsageError(
            f"{experiment.name} sets the clock of a box, and no box of stage {stage.number} has one of its own",
            "export LAB_CLOCK=yes, and then again: on stages 2 to 7 web boxes, databases and monitors have one (docs/environment.md)",
        )


def _check_clash(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError where two steps of an experiment surely hit one box in ways that cannot both be done."""
    steps = [(step, _surely_hit(step, stage)) for step in (*experiment.initial_faults, *experiment.faults)]
    if not experiment.repair.acts and (clash := spec.clash_of(steps)):
        raise UsageError(clash[0], "name different boxes, or let the second step wait: once: redundant")


def _surely_hit(step: Step, stage: Stage) -> frozenset[str]:
    """The boxes that a step hits whatever the seed, and whoever plays which role then."""
    form, colon, value = step.target.partition(":")
    system = [spec for spec in stage.services if spec.is_system]
    if form == "service":
        return frozenset(value.split(","))
    if step.target.startswith(LINE_FORM):
        return frozenset([step.target])
    if form in PLACES:
        return frozenset(spec.name for spec in system if spec.labels.get(PLACES[form]) == value)
    if form == "label":
        key, _, wanted = value.partition("=")
        return frozenset(spec.name for spec in system if spec.labels.get(key) == wanted)
    if colon or step.target in (*MOVING_ROLES, ANY_BOX):
        return frozenset(spec.name for spec in system if form == "all" and value in spec.roles)
    meant = [spec.name for spec in system if step.target in spec.roles] or [step.target]
    return frozenset(meant if len(meant) == 1 else [])


def _check_given(role: str, target: str, stage: Stage) -> None:
    """Raise UsageError where no box that a target names could ever play the role."""
    services = possible(stage)
    if role not in {each for spec in services for each in spec.roles} or (role == PRIMARY and stage.failover != "automatic"):
        raise UsageError(f"nothing there can make {role} another box", "'preconditions' needs a monitor, or several balancers")
    check(target, [spec for spec in services if role in spec.roles], stage.number)
