"""
What several checks say alike: lists that are cut short, and the command that patches an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any

from canaryd.preflight.survey import Object

NAMED = 3


def some(found: Iterable[object]) -> str:
    """The first three of them, each once, and how many more there are."""
    words = list(dict.fromkeys(map(str, found)))
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more


def patching(resource: str, found: Object, body: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> str:
    """The kubectl command that patches ``found``: a JSON Patch where ``body`` is a list, else a merge patch."""
    kind = "merge" if isinstance(body, Mapping) else "json"
    return f"kubectl patch {named(resource, found)} --type={kind} -p {quote(json.dumps(body, separators=(',', ':')))}"


def named(resource: str, found: Object) -> str:
    """The object, as kubectl's commands name it."""
    meta = found["metadata"]
    return f"{resource} {meta['name']} -n {meta.get('namespace') or 'default'}"
