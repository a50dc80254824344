"""
What DestinationRules say of how a client calls a version: the blocks of ``trafficPolicy`` that are in force.

A subset's block takes the place of the rule's own block of that name, and leaves the others; what a port has of its own
replaces all of them for that port. Of several rules for one host the first ``trafficPolicy`` counts.
Source: Istio, pilot/pkg/networking/core/cluster_traffic_policy.go; networking/v1alpha3/destination_rule.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.kube import DESTINATION_RULES
from canaryd.mesh.admission import rules_in_force
from canaryd.mesh.hosts import fully_qualified
from canaryd.model.traffic import Version
from canaryd.preflight.saying import patching
from canaryd.preflight.survey import Object, Survey, name_of, spec_of

PORTS = "portLevelSettings"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a policy, such as ``outlierDetection``: where it is written, and what it says."""

    rule: Object
    path: str
    kind: str
    said: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"DestinationRule {name_of(self.rule)}"

    def without(self, key: str = "") -> str:
        """The command that takes it (or its ``key``) out, with what would be left empty, which Istio refuses."""
        path = f"{self.path}/{key}" if key else self.path
        while True:
            around, _, last = path.rpartition("/")
            content = _at(self.rule, around)
            others = len(content) > 1 if isinstance(content, list) else set(content) - {last, "port"}
            if others:
                return patching("destinationrule", self.rule, [{"op": "remove", "path": path}])
            path = around


def _at(found: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def blocks_of(survey: Survey, version: Version, namespace: str) -> tuple[Block, ...]:
    """The blocks that are in force for clients in ``namespace`` that call ``version``, each port's own after them."""
    host = fully_qualified(version.host, survey.namespace)
    rules = rules_in_force(host, namespace, survey.all(DESTINATION_RULES))
    whole = next(((rule, "/spec/trafficPolicy") for rule in rules if spec_of(rule).get("trafficPolicy")), None)
    own = next(
        (
            (rule, f"/spec/subsets/{index}/trafficPolicy")
            for rule in rules
            for index, subset in enumerate(spec_of(rule).get("subsets") or ())
            if version.subset and (subset or {}).get("name") == version.subset
        ),
        None,
    )
    found: dict[str, Block] = {}
    ports: list[Block] = []
    for place in (whole, own):
        if place is None:
            continue
        rule, path = place
        policy = _policy(rule, path)
        found |= {kind: Block(rule, f"{path}/{kind}", kind, said) for kind, said in policy if isinstance(said, Mapping)}
        for kind, said in policy:
            if kind == PORTS:
                ports = [block for at, one in enumerate(said) for block in _of_port(rule, f"{path}/{PORTS}/{at}", one)]
    return (*found.values(), *ports)


def _policy(rule: Object, path: str) -> list[tuple[str, Any]]:
    try:
        policy = _at(rule, path)
    except (KeyError, IndexError):
        return []
    return [(kind, said) for kind, said in (policy or {}).items() if said]


def _of_port(rule: Object, path: str, setting: Mapping[str, Any] | None) -> Iterator[Block]:
    for kind, said in (setting or {}).items():
        if kind != "port" and isinstance(said, Mapping) and said:
            yield Block(rule, f"{path}/{kind}", kind, said)
