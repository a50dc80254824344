"""
The stage for tests of the controller: the command line's, with canaryd's kinds, and processes that stand for election.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from canaryd.model.run import Phase, Run
from canaryd.store.definitions import definitions
from canaryd.store.objects import record_of
from tests.cli.stage import PLAN, Json, Process, wait_for
from tests.cli.stage import Stage as CommandStage

LEASE = {"CANARYD_LEASE_SECONDS": "15", "CANARYD_HTTP": "0", "POD_NAMESPACE": "canaryd", "CANARYD_LOG_FORMAT": "json"}

HERE = str(Path(__file__).resolve().parents[2])
"""Where a process finds this very canaryd, and the drivers among the tests."""


class Watched(ABC):
    """What a stage knows of the objects on its API server."""

    @abstractmethod
    def run_objects(self) -> list[Json]:
        """The CanaryRuns, the oldest first."""

    @abstractmethod
    def records(self) -> list[Run]:
        """What the records say, the oldest first."""

    @abstractmethod
    def virtual_service(self) -> Json:
        """The VirtualService of reviews."""

    def newest(self) -> Run:
        return self.records()[-1]

    def is_at(self, phase: Phase) -> bool:
        """Whether the newest run is in that phase, as its record says."""
        return any(run.phase is phase for run in self.records()[-1:])

    def condition(self, kind: str, found: Json) -> Mapping[str, Any]:
        """A condition in an object's status; empty where there is none yet."""
        conditions = (found.get("status") or {}).get("conditions") or ()
        return next((one for one in conditions if one["type"] == kind), {})

    def is_so(self, kind: str, found: Json) -> bool:
        return self.condition(kind, found).get("status") == "True"

    def marked(self) -> list[str]:
        """canaryd's annotations on the VirtualService."""
        annotations = self.virtual_service()["metadata"].get("annotations") or {}
        return [key for key in annotations if ".canaryd.io/" in key]

    def until(
        self, fact: Callable[[], bool], what: str, process: Process | None = None, deadline: float = 60.0
    ) -> None:
        wait_for(fact, what, deadline, process)

    def ends(self, count: int = 1, process: Process | None = None) -> Json:
        """The newest of ``count`` runs once it says that it has finished, and its marker is out."""
        self.until(
            lambda: (
                len(self.run_objects()) == count
                and self.is_so("Finished", self.run_objects()[-1])
                and not self.marked()
            ),
            f"the end of run {count}",
            process,
        )
        return self.run_objects()[-1]


class Stage(CommandStage, Watched):
    """Use as a context manager."""

    def __enter__(self) -> Self:
        super().__enter__()
        for definition in definitions():
            self.cluster.apply(definition)
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "canaryd"}})
        # A Lease that was given back: the first leader of a test need not wait for a former one's time to run out.
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        self.cluster.apply({**lease, "metadata": {"name": "canaryd", "namespace": "canaryd"}})
        return self

    def controller(self, *more: str | Path, name: str = "canaryd-0", **environment: str) -> Process:
        """A process of the controller; it stands for election at once."""
        return self.process("canaryd", "controller", *more, name=name, **environment)

    def process(self, module: str, *arguments: str | Path, name: str = "canaryd-0", **environment: str) -> Process:
        """``python -m module arguments`` with everything that a pod of the controller is given."""
        given = {**LEASE, "POD_NAME": name, "CANARYD_STATE": str(self.folder / name), "PYTHONPATH": HERE, **environment}
        options = ["--kubeconfig", str(self.kubeconfig), "--prometheus", self.prometheus_url]
        process = Process([*map(str, arguments), *options], self.folder, given, module=module)
        self._started.append(process)
        return process

    # -- objects

    def apply(self, name: str = "reviews", **changes: Any) -> Json:
        """Apply a plan as a person with kubectl would; ``changes`` replace keys of its spec."""
        meta = {"name": name, "namespace": "default"}
        found = self.cluster.find("CanaryPlan", "default", name)
        kept = {**found["metadata"], **meta} if found else meta
        status = {"status": found["status"]} if found and "status" in found else {}
        self.cluster.apply({**PLAN, "metadata": kept, "spec": PLAN["spec"] | changes, **status})
        return self.plan_object(name)

    def plan_object(self, name: str = "reviews") -> Json:
        found = self.cluster.find("CanaryPlan", "default", name)
        assert found is not None
        return found

    def run_objects(self) -> list[Json]:
        """The CanaryRuns, the oldest first."""
        return sorted(self.cluster.objects("CanaryRun"), key=lambda one: one["spec"]["created"])

    def records(self) -> list[Run]:
        """What the records say, the oldest first."""
        runs = [record_of(found).run for found in self.cluster.objects("CanaryRecord")]
        return sorted(runs, key=lambda run: run.created)
