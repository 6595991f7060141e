"""What a figure stands on: detection timers beside the products' defaults, distances, the disk, the machine. Pure.

Everything about a stage is read from its own file. A timer that does not stand there is left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from lab.model import Conditions, Machine, Timer

KILL_KEEPS = "processes end, kernel and page cache live on"

HAPROXY_DEFAULTS: dict[str, float | None] = {
    "inter": 2.0,
    "fastinter": None,
    "downinter": None,
    "fall": 3.0,
    "timeout check": None,
}
"""fastinter and downinter are as inter where they are not set; a check without a timeout of its own has inter."""
VRRP_DEFAULTS = {"advert_int": 1.0, "down_timer_adverts": 3.0}
"""So many adverts and the skew of its priority (0.6 s of priority 100) later a backup takes over: after 3.6 s."""
BIRD_DEFAULTS = {"interval": 0.1, "multiplier": 5.0}
AUTO_FAILOVER = "pgautofailover."
SERVER_DEFAULTS = {
    f"{AUTO_FAILOVER}health_check_period": 5.0,
    f"{AUTO_FAILOVER}health_check_timeout": 5.0,
    f"{AUTO_FAILOVER}health_check_max_retries": 2.0,
    f"{AUTO_FAILOVER}health_check_retry_delay": 2.0,
    f"{AUTO_FAILOVER}node_considered_unhealthy_timeout": 20.0,
    f"{AUTO_FAILOVER}primary_demote_timeout": 30.0,
    f"{AUTO_FAILOVER}startup_grace_period": 10.0,
    "wal_sender_timeout": 60.0,
    "wal_receiver_timeout": 60.0,
}
COUNTS = ("fall", "multiplier", "down_timer_adverts", f"{AUTO_FAILOVER}health_check_max_retries")
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(?:[ \t]*(us|ms|s|min|m|h|d)\b)?")
SETTING = re.compile(r"(?:^|\s)-c\s+([\w.]+)=(\S*)")
HAPROXY_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen)\b\s*(\S*)")
VRRP_BLOCK = re.compile(r"\bvrrp_instance\s+(\S+)\s*\{(.*?)(?=\bvrrp_instance\b|\Z)", re.DOTALL)
BFD_BLOCK = re.compile(r"\bprotocol\s+bfd\b[^{]*\{((?:[^{}]|\{[^{}]*\})*)\}", re.DOTALL)
LINE = re.compile(r"(?:^|\s)([\w-]+)=\d[\d.]*/\d+((?:,\w+=\w+)*)")


def of(document: Mapping[str, Any] | None, machine: Machine | None = None, database_bytes: int | None = None) -> Conditions:
    """The conditions of a stage, from its Compose file as read; None for a system whose files are not ours."""
    if document is None:
        return Conditions(machine, database_bytes=database_bytes, kill=KILL_KEEPS)
    return Conditions(machine, fsync(document), timers(document), round_trips_ms(document), database_bytes, KILL_KEEPS)


def timers(document: Mapping[str, Any]) -> tuple[Timer, ...]:
    """Every detection timer of a Compose file, each once, in the order in which they stand there."""
    found = [timer for text in _texts(document) for timer in _of_text(text)]
    return tuple(dict.fromkeys(found))


def fsync(document: Mapping[str, Any]) -> bool | None:
    """Whether every database waits for the disk; None where none says."""
    said = [value for text in _texts(document) for name, value in SETTING.findall(text) if name == "fsync"]
    return None if not said else all(value in ("on", "true", "yes", "1") for value in said)


def round_trips_ms(document: Mapping[str, Any]) -> dict[str, float]:
    """What the wan adds to a round trip between two regions: the delays of both lines. Empty without one."""
    delays = [
        (name, _line_delay_ms(words))
        for text in _texts(document)
        if text.startswith("lab-wan ")
        for name, words in LINE.findall(text)
    ]
    return {f"{one}-{other}": round(a + b, 6) for (one, a), (other, b) in combinations(delays, 2)}


def _line_delay_ms(words: str) -> float:
    said = re.search(r",delay=(\w+)", words)
    return round((_seconds(said[1], "ms") or 0.0) * 1000, 6) if said else 0.0


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    """The commands of the services and the files that stand in the document, without comments."""
    for body in _values(document, "services"):
        command = body.get("command")
        yield " ".join(map(str, command)) if isinstance(command, (list, tuple)) else str(command or "")
    for body in _values(document, "configs"):
        yield "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in str(body.get("content") or "").splitlines())


def _values(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    section = document.get(key)
    return [each for each in section.values() if isinstance(each, Mapping)] if isinstance(section, Mapping) else []


def _of_text(text: str) -> Iterator[Timer]:
    yield from _haproxy(text)
    for name, block in VRRP_BLOCK.findall(text):
        yield from _words("keepalived", name, block, VRRP_DEFAULTS, "s")
    for block in BFD_BLOCK.findall(text):
        yield from _words("bird", "bfd", re.sub(r"\bidle tx interval[^;]*;", "", block), BIRD_DEFAULTS, "s")
    for name, value in SETTING.findall(text):
        if name in SERVER_DEFAULTS:
            product = "pg_auto_failover" if name.startswith(AUTO_FAILOVER) else "postgresql"
            yield from _timer(product, "", name, value, SERVER_DEFAULTS[name], "ms")


def _haproxy(text: str) -> Iterator[Timer]:
    where = ""
    for line in map(str.strip, text.splitlines()):
        section = HAPROXY_SECTION.match(line)
        where = section[2] or section[1] if section else where
        if line.startswith("timeout check ") or (line.startswith(("default-server ", "server ")) and " check" in line):
            yield from _words("haproxy", where, line, HAPROXY_DEFAULTS, "ms")


def _words(product: str, where: str, text: str, defaults: Mapping[str, float | None], bare: str) -> Iterator[Timer]:
    """Settings that are written as a name, a space and a value."""
    for name, default in defaults.items():
        for said in re.finditer(rf"(?<![\w-]){name}\s+({DURATION.pattern})", text):
            yield from _timer(product, where, name, said[1].strip(), default, bare)


def _timer(product: str, where: str, name: str, value: str, default: float | None, bare: str) -> Iterator[Timer]:
    is_count = name in COUNTS
    read = float(value) if is_count and value.isdigit() else None if is_count else _seconds(value, bare)
    if read is not None:
        yield Timer(product, where, name.removeprefix(AUTO_FAILOVER), read, default, "" if is_count else "s")


def _seconds(text: str, bare: str) -> float | None:
    """A duration, without a unit in that of the program; None for what is none."""
    said = DURATION.fullmatch(text.strip())
    return round(float(said[1]) * UNITS_S[said[2] or bare], 9) if said else None


# In words

ORDER = ("machine", "fsync", "haproxy", "vrrp", "bfd", "monitor", "links", "database", "kill")


def line(found: Conditions) -> str:
    """All of it in one line, for under a figure."""
    return f"conditions: {', '.join(parts(found).values())}"


def parts(found: Conditions) -> dict[str, str]:
    """What is said of each condition, by its name."""
    said = {
        "machine": _machine(found.machine),
        "fsync": "fsync unknown" if found.fsync is None else f"fsync {'on' if found.fsync else 'off'}",
        "haproxy": _pair("HAProxy", found.timers, "haproxy", "inter", "fall"),
        "vrrp": _pair("VRRP", found.timers, "keepalived", "advert_int", "down_timer_adverts"),
        "bfd": _pair("BFD", found.timers, "bird", "interval", "multiplier"),
        "monitor": _monitor(found.timers),
        "links": _links(found.round_trips_ms),
        "database": f"database {_size(found.database_bytes)}",
        "kill": f"kill: {found.kill or 'unknown'}",
    }
    return {name: text for name, text in said.items() if text}


def lines_of(named: Sequence[tuple[str, Conditions | None]]) -> list[str]:
    """Of several stages: what most of those that have it have, then a line for each that differs. Empty where nothing is known."""
    known = [(name, found) for name, found in named if found]
    if not known:
        return []
    said = [(name, parts(found)) for name, found in known]
    keys = dict.fromkeys(key for _, each in said for key in each)
    usual = {key: Counter(each[key] for _, each in said if key in each).most_common(1)[0][0] for key in keys}
    usual["database"] = _sizes([found.database_bytes for _, found in known])
    lines = [f"conditions: {', '.join(usual[key] for key in ORDER if key in usual)}"]
    for name, each in said:
        own = [text for key, text in each.items() if key != "database" and text != usual[key]]
        lines += [f"but {name}: {', '.join(own)}"] if own else []
    return lines


def _machine(machine: Machine | None) -> str:
    return (
        f"one machine ({machine.cores} core{'' if machine.cores == 1 else 's'})"
        if machine and machine.cores
        else "machine unknown"
    )


def _first(timers_: Sequence[Timer], product: str, setting: str) -> Timer | None:
    return next((each for each in timers_ if (each.product, each.setting) == (product, setting)), None)


def _pair(title: str, timers_: Sequence[Timer], product: str, period: str, times: str) -> str:
    """A period and how many in a row count. Of several (backends) the first."""
    each, count = _first(timers_, product, period), _first(timers_, product, times)
    if not each:
        return ""
    if not count or each.default is None or count.default is None:
        return _one(title, timers_, product, period, "default ")
    return f"{title} {_time(each.value)} x {count.value:g} (default {_time(each.default)} x {count.default:g})"


def _one(title: str, timers_: Sequence[Timer], product: str, setting: str, before: str = "") -> str:
    each = _first(timers_, product, setting)
    if not each:
        return ""
    default = f" ({before}{_time(each.default)})" if each.default is not None else ""
    return f"{title} {_time(each.value)}{default}"


def _monitor(timers_: Sequence[Timer]) -> str:
    product = "pg_auto_failover"
    said = (
        _one("monitor", timers_, product, "health_check_period", "default "),
        _one("unhealthy", timers_, product, "node_considered_unhealthy_timeout"),
        _one("demote", timers_, product, "primary_demote_timeout"),
    )
    return ", ".join(each for each in said if each)


def _links(round_trips: Mapping[str, float] | None) -> str:
    if round_trips is None:
        return "links unknown"
    return "links " + (", ".join(f"{name} {each:g} ms" for name, each in round_trips.items()) or "0 ms")


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _sizes(counts: Sequence[int | None]) -> str:
    """The sizes of several databases: a range, and unknown where one is."""
    known = [each for each in counts if each is not None]
    if len(known) < len(counts) or not known:
        return "database size unknown"
    low, high = _size(min(known)), _size(max(known))
    return f"database {low}" if low == high else f"databases {low} to {high}"


def _time(value_s: float) -> str:
    return f"{value_s * 1000:g} ms" if value_s < 1 else f"{value_s:g} s"


# From a stored document


def from_document(raw: Any) -> Conditions | None:
    """Conditions from JSON; fields that are not known are passed over. Raises ValueError for what is none."""
    try:
        return None if raw is None else _read(raw)
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"these are no conditions: {error}") from error


def _read(raw: Any) -> Conditions:
    machine, trips, size = raw.get("machine"), raw.get("round_trips_ms"), raw.get("database_bytes")
    fsync_ = raw.get("fsync")
    return Conditions(
        machine=Machine(int(machine["cores"]), int(machine["memory_mib"]), *(str(machine.get(key, "")) for key in MACHINE_TEXTS))
        if machine
        else None,
        fsync=None if fsync_ is None else bool(fsync_),
        timers=tuple(_read_timer(each) for each in raw.get("timers", ())),
        round_trips_ms=None if trips is None else {str(name): _number(each) for name, each in trips.items()},
        database_bytes=None if size is None else int(size),
        kill=str(raw.get("kill", "")),
    )


MACHINE_TEXTS = ("engine", "kernel", "system")


def _read_timer(raw: Any) -> Timer:
    default = raw["default"]
    return Timer(
        product=str(raw["product"]),
        where=str(raw["where"]),
        setting=str(raw["setting"]),
        value=_number(raw["value"]),
        default=None if default is None else _number(default),
        unit=str(raw["unit"]),
    )


def _number(raw: Any) -> float:
    number = float(raw)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{raw} is no measured value")
    return number
