"""Objects of one's own: read as they are kept, completed, and called."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab.faults import Fault
from canaryd.lab.own.calling import request_for
from canaryd.lab.own.completing import completed
from canaryd.lab.own.figures import Figures, quantile
from canaryd.lab.own.pace import pace, quickened
from canaryd.lab.own.reading import Own, read
from canaryd.lab.own.setting import gateway_labels, scene_of
from canaryd.lab.scene import CLIENT, INGRESS, Request, Scene
from canaryd.model.cells import Cell, Counts
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import NOTHING

Json = dict[str, Any]

ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: prod}
spec:
  hosts: [shop]
  http:
    - route:
        - {destination: {host: shop, subset: blue, port: {number: 8080}}, weight: 100}
        - {destination: {host: shop, subset: green, port: {number: 8080}}, weight: 0}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: shop, namespace: prod}
spec:
  host: shop
  subsets:
    - {name: blue, labels: {colour: blue}}
    - {name: green, labels: {colour: green}}
"""
PLAN = """
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {name: shop, namespace: prod}
spec:
  release: green
  target: {virtualService: shop, host: shop, stable: {subset: blue}, canary: {subset: green}}
  steps: [{weight: 5, bake: 5m}, {weight: 50, bake: 10m}]
"""


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        place = folder / name.replace("__", "/").replace("_yaml", ".yaml")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def names(own: Own) -> list[str]:
    return [
        f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in own.objects
    ]


# Reading


def test_a_directory_is_read_with_what_is_below_it(tmp_path: Path) -> None:
    own = read(written(tmp_path, routes_yaml=ROUTES, deep__er__plan_yaml=PLAN, readme="not yaml: ["))
    assert names(own) == ["VirtualService prod/shop", "DestinationRule prod/shop"]
    assert [plan.name for plan in own.plans] == ["shop"]


def test_what_kubectl_prints_is_taken_as_it_is(tmp_path: Path) -> None:
    """A List, with what only the server knows and the marks of a run that went on meanwhile."""
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {
                    "name": "shop",
                    "namespace": "prod",
                    "uid": "1",
                    "resourceVersion": "7",
                    "generation": 3,
                    "managedFields": [{"manager": "kubectl"}],
                    "creationTimestamp": "2026-01-02T03:04:05Z",
                    "annotations": {
                        "kubectl.kubernetes.io/last-applied-configuration": "{}",
                        "marker.canaryd.io/shop": "{}",
                        "team": "checkout",
                    },
                },
                "spec": {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}]}]},
                "status": {"conditions": []},
            }
        ],
    }
    own = read(written(tmp_path, all_yaml=yaml.safe_dump(listed)) / "all.yaml")
    [virtual] = own.objects
    assert "status" not in virtual
    assert virtual["metadata"] == {
        "name": "shop",
        "namespace": "prod",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "annotations": {"team": "checkout"},
    }
    assert "left out the annotations of a run of canaryd (marker.canaryd.io/shop)" in own.notes[0]


def test_other_kinds_are_passed_over_with_a_note(tmp_path: Path) -> None:
    other = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"
    )
    own = read(written(tmp_path, routes_yaml=ROUTES, other_yaml=other))
    assert len(own.objects) == 2
    assert own.notes == ("passed over, because the lab's traffic does not depend on it: 1 ConfigMap and 1 Secret",)


def test_a_large_deployment_is_made_small(tmp_path: Path) -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {replicas: 40, template: {}}\n"
    own = read(written(tmp_path, deployment_yaml=text))
    assert own.objects[0]["spec"]["replicas"] == 3
    assert own.notes == ("Deployment default/shop: 3 pods instead of 40, more would show nothing new",)


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    """Of two VirtualServices for a host the oldest wins in the mesh: their order must survive."""
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {}\n"
    young = head + "metadata: {name: a-young, creationTimestamp: '2026-03-01T00:00:00Z'}\n"
    old = head + "metadata: {name: b-old, creationTimestamp: '2025-03-01T00:00:00Z'}\n"
    assert names(read(written(tmp_path, young_yaml=young, zold_yaml=old))) == [
        "VirtualService /b-old",
        "VirtualService /a-young",
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: [\n", "line 2", "YAML that can be read"),
        ("{{ .Values.host }}: x: y", "line 1", "render templates first: helm template"),
        ("- 1\n", "bad.yaml", "a Kubernetes object: a mapping with apiVersion, kind and metadata"),
        ("kind: Service\nmetadata: {name: a}\n", "bad.yaml: apiVersion", "text, as every Kubernetes object has it"),
        ("apiVersion: v1\nkind: Service\nmetadata: {}\n", "bad.yaml: metadata.name", "the name of this Service"),
        (PLAN.replace("steps", "stepz"), "bad.yaml: spec.stepz", "did you mean steps?"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path, text: str, path: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(written(tmp_path, bad_yaml=text))
    assert any(path in problem.path and words in str(problem) for problem in refused.value.problems)


def test_an_empty_directory_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refused):
            read(place)


# Completing


def test_what_routes_name_is_made_up_and_said(tmp_path: Path) -> None:
    """A directory with the routes alone is enough."""
    own = completed(read(written(tmp_path, routes_yaml=ROUTES)))
    assert names(own)[:3] == ["Service prod/shop", "Deployment prod/shop-blue", "Deployment prod/shop-green"]
    service, blue = own.objects[:2]
    assert service["spec"]["ports"][0]["port"] == 8080
    assert blue["spec"]["template"]["metadata"]["labels"] == {"app": "shop", "colour": "blue"}
    assert own.notes == (
        "made up Service prod/shop with port 8080: routes name it, and it was not there",
        "made up Deployment prod/shop-blue with 2 pods (app=shop,colour=blue): nothing there had these labels",
        "made up Deployment prod/shop-green with 2 pods (app=shop,colour=green): nothing there had these labels",
    )


def test_what_is_there_is_not_made_up(tmp_path: Path) -> None:
    deployment = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: mine, namespace: prod}
spec: {template: {metadata: {labels: {app: shop, colour: blue, team: checkout}}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: prod}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
"""
    own = completed(read(written(tmp_path, routes_yaml=ROUTES, mine_yaml=deployment)))
    assert names(own)[:3] == ["Service prod/shop", "Deployment prod/shop-green", "Deployment prod/mine"]


def test_a_host_outside_of_the_cluster_gets_no_service(tmp_path: Path) -> None:
    text = ROUTES.replace("host: shop", "host: api.example.com")
    assert [name for name in names(completed(read(written(tmp_path, routes_yaml=text)))) if "Service " in name] == [
        "VirtualService prod/shop"
    ]


# Calling


def called(folder: Path, entry: str = "", spec: str = "", **options: Any) -> Request:
    text = ROUTES.replace("    - route:", f"    - {entry}\n      route:") if entry else ROUTES
    text = text.replace("spec:\n  hosts: [shop]", f"spec:\n  {spec}") if spec else text
    own = completed(read(written(folder, routes_yaml=text, plan_yaml=PLAN)))
    return request_for(own.plans[0], own, **options)


def test_inside_of_the_mesh_the_host_is_called_with_its_port(tmp_path: Path) -> None:
    assert called(tmp_path) == Request(CLIENT, "shop:8080")


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [("[shop.example.com]", "shop.example.com"), ("['*.example.com']", "lab.example.com"), ("['*']", "shop.example")],
)
def test_behind_a_gateway_the_outer_host_is_called(tmp_path: Path, hosts: str, wanted: str) -> None:
    assert called(tmp_path, spec=f"hosts: {hosts}\n  gateways: [edge]") == Request(INGRESS, wanted)


def test_the_entrys_match_is_fulfilled(tmp_path: Path) -> None:
    """Otherwise the traffic would take another route than the one whose weights move."""
    headers = "{x-team: {exact: blue}, x-any: {}}"
    rest = f"headers: {headers}, queryParams: {{q: {{exact: '1 2'}}}}"
    entry = f"match: [{{uri: {{prefix: /api}}, method: {{exact: POST}}, {rest}}}]"
    assert called(tmp_path, entry) == Request(
        CLIENT, "shop:8080", "/api?q=1+2", "POST", {"x-team": "blue", "x-any": "lab"}
    )


def test_a_regular_expression_must_be_answered_by_the_caller(tmp_path: Path) -> None:
    entry = "match: [{uri: {regex: '/v[0-9]+/.*'}}]"
    with pytest.raises(Refused, match="--path PATH"):
        called(tmp_path, entry)
    assert called(tmp_path, entry, path="/v2/x").path == "/v2/x"


def test_a_plan_for_another_virtual_service_is_refused(tmp_path: Path) -> None:
    own = read(written(tmp_path, routes_yaml=ROUTES.replace("name: shop", "name: other"), plan_yaml=PLAN))
    with pytest.raises(Refused, match="there are: other"):
        request_for(own.plans[0], own)


# The scene


def setting(folder: Path, **files: str) -> Scene:
    own = completed(read(written(folder, routes_yaml=ROUTES, plan_yaml=PLAN, **files)))
    return scene_of(own, own.plans[0], request_for(own.plans[0], own))


def test_the_versions_are_told_by_the_labels_of_their_pods(tmp_path: Path) -> None:
    """Service selector and subset labels together, as Istio chooses endpoints."""
    scene = setting(tmp_path)
    assert scene.versions == {
        "blue": {"app": "shop", "colour": "blue"},
        "green": {"app": "shop", "colour": "green"},
    }
    assert scene.version_of({"app": "shop", "colour": "green", "pod-template-hash": "x"}, "prod") == "green"
    assert scene.version_of({"app": "shop", "colour": "green"}, "default") is None
    assert scene.version_of({"app": "shop"}, "prod") is None


def test_every_namespace_has_sidecars(tmp_path: Path) -> None:
    """The Namespace object is nearly never in the same directory."""
    namespaces = [each["metadata"] for each in setting(tmp_path).objects if each["kind"] == "Namespace"]
    assert namespaces == [
        {"name": "prod", "labels": {"istio-injection": "enabled"}},
        {"name": "istio-system", "labels": {}},
    ]


def test_weights_are_those_of_the_entry_on_trial(tmp_path: Path) -> None:
    scene = setting(tmp_path)
    virtual = next(each for each in scene.objects if each["kind"] == "VirtualService")
    assert scene.weights_in(virtual) == {"blue": 100, "green": 0}
    assert scene.weights_in(None) == {}
    assert scene.weights_in(scene.divided({"green": 30, "blue": 70})) == {"green": 30, "blue": 70}
    ports = [each["destination"]["port"] for each in scene.divided({"green": 1})["spec"]["http"][0]["route"]]
    assert ports == [{"number": 8080}]


def test_a_scene_can_be_handed_to_another_process(tmp_path: Path) -> None:
    """A lab that is detached from the terminal is one."""
    scene = setting(tmp_path)
    assert Scene.read(json.loads(json.dumps(dataclasses.asdict(scene)))).objects == scene.objects
    assert Scene.read(dataclasses.asdict(scene)).vantage == scene.vantage
    assert Scene.read(dataclasses.asdict(scene)).request == scene.request


def test_a_version_without_a_subset_is_refused_with_the_remedy(tmp_path: Path) -> None:
    purple = PLAN.replace("subset: green", "subset: purple")
    own = completed(read(written(tmp_path, routes_yaml=ROUTES, plan_yaml=purple)))
    request = request_for(own.plans[0], own)
    with pytest.raises(Refused, match="no subset purple"):
        scene_of(own, own.plans[0], request)


def test_the_gateways_pods_have_the_labels_that_gateways_choose(tmp_path: Path) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: prod}
spec: {selector: {istio: edge-gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
"""
    assert gateway_labels(read(written(tmp_path, gateway_yaml=text))) == {
        "app": "istio-ingressgateway",
        "istio": "edge-gateway",
    }


# At the lab's pace


def plan_of(text: str = PLAN) -> Plan:
    return read_plan(text)


def test_every_duration_is_divided_and_every_latency_kept() -> None:
    """The judge sees in a cell what it would see in production; a bound in milliseconds is no time of the run."""
    slo = "{name: slo, metric: latency, within: 500ms, atLeast: 99%}"
    checks = f"[{slo}, {{name: errors, metric: error-rate, compare: stable}}]"
    plan = plan_of(PLAN + f"  analysis: {{checks: {checks}}}\n  watch: 5m\n")
    quick, notes = quickened(plan, 15)
    assert [step.bake for step in quick.spec.steps] == [timedelta(seconds=20), timedelta(seconds=40)]
    assert (quick.spec.analysis.cell, quick.spec.analysis.scrape) == (timedelta(seconds=1), timedelta(seconds=1))
    assert quick.spec.analysis.settle == timedelta(milliseconds=1467), "what 22 s are in production"
    assert quick.spec.on_inconclusive.hold == timedelta(seconds=45)
    assert quick.spec.on_no_data.hold == timedelta(seconds=40)
    assert quick.spec.watch == timedelta(seconds=20)
    assert quick.spec.analysis.checks[0].within == timedelta(milliseconds=500)
    assert notes == ("holds (onInconclusive) end after 11m15s instead of later",)
    assert quick.spec.target == plan.spec.target


def test_what_the_lab_cannot_have_is_left_out_and_said() -> None:
    text = PLAN.replace(
        "{weight: 5, bake: 5m}", "{weight: 5, bake: 5m, gate: {approve: {limit: 1h, otherwise: rollback}}}"
    )
    checks = (
        "[{name: errors, metric: error-rate, compare: stable}, {name: enough, metric: traffic, atLeast: 2},"
        " {name: cpu, metric: promql, query: 'queue_length', atMost: 5}]"
    )
    quick, notes = quickened(plan_of(text + f"  analysis: {{checks: {checks}}}\n"), 10)
    assert [check.name for check in quick.spec.analysis.checks] == ["errors", "enough"]
    assert quick.spec.analysis.checks[1].at_least == 20
    assert quick.spec.steps[0].gate is None
    assert notes[:2] == (
        "left out in the lab: cpu, whose metrics are not there",
        "the gate after 5 % opens by itself in the lab",
    )


@pytest.mark.parametrize(("rps", "times"), [(10, 15), (60, 10), (600, 1), (5000, 1)])
def test_the_pace_is_what_scrapes_and_load_allow(rps: float, times: float) -> None:
    assert pace(plan_of(), rps) == times


def test_figures_become_dials() -> None:
    """The median is the base, and half of the slow two per cent are beyond p99."""
    dials = Figures(rps=40, errors=0.002, p50=20, p99=180).dials()
    assert Fault(**dials) == Fault(
        error_rate=0.002, base_ms=20, spread_rate=0.4, spread_ms=5, tail_rate=0.02, tail_ms=160
    )


@pytest.mark.parametrize("wrong", [{"rps": 0}, {"errors": 1.2}, {"p50": 30, "p99": 20}])
def test_figures_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Rejected):
        Figures(**wrong)


def cell_of(requests: float, errors: float, buckets: tuple[float, ...], bounds: tuple[float, ...]) -> Cell:
    return Cell(-1, 0.0, 60.0, NOTHING, False, bounds, Counts(requests, errors, buckets), Counts(0, 0))


def test_quantiles_are_read_from_buckets_as_prometheus_does() -> None:
    """In a straight line inside the bucket; the cells' counts are added before."""
    cells = [cell_of(100, 0, (0, 80, 20, 0), (5.0, 10.0, 25.0)), cell_of(100, 0, (0, 80, 18, 2), (5.0, 10.0, 25.0))]
    assert quantile(cells, 0.5) == pytest.approx(5 + 5 * 100 / 160)
    assert quantile(cells, 0.9) == pytest.approx(10 + 15 * (0.9 * 200 - 160) / 38)
    assert quantile(cells, 1.0) == 25.0
    assert quantile([], 0.5) == 0.0
