"""
The emulator answers as the real API server does: the same conversations with both, compared word by word.

test_kubernetes_api.py says what canaryd relies on; here nothing is said, the real server is right. What cannot be the
same is made the same first (uids, versions, times, names of namespaces), and what is not imitated is left out where it
says so. Skips where no real server is to be had.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import canaryd.lab.kubernetes.cluster as emulated
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.conftest import XDIST_GROUP
from tests.contracts.test_kubernetes_api import (
    APPLY_PATCH,
    CONFIG_MAPS,
    FIRST,
    JSON_PATCH,
    LEASES,
    MERGE_PATCH,
    SECOND,
    STRATEGIC_PATCH,
    VIRTUAL_SERVICES,
    Api,
    config_map,
    op,
    virtual_service,
)

pytestmark = XDIST_GROUP

Object = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments"
PODS = "/api/v1/namespaces/{ns}/pods"
SERVICES = "/api/v1/namespaces/{ns}/services"
EVENTS = "/api/v1/namespaces/{ns}/events"
REVIEWS = f"{VIRTUAL_SERVICES}/reviews"
WIDGETS = "/apis/lab.example.com/v1/namespaces/{ns}/widgets"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"\d+s")


class Talk:
    """One side of a conversation: asks, and keeps what was answered, made comparable."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.heard: list[Object] = []

    def __call__(self, method: str, path: str, body: Any = None, content_type: str = "", **query: str) -> Any:
        answer = self.api.ask(method, path, copy.deepcopy(body), content_type, **query)
        self._keep([method, path, query], answer.code, answer.body, answer.warnings)
        return answer.body

    def watch(self, path: str, **query: str) -> None:
        """Every event until the server ends the watch; bookmarks come when they like, and are left out."""
        events = list(self.api.watch(path, **query))
        told = [one for one in events if one.get("type") != "BOOKMARK" or one["object"]["metadata"].get("annotations")]
        shown = {key: value for key, value in query.items() if key != "resourceVersion"}
        self._keep(["WATCH", path, shown], 200, told, [])

    def table(self, path: str) -> None:
        """What `kubectl get` asks for; descriptions of columns and the rows' objects are left out."""
        headers = {"Accept": TABLE}
        for one in self.api.client.configuration.auth_settings().values():
            headers[one["key"]] = one["value"]
        address = self.api.host + path.format(ns=self.api.namespace)
        found = json.loads(self.api._pool.request("GET", address, headers=headers).data)
        for one in found["columnDefinitions"]:
            del one["description"]
        for row in found["rows"]:
            del row["object"]
        self._keep(["TABLE", path, {}], 200, found, [])

    def _keep(self, asked: list[Any], code: int, body: Any, warnings: list[str]) -> None:
        told = [one for one in warnings if "the lab's API server" not in one]
        self.heard.append({"asked": asked, "code": code, "body": self._same(body), "warnings": told})

    def _same(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._same_member(key, inner) for key, inner in value.items() if key != "storageVersionHash"}
        if isinstance(value, list):
            return [self._same(one) for one in value]
        if isinstance(value, bytes):
            return value.decode()
        if not isinstance(value, str):
            return value
        text = _TIME.sub("TIME", _UID.sub("UID", value.replace(self.api.namespace, "NAMESPACE")))
        text = re.sub(r"in record \(\d+\)", "in record (VERSION)", text)
        return "AGE" if _AGE.fullmatch(text) else text

    def _same_member(self, key: str, value: Any) -> Any:
        if key == "resourceVersion" and value not in ("", "0"):
            return "VERSION"
        if key == "continue" and value:
            return "TOKEN"
        found = self._same(value)
        if key == "managedFields":  # within a second their order is by name, beyond it by time
            return sorted(found, key=lambda one: (one["operation"], one["manager"], one.get("subresource", "")))
        if key == "causes":  # a map's order in Go is anybody's guess
            return sorted(found, key=lambda one: (one.get("field", ""), one["message"]))
        if key == "message" and isinstance(found, str):
            return _unordered(found)
        return found


def _unordered(message: str) -> Any:
    """A sentence on several causes names them in any order; one on a patch prints the object with its keys in any."""
    if 'patch: Invalid value: "{' in message or message.startswith('Invalid value: "{'):
        return ["the patched object", message.rpartition('}": ')[2]]
    if "pod updates may not change" in message:  # a difference of two Go structs follows
        return message.partition("\n")[0]
    if ": [" in message and "is invalid" in message:
        first, _, rest = message.partition(": [")
        return [first, *sorted(rest.removesuffix("]").split(", "))]
    return message


def _created(api: Api) -> str:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "canaryd-test-"}}
    return str(api.ask("POST", "/api/v1/namespaces", body).body["metadata"]["name"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[Api, Api]]:
    """The emulator without Istio's webhook, which the real server does not have, and the real server."""
    real = Api(request.getfixturevalue("real_api"), real=True)
    for group in ("networking.istio.io/v1", "gateway.networking.k8s.io/v1"):
        if real.ask("GET", f"/apis/{group}").code == 404:
            pytest.skip(f"the real API server does not serve {group}; `make envtest` has its CRDs")
    with pytest.MonkeyPatch.context() as patch, ApiServer(Cluster()) as server:
        patch.setattr(emulated, "admit", lambda *_, **__: ())
        path = kubeconfig(server.address, tmp_path_factory.mktemp("lab") / "kubeconfig")
        yield Api(path, real=False), real


Conversation = Callable[[Talk], None]
CONVERSATIONS: list[Conversation] = []


def conversation(function: Conversation) -> Conversation:
    CONVERSATIONS.append(function)
    return function


@conversation
def config_maps(ask: Talk) -> None:
    ask("POST", CONFIG_MAPS, config_map())
    ask("POST", CONFIG_MAPS, config_map())
    ask("GET", f"{CONFIG_MAPS}/plain")
    ask("GET", f"{CONFIG_MAPS}/nix")
    ask("PUT", f"{CONFIG_MAPS}/nix", config_map("nix"))
    ask("PUT", f"{CONFIG_MAPS}/plain", config_map("plain", {"b": "2"}))
    ask("PUT", f"{CONFIG_MAPS}/plain", config_map("other", {"b": "2"}))
    ask("POST", CONFIG_MAPS, config_map("x", resourceVersion="5"))
    ask("POST", CONFIG_MAPS, config_map("x", namespace="elsewhere"))
    ask("POST", CONFIG_MAPS, config_map("Not_A_Name"))
    ask("POST", CONFIG_MAPS, config_map(""))
    ask("POST", "/api/v1/namespaces/canaryd-nowhere/configmaps", config_map())
    ask("POST", CONFIG_MAPS, config_map("e", annotations={}, labels={}))
    ask("POST", CONFIG_MAPS, config_map("f", labels={"a": "b c", "x/y/z": ""}, annotations={"bad key": "x"}))
    ask("POST", CONFIG_MAPS, config_map("g", {"a": 1}))
    ask("POST", CONFIG_MAPS, {**config_map("g"), "unknown": 1})
    ask("POST", CONFIG_MAPS, {**config_map("h"), "unknown": 1}, fieldValidation="Strict")
    ask("POST", CONFIG_MAPS, config_map("i"), fieldValidation="Nix")
    ask("POST", CONFIG_MAPS, config_map("i"), dryRun="Nix")
    ask("POST", CONFIG_MAPS, [1])
    ask("POST", CONFIG_MAPS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "q"}})
    ask("POST", CONFIG_MAPS, {"metadata": {"name": "nokind"}})
    ask("DELETE", f"{CONFIG_MAPS}/e", {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})
    ask("DELETE", f"{CONFIG_MAPS}/e", {"preconditions": {"resourceVersion": "1"}})
    ask("DELETE", f"{CONFIG_MAPS}/e", {"propagationPolicy": "Nix"})
    ask("DELETE", f"{CONFIG_MAPS}/e", dryRun="All")
    ask("DELETE", f"{CONFIG_MAPS}/plain")
    ask("DELETE", f"{CONFIG_MAPS}/plain")
    ask.table(CONFIG_MAPS)
    ask("DELETE", CONFIG_MAPS)


@conversation
def virtual_services(ask: Talk) -> None:
    ask("POST", VIRTUAL_SERVICES, virtual_service(90, 10))
    ask("POST", VIRTUAL_SERVICES, virtual_service(90, 10))
    ask("GET", REVIEWS)
    ask("GET", VIRTUAL_SERVICES)
    ask("GET", f"{VIRTUAL_SERVICES}/nix")
    ask("PUT", REVIEWS, virtual_service(90, 10))
    ask("PUT", f"{VIRTUAL_SERVICES}/nix", virtual_service(90, 10, name="nix"))
    ask("PUT", REVIEWS, virtual_service(90, 10, name="nix"))
    ask("PATCH", REVIEWS, {"spec": {"nix": 1}}, MERGE_PATCH)
    ask("PATCH", REVIEWS, {"spec": {"nix": 1}}, MERGE_PATCH, fieldValidation="Strict")
    ask("PATCH", REVIEWS, [1], MERGE_PATCH)
    ask("PATCH", REVIEWS, {"a": 1}, STRATEGIC_PATCH)
    ask("PATCH", REVIEWS, {"a": 1}, "text/plain")
    ask("PATCH", f"{REVIEWS}/status", {"status": {"observedGeneration": 1}}, MERGE_PATCH)
    ask("PATCH", f"{VIRTUAL_SERVICES}/nix", [], JSON_PATCH)
    kind = {"kind": "VirtualService", "metadata": {"name": "q"}}
    ask("POST", VIRTUAL_SERVICES, {"apiVersion": "networking.istio.io/v1", **kind})
    ask("POST", VIRTUAL_SERVICES, {**kind, "spec": {}})
    ask("POST", VIRTUAL_SERVICES, {"apiVersion": "networking.istio.io/v1", "metadata": {"name": "q3"}, "spec": {}})
    ask("POST", VIRTUAL_SERVICES, {"apiVersion": "networking.istio.io/v1", **kind, "kind": "Nix", "spec": {}})
    ask("POST", VIRTUAL_SERVICES, {"apiVersion": "networking.istio.io/v1beta1", **kind, "spec": {}})
    ask.table(VIRTUAL_SERVICES)
    ask("DELETE", REVIEWS)
    ask("DELETE", REVIEWS)
    ask("DELETE", VIRTUAL_SERVICES)


@conversation
def invalid_virtual_services(ask: Talk) -> None:
    """Dry runs, as preflight sends them."""
    for weight in ("50", 50.5, True, None, [], {}, -5, 2**40):
        ask("POST", VIRTUAL_SERVICES, virtual_service(weight, 50, name="w"), dryRun="All")
    changes: list[Callable[[Object], Any]] = [
        lambda entry: entry["route"][0].update(weight=None),
        lambda entry: entry["route"][1]["destination"].pop("host"),
        lambda entry: entry.update(timeout="0s"),
        lambda entry: entry.update(timeout="x"),
        lambda entry: entry.update(timeout=5),
        lambda entry: entry.update(nix=1),
    ]
    for change in changes:
        body = virtual_service(1, 50, name="w")
        change(body["spec"]["http"][0])
        ask("POST", VIRTUAL_SERVICES, body, dryRun="All")
    nulls = ({"http": None}, None, {"http": [None]}, {"http": [{"match": [{"uri": None, "headers": {"x": None}}]}]})
    for spec in nulls:
        ask("POST", VIRTUAL_SERVICES, virtual_service(name="w") | {"spec": spec}, dryRun="All")
    body = virtual_service(1, 50, name="w")
    body["spec"] |= {"http": {}, "gateways": [1]}
    ask("POST", VIRTUAL_SERVICES, body, dryRun="All")
    body = virtual_service(1, 50, name="w") | {"bogus": 1}
    body["metadata"]["bogus"] = 2
    ask("POST", VIRTUAL_SERVICES, body, dryRun="All")
    ask("POST", VIRTUAL_SERVICES, body, fieldValidation="Strict")


@conversation
def json_patches(ask: Talk) -> None:
    ask("POST", VIRTUAL_SERVICES, virtual_service(90, None))
    for operations in (
        [op("replace", FIRST, "x")],
        [op("replace", FIRST, 80)],
        [op("replace", SECOND, 20)],
        [op("add", "/spec/http/0/route/0/wieght", 5)],
        {"a": 1},
        [{"op": "nix", "path": "/spec"}],
        [{"op": "remove", "path": "/spec/nix"}],
        [op("replace", "/spec/nix/deep", 1)],
        [op("replace", "/spec/http/-1/route/-1/weight", 7)],
        [op("add", "/spec/http/-", {})],
        [op("add", "/spec/http/9", {})],
        [op("test", FIRST, 80)],
        [op("test", FIRST, 80.0)],
        [op("test", FIRST, "80")],
        [op("test", "/metadata/annotations", None)],
        [op("test", "/metadata/annotations/a", None)],
        [{"op": "copy", "from": FIRST, "path": SECOND}],
        [{"op": "move", "from": SECOND, "path": FIRST}],
        [op("add", "/status", {"observedGeneration": 1})],
        [op("replace", "/metadata/name", "other")],
        [op("replace", "", {"spec": {}})],
        [],
    ):
        ask("PATCH", REVIEWS, operations, JSON_PATCH)
    ask("PATCH", REVIEWS, [op("add", "/spec/http/0/route/0/wieght", 5)], JSON_PATCH, fieldValidation="Strict")
    ask("GET", REVIEWS)


@conversation
def leases(ask: Talk) -> None:
    """A PUT creates a Lease, which no other of the kinds here does."""
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}, "spec": spec}
    seen = ask("PUT", f"{LEASES}/leader", lease)
    ask("POST", LEASES, lease)
    ask("PUT", f"{LEASES}/leader", lease)
    ask("PUT", f"{LEASES}/leader", {**seen, "spec": {"holderIdentity": "b"}})
    ask("PUT", f"{LEASES}/leader", {**seen, "spec": {"holderIdentity": "c"}})
    ask("POST", LEASES, {**lease, "metadata": {"name": "b"}, "spec": {"renewTime": "x"}})
    ask("POST", LEASES, {**lease, "metadata": {"name": "b"}, "spec": {"leaseDurationSeconds": 0}})
    ask.table(LEASES)


@conversation
def lists(ask: Talk) -> None:
    for name, labels in (("a", {"t": "x"}), ("b", {"t": "y"}), ("c", {})):
        ask("POST", CONFIG_MAPS, config_map(name, labels=labels))
    for labels in ("t=x", "t==x", "t!=x", "t in (x,y)", "t notin (x)", "t", "!t", "t in ()", "t>1", "t<1"):
        ask("GET", CONFIG_MAPS, labelSelector=labels)
    for wrong in ("=x", "t=x,,", "a b", "t=x y", "t in x", "t in (x", "a/b/c", ",t"):
        ask("GET", CONFIG_MAPS, labelSelector=wrong)
    for fields in ("metadata.name=a", "metadata.name!=a", "data.a=1", "metadata.name=a,metadata.name=b"):
        ask("GET", CONFIG_MAPS, fieldSelector=fields)
    page = ask("GET", CONFIG_MAPS, limit="2")
    ask.heard.pop()
    ask("GET", CONFIG_MAPS, limit="2", **{"continue": page["metadata"]["continue"]})
    ask.heard[-1]["asked"] = "the second page"
    for query in (
        {"limit": "x"},
        {"limit": "-1"},
        {"resourceVersion": "x"},
        {"resourceVersion": "0"},
        {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        {"resourceVersion": "0", "resourceVersionMatch": "NotOlderThan"},
        {"resourceVersion": "1", "resourceVersionMatch": "Nix"},
        {"resourceVersionMatch": "Exact"},
        {"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan", "continue": "x"},
    ):
        ask("GET", CONFIG_MAPS, **query)
    ask("GET", f"{CONFIG_MAPS}/a", resourceVersion="0")
    ask("DELETE", CONFIG_MAPS, labelSelector="t=x")
    ask("GET", PODS, fieldSelector="spec.nix=x")
    ask("GET", VIRTUAL_SERVICES, fieldSelector="spec.hosts=x")


@conversation
def watches(ask: Talk) -> None:
    made = ask("POST", VIRTUAL_SERVICES, virtual_service(90, 10, labels={"t": "x"}))
    since = made["metadata"]["resourceVersion"]
    ask("PATCH", REVIEWS, [op("replace", FIRST, 80)], JSON_PATCH)
    ask("PATCH", REVIEWS, {"metadata": {"labels": {"t": "y"}}}, MERGE_PATCH)
    ask("POST", VIRTUAL_SERVICES, virtual_service(1, 1, name="other"))
    ask("DELETE", REVIEWS)
    ask.watch(VIRTUAL_SERVICES, resourceVersion=since, timeoutSeconds="1")
    ask.watch(VIRTUAL_SERVICES, resourceVersion=since, timeoutSeconds="1", labelSelector="t=x")
    ask.watch(VIRTUAL_SERVICES, resourceVersion=since, timeoutSeconds="1", fieldSelector="metadata.name=other")
    ask.watch(VIRTUAL_SERVICES, timeoutSeconds="1")
    ask.watch(VIRTUAL_SERVICES, resourceVersion="0", timeoutSeconds="1")
    initial = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    ask.watch(VIRTUAL_SERVICES, timeoutSeconds="1", **initial)
    for wrong in (
        {"sendInitialEvents": "true"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"resourceVersion": "x"},
        {"timeoutSeconds": "x"},
        {"labelSelector": "a b"},
    ):
        ask.watch(VIRTUAL_SERVICES, **wrong)


@conversation
def places_where_nothing_is(ask: Talk) -> None:
    for path in ("/apis/nix.io/v1", "/apis/apps/v9", "/apis/apps/v1/nix", "/nix", "/api/v1/namespaces/{ns}/nix"):
        ask("GET", path)
    ask("POST", CONFIG_MAPS, config_map("b"))
    ask("GET", f"{CONFIG_MAPS}/b/status")
    ask("POST", f"{CONFIG_MAPS}/b")
    ask("PUT", CONFIG_MAPS, {})
    ask("PATCH", CONFIG_MAPS, {}, MERGE_PATCH)
    ask("DELETE", "/api/v1/namespaces")
    ask("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")


def deployment(name: str = "web", image: str = "nginx:1", **spec: Any) -> Object:
    container = {
        "name": "main",
        "image": image,
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "1"}],
        "readinessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    }
    volumes = [{"name": "tmp"}, {"name": "c", "configMap": {"name": "x"}}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "volumes": volumes}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def partly(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


def with_container(**container: Any) -> Object:
    return partly(template={"spec": {"containers": [container]}})


@conversation
def deployments(ask: Talk) -> None:
    web = f"{DEPLOYMENTS}/web"
    ask("POST", DEPLOYMENTS, deployment())
    ask("PATCH", web, {"spec": {"replicas": 3}}, MERGE_PATCH)
    two = [{"name": "main", "image": "nginx:2"}, {"name": "side", "image": "side"}]
    ask("PATCH", web, {"spec": {"template": {"spec": {"containers": two}}}}, STRATEGIC_PATCH)
    ask("PATCH", web, {"metadata": {"annotations": {"a": "b"}}}, MERGE_PATCH)
    ask("PATCH", web, {"spec": {"replicas": "x"}}, MERGE_PATCH)
    ask("PATCH", web, {"spec": {"nix": "x"}}, MERGE_PATCH)
    ask("PATCH", web, {"spec": {"nix": "x"}}, STRATEGIC_PATCH, fieldValidation="Strict")
    ask("PATCH", web, [op("add", "/spec/nix", 1)], JSON_PATCH, fieldValidation="Strict")
    condition = {"type": "Available", "status": "True", "reason": "x", "message": "y"}
    condition |= dict.fromkeys(("lastTransitionTime", "lastUpdateTime"), "2026-01-01T00:00:00Z")
    status = {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "conditions": [condition]}
    ask("PATCH", f"{web}/status", {"status": status}, MERGE_PATCH)
    ask.table(DEPLOYMENTS)
    ask("GET", f"{web}/scale")
    ask("PATCH", f"{web}/scale", {"spec": {"replicas": 5}}, MERGE_PATCH)
    found = ask("GET", web)
    found["spec"]["replicas"] = 0
    ask("PUT", web, found)
    ask("POST", DEPLOYMENTS, deployment("Bad_Name"))
    ask("POST", DEPLOYMENTS, deployment("b", image="nginx", replicas="3"))
    ask("DELETE", web, {"propagationPolicy": "Foreground"})


@conversation
def invalid_deployments(ask: Talk) -> None:
    changes: list[Callable[[Object], Any]] = [
        lambda spec: spec.pop("selector"),
        lambda spec: spec["template"]["metadata"].update(labels={"x": "y"}),
        lambda spec: spec["template"]["spec"].update(containers=[]),
        lambda spec: spec["template"]["spec"].update(containers=[{}]),
        lambda spec: spec.update(replicas=-1),
    ]
    for change in changes:
        body = deployment("a")
        change(body["spec"])
        ask("POST", DEPLOYMENTS, body)


@conversation
def what_may_not_change(ask: Talk) -> None:
    """Whoever tries has to make the object anew."""
    ask("POST", DEPLOYMENTS, deployment())
    labels = {"app": "other"}
    other = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    ask("PATCH", f"{DEPLOYMENTS}/web", {"spec": other}, MERGE_PATCH)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    ask.api.ask("POST", SERVICES, service)
    ask("PATCH", f"{SERVICES}/s", {"spec": {"clusterIP": "10.0.0.77"}}, MERGE_PATCH)
    secrets, bindings = (
        "/api/v1/namespaces/{ns}/secrets",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings",
    )
    fixed = {"immutable": True}
    ask(
        "POST",
        secrets,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "Yg=="}} | fixed,
    )
    ask("PATCH", f"{secrets}/x", {"stringData": {"a": "c"}}, MERGE_PATCH)
    ask("PATCH", f"{secrets}/x", {"type": "other"}, MERGE_PATCH)
    ask("POST", CONFIG_MAPS, config_map() | fixed)
    ask("PATCH", f"{CONFIG_MAPS}/plain", {"data": {"a": "c"}}, MERGE_PATCH)
    ask("PATCH", f"{CONFIG_MAPS}/plain", {"immutable": False}, MERGE_PATCH)
    ask("PATCH", f"{CONFIG_MAPS}/plain", {"metadata": {"labels": {"a": "b"}}}, MERGE_PATCH)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"}}
    ask("POST", bindings, binding | {"roleRef": role})
    ask("PATCH", f"{bindings}/b", {"roleRef": {"name": "other"}}, MERGE_PATCH)
    pod = {"containers": [{"name": "c", "image": "x"}]}
    ask.api.ask("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod})
    ask("PATCH", f"{PODS}/p", {"spec": {"containers": [{"name": "c", "image": "y"}]}}, STRATEGIC_PATCH)
    ask("PATCH", f"{PODS}/p", {"spec": {"containers": [{"name": "c", "command": ["a"]}]}}, STRATEGIC_PATCH)


@conversation
def services(ask: Talk) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    spec = {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"port": 80, "name": "http"}]}
    ask("POST", SERVICES, {**service, "spec": spec})
    other = {**service, "metadata": {"name": "t"}}
    ask("POST", SERVICES, {**other, "spec": {}})
    ask("POST", SERVICES, {**other, "metadata": {"name": "Bad"}})
    ask("POST", SERVICES, {**other, "spec": {"ports": [{"port": 0}]}})
    ask("POST", SERVICES, {**other, "spec": {"ports": [{"port": 1}, {"port": 2}]}})
    ask("POST", SERVICES, {**other, "spec": {"type": "ExternalName", "externalName": "x.y"}})
    more = [{"port": 81, "name": "http"}, {"port": 82, "name": "b", "protocol": "UDP"}]
    ask("PUT", f"{SERVICES}/s", {**service, "spec": {**spec, "ports": more}})
    ask("PATCH", f"{SERVICES}/s", {"spec": {"ports": [{"port": 83, "name": "c"}]}}, STRATEGIC_PATCH)
    ask.table(SERVICES)


@conversation
def pods_as_people_see_them(ask: Talk) -> None:
    """Their statuses hold no times that are null, which Go writes and we do not."""
    containers = [{"name": "c", "image": "x"}, {"name": "d", "image": "x"}]
    spec = {"nodeName": "n1", "containers": containers, "readinessGates": [{"conditionType": "x/y"}]}
    ask("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    ask.table(PODS)

    def state(name: str, state: Object, *, ready: bool = False, restarts: int = 0, **more: Any) -> Object:
        common = {"name": name, "image": "x", "imageID": "y", "ready": ready, "restartCount": restarts}
        return {**common, "state": state, **more}

    running: Object = {"running": {}}
    killed = {"terminated": {"exitCode": 1, "finishedAt": "2026-11-01T00:00:00Z"}}
    ready = [{"type": "Ready", "status": "True"}, {"type": "x/y", "status": "True"}]
    for status in (
        {
            "phase": "Running",
            "podIP": "10.0.0.9",
            "conditions": ready,
            "containerStatuses": [
                state("c", running, ready=True, restarts=2, lastState=killed),
                state("d", {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=1),
            ],
        },
        {
            "phase": "Running",
            "containerStatuses": [state("c", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})],
        },
        {
            "phase": "Running",
            "containerStatuses": [
                state("c", {"terminated": {"exitCode": 0, "reason": "Completed"}}),
                state("d", running, ready=True),
            ],
        },
        {"phase": "Succeeded"},
        {"phase": "Failed", "reason": "Evicted"},
    ):
        ask.api.ask("PATCH", f"{PODS}/p/status", [op("replace", "/status", status)], JSON_PATCH)
        ask.table(f"{PODS}/p")
    ask("GET", PODS, fieldSelector="status.phase=Failed,spec.nodeName=n1")
    held = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "finalizers": ["example.com/wait"]}}
    ask.api.ask("POST", PODS, {**held, "spec": {"containers": containers}})
    ask.api.ask("DELETE", f"{PODS}/q")
    ask.table(f"{PODS}/q")
    ask.api.ask("PATCH", f"{PODS}/q", {"metadata": {"finalizers": None}}, MERGE_PATCH)


@conversation
def server_side_apply_of_a_virtual_service(ask: Talk) -> None:
    reviews = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    manifest = virtual_service(90, 10, labels={"a": "1"})
    ask("PATCH", REVIEWS, manifest, APPLY_PATCH, fieldManager="gitops")
    ask("PATCH", REVIEWS, manifest, APPLY_PATCH, fieldManager="gitops")
    weight = [op("replace", FIRST, 80), op("add", "/metadata/labels/b", "2")]
    ask("PATCH", REVIEWS, weight, JSON_PATCH, fieldManager="canaryd")
    ask("PATCH", REVIEWS, manifest, APPLY_PATCH, fieldManager="gitops")
    ask("PATCH", REVIEWS, virtual_service(90, 10), APPLY_PATCH, fieldManager="gitops", force="true")
    ask("PATCH", REVIEWS, virtual_service(90, 10), APPLY_PATCH)
    ask("PATCH", REVIEWS, {**virtual_service(90, 10), "spec": {"nix": 1}}, APPLY_PATCH, fieldManager="x")
    ask("PATCH", REVIEWS, {**reviews, "metadata": {"labels": {"z": "9"}}}, APPLY_PATCH, fieldManager="other")
    ask("PATCH", REVIEWS, {**reviews, "metadata": {}}, APPLY_PATCH, fieldManager="other")
    older = {**reviews, "apiVersion": "networking.istio.io/v1beta1", "metadata": {}}
    ask("PATCH", REVIEWS, older, APPLY_PATCH, fieldManager="other")
    ask("PATCH", REVIEWS, [op("replace", "/metadata/managedFields", [{}])], JSON_PATCH)
    ask("PATCH", REVIEWS, [op("replace", FIRST, 70)], JSON_PATCH, fieldManager="later")
    ask("PATCH", REVIEWS, virtual_service(90, 10), APPLY_PATCH, fieldManager="gitops")


@conversation
def field_ownership_given_back(ask: Talk) -> None:
    """What the end of a run relies on, and each way of it that does not work."""

    def at(found: Any, manager: str) -> str:
        names = [one["manager"] for one in found["metadata"]["managedFields"]]
        return f"/metadata/managedFields/{names.index(manager)}"

    def out(path: str) -> dict[str, Any]:
        return {"op": "remove", "path": path}

    note = op("add", "/metadata/annotations", {"marker.canaryd.io/reviews": "x"})
    unnoted = out("/metadata/annotations/marker.canaryd.io~1reviews")
    ask("PATCH", REVIEWS, virtual_service(90, 10, labels={"a": "1"}), APPLY_PATCH, fieldManager="gitops")
    found = ask("PATCH", REVIEWS, [note, op("replace", FIRST, 80)], JSON_PATCH, fieldManager="canaryd")
    again = [op("replace", FIRST, 70), out(at(found, "canaryd"))]
    found = ask("PATCH", REVIEWS, again, JSON_PATCH, fieldManager="canaryd")
    wrong = [op("test", f"{at(found, 'gitops')}/manager", "canaryd"), out(at(found, "gitops"))]
    ask("PATCH", REVIEWS, wrong, JSON_PATCH, fieldManager="canaryd")
    right = [unnoted, op("test", f"{at(found, 'canaryd')}/manager", "canaryd"), out(at(found, "canaryd"))]
    ask("PATCH", REVIEWS, right, JSON_PATCH, fieldManager="canaryd")
    ask("PATCH", REVIEWS, virtual_service(60, 40, labels={"a": "1"}), APPLY_PATCH, fieldManager="gitops")
    ask("PATCH", REVIEWS, [op("replace", FIRST, 50)], JSON_PATCH, fieldManager="canaryd")
    found = ask("PATCH", REVIEWS, [out("/metadata/managedFields/0")], JSON_PATCH, fieldManager="canaryd")
    ask("PATCH", REVIEWS, [out(at(found, "canaryd"))], JSON_PATCH, fieldManager="canaryd")  # the last one: it stays
    ask("PATCH", REVIEWS, [op("replace", "/metadata/managedFields", [])], JSON_PATCH, fieldManager="canaryd")
    ask("PATCH", REVIEWS, [op("replace", "/metadata/managedFields", [{}])], JSON_PATCH, fieldManager="canaryd")
    ask("PATCH", REVIEWS, virtual_service(90, 10), APPLY_PATCH, fieldManager="gitops")


@conversation
def server_side_apply_of_a_deployment(ask: Talk) -> None:
    """Containers are told apart by name: two appliers own one each."""
    web = f"{DEPLOYMENTS}/web"
    ask("PATCH", web, deployment(), APPLY_PATCH, fieldManager="gitops")
    ask("PATCH", web, with_container(name="side", image="s:1"), APPLY_PATCH, fieldManager="injector")
    ask("PATCH", web, with_container(name="main", image="nginx:9"), APPLY_PATCH, fieldManager="injector")
    ask("PATCH", web, with_container(name="main", image="nginx:9"), APPLY_PATCH, fieldManager="injector", force="true")
    ask("PATCH", web, deployment(image="nginx:9"), APPLY_PATCH, fieldManager="gitops")
    less = deployment(image="nginx:9")
    del less["spec"]["template"]["spec"]["volumes"], less["spec"]["template"]["spec"]["containers"][0]["env"]
    ask("PATCH", web, less, APPLY_PATCH, fieldManager="gitops")
    ask("PATCH", web, partly(replicas=4), APPLY_PATCH, fieldManager="hpa")
    ask("PATCH", web, partly(), APPLY_PATCH, fieldManager="hpa")
    ask("PATCH", web, partly(replicas="x"), APPLY_PATCH, fieldManager="hpa")
    ask("PATCH", web, partly(nix=4), APPLY_PATCH, fieldManager="hpa")


@conversation
def owner_references(ask: Talk) -> None:
    """Nobody collects on a server without controllers, so this stops where the collector would begin."""
    ask("POST", CONFIG_MAPS, config_map("bad", ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap"}]))
    ask("POST", CONFIG_MAPS, config_map("o"))
    ask("DELETE", f"{CONFIG_MAPS}/o", {"propagationPolicy": "Orphan"})
    ask("POST", CONFIG_MAPS, config_map("f", finalizers=["canaryd.io/test"]))
    ask("DELETE", f"{CONFIG_MAPS}/f")
    ask("PATCH", f"{CONFIG_MAPS}/f", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    ask("GET", f"{CONFIG_MAPS}/f")


@conversation
def reviews_of_rights(ask: Talk) -> None:
    review = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    ask("POST", path, {**review, "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
    ask("POST", path, {**review, "spec": {}})


@conversation
def what_people_have_beside_their_services(ask: Talk) -> None:
    """One object of each kind, with what the server makes of it, as it is stored and as it is shown."""

    def both_ways(path: str, kind: str, version: str, **body: Any) -> None:
        ask("POST", path, {"apiVersion": version, "kind": kind, "metadata": {"name": "h"}, **body})
        ask.table(path)

    spec = deployment("h")["spec"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    selector = {"matchLabels": {"a": "b"}}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "h"}
    subjects = [{"kind": "ServiceAccount", "name": "a", "namespace": "b"}, {"kind": "User", "name": "u"}]
    rbac, batch = "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}", "/apis/batch/v1/namespaces/{ns}"
    once = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    apps = DEPLOYMENTS.removesuffix("/deployments")
    both_ways(f"{apps}/replicasets", "ReplicaSet", "apps/v1", spec=spec)
    both_ways(f"{apps}/statefulsets", "StatefulSet", "apps/v1", spec={**spec, "serviceName": "x"})
    ask.table(f"{apps}/daemonsets")
    scaler = {"maxReplicas": 3, "scaleTargetRef": target}
    scalers = "/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
    both_ways(scalers, "HorizontalPodAutoscaler", "autoscaling/v2", spec=scaler)
    budgets = "/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    both_ways(budgets, "PodDisruptionBudget", "policy/v1", spec={"minAvailable": "50%", "selector": selector})
    network = "/apis/networking.k8s.io/v1/namespaces/{ns}"
    rule = {"host": "a.b", "http": {"paths": paths}}
    both_ways(f"{network}/ingresses", "Ingress", "networking.k8s.io/v1", spec={"rules": [rule]})
    both_ways(f"{network}/networkpolicies", "NetworkPolicy", "networking.k8s.io/v1", spec={"podSelector": selector})
    both_ways(f"{rbac}/roles", "Role", "rbac.authorization.k8s.io/v1", rules=rules)
    both_ways(f"{rbac}/rolebindings", "RoleBinding", "rbac.authorization.k8s.io/v1", roleRef=role, subjects=subjects)
    slices = "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
    slice_of = {"addressType": "IPv4", "ports": [{"port": 80, "name": "x"}], "endpoints": [{"addresses": ["10.1.1.1"]}]}
    both_ways(slices, "EndpointSlice", "discovery.k8s.io/v1", **slice_of)
    both_ways(f"{batch}/jobs", "Job", "batch/v1", spec={"template": once})
    both_ways("/api/v1/namespaces/{ns}/secrets", "Secret", "v1", stringData={"a": "b"})
    both_ways("/api/v1/namespaces/{ns}/serviceaccounts", "ServiceAccount", "v1")


@conversation
def events(ask: Talk) -> None:
    event = {"apiVersion": "v1", "kind": "Event"}
    about = {"kind": "VirtualService", "name": "reviews", "namespace": ask.api.namespace}
    old = {"lastTimestamp": "2026-01-01T00:00:00Z", "source": {"component": "canaryd"}, "type": "Normal"}
    ask("POST", EVENTS, {**event, **old, "metadata": {"name": "e1"}, "involvedObject": about, "message": "25 %\n"})
    new = {"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "a", "reportingInstance": "b"}
    new |= {"action": "c", "type": "Warning", "reason": "R", "involvedObject": {**about, "fieldPath": "spec.x"}}
    ask("POST", EVENTS, {**event, **new, "metadata": {"name": "e2"}})
    ask.table(EVENTS)
    ask("GET", EVENTS, fieldSelector="involvedObject.name=reviews,type=Normal")


ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{ns}/httproutes"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/namespaces/{ns}/gateways"


@conversation
def the_gateway_api(ask: Talk) -> None:
    """HTTPRoutes and Gateways with the defaults and rules of their definitions."""

    def route(name: str = "r", **spec: Any) -> Object:
        kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
        return {**kind, "metadata": {"name": name}, "spec": spec}

    def gateway(name: str, *listeners: Object) -> Object:
        kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name}}
        return {**kind, "spec": {"gatewayClassName": "istio", "listeners": list(listeners)}}

    parents = [{"name": "reviews", "kind": "Service", "group": "", "port": 9080}]
    backends = [{"name": f"reviews-{version}", "port": 9080, "weight": 50} for version in ("v1", "v3")]
    ask("POST", ROUTES, route(parentRefs=parents, rules=[{"backendRefs": backends}]))
    weight = op("replace", "/spec/rules/0/backendRefs/0/weight", 80)
    ask("PATCH", f"{ROUTES}/r", [weight], JSON_PATCH)
    ask.table(ROUTES)
    redirect = {"type": "RequestRedirect", "requestRedirect": {}}
    wrong: list[Object] = [
        {"matches": [{"path": {"value": "x"}}]},
        {"backendRefs": [{"name": "a"}]},
        {"backendRefs": [{"name": "a", "port": 0}]},
        {"backendRefs": [{"name": "a", "port": 1, "weight": -1}]},
        {"timeouts": {"request": "1x"}},
        {"filters": [redirect], "backendRefs": [{"name": "a", "port": 1}]},
        {"filters": [{"type": "URLRewrite"}]},
    ]
    for rule in wrong:
        ask("POST", ROUTES, route("wrong", rules=[rule]), dryRun="All")
    ask("POST", ROUTES, route(nix=1))
    http = {"name": "http", "port": 80, "protocol": "HTTP"}
    ask("POST", GATEWAYS, gateway("g", http))
    ask("POST", GATEWAYS, gateway("h", {**http, "tls": {}}, http))
    ask.table(GATEWAYS)


def widget_definition() -> Object:
    text, number = {"type": "string"}, {"type": "integer"}
    spec = {
        "size": {**number, "minimum": 1, "maximum": 9},
        "color": {**text, "enum": ["red", "blue"], "default": "red"},
        "deep": {"type": "object", "default": {}, "properties": {"a": {**text, "default": "x"}, "b": number}},
        "list": {"type": "array", "maxItems": 3, "items": {**text, "maxLength": 3, "pattern": "^[a-z]+$"}},
        "on": {"type": "boolean"},
        "when": {**text, "format": "date-time"},
        "num": {"type": "number"},
        "ios": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "map": {"type": "object", "additionalProperties": number},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": text, "port": number}},
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        "opt": {**text, "nullable": True},
        "replicas": number,
        "one": {
            "type": "object",
            "properties": {"a": text, "b": text},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
    }
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "List", "type": "string", "jsonPath": ".spec.list", "priority": 1},
        {"name": "When", "type": "date", "jsonPath": ".spec.when"},
        {"name": "Num", "type": "number", "jsonPath": ".spec.num"},
    ]
    properties = {
        "spec": {"type": "object", "required": ["size"], "properties": spec},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
    }
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.example.com"},
        "spec": {"group": "lab.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def widget(name: str = "w", **spec: Any) -> Object:
    return {"apiVersion": "lab.example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def widgets(both: tuple[Api, Api]) -> Iterator[None]:
    """Both servers serve Widgets; whatever an interrupted run has left there is gone."""
    for api in both:
        api.ask("DELETE", f"{DEFINITIONS}/widgets.lab.example.com")
        end = time.monotonic() + 20
        while api.ask("POST", DEFINITIONS, widget_definition()).code == 409:
            assert time.monotonic() < end, "an older CRD does not go away"
            time.sleep(0.2)
        api.namespace = "default"
        while api.ask("GET", WIDGETS).code != 200:
            assert time.monotonic() < end, "the CRD is not served"
            time.sleep(0.1)
    yield
    for api in both:
        api.ask("DELETE", f"{DEFINITIONS}/widgets.lab.example.com")


def custom_resources(ask: Talk) -> None:
    ask("POST", DEFINITIONS, {**widget_definition(), "metadata": {"name": "wrong"}})
    ask("GET", "/apis/lab.example.com/v1")
    ask("POST", WIDGETS, widget(size=3))
    rest = {"deep": {"b": 1}, "opt": None, "ios": "a", "free": {"q": {"z": 1}}, "map": {"a": 1}, "num": 1, "on": True}
    lists = {"list": ["a", "b"], "tags": ["a", "b"], "ports": [{"name": "a", "port": 1}]}
    ask("POST", WIDGETS, widget("x", size=3, when="2026-11-01T00:00:00Z", extra=1, **rest, **lists))
    wrong: list[Object] = [
        {"size": 0},
        {"size": 10},
        {"color": "green"},
        {"list": ["a", "b", "c", "d"]},
        {"list": ["abcd"]},
        {"list": ["A"]},
        {"when": "x"},
        {"ios": True},
        {"map": {"a": "b"}},
        {"tags": ["a", "a"]},
        {"ports": [{"port": 1}]},
        {"ports": [{"name": "a"}, {"name": "a"}]},
        {"one": {}},
        {"one": {"a": "x", "b": "y"}},
        {"free": 1},
        {"size": "x", "color": 1},
    ]
    for spec in wrong:
        ask("POST", WIDGETS, widget("bad", **{"size": 3, **spec}))
    ask("POST", WIDGETS, widget("null", size=3, deep=None))
    ask("POST", WIDGETS, {key: value for key, value in widget("n").items() if key != "spec"})
    ask.table(WIDGETS)
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "replicas": 2}}
    ask("PATCH", f"{WIDGETS}/w/status", status, MERGE_PATCH)
    ask.table(f"{WIDGETS}/w")
    ask("GET", f"{WIDGETS}/w/scale")
    ask("PATCH", f"{WIDGETS}/w", {"spec": {"replicas": 2}}, MERGE_PATCH)
    ask("PATCH", f"{WIDGETS}/w/scale", {"spec": {"replicas": 4}}, MERGE_PATCH)
    apply = (APPLY_PATCH,)
    ask("PATCH", f"{WIDGETS}/s", widget("s", size=3, ports=[{"name": "a"}], tags=["x"]), *apply, fieldManager="one")
    ask("PATCH", f"{WIDGETS}/s", widget("s", ports=[{"name": "b"}], tags=["y"]), *apply, fieldManager="two")
    ask("PATCH", f"{WIDGETS}/s", widget("s", size=3, tags=["x", "z"]), *apply, fieldManager="one")
    ask("PATCH", f"{WIDGETS}/s", widget("s", size=5), *apply, fieldManager="two")
    ask("GET", WIDGETS)


def compare(both: tuple[Api, Api], talk: Conversation) -> None:
    heard: list[list[Object]] = []
    for api in both:
        api.namespace = _created(api)
        side = Talk(api)
        try:
            talk(side)
        finally:
            api.ask("DELETE", f"/api/v1/namespaces/{api.namespace}")
        heard.append(side.heard)
    emulator, real = heard
    assert len(real) == len(emulator)
    different = [_difference(*pair) for pair in zip(emulator, real, strict=True) if pair[0] != pair[1]]
    assert not different, "\n".join(different)


def _difference(mine: Object, theirs: Object) -> str:
    sides = [json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (mine, theirs)]
    lines = difflib.unified_diff(*sides, "emulator", "real", n=2, lineterm="")
    return "\n".join([f"the answer to {theirs['asked']}:", *lines])


@pytest.mark.parametrize("talk", CONVERSATIONS, ids=lambda one: one.__name__.replace("_", " "))
def test_the_emulator_answers_as_the_real_server_does(both: tuple[Api, Api], talk: Conversation) -> None:
    compare(both, talk)


@pytest.mark.usefixtures("widgets")
def test_custom_resources_are_treated_as_on_the_real_server(both: tuple[Api, Api]) -> None:
    """Pruning, defaults, validation, columns, scale and keyed lists of a CustomResourceDefinition."""
    compare(both, custom_resources)


def test_what_both_serve_is_discovered_alike(both: tuple[Api, Api]) -> None:
    """Names, short names, categories, scopes and verbs, of groups in the same preferred version."""
    emulator, real = both
    groups = {one["name"]: one for one in real.ask("GET", "/apis").body["groups"]}
    paths = ["/api/v1"]
    for mine in emulator.ask("GET", "/apis").body["groups"]:
        theirs = groups[mine["name"]]
        assert mine["preferredVersion"] == theirs["preferredVersion"]
        paths += [f"/apis/{one['groupVersion']}" for one in mine["versions"]]
    for path in paths:
        found = {one["name"]: one for one in real.ask("GET", path).body["resources"]}
        for one in emulator.ask("GET", path).body["resources"]:
            theirs = {key: value for key, value in found[one["name"]].items() if key != "storageVersionHash"}
            assert one == theirs, path
