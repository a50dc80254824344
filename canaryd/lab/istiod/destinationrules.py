"""
DestinationRules: which of them a client sees for a host.

Namespaces are searched in order, the client's, the service's, the root one, and the search ends at the first that has
any rule for the host: rules of two namespaces are never merged, so a rule in the client's namespace that lacks a subset
takes that subset away from this client (503, flag NC). Within one namespace the most specific host counts, and rules
of the same host are merged: their subsets are put together (of two of one name the older stands), and the oldest
`trafficPolicy` holds.

Sources: Istio pilot/pkg/model/push_context.go (destinationRule, setDestinationRules), destination_rule.go
(mergeDestinationRule), sidecar.go (DestinationRule: workloadSelector).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from canaryd.lab.istiod.hosts import covers, rule_host, specificity
from canaryd.lab.istiod.objects import namespace_of, only, where_of
from canaryd.lab.istiod.proxy import ROOT_NAMESPACE, Proxy

Json = dict[str, Any]
PUBLIC = "*"
RULE_FIELDS = {"host", "subsets", "exportTo", "trafficPolicy", "workloadSelector"}


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset of a host, and where it is written."""

    name: str
    labels: Mapping[str, str]
    policy: Json
    where: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What DestinationRules say of one host to one client; an empty one where there is none."""

    policy: Json = field(default_factory=dict)
    subsets: Mapping[str, Subset] = field(default_factory=dict)
    where: str = ""
    exported: frozenset[str] = frozenset({PUBLIC})
    selector: Mapping[str, str] | None = None  # the workloads of its own namespace that it is for; None is all clients


def rule_for(host: str, home: str, rules: Iterable[Json], proxy: Proxy) -> Rule:
    """
    The rule that `proxy` sees for `host`, a Service of the namespace `home`. `rules` come oldest first.

    Raises Rejected for a rule of that host that says what the lab does not translate.
    """
    fitting = [each for each in rules if covers(rule_host(each), host)]
    own, *others = _pools(fitting, home, proxy)
    if own:
        return _chosen(_of_the_best_host(own), proxy)
    for pool in filter(None, others):
        merged = _of_the_best_host(pool)
        exported = [each for each in merged if each.exported & {PUBLIC, proxy.namespace}]
        if exported:  # selectors count in the client's own namespace only
            return _chosen([each for each in exported if each.selector is None], proxy)
    return Rule()


def _pools(rules: list[Json], home: str, proxy: Proxy) -> list[list[Json]]:
    """In the order of the search: those of the client's own namespace, of the service's and of the root one."""
    own = [each for each in rules if namespace_of(each) == proxy.namespace and _is_for_its_own(each)]
    if proxy.namespace == ROOT_NAMESPACE:
        # else the mesh's catch-all rules would be the gateways' only ones
        own = [each for each in own if _is_private(each)]
    exported = [each for each in rules if not _is_private(each)]
    others = ([each for each in exported if namespace_of(each) == place] for place in (home, ROOT_NAMESPACE))
    return [own, *others]


def _of_the_best_host(pool: list[Json]) -> list[Rule]:
    best = max((rule_host(each) for each in pool), key=specificity)
    return _merged([each for each in pool if rule_host(each) == best])


def _exported(rule: Json) -> frozenset[str]:
    home = namespace_of(rule)
    return frozenset(home if each == "." else each for each in rule["spec"].get("exportTo") or [PUBLIC])


def _is_private(rule: Json) -> bool:
    """One with a selector is never for other namespaces, whatever it says."""
    return bool(rule["spec"].get("workloadSelector")) or _exported(rule) == {namespace_of(rule)}


def _is_for_its_own(rule: Json) -> bool:
    """Not so where only others are named."""
    return _is_private(rule) or bool(_exported(rule) & {PUBLIC, namespace_of(rule)})


def _merged(rules: list[Json]) -> list[Rule]:
    """Rules of one host and namespace: merged where they are for the same clients, side by side where not."""
    kept: list[Rule] = []
    for each in rules:
        new = _read(each)
        apart = True
        for index, old in enumerate(kept):
            if not (new.exported == old.exported or new.exported > old.exported):
                continue
            if new.selector is not None and old.selector is not None and new.selector != old.selector:
                continue
            if new.exported == old.exported and new.selector == old.selector:
                apart = False
            kept[index] = replace(old, subsets={**new.subsets, **old.subsets}, policy=old.policy or new.policy)
        if apart:
            kept.append(new)
    return kept


def _read(rule: Json) -> Rule:
    spec, where = rule["spec"], where_of(rule)
    only(spec, RULE_FIELDS, where)
    subsets: dict[str, Subset] = {}
    for each in spec.get("subsets") or []:
        here = f"{where}, subset {each['name']}"
        only(each, {"name", "labels", "trafficPolicy"}, here)
        read = Subset(each["name"], each.get("labels") or {}, each.get("trafficPolicy") or {}, here)
        subsets.setdefault(read.name, read)
    selector = spec.get("workloadSelector")
    labels = None if selector is None else selector.get("matchLabels") or {}
    return Rule(spec.get("trafficPolicy") or {}, subsets, where, _exported(rule), labels)


def _chosen(rules: list[Rule], proxy: Proxy) -> Rule:
    """The one whose selector is this workload's, else the last that is for all."""
    for each in rules:
        if each.selector is not None and each.selector.items() <= proxy.labels.items():
            return each
    return next((each for each in reversed(rules) if each.selector is None), Rule())
