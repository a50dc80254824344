"""What a sidecar calls a host, and which VirtualService speaks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.hosts import full_host, service_domains
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.translation import Translation
from canaryd.lab.istiod.virtualhosts import sidecar_tables
from canaryd.lab.istiod.virtualservices import VirtualService, virtual_services

from .translating import PLAIN, V1, V2, V3, host_of, mesh, service, shares, to, translate, virtual

Json = dict[str, Any]


def served(translation: Translation, domain: str = "reviews", table: str = "9080") -> list[dict[str, int]]:
    return [shares(each) for each in host_of(translation, domain, table)["routes"]]


def domains(translation: Translation, table: str = "9080") -> list[str]:
    return [each for host in translation.routes[table]["virtual_hosts"] for each in host["domains"]]


# Domains


def test_a_service_without_a_virtual_service_gets_its_plain_cluster() -> None:
    """With Istio's defaults: no timeout, two retries."""
    route = host_of(translate(mesh()))["routes"][0]
    assert shares(route) == {PLAIN: 100}
    assert (route["route"]["timeout"], route["route"]["retry_policy"]["num_retries"]) == ("0s", 2)


def test_a_host_may_be_written_in_every_way_that_a_client_can_resolve() -> None:
    found = host_of(translate(mesh()))
    assert found["name"] == f"{bookinfo.HOST}:9080"
    assert found["domains"] == [
        bookinfo.HOST,
        "reviews",
        "reviews.default.svc",
        "reviews.default",
        "10.96.90.80",
    ]
    assert translate(mesh()).routes["9080"]["ignore_port_in_host_matching"] is True


def test_a_short_name_is_the_neighbours_only() -> None:
    assert "reviews" not in domains(translate(mesh(), Proxy(namespace="shop")))
    own = service("reviews", "shop")
    assert served(translate(mesh(own), Proxy(namespace="shop"))) == [
        {cluster_name(9080, "", "reviews.shop.svc.cluster.local"): 100}
    ]


def test_pods_of_a_headless_service_have_hosts_of_their_own() -> None:
    found = host_of(translate(mesh(service("db", clusterIP="None"))), "db")
    assert {"*.db", "*.db.default.svc.cluster.local"} <= set(found["domains"])
    assert "None" not in found["domains"]


def test_several_services_share_a_port() -> None:
    table = translate(mesh(service("details"), service("stock", "default", {"port": 8000, "name": "http"})))
    names = {each["name"] for each in table.routes["9080"]["virtual_hosts"]}
    assert {f"{bookinfo.HOST}:9080", "details.default.svc.cluster.local:9080"} <= names
    assert "stock.default.svc.cluster.local:9080" not in names
    assert "stock.default.svc.cluster.local:8000" in {each["name"] for each in table.routes["8000"]["virtual_hosts"]}


def test_a_port_that_does_not_speak_http_has_no_routes() -> None:
    """The name decides: a VirtualService's http entries say nothing to `tcp-web`."""
    translation = translate([service("db", "default", {"port": 7000, "name": "tcp-web"})])
    assert "7000" not in translation.routes
    assert "7000" in translate([service("db", "default", {"port": 7000, "name": "web"})]).routes  # sniffed


def test_a_service_is_on_a_port_where_it_speaks_http() -> None:
    opaque = service("db", "default", {"port": 9080, "name": "tcp-db"})
    assert "db" not in domains(translate(mesh(opaque)))


def test_no_domain_stands_twice() -> None:
    """Envoy refuses such a table: whoever comes first has it."""
    odd = virtual({"route": [to("v3")]}, hosts=["details", "reviews.default"])
    translation = translate(mesh(odd, service("details"), service("twin", "default", clusterIP="10.96.90.80")))
    found = domains(translation)
    assert len(found) == len(set(found))
    assert served(translation, "reviews.default") == [{V3: 100}]
    assert served(translation) == [{PLAIN: 100}]


def test_a_body_may_be_a_megabyte() -> None:
    """Envoy's own limit for a direct response is 4 KiB; what Istio accepts is accepted."""
    assert translate(mesh()).routes["9080"]["max_direct_response_body_size_bytes"] == 1024 * 1024


def test_a_table_that_looks_at_ports_gets_every_host_twice() -> None:
    found = service_domains(service("a", clusterIP="::1"), "default", 80)
    assert found[:2] == ["a.default.svc.cluster.local", "a"]
    assert {"a:80", "[::1]", "[::1]:80"} <= set(found)
    assert len(found) == 10


def test_an_unknown_host_is_answered_with_502() -> None:
    last = translate(mesh()).routes["9080"]["virtual_hosts"][-1]
    assert (last["name"], last["domains"]) == ("block_all", ["*"])
    assert last["routes"][0]["direct_response"] == {"status": 502}


# Precedence


def test_the_oldest_virtual_service_of_a_host_wins() -> None:
    """A sidecar merges nothing."""
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    young = virtual(jason, {"route": [to("v3")]}, name="a-young", born="02-01")
    old = virtual({"route": [to("v1")]}, name="b-old", born="01-01")
    assert served(translate(mesh(young, old))) == [{V1: 100}]


def test_of_the_same_age_the_name_decides() -> None:
    second, first = (virtual({"route": [to(subset)]}, name=name) for subset, name in (("v3", "b"), ("v1", "a")))
    assert served(translate(mesh(second, first))) == [{V1: 100}]


def test_one_that_has_nothing_for_this_proxy_does_not_count() -> None:
    """The next one speaks, and where there is none the service is as if nobody had said anything."""
    others = {"match": [{"sourceLabels": {"app": "ratings"}}], "route": [to("v2")]}
    old, young = virtual(others, name="old", born="01-01"), virtual({"route": [to("v3")]}, name="young", born="02-01")
    assert served(translate(mesh(old, young))) == [{V3: 100}]
    assert served(translate(mesh(old))) == [{PLAIN: 100}]
    assert served(translate(mesh(old), Proxy(labels={"app": "ratings"}))) == [{V2: 100}]


def test_a_narrower_export_beats_age() -> None:
    """Istio looks at what is exported to this namespace alone before what everybody sees."""
    public = virtual({"route": [to("v1")]}, name="public", born="01-01")
    private = virtual({"route": [to("v2")]}, name="private", born="02-01", exportTo=["."])
    given = virtual({"route": [to("v3", host=bookinfo.HOST)]}, name="given", namespace="ops", born="03-01")
    given["spec"] |= {"hosts": [bookinfo.HOST], "exportTo": ["default", "shop"]}
    assert served(translate(mesh(public, given))) == [{V3: 100}]
    assert served(translate(mesh(public, given, private))) == [{V2: 100}]


@pytest.mark.parametrize(
    ("exported", "seen"), [(["*"], True), (["."], False), (["shop"], True), (["~"], False), (["~", "shop"], False)]
)
def test_what_is_not_exported_to_the_client_is_not_there(exported: list[str], seen: bool) -> None:
    found = translate(mesh(virtual({"route": [to("v3")]}, exportTo=exported)), Proxy(namespace="shop"))
    assert served(found, "reviews.default") == [{V3: 100} if seen else {PLAIN: 100}]


def test_the_most_specific_host_wins_whatever_its_age() -> None:
    everything = virtual({"route": [to("v1")]}, name="everything", born="01-01", hosts=["*.svc.cluster.local"])
    nearby = virtual({"route": [to("v2")]}, name="nearby", born="02-01", hosts=["*.default.svc.cluster.local"])
    exact = virtual({"route": [to("v3")]}, name="exact", born="03-01")
    translation = translate(mesh(everything, nearby, exact, service("details"), service("far", "ops")))
    assert served(translation) == [{V3: 100}]
    assert served(translation, "details") == [{V2: 100}]
    assert served(translation, "far.ops") == [{V1: 100}]
    assert "*.default.svc.cluster.local" not in domains(translation)


# Hosts


def test_one_virtual_service_may_speak_for_several_hosts() -> None:
    both = virtual({"route": [to("v3")]}, hosts=["reviews", "details"])
    translation = translate(mesh(both, service("details")))
    assert served(translation) == served(translation, "details") == [{V3: 100}]


def test_a_short_host_belongs_to_the_namespace_of_the_object_that_holds_it() -> None:
    """Not to the client's: `reviews` in a VirtualService of another namespace is another service."""
    stranger = virtual({"route": [to("v3")]}, namespace="elsewhere")
    assert served(translate(mesh(stranger))) == [{PLAIN: 100}]


@pytest.mark.parametrize("host", ["*", "10.0.0.1", "2001:db8::1", "reviews.shop"])
def test_what_is_no_short_name_stays_as_it_is(host: str) -> None:
    assert full_host(host, "default") == host


def test_half_a_name_is_no_service() -> None:
    """`reviews.default` has a dot, so Istio takes it as it is, and no Service is called that."""
    assert served(translate(mesh(virtual({"route": [to("v3")]}, hosts=["reviews.default"])))) == [{PLAIN: 100}]


def test_a_host_that_is_no_service_is_served_on_port_80_only() -> None:
    """Or beside a Service of the same VirtualService. Elsewhere a request to it meets nobody."""
    outside = virtual({"route": [to("v3", port={"number": 9080})]}, hosts=["reviews.example.com"])
    translation = translate(mesh(outside))
    assert "reviews.example.com" not in domains(translation)
    assert served(translation, "reviews.example.com", "80") == [{V3: 100}]
    outside["spec"]["hosts"].append("*.svc.cluster.local")
    better = virtual(
        {"route": [to("v1")]}, name="better", hosts=["*.default.svc.cluster.local", "*.elsewhere.svc.cluster.local"]
    )
    assert "reviews.example.com" not in domains(translate(mesh(outside, better)))  # it speaks for no Service
    outside["spec"]["hosts"].append("reviews")
    assert served(translate(mesh(outside)), "reviews.example.com") == [{V3: 100}]


# Gateways


def test_a_virtual_service_of_a_gateway_only_leaves_the_sidecar_alone() -> None:
    """Also where its match says `mesh`: Istio looks for VirtualServices by their own gateways."""
    entry = {"route": [to("v3")], "match": [{"gateways": ["mesh"]}]}
    assert served(translate(mesh(virtual(entry, gateways=["bookinfo-gateway"])))) == [{PLAIN: 100}]


def test_a_virtual_service_may_be_the_meshs_and_a_gateways() -> None:
    entries = [{"match": [{"gateways": ["gw"]}], "route": [to("v3")]}, {"route": [to("v1")]}]
    assert served(translate(mesh(virtual(*entries, gateways=["mesh", "gw"])))) == [{V1: 100}]


# Those made from HTTPRoutes


def from_route(subset: str, namespace: str, age: str) -> VirtualService:
    written = virtual({"route": [to(subset, host=bookinfo.HOST)]}, namespace=namespace, born=age, hosts=[bookinfo.HOST])
    return replace(virtual_services([written])[0], gateway_api=True)


def test_a_consumers_own_route_comes_before_the_producers() -> None:
    """Whatever their age; and it is its own clients' only."""
    consumer, producer = from_route("v3", "shop", "01-01"), from_route("v1", "default", "02-01")
    for namespace, wanted in (("default", V1), ("shop", V3), ("elsewhere", V1)):
        tables = sidecar_tables(Registry.of(mesh()), [consumer, producer], Proxy(namespace=namespace), WIRING)
        assert served(Translation(tables, []), "reviews.default") == [{wanted: 100}], namespace
