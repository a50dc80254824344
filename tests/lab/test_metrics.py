"""What Envoy and Prometheus count is what happened, under the labels that Istio writes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab

from .conftest import RPS, Row, answered, client_books, settled_books, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: what other tests call by hand in the shared one is in Prometheus' books, and in no client's."""
    with Lab.up(tmp_path_factory.mktemp("books"), rps=RPS, seed=7) as lab:
        yield lab


LABELS_OF_ISTIO = {
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
}
TARGET_LABELS = {"__name__", "instance", "job"}


def series(lab: Lab, selector: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def there() -> bool:
        found[:] = [labels for labels, _ in lab.prometheus.query(f"istio_requests_total{{{selector}}}")]
        return bool(found)

    wait_for(there, selector, 5)
    return found


def within(count: int, total: int, share: float, sigmas: float = 4.5) -> bool:
    """Whether a binomial count lies where it belongs: 4.5 sigma is once in 150 000 runs."""
    return abs(count - total * share) <= sigmas * math.sqrt(total * share * (1 - share)) + 1


def test_prometheus_counts_every_request_the_client_saw(lab: Lab) -> None:
    """The judge works on exact counts: a request lost or doubled on the way would bias every verdict."""
    before = settled_books(lab)
    lab.set_weights({"v1": 50, "v3": 50})
    lab.faults.set("v3", error_rate=0.2)
    lab.load.set_rate(500)
    answered(lab, 1200)
    lab.load.set_protocol("grpc")
    lab.faults.set("v1", grpc_error_rate=0.1)
    answered(lab, 600)
    seen = settled_books(lab) - before
    wanted = {("v1", "200"), ("v3", "200"), ("v3", "500"), ("v1", "grpc 0"), ("v1", "grpc 13"), ("v3", "grpc 0")}
    assert set(seen) == wanted
    assert sum(seen.values()) >= 1800


def test_weights_are_relative_to_their_sum(lab: Lab) -> None:
    """Istio does not ask for a sum of 100: 1 and 3 are a quarter and three quarters."""
    before = settled_books(lab)
    lab.set_weights({"v1": 1, "v3": 3})
    lab.load.set_rate(500)
    answered(lab, 1500)
    seen = settled_books(lab) - before
    assert within(seen["v3", "200"], sum(seen.values()), 0.75), seen


def test_a_faulty_version_fails_as_often_as_its_dial_says(lab: Lab) -> None:
    """Trials speak of 2 % errors: the dial must mean it."""
    before = settled_books(lab)
    lab.set_weights({"v3": 100})
    lab.faults.set("v3", error_rate=0.02)
    lab.load.set_rate(600)
    answered(lab, 3000)
    seen = settled_books(lab) - before
    assert within(seen["v3", "500"], sum(seen.values()), 0.02), seen


def test_a_slow_tail_leaves_the_median_alone(lab: Lab) -> None:
    """A canary whose p99 doubles while its median stays is a story of its own; the dial must be able to tell it."""
    lab.load.settle()
    before = lab.counts().of("v3")
    lab.set_weights({"v3": 100})
    lab.faults.set("v3", base_ms=20, spread_rate=0, tail_rate=0.1, tail_ms=200)
    lab.load.set_rate(400)
    answered(lab, 1200)
    after = lab.load.settle().of("v3")
    times = after.by_millisecond - before.by_millisecond
    slow = sum(n for millisecond, n in times.items() if millisecond >= 200)
    total = sum(times.values())
    assert within(slow, total, 0.1)
    assert min(times) >= 10  # not 20: Envoy counts a delay from its event loop's clock, which may lag some ms
    assert sum(n for millisecond, n in times.items() if millisecond < 45) > 0.85 * total


def test_no_ready_pod_is_counted_as_unknown(lab: Lab) -> None:
    """A dead canary has no series of its own: Istio writes `unknown`, and only the host and the flag UH are left."""
    lab.set_weights({"v1": 50, "v3": 50})
    assert lab.drain("v3") == bookinfo.REPLICAS
    before = lab.counts().of("unknown").answered
    answered(lab, 200)
    assert within(lab.counts().of("unknown").answered - before, 200, 0.5, sigmas=6)
    for row in series(lab, 'reporter="source",response_flags="UH",request_protocol="http"'):
        assert {key: row[key] for key in EXPECTED_UH} == EXPECTED_UH
    lab.restore("v3")
    healthy = lab.counts().of("v3").answered
    wait_for(lambda: lab.counts().of("v3").answered > healthy, "v3 answers again")


EXPECTED_UH = {
    "response_code": "503",
    "destination_workload": "unknown",
    "destination_workload_namespace": "unknown",
    "destination_version": "unknown",
    "destination_app": "unknown",
    "destination_canonical_service": "unknown",
    "destination_canonical_revision": "latest",
    "destination_service": bookinfo.HOST,
    "destination_service_name": "reviews",
    "destination_service_namespace": "unknown",  # sic: Istio takes it from the host that was picked
}


def test_a_missing_subset_is_counted_under_the_host_header(lab: Lab) -> None:
    """A route to a subset that no DestinationRule has is 503 NC, and Istio then has only the Host header for a name."""
    lab.cluster.apply(bookinfo.virtual_service({"v1": 50, "v9": 50}))
    lab.control_plane.settle()
    assert lab.control_plane.problem is None
    answered(lab, 100)
    for row in series(lab, 'reporter="source",response_flags="NC"'):
        assert row["response_code"] == "503"
        assert row["destination_service"] == "reviews:9080"
        assert row["destination_workload"] == row["destination_version"] == "unknown"
        assert row["destination_canonical_revision"] == "latest"


def test_a_grpc_failure_comes_on_http_200(lab: Lab) -> None:
    """Whoever counts 5xx only would promote a gRPC canary that fails every call."""
    lab.set_weights({"v3": 100})
    lab.faults.set("v3", grpc_error_rate=1.0, grpc_status=13)
    lab.load.set_protocol("grpc")
    before = lab.counts().of("v3").by_status["grpc 13"]
    wait_for(lambda: lab.counts().of("v3").by_status["grpc 13"] > before + 100, "gRPC failures")
    for row in series(lab, 'reporter="source",grpc_response_status="13"'):
        assert (row["request_protocol"], row["response_code"], row["response_flags"]) == ("grpc", "200", "-")


def test_retries_hide_unavailable_as_istio_does(lab: Lab) -> None:
    """Istio retries gRPC 14 twice by default: half the attempts fail, an eighth of the requests."""
    before = settled_books(lab)
    lab.set_weights({"v3": 100})
    lab.faults.set("v3", grpc_error_rate=0.5, grpc_status=14, base_ms=1, tail_rate=0)
    lab.load.set_protocol("grpc")
    lab.load.set_rate(400)
    answered(lab, 800)
    seen = settled_books(lab) - before
    assert within(seen["v3", "grpc 14"], sum(n for (v, s), n in seen.items() if s.startswith("grpc")), 0.125), seen


def test_the_labels_are_istios(lab: Lab) -> None:
    """A query that works here must work against a mesh: every label of Istio's standard metrics, and no other."""
    answered(lab, 20)
    rows = series(lab, 'reporter="source",destination_workload="reviews-v1",request_protocol="http"')
    for row in rows:
        assert set(row) - TARGET_LABELS == LABELS_OF_ISTIO
        assert (row["response_flags"], row["destination_version"]) == ("-", "v1")


def test_both_reporters_count_and_agree_on_a_healthy_service(lab: Lab) -> None:
    """Summing over reporters counts everything twice; the lab must show that mistake as a mesh would."""
    settled_books(lab)

    def total(reporter: str) -> float:
        of_v1 = 'destination_workload="reviews-v1",request_protocol="http"'
        rows = lab.prometheus.query(f'sum(istio_requests_total{{reporter="{reporter}",{of_v1}}})')
        return rows[0][1] if rows else 0.0

    # A pod that is gone has taken its own counters along, as in a mesh: what is compared is what comes from now on.
    before = {reporter: total(reporter) for reporter in ("source", "destination")}
    answers = lab.counts().of("v1").answered
    lab.load.set_rate(300)
    answered(lab, 200)
    answers = lab.load.settle().of("v1").answered - answers
    for reporter, count in before.items():
        wait_for(lambda: total(reporter) - count == answers, f"{reporter} counts {answers}")  # noqa: B023


def test_the_pods_are_told_apart_by_what_they_count_themselves(lab: Lab) -> None:
    """How much pods differ is part of the evidence: the lab's have to be as many as the cluster says."""
    answered(lab, 100)
    selector = 'reporter="destination",destination_workload="reviews-v1"'
    names = {pod["metadata"]["name"] for pod in lab.cluster.objects("Pod")}
    of_v1 = {name for name in names if name.startswith("reviews-v1-")}
    assert len(of_v1) == bookinfo.REPLICAS
    # Pods that a rollout replaced have left their series behind.
    wait_for(lambda: of_v1 <= {row["pod"] for row in series(lab, selector)}, "every pod of v1 counts")


def test_durations_are_in_istios_buckets(lab: Lab) -> None:
    """Latency is judged on bucket bounds: other bounds than Istio's would make the lab an easier or harder mesh."""
    answered(lab, 50)
    promql = (
        'istio_request_duration_milliseconds_bucket{reporter="source",destination_version="v1",response_code="200"}'
    )
    wait_for(lambda: len(lab.prometheus.query(promql)) >= 20, "duration buckets")
    bounds = sorted({float(labels["le"]) for labels, _ in lab.prometheus.query(promql)})
    assert bounds[:11] == [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500]
    assert bounds[-1] == math.inf


def test_the_client_books_add_up(lab: Lab) -> None:
    """Every request sent ends as answered or lost; nothing is forgotten."""
    counts = lab.load.settle()
    rows: dict[Row, int] = client_books(counts)
    assert counts.sent == counts.answered + counts.lost == sum(rows.values()) + counts.lost
    assert counts.lost == 0
