"""Which boxes a target means: by role, service, label or chance. Nothing found is an error, never "all"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from lab.errors import UsageError
from lab.model.fault import LINE_FORM, Step
from lab.model.topology import WAN_ROLE, Box, ServiceSpec, Stage

FORMS = "a role (web), service:NAME or NAME,NAME, zone:NAME, region:NAME, line:REGION, label:KEY=VALUE, all:ROLE, random or random:ROLE,ROLE"
PRIMARY, STANDBY = "db.primary", "db.standby"
ACTIVE, PASSIVE = "lb.active", "lb.passive"
PLACES = {"zone": "lab.zone", "region": "lab.region"}


def resolve(target: str, boxes: Sequence[Box], random: Random) -> tuple[Box, ...]:
    """The boxes that a target names, at least one.

    ROLE is one box that plays the role, by chance (seeded) where several do; a bare service name works
    too. A box that is down plays no role: neither ROLE, all:ROLE nor random means it; by its name it is still meant. service:NAME is that box, service:NAME,NAME these together; zone:NAME and region:NAME are every box that stands
    there; line:NAME is the router's line to a region; label:KEY=VALUE every box with the label; all:ROLE every box in the role; random any box of the
    system, random:ROLE,ROLE any in one of the roles. The internet box is never a target. Raises UsageError.
    """
    system = sorted((box for box in boxes if box.is_system), key=lambda box: box.service)
    form, colon, value = target.partition(":")
    if form == "random":
        found = _any(value.split(",") if colon else [], [box for box in system if _is_up(box)], random)
    elif colon and form == "service":
        found = _all_named(value.split(","), system)
    elif colon and form in PLACES:
        found = [box for box in system if value and box.labels.get(PLACES[form]) == value]
    elif form + colon == LINE_FORM:
        # Of a line, the router has an end where the region has a box.
        regions = {box.labels.get(PLACES["region"]) for box in system}
        found = [box for box in boxes if WAN_ROLE in box.roles and value in regions]
    elif colon and form == "label":
        key, equals, wanted = value.partition("=")
        found = [box for box in system if equals and box.labels.get(key) == wanted]
    elif colon and form == "all":
        found = [box for box in system if value in box.roles and _is_up(box)]
    elif colon:
        raise UsageError(f"'{target}' is no target", f"a target is {FORMS}")
    else:
        found = _one(target, system, random)
    if not found:
        down = _all_down(value if colon else form, system)
        raise UsageError(f"the target '{target}' matches no box{down}", _known(system))
    return tuple(found)


def _is_up(box: Box) -> bool:
    """Whether a box can play a role now; one that is only described in a file (it has no status yet) could."""
    return box.status in ("running", "")


def _any(roles: Sequence[str], up: Sequence[Box], random: Random) -> list[Box]:
    """One box that plays one of the roles; any at all without roles. An empty role does not mean "any"."""
    if not all(roles):
        raise UsageError("random: needs roles after the colon", "random is any box, random:web,db one that plays web or db")
    found = [box for box in up if not roles or set(roles) & set(box.roles)]
    return [random.choice(found)] if found else []


def _all_down(roles: str, system: Sequence[Box]) -> str:
    """Why a role means nothing just now: those who would play it are down. Empty where that is not why."""
    down = [f"{box.service} is {box.status}" for box in system if set(roles.split(",")) & set(box.roles) and not _is_up(box)]
    return f" that runs: {', '.join(down)}" if down else ""


def _all_named(names: Sequence[str], system: Sequence[Box]) -> list[Box]:
    """The boxes with these names; none where one is missing: a part of what was asked for is another fault."""
    found = [box for box in system if box.service in names]
    return found if len(found) == len(set(names)) else []


def resolve_sides(target: str, source: str, boxes: Sequence[Box], random: Random) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """The boxes that a target names, and those that its other side names apart from them (none without a source).

    Raises UsageError where one of the two is empty.
    """
    members = resolve(target, boxes, random)
    if not source:
        return members, ()
    rest = [box for box in boxes if box not in members]
    try:
        return members, resolve(source, rest, random)
    except UsageError as error:
        raise UsageError(f"from: {error.message} apart from {', '.join(box.service for box in members)}", error.hint) from error


def matches_a_box(step: Step, boxes: Sequence[Box]) -> bool:
    """Whether there is a box now for each side of a step."""
    try:
        resolve_sides(step.target, step.how.source, boxes, Random(0))
    except UsageError:
        return False
    return True


def _known(system: Sequence[Box]) -> str:
    roles = sorted({role for box in system for role in box.roles})
    places = sorted({f"{form}:{box.labels[label]}" for form, label in PLACES.items() for box in system if label in box.labels})
    known = f"roles here: {', '.join(roles)}; boxes: {', '.join(box.service for box in system)}"
    return known + (f"; places: {', '.join(places)}" if places else "")


def _one(name: str, system: Sequence[Box], random: Random) -> list[Box]:
    in_role = [box for box in system if name in box.roles and _is_up(box)]
    if in_role:
        return [random.choice(in_role)]
    return [box for box in system if box.service == name]


def possible(stage: Stage) -> list[ServiceSpec]:
    """The services of a stage with every role that they may play when a fault strikes."""
    databases = (PRIMARY, STANDBY) if stage.is_replicated else (PRIMARY,)
    live = dict.fromkeys(stage.databases, databases) | dict.fromkeys(stage.balancers, (ACTIVE, PASSIVE))
    return [replace(spec, roles=(*spec.roles, *live.get(spec.name, ()))) for spec in stage.services]


def check(target: str, services: Sequence[ServiceSpec], stage: int, source: str = "") -> tuple[str, ...]:
    """The services that a target could mean in a stage that is described but perhaps not up.

    Raises UsageError when it, or its other side, can match nothing.
    """
    planned = [
        Box(id="", service=spec.name, stage=stage, roles=spec.roles, labels=spec.labels, status="", health="")
        for spec in services
    ]
    return tuple(box.service for box in resolve_sides(target, source, planned, Random(0))[0])
