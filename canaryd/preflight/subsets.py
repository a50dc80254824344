"""
Subsets: which DestinationRule each caller sees, and whether it treats both versions alike.

Each namespace may have a rule of its own for the host, and it hides the service's: what is right for one caller can be
503 for another. Admission looks from the route's namespace; this looks from where the requests come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.kube import DESTINATION_RULES, PODS
from canaryd.mesh.hosts import service_of
from canaryd.model import codes
from canaryd.model.finding import Code, Finding
from canaryd.model.traffic import Version
from canaryd.preflight.behind import behind_caller
from canaryd.preflight.destinations import destined
from canaryd.preflight.heard import Caller
from canaryd.preflight.rules import Client, InForce, Subset, rule_for, rules_about
from canaryd.preflight.saying import patching, some
from canaryd.preflight.survey import Object, Survey, labels_of, name_of, spec_of

TITLE = "Subsets"

RULE_NOT_EXPORTED = Code(
    "RuleNotExported",
    "error",
    "The service's DestinationRule is not exported to a namespace from which requests come: its clients know no subset "
    "of the host and get 503 (NC) from the first request that names one.",
    "Export the rule to that namespace, or to all (`exportTo` left out).",
)
SUBSET_TWICE = Code(
    "SubsetTwice",
    "warning",
    "Two DestinationRules for the same host define a version's subset with different labels. The older rule's counts, "
    "the other's does nothing; whoever deletes the older one changes which pods serve the version.",
    "Take the subset out of the younger rule.",
)
POLICIES_DIFFER = Code(
    "PoliciesDiffer",
    "warning",
    "The trafficPolicy in force differs between stable and canary: what is compared is the policies (connection "
    "limits, ejection, balancing) as well as the versions (Istio takes a subset's blocks in place of the rule's).",
    "Give both the same policy while the run lasts.",
)

CODES = (RULE_NOT_EXPORTED, SUBSET_TWICE, POLICIES_DIFFER)


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees, and how it is called."""

    caller: str
    client: Client
    seen: Mapping[Version, InForce] = field(hash=False)


def check(survey: Survey) -> Iterator[Finding]:
    """What callers see that admission, which looks from the route's own namespace, does not."""
    if survey.route is None or DESTINATION_RULES in survey.unread:
        return
    found = views(survey)
    yield from _unseen(survey, found)
    yield from _twice(survey)
    yield from _policies(survey, found)


def views(survey: Survey) -> list[View]:
    """The versions as each caller that was heard sees them; from the route's own namespace where none was."""
    clients = [(str(one), _client(survey, one)) for one in survey.heard.callers]
    clients = clients or [(f"a caller in {survey.namespace}", Client(survey.namespace))]
    return [
        View(name, one, {each: rule_for(survey, each.host, one) for each in survey.versions}) for name, one in clients
    ]


def _client(survey: Survey, caller: Caller) -> Client:
    pods = behind_caller(survey, caller).pods if PODS not in survey.unread else ()
    return Client(caller.namespace, labels_of(pods[0]) if pods else {})


def _unseen(survey: Survey, found: list[View]) -> Iterator[Finding]:
    """Versions whose subset a caller does not see: its requests to it fail."""
    blind: dict[tuple[Version, str, str], list[View]] = {}
    for view in found:
        for version in survey.versions:
            if _is_unseen(survey, view, version):
                rules = view.seen[version].rules
                key = version, view.client.namespace, name_of(rules[0]) if rules else ""
                blind.setdefault(key, []).append(view)
    for (version, place, _), unseeing in blind.items():
        callers = some(view.caller for view in unseeing)
        rules = unseeing[0].seen[version].rules
        if rules:
            yield _lacking(survey, version, callers, rules[0])
        else:
            yield from _not_exported(survey, version, place, callers)


def _is_unseen(survey: Survey, view: View, version: Version) -> bool:
    """Whether the caller does not see the subset; what nobody sees in the route's namespace is admission's to say."""
    seen = view.seen[version]
    if not version.subset or version.subset in seen.subsets:
        return False
    at_home = rule_for(survey, version.host, Client(survey.namespace))
    return view.client.namespace != survey.namespace or seen.rules != at_home.rules


def _lacking(survey: Survey, version: Version, callers: str, rule: Object) -> Finding:
    host = str(spec_of(rule).get("host") or "")
    hides = (
        f"a rule for {host}, which hides the service's own" if host.startswith("*") else "in force for these callers"
    )
    return codes.SUBSET_MISSING_FOR_CLIENTS.at(
        f"DestinationRule {name_of(rule)}",
        f"lacks subset {version.subset} and is {hides}: {callers} will get 503 for it",
        "" if host.startswith("*") else _adding(survey, version, rule),
    )


def _adding(survey: Survey, version: Version, rule: Object) -> str:
    """The command that adds the subset as the service's own rule has it; empty where that has none."""
    own = own_rule(survey, version).subsets.get(version.subset)
    if own is None:
        return ""
    subset = spec_of(own.rule)["subsets"][own.index]
    is_list = bool(spec_of(rule).get("subsets"))
    return patching(
        "destinationrule",
        rule,
        [{"op": "add", "path": f"/spec/subsets{'/-' if is_list else ''}", "value": subset if is_list else [subset]}],
    )


def own_rule(survey: Survey, version: Version) -> InForce:
    """What is in force in the namespace of the version's Service."""
    return rule_for(survey, version.host, Client(service_of(version.host, survey.namespace)[1]))


def _not_exported(survey: Survey, version: Version, place: str, callers: str) -> Iterator[Finding]:
    for rule in rules_about(survey, version.host):
        names = {(each or {}).get("name") for each in spec_of(rule).get("subsets") or ()}
        if version.subset not in names:
            continue
        selector = spec_of(rule).get("workloadSelector")
        listed = bool(spec_of(rule).get("exportTo"))
        add = {"op": "add", "path": f"/spec/exportTo{'/-' if listed else ''}", "value": place if listed else ["*"]}
        why = "has a workloadSelector, which keeps it in its own namespace" if selector else "is not exported to it"
        yield RULE_NOT_EXPORTED.at(
            f"DestinationRule {name_of(rule)}",
            f"defines subset {version.subset}, and namespace {place} does not see it: it {why}; {callers} will get 503",
            "" if selector else patching("destinationrule", rule, [add]),
        )
        return


def _twice(survey: Survey) -> Iterator[Finding]:
    for version in survey.versions:
        seen = own_rule(survey, version)
        for other in seen.ignored:
            first = seen.subsets[other.name]
            if other.name != version.subset or other.labels == first.labels:
                continue
            path = f"/spec/subsets/{other.index}"
            yield SUBSET_TWICE.at(
                f"DestinationRule {name_of(other.rule)}",
                f"defines subset {other.name} as {_labels(other)}, and the older DestinationRule {name_of(first.rule)} "
                f"as {_labels(first)}: the older one's counts",
                patching(
                    "destinationrule",
                    other.rule,
                    [{"op": "test", "path": f"{path}/name", "value": other.name}, {"op": "remove", "path": path}],
                ),
            )


def _labels(subset: Subset) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(subset.labels.items())) or "all pods"


def _policies(survey: Survey, found: list[View]) -> Iterator[Finding]:
    """Blocks that differ between the versions; each canary's rule is named once, with the first caller that sees it."""
    stable, canary = survey.versions
    ports = called_ports(survey)
    told: set[str] = set()
    for view in found:
        of_stable, of_canary = view.seen[stable], view.seen[canary]
        differing = sorted({name for port in ports for name in _differing(of_stable, stable, of_canary, canary, port)})
        rule = next(iter(of_canary.rules or of_stable.rules), None)
        if not differing or rule is None or name_of(rule) in told:
            continue
        told.add(name_of(rule))
        yield POLICIES_DIFFER.at(
            f"DestinationRule {name_of(rule)}",
            f"gives {canary} another trafficPolicy than {stable} ({', '.join(differing)}), as {view.caller} sees it: "
            "differences may be the policies' doing",
            _aligning(of_stable, stable, of_canary, canary),
        )


def called_ports(survey: Survey) -> list[int | None]:
    """The ports of the versions' Services that the entries send to, each once; None where it is not known which."""
    return list(dict.fromkeys((way.port or {}).get("port") for way in destined(survey))) or [None]


def _differing(
    of_stable: InForce, stable: Version, of_canary: InForce, canary: Version, port: int | None
) -> Iterator[str]:
    ours, theirs = of_canary.blocks(canary.subset, port), of_stable.blocks(stable.subset, port)
    yield from (name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _aligning(of_stable: InForce, stable: Version, of_canary: InForce, canary: Version) -> str:
    """The command that gives the canary what stable has; empty where they have it at different levels."""
    operations: list[dict[str, Any]] = []
    ours, theirs = of_canary.subsets.get(canary.subset), of_stable.subsets.get(stable.subset)
    if ours and theirs and of_canary.policy == of_stable.policy:
        rule, path, had, wanted = ours.rule, f"/spec/subsets/{ours.index}", ours.policy, theirs.policy
        operations.append({"op": "test", "path": f"{path}/name", "value": ours.name})
    elif of_canary.rules and not (ours or theirs):
        rule, path, had, wanted = of_canary.rules[0], "/spec", of_canary.policy, of_stable.policy
    else:
        return ""
    if wanted:
        operations.append({"op": "add", "path": f"{path}/trafficPolicy", "value": wanted.content})
    elif had:
        operations.append({"op": "remove", "path": f"{path}/trafficPolicy"})
    return patching("destinationrule", rule, operations)
