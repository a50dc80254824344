"""Several plans at once: on two entries of one VirtualService, and in several namespaces."""

from __future__ import annotations

from typing import Any

from canaryd.lab import bookinfo
from canaryd.lab.workloads import install
from canaryd.model.run import Outcome
from tests.cli.stage import PLAN, Clients, Json
from tests.controller.stage import Stage


def test_two_plans_on_two_entries_of_one_gateway_both_run(stage: Stage) -> None:
    """At the same time, in one object: each waits for the other's write, and neither for ever."""
    add_ratings(stage)
    stage.cluster.remove("VirtualService", "default", "reviews")
    stage.cluster.apply(shop())
    book = emptied(stage)
    for name in ("reviews", "ratings"):
        follow(stage, Clients(service=name, virtual_service="shop", entry=name, book=book))
    stage.cluster.apply(shop())
    process = stage.controller()
    for name in ("reviews", "ratings"):
        plan(stage, name, "default", target={"virtualService": "shop", "host": name, "routes": [name]})
    stage.until(lambda: len(stage.records()) == 2, "two runs", process)
    stage.until(lambda: all(run.released for run in stage.records()), "both ends", process)
    assert [run.outcome for run in stage.records()] == [Outcome.PROMOTED] * 2
    first, second = stage.records()
    assert second.created < (first.ended or 0), "one after the other"
    found = stage.cluster.find("VirtualService", "default", "shop")
    assert found is not None
    assert [[one.get("weight", 0) for one in entry["route"]] for entry in found["spec"]["http"]] == [[0, 100]] * 2
    assert "canaryd.io/" not in str(found["metadata"].get("annotations"))
    assert stage.api
    refused = [one for one in stage.api.requests if one.code in (409, 422)]
    assert len(refused) <= 12, f"a storm: {refused}"


def test_a_plan_in_another_namespace(stage: Stage) -> None:
    """Beside one of the same name; each has its own traffic."""
    neighbour(stage, "shop")
    process = stage.controller()
    plan(stage, "reviews", "shop")
    stage.apply()
    stage.until(lambda: len(stage.records()) == 2 and all(run.released for run in stage.records()), "the ends", process)
    assert {(run.plan.namespace, run.outcome) for run in stage.records()} == {
        ("shop", Outcome.PROMOTED),
        ("default", Outcome.PROMOTED),
    }


def test_only_the_namespaces_that_are_named_are_looked_after(stage: Stage) -> None:
    """And nothing is asked about others."""
    neighbour(stage, "shop")
    process = stage.controller(CANARYD_NAMESPACES="shop")
    stage.apply()
    plan(stage, "reviews", "shop")
    stage.until(lambda: any(run.released for run in stage.records()), "the end", process)
    assert [run.plan.namespace for run in stage.records()] == ["shop"]
    assert "status" not in stage.plan_object()
    assert stage.api
    ours = {"canaryplans", "canaryruns", "canaryrecords"}
    asked = {one.namespace for one in stage.api.requests if one.resource in ours}
    assert asked == {"shop"}


# -- the objects


def plan(stage: Stage, name: str, namespace: str, **spec: Any) -> None:
    target = PLAN["spec"]["target"] | spec.pop("target", {})
    meta = {"name": name, "namespace": namespace}
    stage.cluster.apply({**PLAN, "metadata": meta, "spec": PLAN["spec"] | spec | {"target": target}})


def emptied(stage: Stage) -> Any:
    """The book of the stage's Prometheus without those who call reviews by the VirtualService that is not there."""
    stage.clients.book.series.clear()
    return stage.clients.book


def neighbour(stage: Stage, namespace: str) -> None:
    """Reviews once more, in a namespace of its own, with those who call it."""
    stage.cluster.apply(bookinfo.namespace(namespace))
    kinds = ("Service", "DestinationRule", "VirtualService", "Deployment", "ServiceAccount")
    found = [one for one in bookinfo.objects() if one["kind"] in kinds and "reviews" in one["metadata"]["name"]]
    follow(stage, Clients(namespace, book=stage.clients.book))
    install(stage.cluster, [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in found])


def follow(stage: Stage, clients: Clients) -> None:
    stage.cluster.subscribe(lambda change: clients.see(change.object))


def add_ratings(stage: Stage) -> None:
    """A second version of ratings."""
    rule = bookinfo.destination_rule("ratings", ("v1", "v3"))
    install(stage.cluster, [bookinfo.deployment("ratings", "v3"), rule])


def shop() -> Json:
    entries = [
        {
            "name": name,
            "match": [{"uri": {"prefix": f"/{name}"}}],
            "route": [{"destination": {"host": name, "subset": version}, "weight": weight} for version, weight in both],
        }
        for name in ("reviews", "ratings")
        for both in [(("v1", 100), ("v3", 0))]
    ]
    spec = {"hosts": ["shop.example.com"], "gateways": ["bookinfo-gateway"], "http": entries}
    meta = {"name": "shop", "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec}
