"""The lab's Istio held against Istio's own verdicts on real objects: same refusals, same words, same warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.lab.kubernetes import ApiError, Cluster
from canaryd.lab.kubernetes.cluster import Written
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.patching import JSON_PATCH
from canaryd.lab.kubernetes.webhook import validate

Object = dict[str, Any]


def load(path: Path) -> Object:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations")}
    # A few come from unit tests, where any name will do.
    metadata["name"] = re.sub(r"[^a-z0-9.]+", "-", str(found["metadata"]["name"]).lower()).strip("-.")
    return {
        **{key: value for key, value in found.items() if key in ("apiVersion", "kind", "spec")},
        "metadata": metadata,
    }


def written_to(cluster: Cluster, obj: Object, validation: str = "Strict") -> Written:
    """Create `obj` as kubectl would. Raises ApiError if it is refused."""
    options = Options(version=obj["apiVersion"].split("/")[1], validation=validation)
    return cluster.create(cluster.registry.of(obj), "default", obj, options)


def accepted(obj: Object) -> Written:
    return written_to(Cluster(), obj)


def told_of(message: str) -> set[str]:
    """The single errors in the message of a refusal."""
    text = message.partition("configuration is invalid: ")[2]
    listed = re.match(r"\d+ errors? occurred:\n\t", text)
    return set(text[listed.end() :].strip("\n").split("\n\t")) if listed else {f"* {text}"}


def stars(texts: list[str]) -> set[str]:
    return {f"* {text}" for text in texts}


def test_everything_istio_accepts_is_accepted_with_the_same_warnings(corpus: Path) -> None:
    """A schema too strict would hide bugs behind refusals that no cluster makes."""
    index = json.loads((corpus / "index.json").read_text(encoding="utf-8"))
    rows = [row for kind in ("virtualservices", "destinationrules", "gateways") for row in index[kind]]
    differ = {}
    for row in rows:
        try:
            warnings = set(accepted(load(corpus / row["file"])).warnings)
            if warnings != set(row["warnings"]):
                differ[row["file"]] = str(warnings)
        except ApiError as error:
            differ[row["file"]] = error.message
    assert len(rows) > 200
    assert not differ


def test_routes_without_weights_are_accepted(corpus: Path) -> None:
    """Delegation, redirects and direct responses: no traffic for canaryd to shift, but a cluster has them."""
    for path in sorted((corpus / "nonweightable").glob("*.yaml")):
        accepted(load(path))


def test_every_route_of_the_gateway_api_is_accepted(corpus: Path) -> None:
    paths = sorted((corpus / "gatewayapi").glob("*.yaml"))
    assert len(paths) > 50
    for path in paths:
        accepted(load(path))


def refused_rows(corpus: Path) -> Iterator[Object]:
    yield from json.loads((corpus / "invalid" / "index.json").read_text(encoding="utf-8"))


def test_the_webhook_says_of_refused_objects_what_istio_says(corpus: Path) -> None:
    """Also of those that an API server would have stopped before, by their schema."""
    differ = {}
    for row in refused_rows(corpus):
        problems = validate(load(corpus / "invalid" / row["file"]))
        errors = {one.text for one in problems if not one.warning}
        warnings = {one.text for one in problems if one.warning}
        if errors != set(row["webhook_errors"]) or warnings != set(row["warnings"]):
            differ[row["file"]] = (errors, warnings)
    assert not differ


def field_of(crd_error: str) -> str:
    """``spec/http/0/route/0: 'destination' is a required property`` as the API server names it."""
    where, _, why = crd_error.partition(": ")
    missing = re.match(r"'(\w+)' is a required property", why)
    parts = [*where.strip(".").split("/"), *([missing[1]] if missing else [])]
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(parts))


def test_every_object_that_istio_refuses_is_refused_for_the_same_reason(corpus: Path) -> None:
    """An API server answers first: 400 for unknown fields, 422 at the field that breaks the schema; then Istio."""
    count = 0
    for row in refused_rows(corpus):
        count += 1
        with pytest.raises(ApiError) as refusal:
            accepted(load(corpus / "invalid" / row["file"]))
        error = refusal.value
        # A null that may not be one is dropped before anything looks at it: seen on a real API server, 1.35.
        wrong = [one for one in row["crd_errors"] if ": None is not of type" not in one]
        if row["rejected_by"] == ["strict-field-validation"]:
            unknown = {one.removeprefix("unknown field .") for one in row["crd_errors"]}
            assert error.code == 400
            assert all(f'unknown field "{one}"' in error.message for one in unknown), error.message
        elif wrong:
            assert error.code == 422, row["file"]
            fields = {cause["field"] for cause in error.details["causes"]}
            assert {field_of(one) for one in wrong} <= fields, (row["file"], fields)
        else:
            assert error.code == 400, row["file"]
            assert error.message.startswith('admission webhook "rev.validation.istio.io" denied the request: ')
            assert told_of(error.message) == stars(row["webhook_errors"]), row["file"]
    assert count > 60


def test_patched_routes_get_istios_own_verdict(corpus: Path) -> None:
    """Weight changes of every kind on real objects, sent as the JSON Patches that canaryd would send."""
    differ, count = [], 0
    for line in (corpus / "mutations.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        count += 1
        cluster, before = Cluster(), load(corpus / case["file"])
        name, resource = before["metadata"]["name"], cluster.registry.of(before)
        written_to(cluster, before)
        options = Options(version=before["apiVersion"].split("/")[1], validation="Strict")
        try:
            found = cluster.patch(resource, "default", name, JSON_PATCH, case["patch"], options)
            verdict, errors, warnings = True, set(), set(found.warnings)
        except ApiError as error:
            verdict, errors, warnings = False, told_of(error.message), set(case["warnings"])
        if (verdict, errors, warnings) != (case["valid"], stars(case["webhook_errors"]), set(case["warnings"])):
            differ.append((case["file"], case["mutation"], verdict, errors, warnings))
    assert count > 400
    assert not differ
