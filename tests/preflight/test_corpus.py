"""
Real VirtualServices of Istio's samples and tests, each in a small healthy mesh: which errors preflight finds.

Around each stand the Services, pods, DestinationRule and Gateways that it names, a client with a sidecar (or a gateway,
where it is bound to gateways only), and a plan as a person would write it for its first entry with destinations. The
errors are a list that was reviewed, ``corpus-errors.json``. When a check changes what is found, look at each difference
before you take it over::

    python -m tests.preflight.test_corpus

The corpus is not part of the project: CANARYD_CORPUS, or ../shared/istio-corpus beside the checkout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, NAMESPACES, PODS, SERVICES, VIRTUAL_SERVICES, Kind
from canaryd.mesh.admission import Surroundings, admission
from canaryd.mesh.entries import destinations
from canaryd.mesh.hosts import service_of
from canaryd.mesh.route import resolve
from canaryd.model.finding import Finding, as_finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import Admission, Version
from canaryd.preflight import conflicts
from canaryd.preflight.groups import checked
from canaryd.preflight.heard import Caller, Heard
from canaryd.preflight.kinds import GATEWAYS, HTTP_ROUTES
from canaryd.preflight.survey import Survey, name_of
from tests.mesh.objects import CORPUS
from tests.mesh.test_corpus import files, load

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of Istio objects at {CORPUS}")

Object = dict[str, Any]
REVIEWED = Path(__file__).with_name("corpus-errors.json")
INGRESS = {"istio": "ingressgateway"}
CANARY = "canaryd-canary"


def stem_of(path: Path) -> str:
    return path.name.removesuffix(".yaml")


@dataclass(frozen=True)
class Case:
    """A VirtualService, a plan on it, and what is around it."""

    found: Object
    plan: Plan
    objects: dict[Kind, list[Object]]
    heard: Heard

    def admitted(self) -> tuple[Admission | None, list[Finding]]:
        around = Surroundings(
            virtual_services=self.objects[VIRTUAL_SERVICES],
            destination_rules=self.objects[DESTINATION_RULES],
            services=self.objects[SERVICES],
            pods=self.objects[PODS],
            deployments=self.objects[DEPLOYMENTS],
        )
        try:
            answer = admission(self.plan, self.found, around)
        except Refused as refusal:
            return None, [as_finding(one) for one in refusal.problems]
        return answer, list(answer.findings)

    def survey(self, admitted: Admission | None) -> Survey:
        route = admitted.route if admitted else resolve(self.found, self.plan).route
        return Survey(
            plan=self.plan,
            virtual_service=self.found,
            route=route,
            sides=admitted.sides if admitted else None,
            objects=self.objects,
            heard=self.heard,
            now=1_800_000_000.0,
            served={"networking.istio.io": ("v1",)},
        )

    def findings(self, **more: Any) -> list[Finding]:
        """Everything that is found; with ``more`` objects beside those that belong to it."""
        admitted, findings = self.admitted()
        return [*findings, *checked(replace(self.survey(admitted), **more))]

    def errors(self) -> list[str]:
        return sorted({one.code for one in self.findings() if one.level == "error"})


def case_of(found: Object) -> Case | None:
    """The plan and the mesh for ``found``; None where it has no entry with destinations."""
    written = [
        [each for each in destinations((one or {}).get("route") or ()) if each.version.host]
        for kind in ("http", "tls", "tcp")
        for one in (found.get("spec") or {}).get(kind) or ()
    ]
    first = next(filter(None, written), None)
    if first is None:
        return None
    home = found["metadata"]["namespace"] = found["metadata"]["namespace"].lower()  # no API server has a namespace nsA
    stable = first[0].version
    others = [one.version for one in first[1:] if one.version != stable]
    canary = others[0] if others else _added(stable)
    target = {
        "virtualService": found["metadata"]["name"],
        "host": stable.host,
        "stable": _side(stable),
        "canary": _side(canary),
    }
    plan = Plan.model_validate(
        {
            "metadata": {"name": "corpus", "namespace": home},
            "spec": {"target": target, "steps": [{"weight": 5}, {"weight": 50}]},
        }
    )
    versions = [*(one.version for each in written for one in each), canary]
    gateways_only = bool(found["spec"].get("gateways")) and "mesh" not in found["spec"]["gateways"]
    caller = Caller("ingress", "istio-system", 50.0) if gateways_only else Caller("caller", home, 50.0)
    return Case(found, plan, around(found, list(dict.fromkeys(versions))), Heard(callers=(caller,)))


def _added(stable: Version) -> Version:
    """A canary that nobody has written down yet: another subset, or, where there are none, another Service."""
    if stable.subset:
        return Version(stable.host, CANARY)
    name, dot, rest = stable.host.partition(".")
    return Version(f"{name}-canary{dot}{rest}")


def _side(version: Version) -> Object:
    return {"host": version.host} | ({"subset": version.subset} if version.subset else {})


# -- the mesh around it


def around(found: Object, versions: list[Version]) -> dict[Kind, list[Object]]:
    """The objects without which the VirtualService would mean nothing, all well."""
    home = found["metadata"]["namespace"]
    places = dict.fromkeys([home, "istio-system", *(service_of(one.host, home)[1] or home for one in versions)])
    objects: dict[Kind, list[Object]] = {
        NAMESPACES: [_object("", place, labels={"istio-injection": "enabled"}) for place in places],
        VIRTUAL_SERVICES: [found],
        DESTINATION_RULES: [],
        SERVICES: [_object("istio-system", "ingress", spec=_service(INGRESS))],
        PODS: [*_pods("istio-system", "ingress", INGRESS, gateway=True), *_pods(home, "caller", {"app": "caller"})],
        DEPLOYMENTS: [],
        GATEWAYS: [_gateway(name, home) for name in found["spec"].get("gateways") or () if name != "mesh"],
    }
    ports = {int(number) for number in re.findall(r'"number": (\d+)', json.dumps(found["spec"]))}
    subsets: dict[tuple[str, str], list[str]] = {}
    for version in versions:
        name, place = service_of(version.host, home)
        if name:
            subsets.setdefault((place, name), []).append(version.subset)
    for (place, name), known in subsets.items():
        objects[SERVICES].append(_object(place, name, spec=_service({"app": name}, ports)))
        named = [each for each in dict.fromkeys(known) if each]
        if named:
            spec = {
                "host": f"{name}.{place}.svc.cluster.local",
                "subsets": [{"name": each, "labels": {"version": each}} for each in named],
            }
            objects[DESTINATION_RULES].append(_object(place, name, spec=spec))
        for each in named or ["v1"]:
            labels = {"app": name, "version": each}
            objects[PODS] += _pods(place, f"{name}-{each}", labels)
            objects[DEPLOYMENTS].append(_deployment(place, f"{name}-{each}", labels))
    return objects


def _object(namespace: str, name: str, *, spec: Object | None = None, **meta: Any) -> Object:
    home = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, **home, **meta}, "spec": spec or {}}


def _service(selector: Object, named: Iterable[int] = ()) -> Object:
    numbers = sorted({80, 443, 8080, 9080, 15443, *named})
    ports = [{"name": f"http-{one}", "port": one, "targetPort": one, "appProtocol": "http"} for one in numbers]
    return {"selector": selector, "ports": ports, "clusterIP": "10.0.0.1"}


def _gateway(name: str, home: str) -> Object:
    place, _, short = name.partition("/") if "/" in name else (home, "", name)
    if "." in short:
        short, place, *_ = short.split(".")
    port = {"number": 8080, "name": "http", "protocol": "HTTP"}
    server = {"port": port, "hosts": ["*"]}
    return _object(home if place == "." else place, short, spec={"selector": INGRESS, "servers": [server]})


def _pods(namespace: str, workload: str, labels: Object, *, gateway: bool = False) -> Iterator[Object]:
    template = "5d8"
    for number in range(2):
        meta = {
            "labels": {**labels, "pod-template-hash": template},
            "annotations": {"inject.istio.io/templates": "gateway" if gateway else "sidecar"},
            "uid": f"{namespace}-{workload}-{number}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": f"{workload}-{template}", "uid": workload, "controller": True}
            ],
        }
        containers = [{"name": "istio-proxy", "image": "istio/proxyv2:1.27.0"}]
        if not gateway:
            containers.append({"name": "app", "image": "app"})
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        found = _object(namespace, f"{workload}-{template}-{number}", spec={"containers": containers}, **meta)
        yield {**found, "status": ready}


def _deployment(namespace: str, name: str, labels: Object) -> Object:
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]}},
    }
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    found = _object(namespace, name, spec=spec, uid=name, generation=1)
    return {**found, "status": {"observedGeneration": 1, **counts}}


# -- the tests


def cases() -> dict[str, Case]:
    found = {stem_of(path): case_of(load(path)) for path in files()}
    return {name: case for name, case in found.items() if case is not None}


def reviewed() -> dict[str, list[str]]:
    return dict(json.loads(REVIEWED.read_text(encoding="utf-8")))


def test_the_list_is_of_the_corpus() -> None:
    assert list(reviewed()) == sorted(cases())
    assert len(cases()) > 100


@pytest.mark.parametrize("name", sorted(cases()))
def test_the_errors_are_those_that_were_reviewed(name: str) -> None:
    assert cases_by_name(name).errors() == reviewed()[name]


def cases_by_name(name: str) -> Case:
    case = case_of(load(CORPUS / f"{name}.yaml"))
    assert case is not None
    return case


ANALYZED = "pkg__config__analysis__analyzers__testdata__virtualservice_conflictingmeshgatewayhosts"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        (".3", set()),
        (".4", {"bar/ratings"}),
        (".5", {"foo/ratings"}),
        (".6", set()),
        (".7", {"bar/ratings"}),
        ("_with_exportto", {"bar/productpage"}),
        ("_with_exportto.1", {"foo/productpage"}),
        ("_with_exportto.6", set()),
    ],
)
def test_claims_to_one_host_are_those_that_istioctl_finds(name: str, others: set[str]) -> None:
    """Source: Istio, pkg/config/analysis/analyzers/analyzers_test.go (IST0109), on what of its testdata is here."""
    folder = [load(path) for path in files() if stem_of(path).startswith(ANALYZED)]
    found = case_of(load(CORPUS / f"{ANALYZED}{name}.yaml"))
    assert found is not None
    beside = {**found.objects, VIRTUAL_SERVICES: folder}
    survey = replace(found.survey(None), objects=beside)
    said = [one for one in conflicts.check(survey) if one.code in ("VirtualServiceNotInForce", "OtherNotInForce")]
    named = {each for one in said for each in re.findall(r"VirtualService ([\w-]+/[\w-]+)", str(one))}
    assert named - {name_of(found.found)} == others


def readable() -> list[Path]:
    """Every VirtualService with a destination, those included that Istio refuses."""
    found = [*files(), *files("nonweightable"), *files("invalid")]
    return [path for path in found if load(path).get("kind") == "VirtualService" and case_of(load(path))]


@pytest.mark.parametrize("path", readable(), ids=stem_of)
def test_no_check_breaks_on_it_nor_on_what_is_around_it(path: Path) -> None:
    """Whatever the API server let in; also with every other object of the corpus in the same mesh."""
    case = case_of(load(path))
    assert case is not None
    objects = {kind: [*case.objects.get(kind, ()), *more] for kind, more in everything().items()}
    found_there = [*case.findings(), *case.findings(objects={**case.objects, **objects})]
    assert "CheckBroken" not in [one.code for one in found_there]


@cache
def everything() -> dict[Kind, list[Object]]:
    """The corpus, by kind, those objects included that Istio refuses."""
    kinds = {
        "VirtualService": VIRTUAL_SERVICES,
        "DestinationRule": DESTINATION_RULES,
        "Gateway": GATEWAYS,
        "HTTPRoute": HTTP_ROUTES,
    }
    found: dict[Kind, list[Object]] = {}
    for folder in ("", "nonweightable", "invalid", "destinationrules", "gateways", "gatewayapi"):
        for path in files(folder):
            each = load(path)
            if each.get("kind") in kinds:
                found.setdefault(kinds[each["kind"]], []).append(each)
    return found


if __name__ == "__main__":
    listed = {name: case.errors() for name, case in sorted(cases().items())}
    REVIEWED.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
