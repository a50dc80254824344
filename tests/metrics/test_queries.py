"""
The queries in Prometheus's own test bench: `promtool test rules`, with the expressions taken from `promql`.

Synthetic series, scraped every 15 s; the cell is the minute before 8m. Runs where promtool can be had.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from canaryd.metrics import promql
from canaryd.model.cells import Sought

REVIEWS = Sought(("reviews.default.svc.cluster.local",), "default", ("reviews-v1",), ("reviews-v3",), (14,), 15.0)
MINUTE = 60_000
FOUND = {
    "reporter": "source",
    "source_workload": "productpage-v1",
    "source_workload_namespace": "default",
    "destination_service": REVIEWS.hosts[0],
    "destination_workload_namespace": "default",
    "request_protocol": "http",
    "response_code": "200",
    "response_flags": "-",
    "job": "pods",
    "instance": "10.0.0.1:15020",
}


def series(values: str, name: str = promql.REQUESTS, **labels: str) -> dict[str, str]:
    text = ",".join(f"{label}={promql.text(value)}" for label, value in (FOUND | labels).items())
    return {"series": f"{name}{{{text}}}", "values": values}


def sample(value: float, by: tuple[str, ...], **labels: str) -> dict[str, object]:
    held = {label: text for label, text in (FOUND | labels).items() if label in by}
    return {
        "labels": "{" + ",".join(f"{label}={promql.text(text)}" for label, text in held.items()) + "}",
        "value": value,
    }


def fact(kind: str, value: float) -> dict[str, object]:
    return {"labels": f'{{canaryd="{kind}"}}', "value": value}


UP = {"series": 'up{job="pods",instance="10.0.0.1:15020"}', "values": "1x40"}
REQUESTS = (*promql.OUTCOME, *promql.CALL)
V1, V3 = {"destination_workload": "reviews-v1"}, {"destination_workload": "reviews-v3"}
NOBODY = {"destination_workload": "unknown", "destination_workload_namespace": "unknown", "response_code": "503"}

# The cell is (7m, 8m], samples 28 to 32 of the series.
CASES: dict[str, tuple[list[dict[str, str]], str, list[dict[str, object]]]] = {
    "existing series": (
        [series("0+10x40", **V1), series("0+2x40", **V3)],
        promql.requests(REVIEWS, MINUTE),
        [sample(40, REQUESTS, **V1), sample(8, REQUESTS, **V3)],
    ),
    "a newborn error series counts in full": (
        [series("0+2x40", **V3), series("_x30 7x9", **V3, response_code="503")],
        promql.requests(REVIEWS, MINUTE),
        [sample(8, REQUESTS, **V3), sample(7, REQUESTS, **V3, response_code="503")],
    ),
    "a reset counts what came after it": (
        [series("1000+4x29 3+4x10", **V3)],
        promql.requests(REVIEWS, MINUTE),
        [sample(11, REQUESTS, **V3)],
    ),
    "a decrease by one is dropped": (
        [series("100x29 99x10", **V3)],
        promql.requests(REVIEWS, MINUTE),
        [],
    ),
    "a failed scrape is caught up": (
        [series("1000000+5x26 stale _ 1000150+5x10", **V3)],
        promql.requests(REVIEWS, MINUTE),
        [sample(35, REQUESTS, **V3)],
    ),
    "a failed scrape is seen": (
        [series("1000000+5x26 stale _ 1000150+5x10", **V3), UP],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("end", 480), fact("known", 1), fact("late", 35), fact("target", 420)],
    ),
    "two client pods are added": (
        [series("0+1x40", **V3), series("_x29 50+1x10", **V3, instance="10.0.0.2:15020")],
        promql.requests(REVIEWS, MINUTE),
        [sample(4 + 53, REQUESTS, **V3)],
    ),
    "failures without a host, without a cluster, and those of others": (
        [
            series("0+3x40", **NOBODY, response_flags="UH"),
            series("0+2x40", **NOBODY, response_flags="URX,NC", destination_service="reviews:9080"),
            series("0+1x40", **NOBODY, response_flags="NC", destination_service="unknown"),
            series("0+9x40", **NOBODY, response_flags="NC", destination_service="ratings:9080"),
            series("0+9x40", **NOBODY | {"response_code": "404"}, response_flags="NR", destination_service="reviews"),
        ],
        promql.requests(REVIEWS, MINUTE),
        [
            sample(12, REQUESTS, **NOBODY, response_flags="UH"),
            sample(8, REQUESTS, **NOBODY, response_flags="URX,NC", destination_service="reviews:9080"),
            sample(4, REQUESTS, **NOBODY, response_flags="NC", destination_service="unknown"),
        ],
    ),
    "durations of both sides and nobody else": (
        [
            series("0+8x40", promql.BUCKETS, **V3, le="250.0"),
            series("0+9x40", promql.BUCKETS, **V3, le="+Inf"),
            series("0+9x40", promql.BUCKETS, **V3, le="+Inf", reporter="destination"),
            series("0+9x40", promql.BUCKETS, destination_workload="reviews-v2", le="+Inf"),
        ],
        promql.durations(REVIEWS, MINUTE),
        [
            sample(32, ("le", *promql.OUTCOME), **V3, le="250.0"),
            sample(36, ("le", *promql.OUTCOME), **V3, le="+Inf"),
        ],
    ),
    "what reached the pods, by pod": (
        [
            series("0+4x40", **V1, reporter="destination", pod="a"),
            series("1000+4x29 3+4x10", **V1, reporter="destination", pod="b"),
            series("_x30 7x9", **V3, reporter="destination", pod="c", response_code="500"),
            series("0+9x40", **V1),
            series("0+9x40", destination_workload="reviews-v2", reporter="destination", pod="d"),
        ],
        promql.pods(REVIEWS, MINUTE),
        [
            sample(16, (*promql.POD, *promql.OUTCOME), **V1, pod="a"),
            sample(11, (*promql.POD, *promql.OUTCOME), **V1, pod="b"),
            sample(7, (*promql.POD, *promql.OUTCOME), **V3, pod="c", response_code="500"),
        ],
    ),
    "what reached the pods from callers without a sidecar": (
        [
            series("0+4x40", **V1, reporter="destination", pod="a"),
            series("0+2x40", **V3, reporter="destination", pod="b", source_workload="unknown"),
        ],
        promql.pods(REVIEWS, MINUTE),
        [
            sample(16, (*promql.POD, *promql.OUTCOME), **V1, pod="a"),
            sample(8, (*promql.POD, *promql.OUTCOME), **V3, pod="b"),
            fact("uninjected", 8),
        ],
    ),
    "scraped at both ends": (
        [series("0+1x40", **V3), series("0+1x40", **V1), UP],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("end", 480), fact("start", 420), fact("known", 2), fact("target", 420)],
    ),
    "nothing before: the target was scraped, so the series are new": (
        [series("_x30 9x10", **V3), UP],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("end", 480), fact("target", 420)],
    ),
    "nothing before and no scrape: nothing is known": (
        [series("_x30 9x10", **V3), UP | {"values": "_x30 1x10"}],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("end", 480)],
    ),
    "a Prometheus that stood still": (
        [series("0+1x24", **V3), UP | {"values": "1x24"}],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("end", 360), fact("start", 360), fact("known", 1), fact("target", 360)],
    ),
    "clients with different buckets": (
        [
            series("0+1x40", promql.BUCKETS, **V3, le="5"),
            series("0+1x40", promql.BUCKETS, **V3, le="+Inf"),
            series("0+1x40", promql.BUCKETS, **V3, le="+Inf", instance="10.0.0.2:15020"),
        ],
        promql.scrapes(REVIEWS, MINUTE),
        [fact("mixed", 2)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_queries_in_promtool(promtool: Path, tmp_path: Path, case: str) -> None:
    """What the queries answer is Prometheus's word, not our reading of its documentation."""
    given, query, expected = CASES[case]
    bench = {
        "rule_files": [],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": given,
                "promql_expr_test": [{"expr": query, "eval_time": "8m", "exp_samples": expected}],
            }
        ],
    }
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(bench))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "queries.yml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
