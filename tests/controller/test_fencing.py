"""
A leader is stopped in the middle of a call, past its Lease; the other one rolls back and starts the next release.

Then the first one is woken, and sends what it was about to send. Nothing of that may move the younger run's traffic.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from canaryd.model.run import Outcome, Phase, Run
from tests.cli.stage import Process
from tests.controller.past import Past
from tests.controller.stage import Stage

pytestmark = pytest.mark.slow

LONG = [{"weight": 10, "bake": "1s"}, {"weight": 50, "bake": "10m"}]
AFTERWARDS = 3.0
"""Seconds in which a woken leader has sent whatever it had to send."""


def test_a_stopped_shift_or_save_or_retreat_is_too_late(stage: Stage, point: tuple[str, int]) -> None:
    """None of its patches is accepted, and it does not lead."""
    past = Past(stage.cluster)
    old, new = pair(stage, *point)
    stage.apply(steps=LONG)
    if point[0] in ("retreat", "release"):
        stage.until(lambda: stage.weights() == (50, 50), "50 %", old)
        abort(stage)
    stage.until(lambda: is_stopped(old), f"a stop at {point}", old)
    new.says('"event": "daemon.leads"')
    first = stage.run_objects()[0]["metadata"]["name"]
    if point[0] not in ("retreat", "release"):
        abort(stage)
    stage.apply(release="v4", steps=LONG)
    stage.until(lambda: begun_and_at(stage, 50), "v4 at 50 %", new)
    stage.until(lambda: stage.is_so("Finished", stage.run_objects()[0]), "v3's end in its status", new)
    mark, status, record = len(past.moments), stage.run_objects()[0]["status"], stage.records()[0]
    wake(old)
    assert {moment.marker.run for moment in past.moments[mark:] if moment.marker} <= {stage.newest().uid}, str(past)
    assert begun_and_at(stage, 50), str(past)
    assert stands_by(stage, old, new)
    assert stage.run_objects()[0]["status"] == status
    assert stage.records()[0] == record
    assert (record.uid, record.outcome) == (first, Outcome.ABORTED)
    past.check()


@pytest.fixture(
    params=[("shift", 1), ("shift", 2), ("patch", 2), ("retreat", 1), ("release", 1), ("save", 2), ("status", 2)],
    ids=lambda point: f"{point[0]} {point[1]}",
)
def point(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param  # type: ignore[no-any-return]


def test_a_stopped_beginning_begins_nothing_twice(stage: Stage) -> None:
    """The run's object is about to be created; meanwhile the other one has begun and promoted the release."""
    old, new = pair(stage, "begin", 1)
    stage.apply()
    stage.until(lambda: is_stopped(old), "a stop", old)
    run = stage.ends(process=new)
    assert stage.is_so("Promoted", run)
    wake(old)
    assert stands_by(stage, old, new)
    stage.set_weights(100, 0)  # so that a second run of it could begin
    new.send(signal.SIGTERM)  # and a new leader, who knows only what is there
    assert new.ended() == 0
    last = stage.controller(name="canaryd-2")
    last.says('"event": "daemon.leads"')
    time.sleep(AFTERWARDS)
    assert stage.weights() == (100, 0)
    assert sum(run.outcome is Outcome.PROMOTED for run in stage.records()) == 1


def test_a_stopped_note_does_not_make_the_older_release_the_settled_one(stage: Stage) -> None:
    """What was settled last is noted in the plan; a late note does not start the newer release once more."""
    old, new = pair(stage, "settle", 1)
    stage.apply()
    stage.until(lambda: is_stopped(old), "a stop", old)
    new.says('"event": "daemon.leads"')
    stage.set_weights(100, 0)
    stage.apply(release="v4")
    stage.ends(2, new)
    wake(old)
    assert stands_by(stage, old, new)
    time.sleep(1)
    stage.until(lambda: stage.plan_object()["metadata"]["annotations"]["canaryd.io/settled"] == "v4", "v4", new, 5)
    assert len(stage.run_objects()) == 2


# -- what they share


def pair(stage: Stage, point: str, n: int) -> tuple[Process, Process]:
    """One that will stop itself, which leads, and its standby."""
    old = stage.process("tests.controller.driver", point, str(n), name="canaryd-0", CANARYD_LEASE_SECONDS="3")
    old.says('"event": "daemon.leads"')
    new = stage.controller(name="canaryd-1", CANARYD_LEASE_SECONDS="3")
    new.says('"event": "daemon.started"')
    return old, new


def abort(stage: Stage) -> None:
    name = stage.run_objects()[0]["metadata"]["name"]
    spec = '{"spec":{"abort":{"reason":"enough","by":"ada"}}}'
    assert stage.kubectl(f"kubectl patch canaryrun {name} --type=merge -p '{spec}'").returncode == 0


def begun_and_at(stage: Stage, weight: int) -> bool:
    """Whether v4's run holds that weight, and says so in its marker."""
    runs = stage.records()
    current: Run = runs[-1]
    return len(runs) == 2 and current.phase is Phase.BAKING and stage.weights() == (100 - weight, weight)


def is_stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def wake(process: Process) -> None:
    process.send(signal.SIGCONT)
    time.sleep(AFTERWARDS)


def stands_by(stage: Stage, old: Process, new: Process) -> bool:
    """Whether the woken one has ended by itself, or follows the other one."""
    lease = stage.cluster.find("Lease", "canaryd", "canaryd")
    assert lease is not None
    led = lease["spec"]["holderIdentity"].startswith("canaryd-1_")
    return led and new.running and (not old.running or '"event": "daemon.term_ended"' in old.output)
