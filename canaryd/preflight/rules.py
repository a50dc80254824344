"""
The DestinationRule that is in force for a host, as one client's proxy sees it.

The search goes through the client's own namespace, the service's and the root one, and ends at the first that has any
rule for the host, be it a wildcard's: nothing is merged across namespaces. Within one the most specific host counts,
rules of that host are merged (of two subsets of a name the older stands, the oldest trafficPolicy holds), and a rule
with a workloadSelector is for those clients alone.

Sources: Istio, pilot/pkg/model/push_context.go destinationRule, destination_rule.go mergeDestinationRule,
pilot/pkg/networking/util/util.go MergeSubsetTrafficPolicy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from canaryd.kube import DESTINATION_RULES
from canaryd.mesh.hosts import fully_qualified, service_of
from canaryd.preflight.saying import patching
from canaryd.preflight.survey import ROOT_NAMESPACE, Object, Survey, name_of, selects, spec_of

PUBLIC = "*"
BLOCKS = ("loadBalancer", "connectionPool", "outlierDetection", "tls", "tunnel", "proxyProtocol")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """Whose proxy it is: its namespace, and the labels of its pods."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a traffic policy, and the place in a rule at which it is written."""

    content: Mapping[str, Any]
    rule: Object
    path: Path

    @property
    def where(self) -> str:
        return f"DestinationRule {name_of(self.rule)}"

    @property
    def pointer(self) -> str:
        """Its place as a JSON pointer."""
        return pointer(self.path)

    def without(self, key: str = "") -> str:
        """The command that takes it (or its ``key``) out, and what holds nothing else: Istio refuses empty policies."""
        path = (*self.path, key) if key else self.path
        while path[-1] != "trafficPolicy" and _is_alone(_parent(self.rule, path)):
            path = path[:-1]
        return patching("destinationrule", self.rule, [{"op": "remove", "path": pointer(path)}])


@dataclass(frozen=True, slots=True)
class Policy:
    """A ``trafficPolicy`` and the place at which it is written."""

    content: Mapping[str, Any]
    rule: Object
    path: Path

    def at_port(self, number: int | None) -> Policy | None:
        """The settings for one port, which leave nothing of the others; None where there are none."""
        settings = self.content.get("portLevelSettings") or ()
        for index, each in enumerate(settings):
            if number is not None and ((each or {}).get("port") or {}).get("number") == number:
                return Policy(each, self.rule, (*self.path, "portLevelSettings", index))
        return None

    def block(self, name: str) -> Block | None:
        """One of its blocks, if it has it."""
        found = self.content.get(name)
        return Block(found, self.rule, (*self.path, name)) if found else None


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset, and the place at which it is written."""

    name: str
    labels: Mapping[str, str]
    rule: Object
    index: int

    @property
    def policy(self) -> Policy | None:
        content = spec_of(self.rule)["subsets"][self.index].get("trafficPolicy")
        return Policy(content, self.rule, ("spec", "subsets", self.index, "trafficPolicy")) if content else None


@dataclass(frozen=True, slots=True)
class InForce:
    """
    What rules say of one host to one client; empty where there is none.

    ``rules`` are those that were merged, the oldest first; ``ignored`` the subsets whose name an older one has.
    """

    rules: tuple[Object, ...] = ()
    subsets: Mapping[str, Subset] = field(default_factory=dict)
    ignored: tuple[Subset, ...] = ()
    policy: Policy | None = None

    def block(self, name: str, subset: str, port: int | None) -> Block | None:
        """
        The block that holds for ``port`` of ``subset`` (empty is the whole host).

        A subset inherits from the rule what it leaves out; settings for a port inherit nothing.
        """
        own = self.subsets[subset].policy if subset in self.subsets else None
        if own and (special := own.at_port(port)):
            return special.block(name)
        if own and (found := own.block(name)):
            return found
        return (self.policy.at_port(port) or self.policy).block(name) if self.policy else None

    def blocks(self, subset: str, port: int | None) -> dict[str, Mapping[str, Any]]:
        """All blocks that hold there."""
        found = {name: self.block(name, subset, port) for name in BLOCKS}
        return {name: block.content for name, block in found.items() if block}


def rule_for(survey: Survey, host: str, client: Client) -> InForce:
    """What ``client`` sees for ``host``, as the route writes it."""
    full, home = fully_qualified(host, survey.namespace), service_of(host, survey.namespace)[1]
    root = root_of(survey)
    fitting = sorted((rule for rule in survey.all(DESTINATION_RULES) if _covers(_host(rule), full)), key=_age)
    own = [rule for rule in fitting if _home(rule) == client.namespace and _is_for_its_own(survey, rule)]
    if client.namespace == root:  # else the mesh's catch-all rules would be the gateways' only ones
        own = [rule for rule in own if _is_private(survey, rule)]
    if own:
        return _chosen(_merged(survey, _of_the_best_host(own)), client)
    for place in (home, root):
        pool = [rule for rule in fitting if _home(rule) == place and not _is_private(survey, rule)]
        best = _merged(survey, _of_the_best_host(pool))
        seen = [one for one in best if one.exported & {PUBLIC, client.namespace}]
        if seen:
            return _chosen([one for one in seen if one.selector is None], client)
    return InForce()


def root_of(survey: Survey) -> str:
    """The namespace whose rules and policies are the whole mesh's."""
    return str(survey.mesh.get("rootNamespace") or ROOT_NAMESPACE)


def exported(survey: Survey, rule: Object) -> frozenset[str]:
    """The namespaces that see the rule, ``*`` for all, its own by name."""
    said = spec_of(rule).get("exportTo") or survey.mesh.get("defaultDestinationRuleExportTo") or [PUBLIC]
    return frozenset(_home(rule) if each == "." else str(each) for each in said)


def rules_about(survey: Survey, host: str) -> tuple[Object, ...]:
    """The rules in the namespace of the service itself that mean ``host``, whoever sees them; the oldest first."""
    full, home = fully_qualified(host, survey.namespace), service_of(host, survey.namespace)[1]
    known = sorted(survey.all(DESTINATION_RULES, home), key=_age) if home else ()
    return tuple(rule for rule in known if _covers(_host(rule), full))


def pointer(path: Path) -> str:
    """``path`` as a JSON pointer."""
    return "".join(f"/{each}" for each in path)


def _parent(rule: Object, path: Path) -> Any:
    found: Any = rule
    for key in path[:-1]:
        found = found[key]
    return found


def _is_alone(parent: Any) -> bool:
    """Whether a list, or the settings of a port, hold one thing only."""
    return len(parent) == 1 if isinstance(parent, list) else len(parent.keys() - {"port"}) == 1


@dataclass(frozen=True, slots=True)
class _Merged:
    """Rules of one host that are for the same clients."""

    seen: InForce
    exported: frozenset[str]
    selector: Mapping[str, str] | None


def _merged(survey: Survey, rules: Iterable[Object]) -> list[_Merged]:
    """Rules of one host and namespace, merged where they are for the same clients, side by side where not."""
    kept: list[_Merged] = []
    for rule in rules:
        new = _read(survey, rule)
        apart = True
        for index, old in enumerate(kept):
            if not new.exported >= old.exported:
                continue
            if new.selector is not None and old.selector is not None and new.selector != old.selector:
                continue
            if new.exported == old.exported and new.selector == old.selector:
                apart = False
            kept[index] = replace(old, seen=_added(old.seen, new.seen))
        if apart:
            kept.append(new)
    return kept


def _added(old: InForce, new: InForce) -> InForce:
    twice = [subset for name, subset in new.subsets.items() if name in old.subsets]
    return InForce(
        rules=(*old.rules, *new.rules),
        subsets={**new.subsets, **old.subsets},
        ignored=(*old.ignored, *twice),
        policy=old.policy or new.policy,
    )


def _read(survey: Survey, rule: Object) -> _Merged:
    spec = spec_of(rule)
    subsets: dict[str, Subset] = {}
    for name, subset in _subsets(rule):
        subsets.setdefault(name, subset)
    policy = Policy(spec["trafficPolicy"], rule, ("spec", "trafficPolicy")) if spec.get("trafficPolicy") else None
    return _Merged(InForce((rule,), subsets, (), policy), exported(survey, rule), _selector(rule))


def _subsets(rule: Object) -> Iterator[tuple[str, Subset]]:
    for index, each in enumerate(spec_of(rule).get("subsets") or ()):
        name = (each or {}).get("name") or ""
        if name:
            yield name, Subset(name, each.get("labels") or {}, rule, index)


def _chosen(rules: list[_Merged], client: Client) -> InForce:
    """The one whose selector is this client's, else the last that is for all."""
    for each in rules:
        if each.selector is not None and selects(each.selector, client.labels):
            return each.seen
    return next((each.seen for each in reversed(rules) if each.selector is None), InForce())


def _selector(rule: Object) -> Mapping[str, str] | None:
    found = spec_of(rule).get("workloadSelector")
    return None if found is None else found.get("matchLabels") or {}


def _is_private(survey: Survey, rule: Object) -> bool:
    """One with a selector is never for other namespaces, whatever it says."""
    return bool(spec_of(rule).get("workloadSelector")) or exported(survey, rule) == {_home(rule)}


def _is_for_its_own(survey: Survey, rule: Object) -> bool:
    return _is_private(survey, rule) or bool(exported(survey, rule) & {PUBLIC, _home(rule)})


def _of_the_best_host(pool: list[Object]) -> list[Object]:
    best = max((_rank(_host(rule)) for rule in pool), default=None)
    return [rule for rule in pool if _rank(_host(rule)) == best]


def _rank(host: str) -> tuple[bool, int]:
    return not host.startswith("*"), len(host)


def _covers(host: str, full: str) -> bool:
    return full.endswith(host[1:]) if host.startswith("*") else host == full


def _host(rule: Object) -> str:
    """The rule's host in full, as its own namespace understands it."""
    host = str(spec_of(rule).get("host") or "")
    return host if not host or host.startswith("*") else fully_qualified(host, _home(rule))


def _home(rule: Object) -> str:
    return str(rule["metadata"].get("namespace") or "")


def _age(rule: Object) -> tuple[str, str, str]:
    meta = rule["metadata"]
    return str(meta.get("creationTimestamp") or ""), str(meta["name"]), _home(rule)
