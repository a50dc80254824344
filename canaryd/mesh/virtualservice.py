"""
The mesh port on a real API server: one VirtualService, read and patched.

Reading and planning are pure and live next door; here is only what talks. Retreats have a connection and a deadline of
their own, take two requests (read, patch), and are guarded by nothing but the destinations they write to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jsonpatch
import structlog

from canaryd.cluster.shelf import Shelf
from canaryd.errors import CanarydError, Conflict, Gone, Rejected
from canaryd.kube import (
    DEPLOYMENTS,
    DESTINATION_RULES,
    FIELD_MANAGER,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Forbidden,
    Kind,
    Kube,
    Missing,
    Right,
    Unserved,
    grantee,
)
from canaryd.mesh.admission import ROOT_NAMESPACE, Surroundings, admission, sides_of, subsets_of
from canaryd.mesh.entries import annotations_of
from canaryd.mesh.hosts import fully_qualified, service_of
from canaryd.mesh.ownership import disown_patch
from canaryd.mesh.suspects import suspects
from canaryd.mesh.weights import Guard, guarded, marker_key, release_patch, restore_patch, split_of, weight_patch
from canaryd.model import codes
from canaryd.model.finding import Finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import EVERYTHING, NOTHING, Admission, Marker, Route, Sides, Sighting

Object = dict[str, Any]

VERSIONS = ("v1", "v1beta1")
"""Served versions of networking.istio.io with equal schemas: v1 since Istio 1.22, before that v1beta1."""

ROLLOUTS = Kind("argoproj.io", "v1alpha1", "rollouts")

RETREAT_LIMIT = 5.0
"""Seconds that each of the two requests of a retreat may take."""

ENDS = {EVERYTHING: "promotion: 100 %", NOTHING: "return to stable, once it runs what the canary runs: 0 %"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """
    One write of a plan, as it would be: ``what`` it is, its JSON Patch, and the object before and after.

    ``refused`` says why the API server would not have it, ``unheard`` why it could not be asked; both are empty where a
    dry run, schema and webhooks included, went well.
    """

    what: str
    patch: tuple[Object, ...]
    before: Object
    after: Object
    refused: str = ""
    unheard: str = ""


class IstioMesh:
    """
    The port ``Mesh`` on VirtualServices.

    With a ``shelf`` a look at what has not changed costs no request. It is asked only for what is looked at: whatever
    guards a write is read from the API server itself.
    """

    def __init__(self, kube: Kube, shelf: Shelf | None = None, *, retreat_limit: float = RETREAT_LIMIT) -> None:
        self._kube = kube
        self._shelf = shelf
        self._near: Kube | Shelf = shelf or kube
        self._seen: dict[tuple[str, str], str] = {}
        self._retreats = kube.another(timeout=retreat_limit)
        self._version = VERSIONS[0]

    def admit(self, plan: Plan) -> Admission:
        """What the plan would move. Raises Refused with every problem; changes nothing (one patch is rehearsed)."""
        return self._admit(plan, writes=not plan.observes)

    def _admit(self, plan: Plan, *, writes: bool) -> Admission:
        namespace, target = plan.namespace, plan.spec.target
        homes = self._homes(plan)
        if lacking := list(self._lacking(namespace, homes, writes=writes)):
            raise Refused(lacking)
        try:
            found = self._get(self._kube, namespace, target.virtual_service)
        except Missing:
            known = ", ".join(one["metadata"]["name"] for one in self._list(VIRTUAL_SERVICES, namespace)) or "none"
            raise Refused(
                [
                    Problem(
                        "spec.target.virtualService",
                        target.virtual_service,
                        f"a VirtualService in namespace {namespace}",
                        f"there: {known}",
                        codes.VIRTUAL_SERVICE_MISSING.name,
                    )
                ]
            ) from None
        admitted = admission(plan, found, self._around(namespace, homes))
        if not writes:
            return admitted
        return replace(admitted, findings=(*admitted.findings, *self._rehearse(plan, found, admitted)))

    def look(self, route: Route) -> Sighting:
        """
        The weights and the marker as they are now.

        From the shelf comes only that nothing has changed since the API server was asked last, or answered a write of
        ours. What has changed is asked of the server itself. So a cache that lags, as that of a process that has just
        begun to lead may, cannot show a state that this process knows to be over, which would be taken for drift.
        """
        key = (route.namespace, route.virtual_service)
        if self._shelf:
            near = self._shelf.peek(self._served(VIRTUAL_SERVICES), *key)
            if near is not None and _version(near) == self._seen.get(key):
                return split_of(near, route)
        found = self._read(self._kube, route)
        self._seen[key] = _version(found)
        return split_of(found, route)

    def shift(self, route: Route, marker: Marker, seen: Sighting) -> None:
        """
        Write ``marker.split`` and the marker in one operation, provided that nothing has changed since ``seen``.

        Raises Conflict when something has, Rejected when the API server refuses the patch all the same.
        """
        found = self._read(self._kube, route)
        if _version(found) != seen.version:
            raise Conflict(
                f"{route} has changed since it was read (resourceVersion {seen.version}, now {_version(found)})"
            )
        try:
            self._patch(self._kube, route, weight_patch(found, route, marker, Guard.OBJECT))
        except Conflict as error:
            if _version(self._read(self._kube, route)) == seen.version:
                raise Rejected(
                    f"{route}: the API server refuses the patch though nothing has changed: {error}"
                ) from error
            raise

    def retreat(self, route: Route, marker: Marker) -> None:
        """
        Write ``marker.split`` and the marker in one operation, whatever else has changed in the object.

        Two requests, on a connection of its own. Raises Conflict when the destinations are no longer ours, Rejected
        when no stable destination is left or the object is gone.
        """
        found = self._read(self._retreats, route)
        self._patch(self._retreats, route, weight_patch(found, route, marker, Guard.DESTINATIONS))

    def release(self, route: Route, run: str) -> None:
        """
        Take our marker, and a destination that we inserted, out of the object. No marker of ``run``: nothing.

        With the last marker goes our entry in managedFields, in the same guarded patch; where the API server will not
        have that, the marker goes without it. An entry that outlived its marker is taken out where that can be done.
        """
        try:
            found = self._get(self._kube, route.namespace, route.virtual_service)
        except Missing:
            return
        if operations := restore_patch(found, route, run):
            found = self._patch(self._kube, route, operations)
        disown = disown_patch(found, route.plan, FIELD_MANAGER)
        if operations := release_patch(found, route, run):
            try:
                self._patch(self._kube, route, [*operations, *disown])
            except (Conflict, Rejected) as error:
                if not disown:
                    raise
                self._patch(self._kube, route, operations)  # what somebody wrote meanwhile stops this one, too
                log.warning("mesh.still_in_managed_fields", virtual_service=str(route), why=str(error))
        elif disown and marker_key(route.plan) not in annotations_of(found):
            try:
                self._patch(self._kube, route, [*guarded(found), *disown])
            except CanarydError as error:
                log.warning("mesh.still_in_managed_fields", virtual_service=str(route), why=str(error))
        self._seen.pop((route.namespace, route.virtual_service), None)

    def sides(self, route: Route) -> Sides:
        """The pods behind both versions now."""
        services, pods, deployments, rules = [], [], [], []
        subsets = any(version.subset for version in (route.stable, route.canary))
        seen: set[tuple[str, str]] = set()
        for version in (route.stable, route.canary):
            name, home = service_of(version.host, route.namespace)
            if not name or (home, name) in seen:
                continue
            seen.add((home, name))
            rules += self._rules(version.host, route.namespace) if subsets else []
            try:
                service = self._near.get(SERVICES, home, name)
            except Missing:
                continue
            services.append(service)
            pods += self._near.list(PODS, home, labels=(service.get("spec") or {}).get("selector") or {})
            deployments += self._near.list(DEPLOYMENTS, home)
        around = Surroundings(services=services, pods=pods, deployments=deployments, destination_rules=rules)
        return sides_of(route, around)

    def hosts(self, route: Route) -> tuple[str, ...]:
        """The fully qualified names of the services behind both versions."""
        return tuple(
            dict.fromkeys(fully_qualified(version.host, route.namespace) for version in (route.stable, route.canary))
        )

    def rehearse(self, plan: Plan) -> tuple[Rehearsal, ...]:
        """
        What a run of ``plan`` would write, from its first step to its end, each sent to the API server as a dry run.

        Changes nothing, and needs no right to: where there is none, what a patch would do is computed here. Raises
        Refused with every problem where the plan could not start.
        """
        admitted = self._admit(plan, writes=False)
        route, now = admitted.route, self._get(self._kube, plan.namespace, plan.spec.target.virtual_service)
        found, before = [], now
        shares = [
            (step.weight, step.audience, f"step {place}: {step.share}") for place, step in enumerate(plan.spec.steps, 1)
        ]
        back = (NOTHING,) if plan.spec.after_promotion == "return" else ()
        shares += [(split, "", ENDS[split]) for split in (EVERYTHING, *back)]
        for number, (split, match, what) in enumerate(shares, start=1):
            marker = Marker("rehearsal", number, split, admitted.split, route.stable, route.canary, 0, match)
            toward = Guard.DESTINATIONS if split == NOTHING and not match else Guard.OBJECT
            patch = weight_patch(now, route, marker, toward)
            after, refused, unheard = self._as_if(route, patch, now)
            found.append(Rehearsal(what, tuple(patch), before, after, refused, unheard))
            before = after
        end = release_patch(before, route, "rehearsal")
        clean = jsonpatch.apply_patch(before, [one for one in end if one["op"] != "test"])
        unheard = "it follows from the writes before, which were not made"
        return (*found, Rehearsal("the end", tuple(end), before, clean, unheard=unheard))

    def _as_if(self, route: Route, patch: list[Object], now: Object) -> tuple[Object, str, str]:
        """The object after ``patch``, why the API server refuses it, and why it could not be asked."""
        kind = self._served(VIRTUAL_SERVICES)
        try:
            return self._kube.patch_json(kind, route.namespace, route.virtual_service, patch, dry_run=True), "", ""
        except (Forbidden, Conflict) as error:
            return jsonpatch.apply_patch(now, patch), "", str(error)
        except Rejected as error:
            unheard = str(error) if "dry run" in str(error) else ""
            return jsonpatch.apply_patch(now, patch), "" if unheard else str(error), unheard

    def suspects(self, route: Route, clients: Sequence[str]) -> tuple[str, ...]:
        """
        Why ``clients`` may not meet the weights, the likeliest cause first.

        Several requests, some for all namespaces: for when the share is in doubt, and not for every tick. What may not
        be read is said.
        """
        places = tuple(dict.fromkeys(client.rpartition(".")[2] for client in clients if client))
        remarks: list[Finding] = []
        homes = tuple(dict.fromkeys((route.namespace, *places, ROOT_NAMESPACE)))
        pods: list[Object] = []
        for place in places:
            try:
                pods += self._kube.list(PODS, place)
            except Forbidden:
                said = "they may not be listed: whether they have sidecars is not known"
                remarks.append(codes.NOT_ALL_SEARCHED.at(f"pods in namespace {place}", said))
        around = Surroundings(
            virtual_services=self._everywhere(VIRTUAL_SERVICES, homes, remarks),
            destination_rules=self._everywhere(DESTINATION_RULES, homes, remarks),
            pods=pods,
            remarks=tuple(remarks),
        )
        return suspects(route, clients, self._read(self._kube, route), around)

    # -- reading

    def _get(self, kube: Kube, namespace: str, name: str) -> Object:
        """The VirtualService, in the version that is served. Raises Missing, or Unserved where Istio is not there."""
        try:
            return kube.get(replace(VIRTUAL_SERVICES, version=self._version), namespace, name)
        except Unserved:
            other = next(version for version in VERSIONS if version != self._version)
            found = kube.get(replace(VIRTUAL_SERVICES, version=other), namespace, name)
            self._version = other
            return found

    def _read(self, kube: Kube, route: Route) -> Object:
        try:
            return self._get(kube, route.namespace, route.virtual_service)
        except Missing as error:
            raise Gone(
                f"{route} is gone, and with it the weights: apply it again with all traffic to {route.stable}, "
                "or abort the run"
            ) from error

    def _patch(self, kube: Kube, route: Route, operations: list[Object]) -> Object:
        kind = self._served(VIRTUAL_SERVICES)
        # A write that gets no answer may have happened all the same: the next look asks.
        self._seen.pop((route.namespace, route.virtual_service), None)
        try:
            found = kube.patch_json(kind, route.namespace, route.virtual_service, operations)
        except Missing as error:
            raise Gone(f"{route} is gone, and with it the weights") from error
        if self._shelf:
            self._shelf.took(kind, found)
            self._seen[route.namespace, route.virtual_service] = _version(found)
        return found

    def _list(self, kind: Kind, namespace: str = "") -> list[Object]:
        return self._kube.list(self._served(kind), namespace)

    def _served(self, kind: Kind) -> Kind:
        """In the version that is served, of Istio's kinds."""
        return replace(kind, version=self._version) if kind.group == VIRTUAL_SERVICES.group else kind

    def _rules(self, host: str, namespace: str) -> list[Object]:
        """The DestinationRules that decide over ``host``: of the first namespace that has one."""
        _, home = service_of(host, namespace)
        for place in dict.fromkeys((namespace, home, ROOT_NAMESPACE)):
            try:
                rules = self._near.list(self._served(DESTINATION_RULES), place)
            except Forbidden:
                continue
            if subsets_of(host, namespace, rules)[1]:
                return rules
        return []

    # -- admission

    @staticmethod
    def _homes(plan: Plan) -> tuple[str, ...]:
        """The namespaces that the versions' services live in."""
        target = plan.spec.target
        hosts = [target.version(target.canary).host, target.host]
        if target.stable:
            hosts.append(target.version(target.stable).host)
        return tuple(dict.fromkeys(service_of(host, plan.namespace)[1] or plan.namespace for host in hosts))

    def _lacking(self, namespace: str, homes: Iterable[str], *, writes: bool) -> Iterator[Problem]:
        """The rights that a run would miss, each with the command that grants it; to observe is to read."""
        verbs = ("get", "list", "patch") if writes else ("get", "list")
        needed = {namespace: [Right(verb, VIRTUAL_SERVICES) for verb in verbs]}
        needed[namespace].append(Right("list", DESTINATION_RULES))
        for home in homes:
            needed.setdefault(home, []).extend([Right("get", SERVICES)])
            needed[home] += [Right("list", kind) for kind in (SERVICES, PODS, DEPLOYMENTS)]
        missing = [(place, right) for place, rights in needed.items() for right in self._kube.forbidden(place, rights)]
        account = self._kube.account() if missing else ""
        for place, right in missing:
            role = f"canaryd-{right.verb}-{right.kind.plural}"
            yield Problem(
                f"namespace {place}",
                f"not granted to {account}" if account else "not granted",
                f"the right to {right.verb} {right.kind}",
                "grant it" if account else "grant it; USER is canaryd's own account, see: kubectl auth whoami",
                codes.RIGHT_MISSING.name,
                f"kubectl create role {role} -n {place} --verb={right.verb} --resource={right.kind} && "
                f"kubectl create rolebinding {role} -n {place} --role={role} {grantee(account)}",
            )

    def _around(self, namespace: str, homes: tuple[str, ...]) -> Surroundings:
        places = tuple(dict.fromkeys((namespace, *homes, ROOT_NAMESPACE)))
        remarks: list[Finding] = []
        return Surroundings(
            virtual_services=self._everywhere(VIRTUAL_SERVICES, places, remarks),
            destination_rules=self._everywhere(DESTINATION_RULES, places, remarks),
            services=[found for home in homes for found in self._list(SERVICES, home)],
            pods=[found for home in homes for found in self._list(PODS, home)],
            deployments=[found for home in homes for found in self._list(DEPLOYMENTS, home)],
            rollouts=self._rollouts(namespace),
            remarks=tuple(remarks),
        )

    def _everywhere(self, kind: Kind, places: tuple[str, ...], remarks: list[Finding]) -> list[Object]:
        """The objects of all namespaces, or of those among ``places`` that we may look at."""
        try:
            return self._list(kind)
        except Forbidden:
            found, seen = [], []
            for place in places:
                try:
                    found += self._list(kind, place)
                    seen.append(place)
                except Forbidden:
                    continue
            said = f"only namespaces {', '.join(seen) or 'none'} were searched: no right to list all"
            remarks.append(
                codes.NOT_ALL_SEARCHED.at(kind.plural, f"{said}; another way to the versions may be overlooked")
            )
            return found

    def _rollouts(self, namespace: str) -> list[Object]:
        try:
            return self._list(ROLLOUTS, namespace)
        except (Unserved, Forbidden):
            return []

    def _rehearse(self, plan: Plan, found: Object, admitted: Admission) -> list[Finding]:
        """Send the first step's patch as a dry run, so that schema and webhooks refuse it now rather than later."""
        first, route = plan.spec.steps[0], admitted.route
        marker = Marker("rehearsal", 0, first.weight, admitted.split, route.stable, route.canary, 0, first.audience)
        operations = weight_patch(found, route, marker, Guard.OBJECT)
        try:
            self._kube.patch_json(
                replace(VIRTUAL_SERVICES, version=self._version),
                route.namespace,
                route.virtual_service,
                operations,
                dry_run=True,
            )
        except Conflict:
            return [codes.CHANGED.at(str(route), "it changed while it was looked at")]
        except Rejected as error:
            if "dry run" in str(error):
                return [codes.NOT_REHEARSED.at(str(route), f"the first step could not be rehearsed: {error}")]
            body = json.dumps([one for one in operations if one["path"].startswith("/spec/")], separators=(",", ":"))
            wanted = f"a VirtualService that may be patched like this: {body}"
            raise Refused([Problem(str(route), str(error), wanted, code=codes.PATCH_REFUSED.name)]) from error
        return []


def _version(found: Object) -> str:
    return str(found["metadata"].get("resourceVersion") or "")
