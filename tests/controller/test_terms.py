"""Many terms of leadership in one process: what one leaves behind is gone when the next one begins."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import ExitStack

import pytest

from canaryd.controller.daemon import Daemon
from canaryd.controller.term import Term
from canaryd.settings import read_settings
from tests.cli.stage import wait_for
from tests.controller.stage import Stage

TERMS = 30


@pytest.mark.slow
def test_thirty_terms_leave_no_thread_and_no_object(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Lease is taken out of its hands again and again, in mid-run; each time it is had again, the run goes on."""
    monkeypatch.setenv("POD_NAMESPACE", "canaryd")
    monkeypatch.setenv("CANARYD_LEASE_SECONDS", "3")
    monkeypatch.setenv("CANARYD_HTTP", "0")
    settings = read_settings(
        None, kubeconfig=stage.kubeconfig, prometheus=stage.prometheus_url, state=stage.folder / "state"
    )
    stage.apply(steps=[{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}])
    with ExitStack() as stack:
        daemon = Daemon(settings)
        daemon.start(stack)
        early: list[int] = []
        for number in range(1, TERMS + 1):
            wait_for(lambda: daemon.elector.leading and bool(daemon.in_flight()), f"term {number}", 20)
            if number == 3:
                early = counts()
            take_away(stage)
            wait_for(lambda: daemon._term is None, f"the end of term {number}", 20)
        wait_for(lambda: daemon.elector.leading and bool(daemon.in_flight()), "the last term", 20)
        late = counts()
        print(f"threads {early[0]} -> {late[0]}, terms in memory {early[1]} -> {late[1]}")
        assert late[0] <= early[0] + 4, [thread.name for thread in threading.enumerate()]
        assert late[1] <= early[1] + 1
        assert len(stage.run_objects()) == 1


def counts() -> list[int]:
    """Threads, and terms that something still holds."""
    time.sleep(0.5)
    gc.collect()
    return [threading.active_count(), sum(isinstance(one, Term) for one in gc.get_objects())]


def take_away(stage: Stage) -> None:
    """By a hand: the Lease is nobody's."""
    lease = stage.cluster.find("Lease", "canaryd", "canaryd")
    assert lease is not None
    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
    stage.cluster.apply({**lease, "spec": spec})
