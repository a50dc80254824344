"""
No field is dropped in silence: each that the two tools' objects have is carried, said, or idle for a reason.

``fields.py`` has them all. Each is put into an object by itself, because what becomes of one may depend on the others.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.importing.ledger import UNKNOWN
from tests.importing import fields
from tests.importing.manifests import CANARY, ROLLOUT, TEMPLATE, Json, argo, flagger, one, read

VALUES: dict[str, Any] = {
    "interval": "2m",
    "iterations": 5,
    "threshold": 3,
    "maxWeight": 40,
    "stepWeight": 5,
    "stepWeights[]": 7,
    "min": 1,
    "max": 9,
    "name": "name",
    "query": "sum(up)",
    "templateVariables": {"one": "two"},
    "kind": "Deployment",
    "provider": "istio",
    "setWeight": 60,
    "duration": "30s",
    "virtualService": {"name": "vs"},
    "routes[]": "primary",
    "successCondition": "result[0] > 1",
    "failureCondition": "result[0] > 2",
    "count": 3,
    "address": "http://prometheus:9090",
    "startingStep": 2,
    "port": 8080,
    "maxTrafficWeight": 1000,
    "templateName": "ratio",
    "value": "text",
    "type": "rollout",
    "labels": {"team": "web"},
    "annotations": {"team": "web"},
    "managedFields": [{"manager": "kubectl"}],
}
"""What stands in a field by its last name; ``x`` in all others."""


def put(into: Any, path: str) -> Any:
    """A copy of an object with something at ``path``, in the first item of each list on the way."""
    keys = re.findall(r"[^.\[\]]+|\[\]", path)
    return _put(copy.deepcopy(into), keys, VALUES.get("".join(keys[-2:]) if keys[-1] == "[]" else keys[-1], "x"))


def _put(into: Any, keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    key, *rest = keys
    if key == "[]":
        items = into if isinstance(into, list) else []
        return [_put(items[0] if items else None, rest, value), *items[1:]]
    base = into if isinstance(into, dict) else {}
    return {**base, key: _put(base.get(key), rest, value)}


def cases(listed: list[str]) -> Iterator[str]:
    yield from [*listed, *fields.METADATA]


def told(found: Any, path: str) -> None:
    """There is a fate for the field or for what it is in, and it is a known one."""
    way = path.replace("[]", ".0")
    fates = [
        one for one in found.fates if one.path == way or way.startswith(f"{one.path}.") or one.path.startswith(way)
    ]
    assert fates, f"nothing is said of {path}"
    assert [str(one) for one in found.fates if one.kind == "unknown"] == []
    assert all(one.said and one.said != UNKNOWN for one in fates)


@pytest.mark.parametrize("path", list(cases(fields.CANARY)))
def test_each_field_of_a_canary_has_a_fate(path: str) -> None:
    base = copy.deepcopy(CANARY)
    if "canaryAnalysis" in path:
        base["spec"]["canaryAnalysis"] = base["spec"].pop("analysis")
    told(one(put(base, path)), path)


@pytest.mark.parametrize("path", [path for path in cases(fields.ROLLOUT) if "virtualServices" not in path])
def test_each_field_of_a_rollout_has_a_fate(path: str) -> None:
    host = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "name"},
        "spec": {"host": "reviews"},
    }
    told(one(put(ROLLOUT, path), host, TEMPLATE), path)


@pytest.mark.parametrize("path", [path for path in fields.ROLLOUT if "virtualServices" in path])
def test_each_field_of_several_virtual_services_has_a_fate(path: str) -> None:
    istio = {"virtualServices": [{"name": "one"}, {"name": "two"}]}
    told(one(put(argo(trafficRouting={"istio": istio}), path)), path)


@pytest.mark.parametrize("path", list(cases(fields.METRIC_TEMPLATE)))
@pytest.mark.parametrize("kind", ["prometheus", "datadog"])
def test_each_field_of_a_metric_template_has_a_fate(path: str, kind: str) -> None:
    base = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "own", "namespace": "test"},
        "spec": {"provider": {"type": kind}, "query": "sum(up)"},
    }
    metric = {"name": "own", "templateRef": {"name": "own"}, "thresholdRange": {"max": 1}}
    made = put(base, path) if path not in ("spec.provider.type", "metadata.name", "metadata.namespace") else base
    found = one(flagger({"metrics": [metric]}), made)
    if kind == "prometheus":
        told(found, path)
    else:
        assert any("measured by datadog" in one.said for one in found.lost)


@pytest.mark.parametrize("path", list(cases(fields.ALERT_PROVIDER)))
def test_each_field_of_an_alert_provider_has_a_fate(path: str) -> None:
    base = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "AlertProvider",
        "metadata": {"name": "chat", "namespace": "test"},
        "spec": {"type": "slack"},
    }
    made = put(base, path) if path not in ("metadata.name", "metadata.namespace") else base
    told(one(flagger({"alerts": [{"name": "a", "providerRef": {"name": "chat"}}]}), made), path)


@pytest.mark.parametrize("path", list(cases(fields.ANALYSIS_TEMPLATE)))
def test_each_field_of_an_analysis_template_has_a_fate(path: str) -> None:
    asked = argo(analysis={"templates": [{"templateName": "ratio"}]})
    base = copy.deepcopy(TEMPLATE)
    if ".provider." in path and ".prometheus." not in path:
        base["spec"]["metrics"][0]["provider"] = {}
    made = put(base, path) if path not in ("metadata.name", "metadata.namespace") else base
    told(one(asked, made), path)


@pytest.mark.parametrize("made", [flagger(), argo()], ids=["Canary", "Rollout"])
def test_a_field_that_nobody_knows_is_said_to_be_lost(made: Json) -> None:
    """What the other tool will have tomorrow is not dropped, either."""
    made["spec"]["shinyNewField"] = {"how": "nice"}
    (found,) = read(made)
    assert [(one.path, one.kind) for one in found.lost if "shiny" in one.path] == [
        ("spec.shinyNewField.how", "unknown")
    ]


def test_what_may_be_a_secret_is_not_repeated() -> None:
    """Headers hold tokens, and standard error goes into the log of a pipeline."""
    template = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "own", "namespace": "test"},
        "spec": {
            "provider": {"type": "prometheus", "headers": {"Authorization": ["Bearer s3cret"]}},
            "query": "sum(up)",
        },
    }
    metric = {"name": "own", "templateRef": {"name": "own"}, "thresholdRange": {"max": 1}}
    hook = {"name": "h", "url": "http://x/", "metadata": {"token": "s3cret"}}
    found = one(flagger({"metrics": [metric], "webhooks": [hook]}), template)
    assert "s3cret" not in "".join(map(str, found.fates))
