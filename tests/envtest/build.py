"""
`make envtest`: etcd and kube-apiserver, built once from the Go modules that go.mod names, and the CRDs of crds/go.mod.

The Go proxy and its checksum database are all that is asked; go.sum pins every byte. Kept in
``~/.cache/canaryd/envtest/<hash of these files>``, so another version is another folder. Standard library only: it runs
before there is a virtual environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver", "etcd": "go.etcd.io/etcd/server/v3"}
GATEWAY_API = ("gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants", "tcproutes", "tlsroutes")
CRDS = {
    "istio.yaml": ("istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml"),
    **{
        f"{kind}.yaml": ("sigs.k8s.io/gateway-api", f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml")
        for kind in GATEWAY_API
    },
}
TELL_EVERY = 15.0  # seconds between two lines of progress


def place() -> Path:
    """Where this version is kept, whether or not it has been built."""
    names = ("go.mod", "go.sum", "crds/go.mod", "crds/go.sum")
    mark = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in names)).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canaryd" / "envtest" / mark


def built() -> Path | None:
    """The folder with programs and CRDs, None when `make envtest` has not made it."""
    found = place()
    return found if all((found / name).is_file() for name in (*PROGRAMS, *CRDS)) else None


def main() -> int:
    if built():
        return 0
    go = shutil.which("go")
    if go is None:
        print("envtest: no Go toolchain on PATH, nothing is built; tests on a real API server will skip and say so")
        return 0
    target = place()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as scratch:
        began = time.monotonic()
        version = _version(go)
        print(f"envtest: building kube-apiserver {version} and etcd, once; some minutes", flush=True)
        try:
            _build(go, version, Path(scratch))
            _fetch_crds(go, Path(scratch))
        except subprocess.CalledProcessError as error:
            print(f"envtest: {' '.join(error.cmd[:3])} ended with {error.returncode}; nothing is kept", file=sys.stderr)
            return 1
        shutil.rmtree(target, ignore_errors=True)
        Path(scratch).rename(target)
        Path(scratch).mkdir()  # for TemporaryDirectory to take away
    shown = str(target).replace(str(Path.home()), "~", 1)
    print(f"envtest: built in {time.monotonic() - began:.0f} s, in {shown}")
    return 0


def _version(go: str) -> str:
    return _run([go, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"], HERE).strip()


def _build(go: str, version: str, target: Path) -> None:
    """One `go build` for both: they share most of their packages. A module build has no version of its own to tell."""
    major, minor, _ = version.removeprefix("v").split(".")
    named = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in named.items())
    command = [go, "build", "-v", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", f"{target}/", *PROGRAMS.values()]
    with subprocess.Popen(command, cwd=HERE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        _tell(process.stderr)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    for name, package in PROGRAMS.items():
        made = next(target / one for one in _possible_names(package) if (target / one).exists())
        made.rename(target / name)


def _possible_names(package: str) -> tuple[str, ...]:
    """What `go build` calls a program: the path's last part, before a version suffix."""
    parts = package.split("/")
    return (parts[-1], parts[-2])


def _tell(lines: object) -> None:
    """Count the packages that `go build -v` names; anything else it says is an error, and is passed on."""
    count, ended, began = 0, threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(TELL_EVERY):
            print(f"envtest: {count} packages after {time.monotonic() - began:.0f} s", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    for line in lines:  # type: ignore[attr-defined]
        if " " in line.strip():
            sys.stderr.write(line)
        else:
            count += 1
    ended.set()
    teller.join()


def _fetch_crds(go: str, target: Path) -> None:
    for name, (module, path) in CRDS.items():
        found = json.loads(_run([go, "mod", "download", "-json", module], HERE / "crds"))
        shutil.copyfile(Path(found["Dir"]) / path, target / name)
        (target / name).chmod(0o644)


def _run(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
