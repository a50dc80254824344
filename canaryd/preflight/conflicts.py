"""
Who else routes the host: other VirtualServices and HTTPRoutes, of which Istio obeys one and says nothing of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from canaryd.kube import VIRTUAL_SERVICES
from canaryd.mesh.entries import HttpEntry, http_entries, managed_entries
from canaryd.mesh.hosts import fully_qualified
from canaryd.mesh.route import compares, takes_everything
from canaryd.mesh.routing import (
    MESH,
    age_of,
    claims,
    covers,
    exported_to,
    gateways_of,
    hosts_of,
    in_order,
    namespace_of,
    overlap,
    seen_from,
    speaks_for,
)
from canaryd.model.finding import Code, Finding, Level
from canaryd.preflight.fronts import Front, fronts
from canaryd.preflight.kinds import GATEWAYS, HTTP_ROUTES
from canaryd.preflight.saying import named, patching, some
from canaryd.preflight.survey import Object, Survey, name_of, spec_of

TITLE = "Who else routes the host"

NOT_IN_FORCE = Code(
    "VirtualServiceNotInForce",
    "error",
    "Another VirtualService has the same host and comes first: sidecars obey that one alone and drop the plan's ("
    "IST0109; Kiali: KIA1106). Weights would be written and move nothing. "
    "It is a warning where that is so for a further host only.",
    "Bring what both say into one of them and name that one in the plan; the command takes the other one's claim away, "
    "so take over first what it says.",
)
OTHER_NOT_IN_FORCE = Code(
    "OtherNotInForce",
    "warning",
    "Another VirtualService has the same host and is dropped by sidecars in favour of the plan's (IST0109, KIA1106). "
    "Who wrote it believes it to be in force, and it will be at once where the plan's is deleted and applied again.",
    "Bring what it says into the plan's VirtualService, then take its claim to the host away (the command does that).",
)
CATCH_ALL_BEFORE = Code(
    "CatchAllAtGateway",
    "error",
    "On a gateway VirtualServices of one host are merged, their catch-alls at the end, where the first of them wins: "
    "that of an older VirtualService takes what the plan's entry was meant for, and the plan's entry is never reached. "
    "A younger one is a warning: Istio documents no order across VirtualServices.",
    "Keep one catch-all for the host: give the other entry a match, or take its VirtualService off the gateway.",
)
HTTP_ROUTE_ON_HOST = Code(
    "HttpRouteOnHost",
    "error",
    "An HTTPRoute is attached to the Service that the VirtualService routes (GAMMA), or to the gateway that it is "
    "bound to. Istio does not support both for one host: for those who see the HTTPRoute it may take the "
    "VirtualService's place, and weights move nothing.",
    "Keep one of the two: delete the HTTPRoute, after its rules are in the VirtualService.",
)
HTTP_ROUTE_BESIDE = Code(
    "HttpRouteBeside",
    "error",
    "An HTTPRoute of a gateway sends requests to the Service behind the versions, past the plan's weights: they reach "
    "all of its pods, and stable and canary do not serve the same people. Where nothing is compared it is only said.",
    "Lead the gateway's requests through a VirtualService that the plan moves, or delete the HTTPRoute.",
)
NO_ROOT = Code(
    "DelegateWithoutRoot",
    "error",
    "The plan's VirtualService has no hosts, so it is a delegate, and no VirtualService that sees it hands over to it: "
    "no request ever comes to its entries.",
    "Add it as `delegate` to an http entry of a root VirtualService, and export it to the root's namespace.",
)

CODES = (NOT_IN_FORCE, OTHER_NOT_IN_FORCE, CATCH_ALL_BEFORE, HTTP_ROUTE_ON_HOST, HTTP_ROUTE_BESIDE, NO_ROOT)


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of others that route the plan's host, and of a delegate that nobody uses."""
    if survey.virtual_service is None or survey.route is None:
        return
    before = fronts(survey)
    yield from _roots(survey, before)
    for front in before:
        if MESH in front.gateways:
            yield from _in_the_mesh(survey, front)
        yield from _at_gateways(survey, front)
    yield from _http_routes(survey, before)


def _roots(survey: Survey, before: Iterable[Front]) -> Iterator[Finding]:
    ours = survey.virtual_service
    if ours is None or VIRTUAL_SERVICES in survey.unread or spec_of(ours).get("hosts"):
        return
    where = f"VirtualService {name_of(ours)}"
    roots = list(before)
    seeing = [front for front in roots if seen_from(front.namespace, ours, survey.mesh)]
    if not roots:
        yield NO_ROOT.at(where, "has no hosts, and no VirtualService delegates to it: no request ever comes to it")
    elif not seeing:
        needed = sorted({front.namespace for front in roots} | {namespace_of(ours)})
        yield NO_ROOT.at(
            where,
            f"is not exported to the namespace of {some(roots)}, which delegates to it: Istio drops that",
            patching("virtualservice", ours, {"spec": {"exportTo": needed}}),
        )


def _in_the_mesh(survey: Survey, front: Front) -> Iterator[Finding]:
    """Each other claimant of a host of ours, as the clients' sidecars see it."""
    said: set[str] = set()
    everywhere = [front.found, *(one for one in survey.all(VIRTUAL_SERVICES) if not _same(one, front.found))]
    for host in _called(survey, front):
        rivals = [one for one in everywhere if claims(one, host)]
        for place in survey.client_namespaces:
            claiming = speaks_for(host, in_order(rivals, place, survey.mesh))
            if len(claiming) < 2 or not any(_same(one, front.found) for one in claiming):
                continue
            first = claiming[0]
            if not _same(first, front.found):
                if name_of(first) not in said:
                    said.add(name_of(first))
                    yield NOT_IN_FORCE.at(
                        str(front),
                        f"not in force for {host}: VirtualService {name_of(first)} has it too and "
                        f"{_why(survey, first, front, host)}, so that sidecars in namespace {place} obey that one and "
                        "drop this (IST0109)",
                        _disclaim(first, host),
                        level=None if host in survey.hosts or len(front.hosts) == 1 else "warning",
                    )
                continue
            for other in claiming[1:]:
                if name_of(other) not in said and _best(other, host) == _best(front.found, host):
                    said.add(name_of(other))
                    yield OTHER_NOT_IN_FORCE.at(
                        f"VirtualService {name_of(other)}",
                        f"has the host {host} too and is dropped in favour of {front} (IST0109): what it says is not "
                        "in force",
                        _disclaim(other, host),
                    )


def _called(survey: Survey, front: Front) -> tuple[str, ...]:
    """The hosts that it claims: as they are written, and those of the versions that a wildcard has."""
    inside = [one for one in survey.hosts if any(covers(each, one) for each in front.hosts)]
    return tuple(dict.fromkeys([*inside, *front.hosts]))


def _why(survey: Survey, first: Object, front: Front, host: str) -> str:
    """Why ``first`` is obeyed and not the front."""
    best = _best(first, host)
    if best != _best(front.found, host):
        return f"names it more exactly ({best})"
    if exported_to(first, survey.mesh) != exported_to(front.found, survey.mesh):
        return "is exported to that namespace by name"
    return "is older" if age_of(first)[0] < age_of(front.found)[0] else "comes before it by its name, being as old"


def _best(virtual_service: Object, host: str) -> str:
    """By which of its hosts it claims ``host``: a written one, else the longest wildcard."""
    fitting = [one for one in hosts_of(virtual_service) if covers(one, host)]
    return max(fitting, key=lambda one: (not one.startswith("*"), len(one)))


def _disclaim(other: Object, host: str) -> str:
    """The command after which ``other`` does not claim ``host``: it loses the host, or, with its last, goes."""
    hosts = list(spec_of(other).get("hosts") or ())
    indices = [index for index, full in enumerate(hosts_of(other)) if covers(full, host)]
    if len(indices) == len(hosts):
        return f"kubectl delete {named('virtualservice', other)}"
    operations = [
        operation
        for index in reversed(indices)
        for operation in (
            {"op": "test", "path": f"/spec/hosts/{index}", "value": hosts[index]},
            {"op": "remove", "path": f"/spec/hosts/{index}"},
        )
    ]
    return patching("virtualservice", other, operations)


def _at_gateways(survey: Survey, front: Front) -> Iterator[Finding]:
    """Other catch-alls for a host of ours on a gateway of ours, where one of ours is meant to be the last word."""
    gateways = {one for one in front.gateways if one != MESH}
    last = next(iter(_catch_alls(_entries(survey, front))), None)
    if not gateways or last is None:
        return
    for other in survey.all(VIRTUAL_SERVICES):
        shared = gateways & set(gateways_of(other))
        hosts = [one for one in front.hosts for each in hosts_of(other) if one == each]
        taking = next(iter(_catch_alls(http_entries(other))), None)
        if _same(other, front.found) or not shared or not hosts or taking is None:
            continue
        first = age_of(other) < age_of(front.found)
        yield CATCH_ALL_BEFORE.at(
            f"VirtualService {name_of(other)} {taking}",
            f"takes every request for {hosts[0]} on gateway {min(shared)}, "
            + (
                f"and is older: {last} of {front} is never reached there"
                if first
                else f"as {last} of {front} does, which is older and wins as things are; Istio documents no order"
            ),
            _disclaim(other, hosts[0]),
            level="error" if first else "warning",
        )


def _entries(survey: Survey, front: Front) -> list[HttpEntry]:
    """The entries of ``front`` that are the plan's, or lead to them."""
    if front.entries:
        return [entry for entry in http_entries(front.found) if entry.index in front.entries]
    if survey.route is None:
        return []
    return [entry for _, entry in managed_entries(front.found, survey.route) if entry is not None]


def _catch_alls(entries: Iterable[HttpEntry]) -> Iterator[HttpEntry]:
    return (entry for entry in entries if takes_everything(entry))


def _http_routes(survey: Survey, before: Iterable[Front]) -> Iterator[Finding]:
    called = {host for front in before for host in front.hosts} | set(survey.hosts)
    gateways = {one for front in before for one in front.gateways}
    for route in survey.all(HTTP_ROUTES):
        home, parents = namespace_of(route), _parents(route)
        services = [fully_qualified(f"{name}.{place}", home) for kind, place, name in parents if kind == "Service"]
        attached = [one for one in services if any(overlap(one, host) for host in called)]
        shared = [
            f"{place}/{name}"
            for kind, place, name in parents
            if kind == "Gateway" and f"{place}/{name}" in gateways and survey.one(GATEWAYS, place, name) is None
        ]
        away = f"kubectl delete {named(str(HTTP_ROUTES), route)}"
        if attached and MESH in gateways:
            said = f"is attached to Service {attached[0]}, which {survey.route} routes too: Istio supports one of them"
            yield HTTP_ROUTE_ON_HOST.at(f"HTTPRoute {name_of(route)}", said, away)
        elif shared and _meets(route, called):
            said = (
                f"is attached to Gateway {shared[0]}, to which {survey.route} is bound, too: Istio supports one of them"
            )
            yield HTTP_ROUTE_ON_HOST.at(f"HTTPRoute {name_of(route)}", said, away)
        elif any(kind != "Service" for kind, _, _ in parents) and (reached := _reached(route) & set(survey.hosts)):
            said = f"sends requests of a gateway to {min(reached)}, past the weights of {survey.route}"
            level: Level | None = None if compares(survey.plan) else "info"
            yield HTTP_ROUTE_BESIDE.at(f"HTTPRoute {name_of(route)}", said, away, level=level)


def _meets(route: Object, called: Iterable[str]) -> bool:
    """Whether a host of the HTTPRoute's is one of ``called``; without any it is for all of them."""
    names = [str(one) for one in spec_of(route).get("hostnames") or ("*",)]
    return any(overlap(name, host) for name in names for host in called)


def _parents(route: Object) -> list[tuple[str, str, str]]:
    """Kind, namespace and name of what it is attached to, without what has refused it."""
    home = namespace_of(route)
    refused = [
        one.get("parentRef")
        for one in (route.get("status") or {}).get("parents") or ()
        if any(each.get("type") == "Accepted" and each.get("status") == "False" for each in one.get("conditions") or ())
    ]
    return [
        (str(one.get("kind") or "Gateway"), str(one.get("namespace") or home), str(one.get("name") or ""))
        for one in spec_of(route).get("parentRefs") or ()
        if one not in refused
    ]


def _reached(route: Object) -> set[str]:
    """The hosts of the Services that it sends requests to."""
    home = namespace_of(route)
    return {
        fully_qualified(f"{one.get('name')}.{one.get('namespace') or home}", home)
        for rule in spec_of(route).get("rules") or ()
        for one in (rule or {}).get("backendRefs") or ()
        if (one.get("kind") or "Service") == "Service" and one.get("weight") != 0
    }


def _same(one: Object, other: Object) -> bool:
    return (namespace_of(one), one["metadata"]["name"]) == (namespace_of(other), other["metadata"]["name"])
