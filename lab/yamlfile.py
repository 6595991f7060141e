"""YAML that remembers its lines, so that an error can name one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lab.errors import UsageError


class Mapping(dict[str, Any]):
    """A mapping of a YAML file: its entries, and where they stand."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.lines: dict[str, int] = {}

    def error(self, key: str, message: str, hint: str = "") -> UsageError:
        """An error about one entry (or about the whole mapping, where it has no such entry)."""
        return UsageError(f"{self.file}, line {self.lines.get(key, self.line)}: {message}", hint)


class _Loader(yaml.SafeLoader):
    file = ""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Mapping:
    result = Mapping(loader.file, node.start_mark.line + 1)
    for key_node, _ in node.value:
        if key_node.value != "<<" and key_node.value in result.lines:
            raise UsageError(f"{loader.file}, line {key_node.start_mark.line + 1}: '{key_node.value}' stands here twice")
        result.lines[str(key_node.value)] = key_node.start_mark.line + 1
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        result[str(key_node.value)] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path) -> Mapping:
    """The mapping that a file holds.

    Raises UsageError, naming file and line, for a file that cannot be read, is not YAML, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from error
    data = _parse(str(path), text)
    if not isinstance(data, Mapping):
        raise UsageError(f"{path}, line 1: a mapping of keys and values is needed here")
    return data


def _parse(file: str, text: str) -> object:
    try:
        loader = _Loader(text)
        loader.file = file
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{file}, line {line}: this is not YAML: {error.problem}") from error
    # A value that looks like a date or a number and is none, or a key that can be none, comes as one of these.
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UsageError(f"{file}: this is not YAML: {' '.join(str(error).split())}") from error
