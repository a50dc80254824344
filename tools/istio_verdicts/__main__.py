"""
Hold the lab's webhook against Istio's own validators, compiled and run, on random objects.

    python -m tools.istio_verdicts                        2000 objects of each kind
    python -m tools.istio_verdicts --objects 200 --seed 7
    python -m tools.istio_verdicts --write                keep a few of them, with Istio's verdicts, for the tests

Needs a Go toolchain and, the first time, the network: Istio is fetched as a Go module and built in ~/.cache/canaryd,
which takes some minutes. To move to another Istio, change VERSION, run it, and mend what differs. Exits non-zero when
anything differs.

The objects follow the lab's schemas, with values that are likely to be wrong. The order of errors is not compared:
Istio walks maps, and Go walks those in any order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from canaryd.lab.kubernetes.istio import ISTIO_RESOURCES
from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.webhook import validate
from canaryd.lab.kubernetes.webhook.problems import told

LONGEST_KEPT = 1200  # characters
VERSION = "v0.0.0-20260827124520-eed52ebb66ad"
HERE = Path(__file__).resolve().parent
KEPT = HERE.parent.parent / "tests" / "lab" / "verdicts.jsonl"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "canaryd" / "istio-verdicts" / VERSION

Object = dict[str, Any]
HOSTS = ["reviews", "*", "*.foo.com", "a.foo.com", "foo.com", "*.com", "", "a_b", "10.0.0.1", "a.1", "a.", "::1"]
HOSTS += ["outbound_.80_._.a.b", "outbound_.x_._.a", "outbound_x", "ns/a.b", "*/*", "./a.b", "~/a.b", "/a", "*x.b.c"]
HOSTS += ["A.B", "x" * 64, "x." * 130, "a..b", "a b", 'a"b']
PATTERNS = [".*", "^(.*?;)?(user=x)(;.*)?$", "(", "a(b", "[z-a]", "\\q", "*", "a{2,1}", "(?=a)", "a**"]
TEMPLATES = ["%REQ(x)%", "100%", "a%b", "%%", "%START(a)", '%X(["a","b"])%', "%X([a])%", "%X(\\", "\x01"]
OTHER = ["v1", "GET", "x-y", ":path", "host", ":authority", "OK", "http", "https", "foo", "CONNECT", "~", "."]
OTHER += ["unix:///a/b", "unix://@x", "unix://a/", "127.0.0.1:80", ":80", "[::1]:9", "x:y", "configmap://x/y", "a,b"]
TEXTS = HOSTS + PATTERNS + TEMPLATES + OTHER
LIKELY: dict[str, list[str]] = {
    "host": HOSTS,
    "hosts": HOSTS,
    "sniHosts": HOSTS,
    "address": HOSTS,
    "gateways": ["mesh", "gw", "ns/gw", "a.b", "a.b.c", "/x", "x/", "n s/x", "ns/g_w"],
    "exportTo": [".", "*", "~", "default", "other", "a b"],
    "subset": ["v1", "", "v_1", "V1"],
    "protocol": ["HTTP", "HTTPS", "TCP", "TLS", "grpc", "odd", "", "HTTP2", "UDP"],
    "failoverPriority": ["topology.kubernetes.io/region", "x", "topology.istio.io/subzone"],
    "from": ["us", "eu", "us/z", "us/z/s", "us/*", "*", "a//b", "us*x", "us/z/*"],
    "to": ["us", "eu", "us/z", "us/*"],
    "cipherSuites": ["ALL", "AES128-SHA", "odd", "-x", "", "DES-CBC3-SHA"],
    "destinationSubnets": ["10.0.0.0/8", "1.2.3.4", "x", "::1/64", "10.0.0.0/99", "1.2.3.4/08"],
    "addresses": ["10.0.0.0/8", "1.2.3.4", "x", "10.0.0.0/99"],
    "bind": ["", "0.0.0.0", "x", "unix:///a", "unix://"],
    "name": ["", "http", "a", "b", "v1", "v_1", "x.y"],
    "retryOn": ["5xx", "404", "5xx,odd", "", "306", "099", "+200", "reset,503"],
    "grpcStatus": ["OK", "ODD", ""],
}
KEYS = [
    "x-a",
    "b",
    "",
    ":path",
    "host",
    "@request.auth.claims.x",
    "a b",
    "*",
    "us",
    "eu/z",
    "us/*",
    "80",
    "app",
    "http",
]
NUMBERS = [0, 0, 1, 2, 50, 99, 100, 101, 200, 299, 300, 600, 601, 65535, 65536, -1, 2**31 - 1, 80, 443]
FRACTIONS = [0, 1, 100, 101, -1, 0.00005, 12.5, 1e-7, 1234567.5]
DURATIONS = ["1s", "0s", "1ms", "1.5ms", "0.5s", "1h", "1m30s", "0.0000001s", "1.0001s", "500ms"]


class Maker:
    """Random objects along a schema; `fill` is how likely an optional field is there."""

    def __init__(self, seed: int, fill: float) -> None:
        self.random = random.Random(seed)
        self.fill = fill

    def object(self, resource: Resource) -> Object:
        metadata: Object = {"name": self.random.choice(["x", "x", "a.b"]), "namespace": "default"}
        if self.random.random() < 0.1:
            metadata["labels"] = {"networking.istio.io/enable-autoallocate-ip": "False", "istio.io/use-waypoint": "w"}
        spec = self.value((resource.schema or {})["properties"]["spec"], "spec")
        return {"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata, "spec": spec}

    def value(self, schema: Object, name: str) -> Any:
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        makers = {"object": self.struct, "array": self.list, "string": self.text, "integer": self.integer}
        makers |= {"number": lambda *_: self.random.choice(FRACTIONS), "boolean": lambda *_: self.random.random() < 0.5}
        return makers[schema["type"]](schema, name)

    def struct(self, schema: Object, name: str) -> Object:
        if "additionalProperties" in schema:
            keys = ["80", "0", "70000", "1"] if name == "portLevelMtls" else KEYS
            chosen = self.random.sample(keys, self.random.choice([0, 1, 1, 2]))
            return {key: self.value(schema["additionalProperties"], name) for key in chosen}
        left_out = set(self.excluded(schema))
        required = schema.get("required", ())
        return {
            key: self.value(inner, key)
            for key, inner in schema["properties"].items()
            if key not in left_out and self.random.random() < (0.93 if key in required else self.fill)
        }

    def excluded(self, schema: Object) -> Iterator[str]:
        """Of alternatives all but one."""
        for part in (schema, *schema.get("allOf", ())):
            fields = [one["required"][0] for one in part.get("oneOf", ()) if "required" in one]
            yield from set(fields) - {self.random.choice([*fields, None])}

    def list(self, schema: Object, name: str) -> list[Any]:
        return [self.value(schema["items"], name) for _ in range(self.random.choice([0, 1, 1, 1, 2, 2, 3]))]

    def text(self, schema: Object, name: str) -> str:
        if schema.get("format") == "byte":
            return "YWJj"
        if any(one["holds"] == "duration" for one in schema.get("x-lab-rules", ())):
            return self.random.choice(DURATIONS)
        return self.random.choice(LIKELY.get(name, TEXTS) if self.random.random() < 0.9 else TEXTS)

    def integer(self, schema: Object, _name: str) -> int:
        number = self.random.choice(NUMBERS)
        return abs(number) if "minimum" in schema else number


def build() -> Path:
    """The program that judges, built unless it is there. Raises CalledProcessError."""
    program = CACHE / "judge"
    if program.exists():
        return program
    CACHE.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run(
        ["go", "mod", "download", "-json", f"istio.io/istio@{VERSION}"], capture_output=True, check=True, text=True
    )
    tree = CACHE / "istio"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(json.loads(fetched.stdout)["Dir"], tree, copy_function=shutil.copyfile)
    for folder in (tree, *(one for one in tree.rglob("*") if one.is_dir())):
        folder.chmod(0o755)
    place = tree / "cmd" / "verdicts"
    place.mkdir(parents=True)
    (place / "main.go").write_text((HERE / "main.go").read_text().replace("//go:build ignore\n\n", ""))
    subprocess.run(["go", "build", "-o", str(program), "./cmd/verdicts"], cwd=tree, check=True)
    return program


def judged(objects: list[Object]) -> list[Object]:
    lines = "".join(json.dumps(one) + "\n" for one in objects)
    done = subprocess.run([str(build())], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.split("\n") if line.startswith("{")]  # the rest is Istio's log


def said(text: str) -> list[str]:
    """
    The errors in the text of a refusal, sorted, behind the line that counts them if it has one.

    Spaces are single: Go doubles them in some builds where it prints messages of protobuf, so that nobody parses these.
    """
    text = re.sub(" +", " ", text)
    head, _, rest = text.partition(" occurred:\n\t* ")
    return [head, *sorted(rest.rstrip("\n").split("\n\t* "))] if rest else [text] if text else []


def ours(obj: Object) -> tuple[list[str], list[str]]:
    problems = validate(obj)
    errors = [one for one in problems if not one.warning]
    return said(told(errors)) if errors else [], sorted(one.text for one in problems if one.warning)


def theirs(verdict: Object) -> tuple[list[str], list[str]]:
    return said(verdict.get("error", "")), sorted(verdict.get("warnings", ()))


def keep(pairs: list[tuple[Object, Object]]) -> None:
    """Write the shortest objects that show every kind of text, and a few that are accepted."""
    shown: Counter[str] = Counter()
    rows = []
    short = [pair for pair in pairs if len(json.dumps(pair[0])) < LONGEST_KEPT]
    for obj, verdict in sorted(short, key=lambda pair: len(json.dumps(pair[0]))):
        errors, warnings = theirs(verdict)
        shapes = {_shape(one) for one in (*errors, *warnings)}
        enough = 1 if shapes else 8
        shapes = shapes or {obj["kind"]}
        if any(shown[one] < enough for one in shapes):
            shown.update(shapes)
            rows.append({"object": obj, "errors": errors, "warnings": warnings})
    KEPT.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} kept in {KEPT}")


def _shape(text: str) -> str:
    """The same for texts that differ in what they name."""
    words = re.sub(r"\S*[^A-Za-z' ,;:.]\S*", "", text).split()
    return " ".join((*words[:2], *words[-2:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--objects", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write {KEPT.name}")
    given = parser.parse_args()
    differ, pairs = 0, []
    for resource in ISTIO_RESOURCES:
        makers = [Maker(given.seed + number, fill) for number, fill in enumerate((0.1, 0.2, 0.4))]
        objects = [makers[number % len(makers)].object(resource) for number in range(given.objects)]
        for obj, verdict in zip(objects, judged(objects), strict=True):
            if "undecoded" in verdict:
                continue
            pairs.append((obj, verdict))
            if ours(obj) != theirs(verdict):
                differ += 1
                print(f"{json.dumps(obj)}\n  lab:   {ours(obj)}\n  Istio: {theirs(verdict)}")
        print(f"{resource.kind}: {len(objects)} objects", flush=True)
    print(f"{differ} of {len(pairs)} differ")
    if given.write and not differ:
        keep(pairs)
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
