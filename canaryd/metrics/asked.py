"""
The queries that a run asks of its Prometheus, as text to paste: for whoever wants to check its figures.

They are those of ``promql``, for a cell of the plan's length; each cell's are evaluated at its own end.
"""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.judge.readings import UNATTRIBUTED
from canaryd.metrics import promql
from canaryd.model.cells import Question, Sought, Window
from canaryd.model.check import Check
from canaryd.model.measuring import Query, hosts_of, sought_of
from canaryd.model.run import Run
from canaryd.model.traffic import NOTHING


def asked(run: Run) -> tuple[Query, ...]:
    """The queries of ``run``, in the order in which a reader wants them; none before both versions are known."""
    sought = sought_of(run, hosts_of(run.route))
    if sought is None:
        return ()
    return (*_counts(run, sought), *(query for one in sought.questions for query in _own(one)))


def _counts(run: Run, sought: Sought) -> Iterator[Query]:
    analysis = run.plan.spec.analysis
    cell = promql.queries(sought, Window(0, 0.0, analysis.cell.total_seconds(), NOTHING, settled=True))
    failing = _named(
        check for check in analysis.checks if check.metric in ("error-rate", "traffic") and not check.apart
    )
    slow = _named(check for check in analysis.checks if check.metric == "latency" and not check.apart)
    everything = (UNATTRIBUTED,) if cell.counted else (*failing, UNATTRIBUTED)
    yield Query("requests", "requests by outcome and client", cell.requests, everything)
    if cell.counted:
        yield Query("counted", "the requests that the plan counts, by outcome", cell.counted, failing)
    yield Query("durations", "requests by outcome and duration", cell.durations, slow)
    for apart, text in zip(sought.apart, cell.apart, strict=True):
        if text:
            yield Query(apart.check, "the requests that this check counts, by outcome", text, (apart.check,))
        else:
            yield Query(
                apart.check, "as the others, with its own failures", cell.counted or cell.requests, (apart.check,)
            )
    yield Query("scrapes", "whether the counts span the cell", cell.scrapes)
    yield Query("pods", "what the pods themselves count, to tell how much they differ", cell.pods)


def _named(checks: Iterator[Check]) -> tuple[str, ...]:
    return tuple(check.name for check in checks)


def _own(question: Question) -> Iterator[Query]:
    """The queries of a check that has its own."""
    if question.canary:
        yield Query(f"{question.check} (canary)", "the check's own query", question.canary, (question.check,))
    if question.stable:
        yield Query(f"{question.check} (stable)", "the check's own query", question.stable, (question.check,))
