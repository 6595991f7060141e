"""What all such models share: strictness, types with their own words, and errors of one line that name file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from lab.errors import UsageError, is_harmless, shown
from lab.spec import located_yaml

DURATION_MAX_S = 3600.0
KNOWN_MAX_CHARACTERS = 300

ORDER = {"extra_forbidden": 0, "missing": 2}
KINDS = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "too_short": "a list that is not empty",
    "too_long": "a shorter list",
}

Model = TypeVar("Model", bound="Strict")


def broken(key: str, message: str, hint: str = "") -> PydanticCustomError:
    """The error of a rule about one entry of a mapping; where there is no such entry, about the mapping."""
    return PydanticCustomError("rule", "{message}", {"message": message, "key": key, "hint": hint})


class Strict(BaseModel):
    """A mapping in which every key is known, and every value is what it looks like."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, data: Any) -> Any:
        """An empty value is no way to leave something out: it may as well have been forgotten."""
        known = {each.alias or name for name, each in cls.model_fields.items()}
        for key, value in data.items() if isinstance(data, Mapping) else ():
            if value is None and key in known:
                raise broken(key, f"'{key}' is empty", "leave it out, or give it a value")
        return data


@dataclass(frozen=True)
class Must:
    """What an entry must be, in words: said of everything that it is not."""

    words: str
    hint: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, validate: Callable[[Any], Any]) -> Any:
            try:
                return validate(value)
            except ValidationError as error:
                raise PydanticCustomError("must", "{words}", {"words": self.words, "hint": self.hint}) from error

        return core_schema.no_info_wrap_validator_function(check, handler(source))


def _line_of_text(text: str) -> str:
    joined = " ".join(text.split())
    if not joined or not is_harmless(joined):
        raise ValueError("not a line of text")
    return joined


def _as_it_is(text: str) -> str:
    _line_of_text(text)
    if not is_harmless(text):
        raise ValueError("not a line of text")
    return text


Text = Annotated[str, AfterValidator(_line_of_text), Must("a line of text without control characters")]
Verbatim = Annotated[str, AfterValidator(_as_it_is), Must("a line of text without control characters")]
"""What is looked for as it stands."""
Seconds = Annotated[
    float,
    Field(ge=0, le=DURATION_MAX_S),
    Must(f"a number of seconds from 0 to {DURATION_MAX_S:g}", "a plain number, such as 90: not 90s, 1:30 or 1e2"),
]
"""A duration of an experiment."""


def read(model: type[Model], document: located_yaml.Mapping) -> Model:
    """A document as its model. Raises UsageError naming file and line for the first thing that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = [_Found.of(document, each) for each in error.errors(include_url=False)]
        # A key that is not known explains one that is missing; of what is missing, a wrong value may be the reason too.
        first = min(found, key=lambda each: (ORDER.get(each.details["type"], 1), each.line))
        raise first.error(model) from error


@dataclass(frozen=True)
class _Found:
    """An error, and the entry that it is about."""

    details: ErrorDetails
    mapping: located_yaml.Mapping
    key: str
    name: str

    @classmethod
    def of(cls, document: located_yaml.Mapping, details: ErrorDetails) -> _Found:
        mapping, key, value = document, "", document  # type: located_yaml.Mapping, str, Any
        for part in details["loc"]:
            if isinstance(value, located_yaml.Mapping):
                mapping, key, value = value, str(part), value.get(str(part))
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part]
        named = details.get("ctx", {}).get("key")
        if named and isinstance(value, located_yaml.Mapping):
            mapping, key = value, str(named)
        in_a_list = isinstance(details["loc"][-1] if details["loc"] else "", int)
        return cls(details, mapping, key, f"each of {shown(key)}" if in_a_list else shown(key) or "this")

    @property
    def line(self) -> int:
        return self.mapping.lines.get(self.key, self.mapping.line)

    def error(self, model: type[Strict]) -> UsageError:
        """The error as it is shown."""
        if self.details["type"] == "extra_forbidden":
            return unknown(self.mapping, self.key, _known(model, self.details["loc"]))
        context = self.details.get("ctx", {})
        return self.mapping.error(self.key, self._message(context), str(context.get("hint", "")))

    def _message(self, context: Mapping[str, Any]) -> str:
        name, kind = self.name, self.details["type"]
        if kind == "rule":
            return str(context["message"])
        if kind == "missing":
            return f"'{name}' is missing"
        words = context["words"] if kind == "must" else KINDS.get(kind, self.details["msg"].removeprefix("Input should be "))
        return f"{name} must be {words}, not {said(self.details['input'])}"


def said(value: object) -> str:
    """A value as an error may quote it."""
    if isinstance(value, (dict, list, tuple, set)):
        return ("a mapping" if isinstance(value, dict) else "a list") if value else "an empty one"
    if isinstance(value, bool):
        return f"'{value}' (YAML reads yes, no, on and off so: quote them)"
    return f"the text '{shown(value)}'" if isinstance(value, str) and _looks_like_a_number(value) else f"'{shown(value)}'"


def _looks_like_a_number(text: str) -> bool:
    return bool(re.fullmatch(r"[\d.,:_eE+-]{1,400}", text)) and any(map(str.isdigit, text))


def unknown(mapping: located_yaml.Mapping, key: str, known: Collection[str], what: str = "is not known here") -> UsageError:
    """The error about a key that is none of those that are known."""
    close = get_close_matches(key[:100], known, 1)
    guess = f": did you mean '{close[0]}'?" if close else ""
    return mapping.error(key, f"'{shown(key)}' {what}{guess}", f"known are {shown(', '.join(known), KNOWN_MAX_CHARACTERS)}")


def _known(model: type[Strict], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys of the mapping that an unknown one stands in: of the innermost model on the way there."""
    found: type[Strict] = model
    for part in location[:-1]:
        field = next((each for name, each in found.model_fields.items() if part in (name, each.alias)), None)
        found = next(_models(field.annotation), found) if field else found
    return tuple(each.alias or name for name, each in found.model_fields.items())


def _models(annotation: Any) -> Any:
    """The models that an annotation is about."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from _models(each)
