"""
Admission: whether a plan may start on the objects as they are.

Every finding is collected and none hides another; each says what to do, as a command where there is one. Nothing here
asks the API: the adapter reads the objects once, so that the answer is about one moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote

from canaryd.mesh.entries import Object, annotations_of, managed_entries
from canaryd.mesh.gitops import keepers
from canaryd.mesh.hosts import fully_qualified, service_of
from canaryd.mesh.pods import Selection, deployments_of, overlap, side_of
from canaryd.mesh.route import already_there, compares, population_problems, resolve
from canaryd.mesh.templates import unlike
from canaryd.mesh.weights import MARKER, Guard, origins_of, split_of, weight_patch
from canaryd.model import codes
from canaryd.model.finding import Code, Finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import (
    EVERYTHING,
    NOTHING,
    Admission,
    Difference,
    Marker,
    Route,
    Side,
    Sides,
    Sighting,
    Version,
)

ROOT_NAMESPACE = "istio-system"
FLAGGER = "flagger.kubernetes.io/original-configuration"
ARGO = "argo-rollouts.argoproj.io/managed-by-rollouts"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    The objects around a target, as read at one moment.

    ``virtual_services`` and ``destination_rules`` of every namespace that may be listed; ``services``, ``pods`` and
    ``deployments`` of the namespaces that the two versions live in; ``rollouts`` are Argo's, if it is there.
    """

    virtual_services: Sequence[Object] = ()
    destination_rules: Sequence[Object] = ()
    services: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    deployments: Sequence[Object] = ()
    rollouts: Sequence[Object] = ()
    remarks: tuple[Finding, ...] = field(default=())


def admission(plan: Plan, virtual_service: Object, around: Surroundings) -> Admission:
    """What the plan would move. Raises Refused with every problem found."""
    resolution = resolve(virtual_service, plan)
    problems, remarks = list(resolution.problems), [*around.remarks, *resolution.remarks]
    forgiven = list(_other_owners(virtual_service, around))
    remarks += keepers(virtual_service)
    route = resolution.route
    if route is None:
        raise Refused([*problems, *(() if plan.observes else forgiven)])
    listed = _with(virtual_service, around.virtual_services)
    whole = replace(route, also=tuple(_beside(plan, route, around)))
    population = population_problems(whole, listed, _over_both(plan, route, around))
    if compares(plan):
        problems += population
    else:
        remarks += [codes.OTHER_WAY.at(one.path, one.value, level="info") for one in population]
    claims = list(_claims(virtual_service, route))
    forgiven += claims
    sides, missing = _sides(route, around)
    problems += missing
    sighting = split_of(virtual_service, route)
    if sighting.split is not None or not any(one.path.startswith(f"{route} http[") for one in resolution.problems):
        starts = list(_start(plan, virtual_service, route, sighting, claimed=bool(claims)))
        (problems if sighting.split is None else forgiven).extend(starts)
    if plan.observes:
        remarks += [codes.BESIDE.at(one.path, f"only observing beside this: {one.value}") for one in forgiven]
    else:
        problems += forgiven
    unstaffed, waits = _staffing(route, around, sides)
    problems += unstaffed
    remarks += waits
    remarks += _shadow_rules(route, around)
    if problems or sighting.split is None:
        raise Refused(dict.fromkeys(problems), remarks)
    return Admission(route, sighting.split, sides, tuple(remarks))


def _over_both(plan: Plan, route: Route, around: Surroundings) -> str:
    """
    The host that clients call, where it is none of the versions' own and its Service selects their pods all the same.

    Who is sent there goes past every weight, and is counted for neither version. Empty where there is none.
    """
    if plan.called in {fully_qualified(one.host, route.namespace) for one in (route.stable, route.canary)}:
        return ""
    name, home = service_of(plan.called, plan.namespace)
    found = next((one for one in around.services if _identity(one) == (home, name)), {})
    selector = ((found.get("spec") or {}).get("selector") or {}).items()
    sides = (selection_of(version, route.namespace, around)[0] for version in (route.stable, route.canary))
    over = any(selector and one.namespace == home and selector <= one.labels.items() for one in sides)
    return plan.called if over else ""


def _beside(plan: Plan, route: Route, around: Surroundings) -> Iterator[Route]:
    """The routes in the plan's other objects: ways to both versions that move along."""
    for other in plan.parts[1:]:
        for found in around.virtual_services:
            if _identity(found) == (route.namespace, other.spec.target.virtual_service):
                also = resolve(found, other).route
                if also is not None:
                    yield also


def _with(virtual_service: Object, listed: Sequence[Object]) -> list[Object]:
    """Those listed, but the target itself as it was read."""
    return [virtual_service, *(one for one in listed if _identity(one) != _identity(virtual_service))]


def _identity(found: Object) -> tuple[str, str]:
    return found["metadata"].get("namespace") or "", found["metadata"]["name"]


def _start(
    plan: Plan, virtual_service: Object, route: Route, sighting: Sighting, *, claimed: bool
) -> Iterator[Problem]:
    """
    A run starts where stable holds everything, or, if the plan says so, at or below its first step.

    ``claimed``: another run's marker is there, and it may be that run which holds the weights.
    """
    split, first = sighting.split, plan.spec.steps[0].weight
    if split is None:
        expected = f"one split between {route.stable} and {route.canary}"
        yield Problem(str(route), sighting.why, expected, code=codes.NO_SPLIT.name)
    elif split == EVERYTHING:
        yield already_there(str(route), route.canary)
    elif split != NOTHING and not (plan.spec.start.from_ == "current" and split <= first):
        remedy = "start from here: `start: {from: current}` in the plan, or give stable everything"
        if claimed:
            remedy = "only when nothing else works on it any more"
        elif split > first:
            remedy = "give stable everything"
        yield Problem(
            path=str(route),
            value=f"{split} at {route.canary}",
            expected=f"{route.stable} with all the traffic at the start",
            remedy=remedy,
            code=codes.NOT_AT_STABLE.name,
            command=repair(virtual_service, route),
        )


def repair(virtual_service: Object, route: Route) -> str:
    """The command that gives stable everything."""
    unmarked = Marker("", 0, NOTHING, NOTHING, route.stable, route.canary, 0)
    patch = weight_patch(virtual_service, route, unmarked, Guard.DESTINATIONS)
    body = json.dumps(
        [operation for operation in patch if operation["path"].startswith("/spec/")], separators=(",", ":")
    )
    where = f"virtualservice {route.virtual_service} -n {route.namespace}"
    return f"kubectl patch {where} --type=json -p {quote(body)}"


def _claims(virtual_service: Object, route: Route) -> Iterator[Problem]:
    """A marker says that a run works on entries here: of another plan, or of a run that did not clean up."""
    for key in annotations_of(virtual_service):
        if not key.startswith(f"{MARKER}/"):
            continue
        other = key.removeprefix(f"{MARKER}/")
        claimed = set(origins_of(virtual_service, other))
        ours = {str(found.entry) for _, found in managed_entries(virtual_service, route) if found is not None}
        if other != route.plan and claimed and not claimed & ours:
            continue
        holder = f"plan {other}" if other != route.plan else "an earlier run of this plan"
        marker = _marker_in(annotations_of(virtual_service)[key])
        yield Problem(
            path=f"{route} annotation {key}",
            value=f"claimed by {holder}, run {marker.run if marker else 'unknown'}",
            expected="entries that no other run works on",
            remedy=f"wait for its end or abort it{_where_it_lives(route, marker)}; if it is gone for good",
            code=codes.CLAIMED.name,
            command=f"kubectl annotate virtualservice {route.virtual_service} -n {route.namespace} {key}-",
        )


def _marker_in(text: str) -> Marker | None:
    try:
        return Marker.parse(text)
    except ValueError:
        return None


def _where_it_lives(route: Route, marker: Marker | None) -> str:
    """Where a person finds the run of a marker: two canaryds that know nothing of each other meet in this sentence."""
    if marker is None:
        return ""
    if marker.kept == "canaryrun":
        return f", see: kubectl get canaryrun {marker.run} -n {route.namespace}"
    return ", where somebody started it outside of the cluster (canaryd run or serve): canaryd status"


def _other_owners(virtual_service: Object, around: Surroundings) -> Iterator[Problem]:
    """
    Marks of Flagger and Argo Rollouts, which set weights themselves.

    Sources: Flagger, pkg/router/istio.go; Argo Rollouts, utils/istio and docs/features/traffic-management/istio.md.
    """
    namespace, name = _identity(virtual_service)
    where = f"VirtualService {namespace}/{name}"
    owners = _flagger_owners(virtual_service)
    if owned_by_flagger(virtual_service):
        yield Problem(
            where,
            ", ".join(owners) or f"annotation {FLAGGER}",
            "weights that Flagger does not set",
            *_letting_go(codes.FLAGGER, "canaries.flagger.app", namespace, name, "" if owners else FLAGGER),
        )
    rollouts = [found["metadata"]["name"] for found in around.rollouts if rollout_moves(found, namespace, name)]
    if rollouts or ARGO in annotations_of(virtual_service):
        yield Problem(
            where,
            ", ".join(f"Rollout {one}" for one in rollouts) or f"annotation {ARGO}",
            "weights that Argo Rollouts does not set",
            *_letting_go(codes.ARGO_ROLLOUTS, "rollouts.argoproj.io", namespace, name, "" if rollouts else ARGO),
        )


def owned_by_flagger(virtual_service: Object) -> bool:
    """Whether Flagger has left its mark on the VirtualService."""
    return bool(_flagger_owners(virtual_service)) or FLAGGER in annotations_of(virtual_service)


def _flagger_owners(virtual_service: Object) -> list[str]:
    return [
        f"{one['kind']} {one['name']}"
        for one in virtual_service["metadata"].get("ownerReferences") or ()
        if str(one.get("apiVersion", "")).startswith("flagger.app/")
    ]


def _letting_go(code: Code, kind: str, namespace: str, name: str, mark: str) -> tuple[str, str, str]:
    """
    How one of two that set the same weights lets go: in words, the code, and as a command.

    ``mark`` is what the other may have left behind.
    """
    look = f"one of the two must let go; see: kubectl get {kind} -n {namespace}"
    if not mark:
        return look, code.name, ""
    return (
        f"{look}; if it is gone for good",
        code.name,
        f"kubectl annotate virtualservice {name} -n {namespace} {mark}-",
    )


def rollout_moves(rollout: Object, namespace: str, name: str) -> bool:
    """Whether an Argo Rollout sets the weights of that VirtualService."""
    strategy = ((rollout.get("spec") or {}).get("strategy") or {}).get("canary") or {}
    istio = (strategy.get("trafficRouting") or {}).get("istio") or {}
    named = [istio.get("virtualService"), *(istio.get("virtualServices") or ())]
    home = rollout["metadata"].get("namespace") or namespace
    return any(one and _full(str(one.get("name")), home) == (namespace, name) for one in named)


def _full(name: str, namespace: str) -> tuple[str, str]:
    """Argo Rollouts names a VirtualService elsewhere as ``name.namespace``."""
    short, _, elsewhere = name.partition(".")
    return elsewhere or namespace, short


def selection_of(version: Version, namespace: str, around: Surroundings) -> tuple[Selection, list[Problem]]:
    """
    The labels that ``version`` means: its Service's selector and its subset's labels; with what is missing for it.

    Source: Istio, networking/v1alpha3/destination_rule.proto, ``Subset.labels``.
    """
    name, home = service_of(version.host, namespace)
    service = next((found for found in around.services if _identity(found) == (home, name)), None)
    if service is None:
        why = f"no Service {home}/{name}" if name else "not a service of this cluster"
        known = sorted(_identity(found)[1] for found in around.services if _identity(found)[0] == home)
        return Selection(home or namespace, {}, why), [
            Problem(
                "spec.target.host",
                version.host,
                "the host of a Service, behind which canaryd can see the pods",
                f"{why}; Services there: {', '.join(known) or 'none'}",
                codes.SERVICE_MISSING.name,
            )
        ]
    selector: Mapping[str, str] = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        why = f"Service {home}/{name} selects no pods"
        return Selection(home, {}, why), [
            Problem(
                f"Service {home}/{name}",
                "no selector",
                "a selector, by which pods are found",
                code=codes.SERVICE_WITHOUT_SELECTOR.name,
            )
        ]
    if not version.subset:
        return Selection(home, selector), []
    subsets, rule = subsets_of(version.host, namespace, around.destination_rules)
    if version.subset not in subsets:
        return Selection(home, {}, f"no subset {version.subset} of {version.host}"), [
            _missing_subset(version, rule, tuple(subsets), home)
        ]
    return Selection(home, {**selector, **subsets[version.subset]}), []


def _missing_subset(version: Version, rule: str, subsets: tuple[str, ...], namespace: str) -> Problem:
    found = f"subsets there: {', '.join(subsets) or 'none'}"
    subset = {"name": version.subset, "labels": {"version": version.subset}}
    body = json.dumps([{"op": "add", "path": "/spec/subsets/-", "value": subset}], separators=(",", ":"))
    home, _, name = rule.partition("/")
    return Problem(
        path=f"DestinationRule {rule}" if rule else f"DestinationRule of {version.host}",
        value=f"no subset {version.subset}; {found}",
        expected="a subset of the host; requests to a missing one fail with 503",
        remedy="name one of those in the plan, or add it"
        if rule
        else f"there is no DestinationRule for {version.host}: write one, in namespace {namespace}, with this subset",
        code=codes.SUBSET_MISSING.name,
        command=f"kubectl patch destinationrule {name} -n {home} --type=json -p '{body}'" if rule else "",
    )


def subsets_of(host: str, namespace: str, rules: Iterable[Object]) -> tuple[dict[str, Mapping[str, str]], str]:
    """
    The subsets that a client in ``namespace`` sees for ``host``, name to labels, and the DestinationRule they are in.

    The first namespace that has a rule wins and nothing is merged across namespaces; within one, the most specific host
    wins and rules of the same host are merged, the first subset of a name counting.
    Source: Istio, pilot/pkg/model/push_context.go destinationRule, destination_rule.go mergeDestinationRule.
    """
    chosen = rules_in_force(host, namespace, rules)
    subsets: dict[str, Mapping[str, str]] = {}
    for rule in chosen:
        for subset in (rule.get("spec") or {}).get("subsets") or ():
            if name := (subset or {}).get("name"):
                subsets.setdefault(name, subset.get("labels") or {})
    return subsets, "/".join(_identity(chosen[0])) if chosen else ""


def rules_in_force(host: str, namespace: str, rules: Iterable[Object]) -> list[Object]:
    """The DestinationRules whose merger a client in ``namespace`` sees for ``host``; see :func:`subsets_of`."""
    full = fully_qualified(host, namespace)
    _, home = service_of(host, namespace)
    known = [rule for rule in rules if not (rule.get("spec") or {}).get("workloadSelector")]
    for place in dict.fromkeys((namespace, home, ROOT_NAMESPACE)):
        fitting = [(_specific(rule, full), rule) for rule in known if _identity(rule)[0] == place]
        best = max((rank for rank, _ in fitting), default=0)
        if best:
            return [rule for rank, rule in fitting if rank == best]
    return []


def _specific(rule: Object, full: str) -> int:
    """How exactly the rule's host means ``full``; 0 where it does not."""
    host = (rule.get("spec") or {}).get("host") or ""
    if host.startswith("*"):
        return len(host) if full.endswith(host[1:]) else 0
    return 10_000 if fully_qualified(host, _identity(rule)[0]) == full else 0


def _shadow_rules(route: Route, around: Surroundings) -> list[Finding]:
    """Namespaces whose own DestinationRule hides ours from their clients, and has not both subsets."""
    remarks = []
    for version in (route.stable, route.canary):
        full = fully_qualified(version.host, route.namespace)
        seen_from = {route.namespace, service_of(version.host, route.namespace)[1], ROOT_NAMESPACE}
        remarks += [
            codes.SUBSET_MISSING_FOR_CLIENTS.at(
                f"DestinationRule {'/'.join(_identity(rule))}",
                f"lacks subset {version.subset}: clients in its namespace will get 503 for it",
                level="warning",
            )
            for rule in around.destination_rules
            if version.subset
            and _identity(rule)[0] not in seen_from
            and _specific(rule, full) == 10_000
            and version.subset not in {one.get("name") for one in rule["spec"].get("subsets") or ()}
        ]
    return remarks


def sides_of(route: Route, around: Surroundings) -> Sides:
    """The pods behind both versions."""
    return _sides(route, around)[0]


def _sides(route: Route, around: Surroundings) -> tuple[Sides, list[Problem]]:
    stable, stable_problems = selection_of(route.stable, route.namespace, around)
    canary, canary_problems = selection_of(route.canary, route.namespace, around)
    sides = Sides(
        stable=side_of(stable, around.pods, around.deployments),
        canary=side_of(canary, around.pods, around.deployments),
    )
    return replace(sides, unlike=_unlike(stable, canary, sides, around)), [*stable_problems, *canary_problems]


def _unlike(stable: Selection, canary: Selection, sides: Sides, around: Surroundings) -> tuple[Difference, ...]:
    """In what the pod templates of both versions differ."""
    found = [deployments_of(one, around.pods, around.deployments) for one in (stable, canary)]
    others = {name for side in (sides.stable, sides.canary) for name in side.workloads} - {*found[0], *found[1]}
    if others:
        known = ", ".join(sorted(others))
        return (Difference("", f"{known} is no Deployment, so that what it runs cannot be compared"),)
    return unlike(found[0].values(), found[1].values())


def _staffing(route: Route, around: Surroundings, sides: Sides) -> tuple[list[Problem], list[Finding]]:
    """
    Both versions select pods, and none of the pods twice.

    A canary whose pods are on their way is a remark: the run waits for them. One that will never have any is a problem.
    """
    problems: list[Problem] = []
    remarks: list[Finding] = []
    stable, stable_missing = selection_of(route.stable, route.namespace, around)
    canary, canary_missing = selection_of(route.canary, route.namespace, around)
    if not stable_missing and not sides.stable.ready:
        problems.append(_unstaffed(route, route.stable, stable, sides.stable))
    if not canary_missing and not sides.canary.ready:
        if sides.canary.desired:
            why = f": {sides.canary.why}" if sides.canary.why else ""
            said = f"{route.canary} selects no ready pod yet; the run waits for it{why}"
            remarks.append(codes.NOT_READY_YET.at(str(route), said))
        else:
            problems.append(_unstaffed(route, route.canary, canary, sides.canary))
    if not (stable_missing or canary_missing) and (both := overlap(stable, canary, around.pods)):
        problems.append(
            Problem(
                f"{route.stable} and {route.canary}",
                f"{', '.join(both[:3])}{' and more' if len(both) > 3 else ''} in both",
                "versions that share no pod: what is counted for one must not be counted for the other",
                "give the subsets labels that tell the pods apart",
                codes.PODS_IN_BOTH.name,
            )
        )
    return problems, remarks


def _unstaffed(route: Route, version: Version, selection: Selection, side: Side) -> Problem:
    """Where its Deployments are scaled to nothing, they are what there is to scale; pods alone cannot be made."""
    scaling = [f"kubectl scale deployment {name} -n {side.namespace} --replicas=1" for name in side.workloads]
    labels = ",".join(f"{key}={value}" for key, value in sorted(selection.labels.items()))
    return Problem(
        str(route),
        f"{version} selects no ready pod ({labels})",
        "two versions with ready pods",
        f"see: kubectl get deployments,pods -n {selection.namespace} -l {labels}",
        codes.NO_READY_PODS.name,
        " && ".join(scaling) if not side.desired else "",
    )
