"""The translation as a whole: subsets and their pods, and whatever real objects say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab import bookinfo
from canaryd.lab.envoy.process import binary
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.translation import Translation

from .translating import INGRESS, V1, V3, endpoints, gateway, mesh, server, service, shares, to, translate, virtual

Json = dict[str, Any]


# Hosts, services, subsets


def test_a_subset_without_ready_pods_has_a_cluster_without_endpoints() -> None:
    """Envoy answers 503 UH."""
    objects = mesh()
    for each in objects:
        if each["kind"] == "Pod" and each["metadata"]["labels"]["version"] == "v3":
            each["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    translation = translate(objects)
    assert endpoints(translation, V3) == []
    assert len(endpoints(translation, V1)) == bookinfo.REPLICAS


def test_a_second_subset_of_the_same_name_is_ignored() -> None:
    """Rules of one host in one namespace are merged; the first definition of a subset stands."""
    late = bookinfo.destination_rule()
    late["metadata"] |= {"name": "z-late", "creationTimestamp": "2026-02-01T00:00:00Z"}
    late["spec"]["subsets"] = [{"name": name, "labels": {"version": "v2"}} for name in ("v3", "extra")]
    translation = translate(mesh(late))
    workloads = {each["metadata"]["filter_metadata"]["istio"]["workload"] for each in endpoints(translation, V3)}
    assert workloads == {"reviews-v3"}
    assert len(endpoints(translation, cluster_name(9080, "extra", bookinfo.HOST))) == bookinfo.REPLICAS


def test_a_pod_that_is_being_deleted_is_no_endpoint() -> None:
    objects = mesh()
    leaving = next(each for each in objects if each["kind"] == "Pod")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert len(endpoints(translate(objects), V1)) == bookinfo.REPLICAS - 1


def test_an_endpoint_says_whose_it_is_as_istio_does() -> None:
    found = endpoints(translate(mesh()), V3)[0]["metadata"]["filter_metadata"]["istio"]
    assert found == {
        "workload": "reviews-v3",
        "namespace": "default",
        "version": "v3",
        "app": "reviews",
        "canonical_service": "reviews",
        "canonical_revision": "v3",
        "cluster": "Kubernetes",
    }


def test_the_clients_own_destination_rule_replaces_that_of_the_service() -> None:
    """Istio looks in the client's namespace first and does not merge: there a subset may be missing."""
    theirs = bookinfo.destination_rule()
    theirs["metadata"]["namespace"] = "shop"
    theirs["spec"] = {"host": bookinfo.HOST, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}
    names = {each["name"] for each in translate(mesh(theirs), Proxy(namespace="shop")).clusters}
    assert V1 in names
    assert V3 not in names


def test_a_traffic_policy_that_is_not_translated_is_refused() -> None:
    rule = bookinfo.destination_rule()
    rule["spec"]["trafficPolicy"] = {"tunnel": {"targetHost": "elsewhere", "targetPort": 1}}
    objects = [each for each in mesh() if each["kind"] != "DestinationRule"]
    with pytest.raises(Rejected, match="`tunnel` is not translated"):
        translate([*objects, rule])


# Over real objects


def corpus_objects(corpus: Path) -> Iterator[tuple[str, Json]]:
    """Each VirtualService with http entries."""
    for place in sorted([*corpus.glob("*.yaml"), *corpus.glob("nonweightable/*.yaml")]):
        each = yaml.safe_load(place.read_text())
        if each["spec"].get("http"):
            yield place.name, each


def surroundings(each: Json) -> list[Json]:
    """What a VirtualService needs around it: its Services, its Gateways, its delegates, and a root for a delegate."""
    namespace = each["metadata"].get("namespace", "default")
    entries = each["spec"]["http"]
    hosts = {one["destination"]["host"] for entry in entries for one in entry.get("route") or []}
    homes = {in_cluster(host, namespace) for host in {*hosts, *each["spec"].get("hosts", ["reviews"])}}
    found = [service(*home) for home in homes if home]
    for number, one in enumerate(each["spec"].get("gateways") or []):
        home, _, name = one.rpartition("/")
        name, *rest = name.split(".")
        found.append(gateway(server(port=8080 + number), name=name, namespace=home or [*rest, namespace][0]))
    for entry in entries:
        if entry.get("delegate"):
            place = {"name": entry["delegate"]["name"], "namespace": entry["delegate"].get("namespace", namespace)}
            found.append(virtual({"route": [to("v1", 90), to("v3", 10)]}, **place))
            del found[-1]["spec"]["hosts"]
    if not each["spec"].get("hosts"):
        about = {"name": each["metadata"]["name"], "namespace": namespace}
        found.append(virtual({"delegate": about}, name="root", namespace=namespace))
    return found


def proxies_of(each: Json) -> list[Proxy]:
    """Those that a VirtualService is for: a sidecar beside it, the ingress gateway, or both."""
    bound = each["spec"].get("gateways") or ["mesh"]
    namespace = each["metadata"].get("namespace", "default")  # where also what is exported to `.` is seen
    sidecar = [Proxy(namespace=namespace)] if "mesh" in bound else []
    return sidecar + ([replace(INGRESS, namespace=namespace)] if set(bound) != {"mesh"} else [])


def in_cluster(host: str, namespace: str) -> tuple[str, str] | None:
    """The name and namespace of the Service that a host could be."""
    name, dot, rest = host.partition(".")
    if name.startswith("*") or (dot and not rest.endswith(".svc.cluster.local")):
        return None
    return (name, rest.split(".")[0] if dot else namespace)


def expected(each: Json) -> list[list[int]]:
    """
    What each match of each entry should weigh, by Istio's rules and nothing of ours.

    One destination has all, zeros are nobody's, an answer of the proxy's own weighs nothing, and nothing follows an
    entry that matches everything.
    """
    found = []
    for entry in each["spec"]["http"]:
        weights = [one.get("weight", 0) for one in entry.get("route") or []]
        kept = [100] if len(weights) == 1 else [weight for weight in weights if weight]
        for match in entry.get("match") or [{}]:
            found.append([90, 10] if entry.get("delegate") else kept)
            conditions = {key: value for key, value in match.items() if key != "name"}
            if conditions in ({}, {"uri": {"prefix": "/"}}):
                return found
    return found


def tables(translation: Translation) -> Iterator[Json]:
    """The virtual hosts that a VirtualService speaks for."""
    for table in translation.routes.values():
        for host in table["virtual_hosts"]:
            names = {each.get("name") for each in host["routes"]}
            if host["routes"] and not names & {"default", "block_all"}:
                yield host


def test_every_entry_of_the_corpus_is_translated_with_its_weights(corpus: Path) -> None:
    """All that real VirtualServices say of http reaches Envoy, in order, at the gateway and in the mesh."""
    translated = 0
    for name, each in corpus_objects(corpus):
        for proxy in proxies_of(each):
            hosts = list(tables(translate([each, *surroundings(each)], proxy)))
            if chooses_proxies(each):
                continue  # which of its matches are for this proxy, other tests say
            translated += 1
            assert hosts, (name, proxy.kind)
            for host in hosts:
                assert [weights_of(route) for route in host["routes"]] == expected(each), (name, proxy.kind)
    assert translated >= 110


def weights_of(route: Json) -> list[int]:
    return list(shares(route).values()) if "route" in route else []


def test_every_gateway_of_the_corpus_has_its_tables(corpus: Path) -> None:
    """One for each port that speaks HTTP, one for each HTTPS server that ends TLS, and none for what is passed on."""
    places = sorted(corpus.glob("gateways/*.yaml"))
    for place in places:
        each = yaml.safe_load(place.read_text())
        about, spec = each["metadata"], each["spec"]
        wanted = set()
        for one in spec["servers"]:
            port, mode = one["port"], (one.get("tls") or {}).get("mode", "SIMPLE")
            if port["protocol"].upper() in ("HTTP", "HTTP2", "GRPC"):
                wanted.add(f"http.{port['number']}")
            elif port["protocol"].upper() == "HTTPS" and not mode.endswith("PASSTHROUGH"):
                place_of = f"{about['name']}.{about.get('namespace', 'default')}"
                wanted.add(f"https.{port['number']}.{port['name']}.{place_of}")
        proxy = replace(INGRESS, labels=spec.get("selector") or {})
        translation = translate([each, virtual({"route": [to("v1")]}, hosts=["*"], gateways=["x/y"])], proxy)
        assert set(translation.routes) == wanted, place.name
    assert len(places) >= 40


def chooses_proxies(each: Json) -> bool:
    matches = [match for entry in each["spec"]["http"] for match in entry.get("match") or []]
    return any(match.keys() & {"gateways", "port", "sourceLabels", "sourceNamespace"} for match in matches)


@pytest.mark.lab
def test_envoy_accepts_whatever_is_translated(corpus: Path, tmp_path: Path) -> None:
    """A translation that Envoy refuses would leave the former routes in force without a word to anybody."""
    tables: list[Json] = []
    clusters: dict[str, Json] = {}
    for _, each in corpus_objects(corpus):
        for proxy in proxies_of(each):
            translation = translate([each, *surroundings(each)], proxy)
            tables += translation.routes.values()
            clusters |= {one["name"]: one for one in translation.clusters}
    assert len(tables) >= 150
    assert refusal_of(tables, list(clusters.values()), tmp_path) == ""
    broken = {**tables[0], "virtual_hosts": [*tables[0]["virtual_hosts"], tables[0]["virtual_hosts"][0]]}
    assert "nly unique" in refusal_of([broken], [], tmp_path)  # names or domains: the question can be answered with no


def refusal_of(tables: list[Json], clusters: list[Json], directory: Path) -> str:
    """What Envoy has against a configuration with these route tables, each at a listener of its own."""
    kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    filters = ("fault.v3.HTTPFault", "cors.v3.Cors", "router.v3.Router")
    types = "type.googleapis.com/envoy.extensions.filters.http"
    http_filters = [
        {"name": f"envoy.filters.http.{each.split('.')[0]}", "typed_config": {"@type": f"{types}.{each}"}}
        for each in filters
    ]
    listeners = [
        {
            "name": f"{number}",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [
                {
                    "filters": [
                        {
                            "name": "envoy.filters.network.http_connection_manager",
                            "typed_config": {
                                "@type": kind,
                                "stat_prefix": "x",
                                "http_filters": http_filters,
                                "route_config": {**table, "validate_clusters": False},
                            },
                        }
                    ]
                }
            ],
        }
        for number, table in enumerate(tables)
    ]
    internal = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
    whole = {
        "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": internal}}],
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
    place = directory / "envoy.json"
    place.write_text(json.dumps(whole))
    argv = [binary(), "--mode", "validate", "-c", str(place), "-l", "error", "--reject-unknown-dynamic-fields"]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr or "it gave no reason"
