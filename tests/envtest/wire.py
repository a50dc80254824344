"""
Makes canaryd/lab/kubernetes/wire.txt anew: the number that each field of Kubernetes' kinds has in protobuf.

The numbers are in the .proto files of the modules k8s.io/api and k8s.io/apimachinery, at the version that go.mod names;
they never change, new fields get new ones. Run: ``python -m tests.envtest.wire``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes.client.models as models

from canaryd.lab.kubernetes.builtin import BUILTIN_RESOURCES
from tests.envtest.build import HERE

TARGET = Path(__file__).parents[2] / "canaryd" / "lab" / "kubernetes" / "wire.txt"
META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(?:optional |repeated |map<string, )?\.?([\w.]+)>? (\w+) = (\d+);", re.MULTILINE)
_INNER = re.compile(r"V\d\w*|\w*V1\w+")
Fields = dict[str, tuple[int, str]]  # by name: number and type


def messages() -> dict[str, Fields]:
    """Every message of the modules by its full name."""
    found: dict[str, Fields] = {}
    for module in ("k8s.io/api", "k8s.io/apimachinery"):
        asked = ["go", "mod", "download", "-json", module]
        where = json.loads(subprocess.run(asked, cwd=HERE, check=True, capture_output=True, text=True).stdout)["Dir"]
        for file in Path(where).rglob("generated.proto"):
            text = file.read_text()
            package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)[1]
            for name, body in _MESSAGE.findall(text):
                fields = {field: (int(number), kind) for kind, field, number in _FIELD.findall(body)}
                found[f"{package}.{name}"] = fields
    return found


def table(known: dict[str, Fields]) -> dict[str, dict[int, str]]:
    """Field names by number, for every model that one of the lab's kinds can hold."""
    found: dict[str, dict[int, str]] = {}
    group = lambda one: one.group.partition(".")[0] or "core"  # noqa: E731
    for one in BUILTIN_RESOURCES:
        _walk(one.model, f"k8s.io.api.{group(one)}.{one.versions[0]}.{one.kind}", known, found)
    _walk("V1DeleteOptions", f"{META}.DeleteOptions", known, found)
    return found


def _walk(model: str, message: str, known: dict[str, Fields], found: dict[str, dict[int, str]]) -> None:
    if model in found or message not in known:
        return
    fields = known[message]
    found[model] = {number: name for name, (number, _) in fields.items()}
    described: Any = getattr(models, model)
    names = {field: described.openapi_types[attribute] for attribute, field in described.attribute_map.items()}
    package = message.rpartition(".")[0]
    _flatten(found[model], fields, names, package, known, found)
    for name, (_, kind) in fields.items():
        inner = re.search(r"(\w+?)[\])]*$", names.get(name, ""))
        if inner and hasattr(models, inner[1]):
            _walk(inner[1], kind if "." in kind else f"{package}.{kind}", known, found)


def _flatten(
    numbers: dict[int, str],
    fields: Fields,
    names: dict[str, str],
    package: str,
    known: dict[str, Fields],
    found: dict[str, dict[int, str]],
) -> None:
    """What a Go struct embeds is a message of its own here, and its fields are the outer one's in JSON."""
    for name, (number, kind) in fields.items():
        message = kind if "." in kind else f"{package}.{kind}"
        if name in names or message not in known:
            continue
        inner = known[message]
        short = message.rpartition(".")[2]
        numbers[number] = f"*{short}"
        found[short] = {place: field for field, (place, _) in inner.items()}
        _flatten(found[short], inner, names, package, known, found)
        for field, (_, of) in inner.items():
            below = re.search(r"(\w+?)[\])]*$", names.get(field, ""))
            if below and hasattr(models, below[1]):
                _walk(below[1], of if "." in of else f"{package}.{of}", known, found)


def written(found: dict[str, dict[int, str]]) -> str:
    """One line for each model: its fields in the order of their numbers, ``-`` for a number nobody has."""
    lines = []
    for model, fields in sorted(found.items()):
        if fields:
            names = [fields.get(number, "-") for number in range(1, max(fields) + 1)]
            lines.append(f"{model} {' '.join(names)}\n")
    return "".join(lines)


if __name__ == "__main__":
    TARGET.write_text(written(table(messages())))
    sys.stdout.write(f"{TARGET}\n")
