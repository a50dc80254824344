"""
A process that wants to lead: ``python -m tests.cluster.candidate KUBECONFIG NAMESPACE NAME LOG``.

Writes what happens to it to LOG, a JSON object per line; while it leads it acts ten times a second, if it is valid.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from canaryd import logs
from canaryd.cluster.elector import Elector, since_boot
from canaryd.kube import connect


def main(kubeconfig: str, namespace: str, name: str, log: str) -> None:
    logs.set_up("json")
    lock = threading.Lock()
    ends = threading.Event()

    def note(what: str, **more: object) -> None:
        with lock, Path(log).open("a") as file:
            file.write(json.dumps({"what": what, "at": since_boot(), **more}) + "\n")

    elector = Elector(
        connect(kubeconfig),
        namespace,
        "canaryd",
        name,
        duration=4,
        renew_deadline=3,
        retry=0.5,
        on_started=lambda term: note("started", term=term),
        on_stopped=lambda reason: note("stopped", reason=reason),
    )
    elector.start()
    threading.Thread(target=lambda: (sys.stdin.read(), ends.set()), daemon=True).start()
    while not ends.is_set():
        asked = since_boot()  # between an answer and the act it allows a process may stand still, whatever it does
        if elector.valid():
            note("acted", term=elector.term, asked=asked)
        time.sleep(0.1)
    elector.stop()
    note("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
