"""What preflight reads, and that a healthy Bookinfo has nothing to be said of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canaryd.kube import PODS, VIRTUAL_SERVICES
from canaryd.model.finding import Code, Finding, worst
from canaryd.preflight import groups
from canaryd.preflight.groups import GROUPS, Group, checked
from canaryd.preflight.kinds import CONFIG_MAPS, GATEWAYS
from canaryd.preflight.survey import Survey
from tests.preflight.stage import Town, plan


def test_a_healthy_bookinfo_has_no_finding_above_info(town: Town) -> None:
    found = list(checked(town.survey()))
    assert worst(found) in (None, "info"), [str(one) for one in found]


def test_the_survey_has_what_is_around_the_route(town: Town) -> None:
    seen = town.survey()
    assert seen.services == (("default", "reviews"),)
    assert seen.hosts == ("reviews.default.svc.cluster.local",)
    assert seen.client_namespaces == ("default", "istio-system")
    assert {one["metadata"]["name"] for one in seen.all(VIRTUAL_SERVICES)} == {"reviews", "bookinfo"}
    assert seen.one(GATEWAYS, "default", "bookinfo-gateway") is not None
    assert len([pod for pod in seen.all(PODS) if pod["metadata"]["labels"].get("app") == "reviews"]) == 6
    assert seen.unread == {}


def test_the_meshs_configuration_is_read_from_istiods_config_map(town: Town) -> None:
    town.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": "enablePrometheusMerge: false\nrootNamespace: istio-system\n"},
        }
    )
    assert town.survey().mesh["enablePrometheusMerge"] is False
    assert CONFIG_MAPS not in town.survey().unread


def test_a_check_that_breaks_is_a_finding_and_hides_no_other(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours must neither stop a release nor pass for "all is well"."""

    def broken(_: Survey) -> Iterator[Finding]:
        raise KeyError("spec")

    odd = Code("Odd", "warning", "it is odd", "look")
    after = Group("Later", (odd,), lambda _: iter((odd.at("there", "is odd"),)))
    monkeypatch.setattr(groups, "GROUPS", (Group("Sooner", (), broken), after))
    first, second = groups.checked(town.survey())
    assert (first.code, first.level, first.where) == ("CheckBroken", "info", "Sooner")
    assert "KeyError('spec')" in first.sentence
    assert second.code == "Odd"


def test_a_code_that_is_accepted_in_vain_is_told(town: Town) -> None:
    """Who mistypes one would think that it is let pass, and wait for a release that never begins."""
    accepted = [
        {"code": code, "reason": "seen"}
        for code in ("PortSnifed", "NotAtStable", "PortSniffed", "Zebra", "LabelMissing")
    ]
    town.plan = plan(acceptFindings=accepted)
    told = {one.where: one.sentence for one in checked(town.survey()) if one.code == "AcceptedInVain"}
    assert told == {
        "spec.acceptFindings.0.code": "PortSnifed is no code of preflight's; did you mean PortSniffed?",
        "spec.acceptFindings.1.code": "NotAtStable is admission's own and cannot be accepted",
        "spec.acceptFindings.3.code": "Zebra is no code of preflight's",
    }


def test_each_code_is_one_kind_of_finding() -> None:
    names = [code.name for group in GROUPS for code in group.codes]
    assert len(names) == len(set(names))
    assert all(code.cause and code.remedy for group in GROUPS for code in group.codes)
