"""Which experiments random faults are drawn from: those of one fault that the stage must survive.

A fault may take a box that has a partner, or a whole zone or region where the stage can spare one, or the line between
two of those.
"""

from __future__ import annotations

from lab.errors import UsageError
from lab.model.experiment import Experiment
from lab.model.fault import LINE_FORM, FaultKind
from lab.model.topology import Stage
from lab.spec import experiments
from lab.spec.targets import PLACES, possible

# One box at a time, and what a stage must survive: a lone database (db) or entry (lb) has nothing to take over.
TARGETS = ("web", "db.primary", "db.standby", "lb.active", "lb.passive", "monitor")
# How many zones or regions it takes for one to be spared. Of two zones neither could say that it is the larger part; regions
# come with a witness, which is one itself.
PLACES_MIN = {"zone": 3, "region": 2}
BEYOND_REDUNDANCY = (FaultKind.BAD_DEPLOY, FaultKind.POISON)
"""A second box with the same defect is no spare, and one that answers badly is not taken out."""
TIERS = {
    "web": "web",
    "lb.active": "balancer",
    "lb.passive": "balancer",
    "db.primary": "database",
    "db.standby": "database",
    "monitor": "monitor",
}


def eligible(stage: Stage) -> list[str]:
    """The experiments that are drawn from where the lab heals. Raises UsageError where there is none."""
    found = [name for name in experiments.names() if _suits(experiments.find(name), stage)]
    if not found:
        raise UsageError(f"nothing on stage {stage.number} has a partner that could take over", "try stage 5: 'lab monkey 5'")
    return found


def eligible_for_repair(stage: Stage, reckless: bool) -> list[str]:
    """Those where a policy repairs: without those in which an operator acts; reckless: only those of a single box.

    Raises UsageError where there are too few.
    """
    names = [name for name in eligible(stage) if not experiments.find(name).operator]
    found = [name for name in names if tier(name)] if reckless else names
    if not found or (reckless and len({tier(name) for name in found}) < 2):
        raise UsageError(f"stage {stage.number} has too little that may be broken", "try stage 5: 'lab monkey 5'")
    return found


def tier(name: str) -> str:
    """The tier in which an experiment breaks a box; empty for places and lines."""
    [step] = experiments.find(name).faults
    return TIERS.get(step.target, "") if not step.how.source else ""


def hits_a_place(name: str) -> bool:
    """Whether an experiment breaks a zone or a region, or the line to one."""
    return any(map(_is_place, _targets(experiments.find(name))))


def _suits(experiment: Experiment, stage: Stage) -> bool:
    if len(experiment.steps) != 1 or experiment.overload or (experiment.operator and experiment.operator.action != "switchover"):
        return False
    if any(step.fault in BEYOND_REDUNDANCY for step in experiment.faults):
        return False
    if not experiment.breaks or not all(_can_be_spared(target, stage) for target in _targets(experiment)):
        return False
    try:
        experiments.check_targets(experiment, stage)
    except UsageError:
        return False
    return True


def _targets(experiment: Experiment) -> list[str]:
    """Everything that is broken, on both sides of a partition."""
    return [target for step in experiment.faults for target in (step.target, step.how.source) if target]


def _can_be_spared(target: str, stage: Stage) -> bool:
    return _is_spare_place(target, stage) if _is_place(target) else _has_partner(target, stage)


def _is_place(target: str) -> bool:
    return target.startswith(LINE_FORM) or target.partition(":")[0] in PLACES_MIN


def _is_spare_place(target: str, stage: Stage) -> bool:
    """Whether it is one of enough zones or regions, and neither it nor a box in it is declared a single point of failure.

    The line to a region may fail where the region may.
    """
    form, _, name = target.replace(LINE_FORM, "region:").partition(":")
    where = {spec.name: spec.labels[PLACES[form]] for spec in stage.services if PLACES[form] in spec.labels}
    in_it = {service for service, place in where.items() if place == name}
    return len(set(where.values())) >= PLACES_MIN[form] and not (in_it | {f"{form}:{name}"}) & set(stage.spof)


def _has_partner(target: str, stage: Stage) -> bool:
    """Whether it is a role that another box could take over; the monitor's work can wait for it."""
    return target in TARGETS and (target == "monitor" or sum(target in spec.roles for spec in possible(stage)) > 1)
