"""
Reads from the API server what the checks look at: each kind once, and as much of it as we may.

Nothing of it is needed to run: what may not be read, or is not served here, is left out and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.kube import CANARY_FREEZES, VIRTUAL_SERVICES, Forbidden, Kind, Kube, Missing, Unserved
from canaryd.mesh.hosts import service_of
from canaryd.mesh.route import resolve
from canaryd.model.plan import Plan
from canaryd.model.traffic import Admission, Route
from canaryd.preflight.answers import Answer
from canaryd.preflight.heard import NOTHING_HEARD, Heard
from canaryd.preflight.kinds import CONCERNED, CONFIG_MAPS, EVERYWHERE, FORMER
from canaryd.preflight.survey import ROOT_NAMESPACE, Survey

Object = dict[str, Any]


def survey(
    kube: Kube,
    plan: Plan,
    *,
    admitted: Admission | None = None,
    hear: Callable[[Route], Heard] = lambda _: NOTHING_HEARD,
    neighbours: Callable[[Route], Mapping[str, Answer]] = lambda _: {},
    now: float = 0.0,
    home: str = "",
) -> Survey:
    """
    What is around the plan's route now; ``hear`` asks Prometheus about it, ``neighbours`` Kiali and the like.

    ``home`` is canaryd's own namespace, whose freezes bind every plan; empty where freezes are nothing to look for.
    Raises Unavailable where the API server does not answer. A plan whose route cannot be told gives a survey without.
    """
    looking = _Looking(kube)
    found = looking.named(VIRTUAL_SERVICES, plan.namespace, plan.spec.target.virtual_service)
    route = admitted.route if admitted else resolve(found, plan).route if found else None
    heard = hear(route) if route else NOTHING_HEARD
    versions = (route.stable, route.canary) if route else ()
    homes = [service_of(one.host, plan.namespace)[1] for one in versions]
    callers = [one.namespace for one in heard.callers]
    places = tuple(filter(None, dict.fromkeys((plan.namespace, *homes, *callers, ROOT_NAMESPACE))))
    objects = {kind: looking.everywhere(kind, places) for kind in EVERYWHERE}
    objects |= {kind: looking.within(kind, places) for kind in CONCERNED}
    unseen = looking.unseen_freezes((plan.namespace, home)) if home else {}
    return Survey(
        plan=plan,
        virtual_service=found,
        route=route,
        sides=admitted.sides if admitted else None,
        objects=objects,
        unread=looking.unread,
        mesh=_mesh_config(looking.named(CONFIG_MAPS, ROOT_NAMESPACE, "istio")),
        heard=heard,
        neighbours=neighbours(route) if route else {},
        now=now,
        served=looking.served(FORMER),
        account=kube.account() if looking.unread or unseen else "",
        unseen_freezes=unseen,
    )


@dataclass
class _Looking:
    """Lists and reads, and keeps in mind what it could not."""

    kube: Kube
    unread: dict[Kind, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def served(self, groups: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The versions of each group, as far as we are told."""
        found = {group: self._versions(group) for group in groups}
        return {group: versions for group, versions in found.items() if versions is not None}

    def _versions(self, group: str) -> tuple[str, ...] | None:
        if group not in self.groups:
            try:
                self.groups[group] = self.kube.versions(group)
            except Unavailable:
                raise
            except CanarydError:
                self.groups[group] = None
        return self.groups[group]

    def _miss(self, kind: Kind, why: Exception) -> None:
        """Keep in mind that ``kind`` was not read, unless nobody has such objects: rights are asked for first."""
        if not kind.group or self._versions(kind.group) != ():
            self.unread.setdefault(kind, str(why))

    def named(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none or it may not be read."""
        for one in _versions(kind):
            with suppress(Unserved):
                try:
                    return self.kube.get(one, namespace, name)
                except Missing:
                    return None
                except Unavailable:
                    raise
                except CanarydError as error:
                    self._miss(kind, error)
                    return None
        return None

    def everywhere(self, kind: Kind, places: Iterable[str]) -> tuple[Object, ...]:
        """The objects in all namespaces, or where that is not allowed in those of ``places`` that we may look at."""
        try:
            return self._list(kind, "")
        except Rejected as error:
            found = self.within(kind, places)
            self._miss(kind, error)
            return found

    def within(self, kind: Kind, places: Iterable[str]) -> tuple[Object, ...]:
        """The objects in ``places``."""
        found: list[Object] = []
        for place in places:
            try:
                found += self._list(kind, place)
            except Rejected as error:
                self._miss(kind, error)
        return tuple(found)

    def unseen_freezes(self, places: Iterable[str]) -> dict[str, str]:
        """Those of ``places`` whose CanaryFreezes may not be listed, each with why; none where nobody has the kind."""
        unseen: dict[str, str] = {}
        for place in ("", *dict.fromkeys(places)):
            try:
                self.kube.list(CANARY_FREEZES, place)
            except Unserved:
                return {}
            except Forbidden as error:
                if place:
                    unseen[place] = str(error)
            else:
                if not place:
                    return {}
        # Rights are asked for first, so that a kind which is not there is forbidden, too.
        return unseen if self._versions(CANARY_FREEZES.group) != () else {}

    def _list(self, kind: Kind, namespace: str) -> tuple[Object, ...]:
        """Empty where the kind is not served: nobody has such an object then."""
        for one in _versions(kind):
            with suppress(Unserved):
                return tuple(self.kube.list(one, namespace))
        return ()


def _versions(kind: Kind) -> tuple[Kind, ...]:
    former = FORMER.get(kind.group)
    return (kind, replace(kind, version=former)) if former else (kind,)


def _mesh_config(found: Object | None) -> dict[str, Any]:
    """Istio's mesh configuration, which istiod reads from its ConfigMap."""
    text = ((found or {}).get("data") or {}).get("mesh") or ""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
