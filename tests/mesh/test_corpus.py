"""
Real VirtualServices of Istio's own samples and tests: the patch changes weights and nothing else.

The corpus is not part of the project: CANARYD_CORPUS, or ../shared/istio-corpus beside the checkout.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from canaryd.mesh.entries import HttpEntry, http_entries
from canaryd.mesh.route import resolve
from canaryd.mesh.weights import Guard, release_patch, restore_patch, split_of, weight_patch
from canaryd.model.plan import Plan
from canaryd.model.traffic import EVERYTHING, NOTHING, Entry, Marker, Route, Split, Version
from tests.mesh.objects import CORPUS
from tests.mesh.objects import plan as default_plan

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of Istio objects at {CORPUS}")

Object = dict[str, Any]
SPLITS = [NOTHING, *map(Split.percent, ("0.5", 1, 5, "12.345", 25, 50, 99)), EVERYTHING]


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Timestamps stay text, as in JSON."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> Object:
    found = yaml.load(path.read_text(encoding="utf-8"), Loader)  # a SafeLoader
    found["metadata"].setdefault("namespace", "default")
    found["metadata"].setdefault("resourceVersion", "1")
    return found


def files(folder: str = "") -> list[Path]:
    return sorted((CORPUS / folder).glob("*.yaml")) if CORPUS.is_dir() else []


def two_versions(found: Object, entry: HttpEntry) -> Route | None:
    """The route of an entry with one destination (a canary is added) or two different ones."""
    first, *others = entry.destinations
    if len(others) > 1:
        return None
    canary = others[0].version if others else Version(first.version.host, "canaryd-canary")
    meta = found["metadata"]
    route = Route(meta["namespace"], meta["name"], "corpus", (Entry(entry.index),), first.version, canary)
    return route if len(entry.to(canary, route.namespace)) == len(others) else None


@cache
def weightable() -> list[tuple[Path, int]]:
    return [
        (path, entry.index)
        for path in files()
        for found in [load(path)]
        for entry in http_entries(found)
        if entry.destinations and two_versions(found, entry)
    ]


def without_weights(found: Object, *, index: int, canary: Version) -> Object:
    """The spec without the weights of one entry, and without the canary that may have been inserted."""
    spec = copy.deepcopy(found["spec"])
    route = spec["http"][index]["route"]
    for destination in route:
        destination.pop("weight", None)
    spec["http"][index]["route"] = [one for one in route if one["destination"].get("subset") != canary.subset or
                                    canary.subset != "canaryd-canary"]  # fmt: skip
    return spec


def write(found: Object, route: Route, split: Split, guard: Guard) -> Object:
    marker = Marker("run", 1, split, NOTHING, route.stable, route.canary, 0.0)
    return jsonpatch.apply_patch(found, weight_patch(found, route, marker, guard))


def test_the_corpus_is_not_empty() -> None:
    """A glob that finds nothing would pass every test below."""
    assert len(weightable()) > 50


@pytest.mark.parametrize(
    ("path", "index"), weightable(), ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_only_weights_change(path: Path, index: int) -> None:
    """Everything else in the object is its owner's: through splits, retreat and release it stays as it was."""
    start = load(path)
    route = two_versions(start, http_entries(start)[index])
    assert route is not None
    first = split_of(start, route).split
    found = start
    for split in SPLITS:
        found = write(found, route, split, Guard.OBJECT)
        assert split_of(found, route).split == split
        assert without_weights(found, index=index, canary=route.canary) == without_weights(
            start, index=index, canary=route.canary
        )
        total = sum(one["weight"] for one in found["spec"]["http"][index]["route"])
        assert 0 < total < 2**31
    back = write(found, route, NOTHING, Guard.DESTINATIONS)
    assert split_of(back, route).split == NOTHING
    restored = jsonpatch.apply_patch(back, restore_patch(back, route, "run"))
    clean = jsonpatch.apply_patch(restored, release_patch(restored, route, "run"))
    if first == NOTHING:
        assert clean["spec"] == start["spec"]
    assert clean["metadata"].get("annotations", {}) == start["metadata"].get("annotations", {})


@pytest.mark.parametrize("path", files("nonweightable"), ids=lambda path: path.stem)
def test_what_has_no_weights_is_refused(path: Path) -> None:
    """Delegates, redirects and direct responses have nothing to move; each is told why."""
    found = load(path)
    meta = found["metadata"]
    plan = Plan.model_validate(
        {
            "metadata": {"name": "corpus", "namespace": meta["namespace"]},
            "apiVersion": "canaryd.io/v1alpha1",
            "kind": "CanaryPlan",
            "spec": {
                "target": {"virtualService": meta["name"], "host": "reviews", "canary": {"subset": "v2"}},
                "steps": [{"weight": 50}],
            },
        }
    )
    resolution = resolve(found, plan)
    assert resolution.route is None
    assert resolution.problems
    assert all(str(problem) for problem in resolution.problems)


@pytest.mark.parametrize(
    "path",
    [path for path in files("invalid") if "kind: VirtualService" in path.read_text()],
    ids=lambda path: path.stem,
)
def test_what_istio_rejects_is_read_without_a_crash(path: Path) -> None:
    """A webhook that is away lets such objects in; then there is a route, or a sentence that says why not."""
    found = load(path)
    plan = default_plan(virtualService=found["metadata"]["name"], host="foo.bar", stable=None)
    resolution = resolve(found, plan)
    assert resolution.route or resolution.problems
    if resolution.route:
        split_of(found, resolution.route)


def test_our_sums_are_those_that_istio_accepts() -> None:
    """Istio's own validation has judged mutations of these objects; what it rejects we never write."""
    judged = [json.loads(line) for line in (CORPUS / "mutations.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = 0
    for case in judged:
        found = load(CORPUS / case["file"])
        place = case["route"].split("/")
        if place[2] != "http":
            continue
        after = http_entries(jsonpatch.apply_patch(found, case["patch"]))[int(place[3])]
        if not case["valid"]:
            assert (len(after.destinations) > 1 and after.total <= 0) or any(
                one.weight < 0 for one in after.destinations
            )
        elif len(after.destinations) > 1:
            assert after.total > 0
        seen += 1
    assert seen > 100
