"""
Objects from files: a directory, a file, or standard input; several documents and Lists, as Git or kubectl have them.

What only a server knows (uid, resourceVersion, managedFields, status) is left out, so that the output of
`kubectl get virtualservices,destinationrules,services,deployments -o yaml` can be used as it is.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from canaryd.mesh.weights import MARKER, ORIGIN
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Problem, Refused

Json = dict[str, Any]
ENDINGS = (".yaml", ".yml", ".json")
MOST_PODS = 3
"""Pods that the lab gives a Deployment at most: each is a listener of its own, and more would show nothing new."""

USED = {
    ("", "Namespace"),
    ("", "ServiceAccount"),
    ("", "Service"),
    ("apps", "Deployment"),
    ("networking.istio.io", "DestinationRule"),
    ("networking.istio.io", "Gateway"),
    ("networking.istio.io", "VirtualService"),
    ("security.istio.io", "PeerAuthentication"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
}
"""Kinds that change traffic in the lab; others are passed over, with a note."""

OF_THE_SERVER = ("uid", "resourceVersion", "generation", "managedFields", "selfLink", "ownerReferences", "finalizers")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Own:
    """
    What was found. `objects` can be applied in their order; `notes` are sentences on what is not as it was written.

    `plans` are the CanaryPlans among them.
    """

    objects: tuple[Json, ...]
    plans: tuple[Plan, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, kind: str, group: str = "") -> list[Json]:
        return [each for each in self.objects if each["kind"] == kind and _group(each) == (group or _group(each))]


def read(place: Path) -> Own:
    """
    Everything in `place`: a directory with what is below it, a file, or `-` for standard input.

    Raises Refused with every problem: no such file, not YAML, an object without kind or name, a plan that is wrong.
    """
    problems: list[Problem] = []
    objects: list[Json] = []
    plans: list[Plan] = []
    for source, text in _texts(place, problems):
        try:
            documents = [each for each in yaml.safe_load_all(text) if each is not None]
        except yaml.YAMLError as error:
            problems.append(_unreadable(source, error, text))
            continue
        for number, each in enumerate(documents):
            where = source if len(documents) == 1 else f"{source}, document {number + 1}"
            for found in _items(each):
                if isinstance(found, dict) and found.get("kind") == "CanaryPlan":
                    plans += _plan(found, where, problems)
                elif problem := _unusable(found, where):
                    problems.append(problem)
                else:
                    objects.append(found)
    if not objects and not plans and not problems:
        problems.append(Problem(str(place), "no object", f"Kubernetes objects in files that end with {_all(ENDINGS)}"))
    if problems:
        raise Refused(problems)
    notes: list[str] = []
    used = [_tidied(each, notes) for each in objects if (_group(each), each["kind"]) in USED]
    passed_over = Counter(each["kind"] for each in objects if (_group(each), each["kind"]) not in USED)
    if passed_over:
        kinds = _all(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
        notes.append(f"passed over, because the lab's traffic does not depend on it: {kinds}")
    return Own(tuple(_in_order(used, notes)), tuple(plans), tuple(notes))


def _texts(place: Path, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    if str(place) == "-":
        yield "standard input", sys.stdin.read()
        return
    if not place.exists():
        problems.append(Problem(str(place), "nothing", "a directory or a file with Kubernetes objects"))
        return
    for file in [place] if place.is_file() else sorted(each for each in place.rglob("*") if each.suffix in ENDINGS):
        if file.name in ("kustomization.yaml", "kustomization.yml"):
            continue
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(file), "", f"a file that can be read as UTF-8 ({error})"))


def _unreadable(source: str, error: yaml.YAMLError, text: str) -> Problem:
    place = getattr(error, "problem_mark", None)
    where = f"{source}, line {place.line + 1}" if place else source
    remedy = "render templates first: helm template . | canaryd lab up --from -" if "{{" in text else ""
    return Problem(where, "", f"YAML that can be read ({getattr(error, 'problem', None) or error})", remedy)


def _items(document: Any) -> list[Any]:
    """The objects of a document: those of a List, as `kubectl get -o yaml` writes it, else itself."""
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document:
        return list(document["items"] or [])
    return [document]


def _plan(found: Json, where: str, problems: list[Problem]) -> list[Plan]:
    try:
        return [read_plan(yaml.safe_dump(found, sort_keys=False), where)]
    except Refused as refused:
        problems += [replace(one, path=f"{where}: {one.path}") for one in refused.problems]
        return []


def _unusable(found: Any, where: str) -> Problem | None:
    if not isinstance(found, dict):
        return Problem(where, str(found)[:60], "a Kubernetes object: a mapping with apiVersion, kind and metadata")
    for key in ("apiVersion", "kind"):
        if not isinstance(found.get(key), str) or not found[key]:
            return Problem(f"{where}: {key}", str(found.get(key, "nothing")), "text, as every Kubernetes object has it")
    name = (found.get("metadata") or {}).get("name") if isinstance(found.get("metadata"), dict) else None
    if not isinstance(name, str) or not name:
        return Problem(f"{where}: metadata.name", str(name or "nothing"), f"the name of this {found['kind']}")
    return None


def _tidied(found: Json, notes: list[str]) -> Json:
    """The object as a person would have written it: without what only a server knows, and without canaryd's marks."""
    tidy = {key: value for key, value in found.items() if key != "status"}
    metadata = {key: value for key, value in found["metadata"].items() if key not in OF_THE_SERVER}
    annotations = dict(metadata.pop("annotations", None) or {})
    annotations.pop(LAST_APPLIED, None)
    marks = [key for key in annotations if key.partition("/")[0] in (MARKER, ORIGIN)]
    if marks:
        notes.append(f"{_name(found)}: left out the annotations of a run of canaryd ({_all(marks)})")
    annotations = {key: value for key, value in annotations.items() if key not in marks}
    tidy["metadata"] = metadata | ({"annotations": annotations} if annotations else {})
    if found["kind"] == "Deployment":
        replicas = found.get("spec", {}).get("replicas", 1)
        if replicas > MOST_PODS:
            notes.append(f"{_name(found)}: {MOST_PODS} pods instead of {replicas}, more would show nothing new")
            tidy["spec"] = {**found["spec"], "replicas": MOST_PODS}
    if found["kind"] == "Service":
        tidy["spec"] = {key: value for key, value in found.get("spec", {}).items() if not key.startswith("clusterIP")}
    return tidy


def _in_order(objects: list[Json], notes: list[str]) -> Iterator[Json]:
    """Oldest first, because the oldest VirtualService of a host wins; of two with one name the last, as in kubectl."""
    last: dict[tuple[str, str, str, str], Json] = {}
    for each in objects:
        about = each["metadata"]
        key = (_group(each), each["kind"], about.get("namespace", "default"), about["name"])
        if key in last:
            notes.append(f"{_name(each)} is there twice: the later one counts")
        last[key] = each
    kinds = ["Namespace", "ServiceAccount", "Service", "Deployment"]
    rank = {kind: place for place, kind in enumerate(kinds)}
    order = sorted(last.values(), key=lambda each: str(each["metadata"].get("creationTimestamp") or "9"))
    yield from sorted(order, key=lambda each: rank.get(each["kind"], len(rank)))


def _group(each: Json) -> str:
    return str(each["apiVersion"]).rpartition("/")[0]


def _name(each: Json) -> str:
    return f"{each['kind']} {each['metadata'].get('namespace', 'default')}/{each['metadata']['name']}"


def _all(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
