"""
From the rows that Prometheus answered to a cell, or to a gap and its reason.

A zero is said only where traffic was seen: whatever is missing, torn or not a number is a gap. What counts as what:

* A request *failed* as the plan says (``model/failures.py``), by default when its HTTP status is 5xx; when no response
  was sent (``response_code="0"``: the client gave up, which is how a hanging version shows); when it is gRPC and its
  status is a failure of the server's.
* A failed request of workload ``unknown`` is *unattributed*: no host was picked (UH, UO) or no cluster existed (NC).
  That is so whatever the plan calls a failure: 503 (or gRPC 14) without a version is a dead canary, and 404 without one
  is a route that nobody wrote.
* Requests with the flag FI were answered by the user's own fault rule and reached neither version: they are left out,
  and only told. With DI they were delayed by it: they count, their durations do not.
* All others to the hosts are *others*: a third version, or a route that answers 404.

What a failure came to (its *cause*) is told to people and decides nothing: the response flag where one says more than
the status (``DC`` the client gave up, ``UT`` timed out, ``UF`` no connection, ``UC`` or ``UR`` cut off, ``UO`` turned
away by a circuit breaker), else ``grpc`` and its status, else the HTTP status.

What the pods count themselves is wanted and not needed: where it is missing or torn, the cell is without it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from canaryd.metrics.promql import KIND, UNINJECTED, meant
from canaryd.model.cells import Caller, Cell, Counts, Gap, Portion, Sought, Window
from canaryd.model.failures import UNAVAILABLE, Failures

UNKNOWN = "unknown"  # Istio's word for a peer that it has no metadata of
ROUNDING = 1e-6  # sums of floats that ought to be equal differ by less, relatively
TELLING = ("DC", "UT", "UF", "UC", "UR", "UO")
WITHOUT_CLUSTER = {"NC", "NR"}  # Envoy before 1.18 had one flag for both
MOST_PODS = 50
"""Pods of a side that are kept, the first by name: each is in every cell of a run, and fewer only cost certainty."""
MOST_CALLERS = 20
"""Clients that are kept by name, those with the most requests: each is in every cell, too."""

Source = tuple[str, str]
"""Workload and namespace of a client, as its proxy reports them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to the queries of one cell."""

    requests: tuple[Row, ...]
    durations: tuple[Row, ...]
    scrapes: tuple[Row, ...]
    pods: tuple[Row, ...] = ()
    counted: tuple[Row, ...] = ()
    apart: tuple[tuple[Row, ...] | str, ...] = ()
    """For each of ``Sought.apart`` its own rows, or why there are none; whatever it is for what counts as all do."""


class Torn(ValueError):  # noqa: N818  # it becomes a gap, not an error
    """Numbers that cannot be counts; the text says which."""


def rows(result: object) -> tuple[Row, ...]:
    """The rows of an instant vector as the HTTP API gives it. Raises ValueError for anything else."""
    if not isinstance(result, list):
        raise ValueError("the result is not a list")  # noqa: TRY004  # a foreign answer, not a programmer's mistake
    try:
        return tuple(Row(dict(row["metric"]), float(row["value"][1])) for row in result)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"the result is not an instant vector: {error!r}") from error


def columns(result: object, moments: Sequence[float]) -> tuple[tuple[Row, ...], ...]:
    """
    The rows of a range query at each of ``moments`` (Unix seconds, evenly spaced), as instant queries would give them.

    Raises ValueError for anything that is not the HTTP API's answer to such a query.
    """
    if not isinstance(result, list):
        raise ValueError("the result is not a list")  # noqa: TRY004  # a foreign answer, not a programmer's mistake
    step = moments[1] - moments[0] if len(moments) > 1 else 1.0
    found: list[list[Row]] = [[] for _ in moments]
    try:
        for series in result:
            labels = dict(series["metric"])
            for moment, value in series["values"]:
                place = round((moment - moments[0]) / step)
                if not 0 <= place < len(moments):
                    raise ValueError(f"a sample of {moment}, which was not asked for")  # noqa: TRY301  # one way out
                found[place].append(Row(labels, float(value)))
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"the result is not a range vector: {error!r}") from error
    return tuple(map(tuple, found))


def cell(sought: Sought, window: Window, answers: Answers) -> Cell | Gap:
    """The counts of both sides in ``window``, or why there are none."""
    try:
        return _cell(sought, window, answers)
    except Torn as torn:
        return gap(window, str(torn))


def gap(window: Window, why: str) -> Gap:
    """A gap in place of ``window``'s cell."""
    return Gap(window.segment, window.start, window.end, window.split, window.settled, why)


def _cell(sought: Sought, window: Window, answers: Answers) -> Cell | Gap:
    requests = _checked(answers.requests, "requests")
    facts = {row.labels.get(KIND, ""): row.value for row in _checked(answers.scrapes, "scrapes")}
    of_hosts = [row for row in requests if row.labels.get("destination_service") in sought.hosts]
    why = _why_not_scraped(sought, window, facts, sum(row.value for row in of_hosts))
    if why:
        return gap(window, why)
    counted = [row for row in of_hosts if "FI" not in _flags(row)]
    sides = _by_side(of_hosts, sought)
    unreachable = Failures(grpc=(*sought.grpc_failures, UNAVAILABLE))
    strange = [row for row in counted if _side(row, sought) == "other"]
    nobody = (UNKNOWN,) if sought.reporter == "source" else (UNKNOWN, "")  # see promql
    nameless = [row for row in strange if _workload(row) in nobody and unreachable.among(row.labels)]
    strays = _without_cluster(requests, sought, window, sides)
    lost = [row for row in nameless if WITHOUT_CLUSTER & _flags(row)]
    without_cluster = math.fsum(strays.values()) + _total(lost)
    unattributed = _total(nameless) + math.fsum(strays.values())
    others = _total(strange) - _total(nameless)
    if _total(counted) + unattributed == 0:
        return gap(window, f"no requests reached {_hosts(sought)} {_between(window)}")
    all_stable, all_canary = (_total(sides[side]) for side in ("stable", "canary"))
    of_plan = _by_side(_checked(answers.counted, "requests"), sought) if sought.where else sides
    bounds, buckets = _durations(sought, facts, _checked(answers.durations, "durations"))
    of_pods = answers.pods if all(math.isfinite(row.value) and row.value >= 0 for row in answers.pods) else ()
    pods = _pods(sought, of_pods)
    return Cell(
        window.segment,
        window.start,
        window.end,
        window.split,
        window.settled,
        bounds,
        _counts(of_plan["stable"], sought.failures, buckets["stable"], pods["stable"]),
        _counts(of_plan["canary"], sought.failures, buckets["canary"], pods["canary"]),
        unattributed,
        others,
        without_cluster,
        _total(row for row in of_hosts if "FI" in _flags(row)),
        callers=_callers(sides, nameless, lost, strays),
        uninjected=_total(row for row in of_pods if row.labels.get(KIND) == UNINJECTED),
        former=window.former,
        whole=(all_stable, all_canary) if sought.where else None,
        portions=tuple(_portions(sought, of_plan, answers.apart)),
        matched=window.matched,
    )


def cause(labels: Mapping[str, str]) -> str:
    """What a failure with ``labels`` came to, by the name that cells keep."""
    code, flags = labels.get("response_code", ""), set(labels.get("response_flags", "").split(","))
    if code == "0":
        return "DC"
    if flag := next((flag for flag in TELLING if flag in flags), ""):
        return flag
    return code if code.startswith(("4", "5")) else f"grpc {labels.get('grpc_response_status', '')}"


def _why_not_scraped(sought: Sought, window: Window, facts: Mapping[str, float], requests: float) -> str:
    """Why the deltas are not those of the cell; empty when they are."""
    slack = 2 * sought.scrape_seconds
    end, start = facts.get("end"), facts.get("start")
    if end is None and not facts.get("known"):
        return f"no requests reached {_hosts(sought)} {_between(window)}: Prometheus knows no series of it"
    if end is None or window.end - end > slack or (start is not None and end <= start):
        newest = f"; the newest sample is of {_clock(end)}" if end is not None else ""
        return f"no scrape in the cell: nothing new about {_hosts(sought)} {_between(window)}{newest}"
    if start is not None and window.start - start > slack:
        return f"the counts span more than the cell: the scrape before it was at {_clock(start)}, {_between(window)}"
    if start is None and facts.get("known"):
        return f"the counts span more than the cell: the last scrape before it failed, {_between(window)}"
    if start is None and window.start - facts.get("target", -math.inf) > slack:
        return (
            f"nothing shows that the clients of {_hosts(sought)} were scraped when the cell began, {_between(window)}"
        )
    late = facts.get("late", 0.0)
    if late > 0.5 * requests:
        return (
            f"the counts span more than the cell: {late:g} of {requests:g} requests come from clients whose scrape "
            f"before it failed, {_between(window)}"
        )
    return ""


def _side(row: Row, sought: Sought) -> Literal["stable", "canary", "other"]:
    if row.labels.get("destination_workload_namespace") == sought.namespace:
        if _workload(row) in sought.canary:
            return "canary"
        if _workload(row) in sought.stable:
            return "stable"
    return "other"


def _by_side(found: Iterable[Row], sought: Sought) -> dict[str, list[Row]]:
    """The rows of both sides, without what the mesh's own fault rule answered."""
    sides: dict[str, list[Row]] = {"stable": [], "canary": []}
    for row in found:
        if (side := _side(row, sought)) != "other" and "FI" not in _flags(row):
            sides[side].append(row)
    return sides


def _portions(
    sought: Sought, of_plan: Mapping[str, Sequence[Row]], answers: Sequence[tuple[Row, ...] | str]
) -> Iterator[Portion]:
    """What checks count for themselves; one whose query got no answer knows why, and costs nobody else anything."""
    for place, one in enumerate(sought.apart):
        its = of_plan
        if one.where != sought.where:
            answer = answers[place] if place < len(answers) else "it was not asked"
            if isinstance(answer, str):
                yield Portion(one.check, why=answer)
                continue
            its = _by_side(_checked(answer, f"requests of {one.check}"), sought)
        yield Portion(one.check, _counts(its["stable"], one.failures), _counts(its["canary"], one.failures))


def _counts(
    its: Sequence[Row],
    failures: Failures,
    buckets: tuple[float, ...] = (),
    pods: tuple[tuple[float, float], ...] = (),
) -> Counts:
    errors = [row for row in its if failures.among(row.labels)]
    causes: dict[str, list[Row]] = defaultdict(list)
    for row in errors:
        if row.value:
            causes[cause(row.labels)].append(row)
    told = tuple((name, _total(rows)) for name, rows in sorted(causes.items()))
    return Counts(_total(its), _total(errors), buckets, pods, told)


def _pods(sought: Sought, found: Sequence[Row]) -> dict[str, tuple[tuple[float, float], ...]]:
    """(requests, failures) of each pod that served, by side."""
    per_pod: dict[str, dict[str, list[Row]]] = {"stable": defaultdict(list), "canary": defaultdict(list)}
    for row in found:
        side, name = _side(row, sought), row.labels.get("pod") or row.labels.get("instance")
        if side != "other" and name and row.value:
            per_pod[side][name].append(row)
    return {
        side: tuple(
            (_total(rows), _total(row for row in rows if sought.failures.among(row.labels)))
            for _, rows in sorted(named.items())[:MOST_PODS]
        )
        for side, named in per_pod.items()
    }


def _callers(
    sides: Mapping[str, Sequence[Row]], nameless: Sequence[Row], lost: Sequence[Row], strays: Mapping[Source, float]
) -> tuple[Caller, ...]:
    """
    What each client sent, the largest first, and all beyond MOST_CALLERS as one without a name.

    Failures without a version count as sent to the canary, as they do in all. Who calls without a sidecar is in no row
    of a client's.
    """
    stable, canary, missed = _by_source(sides["stable"]), _by_source([*sides["canary"], *nameless]), _by_source(lost)
    for source, count in strays.items():
        canary[source] += count
        missed[source] += count
    found = [
        Caller(_client(source), stable[source], canary[source], missed[source])
        for source in {*stable, *canary}
        if stable[source] or canary[source]
    ]
    found.sort(key=lambda caller: (-caller.requests, caller.client))
    rest = found[MOST_CALLERS:]
    if not rest:
        return tuple(found)
    sums = (
        math.fsum(counts) for counts in zip(*((one.stable, one.canary, one.no_cluster) for one in rest), strict=True)
    )
    return (*found[:MOST_CALLERS], Caller("", *sums))


def _by_source(rows: Iterable[Row]) -> defaultdict[Source, float]:
    sums: defaultdict[Source, float] = defaultdict(float)
    for row in rows:
        sums[_source(row)] += row.value
    return sums


def _client(source: Source) -> str:
    workload, namespace = source
    return f"{workload}.{namespace}"


def _without_cluster(
    requests: Sequence[Row], sought: Sought, window: Window, sides: Mapping[str, Sequence[Row]]
) -> dict[Source, float]:
    """
    Failures for want of a cluster that may be ours to answer for, by client.

    A sidecar names the Host that was called, so those are counted whole. A gateway says ``unknown``, and it may have
    been any service: those are counted only where they fit, at a gateway that brought requests to one of our sides but
    none to the other, which is how a missing cluster looks; and only as many as the split had sent there.
    """
    strays = [row for row in requests if row.labels.get("destination_service") not in sought.hosts]
    totals: dict[Source, float] = defaultdict(float)
    at_gateways: dict[Source, float] = defaultdict(float)
    for row in strays:
        service, namespace = row.labels.get("destination_service", ""), row.labels.get("source_workload_namespace", "")
        if service == UNKNOWN:
            at_gateways[_source(row)] += row.value
        elif meant(service, sought, namespace):
            totals[_source(row)] += row.value
    for source, missed in at_gateways.items():
        stable, canary = (
            _total([row for row in sides[side] if _source(row) == source]) for side in ("stable", "canary")
        )
        if ours := min(missed, _sent_to_the_missing(stable, canary, window.split.share)):
            totals[source] += ours
    return totals


def _sent_to_the_missing(stable: float, canary: float, share: float) -> float:
    """How many requests the split sends to the side that got none, judged by the other one's."""
    if stable and not canary:
        return stable * share / (1 - share) if share < 1 else math.inf
    if canary and not stable:
        return canary * (1 - share) / share if share > 0 else math.inf
    return 0.0


def _durations(
    sought: Sought, facts: Mapping[str, float], found: Sequence[Row]
) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
    """
    The finite bounds in milliseconds, and the requests of each side per bucket.

    Both are empty when Prometheus keeps no durations at all. Raises Torn when buckets cannot be compared.
    """
    if "mixed" in facts:
        raise Torn(
            "the clients' histograms have different buckets and cannot be added "
            "(see the annotation sidecar.istio.io/statsHistogramBuckets)"
        )
    cumulative: dict[str, dict[float, float]] = {"stable": defaultdict(float), "canary": defaultdict(float)}
    seen: dict[str, set[float]] = {"stable": set(), "canary": set()}
    for row in found:
        side = _side(row, sought)
        if side == "other":
            continue
        bound = _bound(row)
        seen[side].add(bound)
        if not sought.failures.among(row.labels) and not {"FI", "DI"} & _flags(row):
            cumulative[side][bound] += row.value
    if seen["stable"] and seen["canary"] and seen["stable"] != seen["canary"]:
        odd = ", ".join(f"{bound:g}" for bound in sorted(seen["stable"] ^ seen["canary"]))
        raise Torn(f"the two sides' histograms have different buckets: only one of them has {odd} ms")
    bounds = sorted(seen["stable"] | seen["canary"])
    if bounds and bounds[-1] != math.inf:
        raise Torn("the histogram of durations lacks its last bucket, +Inf")
    return tuple(bounds[:-1]), {side: _per_bucket(side, bounds, its) for side, its in cumulative.items()}


def _per_bucket(side: str, bounds: Sequence[float], cumulative: Mapping[float, float]) -> tuple[float, ...]:
    """Differences of cumulative counts. Raises Torn where they fall: a client restarted and its reset went unseen."""
    counts, below = [], 0.0
    for bound in bounds:
        upto = cumulative.get(bound, 0.0)
        if upto < below - ROUNDING * max(1.0, below):
            raise Torn(
                f"the durations of {side} do not add up: {upto:g} requests within {bound:g} ms, {below:g} within less"
            )
        counts.append(max(0.0, upto - below))
        below = max(below, upto)
    return tuple(counts)


def _bound(row: Row) -> float:
    """The bucket's bound: `500` with Prometheus 2, `500.0` with Prometheus 3, `+Inf` with both."""
    try:
        bound = float(row.labels["le"])
    except (KeyError, ValueError):
        bound = math.nan
    if math.isnan(bound):
        raise Torn(f"a bucket of the histogram of durations has no bound: le={row.labels.get('le')!r}")
    return bound


def _checked(found: Sequence[Row], what: str) -> Sequence[Row]:
    for row in found:
        if not math.isfinite(row.value) or row.value < 0:
            name = row.labels.get(KIND) or row.labels.get("destination_workload") or "a series"
            raise Torn(f"Prometheus answered {row.value} for the {what} of {name}: no count")
    return found


def _flags(row: Row) -> set[str]:
    return set(row.labels.get("response_flags", "").split(","))


def _workload(row: Row) -> str:
    return row.labels.get("destination_workload", "")


def _source(row: Row) -> Source:
    return row.labels.get("source_workload", ""), row.labels.get("source_workload_namespace", "")


def _total(found: Iterable[Row]) -> float:
    return math.fsum(row.value for row in found)


def _hosts(sought: Sought) -> str:
    return " and ".join(sought.hosts)


def _between(window: Window) -> str:
    return f"between {_clock(window.start)} and {_clock(window.end)} UTC"


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(round(seconds), UTC):%H:%M:%S}"
