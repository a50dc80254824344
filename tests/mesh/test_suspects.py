"""
Why callers may not meet the weights: each cause by itself, and the order in which they are told.
"""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.mesh.admission import Surroundings
from canaryd.mesh.suspects import suspects
from canaryd.model import codes
from canaryd.model.traffic import Version
from tests.mesh.objects import ROUTE, V1, V3, at, destination, destination_rule, entry, virtual_service

Object = dict[str, Any]
WEB = ("web.shop",)
OLD, NEW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


def ours(*before: Object, created: str = OLD, **spec: Any) -> Object:
    found = at(75, 25)
    found["metadata"]["creationTimestamp"] = created
    found["spec"]["http"] = [*before, *found["spec"]["http"]]
    found["spec"] |= spec
    return found


def another(created: str = OLD, namespace: str = "shop", **spec: Any) -> Object:
    found = virtual_service(entry(destination(V1)), name="theirs", namespace=namespace, creationTimestamp=created)
    found["spec"] |= {"hosts": ["reviews.default.svc.cluster.local"], **spec}
    return found


def client(*containers: str, workload: str = "web", namespace: str = "shop", **spec: Any) -> Object:
    owner = {"kind": "ReplicaSet", "name": f"{workload}-abc", "uid": "rs", "controller": True}
    return {
        "metadata": {
            "name": f"{workload}-abc-0",
            "namespace": namespace,
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": name} for name in containers], **spec},
    }


def found(*others: Object, of: Object | None = None, clients: tuple[str, ...] = WEB, **around: Any) -> tuple[str, ...]:
    return suspects(ROUTE, clients, of or ours(), Surroundings(virtual_services=others, **around))


def test_a_client_without_a_sidecar_goes_past_every_weight():
    """The first cause, for it explains everything."""
    said = found(another(exportTo=["."]), pods=[client("app"), client("app", "istio-proxy")])
    assert said[0].startswith("1 of 2 pods of web.shop have no sidecar and go past every weight")
    assert "kubectl rollout restart deployment/web -n shop" in said[0]
    assert len(said) == 2


def test_a_native_sidecar_is_one():
    """Since Istio 1.27 it is an init container that goes on."""
    assert "sidecar" not in found(pods=[client("app", initContainers=[{"name": "istio-proxy"}])])[0]


def test_pods_of_others_say_nothing():
    """Of another workload, or of the same name elsewhere."""
    pods = [client("app", workload="batch"), client("app", namespace="default")]
    assert "pods" not in found(pods=pods)[0]


@pytest.mark.parametrize(
    "other",
    [
        another(OLD, exportTo=["."]),
        another(NEW, exportTo=["."]),
        another(NEW, namespace="theirs", exportTo=["shop"]),
        another("2025-01-01T00:00:00Z"),
        another("2025-01-01T00:00:00Z", gateways=["mesh", "istio-system/public"]),
    ],
    ids=["private", "private and younger", "given by name", "public and older", "with gateways"],
)
def test_another_virtual_service_that_has_the_say_is_named(other: Object):
    """The one that istiod takes; ours is dropped without a word."""
    assert found(other)[0].startswith(
        f"VirtualService {other['metadata']['namespace']}/theirs has reviews, too, and has"
    )


@pytest.mark.parametrize(
    "other",
    [
        another(NEW),
        another("2025-01-01T00:00:00Z", hosts=["*.default.svc.cluster.local"]),
        another("2025-01-01T00:00:00Z", hosts=["ratings.default.svc.cluster.local"]),
        another(OLD, namespace="else", exportTo=["."]),
        another("2025-01-01T00:00:00Z", gateways=["istio-system/public"]),
        another("2025-01-01T00:00:00Z", exportTo=["~"]),
    ],
    ids=["younger", "less exact", "another host", "private elsewhere", "gateways only", "for nobody"],
)
def test_another_that_has_no_say_is_not(other: Object):
    """A wrong suspect costs an hour at night."""
    assert found(other)[0].startswith("nothing in the mesh's objects explains it")


def test_ours_that_is_not_exported_to_the_client_is_said():
    """It is obeyed in its own namespace only."""
    assert "not exported to namespace shop" in found(of=ours(exportTo=["."]))[0]
    assert "for gateways only (istio-system/public)" in found(of=ours(gateways=["istio-system/public"]))[0]


def test_a_gateway_obeys_what_is_bound_to_it():
    """A mesh rule for the host has no effect there."""
    gateway = client("istio-proxy", workload="web")
    shop = another(hosts=["shop.example.com"], gateways=["istio-system/public"])
    shop["spec"]["http"] = [entry(destination(Version("reviews.default.svc.cluster.local", "v1")))]
    said = found(shop, pods=[gateway])
    assert said[0].startswith(
        "VirtualService default/reviews is bound to no gateway: requests that come in by web.shop"
    )
    assert said[1] == "VirtualService shop/theirs sends what comes in by gateways to reviews, by weights of its own"


def test_a_destination_rule_of_the_client_without_our_subset_is_said():
    """It replaces that of the service's namespace, and merges nothing."""
    full = "reviews.default.svc.cluster.local"
    rules = [destination_rule(), destination_rule("v1", host=full, namespace="shop")]
    said = found(destination_rules=rules)[0]
    assert said == (
        "DestinationRule shop/reviews, which is in force for clients in shop, has no subset v3: "
        "their requests for it fail (503 NC)"
    )
    assert "DestinationRule" not in found(destination_rules=rules[:1])[0]


def test_entries_before_ours_that_reach_only_stable_are_said():
    """A sticky session, or an entry for some: those requests never come to our weights."""
    sticky = entry(destination(V1), name="sticky", match=[{"headers": {"cookie": {}}, "uri": {"prefix": "/"}}])
    assert found(of=ours(sticky)) == (
        "http[0] (sticky) stands before ours and sends what it matches (headers, uri) to v1 alone",
    )
    both = entry(destination(V1, 50), destination(V3, 50), match=[{"headers": {"x": {}}}])
    assert "stands before" not in found(of=ours(both))[0]


def test_an_entry_of_ours_that_is_for_other_clients_is_said():
    """``sourceNamespace`` chooses proxies, not requests."""
    mine = ours()
    mine["spec"]["http"][0]["match"] = [{"sourceNamespace": "default"}]
    assert found(of=mine) == ("http[0] is for clients in default only (sourceNamespace)",)


def test_a_mirror_and_a_gitops_tool_come_last():
    """One counts at pods and at no client, the other would be drift."""
    mine = ours()
    mine["spec"]["http"][0]["mirror"] = {"host": "reviews", "subset": "v3"}
    mine["metadata"]["labels"] = {"argocd.argoproj.io/instance": "shop"}
    said = found(another(exportTo=["."]), of=mine)
    assert [words.split(" ")[2] for words in said] == ["has", "http[0]", "is"]
    assert "Application shop of Argo CD" in said[2]


def test_without_a_client_s_name_what_holds_for_everybody_is_said():
    """Metrics may name nobody."""
    assert found(another("2025-01-01T00:00:00Z", namespace="else"), clients=())[0].startswith(
        "VirtualService else/theirs"
    )
    assert "istioctl proxy-status" in found(clients=())[0]


def test_what_could_not_be_read_is_said():
    """Otherwise a person takes it for looked at."""
    unread = codes.NOT_ALL_SEARCHED.at("pods in namespace shop", "they may not be listed")
    assert found(remarks=(unread,)) == ("pods in namespace shop: they may not be listed",)
