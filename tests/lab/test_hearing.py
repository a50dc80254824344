"""What preflight hears of the lab: real proxies, a real Prometheus, and what the product's own queries make of both."""

from __future__ import annotations

import pytest

from canaryd.kube import connect
from canaryd.lab.lab import USUAL_PLAN, Lab
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.plan import read_plan
from canaryd.preflight import feasibility, istiod, prometheus
from canaryd.preflight.hearing import Hearing
from canaryd.preflight.looking import survey
from canaryd.preflight.survey import Survey
from tests.judge.population import BOUNDS

from .conftest import RPS, answered, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


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
