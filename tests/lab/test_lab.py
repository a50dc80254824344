"""The parts together: a small mesh that behaves like one."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import yaml

from canaryd.errors import Unavailable
from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab
from canaryd.lab.local_http import exchange

from .conftest import answered, started_within

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


def api(lab: Lab) -> tuple[str, int]:
    """The API's address as a client finds it: in the kubeconfig."""
    config = yaml.safe_load(lab.kubeconfig.read_text())
    url = urlsplit(config["clusters"][0]["cluster"]["server"])
    return (str(url.hostname), int(url.port or 0))


def test_a_lab_is_measured_within_ten_seconds(lab: Lab) -> None:
    """From nothing to the first rate in Prometheus: what a demo's viewer waits."""
    assert started_within[0] < 10


def test_the_kubeconfig_leads_to_the_objects_and_does_so_after_an_outage(lab: Lab) -> None:
    """An outage of the API takes nothing away and moves nothing; traffic flows on meanwhile."""
    before, address = exchange(api(lab), "/api/v1/namespaces/default/pods"), api(lab)
    assert before[0] == 200
    lab.stop_api()
    with pytest.raises(Unavailable):
        exchange(address, "/version")
    failed = lab.counts().failed
    answered(lab, 30)
    assert lab.counts().failed == failed
    lab.start_api()
    assert api(lab) == address
    assert exchange(address, "/api/v1/namespaces/default/pods") == before


def test_what_cannot_be_translated_leaves_the_last_good_routes_in_force(lab: Lab) -> None:
    """As a refused push does in a mesh; and the lab says so instead of pretending."""
    lab.set_weights({"v3": 100})
    strange = bookinfo.destination_rule()
    strange["spec"]["trafficPolicy"] = {"loadBalancer": {"simple": "PASSTHROUGH"}}
    lab.cluster.apply(strange)
    lab.set_weights({"v1": 100})
    assert "PASSTHROUGH is not translated" in (lab.control_plane.problem or "")
    lab.load.settle()
    before = lab.counts()
    lab.load.set_rate(300)
    answered(lab, 50)
    after = lab.load.settle()
    assert after.of("v1").answered == before.of("v1").answered
    assert after.of("v3").failed == before.of("v3").failed
    lab.cluster.apply(bookinfo.destination_rule())
    lab.set_weights({"v1": 100})
    assert lab.control_plane.problem is None


def test_what_envoy_refuses_is_told_in_its_own_words(lab: Lab) -> None:
    """
    Nothing is believed before Envoy has said yes: a refused configuration must not look like one in force.

    Istio itself refuses a regular expression that Go cannot parse; one that is too large for Envoy gets through to it.
    """
    broken = bookinfo.virtual_service({"v1": 100})
    broken["spec"]["http"][0]["match"] = [{"uri": {"regex": r"\pL{1000}"}}]
    lab.cluster.apply(broken)
    lab.control_plane.settle()
    problem = lab.control_plane.problem or ""
    assert problem.startswith("Envoy refused the rds configuration: ")
    assert "max program size" in problem
    lab.set_weights({"v1": 100})
    assert lab.control_plane.problem is None
    answered(lab, 20)


def test_draining_pods_of_the_other_version_disturbs_nobody(lab: Lab) -> None:
    """Clusters are rebuilt when endpoints come and go; requests of the version that serves must not notice."""
    before = lab.load.settle()
    lab.load.set_rate(300)
    for _ in range(10):
        lab.drain("v3")
        answered(lab, 10)
        lab.restore("v3")
        answered(lab, 10)
    lab.roll_out("v1", "reviews-v1:next")
    answered(lab, 50)
    lab.roll_out("v1", bookinfo.image("v1"))
    answered(lab, 50)
    after = lab.load.settle()
    assert (after.failed, after.lost) == (before.failed, before.lost)


def test_the_split_is_observed_where_the_traffic_is(lab: Lab) -> None:
    """`weights` is what is written, `shares` what the client got: a demo shows both."""
    lab.set_weights({"v1": 50, "v3": 50})
    assert lab.weights() == {"v1": 50, "v3": 50}
    before = lab.load.settle()
    lab.load.set_rate(500)
    answered(lab, 600)
    after = lab.load.settle()
    share = (after.of("v3").answered - before.of("v3").answered) / (after.answered - before.answered)
    assert 0.4 < share < 0.6
    assert 0 < lab.shares(3)["v3"] < 1
