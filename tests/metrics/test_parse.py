"""Rows to cells: what the contract suite cannot make a Prometheus say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from canaryd.metrics import parse
from canaryd.metrics.parse import Answers, Row
from canaryd.model.cells import Caller, Cell, Gap
from tests.metrics.worlds import sought, window

TO = sought("app.shop.svc.cluster.local")
AT = window(1000.0, 1015.0)
SCRAPED = (Row({"canaryd": "end"}, 1014.5), Row({"canaryd": "start"}, 999.5), Row({"canaryd": "known"}, 3))


def requests(value: float, workload: str = "app-v3", **labels: str) -> Row:
    return Row(
        {
            "destination_service": TO.hosts[0],
            "destination_workload": workload,
            "destination_workload_namespace": "shop",
            "response_code": "200",
            "response_flags": "-",
            "request_protocol": "http",
        }
        | labels,
        value,
    )


def bucket(le: str, value: float, **labels: str) -> Row:
    return requests(value, le=le, **labels)


def gap(*found: Row, durations: tuple[Row, ...] = (), scrapes: tuple[Row, ...] = SCRAPED) -> str:
    cell = parse.cell(TO, AT, Answers(found, durations, scrapes))
    assert isinstance(cell, Gap), cell
    return cell.why


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_count_is_a_gap(value: float) -> None:
    """Every comparison with NaN is false, so a NaN would pass each limit."""
    assert "no count" in gap(requests(value))
    assert "no count" in gap(requests(1), durations=(bucket("+Inf", value),))
    assert "no count" in gap(requests(1), scrapes=(Row({"canaryd": "end"}, value), *SCRAPED[1:]))


def test_buckets_that_fall_are_a_gap() -> None:
    """Cumulative counts never fall: something reset and was not noticed."""
    assert "do not add up" in gap(requests(5), durations=(bucket("5", 4), bucket("10", 3), bucket("+Inf", 5)))


def test_rounding_is_not_a_fall() -> None:
    """Fractional deltas add up to a little more or less."""
    found = parse.cell(
        TO, AT, Answers((requests(5),), (bucket("5", 4.0000000001), bucket("10", 4), bucket("+Inf", 5)), SCRAPED)
    )
    assert isinstance(found, Cell)
    assert found.canary.buckets == pytest.approx((4, 0, 1))


def test_a_histogram_without_its_last_bucket_is_a_gap() -> None:
    """Its slowest requests are in that bucket."""
    assert "+Inf" in gap(requests(5), durations=(bucket("5", 4),))


def test_a_bucket_without_a_bound_is_a_gap() -> None:
    """It cannot be placed."""
    assert "no bound" in gap(requests(5), durations=(bucket("fast", 4),))


def test_an_old_sample_at_the_end_is_a_gap() -> None:
    """A Prometheus that died writes no stale markers: its last samples look present for five minutes."""
    stands_still = (Row({"canaryd": "end"}, 980.0), Row({"canaryd": "start"}, 980.0), Row({"canaryd": "known"}, 3))
    assert gap(requests(0), scrapes=stands_still).startswith("no scrape in the cell")


def test_an_old_sample_at_the_start_is_a_gap() -> None:
    """The first cell after the outage holds the outage's requests too."""
    late = (SCRAPED[0], Row({"canaryd": "start"}, 990.0), SCRAPED[2])
    assert gap(requests(5000), scrapes=late).startswith(
        "the counts span more than the cell: the scrape before it was at"
    )


def test_clients_that_nobody_had_scraped_before_are_a_gap() -> None:
    """A Prometheus that lost its data finds every series newborn, with its whole history in it."""
    assert gap(requests(1_000_000), scrapes=SCRAPED[:1]).startswith("nothing shows that the clients")


def test_most_requests_from_a_client_that_was_away_are_a_gap() -> None:
    """One of two gateways was not scraped for ten minutes: its ten minutes come in this cell."""
    assert "100 of 110 requests" in gap(requests(110), scrapes=(*SCRAPED, Row({"canaryd": "late"}, 100)))


def test_a_few_requests_caught_up_are_counted() -> None:
    """One failed scrape of one of many clients is made good by the next cell."""
    found = parse.cell(TO, AT, Answers((requests(110),), (), (*SCRAPED, Row({"canaryd": "late"}, 10))))
    assert isinstance(found, Cell)
    assert found.canary.requests == 110


@pytest.mark.parametrize(
    ("labels", "failed"),
    [
        ({"response_code": "503"}, True),
        ({"response_code": "504", "response_flags": "UT"}, True),
        ({"response_code": "0"}, True),
        ({"response_code": "404"}, False),
        ({"response_code": "5"}, False),
        ({"response_code": "200", "request_protocol": "grpc", "grpc_response_status": "14"}, True),
        ({"response_code": "200", "request_protocol": "grpc", "grpc_response_status": "5"}, False),
        ({"response_code": "200", "request_protocol": "grpc"}, False),
        ({"response_code": "200", "request_protocol": "http", "grpc_response_status": "14"}, False),
        ({"response_code": "503", "request_protocol": "grpc", "grpc_response_status": "0"}, True),
    ],
)
def test_what_failed(labels: dict[str, str], failed: bool) -> None:
    """The one definition of an error, for counts and for durations."""
    assert TO.failures.among(labels) is failed


@pytest.mark.parametrize("result", [None, {}, [1], [{"metric": {}}], [{"metric": {}, "value": [1, "x"]}]])
def test_what_is_no_vector_is_an_error(result: object) -> None:
    """A proxy's JSON is not Prometheus's."""
    with pytest.raises(ValueError, match="result"):
        parse.rows(result)


def test_a_long_cell_without_its_last_scrapes_is_a_gap() -> None:
    """Something new came in it, but its end was not seen: what failed there would be missing."""
    seen = (Row({"canaryd": "end"}, 1100.0), *SCRAPED[1:])
    cell = parse.cell(TO, window(1000.0, 1300.0), Answers((requests(5),), (), seen))
    assert isinstance(cell, Gap)
    assert cell.why.startswith("no scrape in the cell")


def test_nothing_new_since_the_start_is_no_scrape() -> None:
    """The reason names what is broken: the scraping, not the traffic."""
    seldom, same = replace(TO, scrape_seconds=15.0), (Row({"canaryd": "end"}, 999.5), *SCRAPED[1:])
    cell = parse.cell(seldom, AT, Answers((requests(0),), (), same))
    assert isinstance(cell, Gap)
    assert cell.why.startswith("no scrape in the cell")


def test_sides_that_have_other_bounds_are_named() -> None:
    """Even when the same clients report both."""
    durations = (
        bucket("5", 1, destination_workload="app-v1"),
        bucket("+Inf", 1, destination_workload="app-v1"),
        bucket("+Inf", 5),
    )
    assert "only one of them has 5 ms" in gap(requests(5), durations=durations)


def test_failures_for_want_of_a_cluster_alone_are_a_cell() -> None:
    """Every client lost the cluster at once: nothing but NC is left, and it is evidence."""
    lost = requests(7, "unknown", destination_service="app.shop:80", response_code="503", response_flags="NC")
    cell = parse.cell(TO, AT, Answers((requests(0), lost), (), SCRAPED))
    assert isinstance(cell, Cell)
    assert cell.unattributed == 7


def called(workload: str, **labels: str) -> dict[str, str]:
    """Labels of a row of this client's."""
    return {"source_workload": workload, "source_workload_namespace": "shop", **labels}


def callers(*found: Row) -> tuple[Caller, ...]:
    cell = parse.cell(TO, AT, Answers(found, (), SCRAPED))
    assert isinstance(cell, Cell), cell
    return cell.callers


def test_each_client_is_counted_by_the_side_that_it_sent_to() -> None:
    """A proxy that lags is found by its own share; a gateway is a client as any other."""
    rows = [
        requests(60, "app-v1", **called("web")),
        requests(20, **called("web", response_code="500")),
        requests(9, "app-v1", **called("istio-ingressgateway", source_workload_namespace="istio-system")),
        requests(7, "app-v2", **called("web")),
        requests(3, **called("web", response_flags="FI")),
    ]
    assert callers(*rows) == (Caller("web.shop", 60, 20), Caller("istio-ingressgateway.istio-system", 9, 0))


def test_failures_without_a_version_are_of_the_client_that_met_them() -> None:
    """As sent to the canary, and those without a cluster apart: they are that client's DestinationRule's."""
    failed = {"response_code": "503"}
    rows = [
        requests(60, "app-v1", **called("web")),
        requests(4, "unknown", **called("web", response_flags="UH", **failed)),
        requests(3, "unknown", **called("batch", response_flags="NC", destination_service="app", **failed)),
        requests(2, "unknown", **called("batch", response_flags="NC", **failed)),
    ]
    assert callers(*rows) == (Caller("web.shop", 60, 4), Caller("batch.shop", 0, 5, 5))


def test_many_clients_are_kept_as_the_largest_and_the_rest() -> None:
    """They are in each cell of a run; and the sum stays what it was."""
    found = callers(*(requests(100 - number, "app-v1", **called(f"c{number:02}")) for number in range(50)))
    assert len(found) == parse.MOST_CALLERS + 1
    assert (found[0].client, found[-1].client) == ("c00.shop", "")
    assert sum(one.stable for one in found) == sum(range(51, 101))


def test_requests_of_callers_without_a_sidecar_are_the_pods_word() -> None:
    """No client counts them."""
    cell = parse.cell(
        TO, AT, Answers((requests(5),), (), SCRAPED, (requests(5, pod="a"), Row({"canaryd": "uninjected"}, 4)))
    )
    assert isinstance(cell, Cell)
    assert (cell.uninjected, cell.canary.pods) == (4, ((5, 0),))


def pods(*found: Row) -> tuple[tuple[float, float], ...]:
    """What a cell keeps of the canary's pods."""
    cell = parse.cell(TO, AT, Answers((requests(10),), (), SCRAPED, found))
    assert isinstance(cell, Cell), cell
    return cell.canary.pods


def test_a_pod_without_a_name_is_known_by_where_it_was_scraped() -> None:
    """Not every scrape configuration writes the label `pod`."""
    rows = [
        requests(3, instance="10.0.0.2:15020"),
        requests(5, instance="10.0.0.1:15020", pod="a", response_code="500"),
    ]
    assert pods(*rows, requests(2, instance="10.0.0.2:15020", response_code="503")) == ((5, 2), (5, 5))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_pods_whose_counts_are_none_are_unknown(value: float) -> None:
    """They cost the cell nothing: the callers' counts are whole."""
    assert pods(requests(3, pod="a"), requests(value, pod="b")) == ()


def test_a_great_many_pods_are_not_all_kept() -> None:
    """They are in every cell, and a run is saved whole; which are kept has nothing to do with who failed."""
    assert len(pods(*(requests(1, pod=f"pod-{number:03}") for number in range(200)))) == parse.MOST_PODS


def test_the_columns_of_a_range_are_what_each_moment_would_be() -> None:
    """Times come back as decimals, and their differences are a little off."""
    for number in range(200):
        moments = [1_700_000_000.001 + number * 7.123 + 61.7 * place for place in range(30)]
        values = [[float(f"{moment:.3f}"), str(place)] for place, moment in enumerate(moments)]
        found = parse.columns([{"metric": {"a": "b"}, "values": values}], moments)
        assert [row.value for [row] in found] == list(range(30))


def test_a_moment_without_a_series_has_no_row() -> None:
    """A series that was born or went stale in between is there where it was there."""
    moments = [100.0, 160.0, 220.0]
    early, late = ({"metric": {"name": name}, "values": []} for name in ("early", "late"))
    early["values"], late["values"] = [[100, "1"], [160, "2"]], [[220, "NaN"]]
    first, second, third = parse.columns([early, late], moments)
    assert (first, second) == ((Row({"name": "early"}, 1.0),), (Row({"name": "early"}, 2.0),))
    assert (third[0].labels, math.isnan(third[0].value)) == ({"name": "late"}, True)
    assert parse.columns([], moments) == ((), (), ())


@pytest.mark.parametrize(
    "result",
    [
        None,
        {"a": 1},
        [{"metric": {}, "value": [100, "1"]}],
        [{"metric": {}, "values": [[100, "many"]]}],
        [{"metric": {}, "values": [[100]]}],
        [{"metric": {}, "values": [[40, "1"]]}],
        [{"metric": {}, "values": [[280, "1"]]}],
    ],
)
def test_what_is_no_range_is_told(result: object) -> None:
    """A proxy's page, an instant vector, or samples that nobody asked for."""
    with pytest.raises(ValueError, match="the result is not a"):
        parse.columns(result, [100.0, 160.0, 220.0])


@pytest.mark.parametrize(
    ("code", "flags", "grpc", "name"),
    [
        ("500", "-", "", "500"),
        ("503", "", "", "503"),
        ("0", "DC", "", "DC"),
        ("0", "-", "", "DC"),
        ("0", "UT,DC", "", "DC"),
        ("503", "UF,URX", "", "UF"),
        ("504", "UT", "", "UT"),
        ("503", "UC", "", "UC"),
        ("503", "UO", "", "UO"),
        ("503", "URX", "", "503"),
        ("200", "-", "14", "grpc 14"),
        ("200", "UT", "14", "UT"),
        ("503", "-", "14", "503"),
    ],
)
def test_a_cause_is_the_flag_that_says_more_than_the_status(code: str, flags: str, grpc: str, name: str) -> None:
    """And no response at all is the client's going away, whatever else is said."""
    assert parse.cause({"response_code": code, "response_flags": flags, "grpc_response_status": grpc}) == name


def test_a_4xx_that_counts_is_told_by_its_code() -> None:
    """Of a gRPC call, too: its status would say less."""
    assert parse.cause({"response_code": "404", "response_flags": "-", "grpc_response_status": "12"}) == "404"


def test_causes_add_up_to_the_errors() -> None:
    """None is told twice, and none is left out."""
    rows = [requests(1 + place, response_code=str(500 + place), response_flags="-") for place in range(5)]
    cell = parse.cell(TO, AT, Answers((*rows, requests(9), requests(0, response_code="599")), (), SCRAPED))
    assert isinstance(cell, Cell)
    assert sum(count for _, count in cell.canary.causes) == cell.canary.errors == 15
    assert "599" not in dict(cell.canary.causes)
