"""
The CanaryPolicies as plans are laid over them.

A policy that somebody broke is told once, and its last good text goes on. Where there never was one, a broken policy
counts as missing; but not ``default``: what is stricter in it than canaryd's own defaults would be lost on every plan,
so that no plan is read until it is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from canaryd.model.policy import DEFAULT, policy_of
from canaryd.model.problem import Refused

Object = dict[str, Any]
log = structlog.get_logger()


class Policies:
    """Reads the policies that ``objects`` gives, by name, each time it is called."""

    def __init__(self, objects: Callable[[], Iterable[Object]]) -> None:
        self._objects = objects
        self._good: dict[str, Mapping[str, Any]] = {}
        self._told: dict[str, str] = {}

    def __call__(self) -> Mapping[str, Mapping[str, Any]]:
        """Raises Refused where the policy ``default`` cannot be read, and never could."""
        found: dict[str, Mapping[str, Any]] = {}
        for one in self._objects():
            name = one["metadata"]["name"]
            try:
                found[name] = policy_of(_content(one), f"CanaryPolicy {name}").content
            except Refused as refused:
                if self._told.get(name) != str(refused):
                    log.warning("policy.refused", policy=name, why=str(refused), last_good=name in self._good)
                self._told[name] = str(refused)
                if name in self._good:
                    found[name] = self._good[name]
                elif name == DEFAULT:
                    raise
            else:
                self._told.pop(name, None)
        self._good = dict(found)
        return found


def _content(found: Object) -> Object:
    """What a person wrote: the API server's own additions would be unknown keys."""
    fields = {key: found.get(key) for key in ("apiVersion", "kind")}
    return {**fields, "metadata": {"name": found["metadata"]["name"]}, "spec": found.get("spec") or {}}
