"""
What is served: every resource's names, versions and habits.

The registry is per cluster, because a CustomResourceDefinition adds to it at run time. Versions are listed with the
storage version first; there is no conversion beyond rewriting `apiVersion` (strategy None, as Istio's CRDs have it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from canaryd.lab.kubernetes.models import Schema as Schema
from canaryd.lab.kubernetes.models import model_schema

AGE = ".metadata.creationTimestamp"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `path` is the JSONPath of a custom resource's. Priority above 0 is ``-o wide``."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    path: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """
    One resource. `schema` is the structural schema of a custom resource, None for built-ins, which have a `model`.

    `unevaluated` is what the lab does not do with such an object, told as a warning to whoever writes one.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = False
    has_generation: bool = False
    schema: Schema | None = field(default=None, compare=False, hash=False)
    columns: tuple[Column, ...] = ()
    field_labels: tuple[str, ...] = ()
    ephemeral: bool = False  # a review: answered, never stored
    unconditional_update: bool = True  # a PUT without resourceVersion wins
    create_on_update: bool = False  # a PUT where there is nothing creates
    scales: bool = False  # has a scale subresource
    model: str = ""  # of a built-in: the client library's model of it
    unevaluated: str = ""

    @property
    def custom(self) -> bool:
        return self.schema is not None

    @property
    def storage_version(self) -> str:
        return self.versions[0]

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def whole_schema(self) -> Schema:
        """The schema of a whole object, metadata included."""
        if self.schema is None:
            return model_schema(self.model) if self.model else {}
        own: Schema = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        own["metadata"] = model_schema("V1ObjectMeta")
        return {**self.schema, "properties": {**self.schema.get("properties", {}), **own}}

    @property
    def qualified(self) -> str:
        """As messages name it: ``virtualservices.networking.istio.io``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version: str = "") -> str:
        version = version or self.storage_version
        return f"{self.group}/{version}" if self.group else version

    @property
    def verbs(self) -> tuple[str, ...]:
        if self.ephemeral:
            return ("create",)
        if self.custom:  # the order, too, is the real server's
            return ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
        if self.qualified == "namespaces":
            return ("create", "delete", "get", "list", "patch", "update", "watch")
        return ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Registry:
    """The resources a cluster serves, found by plural, by kind, or by `apiVersion` and kind."""

    def __init__(self, resources: tuple[Resource, ...]) -> None:
        self._by_plural = {(one.group, one.plural): one for one in resources}
        self.revision = 0  # counts what was added and dropped since

    def add(self, resource: Resource) -> None:
        self._by_plural[resource.group, resource.plural] = resource
        self.revision += 1

    def drop(self, resource: Resource) -> None:
        self._by_plural.pop((resource.group, resource.plural), None)
        self.revision += 1

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._by_plural.values()))

    def groups(self) -> list[str]:
        return sorted({one.group for one in self})

    def versions(self, group: str) -> list[str]:
        """Versions of a group, the preferred one first."""
        found: dict[str, None] = {}
        for one in self:
            if one.group == group:
                found |= dict.fromkeys(one.versions)
        return list(found)

    def served(self, group: str, version: str) -> list[Resource]:
        return [one for one in self if one.group == group and version in one.versions]

    def by_plural(self, group: str, version: str, plural: str) -> Resource | None:
        found = self._by_plural.get((group, plural))
        return found if found and version in found.versions else None

    def by_kind(self, name: str) -> Resource:
        """By kind, plural or ``plural.group``. A core or the first registered one wins where a kind exists twice.

        Raises KeyError when nothing of that name is served.
        """
        for one in self:
            if name in (one.kind, one.plural, one.qualified):
                return one
        raise KeyError(name)

    def of(self, obj: dict[str, Any]) -> Resource:
        """The resource of an object. Raises KeyError when its apiVersion and kind are not served."""
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        for one in self.served(group, version):
            if one.kind == obj.get("kind"):
                return one
        raise KeyError(f"{obj.get('apiVersion')} {obj.get('kind')}")
