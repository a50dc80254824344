"""
Cells: windows of counts of both sides under one split, on a fixed grid.

A cell without data is a :class:`Gap` with its reason, never a zero. The grid of a segment starts at the moment of the
write that opened it, so the same cells come out again after a restart, and no cell spans a change of weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from canaryd.model.duration import render_seconds
from canaryd.model.failures import Failures
from canaryd.model.traffic import EVERYTHING, NOTHING, Split
from canaryd.model.where import Where

Reporter = Literal["source", "waypoint"]
"""Whose counts are read, as Istio's label ``reporter`` has it. Never both: a request may be in either."""
BEFORE = -1
"""The segment of cells from before the evidence: what stable did, and nothing of the canary."""
ROUNDING = 1e-3
"""Seconds by which sums of times may be off."""
PAST_CELL = 60.0
"""Seconds of such a cell at least: few to keep, and long enough to see what lasts a minute."""


@dataclass(frozen=True, slots=True)
class Counts:
    """
    One side of a cell.

    ``requests`` that ended in the cell, ``errors`` among them (see ``metrics/parse.py`` for what is an error),
    ``buckets``: the requests that did not fail by duration, per bucket and not cumulative; one entry for each bound of
    the cell and a last one above the last bound. Exact deltas may be fractional with some Prometheus set-ups. ``pods``
    are (requests, errors) of each pod as the pods themselves count them, where that is known; they tell only how much
    pods differ. ``causes`` are the errors by what they came to, by name (``metrics/parse.py`` has the names); they tell
    only people.
    """

    requests: float
    errors: float
    buckets: tuple[float, ...] = ()
    pods: tuple[tuple[float, float], ...] = ()
    causes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """
    What one client sent in a cell, as its own proxy counts it.

    ``client`` is its workload and namespace, ``productpage-v1.default``; empty for all the small ones together.
    ``canary`` holds also the failures that no version can be named for, ``no_cluster`` those among them for which the
    client's proxy had no cluster (NC).
    """

    client: str
    stable: float
    canary: float
    no_cluster: float = 0.0

    @property
    def requests(self) -> float:
        return self.stable + self.canary


@dataclass(frozen=True, slots=True)
class Value:
    """
    What a check's query says of both sides at a cell's end; None where it says nothing, and then ``why``.

    ``stable`` is None also for a check that does not ask about it. ``assumed`` says which of the values nobody has
    measured: a 0 for a query that finds nothing.
    """

    check: str
    stable: float | None
    canary: float | None
    why: str = ""
    assumed: str = ""


@dataclass(frozen=True, slots=True)
class Portion:
    """What one check counts for itself: some of the requests, or other failures; ``why`` that is not known."""

    check: str
    stable: Counts = Counts(0.0, 0.0)
    canary: Counts = Counts(0.0, 0.0)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """
    Counts of both sides in [start, end), in Unix seconds, under one split.

    ``segment`` is the index of the segment it belongs to. ``settled`` is true when the cell began after the settle time
    of its segment: only then may it count for PASS and for proof; evidence of harm counts always. ``unattributed`` are
    failures of the service that no version can be named for (UH, UF and NC with an unknown workload); ``no_cluster``
    those among them that the mesh had no cluster for (NC). ``others`` are requests to the same host that reached
    neither side, ``injected`` those that the mesh's own fault rule answered (FI) and that are counted nowhere else.
    ``values`` are those of the checks that have a query. ``callers`` are the clients, the largest first, where they are
    known. ``uninjected`` are requests that the pods of both sides counted from callers without a sidecar: no client
    counts those. ``former`` is the last other split before this one, None where there was none: what callers that have
    not heard of the new weight still meet. ``whole`` are all requests of (stable, canary) where the plan counts only
    some of them in ``stable`` and ``canary``, else None: shares and totals are of these. ``portions`` are what checks
    count for themselves. ``matched`` says that a step's match brought the canary
    its requests: it answers other people than stable does, so that nothing can be compared.
    """

    segment: int
    start: float
    end: float
    split: Split
    settled: bool
    bounds_ms: tuple[float, ...]
    stable: Counts
    canary: Counts
    unattributed: float = 0.0
    others: float = 0.0
    no_cluster: float = 0.0
    injected: float = 0.0
    values: tuple[Value, ...] = ()
    callers: tuple[Caller, ...] = ()
    uninjected: float = 0.0
    former: Split | None = None
    whole: tuple[float, float] | None = None
    portions: tuple[Portion, ...] = ()
    matched: bool = False
    kind: Literal["cell"] = "cell"

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def all_stable(self) -> float:
        """Requests to stable, whatever the plan counts of them."""
        return self.stable.requests if self.whole is None else self.whole[0]

    @property
    def all_canary(self) -> float:
        """The same of the canary."""
        return self.canary.requests if self.whole is None else self.whole[1]


@dataclass(frozen=True, slots=True)
class Gap:
    """A cell without data, and why."""

    segment: int
    start: float
    end: float
    split: Split
    settled: bool
    why: str
    kind: Literal["gap"] = "gap"


@dataclass(frozen=True, slots=True)
class Segment:
    """
    A stretch of time under one split, from ``origin`` (Unix seconds) to the next segment's origin.

    ``seq`` is the sequence of the write that opened it; ``ours`` is false for a split that somebody else set: its cells
    are evidence of harm but never count for PASS. ``matched`` is true under a step's match.
    """

    index: int
    seq: int
    split: Split
    origin: float
    ours: bool = True
    matched: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A cell that is due: its place on the grid, before anybody has counted (``former``, ``matched`` as in a cell)."""

    segment: int
    start: float
    end: float
    split: Split
    settled: bool
    former: Split | None = None
    matched: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """
    What stable did before the evidence that begins with ``segment``: asked for once, and kept with the run.

    ``cells`` are of segment BEFORE, in order; where there are none, ``why`` says so. A canary of a former run may have
    had traffic in them, or have failed unseen: only how stable's requests fare and scatter is learned from them.
    """

    segment: int
    cells: tuple[Cell, ...] = ()
    why: str = ""

    @property
    def sentence(self) -> str:
        if not self.cells:
            return (
                f"nothing is known of stable from before: {self.why}; until enough is seen, latency waits and "
                "failures are taken to come in clumps (analysis.clump)"
            )
        known = sum(cell.seconds for cell in self.cells)
        requests = sum(cell.stable.requests for cell in self.cells)
        return f"stable is known from before: {requests:,.0f} requests in {render_seconds(known)}"


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How soon what was written can be seen, in seconds; None where nobody knows.

    ``convergence`` is what istiod needs to reach nearly every proxy (p99 of late), ``scrape`` the time from one scrape
    of the callers to the next, at most.
    """

    convergence: float | None = None
    scrape: float | None = None


def reporter_of(rates: Mapping[str, float]) -> Reporter:
    """Who counts, given the requests a second that each reporter counted of late: who counted most of them."""
    return "waypoint" if rates.get("waypoint", 0.0) > rates.get("source", 0.0) else "source"


@dataclass(frozen=True, slots=True)
class Question:
    """
    What a check asks beside the counts: a PromQL query about each side, with nothing left open.

    ``stable`` is None where only the canary is asked about. With ``zero`` a query that finds nothing says 0. ``why``
    says why nothing can be asked at all. It is asked under splits from ``lowest`` to ``highest``.
    """

    check: str
    canary: str
    stable: str | None = None
    zero: bool = False
    why: str = ""
    lowest: Split = NOTHING
    highest: Split = EVERYTHING

    def asked_at(self, split: Split) -> bool:
        return self.lowest <= split <= self.highest


@dataclass(frozen=True, slots=True)
class Apart:
    """What a check counts for itself: which requests, and which of their ends are failures."""

    check: str
    where: Where
    failures: Failures


@dataclass(frozen=True, slots=True)
class Sought:
    """
    Whose requests are counted, and what is asked beside.

    ``hosts`` are the fully qualified service names of both versions, ``called`` the one that clients call, where it is
    another: what is answered for want of a cluster names that one. ``stable`` and ``canary`` are the workloads that
    Istio reports as ``destination_workload`` in ``namespace``. ``grpc_failures`` are the gRPC status codes that are
    failures, and ``http_failures`` the HTTP answers (``model/failures.py``). ``source`` is the Prometheus that is
    asked, by its name in the settings, empty for the one without a name; ``asker`` the namespace of the plan, which has
    to be allowed to ask it. ``where`` says which requests are counted, ``apart`` what checks count for themselves.
    ``reporter`` is who carries the weights out and counts: the callers' own proxies (``source``) or, in ambient mode,
    the ``waypoint``.
    """

    hosts: tuple[str, ...]
    namespace: str
    stable: tuple[str, ...]
    canary: tuple[str, ...]
    grpc_failures: tuple[int, ...]
    scrape_seconds: float
    questions: tuple[Question, ...] = ()
    source: str = ""
    asker: str = ""
    http_failures: tuple[str, ...] = Failures().http
    where: Where = ()
    apart: tuple[Apart, ...] = ()
    reporter: Reporter = "source"
    called: str = ""

    @property
    def failures(self) -> Failures:
        """What counts as a failure."""
        return Failures(self.http_failures, self.grpc_failures)


def due_windows(
    segments: tuple[Segment, ...], done: tuple[int, float] | None, until: float, cell: float, settle: float
) -> Iterator[Window]:
    """
    The windows after ``done`` that end at or before ``until``, in order.

    ``done`` is (segment index, end) of the last window evaluated, None before the first; ``cell`` and ``settle`` are in
    seconds. A rest at a segment's end that is shorter than a cell is left out: it would span the change of weight.
    """
    last: Split | None = None
    former: Split | None = None
    for segment, following in zip(segments, (*segments[1:], None), strict=False):  # of no segment there is none
        if last != segment.split:
            last, former = segment.split, last
        if done is not None and segment.index < done[0]:
            continue
        limit = until if following is None else min(until, following.origin)
        position = 0
        if done is not None and segment.index == done[0]:
            position = round((done[1] - segment.origin) / cell)
        while (end := segment.origin + (position + 1) * cell) <= limit:
            start = segment.origin + position * cell
            settled = segment.ours and start >= segment.origin + settle
            yield Window(segment.index, start, end, segment.split, settled, former, segment.matched)
            position += 1


def past_windows(origin: float, length: float, cell: float, since: float | None) -> tuple[Window, ...]:
    """
    The windows of ``cell`` seconds that fill the ``length`` seconds before ``origin``, in order.

    None begins before ``since``, when it was another stable; None where that is not known.
    """
    earliest = origin - length if since is None else max(origin - length, since)
    return tuple(
        Window(BEFORE, origin - number * cell, origin - (number - 1) * cell, NOTHING, settled=False)
        for number in range(int((origin - earliest + ROUNDING) // cell), 0, -1)
    )
