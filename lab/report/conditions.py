"""What a figure stands on, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lab.model.history import Conditions, Machine, Timer

# In words

ORDER = ("clock", "machine", "speed", "fsync", "disks", "haproxy", "vrrp", "bfd", "monitor", "links", "database", "kill")


RANGES = ("speed", "database")
"""What differs from stage to stage without a meaning: the first line says from where to where."""


def line(found: Conditions) -> str:
    """All of it in one line, for under a figure."""
    return f"conditions: {', '.join(parts(found).values())}"


def parts(found: Conditions) -> dict[str, str]:
    """The text of each condition, by its name."""
    texts = {
        "clock": f"every question for the time goes through {found.clock} (LAB_CLOCK): not to be compared" if found.clock else "",
        "machine": _machine(found.machine),
        "speed": _speeds([found]),
        "fsync": "fsync unknown" if found.fsync is None else f"fsync {'on' if found.fsync else 'off'}",
        "disks": f"disks {found.disks}" if found.disks else "",
        "haproxy": _pair("HAProxy", found.timers, "haproxy", "inter", "fall"),
        "vrrp": _pair("VRRP", found.timers, "keepalived", "advert_int", "down_timer_adverts"),
        "bfd": _pair("BFD", found.timers, "bird", "interval", "multiplier"),
        "monitor": _monitor(found.timers),
        "links": _links(found.round_trips_ms),
        "database": f"database {_size(found.database_bytes)}",
        "kill": f"kill: {found.kill or 'unknown'}",
    }
    return {name: text for name, text in texts.items() if text}


def lines_of(named: Sequence[tuple[str, Conditions | None]]) -> list[str]:
    """Of several stages: what most of those that have it have, then a line for each that differs. Empty where nothing is known."""
    known = [(name, found) for name, found in named if found]
    if not known:
        return []
    texts = [(name, parts(found)) for name, found in known]
    keys = dict.fromkeys(key for _, each in texts for key in each)
    usual = {key: Counter(each[key] for _, each in texts if key in each).most_common(1)[0][0] for key in keys}
    usual["database"] = _sizes([found.database_bytes for _, found in known])
    usual["speed"] = _speeds([found for _, found in known])
    lines = [f"conditions: {', '.join(usual[key] for key in ORDER if usual.get(key))}"]
    for name, each in texts:
        own = [text for key, text in each.items() if key not in RANGES and text != usual[key]]
        lines += [f"but {name}: {', '.join(own)}"] if own else []
    return lines


def _machine(machine: Machine | None) -> str:
    return (
        f"one machine ({machine.cores} core{'' if machine.cores == 1 else 's'})"
        if machine and machine.cores
        else "machine unknown"
    )


def _speeds(found: Sequence[Conditions]) -> str:
    """How fast the machine was, over several stages; empty where that was not measured."""
    loops_ms = [each.machine.loop_ms for each in found if each.machine and each.machine.loop_ms]
    if not loops_ms:
        return ""
    low, high = f"{min(loops_ms):.0f}", f"{max(loops_ms):.0f}"
    return f"a million additions in {low if low == high else f'{low} to {high}'} ms"


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
    texts = (
        _one("monitor", timers_, product, "health_check_period", "default "),
        _one("unhealthy", timers_, product, "node_considered_unhealthy_timeout"),
        _one("demote", timers_, product, "primary_demote_timeout"),
    )
    return ", ".join(each for each in texts if each)


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
