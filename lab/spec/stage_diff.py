"""What a stage has that the one before had not, and why: two stage files in, what was added, moved and set differently out. Pure.

Boxes are compared as Compose files describe them. A box that is gone and whose address an added one has taken over has become
that box. What follows from the rest (addresses, host names, volumes) is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.model.history import Timer

Document = Mapping[str, Any]
Name = tuple[str, str, str]
"""Of a setting: the file and the section of it that it stands in (or the program and its part), and its keyword."""
Settings = dict[Name, str]
ReadTimers = Callable[[Document], Iterable[Timer]]
"""The detection timers in (a part of) a Compose file."""

PLACES = {"lab.zone": "zone", "lab.region": "region"}
SCALARS = {"image": "image", "mem_limit": "memory", "user": "user", "restart": "restart policy"}
SCALARS |= {name: name for name in ("cpus", "cpu_shares", "pids_limit", "stop_grace_period", "shm_size")}
LISTS = {"cap_add": "capabilities", "cap_drop": "dropped capabilities", "devices": "devices", "tmpfs": "tmpfs", "ports": "ports"}
PRODUCTS = {"haproxy": "HAProxy", "keepalived": "keepalived", "bird": "BIRD"}
"""Whose timers are named with their part; those of PostgreSQL and its extension have names that are long enough."""
POSTGRES_SETTING = re.compile(r"(?:^|\s)-c\s+([\w.]+)=(\S*)")
SAME = "the same"
TWO_WORDS = ("timeout", "option", "http-request", "http-response", "protocol", "net", "ipv4")


@dataclass(frozen=True)
class Setting:
    """A setting with another value: empty where it is not set."""

    part: str
    """Where it stands: a section of a file, a part of a program; empty for a setting of the box."""
    name: str
    """Empty where all of that part is new or gone."""
    old: str
    new: str
    own: bool = False
    """Whether each box has a value of its own; then this is that of the first."""


@dataclass(frozen=True)
class Added:
    """Boxes of one role in one place that stand in the later stage only."""

    boxes: tuple[str, ...]
    role: str
    place: str
    """As in `zone a`; empty where the stage has no places."""
    timers: tuple[Setting, ...] = ()
    """What decides how soon it notices a failure; of roles that the earlier stage has not."""


@dataclass(frozen=True)
class Became:
    """A box of the earlier stage, and those that have its addresses now."""

    box: str
    now: tuple[str, ...]


@dataclass(frozen=True)
class Moved:
    """Boxes that stand somewhere else; empty where a stage has no places."""

    boxes: tuple[str, ...]
    old: str
    new: str


@dataclass(frozen=True)
class Changed:
    """Boxes of one role that are not what they were, and why."""

    boxes: tuple[str, ...]
    reason: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class StageDiff:
    """All that one stage has and the other has not."""

    new: str
    spof: tuple[tuple[str, ...], tuple[str, ...]]
    added: tuple[Added, ...]
    gone: tuple[str, ...]
    became: tuple[Became, ...]
    networks_added: tuple[str, ...]
    networks_gone: tuple[str, ...]
    moved: tuple[Moved, ...]
    changed: tuple[Changed, ...]

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Boxes that differ without a reason."""
        return tuple(name for each in self.changed if not each.reason for name in each.boxes)


def compare(before: Document, after: Document, reasons: Mapping[str, str], read_timers: ReadTimers) -> StageDiff:
    """What the later of two stages changes; `reasons` says why, by box."""
    old, new = before["services"], after["services"]
    became = _became(old, new)
    pairs = {name: name for name in new if name in old}
    pairs |= {each.now[0]: each.box for each in became if len(each.now) == 1}
    gone = [name for name in old if name not in new and name not in [each.box for each in became]]
    networks = before["networks"], after["networks"]
    return StageDiff(
        new=str(after["x-lab"]["new"]),
        spof=(tuple(before["x-lab"]["spof"]), tuple(after["x-lab"]["spof"])),
        added=_added(before, after, [name for name in new if name not in pairs], read_timers),
        gone=tuple(gone),
        became=became,
        networks_added=tuple(name for name in networks[1] if name not in networks[0]),
        networks_gone=tuple(name for name in networks[0] if name not in networks[1]),
        moved=_moved({name: (_place(old[was]), _place(new[name])) for name, was in pairs.items()}),
        changed=_changed(before, after, pairs, reasons, read_timers),
    )


def joined_reasons(chain: Iterable[Document]) -> dict[str, str]:
    """Why boxes differ, over several stages one after the other: x-lab.changes of each but the first."""
    found: dict[str, list[str]] = {}
    for document in chain:
        for name, reason in document["x-lab"].get("changes", {}).items():
            found.setdefault(name, []).append(str(reason))
    return {name: "; then ".join(reasons) for name, reasons in found.items()}


# Boxes


def _role(body: Document) -> str:
    return str(body["labels"].get("lab.role", ""))


def _place(body: Document) -> str:
    return next((f"{word} {body['labels'][label]}" for label, word in PLACES.items() if label in body["labels"]), "")


def _added(before: Document, after: Document, names: Sequence[str], read_timers: ReadTimers) -> tuple[Added, ...]:
    known = {_role(body) for body in before["services"].values()}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        body = after["services"][name]
        groups.setdefault((_role(body), _place(body)), []).append(name)
    return tuple(
        Added(tuple(boxes), role, place, () if role in known else _timers(after, boxes[0], read_timers))
        for (role, place), boxes in groups.items()
    )


def _timers(document: Document, box: str, read_timers: ReadTimers) -> tuple[Setting, ...]:
    body = document["services"][box]
    found = {_timer_name(each): _timer_value(each) for each in _read(document, body, read_timers)}
    return tuple(Setting(" ".join(filter(None, name[:2])), name[2], "", value) for name, value in found.items())


def _addresses(body: Document) -> set[tuple[str, str]]:
    networks = body.get("networks") or {}
    return {(name, about["ipv4_address"]) for name, about in networks.items() if about and "ipv4_address" in about}


def _became(old: Mapping[str, Document], new: Mapping[str, Document]) -> tuple[Became, ...]:
    heirs = {
        name: tuple(each for each in new if each not in old and _addresses(new[each]) & _addresses(body))
        for name, body in old.items()
        if name not in new
    }
    return tuple(Became(name, boxes) for name, boxes in heirs.items() if boxes)


def _moved(places: Mapping[str, tuple[str, str]]) -> tuple[Moved, ...]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, (old, new) in places.items():
        if old != new:
            groups.setdefault((old, new), []).append(name)
    return tuple(Moved(tuple(names), *places) for places, names in groups.items())


def _changed(
    before: Document, after: Document, pairs: Mapping[str, str], reasons: Mapping[str, str], read_timers: ReadTimers
) -> tuple[Changed, ...]:
    groups: dict[str, dict[str, list[Setting]]] = {}
    for name, was in pairs.items():
        old, new = before["services"][was], after["services"][name]
        found = _differences(settings_of(before, old, read_timers), settings_of(after, new, read_timers))
        if found or _place(old) != _place(new) or was != name:
            groups.setdefault(_role(new), {})[name] = found
    return tuple(_merged(boxes, reasons) for boxes in groups.values())


def _differences(old: Settings, new: Settings) -> list[Setting]:
    """A file, or a section of one, that only one of the two has is one setting."""
    found: dict[tuple[str, str], Setting] = {}
    for name in [*new, *(name for name in old if name not in new)]:
        values = old.get(name, ""), new.get(name, "")
        if values[0] != values[1]:
            each = _whole(name, old, new) or Setting(" ".join(filter(None, name[:2])), name[2], *values)
            found.setdefault((each.part, each.name), each)
    return list(found.values())


def _whole(name: Name, old: Settings, new: Settings) -> Setting | None:
    """The file or the section that this setting is in, where only one of the two has it."""
    for size in range(1, 3) if name[0] and name[0] not in PRODUCTS.values() else ():
        counts = [sum(each[:size] == name[:size] for each in side) for side in (old, new)]
        if 0 in counts:
            before, after = (f"{count} settings" if count else "" for count in counts)
            return Setting(" ".join(filter(None, name[:size])), "", before, after)
    return None


def _merged(boxes: Mapping[str, Sequence[Setting]], reasons: Mapping[str, str]) -> Changed:
    """What boxes of one role have in common once; a setting that only some of them have, or have otherwise, is their own."""
    by_name = [{(each.part, each.name): each for each in found} for found in boxes.values()]
    merged = []
    for key in dict.fromkeys(key for found in by_name for key in found):
        first = next(found[key] for found in by_name if key in found)
        merged.append(replace(first, own=any(found.get(key) != first for found in by_name)))
    said = [reasons[name] for name in boxes if name in reasons]
    own = dict.fromkeys(reason for reason in said if reason != SAME)
    return Changed(tuple(boxes), "; ".join(own) if len(said) == len(boxes) else "", tuple(merged))


# Settings


def settings_of(document: Document, body: Document, read_timers: ReadTimers) -> Settings:
    """Every setting of a box by a name of its own, as text; files that stand in the document are part of it."""
    timers = _read(document, body, read_timers)
    found = {("", "", name): value for name, value in (_plain(body) | _command(body, timers)).items()}
    for file, text in _files(document, body).items():
        found |= {(file, *name): value for name, value in _file(text, timers).items()}
    return found | {_timer_name(each): _timer_value(each) for each in timers}


def _files(document: Document, body: Document) -> dict[str, str]:
    configs = body.get("configs", [])
    return {str(each["target"]).rpartition("/")[2]: str(document["configs"][each["source"]]["content"]) for each in configs}


def _read(document: Document, body: Document, read_timers: ReadTimers) -> list[Timer]:
    """The timers of one box: in its command, and in its files."""
    files = {name: {"content": text} for name, text in _files(document, body).items()}
    return list(read_timers({"services": {"box": {"command": body.get("command")}}, "configs": files}))


def _plain(body: Document) -> dict[str, str]:
    found = {word: str(body[key]) for key, word in SCALARS.items() if key in body}
    found |= {word: " ".join(map(str, body[key])) for key, word in LISTS.items() if key in body}
    found |= {str(key): str(value) for section in ("environment", "sysctls") for key, value in (body.get(section) or {}).items()}
    health = body.get("healthcheck") or {}
    found |= {"health check" if key == "test" else f"health check's {key}": str(value) for key, value in health.items()}
    found["networks"] = " ".join(body.get("networks") or {})
    found["hosts"] = " ".join(body.get("extra_hosts") or {})
    return found


def _command(body: Document, timers: Iterable[Timer]) -> dict[str, str]:
    text = str(body.get("command") or "")
    names = {each.setting for each in timers}
    settings = {name: value for name, value in POSTGRES_SETTING.findall(text) if name.rpartition(".")[2] not in names}
    program = " ".join(POSTGRES_SETTING.sub("", text).split())
    return {"command": program} | settings


def _timer_name(timer: Timer) -> Name:
    product = PRODUCTS.get(timer.product, "")
    return product, timer.where if product else "", timer.setting


def _timer_value(timer: Timer) -> str:
    if not timer.unit:
        return f"{timer.value:g}"
    return f"{timer.value * 1000:g} ms" if timer.value < 1 else f"{timer.value:g} s"


def _file(text: str, timers: Iterable[Timer]) -> dict[tuple[str, str], str]:
    """The lines of a configuration by section and keyword; those of timers are said elsewhere."""
    names = {each.setting for each in timers}
    found: dict[tuple[str, str], list[str]] = {}
    section = block = ""
    for line in _lines(text):
        words = line.rstrip(" {;").split()
        if not line.startswith((" ", "}")):
            section, block = " ".join(words[:3]), ""
        elif line.endswith("{") and len(words) == 1:
            block = words[0]
        elif words[0] == "}":
            block = ""
        elif not words[0].startswith("."):
            key, value = _keyword(_without(names, words) if words[0] == "default-server" else words, block)
            if key not in names:
                found.setdefault((section, key), []).append(value)
    return {name: ", ".join(dict.fromkeys(values)) for name, values in found.items()}


def _without(names: set[str], words: Sequence[str]) -> list[str]:
    """The words without those that are timers, and their values."""
    return [word for before, word in zip(["", *words], words, strict=False) if not names & {before, word}]


def _keyword(words: Sequence[str], block: str) -> tuple[str, str]:
    """Of a line, and the rest of it: of a balancer's server its name, of a bare word in a block the word."""
    if words[0] == "server":
        return "server", words[1]
    if len(words) == 1:
        return (block, words[0]) if block else (words[0], "on")
    size = 2 if words[0] in TWO_WORDS else 1
    return " ".join(words[:size]), " ".join(words[size:])


def _lines(text: str) -> list[str]:
    """Without comments and empty lines."""
    bare = [re.sub(r"(^|\s)#.*", "", line).rstrip() for line in text.splitlines()]
    return [line for line in bare if line]
