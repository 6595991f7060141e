"""Experiments: YAML files that say what to break, for how long, and what to expect."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import parameters, yamlfile
from lab.errors import UsageError
from lab.model import Expectation, Experiment, FaultKind, How, Operator, Overload, Repair, RepairPolicy, Stage, Step, Verdict
from lab.targets import ACTIVE, PRIMARY, check, possible
from lab.verdict import MEASURES

FOLDER = Path(__file__).resolve().parent / "experiments"
FAULT_KEYS = ("fault", "target", *parameters.NAMES)
KEYS = (
    "title",
    "question",
    "given",
    "before",
    *FAULT_KEYS,
    "steps",
    "baseline_s",
    "observe_s",
    "after_s",
    "operator",
    "repair",
    "foreseen",
    "overload",
    "expect",
)
STEP_KEYS = (*FAULT_KEYS, "after_s", "once", "within_s")
ROLES = (PRIMARY, ACTIVE)
OPERATOR_ACTS = ("promote", "switchover", "failback")
CONDITIONS = ("redundant", "served")
WITHIN_S = 30.0
# The generator is not to be what is overloaded: a small box, and not many times what it carries.
OVERLOAD_BOUNDS = {"cpus": (0.05, 0.5), "rate_ratio": (0.1, 3.0), "maxconn": (0, 500)}
DURATION_MAX_S = 3600.0
BASELINE_S, OBSERVE_S, AFTER_S = 2.0, 6.0, 1.5


def names() -> list[str]:
    """The experiments that come with the lab."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find(name: str) -> Experiment:
    """The experiment with this name, or in this file (a path that ends in .yaml or .yml).

    Raises UsageError, naming file and line for what is malformed.
    """
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    if name not in names():
        raise UsageError(f"there is no experiment '{name}'", f"experiments are {', '.join(names())}, or a path to a .yaml file")
    return read(FOLDER / f"{name}.yaml")


def read(file: Path) -> Experiment:
    """The experiment in a file. Raises UsageError naming file and line."""
    document = yamlfile.load(file)
    only(document, KEYS)
    steps = _steps(document)
    return Experiment(
        name=file.stem,
        title=_text(document, "title"),
        question=_text(document, "question"),
        steps=steps,
        baseline_s=duration(document, "baseline_s", BASELINE_S),
        observe_s=duration(document, "observe_s", OBSERVE_S),
        after_s=duration(document, "after_s", AFTER_S),
        expectations=expectations(document),
        operator=_operator(document),
        given=_given(document),
        before=_listed(document, "before") if "before" in document else (),
        repair=_repair(document),
        foreseen=_foreseen(document),
        overload=_overload(document),
    )


def observing(experiment: Experiment, observe_s: float | None) -> Experiment:
    """The experiment, watched for so long before it is healed; as it is without one."""
    return experiment if observe_s is None else replace(experiment, observe_s=observe_s)


def repairing(experiment: Experiment, policy: str | None, after_s: float | None) -> Experiment:
    """The experiment under another repair policy, or after another delay. Raises UsageError where an operator is modelled."""
    repair = experiment.repair
    repair = Repair(RepairPolicy(policy or repair.policy), repair.after_s if after_s is None else after_s)
    if repair.acts and experiment.operator:
        raise UsageError(
            f"{experiment.name} has an operator already: nobody else repairs what is broken",
            "without --repair, or another experiment",
        )
    if repair.acts and experiment.overload:
        raise UsageError(
            f"{experiment.name} is about what is left when a box is lost: repaired, it would be no overload",
            "without --repair, or another experiment",
        )
    return replace(experiment, repair=repair)


def check_targets(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError when a step's target can match nothing in this stage, or nobody there can do what is asked."""
    if experiment.operator and experiment.operator.does != "promote" and stage.failover != "automatic":
        raise UsageError(
            f"{experiment.name} needs a monitor, and stage {stage.number} has none in {stage.file.name}",
            "'lab list' shows the stages; stage 4 has one with --failover automatic",
        )
    if experiment.operator and experiment.operator.does == "promote" and stage.failover == "automatic":
        raise UsageError(
            f"{experiment.name} needs a stage where an operator promotes; in {stage.file.name} a monitor does",
            f"without the operator: lab run {stage.number} kill-primary --failover automatic",
        )
    if experiment.overload:
        _check_overload(experiment, stage)
    try:
        for step in (*experiment.before, *experiment.faults):
            check(step.target, possible(stage), stage.number, step.how.source)
        for role, target in experiment.given.items():
            _check_given(role, target, stage)
        if experiment.operator and experiment.operator.to:
            _check_given(PRIMARY, experiment.operator.to, stage)
    except UsageError as error:
        raise UsageError(f"{experiment.name} on stage {stage.number}: {error.message}", error.hint) from error


def _check_overload(experiment: Experiment, stage: Stage) -> None:
    """Raise UsageError unless one of two web boxes behind a balancer can be left to carry it all."""
    roles = [role for spec in stage.services for role in spec.roles]
    if roles.count("web") != 2 or "lb" not in roles:
        raise UsageError(f"{experiment.name} needs two web boxes behind a balancer", "stages 3, 4 and 5 have them")


def _check_given(role: str, target: str, stage: Stage) -> None:
    """Raise UsageError where no box that a target names could ever play the role."""
    services = possible(stage)
    if role not in {each for spec in services for each in spec.roles} or (role == PRIMARY and stage.failover != "automatic"):
        raise UsageError(f"nobody there can make {role} another box", "'given' needs a monitor, or several balancers")
    check(target, [spec for spec in services if role in spec.roles], stage.number)


def _steps(document: yamlfile.Mapping) -> tuple[Step, ...]:
    if "steps" not in document:
        return (_step(document, after_s=0.0),)
    if any(key in document for key in FAULT_KEYS):
        raise document.error("steps", "either fault and target, or steps, not both")
    return _listed(document, "steps")


def _listed(document: yamlfile.Mapping, key: str) -> tuple[Step, ...]:
    steps = document[key]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, yamlfile.Mapping) for step in steps):
        raise document.error(key, f"{key} must be a list of mappings with fault, target and after_s")
    for step in steps:
        only(step, STEP_KEYS)
    return tuple(_waiting(step, _step(step, duration(step, "after_s", 0.0))) for step in steps)


def _waiting(mapping: yamlfile.Mapping, step: Step) -> Step:
    """The step with what it waits for."""
    once = mapping.get("once", "")
    if once not in ("", *CONDITIONS):
        raise mapping.error("once", f"a step can wait until all is {' or '.join(CONDITIONS)}, not '{once}'", "once: redundant")
    if "within_s" in mapping and not once:
        raise mapping.error("within_s", "within_s says for how long to wait, and there is nothing to wait for", "once: redundant")
    return replace(step, once=once, within_s=duration(mapping, "within_s", WITHIN_S)) if once else step


def _step(mapping: yamlfile.Mapping, after_s: float) -> Step:
    kinds = [kind.value for kind in FaultKind]
    fault = mapping.get("fault")
    if fault not in kinds:
        raise mapping.error("fault", f"fault must be one of {', '.join(kinds)}" + (f", not '{fault}'" if fault else ""))
    target = mapping.get("target", "")
    if not isinstance(target, str) or (not target) != (fault == FaultKind.NONE):
        raise mapping.error("target", "a fault needs a target (and fault: none has none)")
    return Step(FaultKind(fault), target, after_s, _how(mapping, FaultKind(fault)))


def _how(mapping: yamlfile.Mapping, fault: FaultKind) -> How:
    try:
        return parameters.read(fault, {name: mapping[name] for name in parameters.NAMES if name in mapping})
    except parameters.ParameterError as error:
        raise mapping.error(error.name, error.message, error.hint) from error


def _operator(document: yamlfile.Mapping) -> Operator | None:
    if "operator" not in document:
        return None
    operator = document["operator"]
    if not isinstance(operator, yamlfile.Mapping):
        raise document.error("operator", "operator must be a mapping", "operator: {delay_s: 20, does: promote}")
    only(operator, ("delay_s", "does", "to"))
    does = operator.get("does")
    if does not in OPERATOR_ACTS:
        raise operator.error("does", f"an operator can only {' or '.join(OPERATOR_ACTS)}", "does: promote")
    to = operator.get("to", "")
    if not isinstance(to, str) or (to and does == "promote"):
        raise operator.error("to", "a switchover or a failback can have a target, whom it makes the primary", "to: region:eu")
    return Operator(duration(operator, "delay_s", 20.0), str(does), to)


def _repair(document: yamlfile.Mapping) -> Repair:
    repair = document.get("repair", {})
    if not repair:
        return Repair()
    if not isinstance(repair, yamlfile.Mapping):
        raise document.error("repair", "repair must be a mapping", "repair: {policy: restart, after_s: 2}")
    if "operator" in document:
        raise document.error("repair", "an operator or a repair policy, not both")
    only(repair, ("policy", "after_s"))
    if repair.get("policy") not in list(RepairPolicy):
        raise repair.error("policy", f"policy must be one of {', '.join(RepairPolicy)}", "policy: restart")
    return Repair(RepairPolicy(repair["policy"]), duration(repair, "after_s", Repair().after_s))


def _overload(document: yamlfile.Mapping) -> Overload | None:
    if "overload" not in document:
        return None
    wanted = document["overload"]
    if not isinstance(wanted, yamlfile.Mapping):
        raise document.error("overload", "overload must be a mapping", "overload: {cpus: 0.15, rate_ratio: 1.5, maxconn: 1}")
    only(wanted, OVERLOAD_BOUNDS)
    for key, (low, high) in OVERLOAD_BOUNDS.items():
        value = wanted.get(key, 0)
        if not _is_number(value) or not low <= value <= high or (key == "maxconn" and value != int(value)):
            raise wanted.error(key, f"{key} must be a number from {low:g} to {high:g}, not '{value}'", f"{key}: {high:g}")
    return Overload(float(wanted["cpus"]), float(wanted["rate_ratio"]), int(wanted.get("maxconn", 0)))


def _foreseen(document: yamlfile.Mapping) -> dict[str, str]:
    foreseen = document.get("foreseen", {})
    if not isinstance(foreseen, (yamlfile.Mapping, dict)):
        raise document.error("foreseen", "foreseen must be a mapping of repair policies to verdicts", "foreseen: {none: refuted}")
    for policy, verdict in foreseen.items():
        if policy not in list(RepairPolicy) or verdict not in (Verdict.HELD, Verdict.REFUTED):
            raise document.error(
                "foreseen",
                f"foreseen says {' or '.join((Verdict.HELD, Verdict.REFUTED))} of {', '.join(RepairPolicy)}, not '{policy}: {verdict}'",
            )
    return dict(foreseen)


def _given(document: yamlfile.Mapping) -> dict[str, str]:
    given = document.get("given", {})
    if not given:
        return {}
    if not isinstance(given, yamlfile.Mapping):
        raise document.error("given", "given must be a mapping of roles to targets", "given: {db.primary: zone:a}")
    only(given, ROLES)
    for role, target in given.items():
        if not isinstance(target, str) or not target:
            raise given.error(role, f"{role} needs a target", f"{role}: zone:a")
    return dict(given)


def expectations(document: yamlfile.Mapping, measures: Collection[str] = MEASURES) -> tuple[Expectation, ...]:
    """What a document expects, of these measures. Raises UsageError naming file and line."""
    expect = document.get("expect")
    if not isinstance(expect, yamlfile.Mapping) or not expect:
        raise document.error("expect", "expect must name at least one measure with at_most or at_least")
    return tuple(_expectation(expect, measure, measures) for measure in expect)


def _expectation(expect: yamlfile.Mapping, measure: str, measures: Collection[str]) -> Expectation:
    if measure not in measures:
        raise expect.error(measure, f"'{measure}' is not measured", f"measures are {', '.join(measures)}")
    bounds = expect[measure]
    if not isinstance(bounds, yamlfile.Mapping) or not bounds or not set(bounds) <= {"at_most", "at_least"}:
        raise expect.error(measure, f"'{measure}' needs at_most or at_least", f"{measure}: {{at_most: 1.0}}")
    for key, value in bounds.items():
        if not _is_number(value):
            raise bounds.error(key, f"{key} must be a number, not '{value}'")
    return Expectation(measure, bounds.get("at_most"), bounds.get("at_least"))


def only(mapping: yamlfile.Mapping, known: Iterable[str]) -> None:
    """Raise UsageError, naming file and line, for a key that is not known."""
    for key in mapping:
        if key not in known:
            raise mapping.error(key, f"'{key}' is not known here", f"known are {', '.join(known)}")


def _text(mapping: yamlfile.Mapping, key: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value.strip():
        raise mapping.error(key, f"'{key}' must be a line of text")
    return " ".join(value.split())


def duration(mapping: yamlfile.Mapping, key: str, default: float) -> float:
    """A number of seconds. Raises UsageError naming file and line."""
    value = mapping.get(key, default)
    if not _is_number(value) or not 0 <= value <= DURATION_MAX_S:
        raise mapping.error(key, f"{key} must be a number of seconds from 0 to {DURATION_MAX_S:g}, not '{value}'")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
