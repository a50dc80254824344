"""Shifting traffic must not cost a request."""

from __future__ import annotations

import json
import random
from urllib.parse import urlsplit

import pytest

from canaryd.lab.lab import Lab
from canaryd.lab.local_http import exchange

from .conftest import answered

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

CHANGES = 200
ROUTES = "http.outbound.rds.productpage-v1.default~9080."  # of the client's sidecar
PATH = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews"


def test_two_hundred_weight_changes_under_load_fail_no_request(lab: Lab) -> None:
    """A step that drops requests would be blamed on the canary; 300 requests a second, none may fail or get lost."""
    lab.set_weights({"v1": 100, "v3": 0})
    before = lab.load.settle()
    lab.load.set_rate(300)
    taken = int(lab.envoy.stats(ROUTES)["update_success"])
    chance = random.Random(1)
    weight = 0
    for _ in range(CHANGES):
        weight = chance.choice([each for each in (0, 1, 5, 25, 50, 75, 99, 100) if each != weight])
        shift(lab, weight)
        answered(lab, 10)
    after = lab.load.settle()
    assert int(lab.envoy.stats(ROUTES)["update_success"]) - taken >= CHANGES
    assert (after.failed - before.failed, after.lost - before.lost) == (0, 0)
    assert after.answered - before.answered == after.sent - before.sent >= 10 * CHANGES
    assert after.of("v3").answered > before.of("v3").answered


def test_a_weight_change_is_in_force_when_envoy_confirms_it(lab: Lab) -> None:
    """What the control plane calls settled must be what clients get: at 100 % to v3, not one more answer of v1."""
    lab.set_weights({"v1": 50, "v3": 50})
    lab.load.settle()
    for version, other in (("v3", "v1"), ("v1", "v3"), ("v3", "v1")):
        lab.set_weights({version: 100})
        before = lab.counts()
        lab.load.set_rate(300)
        answered(lab, 60)
        after = lab.load.settle()
        assert after.of(other).answered == before.of(other).answered
        assert after.of(version).answered > before.of(version).answered


@pytest.mark.parametrize(("weights", "said"), [((0, 0), "total destination weight = 0"), ((101, -1), "weight -1 < 0")])
def test_weights_that_istio_refuses_change_nothing(lab: Lab, weights: tuple[int, int], said: str) -> None:
    """The split that was in force stays, to the last request."""
    lab.set_weights({"v1": 0, "v3": 100})
    lab.load.settle()
    before = lab.counts()
    code, text = patched(lab, *weights)
    assert (code, said in text) == (400, True), text
    lab.control_plane.settle()
    lab.load.set_rate(300)
    answered(lab, 60)
    after = lab.load.settle()
    assert after.answered - before.answered == after.of("v3").answered - before.of("v3").answered


def shift(lab: Lab, canary: int) -> None:
    """As canaryd does: a JSON Patch of the two weights through the API, in force on return."""
    code, text = patched(lab, 100 - canary, canary)
    assert code == 200, text
    lab.control_plane.settle()


def patched(lab: Lab, *weights: int) -> tuple[int, str]:
    """What the API says to a JSON Patch of the two weights."""
    url = urlsplit(lab.api.address if lab.api else "")
    patch = [
        {"op": "replace", "path": f"/spec/http/0/route/{index}/weight", "value": weight}
        for index, weight in enumerate(weights)
    ]
    return exchange(
        (str(url.hostname), int(url.port or 0)),
        PATH,
        method="PATCH",
        body=json.dumps(patch).encode(),
        headers={"content-type": "application/json-patch+json"},
    )
