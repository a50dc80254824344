"""
A real API server for the tests: etcd and kube-apiserver as children of this process, with Istio's CRDs.

Where it comes from, the first that is there: a server that runs already (``CANARYD_TEST_KUBECONFIG``), programs in
``KUBEBUILDER_ASSETS``, what `make envtest` has built. It has no controllers: a Deployment makes no pods, and a
namespace that is deleted stays. Istio's webhook is not there either.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from canaryd.errors import Unavailable
from canaryd.kube import Kind, Kube, Missing, Unserved, connect
from canaryd.lab.kubernetes import kubeconfig
from canaryd.lab.kubernetes.certificates import self_signed
from canaryd.lab.processes import Child, free_port
from tests.envtest import build

READY_WITHIN = 60.0
ATTEMPTS = 3  # a port that was free a moment ago may be taken by now
NOTHING = (
    "no real API server: set CANARYD_TEST_KUBECONFIG to a kubeconfig or KUBEBUILDER_ASSETS to a folder with etcd and "
    "kube-apiserver, or run `make envtest` where there is a Go toolchain"
)
DEFINITIONS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")


class NoServerError(Exception):
    """There is none to be had; says why."""


@contextlib.contextmanager
def real_server(folder: Path) -> Iterator[Path]:
    """The kubeconfig of a real API server that lasts as long as the context. Raises NoServerError."""
    if named := os.environ.get("CANARYD_TEST_KUBECONFIG"):
        yield Path(named)
        return
    programs = _programs()
    crds = _crds(programs)
    for attempt in range(ATTEMPTS):
        home = folder / str(attempt)
        home.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            try:
                config = _started(stack, programs, home)
            except Unavailable:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            _install(config, crds)
            yield config
            return


def _programs() -> Path:
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        found = Path(named)
        missing = [name for name in build.PROGRAMS if not (found / name).exists()]
        if missing:
            raise NoServerError(f"KUBEBUILDER_ASSETS={named} holds no {' and no '.join(missing)}")
        return found
    if found := build.built():
        return found
    raise NoServerError(NOTHING)


def _crds(programs: Path) -> Path:
    """The folder with the kinds of Istio and the Gateway API: beside the programs, or what `make envtest` has built."""
    for found in (programs, build.built()):
        if found and all((found / name).is_file() for name in build.CRDS):
            return found
    raise NoServerError(f"no kinds of Istio in {programs}: run `make envtest`, which brings them along")


def _started(stack: contextlib.ExitStack, programs: Path, home: Path) -> Path:
    """Start both and wait; the kubeconfig of an administrator."""
    store, peer, port = free_port(), free_port(), free_port()
    etcd = Child(
        "etcd",
        [
            str(programs / "etcd"),
            f"--data-dir={home / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        ],
        home / "etcd.log",
        home,
    )
    stack.callback(etcd.stop)
    certificate = self_signed("kube-apiserver")
    certificate_file, key_file = certificate.write(home)
    token = secrets.token_urlsafe(24)
    (home / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    account_key = _account_key(home)
    server = Child(
        "kube-apiserver",
        [
            str(programs / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={certificate_file}",
            f"--tls-private-key-file={key_file}",
            f"--token-auth-file={home / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={account_key}",
            f"--service-account-signing-key-file={account_key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",  # there is nothing behind the address it would advertise
        ],
        home / "kube-apiserver.log",
        home,
    )
    stack.callback(server.stop)
    address = f"https://127.0.0.1:{port}"
    trusted = ssl.create_default_context(cadata=certificate.certificate.decode())
    server.wait_until(lambda: _ready(address, token, trusted), READY_WITHIN)
    return kubeconfig(address, home / "kubeconfig", user="admin", authority=certificate.certificate, token=token)


def _ready(address: str, token: str, trusted: ssl.SSLContext) -> bool:
    request = urllib.request.Request(f"{address}/readyz", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=2, context=trusted) as answer:
            return answer.status == 200
    except OSError:
        return False


def _account_key(home: Path) -> Path:
    """The key that signs service accounts' tokens, without which kube-apiserver does not start."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    found = home / "service-accounts.key"
    found.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return found


def _install(config: Path, crds: Path) -> None:
    """Create the CRDs and wait until each version of each is served."""
    kube = connect(str(config), timeout=20)
    definitions = [one for name in build.CRDS for one in yaml.safe_load_all((crds / name).read_text()) if one]
    for one in definitions:
        kube._request("POST", DEFINITIONS.path(), None, one, "application/json")
    deadline = time.monotonic() + READY_WITHIN
    for kind in [kind for one in definitions for kind in _kinds(one)]:
        while not _served(kube, kind):
            if time.monotonic() > deadline:
                raise Unavailable(f"{kind} is not served {READY_WITHIN:g} s after its CRD was created")
            time.sleep(0.05)


def _kinds(definition: dict[str, Any]) -> list[Kind]:
    spec = definition["spec"]
    return [Kind(spec["group"], one["name"], spec["names"]["plural"]) for one in spec["versions"] if one["served"]]


def _served(kube: Kube, kind: Kind) -> bool:
    with contextlib.suppress(Unserved, Missing):
        kube.list(kind)
        return True
    return False
