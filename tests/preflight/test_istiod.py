"""What is said of istiod: from its pods, and from what Prometheus has of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from canaryd.kube import PODS
from canaryd.preflight import istiod
from canaryd.preflight.heard import Istiod
from canaryd.preflight.survey import Survey
from tests.preflight.stage import HEARD, Town, plan


def deployment(name: str = "istiod", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": "istiod", "istio.io/rev": name.removeprefix("istiod-")}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "discovery", "image": "pilot:1.27.0"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": "istio-system", "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def found(said: Istiod, **analysis: str) -> list[tuple[str, str, str]]:
    seen = Survey(plan(analysis=analysis), heard=replace(HEARD, istiod=said))
    return [(one.code, one.level, one.sentence) for one in istiod.check(seen)]


def test_an_istiod_that_runs_elsewhere_is_not_missed(town: Town) -> None:
    """Another cluster, or another namespace; and one that is ready is nothing to be said of."""
    assert town.found(istiod) == []
    town.apply(deployment())
    assert town.found(istiod) == []


def test_an_istiod_that_was_scaled_to_nothing_is_scaled_up_again(town: Town) -> None:
    town.apply(deployment(replicas=0))
    finding = town.cured(istiod, "IstiodNotReady")
    assert (finding.level, finding.where) == ("error", "Deployment istio-system/istiod")


def test_an_istiod_without_a_ready_pod_is_a_mesh_without_a_way_back(town: Town) -> None:
    """It passes by itself, or somebody has to look; there is no one command."""
    town.apply(deployment())
    town.ready(town.pods(app="istiod"), ready=False)
    [finding] = town.found(istiod)
    assert (finding.code, finding.level, finding.remedy, finding.transient) == ("IstiodNotReady", "error", "", True)
    town.ready(town.pods(app="istiod"), ready=True)
    assert town.found(istiod) == []


def test_a_revision_without_pods_beside_one_with_them_only_warns(town: Town) -> None:
    """Such as what is left of an upgrade."""
    town.apply(deployment("istiod-1-27"), deployment("istiod-1-26", replicas=0))
    [finding] = town.found(istiod)
    assert (finding.level, finding.where) == ("warning", "Deployment istio-system/istiod-1-26")


def test_where_pods_may_not_be_read_nothing_is_said(town: Town) -> None:
    town.apply(deployment(replicas=0))
    assert list(istiod.check(replace(town.survey(), unread={PODS: "forbidden"}))) == []


def test_refusals_of_the_last_minutes_are_warned_of_by_kind() -> None:
    assert found(Istiod(rejects=(("cds", 1.0), ("rds", 12.2)))) == [
        (
            "XdsRejected",
            "warning",
            "proxies refused what they were sent in the last ten minutes: cds 1, rds 12 times",
        )
    ]
    assert found(Istiod()) == []


def test_a_slow_mesh_needs_a_longer_settle_time() -> None:
    """A change's own time, a scrape, and Envoy's merge of its histograms; a plan that says none learns it."""
    [(code, level, sentence)] = found(Istiod(convergence=25.0), settle="30s")
    assert (code, level) == ("SlowConvergence", "info")
    assert sentence.endswith("settle 30s is short, 45s would do")
    assert found(Istiod(convergence=25.0), settle="45s") == []
    assert found(Istiod(convergence=0.1), settle="30s") == []
    assert found(Istiod(convergence=25.0)) == []


def test_proxies_of_several_versions_are_told_of() -> None:
    [(code, level, sentence)] = found(Istiod(versions=(("1.26.4", 1), ("1.27.0", 2))))
    assert (code, level) == ("IstioVersionsDiffer", "info")
    assert sentence.endswith("1.26.4 (1 proxy), 1.27.0 (2 proxies)")
    assert found(Istiod(versions=(("1.27.0", 2),))) == []
