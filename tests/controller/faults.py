"""
Faults of an API server, one by one, on each call that the controller makes in a run.

    python -m tests.controller.faults          the whole matrix: each call, each fault, both stories; a table

One controller serves all runs in turn: each fault comes in a release of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from canaryd.lab.kubernetes.faults import Faults
from canaryd.model.run import Outcome, Run
from canaryd.preflight.kinds import CONCERNED, EVERYWHERE
from tests.cli.stage import Process
from tests.controller.past import Past
from tests.controller.stage import Stage

Call = tuple[str, str]
Order = Callable[[Faults, str, str], None]

TIMEOUT = 1.0
"""Seconds that the controller gives a request in these tests; a hang is longer."""
FAULTS: dict[str, Order] = {
    "409": lambda faults, verb, resource: faults.fail(verb, resource, 409),
    "429": lambda faults, verb, resource: faults.fail(verb, resource, 429, retry_after=1),
    "500": lambda faults, verb, resource: faults.fail(verb, resource, 500),
    "hangs": lambda faults, verb, resource: faults.hang(verb, resource, 2 * TIMEOUT),
    "hangs, then does it": lambda faults, verb, resource: faults.hang(verb, resource, 2 * TIMEOUT, perform=True),
    "reset": lambda faults, verb, resource: faults.reset(verb, resource),
    "does it, then resets": lambda faults, verb, resource: faults.reset(verb, resource, after_write=True),
}
BEGINNING: tuple[Call, ...] = (
    ("create", "selfsubjectaccessreviews"),
    ("get", "virtualservices"),
    ("list", "virtualservices"),
    ("list", "rollouts"),
    ("list", "services"),
    ("create", "canaryruns"),
    ("create", "canaryrecords"),
)
"""What the beginning of a run asks of the API server; after a fault all of it is tried anew, some seconds later."""
RUN: tuple[Call, ...] = (
    ("get", "leases"),
    ("update", "leases"),
    ("get", "virtualservices"),
    ("patch", "virtualservices"),
    ("list", "destinationrules"),
    ("list", "pods"),
    ("list", "deployments"),
    ("get", "canaryruns"),
    ("patch", "canaryruns"),
    ("update", "canaryrecords"),
    ("patch", "canaryplans"),
    ("create", "events"),
)
"""What the run itself asks, watches apart."""
LOOKING: tuple[Call, ...] = (
    *(("list", kind.plural) for kind in (*EVERYWHERE, *CONCERNED)),
    ("get", "configmaps"),
)
"""What preflight asks before the beginning; after a fault it is all tried anew, too."""
CALLS = tuple(dict.fromkeys((*BEGINNING, *RUN)))


class House:
    """A stage and one controller; :meth:`trial` runs one release through it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.process: Process = stage.controller(CANARYD_TIMEOUT=str(TIMEOUT))
        self._count = 0
        self.past = Past(stage.cluster)

    @property
    def faults(self) -> Faults:
        assert self.stage.api
        return self.stage.api.faults

    def fresh(self) -> Past:
        """As before the first release."""
        stage = self.stage
        self.faults.clear()
        stage.clients.fail("v3", 0.002)
        stage.until(lambda: not stage.marked(), "no marker", self.process)
        stage.set_weights(100, 0)
        return Past(stage.cluster)

    def trial(
        self,
        order: Callable[[], object],
        *,
        faulty: bool = False,
        abort: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> Run:
        """One release under what ``order`` orders; checked and given back when it has ended."""
        stage, past = self.stage, self.fresh()
        self.past = past
        self._count += 1
        before = {run.uid for run in stage.records()}
        stage.clients.fail("v3", 0.3 if faulty else 0.002)
        order()
        last = "10m" if abort else "1s"
        release = f"r{self._count}"
        stage.apply(release=release, steps=[{"weight": 10, "bake": "500ms"}, {"weight": 50, "bake": last}])
        if abort:
            stage.until(lambda: stage.weights() == (50, 50), f"50 % of {release}", self.process)
            if meanwhile:
                meanwhile()
            self._abort()
        stage.until(lambda: self._over(release), f"the end of {release}", self.process)
        fresh = [run for run in stage.records() if run.uid not in before]
        assert len(fresh) == 1, f"{len(fresh)} runs of one release"
        outcome = Outcome.ABORTED if abort else Outcome.FAILED if faulty else Outcome.PROMOTED
        assert fresh[0].outcome is outcome, f"{fresh[0].outcome}: {fresh[0].reason}"
        assert stage.weights() == ((0, 100) if outcome is Outcome.PROMOTED else (100, 0)), str(past)
        assert not stage.marked()
        past.check()
        return fresh[0]

    def _abort(self) -> None:
        stage = self.stage
        found = stage.run_objects()[-1]
        found["spec"]["abort"] = {"reason": "enough", "by": "ada"}
        stage.cluster.apply(found)

    def _over(self, release: str) -> bool:
        runs = [run for run in self.stage.records() if run.plan.spec.release == release]
        objects = {one["metadata"]["name"]: one for one in self.stage.run_objects()}
        return bool(runs) and all(
            run.released and self.stage.is_so("Finished", objects[run.uid]) and not self.stage.marked() for run in runs
        )


def everywhere(house: House, fault: str) -> None:
    """From the run's beginning on every call of it meets the fault once, and one call of the beginning did before."""
    FAULTS[fault](house.faults, *BEGINNING[list(FAULTS).index(fault) % len(BEGINNING)])
    house.past.once(
        lambda found: found["kind"] == "CanaryRecord" and found["version"] == 1, lambda: in_the_run(house, fault)
    )


def in_the_run(house: House, fault: str) -> None:
    """Every call of a run meets the fault once from now on."""
    for verb, resource in RUN:
        FAULTS[fault](house.faults, verb, resource)


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        house = House(stage)
        for verb, resource in CALLS:
            cells = []
            for fault in FAULTS:
                for story in ({}, {"faulty": True}, {"abort": True}):
                    began = time.monotonic()
                    try:
                        house.trial(partial(FAULTS[fault], house.faults, verb, resource), **story)
                        cells.append(f"{time.monotonic() - began:.1f}")
                    except AssertionError as error:
                        wrong += 1
                        cells.append("WRONG")
                        print(f"WRONG {verb} {resource} {fault} {story}: {str(error)[:2000]}", flush=True)
            print(f"{verb:7} {resource:26} {' '.join(cells)}", flush=True)
    print(f"{len(CALLS) * len(FAULTS) * 3} runs, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(main() > 0)
