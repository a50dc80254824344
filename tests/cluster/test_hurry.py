"""A watch that may last while nobody looks, and is short when somebody does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from canaryd.cluster.informer import Informer
from canaryd.kube import LEASES, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig


def test_a_hurried_watch_begins_anew_by_what_is_said_now(tmp_path: Path) -> None:
    """Nobody looked, and it could last; now somebody does. Nothing is listed again, and nothing is missed."""
    limits = [(240, 480)]
    with ApiServer(Cluster()) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
        informer = Informer(kube, LEASES, ("default",), renewed=lambda: limits[0])
        informer.start()
        try:
            assert informer.wait(5)
            eventually(informer.live)
            limits[0] = (2, 2)
            informer.hurry()
            kube.create(LEASES, "default", {"metadata": {"name": "one"}, "spec": {}})
            eventually(lambda: informer.get("default", "one") is not None)
            watches = [one for one in server.requests if one.verb == "watch"]
            lists = [one for one in server.requests if one.verb == "list"]
            assert (len(watches), len(lists)) == (1, 1)  # a watch is counted when it has ended
            eventually(lambda: len([one for one in server.requests if one.verb == "watch"]) >= 2)
        finally:
            informer.stop()


def eventually(fact: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)
