"""
How a run begins: from nothing, or where a former process left it.

A release is run once. Its run is found again by the plan's name; what the plan's file says by then is compared with the
run's own copy and told, never silently obeyed.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from canaryd.engine.ports import Clock, Mesh, Metrics, Store
from canaryd.errors import CanarydError
from canaryd.model.cells import Segment, Sought
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.run import Record, Run
from canaryd.model.traffic import Admission


class Settled(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """The release was run to its end before; applied again it starts nothing."""

    def __init__(self, record: Record) -> None:
        self.record = record
        run = record.run
        super().__init__(
            f"release {run.plan.spec.release!r} of plan {run.plan} was settled by run {run.uid} "
            f"({run.outcome.value if run.outcome else run.phase.value}: {run.reason}); "
            "give the plan a new spec.release, or say --again"
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A run to carry out: ``resumed`` from a former process or new, with what a person should know."""

    record: Record
    resumed: bool
    remarks: tuple[str, ...] = ()


def begin(plan: Plan, *, mesh: Mesh, metrics: Metrics, store: Store, clock: Clock, again: bool = False) -> Begun:
    """
    The run of ``plan``: the unfinished one if there is one, else a new one, saved.

    Raises Refused with every reason why it cannot start, Settled when its release was settled before.
    """
    former = [record for record in store.records() if record.run.plan.name == plan.name]
    former = [record for record in former if record.run.plan.namespace == plan.namespace]
    for record in former:
        if not record.run.final:
            return Begun(record, resumed=True, remarks=_differences(plan, record.run))
    if former and former[-1].run.plan.spec.release == plan.spec.release and not again:
        raise Settled(former[-1])
    admission = mesh.admit(plan)
    if problems := _unmeasurable(plan, admission, mesh, metrics):
        raise Refused(problems)
    return Begun(store.save(Record(_new(plan, admission, clock.now()))), resumed=False, remarks=admission.remarks)


def _differences(plan: Plan, run: Run) -> tuple[str, ...]:
    if plan.digest == run.plan.digest:
        return ()
    release = run.plan.spec.release
    edited = f"the plan was edited since run {run.uid} began; the run goes on with its own copy (release {release!r})"
    return (f"{edited}. To run the new text, abort this run first: canaryd abort {run.plan.name}",)


def _unmeasurable(plan: Plan, admission: Admission, mesh: Mesh, metrics: Metrics) -> tuple[Problem, ...]:
    stable, canary = admission.sides.stable, admission.sides.canary
    if shared := sorted(set(stable.workloads) & set(canary.workloads)):
        expected = "two workloads: Istio's metrics cannot tell the versions of one apart"
        return (Problem("spec.target", ", ".join(shared), expected, "give the canary a Deployment of its own"),)
    analysis = plan.spec.analysis
    return metrics.probe(
        Sought(
            hosts=mesh.hosts(admission.route),
            namespace=canary.namespace,
            stable=stable.workloads,
            canary=canary.workloads,
            grpc_failures=analysis.grpc_failures,
            scrape_seconds=analysis.scrape.total_seconds(),
        )
    )


def _new(plan: Plan, admission: Admission, now: float) -> Run:
    return Run(
        uid=f"{plan.name}-{uuid4().hex[:8]}",
        plan=plan,
        route=admission.route,
        created=now,
        split=admission.split,
        started_from=admission.split,
        segments=(Segment(0, 0, admission.split, now),),
        waiting="about to start",
    )
