"""The queries: what they ask, escaped and pinned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd.metrics import promql
from canaryd.model.cells import Sought
from tests.metrics.worlds import window

REVIEWS = Sought(("reviews.default.svc.cluster.local",), "default", ("reviews-v1",), ("reviews-v3",), (14,), 15.0)
HOST = REVIEWS.hosts[0]


def test_neighbouring_cells_share_their_edge_to_the_millisecond() -> None:
    """Rounded apart, requests would be counted twice or not at all."""
    edges = [1_700_000_000.1234 + k * 15.0 for k in range(200)]
    for start, end, after in zip(edges, edges[1:], edges[2:], strict=False):
        first, second = (promql.queries(REVIEWS, window(*both)) for both in ((start, end), (end, after)))
        length = round(float(second.at) * 1000) - round(float(first.at) * 1000)
        assert f"offset {length}ms" in second.requests


def test_a_name_cannot_leave_its_quotes() -> None:
    """Names come from objects that others wrote: a quote or a dot in one is text, not syntax."""
    assert promql.text('a"b\\c\nd') == r'"a\"b\\c\nd"'
    assert promql.pattern("a.b|c(d)*") == r"a\.b\|c\(d\)\*"
    hostile = Sought(('x"} or up{job="',), "default", (".*",), ("b|c",), (), 15.0)
    assert r'destination_service=~"x\"\\} or up\\{job=\""' in promql.of_hosts(hostile)
    assert r'destination_workload=~"\\.\\*|b\\|c"' in promql.durations(hostile, 1000)


def test_what_a_plan_says_of_labels_is_text() -> None:
    """A value is matched as it is, one of several by a pattern that matches it alone."""
    where = (("path", ('/pay"}) or up{a="',)), ("tenant", ("a.b", "c|d")))
    found = promql.matching(where)
    assert found == r',path="/pay\"}) or up{a=\"",tenant=~"a\\.b|c\\|d"'
    query = promql.counted(REVIEWS, where, 1000)
    assert query.count(found) == query.count(promql.REQUESTS)
    restricted = replace(REVIEWS, where=where)
    queries = promql.queries(restricted, window(0.0, 1.0))
    assert found in queries.durations
    assert found in queries.pods
    assert found not in queries.requests


@pytest.mark.parametrize(
    ("header", "namespace", "ours"),
    [
        (HOST, "any", True),
        (f"{HOST}:9080", "any", True),
        ("reviews.default.svc", "any", True),
        ("reviews.default:80", "any", True),
        ("reviews", "default", True),
        ("reviews:9080", "default", True),
        ("reviews:9080", "other", False),
        ("reviews.other", "default", False),
        ("xreviews.default", "default", False),
        ("reviewsxdefault", "default", False),
        ("unknown", "default", False),
    ],
)
def test_a_host_header_names_a_service_as_dns_does(header: str, namespace: str, ours: bool) -> None:
    """`api.a` and `api.b` are two services, and a bare `api` depends on who calls."""
    assert promql.names_host(header, HOST, namespace) is ours


def test_a_host_outside_the_cluster_is_only_itself() -> None:
    """A ServiceEntry's host has no short names."""
    assert promql.names_host("api.example.com:443", "api.example.com", "default")
    assert not promql.names_host("api.example", "api.example.com", "default")
