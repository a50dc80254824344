"""Istio's schemas and webhook in the lab, held against objects that Istio's own validators judged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from canaryd.lab.kubernetes import ApiError, Cluster
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.webhook import destination_rule, virtual_service

SHARED = Path(__file__).resolve().parents[3] / "shared"
CORPUS = Path(os.environ.get("CANARYD_CORPUS", SHARED / "istio-corpus"))

# What the webhook of the lab does not look at: nothing that a change of weights or destinations can break.
OUT_OF_SCOPE = ("CORSPolicy", "FaultInjection", "HTTPRedirect", "HTTPRetry", "HTTPRewrite", "OutlierDetection")
OUT_OF_SCOPE += ("header-name", "unescaped", "mirror", "prefix-rewrite", "InsecureSkipVerify", "sni-host")

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of Istio objects (CANARYD_CORPUS)")


def accept(obj: dict[str, Any]) -> None:
    """Create `obj` with strict validation in a fresh cluster; raises ApiError if it is refused."""
    cluster = Cluster()
    obj = {**obj, "metadata": {"name": "under-test", "labels": obj["metadata"].get("labels") or {}}}
    version = obj["apiVersion"].split("/")[1]
    cluster.create(cluster.registry.of(obj), "default", obj, Options(version=version, validation="Strict"))


def load(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@needs_corpus
def test_everything_istio_accepts_is_accepted() -> None:
    """A schema too strict would hide bugs behind refusals that no cluster makes."""
    folders = (CORPUS, CORPUS / "nonweightable", CORPUS / "destinationrules", CORPUS / "gateways")
    refused = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.yaml"))):
        obj = load(path)
        try:
            accept({key: value for key, value in obj.items() if key in ("apiVersion", "kind", "metadata", "spec")})
        except ApiError as error:
            refused[path.name] = error.message
    assert not refused


@needs_corpus
def test_what_istio_refuses_about_routes_is_refused() -> None:
    accepted = []
    for row in json.loads((CORPUS / "invalid" / "index.json").read_text(encoding="utf-8")):
        if any(one in row["file"] for one in OUT_OF_SCOPE):
            continue
        try:
            accept(load(CORPUS / "invalid" / row["file"]))
            accepted.append((row["file"], row["webhook_errors"]))
        except ApiError:
            pass
    assert not accepted


@needs_corpus
def test_patched_routes_get_istios_own_verdict() -> None:
    """Weight changes of every kind on real objects: the lab says yes and no exactly where Istio does."""
    differ = []
    for line in (CORPUS / "mutations.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        try:
            accept(jsonpatch.apply_patch(load(CORPUS / case["file"]), case["patch"]))
            verdict = True
        except ApiError as error:
            verdict = False
            known = all(one in error.message for one in case["webhook_errors"])
            if error.code == 400 and "webhook" in error.message and not known:
                differ.append((case["file"], case["mutation"], error.message))
        if verdict != case["valid"]:
            differ.append((case["file"], case["mutation"], str(case["webhook_errors"])))
    assert not differ


def weighted(*weights: int) -> dict[str, Any]:
    route = [{"destination": {"host": "reviews"}, "weight": weight} for weight in weights]
    return {"hosts": ["reviews"], "http": [{"route": route}]}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (weighted(0, 0), ["total destination weight = 0"]),
        (weighted(0), []),
        (weighted(1, 0), []),
        (weighted(-1, 2), ["weight -1 < 0"]),
        (weighted(2147483647, 2147483647, 2), ["total destination weight = 0"]),
        ({"hosts": ["reviews"]}, ["http, tcp or tls must be provided in virtual service"]),
        ({"hosts": ["*"], "http": weighted(1)["http"]}, ["wildcard host * is not allowed"]),
        ({"hosts": ["a"], "http": [{}]}, ["HTTP route, redirect or direct_response is required"]),
        ({"http": weighted(1)["http"], "gateways": ["g"]}, ["delegate virtual service must have no gateways"]),
    ],
)
def test_the_webhooks_rules_for_weights(spec: dict[str, Any], wrong: list[str]) -> None:
    found = list(virtual_service(spec))
    assert len(found) == len(wrong)
    assert all(text in one for text, one in zip(wrong, found, strict=True))


def test_duplicate_subsets_are_refused() -> None:
    subset = {"name": "v1", "labels": {"version": "v1"}}
    assert list(destination_rule({"host": "reviews", "subsets": [subset, subset]})) == ["duplicate subset names"]
