"""One's own objects in a running lab: real Envoy, real traffic, versions told by a label of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canaryd.lab.lab import Lab
from canaryd.lab.own import set_scene

from .conftest import wait_for
from .test_own import PLAN, ROUTES, written

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-routes")]
OUTSIDE = (
    ROUTES.replace("hosts: [shop]", "hosts: [shop.example.com]\n  gateways: [edge]").replace(
        "    - route:", "    - match: [{uri: {prefix: /cart}}]\n      route:"
    )
    + """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: prod}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]
"""
)


@pytest.fixture(scope="module", params=["inside of the mesh", "behind a gateway"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("shop")
    routes = ROUTES if request.param == "inside of the mesh" else OUTSIDE
    scene, _, _ = set_scene(written(folder, routes_yaml=routes, plan_yaml=PLAN))
    with Lab.up(tmp_path_factory.mktemp("lab"), scene=scene, rps=200, until_measured=False) as lab:
        yield lab


def served(lab: Lab, version: str) -> int:
    return lab.counts().of(version).answered


def test_the_request_takes_the_entry_on_trial(shop: Lab) -> None:
    """Whatever it takes: inside by the Service's name, outside by the gateway's host and the entry's path."""
    assert shop.control_plane.problem is None
    wait_for(lambda: served(shop, "blue") > 50, "answers of blue")
    counts = shop.counts()
    assert (counts.failed, set(counts.by_version)) == (0, {"blue"})


def test_weights_divide_what_clients_get(shop: Lab) -> None:
    shop.set_weights({"blue": 50, "green": 50})
    assert shop.weights() == {"blue": 50, "green": 50}
    before = {version: served(shop, version) for version in ("blue", "green")}
    wait_for(lambda: served(shop, "green") > before["green"] + 150, "answers of green")
    rose = {version: served(shop, version) - count for version, count in before.items()}
    assert 0.35 < rose["green"] / sum(rose.values()) < 0.65  # four standard deviations of 300 requests


def test_dials_and_pods_are_those_of_the_versions(shop: Lab) -> None:
    shop.set_weights({"blue": 50, "green": 50})
    assert shop.pods() == {"blue": (2, 2), "green": (2, 2)}
    shop.faults.set("green", error_rate=1.0)
    failed = shop.counts().of("green").failed
    wait_for(lambda: shop.counts().of("green").failed > failed + 20, "failures of green")
    assert shop.counts().of("blue").failed == 0
    shop.faults.reset()
    assert shop.drain("green") == 2
    assert shop.pods()["green"] == (0, 2)
    lost = served(shop, "unknown")
    wait_for(lambda: served(shop, "unknown") > lost + 20, "requests for which no pod was there")
    shop.restore("green")
    former = shop.roll_out("green", "shop:2")
    assert shop.roll_out("green", "shop:3") != former
