"""
What is known around a plan's route before anything moves, as read at one moment: what the checks are given.

A kind that could not be read is in ``unread``: its checks then say nothing, for what was not seen is neither right nor
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from canaryd.kube import Kind
from canaryd.mesh.hosts import fully_qualified, service_of
from canaryd.model.plan import Plan
from canaryd.model.traffic import Route, Sides, Version
from canaryd.preflight.answers import Answer
from canaryd.preflight.heard import NOTHING_HEARD, Heard

Object = Mapping[str, Any]

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Survey:
    """
    ``virtual_service`` is the plan's, ``route`` what the plan means in it (None where that cannot be told) and
    ``sides`` the pods behind both versions. ``objects`` are all others by kind, ``unread`` says of a kind why it could
    not be read. ``mesh`` is Istio's mesh configuration, empty where it is not known; ``heard`` is what Prometheus
    knows, ``neighbours`` what Kiali and the like answer where they are set, ``now`` the Unix time at which all of it
    was so.

    ``served`` has for each group of Istio's and of the Gateway API the versions in which the API server serves it, none
    for a group that it does not serve; a group of which it would not tell is not among them. ``account`` is who we are
    to the API server, asked only where something could not be read. ``unseen_freezes`` are the namespaces whose freezes
    bind the plan, and may not be listed, each with why.
    """

    plan: Plan
    virtual_service: Object | None = None
    route: Route | None = None
    sides: Sides | None = None
    objects: Mapping[Kind, Sequence[Object]] = field(default_factory=dict)
    unread: Mapping[Kind, str] = field(default_factory=dict)
    mesh: Mapping[str, Any] = field(default_factory=dict)
    heard: Heard = NOTHING_HEARD
    neighbours: Mapping[str, Answer] = field(default_factory=dict)
    now: float = 0.0
    served: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    account: str = ""
    unseen_freezes: Mapping[str, str] = field(default_factory=dict)

    def all(self, kind: Kind, namespace: str = "") -> tuple[Object, ...]:
        """The objects of a kind, in one namespace or in all that were read."""
        found = self.objects.get(kind, ())
        return tuple(one for one in found if not namespace or one["metadata"].get("namespace") == namespace)

    def one(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object of that name, or None where there is none or it could not be read."""
        return next((one for one in self.all(kind, namespace) if one["metadata"]["name"] == name), None)

    @property
    def versions(self) -> tuple[Version, ...]:
        """Stable and canary; nothing where it is not known what the plan means."""
        return (self.route.stable, self.route.canary) if self.route else ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The fully qualified hosts of both versions, each once."""
        return tuple(dict.fromkeys(fully_qualified(one.host, self.namespace) for one in self.versions))

    @property
    def services(self) -> tuple[tuple[str, str], ...]:
        """Namespace and name of the Services behind both versions, each once."""
        found = (service_of(one.host, self.namespace) for one in self.versions)
        return tuple(dict.fromkeys((home, name) for name, home in found if name))

    @property
    def namespace(self) -> str:
        """The namespace of the VirtualService, in which its short names have a meaning."""
        return self.route.namespace if self.route else self.plan.namespace

    @property
    def client_namespaces(self) -> tuple[str, ...]:
        """The namespaces that requests to the hosts came from lately, the route's own first."""
        return tuple(dict.fromkeys((self.namespace, *(one.namespace for one in self.heard.callers))))


def name_of(found: Object) -> str:
    """``namespace/name`` of an object, or its name alone where it belongs to no namespace."""
    meta = found["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def labels_of(found: Object) -> Mapping[str, str]:
    """The object's labels."""
    return found["metadata"].get("labels") or {}


def marks_of(found: Object) -> Mapping[str, str]:
    """The object's annotations."""
    return found["metadata"].get("annotations") or {}


def spec_of(found: Object) -> Mapping[str, Any]:
    """The object's spec."""
    return found.get("spec") or {}


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` have all that ``selector`` asks for; an empty one asks for nothing."""
    return all(labels.get(key) == value for key, value in (selector or {}).items())


def containers_of(pod: Object) -> Iterator[Mapping[str, Any]]:
    """The pod's containers, those that are started first among them (a native sidecar is one)."""
    spec = spec_of(pod)
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()
