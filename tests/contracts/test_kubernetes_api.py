"""
What canaryd relies on from a Kubernetes API server, asked over HTTP.

Every test runs against the lab's emulator and against a real API server where there is one (tests/envtest), each in a
namespace of its own that it deletes. Tests on VirtualServices need Istio's CRDs there, tests of refusals also its
webhook, and say so when they skip.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes
import pytest
import urllib3

from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.conftest import REAL

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/namespaces/{ns}/virtualservices"
CONFIG_MAPS = "/api/v1/namespaces/{ns}/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
ANSWER_WITHIN = 10.0


@dataclass
class Answer:
    code: int
    body: Any
    warnings: list[str] = field(default_factory=list)

    @property
    def version(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])

    @property
    def reason(self) -> str:
        return self.body.get("reason", "")


class Api:
    """HTTP with a kubeconfig's certificates and token, and nothing between the test and the answer."""

    def __init__(self, config_file: Path, *, real: bool) -> None:
        self.real = real
        self.client = kubernetes.config.new_client_from_config(str(config_file))
        self.host = self.client.configuration.host
        self.namespace = ""
        self._pool: urllib3.PoolManager = self.client.rest_client.pool_manager

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "", **query: str) -> Answer:
        response = self._send(method, path, body, content_type, query, stream=False)
        found = json.loads(response.data) if response.data[:1] in (b"{", b"[") else response.data
        return Answer(response.status, found, response.headers.getlist("Warning"))

    def watch(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Events until the server ends the watch."""
        response = self._send("GET", path, None, "", {"watch": "true", **query}, stream=True)
        rest = b""
        for piece in response.stream(65536):
            *lines, rest = (rest + piece).split(b"\n")
            yield from (json.loads(line) for line in lines if line)
        if rest:  # a refusal is one object
            yield json.loads(rest)
        response.release_conn()

    def _send(
        self, method: str, path: str, body: Any, content_type: str, query: dict[str, str], *, stream: bool
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        for one in self.client.configuration.auth_settings().values():
            headers[one["key"]] = one["value"]
        address = self.host + path.format(ns=self.namespace) + ("?" + urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        return self._pool.request(
            method, address, body=data, headers=headers, retries=False, preload_content=not stream, timeout=60
        )


@pytest.fixture(scope="module", params=["emulator", REAL])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    if request.param == "real":
        yield Api(request.getfixturevalue("real_api"), real=True)
        return
    with ApiServer(Cluster(), bookmark_every=0.2) as emulator:
        path = kubeconfig(emulator.address, tmp_path_factory.mktemp("lab") / "kubeconfig")
        yield Api(path, real=False)


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """A server with a fresh namespace."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "canaryd-test-"}}
    created = server.ask("POST", "/api/v1/namespaces", body)
    assert created.code == 201, created.body
    server.namespace = created.body["metadata"]["name"]
    yield server
    server.ask("DELETE", f"/api/v1/namespaces/{server.namespace}")


@pytest.fixture
def istio(api: Api) -> Api:
    """A server that knows VirtualServices."""
    if api.ask("GET", "/apis/networking.istio.io/v1").code == 404:
        pytest.skip("this API server has no Istio CRDs (networking.istio.io/v1)")
    return api


@pytest.fixture
def webhook(istio: Api) -> Api:
    """A server on which Istio validates."""
    if istio.real:
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        names = [one["metadata"]["name"] for one in istio.ask("GET", path).body["items"]]
        if not any("istio" in name for name in names):
            pytest.skip("this API server has no Istio validation webhook")
    return istio


def virtual_service(*weights: int | None, name: str = "reviews", **metadata: Any) -> dict[str, Any]:
    """VirtualService `reviews` with one destination per weight: subsets v1, v2 ...; None leaves the weight out."""
    route = [
        {"destination": {"host": "reviews", "subset": f"v{number}"}, **({} if weight is None else {"weight": weight})}
        for number, weight in enumerate(weights, 1)
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, **metadata},
        "spec": {"hosts": ["reviews"], "http": [{"route": route}]},
    }


def config_map(name: str = "plain", data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, **metadata} if name else metadata
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"a": "1"}}


def made(api: Api, path: str, body: dict[str, Any]) -> Answer:
    answer = api.ask("POST", path, body)
    assert answer.code == 201, answer.body
    return answer


def weights_of(obj: dict[str, Any]) -> list[int | None]:
    return [one.get("weight") for one in obj["spec"]["http"][0]["route"]]


def patched(api: Api, *operations: dict[str, Any], **query: str) -> Answer:
    return api.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", list(operations), JSON_PATCH, **query)


def op(verb: str, path: str, value: Any) -> dict[str, Any]:
    return {"op": verb, "path": path, "value": value}


FIRST = "/spec/http/0/route/0/weight"
SECOND = "/spec/http/0/route/1/weight"


# -- create, read, delete


def test_create_answers_201_with_everything_the_server_decides(istio: Api) -> None:
    """A run pins uid and resourceVersion from this very answer."""
    answer = made(istio, VIRTUAL_SERVICES, virtual_service(100, 0))
    metadata = answer.body["metadata"]
    assert uuid.UUID(metadata["uid"])
    assert answer.version > 1
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["generation"] == 1
    assert metadata["namespace"] == istio.namespace


def test_creating_twice_is_409_already_exists(api: Api) -> None:
    """Reason tells it apart from a lost race, which is also 409."""
    made(api, CONFIG_MAPS, config_map())
    answer = api.ask("POST", CONFIG_MAPS, config_map())
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.body["details"] == {"name": "plain", "kind": "configmaps"}


def test_a_missing_object_is_404_and_named(istio: Api) -> None:
    """The message is shown to people as it is."""
    answer = istio.ask("GET", f"{VIRTUAL_SERVICES}/nix")
    assert (answer.code, answer.reason) == (404, "NotFound")
    assert answer.body["kind"] == "Status"
    assert answer.body["message"] == 'virtualservices.networking.istio.io "nix" not found'
    assert answer.body["details"] == {"name": "nix", "group": "networking.istio.io", "kind": "virtualservices"}


def test_an_unknown_resource_is_404_too(api: Api) -> None:
    """Missing CRDs look like this: the answer names no object."""
    answer = api.ask("GET", "/apis/networking.istio.io/v9/namespaces/{ns}/virtualservices/x")
    assert answer.code == 404


def test_creating_in_a_missing_namespace_is_404(api: Api) -> None:
    """The namespace is what is not found, not the object."""
    answer = api.ask("POST", "/api/v1/namespaces/canaryd-nowhere/configmaps", config_map())
    assert answer.code in (403, 404)  # a real one may refuse it by right first
    assert "canaryd-nowhere" in answer.body["message"]


def test_generate_name_makes_names(api: Api) -> None:
    first = made(api, CONFIG_MAPS, config_map("", generateName="run-")).body["metadata"]["name"]
    second = made(api, CONFIG_MAPS, config_map("", generateName="run-")).body["metadata"]["name"]
    assert first.startswith("run-")
    assert first != second


def test_a_bad_name_is_422(api: Api) -> None:
    answer = api.ask("POST", CONFIG_MAPS, config_map("Not_A_Name"))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.body["details"]["causes"][0]["field"] == "metadata.name"


def test_delete_answers_success_and_the_object_is_gone(istio: Api) -> None:
    uid = made(istio, VIRTUAL_SERVICES, virtual_service(100, 0)).body["metadata"]["uid"]
    answer = istio.ask("DELETE", f"{VIRTUAL_SERVICES}/reviews")
    assert (answer.code, answer.body["status"]) == (200, "Success")
    assert answer.body["details"]["uid"] == uid
    assert istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").code == 404


def test_delete_preconditions_guard_the_object_that_was_meant(api: Api) -> None:
    """An object deleted and made again has another uid: the delete must not hit it."""
    made(api, CONFIG_MAPS, config_map())
    wrong = {"preconditions": {"uid": str(uuid.uuid4())}}
    answer = api.ask("DELETE", f"{CONFIG_MAPS}/plain", wrong)
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert api.ask("GET", f"{CONFIG_MAPS}/plain").code == 200


def test_a_finalizer_keeps_the_object_until_it_is_taken_off(api: Api) -> None:
    """An object being deleted is still there, marked; canaryd must not start a run on it."""
    made(api, CONFIG_MAPS, config_map(finalizers=["canaryd.io/test"]))
    api.ask("DELETE", f"{CONFIG_MAPS}/plain")
    marked = api.ask("GET", f"{CONFIG_MAPS}/plain")
    assert marked.code == 200
    assert marked.body["metadata"]["deletionTimestamp"].endswith("Z")
    freed = {"metadata": {"finalizers": None}}
    assert api.ask("PATCH", f"{CONFIG_MAPS}/plain", freed, MERGE_PATCH).code == 200
    assert api.ask("GET", f"{CONFIG_MAPS}/plain").code == 404


# -- optimistic concurrency


def test_replacing_with_a_stale_version_is_409(istio: Api) -> None:
    """The compare-and-swap everything rests on."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(100, 0)).body
    assert patched(istio, op("add", FIRST, 99)).code == 200
    answer = istio.ask("PUT", f"{VIRTUAL_SERVICES}/reviews", first)
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "the object has been modified" in answer.body["message"]
    assert weights_of(istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").body) == [99, 0]


def test_replacing_with_the_current_version_raises_version_and_generation(istio: Api) -> None:
    first = made(istio, VIRTUAL_SERVICES, virtual_service(100, 0))
    first.body["spec"]["http"][0]["route"][0]["weight"] = 90
    answer = istio.ask("PUT", f"{VIRTUAL_SERVICES}/reviews", first.body)
    assert answer.code == 200
    assert answer.version > first.version
    assert answer.body["metadata"]["generation"] == 2


@pytest.mark.parametrize("content_type", [MERGE_PATCH, JSON_PATCH])
def test_a_stale_version_inside_a_patch_is_409(api: Api, content_type: str) -> None:
    stale = str(made(api, CONFIG_MAPS, config_map()).version)
    api.ask("PATCH", f"{CONFIG_MAPS}/plain", {"data": {"a": "2"}}, MERGE_PATCH)
    patch: Any = {"metadata": {"resourceVersion": stale}, "data": {"a": "3"}}
    if content_type == JSON_PATCH:
        patch = [op("replace", "/metadata/resourceVersion", stale), op("replace", "/data/a", "3")]
    answer = api.ask("PATCH", f"{CONFIG_MAPS}/plain", patch, content_type)
    assert (answer.code, answer.reason) == (409, "Conflict")


def test_replacing_a_custom_resource_without_a_version_is_422(istio: Api) -> None:
    made(istio, VIRTUAL_SERVICES, virtual_service(100, 0))
    answer = istio.ask("PUT", f"{VIRTUAL_SERVICES}/reviews", virtual_service(90, 10))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "must be specified for an update" in answer.body["message"]


def test_a_lease_is_renewed_only_by_who_saw_it_last(api: Api) -> None:
    """Leader election: of two writers with one version exactly one wins."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    }
    seen = made(api, LEASES, lease).body
    assert api.ask("PUT", f"{LEASES}/leader", {**seen, "spec": {"holderIdentity": "b"}}).code == 200
    answer = api.ask("PUT", f"{LEASES}/leader", {**seen, "spec": {"holderIdentity": "c"}})
    assert answer.code == 409
    assert api.ask("GET", f"{LEASES}/leader").body["spec"]["holderIdentity"] == "b"


def test_a_write_that_changes_nothing_gets_no_new_version(istio: Api) -> None:
    """Writing the same weights again wakes nobody: no event, no push to the proxies."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    assert patched(istio, op("replace", FIRST, 90)).version == first.version
    again = istio.ask("PUT", f"{VIRTUAL_SERVICES}/reviews", first.body)
    assert (again.code, again.version) == (200, first.version)


def test_metadata_alone_keeps_the_generation(istio: Api) -> None:
    """The marker annotation alone is a new version of the object and not a new generation."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(istio, op("add", "/metadata/annotations", {"canaryd.io/marker": "x"}))
    assert answer.version > first.version
    assert answer.body["metadata"]["generation"] == 1


def test_a_name_other_than_the_paths_is_400(api: Api) -> None:
    made(api, CONFIG_MAPS, config_map())
    answer = api.ask("PUT", f"{CONFIG_MAPS}/plain", config_map("other"))
    assert (answer.code, answer.reason) == (400, "BadRequest")


def test_a_namespace_other_than_the_paths_is_400(api: Api) -> None:
    answer = api.ask("POST", CONFIG_MAPS, config_map(namespace="elsewhere"))
    assert (answer.code, answer.reason) == (400, "BadRequest")


# -- JSON Patch


def test_a_passing_guard_lets_the_patch_through(istio: Api) -> None:
    """The shape of every weight change: test what we believe, then write."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(
        istio,
        op("test", "/metadata/resourceVersion", str(first.version)),
        op("test", "/spec/http/0/route/0/destination/subset", "v1"),
        op("test", FIRST, 90),
        op("replace", FIRST, 80),
        op("add", SECOND, 20),
        fieldManager="canaryd",
        fieldValidation="Strict",
    )
    assert answer.code == 200, answer.body
    assert weights_of(answer.body) == [80, 20]


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param(op("test", "/metadata/resourceVersion", "1"), id="version"),
        pytest.param(op("test", FIRST, 91), id="weight"),
        pytest.param(op("test", "/spec/http/0/route/0/destination/subset", "v7"), id="subset"),
        pytest.param(op("test", "/metadata/annotations/canaryd.io~1marker", "x"), id="absent marker"),
    ],
)
def test_a_failed_guard_is_422_and_nothing_is_written(istio: Api, guard: dict[str, Any]) -> None:
    """422 and not 409, without a word about which guard: the caller reads again either way."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(istio, guard, op("replace", FIRST, 80))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.body["message"] == "the server rejected our request due to an error in our request"
    assert istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").version == first.version


def test_a_patch_is_all_or_nothing(istio: Api) -> None:
    """Half a weight change would lose traffic."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(istio, op("replace", FIRST, 80), op("replace", "/spec/http/0/route/7/weight", 20))
    assert answer.code == 422
    assert istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").version == first.version


def test_add_below_missing_annotations_fails(istio: Api) -> None:
    """A trap of the marker: the map must be created first; an empty one does not survive being stored."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10, annotations={}))
    assert patched(istio, op("add", "/metadata/annotations/canaryd.io~1marker", "x")).code == 422
    answer = patched(
        istio,
        op("add", "/metadata/annotations", {}),
        op("add", "/metadata/annotations/canaryd.io~1marker", "x"),
    )
    assert answer.code == 200
    assert answer.body["metadata"]["annotations"] == {"canaryd.io/marker": "x"}


@pytest.mark.parametrize("verb", ["add", "replace"])
def test_a_weight_that_is_absent_is_set_by_add_and_by_replace(istio: Api, verb: str) -> None:
    """Weight 0 is usually left out. RFC 6902 lets `replace` fail there; the API server's library does not."""
    made(istio, VIRTUAL_SERVICES, virtual_service(100, None))
    assert weights_of(patched(istio, op(verb, SECOND, 5)).body) == [100, 5]
    assert weights_of(patched(istio, op(verb, SECOND, 6)).body) == [100, 6]


def test_a_test_for_null_asserts_that_a_member_is_absent(istio: Api) -> None:
    """How a first marker is guarded against somebody else's; the map around it has to be there."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    absent = op("test", "/metadata/annotations/canaryd.io~1marker", None)
    assert patched(istio, absent, op("replace", FIRST, 80)).code == 422
    assert patched(istio, op("test", "/metadata/annotations", None), op("replace", FIRST, 70)).code == 200
    assert patched(istio, op("add", "/metadata/annotations", {"other": "x"}), absent).code == 200
    taken = op("add", "/metadata/annotations/canaryd.io~1marker", "theirs")
    assert patched(istio, absent, taken).code == 200
    assert patched(istio, absent, taken).code == 422


def test_a_list_sent_as_merge_patch_is_400(istio: Api) -> None:
    """What the kubernetes client does by default with a JSON Patch of a custom object."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", [op("replace", FIRST, 80)], MERGE_PATCH)
    assert (answer.code, answer.reason) == (400, "BadRequest")


def test_a_json_patch_that_is_no_list_is_400(istio: Api) -> None:
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", {"spec": {}}, JSON_PATCH)
    assert (answer.code, answer.reason) == (400, "BadRequest")


def test_the_official_client_patches_with_the_content_type_named(istio: Api) -> None:
    """The call canaryd makes; without `_content_type` the same list goes out as a merge patch and is refused."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    custom = kubernetes.client.CustomObjectsApi(istio.client)
    where = ("networking.istio.io", "v1", istio.namespace, "virtualservices", "reviews")
    body = [op("test", FIRST, 90), op("replace", FIRST, 80)]
    answer = custom.patch_namespaced_custom_object(*where, body, _content_type=JSON_PATCH)
    assert weights_of(answer) == [80, 10]
    with pytest.raises(kubernetes.client.ApiException) as refused:
        custom.patch_namespaced_custom_object(*where, body)
    assert refused.value.status in (400, 422)


# -- the other patches


def test_merge_patch_deletes_by_null_and_replaces_lists_whole(istio: Api) -> None:
    """Why canaryd never sends one to a VirtualService: it would own, and overwrite, the whole of spec.http."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10, labels={"a": "1", "b": "2"}))
    route = [{"destination": {"host": "reviews", "subset": "v1"}}]
    patch = {"metadata": {"labels": {"a": None}}, "spec": {"http": [{"route": route}]}}
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", patch, MERGE_PATCH)
    assert answer.body["metadata"]["labels"] == {"b": "2"}
    assert weights_of(answer.body) == [None]


def test_strategic_merge_of_a_custom_resource_is_415(istio: Api) -> None:
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", {"metadata": {}}, STRATEGIC_PATCH)
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")


def test_strategic_merge_of_a_builtin_merges_its_lists(api: Api) -> None:
    path = "/api/v1/namespaces/{ns}/services"
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    made(api, path, service)
    patch = {"spec": {"ports": [{"name": "grpc", "port": 90, "targetPort": 9090}]}}
    answer = api.ask("PATCH", f"{path}/s", patch, STRATEGIC_PATCH)
    assert answer.code == 200, answer.body
    assert sorted(one["port"] for one in answer.body["spec"]["ports"]) == [80, 90]


def test_an_unknown_patch_type_is_415(api: Api) -> None:
    made(api, CONFIG_MAPS, config_map())
    assert api.ask("PATCH", f"{CONFIG_MAPS}/plain", {}, "application/json").code == 415


# -- ownership


def owners_of(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["manager"]: one["fieldsV1"] for one in obj["metadata"].get("managedFields", [])}


def test_one_weight_makes_its_writer_owner_of_all_http_routes(istio: Api) -> None:
    """Istio's lists are atomic: GitOps tools see canaryd own `.spec.http` after the smallest change."""
    istio.ask("POST", VIRTUAL_SERVICES, virtual_service(90, 10), fieldManager="gitops")
    answer = patched(istio, op("replace", FIRST, 80), fieldManager="canaryd")
    owners = owners_of(answer.body)
    assert owners["canaryd"] == {"f:spec": {"f:http": {}}}
    assert "f:http" not in owners["gitops"]["f:spec"]
    assert "f:hosts" in owners["gitops"]["f:spec"]


def test_server_side_apply_conflicts_with_who_wrote_the_weight(istio: Api) -> None:
    """What a GitOps sync says in mid-run, and that force takes the weights back from us."""
    path = f"{VIRTUAL_SERVICES}/reviews"
    manifest = virtual_service(90, 10)
    created = istio.ask("PATCH", path, manifest, APPLY_PATCH, fieldManager="gitops")
    assert created.code == 201, created.body
    patched(istio, op("replace", FIRST, 80), fieldManager="canaryd")
    refused = istio.ask("PATCH", path, manifest, APPLY_PATCH, fieldManager="gitops")
    assert (refused.code, refused.reason) == (409, "Conflict")
    assert 'conflict with "canaryd" using networking.istio.io/v1: .spec.http' in refused.body["message"]
    assert refused.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = istio.ask("PATCH", path, manifest, APPLY_PATCH, fieldManager="gitops", force="true")
    assert weights_of(forced.body) == [90, 10]
    assert "canaryd" not in owners_of(forced.body)


def test_server_side_apply_takes_away_what_it_no_longer_says(istio: Api) -> None:
    path = f"{VIRTUAL_SERVICES}/reviews"
    istio.ask("PATCH", path, virtual_service(90, 10, labels={"a": "1"}), APPLY_PATCH, fieldManager="gitops")
    patched(istio, op("add", "/metadata/labels/b", "2"), fieldManager="canaryd")
    answer = istio.ask("PATCH", path, virtual_service(90, 10), APPLY_PATCH, fieldManager="gitops")
    assert answer.body["metadata"]["labels"] == {"b": "2"}


def test_an_entry_of_managed_fields_can_be_removed(istio: Api) -> None:
    """At the end of a run canaryd gives its ownership back."""
    istio.ask("POST", VIRTUAL_SERVICES, virtual_service(90, 10), fieldManager="gitops")
    body = patched(istio, op("replace", FIRST, 80), fieldManager="canaryd").body
    index = [one["manager"] for one in body["metadata"]["managedFields"]].index("canaryd")
    remove = {"op": "remove", "path": f"/metadata/managedFields/{index}"}
    assert list(owners_of(patched(istio, remove, fieldManager="canaryd").body)) == ["gitops"]


# -- status, versions, schema


def test_status_and_spec_are_written_through_different_doors(istio: Api) -> None:
    """A write to one never touches the other; status raises no generation."""
    body = virtual_service(90, 10)
    body["status"] = {"observedGeneration": 7}
    assert "status" not in made(istio, VIRTUAL_SERVICES, body).body
    status = {"spec": {"hosts": ["other"]}, "status": {"observedGeneration": 1}}
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews/status", status, MERGE_PATCH)
    assert answer.code == 200, answer.body
    assert answer.body["status"] == {"observedGeneration": 1}
    assert answer.body["spec"]["hosts"] == ["reviews"]
    assert answer.body["metadata"]["generation"] == 1
    spec = {"spec": {"hosts": ["other"]}, "status": {"observedGeneration": 9}}
    answer = istio.ask("PATCH", f"{VIRTUAL_SERVICES}/reviews", spec, MERGE_PATCH)
    assert answer.body["status"] == {"observedGeneration": 1}
    assert answer.body["metadata"]["generation"] == 2


def test_another_version_differs_in_api_version_alone(istio: Api) -> None:
    """The seed is v1beta1, canaryd reads v1: conversion strategy None."""
    older = VIRTUAL_SERVICES.replace("/v1/", "/v1beta1/")
    made(istio, older, {**virtual_service(90, 10), "apiVersion": "networking.istio.io/v1beta1"})
    newest = istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").body
    old = istio.ask("GET", f"{older}/reviews").body
    assert old["apiVersion"] == "networking.istio.io/v1beta1"
    assert {**old, "apiVersion": "networking.istio.io/v1"} == newest


def test_the_wrong_version_in_the_body_is_400(istio: Api) -> None:
    body = {**virtual_service(90, 10), "apiVersion": "networking.istio.io/v1beta1"}
    assert istio.ask("POST", VIRTUAL_SERVICES, body).code == 400


@pytest.mark.parametrize("weight", ["50", 50.5, True], ids=["text", "fraction", "flag"])
def test_a_weight_of_the_wrong_type_is_422_and_says_where(istio: Api, weight: Any) -> None:
    answer = istio.ask("POST", VIRTUAL_SERVICES, virtual_service(weight, 50))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "spec.http[0].route[0].weight" in [one["field"] for one in answer.body["details"]["causes"]]
    assert "must be of type integer" in answer.body["message"]


def test_a_missing_required_field_is_422(istio: Api) -> None:
    body = virtual_service(90, 10)
    del body["spec"]["http"][0]["route"][1]["destination"]["host"]
    answer = istio.ask("POST", VIRTUAL_SERVICES, body)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "spec.http[0].route[1].destination.host" in [one["field"] for one in answer.body["details"]["causes"]]


def test_an_unknown_field_is_pruned_with_a_warning_or_refused(istio: Api) -> None:
    """A typing error must not silently become weight 0."""
    body = virtual_service(90, 10)
    body["spec"]["http"][0]["route"][0]["wieght"] = 5
    refused = istio.ask("POST", VIRTUAL_SERVICES, body, fieldValidation="Strict")
    assert (refused.code, refused.reason) == (400, "BadRequest")
    assert 'unknown field "spec.http[0].route[0].wieght"' in refused.body["message"]
    taken = istio.ask("POST", VIRTUAL_SERVICES, body)
    assert taken.code == 201
    assert "wieght" not in taken.body["spec"]["http"][0]["route"][0]
    assert any("wieght" in warning for warning in taken.warnings)


def test_an_unknown_field_in_a_strict_patch_is_refused(istio: Api) -> None:
    """As 422 here and 400 elsewhere: on an unchanged object either means that a person has to act."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(istio, op("add", "/spec/http/0/route/0/wieght", 5), fieldValidation="Strict")
    assert answer.code == 422
    assert 'unknown field "spec.http[0].route[0].wieght"' in answer.body["message"]


# -- dry run and the webhook


def test_a_dry_run_answers_as_the_write_would_and_writes_nothing(istio: Api) -> None:
    """Preflight: every patch is first sent like this."""
    first = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    answer = patched(istio, op("replace", FIRST, 80), dryRun="All")
    assert weights_of(answer.body) == [80, 10]
    assert istio.ask("GET", f"{VIRTUAL_SERVICES}/reviews").body == first.body
    assert istio.ask("POST", VIRTUAL_SERVICES, virtual_service(1, 1, name="other"), dryRun="All").code == 201
    assert istio.ask("GET", f"{VIRTUAL_SERVICES}/other").code == 404


def test_the_webhook_refuses_destinations_without_any_weight(webhook: Api) -> None:
    """Also in a dry run, which is how preflight hears of it."""
    made(webhook, VIRTUAL_SERVICES, virtual_service(90, 10))
    for query in ({"dryRun": "All"}, {}):
        answer = patched(webhook, op("replace", FIRST, 0), op("replace", SECOND, 0), **query)
        assert answer.code == 400
        assert "denied the request: configuration is invalid: total destination weight = 0" in answer.body["message"]


def test_the_webhook_refuses_a_negative_weight(webhook: Api) -> None:
    """The schema lets it through."""
    answer = webhook.ask("POST", VIRTUAL_SERVICES, virtual_service(-5, 105))
    assert answer.code == 400
    assert "weight -5 < 0" in answer.body["message"]


@pytest.mark.parametrize("weights", [(0,), (1, 2), (0, 1), (None, 7), (500, 500)])
def test_weights_need_no_sum_of_100(istio: Api, weights: tuple[int | None, ...]) -> None:
    """Shares are relative to the sum, and a single destination gets everything even at weight 0."""
    made(istio, VIRTUAL_SERVICES, virtual_service(*weights))


# -- lists


def names(answer: Answer) -> list[str]:
    assert answer.code == 200, answer.body
    return [one["metadata"]["name"] for one in answer.body["items"]]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("tier=web", ["a"]),
        ("tier==web,team=x", ["a"]),
        ("tier!=web", ["b", "c"]),
        ("tier in (web, db)", ["a", "b"]),
        ("tier notin (web)", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
    ],
)
def test_label_selectors(api: Api, asked: str, wanted: list[str]) -> None:
    labels = {"a": {"canaryd": "t", "tier": "web", "team": "x"}, "b": {"canaryd": "t", "tier": "db"}}
    for name in ("a", "b", "c"):
        made(api, CONFIG_MAPS, config_map(name, labels=labels.get(name, {"canaryd": "t"})))
    assert names(api.ask("GET", CONFIG_MAPS, labelSelector=f"{asked},canaryd=t")) == wanted


def test_field_selectors_know_name_and_refuse_the_rest(istio: Api) -> None:
    made(istio, VIRTUAL_SERVICES, virtual_service(1, 1))
    made(istio, VIRTUAL_SERVICES, virtual_service(1, 1, name="other"))
    assert names(istio.ask("GET", VIRTUAL_SERVICES, fieldSelector="metadata.name=other")) == ["other"]
    assert istio.ask("GET", VIRTUAL_SERVICES, fieldSelector="spec.hosts=reviews").code == 400


def test_a_list_says_its_kind_and_version(istio: Api) -> None:
    """A watch starts from exactly here."""
    created = made(istio, VIRTUAL_SERVICES, virtual_service(1, 1))
    answer = istio.ask("GET", VIRTUAL_SERVICES)
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("VirtualServiceList", "networking.istio.io/v1")
    assert answer.version >= created.version


def test_pages_show_one_moment(api: Api) -> None:
    """What is made between two pages is not in the second: both are of the first one's version."""
    for name in ("a", "c", "e"):
        made(api, CONFIG_MAPS, config_map(name, labels={"canaryd": "t"}))
    first = api.ask("GET", CONFIG_MAPS, labelSelector="canaryd=t", limit="2")
    assert names(first) == ["a", "c"]
    made(api, CONFIG_MAPS, config_map("d", labels={"canaryd": "t"}))
    token = first.body["metadata"]["continue"]
    second = api.ask("GET", CONFIG_MAPS, **{"labelSelector": "canaryd=t", "limit": "2", "continue": token})
    assert names(second) == ["e"]
    assert second.version == first.version
    assert not second.body["metadata"].get("continue")


def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    made(api, CONFIG_MAPS, config_map("a", labels={"canaryd": "t", "keep": "no"}))
    made(api, CONFIG_MAPS, config_map("b", labels={"canaryd": "t"}))
    assert api.ask("DELETE", CONFIG_MAPS, labelSelector="keep=no").code == 200
    assert names(api.ask("GET", CONFIG_MAPS, labelSelector="canaryd=t")) == ["b"]


# -- watches


def seen(events: Iterator[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["type"], one["object"]["metadata"]["name"]) for one in events if one["type"] != "BOOKMARK"]


def test_a_watch_goes_on_where_it_is_told_to(istio: Api) -> None:
    """Nothing is lost and nothing comes twice, however often the connection breaks."""
    start = istio.ask("GET", VIRTUAL_SERVICES).version
    created = made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    patched(istio, op("replace", FIRST, 80))
    istio.ask("DELETE", f"{VIRTUAL_SERVICES}/reviews")
    every = list(istio.watch(VIRTUAL_SERVICES, resourceVersion=str(start), timeoutSeconds="1"))
    assert seen(iter(every)) == [("ADDED", "reviews"), ("MODIFIED", "reviews"), ("DELETED", "reviews")]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in every]
    assert versions == sorted(set(versions))
    rest = istio.watch(VIRTUAL_SERVICES, resourceVersion=str(created.version), timeoutSeconds="1")
    assert seen(rest) == [("MODIFIED", "reviews"), ("DELETED", "reviews")]


def test_a_watch_tells_of_a_write_while_it_is_open(istio: Api) -> None:
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    events = istio.watch(VIRTUAL_SERVICES, timeoutSeconds="20")
    assert next(events)["type"] == "ADDED"
    patched(istio, op("replace", FIRST, 80))
    began = time.monotonic()
    assert weights_of(next(events)["object"]) == [80, 10]
    assert time.monotonic() - began < ANSWER_WITHIN


def test_a_forgotten_version_is_410_inside_the_watch(istio: Api) -> None:
    """HTTP says 200, the only event says 410 Expired: the watcher has to list again."""
    made(istio, VIRTUAL_SERVICES, virtual_service(90, 10))
    events = list(istio.watch(VIRTUAL_SERVICES, resourceVersion="1", timeoutSeconds="5"))
    assert [one["type"] for one in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert re.fullmatch(r"too old resource version: 1 \(\d+\)", status["message"])


def test_a_watch_ends_when_its_time_is_over(api: Api) -> None:
    began = time.monotonic()
    list(api.watch(CONFIG_MAPS, timeoutSeconds="1"))
    assert time.monotonic() - began < ANSWER_WITHIN


def test_leaving_a_selector_looks_like_deletion(api: Api) -> None:
    start = str(made(api, CONFIG_MAPS, config_map(labels={"canaryd": "t", "in": "no"})).version)
    for value in ("yes", "no"):
        api.ask("PATCH", f"{CONFIG_MAPS}/plain", {"metadata": {"labels": {"in": value}}}, MERGE_PATCH)
    events = api.watch(CONFIG_MAPS, labelSelector="in=yes", resourceVersion=start, timeoutSeconds="1")
    assert seen(events) == [("ADDED", "plain"), ("DELETED", "plain")]


def test_initial_events_end_with_a_marked_bookmark(api: Api) -> None:
    """`kubectl wait` hangs without it."""
    made(api, CONFIG_MAPS, config_map(labels={"canaryd": "t"}))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "labelSelector": "canaryd=t",
        "timeoutSeconds": "5",
    }
    events = api.watch(CONFIG_MAPS, **query)
    assert next(events)["type"] == "ADDED"
    bookmark = next(events)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


# -- around it


def test_discovery_lists_virtual_services_with_their_short_name(istio: Api) -> None:
    listed = istio.ask("GET", "/apis/networking.istio.io/v1").body["resources"]
    found = {one["name"]: one for one in listed}
    assert found["virtualservices"]["shortNames"] == ["vs"]
    assert {"get", "list", "watch", "patch", "update"} <= set(found["virtualservices"]["verbs"])
    assert "virtualservices/status" in found


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("/version", lambda body: body["major"] == "1"),
        ("/readyz", lambda body: body == b"ok"),
        ("/api", lambda body: body["versions"] == ["v1"]),
        ("/openapi/v3", lambda body: "api/v1" in body["paths"]),
    ],
)
def test_the_documents_clients_ask_for_first(api: Api, path: str, holds: Callable[[Any], bool]) -> None:
    answer = api.ask("GET", path)
    assert answer.code == 200
    assert holds(answer.body)


def test_one_may_ask_what_one_may_do(api: Api) -> None:
    """Preflight asks before a run starts whether it could roll back."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": api.namespace, "verb": "get", "resource": "configmaps"}},
    }
    answer = api.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert answer.code == 201
    assert answer.body["status"]["allowed"] is True
