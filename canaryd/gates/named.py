"""
What a plan may name of the settings: a webhook, a channel.

A plan has names and no addresses; the settings say where each is, and plans of which namespaces may name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from canaryd.model.finding import Code
from canaryd.model.problem import Problem


class Named(Protocol):
    """An entry of the settings."""

    def allows(self, namespace: str) -> bool:
        """Whether a plan of ``namespace`` may name it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is named: in a word, the key of the settings that has them, what is done with one, and the finding."""

    word: str
    key: str
    does: str
    code: Code


def barred(known: Mapping[str, Named], kind: Kind, name: str, namespace: str, path: str) -> Problem | None:
    """Why a plan of ``namespace`` may not name ``name`` at ``path``, of those that are ``known``; None if it may."""
    allowed = sorted(one for one, entry in known.items() if entry.allows(namespace))
    there = f"there are, for namespace {namespace}: {', '.join(allowed) or 'none'}"
    if name not in known:
        close = get_close_matches(name, allowed, n=1)
        remedy = f"did you mean {close[0]}? {there}" if close else f"{there}; add it to {kind.key} in the settings"
        return Problem(path, name, f"a {kind.word} of the settings ({kind.key})", remedy, kind.code.name)
    if name not in allowed:
        remedy = f"{there}; add {namespace} to {kind.key}.{name}.namespaces in the settings"
        expected = f"a {kind.word} that plans of namespace {namespace} may {kind.does}"
        return Problem(path, name, expected, remedy, kind.code.name)
    return None
