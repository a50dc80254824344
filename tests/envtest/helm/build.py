"""
`make helm`: the Helm that go.mod names, built once, so that the chart is linted and rendered in tests.

Kept in ``~/.cache/canaryd/helm/<hash of go.mod and go.sum>``, apart from etcd and kube-apiserver, so that neither is
built again for the other. A module build knows no version of Kubernetes, and a chart that asks for one would be
refused: it is told as Helm's own Makefile does, from the client library that Helm was built with.
Source: helm/helm v3, Makefile (K8S_MODULES_MAJOR_VER).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = "helm.sh/helm/v3"
NOTHING = "no Helm: put helm on PATH, or run `make helm` where there is a Go toolchain"


def place() -> Path:
    """Where this version is kept, whether or not it has been built."""
    mark = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canaryd" / "helm" / mark / "helm"


def found() -> Path | None:
    """The Helm to use: what `make helm` has built, else the one on PATH, else None."""
    if place().is_file():
        return place()
    on_path = shutil.which("helm")
    return Path(on_path) if on_path else None


def main() -> int:
    if place().is_file():
        return 0
    go = shutil.which("go")
    if go is None:
        print("helm: no Go toolchain on PATH, nothing is built; the chart's tests will look for helm on PATH")
        return 0
    target = place()
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    version = _version(go, PACKAGE)
    major, minor, _ = _version(go, "k8s.io/client-go").removeprefix("v").split(".")
    kubernetes = {"k8sVersionMajor": int(major) + 1, "k8sVersionMinor": minor}  # client-go 0.36 is Kubernetes 1.36
    named = {f"{PACKAGE}/internal/version.version": version}
    for package in ("pkg/lint/rules", "pkg/chartutil"):
        named |= {f"{PACKAGE}/{package}.{key}": str(value) for key, value in kubernetes.items()}
    flags = "-s -w " + " ".join(f"-X {key}={value}" for key, value in named.items())
    print(f"helm: building {version}, once; some minutes", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix="building-") as scratch:
        command = [go, "build", "-trimpath", "-ldflags", flags, "-o", f"{scratch}/helm", f"{PACKAGE}/cmd/helm"]
        try:
            subprocess.run(command, cwd=HERE, check=True)
        except subprocess.CalledProcessError as error:
            print(f"helm: go build ended with {error.returncode}; nothing is kept", file=sys.stderr)
            return 1
        target.parent.mkdir(exist_ok=True)
        (Path(scratch) / "helm").replace(target)
    print(f"helm: built, in {str(target).replace(str(Path.home()), '~', 1)}")
    return 0


def _version(go: str, module: str) -> str:
    command = [go, "list", "-m", "-f", "{{.Version}}", module]
    return subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
