"""
How a run begins: from nothing, or where a former process left it.

A release is run once. Its run is found again by the plan's name; what the plan's file says by then is compared with the
run's own copy and told, never silently obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

from canaryd.engine.ports import Mesh, Metrics, World
from canaryd.errors import CanarydError, Unavailable
from canaryd.judge.futility import prospect
from canaryd.model import codes
from canaryd.model.cells import Cell, Reporter, Segment, Sought, Window, reporter_of
from canaryd.model.finding import Finding, accepted, as_finding, as_problem, in_order
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.run import Outcome, Record, Run, command_line
from canaryd.model.traffic import NOTHING, Admission, Route

RECENTLY = (300.0, 60.0)
"""Seconds of traffic before the start that say what the plan can prove; the shorter where the longer are not known."""


class Settled(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """The release was run to its end before; applied again it starts nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(
            f"release {run.plan.spec.release!r} of plan {run.plan} was settled by run {run.uid} "
            f"({run.outcome.value if run.outcome else run.phase.value}: {run.reason}); "
            "give the plan a new spec.release, or say canaryd run --again"
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """
    A run to carry out: ``resumed`` from a former process or new, with what a person should know.

    ``reverted`` says why the run is to be aborted at once, because its plan asks for what was there before; empty
    otherwise.
    """

    record: Record
    resumed: bool
    remarks: tuple[str, ...] = ()
    reverted: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """
    What takes its time to be found out about a plan: preflight's findings, and what Prometheus says.

    ``problems`` are of the metrics, ``outlook`` is what can be proven in words, ``settles`` the settle time in seconds
    that was learned, None where the plan gives it, and ``reporter`` whose counts are read. Where the plan was not
    ``admitted`` Prometheus was not asked for them.
    """

    examined: tuple[Finding, ...]
    admitted: bool = True
    problems: tuple[Problem, ...] = ()
    outlook: tuple[str, ...] = ()
    settles: float | None = None
    reporter: Reporter = "source"


def prepare(
    plan: Plan,
    world: World,
    *,
    again: bool = False,
    mode: Literal["active", "observe"] = "active",
    may: Callable[[], None] = lambda: None,
) -> Looked | None:
    """
    What :func:`begin` would have to wait for, so that nobody else has to; None where it would begin nothing.

    Raises what the store raises, and what ``may`` does (see :func:`begin`).
    """
    plan = plan.in_mode(mode)
    former = [record.run for record in _of(plan, world.store.records())]
    if not all(map(_over, former)) or (settled_by(plan, former) and not again):
        return None
    may()
    try:
        plan = plan.measured_by(world.metrics.choose(plan))
        admission = world.mesh.admit(plan)
    except Refused:
        return Looked(_examined(plan, None, world), admitted=False)
    except CanarydError:
        return None  # begin says why
    return _looked(plan, admission, world)


def begin(
    plan: Plan,
    world: World,
    *,
    again: bool = False,
    kept: Literal["", "canaryrun"] = "",
    mode: Literal["active", "observe"] = "active",
    uid: str = "",
    prepared: Looked | None = None,
    may: Callable[[], None] = lambda: None,
) -> Begun:
    """
    The run of ``plan``: the unfinished one if there is one, else a new one, saved.

    A run that ended but left its marker in the mesh is unfinished. ``mode`` is the process's: one that only observes
    makes every run that begins in it observe, to its end. A new run is named ``uid``, or by chance; ``prepared`` is
    what :func:`prepare` found a moment ago. ``may`` is asked before anything new is looked at, and raises where
    nothing may begin now. Raises Refused with every reason why it cannot start, Settled when its release was settled
    before.
    """
    plan = plan.in_mode(mode)
    records = list(world.store.records())
    former = _of(plan, records)
    for record in former:
        if not _over(record.run):
            return Begun(record, True, _differences(plan, record.run), reverted(plan, record.run, records))
    settled = settled_by(plan, [record.run for record in former])
    if settled and not again:
        raise Settled(settled)
    may()
    plan = plan.measured_by(world.metrics.choose(plan))
    try:
        admission = world.mesh.admit(plan)
    except Unavailable as error:
        raise Refused([_silent(error)]) from error
    except Refused as refused:  # what else stops it is said at the same time
        examined = prepared.examined if prepared else _examined(plan, None, world)
        others = stopping(plan, examined, refused.problems)
        raise Refused((*refused.problems, *others), refused.findings) from refused
    looked = prepared if prepared and prepared.admitted else None
    looked = looked or _looked(plan, admission, world)
    problems = (*_promised(plan, admission, records), *looked.problems, *_barred(plan, world))
    if problems := (*problems, *stopping(plan, looked.examined, problems)):
        raise Refused(problems)
    findings = in_order((*admission.findings, *looked.examined))
    plan = plan.reported_by(looked.reporter)
    run = replace(_new(plan, admission, world.clock.now(), kept, uid), findings=findings, settles=looked.settles)
    remarks = (*map(str, worth_telling(admission, looked.examined)), *looked.outlook)
    return Begun(world.store.save(Record(run)), resumed=False, remarks=remarks)


def look(plan: Plan, world: World) -> tuple[Finding, ...]:
    """
    Everything that :func:`begin` would find of ``plan`` now, the gravest first; begins nothing and changes nothing.

    Raises what the store raises.
    """
    records = list(world.store.records())
    admission, problems, beside = None, tuple[Problem, ...](), tuple[Finding, ...]()
    try:
        plan = plan.measured_by(world.metrics.choose(plan))
        admission = world.mesh.admit(plan)
        beside = admission.findings
        plan = plan.reported_by(_reporter(plan, admission, world))
        problems = (*_promised(plan, admission, records), *_unmeasurable(plan, admission, world))
    except Refused as refused:
        problems, beside = refused.problems, refused.findings
    except Unavailable as error:
        return (as_finding(_silent(error)),)
    problems = (*problems, *_barred(plan, world))
    known = {problem.code for problem in problems}
    examined = _examined(plan, admission, world)
    return in_order((*map(as_finding, problems), *beside, *(one for one in examined if one.code not in known)))


def _looked(plan: Plan, admission: Admission, world: World) -> Looked:
    examined = _examined(plan, admission, world)
    reporter = _reporter(plan, admission, world)
    plan = plan.reported_by(reporter)
    if problems := _unmeasurable(plan, admission, world):
        return Looked(examined, problems=problems, reporter=reporter)
    sought = _sought(plan, admission, world.mesh)
    outlook = _outlook(plan, admission, sought, world.metrics, world.clock.now())
    return Looked(examined, outlook=outlook, settles=_settle_time(plan, sought, world.metrics), reporter=reporter)


def _barred(plan: Plan, world: World) -> tuple[Problem, ...]:
    """Webhooks that the run could not ask (who only observes asks none), and channels that it could not tell."""
    asked = () if plan.observes or world.webhooks is None else world.webhooks.problems(plan)
    return (*asked, *(world.channels.problems(plan) if world.channels else ()))


def _examined(plan: Plan, admission: Admission | None, world: World) -> tuple[Finding, ...]:
    """What preflight finds, with what a person lets pass."""
    return accepted(world.preflight.examine(plan, admission), plan.accepted) if world.preflight else ()


def stopping(plan: Plan, examined: Iterable[Finding], known: Iterable[Problem]) -> tuple[Problem, ...]:
    """
    What preflight has ``examined`` that stops a run of ``plan``, without what is among the ``known`` problems.

    Who only observes moves nothing, so that nothing which preflight finds has to stop it.
    """
    if plan.observes:
        return ()
    codes_known = {problem.code for problem in known}
    return tuple(as_problem(one) for one in examined if one.level == "error" and one.code not in codes_known)


def worth_telling(admission: Admission, examined: Iterable[Finding]) -> tuple[Finding, ...]:
    """What a person should know at the start: all that admission says, and of preflight what is more than a note."""
    return in_order((*admission.findings, *(one for one in examined if one.level != "info")))


def settled_by(plan: Plan, runs: Sequence[Run]) -> Run | None:
    """
    The run among the ended ``runs`` (of one plan, the oldest first) that settled the release of ``plan``, if one did.

    A release that was tried since and taken back changes nothing about it, so that a ``git revert`` starts nothing;
    one that was promoted since does: to go back to what was there before is a release. A promotion that was undone
    was none.
    """
    release, undone = plan.spec.release, {run.undoes for run in runs if run.outcome is Outcome.UNDONE}
    for run in reversed(runs):
        if not _over(run) or not _settles(run, plan):
            continue
        if run.plan.spec.release == release:
            return run
        if run.outcome is Outcome.PROMOTED and run.uid not in undone:
            return None
    return None


def last_settled(plan: Plan, records: Iterable[Record]) -> Run | None:
    """The run of ``plan`` that ended last; None if there is none."""
    ended = (record.run for record in reversed(_of(plan, records)) if _over(record.run))
    return next((run for run in ended if _settles(run, plan)), None)


def reverted(plan: Plan, run: Run, records: Iterable[Record]) -> str:
    """
    Why ``run`` is to be aborted: ``plan`` now asks for the release that was settled before it, as a ``git revert``
    in mid-run does. Empty if it does not.
    """
    before = last_settled(plan, records)
    release = plan.spec.release
    if before is None or run.final or release == run.plan.spec.release or release != before.plan.spec.release:
        return ""
    return f"the plan asks for release {release!r} again, which run {before.uid} had settled"


def _of(plan: Plan, records: Iterable[Record]) -> list[Record]:
    """The records of this plan's runs, the oldest first."""
    return [record for record in records if str(record.run.plan) == str(plan)]


def _settles(run: Run, plan: Plan) -> bool:
    """A run that only observed has released nothing: an active plan may still do so."""
    return plan.observes or not run.plan.observes


def _over(run: Run) -> bool:
    return run.final and run.released


def _silent(error: Unavailable) -> Problem:
    return Problem(
        path="--kubeconfig",
        value=str(error),
        expected="a Kubernetes API that answers",
        remedy="check with: kubectl cluster-info",
        code=codes.KUBERNETES_AWAY.name,
        transient=True,
    )


def _differences(plan: Plan, run: Run) -> tuple[str, ...]:
    if plan.same_as(run.plan) or run.final:
        return ()
    release = run.plan.spec.release
    edited = f"the plan was edited since run {run.uid} began; the run goes on with its own copy (release {release!r})"
    return (f"{edited}. To run the new text, abort this run first: {command_line(run, 'abort')}",)


def _promised(plan: Plan, admission: Admission, records: Iterable[Record]) -> Iterator[Problem]:
    """
    Entries that a run of another plan is about to move.

    Until its first write has arrived there is no marker that would claim them, and two plans that begin at one moment
    would both find them free.
    """
    route = admission.route
    for run in (record.run for record in records):
        if str(run.plan) == str(plan) or run.final or run.arrived_at is not None:
            continue
        if plan.observes or run.plan.observes or not shares(run.route, route):
            continue
        yield Problem(
            path=str(route),
            value=f"about to be moved by plan {run.plan}, run {run.uid}",
            expected="entries that no other run works on",
            remedy="wait for its end, or abort it",
            code=codes.CLAIMED.name,
            command=command_line(run, "abort"),
            transient=True,
        )


def shares(some: Route, other: Route) -> bool:
    """Whether an entry is in both: by its name, or, where it has none, by its place."""
    places = (
        {
            (part.namespace, part.virtual_service, entry.name or entry.index)
            for part in route.parts
            for entry in part.entries
        }
        for route in (some, other)
    )
    return not next(places).isdisjoint(next(places))


def _sought(plan: Plan, admission: Admission, mesh: Mesh) -> Sought:
    """Whose requests the run of ``plan`` would count."""
    return plan.spec.analysis.sought(
        hosts=mesh.hosts(admission.route),
        namespace=admission.sides.canary.namespace,
        stable=admission.sides.stable.workloads,
        canary=admission.sides.canary.workloads,
        asker=plan.namespace,
        called=plan.called,
    )


def _reporter(plan: Plan, admission: Admission, world: World) -> Reporter:
    """
    Whose counts the run reads, learned once and kept in its plan: to change them in mid-run would be another measure.

    Where Prometheus does not answer, its probe says so next.
    """
    if plan.spec.analysis.reporter != "auto":
        return plan.spec.analysis.reporter
    try:
        return reporter_of(world.metrics.reporters(_sought(plan, admission, world.mesh)))
    except CanarydError:
        return "source"


def _unmeasurable(plan: Plan, admission: Admission, world: World) -> tuple[Problem, ...]:
    stable, canary = admission.sides.stable, admission.sides.canary
    if shared := sorted(set(stable.workloads) & set(canary.workloads)):
        expected = "two workloads: Istio's metrics cannot tell the versions of one apart"
        remedy = "give the canary a Deployment of its own"
        return (Problem("spec.target", ", ".join(shared), expected, remedy, codes.SHARED_WORKLOAD.name),)
    return world.metrics.probe(_sought(plan, admission, world.mesh))


def _outlook(plan: Plan, admission: Admission, sought: Sought, metrics: Metrics, now: float) -> tuple[str, ...]:
    """
    What the plan can prove at the traffic of the last minutes; nothing where that is not known.

    Said before anything moves: a release manager who learns of it after four hours of holding has lost a day.
    """
    end = now - plan.spec.analysis.lag.total_seconds()
    for seconds in RECENTLY:
        window = Window(0, end - seconds, end, admission.split, settled=False)
        try:
            seen = metrics.count(sought, window)
        except CanarydError:
            return ()
        if isinstance(seen, Cell) and seen.stable.requests:
            rate = (seen.stable.requests + seen.canary.requests) / seconds
            return (prospect(plan.spec, rate, seen.stable.errors / seen.stable.requests).sentence,)
    return ()


def _settle_time(plan: Plan, sought: Sought, metrics: Metrics) -> float | None:
    """The settle time in seconds, learned once, so that a run's cells lie where they lay after any restart."""
    analysis = plan.spec.analysis
    if analysis.settle != "auto":
        return None
    try:
        return analysis.settle_for(metrics.pace(sought)).total_seconds()
    except CanarydError:
        return analysis.settle_for().total_seconds()


def _new(plan: Plan, admission: Admission, now: float, kept: Literal["", "canaryrun"], uid: str) -> Run:
    split = NOTHING if plan.observes else admission.split  # who only observes may find anything, and moves none of it
    return Run(
        uid=uid or f"{plan.name}-{uuid4().hex[:8]}",
        plan=plan,
        route=admission.route,
        created=now,
        kept=kept,
        split=split,
        started_from=split,
        segments=(Segment(0, 0, split, now),),
        waiting="about to start",
    )
