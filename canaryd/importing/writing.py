"""
A plan's content as YAML that a person reads in a minute: short parts on one line, the rest spread out, with remarks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from canaryd.importing.ledger import Path

WIDTH = 118


def written(content: Mapping[str, Any], remarks: Mapping[Path, str], head: str = "") -> str:
    """``content`` as YAML. ``remarks`` stand above the part at their path, ``head`` above everything."""
    lines = [*_remark(head, 0), *_mapping(content, (), 0, remarks)]
    return "\n".join(lines) + "\n"


def _remark(text: str, depth: int) -> list[str]:
    indent = " " * depth
    found: list[str] = []
    for paragraph in filter(None, text.splitlines()):
        line = f"{indent}#"
        for word in "".join(sign if sign.isprintable() else " " for sign in paragraph).split():
            if len(line) + len(word) + 1 > WIDTH:
                found.append(line)
                line = f"{indent}#"
            line += f" {word}"
        found.append(line)
    return found


def _mapping(content: Mapping[str, Any], path: Path, depth: int, remarks: Mapping[Path, str]) -> list[str]:
    lines: list[str] = []
    for key, value in content.items():
        here = (*path, key)
        lines += _remark(remarks.get(here, ""), depth)
        lines += _entry(f"{' ' * depth}{_flow(key)}:", value, here, depth, remarks)
    return lines


def _list(content: list[Any], path: Path, depth: int, remarks: Mapping[Path, str]) -> list[str]:
    lines: list[str] = []
    for place, value in enumerate(content):
        here = (*path, place)
        lines += _remark(remarks.get(here, ""), depth)
        line = f"{' ' * depth}- {_flow(value)}"
        if isinstance(value, Mapping) and (len(line) > WIDTH or _tall(value) or _remarked(here, remarks)):
            spread = _mapping(value, here, depth + 2, remarks)
            lines += [f"{' ' * depth}- {spread[0].lstrip()}", *spread[1:]]
        else:
            lines.append(line)
    return lines


def _entry(key: str, value: Any, path: Path, depth: int, remarks: Mapping[Path, str]) -> list[str]:
    if isinstance(value, str) and _is_text(value):
        tail = "-" if not value.endswith("\n") else "" if not value.endswith("\n\n") else "+"
        return [f"{key} |{tail}", *(f"{' ' * (depth + 2)}{line}" if line else "" for line in value.splitlines())]
    line = f"{key} {_flow(value) if isinstance(value, Mapping | list) else _scalar(value)}"
    tall = len(line) > WIDTH or _tall(value) or _remarked(path, remarks)
    if isinstance(value, Mapping) and value and tall:
        return [key, *_mapping(value, path, depth + 2, remarks)]
    if isinstance(value, list) and value and (tall or _of_mappings(value)):
        return [key, *_list(value, path, depth + 2, remarks)]
    return [line]


def _is_text(value: str) -> bool:
    """Whether it has several lines, and a literal block keeps them as they are."""
    return "\n" in value.strip("\n") and bool(re.fullmatch(r"[!-~][\t\n -~]*", value))


def _tall(value: Any) -> bool:
    """Whether there is a text of several lines in it, or a list of mappings."""
    if isinstance(value, Mapping):
        return any(map(_tall, value.values()))
    return (isinstance(value, str) and _is_text(value)) or (isinstance(value, list) and _of_mappings(value))


def _of_mappings(value: list[Any]) -> bool:
    return any(isinstance(one, Mapping) for one in value)


def _remarked(path: Path, remarks: Mapping[Path, str]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in remarks)


def _flow(value: Any) -> str:
    """On one line, as it stands within braces."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _quoted(_dumped([value], flow=True)[1:-1], value)


def _scalar(value: Any) -> str:
    return _quoted(_dumped(value), value)


def _quoted(text: str, value: Any) -> str:
    """Double quotes where there have to be some, as in the model plans."""
    return _dumped(value, style='"') if text[:1] in "'\"" or "\n" in text else text


def _dumped(value: Any, *, flow: bool = False, style: str | None = None) -> str:
    text = yaml.safe_dump(value, default_flow_style=flow, default_style=style, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")
