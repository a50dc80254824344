"""
A controller that stops itself (SIGSTOP, as a node that is suspended does) at one of its calls.

    python -m tests.controller.driver POINT N --kubeconfig ... --prometheus ...      at the N-th call (from 1) of POINT

Woken by SIGCONT it goes on in the middle of that call: the request is sent, however late that is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from canaryd.cluster.elector import Elector, die
from canaryd.controller.daemon import Daemon
from canaryd.kube import Kube
from canaryd.logs import set_up
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.settings import read_settings

LINGER = 1.5
"""Seconds that a woken process lives on when it has seen that its Lease is over."""
Sent = Callable[[str, str, Any], bool]


def _latch(body: Any) -> str | None:
    """The latch of the marker that a JSON Patch writes; None where it writes none."""
    for one in body if isinstance(body, list) else ():
        values = one["value"].values() if isinstance(one.get("value"), dict) else [one.get("value")]
        for value in values:
            if one["op"] == "add" and isinstance(value, str) and '"latch"' in value:
                return str(json.loads(value)["latch"])
    return None


def _of_mesh(method: str, url: str) -> bool:
    return method == "PATCH" and "/virtualservices/" in url and "dryRun" not in url


POINTS: dict[str, Sent | None] = {
    "shift": None,  # before IstioMesh.shift, which reads first
    "patch": lambda method, url, body: _of_mesh(method, url) and _latch(body) == "",
    "retreat": lambda method, url, body: _of_mesh(method, url) and bool(_latch(body)),
    "release": lambda method, url, body: _of_mesh(method, url) and _latch(body) is None,
    "save": lambda method, url, _: method == "PUT" and "/canaryrecords/" in url,
    "begin": lambda method, url, _: method == "POST" and "/canaryruns?" in url,
    "status": lambda method, url, _: method == "PATCH" and "/canaryruns/" in url and "/status" in url,
    "settle": lambda method, url, _: method == "PATCH" and "/canaryplans/" in url and "/status" not in url,
}


class Stop:
    """Counts calls, and stops this process at one of them."""

    def __init__(self, n: int) -> None:
        self._left = n
        self._lock = threading.Lock()

    def call(self) -> None:
        with self._lock:
            self._left -= 1
            now = self._left == 0
        if now:
            os.kill(os.getpid(), signal.SIGSTOP)


def arm(point: str, stop: Stop) -> None:
    sent = POINTS[point]
    if sent is None:
        shift = IstioMesh.shift

        def shifted(self: IstioMesh, *arguments: Any) -> None:
            stop.call()
            shift(self, *arguments)

        IstioMesh.shift = shifted  # type: ignore[method-assign]
        return
    send = Kube._send

    def stopped(self: Kube, method: str, url: str, body: Any, content_type: str | None) -> Any:
        if sent(method, url, body):
            stop.call()
        return send(self, method, url, body, content_type)

    Kube._send = stopped  # type: ignore[method-assign]


def linger(why: str) -> None:
    """End, but not before what is in the middle of a call has sent it: else who is faster would decide the test."""
    time.sleep(LINGER)
    die(why)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("point", choices=POINTS)
    parser.add_argument("n", type=int)
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--prometheus")
    given = parser.parse_args()
    arm(given.point, Stop(given.n))
    Elector.__init__.__kwdefaults__["die"] = linger  # type: ignore[index]
    settings = read_settings(None, kubeconfig=given.kubeconfig, prometheus=given.prometheus)
    set_up(settings.log_format, settings.log_level)
    Daemon(settings).run()


if __name__ == "__main__":
    main()
