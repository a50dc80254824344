"""What tools need of the lab's API beside reading and writing: TLS, tokens, protobuf, collecting, and plain words."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.kube import VIRTUAL_SERVICES, Forbidden, Kind, Rejected, connect
from canaryd.lab.kubernetes import ApiServer, Change, Cluster
from canaryd.lab.kubernetes.certificates import self_signed
from canaryd.lab.kubernetes.wire import MAGIC, WireError, from_protobuf

Object = dict[str, Any]
CONFIG_MAPS = Kind("", "v1", "configmaps")


def config_map(name: str, *owners: Object, **metadata: Any) -> Object:
    common = {"apiVersion": "v1", "kind": "ConfigMap", "blockOwnerDeletion": True}
    references = [common | {key: one["metadata"][key] for key in ("name", "uid")} for one in owners]
    metadata |= {"name": name} | ({"ownerReferences": references} if references else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


# -- TLS and tokens


@pytest.fixture
def guarded() -> Iterator[ApiServer]:
    with ApiServer(Cluster(), tls=True, tokens={"let-me-in": "operator"}) as server:
        yield server


def status_of(server: ApiServer, path: str, token: str = "") -> int:
    trusted = ssl.create_default_context(cadata=server.authority.decode())
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{server.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_canaryd_connects_over_tls_with_the_token_of_the_kubeconfig(guarded: ApiServer, tmp_path: Path) -> None:
    kube = connect(str(guarded.kubeconfig(tmp_path / "kubeconfig")), timeout=5)
    assert guarded.address.startswith("https://127.0.0.1:")
    assert kube.list(VIRTUAL_SERVICES, "default") == []


def test_the_kubeconfig_is_its_owners_alone(guarded: ApiServer, tmp_path: Path) -> None:
    """There is a token in it."""
    assert guarded.kubeconfig(tmp_path / "kubeconfig").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("token", "code"), [("let-me-in", 200), ("guessed", 401), ("", 403)])
def test_a_wrong_token_is_401_and_none_at_all_is_nobody(guarded: ApiServer, token: str, code: int) -> None:
    """As on a real API server, which knows a user `system:anonymous` without rights."""
    assert status_of(guarded, "/api/v1/namespaces/default/configmaps", token) == code
    assert status_of(guarded, "/readyz", token) == (200 if code == 403 else code)


def test_a_kubeconfig_outlives_a_server_whose_certificate_is_kept(tmp_path: Path) -> None:
    """As the lab takes its API server away and brings it back."""
    kept = self_signed()
    with ApiServer(Cluster(), tls=kept, tokens={"a": "ann"}) as first:
        port = int(first.address.rpartition(":")[2])
        kube = connect(str(first.kubeconfig(tmp_path / "kubeconfig")), timeout=5)
    with ApiServer(Cluster(), port=port, tls=kept, tokens={"a": "ann"}):
        assert kube.list(VIRTUAL_SERVICES, "default") == []


def test_another_authority_is_not_trusted(guarded: ApiServer) -> None:
    with ApiServer(Cluster(), tls=True) as other:
        trusted = ssl.create_default_context(cadata=other.authority.decode())
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{guarded.address}/readyz", context=trusted, timeout=5)


def test_who_may_not_is_named_as_the_token_names_him(tmp_path: Path) -> None:
    denied = (("list", "configmaps"),)
    with ApiServer(Cluster(), tls=True, tokens={"a": "ann", "b": "bob"}, denied=denied) as server:
        kube = connect(str(server.kubeconfig(tmp_path / "kubeconfig", user="bob")), timeout=5)
        with pytest.raises(Forbidden, match='User "bob" cannot list resource "configmaps"'):
            kube.list(CONFIG_MAPS, "default")


# -- what is not imitated is said


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Callable[[str, Object], list[str]]]:
    """Create an object; the warnings that came with the answer."""
    with ApiServer(Cluster()) as server:

        def create(path: str, body: Object) -> list[str]:
            data = json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(server.address + path, data, headers, method="POST")
            with urllib.request.urlopen(request, timeout=5) as answer:
                return list(answer.headers.get_all("Warning") or [])

        yield create


RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        (f"{RBAC}/namespaces/default/roles", "Role", "does not evaluate RBAC"),
        (f"{RBAC}/clusterroles", "ClusterRole", "does not evaluate RBAC"),
        (f"{ADMISSION}/validatingadmissionpolicies", "ValidatingAdmissionPolicy", "does not evaluate CEL"),
        (f"{ADMISSION}/validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "calls no webhook"),
    ],
)
def test_what_is_stored_and_not_evaluated_is_said(
    told: Callable[[str, Object], list[str]], path: str, kind: str, said: str
) -> None:
    version = path.split("/namespaces")[0].removeprefix("/apis/").rsplit("/", 1)[0] if "/namespaces" not in path else ""
    version = version or path.removeprefix("/apis/").split("/namespaces")[0]
    warnings = told(path, {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}})
    assert len(warnings) == 1
    assert said in warnings[0]


@pytest.mark.parametrize("rules", [[], [{"rule": "self.a > 0"}]])
def test_a_definition_with_cel_rules_is_told_that_they_do_not_count(
    told: Callable[[str, Object], list[str]], rules: list[Object]
) -> None:
    spec = {"type": "object", "properties": {"a": {"type": "integer"}}}
    if rules:
        spec["x-kubernetes-validations"] = rules
    version = {"name": "v1", "served": True, "storage": True}
    version |= {"schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}
    names = {"plural": "things", "kind": "Thing"}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    warnings = told("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    assert ["x-kubernetes-validations" in one for one in warnings] == [True] * len(rules)


# -- the garbage collector


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def names(cluster: Cluster) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.objects("ConfigMap")]


def test_what_an_object_owned_goes_with_it(cluster: Cluster) -> None:
    """Down to the last generation, as pods go with the Deployment that made their ReplicaSet."""
    owner = cluster.apply(config_map("owner"))
    child = cluster.apply(config_map("child", owner))
    cluster.apply(config_map("grandchild", child))
    cluster.apply(config_map("stranger"))
    cluster.remove("ConfigMap", "default", "owner")
    assert names(cluster) == ["stranger"]


def test_who_has_another_owner_stays_and_forgets_the_one_that_is_gone(cluster: Cluster) -> None:
    one, other = (cluster.apply(config_map(name)) for name in ("one", "other"))
    cluster.apply(config_map("child", one, other))
    cluster.remove("ConfigMap", "default", "one")
    assert names(cluster) == ["child", "other"]
    child = cluster.find("ConfigMap", "default", "child") or {}
    assert [reference["name"] for reference in child["metadata"]["ownerReferences"]] == ["other"]
    cluster.remove("ConfigMap", "default", "other")
    assert names(cluster) == []


def test_orphans_stay_and_have_no_owner(cluster: Cluster) -> None:
    owner = cluster.apply(config_map("owner"))
    cluster.apply(config_map("child", owner))
    cluster.delete(cluster.registry.by_kind("ConfigMap"), "default", "owner", propagation="Orphan")
    assert names(cluster) == ["child"]
    assert "ownerReferences" not in (cluster.find("ConfigMap", "default", "child") or {})["metadata"]


@pytest.mark.parametrize(
    ("propagation", "order"), [("Background", ["owner", "child"]), ("Foreground", ["child", "owner"])]
)
def test_in_the_foreground_the_owned_go_first(cluster: Cluster, propagation: str, order: list[str]) -> None:
    seen: list[Change] = []
    owner = cluster.apply(config_map("owner"))
    cluster.apply(config_map("child", owner))
    cluster.subscribe(seen.append)
    cluster.delete(cluster.registry.by_kind("ConfigMap"), "default", "owner", propagation=propagation)
    assert [one.object["metadata"]["name"] for one in seen if one.type == "DELETED"] == order


def test_a_finalizer_of_the_owned_keeps_them_and_the_owner_waits(cluster: Cluster) -> None:
    """In the foreground; the owner goes with the last of them."""
    owner = cluster.apply(config_map("owner"))
    cluster.apply(config_map("child", owner, finalizers=["example.com/wait"]))
    resource = cluster.registry.by_kind("ConfigMap")
    cluster.delete(resource, "default", "owner", propagation="Foreground")
    assert names(cluster) == ["child", "owner"]
    child = cluster.find("ConfigMap", "default", "child") or {}
    child["metadata"].pop("finalizers")
    cluster.replace(resource, "default", "child", child)
    assert names(cluster) == []


def test_a_definition_takes_its_objects_along(cluster: Cluster) -> None:
    """Whoever watches them hears that they are gone."""
    names_of = {"plural": "things", "kind": "Thing"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names_of, "versions": [version]},
    }
    cluster.apply(definition)
    cluster.apply({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}})
    seen: list[Change] = []
    cluster.subscribe(seen.append)
    cluster.remove("CustomResourceDefinition", "", "things.example.com")
    assert (seen[0].type, seen[0].resource.kind) == ("DELETED", "Thing")
    with pytest.raises(KeyError):
        cluster.objects("Thing")


# -- protobuf


def field(number: int, value: bytes | str | int) -> bytes:
    """One field on the wire: a varint, or bytes with their length (below 128)."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


def packed(kind: str, raw: bytes, version: str = "v1") -> bytes:
    return MAGIC + field(1, field(1, version) + field(2, kind)) + field(2, raw)


def test_a_config_map_in_protobuf_is_read() -> None:
    """``kubectl create configmap`` since 1.32."""
    metadata = field(1, "plain") + field(3, "default") + field(11, field(1, "app") + field(2, "x"))
    body = packed("ConfigMap", field(1, metadata) + field(2, field(1, "a") + field(2, "1")))
    assert from_protobuf(body, "V1ConfigMap") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "plain", "namespace": "default", "labels": {"app": "x"}},
        "data": {"a": "1"},
    }


def test_embedded_structs_numbers_times_and_either_types_are_read() -> None:
    """A probe has its handler's fields beside its own, a port may be a name, zero is not nothing for a pointer."""
    either = field(2, field(1, 1) + field(2, 0) + field(3, "http"))
    probe = field(1, field(2, field(1, "/ok") + either)) + field(3, 7)
    container = field(1, "main") + field(2, "nginx:1") + field(11, probe)
    body = packed("Pod", field(2, field(2, container) + field(4, 0)))
    spec = from_protobuf(body, "V1Pod")["spec"]
    assert spec["terminationGracePeriodSeconds"] == 0
    assert spec["containers"] == [
        {
            "name": "main",
            "image": "nginx:1",
            "readinessProbe": {"httpGet": {"path": "/ok", "port": "http"}, "timeoutSeconds": 7},
        }
    ]
    assert from_protobuf(packed("Deployment", field(2, field(1, 0))), "V1Deployment")["spec"] == {"replicas": 0}
    renewed = field(4, field(1, 60) + field(2, 0))
    lease = from_protobuf(packed("Lease", field(2, field(1, "me") + renewed)), "V1Lease")
    assert lease["spec"] == {"holderIdentity": "me", "renewTime": "1970-01-01T00:01:00.000000Z"}


@pytest.mark.parametrize("body", [b"{}", MAGIC + b"\x12\x05ab", MAGIC + b"\x12"])
def test_what_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        from_protobuf(body, "V1ConfigMap")


def test_a_broken_body_in_protobuf_is_400(tmp_path: Path) -> None:
    with ApiServer(Cluster()) as server:
        headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
        path = f"{server.address}/api/v1/namespaces/default/configmaps"
        request = urllib.request.Request(path, b"k8s\x00\x12\x05ab", headers, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == 400


def test_canaryds_patches_are_refused_alike_with_and_without_tls(guarded: ApiServer, tmp_path: Path) -> None:
    """The transport changes nothing of what an answer says."""
    kube = connect(str(guarded.kubeconfig(tmp_path / "kubeconfig")), timeout=5)
    with pytest.raises(Rejected, match=r'virtualservices\.networking\.istio\.io "nix" not found'):
        kube.patch_json(VIRTUAL_SERVICES, "default", "nix", [{"op": "add", "path": "/spec/http", "value": []}])
