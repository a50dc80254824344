"""The objects that were given: those to import, and those beside them that say what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.model.problem import Problem, Refused
from canaryd.model.reading import contents_of, shown

LONGEST = 2_000_000
"""Characters of one file: the objects of a namespace."""
Object = Mapping[str, Any]

OURS = {"Canary": "flagger.app", "Rollout": "argoproj.io"}
"""The kinds that become plans, and the API group of each."""
READ = {
    "MetricTemplate": "flagger.app",
    "AlertProvider": "flagger.app",
    "AnalysisTemplate": "argoproj.io",
    "ClusterAnalysisTemplate": "argoproj.io",
    "VirtualService": "networking.istio.io",
    "DestinationRule": "networking.istio.io",
}
"""The kinds that are read where one of those needs them."""


@dataclass(frozen=True, slots=True)
class Given:
    """Everything that was given, as one collection."""

    objects: tuple[Object, ...]

    @property
    def sources(self) -> list[Object]:
        """What becomes plans, in the order in which it was given."""
        return [one for one in self.objects if _of(one, OURS)]

    @property
    def idle(self) -> list[str]:
        """What was given and is not read at all, as ``Service default/reviews``."""
        return [named(one) for one in self.objects if not _of(one, OURS) and not _of(one, READ)]

    def find(self, kind: str, name: str, namespace: str) -> Object | None:
        """The object of that name; one that says no namespace is in every namespace."""
        for one in self.objects:
            meta = one.get("metadata") or {}
            if one.get("kind") == kind and meta.get("name") == name and _of(one, READ):
                home = meta.get("namespace") or ""
                if not home or not namespace or home == namespace:
                    return one
        return None


def named(one: Object) -> str:
    """``Canary test/podinfo``."""
    meta = one.get("metadata")
    meta = meta if isinstance(meta, Mapping) else {}
    place = "/".join(str(part) for part in (meta.get("namespace"), meta.get("name")) if part)
    return f"{one.get('kind')} {place}".strip()


def given(texts: Iterable[tuple[str, str]]) -> Given:
    """
    The objects in ``texts``, pairs of a source and its YAML or JSON; Lists are taken apart.

    Raises Refused with every problem, and where there is nothing in them to import.
    """
    objects: list[Object] = []
    problems: list[Problem] = []
    for source, text in texts:
        try:
            documents = contents_of(text, source, "object", LONGEST)
        except Refused as refused:
            problems += refused.problems
            continue
        for one in _apart(documents):
            if not isinstance(one, Mapping) or not isinstance(one.get("kind"), str):
                problems.append(Problem(source, shown(one), "Kubernetes objects, with apiVersion and kind"))
            else:
                objects.append(one)
    found = Given(tuple(objects))
    if not found.sources and not problems:
        kinds = ", ".join(dict.fromkeys(f"{one.get('kind')} ({one.get('apiVersion')})" for one in objects))
        problems.append(
            Problem(
                ", ".join(source for source, _ in texts),
                kinds or "nothing",
                "a Canary of Flagger (flagger.app) or a Rollout of Argo Rollouts (argoproj.io)",
                "such as: kubectl get canary NAME -o yaml | canaryd import -",
            )
        )
    if problems:
        raise Refused(problems)
    return found


def _apart(documents: Iterable[Any]) -> Iterator[Any]:
    for one in documents:
        if (
            isinstance(one, Mapping)
            and str(one.get("kind", "")).endswith("List")
            and isinstance(one.get("items"), list)
        ):
            yield from _apart(one["items"])
        else:
            yield one


def _of(one: Object, kinds: Mapping[str, str]) -> bool:
    group = kinds.get(str(one.get("kind")))
    return group is not None and str(one.get("apiVersion", "")).partition("/")[0] == group
