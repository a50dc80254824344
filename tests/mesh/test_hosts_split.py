"""A Service for each version and no subsets: what is admitted, written, taken back, and what goes past the weights."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.mesh.admission import admission
from canaryd.mesh.route import other_ways
from canaryd.mesh.suspects import suspects
from canaryd.mesh.weights import Guard, split_of, weight_patch
from canaryd.model.problem import Refused
from canaryd.model.traffic import EVERYTHING, NOTHING, Admission, Marker, Split, Version
from tests.mesh.objects import applied, destination, entry, plan, pod, service, surroundings, virtual_service

Object = dict[str, Any]
OLD, NEW = Version("reviews-v1"), Version("reviews-v3")
HOSTS = {"stable": {"host": "reviews-v1"}, "canary": {"host": "reviews-v3"}}


def of_version(version: str) -> Object:
    found = service(f"reviews-{version}")
    found["spec"]["selector"] = {"app": "reviews", "version": version}
    return found


def around(**more: Any) -> Any:
    """No DestinationRule at all: a Service for each version, and the one over both that clients call."""
    services = [service(), of_version("v1"), of_version("v3")]
    return surroundings(**{"destination_rules": [], "services": services, **more})


def divided(stable: int, canary: int, **more: Any) -> Object:
    return virtual_service(entry(destination(OLD, stable), destination(NEW, canary)), **more)


def admitted(found: Object, **more: Any) -> Admission:
    return admission(plan(**HOSTS), found, around(**more))


def written(found: Object, admission: Admission, split: Split) -> Object:
    marker = Marker("run-1", 1, split, NOTHING, OLD, NEW, 1_700_000_000.0)
    return applied(found, weight_patch(found, admission.route, marker, Guard.OBJECT))


@pytest.mark.parametrize("found", [divided(100, 0), virtual_service(entry(destination(OLD)))])
def test_versions_of_their_own_hosts_are_divided_as_subsets_are(found: Object) -> None:
    """Whether the canary stands there at 0 or has to be inserted: its pods are those of its own Service."""
    answer = admitted(found)
    assert (answer.route.stable, answer.route.canary, answer.split) == (OLD, NEW, NOTHING)
    assert (answer.sides.stable.workloads, answer.sides.canary.workloads) == (("reviews-v1",), ("reviews-v3",))
    there = written(found, answer, Split.percent(25))
    assert split_of(there, answer.route).split == Split.percent(25)
    hosts = [one["destination"] for one in there["spec"]["http"][0]["route"]]
    assert hosts == [{"host": "reviews-v1"}, {"host": "reviews-v3"}]
    assert split_of(written(found, answer, EVERYTHING), answer.route).split == EVERYTHING


def test_stable_is_who_holds_the_traffic() -> None:
    """As with subsets it may be left out of the plan."""
    assert admission(plan(stable=None, canary=HOSTS["canary"]), divided(100, 0), around()).route.stable == OLD


def test_a_host_is_written_as_its_neighbours_are() -> None:
    """An object with full names gets a full name; and both mean one Service."""
    full = virtual_service(entry(destination(Version("reviews-v1.default.svc.cluster.local"), 100)))
    answer = admitted(full)
    there = written(full, answer, Split.percent(5))
    assert split_of(there, answer.route).split == Split.percent(5)
    assert answer.route.stable == Version("reviews-v1.default.svc.cluster.local")


def test_a_canary_without_a_service_is_refused() -> None:
    """Requests to it would fail with 503 (NC), under the name of the host that was called."""
    with pytest.raises(Refused, match=r"no Service default/reviews-v3; Services there: reviews, reviews-v1"):
        admitted(divided(100, 0), services=[service(), of_version("v1")])


def test_one_service_that_selects_both_is_no_two_versions() -> None:
    """A selector without the version: what one serves would be counted for the other."""
    over = of_version("v3")
    over["spec"]["selector"] = {"app": "reviews"}
    with pytest.raises(Refused, match="reviews-v1 and reviews-v3: versions that share no pod"):
        admitted(divided(100, 0), services=[of_version("v1"), over])


@pytest.mark.parametrize(
    "other",
    [
        virtual_service(entry(destination(Version("reviews"))), name="edge", gateways=["gw"]),
        virtual_service(entry(destination(Version("reviews.default.svc.cluster.local"))), name="web", namespace="web"),
    ],
)
def test_who_is_sent_to_the_service_over_both_goes_past_the_weights(other: Object) -> None:
    """Istio routes once: a destination `reviews` is all pods, whatever reviews' own VirtualService says."""
    with pytest.raises(Refused, match="one population") as refused:
        admitted(divided(100, 0), virtual_services=[other])
    assert "a destination reviews" in str(refused.value)


def test_a_service_of_other_pods_is_no_way() -> None:
    """What clients call may select something else, or nothing."""
    other = virtual_service(entry(destination(Version("reviews"))), name="edge")
    elsewhere = service()
    elsewhere["spec"]["selector"] = {"app": "reviews", "tier": "front"}
    services = [elsewhere, of_version("v1"), of_version("v3")]
    assert admitted(divided(100, 0), virtual_services=[other], services=services).split == NOTHING
    assert other_ways(admitted(divided(100, 0)).route, [divided(100, 0)], "reviews.default.svc.cluster.local") == []


def test_a_gateway_s_way_past_is_named_when_the_share_is_in_doubt() -> None:
    """By the host that it sends to."""
    route = admitted(divided(100, 0)).route
    edge = virtual_service(entry(destination(Version("reviews"))), name="edge")
    edge["spec"]["gateways"] = ["gw"]
    gateway = pod("v1")
    gateway["metadata"] |= {"namespace": "istio-system", "name": "gw-1", "labels": {"istio": "ingressgateway"}}
    gateway["metadata"]["ownerReferences"][0]["name"] = "gw-abc"
    gateway["metadata"]["labels"]["pod-template-hash"] = "abc"
    gateway["metadata"]["annotations"] = {"inject.istio.io/templates": "gateway"}
    gateway["spec"] = {"containers": [{"name": "istio-proxy"}]}
    said = suspects(route, ["gw.istio-system"], divided(75, 25), around(virtual_services=[edge], pods=[gateway]))
    assert "VirtualService default/edge sends what comes in by gateways to reviews, by weights of its own" in said
