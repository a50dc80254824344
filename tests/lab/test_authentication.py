"""PeerAuthentication: what a pod accepts on a port."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab.istiod.authentication import mtls_mode, namespace_mode, speaks_tls
from canaryd.lab.istiod.registry import Registry

from .meshes import pod

Json = dict[str, Any]
ROOT = "istio-system"


def peers(
    name: str, mode: str | None, namespace: str = "default", labels: Json | None = None, born: int = 1, **more: Any
) -> Json:
    spec: Json = {**more}
    if mode is not None:
        spec["mtls"] = {"mode": mode}
    if labels is not None:
        spec["selector"] = {"matchLabels": labels}
    about = {"name": name, "namespace": namespace, "creationTimestamp": f"2026-01-{born:02}T00:00:00Z"}
    return {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": about, "spec": spec}


def mode(*policies: Json, port: int = 9080, version: str = "v1", namespace: str = "default") -> str:
    return mtls_mode(Registry.of(policies), pod(version, namespace=namespace), port)


def test_a_mesh_without_policies_is_permissive() -> None:
    assert mode() == "PERMISSIVE"


def test_the_workload_beats_its_namespace_which_beats_the_mesh() -> None:
    mesh, namespace = peers("m", "STRICT", ROOT), peers("n", "DISABLE")
    workload = peers("w", "PERMISSIVE", labels={"version": "v1"})
    assert mode(mesh) == "STRICT"
    assert mode(mesh, namespace) == "DISABLE"
    assert mode(mesh, namespace, workload) == "PERMISSIVE"
    assert mode(mesh, namespace, workload, version="v3") == "DISABLE"
    assert mode(namespace, workload, namespace="elsewhere") == "PERMISSIVE"


def test_within_a_level_the_oldest_holds() -> None:
    """Two policies for the whole namespace are a mistake that nothing refuses: the later one has no effect."""
    assert mode(peers("a-young", "DISABLE", born=2), peers("b-old", "STRICT", born=1)) == "STRICT"
    labels = {"app": "reviews"}
    young, old = peers("a", "DISABLE", labels=labels, born=2), peers("b", "STRICT", labels=labels, born=1)
    assert mode(young, old) == "STRICT"


@pytest.mark.parametrize("unset", [None, "UNSET"])
def test_what_is_unset_is_inherited(unset: str | None) -> None:
    workload = peers("w", unset, labels={"version": "v1"})
    assert mode(peers("m", "STRICT", ROOT), peers("n", unset), workload) == "STRICT"


def test_a_port_of_a_workloads_policy_has_a_mode_of_its_own() -> None:
    ports = {"9080": {"mode": "DISABLE"}, "9090": {"mode": "UNSET"}}
    workload = peers("w", "STRICT", labels={"version": "v1"}, portLevelMtls=ports)
    assert [mode(workload, port=port) for port in (9080, 9090, 80)] == ["DISABLE", "STRICT", "STRICT"]


def test_ports_count_in_a_workloads_policy_only() -> None:
    """Istio's validation demands a selector with them, and its code looks nowhere else."""
    assert mode(peers("n", "STRICT", portLevelMtls={"9080": {"mode": "DISABLE"}})) == "STRICT"


def test_a_selector_in_the_root_namespace_is_for_nobody() -> None:
    policy = peers("m", "STRICT", ROOT, labels={"app": "reviews"})
    assert mode(policy) == "PERMISSIVE"
    assert mode(policy, namespace=ROOT) == "PERMISSIVE"  # nor for the pods of that namespace, oddly


def test_a_client_looks_at_namespaces_and_at_each_pods_sidecar() -> None:
    policies = [peers("n", "DISABLE"), peers("w", "STRICT", labels={"version": "v1"})]
    assert namespace_mode(Registry.of(policies), "default") == "DISABLE"
    assert namespace_mode(Registry.of(policies), "elsewhere") == "PERMISSIVE"
    registry = Registry.of([peers("w", "DISABLE", labels={"version": "v3"})])
    bare = pod()
    del bare["metadata"]["labels"]["security.istio.io/tlsMode"]
    assert [speaks_tls(registry, each, 9080) for each in (pod(), pod("v3"), bare)] == [True, False, False]
