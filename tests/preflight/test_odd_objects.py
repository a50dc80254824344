"""
Objects come from users: whatever they leave out, a check finds something or nothing, and never breaks.

The corpus is Istio's own samples and tests; it is not part of the project (see tests/mesh/test_corpus.py).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, NAMESPACES, PODS, SERVICES
from canaryd.mesh.entries import http_entries
from canaryd.model.traffic import Side, Sides
from canaryd.preflight import capacity, ports, sidecars, subsets, tls
from canaryd.preflight.kinds import (
    AUTOSCALERS,
    BUDGETS,
    ENDPOINT_SLICES,
    GATEWAYS,
    INJECTORS,
    PEER_AUTHENTICATIONS,
    SCALED_OBJECTS,
)
from canaryd.preflight.survey import Survey
from tests.mesh.objects import CORPUS
from tests.mesh.objects import service as service_of_name
from tests.mesh.test_corpus import files, load, two_versions, weightable
from tests.preflight import test_capacity, test_tls
from tests.preflight.stage import HEARD, Town, plan

Object = dict[str, Any]
GROUPS = (sidecars, ports, subsets, capacity, tls)
REQUIRED = {"metadata", "name", "namespace", "kind", "apiVersion"}
SIDE = Side(("reviews-v1",), "default", (), (), 2, 2, rolled_out=True)


def furnished(town: Town) -> Survey:
    """A Bookinfo with one of everything that these checks look at."""
    town.cluster.apply(test_capacity.KEDA)
    rule = test_tls.secured("DISABLE", subset="v3", port=9080)
    rule["spec"] |= {"exportTo": ["."], "workloadSelector": {"matchLabels": {"app": "productpage"}}}
    rule["metadata"]["name"] = "special"
    both = {"matchExpressions": [{"key": "version", "operator": "In", "values": ["v1", "v3"]}]}
    town.apply(
        rule,
        test_capacity.autoscaler("v1", 1, 2),
        test_capacity.scaled_object("v3", advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {}}}}),
        test_capacity.budget(both, minAvailable="50%"),
        test_capacity.slices(town, *town.pods(app="reviews")[:3]),
        test_tls.policy("STRICT", name="v3", selector={"matchLabels": {"version": "v3"}}, portLevelMtls={"9080": {}}),
    )
    town.heard = replace(HEARD, uninjected=1.0)
    return town.survey()


def bare(value: Any) -> Iterator[Any]:
    """The object again and again, each time with another of its optional fields null."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in REQUIRED:
                yield {**value, key: None}
            for each in bare(inner):
                yield {**value, key: each}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for each in bare(inner):
                yield [*value[:index], each, *value[index + 1 :]]


LOOKED_AT = (
    NAMESPACES,
    SERVICES,
    PODS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    PEER_AUTHENTICATIONS,
    AUTOSCALERS,
    SCALED_OBJECTS,
    BUDGETS,
    ENDPOINT_SLICES,
    GATEWAYS,
    INJECTORS,
)


def test_no_check_breaks_over_a_field_that_is_null(town: Town) -> None:
    seen = furnished(town)
    tried = 0
    for kind in LOOKED_AT:
        listed = list(seen.all(kind))
        for index, found in enumerate(listed):
            if kind in (PODS, DEPLOYMENTS) and "reviews-v3" not in found["metadata"]["name"]:
                continue
            for odd in bare(copy.deepcopy(dict(found))):
                objects = {**seen.objects, kind: [*listed[:index], odd, *listed[index + 1 :]]}
                for group in GROUPS:
                    list(group.check(replace(seen, objects=objects)))
                tried += 1
    assert tried > 500


def test_no_check_breaks_over_a_virtual_service_with_a_field_that_is_null(town: Town) -> None:
    seen = furnished(town)
    for odd in bare(seen.virtual_service):
        for group in GROUPS:
            list(group.check(replace(seen, virtual_service=odd)))


def test_of_a_route_that_cannot_be_told_nothing_is_said(town: Town) -> None:
    seen = replace(furnished(town), route=None, sides=None, heard=replace(HEARD, callers=()))
    assert [found for group in GROUPS for found in group.check(seen)] == []


@pytest.mark.parametrize("kind", LOOKED_AT, ids=str)
def test_what_may_not_be_read_is_found_neither_right_nor_wrong(town: Town, kind: Any) -> None:
    seen = furnished(town)
    known = {str(found) for group in GROUPS for found in group.check(seen)}
    blind = replace(seen, objects={**seen.objects, kind: ()}, unread={kind: "forbidden"})
    found = {str(found) for group in GROUPS for found in group.check(blind)}
    assert {one.split(":")[0] for one in found} <= {one.split(":")[0] for one in known}


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of Istio objects at {CORPUS}")
def test_no_check_breaks_over_the_corpus() -> None:
    rules = [load(path) for path in files("destinationrules")]
    gateways = [load(path) for path in files("gateways")]
    assert len(rules) > 10
    tried = 0
    for path, index in weightable():
        found = load(path)
        route = two_versions(found, http_entries(found)[index])
        assert route is not None
        seen = Survey(plan=plan(), virtual_service=found, route=route, sides=Sides(SIDE, SIDE), heard=HEARD)
        services = [service_of_name(name, home) for home, name in seen.services]
        objects = {SERVICES: services, DESTINATION_RULES: rules, GATEWAYS: gateways}
        for group in GROUPS:
            for each in group.check(replace(seen, objects=objects)):
                assert each.where
                assert each.sentence
        tried += 1
    assert tried > 50
