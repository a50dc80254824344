"""
``canaryd preflight`` on the running lab: real Envoy, real Prometheus, real kubectl.

What a mesh does to a canary is put there, named rightly before anything moves, and mended by the command that the
finding gives. What happens when it comes in mid-run is in ``test_share.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.app import preflight
from canaryd.kube import connect
from canaryd.lab import bookinfo
from canaryd.lab.lab import USUAL_PLAN, Lab
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.finding import Finding, worst
from canaryd.model.plan import read_plan
from canaryd.preflight import feasibility, istiod, prometheus
from canaryd.preflight.hearing import Hearing, sought_by
from canaryd.preflight.looking import survey
from canaryd.preflight.survey import Survey
from canaryd.settings import Settings
from tests.judge.population import BOUNDS
from tests.preflight.stage import typed

from .conftest import RPS, answered, calm, put, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("lab-preflight"), pytest.mark.timeout(200)]
Json = dict[str, Any]
HEARD = 45.0
"""Seconds within which Prometheus has heard enough of what has changed."""


class Look:
    """Somebody with a kubeconfig, the lab's Prometheus, and kubectl."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._settings = Settings(kubeconfig=lab.kubeconfig, prometheus=lab.prometheus_url, state=folder)
        self._plan = read_plan(USUAL_PLAN.read_text(encoding="utf-8"))

    def found(self) -> tuple[Finding, ...]:
        """What preflight finds; it changes nothing."""
        before = self._lab.virtual_service()
        found = preflight(self._settings, self._plan)
        assert self._lab.virtual_service() == before
        return found

    def grave(self) -> dict[str, Finding]:
        """The errors and warnings by code."""
        return {one.code: one for one in self.found() if one.level != "info"}

    def sees(self, code: str) -> Finding:
        """The finding, once it is there."""
        wait_for(lambda: code in self.grave(), f"{code}; there are {self.found()}", HEARD)
        return self.grave()[code]

    def cured(self, code: str) -> Finding:
        """See the finding, type its remedy as it stands, and see that nothing grave is left."""
        finding = self.sees(code)
        typed(finding.remedy, self._lab.kubeconfig)
        self._lab.workloads.reconcile()
        assert self.grave() == {}, finding.remedy
        return finding


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: Prometheus forgets nothing of what other tests did to the shared one."""
    with Lab.up(tmp_path_factory.mktemp("preflight"), rps=RPS, seed=7) as lab:
        yield lab


@pytest.fixture
def lab(own: Lab) -> Iterator[Lab]:
    yield own
    calm(own)


@pytest.fixture
def look(lab: Lab, tmp_path: Path) -> Look:
    """The lab, once Prometheus knows it."""
    look = Look(lab, tmp_path)
    wait_for(lambda: not look.grave(), f"calm; there are {look.found()}", HEARD)
    return look


@pytest.fixture
def other(lab: Lab) -> Iterator[None]:
    """A second client with a quarter of all requests."""
    lab.start_stream("mobile", vantage="other", rps=100, seed=3)
    yield
    lab.stop_stream("mobile")


def seen(lab: Lab) -> Survey:
    """What preflight has of the lab's own plan now."""
    kube = connect(str(lab.kubeconfig))
    plan = read_plan(USUAL_PLAN.read_text())
    hearing = Hearing(Prometheus(lab.prometheus.url))
    admitted = IstioMesh(kube).admit(plan)
    return survey(kube, plan, admitted=admitted, hear=lambda route: hearing.hear(plan, route))


def test_a_healthy_bookinfo_is_heard_as_it_is(lab: Lab) -> None:
    """Its callers, its rate, Envoy's own bounds, the interval of the lab, and nothing to be warned of."""
    answered(lab, 100)
    old = 'istio_requests_total{destination_workload="reviews-v1"} offset 20s'
    wait_for(lambda: bool(lab.prometheus.query(old)), "the series have an age", 40)
    found = seen(lab)
    heard = found.heard
    assert (heard.silent, heard.probed, heard.missed) == ("", (), ())
    assert "productpage-v1.default" in map(str, heard.callers)
    assert heard.of().rate == pytest.approx(RPS, rel=0.25)
    assert heard.of().failing < 0.01
    assert heard.pods == pytest.approx(RPS, rel=0.25)
    assert heard.uninjected == 0
    assert {one.bounds_ms for one in heard.histograms} == {BOUNDS}
    assert heard.interval == pytest.approx(1.0, rel=0.3)
    groups = (prometheus, istiod, feasibility)
    assert [str(one) for group in groups for one in group.check(found) if one.level != "info"] == []


def test_a_healthy_bookinfo_has_nothing_above_a_note(look: Look) -> None:
    found = look.found()
    assert worst(found) == "info"
    assert "Outlook" in [one.code for one in found]


def test_a_second_virtual_service_that_has_the_say_is_named_and_taken_out(look: Look, lab: Lab) -> None:
    thief = virtual_service("thief", {"route": [subset("v1")]}, exportTo=["."])
    put(lab, thief)
    try:
        finding = look.cured("VirtualServiceNotInForce")
        assert (finding.level, "thief" in str(finding)) == ("error", True)
    finally:
        if lab.cluster.find("VirtualService", "default", "thief"):  # else the remedy has taken it out
            lab.cluster.remove("VirtualService", "default", "thief")


def test_a_client_whose_own_rule_lacks_the_subset_is_named_and_mended(
    look: Look,
    lab: Lab,
    other: None,
) -> None:
    """It would get 503 for the canary's share from the first step on."""
    spec = {
        "host": "reviews",
        "workloadSelector": {"matchLabels": {"app": "curl"}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
    }
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "mobile", "namespace": "default"},
        "spec": spec,
    }
    put(lab, rule)
    try:
        finding = look.cured("SubsetMissingForClients")
        assert (finding.level, finding.where) == ("error", "DestinationRule default/mobile")
        assert "curl.default" in finding.sentence
    finally:
        lab.cluster.remove("DestinationRule", "default", "mobile")


def test_an_entry_that_reaches_only_stable_is_named(look: Look, lab: Lab) -> None:
    """Its users would never meet the canary, and be compared with it."""
    found = lab.virtual_service() or {}
    header = {"match": [{"headers": {"x-team": {"exact": "mobile"}}}], "route": [subset("v1")]}
    ours = {**found["spec"]["http"][0], "name": "ours"}
    put(lab, found | {"spec": found["spec"] | {"http": [header, ours]}})
    grave = look.grave()
    assert set(grave) & {"OtherWay", "RouteAmbiguous"}, grave
    assert worst(grave.values()) == "error"


def test_a_canary_without_ready_pods_is_waited_for(look: Look, lab: Lab) -> None:
    """It passes by itself, once they are ready."""
    lab.drain("v3")
    finding = look.sees("NotReadyYet")
    assert finding.transient
    lab.restore("v3")
    wait_for(lambda: not look.grave(), "the pods are seen to be ready", HEARD)


def test_requests_of_a_client_without_a_sidecar_are_seen(look: Look, lab: Lab, other: None) -> None:
    """They go past every weight, and no client's proxy counts them; STRICT would refuse them."""
    put(lab, bookinfo.peer_authentication("PERMISSIVE"))
    lab.sidecar("other", present=False)
    finding = look.sees("RequestsBesideTheMesh")
    assert finding.level == "warning"


def test_how_soon_a_weight_is_seen_is_learned_from_the_scrapes(lab: Lab) -> None:
    """The lab's Prometheus scrapes every second, whatever the plan says; nobody there counts what istiod needs."""
    found = IstioMesh(connect(str(lab.kubeconfig)))
    plan = read_plan(USUAL_PLAN.read_text())
    sought = sought_by(plan, found.admit(plan).route, "")
    metrics = Prometheus(lab.prometheus.url)
    wait_for(lambda: metrics.pace(sought).scrape is not None, "series as old as the stretch that is counted", 75)
    pace = metrics.pace(sought)
    assert pace.scrape == pytest.approx(1.0, rel=0.2)
    assert pace.convergence is None


def virtual_service(name: str, *entries: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": list(entries), **spec},
    }


def subset(name: str) -> Json:
    return {"destination": {"host": "reviews", "subset": name}}
