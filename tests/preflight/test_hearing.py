"""What a real Prometheus with an hour behind it is understood to say, and what is made of one that says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Unavailable
from canaryd.metrics.prometheus import Answer, Prometheus
from canaryd.metrics.promql import BUCKETS, REQUESTS
from canaryd.metrics.sources import Sources
from canaryd.model.cells import Sought
from canaryd.model.problem import Problem
from canaryd.model.traffic import Entry, Route, Side, Sides, Version
from canaryd.preflight.heard import AT_THE_PODS, DURATIONS, Caller, Heard, Trial
from canaryd.preflight.hearing import Hearing
from canaryd.settings import NamedSource, Settings, Source
from tests.metrics.worlds import closed_url
from tests.preflight.remembering import Remembered, growing
from tests.preflight.stage import plan

BOUNDS = ("0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "+Inf")
PAGE = {"source_workload": "productpage-v1", "source_workload_namespace": "default", "pod": "productpage-1"}
GATEWAY = {"source_workload": "istio-ingressgateway", "source_workload_namespace": "istio-system", "pod": "gateway-1"}
JOB = {"job": "kubernetes-pods", "instance": "10.0.0.1:15020", "namespace": "default"}


def call(host: str, workload: str = "", **more: str) -> dict[str, str]:
    """The labels of good requests of productpage to ``host``."""
    return {
        **JOB,
        **PAGE,
        "reporter": "source",
        "destination_service": f"{host}.default.svc.cluster.local",
        "destination_workload": workload or f"{host}-v1",
        "destination_workload_namespace": "default",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        **more,
    }


def bookinfo(told: Remembered) -> None:
    """Productpage calls with 60 requests a second, the gateway with 40, one request in two hundred fails."""
    told.series(REQUESTS, call("reviews"), growing(59.5))
    told.series(REQUESTS, call("reviews", response_code="503", response_flags="UC"), growing(0.5))
    told.series(REQUESTS, call("reviews", **GATEWAY), growing(40))
    told.series(REQUESTS, call("reviews", "unknown", response_code="503", response_flags="UH"), growing(1))
    told.series(REQUESTS, call("reviews", response_code="500", response_flags="FI"), growing(5))
    told.series(REQUESTS, call("reviews", reporter="destination"), growing(100))
    told.series(REQUESTS, call("reviews", reporter="destination", source_workload="unknown"), growing(20))
    for caller in (PAGE, GATEWAY):
        for bound in BOUNDS:
            told.series(BUCKETS, call("reviews", le=bound, **caller), growing(40))


def others(told: Remembered) -> None:
    """Services that are not as they should be, each in its own way."""
    told.series(REQUESTS, call("seldom", request_protocol="grpc", grpc_response_status="14"), growing(2), scrape=60)
    told.series(REQUESTS, call("young"), growing(10, since=90), since=90)
    told.series(REQUESTS, call("quiet"), growing(10, until=400))
    told.series(REQUESTS, call("native"), growing(10))
    told.series(BUCKETS.removesuffix("_bucket"), call("native"), growing(10))
    for bound in BOUNDS:
        told.series(BUCKETS, call("mixed", le=bound), growing(10))
        told.series(BUCKETS, call("mixed", le=bound.replace("250", "200"), **GATEWAY), growing(10))
    told.series(REQUESTS, call("mixed"), growing(10))
    told.series(REQUESTS, call("twice"), growing(10))
    told.series(REQUESTS, call("twice", job="istio-proxies", instance="10.0.0.1:15090"), growing(10))
    told.series(REQUESTS, call("far", source_cluster="east", destination_cluster="east"), growing(10))
    told.series(REQUESTS, call("far", source_cluster="west", destination_cluster="west", pod="p2"), growing(10))
    told.series(REQUESTS, call("ambient", reporter="waypoint"), growing(10))
    for bound in BOUNDS[3:]:
        told.series(BUCKETS, call("half", le=bound), growing(10))
    for bound in BOUNDS:
        told.series(BUCKETS, call("half", le=bound, pod="p2"), growing(10))
    told.series(REQUESTS, call("half"), growing(10))
    told.series(REQUESTS, call("routes", request_operation="/pay"), growing(10))
    told.series(REQUESTS, call("routes", request_operation="/see"), growing(20))
    told.series(REQUESTS, call("routes", **GATEWAY), growing(30))
    told.series(REQUESTS, {**call("bare"), "response_flags": "", "destination_workload_namespace": ""}, growing(10))


def control_plane(told: Remembered) -> None:
    told.series("pilot_total_xds_rejects", {"type": "rds", **JOB}, growing(0.1))
    told.series("pilot_total_xds_rejects", {"type": "cds", **JOB}, lambda _: 7)
    for bound, share in (("0.1", 0.5), ("1", 0.9), ("3", 1.0), ("+Inf", 1.0)):
        told.series("pilot_proxy_convergence_time_bucket", {"le": bound, **JOB}, growing(share))
    for pod, tag in enumerate(("1.27.0", "1.27.0", "1.26.4")):
        told.series("istio_build", {"component": "proxy", "tag": tag, **JOB, "instance": str(pod)}, lambda _: 1)


def queues(told: Remembered) -> None:
    """What the applications themselves report: stable's queue, and a ratio that divides by nothing."""
    told.series("shop_queue_length", {**JOB, "app": "reviews-v1", "pod": "a"}, lambda _: 3)
    told.series("shop_queue_length", {**JOB, "app": "reviews-v1", "pod": "b"}, lambda _: 4)
    told.series("shop_nothing_total", {**JOB, "app": "reviews-v3"}, lambda _: 0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, promtool: Path) -> Iterator[str]:
    told = Remembered()
    bookinfo(told)
    others(told)
    control_plane(told)
    queues(told)
    with told.prometheus(tmp_path_factory.mktemp("remembering"), promtool) as found:
        yield found


def route(host: str) -> Route:
    return Route("default", host, host, (Entry(0),), Version(host, "v1"), Version(host, "v3"))


def hear(url: str, host: str = "reviews", **spec: Any) -> Heard:
    return Hearing(Prometheus(url)).hear(plan(**spec), route(host))


def test_the_callers_and_what_they_get_are_heard(url: str) -> None:
    """By the hour who calls, by the last minutes how much; faults of the mesh's own are no requests of a version's."""
    heard = hear(url)
    assert [str(one) for one in heard.callers] == ["productpage-v1.default", "istio-ingressgateway.istio-system"]
    assert heard.callers[1].rate == pytest.approx(40, rel=0.01)
    assert [one.workload for one in heard.served] == ["reviews-v1", "unknown"]
    assert heard.served[0].rate == pytest.approx(100, rel=0.01)
    assert heard.served[0].failing == pytest.approx(0.005, rel=0.01)
    assert heard.of() == heard.of({"reviews-v1"})
    assert (heard.silent, heard.probed, heard.missed) == ("", (), ())


def test_what_reaches_the_pods_is_heard_and_from_whom_without_a_sidecar(url: str) -> None:
    heard = hear(url)
    assert heard.pods == pytest.approx(120, rel=0.01)
    assert heard.uninjected == pytest.approx(20, rel=0.01)
    assert hear(url, "twice").pods is None


def test_labels_and_protocols_are_those_that_have_a_value(url: str) -> None:
    whole, bare = hear(url).labels, hear(url, "bare").labels
    assert whole - bare == {"response_flags", "destination_workload_namespace"}
    assert "grpc_response_status" not in whole
    assert hear(url, "seldom", analysis={"scrape": "60s", "cell": "60s"}).protocols == {"grpc"}
    assert hear(url, "seldom", analysis={"scrape": "60s", "cell": "60s"}).of().failing == 1


def test_the_interval_is_learned_from_the_spacing_of_samples(url: str) -> None:
    assert hear(url).interval == pytest.approx(15, rel=0.05)
    assert hear(url, "young").interval in (pytest.approx(15, rel=0.01), 12)  # at its edge a minute may hold five
    seldom = hear(url, "seldom", analysis={"scrape": "60s", "cell": "60s"})
    assert seldom.interval == pytest.approx(60, rel=0.1)


def test_the_rate_of_a_young_service_is_taken_over_its_last_minute(url: str) -> None:
    """Over five it would be a fifth."""
    assert hear(url, "young").of().rate == pytest.approx(10, rel=0.01)


def test_a_service_that_nobody_calls_just_now_is_called_by_nobody_just_now(url: str) -> None:
    """It is known all the same: its series say that it is quiet."""
    heard = hear(url, "quiet")
    assert [one.workload for one in heard.served] == ["quiet-v1"]
    assert heard.of().rate == 0
    assert heard.callers[0].rate == pytest.approx(10 * 3200 / 3600, rel=0.02)


def test_the_bounds_are_each_callers_own(url: str) -> None:
    (page,) = {one.bounds_ms for one in hear(url).histograms}
    assert page == tuple(map(float, BOUNDS[:-1]))
    gateway, other = hear(url, "mixed").histograms
    assert (gateway.caller, other.caller) == (
        Caller("istio-ingressgateway", "istio-system"),
        Caller("productpage-v1", "default"),
    )
    assert set(gateway.bounds_ms) ^ set(other.bounds_ms) == {200.0, 250.0}


def test_a_caller_whose_proxies_have_different_bounds_is_mixed(url: str) -> None:
    [half] = hear(url, "half").histograms
    assert half.mixed
    assert len(half.bounds_ms) == 10
    assert not any(one.mixed for one in hear(url, "mixed").histograms)


def test_who_reports_at_all_is_heard_where_no_caller_does(url: str) -> None:
    assert hear(url).reporters == {"source", "destination"}
    assert hear(url, "ambient").reporters == {"waypoint"}


def test_what_a_where_leaves_is_heard_by_caller(url: str) -> None:
    """The plan's own and that of each check; who sends requests without such a label is named."""
    checks = [
        {"name": "errors", "metric": "error-rate", "compare": "stable"},
        {"name": "pay", "metric": "error-rate", "compare": "stable", "where": {"request_operation": ["/pay", "/x"]}},
        {"name": "gone", "metric": "error-rate", "compare": "stable", "where": {"tenant": "a"}},
    ]
    pay, gone = hear(url, "routes", analysis={"checks": checks}).counted
    assert (pay.all_, pay.counted) == pytest.approx((60, 10), rel=0.05)
    assert [str(one) for one in pay.without] == ["istio-ingressgateway.istio-system"]
    assert (gone.counted, len(gone.without)) == (0, 2)
    assert hear(url, "routes").counted == ()


def test_in_ambient_mode_the_waypoint_is_heard(url: str) -> None:
    """Whoever counts most is asked for everything, unless the plan says who."""
    heard = hear(url, "ambient")
    assert (heard.reporter, dict(heard.rates)) == ("waypoint", {"waypoint": pytest.approx(10, rel=0.05)})
    assert [str(one) for one in heard.callers] == ["productpage-v1.default"]
    assert heard.probed == ()
    plain = hear(url, "ambient", analysis={"reporter": "source"})
    assert (plain.reporter, [one.code for one in plain.probed]) == ("source", ["NoSeries"])
    assert hear(url, "reviews").reporter == "source"


def test_native_histograms_alone_are_told_from_none(url: str) -> None:
    assert hear(url, "native").native
    assert not hear(url, "twice").native
    assert not hear(url).native


def test_two_jobs_that_scrape_one_pod_are_counted(url: str) -> None:
    assert hear(url).scrapers == 1
    assert hear(url, "twice").scrapers == 2
    assert hear(url, "far").scrapers == 1


def test_several_clusters_are_named(url: str) -> None:
    assert hear(url).clusters == ()
    assert hear(url, "far").clusters == ("east", "west")


def test_istiods_own_metrics_are_heard(url: str) -> None:
    """What was refused before the last ten minutes is over; the slowest hundredth of the proxies took two to three."""
    istiod = hear(url).istiod
    assert [kind for kind, _ in istiod.rejects] == ["rds"]
    assert istiod.rejects[0][1] == pytest.approx(60, rel=0.05)
    assert istiod.convergence == pytest.approx(2.8)
    assert istiod.versions == (("1.26.4", 1), ("1.27.0", 2))


def test_an_unknown_service_is_what_the_probe_finds_and_nothing_else(url: str) -> None:
    heard = hear(url, "nowhere")
    assert [one.code for one in heard.probed] == ["NoSeries"]
    assert (heard.served, heard.callers, heard.labels, heard.silent) == ((), (), frozenset(), "")


def test_a_prometheus_that_does_not_answer_is_silent_and_a_finding() -> None:
    """One that passes by itself."""
    heard = hear(closed_url())
    assert [(one.code, one.level, one.transient) for one in heard.probed] == [("PrometheusUnreachable", "error", True)]
    assert "cannot be asked" in heard.silent


def test_a_prometheus_that_the_plan_may_not_name_is_a_finding(url: str) -> None:
    sources = Sources(Settings(prometheuses={"pay": NamedSource(url=url, namespaces=("payments",))}))
    for name in ("pay", "nobody"):
        heard = Hearing(sources).hear(plan(analysis={"prometheus": name}), route("reviews"))
        assert [one.code for one in heard.probed] == ["PrometheusBarred"]
        assert heard.silent


def test_the_one_that_measures_the_plan_is_asked(url: str) -> None:
    """Here the default is away."""
    named = {"far": NamedSource(url=url, namespaces=("*",), default_for=("default",))}
    heard = Hearing(Sources(Settings(prometheus=Source(url=closed_url()), prometheuses=named))).hear(
        plan(), route("reviews")
    )
    assert heard.of().rate == pytest.approx(100, rel=0.2)  # what was remembered grows old


class Partly:
    """Answers as the other does, except to queries with a word in them."""

    def __init__(self, other: Prometheus, refused: Mapping[str, str]) -> None:
        self.choose, self.probe, self.reporters = other.choose, other.probe, other.reporters
        self._other, self._refused = other, refused
        self.asked = 0

    def ask(self, sought: Sought, query: str, deadline: float) -> Answer:
        self.asked += 1
        for word, way in self._refused.items():
            if word in query and way == "partial":
                return Answer(self._other.ask(sought, query, deadline).rows, "a store is away")
            if word in query:
                raise Unavailable("too slow")
        return self._other.ask(sought, query, deadline)


def test_a_query_without_a_whole_answer_costs_only_what_it_would_have_told(url: str) -> None:
    """What was missed is said, and is not taken for nothing."""
    partly = Partly(Prometheus(url), {BUCKETS: "partial", 'reporter="destination"': "slow"})
    heard = Hearing(partly).hear(plan(), route("reviews"))
    assert dict(heard.missed) == {
        DURATIONS: "Prometheus gave a partial answer: a store is away",
        AT_THE_PODS: "too slow",
    }
    assert (heard.histograms, heard.pods) == ((), None)
    assert heard.of().rate == pytest.approx(100, rel=0.2)  # what was remembered grows old
    assert partly.asked <= 9


def test_names_are_escaped(url: str) -> None:
    """A host is a text of the user's; it never becomes a pattern or the end of a string."""
    strange = Route("default", "x", "x", (Entry(0),), Version('re.i"s|.*', "v1"), Version('re.i"s|.*', "v3"))
    heard = Hearing(Prometheus(url)).hear(plan(), strange)
    assert [one.code for one in heard.probed] == ["NoSeries"]
    assert heard.missed == ()


def test_no_more_than_one_deadline_is_spent(url: str) -> None:
    """What does not fit is missed, and said."""
    heard = Hearing(Prometheus(url), within=0.0).hear(plan(), route("reviews"))
    assert len(heard.missed) == 7
    assert heard.served == ()


def test_a_problem_without_a_code_makes_prometheus_deaf(url: str) -> None:
    """Such as a source that is not to be asked any more."""

    class Barred(Partly):
        def __init__(self) -> None:
            super().__init__(Prometheus(url), {})
            self.probe = lambda _: (Problem("spec.analysis.prometheus", "gone", "a Prometheus that may be asked"),)

    heard = Hearing(Barred()).hear(plan(), route("reviews"))
    assert heard.silent
    assert heard.callers == ()


# The checks' own queries


SIDES = Sides(
    Side(("reviews-v1",), "default", ("u1",), ("h1",), 2, 2, rolled_out=True),
    Side(("reviews-v3",), "default", ("u3",), ("h3",), 2, 2, rolled_out=True),
)


def trials_of(url: str, query: str, **more: Any) -> dict[str, Trial]:
    """What a check's query finds of each side."""
    check = {"name": "own", "metric": "promql", "query": query, "compare": "stable"} | more
    checks = [{"name": "errors", "metric": "error-rate", "compare": "stable"}, check]
    heard = Hearing(Prometheus(url)).hear(plan(analysis={"checks": checks}), route("reviews"), SIDES)
    assert heard.missed == ()
    return {trial.side: trial for trial in heard.trials}


def test_a_query_is_tried_for_both_sides(url: str) -> None:
    """What stable has and the canary not yet is told apart from a name that nobody has."""
    found = trials_of(url, 'sum(shop_queue_length{app="${workload}"})')
    assert (found["stable"].rows, found["stable"].value) == (1, 7.0)
    assert found["canary"] == Trial("own", "canary")


def test_several_values_are_told_with_what_they_differ_by(url: str) -> None:
    found = trials_of(url, 'shop_queue_length{app="${workload}"}')
    assert (found["stable"].rows, found["stable"].labels) == (2, ("pod",))


def test_a_misspelt_metric_is_told_with_the_names_that_are_like_it(url: str) -> None:
    """From the names that Prometheus has; the label that it asks for is not looked for then."""
    found = trials_of(url, 'sum(shop_queue_lenght{app="${workload}"})')
    assert found["stable"].unknown == (("shop_queue_lenght", ("shop_queue_length",)),)
    assert found["stable"].missing == ()


def test_a_misspelt_label_is_told_with_those_that_are_like_it(url: str) -> None:
    found = trials_of(url, 'sum(shop_queue_length{ap="${workload}",job!="x"})')
    assert found["canary"].unknown == ()
    assert found["canary"].missing == (("shop_queue_length", "ap", ("app",)),)


def test_what_is_no_number_and_what_is_refused_are_told(url: str) -> None:
    query = 'sum(shop_nothing_total{app="${workload}"}) / sum(shop_nothing_total{app="${workload}"})'
    found = trials_of(url, query, compare=None, atMost=1)
    assert list(found) == ["canary"]
    assert found["canary"].value != found["canary"].value
    assert (
        "HTTP 422" in trials_of(url, 'shop_queue_length{app="${workload}"} + on () shop_queue_length')["stable"].refused
    )


def test_nothing_is_tried_where_the_pods_are_not_known(url: str) -> None:
    """Who they are is part of the question."""
    checks = [{"name": "own", "metric": "promql", "query": "max(x)", "atMost": 1}]
    assert hear(url, analysis={"checks": checks}, acceptUnproven="t").trials == ()
