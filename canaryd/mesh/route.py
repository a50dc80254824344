"""
Which entries a plan moves, and everything that speaks against moving them.

Names of http entries may repeat, and an entry without traffic to either version is none of ours. What counts is the
*population*: if another entry can reach the canary, its users are not a random part of stable's, and comparing the two
compares people instead of versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from canaryd.mesh.entries import Destination, HttpEntry, Object, destinations, http_entries, own_entries, version_of
from canaryd.mesh.hosts import fully_qualified, same_host, same_version
from canaryd.mesh.matching import conflicts
from canaryd.model import codes
from canaryd.model.finding import Code, Finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.traffic import Route, Version

UNIVERSAL = frozenset({"name", "ignoreUriCase", "statPrefix"})
"""Keys of a match that make it no narrower."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """
    What the plan's target is in an object.

    ``route`` is None only where it cannot be told; with problems it is a guess that serves to find more of them.
    """

    route: Route | None
    problems: tuple[Problem, ...]
    remarks: tuple[Finding, ...]


def resolve(virtual_service: Object, plan: Plan) -> Resolution:
    """The route that the plan's target names in ``virtual_service``, with every problem."""
    return _Resolver(virtual_service, plan).resolve()


class _Resolver:
    """Collects what is found on the way, so that the first problem hides none."""

    def __init__(self, virtual_service: Object, plan: Plan) -> None:
        self.plan = plan
        self.target = plan.spec.target
        self.namespace = str(virtual_service["metadata"].get("namespace") or plan.namespace)
        self.name = str(virtual_service["metadata"]["name"])
        self.spec = virtual_service.get("spec") or {}
        self.entries = own_entries(virtual_service)
        self.canary = self.target.version(self.target.canary)
        self.stable = self.target.version(self.target.stable) if self.target.stable else None
        self.problems: list[Problem] = []
        self.remarks: list[Finding] = []

    def resolve(self) -> Resolution:
        chosen = self._choose()
        self.stable = self.stable or self._holder(chosen)
        if self.stable and same_version(self.stable, self.canary, self.namespace):
            self._problem(
                codes.SAME_VERSION,
                "spec.target",
                "two different versions",
                f"{self.stable} for both",
                "name another canary",
            )
            return Resolution(None, tuple(self.problems), ())
        for entry in chosen:
            self._examine(entry)
        route = None
        if chosen and self.stable:
            route = Route(
                namespace=self.namespace,
                virtual_service=self.name,
                plan=self.plan.name,
                entries=tuple(entry.entry for entry in chosen if entry.destinations),
                stable=self._as_written(chosen, self.stable),
                canary=self._as_written(chosen, self.canary),
            )
        return Resolution(route if route and route.entries else None, tuple(self.problems), tuple(self.remarks))

    def _as_written(self, chosen: Iterable[HttpEntry], version: Version) -> Version:
        """The version with its host as the object spells it: a destination of ours looks like its neighbours."""
        for entry in chosen:
            for found in entry.destinations:
                if same_host(found.version.host, version.host, self.namespace):
                    return Version(found.version.host, version.subset)
        return version

    def _choose(self) -> list[HttpEntry]:
        if not self.entries:
            others = " and ".join(kind for kind in ("tls", "tcp") if self.spec.get(kind)) or "none"
            self._problem(
                codes.NO_HTTP_ENTRY,
                self._where(),
                "an http entry, the only kind whose weights canaryd moves",
                f"{others} entries only",
            )
            return []
        return self._named() if self.target.routes else self._fitting()

    def _named(self) -> list[HttpEntry]:
        chosen: list[HttpEntry] = []
        known = [entry.name for entry in self.entries if entry.name]
        for index, name in enumerate(self.target.routes):
            found = [entry for entry in self.entries if entry.name == name]
            path = f"spec.target.routes.{index}"
            if not found:
                close = get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"named there: {', '.join(known) or 'none'}"
                self._problem(codes.ROUTE_UNKNOWN, path, f"the name of an http entry of {self._where()}", name, hint)
            elif len(found) > 1:
                self._problem(
                    codes.ROUTE_AMBIGUOUS,
                    path,
                    f"a name that one http entry of {self._where()} has",
                    f"{name}, which {len(found)} have: {_all(f'http[{entry.index}]' for entry in found)}",
                    "give each entry a name of its own",
                )
            elif found[0] in chosen:
                self._problem(codes.ROUTE_TWICE, path, "each route once", f"{name} again", "take it out")
            else:
                chosen += found
        return chosen

    def _fitting(self) -> list[HttpEntry]:
        """The one entry that holds stable (or, where stable is left out, the host, not for the canary alone)."""
        reaching = [entry for entry in self.entries if any(map(self._is_near, entry.destinations))]
        fitting = [entry for entry in reaching if self._fits(entry)]
        if not fitting and (ours := [entry for entry in reaching if entry.to(self.canary, self.namespace)]):
            fitting = ours
        if len(fitting) == 1:
            return fitting
        if fitting:
            self._problem(
                codes.ROUTE_AMBIGUOUS,
                "spec.target.routes",
                f"the names of the http entries to move, because {len(fitting)} of {self._where()} fit",
                _all(map(str, fitting)),
                *self._naming(fitting),
            )
        elif not reaching and (delegates := [entry for entry in self.entries if entry.rest.get("delegate")]):
            for entry in delegates:
                self._examine(entry)
        elif reaching:
            self._problem(
                codes.STABLE_NOT_IN_ROUTE,
                "spec.target.stable",
                f"a version that an http entry of {self._where()} sends to",
                f"{self.stable}",
                f"they send to {_all(str(found) for entry in reaching for found in entry.destinations)}",
            )
        else:
            self._problem(
                codes.HOST_NOT_IN_ROUTE,
                "spec.target.host",
                f"a host that an http entry of {self._where()} sends to",
                self.target.host,
                self._hosts() or self._why_none(),
            )
        return []

    def _naming(self, fitting: list[HttpEntry]) -> tuple[str, str]:
        """What to do about several entries that fit: names for those without, and the list for the plan."""
        names = {entry.index: entry.name or f"{self.name}-{entry.index}" for entry in fitting}
        listed = f"list those that shall move together in the plan: routes: [{', '.join(names.values())}]"
        nameless = [entry for entry in fitting if not entry.name]
        if not nameless:
            return listed, ""
        naming = [{"op": "add", "path": f"{entry.path}/name", "value": names[entry.index]} for entry in nameless]
        return f"{listed}, after naming them", self._command(naming)

    def _command(self, operations: list[dict[str, Any]]) -> str:
        """The kubectl command that applies a JSON Patch to the object."""
        body = json.dumps(operations, separators=(",", ":"))
        return f"kubectl patch virtualservice {self.name} -n {self.namespace} --type=json -p '{body}'"

    def _without(self, entry: HttpEntry, others: Iterable[Destination]) -> tuple[str, str]:
        """What to do about destinations that take traffic beside ours: stable gets their weight."""
        stables = entry.to(self.stable, self.namespace) if self.stable else ()
        if not stables:
            return "give it weight 0 or take it out", ""
        weights = {stables[0]: stables[0].weight}
        for other in others:
            weights[stables[0]] += other.weight
            weights[other] = 0
        tests = [
            {"op": "test", "path": f"{entry.path}/route/{one.index}/destination/{key}", "value": value}
            for one in weights
            for key, value in (("host", one.version.host), ("subset", one.version.subset))
            if value
        ]
        moves = [
            {"op": "add", "path": f"{entry.path}/route/{one.index}/weight", "value": weight}
            for one, weight in weights.items()
        ]
        return f"take it out, or give its share to {self.stable}", self._command(tests + moves)

    def _is_near(self, destination: Destination) -> bool:
        """Whether the destination is on a host of ours."""
        hosts = [self.canary.host, (self.stable or self.canary).host, self.target.host]
        return any(same_host(destination.version.host, host, self.namespace) for host in hosts)

    def _fits(self, entry: HttpEntry) -> bool:
        if self.stable:
            return bool(entry.to(self.stable, self.namespace))
        return bool(entry.besides([self.canary], self.namespace))

    def _hosts(self) -> str:
        hosts = {found.version.host for entry in self.entries for found in entry.destinations}
        return f"hosts there: {', '.join(sorted(hosts))}" if hosts else ""

    def _why_none(self) -> str:
        kinds = sorted({kind for entry in self.entries for kind in ("delegate", "redirect", "directResponse")
                        if entry.rest.get(kind) is not None})  # fmt: skip
        return f"its entries have no destinations but {' and '.join(kinds)}{self._delegates()}" if kinds else ""

    def _delegates(self) -> str:
        named = [_delegate(entry.rest["delegate"]) for entry in self.entries if entry.rest.get("delegate")]
        return f"; name the delegate itself as target.virtualService: {', '.join(named)}" if named else ""

    def _holder(self, chosen: list[HttpEntry]) -> Version | None:
        """Who holds 100 % when the plan leaves stable out; of two, the one that is not the canary."""
        if not chosen:
            return None
        holders: list[Version] = []
        for entry in chosen:
            others = entry.besides([self.canary], self.namespace)
            taking = [found for found in others if entry.receives(found)] or others
            if not taking:
                self.problems.append(already_there(f"{self._where()} {entry}", self.canary))
            elif len(taking) != 1:
                self._problem(
                    codes.STABLE_UNCLEAR,
                    "spec.target.stable",
                    f"a version, because nobody else than {self.canary} alone holds the traffic of {entry}",
                    _all(f"{found} with weight {found.weight}" for found in entry.destinations),
                    "say which one is stable: stable: {subset: ...}",
                )
            else:
                holders.append(taking[0].version)
        if any(not same_version(one, holders[0], self.namespace) for one in holders[1:]):
            self._problem(
                codes.STABLE_UNCLEAR,
                "spec.target.stable",
                "a version, because the entries are held by different ones",
                _all(map(str, holders)),
                "say which one is stable: stable: {subset: ...}",
            )
        return holders[0] if holders else None

    def _examine(self, entry: HttpEntry) -> None:
        where = f"{self._where()} {entry}"
        if (delegate := entry.rest.get("delegate")) is not None:
            self._problem(
                codes.DELEGATES, where, "destinations of its own", f"delegate {_delegate(delegate)}",
                self._at_the_delegate(delegate),
            )  # fmt: skip
        for action in ("redirect", "directResponse"):
            if entry.rest.get(action) is not None:
                self._problem(
                    codes.NO_WEIGHTS, where, "destinations with weights", action, "name an entry that has a route"
                )
        if not entry.destinations:
            if not any(entry.rest.get(key) is not None for key in ("delegate", "redirect", "directResponse")):
                self._problem(
                    codes.NO_WEIGHTS, where, "destinations with weights", "no route", "name an entry that has a route"
                )
            return
        self._examine_destinations(entry, where)
        if entry.rest.get("fault"):
            self._problem(
                codes.FAULT_INJECTED,
                where,
                "no fault injection, which would be counted as the versions' errors",
                ", ".join(sorted(entry.rest["fault"])),
                command=f"kubectl patch virtualservice {self.name} -n {self.namespace} --type=json "
                f"""-p '[{{"op":"remove","path":"{entry.path}/fault"}}]'""",
            )
        for place, step in enumerate(self.plan.spec.steps):
            if shared := conflicts(entry, step.audience):
                self._problem(
                    codes.MATCH_CONFLICT,
                    where,
                    "an entry that does not ask for the header of a step's match itself",
                    f"it asks for {', '.join(shared)} otherwise than spec.steps.{place}.match",
                    "match by another header, or by a cookie",
                )
        if (earlier := shadowing(self.entries, entry)) is not None:
            self._problem(
                codes.ENTRY_SHADOWED,
                where,
                "an entry that requests can reach",
                f"{earlier} before it, which takes everything",
                "move the catch-all to the end, or name that entry",
            )
        for key in ("retries", "timeout", "mirror", "mirrors"):
            if entry.rest.get(key) and not (key == "retries" and _never_retries(entry.rest[key])):
                code, said = _REMARKS[key]
                self.remarks.append(code.at(where, f"has {key}: {said}"))

    def _examine_destinations(self, entry: HttpEntry, where: str) -> None:
        if not self.stable:
            return
        ours = [self.stable, self.canary]
        for version in ours:
            if len(entry.to(version, self.namespace)) > 1:
                self._problem(
                    codes.DESTINATION_TWICE,
                    where,
                    "each version once",
                    f"{version} twice",
                    "merge the two destinations into one",
                )
        others = entry.besides(ours, self.namespace)
        if taking := [other for other in others if entry.receives(other)]:
            self._problem(
                codes.FOREIGN_DESTINATION,
                where,
                f"no destinations but {self.stable} and {self.canary}",
                _all(f"{found} with weight {found.weight}" for found in taking),
                *self._without(entry, taking),
            )
        elif others:
            said = f"also names {_all(map(str, others))} without traffic; it is left as it is"
            self.remarks.append(codes.IDLE_DESTINATION.at(where, said))
        alone = len(entry.destinations) == 1 and entry.to(self.canary, self.namespace)
        if not entry.to(self.stable, self.namespace) and not taking and not alone:
            self._problem(
                codes.STABLE_NOT_IN_ROUTE,
                where,
                f"a destination {self.stable} to come from and to go back to",
                _all(map(str, entry.destinations)),
                "add it, or name who is stable",
            )

    def _at_the_delegate(self, delegate: Any) -> str:
        named = f"name it in the plan, because the weights are there: target.virtualService: {delegate.get('name', '')}"
        elsewhere = delegate.get("namespace") not in (None, self.namespace)
        namespace = f", metadata.namespace: {delegate.get('namespace')}" if elsewhere else ""
        look = f"kubectl get virtualservice {delegate.get('name', '')} -n {delegate.get('namespace') or self.namespace}"
        return f"{named}{namespace} (see: {look})"

    def _where(self) -> str:
        return f"VirtualService {self.namespace}/{self.name}"

    def _problem(
        self, code: Code, path: str, expected: str, value: str = "", remedy: str = "", command: str = ""
    ) -> None:
        self.problems.append(Problem(path, value, expected, remedy, code.name, command))


def already_there(where: str, canary: Version) -> Problem:
    """The traffic is where the plan wants to bring it: nothing runs, and that is said in so many words."""
    return Problem(
        path=where,
        value=f"already at the canary: {canary} holds 100 %",
        expected="traffic that stable holds, to be shifted",
        remedy="nothing is left to do; for another release name the new version as canary and this one as stable",
        code=codes.ALREADY_THERE.name,
    )


_REMARKS = {
    "retries": (codes.RETRIES, "callers see fewer failures than the versions produce"),
    "timeout": (codes.TIMEOUT, "a version slower than that fails"),
    "mirror": (codes.MIRRORS, "the mirrored requests load that host beside its own traffic"),
    "mirrors": (codes.MIRRORS, "the mirrored requests load those hosts beside their own traffic"),
}


def _never_retries(retries: Mapping[str, Any]) -> bool:
    """
    Whether an entry says that nothing is retried.

    Source: Istio, pilot/pkg/networking/core/route/retry/retry.go (ConvertPolicy): no attempts are no policy at all.
    """
    return int(retries.get("attempts") or 0) <= 0


def _all(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _delegate(delegate: Any) -> str:
    namespace = delegate.get("namespace")
    return f"{namespace}/{delegate.get('name', '')}" if namespace else str(delegate.get("name", ""))


def shadowing(entries: tuple[HttpEntry, ...], entry: HttpEntry) -> HttpEntry | None:
    """
    The earlier entry that leaves nothing to ``entry``, if there is one.

    Source: Istio, pilot/pkg/networking/core/route/route.go (isCatchAllRoute), analysis message IST0130.
    """
    return next((earlier for earlier in entries[: entry.index] if takes_everything(earlier)), None)


def takes_everything(entry: HttpEntry) -> bool:
    """Whether the entry has a match that every request fits, or none at all."""
    matches = entry.rest.get("match")
    return not matches or any(_is_catch_all(match or {}) for match in matches)


def _is_catch_all(match: Object) -> bool:
    keys = {key for key, value in match.items() if value} - UNIVERSAL
    uri = match.get("uri") or {}
    return not keys or (keys == {"uri"} and (uri.get("prefix") in ("/", "") or uri.get("regex") in (".*", "/.*")))


@dataclass(frozen=True, slots=True)
class Way:
    """One way that requests reach a version: where it is written, and what it says."""

    where: str
    said: str
    mirrors: bool = False


def other_ways(route: Route, virtual_services: Iterable[Object], over: str = "") -> list[Way]:
    """
    Every way to either version of ``route`` other than its own entries, in any of ``virtual_services``.

    ``over`` is the full name of a further host whose Service selects their pods, empty if there is none. Mirrors count
    on its own entries too: the copies load the canary beside its share.
    """
    return [way for found in virtual_services for way in _ways(route, found, over)]


def _ways(route: Route, virtual_service: Object, over: str) -> Iterator[Way]:
    meta = virtual_service["metadata"]
    namespace = str(meta.get("namespace") or route.namespace)
    ours = [part for part in route.parts if (part.namespace, part.virtual_service) == (namespace, meta["name"])]
    label = f"VirtualService {namespace}/{meta['name']}"
    for entry in http_entries(virtual_service):
        where = f"{label} {entry}"
        if not any(entry.entry in part.entries for part in ours):
            for found in entry.destinations:
                if entry.receives(found) and _reaches(route, found.version, namespace, over):
                    yield Way(where, f"a destination {found}")
        mirrors = [
            entry.rest.get("mirror"),
            *((each or {}).get("destination") for each in entry.rest.get("mirrors") or ()),
        ]
        for mirror in mirrors:
            if mirror and _reaches(route, version_of(mirror), namespace, over):
                yield Way(
                    where, f"a mirror to {version_of(mirror).host} {version_of(mirror).subset}".rstrip(), mirrors=True
                )
    spec = virtual_service.get("spec") or {}
    for kind in ("tls", "tcp"):
        for index, raw in enumerate(spec.get(kind) or ()):
            for found in destinations((raw or {}).get("route") or ()):
                if found.given != 0 and _reaches(route, found.version, namespace, over):
                    yield Way(f"{label} {kind}[{index}]", f"a destination {found}")


def _reaches(route: Route, version: Version, namespace: str, over: str) -> bool:
    """Whether requests to ``version``, as named in ``namespace``, can end in a pod of either side."""
    host = fully_qualified(version.host, namespace)
    return host == over or any(
        host == fully_qualified(ours.host, route.namespace)
        and (version.subset == ours.subset or not version.subset or not ours.subset)
        for ours in (route.stable, route.canary)
    )


def population_problems(route: Route, virtual_services: Iterable[Object], over: str = "") -> list[Problem]:
    """Each other way to either version, as a problem of the comparison."""
    return [
        Problem(
            path=way.where,
            value=way.said,
            expected=f"one population: every way to {route.stable} or {route.canary} moves along with the weights",
            remedy=_remedy(way, route),
            code=codes.OTHER_WAY.name,
        )
        for way in other_ways(route, virtual_services, over)
    ]


def _remedy(way: Way, route: Route) -> str:
    alone = "or judge by objectives alone, without compare: stable"
    if way.mirrors:
        return f"take the mirror out while the run lasts, {alone}"
    if any(way.where.startswith(f"{part} http[") for part in route.parts):
        return f"list it in target.routes, by its name, so that it moves along, {alone}"
    beside = "let its VirtualService move along (target.also), " if f" {route.namespace}/" in way.where else ""
    return f"{beside}take it out while the run lasts, {alone}"


def compares(plan: Plan) -> bool:
    """Whether anything is decided by comparing the canary with stable."""
    return any(check.compares for check in plan.spec.analysis.checks)
