"""The server's lab-only side: fewer rights, faults on order, and a life that ends when told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from canaryd.lab.kubernetes import ApiServer, Cluster

PATH = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}


def config_map() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": {"a": "1"}}


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.apply(config_map())
    return cluster


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with ApiServer(cluster) as server:
        yield server


def patch(server: ApiServer, value: str, timeout: float = 10.0) -> requests.Response:
    body = json.dumps({"data": {"a": value}})
    return requests.patch(f"{server.address}{PATH}/plain", data=body, headers=MERGE, timeout=timeout)


def stored(cluster: Cluster) -> str:
    return str(cluster.objects("ConfigMap")[0]["data"]["a"])


def test_a_right_taken_away_is_403_in_the_real_ones_words(cluster: Cluster) -> None:
    """Preflight shows this sentence; reading still works."""
    denied = (("patch", "configmaps"),)
    with ApiServer(cluster, denied=denied, user="limited") as limited:
        refused = patch(limited, "2")
        read = requests.get(f"{limited.address}{PATH}/plain", timeout=10)
    assert refused.status_code == 403
    assert refused.json()["reason"] == "Forbidden"
    assert refused.json()["message"] == (
        'configmaps "plain" is forbidden: User "limited" cannot patch resource "configmaps" '
        'in API group "" in the namespace "default"'
    )
    assert read.status_code == 200
    assert stored(cluster) == "1"


def test_an_access_review_knows_what_was_taken_away(cluster: Cluster) -> None:
    with ApiServer(cluster, denied=(("patch", "virtualservices"),)) as limited:
        path = f"{limited.address}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answers = [
            requests.post(path, json={"spec": {"resourceAttributes": {"verb": verb, "resource": plural}}}, timeout=10)
            for verb, plural in (("patch", "virtualservices"), ("get", "virtualservices"))
        ]
    assert [one.json()["status"]["allowed"] for one in answers] == [False, True]


def test_servers_share_their_cluster(cluster: Cluster, server: ApiServer) -> None:
    with ApiServer(cluster) as other:
        patch(other, "2")
    assert requests.get(f"{server.address}{PATH}/plain", timeout=10).json()["data"] == {"a": "2"}


@pytest.mark.parametrize("code", [409, 429, 500, 503])
def test_a_failure_on_order_answers_once_and_does_nothing(cluster: Cluster, server: ApiServer, code: int) -> None:
    server.faults.fail("patch", "configmaps", code, retry_after=7 if code == 429 else 0)
    refused = patch(server, "2")
    assert (refused.status_code, refused.json()["code"]) == (code, code)
    assert refused.headers.get("Retry-After") == ("7" if code == 429 else None)
    assert stored(cluster) == "1"
    assert patch(server, "2").status_code == 200


def test_a_fault_meets_only_what_it_was_ordered_for(server: ApiServer) -> None:
    server.faults.fail("patch", "virtualservices", 500, times=None)
    server.faults.fail("get", "*", 500)
    assert patch(server, "2").status_code == 200
    assert [requests.get(f"{server.address}{PATH}/plain", timeout=10).status_code for _ in range(2)] == [500, 200]
    assert server.faults.hits == 1


def test_a_reset_before_the_write_leaves_nothing(cluster: Cluster, server: ApiServer) -> None:
    server.faults.reset("patch", "configmaps")
    with pytest.raises(requests.ConnectionError):
        patch(server, "2")
    assert stored(cluster) == "1"


def test_a_reset_after_the_write_leaves_it_written(cluster: Cluster, server: ApiServer) -> None:
    """Death after the write: the client sees the very same error as before it."""
    server.faults.reset("patch", "configmaps", after_write=True)
    with pytest.raises(requests.ConnectionError):
        patch(server, "2")
    assert stored(cluster) == "2"


def test_a_hanging_server_times_out_and_did_nothing(cluster: Cluster, server: ApiServer) -> None:
    server.faults.hang("patch", "configmaps", 30.0)
    with pytest.raises(requests.Timeout):
        patch(server, "2", timeout=0.2)
    assert stored(cluster) == "1"


def test_a_write_may_be_performed_after_its_client_gave_up(cluster: Cluster, server: ApiServer) -> None:
    """The late write is why the marker carries a sequence."""
    written = threading.Event()
    cluster.subscribe(lambda _: written.set())
    server.faults.hang("patch", "configmaps", 0.5, perform=True)
    with pytest.raises(requests.Timeout):
        patch(server, "2", timeout=0.1)
    assert stored(cluster) == "1"
    assert written.wait(10)
    assert stored(cluster) == "2"


def test_requests_are_counted(server: ApiServer) -> None:
    """Retreats are promised within two requests."""
    patch(server, "2")
    (seen,) = server.requests
    assert (seen.verb, seen.resource, seen.name, seen.code) == ("patch", "configmaps", "plain", 200)


def test_nonsense_is_400_and_not_500(server: ApiServer) -> None:
    answer = requests.post(f"{server.address}{PATH}", data=b"\x9b{", timeout=10)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


def test_stopping_ends_open_watches_and_frees_the_port(cluster: Cluster) -> None:
    """A demo must not hang at its end."""
    server = ApiServer(cluster)
    address = server.start()
    watch = requests.get(f"{address}{PATH}", params={"watch": "1"}, stream=True, timeout=10)
    began = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - began < 3
    watch.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=2)
    assert cluster.apply({**config_map(), "data": {"a": "2"}})


def test_a_server_may_go_away_and_come_back_with_its_cluster(cluster: Cluster) -> None:
    """An API server that is restarted in mid-run: same address, same objects, watches resume."""
    first = ApiServer(cluster)
    address = first.start()
    patch(first, "2")
    version = cluster.version
    first.stop()
    with ApiServer(cluster, port=int(address.rsplit(":", 1)[1])) as again:
        assert again.address == address
        patch(again, "3")
        query = {"watch": "1", "resourceVersion": str(version), "timeoutSeconds": "1"}
        event = requests.get(f"{address}{PATH}", params=query, timeout=10).json()
    assert (event["type"], event["object"]["data"]["a"]) == ("MODIFIED", "3")


def test_a_taken_port_is_an_error_of_start(server: ApiServer, cluster: Cluster) -> None:
    with pytest.raises(OSError, match="in use"):
        ApiServer(cluster, port=int(server.address.rsplit(":", 1)[1])).start()


def test_a_watcher_left_behind_hears_410(cluster: Cluster, server: ApiServer) -> None:
    """History is forgotten between two looks of an open watch only if it is shorter than what happened."""
    start = cluster.version
    cluster.apply({**config_map(), "data": {"a": "2"}})
    cluster.compact()
    query = {"watch": "1", "resourceVersion": str(start)}
    answer = requests.get(f"{server.address}{PATH}", params=query, timeout=10)
    assert answer.json()["object"]["code"] == 410


def test_quiet_watches_get_bookmarks(cluster: Cluster) -> None:
    """A watch resumed after a quiet night must not be too old."""
    with ApiServer(cluster, bookmark_every=0.05) as server:
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": str(cluster.version)}
        cluster.apply({**config_map(), "kind": "Secret"})
        with requests.get(f"{server.address}{PATH}", params=query, stream=True, timeout=10) as answer:
            line = next(answer.iter_lines()).decode()
    assert '"BOOKMARK"' in line
    assert f'"{cluster.version}"' in line
