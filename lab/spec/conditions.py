"""What a figure stands on: detection timers beside the products' defaults, distances, the disk, the machine. Pure.

Everything about a stage is read from its own file. A timer that does not stand there is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from lab.model.history import Conditions, Machine, Timer

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
        machine=_read_machine(machine) if machine else None,
        fsync=None if fsync_ is None else bool(fsync_),
        timers=tuple(_read_timer(each) for each in raw.get("timers", ())),
        round_trips_ms=None if trips is None else {str(name): _number(each) for name, each in trips.items()},
        database_bytes=None if size is None else int(size),
        kill=str(raw.get("kill", "")),
        disks=str(raw.get("disks", "")),
        clock=str(raw.get("clock", "")),
    )


def _read_machine(raw: Any) -> Machine:
    loop_ms = raw.get("loop_ms")
    engine, kernel, system = (str(raw.get(key, "")) for key in ("engine", "kernel", "system"))
    of_loop_ms = None if loop_ms is None else _number(loop_ms)
    return Machine(int(raw["cores"]), int(raw["memory_mib"]), engine, kernel, system, of_loop_ms)


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
