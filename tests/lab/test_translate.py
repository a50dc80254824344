"""The translation from Istio's objects: what a sidecar would get, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab import bookinfo
from canaryd.lab.envoy.process import Envoy
from canaryd.lab.istiod import translation as istiod
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.translation import Translation

Json = dict[str, Any]
V1, V3 = (cluster_name(9080, version, bookinfo.HOST) for version in ("v1", "v3"))


LISTENING = {  # some service on the port that is looked at, so that the sidecar has a listener there
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "listening", "namespace": "elsewhere"},
    "spec": {"ports": [{"port": 9080, "name": "http"}], "selector": {"app": "listening"}},
}


def translate(objects: list[Json], proxy: Proxy | None = None) -> Translation:
    return istiod.translate(Registry.of([*objects, LISTENING]), proxy or Proxy(), WIRING)


def virtual(*http: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": list(http), **spec},
    }


def to(subset: str, weight: int | None = None, **destination: Any) -> Json:
    place = {"host": "reviews", "subset": subset, **destination}
    return {"destination": place, **({} if weight is None else {"weight": weight})}


def mesh(*others: Json) -> list[Json]:
    """Bookinfo's reviews without its VirtualService, and what is given."""
    return [each for each in bookinfo.objects() if each["kind"] != "VirtualService"] + list(others)


def routes(*http: Json, proxy: Proxy | None = None, **spec: Any) -> list[Json]:
    found = host_of(translate(mesh(virtual(*http, **spec)), proxy))
    return [{key: each[key] for key in ("match", "route")} for each in found["routes"]]


def host_of(translation: Translation, domain: str = "reviews") -> Json:
    return next(each for each in translation.routes["9080"]["virtual_hosts"] if domain in each["domains"])


def shares(route: Json) -> dict[str, int]:
    action = route["route"]
    if "cluster" in action:
        return {action["cluster"]: 100}
    return {each["name"]: each["weight"] for each in action["weighted_clusters"]["clusters"]}


def endpoints(translation: Translation, name: str) -> list[Json]:
    cluster = next(each for each in translation.clusters if each["name"] == name)
    found: list[Json] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return found


# Weights


def test_the_seed_is_split_in_halves() -> None:
    """The article's VirtualService, word for word."""
    assert shares(routes({"route": [to("v1", 50), to("v3", 50)]})[0]) == {V1: 50, V3: 50}


def test_a_single_destination_takes_everything_whatever_its_weight() -> None:
    """Istio ignores the weight of a single destination, also 0: a rollback by weight alone would not be one."""
    assert shares(routes({"route": [to("v3", 0)]})[0]) == {V3: 100}


def test_a_destination_at_weight_0_is_left_out() -> None:
    """So a missing subset at weight 0 is harmless."""
    assert shares(routes({"route": [to("v1", 100), to("v9", 0)]})[0]) == {V1: 100}


@pytest.mark.parametrize("weights", [(0, 0), (101, -1), (None, None)])
def test_weights_without_a_sum_are_refused(weights: tuple[int | None, int | None]) -> None:
    with pytest.raises(Rejected, match="must not be negative nor all 0"):
        routes({"route": [to("v1", weights[0]), to("v3", weights[1])]})


# Order and matches


def test_entries_keep_their_order_and_end_at_the_first_catch_all() -> None:
    """First match wins; what stands after a catch-all is never reached, and Istio drops it."""
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    found = routes(jason, {"route": [to("v1")]}, {"route": [to("v3")]})
    assert [shares(each) for each in found] == [{cluster_name(9080, "v2", bookinfo.HOST): 100}, {V1: 100}]
    assert found[0]["match"]["headers"] == [{"name": "end-user", "string_match": {"exact": "jason"}}]


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a"}),
        ({"uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        ({"uri": {"regex": "/a.*"}}, {"safe_regex": {"regex": "/a.*"}}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, {"prefix": "/a", "case_sensitive": False}),
        (
            {"method": {"exact": "GET"}},
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        ),
        ({"headers": {"x": {}}}, {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        ({"headers": {"x": {"regex": "*"}}}, {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        (
            {"headers": {"x": {"prefix": "y"}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "y"}}]},
        ),
        (
            {"headers": {"x": {"regex": "y.*"}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "y.*"}}}]},
        ),
        (
            {"withoutHeaders": {"x": {}}},
            {"prefix": "/", "headers": [{"name": "x", "present_match": True, "invert_match": True}]},
        ),
        (
            {"queryParams": {"q": {"exact": "1"}}},
            {"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
        ),
    ],
)
def test_a_match_becomes_envoys(match: Json, wanted: Json) -> None:
    assert routes({"match": [match], "route": [to("v1")]})[0]["match"] == wanted


def test_each_match_of_an_entry_is_a_route_of_its_own() -> None:
    """The items of `match` are alternatives, the fields of one item all have to hold."""
    found = routes({"match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}], "route": [to("v3")]})
    assert [each["match"] for each in found] == [{"path": "/a"}, {"path": "/b"}]


def test_matches_that_choose_other_proxies_are_not_for_this_one() -> None:
    """`gateways`, `sourceLabels`, `sourceNamespace` and `port` choose sidecars, not requests."""
    others: list[Json] = [
        {"gateways": ["gw"]},
        {"sourceLabels": {"app": "ratings"}},
        {"sourceNamespace": "elsewhere"},
        {"port": 8080},
    ]
    entries = [{"match": [each], "route": [to("v3")]} for each in others]
    mine = {"match": [{"sourceLabels": {"app": "productpage"}, "gateways": ["mesh"]}], "route": [to("v1")]}
    assert [shares(each) for each in routes(*entries, mine)] == [{V1: 100}]


def test_a_virtual_service_of_a_gateway_only_leaves_the_sidecar_alone() -> None:
    found = routes({"route": [to("v3")]}, gateways=["bookinfo-gateway"])
    assert [shares(each) for each in found] == [{cluster_name(9080, "", bookinfo.HOST): 100}]


def test_timeout_and_retries_are_taken_over() -> None:
    entry = {"timeout": "1m500ms", "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx,503"}}
    action = routes({**entry, "route": [to("v1")]})[0]["route"]
    assert action["timeout"] == "60.5s"
    policy = action["retry_policy"]
    assert (policy["num_retries"], policy["per_try_timeout"]) == (3, "2s")
    assert (policy["retry_on"], policy["retriable_status_codes"]) == ("5xx,retriable-status-codes", [503])
    assert "retry_policy" not in routes({"retries": {"attempts": 0}, "route": [to("v1")]})[0]["route"]


# Hosts, services, subsets


def test_a_service_without_a_virtual_service_gets_its_plain_cluster() -> None:
    found = host_of(translate(mesh()))
    assert [shares(each) for each in found["routes"]] == [{cluster_name(9080, "", bookinfo.HOST): 100}]
    assert {"reviews:9080", "reviews.default", bookinfo.HOST} <= set(found["domains"])


def test_a_short_host_belongs_to_the_namespace_of_the_object_that_holds_it() -> None:
    """Not to the client's: `reviews` in a VirtualService of another namespace is another service."""
    stranger = virtual({"route": [to("v3")]})
    stranger["metadata"]["namespace"] = "elsewhere"
    translation = translate(mesh(stranger))
    assert [shares(each) for each in host_of(translation)["routes"]] == [{cluster_name(9080, "", bookinfo.HOST): 100}]


def test_a_missing_subset_or_host_gets_a_route_to_nowhere() -> None:
    """Envoy answers 503 NC; refusing it here would hide what a mesh does."""
    translation = translate(mesh(virtual({"route": [to("v9", 50), to("v1", 50, host="nobody")]})))
    wanted = {cluster_name(9080, "v9", bookinfo.HOST), cluster_name(9080, "v1", "nobody.default.svc.cluster.local")}
    assert set(shares(host_of(translation)["routes"][0])) == wanted
    assert not wanted & {each["name"] for each in translation.clusters}


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


def test_a_destination_without_port_goes_to_the_only_port_of_its_service() -> None:
    """Not to the listener's: `ratings` may listen elsewhere."""
    about = {"name": "ratings", "namespace": "default"}
    ratings = {"kind": "Service", "metadata": about, "spec": {"ports": [{"port": 8000}], "selector": {"app": "r"}}}
    translation = translate(mesh(ratings, virtual({"route": [to("", host="ratings")]})))
    assert shares(host_of(translation)["routes"][0]) == {
        cluster_name(8000, "", "ratings.default.svc.cluster.local"): 100
    }


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


def test_the_oldest_virtual_service_of_a_host_wins() -> None:
    """A sidecar merges nothing."""
    young, old = virtual({"route": [to("v3")]}), virtual({"route": [to("v1")]})
    young["metadata"] |= {"name": "a-young", "creationTimestamp": "2026-02-01T00:00:00Z"}
    old["metadata"] |= {"name": "b-old", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert [shares(each) for each in host_of(translate(mesh(young, old)))["routes"]] == [{V1: 100}]


# Refusals


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"delegate": {"name": "x"}}, "`delegate` is not translated"),
        ({"redirect": {"uri": "/x"}}, "`redirect` is not translated"),
        ({"route": [to("v1")], "fault": {"abort": {"httpStatus": 500}}}, "`fault` is not translated"),
        ({"route": [to("v1")], "mirror": {"host": "x"}}, "`mirror` is not translated"),
        ({"route": [to("v1")], "rewrite": {"uri": "/"}}, "`rewrite` is not translated"),
        ({"route": [{**to("v1"), "headers": {"request": {"set": {"a": "b"}}}}]}, "`headers` is not translated"),
        ({"route": [to("v1")], "timeout": "soon"}, "'soon' is not a duration"),
        ({"route": [to("v1")], "match": [{"uri": {"glob": "*"}}]}, "expected one of exact, prefix, regex, got glob"),
        ({"match": [{"uri": {"exact": "/"}}]}, "without `route`"),
    ],
)
def test_what_is_not_translated_is_refused_by_name(entry: Json, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refusal:
        routes(entry)
    assert "VirtualService default/reviews, http[0]" in str(refusal.value)


@pytest.mark.parametrize("protocol", ["tls", "tcp"])
def test_other_protocols_are_refused(protocol: str) -> None:
    with pytest.raises(Rejected, match=f"{protocol} routes are not translated"):
        routes({"route": [to("v1")]}, **{protocol: [{"route": [to("v1")]}]})


def test_a_traffic_policy_that_is_not_translated_is_refused() -> None:
    rule = bookinfo.destination_rule()
    rule["spec"]["trafficPolicy"] = {"tunnel": {"targetHost": "elsewhere", "targetPort": 1}}
    objects = [each for each in mesh() if each["kind"] != "DestinationRule"]
    with pytest.raises(Rejected, match="`tunnel` is not translated"):
        translate([*objects, rule])


# Over real objects


def corpus_objects(corpus: Path) -> Iterator[tuple[str, Json]]:
    """Each VirtualService as it stands, and once more as if it were bound to the mesh."""
    for place in sorted([*corpus.glob("*.yaml"), *corpus.glob("nonweightable/*.yaml")]):
        each = yaml.safe_load(place.read_text())
        yield place.name, each
        if "gateways" in each["spec"]:
            bound = {key: value for key, value in each["spec"].items() if key != "gateways"}
            yield f"{place.name} in the mesh", {**each, "spec": bound}


def services_for(each: Json) -> list[Json]:
    """A Service for every host that a VirtualService names and that could be one."""
    namespace = each["metadata"].get("namespace", "default")
    named = {
        destination["destination"]["host"]
        for entry in each["spec"].get("http") or []
        for destination in entry.get("route") or []
    }
    services = []
    for host in sorted(named):
        name, _, rest = host.partition(".")
        if rest and not rest.endswith(".svc.cluster.local"):
            continue
        about = {"name": name, "namespace": rest.split(".")[0] if rest else namespace}
        spec = {"ports": [{"port": 9080}], "selector": {"app": name}}
        services.append({"kind": "Service", "metadata": about, "spec": spec})
    return services


def expected(each: Json) -> list[list[int]]:
    """
    What each match of each entry should weigh, by Istio's rules and nothing of ours.

    One destination has all, zeros are nobody's, and nothing follows an entry that matches everything.
    """
    found = []
    for entry in each["spec"].get("http") or []:
        weights = [one.get("weight", 0) for one in entry.get("route") or []]
        kept = [100] if len(weights) == 1 else [weight for weight in weights if weight]
        for match in entry.get("match") or [{}]:
            found.append(kept)
            if not match.keys() - {"name"}:
                return found
    return found


def chooses_proxies(each: Json) -> bool:
    matches = [match for entry in each["spec"].get("http") or [] for match in entry.get("match") or []]
    return any(match.keys() & {"gateways", "port", "sourceLabels", "sourceNamespace"} for match in matches)


def test_every_object_of_the_corpus_is_translated_or_refused_with_a_sentence(corpus: Path) -> None:
    """Never silently wrong: all entries of an object reach Envoy, in order and with their weights, or none does."""
    translated, refusals = 0, {}
    for name, each in corpus_objects(corpus):
        proxy = Proxy(namespace=each["metadata"].get("namespace", "default"))
        try:
            translation = translate([each, *services_for(each)], proxy)
        except Rejected as refusal:
            refusals[name, each["metadata"]["name"]] = str(refusal)
            continue
        for host in translation.routes["9080"]["virtual_hosts"]:
            got = [list(shares(route).values()) for route in host["routes"]]
            if host["routes"] and host["routes"][-1].get("name") == "default":
                continue  # a service that this VirtualService does not speak for
            if chooses_proxies(each):
                continue  # which of its matches are for this sidecar, another test says
            translated += 1
            wanted = expected(each)
            assert got == wanted[: len(got)], name
            assert len(got) == len(wanted) or host["routes"][-1]["match"] in CATCH_ALL, name
    assert [name for name, sentence in refusals.items() if name[1] not in sentence] == []
    assert translated >= 80
    assert len(refusals) >= 40


CATCH_ALL: tuple[Json, ...] = (
    {"prefix": "/"},
    {"prefix": "/", "case_sensitive": False},
    {"safe_regex": {"regex": ".*"}},
)


def test_nothing_weightless_of_the_corpus_is_translated(corpus: Path) -> None:
    """Delegates, redirects and direct responses are refused, not turned into something else."""
    for place in sorted(corpus.glob("nonweightable/*.yaml")):
        each = yaml.safe_load(place.read_text())
        if each["spec"].get("gateways", ["mesh"]) == ["mesh"] and each["spec"].get("hosts"):
            with pytest.raises(Rejected):
                translate([each], Proxy(namespace=each["metadata"].get("namespace", "default")))


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_envoy_accepts_whatever_is_translated(corpus: Path, tmp_path: Path) -> None:
    """A translation that Envoy refuses would leave the former routes in force without a word to anybody."""
    envoy = Envoy(tmp_path, bookinfo.upstreams())
    envoy.start()
    try:
        accepted = 0
        for name, each in corpus_objects(corpus):
            proxy = Proxy(namespace=each["metadata"].get("namespace", "default"))
            try:
                translation = translate([each, *services_for(each)], proxy)
            except Rejected:
                continue
            for kind, resources in (("cds", translation.clusters), ("rds", [translation.routes["9080"]])):
                try:
                    envoy.confirm(kind, envoy.write(kind, resources))
                except Rejected as refusal:
                    pytest.fail(f"{name}: {refusal}")
            accepted += 1
        assert accepted >= 40
    finally:
        envoy.stop()
