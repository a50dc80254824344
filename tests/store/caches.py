"""What an informer is to the store, without a watch: the objects as of the last ``look``, and our own writes."""

from __future__ import annotations

from typing import Any

from canaryd.kube import Kind, Kube

Object = dict[str, Any]


class Looked:
    """A cache that learns of others' writes when the test says ``look``; until then it is as stale as a late watch."""

    def __init__(self, kube: Kube, kind: Kind, namespace: str) -> None:
        self._kube, self._kind, self._namespace = kube, kind, namespace
        self._found: dict[tuple[str, str], Object] = {}
        self.is_fresh = True

    def look(self) -> None:
        found = self._kube.list(self._kind, self._namespace)
        self._found = {_key(one): one for one in found}

    def get(self, namespace: str, name: str) -> Object | None:
        return self._found.get((namespace, name))

    def all(self) -> list[Object]:
        return list(self._found.values())

    def fresh(self, seconds: float) -> bool:
        return self.is_fresh

    def took(self, found: Object) -> None:
        self._found[_key(found)] = found


def _key(found: Object) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]
