"""
Whether callers meet the weight that the VirtualService holds: on a real Envoy and a real Prometheus, in mid-run.

Each test takes something away from the weight behind canaryd's back, and reads what the run says of it. No step passes
meanwhile, and the canary never has more than its 25 %.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canaryd.app import Canaryd, World, command, world
from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab
from canaryd.model.plan import Plan
from canaryd.model.run import Outcome, Phase, Run
from canaryd.settings import Settings

from .conftest import lab, put, running_lab, wait_for  # noqa: F401  # fixtures

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("lab"), pytest.mark.timeout(200)]
Json = dict[str, Any]

PLAN = {
    "apiVersion": "canaryd.io/v1alpha1",
    "kind": "CanaryPlan",
    "metadata": {"name": "reviews", "namespace": "default"},
    "spec": {
        "release": "v3",
        "target": {
            "virtualService": "reviews",
            "host": "reviews",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v3"},
        },
        "steps": [{"weight": 25, "bake": "40s"}, {"weight": 50, "bake": "30s"}],
        "analysis": {
            "cell": "2s",
            "scrape": "1s",
            "settle": "2s",
            "history": "0s",
            "checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}],
        },
    },
}
OTHER = "curl.default"
"""The client at the lab's second vantage point."""


@contextmanager
def running(lab: Lab, folder: Path) -> Iterator[Callable[[], Run]]:  # noqa: F811
    """The plan's run, carried out by a canaryd in this process; ended and cleaned up in any case."""
    settings = Settings(kubeconfig=lab.kubeconfig, prometheus=lab.prometheus_url, state=folder)
    parts: World = world(settings)
    with Canaryd(parts) as canaryd:
        uid = canaryd.begin(Plan.model_validate(PLAN)).record.run.uid
        try:
            yield lambda: canaryd.see(uid)
        finally:
            canaryd.ask(uid, command("abort", by="the test"))
            wait_for(lambda: canaryd.see(uid).released, "the run's end", 20)


@pytest.fixture
def others(lab: Lab) -> Iterator[None]:  # noqa: F811
    """A second client, with a quarter of all requests; it reaches reviews before the test begins."""
    lab.start_stream("mobile", vantage="other", rps=100, seed=3, headers={"x-team": "mobile"})
    yield
    lab.stop_stream("mobile")


def said(run: Callable[[], Run], *words: str, within: float = 30.0) -> Run:
    """The run, once everything that it says has all of ``words``."""

    def everything() -> str:
        seen = run()
        evidence = seen.evidence
        return " ".join((seen.waiting, seen.reason, *((evidence.share, evidence.notes) if evidence else ())))

    end = time.monotonic() + within
    while not all(word in everything() for word in words):
        assert time.monotonic() < end, f"not said: {words}; but: {everything()}"
        time.sleep(0.1)
    return run()


def test_a_client_that_lags_is_named_and_then_one_that_an_entry_sends_elsewhere(
    lab: Lab,  # noqa: F811
    others: None,
    tmp_path: Path,
) -> None:
    """
    A proxy that hears nothing for minutes, and then an entry in front of ours that reaches only stable.

    Of 400 requests a second 100 meet the former weight: the overall share is short of its band by little.
    """
    lab.lag("other", 600)
    with running(lab, tmp_path) as run:
        held = said(run, "share: ", f"{OTHER} gave it 0 % of ", "nearer to the former 0 %", "Likely causes")
        assert held.evidence is not None
        assert (held.evidence.lagging, held.baked) == ((OTHER,), ())
        assert held.split.canary == 25_000
        assert "istioctl proxy-status" in held.waiting, "nothing in the objects explains it"
        lab.lag("other", 0)
        baking = said(run, "baking at 25 %")
        assert baking.evidence is not None
        assert (baking.evidence.lagging, baking.hold) == ((), None)
        found = lab.virtual_service() or {}
        mobile = {"match": [{"headers": {"x-team": {"exact": "mobile"}}}], "route": [subset("v1")]}
        put(lab, found | {"spec": found["spec"] | {"http": [mobile, *found["spec"]["http"]]}})
        held = said(run, f"{OTHER} gave it ", "http[0] stands before ours and sends what it matches (headers) to v1")
        assert held.baked == ()
        assert (held.step, held.split.canary) == (0, 25_000)


def test_a_second_virtual_service_that_steals_the_host_is_named(lab: Lab, tmp_path: Path) -> None:  # noqa: F811
    """Private to the clients' namespace, it comes before ours though it is younger; ours goes on saying 25 %."""
    with running(lab, tmp_path) as run:
        said(run, "baking at 25 %: 3 of")
        thief = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "thief", "namespace": "default"},
            "spec": {"hosts": ["reviews"], "exportTo": ["."], "http": [{"route": [subset("v1")]}]},
        }
        put(lab, thief)
        try:
            held = said(run, "share: ", "VirtualService default/thief has reviews, too, and has the say over it")
            assert (held.phase, held.step, held.baked) == (Phase.BAKING, 0, ())
            assert lab.weights()["v3"] == 25
        finally:
            lab.cluster.remove("VirtualService", "default", "thief")
            lab.control_plane.settle()
        assert said(run, "baking at 25 %").hold is None


def test_callers_without_a_sidecar_are_said_and_a_missing_subset_goes_back(
    lab: Lab,  # noqa: F811
    others: None,
    tmp_path: Path,
) -> None:
    """
    The first goes past every weight and is seen by the pods alone (and not even by them where mTLS is STRICT: they
    refuse it). The second is one client's own DestinationRule.

    A request for which the client's proxy has no cluster fails at once: that is our weight's doing, and no series of
    the canary's tells of it.
    """
    put(lab, bookinfo.peer_authentication("PERMISSIVE"))
    lab.sidecar("other", present=False)
    with running(lab, tmp_path) as run:
        said(run, "requests came from callers without a sidecar", "baking at 25 %")
        lab.sidecar("other", present=True)
        own = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "mobile", "namespace": "default"},
            "spec": {
                "host": "reviews",
                "workloadSelector": {"matchLabels": {"app": "curl"}},
                "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
            },
        }
        put(lab, own)
        try:
            ended = said(run, f"the proxies of {OTHER} knew no destination (NC)")
            wait_for(lambda: run().final, "the rollback", 20)
            assert run().outcome is Outcome.FAILED
            assert ended.latch is not None
            assert lab.weights().get("v3", 0) == 0
        finally:
            lab.cluster.remove("DestinationRule", "default", "mobile")
            lab.control_plane.settle()


def test_attempts_and_pods_that_callers_do_not_see_are_told(lab: Lab, tmp_path: Path) -> None:  # noqa: F811
    """
    Retries hide failures from users, and so from the verdict; then outlier detection hides a pod.

    Each is told beside the evidence, and decides nothing: the run goes on.
    """
    found = lab.virtual_service() or {}
    retried = [{**one, "retries": {"attempts": 5, "retryOn": "5xx"}} for one in found["spec"]["http"]]
    put(lab, found | {"spec": found["spec"] | {"http": retried}})
    lab.faults.set("v3", error_rate=0.3)
    try:
        with running(lab, tmp_path) as run:
            said(run, "baking at 25 %", "the canary's pods counted 1.4 attempts per request: retries that hide")
            lab.faults.set("v3", error_rate=0.0)
            lab.faults.set("v3", pod=0, error_rate=1.0)
            rule = bookinfo.destination_rule()
            block = {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "180s", "maxEjectionPercent": 50}
            put(lab, rule | {"spec": rule["spec"] | {"trafficPolicy": {"outlierDetection": block}}})
            seen = said(run, f"1 of {bookinfo.REPLICAS} ready canary pods got no request: ejected", within=60)
            assert (seen.latch, seen.outcome) == (None, None)
    finally:
        put(lab, found)


def subset(name: str) -> Json:
    return {"destination": {"host": "reviews", "subset": name}}
