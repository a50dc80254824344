"""deploy/'s overlays and components: they build, they are what the code wants, and an API server takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.settings import Settings
from tests.deploy.manifests import COMPONENTS, DEPLOY, OVERLAYS, built, composed, kubectl, of

Object = dict[str, Any]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_settings_that_there_are(overlay: str) -> None:
    """A misspelt one would stop the container at its start."""
    found = next(
        one
        for one in built(DEPLOY / "overlays" / overlay)
        if one["kind"] == "ConfigMap" and "canaryd.yaml" in one["data"]
    )
    assert set(yaml.safe_load(found["data"]["canaryd.yaml"])) <= set(Settings.model_fields)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pod_is_restricted(overlay: str) -> None:
    """Pod Security's profile `restricted`, which the namespace enforces."""
    pod = of("Deployment", built(DEPLOY / "overlays" / overlay))["spec"]["template"]["spec"]
    assert restricted(pod) == []


def restricted(pod: Object) -> list[str]:
    """What the profile would refuse. Source: kubernetes.io, Pod Security Standards."""
    of_pod, wrong = pod.get("securityContext") or {}, []
    for container in pod["containers"]:
        own = container.get("securityContext") or {}
        both = {**of_pod, **own}
        if not both.get("runAsNonRoot"):
            wrong.append("runAsNonRoot")
        if both.get("runAsUser") == 0:
            wrong.append("runAsUser")
        if own.get("allowPrivilegeEscalation") is not False:
            wrong.append("allowPrivilegeEscalation")
        if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
            wrong.append("capabilities")
        if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            wrong.append("seccompProfile")
        if own.get("readOnlyRootFilesystem") is not True:
            wrong.append("readOnlyRootFilesystem")  # not of the profile, but ours
    volumes = pod.get("volumes") or ()
    if any(not set(one) & {"configMap", "emptyDir", "persistentVolumeClaim", "secret"} for one in volumes):
        wrong.append("volumes")
    return wrong


def test_two_replicas_are_on_two_nodes_and_one_always_stays() -> None:
    """A standby on the leader's node dies with it."""
    found = built(DEPLOY / "overlays/ha")
    deployment, budget = of("Deployment", found), of("PodDisruptionBudget", found)
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]  # or no node could ever be drained
    wanted = {"app.kubernetes.io/name": "canaryd"}
    terms = pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    for selector in (
        budget["spec"]["selector"],
        terms[0]["podAffinityTerm"]["labelSelector"],
        pod["spec"]["topologySpreadConstraints"][0]["labelSelector"],
    ):
        assert selector["matchLabels"] == wanted
        assert wanted.items() <= pod["metadata"]["labels"].items()


def test_one_namespace_is_said_alike_everywhere() -> None:
    """The role's, the settings' and the admission bindings' namespace are one."""
    found = built(DEPLOY / "overlays/namespaced")
    settings = next(one for one in found if one["kind"] == "ConfigMap")["data"]["canaryd.yaml"]
    [namespace] = yaml.safe_load(settings)["namespaces"]
    assert of("Role", found, "canaryd")["metadata"]["namespace"] == namespace
    assert of("RoleBinding", found, "canaryd")["metadata"]["namespace"] == namespace
    assert not [one for one in found if one["kind"] == "ClusterRole" and one["metadata"]["name"] == "canaryd"]
    for binding in (one for one in found if one["kind"] == "ValidatingAdmissionPolicyBinding"):
        [term] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        home = ["canaryd"] if binding["metadata"]["name"] == "canaryd-freezes" else []  # those of all lie there
        assert term["values"] == [namespace, *home]


def test_the_policies_know_the_account() -> None:
    """A policy for an account of another name lets ours do everything."""
    found = built(DEPLOY / "overlays/cluster-wide")
    account = of("ServiceAccount", found)["metadata"]
    name = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    policies = [one for one in found if one["kind"] == "ValidatingAdmissionPolicy"]
    of_everybody = {"canaryd-freezes"}
    assert {one["metadata"]["name"] for one in policies if "matchConditions" not in one["spec"]} == of_everybody
    for policy in (one for one in policies if one["metadata"]["name"] not in of_everybody):
        assert f"'{name}'" in policy["spec"]["matchConditions"][0]["expression"]


def needs(*names: str) -> list[str]:
    """Those of deploy/'s files that are not there."""
    return [name for name in names if not (DEPLOY / name).exists()]


CHOICES = [
    *((overlay, ()) for overlay in OVERLAYS),
    *(("cluster-wide", (one,)) for one in COMPONENTS),
    ("namespaced", tuple(one for one in COMPONENTS if one != "plans-folder")),
    ("ha", COMPONENTS),
]


@pytest.mark.parametrize(("overlay", "components"), CHOICES)
def test_an_api_server_takes_it(overlay: str, components: tuple[str, ...], anywhere: Path, tmp_path: Path) -> None:
    """Every overlay, alone, with each component, and with all: strictly validated, as a dry run."""
    if "monitoring" in components and (lacking := needs("rules/prometheusrule.yaml", "grafana/canaryd.json")):
        pytest.skip(f"deploy/ has no {' and no '.join(lacking)}")
    objects = built(composed(tmp_path, overlay, *components))
    done = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"),
        config=anywhere,
        text=yaml.safe_dump_all(objects),
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(objects)
