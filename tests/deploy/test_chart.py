"""
The Helm chart: its copies are fresh, its values are what the templates read, and what it renders is what deploy/ says.

What needs Helm skips where there is none (`make helm` builds it), the rest does not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd import __version__
from canaryd.settings import Settings
from tests.conftest import XDIST_GROUP
from tests.deploy.manifests import DEPLOY, ROOT, built, documents, kubectl, of
from tests.deploy.test_kustomize import restricted
from tests.envtest.helm import build
from tools.chart import FILES, copies

Object = dict[str, Any]
CHART = DEPLOY / "chart" / "canaryd"
NAMESPACE = "canaryd-chart"


# -- without Helm


def test_the_copies_are_fresh() -> None:
    """What the chart installs is what deploy/ says today."""
    wanted = copies()
    for copy, source in wanted.items():
        assert copy.read_bytes() == source.read_bytes(), f"{copy} is stale: run `make chart`"
    assert {one for one in FILES.rglob("*") if one.is_file()} == set(wanted), "run `make chart`"


def test_the_chart_is_of_this_version() -> None:
    """The image's tag is the chart's appVersion."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["apiVersion"] == "v2"
    assert chart["appVersion"] == __version__


def paths(found: Any, before: str = "") -> set[str]:
    """Every path in nested mappings, those of the mappings too."""
    if not isinstance(found, dict):
        return set()
    here = {f"{before}{key}" for key in found}
    return here.union(*(paths(one, f"{before}{key}.") for key, one in found.items()), set())


def described(schema: Object, before: str = "") -> set[str]:
    properties = schema.get("properties") or {}
    here = {f"{before}{key}" for key in properties}
    return here.union(*(described(one, f"{before}{key}.") for key, one in properties.items()), set())


def test_templates_read_values_that_there_are_and_all_of_them() -> None:
    """A value that no template reads is a promise not kept; one that is not in values.yaml nobody finds."""
    text = "\n".join(one.read_text() for one in (CHART / "templates").iterdir())
    read = set(re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", text))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known = paths(values)
    assert read <= known
    leaves = {one for one in known if not any(other.startswith(f"{one}.") for other in known)}
    assert {one for one in leaves if not any(one == seen or one.startswith(f"{seen}.") for seen in read)} == set()


def test_the_schema_describes_every_value() -> None:
    """What it does not name it refuses."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = paths(yaml.safe_load((CHART / "values.yaml").read_text()))
    free = ("settings.", "resources.", "ui.resources.", "dashboard.labels.")  # mappings with names of the user's own
    assert {one for one in known if not one.startswith(free)} <= described(schema)
    assert schema["additionalProperties"] is False


# -- with Helm


@pytest.fixture(scope="module")
def helm() -> Path:
    found = build.found()
    if found is None:
        pytest.skip(build.NOTHING)
    return found


def run(helm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=60)


def rendered(
    helm: Path, values: Object, folder: Path, name: str = "canaryd", namespace: str = NAMESPACE
) -> list[Object]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = run(helm, "template", name, str(CHART), "-n", namespace, "-f", str(file))
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def refused(helm: Path, values: Object, folder: Path) -> str:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = run(helm, "template", "canaryd", str(CHART), "-f", str(file))
    assert done.returncode != 0
    return done.stderr


OPERATED: Object = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
VALUES: dict[str, Object] = {
    "default": {},
    "namespaced": {"namespaces": ["shop", "canaryd"]},
    "ha": {"replicas": 2, "priorityClassName": "system-cluster-critical"},
    "inject": {"mesh": {"inject": True}, "networkPolicy": {"enabled": True, "apiServerCIDRs": ["10.0.0.1/32"]}},
    "plans": {"plans": {"files": {"reviews.yaml": "kind: CanaryPlan\n"}}},
    "plans from a ConfigMap": {"plans": {"configMap": "mine"}},
    "journal": {"journal": {"enabled": True, "storageClassName": "fast"}},
    "own account": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False, "people": False}},
    "ui": {"ui": {"enabled": True, "url": "https://canaryd.example"}, "networkPolicy": {"enabled": True}},
    "digest": {"image": {"repository": "r.example.com/canaryd", "digest": "sha256:" + "a" * 64}},
    "monitoring": OPERATED,
    "bare": {
        "crds": {"install": False},
        "admission": {"enabled": False},
        "drain": {"enabled": False},
        "mesh": {"excludeOutboundPorts": ""},
    },
    "everything": {
        **OPERATED,
        "replicas": 3,
        "namespaces": ["shop"],
        "mesh": {"inject": True},
        "networkPolicy": {"enabled": True},
        "imagePullSecrets": [{"name": "pull"}],
        "plans": {"files": {"a.yaml": "a: 1\n"}},
        "journal": {"enabled": True, "accessModes": ["ReadWriteMany"]},
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"disk": "ssd"},
        "podLabels": {"a": "b"},
        "podAnnotations": {"c": "d"},
        "service": {"annotations": {"e": "f"}},
        "serviceAccount": {"annotations": {"g": "h"}},
        "extraEnv": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "token"}}}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    },
}


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_is_linted(name: str, helm: Path, tmp_path: Path) -> None:
    """Strictly: a warning fails."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(VALUES[name]))
    done = run(helm, "lint", "--strict", str(CHART), "-f", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", VALUES)
def test_an_api_server_takes_what_is_rendered(name: str, helm: Path, tmp_path: Path, anywhere: Path) -> None:
    """Strictly validated, as a dry run; each object once."""
    found = rendered(helm, VALUES[name], tmp_path)
    done = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"),
        config=anywhere,
        text=yaml.safe_dump_all(found),
    )
    assert done.returncode == 0, done.stderr
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 2}, "replica"),
        ({"namespaces": ["Shop"]}, "namespaces"),
        ({"settings": {"namespaces": ["shop"]}}, "settings"),
        ({"settings": {"prometheus": "prometheus:9090"}}, "prometheus"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"plans": {"configMap": "a", "files": {"b": "c"}}}, "plans"),
        ({"replicas": 2, "journal": {"enabled": True}}, "must be ReadWriteMany"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"ui": {"enabled": True}}, "ui.url"),
        ({"ui": {"enabled": True, "url": "http://canaryd.example"}}, "url"),
    ],
)
def test_wrong_values_are_refused(values: Object, said: str, helm: Path, tmp_path: Path) -> None:
    """Before anything is installed, with the name of the value."""
    assert said in refused(helm, values, tmp_path)


def bare(found: Object) -> Object:
    return {key: one for key, one in found.items() if key not in ("metadata", "subjects")}


def test_the_chart_and_kustomize_install_the_same(helm: Path, tmp_path: Path) -> None:
    """Roles, policies and CRDs are equal to the letter, and the containers are but for labels of Helm's."""
    chart = [one for one in rendered(helm, {}, tmp_path, namespace="canaryd") if not hooked(one)]
    kustomized = built(DEPLOY / "overlays/cluster-wide")
    kinds = ("Role", "ClusterRole", "CustomResourceDefinition", "ValidatingAdmissionPolicy")
    for kind in (*kinds, "ValidatingAdmissionPolicyBinding", "RoleBinding", "ClusterRoleBinding"):
        ours = {one["metadata"]["name"]: bare(one) for one in kustomized if one["kind"] == kind}
        assert {one["metadata"]["name"]: bare(one) for one in chart if one["kind"] == kind} == ours
    one, other = (of("Deployment", found)["spec"]["template"]["spec"] for found in (chart, kustomized))
    for pod in (one, other):
        pod["containers"][0].pop("image")
        for volume in pod["volumes"]:
            volume.get("configMap", {}).pop("name", None)  # kustomize adds a hash to it
    assert one == other


def hooked(found: Object) -> bool:
    return "helm.sh/hook" in (found["metadata"].get("annotations") or {})


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_restricted(name: str, helm: Path, tmp_path: Path) -> None:
    """The drain job too."""
    for found in rendered(helm, VALUES[name], tmp_path):
        if found["kind"] in ("Deployment", "Job"):
            assert restricted(found["spec"]["template"]["spec"]) == []


def test_the_settings_are_settings_that_there_are(helm: Path, tmp_path: Path) -> None:
    """And those that the chart sets win."""
    found = rendered(helm, {"namespaces": ["shop"], "settings": {"workers": 4}}, tmp_path)
    settings = yaml.safe_load(of("ConfigMap", found)["data"]["canaryd.yaml"])
    assert set(settings) <= set(Settings.model_fields)
    assert settings["namespaces"] == ["shop"]
    assert settings["workers"] == 4


def test_another_release_is_another_account(helm: Path, tmp_path: Path) -> None:
    """The policies speak of the account that the release has, and only where it works."""
    found = rendered(helm, {"namespaces": ["shop"]}, tmp_path, name="blue", namespace="elsewhere")
    wanted = "['system:serviceaccount:elsewhere:blue-canaryd', 'system:serviceaccount:elsewhere:blue-canaryd-drain']"
    policies = [one for one in found if one["kind"] == "ValidatingAdmissionPolicy"]
    for policy in policies:
        assert policy["metadata"]["name"].startswith("blue-canaryd-")
    conditions = [
        one["spec"]["matchConditions"][0]["expression"] for one in policies if "matchConditions" in one["spec"]
    ]
    assert len(conditions) == len(policies) - 1  # a freeze is held to its owner whoever writes it
    assert all(wanted in one for one in conditions)
    for binding in (one for one in found if one["kind"] == "ValidatingAdmissionPolicyBinding"):
        assert binding["spec"]["policyName"].startswith("blue-canaryd-")
        [term] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        everywhere = ["elsewhere"] if binding["spec"]["policyName"].endswith("-freezes") else []  # one there is for all
        assert term["values"] == ["shop", *everywhere]
    assert of("Deployment", found)["spec"]["template"]["spec"]["serviceAccountName"] == "blue-canaryd"


@pytest.mark.parametrize("namespaces", [[], ["shop", "till"]])
def test_the_drain_has_the_controllers_rights_before_anything_goes(
    namespaces: list[str], helm: Path, tmp_path: Path
) -> None:
    """Its account and bindings are hooks that come before the job; the roles are still there."""
    found = rendered(helm, {"namespaces": namespaces}, tmp_path)
    hooks = [one for one in found if hooked(one)]
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights.pop("Job") > max(weights.values())
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"pre-delete"}
    account = of("ServiceAccount", hooks)["metadata"]["name"]
    assert of("Job", hooks)["spec"]["template"]["spec"]["serviceAccountName"] == account

    def bound(subject: str, among: list[Object]) -> set[tuple[Any, ...]]:
        return {
            (one["metadata"].get("namespace"), one["roleRef"]["kind"], one["roleRef"]["name"])
            for one in among
            if one["kind"].endswith("RoleBinding") and one["subjects"][0]["name"] == subject
        }

    assert bound(account, hooks) == bound("canaryd", found)
    assert len(bound(account, hooks)) == 2 + max(1, len(namespaces))


def test_crds_stay_when_the_release_goes(helm: Path, tmp_path: Path) -> None:
    """With a CRD go all its objects; and as templates they are updated, which Helm's crds/ folder never is."""
    assert not (CHART / "crds").exists()
    for keep in (True, False):
        for one in rendered(helm, {"crds": {"keep": keep}}, tmp_path):
            if one["kind"] == "CustomResourceDefinition":
                kept = (one["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")
                assert kept == ("keep" if keep else None)


@pytest.mark.slow
@pytest.mark.timeout(300)
@XDIST_GROUP
def test_a_release_lives_and_goes_on_a_real_api_server(helm: Path, tmp_path: Path, operated: Path) -> None:
    """
    Installed, upgraded, and not removed while the drain has not ended; removed without it, the kinds stay.

    The server has no controllers, so the drain's job never ends here, which is what a hanging drain looks like.
    """
    namespace = f"release-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace, config=operated)
    # Cluster-wide names that another test has installed by kustomize are taken over, as who changes to Helm does.
    values = f"namespaces={{{namespace}}}"

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        homes = {f"HELM_{one}_HOME": str(tmp_path / one.lower()) for one in ("CACHE", "CONFIG", "DATA")}
        command = [str(helm), *arguments, "-n", namespace, f"--kubeconfig={operated}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, env={**os.environ, **homes})

    installed = ask("install", "blue", str(CHART), "--set", values, "--take-ownership")
    assert installed.returncode == 0, installed.stderr
    notes = installed.stdout.split("NOTES:")[1]
    assert f"works in {namespace}" in notes
    assert "kubectl get canaryplans,canaryruns -A" in notes
    assert "rolls back first what runs" in notes
    try:
        upgraded = ask("upgrade", "blue", str(CHART), "--set", values, "--set", "replicas=2")
        assert upgraded.returncode == 0, upgraded.stderr
        found = kubectl("get", "deployment,pdb", "-n", namespace, "-o", "name", config=operated).stdout.split()
        assert found == ["deployment.apps/blue-canaryd", "poddisruptionbudget.policy/blue-canaryd"]
        hanging = ask("uninstall", "blue", "--timeout", "2s")
        assert hanging.returncode != 0
        assert (
            "deployment.apps/blue-canaryd"
            in kubectl("get", "deployment", "-n", namespace, "-o", "name", config=operated).stdout
        )
        job = kubectl("get", "job", "blue-canaryd-drain", "-n", namespace, "-o", "name", config=operated)
        assert job.returncode == 0, job.stderr
    finally:
        gone = ask("uninstall", "blue", "--no-hooks")
    assert gone.returncode == 0, gone.stderr
    assert kubectl("get", "deployment", "-n", namespace, "-o", "name", config=operated).stdout == ""
    kinds = kubectl("get", "crd", "-o", "name", config=operated).stdout
    assert "canaryruns.canaryd.io" in kinds


def test_alerts_and_dashboard_are_the_ones_in_deploy(helm: Path, tmp_path: Path) -> None:
    """Braces in them are Prometheus's and Grafana's, not Helm's."""
    found = rendered(helm, OPERATED, tmp_path)
    rule = yaml.safe_load((DEPLOY / "rules/prometheusrule.yaml").read_text())
    assert of("PrometheusRule", found)["spec"] == rule["spec"]
    dashboard = of("ConfigMap", found, "canaryd-dashboard")["data"]["canaryd.json"]
    assert json.loads(dashboard) == json.loads((DEPLOY / "grafana/canaryd.json").read_text())
    assert (ROOT / "tools/chart.py").exists()


def test_the_page_on_installing_names_values_and_folders_that_there_are() -> None:
    """What is copied from a page must work."""
    page = (ROOT / "docs/install.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    tops = "|".join(values)
    named = set(re.findall(rf"`((?:{tops})(?:\.[A-Za-z]+)+)", page))
    assert len(named) > 8
    assert {one for one in named if not one.startswith("settings.")} <= paths(values)
    assert not [one for one in re.findall(r"deploy/[a-z/.-]+[a-z]", page) if not (ROOT / one).exists()]
