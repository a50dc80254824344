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
from canaryd.lab import bookinfo
from canaryd.lab.lab import USUAL_PLAN, Lab
from canaryd.model.finding import Finding, worst
from canaryd.model.plan import read_plan
from canaryd.settings import Settings
from tests.preflight.stage import typed

from .conftest import lab, put, running_lab, wait_for  # noqa: F401  # fixtures

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("lab"), pytest.mark.timeout(200)]
Json = dict[str, Any]
HEARD = 45.0
"""Seconds within which Prometheus has heard enough of what has changed."""


class Look:
    """Somebody with a kubeconfig, the lab's Prometheus, and kubectl."""

    def __init__(self, lab: Lab, folder: Path) -> None:  # noqa: F811
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


@pytest.fixture
def look(lab: Lab, tmp_path: Path) -> Look:  # noqa: F811
    """The lab, once Prometheus knows it."""
    look = Look(lab, tmp_path)
    wait_for(lambda: not look.grave(), f"calm; there are {look.found()}", HEARD)
    return look


@pytest.fixture
def other(lab: Lab) -> Iterator[None]:  # noqa: F811
    """A second client with a quarter of all requests."""
    lab.start_stream("mobile", vantage="other", rps=100, seed=3)
    yield
    lab.stop_stream("mobile")


def test_a_healthy_bookinfo_has_nothing_above_a_note(look: Look) -> None:
    found = look.found()
    assert worst(found) == "info"
    assert "Outlook" in [one.code for one in found]


def test_a_second_virtual_service_that_has_the_say_is_named_and_taken_out(look: Look, lab: Lab) -> None:  # noqa: F811
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
    lab: Lab,  # noqa: F811
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


def test_an_entry_that_reaches_only_stable_is_named(look: Look, lab: Lab) -> None:  # noqa: F811
    """Its users would never meet the canary, and be compared with it."""
    found = lab.virtual_service() or {}
    header = {"match": [{"headers": {"x-team": {"exact": "mobile"}}}], "route": [subset("v1")]}
    ours = {**found["spec"]["http"][0], "name": "ours"}
    put(lab, found | {"spec": found["spec"] | {"http": [header, ours]}})
    grave = look.grave()
    assert set(grave) & {"OtherWay", "RouteAmbiguous"}, grave
    assert worst(grave.values()) == "error"


def test_a_canary_without_ready_pods_is_waited_for(look: Look, lab: Lab) -> None:  # noqa: F811
    """It passes by itself, once they are ready."""
    lab.drain("v3")
    finding = look.sees("NotReadyYet")
    assert finding.transient
    lab.restore("v3")
    wait_for(lambda: not look.grave(), "the pods are seen to be ready", HEARD)


def test_requests_of_a_client_without_a_sidecar_are_seen(look: Look, lab: Lab, other: None) -> None:  # noqa: F811
    """They go past every weight, and no client's proxy counts them; STRICT would refuse them."""
    put(lab, bookinfo.peer_authentication("PERMISSIVE"))
    lab.sidecar("other", present=False)
    finding = look.sees("RequestsBesideTheMesh")
    assert finding.level == "warning"


def virtual_service(name: str, *entries: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": list(entries), **spec},
    }


def subset(name: str) -> Json:
    return {"destination": {"host": "reviews", "subset": name}}
