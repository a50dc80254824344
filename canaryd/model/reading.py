"""
YAML that a person wrote, read into models: every fault at once, each as a problem in our words.

``plan.py`` reads plans with it, the lab its scenarios.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from canaryd.model.part import Part
from canaryd.model.problem import Problem, Refused

LONGEST = 200_000
"""Characters of a file: a hundred times a long one."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, but it notes the keys that are there twice: the last would win without a word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[tuple[str, int, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in lines:
                    self.twice.append((key.value, lines[key.value], line))
                lines.setdefault(key.value, line)
        return super().construct_mapping(node, deep)


def content_of(text: str, source: str, what: str = "plan") -> Any:
    """
    What the YAML in ``text`` says; ``what`` is the word for it, and ``source`` where it was found.

    Raises Refused where it is none, several documents, too big, or has a key twice.
    """
    if len(text) > LONGEST:
        raise Refused([Problem(source, f"{len(text):,} characters", f"a {what} of at most {LONGEST:,} characters")])
    return _loaded(text, source, what, _Loader.get_single_data)


def contents_of(text: str, source: str, what: str, longest: int) -> list[Any]:
    """
    What each document of the YAML in ``text`` says, as kubectl prints them; empty ones are left out.

    Raises Refused where it is no YAML, longer than ``longest`` characters, or has a key twice.
    """
    if len(text) > longest:
        raise Refused([Problem(source, f"{len(text):,} characters", f"at most {longest:,} characters")])
    return [one for one in _loaded(text, source, what, _all_data) if one is not None]


def _all_data(loader: _Loader) -> list[Any]:
    found = []
    while loader.check_data():  # type: ignore[no-untyped-call]  # the stubs lack it
        found.append(loader.get_data())
    return found


def _loaded(text: str, source: str, what: str, take: Callable[[_Loader], Any]) -> Any:
    try:
        loader = _Loader(text)
        content = take(loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character {error.character:#04x}" if isinstance(error.character, int) else "bytes"
        raise Refused([Problem(f"{source}, line {line}", found, "text that YAML allows, in UTF-8")]) from error
    except yaml.YAMLError as error:
        raise Refused([_yaml_problem(error, source, what)]) from error
    except (ValueError, RecursionError) as error:
        raise Refused([Problem(source, "", f"YAML that can be read ({error})")]) from error
    if loader.twice:
        raise Refused(
            Problem(
                f"{source}, line {line}", f"{key} again, after line {first}", "each key once", "take one of them out"
            )
            for key, first, line in loader.twice
        )
    return content


def _yaml_problem(error: yaml.YAMLError, source: str, named: str) -> Problem:
    place = getattr(error, "problem_mark", None)
    where = f"{source}, line {place.line + 1}" if place else source
    what = str(getattr(error, "problem", "") or error)
    if "\\t" in what:
        return Problem(where, "a tab", "spaces: YAML does not allow tabs for indentation")
    if "another document" in what:
        return Problem(
            where, "a second document (---)", f"one {named} in a file", f"put the other {named} into a file of its own"
        )
    return Problem(where, "", f"YAML that can be read ({what})")


def problems_of(error: ValidationError, root: type[Part]) -> list[Problem]:
    """Every fault that pydantic found in a ``root`` as a problem in our words."""
    faults = error.errors(include_url=False)
    paths = [tuple(map(str, fault["loc"])) for fault in faults]
    problems = []
    for fault, path in zip(faults, paths, strict=True):
        below = any(len(other) > len(path) and other[: len(path)] == path for other in paths)
        if not (fault["type"] == "too_short" and below):  # it is short only of the items that are wrong
            problems.append(_problem(fault, root))
    return problems


def _problem(fault: Any, root: type[Part]) -> Problem:
    place, kind, value = fault["loc"], fault["type"], fault["input"]
    path = ".".join(str(part) for part in place)
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return _unknown_key(place, root)
    if kind == "missing":
        return Problem(path, "nothing", "a value", f"add {path.rsplit('.', 1)[-1]}")
    if kind == "value_error" and isinstance(value, Mapping | Part | list | tuple):
        # A sentence about a whole part names its own path below that part.
        below, found, sentence = message.partition(": ")
        if found and " " not in below:
            path, message = f"{path}.{below}".lstrip("."), sentence
        return Problem(path, "", message)
    return Problem(path, shown(value), *_in_our_words(kind, fault.get("ctx") or {}, message, value))


def _in_our_words(kind: str, context: Mapping[str, Any], message: str, value: object) -> tuple[str, str]:
    """What was expected, and the remedy if there is one, for a fault that pydantic found."""
    if kind == "string_type":
        plain = isinstance(value, str | int | float | date) and not isinstance(value, bool)
        return "text", f'put it in quotes: "{value}"' if plain else ""
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "")
        close = get_close_matches(str(value), re.split(r", | or ", expected), n=1)
        return f"{expected}", f"did you mean {close[0]}?" if close else ""
    if kind in _OUR_WORDS:
        return _OUR_WORDS[kind].format(**context), ""
    return message, ""


_OUR_WORDS = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "invalid_key": "a key that is text",
    "less_than_equal": "a number of at most {le:g}",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_pattern_mismatch": "a name of small letters, digits and hyphens, of at most 63 characters",
    "string_too_short": "text that is not empty",
    "too_short": "a list with at least one item",
    "tuple_type": "a list",
}


def _unknown_key(place: tuple[int | str, ...], root: type[Part]) -> Problem:
    part, key = _part_at(place[:-1], root), str(place[-1])
    known = sorted((field.alias or name) for name, field in part.model_fields.items()) if part else []
    close = get_close_matches(key, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return Problem(".".join(map(str, place)), "", "a key that canaryd knows", remedy)


def _part_at(place: tuple[int | str, ...], root: type[Part]) -> type[Part] | None:
    """The model that a path in the YAML leads to."""
    part: type[Part] | None = root
    for key in place:
        if isinstance(key, int) or part is None:
            continue
        field = next((field for name, field in part.model_fields.items() if key in (name, field.alias)), None)
        part = _model_in(field.annotation) if field else None
    return part


def _model_in(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None


def shown(value: object) -> str:
    if isinstance(value, Part):
        value = value.model_dump(mode="json", by_alias=True)
    text = ""
    try:
        # Piece by piece: the aliases of a few lines of YAML may stand for gigabytes.
        for piece in json.JSONEncoder(default=str, ensure_ascii=False).iterencode(value):
            text += piece
            if len(text) > 60:
                return text[:57] + "..."
    except (ValueError, RecursionError):
        return text[:57] + "..."
    return text
