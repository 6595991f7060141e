"""Drawing: SVG elements as escaped text, axes with round ticks. Pure; knows nothing of runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

Attribute = str | float | None
# Of a character of 12 units, in the widest of the usual fonts: what labels are kept apart by.
CHARACTER_WIDTH = 7.1
BOLD_WIDER = 1.12
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """One element. Text is escaped, Markup is not; `class_` is class, other underscores are hyphens, None is left out."""
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items() if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{stated}>{inside}</{name}>" if children else f"<{name}{stated}/>")


def xml_text(content: str) -> str:
    """Text without what XML has no place for, not even escaped."""
    return NOT_XML.sub("\ufffd", content)


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def number(value: float) -> str:
    """A coordinate: to a tenth is as fine as a screen shows."""
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def _value(attribute: str | float) -> str:
    return str(escape(attribute)) if isinstance(attribute, str) else number(attribute)


def text(content: str, x: float, y: float, anchor: str = "start", class_: str | None = None) -> Markup:
    """A line of text."""
    return element("text", content, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def box(x: float, y: float, width: float, height: float, class_: str, title: str = "") -> Markup:
    """A filled rectangle, with what to say when pointed at."""
    head = [element("title", title)] if title else []
    return element("rect", *head, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=class_)


def width_of(label: str) -> float:
    """About how wide a label of 12 units is."""
    return len(label) * CHARACTER_WIDTH


def boxes_path(boxes: Iterable[tuple[float, float, float, float]]) -> str:
    """Many rectangles (x, y, width, height) as one path: a tenth of the size of as many elements."""
    return "".join(f"M{number(x)} {number(y)}h{number(w)}v{number(h)}h{number(-w)}z" for x, y, w, h in boxes)


@dataclass(frozen=True)
class Axis:
    """Values to coordinates, evenly."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is; beyond the ends it stays at the end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self, most: int = 10) -> list[float]:
        """Round values along it, at most this many and one."""
        step = round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 9) for index in range(first, last + 1)]


@dataclass(frozen=True)
class LogAxis:
    """Values to coordinates, a step for each ten times; low and high are above 0."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is; beyond the ends it stays at the end."""
        inside = min(max(value, self.low), self.high)
        return self.start + math.log(inside / self.low) / math.log(self.high / self.low) * (self.end - self.start)


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 ... (and of 0.1, 0.2 ...) that is at least so much; 1 of nothing."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


def tick_label(value: float) -> str:
    """A tick in as few digits as it needs."""
    return f"{value:g}"


@dataclass(frozen=True)
class Label:
    """A label that wants to stand at an instant."""

    x: float
    text: str
    class_: str = ""
    bold: bool = False

    @property
    def width(self) -> float:
        """About how wide it is."""
        return width_of(self.text) * (BOLD_WIDER if self.bold else 1.0)


def stacked(labels: Iterable[Label], right: float) -> list[tuple[Label, float, int]]:
    """Labels with where each begins and in which line (from 0), so that none covers another or leaves the picture."""
    ends: list[float] = []
    placed = []
    for label in sorted(labels, key=lambda each: each.x):
        start = max(min(label.x + 3, right - label.width), 0.0)
        line_number = next((index for index, end in enumerate(ends) if end <= start), len(ends))
        ends[line_number:] = [start + label.width + 6, *ends[line_number + 1 :]]
        placed.append((label, start, line_number))
    return placed
