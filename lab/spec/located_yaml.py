"""YAML that remembers its lines, so that an error can name one. Bounded: a small file cannot become a large thing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lab.errors import UsageError, shown

SIZE_MAX_BYTES = 400_000
DEPTH_MAX = 50
ENTRIES_MAX = 20_000
"""All that merge keys (<<) copy, together: with PyYAML before 6.0.4 they multiply as aliases do."""
PATH_MAX_CHARACTERS = 120
# What everybody takes for a number. YAML 1.1 has more: 010 is 8, and 1:30 is 90.
PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,17})")


class Mapping(dict[str, Any]):
    """A mapping of a YAML file: its entries, and where they stand."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.lines: dict[str, int] = {}

    def error(self, key: str, message: str, hint: str = "") -> UsageError:
        """An error about one entry (or about the whole mapping, where it has no such entry)."""
        return UsageError(f"{place(self.file, self.lines.get(key, self.line))}: {message}", hint)


def place(file: object, line: int | None = None) -> str:
    """FILE:LINE, as editors and terminals know it; of a long path the end, which tells files apart."""
    text = str(file)
    name = shown(text if len(text) <= PATH_MAX_CHARACTERS else f"…{text[1 - PATH_MAX_CHARACTERS :]}", PATH_MAX_CHARACTERS)
    return name if line is None else f"{name}:{line}"


class _Loader(yaml.SafeLoader):
    file = ""
    depth = 0
    copied = 0
    merging = 0

    def error(self, node: yaml.Node, message: str, hint: str = "") -> UsageError:
        return UsageError(f"{place(self.file, node.start_mark.line + 1)}: {message}", hint)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            line = parent.start_mark.line + 1 if parent else 1
            raise UsageError(f"{place(self.file, line)}: this is nested more than {DEPTH_MAX} deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        self.merging += 1
        super().flatten_mapping(node)
        self.merging -= 1
        # What is flattened on the way to another mapping is about to be copied into it.
        self.copied += len(node.value) if self.merging else 0
        if self.copied > ENTRIES_MAX:
            raise self.error(node, f"its merge keys (<<) make more than {ENTRIES_MAX} entries of it")


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Mapping:
    result = Mapping(loader.file, node.start_mark.line + 1)
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise loader.error(key_node, "a key must be a text, not a list or a mapping")
        if key_node.value != "<<" and key_node.value in result.lines:
            raise loader.error(key_node, f"'{shown(key_node.value)}' stands here twice")
        result.lines[str(key_node.value)] = key_node.start_mark.line + 1
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        result[str(key_node.value)] = loader.construct_object(value_node, deep=True)
    return result


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int | str:
    """A number that reads as one; every other spelling stays the text that it is, for whoever wants a number to refuse."""
    odd = re.match(r"[-+]?\d", node.value) and not PLAIN_INTEGER.fullmatch(node.value)
    return str(node.value) if odd else int(loader.construct_yaml_int(node))


def _number(loader: _Loader, node: yaml.ScalarNode) -> float | str:
    return str(node.value) if ":" in node.value else float(loader.construct_yaml_float(node))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def load(path: Path) -> Mapping:
    """The mapping that a file holds.

    Raises UsageError, naming file and line, for a file that cannot be read, is not YAML, is too large, or is no mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or ("it is not UTF-8 text" if isinstance(error, UnicodeError) else "no such name")
        raise UsageError(f"{place(path)} cannot be read: {why}") from error
    if len(content) > SIZE_MAX_BYTES:
        raise UsageError(f"{place(path)} has more than {SIZE_MAX_BYTES} bytes: no file of this kind is as large")
    data = _parse(str(path), text)
    if not isinstance(data, Mapping):
        raise UsageError(f"{place(path, 1)}: a mapping of keys and values is needed here")
    return data


def _parse(file: str, text: str) -> object:
    try:
        loader = _Loader(text)
        loader.file = file
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{place(file, line)}: this is not YAML: {shown(error.problem, 200)}") from error
    # A value that looks like a date or a number and is none, or a key that can be none, comes as one of these.
    except (yaml.YAMLError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{place(file)}: this is not YAML: {shown(str(error), 200)}") from error
