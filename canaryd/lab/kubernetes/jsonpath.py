"""
The little of JSONPath that printer columns use: members, indices, ``[*]`` and ``[?(@.type=="Ready")]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PART = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)"""
    r"""|\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\[(?P<all>\*)\]"""
    r"""|\[\?\(@\.(?P<key>[\w.\-]+)\s*(?P<op>==|!=)\s*(?P<want>"[^"]*"|'[^']*'|[\w.]+)\)\]"""
)


def found_at(obj: Any, path: str) -> list[Any]:
    """Every value at `path` (``.status.conditions[?(@.type=="Ready")].status``); none where there is none."""
    values = [obj]
    position = 0
    while position < len(path):
        part = _PART.match(path, position)
        if part is None:
            return []
        position = part.end()
        values = [inner for value in values for inner in _step(value, part)]
    return values


def _step(value: Any, part: re.Match[str]) -> Iterator[Any]:
    name = part["name"] if part["name"] is not None else part["quoted"]
    if name == "*" or part["all"]:
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    elif name is not None:
        name = re.sub(r"\\(.)", r"\1", name)
        if isinstance(value, dict) and name in value:
            yield value[name]
    elif not isinstance(value, list):
        return
    elif part["index"] is not None:
        index = int(part["index"])
        if -len(value) <= index < len(value):
            yield value[index]
    else:
        yield from (one for one in value if _holds(one, part))


def _holds(item: Any, part: re.Match[str]) -> bool:
    found = item
    for name in part["key"].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    want = part["want"].strip("\"'")
    return found is not None and (printed(found) == want) == (part["op"] == "==")


def printed(value: Any) -> str:
    """As a cell of type string shows it: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
