"""What a stage has that the one before had not, in words."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from lab.spec.stage_diff import Added, Changed, Setting, StageDiff

WIDTH = 118
VALUE_MAX = 60
NO_LISTS = ("command", "health check")
A_TIME = re.compile(r"[\d.]+ m?s")


def lines(diff: StageDiff) -> list[str]:
    """All of it, as a terminal shows it."""
    added = [*map(_added_words, diff.added), *_networks(diff.networks_added)]
    gone = [*diff.gone, *_networks(diff.networks_gone)]
    moved = [f"{', '.join(each.boxes)} {each.old or 'no place'} -> {each.new or 'no place'}" for each in diff.moved]
    old, new = (", ".join(each) or "none" for each in diff.spof)
    return [
        *_wrapped(f"new: {diff.new}"),
        *_wrapped(f"single points of failure: {old} -> {new}" if old != new else ""),
        *_wrapped("added: " + "; ".join(added) if added else ""),
        *(line for each in diff.added for line in _timer_lines(each)),
        *_wrapped("gone: " + "; ".join(gone) if gone else ""),
        *_wrapped("became: " + "; ".join(f"{each.box} -> {', '.join(each.now)}" for each in diff.became) if diff.became else ""),
        *_wrapped("moved: " + "; ".join(moved) if moved else ""),
        *(line for each in diff.changed for line in _changed_lines(each)),
    ]


def _networks(names: Sequence[str]) -> list[str]:
    return [f"network{'s' if len(names) > 1 else ''} {', '.join(names)}"] if names else []


def _added_words(each: Added) -> str:
    return f"{', '.join(each.boxes)} ({', '.join(filter(None, (each.role, each.place)))})"


def _timer_lines(each: Added) -> list[str]:
    return _wrapped(_settings_words(f"detection timers of {', '.join(each.boxes)}: ", each.timers), "  ")


def _changed_lines(each: Changed) -> list[str]:
    head = _wrapped(f"{', '.join(each.boxes)}: {each.reason or 'no reason is given'}")
    new = _settings_words("new: ", [setting for setting in each.settings if not setting.old])
    gone = _settings_words("gone: ", [setting for setting in each.settings if not setting.new])
    changed = _settings_words("", [setting for setting in each.settings if setting.old and setting.new])
    return head + _wrapped("; ".join(filter(None, (changed, new, gone))), "  ")


def _settings_words(before: str, settings: Sequence[Setting]) -> str:
    """One after the other; where several are of one part, it is named once."""
    said = []
    part = ""
    for each in settings:
        said.append(_setting_words(each, "" if each.part == part else each.part))
        part = each.part
    return before + ", ".join(said) if said else ""


def _setting_words(setting: Setting, part: str) -> str:
    name = " ".join(filter(None, (part, setting.name)))
    if setting.own and setting.new:
        return f"{name} (each its own)"
    if setting.old and setting.new:
        return f"{name} {_step(setting)}"
    return f"{name} {_short(setting.new)}" if setting.new else name


def _step(setting: Setting) -> str:
    """From the one to the other; of lists that have something in common what comes and what goes."""
    old, new = (dict.fromkeys(re.split(r",? +|,(?=\S)", text)) for text in (setting.old, setting.new))
    is_list = not setting.name.startswith(NO_LISTS) and not A_TIME.fullmatch(setting.new)
    if not is_list or not old.keys() & new.keys():
        return f"{_short(setting.old)} -> {_short(setting.new)}"
    return _short(" ".join([*(f"-{word}" for word in old if word not in new), *(f"+{word}" for word in new if word not in old)]))


def _short(value: str) -> str:
    return textwrap.shorten(value, VALUE_MAX, placeholder=" …")


def _wrapped(text: str, indent: str = "") -> list[str]:
    """In lines of WIDTH, all but the first indented further. None for no text."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
