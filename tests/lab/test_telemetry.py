"""Labels that Telemetry objects add at callers: which object holds for whom, and what Prometheus then has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from canaryd.errors import Rejected
from canaryd.lab.envoy.statistics import Added
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.telemetry import added_labels
from canaryd.lab.lab import Lab
from tests.lab.conftest import answered, put, wait_for

Json = dict[str, Any]
CLIENT = Proxy("productpage-v1", "default", {"app": "productpage", "version": "v1"})
PATH, ROUTE, HOST = "%PATH(NQ)%", "%ROUTE_NAME%", "%REQ(:AUTHORITY)%"


def telemetry(
    tags: Json, *, name: str = "one", home: str = "istio-system", age: int = 0, labels: Json | None = None, **match: str
) -> Json:
    override: Json = {"tagOverrides": tags, **({"match": match} if match else {})}
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": name, "namespace": home, "creationTimestamp": f"2026-01-01T00:00:{50 - age:02}Z"},
        "spec": {
            **({"selector": {"matchLabels": labels}} if labels else {}),
            "metrics": [{"providers": [{"name": "prometheus"}], "overrides": [override]}],
        },
    }


def added(*objects: Json, proxy: Proxy = CLIENT) -> Added:
    return added_labels(Registry.of(objects), proxy)


def one(value: str) -> Json:
    return {"tag": {"value": value}}


def test_an_override_of_one_metric_or_of_one_side_is_for_that_alone() -> None:
    both = (("tag", PATH),)
    assert added(telemetry(one("request.url_path"))) == Added(both, both)
    assert added(telemetry(one("request.url_path"), metric="ALL_METRICS", mode="CLIENT")) == Added(both, both)
    assert added(telemetry(one("request.url_path"), metric="REQUEST_COUNT")) == Added(both, ())
    assert added(telemetry(one("request.url_path"), metric="REQUEST_DURATION")) == Added((), both)
    assert added(telemetry(one("request.url_path"), metric="REQUEST_SIZE")) == Added()
    assert added(telemetry(one("request.url_path"), mode="SERVER")) == Added()


def test_the_meshs_the_namespaces_and_the_workloads_stack() -> None:
    """The narrower over the wider; of two of one level the older holds, as in Istio."""
    mesh = telemetry({"tag": {"value": "request.host"}, "wide": {"value": "request.method"}})
    home = telemetry(one("request.url_path"), home="default", age=5)
    younger = telemetry(one("request.path"), name="two", home="default")
    own = telemetry({"tag": {"value": "xds.route_name"}}, name="own", home="default", labels={"app": "productpage"})
    wide = ("wide", "%REQ(:METHOD)%")
    assert added(mesh).count == (("tag", HOST), wide)
    assert added(mesh, younger, home).count == (("tag", PATH), wide)
    assert added(mesh, home, own).count == (("tag", ROUTE), wide)
    other = Proxy("curl", "default", {"app": "curl"})
    assert added(mesh, home, own, proxy=other).count == (("tag", PATH), wide)
    assert added(home, own, proxy=Proxy("curl", "elsewhere", {"app": "productpage"})) == Added()
    removed = telemetry({"tag": {"operation": "REMOVE"}}, home="default")
    assert added(mesh, removed).count == (wide,)


def test_a_header_is_an_attribute() -> None:
    assert added(telemetry(one("request.headers['x-tenant']"))).count == (("tag", "%REQ(X-TENANT)%"),)


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        (telemetry(one("request.url_pth")), "Telemetry istio-system/one, tag tag: 'request.url_pth' is no attribute"),
        (telemetry(one("request.path + 'x'")), "it knows xds.route_name, request.url_path"),
        (
            {**telemetry({}), "spec": {"metrics": [{"overrides": [{"disabled": True}]}]}},
            "`disabled` is not carried out by the lab",
        ),
    ],
)
def test_what_the_lab_does_not_carry_out_is_refused(spoiled: Json, words: str) -> None:
    """A label that is silently empty would look like one that is there."""
    with pytest.raises(Rejected, match=words.replace("(", r"\(")):
        added(spoiled)


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_prometheus_has_the_label_of_what_callers_got_and_of_nothing_else(lab: Lab) -> None:
    """Of counts and durations, per path and without its query; who serves counts as before."""
    lab.load.set_rate(0)
    pay = lab.start_stream("pay", port=9080, host="reviews:9080", path="/pay?order=7", rps=40)
    try:
        put(lab, telemetry({"request_operation": {"value": "request.url_path"}}, metric="ALL_METRICS", mode="CLIENT"))
        lab.load.set_rate(40)

        def seen(what: str, reporter: str) -> Counter[str]:
            rows = lab.prometheus.query(
                f'sum by (request_operation)(rate({what}{{reporter="{reporter}",source_workload="productpage-v1",'
                f'destination_service_name="reviews"}}[4s]))'
            )
            return Counter({labels.get("request_operation", ""): round(value) for labels, value in rows if value})

        def told(what: str) -> bool:
            found = seen(what, "source")
            return found.keys() == {"/pay", "/reviews/0"} and min(found.values()) > 20

        for what in ("istio_requests_total", "istio_request_duration_milliseconds_count"):
            wait_for(lambda what=what: told(what), f"the label of {what}", 12)  # type: ignore[misc]
            assert seen(what, "destination").keys() == {""}
    finally:
        lab.stop_stream("pay")
        lab.cluster.remove("Telemetry", "istio-system", "one")
        lab.control_plane.settle()
    assert pay.counts().of("v1").failed == 0  # what is sent on a connection that Envoy just closes is lost
    answered(lab, 20)
    wait_for(lambda: seen("istio_requests_total", "source").keys() == {""}, "no such label any more", 12)


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_an_attribute_that_nobody_knows_is_the_control_planes_problem(lab: Lab) -> None:
    lab.cluster.apply(telemetry(one("request.url_pth")))
    try:
        lab.control_plane.settle()
        assert "no attribute that the lab knows" in str(lab.control_plane.problem)
    finally:
        lab.cluster.remove("Telemetry", "istio-system", "one")
        lab.control_plane.settle()
    assert lab.control_plane.problem is None


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_a_part_of_an_application_fails_by_itself(lab: Lab) -> None:
    """Requests with the header, at that version; the others answer as before."""
    lab.faults.set("v1", part_error_rate=1.0)
    before = lab.counts()
    parts = lab.start_stream("parts", port=9080, host="reviews:9080", rps=60, headers={"x-lab-part": "pay"})
    try:
        wait_for(lambda: parts.counts().answered >= 60, "60 answers", 10)
    finally:
        lab.stop_stream("parts")
    assert parts.counts().failed == parts.counts().answered
    assert parts.counts().of("v1").by_status.keys() == {"500"}
    answered(lab, 50)
    assert lab.counts().failed == before.failed
