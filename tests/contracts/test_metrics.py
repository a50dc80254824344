"""
The contract of the port `Metrics`, on the fake, on the adapter with a recorded Prometheus, and with real ones.

One of the real ones is reached as most are: by TLS with an authority and a certificate, a password and a base path.

What it guards: errors are never lost, and nothing that was not measured ever looks like a quiet cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from canaryd.errors import Unavailable
from canaryd.model.cells import Apart, Caller, Cell, Counts, Gap, Question, Sought, Value, Window, reporter_of
from canaryd.model.failures import Failures
from canaryd.model.queries import Names, known_of
from canaryd.model.traffic import NOTHING
from canaryd.model.variables import filled
from tests.metrics.guarded import Guard
from tests.metrics.worlds import BOUNDS, MemoryWorld, RealWorld, RecordedWorld, World, real_world, send, sought, window

QUIET = Counts(0, 0, (0, 0, 0, 0, 0))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorld]:
    with real_world(tmp_path_factory.mktemp("prometheus")) as world:
        yield world


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorld]:
    folder = tmp_path_factory.mktemp("guarded")
    with real_world(folder, Guard(folder / "guard")) as world:
        yield world


@pytest.fixture(params=["memory", "recorded", "prometheus", "guarded"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    elif request.param == "recorded":
        recorded = RecordedWorld()
        with recorded.recorded:
            yield recorded
    else:
        yield request.getfixturevalue("guarded" if request.param == "guarded" else "real")


def warm(world: World) -> tuple[Sought, float]:
    """A host with 100 good requests to stable behind it, and a moment at which they had been scraped."""
    to = sought()
    send(world, to, "app-v1", 100)
    return to, world.edge()


def count(world: World, to: Sought, start: float, end: float | None = None, percent: float = 10) -> Cell:
    """The cell from ``start`` to ``end``, by default to the next edge."""
    found = world.metrics.count(to, window(start, world.edge() if end is None else end, percent))
    assert isinstance(found, Cell), found
    return found


def why(world: World, to: Sought, start: float, end: float) -> str:
    """The reason of the gap from ``start`` to ``end``."""
    found = world.metrics.count(to, window(start, end))
    assert isinstance(found, Gap), found
    return found.why


def lost(world: World, to: Sought, number: float, called: str, **labels: str) -> None:
    """Requests for which the client's proxy had no cluster."""
    world_labels = {"response_code": "503", "response_flags": "NC", "destination_service": called} | labels
    send(world, to, "unknown", number, bounds=(), ms=0, pod="pod-a", **world_labels)


def test_a_cell_holds_both_sides_and_only_what_came_in_it(world: World) -> None:
    """The plain case: exact counts, and durations per bucket instead of cumulative ones."""
    to, start = warm(world)
    send(world, to, "app-v1", 90, ms=20)
    send(world, to, "app-v3", 9, ms=20)
    send(world, to, "app-v3", 1, ms=700)
    found = count(world, to, start)
    assert (found.stable, found.canary) == (Counts(90, 0, (0, 90, 0, 0, 0)), Counts(10, 0, (0, 9, 0, 0, 1)))
    assert (found.bounds_ms, found.unattributed, found.others) == ((5, 25, 100, 500), 0, 0)


def test_the_same_window_gives_the_same_cell_again(world: World) -> None:
    """A restart of canaryd asks for cells again; the verdict may not depend on it."""
    to, start = warm(world)
    send(world, to, "app-v3", 7)
    end = world.edge()
    first = count(world, to, start, end)
    send(world, to, "app-v3", 1000)
    world.edge()
    assert count(world, to, start, end) == first


def test_neighbouring_cells_neither_lose_nor_repeat_a_request(world: World) -> None:
    """The sum of all cells is the sum of all requests."""
    to, first = warm(world)
    send(world, to, "app-v3", 7)
    second = world.edge()
    send(world, to, "app-v3", 5)
    third = world.edge()
    cells = [count(world, to, first, second), count(world, to, second, third)]
    assert [cell.canary.requests for cell in cells] == [7, 5]


def test_an_error_series_born_in_the_cell_is_counted_in_full(world: World) -> None:
    """A canary's first errors are a new series, of which increase() and rate() count nothing."""
    to, start = warm(world)
    send(world, to, "app-v3", 13)
    send(world, to, "app-v3", 7, response_code="503")
    found = count(world, to, start)
    assert (found.canary.requests, found.canary.errors) == (20, 7)


def test_failed_requests_are_left_out_of_durations(world: World) -> None:
    """Errors that are fast would make a broken canary look quick."""
    to, start = warm(world)
    send(world, to, "app-v3", 10, ms=400)
    send(world, to, "app-v3", 90, ms=1, response_code="500")
    assert count(world, to, start).canary == Counts(100, 90, (0, 0, 0, 10, 0), causes=(("500", 90),))


def test_each_client_and_who_has_no_sidecar_are_told(world: World) -> None:
    """Whose requests go where is what tells a proxy that lags from a weight that is not in force."""
    to, start = warm(world)
    send(world, to, "app-v1", 30)
    send(world, to, "app-v3", 10)
    send(world, to, "app-v1", 8, source_workload="batch")
    send(world, to, "unknown", 2, source_workload="batch", response_code="503", response_flags="UH")
    send(world, to, "app-v1", 6, reporter="destination", source_workload="unknown", pod="pod-b")
    found = count(world, to, start)
    assert found.callers == (Caller("web.shop", 30, 10), Caller("batch.shop", 8, 2))
    assert found.uninjected == 6


def test_without_istiod_s_own_metrics_nobody_knows_its_pace(world: World) -> None:
    """The settle time is then the least that is known to do."""
    assert world.metrics.pace(sought()).convergence is None


def test_no_error_series_is_no_error(world: World) -> None:
    """The absence of errors has no series; with requests beside it, it is a zero that was measured."""
    to, start = warm(world)
    send(world, to, "app-v1", 50)
    assert count(world, to, start).stable == Counts(50, 0, (0, 50, 0, 0, 0))


def test_a_canary_without_requests_is_a_cell_with_none(world: World) -> None:
    """At 1 % and little traffic that is normal, and stable's counts are evidence still."""
    to, start = warm(world)
    send(world, to, "app-v1", 50)
    assert count(world, to, start).canary == QUIET


def test_no_request_in_the_cell_is_a_gap(world: World) -> None:
    """No traffic is no evidence of health."""
    to, start = warm(world)
    assert why(world, to, start, world.edge()).startswith(f"no requests reached {to.hosts[0]} between ")


def test_a_host_that_nobody_ever_called_is_a_gap(world: World) -> None:
    """A misspelt host looks like this."""
    to = sought()
    assert "knows no series" in why(world, to, world.edge(), world.edge())


def test_the_first_requests_of_all_are_counted(world: World) -> None:
    """The clients were scraped before and had no series of the host: all of it is new."""
    to, start = sought(), world.edge()
    send(world, to, "app-v1", 30)
    assert count(world, to, start).stable.requests == 30


def test_a_client_that_restarts_counts_from_zero(world: World) -> None:
    """A counter reset is neither a loss of the new requests nor a negative number."""
    to, _ = warm(world)
    send(world, to, "app-v3", 50)
    middle = world.edge()
    world.restart("pod-a")
    send(world, to, "app-v3", 8)
    send(world, to, "app-v3", 2, response_code="503")
    found = count(world, to, middle)
    assert found.canary == Counts(10, 2, (0, 8, 0, 0, 0), causes=(("503", 2),))


def test_two_client_pods_are_added(world: World) -> None:
    """Each has its own counters, and its own resets."""
    to, start = warm(world)
    send(world, to, "app-v3", 3, pod="pod-a")
    send(world, to, "app-v3", 4, pod="pod-b")
    send(world, to, "app-v3", 2, pod="pod-b", response_code="503")
    assert count(world, to, start).canary == Counts(9, 2, (0, 7, 0, 0, 0), causes=(("503", 2),))


def test_grpc_failures_hide_behind_status_200(world: World) -> None:
    """UNAVAILABLE (14) is the server's failure, NOT_FOUND (5) is an answer."""
    to, start = warm(world)
    send(world, to, "app-v3", 6, request_protocol="grpc", grpc_response_status="0")
    send(world, to, "app-v3", 3, request_protocol="grpc", grpc_response_status="14")
    send(world, to, "app-v3", 1, request_protocol="grpc", grpc_response_status="5")
    found = count(world, to, start)
    assert (found.canary.requests, found.canary.errors) == (10, 3)


def test_a_plan_says_which_answers_are_failures(world: World) -> None:
    """4xx where its author wants that, one code of them spared; what failed is told, and has no duration."""
    to, start = warm(world)
    to = replace(to, http_failures=("4xx", "5xx", "not 401", "not 501"))
    send(world, to, "app-v3", 10)
    for code, requests in {"404": 4, "429": 2, "401": 8, "500": 1, "501": 16}.items():
        send(world, to, "app-v3", requests, response_code=code)
    found = count(world, to, start)
    assert (found.canary.requests, found.canary.errors, found.canary.buckets) == (41, 7, (0, 34, 0, 0, 0))
    assert found.canary.causes == (("404", 4), ("429", 2), ("500", 1))


def test_a_dead_canary_is_one_whatever_the_plan_calls_a_failure(world: World) -> None:
    """Nobody serves: 503 and gRPC 14 without a version. And 404 without one is a route that is not there."""
    to, start = warm(world)
    to = replace(to, http_failures=("4xx", "not 503"), grpc_failures=(2,))
    send(world, to, "app-v1", 10)
    send(world, to, "unknown", 5, response_code="503", response_flags="UH")
    send(world, to, "unknown", 3, request_protocol="grpc", grpc_response_status="14", response_flags="UH")
    send(world, to, "unknown", 4, response_code="404", response_flags="NR")
    found = count(world, to, start)
    assert (found.unattributed, found.others, found.stable.errors) == (8, 4, 0)


def test_where_a_version_has_no_cluster_the_host_that_was_called_says_so(world: World) -> None:
    """
    Versions with hosts of their own: the client called another, and that is what its proxy reports (NC, 503).

    Who calls a host of the same short name in its own namespace means another service.
    """
    to, _ = warm(world)
    service = to.hosts[0].split(".")[0]
    to = replace(to, called=f"called-{service}.shop.svc.cluster.local")
    lost = {"response_code": "503", "response_flags": "NC"}
    send(world, to, "unknown", 1, destination_service=f"called-{service}:9080", **lost)
    start = world.edge()
    send(world, to, "app-v1", 75)
    send(world, to, "unknown", 20, destination_service=f"called-{service}:9080", **lost)
    send(world, to, "unknown", 5, destination_service=f"called-{service}.shop", **lost)
    far = {"source_workload_namespace": "elsewhere"}
    send(world, to, "unknown", 40, destination_service=f"called-{service}:9080", **far, **lost)
    found = count(world, to, start, percent=25)
    assert (found.unattributed, found.no_cluster) == (25, 25)


WAYPOINT = {
    "reporter": "waypoint",
    "source_principal": "spiffe://cluster.local/ns/shop/sa/web",
    "destination_principal": "spiffe://cluster.local/ns/shop/sa/app",
    "connection_security_policy": "mutual_tls",
}
"""Further labels of what a waypoint reports, as in istio/proxy#5472."""


def test_in_ambient_mode_the_waypoint_counts(world: World) -> None:
    """With the callers' own names; what others count of the same requests counts no second time."""
    to, _ = warm(world)
    to = replace(to, reporter="waypoint")
    send(world, to, "app-v1", 1, **WAYPOINT)
    start = world.edge()
    send(world, to, "app-v1", 30, **WAYPOINT)
    send(world, to, "app-v3", 9, **WAYPOINT)
    send(world, to, "app-v3", 1, response_code="503", response_flags="UC", **WAYPOINT)
    send(world, to, "app-v3", 10, ms=400)
    send(world, to, "app-v1", 7, source_workload="istio-ingressgateway")
    found = count(world, to, start)
    assert (found.stable.requests, found.canary.requests, found.canary.errors) == (30, 10, 1)
    assert found.canary.buckets == (0, 9, 0, 0, 0)
    assert found.callers == (Caller("web.shop", 30, 10),)
    assert (found.canary.pods, found.uninjected) == ((), 0)


def test_a_dead_canary_is_seen_by_the_waypoint(world: World) -> None:
    """No endpoint was picked: unknown, or nothing at all before Istio 1.24.3 (istio/istio#54668)."""
    to, _ = warm(world)
    to = replace(to, reporter="waypoint")
    send(world, to, "app-v1", 1, **WAYPOINT)
    start = world.edge()
    send(world, to, "app-v1", 30, **WAYPOINT)
    send(world, to, "unknown", 4, response_code="503", response_flags="UH", **WAYPOINT)
    nobody = {"destination_workload": "", "destination_workload_namespace": ""}
    send(world, to, "unknown", 3, response_code="503", response_flags="UH", **WAYPOINT, **nobody)
    found = count(world, to, start)
    assert (found.unattributed, found.others, found.stable.errors) == (7, 0, 0)


def test_who_counts_most_is_known(world: World) -> None:
    """Whether to read the waypoint's counts or the callers' is learned before a run begins."""
    to, _ = warm(world)
    send(world, to, "app-v1", 10)
    assert reporter_of(world.metrics.reporters(to)) == "source"
    send(world, to, "app-v1", 500, **WAYPOINT)
    send(world, to, "app-v1", 1000, reporter="destination")
    world.edge()
    found = world.metrics.reporters(to)
    assert (set(found), reporter_of(found)) == ({"source", "waypoint"}, "waypoint")
    assert reporter_of(world.metrics.reporters(sought())) == "source"


PAY = (("request_operation", ("/pay",)),)


def test_a_plan_counts_only_requests_with_its_labels(world: World) -> None:
    """
    On both sides alike, durations too; whether callers meet the weight is still asked of all requests.

    What found no version has no such label, and counts as it always does.
    """
    to, start = warm(world)
    to = replace(to, where=PAY)
    send(world, to, "app-v1", 60)
    send(world, to, "app-v1", 20, request_operation="/pay", ms=3)
    send(world, to, "app-v3", 6)
    send(world, to, "app-v3", 4, request_operation="/pay")
    send(world, to, "app-v3", 1, request_operation="/pay", response_code="503")
    send(world, to, "app-v3", 5, request_operation="/pay2", response_code="503")
    send(world, to, "unknown", 2, response_code="503", response_flags="UH")
    found = count(world, to, start)
    assert found.stable == Counts(20, 0, (20, 0, 0, 0, 0))
    assert found.canary == Counts(5, 1, (0, 4, 0, 0, 0), causes=(("503", 1),))
    assert (found.whole, found.unattributed, found.callers) == ((80, 16), 2, (Caller("web.shop", 80, 18),))


def test_requests_none_of_which_count_are_no_gap(world: World) -> None:
    """The service has traffic, and the route that is asked about has none: two different things."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    found = count(world, replace(to, where=PAY), start)
    assert (found.stable.requests, found.whole) == (0, (10, 0))


def test_a_check_counts_for_itself(world: World) -> None:
    """One route of many, one of several values, other failures than the rest of the plan: each beside the whole."""
    to, start = warm(world)
    apart = (
        Apart("pay", PAY, Failures()),
        Apart("some", (("request_operation", ("/pay", "/a.c")),), Failures()),
        Apart("asked", (), Failures(("4xx", "not 0"), ())),
    )
    send(world, to, "app-v1", 40, response_code="404")
    for path, good, bad in (("/pay", 7, 3), ("/a.c", 5, 0), ("/abc", 9, 1)):
        send(world, to, "app-v3", good, request_operation=path)
        send(world, to, "app-v3", bad, request_operation=path, response_code="500")
    pay, some, asked = count(world, replace(to, apart=apart), start).portions
    assert (pay.canary, pay.stable) == (Counts(10, 3, causes=(("500", 3),)), Counts(0, 0))
    assert (some.canary.requests, some.canary.errors) == (15, 3)
    assert (asked.canary, asked.stable) == (Counts(25, 0), Counts(40, 40, causes=(("404", 40),)))


def test_a_request_without_a_response_is_a_failure(world: World) -> None:
    """A client that gave up waiting (response_code 0, DC) is how a hanging canary shows."""
    to, start = warm(world)
    send(world, to, "app-v3", 4, response_code="0", response_flags="DC")
    found = count(world, to, start)
    assert (found.canary.requests, found.canary.errors) == (4, 4)


def test_failures_are_told_apart_by_what_they_came_to(world: World) -> None:
    """A version that answers 500, one that hangs and one that cannot be reached are three different repairs."""
    to, start = warm(world)
    send(world, to, "app-v3", 90)
    send(world, to, "app-v3", 4, response_code="503")
    send(world, to, "app-v3", 3, response_code="0", response_flags="DC")
    send(world, to, "app-v3", 2, response_code="503", response_flags="UF,URX")
    send(world, to, "app-v3", 1, response_code="504", response_flags="UT")
    send(world, to, "app-v3", 5, response_code="404")
    send(world, to, "app-v3", 6, request_protocol="grpc", grpc_response_status="14")
    found = count(world, to, start).canary
    assert (found.requests, found.errors) == (111, 16)
    assert found.causes == (("503", 4), ("DC", 3), ("UF", 2), ("UT", 1), ("grpc 14", 6))


def test_no_healthy_host_is_unattributed(world: World) -> None:
    """A canary that is down altogether has no series of its own: its failures name workload `unknown`."""
    to, start = warm(world)
    send(world, to, "app-v1", 90)
    send(world, to, "unknown", 10, response_code="503", response_flags="UH")
    found = count(world, to, start)
    assert (found.canary, found.unattributed, found.others) == (QUIET, 10, 0)
    assert found.no_cluster == 0


def test_failures_without_a_version_are_a_cell_even_when_nothing_else_came(world: World) -> None:
    """At 100 % a dead canary leaves nothing but unattributed failures: that is evidence, not a gap."""
    to, start = warm(world)
    send(world, to, "unknown", 10, response_code="503", response_flags="UH")
    found = count(world, to, start, percent=100)
    assert (found.stable, found.canary, found.unattributed) == (QUIET, QUIET, 10)


@pytest.mark.parametrize(
    "authority",
    ["{0}", "{0}:9080", "{0}.shop", "{0}.shop.svc:80", "{0}.shop.svc.cluster.local:9080", "{0}.shop.svc.cluster.local"],
)
def test_a_missing_cluster_is_found_under_the_name_that_was_called(world: World, authority: str) -> None:
    """A sidecar without the subset's cluster (NC) reports the Host header as the service."""
    to, start = warm(world)
    send(world, to, "app-v1", 90)
    called = authority.format(to.hosts[0].split(".")[0])
    lost(world, to, 9, called)
    found = count(world, to, start)
    assert (found.unattributed, found.no_cluster) == (9, 9)


def test_a_bare_name_means_the_service_of_the_client_s_own_namespace(world: World) -> None:
    """`reviews` called from another namespace is another service: its failures are not ours."""
    to, start = warm(world)
    send(world, to, "app-v1", 90)
    lost(world, to, 9, to.hosts[0].split(".")[0], source_workload_namespace="elsewhere")
    assert count(world, to, start).unattributed == 0


def test_a_gateway_s_missing_cluster_is_charged_where_it_fits(world: World) -> None:
    """
    Gateways do not say which service a request without a cluster was for.

    One that reached stable and never the canary misses the canary's cluster: up to the canary's share is charged. One
    that reached both has both clusters: its failures are another service's.
    """
    to, start = warm(world)
    for gateway in ("ingress", "other"):
        send(world, to, "app-v1", 90, source_workload=gateway)
        lost(world, to, 500, "unknown", source_workload=gateway)
    send(world, to, "app-v3", 10, source_workload="other")
    assert count(world, to, start).unattributed == pytest.approx(10)


def test_a_route_that_answers_404_is_nobody_s_failure(world: World) -> None:
    """NR with 404 is a path that no route knows: no version is to blame."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    send(world, to, "unknown", 5, response_code="404", response_flags="NR")
    found = count(world, to, start)
    assert (found.unattributed, found.others) == (0, 5)


def test_injected_faults_are_left_out(world: World) -> None:
    """The user's own fault rule answered them (FI); with DI they are only late, which is not the version's doing."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    send(world, to, "unknown", 5, response_code="503", response_flags="FI")
    send(world, to, "app-v3", 4, ms=400, response_flags="DI")
    found = count(world, to, start)
    assert (found.unattributed, found.others, found.canary) == (0, 0, Counts(4, 0, (0, 0, 0, 0, 0)))
    assert found.injected == 5


def test_a_third_workload_is_among_the_others(world: World) -> None:
    """And so is a workload of the same name in another namespace."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    send(world, to, "app-v2", 5)
    send(world, to, "app-v3", 3, destination_workload_namespace="elsewhere")
    found = count(world, to, start)
    assert (found.canary.requests, found.others) == (0, 8)


def test_the_destination_s_report_is_not_counted(world: World) -> None:
    """It counts each attempt, retries and mirrored requests, and nothing that never arrived."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    send(world, to, "app-v3", 10, reporter="destination")
    assert count(world, to, start).canary.requests == 0


def test_bounds_are_read_as_prometheus_3_writes_them(world: World) -> None:
    """Prometheus 3 stores `le="500.0"` where Prometheus 2 has `500`."""
    to, start = sought(), world.edge()
    send(world, to, "app-v1", 10, bounds=("5.0", "25.0", "+Inf"))
    found = count(world, to, start)
    assert (found.bounds_ms, found.stable.buckets) == ((5, 25), (0, 10, 0))


def test_sides_with_different_bounds_are_a_gap(world: World) -> None:
    """Their durations cannot be compared, and half of the bounds would pass for a fast canary."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    send(world, to, "app-v3", 10, bounds=("5", "50", "+Inf"))
    assert "different buckets" in why(world, to, start, world.edge())


def test_clients_with_different_bounds_are_a_gap(world: World) -> None:
    """The reporting proxy chooses the bounds: a sum over both would be neither's histogram."""
    to, start = warm(world)
    send(world, to, "app-v3", 10, pod="pod-a", bounds=("5", "25", "+Inf"))
    send(world, to, "app-v3", 10, pod="pod-b", bounds=BOUNDS)
    assert "different buckets" in why(world, to, start, world.edge())


def test_no_durations_are_no_durations(world: World) -> None:
    """Where Prometheus keeps no histogram, errors can be judged still; the cell says that there are no bounds."""
    to, start = sought(), world.edge()
    send(world, to, "app-v3", 10, bounds=())
    found = count(world, to, start)
    assert (found.bounds_ms, found.canary) == ((), Counts(10, 0, ()))


def test_a_cell_that_was_not_scraped_is_a_gap(world: World) -> None:
    """Counters that stand still because nobody looked must not pass for a minute without errors."""
    to, start = warm(world)
    send(world, to, "app-v3", 10, response_code="503")
    with world.blind():
        world.edge()
        end = world.edge()
        assert why(world, to, start, end).startswith("no scrape in the cell")
    world.edge()


def test_the_cell_after_an_outage_is_a_gap(world: World) -> None:
    """It would hold the counts of the whole outage, of former splits perhaps."""
    to, _ = warm(world)
    with world.blind():
        send(world, to, "app-v3", 1000)
        world.edge()
        start = world.edge()
    send(world, to, "app-v3", 10)
    end = world.edge()
    assert why(world, to, start, end).startswith("the counts span more than the cell")
    send(world, to, "app-v3", 4)
    assert count(world, to, end).canary.requests == 4


def test_a_partial_answer_is_a_gap(world: World) -> None:
    """Some stores answered and some did not: any number in it may be too small."""
    to, start = warm(world)
    send(world, to, "app-v3", 10)
    end = world.edge()
    with world.partial():
        assert why(world, to, start, end).startswith("Prometheus gave a partial answer: ")
    assert count(world, to, start, end).canary.requests == 10


def test_nobody_there_is_unavailable(world: World) -> None:
    """It is no gap: nothing was answered, so the same cell is asked for again."""
    to, start = warm(world)
    end = world.edge()
    with world.down(), pytest.raises(Unavailable):
        world.metrics.count(to, window(start, end))


def test_the_probe_is_silent_where_counts_can_be_had(world: World) -> None:
    """Admission asks before the first weight moves."""
    to, _ = warm(world)
    assert world.metrics.probe(to) == ()


def test_the_probe_names_a_host_without_series(world: World) -> None:
    """A run would find nothing but gaps."""
    world.edge()
    [problem] = world.metrics.probe(sought())
    assert problem.value == "none"


def test_the_probe_says_that_nobody_answers(world: World) -> None:
    """It raises nothing: it is one of the findings that a person reads together."""
    with world.down():
        [problem] = world.metrics.probe(sought())
    assert "a Prometheus that answers" in problem.expected


def test_pods_are_told_apart_as_they_count_themselves(world: World) -> None:
    """One bad pod of two and a bad version are different findings; the callers' counts stay the evidence."""
    to, start = warm(world)
    send(world, to, "app-v1", 60)
    for pod, good, bad in (("pod-a", 30, 0), ("pod-b", 25, 5)):
        send(world, to, "app-v1", good, reporter="destination", pod=pod)
        send(world, to, "app-v1", bad, reporter="destination", pod=pod, response_code="500")
    send(
        world, to, "app-v3", 7, reporter="destination", pod="pod-b", request_protocol="grpc", grpc_response_status="14"
    )
    found = count(world, to, start)
    assert (found.stable.requests, found.stable.errors) == (60, 0)
    assert (found.stable.pods, found.canary.pods) == (((30, 0), (30, 5)), ((7, 7),))


def test_a_pod_that_restarts_counts_from_zero(world: World) -> None:
    """The same exact deltas as everywhere: its former life is no traffic of the cell."""
    to, _ = warm(world)
    send(world, to, "app-v1", 500, reporter="destination", pod="pod-a")
    middle = world.edge()
    world.restart("pod-a")
    send(world, to, "app-v1", 4, pod="pod-a")
    send(world, to, "app-v1", 4, reporter="destination", pod="pod-a")
    assert count(world, to, middle).stable.pods == ((4, 0),)


def test_pods_that_nobody_scrapes_are_unknown(world: World) -> None:
    """Absence is no pod without requests: how much pods differ is then simply not known."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    assert count(world, to, start).stable.pods == ()


def calm(world: World, to: Sought, until: float) -> float:
    """A few requests to stable now and then; a moment after ``until``."""
    while True:
        send(world, to, "app-v1", 10)
        send(world, to, "app-v1", 5, reporter="destination", pod="pod-b")
        if (end := world.edge()) >= until:
            return end


def past(world: World, to: Sought, start: float, cells: int) -> tuple[Window, ...]:
    """As many windows of two seconds from ``start`` on."""
    return tuple(window(start + 2 * number, start + 2 * number + 2, percent=0) for number in range(cells))


def test_history_is_what_each_cell_would_be(world: World) -> None:
    """
    Asked for at once, and yet the same bits: resets, newborn series, pods and gaps are treated no other way.

    Cells of before anything is known of the host, plain ones, with a client's restart and a newborn error series, of an
    outage of the scrapes, and of after it.
    """
    to, start = sought(), world.edge()
    end = calm(world, to, start + 3)
    world.restart("pod-a")
    send(world, to, "app-v1", 3, response_code="503")
    send(world, to, "app-v3", 4, ms=400)
    end = calm(world, to, end + 4)
    with world.blind():
        send(world, to, "app-v1", 100)
        while world.edge() < end + 3:
            pass
    end = calm(world, to, end + 8)
    to = replace(to, where=(("request_protocol", ("http",)),), apart=(Apart("good", PAY, Failures()),))
    windows = past(world, to, start - 2, round((end - start) / 2))
    found = world.metrics.history(to, windows)
    assert found == tuple(world.metrics.count(to, one) for one in windows)
    assert {type(one) for one in found} == {Cell, Gap}
    assert sum(one.stable.errors for one in found if isinstance(one, Cell)) == 3
    assert any(one.stable.pods for one in found if isinstance(one, Cell))


def test_history_that_nobody_kept_is_gaps(world: World) -> None:
    """A new service, or a new Prometheus: the run begins without, and knows why."""
    to = sought()
    found = world.metrics.history(to, past(world, to, world.edge() - 6, 3))
    assert ["knows no series" in one.why for one in found if isinstance(one, Gap)] == [True] * 3


def test_a_partial_history_is_gaps(world: World) -> None:
    """Scatter is learned from it: half of the requests would be another scatter."""
    to, start = warm(world)
    send(world, to, "app-v1", 10)
    world.edge()
    with world.partial():
        [found] = world.metrics.history(to, past(world, to, start - 1, 1))
    assert isinstance(found, Gap)
    assert found.why.startswith("Prometheus gave a partial answer: ")


def test_history_that_cannot_be_had_is_unavailable(world: World) -> None:
    """The collector decides how often it asks."""
    to, start = warm(world)
    with world.down(), pytest.raises(Unavailable):
        world.metrics.history(to, past(world, to, start - 2, 1))


def _queue(name: str, app: str) -> str:
    return f'sum({name}{{app="{app}"}})'


QUEUE = Question("queue", _queue("queue_length", "app-v3"), _queue("queue_length", "app-v1"))


def valued(world: World, to: Sought, question: Question) -> Value:
    """The value of one question, in a cell with some requests."""
    start = world.edge()
    send(world, to, "app-v1", 10)
    found = world.metrics.count(replace(to, questions=(question,)), window(start, world.edge()))
    assert isinstance(found, Cell), found
    [value] = found.values
    return value


def queues(world: World, to: Sought, **lengths: float) -> Question:
    """Gauges of workloads that no other test has, and the question about them."""
    name = f"queue_{to.hosts[0].split('.')[0]}"
    for workload, length in lengths.items():
        world.move("pod-a", name, {"app": workload.replace("_", "-"), "shard": "a"}, length)
    return replace(QUEUE, canary=_queue(name, "app-v3"), stable=_queue(name, "app-v1"))


def test_a_check_s_query_has_a_value_for_each_side(world: World) -> None:
    """At the cell's end, with the side's workload put in."""
    to, _ = warm(world)
    assert valued(world, to, queues(world, to, app_v1=3, app_v3=4.5)) == Value("queue", 3, 4.5)


def test_a_check_that_does_not_compare_asks_about_the_canary_alone(world: World) -> None:
    """At 100 % there may be no stable left."""
    to, _ = warm(world)
    question = replace(queues(world, to, app_v3=4), stable=None)
    assert valued(world, to, question) == Value("queue", None, 4)


def test_a_query_that_finds_nothing_is_no_value_and_no_gap(world: World) -> None:
    """The counts of the cell stand; a zero would be a measurement that nobody made."""
    to, _ = warm(world)
    assert valued(world, to, queues(world, to, app_v1=3)) == Value("queue", 3, None, "canary: the query finds nothing")


def test_a_query_that_finds_several_series_is_no_value(world: World) -> None:
    """The first of them would be any of them."""
    to, _ = warm(world)
    question = queues(world, to, app_v1=3, app_v3=4)
    world.move("pod-b", question.canary[4:].split("{")[0], {"app": "app-v3", "shard": "b"}, 1)
    question = replace(question, canary=question.canary.removeprefix("sum(").removesuffix(")"))
    found = valued(world, to, question)
    assert (found.stable, found.canary) == (3, None)
    assert found.why.startswith("canary: the query finds 2 values; aggregate them (")


def test_a_query_that_is_refused_costs_its_check_only(world: World) -> None:
    """One check's typing error must not blind the whole run."""
    to, _ = warm(world)
    broken = 'sum(queue_length{app="app-v3"}'
    found = valued(world, to, replace(QUEUE, canary=broken, stable=broken))
    assert (found.stable, found.canary) == (None, None)
    assert "refuses the query" in found.why


def test_what_is_not_finite_is_no_value(real: RealWorld) -> None:
    """0/0 is how a ratio without requests looks, 1/0 how one without a denominator does; a scalar is a value."""
    to, _ = warm(real)
    for query, why in (("vector(0)/0", "value is NaN, as 0/0 is"), ("vector(-1)/0", "value is -Inf, as -1/0 is")):
        found = valued(real, to, Question("ratio", query))
        assert found.canary is None
        assert found.why.endswith(why)
    assert valued(real, to, Question("ratio", "scalar(vector(7))")).canary == 7


def test_a_window_is_written_as_prometheus_reads_it(real: RealWorld) -> None:
    """Prometheus takes no fractions of a unit."""
    to, _ = warm(real)
    query = 'sum(count_over_time(istio_requests_total{destination_workload="${workload}"}[${window}]))'
    asked = filled(query, known_of(Names(("app-v1",)), timedelta(seconds=2.5)))
    assert (valued(real, to, Question("seen", asked)).canary or 0) > 1


def test_a_check_is_not_asked_at_other_weights(world: World) -> None:
    """What decides nothing there need not be asked there."""
    to, _ = warm(world)
    question = replace(queues(world, to, app_v1=3, app_v3=4), highest=NOTHING)
    start = world.edge()
    send(world, to, "app-v1", 10)
    found = world.metrics.count(replace(to, questions=(question,)), window(start, world.edge()))
    assert isinstance(found, Cell)
    assert found.values == ()
