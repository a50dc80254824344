"""Which runs a change around their routes wakes: those that would see something else, and no others."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from canaryd.cluster.cache import Change
from canaryd.controller.nearby import concerned
from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, PODS, SERVICES, Kind
from canaryd.mesh.slim import CARE
from canaryd.model.traffic import Version
from tests.mesh.objects import ROUTE, deployment, destination_rule, pod, service
from tests.stage import new_run, plan

Object = dict[str, Any]
RUNS = [
    replace(new_run(plan(5, 50)), uid="ours", route=ROUTE),
    replace(
        new_run(plan(5, 50)),
        uid="others",
        route=replace(ROUTE, stable=Version("ratings", "v1"), canary=Version("ratings", "v2")),
    ),
    replace(
        new_run(plan(5, 50)),
        uid="elsewhere",
        route=replace(ROUTE, namespace="far"),
    ),
]


class Known:
    """What a shelf has at hand: the Service `reviews`, and, where nobody has asked yet, nothing."""

    def __init__(self, *services: Object) -> None:
        self.services = {one["metadata"]["name"]: one for one in services}

    def known(self, kind: Kind, namespace: str, name: str) -> Object | None:
        assert kind == SERVICES
        return self.services.get(name)


def at(found: Object, namespace: str = "default") -> Object:
    found = copy.deepcopy(found)
    found["metadata"] |= {"namespace": namespace, "resourceVersion": "1"}
    return found


def woken(kind: Kind, found: Object, former: Object | None = None, known: Known | None = None) -> list[str]:
    slim = CARE[kind].slim
    change = Change("changed" if former else "added", slim(found), slim(former) if former else None)
    ratings = copy.deepcopy(service()) | {"spec": {"selector": {"app": "ratings"}}}
    ratings["metadata"]["name"] = "ratings"
    shelf: Any = known or Known(at(service()), at(ratings))
    return [run.uid for run in concerned(RUNS, kind, change, shelf)]


def unready(found: Object) -> Object:
    found = at(found)
    found["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    return found


def test_a_pod_wakes_the_runs_whose_service_selects_it() -> None:
    """Of its own namespace, and not the one next door."""
    assert woken(PODS, unready(pod("v3", 0)), at(pod("v3", 0))) == ["ours"]
    assert woken(PODS, at(pod("v3", 0))) == ["ours"]
    assert woken(PODS, at(pod("v3", 0), "far")) == ["elsewhere"]


def test_a_pod_that_leaves_the_service_wakes_too() -> None:
    """Its label was taken away: it is one less."""
    away = at(pod("v3", 0))
    away["metadata"]["labels"] = {"app": "quarantine"}
    assert woken(PODS, away, at(pod("v3", 0))) == ["ours"]


@pytest.mark.parametrize("edit", [
    lambda found: found["metadata"].update(resourceVersion="2"),
    lambda found: found["metadata"].update(annotations={"note": "mine"}),
    lambda found: found["metadata"].update(managedFields=[{"manager": "kubelet"}]),
    lambda found: found["status"].update(podIP="10.0.0.1"),
    lambda found: found["status"]["conditions"].append({"type": "PodScheduled", "status": "True"}),
])  # fmt: skip
def test_what_no_run_looks_at_wakes_nobody(edit: Any) -> None:
    """A kubelet writes often."""
    found = at(pod("v3", 0))
    edit(found)
    assert woken(PODS, found, at(pod("v3", 0))) == []


def test_where_the_service_is_not_known_everybody_behind_it_looks() -> None:
    """Once too often is better than not."""
    assert woken(PODS, at(pod("v3", 0)), known=Known()) == ["ours", "others"]


def test_deployments_services_and_rules() -> None:
    """By template, by name, and, where a host may be written in many ways, by namespace."""
    scaled = at(deployment("v3"))
    scaled["spec"]["replicas"] = 7
    assert woken(DEPLOYMENTS, scaled, at(deployment("v3"))) == ["ours"]
    assert woken(SERVICES, at(service())) == ["ours"]
    assert woken(DESTINATION_RULES, at(destination_rule())) == ["ours", "others"]
    assert woken(DESTINATION_RULES, at(destination_rule(), "istio-system")) == ["ours", "others", "elsewhere"]
