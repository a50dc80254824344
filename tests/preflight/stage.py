"""
Bookinfo on the lab's API server, to be looked at by preflight: no Envoy, no Prometheus, and a real kubectl.

A test breaks something, sees the finding, types the remedy as the finding gives it, and sees it gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from canaryd.kube import connect
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster
from canaryd.lab.workloads import Controller as Workloads
from canaryd.lab.workloads import install, set_ready
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.finding import Finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import Admission
from canaryd.preflight.heard import Caller, Heard
from canaryd.preflight.looking import survey
from canaryd.preflight.survey import Survey

Object = dict[str, Any]

HEARD = Heard(
    callers=(Caller("productpage-v1", "default", 100.0), Caller("istio-ingressgateway", "istio-system", 50.0))
)
"""What Prometheus would say of a healthy Bookinfo."""
WITHIN = 30.0


def kubectl() -> str:
    """A kubectl, on PATH or in the virtual environment; the test is skipped where there is none."""
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("no kubectl on PATH or in the virtual environment")
    return found


def plan(**spec: Any) -> Plan:
    """A plan that brings Bookinfo's reviews from v1 to v3."""
    target = {"virtualService": "reviews", "host": "reviews", "stable": {"subset": "v1"}, "canary": {"subset": "v3"}}
    whole = {"target": target, "steps": [{"weight": 5}, {"weight": 25}, {"weight": 50}], **spec}
    return Plan.model_validate({"metadata": {"name": "reviews", "namespace": "default"}, "spec": whole})


def typed(command: str, config: Path) -> str:
    """Type ``command`` into a shell under a kubeconfig; what it prints. Fails where the command does."""
    path = f"{Path(kubectl()).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        ["bash", "-euc", command],
        env={"PATH": path, "HOME": str(config.parent), "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert found.returncode == 0, f"{command}\n{found.stderr}"
    return found.stdout + found.stderr


class Town:
    """A cluster with Bookinfo in it, somebody who looks at it, and somebody with kubectl."""

    def __init__(self, folder: Path, cluster: Cluster, server: ApiServer) -> None:
        self.cluster = cluster
        self.heard = HEARD
        self.plan = plan()
        self._config = server.kubeconfig(folder / "kubeconfig")
        self.kube = connect(self._config)
        self.mesh = IstioMesh(self.kube)
        self._workloads = Workloads(cluster)
        install(cluster, bookinfo.objects())
        self.settle()

    def settle(self) -> None:
        """Deployments get their pods, and the pods are ready."""
        self._workloads.reconcile()

    def apply(self, *objects: Object) -> None:
        """Apply objects as somebody with kubectl would; pods follow."""
        for each in objects:
            self.cluster.apply(each)
        self.settle()

    def remove(self, kind: str, name: str, namespace: str = "default") -> None:
        self.cluster.remove(kind, namespace, name)
        self.settle()

    def pods(self, **labels: str) -> list[Object]:
        """The pods with these labels."""
        return [
            pod
            for pod in self.cluster.objects("Pod")
            if all(pod["metadata"].get("labels", {}).get(key) == value for key, value in labels.items())
        ]

    def ready(self, pods: Sequence[Object], *, ready: bool) -> None:
        set_ready(self.cluster, pods, ready=ready)

    def admitted(self) -> Admission | None:
        """Admission's answer, or None where it refuses."""
        try:
            return self.mesh.admit(self.plan)
        except Refused:
            return None

    def survey(self) -> Survey:
        """What preflight reads now."""
        return survey(self.kube, self.plan, admitted=self.admitted(), hear=lambda _: self.heard, now=1_800_000_000.0)

    def found(self, group: ModuleType) -> list[Finding]:
        """What a group's check finds now."""
        return list(group.check(self.survey()))

    def codes(self, group: ModuleType) -> list[str]:
        """The codes of what a group's check finds now."""
        return [one.code for one in self.found(group)]

    def type(self, command: str) -> str:
        """Type a remedy into a shell, as a finding gives it; what it prints. Fails where the command does."""
        printed = typed(command, self._config)
        self.settle()
        return printed

    def cured(self, group: ModuleType, code: str) -> Finding:
        """
        See the one finding of ``code``, type its remedy, and see it gone; the finding.

        The text that is typed is the finding's own.
        """
        [finding] = [one for one in self.found(group) if one.code == code]
        assert finding.remedy, f"{code} has no command"
        self.type(finding.remedy)
        assert code not in self.codes(group), f"{finding.remedy}\ndid not cure\n{finding}"
        return finding


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    cluster = Cluster()
    with ApiServer(cluster) as server:
        yield Town(tmp_path, cluster, server)
