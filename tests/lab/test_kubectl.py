"""The real kubectl on the lab's API: what a person does with the seed's objects during a canary."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl on PATH")

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

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        config = kubeconfig(address, folder / "kubeconfig")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(config)}

    def run(self, *arguments: str, manifest: str = "", wanted: int = 0) -> str:
        """What kubectl prints, both streams; `wanted` is the exit code asked for."""
        found = subprocess.run(
            [KUBECTL or "", *arguments],
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
def kubectl(tmp_path: Path) -> Iterator[Shell]:
    with ApiServer(Cluster()) as server:
        yield Shell(tmp_path, server.address)


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
    command = [KUBECTL or "", "get", "vs", "reviews", "-w", "-o", "jsonpath={.spec.http[0].route[0].weight}{'\\n'}"]
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
    command = [KUBECTL or "", "get", "vs", "-w"]
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


def test_a_kubeconfig_without_rights_is_told_so(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.apply(next(yaml.safe_load_all(SEED)))
    with ApiServer(cluster, denied=(("patch", "virtualservices"),), user="reader") as server:
        shell = Shell(tmp_path, server.address)
        assert "reviews" in shell.run("get", "vs")
        refused = shell.run("label", "vs", "reviews", "team=books", wanted=1)
    assert 'User "reader" cannot patch resource "virtualservices"' in refused
