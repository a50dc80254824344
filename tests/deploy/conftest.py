"""canaryd's manifests on the real API server, for the tests of one module, and taken away after them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.kube import Kind, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.conftest import REAL
from tests.deploy.manifests import DEPLOY, ROOT, kubectl

Object = dict[str, Any]
TAKES_EFFECT = 30.0
"""Seconds within which the API server has compiled a policy, or forgotten it; it polls for them."""
POLICIES = Kind("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
BINDINGS = Kind("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings")
ACCOUNTS = Kind("", "v1", "serviceaccounts")

SIDE = {"host": "reviews"}
ROUTE = {"virtualService": "reviews", "entries": [], "stable": SIDE, "canary": SIDE}
RUN = {"spec": {"plan": {}, "route": ROUTE, "created": "2026-01-01T00:00:00Z", "split": 0}}
RECORD = {"schema": 1, "judge": "1", "version": 1, "data": "eJw="}


@dataclass(frozen=True)
class Installed:
    """An API server with canaryd's manifests on it, and a namespace where nobody else is."""

    config: Path
    folder: Path
    namespace: str

    @property
    def admin(self) -> Kube:
        return connect(self.config, timeout=20)

    def as_account(self, name: str, namespace: str = "canaryd") -> Kube:
        """The API server, asked with a token of that service account."""
        done = kubectl("create", "token", name, "-n", namespace, config=self.config)
        assert done.returncode == 0, done.stderr
        config = yaml.safe_load(self.config.read_text())
        config["users"][0]["user"] = {"token": done.stdout.strip()}
        file = self.folder / f"{namespace}-{name}.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return connect(file, timeout=20)

    def person(self, name: str, *roles: str) -> Kube:
        """Somebody with these ClusterRoles in the namespace: an account too, because those can be had a token for."""
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.admin.apply(ACCOUNTS, self.namespace, name, body, field_manager="tests")
        for role in roles:
            made = kubectl(
                *("create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", "-n", self.namespace),
                f"--serviceaccount={self.namespace}:{name}",
                config=self.config,
            )
            assert made.returncode == 0 or "already exists" in made.stderr, made.stderr
        return self.as_account(name, self.namespace)

    def user(self, name: str) -> str:
        """The user name of that person."""
        return f"system:serviceaccount:{self.namespace}:{name}"


@pytest.fixture(scope="module")
def installed(real_api: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """`kubectl apply -k deploy/overlays/cluster-wide`, with the policies in effect."""
    folder = tmp_path_factory.mktemp("installed")
    namespace = f"shop-{uuid.uuid4().hex[:6]}"
    overlay = str(DEPLOY / "overlays/cluster-wide")
    manifests = kubectl("kustomize", overlay)
    assert manifests.returncode == 0, manifests.stderr
    documents = [one for one in yaml.safe_load_all(manifests.stdout) if one]
    ours = [one for one in documents if one["kind"] != "CustomResourceDefinition"]
    definitions = [one for one in documents if one["kind"] == "CustomResourceDefinition"]
    apply(real_api, definitions)
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s", config=real_api)
    apply(real_api, ours)
    kubectl("create", "namespace", namespace, config=real_api)
    found = Installed(real_api, folder, namespace)
    try:
        until(lambda: refuses(found, "CanaryRun", RUN))
        until(lambda: refuses(found, "CanaryRecord", RECORD))
        yield found
    finally:
        for policy in (BINDINGS, POLICIES):
            for one in documents:
                if one["kind"].lower().startswith(policy.plural[:27]) and one["kind"].endswith("Binding") == (
                    policy is BINDINGS
                ):
                    found.admin.delete(policy, "", one["metadata"]["name"])
        until(lambda: not refuses(found, "CanaryRun", RUN))
        until(lambda: not refuses(found, "CanaryRecord", RECORD))


@pytest.fixture(scope="module")
def operated(real_api: Path) -> Path:
    """A real API server that the manifests are for; see :func:`furnish`."""
    return furnish(real_api)


@pytest.fixture(scope="module", params=["emulated", REAL])
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same, and the lab's API server, which there always is."""
    if request.param == "real":
        yield request.getfixturevalue("operated")
        return
    with ApiServer(Cluster()) as server:
        yield furnish(kubeconfig(server.address, tmp_path_factory.mktemp("emulated") / "kubeconfig"))


def furnish(config: Path) -> Path:
    """Add the namespaces, which a dry run does not make, and the Prometheus operator's kinds."""
    for namespace in ("canaryd", "canaryd-chart", "shop"):
        kubectl("create", "namespace", namespace, config=config)
    done = kubectl("apply", "--server-side", "-f", str(ROOT / "tests/deploy/operator.yaml"), config=config)
    assert done.returncode == 0, done.stderr
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s", config=config)
    return config


def apply(config: Path, objects: list[Object]) -> None:
    done = kubectl(
        *("apply", "--server-side", "--force-conflicts", "-f", "-"), config=config, text=yaml.safe_dump_all(objects)
    )
    assert done.returncode == 0, done.stderr


def refuses(found: Installed, kind: str, fields: Object) -> bool:
    """Whether a policy refuses a stranger, who has every right but `restore`, to create one; asked as a dry run."""
    body = {"apiVersion": "canaryd.io/v1alpha1", "kind": kind, "metadata": {"name": "probe"}, **fields}
    allowed = kubectl(
        *("create", "clusterrole", "stranger", "--verb=create,update,patch,get"),
        "--resource=canaryruns.canaryd.io,canaryrecords.canaryd.io",
        config=found.config,
    )
    assert allowed.returncode == 0 or "already exists" in allowed.stderr, allowed.stderr
    bound = kubectl(
        *("create", "clusterrolebinding", "stranger", "--clusterrole=stranger", "--user=stranger"), config=found.config
    )
    assert bound.returncode == 0 or "already exists" in bound.stderr, bound.stderr
    done = kubectl(
        *("create", "--as=stranger", "--dry-run=server", "--validate=false", "-n", found.namespace, "-f", "-"),
        config=found.config,
        text=yaml.safe_dump(body),
    )
    return "ValidatingAdmissionPolicy" in done.stderr


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TAKES_EFFECT
    while not holds():
        assert time.monotonic() < deadline, f"not so after {TAKES_EFFECT:g} s"
        time.sleep(0.2)
