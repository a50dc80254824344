"""The release manager's page in deploy/: it has no rights, it starts with what it is given, and is off by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from canaryd.cli import app
from tests.deploy.manifests import DEPLOY, built, composed
from tests.deploy.test_chart import helm, rendered

assert helm  # a fixture

Object = dict[str, Any]
VALUES: Object = {"ui": {"enabled": True, "url": "https://canaryd.example.com"}, "networkPolicy": {"enabled": True}}


@pytest.fixture(params=["kustomize", "chart"])
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[Object]:
    if request.param == "kustomize":
        return built(composed(tmp_path, "cluster-wide", "ui"))
    return rendered(request.getfixturevalue("helm"), VALUES, tmp_path, namespace="canaryd")


def named(kind: str, found: list[Object]) -> Object:
    [one] = [one for one in found if one["kind"] == kind and one["metadata"]["name"] == "canaryd-ui"]
    return one


def test_nothing_is_granted_to_its_account(manifests: list[Object]) -> None:
    """It acts with the token of the person in front of it, and with nothing else."""
    assert named("ServiceAccount", manifests)
    subjects = [
        (subject["kind"], subject["name"])
        for one in manifests
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in one["subjects"]
    ]
    assert ("ServiceAccount", "canaryd") in subjects
    assert ("ServiceAccount", "canaryd-ui") not in subjects
    assert named("Deployment", manifests)["spec"]["template"]["spec"]["serviceAccountName"] == "canaryd-ui"


def test_it_starts_with_its_arguments(manifests: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the port: everybody signs in for themselves, under the address that was said."""
    served: list[Any] = []
    monkeypatch.setattr("canaryd.web.serving.serve", lambda *what, neighbours: served.append(what[:3]))
    monkeypatch.setattr("canaryd.cli.places.Place.kube", lambda place: object())
    [container] = named("Deployment", manifests)["spec"]["template"]["spec"]["containers"]
    done = CliRunner().invoke(app, container["args"])
    assert done.exit_code == 0, done.output
    [(door, place, auth)] = served
    assert (door.shows, auth) == ("token", "bearer")
    assert place.addresses(auth).secure
    assert {one["containerPort"] for one in container["ports"]} == {place.port}


def test_no_other_service_or_policy_selects_it(manifests: list[Object]) -> None:
    """Prometheus' Service and the controller's NetworkPolicy are for the controller."""
    labels = named("Deployment", manifests)["spec"]["template"]["metadata"]["labels"]
    selecting = [
        (one["kind"], one["metadata"]["name"])
        for one in manifests
        if one["kind"] in ("Service", "NetworkPolicy") and _selects(one, labels)
    ]
    assert sorted(selecting) == [("NetworkPolicy", "canaryd-ui"), ("Service", "canaryd-ui")]


def _selects(one: Object, labels: dict[str, str]) -> bool:
    selector = one["spec"].get("selector") or one["spec"]["podSelector"]
    wanted = selector.get("matchLabels", selector if one["kind"] == "Service" else {})
    expressions = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def test_it_is_off_by_default(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert not [one for one in built(DEPLOY / "overlays/cluster-wide") if "-ui" in one["metadata"]["name"]]
    found = rendered(request.getfixturevalue("helm"), {}, tmp_path)
    assert not [one for one in found if "-ui" in one["metadata"]["name"]]
