"""Whom the weights reach: bindings, exports, Sidecars and revisions between the callers and the route."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.preflight import reach
from canaryd.preflight.heard import Caller, Heard
from tests.preflight.objects import changed, istio, marked
from tests.preflight.stage import Town, plan

Object = dict[str, Any]
PAGE = Caller("productpage-v1", "default", 100.0)
INGRESS = Caller("istio-ingressgateway", "istio-system", 50.0)
CURL = Caller("curl", "default", 1.0)
LISTENER = {"number": 9999, "protocol": "HTTP", "name": "http"}
HOST = "reviews.default.svc.cluster.local"


def above_info(town: Town) -> list[str]:
    return [one.code for one in town.found(reach) if one.level != "info"]


# -- the mesh and gateways


def test_callers_in_the_mesh_do_not_obey_a_gateways_route(town: Town) -> None:
    changed(town, "VirtualService", "reviews", gateways=["bookinfo-gateway"])
    found = town.cured(reach, "CallersInMeshNotReached")
    assert (found.level, "productpage-v1.default" in found.sentence) == ("warning", True)


def test_where_only_the_mesh_calls_a_gateways_route_moves_nothing(town: Town) -> None:
    changed(town, "VirtualService", "reviews", gateways=["bookinfo-gateway"], hosts=["books.example.com"])
    town.heard = Heard(callers=(PAGE, CURL))
    assert town.cured(reach, "CallersInMeshNotReached").level == "error"
    bound = town.cluster.find("VirtualService", "default", "reviews")
    assert bound is not None
    assert bound["spec"]["hosts"] == ["books.example.com", HOST]


def test_the_mesh_cannot_be_bound_to_every_host(town: Town) -> None:
    """Istio refuses `*` there."""
    changed(town, "VirtualService", "reviews", gateways=["bookinfo-gateway"], hosts=["*"])
    [found] = [one for one in town.found(reach) if one.code == "CallersInMeshNotReached"]
    assert found.remedy == ""


def test_a_matchs_own_gateways_go_before_the_whole_ones(town: Town) -> None:
    entry = {
        "match": [{"gateways": ["bookinfo-gateway"], "uri": {"prefix": "/"}}],
        "route": [{"destination": {"host": "reviews", "subset": "v1"}}],
    }
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"], http=[entry])
    assert "CallersInMeshNotReached" in town.codes(reach)


def test_bookinfos_page_is_asked_for_at_the_gateway_alone(town: Town) -> None:
    """The VirtualService `bookinfo` is bound to bookinfo-gateway only, and that is right for those who call it."""
    target = {"virtualService": "bookinfo", "host": "productpage", "stable": {"subset": ""}, "canary": {"subset": "v2"}}
    town.plan = plan(target={key: value for key, value in target.items() if key != "stable"})
    town.heard = Heard(callers=(INGRESS,))
    assert town.codes(reach) == []
    town.heard = Heard(callers=(INGRESS, CURL))
    assert town.codes(reach) == ["CallersInMeshNotReached"]


def test_a_gateway_that_calls_beside_the_mesh_is_said(town: Town) -> None:
    [found] = town.found(reach)
    assert (found.code, found.level) == ("GatewayNotReached", "info")
    town.heard = Heard(callers=(PAGE,))
    assert town.codes(reach) == []


def test_where_only_a_gateway_calls_the_meshs_route_moves_nothing(town: Town) -> None:
    town.heard = Heard(callers=(INGRESS,))
    [found] = town.found(reach)
    assert (found.code, found.level) == ("GatewayNotReached", "error")
    changed(town, "VirtualService", "reviews", gateways=["bookinfo-gateway"])
    assert town.codes(reach) == []


def test_a_caller_whose_pods_were_not_seen_may_be_a_gateway(town: Town) -> None:
    """Nothing is said of it, and nobody else is alone."""
    elsewhere = Caller("shop", "shops", 1.0)
    town.heard = Heard(callers=(elsewhere,))
    assert town.codes(reach) == []
    changed(town, "VirtualService", "reviews", gateways=["bookinfo-gateway"])
    assert town.codes(reach) == []
    town.heard = Heard(callers=(elsewhere, PAGE))
    assert above_info(town) == ["CallersInMeshNotReached"]
    assert [one.level for one in town.found(reach)] == ["warning"]


# -- exports and Sidecars


def test_callers_elsewhere_need_the_route_to_be_exported(town: Town) -> None:
    changed(town, "VirtualService", "reviews", exportTo=["."])
    town.heard = Heard(callers=(PAGE, Caller("shop", "shops", 1.0)))  # whose pods nobody may look at
    found = town.cured(reach, "NotExportedToCallers")
    assert (found.level, "shops" in found.sentence) == ("warning", True)


def test_the_meshs_default_export_counts_where_the_route_says_nothing(town: Town) -> None:
    config = {"mesh": "defaultVirtualServiceExportTo: ['.']\n"}
    town.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": config,
        }
    )
    town.heard = Heard(callers=(Caller("shop", "shops", 1.0),))
    assert town.cured(reach, "NotExportedToCallers").level == "error"


def test_what_is_exported_to_its_own_namespace_reaches_callers_there(town: Town) -> None:
    changed(town, "VirtualService", "reviews", exportTo=["."])
    assert above_info(town) == []


def test_a_sidecar_object_must_import_the_host(town: Town) -> None:
    town.apply(
        istio("Sidecar", "default", {"egress": [{"hosts": ["istio-system/*", "./details.default.svc.cluster.local"]}]})
    )
    found = town.cured(reach, "SidecarHidesHost")
    assert found.where == "Sidecar default/default"


@pytest.mark.parametrize(
    "spec",
    [
        {"egress": [{"hosts": ["./*"]}]},
        {"egress": [{"hosts": ["*/*"]}]},
        {"egress": [{"port": LISTENER, "hosts": ["istio-system/*"]}, {"hosts": ["~/*", f"default/{HOST}"]}]},
        {"egress": [{"hosts": ["istio-system/*"]}], "workloadSelector": {"labels": {"app": "details"}}},
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
    ],
    ids=["own-namespace", "everything", "second-listener", "of-another-workload", "no-egress"],
)
def test_a_sidecar_object_that_lets_the_host_in_is_no_finding(town: Town, spec: Object) -> None:
    town.apply(istio("Sidecar", "default", spec))
    assert above_info(town) == []


def test_the_root_namespaces_sidecar_counts_where_there_is_no_nearer_one(town: Town) -> None:
    town.apply(istio("Sidecar", "default", {"egress": [{"hosts": ["istio-system/*"]}]}, "istio-system"))
    assert above_info(town) == ["SidecarHidesHost"]
    town.apply(istio("Sidecar", "own", {"egress": [{"hosts": ["./*"]}]}))
    assert above_info(town) == []


# -- revisions


def test_a_route_of_another_revision_moves_nothing(town: Town) -> None:
    marked(town, "VirtualService", "reviews", labels={"istio.io/rev": "canary"})
    assert "canary" in town.cured(reach, "OtherRevision").sentence


def test_a_revision_or_a_tag_of_the_callers_is_theirs(town: Town) -> None:
    marked(town, "VirtualService", "reviews", labels={"istio.io/rev": "prod-stable"})
    space = town.cluster.find("Namespace", "", "default")
    assert space is not None
    space["metadata"]["labels"] = {"istio.io/rev": "prod-stable"}
    town.apply(space)
    assert above_info(town) == []
